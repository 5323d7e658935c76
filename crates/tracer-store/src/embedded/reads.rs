//! What is asked of one execution, or of one workflow and its history.
//!
//! Each function reads one snapshot. Not here: listings of executions (`listing`).

use std::collections::{BTreeSet, HashMap};

use rusqlite::{Transaction, params};
use tracer_core::baseline::Baseline;
use tracer_core::cohort::BaselineKey;
use tracer_core::execution::Execution;
use tracer_core::ids::{ExecutionId, StepId};
use tracer_core::limits;
use tracer_core::name::{StepName, WorkflowName};
use tracer_core::repository::{BottleneckSteps, Due, StepCursor, WorkflowHistory, WorkflowSummary};
use tracer_core::step::Step;
use tracer_core::time::Timestamp;

use super::error::StoreError;
use super::incidents;
use super::row::{self, count, optional_time, text};
use super::traces;

/// Returns a limit as SQLite takes it.
pub(super) fn sql_limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

const EXECUTION: &str = concat!(
    "-- execution\nSELECT ",
    row::execution_columns!(),
    ", input, output, trace, settle_at\n  FROM workflow_executions\n WHERE execution_id = ?1"
);

/// Returns an execution with its payloads.
pub(super) fn execution(tx: &Transaction<'_>, id: ExecutionId) -> Result<Option<Execution>, StoreError> {
    let mut statement = tx.prepare_cached(EXECUTION)?;
    let mut rows = statement.query([id.to_bytes()])?;
    rows.next()?.map(row::execution_with_payloads).transpose()
}

const STEPS: &str = concat!(
    "-- steps\nSELECT ",
    row::step_columns!(),
    "\n  FROM workflow_steps",
    "\n WHERE execution_id = ?1 AND (started_at, step_id) > (?2, ?3)",
    "\n ORDER BY started_at, step_id\n LIMIT ?4"
);

/// Returns the steps of an execution behind `after`, earliest start first.
pub(super) fn steps(
    tx: &Transaction<'_>,
    id: ExecutionId,
    after: Option<StepCursor>,
    limit: usize,
) -> Result<Vec<Step>, StoreError> {
    // No step starts before 1970, so this lies before all of them.
    let (started_at, step) =
        after.map_or((i64::MIN, i64::MIN), |at| (at.started_at.as_micros(), at.id.to_stored()));
    let mut statement = tx.prepare_cached(STEPS)?;
    let mut rows = statement.query(params![id.to_bytes(), started_at, step, sql_limit(limit)])?;
    collect(&mut rows, row::step)
}

const WORKFLOW_OF: &str = "\
-- workflow_of_execution
SELECT workflow_name, version, attributes, stalled
  FROM workflow_executions
 WHERE execution_id = ?1";

const JUDGED: &str = concat!(
    "-- judged_steps\nSELECT ",
    row::step_columns!(),
    "\n  FROM workflow_steps INDEXED BY workflow_steps_judged",
    "\n WHERE execution_id = ?1 AND severity IS NOT NULL AND status <> 'running'",
    "\n ORDER BY started_at, step_id\n LIMIT ?2"
);

const RUNNING: &str = concat!(
    "-- running_steps\nSELECT ",
    row::step_columns!(),
    "\n  FROM workflow_steps",
    "\n WHERE execution_id = ?1 AND status = 'running'",
    "\n ORDER BY started_at, step_id\n LIMIT ?2"
);

const BASELINE: &str = "\
-- baseline
SELECT state
  FROM step_baselines
 WHERE key = ?1";

