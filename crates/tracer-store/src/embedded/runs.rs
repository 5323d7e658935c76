//! Past executions of a workflow, as far as times go: what a remaining time is estimated from.
//!
//! Invariant: an execution comes with all of its steps or not at all.
//! Not here: the estimate (`tracer_core::eta`).

use rusqlite::{Transaction, params};
use tracer_core::eta::{PastRun, Span};
use tracer_core::execution::ExecutionStatus;
use tracer_core::limits;
use tracer_core::name::{StepName, WorkflowName};

use super::error::StoreError;
use super::reads::{collect, sql_limit};
use super::row::{self, optional_time, text, time};

/// The index on workflows ends with status and duration, so that no execution is looked up.
const NEWEST: &str = "\
-- newest_of_workflow
SELECT execution_id, status, started_at, duration_us
  FROM workflow_executions INDEXED BY workflow_executions_workflow
 WHERE workflow_name = ?1
 ORDER BY started_at DESC, execution_id DESC
 LIMIT ?2";

const STEPS: &str = "\
-- steps_of_past_run
SELECT step_name, started_at, ended_at
  FROM workflow_steps
 WHERE execution_id = ?1
 LIMIT ?2";

/// Returns the newest executions of a workflow that completed, with the times of their steps.
pub(super) fn past_runs(
    tx: &Transaction<'_>,
    workflow: &WorkflowName,
    limit: usize,
    most_steps: usize,
) -> Result<Vec<PastRun>, StoreError> {
    let found = newest_completed(tx, workflow, limit)?;
    let mut statement = tx.prepare_cached(STEPS)?;
    let mut runs = Vec::with_capacity(found.len());
    let mut left = most_steps;
    for (id, mut run) in found {
        let mut rows = statement.query(params![id, sql_limit(left.saturating_add(1))])?;
        run.steps = collect(&mut rows, |row| {
            let name = StepName::from_stored(text(row, 0)?);
            Ok(Span { name, started_at: time(row, 1)?, ended_at: optional_time(row, 2)? })
        })?;
        let Some(rest) = left.checked_sub(run.steps.len()) else { break };
        left = rest;
        runs.push(run);
    }
    Ok(runs)
}

/// Returns ids and times of the newest executions that completed, still without steps.
fn newest_completed(
    tx: &Transaction<'_>,
    workflow: &WorkflowName,
    limit: usize,
) -> Result<Vec<([u8; 16], PastRun)>, StoreError> {
    let mut statement = tx.prepare_cached(NEWEST)?;
    let mut rows = statement.query(params![workflow.as_str(), sql_limit(limits::ETA_RUNS_LOOKED_AT)])?;
    let mut found = Vec::new();
    while found.len() < limit
        && let Some(row) = rows.next()?
    {
        if row::execution_status(row, 1)? == ExecutionStatus::Completed
            && let Some(duration) = row::optional_micros(row, 3)?
        {
            let started_at = row::time(row, 2)?;
            let run = PastRun { started_at, ended_at: started_at + duration, steps: Vec::new() };
            found.push((row.get(0)?, run));
        }
    }
    Ok(found)
}
