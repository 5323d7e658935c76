//! Executions.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use tracer_core::detect::Severity;
use tracer_core::execution::{Execution, ExecutionStatus};
use tracer_core::ids::{ExecutionId, StepId};
use tracer_core::name::{CorrelationId, Version, WorkflowName};
use tracer_core::payload::Payload;
use tracer_core::record::{ExecutionEnded, ExecutionStarted};
use tracer_core::step::Step;
use utoipa::ToSchema;

use super::step::FailureView;
use super::{
    BottleneckView, EventView, StepView, Time, TraceView, traceparent_of_execution, traceparent_of_step,
};

/// An execution that runs.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(title = "Started execution")]
pub struct ExecutionStartedView {
    /// Its id, under which its steps are recorded. The 32 digits are its trace id.
    #[schema(value_type = String, example = "wf_0197a3c5b2f87c4e9d1a2b3c4d5e6f70")]
    pub workflow_id: ExecutionId,
    /// The workflow.
    #[schema(value_type = String, example = "nightly_etl")]
    pub workflow_name: WorkflowName,
    /// `running`.
    #[schema(value_type = String, example = "running")]
    pub status: ExecutionStatus,
    /// When it began.
    pub started_at: Time,
    /// What to send with requests that the execution makes, so that their spans join it.
    #[schema(example = "00-0197a3c5b2f87c4e9d1a2b3c4d5e6f70-9d1a2b3c4d5e6f70-01")]
    pub traceparent: String,
}

impl From<ExecutionStarted> for ExecutionStartedView {
    fn from(execution: ExecutionStarted) -> Self {
        Self {
            workflow_id: execution.id,
            workflow_name: execution.workflow,
            status: ExecutionStatus::Running,
            started_at: Time(execution.started_at),
            traceparent: traceparent_of_execution(execution.id),
        }
    }
}

/// An execution that has ended.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(title = "Ended execution")]
pub struct ExecutionEndedView {
    /// Its id.
    #[schema(value_type = String, example = "wf_0197a3c5b2f87c4e9d1a2b3c4d5e6f70")]
    pub workflow_id: ExecutionId,
    /// The workflow.
    #[schema(value_type = String, example = "nightly_etl")]
    pub workflow_name: WorkflowName,
    /// `completed`, `failed`, `timed_out` or `cancelled`.
    #[schema(value_type = String, example = "completed")]
    pub status: ExecutionStatus,
    /// When it began.
    pub started_at: Time,
    /// When it ended.
    pub ended_at: Time,
    /// Wall-clock time from start to end.
    #[schema(example = 2950)]
    pub total_duration_ms: u64,
    /// Steps that completed.
    #[schema(example = 5)]
    pub steps_completed: u64,
    /// Steps that took too long, in the order in which they started.
    pub bottlenecks_detected: Vec<BottleneckView>,
}

impl From<ExecutionEnded> for ExecutionEndedView {
    fn from(execution: ExecutionEnded) -> Self {
        Self {
            workflow_id: execution.id,
            workflow_name: execution.workflow,
            status: execution.status,
            started_at: Time(execution.started_at),
            ended_at: Time(execution.ended_at),
            total_duration_ms: execution.total.as_millis(),
            steps_completed: execution.steps_completed,
            bottlenecks_detected: execution.bottlenecks.into_iter().map(BottleneckView::from).collect(),
        }
    }
}

/// An execution that `simulate` invented.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(title = "Simulated execution")]
pub struct SimulatedView {
    /// Its id.
    #[schema(value_type = String, example = "wf_0197a3c5b2f87c4e9d1a2b3c4d5e6f70")]
    pub workflow_id: ExecutionId,
    /// The workflow.
    #[schema(value_type = String, example = "demo")]
    pub workflow_name: WorkflowName,
    /// Time from start to end, as invented: nobody waited for it.
    #[schema(example = 1450)]
    pub total_duration_ms: u64,
    /// Steps that completed: all five.
    #[schema(example = 5)]
    pub steps_completed: u64,
    /// Steps that took too long.
    pub bottlenecks_detected: Vec<BottleneckView>,
    /// Always true.
    #[schema(example = true)]
    pub simulated: bool,
}

impl From<ExecutionEnded> for SimulatedView {
    fn from(execution: ExecutionEnded) -> Self {
        let ended = ExecutionEndedView::from(execution);
        Self {
            workflow_id: ended.workflow_id,
            workflow_name: ended.workflow_name,
            total_duration_ms: ended.total_duration_ms,
            steps_completed: ended.steps_completed,
            bottlenecks_detected: ended.bottlenecks_detected,
            simulated: true,
        }
    }
}

/// What became of an imported execution.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(title = "Imported execution")]
pub struct ImportedView {
    /// Its id.
    #[schema(value_type = String, example = "wf_0197a3c5b2f87c4e9d1a2b3c4d5e6f70")]
    pub workflow_id: ExecutionId,
    /// Whether it is new; false where the id was known, and nothing changed.
    #[schema(example = true)]
    pub imported: bool,
}

/// The bottlenecks of an execution.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(title = "Bottlenecks of an execution")]
pub struct BottlenecksView {
    /// The execution.
    #[schema(value_type = String, example = "wf_0197a3c5b2f87c4e9d1a2b3c4d5e6f70")]
    pub workflow_id: ExecutionId,
    /// The workflow.
    #[schema(value_type = String, example = "nightly_etl")]
    pub workflow_name: WorkflowName,
    /// Ended steps by how long they took, running ones by how long they have taken, in the order in
    /// which they started; then the execution as a whole, if nothing has been heard of it for too long.
    pub bottlenecks: Vec<BottleneckView>,
}

