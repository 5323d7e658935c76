//! Events: how their rows are found, written and read.
//!
//! Invariant: numbers are given under the execution's lock: what [`LOOK`] sees was committed before it was taken.
//! Not here: how they are numbered (`tracer_core::record`).

use std::collections::{BTreeSet, HashMap};

use tokio_postgres::Row;
use tracer_core::event::{EventId, EventKind, LogLevel, WorkflowEvent};
use tracer_core::ids::{ExecutionId, StepId};
use tracer_core::record::{Activity, EventLog, WorkingSet};
use tracer_core::repository::RepositoryError;

use super::error::StoreError;
use super::partitions::Month;
use super::pool::ReadPool;
use super::reads::sql_limit;
use super::row::{self, Bits, Stamp};
use super::tx::{Params, column};

/// The months of the executions asked for, so that every other partition is left alone.
macro_rules! months {
    () => {
        "WITH months AS MATERIALIZED (
    SELECT min(recorded_month) AS low, max(recorded_month) AS high
      FROM execution_directory WHERE execution_id = ANY($1))
"
    };
}

/// The rows in those months.
macro_rules! in_months {
    () => {
        "e.recorded_month >= (SELECT low FROM months) AND e.recorded_month <= (SELECT high FROM months)"
    };
}

pub(super) const LOOK: &str = concat!(
    "-- look_events\n",
    months!(),
    "SELECT n.execution_id, n.event_id,
       coalesce((SELECT e.number FROM workflow_events AS e
                  WHERE e.execution_id = n.execution_id AND ",
    in_months!(),
    "
                  ORDER BY e.number DESC LIMIT 1), 0) AS last,
       EXISTS (SELECT FROM workflow_events AS e
                WHERE e.execution_id = n.execution_id AND e.event_id = n.event_id AND ",
    in_months!(),
    ") AS known
  FROM unnest($1::uuid[], $2::uuid[]) AS n (execution_id, event_id)"
);

/// When executions were last told of.
pub(super) const LAST: &str = concat!(
    "-- last_events\n",
    months!(),
    "SELECT n.execution_id, last.recorded_at
  FROM unnest($1::uuid[]) AS n (execution_id)
 CROSS JOIN LATERAL (
    SELECT e.recorded_at FROM workflow_events AS e
     WHERE e.execution_id = n.execution_id AND ",
    in_months!(),
    "
     ORDER BY e.number DESC LIMIT 1) AS last"
);

pub(super) const INSERT: &str = "\
-- insert_events
INSERT INTO workflow_events
       (execution_id, number, recorded_month, event_id, kind, level, step_id, at, recorded_at, message, attributes)
SELECT n.c1, n.c2, n.c3, n.c4, n.c5, n.c6, n.c7, n.c8, n.c9, n.c10, n.c11::jsonb
  FROM unnest($1::uuid[], $2::integer[], $3::date[], $4::uuid[], $5::text[], $6::text[], $7::bigint[],
              $8::timestamptz[], $9::timestamptz[], $10::text[], $11::text[])
       AS n (c1, c2, c3, c4, c5, c6, c7, c8, c9, c10, c11)";

pub(super) const LIST: &str = "\
-- events
SELECT e.number, e.event_id, e.kind, e.level, e.step_id, e.at, e.recorded_at, e.message,
       e.attributes::text AS attributes
  FROM workflow_events AS e
 WHERE e.execution_id = $1
   AND e.recorded_month = (SELECT recorded_month FROM execution_directory WHERE execution_id = $1)
   AND e.number > $2
 ORDER BY e.number
 LIMIT $3";

/// The parameters of [`LOOK`].
pub(super) fn look<'a>(keys: &BTreeSet<(ExecutionId, EventId)>) -> Params<'a> {
    let rows: Vec<_> = keys.iter().collect();
    vec![
        column(&rows, |(execution, _)| Bits::from(*execution)),
        column(&rows, |(_, event)| Bits(event.to_bytes())),
    ]
}

/// The parameters of [`INSERT`].
pub(super) fn insert(set: &WorkingSet) -> Params<'_> {
    let month = |event: &WorkflowEvent| Some(Month::of(set.executions.get(&event.execution)?.recorded_at));
    let rows: Vec<(Month, &WorkflowEvent)> =
        set.new_events.values().filter_map(|event| Some((month(event)?, event))).collect();
    vec![
        column(&rows, |(_, e)| Bits::from(e.execution)),
        column(&rows, |(_, e)| i32::try_from(e.number).unwrap_or(i32::MAX)),
        column(&rows, |(month, _)| month.date()),
        column(&rows, |(_, e)| Bits(e.id.to_bytes())),
        column(&rows, |(_, e)| e.kind.as_str()),
        column(&rows, |(_, e)| e.level.map(LogLevel::as_str)),
        column(&rows, |(_, e)| e.step.map(StepId::to_stored)),
        column(&rows, |(_, e)| Stamp(e.at)),
        column(&rows, |(_, e)| Stamp(e.recorded_at)),
        column(&rows, |(_, e)| e.message.as_str()),
        column(&rows, |(_, e)| row::to_json(&e.attributes)),
    ]
}

