//! A span within the bounds of this service: what a step, or an execution, is made of.
//!
//! Invariant: nothing in a [`Span`] is longer than this service keeps, and making one never fails; what
//! is too long is cut, what cannot be cut is left out. One thing is needed: a start and an end.
//! Not here: how spans of one trace belong together.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tracer_core::failure::Failure;
use tracer_core::ids::{ExecutionId, StepId};
use tracer_core::limits;
use tracer_core::time::{Micros, Timestamp};

use super::kind;
use super::wire::{KeyValue, Resource, WireSpan};
use crate::import::attributes::Fitting;
use crate::import::execution::Ending;

/// Attributes by which a span names the workflow, the first one first.
const WORKFLOW_NAMES: [&str; 2] = ["tracer.workflow.name", "workflow.name"];
const SERVICE_NAME: &str = "service.name";
const SERVICE_VERSION: &str = "service.version";
/// `STATUS_CODE_ERROR`.
const ERROR: i32 = 2;
/// Stands for a name that is empty.
const UNNAMED: &str = "unnamed";

/// A span.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Span {
    /// The trace it is part of: the execution.
    pub trace: ExecutionId,
    /// Its id: the step's.
    pub id: StepId,
    /// The span that it is part of; none if it is a root.
    pub parent: Option<StepId>,
    /// What it is called; a valid name of a step.
    pub name: String,
    /// The type of its step, where one is told; a valid one.
    pub step_type: Option<String>,
    /// When it began, to the microsecond.
    pub started_at: Timestamp,
    /// How long it took; zero if it ended before it began, by a clock that stepped back.
    pub duration: Micros,
    /// How it ended.
    pub ending: Ending,
    /// What is known of it, and the name of its service, within the bounds of [`limits`].
    pub attributes: BTreeMap<String, Value>,
    /// The name of the workflow, where the span tells it; a valid one.
    pub workflow_name: Option<String>,
    /// The name of the service that made it.
    pub service_name: Option<String>,
    /// The version of that service; a valid one.
    pub version: Option<String>,
    /// What is known of a root and then of what produced it, within the same bounds; empty for others.
    pub execution_attributes: BTreeMap<String, Value>,
}

impl Span {
    /// Returns the span of a message and of what produced it; none if it has no start or no end.
    #[must_use]
    pub fn new(message: &WireSpan, resource: &Resource) -> Option<Self> {
        let (start, end) = (message.start_time_unix_nano.0, message.end_time_unix_nano.0);
        if start == 0 || end == 0 {
            return None;
        }
        let started_at = Timestamp::from_micros(i64::try_from(start / 1000).ok()?);
        // Rounded from the nanoseconds: two times that are each cut would be off by up to one.
        let duration = Micros::new((end.saturating_sub(start) + 500) / 1000);
        // A client that names itself as its own parent has none.
        let parent = message.parent_span_id.filter(|&parent| parent != message.span_id);
        let told = |key| kind::text(&message.attributes, key);
        let of_service = |key| {
            let name = kind::text(&resource.attributes, key)?;
            named(name, limits::NAME_CHARS)
        };
        Some(Self {
            trace: message.trace_id,
            id: message.span_id,
            parent,
            name: named(&message.name, limits::NAME_CHARS).unwrap_or_else(|| UNNAMED.to_owned()),
            step_type: kind::step_type(message.kind, &message.attributes)
                .and_then(|name| named(name, limits::STEP_TYPE_CHARS)),
            started_at,
            duration,
            ending: ending(message),
            attributes: attributes(message, resource, false),
            workflow_name: WORKFLOW_NAMES.into_iter().find_map(|key| named(told(key)?, limits::NAME_CHARS)),
            service_name: of_service(SERVICE_NAME),
            version: of_service(SERVICE_VERSION),
            execution_attributes: match parent {
                Some(_) => BTreeMap::new(),
                None => attributes(message, resource, true),
            },
        })
    }

    /// Returns when it ended.
    #[must_use]
    pub fn ended_at(&self) -> Timestamp {
        self.started_at + self.duration
    }
}

/// Makes a name of a text: control characters become spaces, and what is too long is cut. None if
/// nothing is left.
pub(super) fn named(text: &str, most_chars: usize) -> Option<String> {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    let cut: String = text.trim().chars().take(most_chars).map(plain).collect();
    let trimmed = cut.trim();
    (!trimmed.is_empty()).then(|| trimmed.to_owned())
}

fn attributes(message: &WireSpan, resource: &Resource, with_resource: bool) -> BTreeMap<String, Value> {
    let mut fitting = Fitting::default();
    let mut add = |pairs: &[KeyValue]| pairs.iter().for_each(|pair| fitting.add(&pair.key, &pair.value));
    add(&message.attributes);
    if with_resource {
        add(&resource.attributes);
    }
    // What executions and steps of several services are told apart by.
    if let Some(service) = kind::text(&resource.attributes, SERVICE_NAME) {
        fitting.add(SERVICE_NAME, &service.into());
    }
    if let Some(kind) = kind::name(message.kind) {
        fitting.add("span.kind", &kind.into());
    }
    fitting.into_entries()
}

/// Returns how a span ended. Of several exceptions the last one is what ended it; one that the span
/// survived is no failure.
fn ending(message: &WireSpan) -> Ending {
    if message.status.code != ERROR {
        return Ending::Completed;
    }
    let said = Some(message.status.message.as_str()).filter(|text| !text.is_empty());
    let exception = message.events.iter().rev().find(|event| event.name == "exception");
    let Some(exception) = exception else {
        return Ending::Failed(said.map(|said| Failure::new(None, said, None)));
    };
    let told = |key| kind::text(&exception.attributes, key);
    let [kind, message, stack] = ["exception.type", "exception.message", "exception.stacktrace"].map(told);
    let told_any = kind.or(message).or(stack).or(said).is_some();
    let failure = || Failure::new(kind, message.or(said).unwrap_or_default(), stack);
    Ending::Failed(told_any.then(failure))
}
