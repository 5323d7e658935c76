//! Deletes what has been kept long enough, in portions.
//!
//! Each portion is a short transaction of its own on the writing connection, so that
//! batches go on in between. A portion takes an execution's steps before the execution itself: if
//! the process ends in the middle, the next round goes on where this one stopped.
//!
//! Invariant: nothing that runs is deleted, whatever its age; it is closed first, by the service.
//! Baselines are not deleted here at all; of their closed days, those that recording looks at stay.

use rusqlite::{OptionalExtension, Transaction, params};
use tracer_core::baseline::SEGMENTS_READ;
use tracer_core::ids::ExecutionId;
use tracer_core::repository::{Pruned, Retention};
use tracer_core::slo::Resolution;
use tracer_core::time::{Day, Micros, Timestamp};

use super::connection::WriteConnection;
use super::error::StoreError;
use super::{attributes, events, failures, idempotency, incidents, outbox, row, services, slo};

/// Rows deleted in one transaction: some milliseconds of work.
const PORTION: usize = 1_000;

/// How long an idempotency key holds.
const IDEMPOTENCY_KEPT: Micros = Micros::from_days(1);

/// Pages given back to the file system in one transaction: 2 MiB.
const VACUUM_PAGES: i64 = 512;

/// The share of free pages that the file keeps, as a divisor: they are the room of the next days.
const FREE_SHARE: i64 = 4;

/// Removes what has been kept long enough.
pub(super) async fn prune(
    connection: &WriteConnection,
    now: Timestamp,
    retention: Retention,
    portion: usize,
) -> Result<Pruned, StoreError> {
    let mut pruned = Pruned::default();
    let before = now - retention.detail;
    loop {
        let done =
            connection.write("prune_executions", move |tx| prune_executions(tx, before, portion)).await?;
        pruned.executions += done.executions;
        if !done.more {
            break;
        }
    }
    pruned.segments = prune_segments(connection, now, retention.aggregates, portion).await?;
    let before = now - IDEMPOTENCY_KEPT;
    pruned.idempotency_keys = portions(connection, "prune_idempotency_keys", portion, move |tx, limit| {
        idempotency::delete_expired(tx, before.as_micros(), limit)
    })
    .await?;
    let before = now - retention.aggregates;
    pruned.incidents = portions(connection, "prune_incidents", portion, move |tx, limit| {
        incidents::delete_over(tx, before, limit)
    })
    .await?;
    portions(connection, "prune_failure_workflows", portion, move |tx, limit| {
        failures::delete_of_workflows(tx, before, limit)
    })
    .await?;
    pruned.failure_groups = portions(connection, "prune_failure_groups", portion, move |tx, limit| {
        failures::delete_groups(tx, before, limit)
    })
    .await?;
    let before = now - retention.detail;
    pruned.notifications = portions(connection, "prune_notifications", portion, move |tx, limit| {
        outbox::delete_settled(tx, before, limit)
    })
    .await?;
    connection.write("prune_services", move |tx| services::delete_old(tx, before)).await?;
    for resolution in Resolution::ALL {
        portions(connection, "prune_slo_slots", portion, move |tx, limit| {
            slo::delete_old(tx, resolution, now, limit)
        })
        .await?;
    }
    while connection.run("vacuum", |connection| vacuum(connection)).await? {}
    Ok(pruned)
}

/// Removes what has been kept long enough, in portions of the usual size.
pub(super) async fn prune_in_portions(
    connection: &WriteConnection,
    now: Timestamp,
    retention: Retention,
) -> Result<Pruned, StoreError> {
    prune(connection, now, retention, PORTION).await
}

const NEXT_KEY: &str = "\
-- next_key_with_segments
SELECT key, day
  FROM baseline_segments
 WHERE ?1 IS NULL OR key > ?1
 ORDER BY key, day
 LIMIT 1";

const OLD_SEGMENTS: &str = "\
-- old_segments
DELETE FROM baseline_segments
 WHERE key = ?1
   AND day < (SELECT max(day) FROM baseline_segments WHERE key = ?1) - ?2
   AND day < (SELECT day FROM baseline_segments WHERE key = ?1 ORDER BY day DESC LIMIT 1 OFFSET ?3)";

/// Removes closed days, key by key: a key's days are old by its newest one, and not by today, so that
/// imported history is kept as history recorded as it happened.
async fn prune_segments(
    connection: &WriteConnection,
    now: Timestamp,
    aggregates: Micros,
    portion: usize,
) -> Result<u64, StoreError> {
    let oldest = (now - aggregates).day();
    let kept_days = now.day().0.saturating_sub(oldest.0);
    let (mut after, mut total) = (None, 0);
    loop {
        let delete = move |tx: &Transaction<'_>| delete_segments(tx, after, oldest, kept_days, portion);
        let (last, deleted) = connection.write("prune_segments", delete).await?;
        total += deleted;
        if last.is_none() {
            return Ok(total);
        }
        after = last;
    }
}

