//! What a batch tells whoever watches, one small function per kind of change.
//!
//! Invariant: only what is fresh is a change, and changes are left in the order in which they happened. A function
//! that takes a `mark`, the number of changes before the command, puts its own before what followed from it: the
//! end of a step comes before the incident that it opens.
//! Not here: what a change says (`live`).

use super::outcome::{ExecutionEnded, ExecutionStalled};
use super::working_set::WorkingSet;
use crate::attributes::Attributes;
use crate::event::WorkflowEvent;
use crate::failure::Failure;
use crate::ids::ExecutionId;
use crate::incident::{Incident, Transition};
use crate::limits;
use crate::live::{Change, ChangedStep, What, brief, brief_text};
use crate::name::WorkflowName;
use crate::step::Step;
use crate::time::Timestamp;

/// Tells that an execution runs.
pub(super) fn execution_started(
    id: ExecutionId,
    workflow: &WorkflowName,
    started_at: Timestamp,
    now: Timestamp,
    set: &mut WorkingSet,
) {
    push(id, workflow, What::ExecutionStarted { started_at }, now, set);
}

/// Tells that a step runs.
pub(super) fn step_started(workflow: &WorkflowName, step: &Step, now: Timestamp, set: &mut WorkingSet) {
    push(step.execution, workflow, What::StepStarted(changed(step)), now, set);
}

/// Tells how a step ended, and then, if it took too long, that it did; nothing of one that runs.
pub(super) fn step_ended(
    workflow: &WorkflowName,
    step: &Step,
    mark: usize,
    now: Timestamp,
    set: &mut WorkingSet,
) {
    let (Some(ended_at), Some(duration)) = (step.ended_at, step.duration) else { return };
    let before = set.changes.len();
    let failure = step.failure.as_ref().map(brief);
    let what = What::StepEnded { step: changed(step), status: step.status, ended_at, duration, failure };
    push(step.execution, workflow, what, now, set);
    bottleneck(workflow, step, now, set);
    bring_forward(mark, before, set);
}

/// Tells that a step that has ended took too long; nothing if it did not.
pub(super) fn bottleneck(workflow: &WorkflowName, step: &Step, now: Timestamp, set: &mut WorkingSet) {
    if let Some(verdict) = &step.bottleneck {
        let what = What::Bottleneck { step: changed(step), verdict: Box::new(verdict.clone()) };
        push(step.execution, workflow, what, now, set);
    }
}

/// Tells of a verdict on a step that runs; nothing if it has none.
pub(super) fn step_stuck(
    workflow: &WorkflowName,
    step: &Step,
    mark: usize,
    now: Timestamp,
    set: &mut WorkingSet,
) {
    let Some(verdict) = &step.bottleneck else { return };
    let before = set.changes.len();
    let (started_at, verdict) = (step.started_at, Box::new(verdict.clone()));
    push(
        step.execution,
        workflow,
        What::InFlight { step: Some(changed(step)), started_at, verdict },
        now,
        set,
    );
    bring_forward(mark, before, set);
}

/// Tells that nothing has been heard of an execution for too long.
pub(super) fn execution_stalled(
    stalled: &ExecutionStalled,
    mark: usize,
    now: Timestamp,
    set: &mut WorkingSet,
) {
    let before = set.changes.len();
    let (started_at, verdict) = (stalled.started_at, Box::new(stalled.bottleneck.clone()));
    push(stalled.id, &stalled.workflow, What::InFlight { step: None, started_at, verdict }, now, set);
    bring_forward(mark, before, set);
}

/// Tells how an execution ended. The steps that ended with it are not told one by one.
pub(super) fn execution_ended(
    ended: &ExecutionEnded,
    failure: Option<&Failure>,
    mark: usize,
    now: Timestamp,
    set: &mut WorkingSet,
) {
    let before = set.changes.len();
    let what = What::ExecutionEnded {
        status: ended.status,
        started_at: ended.started_at,
        ended_at: ended.ended_at,
        total: ended.total,
        steps_completed: ended.steps_completed,
        bottlenecks: u64::try_from(ended.bottlenecks.len()).unwrap_or(u64::MAX),
        failure: failure.map(brief),
    };
    push(ended.id, &ended.workflow, what, now, set);
    bring_forward(mark, before, set);
}

/// Tells what happened to an incident.
pub(super) fn incident_changed(
    incident: &Incident,
    transition: Transition,
    note: Option<&str>,
    now: Timestamp,
    set: &mut WorkingSet,
) {
    let what = What::Incident {
        id: incident.id,
        transition,
        kind: incident.cause.kind,
        step_name: incident.cause.step.clone(),
        state: incident.state,
        severity: incident.severity,
        occurrences: incident.occurrences,
        note: note.map(brief_text),
    };
    push(incident.worst.execution, &incident.cause.workflow, what, now, set);
}

/// Tells what a client told.
pub(super) fn event_recorded(
    workflow: &WorkflowName,
    event: &WorkflowEvent,
    now: Timestamp,
    set: &mut WorkingSet,
) {
    let is_small = event.attributes.bytes() <= limits::LIVE_ATTRIBUTES_BYTES;
    let what = What::Event {
        id: event.id,
        kind: event.kind,
        level: event.level,
        message: brief_text(&event.message),
        step: event.step,
        at: event.at,
        attributes: if is_small { event.attributes.clone() } else { Attributes::default() },
    };
    push(event.execution, workflow, what, now, set);
}

fn changed(step: &Step) -> ChangedStep {
    ChangedStep {
        id: step.id,
        name: step.name.clone(),
        step_type: step.step_type.clone(),
        parent: step.parent,
        attempt: step.attempt,
        started_at: step.started_at,
    }
}

fn push(
    execution: impl Into<Option<ExecutionId>>,
    workflow: &WorkflowName,
    what: What,
    now: Timestamp,
    set: &mut WorkingSet,
) {
    let execution = execution.into();
    set.changes.push(Change { at: now, execution, workflow: workflow.clone(), what });
}

/// Moves what was pushed from `before` on to `mark`.
fn bring_forward(mark: usize, before: usize, set: &mut WorkingSet) {
    let pushed = set.changes.len().saturating_sub(before);
    if let Some(since) = set.changes.get_mut(mark..) {
        since.rotate_right(pushed);
    }
}
