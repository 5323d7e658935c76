//! The JSON of a change, and the event around it.
//!
//! Invariant: times, durations and names are those of the rest of the API; what is not known is `null`.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use tracer_core::detect::{Bottleneck, Severity};
use tracer_core::event::{EventId, EventKind, LogLevel};
use tracer_core::execution::ExecutionStatus;
use tracer_core::failure::Failure;
use tracer_core::ids::{ExecutionId, StepId};
use tracer_core::incident::{IncidentId, IncidentKind, IncidentState, Transition};
use tracer_core::live::{Change, ChangedStep, What};
use tracer_core::name::{StepName, StepType, WorkflowName};
use tracer_core::step::StepStatus;

use super::ring::{Frame, Place};
use crate::http::views::{BottleneckView, Time};

/// What listeners are told instead of changes that they have missed.
pub(super) const RESYNC: &str = "resync";

#[derive(Serialize)]
struct ChangeView<'a> {
    id: String,
    kind: &'static str,
    at: Time,
    workflow_id: Option<ExecutionId>,
    workflow_name: &'a WorkflowName,
    #[serde(flatten)]
    what: WhatView<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum WhatView<'a> {
    WorkflowStart {
        started_at: Time,
    },
    StepStart(StepView<'a>),
    StepComplete {
        #[serde(flatten)]
        step: StepView<'a>,
        status: StepStatus,
        ended_at: Time,
        duration_ms: u64,
        error: Option<ErrorView<'a>>,
    },
    Bottleneck {
        #[serde(flatten)]
        step: StepView<'a>,
        bottleneck: BottleneckView,
    },
    InFlight {
        step_id: Option<StepId>,
        step_name: Option<&'a StepName>,
        started_at: Time,
        bottleneck: BottleneckView,
    },
    WorkflowEnd {
        status: ExecutionStatus,
        started_at: Time,
        ended_at: Time,
        total_duration_ms: u64,
        steps_completed: u64,
        bottlenecks: u64,
        error: Option<ErrorView<'a>>,
    },
    Incident {
        incident_id: IncidentId,
        transition: Transition,
        incident_kind: IncidentKind,
        step_name: Option<&'a StepName>,
        state: IncidentState,
        severity: Severity,
        occurrences: u64,
        note: Option<&'a str>,
    },
    Event {
        event_id: EventId,
        event_kind: EventKind,
        level: Option<LogLevel>,
        message: &'a str,
        step_id: Option<StepId>,
        occurred_at: Time,
        attributes: &'a BTreeMap<String, Value>,
    },
}

#[derive(Serialize)]
struct StepView<'a> {
    step_id: StepId,
    step_name: &'a StepName,
    step_type: &'a StepType,
    parent_step_id: Option<StepId>,
    attempt: u32,
    started_at: Time,
}

#[derive(Serialize)]
struct ErrorView<'a> {
    r#type: Option<&'a str>,
    message: &'a str,
}

/// Renders a change.
pub(super) fn frame(place: Place, change: &Change) -> Frame {
    let kind = change.what.kind().as_str();
    let view = ChangeView {
        id: place.to_string(),
        kind,
        at: Time(change.at),
        workflow_id: change.execution,
        workflow_name: &change.workflow,
        what: what(change),
    };
    event(place, kind, &view)
}

/// Renders that something was missed, and that it goes on behind this place.
pub(super) fn resync(place: Place) -> Frame {
    #[derive(Serialize)]
    struct ResyncView {
        id: String,
        kind: &'static str,
        detail: &'static str,
    }
    let detail = "Some changes were missed: read what is of interest anew; from here on nothing is left out.";
    event(place, RESYNC, &ResyncView { id: place.to_string(), kind: RESYNC, detail })
}

fn event(place: Place, kind: &str, view: &impl Serialize) -> Frame {
    let mut text = format!("id: {place}\nevent: {kind}\ndata: ").into_bytes();
    let from = text.len();
    // What is written has text keys only, so that writing it cannot fail; JSON has no line breaks of its own.
    if serde_json::to_writer(&mut text, view).is_err() {
        text.truncate(from);
    }
    let json = from..text.len();
    text.extend_from_slice(b"\n\n");
    Frame::new(text, json)
}

fn what(change: &Change) -> WhatView<'_> {
    match &change.what {
        What::ExecutionStarted { started_at } => WhatView::WorkflowStart { started_at: Time(*started_at) },
        What::StepStarted(step) => WhatView::StepStart(step_view(step)),
        What::StepEnded { step, status, ended_at, duration, failure } => WhatView::StepComplete {
            step: step_view(step),
            status: *status,
            ended_at: Time(*ended_at),
            duration_ms: duration.as_millis(),
            error: failure.as_ref().map(error_view),
        },
        What::Bottleneck { step, verdict } => {
            WhatView::Bottleneck { step: step_view(step), bottleneck: bottleneck(Some(step), verdict) }
        }
        What::InFlight { step, started_at, verdict } => WhatView::InFlight {
            step_id: step.as_ref().map(|step| step.id),
            step_name: step.as_ref().map(|step| &step.name),
            started_at: Time(*started_at),
            bottleneck: bottleneck(step.as_ref(), verdict),
        },
        What::ExecutionEnded {
            status,
            started_at,
            ended_at,
            total,
            steps_completed,
            bottlenecks,
            failure,
        } => WhatView::WorkflowEnd {
            status: *status,
            started_at: Time(*started_at),
            ended_at: Time(*ended_at),
            total_duration_ms: total.as_millis(),
            steps_completed: *steps_completed,
            bottlenecks: *bottlenecks,
            error: failure.as_ref().map(error_view),
        },
        What::Incident { id, transition, kind, step_name, state, severity, occurrences, note } => {
            WhatView::Incident {
                incident_id: *id,
                transition: *transition,
                incident_kind: *kind,
                step_name: step_name.as_ref(),
                state: *state,
                severity: *severity,
                occurrences: *occurrences,
                note: note.as_deref(),
            }
        }
        What::Event { id, kind, level, message, step, at, attributes } => WhatView::Event {
            event_id: *id,
            event_kind: *kind,
            level: *level,
            message,
            step_id: *step,
            occurred_at: Time(*at),
            attributes: attributes.entries(),
        },
    }
}

fn step_view(step: &ChangedStep) -> StepView<'_> {
    StepView {
        step_id: step.id,
        step_name: &step.name,
        step_type: &step.step_type,
        parent_step_id: step.parent,
        attempt: step.attempt,
        started_at: Time(step.started_at),
    }
}

fn error_view(failure: &Failure) -> ErrorView<'_> {
    ErrorView { r#type: failure.kind.as_deref(), message: &failure.message }
}

fn bottleneck(step: Option<&ChangedStep>, verdict: &Bottleneck) -> BottleneckView {
    match step {
        Some(step) => BottleneckView::new(step.id, step.name.clone(), verdict),
        None => BottleneckView::of_execution(verdict),
    }
}
