//! Executions: how their rows are found, locked, written and read.
//!
//! An execution is looked up by its id alone, and its partition by the directory: the bounds of the months of all ids
//! asked for are worked out first, once per statement, and every partition outside of them is left alone.
//!
//! Invariant: one statement locks all executions of a batch, in the order of their ids.
//! Not here: listing them (`listing`).

use std::collections::{BTreeMap, HashMap};

use tokio_postgres::Row;
use tracer_core::detect::{Bottleneck, Severity};
use tracer_core::execution::{Execution, ExecutionStatus};
use tracer_core::ids::{ExecutionId, StepId, Traceparent};
use tracer_core::name::{CorrelationId, Version, WorkflowName};
use tracer_core::payload::Payload;
use tracer_core::record::{ExecutionHead, Lock, WorkingSet};

use super::error::StoreError;
use super::partitions::Month;
use super::row::{self, Bits, Stamp, stored, stored_count};
use super::tx::{Params, column};

macro_rules! heads {
    ($name:literal, $lock:literal) => {
        concat!(
            "-- ",
            $name,
            "
WITH months AS MATERIALIZED (
    SELECT min(recorded_month) AS low, max(recorded_month) AS high
      FROM execution_directory WHERE execution_id = ANY($1))
SELECT e.execution_id, e.workflow_name, e.status, e.started_at, e.ended_at, e.duration_us, e.recorded_at,
       e.steps_completed, e.worst_severity, e.version, e.attributes::text AS attributes, e.judge_at,
       e.stalled::text AS stalled, e.incident_id, e.trace, e.settle_at
  FROM workflow_executions AS e
 WHERE e.execution_id = ANY($1)
   AND e.recorded_month >= (SELECT low FROM months) AND e.recorded_month <= (SELECT high FROM months)
 ORDER BY e.execution_id ",
            $lock
        )
    };
}

pub(super) const LOOK: &str = heads!("look_executions", "");
pub(super) const LOCK: &str = heads!("lock_executions", "FOR UPDATE OF e");

pub(super) const ENTER_DIRECTORY: &str = "\
-- enter_directory
INSERT INTO execution_directory (execution_id, recorded_month)
SELECT * FROM unnest($1::uuid[], $2::date[])";

pub(super) const INSERT: &str = "\
-- insert_executions
INSERT INTO workflow_executions
       (execution_id, recorded_month, workflow_name, status, started_at, ended_at, duration_us, correlation_id, version,
        attributes, input, output, error, parent_execution_id, link_trace_id, link_span_id, simulated, recorded_at,
        steps_completed, worst_severity, judge_at, trace, settle_at)
SELECT n.c1, n.c2, n.c3, n.c4, n.c5, n.c6, n.c7, n.c8, n.c9,
       n.c10::jsonb, n.c11, n.c12, n.c13::jsonb, n.c14, n.c15, n.c16, n.c17, n.c18,
       n.c19, n.c20, n.c21, n.c22, n.c23
  FROM unnest($1::uuid[], $2::date[], $3::text[], $4::text[], $5::timestamptz[], $6::timestamptz[], $7::bigint[],
              $8::text[], $9::text[], $10::text[], $11::text[], $12::text[], $13::text[], $14::uuid[], $15::uuid[],
              $16::bigint[], $17::boolean[], $18::timestamptz[], $19::bigint[], $20::smallint[], $21::timestamptz[],
              $22::text[], $23::timestamptz[])
       AS n (c1, c2, c3, c4, c5, c6, c7, c8, c9, c10, c11, c12, c13, c14, c15, c16, c17, c18, c19, c20, c21, c22,
             c23)";

pub(super) const WORSEN: &str = "\
-- worsen_executions
UPDATE workflow_executions AS e
   SET worst_severity = n.worst
  FROM unnest($1::uuid[], $2::date[], $3::smallint[]) AS n (id, month, worst)
 WHERE e.execution_id = n.id AND e.recorded_month = n.month";

pub(super) const WATCH: &str = "\
-- watch_executions
UPDATE workflow_executions AS e
   SET judge_at = n.judge_at, stalled = n.stalled::jsonb, incident_id = n.incident_id
  FROM unnest($1::uuid[], $2::date[], $3::timestamptz[], $4::text[], $5::uuid[])
       AS n (id, month, judge_at, stalled, incident_id)
 WHERE e.execution_id = n.id AND e.recorded_month = n.month";

pub(super) const END: &str = "\
-- end_executions
UPDATE workflow_executions AS e
   SET status = n.status, ended_at = n.ended_at, duration_us = n.duration_us, output = n.output, error = n.error::jsonb,
       steps_completed = n.steps_completed, worst_severity = n.worst_severity, judge_at = NULL, stalled = NULL,
       incident_id = NULL
  FROM unnest($1::uuid[], $2::date[], $3::text[], $4::timestamptz[], $5::bigint[], $6::text[], $7::text[], $8::bigint[],
              $9::smallint[])
       AS n (id, month, status, ended_at, duration_us, output, error, steps_completed, worst_severity)
 WHERE e.execution_id = n.id AND e.recorded_month = n.month";

