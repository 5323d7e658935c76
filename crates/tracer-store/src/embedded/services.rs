//! Services: who they are, what they do, in which executions they have a part, whom they call.
//!
//! Invariant: where an execution is found by service goes with the execution.
//! Not here: what a batch hears of services (`tracer_core::record`), and what is known already (`heard`).

use rusqlite::{OptionalExtension as _, Transaction, params};
use tracer_core::execution::Execution;
use tracer_core::ids::ExecutionId;
use tracer_core::limits;
use tracer_core::record::ServiceChanges;
use tracer_core::repository::ExecutionCursor;
use tracer_core::services::{Operation, ServiceCalls, services_of};
use tracer_core::span::SpanKind;
use tracer_core::time::{Day, Timestamp};

use super::error::StoreError;
use super::reads::{collect, sql_limit};
use super::row::{self, count, stored, text};
use crate::heard::News;

/// Of names beyond those that are kept, nothing is written; of those that are there, when they were last seen.
const NOTE_SERVICE: &str = "\
-- note_service
INSERT INTO services (service, last_seen_at)
SELECT ?1, ?2
 WHERE EXISTS (SELECT 1 FROM services WHERE service = ?1) OR (SELECT count(*) FROM services) < ?3
    ON CONFLICT (service) DO UPDATE SET last_seen_at = max(last_seen_at, excluded.last_seen_at)";

const NOTE_OPERATION: &str = "\
-- note_operation
INSERT INTO service_operations (service, operation, kind, last_seen_at)
SELECT ?1, ?2, ?3, ?4
 WHERE EXISTS (SELECT 1 FROM service_operations WHERE service = ?1 AND operation = ?2 AND kind = ?3)
    OR (SELECT count(*) FROM service_operations WHERE service = ?1) < ?5
    ON CONFLICT (service, operation, kind) DO UPDATE SET last_seen_at = max(last_seen_at, excluded.last_seen_at)";

const LEAVE: &str = "\
-- leave_service
DELETE FROM service_executions
 WHERE service = ?1 AND at = ?2 AND id = ?3";

const JOIN: &str = "\
-- join_service
INSERT OR IGNORE INTO service_executions (service, at, id) VALUES (?1, ?2, ?3)";

const ADD_CALLS: &str = "\
-- add_calls
INSERT INTO service_calls (day, parent, child, calls) VALUES (?1, ?2, ?3, ?4)
    ON CONFLICT (day, parent, child) DO UPDATE SET calls = calls + excluded.calls";

const TRACE_OF: &str = "\
-- trace_of_execution
SELECT started_at, trace
  FROM workflow_executions
 WHERE execution_id = ?1 AND trace IS NOT NULL";

const SERVICES: &str = "\
-- services
SELECT name FROM (SELECT service AS name FROM services ORDER BY service LIMIT ?1)
 UNION
SELECT name FROM (SELECT workflow_name AS name FROM step_baselines INDEXED BY step_baselines_workflows
                   WHERE step_name = '' ORDER BY workflow_name LIMIT ?1)
 ORDER BY name";

/// A workflow is an operation of itself, and so are its steps.
const OPERATIONS: &str = "\
-- operations_of_service
SELECT name, kind FROM (SELECT operation AS name, kind
                          FROM service_operations WHERE service = ?1 ORDER BY operation, kind LIMIT ?2)
 UNION
SELECT name, kind FROM (SELECT iif(step_name = '', workflow_name, step_name) AS name, 'internal' AS kind
                          FROM step_baselines WHERE workflow_name = ?1 AND cohort = '{}' ORDER BY step_name LIMIT ?2)
 ORDER BY name, kind";

const EXECUTIONS: &str = concat!(
    "-- executions_of_service\nSELECT ",
    row::execution_columns!(),
    "
  FROM (SELECT at, id
          FROM service_executions
         WHERE service = ?1 AND at >= ?2 AND (at, id) < (?3, ?4)
         ORDER BY at DESC, id DESC
         LIMIT ?5)
 CROSS JOIN workflow_executions ON execution_id = id
 ORDER BY at DESC, id DESC"
);

const CALLS: &str = "\
-- service_calls
SELECT parent, child, sum(calls)
  FROM service_calls
 WHERE day BETWEEN ?1 AND ?2
 GROUP BY parent, child
 ORDER BY parent, child
 LIMIT ?3";

const OLD_SERVICES: &str = "\
-- old_services
DELETE FROM services WHERE last_seen_at < ?1";

const OLD_OPERATIONS: &str = "\
-- old_operations
DELETE FROM service_operations WHERE last_seen_at < ?1";

const OLD_CALLS: &str = "\
-- old_calls
DELETE FROM service_calls WHERE day < ?1";

