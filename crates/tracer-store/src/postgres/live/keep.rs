//! Removes changes that are old or too many.
//!
//! Runs on every replica that has written something lately; one at a time removes.
//! Invariant: what is removed is the beginning, and how far is noted in the same statement, so that whoever reads on
//! from there knows that something is missing.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;
use tracer_core::limits;

use crate::postgres::error::StoreError;
use crate::postgres::pool::{Connector, Role};
use crate::postgres::row;

/// How often it is looked whether there is something to remove.
const PERIOD: Duration = Duration::from_secs(5);

/// Held by the replica that removes, for its session. The number says only `live` in ASCII.
const LOCK: i64 = 0x6c69_7665;

/// Rows whose removal is worth a VACUUM of its own: autovacuum looks once a minute, in which a busy service writes
/// several times what is kept.
const MANY: i64 = 500;

const TRIM: &str = "\
-- trim_changes
WITH bound AS MATERIALIZED (
    SELECT max(change_id) AS id
      FROM (SELECT change_id, at, sum(bytes) OVER (ORDER BY change_id DESC) AS total FROM live_changes) AS kept
     WHERE at < clock_timestamp() - make_interval(secs => $1) OR total > $2),
gone AS (DELETE FROM live_changes WHERE change_id <= (SELECT id FROM bound) RETURNING 1),
noted AS (UPDATE live_state SET trimmed = greatest(trimmed, (SELECT id FROM bound)))
SELECT count(*) AS gone FROM gone";

/// Removes until the store closes.
pub(super) async fn keep(connector: Connector, mut written: watch::Receiver<()>, stop: CancellationToken) {
    // What another process left is removed too, once it is old.
    let mut until = Instant::now() + kept_for();
    loop {
        if Instant::now() > until {
            // Nobody writes: there is nothing left, until somebody does.
            let Some(Ok(())) = stop.run_until_cancelled(written.changed()).await else { return };
            until = Instant::now() + kept_for();
        }
        if stop.run_until_cancelled(tokio::time::sleep(PERIOD)).await.is_none() {
            return;
        }
        if written.has_changed().unwrap_or(false) {
            written.mark_unchanged();
            until = Instant::now() + kept_for();
        }
        if let Some(Err(error)) = stop.run_until_cancelled(trim(&connector)).await {
            tracing::debug!(error = &error as &dyn std::error::Error, "old changes were not removed");
        }
    }
}

/// For how long something may be left after the last batch.
fn kept_for() -> Duration {
    Duration::from_secs(limits::LIVE_KEPT_SECS) + PERIOD * 2
}

async fn trim(connector: &Connector) -> Result<(), StoreError> {
    let client = connector.connect(Role::Upkeep).await?;
    let locked = client.query_one("SELECT pg_try_advisory_lock($1) AS locked", &[&LOCK]).await?;
    if !row::get::<bool>(&locked, "locked")? {
        return Ok(());
    }
    super::follower::ensure_state(&client).await?;
    let gone = remove(&client).await?;
    if gone > MANY {
        client.batch_execute("VACUUM (TRUNCATE FALSE) live_changes").await?;
    }
    client.execute("SELECT pg_advisory_unlock($1)", &[&LOCK]).await?;
    Ok(())
}

async fn remove(client: &Client) -> Result<i64, StoreError> {
    let seconds = f64::from(u32::try_from(limits::LIVE_KEPT_SECS).unwrap_or(u32::MAX));
    let bytes = i64::try_from(limits::LIVE_KEPT_BYTES).unwrap_or(i64::MAX);
    let row = client.query_one(TRIM, &[&seconds, &bytes]).await?;
    row::get(&row, "gone")
}
