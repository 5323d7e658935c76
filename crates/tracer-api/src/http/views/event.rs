//! Events.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use tracer_core::event::{EventId, EventKind, LogLevel, WorkflowEvent};
use tracer_core::ids::{ExecutionId, StepId};
use tracer_core::record::EventRecorded;
use utoipa::ToSchema;

use super::Time;

/// An event that is kept.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(title = "Recorded event")]
pub struct EventRecordedView {
    /// Its id.
    #[schema(value_type = String, example = "ev_0197a3c5b2f87c4e9d1a2b3c4d5e6f70")]
    pub event_id: EventId,
    /// The execution.
    #[schema(value_type = String, example = "wf_0197a3c5b2f87c4e9d1a2b3c4d5e6f70")]
    pub workflow_id: ExecutionId,
    /// `branch_decision`, `tool_call`, `log` or `error`.
    #[schema(value_type = String, example = "tool_call")]
    pub kind: EventKind,
    /// When it happened.
    pub at: Time,
}

impl From<EventRecorded> for EventRecordedView {
    fn from(event: EventRecorded) -> Self {
        Self { event_id: event.id, workflow_id: event.execution, kind: event.kind, at: Time(event.at) }
    }
}

/// Something that a client told of an execution.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(title = "Event")]
pub struct EventView {
    /// Its id.
    #[schema(value_type = String, example = "ev_0197a3c5b2f87c4e9d1a2b3c4d5e6f70")]
    pub event_id: EventId,
    /// `branch_decision`, `tool_call`, `log` or `error`.
    #[schema(value_type = String, example = "tool_call")]
    pub kind: EventKind,
    /// How much it matters, of a log's line: `trace`, `debug`, `info`, `warn` or `error`.
    #[schema(value_type = Option<String>, example = "warn")]
    pub level: Option<LogLevel>,
    /// What happened.
    #[schema(example = "searched the catalogue for 'pump'")]
    pub message: String,
    /// The step that it happened in.
    #[schema(value_type = Option<String>, example = "st_9d1a2b3c4d5e6f70")]
    pub step_id: Option<StepId>,
    /// When it happened.
    pub at: Time,
    /// What the client attached.
    pub attributes: BTreeMap<String, Value>,
}

impl From<WorkflowEvent> for EventView {
    fn from(event: WorkflowEvent) -> Self {
        Self {
            event_id: event.id,
            kind: event.kind,
            level: event.level,
            message: event.message,
            step_id: event.step,
            at: Time(event.at),
            attributes: event.attributes.entries().clone(),
        }
    }
}

/// One page of events, in the order in which they were recorded.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(title = "Page of events")]
pub struct EventsView {
    /// The execution.
    #[schema(value_type = String, example = "wf_0197a3c5b2f87c4e9d1a2b3c4d5e6f70")]
    pub workflow_id: ExecutionId,
    /// The events.
    pub events: Vec<EventView>,
    /// Where the next page begins; `null` on the last one.
    pub next_cursor: Option<String>,
}
