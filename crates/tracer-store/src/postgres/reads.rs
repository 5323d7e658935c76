//! What is asked of the store, other than the listing.
//!
//! Invariant: no query per row: what belongs to many rows is asked for once, for all of them.
//! Not here: writing (`batch`), and listing by filter (`listing`).

use std::collections::{BTreeSet, HashMap};

use tokio_postgres::Row;
use tracer_core::baseline::Baseline;
use tracer_core::cohort::BaselineKey;
use tracer_core::execution::Execution;
use tracer_core::ids::{ExecutionId, StepId};
use tracer_core::limits;
use tracer_core::name::{StepName, WorkflowName};
use tracer_core::repository::{
    BottleneckSteps, Due, RepositoryError, StepCursor, WorkflowHistory, WorkflowSummary,
};
use tracer_core::step::Step;
use tracer_core::time::Timestamp;

use super::error::StoreError;
use super::pool::ReadPool;
use super::row::{self, Bits, Stamp};
use super::steps::columns;
use super::{baselines, executions, incidents, steps, traces};

pub(super) const EXECUTION: &str = "\
-- execution
SELECT e.execution_id, e.workflow_name, e.status, e.started_at, e.ended_at, e.duration_us, e.correlation_id, e.version,
       e.attributes::text AS attributes, e.error::text AS error, e.parent_execution_id, e.link_trace_id, e.link_span_id,
       e.simulated, e.recorded_at, e.steps_completed, e.worst_severity, e.judge_at, e.stalled::text AS stalled,
       e.input, e.output, e.trace, e.settle_at
  FROM workflow_executions AS e
 WHERE e.execution_id = $1
   AND e.recorded_month = (SELECT recorded_month FROM execution_directory WHERE execution_id = $1)";

const WORKFLOW_OF_EXECUTION: &str = "\
-- workflow_of_execution
SELECT e.workflow_name, e.version, e.attributes::text AS attributes, e.stalled::text AS stalled
  FROM workflow_executions AS e
 WHERE e.execution_id = $1
   AND e.recorded_month = (SELECT recorded_month FROM execution_directory WHERE execution_id = $1)";

/// A query for the steps of one execution, earliest start first.
macro_rules! steps_where {
    ($name:literal, $condition:literal) => {
        concat!(
            "-- ",
            $name,
            "\nSELECT ",
            columns!(),
            "
  FROM workflow_steps AS s
 WHERE s.execution_id = $1
   AND s.recorded_month = (SELECT recorded_month FROM execution_directory WHERE execution_id = $1)
   AND ",
            $condition,
            "
 ORDER BY s.started_at, s.step_id
 LIMIT $2"
        )
    };
}

pub(super) const STEPS: &str = steps_where!("steps_of_execution", "true");
const STEPS_AFTER: &str = steps_where!("steps_of_execution_after", "(s.started_at, s.step_id) > ($3, $4)");
const JUDGED_STEPS: &str = steps_where!("judged_steps", "s.severity IS NOT NULL AND s.status <> 'running'");
const RUNNING_STEPS: &str = steps_where!("running_steps", "s.status = 'running'");

const RUNNING: &str = "\
-- running_executions
SELECT workflow_name, count(*) AS running
  FROM workflow_executions
 WHERE status = 'running'
 GROUP BY workflow_name
 ORDER BY running DESC, workflow_name
 LIMIT $1";

/// A step that has no ending yet has a row only because a command for it was refused.
pub(super) const HISTORY: &str = "\
-- workflow_history
SELECT b.step_name, b.state,
       CASE WHEN b.step_name = '' THEN (
           SELECT count(*) FROM workflow_executions AS e WHERE e.workflow_name = $1 AND e.status = 'running')
       ELSE 0 END AS running
  FROM step_baselines AS b
 WHERE b.workflow_name = $1 AND b.cohort = '{}'::jsonb AND (b.step_name = '' OR b.last_seen_at IS NOT NULL)
 ORDER BY b.step_name";

pub(super) const WORKFLOWS: &str = "\
-- workflows
SELECT b.workflow_name, b.state,
       (SELECT count(*) FROM workflow_executions AS e
         WHERE e.workflow_name = b.workflow_name AND e.status = 'running') AS running,
       (SELECT max(e.started_at) FROM workflow_executions AS e WHERE e.workflow_name = b.workflow_name) AS started
  FROM step_baselines AS b
 WHERE b.step_name = '' AND b.workflow_name > $1
 ORDER BY b.workflow_name
 LIMIT $2";

