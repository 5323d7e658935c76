//! Removes what has been kept long enough.
//!
//! Executions and steps go by whole months: dropping a partition costs the same however many rows it holds. What the
//! directory, the segments and the idempotency keys hold goes in portions, each a short transaction of its own, so that
//! recording goes on in between.
//!
//! Invariant: every portion can be repeated after a crash; and only one replica removes at a time.
//! Not here: when it runs.

use tokio_postgres::Client;
use tokio_postgres::types::ToSql;
use tracer_core::baseline::SEGMENTS_READ;
use tracer_core::repository::{Pruned, Retention};
use tracer_core::time::{Micros, Timestamp};

use super::error::StoreError;
use super::partitions::{Month, PARENTS};
use super::row::{self, Bits, Date, Stamp};
use super::{services, slo};

/// Rows in one portion.
const PORTION: i64 = 1_000;

/// Held by the replica that removes, for its session. The number says only `prune` in ASCII.
const PRUNE_LOCK: i64 = 0x70_7275_6e65;

/// How long an idempotency key holds.
const IDEMPOTENCY_KEPT: Micros = Micros::from_days(1);

/// Removes everything that is over its time; nothing if another replica is at it.
///
/// # Errors
/// [`StoreError`] at the first portion that fails; those before it stay removed.
pub(super) async fn prune(
    client: &Client,
    now: Timestamp,
    retention: Retention,
) -> Result<Pruned, StoreError> {
    let locked = client.query_one("SELECT pg_try_advisory_lock($1) AS locked", &[&PRUNE_LOCK]).await?;
    if !row::get::<bool>(&locked, "locked")? {
        return Ok(Pruned::default());
    }
    let pruned = prune_all(client, now, retention).await;
    // The end of the session would give it back too, but only when the server gets to it: by then the next call may
    // have found it taken.
    client.execute("SELECT pg_advisory_unlock($1)", &[&PRUNE_LOCK]).await?;
    pruned
}

async fn prune_all(client: &Client, now: Timestamp, retention: Retention) -> Result<Pruned, StoreError> {
    let mut pruned = Pruned::default();
    // A dropped partition needs every query on the table to be over; rather than hold up those that come, it gives up
    // soon and is tried again the next time.
    client.batch_execute("SET lock_timeout = '500ms'").await?;
    for month in over(client, now - retention.detail).await? {
        pruned.partitions += drop_month(client, month).await?;
    }
    pruned.segments = prune_segments(client, now, retention.aggregates).await?;
    pruned.idempotency_keys = prune_idempotency_keys(client, now - IDEMPOTENCY_KEPT).await?;
    pruned.incidents = prune_incidents(client, now - retention.aggregates).await?;
    pruned.notifications = prune_notifications(client, now - retention.detail).await?;
    services::prune(client, now, retention).await?;
    slo::prune(client, now, PORTION).await?;
    pruned.failure_groups = prune_failures(client, now - retention.aggregates).await?;
    Ok(pruned)
}

/// Returns the months with partitions that ended before `before`, oldest first.
async fn over(client: &Client, before: Timestamp) -> Result<Vec<Month>, StoreError> {
    const PARTITIONS: &str = "\
-- partitions
SELECT child.relname::text AS name
  FROM pg_inherits JOIN pg_class AS child ON child.oid = inhrelid
 WHERE inhparent = to_regclass($1)";
    let mut months = Vec::new();
    for parent in PARENTS {
        for row in client.query(PARTITIONS, &[&parent]).await? {
            let month = Month::of_partition(parent, row::get(&row, "name")?);
            months.extend(month.filter(|month| month.end() <= before));
        }
    }
    months.sort_unstable();
    months.dedup();
    Ok(months)
}