/// An execution as it is stored.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(title = "Execution")]
pub struct ExecutionView {
    /// Its id.
    #[schema(value_type = String, example = "wf_0197a3c5b2f87c4e9d1a2b3c4d5e6f70")]
    pub workflow_id: ExecutionId,
    /// The workflow.
    #[schema(value_type = String, example = "nightly_etl")]
    pub workflow_name: WorkflowName,
    /// `running`, `completed`, `failed`, `timed_out` or `cancelled`.
    #[schema(value_type = String, example = "completed")]
    pub status: ExecutionStatus,
    /// When it began.
    pub started_at: Time,
    /// When it ended; `null` while it runs.
    pub ended_at: Option<Time>,
    /// Wall-clock time from start to end; `null` while it runs.
    #[schema(example = 2950)]
    pub total_duration_ms: Option<u64>,
    /// Steps that completed, once it has ended; `null` while it runs.
    #[schema(example = 5)]
    pub steps_completed: Option<u64>,
    /// The worst verdict among its steps so far, those in flight too.
    #[schema(value_type = Option<String>, example = "CRITICAL")]
    pub worst_bottleneck: Option<Severity>,
    /// The verdict that nothing has been heard of it for too long; `null` once something is, and once it has ended.
    pub stalled: Option<BottleneckView>,
    /// The client's own id.
    #[schema(value_type = Option<String>, example = "order-4711")]
    pub correlation_id: Option<CorrelationId>,
    /// The version of the workflow.
    #[schema(value_type = Option<String>, example = "1.4.2")]
    pub version: Option<Version>,
    /// What the client attached.
    pub attributes: BTreeMap<String, Value>,
    /// The execution that started this one.
    #[schema(value_type = Option<String>)]
    pub parent_workflow_id: Option<ExecutionId>,
    /// The `traceparent` under which the client started it.
    pub linked_traceparent: Option<String>,
    /// Whether `simulate` invented it.
    #[schema(example = false)]
    pub simulated: bool,
    /// Why it failed.
    pub error: Option<FailureView>,
    /// What to send with requests that the execution makes.
    #[schema(example = "00-0197a3c5b2f87c4e9d1a2b3c4d5e6f70-9d1a2b3c4d5e6f70-01")]
    pub traceparent: String,
}

/// An execution as it is stored, with its payloads and first steps.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(title = "Execution with its steps")]
pub struct ExecutionDetailView {
    /// The execution.
    #[serde(flatten)]
    pub execution: ExecutionView,
    /// What it was given.
    pub input: Option<Value>,
    /// What it produced.
    pub output: Option<Value>,
    /// What it has because OpenTelemetry told of it; `null` where no span came.
    pub trace: Option<TraceView>,
    /// Its first 1,000 steps, earliest start first.
    pub steps: Vec<StepView>,
    /// Where `GET /workflows/{id}/steps` goes on; `null` if these are all.
    pub next_cursor: Option<String>,
    /// Its first 100 events, in the order in which they were recorded.
    pub events: Vec<EventView>,
    /// Where `GET /workflows/{id}/events` goes on; `null` if these are all.
    pub events_next_cursor: Option<String>,
}

impl From<Execution> for ExecutionView {
    fn from(execution: Execution) -> Self {
        let ended = execution.ended_at.is_some();
        let traceparent = traceparent_of_step(execution.id, root_of(&execution));
        Self {
            workflow_id: execution.id,
            workflow_name: execution.workflow,
            status: execution.status,
            started_at: Time(execution.started_at),
            ended_at: execution.ended_at.map(Time),
            total_duration_ms: execution.duration.map(|total| total.as_millis()),
            steps_completed: ended.then_some(execution.steps_completed),
            worst_bottleneck: execution.worst,
            stalled: execution.stalled.as_ref().map(BottleneckView::of_execution),
            correlation_id: execution.correlation_id,
            version: execution.version,
            attributes: execution.attributes.entries().clone(),
            parent_workflow_id: execution.parent,
            linked_traceparent: execution.link.map(|link| link.to_string()),
            simulated: execution.simulated,
            error: execution.failure.map(FailureView::from),
            traceparent,
        }
    }
}

impl ExecutionDetailView {
    /// Shows an execution with its payloads, first steps and first events, each with where the listing goes on.
    #[must_use]
    pub fn new(
        execution: Execution,
        (steps, next_cursor): (Vec<Step>, Option<String>),
        (events, events_next_cursor): (Vec<EventView>, Option<String>),
    ) -> Self {
        let root = root_of(&execution);
        let steps = steps.into_iter().map(|step| StepView::new(step, Some(root))).collect();
        let input = execution.input.as_ref().and_then(json_of);
        let output = execution.output.as_ref().and_then(json_of);
        let trace = execution.trace.as_deref().map(TraceView::from);
        Self {
            execution: execution.into(),
            input,
            output,
            trace,
            steps,
            next_cursor,
            events,
            events_next_cursor,
        }
    }
}

/// Returns the span that an execution itself is.
#[must_use]
pub fn root_of(execution: &Execution) -> StepId {
    let told = execution.trace.as_ref().and_then(|trace| trace.root.as_ref());
    told.map_or_else(|| execution.id.root_span(), |root| root.id)
}

fn json_of(payload: &Payload) -> Option<Value> {
    serde_json::from_str(payload.as_str()).ok()
}

/// One page of executions, newest start first.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(title = "Page of executions")]
pub struct ExecutionsView {
    /// The executions.
    pub workflows: Vec<ExecutionView>,
    /// Where the next page begins; `null` on the last one.
    pub next_cursor: Option<String>,
}
