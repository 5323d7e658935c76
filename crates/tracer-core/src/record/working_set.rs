//! The rows that a batch works on: what was loaded, and what is to be written.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::command::{IdempotencyScope, Request};
use super::outcome::Outcome;
use super::services::ServiceChanges;
use crate::attributes::Attributes;
use crate::baseline::{Baseline, Segment};
use crate::cohort::BaselineKey;
use crate::detect::{Bottleneck, Severity};
use crate::event::{EventId, WorkflowEvent};
use crate::execution::{Execution, ExecutionStatus};
use crate::failure::Failure;
use crate::failures::NewFailure;
use crate::features::Features;
use crate::ids::{ExecutionId, StepId};
use crate::incident::{Alarm, Fingerprint, HistoryEntry, Incident, IncidentId};
use crate::live::Change;
use crate::name::{Version, WorkflowName};
use crate::payload::Payload;
use crate::routing::NewNotification;
use crate::similarity::FailureId;
use crate::slo::{Slot, SlotCount};
use crate::step::Step;
use crate::time::{Day, Micros, Timestamp};
use crate::trace::Trace;

/// What identifies a step.
pub type StepKey = (ExecutionId, StepId);

/// The part of an execution that recording needs.
#[derive(Clone, Debug, PartialEq)]
pub struct ExecutionHead {
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
    /// When it was first recorded: the month of its partition.
    pub recorded_at: Timestamp,
    /// Steps that had completed when it ended.
    pub steps_completed: u64,
    /// The worst verdict among its steps so far.
    pub worst: Option<Severity>,
    /// What its version and attributes say that may explain how long its steps take.
    pub features: Features,
    /// The verdict that it is silent, while it is.
    pub stalled: Option<Bottleneck>,
    /// When it is to be looked at; none once it has ended.
    pub judge_at: Option<Timestamp>,
    /// The incident that its silence belongs to, while it is silent.
    pub incident: Option<IncidentId>,
    /// What is known of it because spans told so.
    pub trace: Option<Box<Trace>>,
    /// When its trace is to be looked at.
    pub settle_at: Option<Timestamp>,
}

/// What is known of an execution's events when another one is recorded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventLog {
    /// The number of the last one; 0 if there is none.
    pub last: u32,
    /// Of those that the batch is to record, the ones that are stored: it was replayed.
    pub known: BTreeSet<EventId>,
}

/// What is known of an execution's steps when its silence is judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Activity {
    /// When one was last written to by its client, or an event was recorded; none without either.
    pub changed_at: Option<Timestamp>,
    /// The latest time at which one that runs is to be looked at; none if none is.
    pub judge_at: Option<Timestamp>,
    /// An incident that one that runs belongs to, because it is stuck; the latest.
    pub stuck: Option<IncidentId>,
}

/// What an ending execution needs to know of its steps.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Closing {
    /// The steps still running, which end with it.
    pub running: Vec<Step>,
    /// How many have completed.
    pub completed: u64,
    /// The steps that have a verdict, in the order in which they started.
    pub bottlenecks: Vec<Step>,
}

/// The history under one key.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    /// The baseline.
    pub baseline: Baseline,
    /// Its newest closed segments, if [`super::segment_needs`] asked for them.
    pub segments: Vec<Segment>,
    /// What is known of its incidents; written whenever the baseline is.
    pub alarm: Alarm,
}

/// The answer kept under an `Idempotency-Key`.
#[derive(Clone, Debug, PartialEq)]
pub struct IdempotencyRecord {
    /// Hash of the body it was first used with.
    pub body: [u8; 16],
    /// What was answered.
    pub outcome: Outcome,
    /// When it was first used.
    pub created_at: Timestamp,
}

/// What to do with a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// It is new.
    Insert,
    /// It was loaded and has changed.
    Update,
}

/// The end of a stored execution.
#[derive(Clone, Debug, PartialEq)]
pub struct ExecutionEnd {
    /// The status it ended in.
    pub status: ExecutionStatus,
    /// When it ended.
    pub ended_at: Timestamp,
    /// Wall-clock time from start to end.
    pub duration: Micros,
    /// What it produced.
    pub output: Option<Payload>,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// Steps that completed.
    pub steps_completed: u64,
    /// The worst verdict among its steps.
    pub worst: Option<Severity>,
}