/// Writes what was heard of services; mostly nothing.
pub(super) fn save(
    tx: &Transaction<'_>,
    changes: &ServiceChanges,
    news: &News<'_>,
    now: Timestamp,
) -> Result<(), StoreError> {
    for ((service, id), place) in &changes.places {
        if let Some(from) = place.from {
            tx.prepare_cached(LEAVE)?.execute(params![service, from.as_micros(), id.to_bytes()])?;
        }
        if let Some(to) = place.to {
            tx.prepare_cached(JOIN)?.execute(params![service, to.as_micros(), id.to_bytes()])?;
        }
    }
    let (at, most) = (now.as_micros(), sql_limit(limits::SERVICES));
    for service in &news.services {
        tx.prepare_cached(NOTE_SERVICE)?.execute(params![service, at, most])?;
    }
    let most = sql_limit(limits::SERVICE_OPERATIONS);
    for (service, name, kind) in &news.operations {
        tx.prepare_cached(NOTE_OPERATION)?.execute(params![service, name, kind.as_str(), at, most])?;
    }
    for ((day, parent, child), calls) in &changes.calls {
        tx.prepare_cached(ADD_CALLS)?.execute(params![day.0, parent, child, stored(*calls)])?;
    }
    Ok(())
}

/// Removes an execution that is about to be deleted from those of its services.
pub(super) fn forget(tx: &Transaction<'_>, id: ExecutionId) -> Result<(), StoreError> {
    let mut statement = tx.prepare_cached(TRACE_OF)?;
    let read = |found: &rusqlite::Row<'_>| Ok((found.get::<_, i64>(0)?, row::trace(found, 1)));
    let Some((at, trace)) = statement.query_row([id.to_bytes()], read).optional()? else { return Ok(()) };
    let Some(trace) = trace? else { return Ok(()) };
    for service in services_of(&trace) {
        tx.prepare_cached(LEAVE)?.execute(params![service, at, id.to_bytes()])?;
    }
    Ok(())
}

/// Removes names that were not seen, and calls that were made, before an instant. There are few.
pub(super) fn delete_old(tx: &Transaction<'_>, before: Timestamp) -> Result<(), StoreError> {
    for sql in [OLD_SERVICES, OLD_OPERATIONS] {
        tx.prepare_cached(sql)?.execute([before.as_micros()])?;
    }
    tx.prepare_cached(OLD_CALLS)?.execute([before.day().0])?;
    Ok(())
}

/// Returns the names of services and workflows.
pub(super) fn services(tx: &Transaction<'_>) -> Result<Vec<String>, StoreError> {
    let mut statement = tx.prepare_cached(SERVICES)?;
    let mut rows = statement.query([sql_limit(limits::SERVICES)])?;
    collect(&mut rows, |found| Ok(text(found, 0)?.to_owned()))
}

/// Returns what a service does.
pub(super) fn operations(tx: &Transaction<'_>, service: &str) -> Result<Vec<Operation>, StoreError> {
    let mut statement = tx.prepare_cached(OPERATIONS)?;
    let mut rows = statement.query(params![service, sql_limit(limits::SERVICE_OPERATIONS)])?;
    collect(&mut rows, |found| {
        let kind = SpanKind::parse(text(found, 1)?).unwrap_or_default();
        Ok(Operation { name: text(found, 0)?.to_owned(), kind })
    })
}

/// Returns executions with spans of a service, newest start first.
pub(super) fn executions(
    tx: &Transaction<'_>,
    service: &str,
    from: Timestamp,
    until: Timestamp,
    after: Option<ExecutionCursor>,
    limit: usize,
) -> Result<Vec<Execution>, StoreError> {
    // No id is all zeros, so that everything of that instant lies behind it.
    let (at, id) = match after.filter(|after| after.started_at < until) {
        Some(after) => (after.started_at, after.id.to_bytes()),
        None => (until, [0; 16]),
    };
    let mut statement = tx.prepare_cached(EXECUTIONS)?;
    let mut rows =
        statement.query(params![service, from.as_micros(), at.as_micros(), id, sql_limit(limit)])?;
    collect(&mut rows, row::execution)
}

/// Returns how often services called one another.
pub(super) fn calls(tx: &Transaction<'_>, first: Day, last: Day) -> Result<Vec<ServiceCalls>, StoreError> {
    let mut statement = tx.prepare_cached(CALLS)?;
    let mut rows = statement.query(params![first.0, last.0, sql_limit(limits::SERVICE_CALLS_SHOWN)])?;
    collect(&mut rows, |found| {
        let (parent, child) = (text(found, 0)?.to_owned(), text(found, 1)?.to_owned());
        Ok(ServiceCalls { parent, child, calls: count(found, 2)? })
    })
}

#[cfg(test)]
pub(super) const STATEMENTS: [&str; 9] =
    [LEAVE, TRACE_OF, SERVICES, OPERATIONS, EXECUTIONS, CALLS, OLD_SERVICES, OLD_OPERATIONS, OLD_CALLS];
