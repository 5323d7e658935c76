//! Rows to values and back.
//!
//! What is stored was checked when it was recorded; what cannot be read back is an error, never a
//! panic. Not here: the statements.

use std::borrow::Cow;

use rusqlite::Row;
use tracer_core::attributes::Attributes;
use tracer_core::baseline::Baseline;
use tracer_core::cohort::Cohort;
use tracer_core::detect::{Bottleneck, Severity, VerdictKind};
use tracer_core::execution::{Execution, ExecutionStatus};
use tracer_core::failure::Failure;
use tracer_core::features::Features;
use tracer_core::ids::{ExecutionId, StepId, Traceparent};
use tracer_core::incident::{Alarm, Incident, IncidentId};
use tracer_core::name::{CorrelationId, StepName, StepType, Version, WorkflowName};
use tracer_core::payload::Payload;
use tracer_core::span::SpanDetail;
use tracer_core::step::{Step, StepStatus};
use tracer_core::time::{Micros, Timestamp};
use tracer_core::trace::Trace;

use super::error::StoreError;

/// The columns that [`step`] reads, in its order, behind an `execution_id` in the first place.
macro_rules! step_columns {
    () => {
        "execution_id, step_id, status, severity, started_at, changed_at, step_name, step_type, \
         parent_step_id, attempt, ended_at, duration_us, judged_us, historical_avg_us, samples, p95_us, \
         cohort, in_flight, judge_at, attributes, error, incident_id, span, by_trace"
    };
}
pub(super) use step_columns;

/// The columns that [`execution`] reads, in its order, without the payloads.
macro_rules! execution_columns {
    () => {
        "execution_id, workflow_name, status, started_at, ended_at, duration_us, recorded_at, \
         worst_severity, steps_completed, simulated, correlation_id, version, parent_execution_id, \
         link_trace_id, link_span_id, attributes, error, judge_at, stalled"
    };
}
pub(super) use execution_columns;

/// Where the payloads begin in a row that has them: behind [`execution_columns`].
const PAYLOADS: usize = 19;

/// Returns a number as it is stored; what is too large for SQLite becomes its largest.
pub(super) fn stored(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Returns a length as it is stored.
pub(super) fn stored_micros(length: Micros) -> i64 {
    stored(length.get())
}

/// Returns attributes as they are stored.
pub(super) fn stored_attributes(attributes: &Attributes) -> Result<Cow<'static, str>, StoreError> {
    if attributes.is_empty() { Ok("{}".into()) } else { Ok(serde_json::to_string(attributes)?.into()) }
}

/// Returns a failure as it is stored.
pub(super) fn stored_failure(failure: Option<&Failure>) -> Result<Option<String>, StoreError> {
    failure.map(serde_json::to_string).transpose().map_err(StoreError::from)
}

/// Returns a cohort as it is stored.
pub(super) fn stored_cohort(cohort: &Cohort) -> Result<Cow<'static, str>, StoreError> {
    if cohort.is_whole() { Ok("{}".into()) } else { Ok(serde_json::to_string(cohort)?.into()) }
}

/// Reads a text without copying it.
pub(super) fn text<'a>(row: &'a Row<'_>, column: usize) -> Result<&'a str, StoreError> {
    row.get_ref(column)?.as_str().map_err(|error| StoreError::stored("text", error))
}

/// Reads a text that may be missing.
pub(super) fn optional_text<'a>(row: &'a Row<'_>, column: usize) -> Result<Option<&'a str>, StoreError> {
    row.get_ref(column)?.as_str_or_null().map_err(|error| StoreError::stored("text", error))
}

/// Reads a number that is never negative.
pub(super) fn count(row: &Row<'_>, column: usize) -> Result<u64, StoreError> {
    u64::try_from(row.get::<_, i64>(column)?).map_err(|error| StoreError::stored("count", error))
}

/// Reads an instant.
pub(super) fn time(row: &Row<'_>, column: usize) -> Result<Timestamp, StoreError> {
    Ok(Timestamp::from_micros(row.get(column)?))
}

/// Reads an instant that may be missing.
pub(super) fn optional_time(row: &Row<'_>, column: usize) -> Result<Option<Timestamp>, StoreError> {
    Ok(row.get::<_, Option<i64>>(column)?.map(Timestamp::from_micros))
}

