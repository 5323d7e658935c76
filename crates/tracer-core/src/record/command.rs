//! What clients ask to be recorded. Everything in a command was parsed at the edge.

use std::collections::BTreeMap;

use crate::attributes::Attributes;
use crate::event::{EventId, EventKind, LogLevel};
use crate::execution::ExecutionStatus;
use crate::failure::Failure;
use crate::ids::{ExecutionId, StepId, Traceparent};
use crate::incident::{Cause, Finding, IncidentId};
use crate::name::{CorrelationId, StepName, StepType, Version, WorkflowName};
use crate::payload::Payload;
use crate::span::{Resource, ResourceId, TraceSpans};
use crate::step::{StepStatus, StepTimes};
use crate::time::{Micros, Timestamp};

/// A command on its way to the store.
#[derive(Clone, Debug)]
pub struct Request {
    /// What to record.
    pub command: Command,
    /// What makes it safe to retry, if the client said so.
    pub idempotency: Option<Idempotency>,
    /// When it arrived: the time of all that the client gave no time for.
    pub received_at: Timestamp,
}

/// Counted for a trace that is settled, whose steps nobody has counted before they are loaded.
const SETTLED_STEPS: usize = 32;

impl Request {
    /// Returns about how many steps it is about: what it costs to carry out.
    #[must_use]
    pub fn steps(&self) -> usize {
        match &self.command {
            Command::RecordExecution(execution) => execution.steps.len().max(1),
            Command::RecordSpans(record) => {
                record.traces.iter().map(|trace| trace.spans.len()).sum::<usize>().max(1)
            }
            Command::SettleTrace(_) => SETTLED_STEPS,
            Command::StartExecution(_)
            | Command::StartStep(_)
            | Command::CompleteStep(_)
            | Command::EndExecution(_)
            | Command::Rebaseline(_)
            | Command::JudgeStep(_)
            | Command::JudgeExecution(_)
            | Command::TendIncident(_)
            | Command::RecordEvent(_)
            | Command::Signal(_)
            | Command::ChangeIncident(_) => 1,
        }
    }
}

/// The first 16 bytes of SHA-256 over the `Idempotency-Key` and the path it was used on.
pub type IdempotencyScope = [u8; 16];

/// The promise that a repeated request is the same request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Idempotency {
    /// Where the key holds.
    pub scope: IdempotencyScope,
    /// The first 16 bytes of SHA-256 over the request's body.
    pub body: [u8; 16],
}

/// One thing to record.
#[derive(Clone, Debug)]
pub enum Command {
    /// An execution starts.
    StartExecution(StartExecution),
    /// A step starts, or is recorded whole.
    StartStep(StartStep),
    /// A running step ends.
    CompleteStep(CompleteStep),
    /// An execution ends, and with it the steps still running.
    EndExecution(EndExecution),
    /// A finished execution with all its steps: all of it, or nothing.
    RecordExecution(Box<RecordExecution>),
    /// The recent level of a step becomes its reference.
    Rebaseline(Rebaseline),
    /// A running step is looked at, if its time has come.
    JudgeStep(JudgeStep),
    /// A running execution is looked at, if its time has come.
    JudgeExecution(JudgeExecution),
    /// An incident is looked at, if its time has come.
    TendIncident(TendIncident),
    /// Somebody says something of an incident.
    ChangeIncident(ChangeIncident),
    /// Spans of OpenTelemetry come, as one export brought them: all of them, or none.
    RecordSpans(Box<RecordSpans>),
    /// A trace is looked at, if its time has come.
    SettleTrace(SettleTrace),
    /// A client tells something of an execution.
    RecordEvent(Box<RecordEvent>),
    /// Something outside of any single execution is wrong, or no longer is.
    Signal(Box<Signal>),
}

/// Says how something is that is found outside of any single execution. May be said again and again, and by every
/// replica: only what is new changes anything.
#[derive(Clone, Debug)]
pub struct Signal {
    /// What it is about.
    pub cause: Cause,
    /// What is wrong; none: nothing any more.
    pub found: Option<Finding>,
    /// An execution that shows it.
    pub execution: Option<ExecutionId>,
}

/// Starts an execution.
#[derive(Clone, Debug)]
pub struct StartExecution {
    /// Its id, minted before the transaction so that a batch can be replayed.
    pub id: ExecutionId,
    /// The workflow it runs.
    pub workflow: WorkflowName,
    /// The client's own id.
    pub correlation_id: Option<CorrelationId>,
    /// The version of the workflow.
    pub version: Option<Version>,
    /// What the client attached.
    pub attributes: Attributes,
    /// What it is given.
    pub input: Option<Payload>,
    /// When it began.
    pub started_at: Timestamp,
    /// The execution that starts it, which must be known.
    pub parent: Option<ExecutionId>,
    /// The upstream trace.
    pub link: Option<Traceparent>,
    /// Whether `simulate` invented it.
    pub simulated: bool,
}

