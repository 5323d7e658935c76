//! Steps and their verdicts.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use tracer_core::detect::{Bottleneck, Severity, VerdictKind};
use tracer_core::failure::Failure;
use tracer_core::ids::{ExecutionId, StepId};
use tracer_core::name::{StepName, StepType};
use tracer_core::record::{JudgedStep, StepEnded, StepStarted};
use tracer_core::step::{Step, StepStatus};
use utoipa::ToSchema;
use utoipa::openapi::{Object, ObjectBuilder, Type};

use super::{RegressionView, SpanView, Time, traceparent_of_step};

/// A step that took, or is taking, too long; or an execution of which nothing has been heard for too long.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(title = "Bottleneck")]
pub struct BottleneckView {
    /// `slow_step`, `stuck_step` (it was judged while it ran), or `stalled_execution`.
    #[schema(value_type = String, example = "slow_step")]
    pub kind: VerdictKind,
    /// The step; `null` where it is about the execution.
    #[schema(value_type = Option<String>, example = "st_b7ad6b7169203331")]
    pub step_id: Option<StepId>,
    /// Its name.
    #[schema(value_type = Option<String>, example = "data_transform")]
    pub step_name: Option<StepName>,
    /// How long it took, had taken when it was judged, or how long nothing had been heard.
    #[schema(example = 2100)]
    pub duration_ms: u64,
    /// The average it was judged against; 0 where a fixed time judged and there was none.
    #[schema(example = 420)]
    pub historical_avg_ms: u64,
    /// How bad.
    #[schema(value_type = String, example = "CRITICAL")]
    pub severity: Severity,
    /// Duration over average, two decimals; 0 where there was no average.
    #[schema(example = 5.0)]
    pub factor: f64,
    /// Samples in that average.
    #[schema(example = 30)]
    pub samples: u64,
    /// 95th percentile of the same history.
    #[schema(example = 480)]
    pub p95_ms: u64,
    /// What made the history comparable; `null`: all of the step's history.
    pub cohort: Option<BTreeMap<String, String>>,
    /// What it was compared with, in words.
    #[schema(example = "compared with 212 runs of version=3, input_bytes 1 MiB to 2 MiB")]
    pub compared_with: String,
    /// Whether it was still running when it was judged.
    #[schema(example = false)]
    pub in_flight: bool,
}

impl BottleneckView {
    /// Shows a verdict on a step.
    #[must_use]
    pub fn new(step_id: StepId, step_name: StepName, bottleneck: &Bottleneck) -> Self {
        Self { step_id: Some(step_id), step_name: Some(step_name), ..Self::of_execution(bottleneck) }
    }

    /// Shows a verdict on an execution as a whole.
    #[must_use]
    pub fn of_execution(bottleneck: &Bottleneck) -> Self {
        let whole = bottleneck.cohort.is_whole();
        Self {
            kind: bottleneck.kind,
            step_id: None,
            step_name: None,
            duration_ms: bottleneck.duration.as_millis(),
            historical_avg_ms: bottleneck.historical_avg.as_millis(),
            severity: bottleneck.severity,
            factor: bottleneck.factor(),
            samples: bottleneck.samples,
            p95_ms: bottleneck.p95.as_millis(),
            cohort: (!whole).then(|| bottleneck.cohort.parts().clone()),
            compared_with: bottleneck.compared_with(),
            in_flight: bottleneck.in_flight,
        }
    }
}

impl From<JudgedStep> for BottleneckView {
    fn from(step: JudgedStep) -> Self {
        Self::new(step.id, step.name, &step.bottleneck)
    }
}

/// A step that runs.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(title = "Started step")]
pub struct StepStartedView {
    /// Its id, by which it is completed.
    #[schema(value_type = String, example = "st_b7ad6b7169203331")]
    pub step_id: StepId,
    /// Its execution.
    #[schema(value_type = String, example = "wf_0197a3c5b2f87c4e9d1a2b3c4d5e6f70")]
    pub workflow_id: ExecutionId,
    /// Its name.
    #[schema(value_type = String, example = "data_transform")]
    pub step_name: StepName,
    /// `running`.
    #[schema(schema_with = running)]
    pub status: StepStatus,
    /// When it began.
    pub started_at: Time,
    /// What to send with requests that the step makes, so that their spans join it.
    #[schema(example = "00-0197a3c5b2f87c4e9d1a2b3c4d5e6f70-b7ad6b7169203331-01")]
    pub traceparent: String,
}

impl From<StepStarted> for StepStartedView {
    fn from(step: StepStarted) -> Self {
        Self {
            step_id: step.id,
            workflow_id: step.execution,
            step_name: step.name,
            status: StepStatus::Running,
            started_at: Time(step.started_at),
            traceparent: traceparent_of_step(step.execution, step.id),
        }
    }
}

