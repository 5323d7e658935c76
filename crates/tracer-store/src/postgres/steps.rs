//! Steps: how their rows are found, locked, written and read.
//!
//! Invariant: whoever writes a step holds its execution. So the steps that an ending execution closes need no lock of
//! their own.
//! Not here: which steps a batch needs (`tracer_core::record`).

use std::collections::{BTreeSet, HashMap};

use tokio_postgres::Row;
use tracer_core::detect::{Bottleneck, Severity, VerdictKind};
use tracer_core::ids::{ExecutionId, StepId};
use tracer_core::incident::IncidentId;
use tracer_core::name::{StepName, StepType};
use tracer_core::record::{Activity, Closing, StepKey, WorkingSet, Written};
use tracer_core::step::{Step, StepStatus};

use super::error::StoreError;
use super::partitions::Month;
use super::row::{self, Bits, Stamp, stored, stored_count};
use super::traces;
use super::tx::{Params, column};

/// What steps are read by.
macro_rules! columns {
    () => {
        "s.execution_id, s.step_id, s.step_name, s.step_type, s.parent_step_id, s.attempt, s.status, s.started_at, \
         s.ended_at, s.duration_us, s.attributes::text AS attributes, s.error::text AS error, s.severity, s.judged_us, \
         s.historical_avg_us, s.samples, s.p95_us, s.cohort::text AS cohort, s.in_flight, s.judge_at, s.changed_at, \
         s.incident_id, s.span, s.by_trace"
    };
}
pub(super) use columns;

/// The months of the executions asked for, as in `executions`.
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
        "s.recorded_month >= (SELECT low FROM months) AND s.recorded_month <= (SELECT high FROM months)"
    };
}
pub(super) use {in_months, months};

/// Each step is looked up by itself, in the order of the arrays, which are sorted. What locks is no part of a join, so
/// that no planner can find it cheaper to read a table through that is empty on its first day.
pub(super) const LOCK: &str = concat!(
    "-- lock_steps\n",
    months!(),
    "SELECT s.*
  FROM unnest($1::uuid[], $2::bigint[]) AS n (execution_id, step_id)
 CROSS JOIN LATERAL (
    SELECT ",
    columns!(),
    "
      FROM workflow_steps AS s
     WHERE s.execution_id = n.execution_id AND s.step_id = n.step_id AND ",
    in_months!(),
    "
       FOR UPDATE OF s) AS s"
);

pub(super) const CLOSING: &str = concat!(
    "-- closing_steps\n",
    months!(),
    "SELECT ",
    columns!(),
    "
  FROM workflow_steps AS s
 WHERE s.execution_id = ANY($1) AND (s.status = 'running' OR s.severity IS NOT NULL) AND ",
    in_months!(),
    "
 ORDER BY s.started_at, s.step_id"
);

pub(super) const COUNT_COMPLETED: &str = concat!(
    "-- count_completed\n",
    months!(),
    "SELECT s.execution_id, count(*) AS completed
  FROM workflow_steps AS s
 WHERE s.execution_id = ANY($1) AND s.status = 'completed' AND ",
    in_months!(),
    "
 GROUP BY s.execution_id"
);

pub(super) const ACTIVITY: &str = concat!(
    "-- activity_of_executions\n",
    months!(),
    "SELECT s.execution_id, max(s.changed_at) AS changed_at, max(s.judge_at) AS judge_at,
       (max(s.incident_id::text) FILTER (WHERE s.status = 'running'))::uuid AS stuck
  FROM workflow_steps AS s
 WHERE s.execution_id = ANY($1) AND ",
    in_months!(),
    "
 GROUP BY s.execution_id"
);

pub(super) const INSERT: &str = "\
-- insert_steps
INSERT INTO workflow_steps
       (execution_id, step_id, recorded_month, status, ended_at, duration_us, attributes, error, severity, judged_us,
        historical_avg_us, samples, p95_us, cohort, in_flight, judge_at, changed_at, incident_id,
        step_name, step_type, parent_step_id, attempt, started_at, span, by_trace)
SELECT n.c1, n.c2, n.c3, n.c4, n.c5, n.c6, n.c7::jsonb, n.c8::jsonb, n.c9, n.c10,
       n.c11, n.c12, n.c13, n.c14::jsonb, n.c15, n.c16, n.c17, n.c18, n.c19,
       n.c20, n.c21, n.c22, n.c23, n.c24, n.c25
  FROM unnest($1::uuid[], $2::bigint[], $3::date[], $4::text[], $5::timestamptz[], $6::bigint[], $7::text[], $8::text[],
              $9::smallint[], $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[], $14::text[], $15::boolean[],
              $16::timestamptz[], $17::timestamptz[], $18::uuid[], $19::text[], $20::text[], $21::bigint[],
              $22::integer[], $23::timestamptz[], $24::text[], $25::boolean[])
       AS n (c1, c2, c3, c4, c5, c6, c7, c8, c9, c10, c11, c12, c13, c14, c15, c16, c17, c18, c19, c20, c21, c22,
             c23, c24, c25)";

