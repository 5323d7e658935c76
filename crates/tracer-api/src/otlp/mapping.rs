//! A span as it was sent → a span within the bounds of this service.
//!
//! Invariant: nothing in what is made is longer than this service keeps; what is too long is cut, what cannot be
//! cut is left out and counted. Only a span without ids or a start is refused.
//! Not here: how spans of one trace belong together (`tracer_core::trace`), and whether a time lies in the future
//! (it needs a clock: [`within_time`] is told it).

use std::fmt;
use std::sync::Arc;

use serde_json::Value;
use sha2::{Digest, Sha256};
use tracer_core::attributes::Attributes;
use tracer_core::failure::Failure;
use tracer_core::ids::ExecutionId;
use tracer_core::limits;
use tracer_core::name::{StepName, StepType, Version, WorkflowName};
use tracer_core::span::{Resource, ResourceId, SERVICE_NAME, Span, SpanEnd};
use tracer_core::step::StepStatus;
use tracer_core::time::{Micros, Timestamp};

use super::detail;
use super::signals::{Signals, span_kind, temporal_workflow};
use super::starts;
use super::wire::{self, EXCEPTION, Id, Pairs};
use crate::fitting::Fitting;

/// How a step ended, where its status does not say it: what this service writes when it exports.
const STATUS: &str = "tracer.status";

const SERVICE_VERSION: &str = "service.version";
/// `STATUS_CODE_ERROR`.
const ERROR: i32 = 2;
/// Stands for a name that is empty.
const UNNAMED: &str = "unnamed";
/// Marks a span that ended before it began.
const REVERSED: &str = "tracer.end_before_start";

/// What produced spans, within the bounds of this service.
#[derive(Clone, Debug)]
pub struct Origin {
    /// What is known of it.
    pub resource: Resource,
    /// Identifies it within a trace.
    pub id: ResourceId,
    service: Option<Value>,
    version: Option<Version>,
    workflow: Option<WorkflowName>,
}

impl Origin {
    /// Takes what was sent.
    #[must_use]
    pub fn new(sent: &wire::Resource<'_>) -> Self {
        let pairs = &sent.attributes;
        let mut fitting = Fitting::default();
        // It must be there, whatever else has no room.
        let service = pairs.text(SERVICE_NAME).map(crate::fitting::text_value);
        if let Some(service) = &service {
            fitting.take(SERVICE_NAME, service.clone());
        }
        fit(pairs, &mut fitting);
        let signals = Signals::of(pairs);
        let version = signals.version.or_else(|| pairs.text(SERVICE_VERSION));
        let resource = Resource(Attributes::from_stored(fitting.into_entries()));
        Self {
            id: id_of(&resource),
            resource,
            service,
            version: version.and_then(|text| named(text, limits::NAME_CHARS, Version::new)),
            workflow: signals.workflow().and_then(|text| named(text, limits::NAME_CHARS, WorkflowName::new)),
        }
    }
}

/// Keys are sorted, so that equal resources have equal ids, whoever reads them.
fn id_of(resource: &Resource) -> ResourceId {
    let written = serde_json::to_vec(resource).unwrap_or_default();
    let hash = Sha256::digest(&written);
    ResourceId(hash.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes)))
}

/// Why a span is refused by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rejection {
    /// Its trace has no id of 16 bytes.
    TraceId,
    /// It has no id of 8 bytes.
    SpanId,
    /// Its parent's id is none.
    ParentId,
    /// It has no start.
    NoStart,
    /// It begins or ends too far ahead.
    Ahead,
    /// It takes longer than is believed.
    TooLong,
    /// A log record that tells of no start.
    NoStartTold,
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TraceId => f.write_str("the trace id is not 16 bytes, or all zero"),
            Self::SpanId => f.write_str("the span id is not 8 bytes, or all zero"),
            Self::ParentId => f.write_str("the parent's span id is not 8 bytes"),
            Self::NoStart => f.write_str("there is no start time"),
            Self::Ahead => write!(f, "it begins or ends more than {} hours ahead", limits::FUTURE_HOURS),
            Self::TooLong => write!(f, "it takes more than {} days", limits::DURATION_DAYS),
            Self::NoStartTold => {
                f.write_str("it does not tell that a step began, and other logs are not kept")
            }
        }
    }
}

/// A span, and the trace it is part of.
#[derive(Clone, Debug, PartialEq)]
pub struct Mapped {
    /// The trace.
    pub trace: ExecutionId,
    /// The span.
    pub span: Span,
    /// Whether it ended before it began, by a clock that stepped back: then it took no time.
    pub is_reversed: bool,
}

