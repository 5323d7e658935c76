//! Recording what a client tells of an execution.
//!
//! Invariant: the events of an execution are numbered from 1 without a gap, under its lock.
//! Not here: what an event is (`event`).

use super::apply::{fresh, repeated};
use super::changes;
use super::command::RecordEvent;
use super::outcome::{Answer, EventRecorded, Outcome, Refusal};
use super::watch::hear_from;
use super::working_set::WorkingSet;
use crate::detect::Policy;
use crate::event::WorkflowEvent;
use crate::limits;
use crate::time::Timestamp;

/// Records an event. It is a sign of life, and changes nothing else of its execution.
pub(super) fn record_event(
    policy: &Policy,
    event: &RecordEvent,
    now: Timestamp,
    set: &mut WorkingSet,
) -> Result<Answer, Refusal> {
    let execution = set.executions.get(&event.execution).ok_or(Refusal::UnknownExecution)?;
    let workflow = execution.workflow.clone();
    let at = event.at.unwrap_or(now);
    let outcome = || {
        let (id, execution, workflow) = (event.id, event.execution, workflow.clone());
        Outcome::EventRecorded(EventRecorded { id, execution, workflow, kind: event.kind, at })
    };
    let known = set.events.get(&event.execution);
    if known.is_some_and(|log| log.known.contains(&event.id)) {
        // The batch was replayed.
        return Ok(repeated(outcome()));
    }
    if event.step.is_some_and(|step| !set.steps.contains_key(&(event.execution, step))) {
        return Err(Refusal::UnknownStep);
    }
    let log = set.events.entry(event.execution).or_default();
    if log.last >= limits::EVENTS_PER_EXECUTION {
        return Err(Refusal::TooManyEvents);
    }
    log.last += 1;
    log.known.insert(event.id);
    let recorded = WorkflowEvent {
        execution: event.execution,
        number: log.last,
        id: event.id,
        kind: event.kind,
        level: event.level,
        message: event.message.clone(),
        step: event.step,
        at,
        recorded_at: now,
        attributes: event.attributes.clone(),
    };
    changes::event_recorded(&workflow, &recorded, now, set);
    set.new_events.insert((event.execution, recorded.number), recorded);
    hear_from(policy, event.execution, now, set);
    Ok(fresh(outcome()))
}