/// Reads what [`LOOK`] returned.
///
/// # Errors
/// [`StoreError::Unreadable`] if a row is not what was written.
pub(super) fn read_logs(rows: &[Row]) -> Result<HashMap<ExecutionId, EventLog>, StoreError> {
    let mut logs: HashMap<ExecutionId, EventLog> = HashMap::new();
    for row in rows {
        let log = logs.entry(row::execution_id(row, "execution_id")?).or_default();
        log.last = row::get::<i32>(row, "last")?.unsigned_abs();
        if row::get(row, "known")? {
            log.known.insert(EventId::from_bytes(row::get::<Bits>(row, "event_id")?.0));
        }
    }
    Ok(logs)
}

/// Adds what [`LAST`] returned to what is known of the executions' steps.
///
/// # Errors
/// [`StoreError::Unreadable`] if a row is not what was written.
pub(super) fn add_activity(
    rows: &[Row],
    activities: &mut HashMap<ExecutionId, Activity>,
) -> Result<(), StoreError> {
    for row in rows {
        let activity = activities.entry(row::execution_id(row, "execution_id")?).or_default();
        activity.changed_at = activity.changed_at.max(row::instant(row, "recorded_at")?);
    }
    Ok(())
}

/// Returns events of an execution in the order of their numbers.
pub(super) async fn list(
    pool: &ReadPool,
    id: ExecutionId,
    after: u32,
    limit: usize,
) -> Result<Vec<WorkflowEvent>, RepositoryError> {
    let after = i32::try_from(after).unwrap_or(i32::MAX);
    let rows = pool.query("events", LIST, &[&Bits::from(id), &after, &sql_limit(limit)]).await?;
    let read = rows.iter().map(|row| read(id, row));
    read.collect::<Result<_, _>>().map_err(|error: StoreError| error.into_repository("events"))
}

fn read(execution: ExecutionId, row: &Row) -> Result<WorkflowEvent, StoreError> {
    let kind: &str = row::get(row, "kind")?;
    let kind =
        EventKind::parse(kind).ok_or_else(|| StoreError::unreadable("kind", format!("{kind:?} is none")))?;
    Ok(WorkflowEvent {
        execution,
        number: row::get::<i32>(row, "number")?.unsigned_abs(),
        id: EventId::from_bytes(row::get::<Bits>(row, "event_id")?.0),
        kind,
        level: row::get::<Option<&str>>(row, "level")?.and_then(LogLevel::parse),
        step: row::get::<Option<i64>>(row, "step_id")?.map(StepId::from_stored),
        at: row::some_instant(row, "at")?,
        recorded_at: row::some_instant(row, "recorded_at")?,
        message: row::get::<&str>(row, "message")?.to_owned(),
        attributes: row::attributes(row, "attributes")?,
    })
}
