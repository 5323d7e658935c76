//! Counts of service level objectives: as a batch adds to them, and as they are read.
//!
//! Not here: what counts for which objective (`tracer_core::record`), and what is made of it (`tracer_core::slo`).

use async_trait::async_trait;
use rusqlite::{OptionalExtension, Transaction, params};
use tracer_core::ids::ExecutionId;
use tracer_core::record::WorkingSet;
use tracer_core::repository::RepositoryError;
use tracer_core::slo::{Resolution, SloRepository, SlotRange, SlotSums};
use tracer_core::time::Timestamp;

use super::EmbeddedStore;
use super::error::StoreError;

const ADD: &str = "\
-- add_slo_count
INSERT INTO slo_slots
       (slo, definition, resolution, slot_at, events, failed, slow, last_failed, last_slow)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
    ON CONFLICT DO UPDATE
   SET events = events + ?5, failed = failed + ?6, slow = slow + ?7, last_failed = coalesce(?8, last_failed),
       last_slow = coalesce(?9, last_slow)";

/// Adds what a batch counted.
pub(super) fn save(tx: &Transaction<'_>, set: &WorkingSet) -> Result<(), StoreError> {
    if set.slo_counts.is_empty() {
        return Ok(());
    }
    let mut statement = tx.prepare_cached(ADD)?;
    for (slot, count) in &set.slo_counts {
        statement.execute(params![
            slot.slo.as_str(),
            slot.definition.to_stored(),
            slot.resolution.minutes(),
            slot.at.as_micros(),
            count.events,
            count.failed,
            count.slow,
            count.last_failed.map(ExecutionId::to_bytes),
            count.last_slow.map(ExecutionId::to_bytes),
        ])?;
    }
    Ok(())
}

const SUMS: &str = "\
-- slo_counts
SELECT coalesce(sum(events), 0), coalesce(sum(failed), 0), coalesce(sum(slow), 0)
  FROM slo_slots
 WHERE slo = ?1 AND definition = ?2 AND resolution = ?3 AND slot_at >= ?4";

const LAST_FAILED: &str = "\
-- slo_last_failed
SELECT last_failed
  FROM slo_slots
 WHERE slo = ?1 AND definition = ?2 AND resolution = ?3 AND slot_at >= ?4 AND last_failed IS NOT NULL
 ORDER BY slot_at DESC
 LIMIT 1";

const LAST_SLOW: &str = "\
-- slo_last_slow
SELECT last_slow
  FROM slo_slots
 WHERE slo = ?1 AND definition = ?2 AND resolution = ?3 AND slot_at >= ?4 AND last_slow IS NOT NULL
 ORDER BY slot_at DESC
 LIMIT 1";

fn sums(tx: &Transaction<'_>, range: &SlotRange) -> Result<SlotSums, StoreError> {
    let definition = range.definition.to_stored();
    let key = params![range.slo.as_str(), definition, range.resolution.minutes(), range.from.as_micros()];
    let counted = tx.prepare_cached(SUMS)?.query_row(key, |row| {
        let count = |column| Ok::<_, rusqlite::Error>(u64::try_from(row.get::<_, i64>(column)?).unwrap_or(0));
        Ok(SlotSums { events: count(0)?, failed: count(1)?, slow: count(2)?, ..SlotSums::default() })
    })?;
    let last = |sql| -> Result<Option<ExecutionId>, StoreError> {
        let id = tx.prepare_cached(sql)?.query_row(key, |row| row.get::<_, [u8; 16]>(0)).optional()?;
        Ok(id.map(ExecutionId::from_bytes))
    };
    Ok(SlotSums { last_failed: last(LAST_FAILED)?, last_slow: last(LAST_SLOW)?, ..counted })
}

const PRUNE: &str = "\
-- prune_slo_slots
DELETE FROM slo_slots
 WHERE (slo, definition, resolution, slot_at) IN (SELECT slo, definition, resolution, slot_at
                                                    FROM slo_slots
                                                   WHERE resolution = ?1 AND slot_at < ?2
                                                   LIMIT ?3)";

/// Deletes slots that no window reaches any more.
pub(super) fn delete_old(
    tx: &Transaction<'_>,
    resolution: Resolution,
    now: Timestamp,
    limit: i64,
) -> Result<usize, StoreError> {
    let before = (now - resolution.kept()).as_micros();
    Ok(tx.prepare_cached(PRUNE)?.execute(params![resolution.minutes(), before, limit])?)
}

/// The statements whose plans are looked at.
#[cfg(test)]
pub(super) const STATEMENTS: [&str; 4] = [SUMS, LAST_FAILED, LAST_SLOW, PRUNE];

#[async_trait]
impl SloRepository for EmbeddedStore {
    async fn slo_counts(&self, ranges: &[SlotRange]) -> Result<Vec<SlotSums>, RepositoryError> {
        let ranges = ranges.to_vec();
        let read = move |tx: &Transaction<'_>| ranges.iter().map(|range| sums(tx, range)).collect();
        Ok(self.readers.read("slo_counts", read).await?)
    }
}
