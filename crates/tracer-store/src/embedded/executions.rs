//! Executions as a batch loads and writes them. Not here: how they are listed (`listing`).

use rusqlite::{Transaction, params};
use tracer_core::execution::Execution;
use tracer_core::ids::ExecutionId;
use tracer_core::incident::IncidentId;
use tracer_core::name::WorkflowName;
use tracer_core::payload::Payload;
use tracer_core::record::{ExecutionEnd, ExecutionHead, WorkingSet};

use super::attributes;
use super::error::StoreError;
use super::row::{
    count, execution_status, features, incident_id, optional_micros, optional_time, severity, stalled,
    stored, stored_attributes, stored_failure, stored_micros, text, time, trace,
};
use super::traces;

const LOAD: &str = "\
-- load_execution
SELECT workflow_name, status, started_at, ended_at, duration_us, recorded_at, steps_completed, worst_severity,
       version, attributes, judge_at, stalled, incident_id, trace, settle_at
  FROM workflow_executions
 WHERE execution_id = ?1";

const INSERT: &str = "\
-- insert_execution
INSERT INTO workflow_executions
       (execution_id, workflow_name, status, started_at, ended_at, duration_us, recorded_at,
        worst_severity, steps_completed, simulated, correlation_id, version, parent_execution_id,
        link_trace_id, link_span_id, attributes, error, input, output, judge_at, trace, settle_at)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22)";

const WORSEN: &str = "\
-- worsen_execution
UPDATE workflow_executions
   SET worst_severity = ?2
 WHERE execution_id = ?1";

const WATCH: &str = "\
-- watch_execution
UPDATE workflow_executions
   SET judge_at = ?2, stalled = ?3, incident_id = ?4
 WHERE execution_id = ?1";

const END: &str = "\
-- end_execution
UPDATE workflow_executions
   SET status = ?2, ended_at = ?3, duration_us = ?4, steps_completed = ?5, worst_severity = ?6,
       error = ?7, output = ?8, judge_at = NULL, stalled = NULL, incident_id = NULL
 WHERE execution_id = ?1";

/// Loads what recording needs of these executions.
pub(super) fn load<'a>(
    tx: &Transaction<'_>,
    ids: impl IntoIterator<Item = &'a ExecutionId>,
    set: &mut WorkingSet,
) -> Result<(), StoreError> {
    let mut statement = tx.prepare_cached(LOAD)?;
    for id in ids {
        let mut rows = statement.query([id.to_bytes()])?;
        let Some(row) = rows.next()? else { continue };
        let head = ExecutionHead {
            workflow: WorkflowName::from_stored(text(row, 0)?),
            status: execution_status(row, 1)?,
            started_at: time(row, 2)?,
            ended_at: optional_time(row, 3)?,
            duration: optional_micros(row, 4)?,
            recorded_at: time(row, 5)?,
            steps_completed: count(row, 6)?,
            worst: severity(row, 7)?,
            features: features(row, 8)?,
            judge_at: optional_time(row, 10)?,
            incident: incident_id(row, 12)?,
            stalled: stalled(row, 11)?,
            trace: trace(row, 13)?,
            settle_at: optional_time(row, 14)?,
        };
        set.executions.insert(*id, head);
    }
    Ok(())
}

/// Writes the executions that are new, those that turned worse, those that were looked at, those that end and those that
/// spans have changed.
pub(super) fn save(tx: &Transaction<'_>, set: &WorkingSet) -> Result<(), StoreError> {
    for execution in set.new_executions.values() {
        insert(tx, execution)?;
        attributes::insert(tx, execution.id, execution.started_at, &execution.attributes)?;
    }
    for (id, worst) in &set.worsened_executions {
        tx.prepare_cached(WORSEN)?.execute(params![id.to_bytes(), worst.to_stored()])?;
    }
    for id in &set.watched_executions {
        let Some(head) = set.executions.get(id) else { continue };
        let judge_at = head.judge_at.map(|at| at.as_micros());
        let stalled = head.stalled.as_ref().map(serde_json::to_string).transpose()?;
        let incident = head.incident.map(IncidentId::to_bytes);
        tx.prepare_cached(WATCH)?.execute(params![id.to_bytes(), judge_at, stalled, incident])?;
    }
    for (id, end) in &set.ended_executions {
        write_end(tx, *id, end)?;
    }
    traces::save_executions(tx, set)
}

fn insert(tx: &Transaction<'_>, execution: &Execution) -> Result<(), StoreError> {
    tx.prepare_cached(INSERT)?.execute(params![
        execution.id.to_bytes(),
        execution.workflow.as_str(),
        execution.status.as_str(),
        execution.started_at.as_micros(),
        execution.ended_at.map(|at| at.as_micros()),
        execution.duration.map(stored_micros),
        execution.recorded_at.as_micros(),
        execution.worst.map(|worst| worst.to_stored()),
        stored(execution.steps_completed),
        execution.simulated,
        execution.correlation_id.as_ref().map(|id| id.as_str()),
        execution.version.as_ref().map(|version| version.as_str()),
        execution.parent.map(ExecutionId::to_bytes),
        execution.link.map(|link| link.trace.to_bytes()),
        execution.link.map(|link| link.parent.to_stored()),
        stored_attributes(&execution.attributes)?,
        stored_failure(execution.failure.as_ref())?,
        execution.input.as_ref().map(Payload::as_str),
        execution.output.as_ref().map(Payload::as_str),
        execution.judge_at.map(|at| at.as_micros()),
        execution.trace.as_ref().map(serde_json::to_string).transpose()?,
        execution.settle_at.map(|at| at.as_micros()),
    ])?;
    Ok(())
}

fn write_end(tx: &Transaction<'_>, id: ExecutionId, end: &ExecutionEnd) -> Result<(), StoreError> {
    tx.prepare_cached(END)?.execute(params![
        id.to_bytes(),
        end.status.as_str(),
        end.ended_at.as_micros(),
        stored_micros(end.duration),
        stored(end.steps_completed),
        end.worst.map(|worst| worst.to_stored()),
        stored_failure(end.failure.as_ref())?,
        end.output.as_ref().map(Payload::as_str),
    ])?;
    Ok(())
}
