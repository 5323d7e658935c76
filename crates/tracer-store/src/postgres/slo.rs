//! Counts of service level objectives: as a batch adds to them, and as they are read.
//!
//! Invariant: rows that batches share are written behind all that belongs to one execution, in the order of their keys.
//! Not here: what counts for which objective (`tracer_core::record`), and what is made of it (`tracer_core::slo`).

use async_trait::async_trait;
use tokio_postgres::Client;
use tokio_postgres::Row;
use tracer_core::ids::ExecutionId;
use tracer_core::record::WorkingSet;
use tracer_core::repository::RepositoryError;
use tracer_core::slo::{Resolution, SloRepository, Slot, SlotCount, SlotRange, SlotSums};
use tracer_core::time::Timestamp;

use super::PostgresStore;
use super::error::StoreError;
use super::row::{self, Bits, Stamp};
use super::tx::{Params, Pipeline, Statements, column};

pub(super) const ADD: &str = "\
-- add_slo_counts
INSERT INTO slo_slots AS s
       (slo, definition, resolution, slot_at, events, failed, slow, last_failed, last_slow)
SELECT n.slo, n.definition, n.resolution, n.slot_at, n.events, n.failed, n.slow, n.last_failed, n.last_slow
  FROM unnest($1::text[], $2::bigint[], $3::smallint[], $4::timestamptz[], $5::bigint[], $6::bigint[], $7::bigint[],
              $8::uuid[], $9::uuid[])
       AS n (slo, definition, resolution, slot_at, events, failed, slow, last_failed, last_slow)
 ORDER BY n.slo COLLATE \"C\", n.definition, n.resolution, n.slot_at
    ON CONFLICT (slo, definition, resolution, slot_at) DO UPDATE
   SET events = s.events + excluded.events, failed = s.failed + excluded.failed, slow = s.slow + excluded.slow,
       last_failed = coalesce(excluded.last_failed, s.last_failed),
       last_slow = coalesce(excluded.last_slow, s.last_slow)";

/// Adds the counting; nothing where nothing that ended counts for an objective.
pub(super) fn save<'a>(pipeline: &mut Pipeline<'a>, statements: &'a Statements, set: &'a WorkingSet) {
    if !set.slo_counts.is_empty() {
        pipeline.execute(&statements.add_slo_counts, counted(set));
    }
}

fn counted(set: &WorkingSet) -> Params<'_> {
    let rows: Vec<(&Slot, &SlotCount)> = set.slo_counts.iter().collect();
    vec![
        column(&rows, |(slot, _)| slot.slo.as_str()),
        column(&rows, |(slot, _)| slot.definition.to_stored()),
        column(&rows, |(slot, _)| slot.resolution.minutes()),
        column(&rows, |(slot, _)| Stamp(slot.at)),
        column(&rows, |(_, count)| count.events),
        column(&rows, |(_, count)| count.failed),
        column(&rows, |(_, count)| count.slow),
        column(&rows, |(_, count)| count.last_failed.map(Bits::from)),
        column(&rows, |(_, count)| count.last_slow.map(Bits::from)),
    ]
}

/// One pass over the slots of each range.
const SUMS: &str = "\
-- slo_counts
SELECT c.events, c.failed, c.slow, c.last_failed, c.last_slow
  FROM unnest($1::text[], $2::bigint[], $3::smallint[], $4::timestamptz[]) WITH ORDINALITY
       AS r (slo, definition, resolution, from_at, place)
 CROSS JOIN LATERAL (
    SELECT coalesce(sum(s.events), 0)::bigint AS events, coalesce(sum(s.failed), 0)::bigint AS failed,
           coalesce(sum(s.slow), 0)::bigint AS slow,
           (array_agg(s.last_failed ORDER BY s.slot_at DESC) FILTER (WHERE s.last_failed IS NOT NULL))[1] AS last_failed,
           (array_agg(s.last_slow ORDER BY s.slot_at DESC) FILTER (WHERE s.last_slow IS NOT NULL))[1] AS last_slow
      FROM slo_slots AS s
     WHERE s.slo = r.slo COLLATE \"C\" AND s.definition = r.definition AND s.resolution = r.resolution
       AND s.slot_at >= r.from_at) AS c
 ORDER BY r.place";

fn sums(found: &Row) -> Result<SlotSums, StoreError> {
    let counted = |name| Ok::<_, StoreError>(u64::try_from(row::get::<i64>(found, name)?).unwrap_or(0));
    let last = |name| {
        let bits: Option<Bits> = row::get(found, name)?;
        Ok::<_, StoreError>(bits.map(|bits| ExecutionId::from_bytes(bits.0)))
    };
    Ok(SlotSums {
        events: counted("events")?,
        failed: counted("failed")?,
        slow: counted("slow")?,
        last_failed: last("last_failed")?,
        last_slow: last("last_slow")?,
    })
}

/// Removes slots that no window reaches any more: nothing is added to these either.
pub(super) async fn prune(client: &Client, now: Timestamp, portion: i64) -> Result<(), StoreError> {
    const PRUNE: &str = "\
-- prune_slo_slots
DELETE FROM slo_slots
 WHERE (slo, definition, resolution, slot_at) IN (
       SELECT slo, definition, resolution, slot_at FROM slo_slots WHERE resolution = $1 AND slot_at < $2
        ORDER BY slot_at LIMIT $3)";
    let prune = client.prepare(PRUNE).await?;
    for resolution in Resolution::ALL {
        let before = Stamp(now - resolution.kept());
        while client.execute(&prune, &[&resolution.minutes(), &before, &portion]).await? > 0 {}
    }
    Ok(())
}

#[async_trait]
impl SloRepository for PostgresStore {
    async fn slo_counts(&self, ranges: &[SlotRange]) -> Result<Vec<SlotSums>, RepositoryError> {
        const NAME: &str = "slo_counts";
        let names: Vec<&str> = ranges.iter().map(|range| range.slo.as_str()).collect();
        let definitions: Vec<i64> = ranges.iter().map(|range| range.definition.to_stored()).collect();
        let resolutions: Vec<i16> = ranges.iter().map(|range| range.resolution.minutes()).collect();
        let starts: Vec<Stamp> = ranges.iter().map(|range| Stamp(range.from)).collect();
        let rows = self.pool.query(NAME, SUMS, &[&names, &definitions, &resolutions, &starts]).await?;
        rows.iter().map(sums).collect::<Result<_, _>>().map_err(|error| error.into_repository(NAME))
    }
}
