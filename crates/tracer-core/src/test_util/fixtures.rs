//! Commands as tests write them: a few words, and everything not named is plain.
//!
//! What a test is about it sets by struct update: `StartExecution { version, ..start("etl") }`.
//! Invariant: the values are valid, as if they had been parsed at the edge.
//! Not here: carrying them out (`contract::Lab`).

#![expect(clippy::expect_used, reason = "a fixture that is wrong must fail the test that uses it")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;
use wildmatch::WildMatch;

use crate::attributes::Attributes;
use crate::detect::Severity;
use crate::event::{EventId, EventKind};
use crate::execution::ExecutionStatus;
use crate::failure::Failure;
use crate::ids::{ExecutionId, StepId};
use crate::name::{CorrelationId, StepName, StepType, Version, WorkflowName};
use crate::notify::ChannelName;
use crate::payload::Payload;
use crate::record::{
    ChangeIncident, Command, CompleteStep, Completion, EndExecution, Idempotency, JudgeExecution, JudgeStep,
    Outcome, Rebaseline, RecordEvent, RecordExecution, RecordSpans, RecordedStep, Request, SettleTrace,
    Signal, StartExecution, StartStep, TendIncident,
};
use crate::routing::{Audience, Channel};
use crate::span::{Span, SpanEnd, TraceSpans};
use crate::step::{StepStatus, StepTimes};
use crate::time::{Micros, Timestamp};

/// 2026-01-31T12:00:00Z: what a [`super::FakeClock`] shows at first, and when fixtures start.
pub const NOON: Timestamp = Timestamp::from_millis(1_769_860_800_000);

/// Returns that many milliseconds.
#[must_use]
pub const fn ms(millis: u64) -> Micros {
    Micros::from_millis(millis)
}

/// Returns a workflow's name.
///
/// # Panics
/// If the text is no name, as the other names here.
#[must_use]
pub fn workflow(text: &str) -> WorkflowName {
    WorkflowName::new(text).expect("a workflow's name")
}

/// Returns a step's name.
#[must_use]
pub fn step_name(text: &str) -> StepName {
    StepName::new(text).expect("a step's name")
}

/// Returns a step's type.
#[must_use]
pub fn step_type(text: &str) -> StepType {
    StepType::new(text).expect("a step's type")
}

/// Returns an id of the client's own.
#[must_use]
pub fn correlation(text: &str) -> CorrelationId {
    CorrelationId::new(text).expect("a correlation id")
}

/// Returns a version.
#[must_use]
pub fn version(text: &str) -> Version {
    Version::new(text).expect("a version")
}

/// Returns the attributes that a JSON object holds.
///
/// # Panics
/// If it is no object, or out of bounds.
#[must_use]
pub fn attributes(object: Value) -> Attributes {
    Attributes::new(serde_json::from_value(object).expect("an object")).expect("attributes within bounds")
}

/// Returns a payload.
///
/// # Panics
/// If it is too large.
#[must_use]
pub fn payload(value: &Value) -> Payload {
    Payload::new(value).expect("a payload within bounds")
}

/// Returns the step id of that number.
///
/// # Panics
/// If it is zero.
#[must_use]
pub fn step_id(number: u64) -> StepId {
    StepId::from_u64(number).expect("a step id")
}

/// Returns a span that began so many milliseconds after [`NOON`] and took so long.
#[must_use]
pub fn span(id: u64, parent: Option<u64>, name: &str, at: u64, took: u64) -> Span {
    Span {
        id: step_id(id),
        parent: parent.map(step_id),
        name: step_name(name),
        step_type: StepType::default(),
        attempt: 1,
        started_at: NOON + ms(at),
        end: Some(SpanEnd { status: StepStatus::Completed, duration: ms(took), failure: None }),
        attributes: attributes(serde_json::json!({"service.name": "shop"})),
        detail: Arc::default(),
        workflow: None,
        version: None,
    }
}