pub(super) const UPDATE: &str = "\
-- update_steps
UPDATE workflow_steps AS s
   SET status = n.status, ended_at = n.ended_at, duration_us = n.duration_us, attributes = n.attributes::jsonb,
       error = n.error::jsonb, severity = n.severity, judged_us = n.judged_us, historical_avg_us = n.historical_avg_us,
       samples = n.samples, p95_us = n.p95_us, cohort = n.cohort::jsonb, in_flight = n.in_flight,
       judge_at = n.judge_at, changed_at = n.changed_at, incident_id = n.incident_id
  FROM unnest($1::uuid[], $2::bigint[], $3::date[], $4::text[], $5::timestamptz[], $6::bigint[], $7::text[], $8::text[],
              $9::smallint[], $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[], $14::text[], $15::boolean[],
              $16::timestamptz[], $17::timestamptz[], $18::uuid[])
       AS n (execution_id, step_id, month, status, ended_at, duration_us, attributes, error, severity, judged_us,
             historical_avg_us, samples, p95_us, cohort, in_flight, judge_at, changed_at, incident_id)
 WHERE s.execution_id = n.execution_id AND s.step_id = n.step_id AND s.recorded_month = n.month";

/// The parameters of [`LOCK`].
pub(super) fn lock<'a>(keys: &BTreeSet<StepKey>) -> Params<'a> {
    let rows: Vec<&StepKey> = keys.iter().collect();
    vec![column(&rows, |(execution, _)| Bits::from(*execution)), column(&rows, |(_, step)| step.to_stored())]
}

/// The parameters of [`CLOSING`], of [`COUNT_COMPLETED`], of [`ACTIVITY`] and of [`traces::WAITING`].
pub(super) fn of_executions<'a>(executions: &BTreeSet<ExecutionId>) -> Params<'a> {
    vec![Box::new(executions.iter().map(|id| Bits::from(*id)).collect::<Vec<_>>())]
}

/// The parameters of [`INSERT`]; none if no step is new.
pub(super) fn insert(set: &WorkingSet) -> Option<Params<'_>> {
    whole(&written(set, Written::Insert))
}

/// The parameters of [`traces::UPDATE_STEPS`], for steps that came as spans; none if none has changed.
pub(super) fn update_spans(set: &WorkingSet) -> Option<Params<'_>> {
    let mut rows = written(set, Written::Update);
    rows.retain(|(_, step)| step.span.is_some());
    whole(&rows)
}

fn whole<'a>(rows: &[(Month, &'a Step)]) -> Option<Params<'a>> {
    if rows.is_empty() {
        return None;
    }
    let mut params = changing(rows);
    params.extend(traces::whole(rows));
    Some(params)
}

/// The parameters of [`UPDATE`], for steps that clients record; none if none has changed.
pub(super) fn update(set: &WorkingSet) -> Option<Params<'_>> {
    let mut rows = written(set, Written::Update);
    rows.retain(|(_, step)| step.span.is_none());
    (!rows.is_empty()).then(|| changing(&rows))
}

/// Returns the steps to write so, in the order of their keys, each with the month of its execution.
fn written(set: &WorkingSet, how: Written) -> Vec<(Month, &Step)> {
    let keys = set.written_steps.iter().filter(|(_, written)| **written == how).map(|(key, _)| key);
    let row = |key: &StepKey| Some((Month::of(set.executions.get(&key.0)?.recorded_at), set.steps.get(key)?));
    keys.filter_map(row).collect()
}

/// The columns that a step's end changes, behind its key.
fn changing<'a>(rows: &[(Month, &'a Step)]) -> Params<'a> {
    let verdict = |s: &Step, value: fn(&Bottleneck) -> i64| s.bottleneck.as_ref().map(value);
    vec![
        column(rows, |(_, s)| Bits::from(s.execution)),
        column(rows, |(_, s)| s.id.to_stored()),
        column(rows, |(month, _)| month.date()),
        column(rows, |(_, s)| s.status.as_str()),
        column(rows, |(_, s)| s.ended_at.map(Stamp)),
        column(rows, |(_, s)| s.duration.map(stored)),
        column(rows, |(_, s)| row::to_json(&s.attributes)),
        column(rows, |(_, s)| s.failure.as_ref().map(row::to_json)),
        column(rows, |(_, s)| s.bottleneck.as_ref().map(|verdict| verdict.severity.to_stored())),
        column(rows, |(_, s)| verdict(s, |verdict| stored(verdict.duration))),
        column(rows, |(_, s)| verdict(s, |verdict| stored(verdict.historical_avg))),
        column(rows, |(_, s)| verdict(s, |verdict| stored_count(verdict.samples))),
        column(rows, |(_, s)| verdict(s, |verdict| stored(verdict.p95))),
        column(rows, |(_, s)| s.bottleneck.as_ref().map(|verdict| row::to_json(&verdict.cohort))),
        column(rows, |(_, s)| s.bottleneck.as_ref().is_some_and(|verdict| verdict.in_flight)),
        column(rows, |(_, s)| s.judge_at.map(Stamp)),
        column(rows, |(_, s)| Stamp(s.changed_at)),
        column(rows, |(_, s)| s.incident.map(Bits::from)),
    ]
}

