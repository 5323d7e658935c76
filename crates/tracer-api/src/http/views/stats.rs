//! What is normal: the histories of workflows and steps, as measured.

use serde::Serialize;
use tracer_core::baseline::{Baseline, Measured};
use tracer_core::cohort::Cohort;
use tracer_core::detect::Regression;
use tracer_core::name::{StepName, WorkflowName};
use tracer_core::repository::{WorkflowHistory, WorkflowSummary};
use utoipa::ToSchema;

use super::{RegressionView, Time, whole_millis};

/// The history of a workflow's executions as wholes. Durations are of completed ones.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(title = "Statistics of executions")]
pub struct ExecutionStatsView {
    /// How many run now.
    #[schema(example = 2)]
    pub running: u64,
    /// How many completed, within the window.
    #[schema(example = 118)]
    pub completed: u64,
    /// How many failed.
    #[schema(example = 3)]
    pub failed: u64,
    /// How many timed out.
    #[schema(example = 0)]
    pub timed_out: u64,
    /// How many were cancelled.
    #[schema(example = 1)]
    pub cancelled: u64,
    /// Average; `null` where none completed, as the others.
    #[schema(example = 2950)]
    pub avg_duration_ms: Option<u64>,
    /// Median, within 1 %.
    #[schema(example = 2800)]
    pub p50_ms: Option<u64>,
    /// 95th percentile, within 1 %.
    #[schema(example = 3900)]
    pub p95_ms: Option<u64>,
    /// 99th percentile, within 1 %.
    #[schema(example = 4200)]
    pub p99_ms: Option<u64>,
}

impl ExecutionStatsView {
    fn new(running: u64, history: &Baseline) -> Self {
        let measured = history.measured();
        Self {
            running,
            completed: measured.endings.completed,
            failed: measured.endings.failed,
            timed_out: measured.endings.timed_out,
            cancelled: measured.endings.cancelled,
            avg_duration_ms: whole_millis(measured.moments.mean()),
            p50_ms: measured.p50.map(|p| p.as_millis()),
            p95_ms: measured.p95.map(|p| p.as_millis()),
            p99_ms: measured.p99.map(|p| p.as_millis()),
        }
    }
}

/// The history of a step. Durations are of completed ones; `null` where there are none.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(title = "Statistics of a step")]
pub struct StepStatsView {
    /// The step.
    #[schema(value_type = String, example = "data_transform")]
    pub step_name: StepName,
    /// Average.
    #[schema(example = 420)]
    pub avg_duration_ms: Option<u64>,
    /// How often it ended, well or not.
    #[schema(example = 121)]
    pub execution_count: u64,
    /// How often it failed.
    #[schema(example = 3)]
    pub failure_count: u64,
    /// Shortest.
    #[schema(example = 380)]
    pub min_duration_ms: Option<u64>,
    /// Longest.
    #[schema(example = 2100)]
    pub max_duration_ms: Option<u64>,
    /// Standard deviation.
    #[schema(example = 35)]
    pub stddev_ms: Option<u64>,
    /// Median, within 1 %.
    #[schema(example = 415)]
    pub p50_ms: Option<u64>,
    /// 95th percentile, within 1 %.
    #[schema(example = 480)]
    pub p95_ms: Option<u64>,
    /// 99th percentile, within 1 %.
    #[schema(example = 510)]
    pub p99_ms: Option<u64>,
    /// When it last ended.
    pub last_seen_at: Option<Time>,
    /// A lasting slowdown, until the level falls again or is the reference; `null` where there is none.
    pub regression: Option<RegressionView>,
}

impl StepStatsView {
    fn new(step_name: StepName, history: &Baseline) -> Self {
        let Measured { endings, moments, p50, p95, p99, last_seen } = history.measured();
        Self {
            step_name,
            avg_duration_ms: whole_millis(moments.mean()),
            execution_count: endings.completed.saturating_add(endings.failed),
            failure_count: endings.failed,
            min_duration_ms: moments.min().map(|least| least.as_millis()),
            max_duration_ms: moments.max().map(|most| most.as_millis()),
            stddev_ms: whole_millis(moments.stddev()),
            p50_ms: p50.map(|p| p.as_millis()),
            p95_ms: p95.map(|p| p.as_millis()),
            p99_ms: p99.map(|p| p.as_millis()),
            last_seen_at: last_seen.map(Time),
            regression: history.shift().map(|shift| Regression::new(shift.clone(), Cohort::default()).into()),
        }
    }
}

/// The histories of a workflow, over the window of its baselines, as measured.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(title = "Statistics of a workflow")]
pub struct StatsView {
    /// The workflow.
    #[schema(value_type = String, example = "nightly_etl")]
    pub workflow_name: WorkflowName,
    /// Its executions.
    pub executions: ExecutionStatsView,
    /// Its steps, by name.
    pub steps: Vec<StepStatsView>,
}

impl StatsView {
    /// Shows a workflow's histories.
    #[must_use]
    pub fn new(workflow_name: WorkflowName, history: WorkflowHistory) -> Self {
        let executions = ExecutionStatsView::new(history.running, &history.executions);
        let steps =
            history.steps.into_iter().map(|(name, baseline)| StepStatsView::new(name, &baseline)).collect();
        Self { workflow_name, executions, steps }
    }
}

/// A workflow among others.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(title = "Workflow")]
pub struct WorkflowStatsView {
    /// Its name.
    #[schema(value_type = String, example = "nightly_etl")]
    pub workflow_name: WorkflowName,
    /// Its executions.
    pub executions: ExecutionStatsView,
    /// When one last started or ended.
    pub last_activity_at: Option<Time>,
}

impl From<WorkflowSummary> for WorkflowStatsView {
    fn from(workflow: WorkflowSummary) -> Self {
        Self {
            executions: ExecutionStatsView::new(workflow.running, &workflow.executions),
            workflow_name: workflow.name,
            last_activity_at: workflow.last_activity.map(Time),
        }
    }
}

/// One page of workflows, by name.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(title = "Page of workflows")]
pub struct WorkflowsView {
    /// The workflows.
    pub workflows: Vec<WorkflowStatsView>,
    /// Where the next page begins; `null` on the last one.
    pub next_cursor: Option<String>,
}

/// A step whose present level is its reference now.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(title = "Rebaselined step")]
pub struct RebaselinedView {
    /// The workflow.
    #[schema(value_type = String, example = "nightly_etl")]
    pub workflow_name: WorkflowName,
    /// The step.
    #[schema(value_type = String, example = "data_transform")]
    pub step_name: StepName,
    /// `rebaselined`.
    #[schema(example = "rebaselined")]
    pub status: &'static str,
}