/// Returns an export of spans of one trace.
#[must_use]
pub fn export(id: ExecutionId, spans: impl IntoIterator<Item = Span>) -> RecordSpans {
    let trace = TraceSpans { id, spans: spans.into_iter().collect() };
    RecordSpans { traces: vec![trace], resources: BTreeMap::new() }
}

/// Starts an execution at [`NOON`].
#[must_use]
pub fn start(name: &str) -> StartExecution {
    StartExecution {
        id: ExecutionId::mint(NOON),
        workflow: workflow(name),
        correlation_id: None,
        version: None,
        attributes: Attributes::default(),
        input: None,
        started_at: NOON,
        parent: None,
        link: None,
        simulated: false,
    }
}

/// Starts a step at the moment of the request.
#[must_use]
pub fn step(execution: ExecutionId, name: &str) -> StartStep {
    StartStep {
        execution,
        id: StepId::mint(),
        name: step_name(name),
        step_type: StepType::default(),
        parent: None,
        attempt: 1,
        attributes: Attributes::default(),
        started_at: None,
        completion: None,
    }
}

/// Records a step whole, which ends at the moment of the request.
#[must_use]
pub fn whole(execution: ExecutionId, name: &str, completion: Completion) -> StartStep {
    StartStep { completion: Some(completion), ..step(execution, name) }
}

/// Ends a step by the clock.
#[must_use]
pub fn ending(status: StepStatus) -> Completion {
    Completion { status, duration: None, ended_at: None, failure: None, attributes: Attributes::default() }
}

/// Ends a step well, after so many milliseconds.
#[must_use]
pub fn completed(millis: u64) -> Completion {
    Completion { duration: Some(ms(millis)), ..ending(StepStatus::Completed) }
}

/// Ends a step badly, after so many milliseconds.
#[must_use]
pub fn failed(millis: u64) -> Completion {
    let failure = Some(Failure::new(Some("IoError"), "disk full", None));
    Completion { duration: Some(ms(millis)), failure, ..ending(StepStatus::Failed) }
}

/// Ends a running step.
#[must_use]
pub fn complete(execution: ExecutionId, id: StepId, completion: Completion) -> CompleteStep {
    CompleteStep { execution, id, completion }
}

/// Ends an execution well, at the moment of the request.
#[must_use]
pub fn end(id: ExecutionId) -> EndExecution {
    EndExecution { id, status: ExecutionStatus::Completed, ended_at: None, failure: None, output: None }
}

/// Records a finished execution whose steps run one after the other, by name and milliseconds.
#[must_use]
pub fn recorded(started_at: Timestamp, name: &str, steps: &[(&str, u64)]) -> RecordExecution {
    let start = StartExecution { id: ExecutionId::mint(started_at), started_at, ..start(name) };
    let mut at = started_at;
    let mut recorded = Vec::new();
    for (number, (name, millis)) in (1..).zip(steps) {
        recorded.push(recorded_step(number, name, at, *millis));
        at = at + ms(*millis);
    }
    let end = EndExecution { ended_at: Some(at), ..end(start.id) };
    RecordExecution { start, steps: recorded, end, alerts: true }
}

/// Returns a completed step of an execution recorded whole.
#[must_use]
pub fn recorded_step(number: u64, name: &str, started_at: Timestamp, millis: u64) -> RecordedStep {
    RecordedStep {
        id: step_id(number),
        name: step_name(name),
        step_type: StepType::default(),
        parent: None,
        attributes: Attributes::default(),
        status: StepStatus::Completed,
        times: StepTimes { started_at, ended_at: started_at + ms(millis), duration: ms(millis) },
        failure: None,
    }
}

/// Makes the recent level of a step its reference.
#[must_use]
pub fn rebaseline(workflow_name: &str, step: &str) -> Rebaseline {
    Rebaseline { workflow: workflow(workflow_name), step: step_name(step) }
}