/// Returns what names every bottleneck of an execution.
pub(super) fn bottleneck_steps(
    tx: &Transaction<'_>,
    id: ExecutionId,
) -> Result<Option<BottleneckSteps>, StoreError> {
    let mut statement = tx.prepare_cached(WORKFLOW_OF)?;
    let mut rows = statement.query([id.to_bytes()])?;
    let Some(found) = rows.next()? else { return Ok(None) };
    let workflow = WorkflowName::from_stored(text(found, 0)?);
    let features = row::features(found, 1)?;
    let stalled = row::stalled(found, 3)?;
    let shown = |sql| -> Result<Vec<Step>, StoreError> {
        let mut statement = tx.prepare_cached(sql)?;
        let mut rows = statement.query(params![id.to_bytes(), sql_limit(limits::STEPS_SHOWN)])?;
        collect(&mut rows, row::step)
    };
    let judged = shown(JUDGED)?;
    let running = shown(RUNNING)?;
    Ok(Some(BottleneckSteps { workflow, features, judged, running, stalled }))
}

/// Returns the baselines of these keys. One look-up per key: within a process these cost less than a join.
pub(super) fn baselines(
    tx: &Transaction<'_>,
    keys: &BTreeSet<BaselineKey>,
) -> Result<HashMap<BaselineKey, Baseline>, StoreError> {
    let mut statement = tx.prepare_cached(BASELINE)?;
    let mut found = HashMap::with_capacity(keys.len());
    for key in keys {
        if let Some(row) = statement.query([key.to_bytes()])?.next()? {
            found.insert(*key, row::baseline(row, 0)?);
        }
    }
    Ok(found)
}

const HISTORIES: &str = "\
-- workflow_history
SELECT step_name, state
  FROM step_baselines
 WHERE workflow_name = ?1 AND cohort = '{}'
 ORDER BY step_name";

const RUNNING_OF_WORKFLOW: &str = "\
-- running_of_workflow
SELECT count(*)
  FROM workflow_executions
 WHERE workflow_name = ?1 AND status = 'running'";

/// Returns the histories of a workflow.
pub(super) fn workflow_history(
    tx: &Transaction<'_>,
    workflow: &WorkflowName,
) -> Result<Option<WorkflowHistory>, StoreError> {
    let mut statement = tx.prepare_cached(HISTORIES)?;
    let mut rows = statement.query([workflow.as_str()])?;
    let (mut executions, mut steps) = (None, Vec::new());
    while let Some(found) = rows.next()? {
        let baseline = row::baseline(found, 1)?;
        match text(found, 0)? {
            "" => executions = Some(baseline),
            name => steps.push((StepName::from_stored(name), baseline)),
        }
    }
    if executions.is_none() && steps.is_empty() {
        return Ok(None);
    }
    let mut statement = tx.prepare_cached(RUNNING_OF_WORKFLOW)?;
    let mut rows = statement.query([workflow.as_str()])?;
    let running = rows.next()?.map_or(Ok(0), |found| count(found, 0))?;
    Ok(Some(WorkflowHistory { executions: executions.unwrap_or_default(), running, steps }))
}

const WORKFLOWS: &str = "\
-- workflows
SELECT b.workflow_name, b.state, b.last_seen_at,
       (SELECT count(*)
          FROM workflow_executions e
         WHERE e.workflow_name = b.workflow_name AND e.status = 'running'),
       (SELECT max(e.started_at)
          FROM workflow_executions e
         WHERE e.workflow_name = b.workflow_name)
  FROM step_baselines b
 WHERE b.step_name = '' AND b.workflow_name > ?1
 ORDER BY b.workflow_name
 LIMIT ?2";

/// Returns workflows by name.
pub(super) fn workflows(
    tx: &Transaction<'_>,
    after: Option<&WorkflowName>,
    limit: usize,
) -> Result<Vec<WorkflowSummary>, StoreError> {
    let mut statement = tx.prepare_cached(WORKFLOWS)?;
    // No name is empty, so all of them lie behind it.
    let after = after.map_or("", |name| name.as_str());
    let mut rows = statement.query(params![after, sql_limit(limit)])?;
    collect(&mut rows, |found| {
        Ok(WorkflowSummary {
            name: WorkflowName::from_stored(text(found, 0)?),
            executions: row::baseline(found, 1)?,
            running: count(found, 3)?,
            last_activity: optional_time(found, 2)?.max(optional_time(found, 4)?),
        })
    })
}