/// Reads a length that may be missing.
pub(super) fn optional_micros(row: &Row<'_>, column: usize) -> Result<Option<Micros>, StoreError> {
    let number: Option<i64> = row.get(column)?;
    let number =
        number.map(u64::try_from).transpose().map_err(|error| StoreError::stored("duration", error))?;
    Ok(number.map(Micros::new))
}

/// Reads an execution's id.
pub(super) fn execution_id(row: &Row<'_>, column: usize) -> Result<ExecutionId, StoreError> {
    Ok(ExecutionId::from_bytes(row.get(column)?))
}

/// Reads an incident's id that may be missing.
pub(super) fn incident_id(row: &Row<'_>, column: usize) -> Result<Option<IncidentId>, StoreError> {
    Ok(row.get::<_, Option<[u8; 16]>>(column)?.map(IncidentId::from_bytes))
}

/// Reads an incident of a column that holds the whole of it.
pub(super) fn incident(row: &Row<'_>, column: usize) -> Result<Incident, StoreError> {
    json(text(row, column)?, "incident")
}

/// Reads an execution's status.
pub(super) fn execution_status(row: &Row<'_>, column: usize) -> Result<ExecutionStatus, StoreError> {
    let written = text(row, column)?;
    ExecutionStatus::parse(written).ok_or_else(|| StoreError::stored("status", written.to_owned()))
}

/// Reads a baseline.
pub(super) fn baseline(row: &Row<'_>, column: usize) -> Result<Baseline, StoreError> {
    let state = row.get_ref(column)?.as_blob().map_err(|error| StoreError::stored("baseline", error))?;
    Baseline::decode(state).map_err(|error| StoreError::stored("baseline", error))
}

/// Reads what is known of the incidents of a history.
pub(super) fn alarm(row: &Row<'_>, column: usize) -> Result<Alarm, StoreError> {
    let stored =
        row.get_ref(column)?.as_blob_or_null().map_err(|error| StoreError::stored("alarm", error))?;
    let alarm = stored.map(Alarm::decode).transpose().map_err(|error| StoreError::stored("alarm", error))?;
    Ok(alarm.unwrap_or_default())
}

fn json<T: serde::de::DeserializeOwned>(text: &str, what: &'static str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| StoreError::stored(what, error))
}

/// Reads what an execution says that may explain how long its steps take: its version, and behind that its
/// attributes.
pub(super) fn features(row: &Row<'_>, column: usize) -> Result<Features, StoreError> {
    let version = optional_text(row, column)?.map(Version::from_stored);
    Ok(Features::of_execution(version.as_ref(), &attributes(row, column + 1)?))
}

/// Reads attributes.
pub(super) fn attributes(row: &Row<'_>, column: usize) -> Result<Attributes, StoreError> {
    match text(row, column)? {
        "{}" => Ok(Attributes::default()),
        written => json(written, "set of attributes"),
    }
}

/// Reads a failure that may be missing.
pub(super) fn failure(row: &Row<'_>, column: usize) -> Result<Option<Failure>, StoreError> {
    optional_text(row, column)?.map(|written| json(written, "error")).transpose()
}

/// Reads a severity that may be missing.
pub(super) fn severity(row: &Row<'_>, column: usize) -> Result<Option<Severity>, StoreError> {
    Ok(row.get::<_, Option<i16>>(column)?.and_then(Severity::from_stored))
}

/// Reads what is known of an execution because spans told so.
pub(super) fn trace(row: &Row<'_>, column: usize) -> Result<Option<Box<Trace>>, StoreError> {
    optional_text(row, column)?.map(|written| json(written, "trace")).transpose()
}

/// Returns what a step has because it came as a span, as it is stored.
pub(super) fn stored_span(span: Option<&SpanDetail>) -> Result<Option<String>, StoreError> {
    span.map(serde_json::to_string).transpose().map_err(StoreError::from)
}

/// Reads the verdict on an execution that is silent.
pub(super) fn stalled(row: &Row<'_>, column: usize) -> Result<Option<Bottleneck>, StoreError> {
    optional_text(row, column)?.map(|written| json(written, "verdict")).transpose()
}