/// A step that has ended, with its verdict.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(title = "Ended step")]
pub struct StepEndedView {
    /// Its id.
    #[schema(value_type = String, example = "st_b7ad6b7169203331")]
    pub step_id: StepId,
    /// Its execution.
    #[schema(value_type = String, example = "wf_0197a3c5b2f87c4e9d1a2b3c4d5e6f70")]
    pub workflow_id: ExecutionId,
    /// Its name.
    #[schema(value_type = String, example = "data_transform")]
    pub step_name: StepName,
    /// `completed`, `failed`, `skipped` or `cancelled`.
    #[schema(schema_with = ended)]
    pub status: StepStatus,
    /// When it began.
    pub started_at: Time,
    /// When it ended.
    pub ended_at: Time,
    /// How long it took.
    #[schema(example = 2100)]
    pub duration_ms: u64,
    /// The verdict; `null` where it is normal, or its history too short to say.
    pub bottleneck: Option<BottleneckView>,
    /// A lasting slowdown that this very run made certain; told once.
    pub regression: Option<RegressionView>,
    /// What to send with requests that the step makes, so that their spans join it.
    #[schema(example = "00-0197a3c5b2f87c4e9d1a2b3c4d5e6f70-b7ad6b7169203331-01")]
    pub traceparent: String,
}

impl From<StepEnded> for StepEndedView {
    fn from(step: StepEnded) -> Self {
        let bottleneck =
            step.bottleneck.as_ref().map(|verdict| BottleneckView::new(step.id, step.name.clone(), verdict));
        Self {
            step_id: step.id,
            workflow_id: step.execution,
            step_name: step.name,
            status: step.status,
            started_at: Time(step.started_at),
            ended_at: Time(step.ended_at),
            duration_ms: step.duration.as_millis(),
            bottleneck,
            regression: step.regression.map(RegressionView::from),
            traceparent: traceparent_of_step(step.execution, step.id),
        }
    }
}

/// Returns the schema of the status that tells a step which runs from one that has ended.
fn running() -> Object {
    one_of([StepStatus::Running])
}

/// Returns the schema of the status of a step that has ended.
fn ended() -> Object {
    one_of([StepStatus::Completed, StepStatus::Failed, StepStatus::Skipped, StepStatus::Cancelled])
}

fn one_of<const N: usize>(statuses: [StepStatus; N]) -> Object {
    let names = statuses.map(StepStatus::as_str);
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some("How it is, or how it ended."))
        .enum_values(Some(names))
        .build()
}

/// Why something failed.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(title = "Error of a step or execution")]
pub struct FailureView {
    /// The error's type.
    #[schema(example = "TimeoutError")]
    pub r#type: Option<String>,
    /// What it says.
    #[schema(example = "upstream did not answer in 30 s")]
    pub message: String,
    /// Where it was raised.
    pub stack: Option<String>,
}

impl From<Failure> for FailureView {
    fn from(failure: Failure) -> Self {
        Self { r#type: failure.kind, message: failure.message, stack: failure.stack }
    }
}

/// A step as it is stored.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(title = "Step")]
pub struct StepView {
    /// Its id.
    #[schema(value_type = String, example = "st_b7ad6b7169203331")]
    pub step_id: StepId,
    /// Its name.
    #[schema(value_type = String, example = "data_transform")]
    pub step_name: StepName,
    /// What kind of work it is.
    #[schema(value_type = String, example = "tool")]
    pub step_type: StepType,
    /// The step that it is part of.
    #[schema(value_type = Option<String>)]
    pub parent_step_id: Option<StepId>,
    /// Which attempt it is, from 1.
    #[schema(example = 1)]
    pub attempt: u32,
    /// `running`, `completed`, `failed`, `skipped` or `cancelled`.
    #[schema(value_type = String, example = "completed")]
    pub status: StepStatus,
    /// When it began.
    pub started_at: Time,
    /// When it ended; `null` while it runs.
    pub ended_at: Option<Time>,
    /// How long it took; `null` while it runs.
    #[schema(example = 2100)]
    pub duration_ms: Option<u64>,
    /// What the client attached.
    pub attributes: BTreeMap<String, Value>,
    /// Why it failed.
    pub error: Option<FailureView>,
    /// The verdict, of a running step that of when it crossed its limit; `null` where it is normal, or its history too
    /// short to say.
    pub bottleneck: Option<BottleneckView>,
    /// What it has because OpenTelemetry told of it; `null` where its client recorded it by REST.
    pub span: Option<SpanView>,
}

impl StepView {
    /// Shows a step of an execution that is itself the span `root`: what is part of that alone is part of no step.
    #[must_use]
    pub fn new(step: Step, root: Option<StepId>) -> Self {
        let bottleneck =
            step.bottleneck.as_ref().map(|verdict| BottleneckView::new(step.id, step.name.clone(), verdict));
        Self {
            step_id: step.id,
            step_name: step.name,
            step_type: step.step_type,
            parent_step_id: step.parent.filter(|&parent| Some(parent) != root),
            attempt: step.attempt,
            status: step.status,
            started_at: Time(step.started_at),
            ended_at: step.ended_at.map(Time),
            duration_ms: step.duration.map(|duration| duration.as_millis()),
            attributes: step.attributes.entries().clone(),
            error: step.failure.map(FailureView::from),
            bottleneck,
            span: step.span.as_deref().map(SpanView::from),
        }
    }
}

/// One page of an execution's steps, earliest start first.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(title = "Page of steps")]
pub struct StepsView {
    /// The execution.
    #[schema(value_type = String, example = "wf_0197a3c5b2f87c4e9d1a2b3c4d5e6f70")]
    pub workflow_id: ExecutionId,
    /// The steps.
    pub steps: Vec<StepView>,
    /// Where the next page begins; `null` on the last one.
    pub next_cursor: Option<String>,
}