const RUNNING_BY_WORKFLOW: &str = "\
-- running
SELECT workflow_name, count(*) AS running
  FROM workflow_executions
 WHERE status = 'running'
 GROUP BY workflow_name
 ORDER BY running DESC, workflow_name
 LIMIT ?1";

/// Returns how many executions run, by workflow, most first.
pub(super) fn running(tx: &Transaction<'_>, limit: usize) -> Result<Vec<(WorkflowName, u64)>, StoreError> {
    let mut statement = tx.prepare_cached(RUNNING_BY_WORKFLOW)?;
    let mut rows = statement.query([sql_limit(limit)])?;
    collect(&mut rows, |found| Ok((WorkflowName::from_stored(text(found, 0)?), count(found, 1)?)))
}

const SILENT: &str = "\
-- silent_executions
SELECT e.execution_id
  FROM workflow_executions e
 WHERE e.status = 'running' AND e.recorded_at < ?1
   AND NOT EXISTS (SELECT 1
                     FROM workflow_steps s
                    WHERE s.execution_id = e.execution_id AND s.changed_at >= ?1)
   AND coalesce((SELECT v.recorded_at
                   FROM workflow_events v
                  WHERE v.execution_id = e.execution_id
                  ORDER BY v.number DESC
                  LIMIT 1), 0) < ?1
 LIMIT ?2";

/// Returns running executions that nobody has written to since `before`.
pub(super) fn silent_since(
    tx: &Transaction<'_>,
    before: Timestamp,
    limit: usize,
) -> Result<Vec<ExecutionId>, StoreError> {
    let mut statement = tx.prepare_cached(SILENT)?;
    let mut rows = statement.query(params![before.as_micros(), sql_limit(limit)])?;
    collect(&mut rows, |found| row::execution_id(found, 0))
}

const DUE_STEPS: &str = "\
-- due_steps
SELECT execution_id, step_id, judge_at
  FROM workflow_steps INDEXED BY workflow_steps_running
 WHERE status = 'running' AND judge_at <= ?1
 ORDER BY judge_at
 LIMIT ?2";

const DUE_EXECUTIONS: &str = "\
-- due_executions
SELECT execution_id, judge_at
  FROM workflow_executions INDEXED BY workflow_executions_due
 WHERE status = 'running' AND judge_at <= ?1
 ORDER BY judge_at
 LIMIT ?2";

/// Returns what runs and is to be looked at.
pub(super) fn due(tx: &Transaction<'_>, now: Timestamp, limit: usize) -> Result<Due, StoreError> {
    let bounds = params![now.as_micros(), sql_limit(limit)];
    let mut statement = tx.prepare_cached(DUE_STEPS)?;
    let mut rows = statement.query(bounds)?;
    let steps = collect(&mut rows, |found| {
        let key = (row::execution_id(found, 0)?, StepId::from_stored(found.get(1)?));
        Ok((row::time(found, 2)?, key))
    })?;
    let mut statement = tx.prepare_cached(DUE_EXECUTIONS)?;
    let mut rows = statement.query(bounds)?;
    let executions = collect(&mut rows, |found| Ok((row::time(found, 1)?, row::execution_id(found, 0)?)))?;
    Ok(Due::of(steps, executions, incidents::due(tx, now, limit)?, traces::due(tx, now, limit)?))
}

/// Reads a page of the file, and not just an answer that SQLite knows without it.
const PING: &str = "\
-- ping
SELECT count(*)
  FROM sqlite_master";

/// Asks the database for a sign of life.
pub(super) fn ping(tx: &Transaction<'_>) -> Result<(), StoreError> {
    tx.prepare_cached(PING)?.query([])?.next()?;
    Ok(())
}