/// Drops a month; returns how many partitions that were.
async fn drop_month(client: &Client, month: Month) -> Result<u64, StoreError> {
    let [executions, steps, events, by_service, failures] = PARENTS.map(|parent| month.partition_of(parent));
    forget_ids(client, &executions).await?;
    // The executions last: one without steps is still one; steps without an execution are nobody's.
    let mut dropped = 0;
    for partition in [failures, by_service, events, steps, executions] {
        client.batch_execute(&format!("DROP TABLE IF EXISTS {partition}")).await?;
        dropped += 1;
    }
    tracing::info!(partitions = dropped, "dropped the partitions of a month");
    Ok(dropped)
}

/// Removes the directory's entries for the executions of a partition that is to be dropped.
async fn forget_ids(client: &Client, partition: &str) -> Result<(), StoreError> {
    let exists = "SELECT to_regclass(quote_ident($1)) IS NOT NULL AS there";
    if !row::get::<bool>(&client.query_one(exists, &[&partition]).await?, "there")? {
        return Ok(());
    }
    let forget = format!(
        "\
-- forget_ids
WITH portion AS MATERIALIZED (
    SELECT execution_id FROM {partition} WHERE $1::uuid IS NULL OR execution_id > $1
     ORDER BY execution_id LIMIT $2),
gone AS (
    DELETE FROM execution_directory USING portion WHERE execution_directory.execution_id = portion.execution_id)
SELECT execution_id FROM portion ORDER BY execution_id DESC LIMIT 1"
    );
    let forget = client.prepare(&forget).await?;
    let mut last: Option<Bits> = None;
    while let Some(row) = client.query_opt(&forget, &[&last, &PORTION]).await? {
        last = Some(row::get(&row, "execution_id")?);
    }
    Ok(())
}

/// Removes closed days, key by key: a key's days are old by its newest one, and not by today, so that imported history
/// is kept as history recorded as it happened. The days that recording looks at stay in any case.
///
/// By its newest day nothing is older than by today: most keys are passed over by that, with one look at their index.
async fn prune_segments(client: &Client, now: Timestamp, aggregates: Micros) -> Result<u64, StoreError> {
    const PRUNE: &str = "\
-- prune_segments
WITH portion AS MATERIALIZED (
    SELECT key FROM step_baselines WHERE $1::uuid IS NULL OR key > $1 ORDER BY key LIMIT $2),
bounds AS MATERIALIZED (
    SELECT p.key, newest.day - $4::int AS by_age, reached.day AS by_reach
      FROM portion AS p
     CROSS JOIN LATERAL (
        SELECT day FROM baseline_segments WHERE key = p.key ORDER BY day DESC LIMIT 1) AS newest
     CROSS JOIN LATERAL (
        SELECT day FROM baseline_segments WHERE key = p.key ORDER BY day DESC LIMIT 1 OFFSET $5) AS reached
     WHERE EXISTS (SELECT FROM baseline_segments AS s WHERE s.key = p.key AND s.day < $3)),
gone AS (
    DELETE FROM baseline_segments AS s USING bounds AS b
     WHERE s.key = b.key AND s.day < b.by_age AND s.day < b.by_reach RETURNING 1)
SELECT (SELECT key FROM portion ORDER BY key DESC LIMIT 1) AS last, (SELECT count(*) FROM gone) AS segments";
    let oldest = (now - aggregates).day();
    let kept_days = now.day().0.saturating_sub(oldest.0);
    let newest_kept = i64::try_from(SEGMENTS_READ).unwrap_or(i64::MAX) - 1;
    let prune = client.prepare(PRUNE).await?;
    let (mut last, mut removed) = (None, 0);
    loop {
        let params: [&(dyn ToSql + Sync); 5] = [&last, &PORTION, &Date(oldest), &kept_days, &newest_kept];
        let row = client.query_one(&prune, &params).await?;
        removed += row::count(&row, "segments")?;
        last = row::get::<Option<Bits>>(&row, "last")?;
        if last.is_none() {
            return Ok(removed);
        }
    }
}

