//! What spans change: executions that they tell of, and steps that came as spans.
//!
//! Invariant: whoever writes an execution or its steps holds the execution.
//! Not here: steps and executions as clients record them (`steps`, `executions`).

use std::collections::HashMap;

use tokio_postgres::Row;
use tracer_core::ids::{ExecutionId, StepId};
use tracer_core::name::Version;
use tracer_core::record::{ExecutionHead, TracedExecution, WorkingSet};
use tracer_core::step::Step;
use tracer_core::time::Timestamp;

use super::error::StoreError;
use super::partitions::Month;
use super::row::{self, Bits, Stamp, stored, stored_count};
use super::steps;
use super::tx::{Params, column};

pub(super) const WAITING: &str = concat!(
    "-- waiting_steps\n",
    steps::months!(),
    "SELECT ",
    steps::columns!(),
    "
  FROM workflow_steps AS s
 WHERE s.execution_id = ANY($1) AND (s.by_trace OR s.status = 'running') AND ",
    steps::in_months!()
);

pub(super) const UPDATE_EXECUTIONS: &str = "\
-- update_traced_executions
UPDATE workflow_executions AS e
   SET workflow_name = n.workflow_name, status = n.status, started_at = n.started_at, ended_at = n.ended_at,
       duration_us = n.duration_us, worst_severity = n.worst_severity, steps_completed = n.steps_completed,
       judge_at = n.judge_at, settle_at = n.settle_at, trace = n.trace,
       version = CASE WHEN n.has_facts THEN n.version ELSE e.version END,
       attributes = CASE WHEN n.has_facts THEN n.attributes::jsonb ELSE e.attributes END,
       error = CASE WHEN n.has_failure THEN n.error::jsonb ELSE e.error END
  FROM unnest($1::uuid[], $2::date[], $3::text[], $4::text[], $5::timestamptz[], $6::timestamptz[], $7::bigint[],
              $8::smallint[], $9::bigint[], $10::timestamptz[], $11::timestamptz[], $12::text[], $13::boolean[],
              $14::text[], $15::text[], $16::boolean[], $17::text[])
       AS n (id, month, workflow_name, status, started_at, ended_at, duration_us, worst_severity, steps_completed,
             judge_at, settle_at, trace, has_facts, version, attributes, has_failure, error)
 WHERE e.execution_id = n.id AND e.recorded_month = n.month";

pub(super) const UPDATE_STEPS: &str = "\
-- update_spans
UPDATE workflow_steps AS s
   SET status = n.status, ended_at = n.ended_at, duration_us = n.duration_us, attributes = n.attributes::jsonb,
       error = n.error::jsonb, severity = n.severity, judged_us = n.judged_us, historical_avg_us = n.historical_avg_us,
       samples = n.samples, p95_us = n.p95_us, cohort = n.cohort::jsonb, in_flight = n.in_flight,
       judge_at = n.judge_at, changed_at = n.changed_at, incident_id = n.incident_id, step_name = n.step_name,
       step_type = n.step_type, parent_step_id = n.parent_step_id, attempt = n.attempt, started_at = n.started_at,
       span = n.span, by_trace = n.by_trace
  FROM unnest($1::uuid[], $2::bigint[], $3::date[], $4::text[], $5::timestamptz[], $6::bigint[], $7::text[], $8::text[],
              $9::smallint[], $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[], $14::text[], $15::boolean[],
              $16::timestamptz[], $17::timestamptz[], $18::uuid[], $19::text[], $20::text[], $21::bigint[],
              $22::integer[], $23::timestamptz[], $24::text[], $25::boolean[])
       AS n (execution_id, step_id, month, status, ended_at, duration_us, attributes, error, severity, judged_us,
             historical_avg_us, samples, p95_us, cohort, in_flight, judge_at, changed_at, incident_id, step_name,
             step_type, parent_step_id, attempt, started_at, span, by_trace)
 WHERE s.execution_id = n.execution_id AND s.step_id = n.step_id AND s.recorded_month = n.month";