/// What executions are read by: everything but the payloads.
pub(super) const COLUMNS: &str = "\
e.execution_id, e.workflow_name, e.status, e.started_at, e.ended_at, e.duration_us, e.correlation_id, e.version, \
e.attributes::text AS attributes, e.error::text AS error, e.parent_execution_id, e.link_trace_id, e.link_span_id, \
e.simulated, e.recorded_at, e.steps_completed, e.worst_severity, e.judge_at, e.stalled::text AS stalled";

/// The ids of a batch's executions by how they are to be held.
#[derive(Debug, Default)]
pub(super) struct Locks {
    /// To look at.
    pub(super) look: Vec<Bits>,
    /// To lock.
    pub(super) lock: Vec<Bits>,
}

impl Locks {
    /// Sorts out what a batch needs.
    pub(super) fn of(needs: &BTreeMap<ExecutionId, Lock>) -> Self {
        let mut locks = Self::default();
        for (id, lock) in needs {
            match lock {
                Lock::Look => locks.look.push(Bits::from(*id)),
                Lock::Update => locks.lock.push(Bits::from(*id)),
            }
        }
        locks
    }
}

/// Reads what [`LOOK`] or a lock returned.
///
/// # Errors
/// [`StoreError::Unreadable`] if a row is not what was written.
pub(super) fn read_heads(
    rows: &[Row],
    into: &mut HashMap<ExecutionId, ExecutionHead>,
) -> Result<(), StoreError> {
    for row in rows {
        let head = ExecutionHead {
            workflow: WorkflowName::from_stored(row::get(row, "workflow_name")?),
            status: status(row)?,
            started_at: row::some_instant(row, "started_at")?,
            ended_at: row::instant(row, "ended_at")?,
            duration: row::length(row, "duration_us")?,
            recorded_at: row::some_instant(row, "recorded_at")?,
            steps_completed: row::count(row, "steps_completed")?,
            worst: worst(row)?,
            features: row::features(row)?,
            stalled: stalled(row)?,
            judge_at: row::instant(row, "judge_at")?,
            incident: row::incident_id(row, "incident_id")?,
            trace: row::trace(row, "trace")?,
            settle_at: row::instant(row, "settle_at")?,
        };
        into.insert(row::execution_id(row, "execution_id")?, head);
    }
    Ok(())
}

/// Reads a row of [`COLUMNS`]; the payloads, and what spans told, are those of the columns `input`, `output`,
/// `trace` and `settle_at`, where they were selected.
///
/// # Errors
/// [`StoreError::Unreadable`] if it is not what was written.
pub(super) fn read(row: &Row, with_payloads: bool) -> Result<Execution, StoreError> {
    let payload = |column| -> Result<Option<Payload>, StoreError> {
        let text: Option<String> = if with_payloads { row::get(row, column)? } else { None };
        Ok(text.map(Payload::from_stored))
    };
    let (trace, span): (Option<Bits>, Option<i64>) =
        (row::get(row, "link_trace_id")?, row::get(row, "link_span_id")?);
    let link = trace.zip(span).map(|(trace, span)| Traceparent {
        trace: ExecutionId::from_bytes(trace.0),
        parent: StepId::from_stored(span),
    });
    Ok(Execution {
        id: row::execution_id(row, "execution_id")?,
        workflow: WorkflowName::from_stored(row::get(row, "workflow_name")?),
        status: status(row)?,
        started_at: row::some_instant(row, "started_at")?,
        ended_at: row::instant(row, "ended_at")?,
        duration: row::length(row, "duration_us")?,
        correlation_id: row::get::<Option<&str>>(row, "correlation_id")?.map(CorrelationId::from_stored),
        version: row::get::<Option<&str>>(row, "version")?.map(Version::from_stored),
        attributes: row::attributes(row, "attributes")?,
        input: payload("input")?,
        output: payload("output")?,
        failure: row::failure(row, "error")?,
        parent: row::get::<Option<Bits>>(row, "parent_execution_id")?.map(|id| ExecutionId::from_bytes(id.0)),
        link,
        simulated: row::get(row, "simulated")?,
        recorded_at: row::some_instant(row, "recorded_at")?,
        steps_completed: row::count(row, "steps_completed")?,
        worst: worst(row)?,
        stalled: stalled(row)?,
        judge_at: row::instant(row, "judge_at")?,
        trace: if with_payloads { row::trace(row, "trace")? } else { None },
        settle_at: if with_payloads { row::instant(row, "settle_at")? } else { None },
    })
}

/// The parameters of [`ENTER_DIRECTORY`].
pub(super) fn enter_directory(set: &WorkingSet) -> Params<'_> {
    let rows: Vec<&Execution> = set.new_executions.values().collect();
    vec![column(&rows, |e| Bits::from(e.id)), column(&rows, |e| Month::of(e.recorded_at).date())]
}

