//! When an execution will have ended.

use serde::Serialize;
use tracer_core::eta::{CONFIDENCE, Estimate, at_risk};
use tracer_core::execution::{Execution, ExecutionStatus};
use tracer_core::ids::ExecutionId;
use tracer_core::name::WorkflowName;
use tracer_core::time::{Micros, Timestamp};
use utoipa::ToSchema;

use super::Time;

/// When an execution will have ended, with an interval.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(title = "Remaining time")]
pub struct EtaView {
    /// Its id.
    #[schema(value_type = String, example = "wf_0197a3c5b2f87c4e9d1a2b3c4d5e6f70")]
    pub workflow_id: ExecutionId,
    /// The workflow.
    #[schema(value_type = String, example = "nightly_etl")]
    pub workflow_name: WorkflowName,
    /// `running`, or how it ended.
    #[schema(value_type = String, example = "running")]
    pub status: ExecutionStatus,
    /// How long it has run; of one that has ended, how long it took.
    #[schema(example = 61_000)]
    pub elapsed_ms: u64,
    /// As likely later as earlier. Of one that has ended, this and the next two are when it did.
    pub expected_end_at: Option<Time>,
    /// The interval's lower end.
    pub earliest_end_at: Option<Time>,
    /// The interval's upper end.
    pub latest_end_at: Option<Time>,
    /// From now to `expected_end_at`.
    #[schema(example = 240_000)]
    pub remaining_ms: Option<u64>,
    /// From now to `earliest_end_at`.
    #[schema(example = 190_000)]
    pub remaining_low_ms: Option<u64>,
    /// From now to `latest_end_at`.
    #[schema(example = 310_000)]
    pub remaining_high_ms: Option<u64>,
    /// How often the interval is to hold the true end.
    #[schema(example = 0.8)]
    pub confidence: f64,
    /// How many past executions it is estimated from.
    #[schema(example = 10)]
    pub based_on: usize,
    /// When it is late, where the settings give the workflow a `deadline`.
    pub deadline_at: Option<Time>,
    /// Whether the interval's upper end passes the deadline, or the execution has.
    pub at_risk: bool,
    /// Why there is no estimate, in a sentence.
    pub reason: Option<String>,
}

/// What is known of an execution's end.
pub(crate) enum End {
    /// It has ended then.
    Known(Timestamp),
    /// It runs, and is expected to end so.
    Estimated(Estimate),
    /// Nothing, for a reason.
    Unknown(String),
}

impl EtaView {
    /// Shows an execution's end as it is known at that moment; `deadline` is how long it may take.
    pub(crate) fn new(execution: Execution, now: Timestamp, end: End, deadline: Option<Micros>) -> Self {
        let deadline_at = deadline.map(|deadline| execution.started_at + deadline);
        let mut view = Self {
            workflow_id: execution.id,
            workflow_name: execution.workflow,
            status: execution.status,
            elapsed_ms: now.since(execution.started_at).as_millis(),
            expected_end_at: None,
            earliest_end_at: None,
            latest_end_at: None,
            remaining_ms: None,
            remaining_low_ms: None,
            remaining_high_ms: None,
            confidence: CONFIDENCE,
            based_on: 0,
            deadline_at: deadline_at.map(Time),
            at_risk: false,
            reason: None,
        };
        let (estimate, then) = match end {
            End::Known(at) => {
                view.elapsed_ms = at.since(execution.started_at).as_millis();
                view.reason = Some("The execution has ended.".to_owned());
                let none = Micros::ZERO;
                let ended = Estimate {
                    now: at,
                    remaining: none,
                    remaining_low: none,
                    remaining_high: none,
                    based_on: 0,
                };
                (Some(ended), at)
            }
            End::Estimated(estimate) => (Some(estimate), now),
            End::Unknown(reason) => {
                view.reason = Some(reason);
                (None, now)
            }
        };
        view.at_risk = deadline_at.is_some_and(|deadline| at_risk(then, estimate.as_ref(), deadline));
        if let Some(estimate) = estimate {
            view.show(&estimate);
        }
        view
    }

    fn show(&mut self, estimate: &Estimate) {
        self.expected_end_at = Some(Time(estimate.expected_end()));
        self.earliest_end_at = Some(Time(estimate.earliest_end()));
        self.latest_end_at = Some(Time(estimate.latest_end()));
        self.remaining_ms = Some(estimate.remaining.as_millis());
        self.remaining_low_ms = Some(estimate.remaining_low.as_millis());
        self.remaining_high_ms = Some(estimate.remaining_high.as_millis());
        self.based_on = estimate.based_on;
    }
}