pub(super) const DUE: &str = "\
-- due_traces
SELECT e.execution_id, e.settle_at
  FROM workflow_executions AS e
 WHERE e.settle_at <= $1
 ORDER BY e.settle_at
 LIMIT $2";

/// Reads a row of [`DUE`].
///
/// # Errors
/// [`StoreError::Unreadable`] if it is not what was written.
pub(super) fn read_due(row: &Row) -> Result<(Timestamp, ExecutionId), StoreError> {
    Ok((row::some_instant(row, "settle_at")?, row::execution_id(row, "execution_id")?))
}

/// Reads what [`WAITING`] returned.
///
/// # Errors
/// [`StoreError::Unreadable`] if a row is not what was written.
pub(super) fn read_waiting(rows: &[Row]) -> Result<HashMap<ExecutionId, Vec<Step>>, StoreError> {
    let mut waiting: HashMap<ExecutionId, Vec<Step>> = HashMap::new();
    for row in rows {
        let step = steps::read(row)?;
        waiting.entry(step.execution).or_default().push(step);
    }
    Ok(waiting)
}

/// The parameters of [`UPDATE_EXECUTIONS`].
pub(super) fn update_executions(set: &WorkingSet) -> Params<'_> {
    let traced = set.traced_executions.iter();
    // What spans change was loaded, so that its month is known.
    let rows: Vec<(ExecutionId, &ExecutionHead, &TracedExecution)> =
        traced.filter_map(|(id, traced)| Some((*id, set.executions.get(id)?, traced))).collect();
    let version = |traced: &TracedExecution| {
        traced
            .facts
            .as_ref()
            .and_then(|(version, _)| version.as_ref().map(Version::as_str).map(str::to_owned))
    };
    vec![
        column(&rows, |(id, ..)| Bits::from(*id)),
        column(&rows, |(_, head, _)| Month::of(head.recorded_at).date()),
        column(&rows, |(_, head, _)| head.workflow.as_str().to_owned()),
        column(&rows, |(_, head, _)| head.status.as_str()),
        column(&rows, |(_, head, _)| Stamp(head.started_at)),
        column(&rows, |(_, head, _)| head.ended_at.map(Stamp)),
        column(&rows, |(_, head, _)| head.duration.map(stored)),
        column(&rows, |(_, head, _)| head.worst.map(|worst| worst.to_stored())),
        column(&rows, |(_, head, _)| stored_count(head.steps_completed)),
        column(&rows, |(_, head, _)| head.judge_at.map(Stamp)),
        column(&rows, |(_, head, _)| head.settle_at.map(Stamp)),
        column(&rows, |(_, head, _)| head.trace.as_ref().map(row::to_json)),
        column(&rows, |(.., traced)| traced.facts.is_some()),
        column(&rows, |(.., traced)| version(traced)),
        column(&rows, |(.., traced)| traced.facts.as_ref().map(|(_, attributes)| row::to_json(attributes))),
        column(&rows, |(.., traced)| traced.failure.is_some()),
        column(&rows, |(.., traced)| {
            traced.failure.as_ref().and_then(|failure| failure.as_ref().map(row::to_json))
        }),
    ]
}

/// The columns that a step has beside those that its end changes, in the order of [`UPDATE_STEPS`] and of the insert.
pub(super) fn whole<'a>(rows: &[(Month, &'a Step)]) -> Params<'a> {
    vec![
        column(rows, |(_, s)| s.name.as_str()),
        column(rows, |(_, s)| s.step_type.as_str()),
        column(rows, |(_, s)| s.parent.map(StepId::to_stored)),
        column(rows, |(_, s)| i32::try_from(s.attempt).unwrap_or(i32::MAX)),
        column(rows, |(_, s)| Stamp(s.started_at)),
        column(rows, |(_, s)| s.span.as_ref().map(row::to_json)),
        column(rows, |(_, s)| s.by_trace),
    ]
}
