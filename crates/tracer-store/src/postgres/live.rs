//! The change feed over PostgreSQL: the same changes under the same numbers on every replica.
//!
//! A batch that changes something adds one row with all of it, as the last statement before its COMMIT: its number is
//! taken while it holds all its locks, so that the batches of one execution are numbered as they commit. Numbers of
//! different executions may become visible in another order; whoever reads waits at a number that is missing, until
//! it is there or its transaction is known to be over (`follower`).
//!
//! That there is something new is said by `NOTIFY`, beside the transactions and not in them: one in a transaction
//! would make commits wait for each other. It is a hint; without it, followers look once a second.
//!
//! Invariant: bounded by age and bytes, whether anybody reads or not (`keep`).
//! Not here: what is a change (`tracer_core::record`).

mod follower;
mod keep;

use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracer_core::record::WorkingSet;

use super::pool::{Connector, ReadPool};
use super::row;
use super::tx::Params;

pub(super) use follower::Follower;

pub(super) const ADD: &str = "\
-- add_changes
INSERT INTO live_changes (bytes, body) VALUES ($1, $2)";

const NOTIFY: &str = "\
-- notify_changes
SELECT pg_notify('tracer_live', $1)";

/// The channel that replicas tell each other on.
const CHANNEL: &str = "tracer_live";

/// Least time between two notifications.
const PAUSE: Duration = Duration::from_millis(20);

/// What the batches of this process tell those in it who follow.
#[derive(Clone, Debug)]
pub(super) struct Live {
    /// Who this process is among those that notify.
    origin: String,
    written: watch::Sender<()>,
}

impl Live {
    /// Makes one that nobody listens to yet.
    pub(super) fn new() -> Self {
        let origin = one_of_a_kind();
        Self { origin, written: watch::Sender::new(()) }
    }

    /// Notes that a batch with changes was committed.
    pub(super) fn committed(&self) {
        self.written.send_replace(());
    }

    /// Begins to follow, with so many bytes of the past.
    pub(super) fn follow(&self, connector: Connector, past_bytes: usize) -> Follower {
        Follower::new(connector, self.clone(), past_bytes)
    }

    /// Starts what runs beside: telling other replicas, and removing what is old.
    pub(super) fn start(&self, pool: ReadPool, connector: Connector, stop: &CancellationToken) {
        tokio::spawn(self.clone().notify(pool, stop.clone()));
        tokio::spawn(keep::keep(connector, self.written.subscribe(), stop.clone()));
    }

    async fn notify(self, pool: ReadPool, stop: CancellationToken) {
        let mut written = self.written.subscribe();
        while let Some(Ok(())) = stop.run_until_cancelled(written.changed()).await {
            // A hint that is lost is made up for by the period of whoever follows.
            if let Err(error) = pool.query("notify_changes", NOTIFY, &[&self.origin]).await {
                tracing::debug!(error = &error as &dyn std::error::Error, "replicas were not notified");
            }
            if stop.run_until_cancelled(tokio::time::sleep(PAUSE)).await.is_none() {
                return;
            }
        }
    }
}

/// The parameters of [`ADD`].
pub(super) fn add<'a>(set: &WorkingSet) -> Params<'a> {
    let body = row::to_json(&set.changes).into_bytes();
    vec![Box::new(i32::try_from(body.len()).unwrap_or(i32::MAX)), Box::new(body)]
}

/// Returns what no other process calls itself.
fn one_of_a_kind() -> String {
    tracer_core::ids::ExecutionId::mint(tracer_core::clock::Clock::now(&crate::clock::SystemClock))
        .to_string()
}