/// Reads a row of [`step_columns`].
pub(super) fn step(row: &Row<'_>) -> Result<Step, StoreError> {
    let status = text(row, 2)?;
    let duration = optional_micros(row, 11)?;
    Ok(Step {
        execution: execution_id(row, 0)?,
        id: StepId::from_stored(row.get(1)?),
        status: StepStatus::parse(status).ok_or_else(|| StoreError::stored("status", status.to_owned()))?,
        started_at: time(row, 4)?,
        changed_at: time(row, 5)?,
        name: StepName::from_stored(text(row, 6)?),
        step_type: StepType::from_stored(text(row, 7)?),
        parent: row.get::<_, Option<i64>>(8)?.map(StepId::from_stored),
        attempt: row.get(9)?,
        ended_at: optional_time(row, 10)?,
        duration,
        bottleneck: severity(row, 3)?.map(|severity| bottleneck(row, severity, duration)).transpose()?,
        judge_at: optional_time(row, 18)?,
        incident: incident_id(row, 21)?,
        attributes: attributes(row, 19)?,
        failure: failure(row, 20)?,
        span: optional_text(row, 22)?.map(|written| json(written, "span")).transpose()?,
        by_trace: row.get(23)?,
    })
}

/// Reads the verdict of a row of [`step_columns`].
fn bottleneck(row: &Row<'_>, severity: Severity, duration: Option<Micros>) -> Result<Bottleneck, StoreError> {
    let in_flight = row.get::<_, Option<bool>>(17)?.unwrap_or(false);
    Ok(Bottleneck {
        kind: VerdictKind::of_step(in_flight),
        severity,
        duration: optional_micros(row, 12)?.or(duration).unwrap_or_default(),
        historical_avg: optional_micros(row, 13)?.unwrap_or_default(),
        samples: row.get::<_, Option<i64>>(14)?.map_or(0, i64::unsigned_abs),
        p95: optional_micros(row, 15)?.unwrap_or_default(),
        cohort: match optional_text(row, 16)? {
            None | Some("{}") => Cohort::default(),
            Some(written) => json(written, "cohort")?,
        },
        in_flight,
    })
}

/// Reads a row of [`execution_columns`], which has no payloads.
pub(super) fn execution(row: &Row<'_>) -> Result<Execution, StoreError> {
    let link = match (row.get::<_, Option<[u8; 16]>>(13)?, row.get::<_, Option<i64>>(14)?) {
        (Some(trace), Some(span)) => {
            Some(Traceparent { trace: ExecutionId::from_bytes(trace), parent: StepId::from_stored(span) })
        }
        (_, _) => None,
    };
    Ok(Execution {
        id: execution_id(row, 0)?,
        workflow: WorkflowName::from_stored(text(row, 1)?),
        status: execution_status(row, 2)?,
        started_at: time(row, 3)?,
        ended_at: optional_time(row, 4)?,
        duration: optional_micros(row, 5)?,
        recorded_at: time(row, 6)?,
        worst: severity(row, 7)?,
        steps_completed: count(row, 8)?,
        simulated: row.get(9)?,
        correlation_id: optional_text(row, 10)?.map(CorrelationId::from_stored),
        version: optional_text(row, 11)?.map(Version::from_stored),
        parent: row.get::<_, Option<[u8; 16]>>(12)?.map(ExecutionId::from_bytes),
        link,
        attributes: attributes(row, 15)?,
        failure: failure(row, 16)?,
        judge_at: optional_time(row, 17)?,
        stalled: stalled(row, 18)?,
        input: None,
        output: None,
        trace: None,
        settle_at: None,
    })
}

/// Reads a row of [`execution_columns`] followed by `input`, `output`, `trace` and `settle_at`.
pub(super) fn execution_with_payloads(row: &Row<'_>) -> Result<Execution, StoreError> {
    let mut execution = execution(row)?;
    execution.input = row.get::<_, Option<String>>(PAYLOADS)?.map(Payload::from_stored);
    execution.output = row.get::<_, Option<String>>(PAYLOADS + 1)?.map(Payload::from_stored);
    execution.trace = trace(row, PAYLOADS + 2)?;
    execution.settle_at = optional_time(row, PAYLOADS + 3)?;
    Ok(execution)
}