/// Makes a span of what was sent.
///
/// # Errors
/// [`Rejection`] if it lacks what nothing can stand for.
pub fn mapped(sent: &wire::Span<'_>, of: &Origin, scope: Option<&Arc<str>>) -> Result<Mapped, Rejection> {
    let trace = sent.trace.given().ok_or(Rejection::TraceId)?;
    let id = sent.id.given().ok_or(Rejection::SpanId)?;
    if sent.parent == Id::Wrong {
        return Err(Rejection::ParentId);
    }
    if sent.start == 0 {
        return Err(Rejection::NoStart);
    }
    let signals = Signals::of(&sent.attributes);
    let identity = starts::identity(sent, &signals, id);
    let kind = span_kind(sent.kind);
    let mut fitting = Fitting::default();
    // What executions and steps of several services are told apart by.
    if let Some(service) = of.service.as_ref().filter(|_| sent.attributes.text(SERVICE_NAME).is_none()) {
        fitting.take(SERVICE_NAME, service.clone());
    }
    let left_out = fit(&sent.attributes, &mut fitting);
    let step_type =
        signals.step_type(kind).and_then(|text| named(text, limits::STEP_TYPE_CHARS, StepType::new));
    let told =
        if identity.parent.is_none() { signals.workflow_of_root(&sent.name) } else { signals.workflow() };
    let workflow = told.or_else(|| temporal_workflow(&sent.name));
    let version = signals.version.and_then(|text| named(text, limits::NAME_CHARS, Version::new));
    let span = Span {
        id: identity.id,
        parent: identity.parent,
        name: named(&sent.name, limits::NAME_CHARS, StepName::new)
            .unwrap_or_else(|| StepName::from_stored(UNNAMED)),
        step_type: step_type.unwrap_or_default(),
        attempt: signals.attempt(),
        started_at: timestamp(sent.start),
        end: identity.has_ended.then(|| end(sent)),
        attributes: Attributes::from_stored(fitting.into_entries()),
        detail: detail::of(sent, kind, of.id, scope, left_out).into(),
        workflow: workflow
            .and_then(|text| named(text, limits::NAME_CHARS, WorkflowName::new))
            .or_else(|| of.workflow.clone()),
        version: version.or_else(|| of.version.clone()),
    };
    let is_reversed = identity.has_ended && sent.end < sent.start;
    Ok(Mapped { trace, span, is_reversed })
}

/// Checks that a span lies where what is recorded may lie.
///
/// # Errors
/// [`Rejection`] if it is too far ahead of `now`, or too long.
pub fn within_time(span: &Span, now: Timestamp) -> Result<(), Rejection> {
    span.started_at.check_given(now).map_err(|_| Rejection::Ahead)?;
    if let Some(end) = &span.end {
        end.duration.within_bounds().map_err(|_| Rejection::TooLong)?;
        span.ended_at().check_given(now).map_err(|_| Rejection::Ahead)?;
    }
    Ok(())
}

/// Marks a span that ended before it began, if there is room for the mark.
pub fn mark_reversed(span: &mut Span) {
    let mark = std::iter::once((REVERSED.to_owned(), Value::Bool(true))).collect();
    span.attributes = span.attributes.joined(&Attributes::from_stored(mark));
}

/// Makes a name of a text: control characters become spaces, and what is too long is cut. None if
/// nothing is left.
pub(crate) fn named<T, E>(text: &str, most_chars: usize, parse: impl Fn(&str) -> Result<T, E>) -> Option<T> {
    // Most names are as they should be.
    if text.len() <= most_chars
        && text.trim().len() == text.len()
        && let Ok(name) = parse(text)
    {
        return Some(name);
    }
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    let cut: String = text.trim().chars().take(most_chars).map(plain).collect();
    parse(cut.trim()).ok()
}

/// Adds attributes as far as there is room; returns how many had none.
pub(super) fn fit(pairs: &Pairs<'_>, fitting: &mut Fitting) -> u32 {
    let mut left_out = pairs.dropped();
    for pair in pairs.kept() {
        if starts::is_mark(&pair.key) {
            continue;
        }
        let fits = if let wire::AnyValue::Text(text) = &pair.value {
            fitting.take_text(&pair.key, text)
        } else {
            pair.value.to_json().is_some_and(|value| fitting.take(&pair.key, value))
        };
        left_out = left_out.saturating_add(u32::from(!fits));
    }
    left_out
}

/// Returns a moment, to the microsecond.
pub(super) fn timestamp(nanos: u64) -> Timestamp {
    // 64 bits of nanoseconds are 584 years.
    Timestamp::from_micros(i64::try_from(nanos / 1000).unwrap_or(i64::MAX))
}

fn end(sent: &wire::Span<'_>) -> SpanEnd {
    // Rounded from the nanoseconds: two times that are each cut would be off by up to one.
    let duration = Micros::new(sent.end.saturating_sub(sent.start).saturating_add(500) / 1000);
    let failed = sent.status.code == ERROR;
    // OpenTelemetry has no word for what was not done, or was called off.
    let status = match sent.attributes.text(STATUS) {
        _ if failed => StepStatus::Failed,
        Some("skipped") => StepStatus::Skipped,
        Some("cancelled") => StepStatus::Cancelled,
        Some(_) | None => StepStatus::Completed,
    };
    SpanEnd { status, duration, failure: if failed { failure(sent) } else { None } }
}

/// Returns why a span failed, where that is told. Of several exceptions the last one is what ended it; one that
/// the span survived is no failure.
fn failure(sent: &wire::Span<'_>) -> Option<Failure> {
    let said = Some(&*sent.status.message).filter(|text| !text.is_empty());
    let Some(exception) = sent.events.kept().iter().rev().find(|event| event.name == EXCEPTION) else {
        return said.map(|said| Failure::new(None, said, None));
    };
    let told = |key| exception.attributes.text(key);
    let [kind, message, stack] = ["exception.type", "exception.message", "exception.stacktrace"].map(told);
    let told_any = kind.or(message).or(stack).or(said).is_some();
    told_any.then(|| Failure::new(kind, message.or(said).unwrap_or_default(), stack))
}