/// Looks at most at so many keys behind `after`, and stops sooner once so many rows are deleted.
/// Returns the last key and how many rows that were; no key once there are no more.
fn delete_segments(
    tx: &Transaction<'_>,
    after: Option<[u8; 16]>,
    oldest: Day,
    kept_days: i32,
    portion: usize,
) -> Result<(Option<[u8; 16]>, u64), StoreError> {
    let newest_kept = i64::try_from(SEGMENTS_READ).unwrap_or(i64::MAX) - 1;
    let mut next = tx.prepare_cached(NEXT_KEY)?;
    let mut delete = tx.prepare_cached(OLD_SEGMENTS)?;
    let (mut last, mut deleted) = (after, 0);
    for _ in 0..portion {
        let found =
            next.query_row([last], |found| Ok((found.get::<_, [u8; 16]>(0)?, found.get::<_, i32>(1)?)));
        let Some((key, first_day)) = found.optional()? else { return Ok((None, deleted)) };
        // By its newest day nothing can be older than by today, and most keys end here.
        if first_day < oldest.0 {
            let gone = delete.execute(params![key, kept_days, newest_kept])?;
            deleted += u64::try_from(gone).unwrap_or(0);
        }
        last = Some(key);
        if deleted >= u64::try_from(portion).unwrap_or(u64::MAX) {
            break;
        }
    }
    Ok((last, deleted))
}

/// Repeats a deletion of at most so many rows until it deletes fewer; returns how many in all.
async fn portions(
    connection: &WriteConnection,
    name: &'static str,
    portion: usize,
    delete: impl Fn(&Transaction<'_>, i64) -> Result<usize, StoreError> + Copy + Send + 'static,
) -> Result<u64, StoreError> {
    let limit = i64::try_from(portion).unwrap_or(i64::MAX);
    let mut total = 0;
    loop {
        let deleted = connection.write(name, move |tx| delete(tx, limit)).await?;
        total += u64::try_from(deleted).unwrap_or(0);
        if deleted < portion {
            return Ok(total);
        }
    }
}

const OLD_EXECUTIONS: &str = "\
-- old_executions
SELECT execution_id
  FROM workflow_executions
 WHERE recorded_at < ?1 AND status <> 'running'
 ORDER BY recorded_at
 LIMIT ?2";

const DELETE_STEPS: &str = "\
-- delete_steps
DELETE FROM workflow_steps
 WHERE (execution_id, step_id) IN (SELECT execution_id, step_id
                                     FROM workflow_steps
                                    WHERE execution_id = ?1
                                    LIMIT ?2)";

const DELETE_EXECUTION: &str = "\
-- delete_execution
DELETE FROM workflow_executions
 WHERE execution_id = ?1";

/// What one portion did.
pub(super) struct Portion {
    pub(super) executions: u64,
    /// Whether there may be more to do.
    pub(super) more: bool,
}

/// Deletes at most `rows` rows of executions recorded before an instant, and of their steps.
pub(super) fn prune_executions(
    tx: &Transaction<'_>,
    before: Timestamp,
    rows: usize,
) -> Result<Portion, StoreError> {
    let old = old_executions(tx, before, rows)?;
    let mut done = Portion { executions: 0, more: old.len() >= rows };
    let mut left = rows;
    for id in old {
        let limit = i64::try_from(left).unwrap_or(i64::MAX);
        let steps = tx.prepare_cached(DELETE_STEPS)?.execute(params![id.to_bytes(), limit])?;
        left = left.saturating_sub(steps);
        if left == 0 {
            done.more = true;
            return Ok(done);
        }
        let limit = i64::try_from(left).unwrap_or(i64::MAX);
        left = left.saturating_sub(events::delete(tx, id, limit)?);
        if left == 0 {
            done.more = true;
            return Ok(done);
        }
        attributes::delete(tx, id)?;
        services::forget(tx, id)?;
        failures::delete(tx, id)?;
        tx.prepare_cached(DELETE_EXECUTION)?.execute([id.to_bytes()])?;
        left -= 1;
        done.executions += 1;
        if left == 0 {
            done.more = true;
            return Ok(done);
        }
    }
    Ok(done)
}

fn old_executions(
    tx: &Transaction<'_>,
    before: Timestamp,
    limit: usize,
) -> Result<Vec<ExecutionId>, StoreError> {
    let mut statement = tx.prepare_cached(OLD_EXECUTIONS)?;
    let mut rows = statement.query(params![before.as_micros(), super::reads::sql_limit(limit)])?;
    super::reads::collect(&mut rows, |found| row::execution_id(found, 0))
}

/// Gives a portion of the free pages back, if there are more than the file is to keep; returns
/// whether there may be more.
fn vacuum(connection: &rusqlite::Connection) -> Result<bool, StoreError> {
    let pages = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let (free, all) = (pages("freelist_count")?, pages("page_count")?);
    let spare = free - all / FREE_SHARE;
    if spare < VACUUM_PAGES {
        return Ok(false);
    }
    // The pragma gives back a page per row that it answers: it has to be read to its end.
    let mut statement = connection.prepare(&format!("PRAGMA incremental_vacuum({VACUUM_PAGES})"))?;
    let mut rows = statement.query([])?;
    while rows.next()?.is_some() {}
    drop(rows);
    Ok(pages("freelist_count")? < free)
}