pub(super) const SILENT: &str = "\
-- silent_executions
SELECT e.execution_id
  FROM workflow_executions AS e
 WHERE e.status = 'running' AND e.recorded_at < $1
   AND NOT EXISTS (SELECT 1 FROM workflow_steps AS s
                    WHERE s.execution_id = e.execution_id AND s.recorded_month = e.recorded_month
                      AND s.changed_at >= $1)
   AND coalesce((SELECT v.recorded_at FROM workflow_events AS v
                  WHERE v.execution_id = e.execution_id AND v.recorded_month = e.recorded_month
                  ORDER BY v.number DESC LIMIT 1), '-infinity') < $1
 ORDER BY e.recorded_at, e.execution_id
 LIMIT $2";

/// What ends leaves dead entries in these indexes, all of them due for long: the scan that meets one marks it, so that
/// the next one passes it over, until vacuum removes it.
pub(super) const DUE_STEPS: &str = "\
-- due_steps
SELECT s.execution_id, s.step_id, s.judge_at
  FROM workflow_steps AS s
 WHERE s.status = 'running' AND s.judge_at <= $1
 ORDER BY s.judge_at
 LIMIT $2";

pub(super) const DUE_EXECUTIONS: &str = "\
-- due_executions
SELECT e.execution_id, e.judge_at
  FROM workflow_executions AS e
 WHERE e.status = 'running' AND e.judge_at <= $1
 ORDER BY e.judge_at
 LIMIT $2";

/// Returns an execution with its payloads.
pub(super) async fn execution(
    pool: &ReadPool,
    id: ExecutionId,
) -> Result<Option<Execution>, RepositoryError> {
    let rows = pool.query("execution", EXECUTION, &[&Bits::from(id)]).await?;
    let read = rows.first().map(|row| executions::read(row, true)).transpose();
    read.map_err(|error| error.into_repository("execution"))
}

/// Returns steps of an execution, earliest start first.
pub(super) async fn steps(
    pool: &ReadPool,
    id: ExecutionId,
    after: Option<StepCursor>,
    limit: usize,
) -> Result<Vec<Step>, RepositoryError> {
    let (id, limit) = (Bits::from(id), sql_limit(limit));
    let rows = match after {
        None => pool.query("steps_of_execution", STEPS, &[&id, &limit]).await?,
        Some(cursor) => {
            let (at, step) = (Stamp(cursor.started_at), cursor.id.to_stored());
            pool.query("steps_of_execution", STEPS_AFTER, &[&id, &limit, &at, &step]).await?
        }
    };
    read_steps(&rows)
}

/// Returns what names every bottleneck of an execution.
pub(super) async fn bottleneck_steps(
    pool: &ReadPool,
    id: ExecutionId,
) -> Result<Option<BottleneckSteps>, RepositoryError> {
    const NAME: &str = "bottleneck_steps";
    let (id, limit) = (Bits::from(id), sql_limit(limits::STEPS_SHOWN));
    let rows = pool.query(NAME, WORKFLOW_OF_EXECUTION, &[&id]).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let name = row::get(row, "workflow_name").map_err(|error| error.into_repository(NAME))?;
    let workflow = WorkflowName::from_stored(name);
    let stalled = executions::stalled(row).map_err(|error| error.into_repository(NAME))?;
    let features = row::features(row).map_err(|error| error.into_repository(NAME))?;
    let judged = read_steps(&pool.query(NAME, JUDGED_STEPS, &[&id, &limit]).await?)?;
    let running = read_steps(&pool.query(NAME, RUNNING_STEPS, &[&id, &limit]).await?)?;
    Ok(Some(BottleneckSteps { workflow, features, judged, running, stalled }))
}

/// Returns the baselines of these keys.
pub(super) async fn baselines(
    pool: &ReadPool,
    keys: &BTreeSet<BaselineKey>,
) -> Result<HashMap<BaselineKey, Baseline>, RepositoryError> {
    const NAME: &str = "look_baselines";
    if keys.is_empty() {
        return Ok(HashMap::new());
    }
    let keys: Vec<Bits> = keys.iter().map(|key| Bits::from(*key)).collect();
    let rows = pool.query(NAME, baselines::LOOK, &[&keys]).await?;
    let read = rows.iter().map(|row| Ok((row::baseline_key(row, "key")?, baseline(row)?)));
    read.collect::<Result<_, StoreError>>().map_err(|error| error.into_repository(NAME))
}

/// Returns how many executions run, by workflow, most first.
pub(super) async fn running(
    pool: &ReadPool,
    limit: usize,
) -> Result<Vec<(WorkflowName, u64)>, RepositoryError> {
    let rows = pool.query("running_executions", RUNNING, &[&sql_limit(limit)]).await?;
    let read = rows.iter().map(|row| {
        Ok((WorkflowName::from_stored(row::get(row, "workflow_name")?), row::count(row, "running")?))
    });
    read.collect::<Result<_, StoreError>>().map_err(|error| error.into_repository("running_executions"))
}