/// What changes of a stored execution by its spans, beside what its head holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TracedExecution {
    /// Its version and attributes as its leading span tells them; none: they stay as they are.
    pub facts: Option<(Option<Version>, Attributes)>,
    /// Why it failed; none: that stays as it is. Its root may say that it did not.
    pub failure: Option<Option<Failure>>,
}

/// What a batch loaded (filled by the store) and what it writes (filled by [`super::apply`]).
///
/// What is to be written is sorted by key, which is the order in which rows must be written.
#[derive(Debug, Default)]
pub struct WorkingSet {
    /// Loaded: answers kept under idempotency keys.
    pub idempotency: HashMap<IdempotencyScope, IdempotencyRecord>,
    /// Loaded: executions.
    pub executions: HashMap<ExecutionId, ExecutionHead>,
    /// Loaded, and changed in place: steps.
    pub steps: HashMap<StepKey, Step>,
    /// Loaded: what ending executions need to know of their steps.
    pub closings: HashMap<ExecutionId, Closing>,
    /// Loaded: what judging the silence of executions needs to know of their steps.
    pub activities: HashMap<ExecutionId, Activity>,
    /// Loaded: of traces that are looked at, the steps that wait to enter their histories or still run.
    pub waiting: HashMap<ExecutionId, Vec<Step>>,
    /// Loaded, and changed in place: what is known of the events of executions.
    pub events: HashMap<ExecutionId, EventLog>,
    /// Loaded, and changed in place: histories. A key without an entry has none and is not to get one.
    pub histories: HashMap<BaselineKey, History>,
    /// Loaded, and changed in place: incidents.
    pub incidents: HashMap<IncidentId, Incident>,

    /// To insert or replace: answers under idempotency keys.
    pub new_idempotency: BTreeMap<IdempotencyScope, IdempotencyRecord>,
    /// To insert: executions.
    pub new_executions: BTreeMap<ExecutionId, Execution>,
    /// To update: executions that run on, and one of whose steps is the worst so far.
    pub worsened_executions: BTreeMap<ExecutionId, Severity>,
    /// To update: executions whose `judge_at`, `stalled` or `incident` has changed, as in `executions`.
    pub watched_executions: BTreeSet<ExecutionId>,
    /// To update: executions that end; they are no longer looked at, nor stalled.
    pub ended_executions: BTreeMap<ExecutionId, ExecutionEnd>,
    /// To update: executions that spans changed, their columns but for payloads, `stalled` and `incident`.
    /// Name, times, status, verdict, `judge_at`, `trace` and `settle_at` are those in `executions`.
    pub traced_executions: BTreeMap<ExecutionId, TracedExecution>,
    /// To write: which of `steps`, and how.
    pub written_steps: BTreeMap<StepKey, Written>,
    /// To update: which of `histories`.
    pub written_histories: BTreeMap<BaselineKey, ()>,
    /// To insert or replace: closed segments.
    pub written_segments: BTreeMap<(BaselineKey, Day), Segment>,
    /// To write: which of `incidents`, and how. Sorted by what identifies their cause, which is the order in
    /// which they must be written: two batches that open the same ones wait for each other at the first.
    pub written_incidents: BTreeMap<(Fingerprint, IncidentId), Written>,
    /// To append: lines of the histories of incidents, in their order.
    pub new_entries: Vec<(IncidentId, HistoryEntry)>,
    /// To write: what is told of services.
    pub services: ServiceChanges,
    /// To append: what channels are to be told, in the order in which they are.
    pub new_notifications: Vec<NewNotification>,
    /// To insert: events, by their execution and number.
    pub new_events: BTreeMap<(ExecutionId, u32), WorkflowEvent>,
    /// To tell whoever watches, in the order in which it happened; kept for a short while only.
    pub changes: Vec<Change>,
    /// To count, last of all: failures, by execution and what they are.
    pub new_failures: BTreeMap<(ExecutionId, FailureId), NewFailure>,
    /// To count, after these: ended executions, by the slots of the objectives that they count for.
    pub slo_counts: BTreeMap<Slot, SlotCount>,
}

/// How long an `Idempotency-Key` holds: 24 hours.
const IDEMPOTENCY_KEPT: Micros = Micros::from_days(1);

impl WorkingSet {
    /// Returns what was answered under the request's `Idempotency-Key`, while that holds.
    pub(super) fn kept_answer(&self, request: &Request) -> Option<&IdempotencyRecord> {
        let kept = self.idempotency.get(&request.idempotency?.scope)?;
        (request.received_at.since(kept.created_at) < IDEMPOTENCY_KEPT).then_some(kept)
    }
}
