//! Events: how their rows are found, written, read and deleted.
//!
//! Not here: how they are numbered (`tracer_core::record`).

use rusqlite::{OptionalExtension, Transaction, params};
use tracer_core::event::{EventId, EventKind, LogLevel, WorkflowEvent};
use tracer_core::ids::{ExecutionId, StepId};
use tracer_core::record::WorkingSet;
use tracer_core::time::Timestamp;

use super::error::StoreError;
use super::reads::{collect, sql_limit};
use super::row::{self, optional_text, stored_attributes, text, time};

pub(super) const LAST: &str = "\
-- last_event
SELECT number, recorded_at
  FROM workflow_events
 WHERE execution_id = ?1
 ORDER BY number DESC
 LIMIT 1";

pub(super) const KNOWN: &str = "\
-- known_event
SELECT 1
  FROM workflow_events
 WHERE execution_id = ?1 AND event_id = ?2";

const INSERT: &str = "\
-- insert_event
INSERT INTO workflow_events
       (execution_id, number, event_id, kind, level, step_id, at, recorded_at, message, attributes)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";

pub(super) const LIST: &str = "\
-- events
SELECT number, event_id, kind, level, step_id, at, recorded_at, message, attributes
  FROM workflow_events
 WHERE execution_id = ?1 AND number > ?2
 ORDER BY number
 LIMIT ?3";

pub(super) const DELETE: &str = "\
-- delete_events
DELETE FROM workflow_events
 WHERE (execution_id, number) IN (SELECT execution_id, number
                                    FROM workflow_events
                                   WHERE execution_id = ?1
                                   LIMIT ?2)";

/// Loads what recording these events needs to know of those that there are.
pub(super) fn load<'a>(
    tx: &Transaction<'_>,
    keys: impl IntoIterator<Item = &'a (ExecutionId, EventId)>,
    set: &mut WorkingSet,
) -> Result<(), StoreError> {
    for (execution, id) in keys {
        let log = set.events.entry(*execution).or_default();
        if log.last == 0 {
            log.last = last(tx, *execution)?.map_or(0, |(number, _)| number);
        }
        if tx.prepare_cached(KNOWN)?.exists(params![execution.to_bytes(), id.to_bytes()])? {
            log.known.insert(*id);
        }
    }
    Ok(())
}

/// Returns the number of the last event of an execution, and when it was recorded.
pub(super) fn last(tx: &Transaction<'_>, id: ExecutionId) -> Result<Option<(u32, Timestamp)>, StoreError> {
    let mut statement = tx.prepare_cached(LAST)?;
    let found = statement.query_row([id.to_bytes()], |found| Ok((found.get(0)?, found.get::<_, i64>(1)?)));
    Ok(found.optional()?.map(|(number, at)| (number, Timestamp::from_micros(at))))
}

/// Writes the events that are new.
pub(super) fn save(tx: &Transaction<'_>, set: &WorkingSet) -> Result<(), StoreError> {
    for event in set.new_events.values() {
        tx.prepare_cached(INSERT)?.execute(params![
            event.execution.to_bytes(),
            event.number,
            event.id.to_bytes(),
            event.kind.as_str(),
            event.level.map(LogLevel::as_str),
            event.step.map(StepId::to_stored),
            event.at.as_micros(),
            event.recorded_at.as_micros(),
            event.message,
            stored_attributes(&event.attributes)?,
        ])?;
    }
    Ok(())
}

/// Returns events of an execution in the order of their numbers.
pub(super) fn list(
    tx: &Transaction<'_>,
    id: ExecutionId,
    after: u32,
    limit: usize,
) -> Result<Vec<WorkflowEvent>, StoreError> {
    let mut statement = tx.prepare_cached(LIST)?;
    let mut rows = statement.query(params![id.to_bytes(), after, sql_limit(limit)])?;
    collect(&mut rows, |found| {
        let kind = text(found, 2)?;
        Ok(WorkflowEvent {
            execution: id,
            number: found.get(0)?,
            id: EventId::from_bytes(found.get(1)?),
            kind: EventKind::parse(kind).ok_or_else(|| StoreError::stored("event kind", kind.to_owned()))?,
            level: optional_text(found, 3)?.and_then(LogLevel::parse),
            step: found.get::<_, Option<i64>>(4)?.map(StepId::from_stored),
            at: time(found, 5)?,
            recorded_at: time(found, 6)?,
            message: text(found, 7)?.to_owned(),
            attributes: row::attributes(found, 8)?,
        })
    })
}

/// Deletes at most `limit` events of an execution; returns how many.
pub(super) fn delete(tx: &Transaction<'_>, id: ExecutionId, limit: i64) -> Result<usize, StoreError> {
    Ok(tx.prepare_cached(DELETE)?.execute(params![id.to_bytes(), limit])?)
}
