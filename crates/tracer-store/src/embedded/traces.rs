//! What spans change of executions, and the steps that wait to be learnt with their trace.
//!
//! Not here: steps and executions as clients record them (`steps`, `executions`).

use rusqlite::{Transaction, params};
use tracer_core::ids::ExecutionId;
use tracer_core::name::Version;
use tracer_core::record::{TracedExecution, WorkingSet};
use tracer_core::time::Timestamp;

use super::attributes;
use super::error::StoreError;
use super::reads::{collect, sql_limit};
use super::row::{self, stored, stored_attributes, stored_failure, stored_micros};

const WAITING: &str = concat!(
    "-- waiting_steps\nSELECT ",
    row::step_columns!(),
    "\n  FROM workflow_steps\n WHERE execution_id = ?1 AND (by_trace OR status = 'running')"
);

const UPDATE_EXECUTION: &str = "\
-- update_traced_execution
UPDATE workflow_executions
   SET workflow_name = ?2, status = ?3, started_at = ?4, ended_at = ?5, duration_us = ?6,
       worst_severity = ?7, steps_completed = ?8, judge_at = ?9, settle_at = ?10, trace = ?11
 WHERE execution_id = ?1";

const UPDATE_FACTS: &str = "\
-- update_facts
UPDATE workflow_executions
   SET version = ?2, attributes = ?3
 WHERE execution_id = ?1";

const UPDATE_FAILURE: &str = "\
-- update_failure
UPDATE workflow_executions
   SET error = ?2
 WHERE execution_id = ?1";

pub(super) const DUE: &str = "\
-- due_traces
SELECT execution_id, settle_at
  FROM workflow_executions INDEXED BY workflow_executions_settle
 WHERE settle_at <= ?1
 ORDER BY settle_at
 LIMIT ?2";

/// Loads the steps of these executions that wait to enter their histories, or run.
pub(super) fn load_waiting<'a>(
    tx: &Transaction<'_>,
    ids: impl IntoIterator<Item = &'a ExecutionId>,
    set: &mut WorkingSet,
) -> Result<(), StoreError> {
    let mut statement = tx.prepare_cached(WAITING)?;
    for id in ids {
        let mut rows = statement.query([id.to_bytes()])?;
        set.waiting.insert(*id, collect(&mut rows, row::step)?);
    }
    Ok(())
}

/// Returns the traces that are to be looked at.
pub(super) fn due(
    tx: &Transaction<'_>,
    now: Timestamp,
    limit: usize,
) -> Result<Vec<(Timestamp, ExecutionId)>, StoreError> {
    let mut statement = tx.prepare_cached(DUE)?;
    let mut rows = statement.query(params![now.as_micros(), sql_limit(limit)])?;
    collect(&mut rows, |found| Ok((row::time(found, 1)?, row::execution_id(found, 0)?)))
}

/// Writes the executions that spans have changed.
pub(super) fn save_executions(tx: &Transaction<'_>, set: &WorkingSet) -> Result<(), StoreError> {
    for (id, traced) in &set.traced_executions {
        save_execution(tx, *id, traced, set)?;
    }
    Ok(())
}

fn save_execution(
    tx: &Transaction<'_>,
    id: ExecutionId,
    traced: &TracedExecution,
    set: &WorkingSet,
) -> Result<(), StoreError> {
    let Some(head) = set.executions.get(&id) else { return Ok(()) };
    if traced.facts.is_some() {
        // They are found by the start and the attributes that the row still has.
        attributes::delete(tx, id)?;
    }
    tx.prepare_cached(UPDATE_EXECUTION)?.execute(params![
        id.to_bytes(),
        head.workflow.as_str(),
        head.status.as_str(),
        head.started_at.as_micros(),
        head.ended_at.map(|at| at.as_micros()),
        head.duration.map(stored_micros),
        head.worst.map(|worst| worst.to_stored()),
        stored(head.steps_completed),
        head.judge_at.map(|at| at.as_micros()),
        head.settle_at.map(|at| at.as_micros()),
        head.trace.as_ref().map(serde_json::to_string).transpose()?,
    ])?;
    if let Some((version, attributes)) = &traced.facts {
        let version = version.as_ref().map(Version::as_str);
        let written = stored_attributes(attributes)?;
        tx.prepare_cached(UPDATE_FACTS)?.execute(params![id.to_bytes(), version, written])?;
        attributes::insert(tx, id, head.started_at, attributes)?;
    }
    if let Some(failure) = &traced.failure {
        let failure = stored_failure(failure.as_ref())?;
        tx.prepare_cached(UPDATE_FAILURE)?.execute(params![id.to_bytes(), failure])?;
    }
    Ok(())
}
