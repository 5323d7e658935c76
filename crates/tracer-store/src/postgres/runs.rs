//! Past executions of a workflow, as far as times go: what a remaining time is estimated from.
//!
//! Invariant: an execution comes with all of its steps or not at all.
//! Not here: the estimate (`tracer_core::eta`).

use tokio_postgres::Row;
use tracer_core::eta::{PastRun, Span};
use tracer_core::limits;
use tracer_core::name::{StepName, WorkflowName};
use tracer_core::repository::RepositoryError;

use super::error::StoreError;
use super::pool::ReadPool;
use super::reads::sql_limit;
use super::row::{self, Bits, Date};

/// Read in the order of the index, so that it stops at the last one that is asked for.
pub(super) const COMPLETED: &str = "\
-- past_runs
SELECT n.execution_id, n.recorded_month, n.started_at, n.ended_at
  FROM (SELECT e.execution_id, e.recorded_month, e.status, e.started_at, e.ended_at
          FROM workflow_executions AS e
         WHERE e.workflow_name = $1
         ORDER BY e.started_at DESC, e.execution_id DESC
         LIMIT $2) AS n
 WHERE n.status = 'completed' AND n.ended_at IS NOT NULL
 ORDER BY n.started_at DESC, n.execution_id DESC
 LIMIT $3";

/// `OFFSET 0` keeps the steps' query one per execution, each by its key in the partition of its month, and in the
/// order given: what the limit cuts off is of the last ones.
pub(super) const STEPS: &str = "\
-- steps_of_past_runs
SELECT r.place, s.step_name, s.started_at, s.ended_at
  FROM unnest($1::uuid[], $2::date[]) WITH ORDINALITY AS r (execution_id, recorded_month, place)
 CROSS JOIN LATERAL (
       SELECT step_name, started_at, ended_at
         FROM workflow_steps
        WHERE execution_id = r.execution_id AND recorded_month = r.recorded_month
       OFFSET 0) AS s
 LIMIT $3";

/// Returns the newest executions of a workflow that completed, with the times of their steps.
pub(super) async fn past_runs(
    pool: &ReadPool,
    workflow: &WorkflowName,
    limit: usize,
    most_steps: usize,
) -> Result<Vec<PastRun>, RepositoryError> {
    const NAME: &str = "past_runs";
    let (limit, looked_at) = (sql_limit(limit), sql_limit(limits::ETA_RUNS_LOOKED_AT));
    let rows = pool.query(NAME, COMPLETED, &[&workflow.as_str(), &looked_at, &limit]).await?;
    let read: Result<Vec<_>, _> = rows.iter().map(read_run).collect();
    let found = read.map_err(|error| error.into_repository(NAME))?;
    if found.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<Bits> = found.iter().map(|(id, _, _)| *id).collect();
    let months: Vec<Date> = found.iter().map(|(_, month, _)| *month).collect();
    let most = sql_limit(most_steps.saturating_add(1));
    let rows = pool.query(NAME, STEPS, &[&ids, &months, &most]).await?;
    let runs = found.into_iter().map(|(_, _, run)| run).collect();
    with_steps(runs, &rows, most_steps).map_err(|error| error.into_repository(NAME))
}

/// Gives executions their steps; where there are more than fit, those whose steps may be cut off are left out.
fn with_steps(mut runs: Vec<PastRun>, rows: &[Row], most_steps: usize) -> Result<Vec<PastRun>, StoreError> {
    let mut whole = runs.len();
    for (number, row) in rows.iter().enumerate() {
        let place = usize::try_from(row::count(row, "place")?.saturating_sub(1)).unwrap_or(usize::MAX);
        if number >= most_steps {
            whole = place;
        }
        let Some(run) = runs.get_mut(place) else { continue };
        run.steps.push(Span {
            name: StepName::from_stored(row::get(row, "step_name")?),
            started_at: row::some_instant(row, "started_at")?,
            ended_at: row::instant(row, "ended_at")?,
        });
    }
    runs.truncate(whole);
    Ok(runs)
}

fn read_run(row: &Row) -> Result<(Bits, Date, PastRun), StoreError> {
    let run = PastRun {
        started_at: row::some_instant(row, "started_at")?,
        ended_at: row::some_instant(row, "ended_at")?,
        steps: Vec::new(),
    };
    Ok((row::get(row, "execution_id")?, row::get(row, "recorded_month")?, run))
}
