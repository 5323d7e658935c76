//! Executions: one run of a workflow, and its state machine.

use serde::{Deserialize, Serialize};

use crate::attributes::Attributes;
use crate::baseline::Ending;
use crate::detect::{Bottleneck, Severity};
use crate::failure::Failure;
use crate::ids::{ExecutionId, Traceparent};
use crate::name::{CorrelationId, Version, WorkflowName};
use crate::payload::Payload;
use crate::time::{Micros, Timestamp};
use crate::trace::Trace;

/// Where an execution stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExecutionStatus {
    /// Under way.
    Running,
    /// Ended well.
    Completed,
    /// Ended with an error.
    Failed,
    /// Took too long, or fell silent.
    TimedOut,
    /// Was called off.
    Cancelled,
}

/// What a state machine makes of a wish to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transition {
    /// It ends now.
    Take,
    /// It ended so before: the answer is what is stored, and nothing is counted again.
    Repeat,
    /// It ended otherwise, or the wish is no ending.
    Refuse,
}

impl ExecutionStatus {
    /// Every status, in the order of the states.
    pub const ALL: [Self; 5] =
        [Self::Running, Self::Completed, Self::Failed, Self::TimedOut, Self::Cancelled];

    /// Reads a status or one of its synonyms: `success` and `ok`, `failure` and `error`, `timeout`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "success" | "ok" => Some(Self::Completed),
            "failure" | "error" => Some(Self::Failed),
            "timeout" => Some(Self::TimedOut),
            exact => Self::ALL.into_iter().find(|status| status.as_str() == exact),
        }
    }

    /// Returns the status as it is written; synonyms are never written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::Cancelled => "cancelled",
        }
    }

    /// Decides whether an execution in this state may end as `wish`.
    ///
    /// | from \ to | running | the same ending | another ending |
    /// |---|---|---|---|
    /// | running | refuse | | take |
    /// | an ending | refuse | repeat | refuse |
    #[must_use]
    pub fn transition(self, wish: Self) -> Transition {
        match (self, wish) {
            (_, Self::Running) => Transition::Refuse,
            (Self::Running, _) => Transition::Take,
            (ended, wish) if ended == wish => Transition::Repeat,
            _ => Transition::Refuse,
        }
    }

    /// Returns how baselines count this status; none while it runs.
    #[must_use]
    pub const fn ending(self) -> Option<Ending> {
        match self {
            Self::Running => None,
            Self::Completed => Some(Ending::Completed),
            Self::Failed => Some(Ending::Failed),
            Self::TimedOut => Some(Ending::TimedOut),
            Self::Cancelled => Some(Ending::Cancelled),
        }
    }
}

/// One run of a workflow, as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Execution {
    /// Its id, which is its trace id.
    pub id: ExecutionId,
    /// The workflow it runs.
    pub workflow: WorkflowName,
    /// Where it stands.
    pub status: ExecutionStatus,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended; none while it runs.
    pub ended_at: Option<Timestamp>,
    /// Wall-clock time from start to end; none while it runs.
    pub duration: Option<Micros>,
    /// The client's own id.
    pub correlation_id: Option<CorrelationId>,
    /// The version of the workflow.
    pub version: Option<Version>,
    /// What the client attached.
    pub attributes: Attributes,
    /// What it was given.
    pub input: Option<Payload>,
    /// What it produced.
    pub output: Option<Payload>,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// The execution that started this one.
    pub parent: Option<ExecutionId>,
    /// The upstream trace under which the client started it.
    pub link: Option<Traceparent>,
    /// Whether `simulate` invented it.
    pub simulated: bool,
    /// When it was first recorded: retention counts from here, never from `started_at`.
    pub recorded_at: Timestamp,
    /// Steps that had completed when it ended; zero while it runs.
    pub steps_completed: u64,
    /// The worst verdict among its steps so far.
    pub worst: Option<Severity>,
    /// The verdict that nothing has been heard of it for too long, while that is so.
    pub stalled: Option<Bottleneck>,
    /// When it is to be looked at while it runs: a wake-up, not a verdict.
    pub judge_at: Option<Timestamp>,
    /// What is known of it because spans told so.
    pub trace: Option<Box<Trace>>,
    /// When its trace is to be looked at: settled, or closed because nothing comes any more.
    pub settle_at: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn synonyms_are_read_and_never_written() {
        let read = |text| ExecutionStatus::parse(text).map(ExecutionStatus::as_str);
        assert_eq!(
            ["success", "ok", "failure", "error", "timeout"].map(read),
            [Some("completed"), Some("completed"), Some("failed"), Some("failed"), Some("timed_out")]
        );
        assert_eq!(["Completed", "done", ""].map(read), [None; 3]);
        assert_eq!(ExecutionStatus::ALL.map(|status| read(status.as_str()).is_some()), [true; 5]);
    }

    #[test]
    fn an_ended_execution_never_changes() {
        for from in ExecutionStatus::ALL {
            for wish in ExecutionStatus::ALL {
                let expected = match (from == ExecutionStatus::Running, wish == ExecutionStatus::Running) {
                    (_, true) => Transition::Refuse,
                    (true, false) => Transition::Take,
                    (false, false) if from == wish => Transition::Repeat,
                    (false, false) => Transition::Refuse,
                };
                assert_eq!(from.transition(wish), expected, "{from:?} to {wish:?}");
            }
        }
    }
}