/// Reads all rows.
pub(super) fn collect<T>(
    rows: &mut rusqlite::Rows<'_>,
    read: impl Fn(&rusqlite::Row<'_>) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    let mut all = Vec::new();
    while let Some(found) = rows.next()? {
        all.push(read(found)?);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::super::{events, file, migrate};
    use super::*;

    fn plan(connection: &Connection, sql: &str) -> String {
        let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let mut rows = statement.raw_query();
        let mut lines = Vec::new();
        while let Some(row) = rows.next().unwrap() {
            lines.push(row.get::<_, String>(3).unwrap());
        }
        lines.join("; ")
    }

    #[test]
    fn no_question_walks_a_table_that_grows() {
        let mut connection = file::open_in_memory().unwrap();
        migrate::migrate(&mut connection).unwrap();
        let questions = [
            EXECUTION,
            STEPS,
            WORKFLOW_OF,
            JUDGED,
            RUNNING,
            BASELINE,
            HISTORIES,
            RUNNING_OF_WORKFLOW,
            WORKFLOWS,
            RUNNING_BY_WORKFLOW,
            SILENT,
            events::LAST,
            events::KNOWN,
            events::LIST,
            DUE_STEPS,
            DUE_EXECUTIONS,
            traces::DUE,
        ];
        let shown = questions.map(|sql| {
            let name = sql.lines().next().and_then(|line| line.strip_prefix("-- ")).unwrap();
            format!("{name}: {}", plan(&connection, sql))
        });
        let expected = [
            "execution: SEARCH workflow_executions USING PRIMARY KEY (execution_id=?)",
            "steps: SEARCH workflow_steps USING PRIMARY KEY (execution_id=?); USE TEMP B-TREE FOR ORDER BY",
            "workflow_of_execution: SEARCH workflow_executions USING PRIMARY KEY (execution_id=?)",
            "judged_steps: SEARCH workflow_steps USING INDEX workflow_steps_judged (execution_id=? AND severity>?); USE TEMP B-TREE FOR ORDER BY",
            "running_steps: SEARCH workflow_steps USING PRIMARY KEY (execution_id=?); USE TEMP B-TREE FOR ORDER BY",
            "baseline: SEARCH step_baselines USING INDEX sqlite_autoindex_step_baselines_1 (key=?)",
            "workflow_history: SEARCH step_baselines USING INDEX step_baselines_workflow (workflow_name=?)",
            "running_of_workflow: SEARCH workflow_executions USING COVERING INDEX workflow_executions_running (workflow_name=?)",
            "workflows: SEARCH b USING INDEX step_baselines_workflows (workflow_name>?); CORRELATED SCALAR SUBQUERY 1; SEARCH e USING COVERING INDEX workflow_executions_running (workflow_name=?); CORRELATED SCALAR SUBQUERY 2; SEARCH e USING COVERING INDEX workflow_executions_workflow (workflow_name=?)",
            "running: SCAN workflow_executions USING COVERING INDEX workflow_executions_running; USE TEMP B-TREE FOR ORDER BY",
            "silent_executions: SCAN e USING COVERING INDEX workflow_executions_running; CORRELATED SCALAR SUBQUERY 1; SEARCH s USING PRIMARY KEY (execution_id=?); CORRELATED SCALAR SUBQUERY 2; SEARCH v USING PRIMARY KEY (execution_id=?)",
            "last_event: SEARCH workflow_events USING PRIMARY KEY (execution_id=?)",
            "known_event: SEARCH workflow_events USING COVERING INDEX workflow_events_id (execution_id=? AND event_id=?)",
            "events: SEARCH workflow_events USING PRIMARY KEY (execution_id=? AND number>?)",
            "due_steps: SEARCH workflow_steps USING COVERING INDEX workflow_steps_running (judge_at<?)",
            "due_executions: SEARCH workflow_executions USING COVERING INDEX workflow_executions_due (judge_at<?)",
            "due_traces: SEARCH workflow_executions USING COVERING INDEX workflow_executions_settle (settle_at<?)",
        ];
        assert_eq!(shown, expected);
    }
}
