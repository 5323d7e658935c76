//! Counts the ends of executions for the objectives that they count for.
//!
//! Invariant: an end is counted once, where it is fresh, and in the slots of the moment at which the execution ended: what
//! is imported of last week burns last week's budget. What was closed by silence counts as timed out; if its end comes
//! after all, that is taken back, and the end counts.
//! Not here: what is made of the counts (`crate::slo`).

use super::alerting::Telling;
use super::needs::sample_time;
use super::working_set::WorkingSet;
use crate::detect::Policy;
use crate::execution::ExecutionStatus;
use crate::ids::ExecutionId;
use crate::name::WorkflowName;
use crate::slo::{Definition, Slo, SlotCount, TimedOut, counts, slots_of};
use crate::step::StepTimes;
use crate::time::{Micros, Timestamp};

/// Counts an execution that has ended, unless it was invented.
pub(super) fn note_end(
    policy: &Policy,
    (id, status): (ExecutionId, ExecutionStatus),
    workflow: &WorkflowName,
    times: StepTimes,
    telling: Telling,
    now: Timestamp,
    set: &mut WorkingSet,
) {
    if telling.simulated || policy.slos().is_empty() {
        return;
    }
    let at = sample_time(times.ended_at, now);
    for slo in policy.slos().iter().filter(|slo| slo.is_about(workflow)) {
        if let Some(count) = count_of(slo, id, status, times.duration) {
            add(slo, at, count, now, set);
        }
    }
}

/// Counts an execution that is closed because nothing comes of it any more; returns what it was counted as, if it was.
pub(super) fn note_silence(
    policy: &Policy,
    id: ExecutionId,
    now: Timestamp,
    set: &mut WorkingSet,
) -> Option<TimedOut> {
    let head = set.executions.get(&id)?;
    let (workflow, at) = (head.workflow.clone(), sample_time(head.ended_at?, now));
    let mut counted_by = Vec::new();
    for slo in policy.slos().iter().filter(|slo| slo.is_about(&workflow)) {
        add(slo, at, failed(id), now, set);
        counted_by.push(slo.definition());
    }
    (!counted_by.is_empty()).then_some(TimedOut { at, counted_by })
}

/// Takes back what was counted of an execution that was closed by silence. What another definition counted is left.
pub(super) fn take_back(policy: &Policy, timed_out: &TimedOut, now: Timestamp, set: &mut WorkingSet) {
    let was_counted = |definition: Definition| timed_out.counted_by.contains(&definition);
    for slo in policy.slos().iter().filter(|slo| was_counted(slo.definition())) {
        let count = SlotCount { events: -1, failed: -1, ..SlotCount::default() };
        add(slo, timed_out.at, count, now, set);
    }
}

fn failed(id: ExecutionId) -> SlotCount {
    SlotCount { events: 1, failed: 1, last_failed: Some(id), ..SlotCount::default() }
}

/// Returns what an end adds; nothing for one that was called off.
fn count_of(slo: &Slo, id: ExecutionId, status: ExecutionStatus, took: Micros) -> Option<SlotCount> {
    match status {
        ExecutionStatus::Failed | ExecutionStatus::TimedOut => Some(failed(id)),
        ExecutionStatus::Completed => {
            let is_slow = slo.spec().latency.is_some_and(|most| took > most);
            Some(SlotCount {
                events: 1,
                slow: i64::from(is_slow),
                last_slow: is_slow.then_some(id),
                ..SlotCount::default()
            })
        }
        ExecutionStatus::Cancelled | ExecutionStatus::Running => None,
    }
}

fn add(slo: &Slo, at: Timestamp, count: SlotCount, now: Timestamp, set: &mut WorkingSet) {
    for slot in slots_of(slo, at, now) {
        counts::add(&mut set.slo_counts, slot, count);
    }
}
