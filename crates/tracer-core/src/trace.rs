//! Traces: what is known of an execution because its spans told so, in whatever order they came.
//!
//! The same spans make the same trace, in any order and however often each comes, because every choice is
//! the least of what is known, and not the first: the earliest root is the execution, the best of the
//! names is its name. So a choice may be another one after the next span, until the trace is settled.
//!
//! **Settling.** The steps of a trace enter their histories together: a while after its root has ended, so
//! that the order in which they came decides neither which of them is compared with which, nor under which
//! name. What comes later is judged and learnt as it comes.
//!
//! Not here: what recording a span changes (`record`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::attributes::Attributes;
use crate::ids::StepId;
use crate::limits;
use crate::name::{Version, WorkflowName};
use crate::slo::TimedOut;
use crate::span::{Resource, ResourceId, SERVICE_NAME, Span};
use crate::time::{Micros, Timestamp};

/// What holds for traces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TracePolicy {
    /// How long spans are waited for after the root has ended, before the trace is settled.
    pub grace: Micros,
    /// Silence after which a trace whose root has not come is closed as timed out.
    pub silence: Micros,
}

impl Default for TracePolicy {
    /// Two seconds, and an hour.
    fn default() -> Self {
        Self { grace: Micros::from_secs(2), silence: Micros::from_secs(3_600) }
    }
}

/// A name that a span gives its workflow. Of two, that of the earlier span counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// When the span began.
    pub started_at: Timestamp,
    /// The span.
    pub span: StepId,
    /// The name.
    pub name: WorkflowName,
}

impl Named {
    fn by(span: &Span, name: WorkflowName) -> Self {
        Self { started_at: span.started_at, span: span.id, name }
    }

    fn yields_to(&self, span: &Span) -> bool {
        order(span) < (self.started_at, self.span)
    }
}

/// Of two spans, the lesser one came into being first.
const fn order(span: &Span) -> (Timestamp, StepId) {
    (span.started_at, span.id)
}

/// What is known of a trace by its earliest span, while nothing better is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct First {
    /// The name made of its service and its own, and the span.
    pub named: Named,
    /// Its service.
    pub service: Option<String>,
    /// The version that it tells.
    pub version: Option<Version>,
}

/// What an execution has because spans told of it; written as JSON.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Trace {
    /// Whether spans alone told of it first. Otherwise its client started it by itself and named it, and no
    /// span is its root.
    pub born_of_spans: bool,
    /// The root span, once it has come: the earliest of those that are part of no other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<Box<Span>>,
    /// The name that the earliest of the other spans tells that tell one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told: Option<Named>,
    /// The earliest span of all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<First>,
    /// What produced its spans; at most [`limits::TRACE_RESOURCES`].
    #[serde(default)]
    pub resources: BTreeMap<ResourceId, Resource>,
    /// Whether its steps have entered their histories: what comes from now on is learnt as it comes.
    pub settled: bool,
    /// Whether its root has ended the execution.
    pub ended_by_root: bool,
    /// Whether it was closed because nothing came any more: its root still ends it.
    pub closed_by_silence: bool,
    /// What it was counted as because of that, where it counts for an objective: its root takes that back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timed_out: Option<TimedOut>,
    /// Steps that wait to enter their histories.
    pub waiting: u32,
    /// Those of them that failed while nothing named the workflow: they are counted among its failures when the
    /// trace is settled. At most [`limits::TRACE_FAILURES_WAITING`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub uncounted: Vec<StepId>,
    /// Steps that came as spans and completed, so far.
    pub completed: u64,
    /// When its last span ended, so far.
    pub last_ended_at: Timestamp,
    /// When a span last came.
    pub heard_at: Timestamp,
}

impl Trace {
    /// Lets a span that came at `now` take its place.
    pub fn take(&mut self, span: &Span, now: Timestamp) -> Place {
        self.heard_at = self.heard_at.max(now);
        self.last_ended_at = self.last_ended_at.max(span.ended_at());
        if !self.born_of_spans {
            return Place::Step;
        }
        if self.settled && self.ended_by_root {
            // It has entered histories under its name, and as a whole: both stay.
            return if self.is_root(span.id) { Place::Root { demoted: None } } else { Place::Step };
        }
        if self.first.as_ref().is_none_or(|first| first.named.yields_to(span)) {
            let service = service_of(span).map(str::to_owned);
            let named = Named::by(span, made_name(span));
            self.first = Some(First { named, service, version: span.version.clone() });
        }
        let place = if span.parent.is_none() { self.take_root(span) } else { Place::Step };
        match &place {
            Place::Step => self.tell(span),
            Place::Root { demoted: Some(demoted) } => self.tell(demoted),
            Place::Root { demoted: None } => {}
        }
        place
    }

    fn take_root(&mut self, span: &Span) -> Place {
        let Some(root) = &mut self.root else {
            self.root = Some(Box::new(span.clone()));
            return Place::Root { demoted: None };
        };
        if root.id == span.id {
            if span.tells_more_than(root) {
                **root = span.clone();
            }
            return Place::Root { demoted: None };
        }
        if order(root) < order(span) {
            return Place::Step;
        }
        let demoted = std::mem::replace(root, Box::new(span.clone()));
        Place::Root { demoted: Some(demoted) }
    }