/// Returns the name of a channel.
///
/// # Panics
/// If the text is none.
#[must_use]
pub fn channel_name(text: &str) -> ChannelName {
    ChannelName::new(text).expect("a channel's name")
}

/// Returns a channel that wants to hear of all incidents, whenever; people are told together of what belongs together.
#[must_use]
pub fn channel(name: &str, audience: Audience) -> Channel {
    Channel {
        name: channel_name(name),
        audience,
        workflow: WildMatch::new("*"),
        severity: Severity::Warning,
        kinds: BTreeSet::new(),
        quiet: None,
        grouped: audience == Audience::People,
    }
}

/// Tells a line of the log of an execution.
#[must_use]
pub fn event(execution: ExecutionId, message: &str) -> RecordEvent {
    RecordEvent {
        execution,
        id: EventId::mint(NOON),
        kind: EventKind::Log,
        level: None,
        message: message.to_owned(),
        step: None,
        at: None,
        attributes: Attributes::default(),
    }
}

/// Returns the promise of an `Idempotency-Key`, for a key and a body told apart by one byte each.
#[must_use]
pub const fn key(scope: u8, body: u8) -> Idempotency {
    Idempotency { scope: [scope; 16], body: [body; 16] }
}

/// Returns a request that arrives at that moment, without an `Idempotency-Key`.
#[must_use]
pub fn request(received_at: Timestamp, command: impl IntoCommand) -> Request {
    Request { command: command.into_command(), idempotency: None, received_at }
}

/// Returns what every answer to the same request says: what a step was compared with is for the first one alone.
#[must_use]
pub fn as_repeated(mut outcome: Outcome) -> Outcome {
    if let Outcome::StepEnded(ended) = &mut outcome {
        ended.compared_with = None;
    }
    outcome
}

/// What is a command, so that tests need not name its variant.
pub trait IntoCommand {
    /// Returns the command.
    fn into_command(self) -> Command;
}

impl IntoCommand for Command {
    fn into_command(self) -> Command {
        self
    }
}

impl IntoCommand for StartExecution {
    fn into_command(self) -> Command {
        Command::StartExecution(self)
    }
}

impl IntoCommand for StartStep {
    fn into_command(self) -> Command {
        Command::StartStep(self)
    }
}

impl IntoCommand for CompleteStep {
    fn into_command(self) -> Command {
        Command::CompleteStep(self)
    }
}

impl IntoCommand for EndExecution {
    fn into_command(self) -> Command {
        Command::EndExecution(self)
    }
}

impl IntoCommand for RecordExecution {
    fn into_command(self) -> Command {
        Command::RecordExecution(Box::new(self))
    }
}

impl IntoCommand for RecordSpans {
    fn into_command(self) -> Command {
        Command::RecordSpans(Box::new(self))
    }
}

impl IntoCommand for SettleTrace {
    fn into_command(self) -> Command {
        Command::SettleTrace(self)
    }
}

impl IntoCommand for Signal {
    fn into_command(self) -> Command {
        Command::Signal(Box::new(self))
    }
}

impl IntoCommand for Rebaseline {
    fn into_command(self) -> Command {
        Command::Rebaseline(self)
    }
}

impl IntoCommand for JudgeStep {
    fn into_command(self) -> Command {
        Command::JudgeStep(self)
    }
}

impl IntoCommand for JudgeExecution {
    fn into_command(self) -> Command {
        Command::JudgeExecution(self)
    }
}

impl IntoCommand for TendIncident {
    fn into_command(self) -> Command {
        Command::TendIncident(self)
    }
}

impl IntoCommand for RecordEvent {
    fn into_command(self) -> Command {
        Command::RecordEvent(Box::new(self))
    }
}

impl IntoCommand for ChangeIncident {
    fn into_command(self) -> Command {
        Command::ChangeIncident(self)
    }
}
