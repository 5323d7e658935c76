//! Spans: what OpenTelemetry tells of steps and executions beyond what every step has.
//!
//! A trace is an execution, a span is a step, and the root span is the execution itself. What is here is
//! kept as it was told; what it means for an execution is in `trace`.
//!
//! Not here: how spans are written (`tracer-api`), and what recording makes of them (`record`).

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::attributes::Attributes;
use crate::failure::Failure;
use crate::ids::{ExecutionId, StepId};
use crate::name::{StepName, StepType, Version, WorkflowName};
use crate::step::StepStatus;
use crate::time::{Micros, Timestamp};

/// A span's place between services (`SpanKind` of OpenTelemetry).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SpanKind {
    /// Within a service, or nothing was told.
    #[default]
    Internal,
    /// Serves a request from outside.
    Server,
    /// Calls another service and waits for it.
    Client,
    /// Hands work to another service, and does not wait.
    Producer,
    /// Does work that was handed over.
    Consumer,
}

impl SpanKind {
    /// Every kind.
    pub const ALL: [Self; 5] = [Self::Internal, Self::Server, Self::Client, Self::Producer, Self::Consumer];

    /// Reads a kind as it is written.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }

    /// Returns the kind as it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Internal => "internal",
            Self::Server => "server",
            Self::Client => "client",
            Self::Producer => "producer",
            Self::Consumer => "consumer",
        }
    }
}

/// Identifies a resource within its trace: the first 4 bytes of a hash of what is known of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ResourceId(pub u32);

impl fmt::Debug for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

/// What produced spans: a process of a service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Resource(pub Attributes);

/// The attribute by which a resource, and each step that came as a span, names its service.
pub const SERVICE_NAME: &str = "service.name";

impl Resource {
    /// Returns the name of its service.
    #[must_use]
    pub fn service(&self) -> Option<&str> {
        self.0.entries().get(SERVICE_NAME)?.as_str()
    }
}

/// Something that happened in a span.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SpanEvent {
    /// When.
    pub at: Timestamp,
    /// What it is called.
    pub name: String,
    /// What is known of it.
    #[serde(default, skip_serializing_if = "Attributes::is_empty")]
    pub attributes: Attributes,
}

/// A span of this or another trace that has to do with this one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SpanLink {
    /// Its trace.
    pub trace: ExecutionId,
    /// It.
    pub span: StepId,
    /// What is known of the link.
    #[serde(default, skip_serializing_if = "Attributes::is_empty")]
    pub attributes: Attributes,
}

/// What a step has because it came as a span; written as JSON, at most [`crate::limits::SPAN_DETAIL_BYTES`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SpanDetail {
    /// Its place between services.
    #[serde(default, skip_serializing_if = "is_default")]
    pub kind: SpanKind,
    /// What produced it, where the trace's resources are kept ([`crate::trace::Trace`]).
    #[serde(default, skip_serializing_if = "is_default")]
    pub resource: Option<ResourceId>,
    /// The library that made it, and its version.
    #[serde(default, skip_serializing_if = "is_default")]
    pub scope: Option<String>,
    /// What happened in it, in the order told.
    #[serde(default, skip_serializing_if = "is_default")]
    pub events: Vec<SpanEvent>,
    /// What it has to do with.
    #[serde(default, skip_serializing_if = "is_default")]
    pub links: Vec<SpanLink>,
    /// Attributes, events and links that its client dropped, or that had no room here.
    #[serde(default, skip_serializing_if = "is_default")]
    pub dropped: u32,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// How a span ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SpanEnd {
    /// [`StepStatus::Completed`], or another ending.
    pub status: StepStatus,
    /// How long it took. Its end is its start and this.
    pub duration: Micros,
    /// Why it failed.
    pub failure: Option<Failure>,
}

/// A span within the bounds of this service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Span {
    /// Its id: the step's.
    pub id: StepId,
    /// The span that it is part of; none for the root of its trace.
    pub parent: Option<StepId>,
    /// What it is called.
    pub name: StepName,
    /// What kind of work it is.
    pub step_type: StepType,
    /// Which attempt at the same work it is, from 1.
    pub attempt: u32,
    /// When it began.
    pub started_at: Timestamp,
    /// How it ended; none if it is only told that it began.
    pub end: Option<SpanEnd>,
    /// What is attached, the name of its service included.
    pub attributes: Attributes,
    /// The rest.
    pub detail: Arc<SpanDetail>,
    /// The name of the workflow, where the span tells it.
    #[serde(default)]
    pub workflow: Option<WorkflowName>,
    /// The version of the workflow, or of the service that made it.
    #[serde(default)]
    pub version: Option<Version>,
}

impl Span {
    /// Returns when it ended; when it began if it still runs.
    #[must_use]
    pub fn ended_at(&self) -> Timestamp {
        self.end.as_ref().map_or(self.started_at, |end| self.started_at + end.duration)
    }

    /// Returns whether it is part of no other span, and has ended: as a rule, its trace has ended with it.
    #[must_use]
    pub const fn is_ended_root(&self) -> bool {
        self.parent.is_none() && self.end.is_some()
    }

    /// Returns whether it says more than another telling of the same span: whoever sends a span before its end
    /// sends it again. Two that say as much are the same.
    #[must_use]
    pub fn tells_more_than(&self, other: &Self) -> bool {
        let said = |span: &Self| {
            let end = span.end.as_ref();
            let failed = end.is_some_and(|end| end.status != StepStatus::Completed);
            let (events, links) = (span.detail.events.len(), span.detail.links.len());
            (end.map(|end| end.duration), failed, span.attributes.entries().len(), events, links)
        };
        said(self) > said(other)
    }
}

/// The spans of one trace that came together, in any order, and perhaps not for the first time.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceSpans {
    /// The trace: the execution.
    pub id: ExecutionId,
    /// They; at least one.
    pub spans: Vec<Span>,
}