    /// Notes the name that a span tells which is not the root.
    fn tell(&mut self, span: &Span) {
        let Some(name) = &span.workflow else { return };
        if self.told.as_ref().is_none_or(|told| told.yields_to(span)) {
            self.told = Some(Named::by(span, name.clone()));
        }
    }

    /// Returns the name that is given once these spans have come to a trace; none if there is none but made up
    /// ones.
    #[must_use]
    pub fn told_with(before: Option<&Self>, spans: &[Span]) -> Option<WorkflowName> {
        let known_root = before.and_then(|trace| trace.root.as_deref());
        let roots = spans.iter().filter(|span| span.parent.is_none()).chain(known_root);
        let root = roots.min_by_key(|span| order(span));
        if let Some(name) = root.and_then(|root| root.workflow.as_ref()) {
            return Some(name.clone());
        }
        let told = before.and_then(|trace| trace.told.as_ref());
        let told = told.map(|told| ((told.started_at, told.span), &told.name));
        let tell = |span| Some((order(span), span.workflow.as_ref()?));
        let others = spans.iter().chain(known_root).filter_map(tell);
        others.chain(told).min_by_key(|(order, _)| *order).map(|(_, name)| name.clone())
    }

    /// Returns the name of its workflow: the one that its root tells, else the one that another span tells,
    /// else one made of its root's service and name, else of its earliest span's. None where its client named it.
    #[must_use]
    pub fn workflow(&self) -> Option<WorkflowName> {
        let made = || self.root.as_deref().map(made_name);
        let first = || self.first.as_ref().map(|first| first.named.name.clone());
        self.told_name().cloned().or_else(made).or_else(first)
    }

    /// Returns whether its name is one that was given, and not made up until a better one comes.
    #[must_use]
    pub fn is_named(&self) -> bool {
        !self.born_of_spans || self.told_name().is_some()
    }

    fn told_name(&self) -> Option<&WorkflowName> {
        let by_root = self.root.as_ref().and_then(|root| root.workflow.as_ref());
        by_root.or(self.told.as_ref().map(|told| &told.name))
    }

    /// Returns when it began; none where its client said so.
    #[must_use]
    pub fn started_at(&self) -> Option<Timestamp> {
        let first = || self.first.as_ref().map(|first| first.named.started_at);
        self.root.as_ref().map(|root| root.started_at).or_else(first)
    }

    /// Returns the version and the attributes of the execution, as its leading span tells them.
    #[must_use]
    pub fn facts(&self) -> (Option<Version>, Attributes) {
        if let Some(root) = &self.root {
            let resource = root.detail.resource.and_then(|id| self.resources.get(&id));
            let attributes = match resource {
                Some(resource) => root.attributes.joined(&resource.0),
                None => root.attributes.clone(),
            };
            return (root.version.clone(), attributes);
        }
        let Some(first) = &self.first else { return Default::default() };
        let service = first.service.iter().map(|name| (SERVICE_NAME.to_owned(), name.as_str().into()));
        (first.version.clone(), Attributes::from_stored(service.collect()))
    }

    /// Returns whether more steps wait to enter their histories than may. Before anything names the workflow there
    /// may be ten times as many: under a name that is made up nobody would find them.
    #[must_use]
    pub fn is_full(&self) -> bool {
        let most = limits::TRACE_STEPS_WAITING;
        self.waiting >= if self.is_named() || self.root.is_some() { most } else { most * 10 }
    }

    /// Keeps what produced spans, while there is room.
    pub fn keep_resources<'a>(&mut self, resources: impl IntoIterator<Item = (ResourceId, &'a Resource)>) {
        for (id, resource) in resources {
            if self.resources.len() < limits::TRACE_RESOURCES && !self.resources.contains_key(&id) {
                self.resources.insert(id, resource.clone());
            }
        }
    }

    /// Returns whether a span is the root.
    #[must_use]
    pub fn is_root(&self, id: StepId) -> bool {
        self.root.as_ref().is_some_and(|root| root.id == id)
    }
}

/// What a span is to its execution.
#[derive(Clone, Debug, PartialEq)]
pub enum Place {
    /// A step.
    Step,
    /// The execution itself, for now.
    Root {
        /// The span that was so before: a step from now on.
        demoted: Option<Box<Span>>,
    },
}

fn service_of(span: &Span) -> Option<&str> {
    span.attributes.entries().get(SERVICE_NAME)?.as_str()
}

/// Returns the name made of a span's service and its own, which together say what runs.
fn made_name(span: &Span) -> WorkflowName {
    let own = || WorkflowName::from_stored(span.name.as_str());
    let Some(service) = service_of(span) else { return own() };
    let both = service.chars().chain([' ']).chain(span.name.as_str().chars());
    let made: String = both.filter(|c| !c.is_control()).take(limits::NAME_CHARS).collect();
    WorkflowName::new(made.trim()).unwrap_or_else(|_| own())
}