/// The parameters of [`INSERT`].
pub(super) fn insert(set: &WorkingSet) -> Params<'_> {
    let rows: Vec<&Execution> = set.new_executions.values().collect();
    vec![
        column(&rows, |e| Bits::from(e.id)),
        column(&rows, |e| Month::of(e.recorded_at).date()),
        column(&rows, |e| e.workflow.as_str()),
        column(&rows, |e| e.status.as_str()),
        column(&rows, |e| Stamp(e.started_at)),
        column(&rows, |e| e.ended_at.map(Stamp)),
        column(&rows, |e| e.duration.map(stored)),
        column(&rows, |e| e.correlation_id.as_ref().map(CorrelationId::as_str)),
        column(&rows, |e| e.version.as_ref().map(Version::as_str)),
        column(&rows, |e| row::to_json(&e.attributes)),
        column(&rows, |e| e.input.as_ref().map(Payload::as_str)),
        column(&rows, |e| e.output.as_ref().map(Payload::as_str)),
        column(&rows, |e| e.failure.as_ref().map(row::to_json)),
        column(&rows, |e| e.parent.map(Bits::from)),
        column(&rows, |e| e.link.map(|link| Bits::from(link.trace))),
        column(&rows, |e| e.link.map(|link| link.parent.to_stored())),
        column(&rows, |e| e.simulated),
        column(&rows, |e| Stamp(e.recorded_at)),
        column(&rows, |e| stored_count(e.steps_completed)),
        column(&rows, |e| e.worst.map(Severity::to_stored)),
        column(&rows, |e| e.judge_at.map(Stamp)),
        column(&rows, |e| e.trace.as_ref().map(row::to_json)),
        column(&rows, |e| e.settle_at.map(Stamp)),
    ]
}

/// The parameters of [`END`].
pub(super) fn end(set: &WorkingSet) -> Params<'_> {
    let ended = set.ended_executions.iter();
    // What ends was loaded, so that its month is known.
    let rows: Vec<_> =
        ended.filter_map(|(id, end)| Some((*id, set.executions.get(id)?.recorded_at, end))).collect();
    vec![
        column(&rows, |(id, ..)| Bits::from(*id)),
        column(&rows, |(_, recorded_at, _)| Month::of(*recorded_at).date()),
        column(&rows, |(.., end)| end.status.as_str()),
        column(&rows, |(.., end)| Stamp(end.ended_at)),
        column(&rows, |(.., end)| stored(end.duration)),
        column(&rows, |(.., end)| end.output.as_ref().map(Payload::as_str)),
        column(&rows, |(.., end)| end.failure.as_ref().map(row::to_json)),
        column(&rows, |(.., end)| stored_count(end.steps_completed)),
        column(&rows, |(.., end)| end.worst.map(Severity::to_stored)),
    ]
}

/// The parameters of [`WORSEN`].
pub(super) fn worsen(set: &WorkingSet) -> Params<'_> {
    let worsened = set.worsened_executions.iter();
    // What turns worse was loaded, so that its month is known.
    let rows: Vec<_> =
        worsened.filter_map(|(id, worst)| Some((*id, set.executions.get(id)?.recorded_at, *worst))).collect();
    vec![
        column(&rows, |(id, ..)| Bits::from(*id)),
        column(&rows, |(_, recorded_at, _)| Month::of(*recorded_at).date()),
        column(&rows, |(.., worst)| worst.to_stored()),
    ]
}

/// The parameters of [`WATCH`].
pub(super) fn watch(set: &WorkingSet) -> Params<'_> {
    let watched = set.watched_executions.iter();
    // What is looked at was loaded, so that its month is known.
    let rows: Vec<_> = watched.filter_map(|id| Some((*id, set.executions.get(id)?))).collect();
    vec![
        column(&rows, |(id, _)| Bits::from(*id)),
        column(&rows, |(_, head)| Month::of(head.recorded_at).date()),
        column(&rows, |(_, head)| head.judge_at.map(Stamp)),
        column(&rows, |(_, head)| head.stalled.as_ref().map(row::to_json)),
        column(&rows, |(_, head)| head.incident.map(Bits::from)),
    ]
}

/// Reads the verdict on an execution that is silent.
///
/// # Errors
/// [`StoreError::Unreadable`] if it is not what was written.
pub(super) fn stalled(row: &Row) -> Result<Option<Bottleneck>, StoreError> {
    row::get::<Option<&str>>(row, "stalled")?.map(|text| row::json(text, "stalled")).transpose()
}

fn worst(row: &Row) -> Result<Option<Severity>, StoreError> {
    Ok(row::get::<Option<i16>>(row, "worst_severity")?.and_then(Severity::from_stored))
}

fn status(row: &Row) -> Result<ExecutionStatus, StoreError> {
    let text: &str = row::get(row, "status")?;
    ExecutionStatus::parse(text).ok_or_else(|| StoreError::unreadable("status", format!("{text:?} is none")))
}