/// Removes keys that hold no more. One that is being used again at this moment is locked, and passed over.
async fn prune_idempotency_keys(client: &Client, before: Timestamp) -> Result<u64, StoreError> {
    const PRUNE: &str = "\
-- prune_idempotency
DELETE FROM idempotency_keys
 WHERE scope IN (SELECT scope FROM idempotency_keys WHERE created_at <= $1 LIMIT $2 FOR UPDATE SKIP LOCKED)";
    in_portions(client, PRUNE, before).await
}

/// Removes incidents that are over, with all that is about them. Nothing changes them any more, so that nobody holds them.
async fn prune_incidents(client: &Client, before: Timestamp) -> Result<u64, StoreError> {
    const PRUNE: &str = "\
-- prune_incidents
WITH portion AS MATERIALIZED (
    SELECT incident_id FROM incidents WHERE NOT is_current AND resolved_at < $1 ORDER BY resolved_at LIMIT $2),
notifications AS (DELETE FROM notification_outbox WHERE incident_id IN (SELECT incident_id FROM portion)),
messages AS (DELETE FROM notification_messages WHERE incident_id IN (SELECT incident_id FROM portion)),
entries AS (DELETE FROM incident_entries WHERE incident_id IN (SELECT incident_id FROM portion))
DELETE FROM incidents WHERE incident_id IN (SELECT incident_id FROM portion)";
    in_portions(client, PRUNE, before).await
}

/// Removes notifications that were sent, refused or dropped.
async fn prune_notifications(client: &Client, before: Timestamp) -> Result<u64, StoreError> {
    const PRUNE: &str = "\
-- prune_notifications
DELETE FROM notification_outbox
 WHERE notification_id IN (SELECT notification_id FROM notification_outbox WHERE settled_at < $1
                            ORDER BY settled_at LIMIT $2)";
    in_portions(client, PRUNE, before).await
}

/// Removes groups of failures of which none was recorded since, with their words, and what workflows knew of them. One
/// that is being counted at this moment is passed over; one that was is not old any more.
async fn prune_failures(client: &Client, before: Timestamp) -> Result<u64, StoreError> {
    const PRUNE_OF_WORKFLOWS: &str = "\
-- prune_failure_workflows
WITH portion AS MATERIALIZED (
    SELECT workflow_name, fingerprint FROM failure_workflows WHERE noted_day < ($1::timestamptz AT TIME ZONE 'UTC')::date
     ORDER BY noted_day LIMIT $2 FOR UPDATE SKIP LOCKED)
DELETE FROM failure_workflows AS w USING portion AS p
 WHERE w.workflow_name = p.workflow_name AND w.fingerprint = p.fingerprint";
    const PRUNE: &str = "\
-- prune_failure_groups
WITH portion AS MATERIALIZED (
    SELECT fingerprint, tokens FROM failure_groups WHERE noted_day < ($1::timestamptz AT TIME ZONE 'UTC')::date
     ORDER BY noted_day LIMIT $2 FOR UPDATE SKIP LOCKED),
words AS (
    DELETE FROM failure_tokens AS f USING portion AS p CROSS JOIN LATERAL unnest(p.tokens) AS word (token)
     WHERE f.token = word.token AND f.size = cardinality(p.tokens) AND f.fingerprint = p.fingerprint)
DELETE FROM failure_groups AS g USING portion AS p WHERE g.fingerprint = p.fingerprint";
    in_portions(client, PRUNE_OF_WORKFLOWS, before).await?;
    in_portions(client, PRUNE, before).await
}

/// Repeats a deletion until there is nothing left to delete; returns how many rows that were.
async fn in_portions(client: &Client, sql: &str, before: Timestamp) -> Result<u64, StoreError> {
    let prune = client.prepare(sql).await?;
    let mut removed = 0;
    loop {
        let portion = client.execute(&prune, &[&Stamp(before), &PORTION]).await?;
        removed += portion;
        if portion == 0 {
            return Ok(removed);
        }
    }
}
