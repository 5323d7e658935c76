//! Makes an execution of the spans of one trace.
//!
//! The root is the execution itself, the other spans are its steps. It begins with its root and ends
//! with it, or with its last span if that ends later. Its name is the first that a span tells, the
//! root's before others; else the service's and the root's together. A trace without a root begins with
//! its first span, ends with its last one, and has failed if a span has whose parent is not there.
//!
//! Invariant: the result does not depend on the order of the spans, and one that occurs twice counts once.
//! Not here: reading spans, and collecting those of one trace.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashSet};

use serde_json::Value;
use thiserror::Error;
use tracer_core::ids::{ExecutionId, StepId};
use tracer_core::limits;
use tracer_core::name::{StepType, WorkflowName};
use tracer_core::span::{SERVICE_NAME, SpanEnd, SpanKind};
use tracer_core::step::StepStatus;
use tracer_core::time::Timestamp;

use super::span::FinishedSpan;
use crate::import::execution::{Ending, ImportedExecution, ImportedStep};
use crate::otlp::mapping::named;

/// The attribute by which a step is told that it calls, or is called.
const SPAN_KIND: &str = "span.kind";

/// What became of a trace.
#[derive(Clone, Debug, PartialEq)]
pub struct Read {
    /// The execution.
    pub execution: ImportedExecution,
    /// Whether the trace has a root.
    pub rooted: bool,
}

/// Why a trace makes no execution.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum TraceError {
    /// A root without anything below it: an execution has at least one step.
    #[error("has no span beside its root")]
    NoSteps,
    /// More than [`limits::IMPORT_STEPS`].
    #[error("has more than {} spans beside its root", limits::IMPORT_STEPS)]
    TooManySteps,
}

/// Makes an execution of all spans of one trace.
///
/// # Errors
/// [`TraceError`] if there are too few of them, or too many.
pub fn execution(id: ExecutionId, mut spans: Vec<FinishedSpan>) -> Result<Read, TraceError> {
    only_once(&mut spans);
    // Of several roots, which no tracer makes on purpose, the first is the execution; the others are steps.
    let root = spans.iter().position(|span| span.span.parent.is_none()).map(|at| spans.remove(at));
    let rooted = root.is_some();
    let Some(first) = root.as_ref().or(spans.first()) else { return Err(TraceError::NoSteps) };
    if spans.is_empty() {
        return Err(TraceError::NoSteps);
    }
    if spans.len() > limits::IMPORT_STEPS {
        return Err(TraceError::TooManySteps);
    }
    let last_end = spans.iter().map(FinishedSpan::ended_at).max();
    let execution = ImportedExecution {
        id,
        workflow_name: workflow_name(first, &spans),
        version: first.span.version.as_ref().map(|version| version.as_str().to_owned()),
        started_at: first.span.started_at,
        ended_at: root
            .as_ref()
            .map_or(Timestamp::default(), FinishedSpan::ended_at)
            .max(last_end.unwrap_or_default()),
        ending: root.as_ref().map_or_else(|| rootless_ending(&spans), |root| ending(&root.end)),
        attributes: match &root {
            Some(root) => of_root(root),
            None => of_service(first),
        },
        steps: Vec::new(),
    };
    let root = root.map(|root| root.span.id);
    let steps = spans.into_iter().map(|span| step(span, root)).collect();
    Ok(Read { execution: ImportedExecution { steps, ..execution }, rooted })
}

impl FinishedSpan {
    fn ended_at(&self) -> Timestamp {
        self.span.started_at + self.end.duration
    }
}

/// Sorts spans by when they began, and keeps one of those that share an id: the longest, because a span
/// that is exported before its end is exported again.
fn only_once(spans: &mut Vec<FinishedSpan>) {
    spans.sort_by_cached_key(|one| {
        let attributes = one.span.attributes.entries().len();
        (one.span.id, Reverse((one.end.duration, attributes)), one.span.started_at)
    });
    spans.dedup_by_key(|one| one.span.id);
    spans.sort_by_key(|one| (one.span.started_at, one.span.id));
}

/// Returns the name that a span tells, or one made of the first span's.
fn workflow_name(first: &FinishedSpan, spans: &[FinishedSpan]) -> String {
    let told = |one: &FinishedSpan| one.span.workflow.clone();
    let name = told(first).or_else(|| spans.iter().find_map(told));
    name.unwrap_or_else(|| made_name(first)).as_str().to_owned()
}

/// Returns the name made of a span's service and its own, which together say what runs.
fn made_name(first: &FinishedSpan) -> WorkflowName {
    let own = first.span.name.as_str();
    let service = first.span.attributes.entries().get(SERVICE_NAME).and_then(Value::as_str);
    let both = service.map(|service| format!("{service} {own}"));
    let made = both.and_then(|both| named(&both, limits::NAME_CHARS, WorkflowName::new));
    made.unwrap_or_else(|| WorkflowName::from_stored(own))
}

fn of_root(root: &FinishedSpan) -> BTreeMap<String, Value> {
    let own = &root.span.attributes;
    root.resource.as_ref().map_or_else(|| own.clone(), |resource| own.joined(&resource.0)).entries().clone()
}

fn of_service(first: &FinishedSpan) -> BTreeMap<String, Value> {
    let service = first.span.attributes.entries().get_key_value(SERVICE_NAME);
    service.map(|(key, name)| (key.clone(), name.clone())).into_iter().collect()
}

/// Returns how a trace without a root ended: as the last to end of those spans that failed and are part
/// of no other one that is there.
fn rootless_ending(spans: &[FinishedSpan]) -> Ending {
    let ids: HashSet<StepId> = spans.iter().map(|one| one.span.id).collect();
    let outermost = |one: &&FinishedSpan| one.span.parent.is_none_or(|parent| !ids.contains(&parent));
    let failed = |one: &&FinishedSpan| one.end.status != StepStatus::Completed;
    let last = spans.iter().filter(outermost).filter(failed).max_by_key(|one| (one.ended_at(), one.span.id));
    last.map_or(Ending::Completed, |one| ending(&one.end))
}

fn ending(end: &SpanEnd) -> Ending {
    if end.status == StepStatus::Completed { Ending::Completed } else { Ending::Failed(end.failure.clone()) }
}

fn step(one: FinishedSpan, root: Option<StepId>) -> ImportedStep {
    let FinishedSpan { span, end, .. } = one;
    let mut attributes = span.attributes.entries().clone();
    if span.detail.kind != SpanKind::Internal && attributes.len() < limits::ATTRIBUTES {
        attributes.entry(SPAN_KIND.to_owned()).or_insert_with(|| span.detail.kind.as_str().into());
    }
    ImportedStep {
        id: span.id,
        step_name: span.name.as_str().to_owned(),
        step_type: Some(span.step_type)
            .filter(|told| *told != StepType::default())
            .map(|told| told.as_str().to_owned()),
        parent: span.parent.filter(|&parent| Some(parent) != root),
        started_at: span.started_at,
        duration: end.duration,
        ending: ending(&end),
        attributes,
    }
}