/// Starts a step, or records it whole.
#[derive(Clone, Debug)]
pub struct StartStep {
    /// The execution, which must be running.
    pub execution: ExecutionId,
    /// Its id, minted before the transaction.
    pub id: StepId,
    /// Its name.
    pub name: StepName,
    /// What kind of work it is.
    pub step_type: StepType,
    /// The step that it is part of.
    pub parent: Option<ParentStep>,
    /// Which attempt it is, from 1.
    pub attempt: u32,
    /// What the client attached.
    pub attributes: Attributes,
    /// When it began; the moment the request arrived, or what follows from its end, if none.
    pub started_at: Option<Timestamp>,
    /// How it ended, if it is recorded whole.
    pub completion: Option<Completion>,
}

/// The step that another one is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParentStep {
    /// Named in the body: must be a step of the same execution.
    Named(StepId),
    /// Named by `traceparent`: a span that may arrive later, by OpenTelemetry.
    Traced(StepId),
}

impl ParentStep {
    /// Returns the parent's id.
    #[must_use]
    pub const fn id(self) -> StepId {
        match self {
            Self::Named(id) | Self::Traced(id) => id,
        }
    }
}

/// How a step ended.
#[derive(Clone, Debug)]
pub struct Completion {
    /// The status it ends in.
    pub status: StepStatus,
    /// How long it took, as the client measured.
    pub duration: Option<Micros>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// Attributes that join those given at its start.
    pub attributes: Attributes,
}

/// Ends a running step.
#[derive(Clone, Debug)]
pub struct CompleteStep {
    /// The execution.
    pub execution: ExecutionId,
    /// The step.
    pub id: StepId,
    /// How it ended.
    pub completion: Completion,
}

/// Ends an execution.
#[derive(Clone, Debug)]
pub struct EndExecution {
    /// The execution.
    pub id: ExecutionId,
    /// The status it ends in.
    pub status: ExecutionStatus,
    /// When it ended; the moment the request arrived if none.
    pub ended_at: Option<Timestamp>,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// What it produced.
    pub output: Option<Payload>,
}

/// Records a finished execution with all its steps.
///
/// Recording the same id again changes nothing.
#[derive(Clone, Debug)]
pub struct RecordExecution {
    /// How it started.
    pub start: StartExecution,
    /// Its steps, in the order in which they are to be judged: by their end.
    pub steps: Vec<RecordedStep>,
    /// How it ended; `id` is that of `start`, and `ended_at` must not lie before its start.
    pub end: EndExecution,
    /// Whether people may be told of what is found in it: history that is imported pages nobody.
    pub alerts: bool,
}

/// A finished step of an execution recorded whole.
#[derive(Clone, Debug)]
pub struct RecordedStep {
    /// Its id, unique within the execution.
    pub id: StepId,
    /// Its name.
    pub name: StepName,
    /// What kind of work it is.
    pub step_type: StepType,
    /// The step that it is part of.
    pub parent: Option<StepId>,
    /// What is attached.
    pub attributes: Attributes,
    /// The status it ended in.
    pub status: StepStatus,
    /// When it began and ended, and how long it took.
    pub times: StepTimes,
    /// Why it failed.
    pub failure: Option<Failure>,
}

/// Tells something of an execution, which may have ended.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordEvent {
    /// The execution.
    pub execution: ExecutionId,
    /// Its id, minted before the transaction.
    pub id: EventId,
    /// What it tells of.
    pub kind: EventKind,
    /// How much it matters, of a log's line.
    pub level: Option<LogLevel>,
    /// What it says, within its bound.
    pub message: String,
    /// The step that it happened in, which must be known.
    pub step: Option<StepId>,
    /// When it happened; the moment the request arrived if none.
    pub at: Option<Timestamp>,
    /// What the client attached.
    pub attributes: Attributes,
}

/// Makes the recent level of a step its reference.
#[derive(Clone, Debug)]
pub struct Rebaseline {
    /// The workflow.
    pub workflow: WorkflowName,
    /// The step.
    pub step: StepName,
}

/// Looks at a running step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JudgeStep {
    /// The execution.
    pub execution: ExecutionId,
    /// The step.
    pub id: StepId,
}

/// Looks at a running execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JudgeExecution {
    /// The execution.
    pub id: ExecutionId,
}

/// Looks at an incident.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TendIncident {
    /// The incident.
    pub id: IncidentId,
    /// Its cause, as it never changes.
    pub cause: Cause,
}

/// Records the spans of one export.
///
/// Recording a span again changes nothing, and the order in which they come does not matter
/// ([`crate::trace`]). An unknown trace begins an execution.
#[derive(Clone, Debug)]
pub struct RecordSpans {
    /// They, by trace; no trace twice.
    pub traces: Vec<TraceSpans>,
    /// What produced them.
    pub resources: BTreeMap<ResourceId, Resource>,
}

/// Looks at a trace: settles it, or closes it if nothing comes any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SettleTrace {
    /// The execution.
    pub id: ExecutionId,
}

/// Changes an incident by hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeIncident {
    /// The incident.
    pub id: IncidentId,
    /// How.
    pub change: IncidentChange,
    /// Who says so, as they call themselves; at most [`crate::limits::NAME_CHARS`] characters.
    pub by: Option<String>,
}

/// What can be said of an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IncidentChange {
    /// Somebody looks after it.
    Acknowledge,
    /// Nobody is to be told of it until then.
    Snooze(Timestamp),
    /// It is over.
    Resolve,
}
