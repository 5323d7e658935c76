//! What becomes of a command: an answer, or a refusal that changed nothing.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::attributes::AttributesError;
use crate::detect::{Bottleneck, Regression};
use crate::event::{EventId, EventKind};
use crate::execution::ExecutionStatus;
use crate::ids::{ExecutionId, StepId};
use crate::incident::Incident;
use crate::name::{StepName, StepType, WorkflowName};
use crate::step::{StepStatus, TimesError};
use crate::time::{Micros, Timestamp};

/// The answer to a command that was carried out.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// What is stored now.
    pub outcome: Outcome,
    /// Whether this very command made it so. A repetition is answered with what is stored, and is
    /// neither counted nor logged nor alerted again.
    pub fresh: bool,
}

/// What is stored after a command. Serialised only for `Idempotency-Key`, whose replays get it again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Outcome {
    /// An execution runs.
    ExecutionStarted(ExecutionStarted),
    /// A step runs.
    StepStarted(StepStarted),
    /// A step has ended.
    StepEnded(StepEnded),
    /// An execution has ended.
    ExecutionEnded(ExecutionEnded),
    /// An execution was recorded whole, with these steps; those of one already known are not repeated.
    ExecutionRecorded {
        /// The execution.
        execution: ExecutionEnded,
        /// Its steps, in the order given.
        steps: Vec<StepEnded>,
    },
    /// A step has a new reference.
    Rebaselined,
    /// A running step got a verdict, or a worse one.
    StepStuck(StepStuck),
    /// A running execution got the verdict that it is silent, or a worse one.
    ExecutionStalled(ExecutionStalled),
    /// An incident, as it is now.
    Incident(Box<Incident>),
    /// Spans are stored.
    SpansRecorded(SpansRecorded),
    /// A trace is settled, or was closed.
    TraceSettled(Box<TraceSettled>),
    /// An event is kept.
    EventRecorded(EventRecorded),
    /// What was looked at got no verdict that it did not have, or was not to be looked at.
    NothingNew,
}

/// An execution that runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExecutionStarted {
    /// Its id.
    pub id: ExecutionId,
    /// The workflow.
    pub workflow: WorkflowName,
    /// When it began.
    pub started_at: Timestamp,
}

/// A step that runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepStarted {
    /// Its id.
    pub id: StepId,
    /// Its execution.
    pub execution: ExecutionId,
    /// The workflow.
    pub workflow: WorkflowName,
    /// Its name.
    pub name: StepName,
    /// What kind of work it is.
    pub step_type: StepType,
    /// When it began.
    pub started_at: Timestamp,
}

/// A step that has ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepEnded {
    /// Its id.
    pub id: StepId,
    /// Its execution.
    pub execution: ExecutionId,
    /// The workflow.
    pub workflow: WorkflowName,
    /// Its name.
    pub name: StepName,
    /// What kind of work it is.
    pub step_type: StepType,
    /// How it ended.
    pub status: StepStatus,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
    /// How long it took.
    pub duration: Micros,
    /// The verdict, if it was too long.
    pub bottleneck: Option<Bottleneck>,
    /// A lasting slowdown that this very end made certain.
    #[serde(default)]
    pub regression: Option<Regression>,
    /// The average that this very end was compared with; none if it was not judged, or had no history, and where the
    /// end is repeated: nobody keeps it.
    #[serde(default)]
    pub compared_with: Option<Micros>,
}

/// A step judged while it runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepStuck {
    /// Its id.
    pub id: StepId,
    /// Its execution.
    pub execution: ExecutionId,
    /// The workflow.
    pub workflow: WorkflowName,
    /// Its name.
    pub name: StepName,
    /// What kind of work it is.
    pub step_type: StepType,
    /// When it began.
    pub started_at: Timestamp,
    /// When it crossed the limit, as far as was foreseen.
    pub due_at: Timestamp,
    /// The verdict.
    pub bottleneck: Bottleneck,
}

