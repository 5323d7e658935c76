//! What executions and steps have because OpenTelemetry told of them.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use tracer_core::ids::{ExecutionId, StepId};
use tracer_core::span::{SpanDetail, SpanEvent, SpanLink};
use tracer_core::trace::Trace;
use utoipa::ToSchema;

use super::Time;

/// What a step has because it came as a span.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(title = "Span")]
pub struct SpanView {
    /// `internal`, `server`, `client`, `producer` or `consumer`.
    #[schema(example = "client")]
    pub kind: &'static str,
    /// The library that made it, and its version.
    #[schema(example = "opentelemetry.instrumentation.requests 0.48b0")]
    pub scope: Option<String>,
    /// What happened in it.
    pub events: Vec<SpanEventView>,
    /// What it has to do with, in this and other traces.
    pub links: Vec<SpanLinkView>,
    /// Attributes, events and links that were dropped, by its client or because there was no room.
    #[schema(example = 0)]
    pub dropped: u32,
}

/// Something that happened in a span.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(title = "Event of a span")]
pub struct SpanEventView {
    /// When.
    pub at: Time,
    /// What it is called.
    #[schema(example = "exception")]
    pub name: String,
    /// What is known of it.
    pub attributes: BTreeMap<String, Value>,
}

/// A link to a span.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(title = "Link of a span")]
pub struct SpanLinkView {
    /// The execution that its trace is, if it is recorded here.
    #[schema(value_type = String)]
    pub workflow_id: ExecutionId,
    /// The step that it is.
    #[schema(value_type = String)]
    pub step_id: StepId,
    /// What is known of the link.
    pub attributes: BTreeMap<String, Value>,
}

/// What an execution has because its spans told of it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(title = "Trace")]
pub struct TraceView {
    /// The span that the execution itself is; `null` while it has not come, and where a client started it.
    #[schema(value_type = Option<String>, example = "st_b7ad6b7169203331")]
    pub root_step_id: Option<StepId>,
    /// That span.
    pub root: Option<SpanView>,
    /// Whether its steps have been judged together, and have entered their histories.
    pub settled: bool,
    /// The processes of services that its spans came from.
    pub resources: Vec<BTreeMap<String, Value>>,
}

impl From<&SpanDetail> for SpanView {
    fn from(detail: &SpanDetail) -> Self {
        Self {
            kind: detail.kind.as_str(),
            scope: detail.scope.clone(),
            events: detail.events.iter().map(SpanEventView::from).collect(),
            links: detail.links.iter().map(SpanLinkView::from).collect(),
            dropped: detail.dropped,
        }
    }
}

impl From<&SpanEvent> for SpanEventView {
    fn from(event: &SpanEvent) -> Self {
        let attributes = event.attributes.entries().clone();
        Self { at: Time(event.at), name: event.name.clone(), attributes }
    }
}

impl From<&SpanLink> for SpanLinkView {
    fn from(link: &SpanLink) -> Self {
        let attributes = link.attributes.entries().clone();
        Self { workflow_id: link.trace, step_id: link.span, attributes }
    }
}

impl From<&Trace> for TraceView {
    fn from(trace: &Trace) -> Self {
        Self {
            root_step_id: trace.root.as_ref().map(|root| root.id),
            root: trace.root.as_ref().map(|root| SpanView::from(&*root.detail)),
            settled: trace.settled,
            resources: trace.resources.values().map(|resource| resource.0.entries().clone()).collect(),
        }
    }
}