/// Returns the histories of a workflow; none if nothing was ever recorded under the name.
pub(super) async fn workflow_history(
    pool: &ReadPool,
    workflow: &WorkflowName,
) -> Result<Option<WorkflowHistory>, RepositoryError> {
    let rows = pool.query("workflow_history", HISTORY, &[&workflow.as_str()]).await?;
    if rows.is_empty() {
        return Ok(None);
    }
    read_history(&rows).map(Some).map_err(|error| error.into_repository("workflow_history"))
}

fn read_history(rows: &[Row]) -> Result<WorkflowHistory, StoreError> {
    let mut history = WorkflowHistory { executions: Baseline::empty(), running: 0, steps: Vec::new() };
    for row in rows {
        let name: &str = row::get(row, "step_name")?;
        if name.is_empty() {
            history.executions = baseline(row)?;
            history.running = row::count(row, "running")?;
        } else {
            history.steps.push((StepName::from_stored(name), baseline(row)?));
        }
    }
    Ok(history)
}

/// Returns workflows by name.
pub(super) async fn workflows(
    pool: &ReadPool,
    after: Option<&WorkflowName>,
    limit: usize,
) -> Result<Vec<WorkflowSummary>, RepositoryError> {
    // No name is empty, so that all of them come after the empty one.
    let after = after.map_or("", |name| name.as_str());
    let rows = pool.query("workflows", WORKFLOWS, &[&after, &sql_limit(limit)]).await?;
    let read = rows.iter().map(read_summary);
    read.collect::<Result<_, _>>().map_err(|error| error.into_repository("workflows"))
}

fn read_summary(row: &Row) -> Result<WorkflowSummary, StoreError> {
    let executions = baseline(row)?;
    let ended = executions.last_seen();
    Ok(WorkflowSummary {
        name: WorkflowName::from_stored(row::get(row, "workflow_name")?),
        running: row::count(row, "running")?,
        last_activity: ended.max(row::instant(row, "started")?),
        executions,
    })
}

/// Returns running executions that nothing was written to since `before`.
pub(super) async fn silent_since(
    pool: &ReadPool,
    before: Timestamp,
    limit: usize,
) -> Result<Vec<ExecutionId>, RepositoryError> {
    let rows = pool.query("silent_executions", SILENT, &[&Stamp(before), &sql_limit(limit)]).await?;
    let read = rows.iter().map(|row| row::execution_id(row, "execution_id"));
    read.collect::<Result<_, _>>().map_err(|error| error.into_repository("silent_executions"))
}

/// Returns what runs and is to be looked at.
pub(super) async fn due(pool: &ReadPool, now: Timestamp, limit: usize) -> Result<Due, RepositoryError> {
    let (now, limit) = (Stamp(now), sql_limit(limit));
    let steps = pool.query_in_order("due_steps", DUE_STEPS, &[&now, &limit]).await?;
    let executions = pool.query_in_order("due_executions", DUE_EXECUTIONS, &[&now, &limit]).await?;
    let incidents = pool.query_in_order("due_incidents", incidents::DUE, &[&now, &limit]).await?;
    let traces = pool.query_in_order("due_traces", traces::DUE, &[&now, &limit]).await?;
    read_due(&steps, &executions, &incidents, &traces).map_err(|error| error.into_repository("due"))
}

fn read_due(steps: &[Row], executions: &[Row], incidents: &[Row], traces: &[Row]) -> Result<Due, StoreError> {
    let step = |row: &Row| {
        let id = StepId::from_stored(row::get(row, "step_id")?);
        Ok((row::some_instant(row, "judge_at")?, (row::execution_id(row, "execution_id")?, id)))
    };
    let execution =
        |row: &Row| Ok((row::some_instant(row, "judge_at")?, row::execution_id(row, "execution_id")?));
    let steps = steps.iter().map(step).collect::<Result<_, StoreError>>()?;
    let executions = executions.iter().map(execution).collect::<Result<_, StoreError>>()?;
    let incidents = incidents.iter().map(incidents::read_due).collect::<Result<_, StoreError>>()?;
    let traces = traces.iter().map(traces::read_due).collect::<Result<_, StoreError>>()?;
    Ok(Due::of(steps, executions, incidents, traces))
}

fn read_steps(rows: &[Row]) -> Result<Vec<Step>, RepositoryError> {
    let read = rows.iter().map(steps::read);
    read.collect::<Result<_, _>>().map_err(|error| error.into_repository("steps"))
}

fn baseline(row: &Row) -> Result<Baseline, StoreError> {
    let state: &[u8] = row::get(row, "state")?;
    Baseline::decode(state).map_err(|error| StoreError::unreadable("baseline", error))
}

pub(super) fn sql_limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
