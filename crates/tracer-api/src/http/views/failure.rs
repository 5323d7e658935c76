//! Failures.

use serde::Serialize;
use tracer_core::failures::{FailureGroup, OwnFailure, SimilarGroup};
use tracer_core::ids::{ExecutionId, StepId};
use tracer_core::name::WorkflowName;
use utoipa::ToSchema;

use super::Time;

/// Failures that say the same, but for numbers, ids, addresses and paths.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(title = "FailureGroup")]
pub struct FailureGroupView {
    /// What identifies it: 32 hexadecimal digits.
    #[schema(example = "8f2c1de04b7a4d0f9a4f6f1f0e3f2b1c")]
    pub fingerprint: String,
    /// The error's type; `null` where none was given.
    #[schema(example = "TimeoutError")]
    pub error_type: Option<String>,
    /// What the first one said, cut to 1 KiB.
    #[schema(example = "query 4711 timed out after 30 s")]
    pub message: String,
    /// How many there were.
    #[schema(example = 12)]
    pub count: u64,
    /// When the earliest one was.
    pub first_seen: Time,
    /// When the latest one was.
    pub last_seen: Time,
    /// The workflow of the latest one.
    #[schema(value_type = String, example = "nightly_etl")]
    pub workflow_name: WorkflowName,
    /// The execution of the latest one.
    #[schema(value_type = String, example = "wf_0197a3c5b2f87c4e9d1a2b3c4d5e6f70")]
    pub workflow_id: ExecutionId,
    /// The step of the latest one; `null` where the execution itself failed.
    #[schema(value_type = Option<String>, example = "st_b7ad6b7169203331")]
    pub step_id: Option<StepId>,
}

/// A page of groups of failures.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(title = "Failures")]
pub struct FailuresView {
    /// The groups, last seen first.
    pub failures: Vec<FailureGroupView>,
    /// Where the next page begins; `null` on the last one.
    pub next_cursor: Option<String>,
}

/// A group of failures, and how alike it is.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(title = "SimilarFailure")]
pub struct SimilarFailureView {
    /// The share of the words of either that both have, with four decimals: 1 where all are the same.
    #[schema(example = 0.625)]
    pub similarity: f64,
    /// The group.
    #[serde(flatten)]
    pub group: FailureGroupView,
}

/// Groups of failures that are alike.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(title = "SimilarFailures")]
pub struct SimilarFailuresView {
    /// The groups, the most similar first, among equals the most frequent.
    pub failures: Vec<SimilarFailureView>,
}

/// A failure of one execution.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(title = "OwnFailure")]
pub struct OwnFailureView {
    /// The group that it belongs to.
    #[schema(example = "8f2c1de04b7a4d0f9a4f6f1f0e3f2b1c")]
    pub fingerprint: String,
    /// The error's type; `null` where none was given.
    #[schema(example = "TimeoutError")]
    pub error_type: Option<String>,
    /// What the first one of its group said, cut to 1 KiB.
    #[schema(example = "query 4711 timed out after 30 s")]
    pub message: String,
    /// How many of the group are the execution's.
    #[schema(example = 1)]
    pub count: u64,
    /// The step that failed so last; `null` where only the execution itself did.
    #[schema(value_type = Option<String>, example = "st_b7ad6b7169203331")]
    pub step_id: Option<StepId>,
}

/// What failed like an execution did.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(title = "SimilarToExecution")]
pub struct SimilarToExecutionView {
    /// The execution.
    #[schema(value_type = String, example = "wf_0197a3c5b2f87c4e9d1a2b3c4d5e6f70")]
    pub workflow_id: ExecutionId,
    /// Its workflow.
    #[schema(value_type = String, example = "nightly_etl")]
    pub workflow_name: WorkflowName,
    /// The failures that were compared: its own, or else those of its steps.
    pub own: Vec<OwnFailureView>,
    /// The groups that are like any of these, the most similar first; in `count`, its own failures are left out.
    pub failures: Vec<SimilarFailureView>,
}

impl From<FailureGroup> for FailureGroupView {
    fn from(group: FailureGroup) -> Self {
        Self {
            fingerprint: group.id.to_string(),
            error_type: group.kind,
            message: group.message,
            count: group.count,
            first_seen: Time(group.first_seen_at),
            last_seen: Time(group.last_seen.at),
            workflow_name: group.last_seen.workflow,
            workflow_id: group.last_seen.execution,
            step_id: group.last_seen.step,
        }
    }
}

impl From<SimilarGroup> for SimilarFailureView {
    fn from(found: SimilarGroup) -> Self {
        Self { similarity: (found.similarity * 1e4).round() / 1e4, group: found.group.into() }
    }
}

impl From<OwnFailure> for OwnFailureView {
    fn from(own: OwnFailure) -> Self {
        Self {
            fingerprint: own.group.id.to_string(),
            error_type: own.group.kind,
            message: own.group.message,
            count: own.times,
            step_id: own.step,
        }
    }
}
