//! What spans change: executions that they tell of, and steps that came as spans.
//!
//! Not here: steps and executions as clients record them (`steps`, `executions`).

use rusqlite::{Transaction, params};
use tracer_core::ids::ExecutionId;
use tracer_core::incident::IncidentId;
use tracer_core::name::Version;
use tracer_core::record::{TracedExecution, WorkingSet};
use tracer_core::step::Step;
use tracer_core::time::Timestamp;

use super::attributes;
use super::error::StoreError;
use super::reads::{collect, sql_limit};
use super::row::{self, stored, stored_attributes, stored_cohort, stored_failure, stored_micros};

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

const UPDATE_STEP: &str = "\
-- update_span
UPDATE workflow_steps
   SET status = ?3, severity = ?4, started_at = ?5, changed_at = ?6, step_name = ?7, step_type = ?8,
       parent_step_id = ?9, attempt = ?10, ended_at = ?11, duration_us = ?12, judged_us = ?13,
       historical_avg_us = ?14, samples = ?15, p95_us = ?16, cohort = ?17, in_flight = ?18, judge_at = ?19,
       attributes = ?20, error = ?21, incident_id = ?22, span = ?23, by_trace = ?24
 WHERE execution_id = ?1 AND step_id = ?2";

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

/// Writes a step that came as a span, and of which more is known now: anything may have changed.
pub(super) fn update_step(tx: &Transaction<'_>, step: &Step) -> Result<(), StoreError> {
    let verdict = step.bottleneck.as_ref();
    tx.prepare_cached(UPDATE_STEP)?.execute(params![
        step.execution.to_bytes(),
        step.id.to_stored(),
        step.status.as_str(),
        verdict.map(|verdict| verdict.severity.to_stored()),
        step.started_at.as_micros(),
        step.changed_at.as_micros(),
        step.name.as_str(),
        step.step_type.as_str(),
        step.parent.map(|parent| parent.to_stored()),
        step.attempt,
        step.ended_at.map(|at| at.as_micros()),
        step.duration.map(stored_micros),
        verdict.map(|verdict| stored_micros(verdict.duration)),
        verdict.map(|verdict| stored_micros(verdict.historical_avg)),
        verdict.map(|verdict| stored(verdict.samples)),
        verdict.map(|verdict| stored_micros(verdict.p95)),
        verdict.map(|verdict| stored_cohort(&verdict.cohort)).transpose()?,
        verdict.map(|verdict| verdict.in_flight),
        step.judge_at.map(|at| at.as_micros()),
        stored_attributes(&step.attributes)?,
        stored_failure(step.failure.as_ref())?,
        step.incident.map(IncidentId::to_bytes),
        row::stored_span(step.span.as_deref())?,
        step.by_trace,
    ])?;
    Ok(())
}
