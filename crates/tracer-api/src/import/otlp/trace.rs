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

use thiserror::Error;
use tracer_core::ids::StepId;
use tracer_core::limits;
use tracer_core::time::Timestamp;

use super::span::{Span, named};
use crate::import::execution::{Ending, ImportedExecution, ImportedStep};

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
pub fn execution(mut spans: Vec<Span>) -> Result<Read, TraceError> {
    only_once(&mut spans);
    // Of several roots, which no tracer makes on purpose, the first is the execution; the others are steps.
    let root = spans.iter().position(|span| span.parent.is_none()).map(|at| spans.remove(at));
    let rooted = root.is_some();
    let Some(first) = root.as_ref().or(spans.first()) else { return Err(TraceError::NoSteps) };
    if spans.is_empty() {
        return Err(TraceError::NoSteps);
    }
    if spans.len() > limits::IMPORT_STEPS {
        return Err(TraceError::TooManySteps);
    }
    let last_end = spans.iter().map(Span::ended_at).max();
    let attributes = match &root {
        Some(root) => root.execution_attributes.clone(),
        None => of_service(first),
    };
    let execution = ImportedExecution {
        id: first.trace,
        workflow_name: workflow_name(first, &spans),
        version: first.version.clone(),
        started_at: first.started_at,
        ended_at: root
            .as_ref()
            .map_or(Timestamp::default(), Span::ended_at)
            .max(last_end.unwrap_or_default()),
        ending: root.as_ref().map_or_else(|| rootless_ending(&spans), |root| root.ending.clone()),
        attributes,
        steps: Vec::new(),
    };
    let root = root.map(|root| root.id);
    let steps = spans.into_iter().map(|span| step(span, root)).collect();
    Ok(Read { execution: ImportedExecution { steps, ..execution }, rooted })
}

/// Sorts spans by when they began, and keeps one of those that share an id: the longest, because a span
/// that is exported before its end is exported again.
fn only_once(spans: &mut Vec<Span>) {
    spans.sort_by_cached_key(|span| {
        (span.id, Reverse((span.duration, span.attributes.len())), span.started_at)
    });
    spans.dedup_by_key(|span| span.id);
    spans.sort_by_key(|span| (span.started_at, span.id));
}

/// Returns the name that a span tells, or one made of the first span's.
fn workflow_name(first: &Span, spans: &[Span]) -> String {
    let told = |span: &Span| span.workflow_name.clone();
    let made = || {
        let made = match &first.service_name {
            Some(service) => format!("{service} {}", first.name),
            None => first.name.clone(),
        };
        named(&made, limits::NAME_CHARS).unwrap_or(made)
    };
    told(first).or_else(|| spans.iter().find_map(told)).unwrap_or_else(made)
}

fn of_service(first: &Span) -> BTreeMap<String, serde_json::Value> {
    first.service_name.iter().map(|name| ("service.name".to_owned(), name.as_str().into())).collect()
}

/// Returns how a trace without a root ended: as the last to end of those spans that failed and are part
/// of no other one that is there.
fn rootless_ending(spans: &[Span]) -> Ending {
    let ids: HashSet<StepId> = spans.iter().map(|span| span.id).collect();
    let outermost = |span: &&Span| span.parent.is_none_or(|parent| !ids.contains(&parent));
    let failed = |span: &&Span| span.ending != Ending::Completed;
    let last = spans.iter().filter(outermost).filter(failed).max_by_key(|span| (span.ended_at(), span.id));
    last.map_or(Ending::Completed, |span| span.ending.clone())
}

fn step(span: Span, root: Option<StepId>) -> ImportedStep {
    ImportedStep {
        id: span.id,
        step_name: span.name,
        step_type: span.step_type,
        parent: span.parent.filter(|&parent| Some(parent) != root),
        started_at: span.started_at,
        duration: span.duration,
        ending: span.ending,
        attributes: span.attributes,
    }
}