/// Reads steps by their keys.
///
/// # Errors
/// [`StoreError::Unreadable`] if a row is not what was written.
pub(super) fn read_all(rows: &[Row]) -> Result<HashMap<StepKey, Step>, StoreError> {
    rows.iter().map(|row| read(row).map(|step| ((step.execution, step.id), step))).collect()
}

/// Reads what [`CLOSING`] and [`COUNT_COMPLETED`] returned.
///
/// # Errors
/// [`StoreError::Unreadable`] if a row is not what was written.
pub(super) fn read_closings(
    steps: &[Row],
    completed: &[Row],
    executions: &BTreeSet<ExecutionId>,
) -> Result<HashMap<ExecutionId, Closing>, StoreError> {
    let mut closings: HashMap<_, _> = executions.iter().map(|id| (*id, Closing::default())).collect();
    for row in completed {
        if let Some(closing) = closings.get_mut(&row::execution_id(row, "execution_id")?) {
            closing.completed = row::count(row, "completed")?;
        }
    }
    for row in steps {
        let step = read(row)?;
        let Some(closing) = closings.get_mut(&step.execution) else { continue };
        if step.bottleneck.is_some() {
            closing.bottlenecks.push(step.clone());
        }
        if step.status == StepStatus::Running {
            closing.running.push(step);
        }
    }
    Ok(closings)
}

/// Reads what [`ACTIVITY`] returned; an execution without steps is not in it.
///
/// # Errors
/// [`StoreError::Unreadable`] if a row is not what was written.
pub(super) fn read_activities(rows: &[Row]) -> Result<HashMap<ExecutionId, Activity>, StoreError> {
    let activity = |row: &Row| {
        let (changed_at, judge_at) = (row::instant(row, "changed_at")?, row::instant(row, "judge_at")?);
        let stuck = row::get::<Option<Bits>>(row, "stuck")?.map(|bits| IncidentId::from_bytes(bits.0));
        Ok((row::execution_id(row, "execution_id")?, Activity { changed_at, judge_at, stuck }))
    };
    rows.iter().map(activity).collect()
}

/// Reads a row of the columns above.
///
/// # Errors
/// [`StoreError::Unreadable`] if it is not what was written.
pub(super) fn read(row: &Row) -> Result<Step, StoreError> {
    let status: &str = row::get(row, "status")?;
    let status = StepStatus::parse(status)
        .ok_or_else(|| StoreError::unreadable("status", format!("{status:?} is none")))?;
    let duration = row::length(row, "duration_us")?;
    Ok(Step {
        execution: row::execution_id(row, "execution_id")?,
        id: StepId::from_stored(row::get(row, "step_id")?),
        name: StepName::from_stored(row::get(row, "step_name")?),
        step_type: StepType::from_stored(row::get(row, "step_type")?),
        parent: row::get::<Option<i64>>(row, "parent_step_id")?.map(StepId::from_stored),
        attempt: row::get::<i32>(row, "attempt")?.unsigned_abs(),
        status,
        started_at: row::some_instant(row, "started_at")?,
        ended_at: row::instant(row, "ended_at")?,
        duration,
        attributes: row::attributes(row, "attributes")?,
        failure: row::failure(row, "error")?,
        bottleneck: read_verdict(row)?,
        judge_at: row::instant(row, "judge_at")?,
        incident: row::incident_id(row, "incident_id")?,
        changed_at: row::some_instant(row, "changed_at")?,
        span: row::get::<Option<&str>>(row, "span")?.map(|text| row::json(text, "span")).transpose()?,
        by_trace: row::get(row, "by_trace")?,
    })
}

fn read_verdict(row: &Row) -> Result<Option<Bottleneck>, StoreError> {
    let Some(severity) = row::get::<Option<i16>>(row, "severity")?.and_then(Severity::from_stored) else {
        return Ok(None);
    };
    let cohort =
        row::get::<Option<&str>>(row, "cohort")?.map(|text| row::json(text, "cohort")).transpose()?;
    let in_flight = row::get(row, "in_flight")?;
    Ok(Some(Bottleneck {
        kind: VerdictKind::of_step(in_flight),
        severity,
        duration: row::length(row, "judged_us")?.unwrap_or_default(),
        historical_avg: row::length(row, "historical_avg_us")?.unwrap_or_default(),
        samples: row::count(row, "samples")?,
        p95: row::length(row, "p95_us")?.unwrap_or_default(),
        cohort: cohort.unwrap_or_default(),
        in_flight,
    }))
}
