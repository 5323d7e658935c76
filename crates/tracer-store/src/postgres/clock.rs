//! The database's clock, by which all replicas stamp.
//!
//! Each replica measures how far its own clock is from the database's, every few seconds, and adds that to what its
//! clock says: asking for the time costs no round trip, and replicas whose machines disagree do not.
//!
//! Invariant: an offset is off by at most half the round trip of its measurement.
//! Not here: the system's clock itself (`crate::clock`).

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracer_core::clock::Clock;
use tracer_core::repository::RepositoryError;
use tracer_core::time::Timestamp;

use super::pool::ReadPool;
use super::row;
use crate::clock::SystemClock;

/// How often the offset is measured: clocks of machines drift by milliseconds a minute at worst.
const PERIOD: Duration = Duration::from_secs(5);

/// The system's clock, corrected by its offset to the database's.
#[derive(Debug, Default)]
pub(super) struct DatabaseClock {
    /// Microseconds to add to the system's clock.
    offset: AtomicI64,
}

impl Clock for DatabaseClock {
    fn now(&self) -> Timestamp {
        let offset = self.offset.load(Ordering::Relaxed);
        Timestamp::from_micros(SystemClock.now().as_micros().saturating_add(offset))
    }
}

impl DatabaseClock {
    /// Measures the offset.
    ///
    /// # Errors
    /// If the database is away; then the last offset goes on to hold.
    pub(super) async fn measure(&self, pool: &ReadPool) -> Result<(), RepositoryError> {
        const NOW: &str = "-- clock\nSELECT clock_timestamp() AS now";
        // A connection may have to be made first; that must not count as part of the round trip.
        pool.ping().await?;
        let asked = SystemClock.now().as_micros();
        let rows = pool.query("clock", NOW, &[]).await?;
        let answered = SystemClock.now().as_micros();
        if let Some(row) = rows.first() {
            let now = row::some_instant(row, "now").map_err(|error| error.into_repository("clock"))?;
            let middle = asked + (answered - asked) / 2;
            self.offset.store(now.as_micros() - middle, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Measures on and on, until cancelled.
    pub(super) async fn keep(self: Arc<Self>, pool: ReadPool, cancelled: CancellationToken) {
        loop {
            tokio::select! {
                () = cancelled.cancelled() => return,
                () = tokio::time::sleep(PERIOD) => {}
            }
            if let Err(error) = self.measure(&pool).await {
                tracing::debug!(cause = %error, "the database's clock was not read");
            }
        }
    }
}