/// What came of the spans of one export.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SpansRecorded {
    /// Spans that were new, or told more than was known.
    pub spans: u64,
    /// Executions that began with them, as far as they are known.
    pub started: Vec<ExecutionStarted>,
    /// Executions whose root has ended them.
    pub ended: Vec<ExecutionEnded>,
    /// Steps of traces that were settled before: they were learnt as they came. Others are told of when
    /// their trace is settled.
    pub late: Vec<StepEnded>,
}

/// A trace whose steps have entered their histories.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TraceSettled {
    /// The steps that did, in the order of their ends.
    pub steps: Vec<StepEnded>,
    /// The execution, if it has ended: by its root before, or by silence just now.
    pub ended: Option<ExecutionEnded>,
    /// Whether it was closed just now, because nothing came any more.
    pub closed_by_silence: bool,
}

/// An execution of which nothing has been heard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExecutionStalled {
    /// Its id.
    pub id: ExecutionId,
    /// The workflow.
    pub workflow: WorkflowName,
    /// When it began.
    pub started_at: Timestamp,
    /// When it crossed the limit, as far as was foreseen.
    pub due_at: Timestamp,
    /// The verdict; its duration is that of the silence.
    pub bottleneck: Bottleneck,
}

/// An event that is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventRecorded {
    /// Its id.
    pub id: EventId,
    /// The execution.
    pub execution: ExecutionId,
    /// The workflow.
    pub workflow: WorkflowName,
    /// What it tells of.
    pub kind: EventKind,
    /// When it happened.
    pub at: Timestamp,
}

/// A step with its verdict, as executions list them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JudgedStep {
    /// The step.
    pub id: StepId,
    /// Its name.
    pub name: StepName,
    /// The verdict.
    pub bottleneck: Bottleneck,
}

/// An execution that has ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExecutionEnded {
    /// Its id.
    pub id: ExecutionId,
    /// The workflow.
    pub workflow: WorkflowName,
    /// How it ended.
    pub status: ExecutionStatus,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
    /// Wall-clock time from start to end.
    pub total: Micros,
    /// Steps that completed.
    pub steps_completed: u64,
    /// Steps judged WARNING or CRITICAL, in the order in which they started.
    pub bottlenecks: Vec<JudgedStep>,
}

/// Why a command was not carried out. It changed nothing.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Refusal {
    /// No execution has this id.
    #[error("no execution has this id")]
    UnknownExecution,
    /// The execution has no step of this id.
    #[error("this execution has no step of this id")]
    UnknownStep,
    /// The named parent execution is not known.
    #[error("no execution has the id given as parent")]
    UnknownParentExecution,
    /// The named parent step is not one of this execution.
    #[error("this execution has no step of the id given as parent")]
    UnknownParentStep,
    /// No incident has this id.
    #[error("no incident has this id")]
    UnknownIncident,
    /// The incident is over: there is nothing to look after any more.
    #[error("the incident is resolved already")]
    IncidentIsResolved,
    /// Nothing was ever recorded under this workflow and step.
    #[error("no step of this name has a history in a workflow of this name")]
    UnknownHistory,
    /// The execution has ended, as the status says.
    #[error("the execution has already ended as {}", .0.as_str())]
    ExecutionHasEnded(ExecutionStatus),
    /// The step has ended, as the status says.
    #[error("the step has already ended as {}", .0.as_str())]
    StepHasEnded(StepStatus),
    /// An id that a client chose is taken.
    #[error("an execution or step of this id exists already")]
    IdTaken,
    /// The execution has [`crate::limits::EVENTS_PER_EXECUTION`] events.
    #[error("the execution has as many events as one may have")]
    TooManyEvents,
    /// The `Idempotency-Key` was used for another body.
    #[error("the idempotency key was used before with another body")]
    IdempotencyKeyReused,
    /// The given times contradict what is stored.
    #[error("the end {0}")]
    Times(#[from] TimesError),
    /// The attributes given at the end are too many together with those given at the start.
    #[error("the attributes {0}")]
    Attributes(#[from] AttributesError),
}
