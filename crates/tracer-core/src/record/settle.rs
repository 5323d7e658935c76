//! Settling a trace: its steps are judged, and enter their histories, together.
//!
//! All of them are compared with their histories as they were before the trace, and only then learnt, in the
//! order of their ends. So neither the order in which spans came nor how they were split over exports decides
//! a verdict or a count.
//!
//! A trace whose root has not come is closed as timed out once nothing has come for long enough; its end then
//! counts for nothing, because nobody has told it.
//!
//! Invariant: a step enters its histories once. What comes after its trace was settled enters them as it comes.
//! Not here: storing spans (`spans`), and who looks (`tracer-alert`).

use super::alerting::{self, Telling, Told};
use super::apply::{ended_step, fresh, learn_total, repeated};
use super::changes;
use super::command::SettleTrace;
use super::failures::{Failed, note_failure};
use super::judging::{Examined, Finish, Judged, absorb, examine};
use super::outcome::{Answer, JudgedStep, Outcome, StepEnded, TraceSettled};
use super::services;
use super::slo;
use super::spans::{stored_end, write};
use super::working_set::{ExecutionHead, WorkingSet, Written};
use crate::detect::Policy;
use crate::execution::ExecutionStatus;
use crate::ids::{ExecutionId, StepId};
use crate::name::WorkflowName;
use crate::step::{Step, StepStatus, StepTimes};
use crate::time::Timestamp;
use crate::trace::Trace;

/// Looks at a trace whose time has come.
pub(super) fn settle_trace(
    policy: &Policy,
    look: SettleTrace,
    now: Timestamp,
    set: &mut WorkingSet,
) -> Answer {
    let nothing = || repeated(Outcome::NothingNew);
    let Some(head) = set.executions.get_mut(&look.id) else { return nothing() };
    if head.settle_at.is_none_or(|at| at > now) {
        return nothing();
    }
    let Some(mut trace) = head.trace.clone() else { return nothing() };
    let plan = plan_of(head, &trace, policy, now);
    let mut told = TraceSettled { steps: Vec::new(), ended: None, closed_by_silence: false };
    if plan.closes {
        close(head, &mut trace);
        told.closed_by_silence = true;
    }
    head.settle_at = plan.again_at;
    if plan.settles {
        trace.settled = true;
        trace.waiting = 0;
        let waiting = set.waiting.remove(&look.id).unwrap_or_default();
        services::count_calls(trace.root.as_deref(), &waiting, set);
        count_failures(&std::mem::take(&mut trace.uncounted), &waiting, now, set);
        set.waiting.insert(look.id, waiting);
        told.steps = settle(policy, look.id, now, set);
        cancel_running(policy, look.id, now, set);
        told.ended = stored_end(look.id, set).map(|mut ended| {
            ended.bottlenecks = judged(&told.steps);
            ended
        });
        if trace.ended_by_root {
            learn_end(policy, look.id, now, set);
        }
    } else if plan.closes {
        told.ended = stored_end(look.id, set);
        cancel_running(policy, look.id, now, set);
    }
    if plan.closes {
        trace.timed_out = slo::note_silence(policy, look.id, now, set);
    }
    if let Some(ended) = told.ended.as_ref().filter(|_| plan.closes) {
        changes::execution_ended(ended, None, set.changes.len(), now, set);
    }
    write(look.id, trace, false, set);
    if plan.settles || plan.closes { fresh(Outcome::TraceSettled(Box::new(told))) } else { nothing() }
}

/// What is to be done with a trace whose time has come.
struct Plan {
    settles: bool,
    closes: bool,
    again_at: Option<Timestamp>,
}

fn plan_of(head: &ExecutionHead, trace: &Trace, policy: &Policy, now: Timestamp) -> Plan {
    if head.status != ExecutionStatus::Running {
        return Plan { settles: !trace.settled, closes: false, again_at: None };
    }
    let silent_at = trace.heard_at + policy.traces().silence;
    let closes = trace.born_of_spans && silent_at <= now;
    // It runs, and more steps wait than may.
    let is_full = trace.is_full();
    let again_at = (trace.born_of_spans && !closes).then_some(silent_at);
    Plan { settles: !trace.settled && (closes || is_full), closes, again_at }
}

/// Closes an execution of which nothing comes any more: it ended no later than what was last heard of it.
fn close(head: &mut ExecutionHead, trace: &mut Trace) {
    let ended_at = trace.last_ended_at.max(head.started_at);
    head.status = ExecutionStatus::TimedOut;
    head.ended_at = Some(ended_at);
    head.duration = Some(ended_at.since(head.started_at));
    head.steps_completed = trace.completed;
    head.judge_at = None;
    trace.closed_by_silence = true;
}

/// Returns how a step that waits has ended; none if it has not.
fn end_of(step: &Step) -> Option<(StepTimes, Finish<'_>)> {
    let (ended_at, duration) = (step.ended_at?, step.duration?);
    let times = StepTimes { started_at: step.started_at, ended_at, duration };
    let (began, failure) = (Some(step.started_at), step.failure.as_ref());
    Some((times, Finish { status: step.status, times, began, failure, telling: Telling::REAL }))
}

/// Counts the failures that came before the workflow had a name.
fn count_failures(uncounted: &[StepId], waiting: &[Step], now: Timestamp, set: &mut WorkingSet) {
    for step in waiting.iter().filter(|step| uncounted.contains(&step.id)) {
        let (failure, ended_at) = (step.failure.as_ref(), step.ended_at.unwrap_or(now));
        let failed = Failed { execution: step.execution, step: Some(step.id), failure, ended_at };
        note_failure(set, &failed, now);
    }
}

/// Lets the steps that wait enter their histories.
fn settle(policy: &Policy, id: ExecutionId, now: Timestamp, set: &mut WorkingSet) -> Vec<StepEnded> {
    let Some(workflow) = set.executions.get(&id).map(|head| head.workflow.clone()) else { return Vec::new() };
    let mut waiting = set.waiting.remove(&id).unwrap_or_default();
    let running = waiting.extract_if(.., |step| !step.by_trace).collect();
    set.waiting.insert(id, running);
    waiting.sort_by_key(|step| (step.ended_at, step.id));
    let examined: Vec<Option<Examined>> = waiting
        .iter()
        .map(|step| {
            let (_, finish) = end_of(step).filter(|_| step.status.is_judged())?;
            examine(policy, &workflow, step, &finish, set)
        })
        .collect();
    let ended = waiting
        .into_iter()
        .zip(examined)
        .filter_map(|(step, examined)| learn(policy, &workflow, step, examined, now, set));
    let ended: Vec<StepEnded> = ended.collect();
    let worst = ended.iter().filter_map(|step| Some(step.bottleneck.as_ref()?.severity)).max();
    if let Some(head) = set.executions.get_mut(&id) {
        head.worst = head.worst.max(worst);
    }
    ended
}

fn learn(
    policy: &Policy,
    workflow: &WorkflowName,
    mut step: Step,
    examined: Option<Examined>,
    now: Timestamp,
    set: &mut WorkingSet,
) -> Option<StepEnded> {
    // Told that it was stuck, it is told as slow only if that happens again.
    let told = Told { in_flight: step.incident.is_some(), early: step.bottleneck.is_some() };
    let verdict = examined.as_ref().and_then(Examined::verdict).cloned();
    let (times, finish) = end_of(&step)?;
    let compared_with = examined.as_ref().and_then(Examined::compared_with);
    let regression = examined
        .as_ref()
        .and_then(|examined| absorb(policy, workflow, &step, &finish, examined, told, now, set));
    let has_changed = step.bottleneck != verdict;
    step.bottleneck = verdict;
    if !told.early {
        changes::bottleneck(workflow, &step, now, set);
    }
    let ended = ended_step(workflow, &step, times, Judged { regression, compared_with });
    if has_changed {
        let key = (step.execution, step.id);
        set.steps.insert(key, step);
        set.written_steps.insert(key, Written::Update);
    }
    Some(ended)
}

/// Calls off what still runs of an execution that has ended; its own end may yet come.
fn cancel_running(policy: &Policy, id: ExecutionId, now: Timestamp, set: &mut WorkingSet) {
    let Some(ended_at) = set.executions.get(&id).and_then(|head| head.ended_at) else { return };
    for mut step in set.waiting.remove(&id).unwrap_or_default() {
        if step.status != StepStatus::Running {
            continue;
        }
        let ended_at = ended_at.max(step.started_at);
        step.status = StepStatus::Cancelled;
        step.ended_at = Some(ended_at);
        step.duration = Some(ended_at.since(step.started_at));
        step.judge_at = None;
        step.changed_at = now;
        alerting::freed(policy, step.incident, now, set);
        let key = (step.execution, step.id);
        set.steps.insert(key, step);
        set.written_steps.insert(key, Written::Update);
    }
}

/// Adds the end that the root told to the history of the workflow.
pub(super) fn learn_end(policy: &Policy, id: ExecutionId, now: Timestamp, set: &mut WorkingSet) {
    let Some(head) = set.executions.get(&id) else { return };
    let (Some(ended_at), Some(duration)) = (head.ended_at, head.duration) else { return };
    let times = StepTimes { started_at: head.started_at, ended_at, duration };
    let (workflow, status) = (head.workflow.clone(), head.status);
    learn_total(policy, (id, status), &workflow, times, Telling::REAL, now, set);
}

fn judged(steps: &[StepEnded]) -> Vec<JudgedStep> {
    let judged = |step: &StepEnded| {
        let bottleneck = step.bottleneck.clone()?;
        Some((step.started_at, JudgedStep { id: step.id, name: step.name.clone(), bottleneck }))
    };
    let mut all: Vec<(Timestamp, JudgedStep)> = steps.iter().filter_map(judged).collect();
    all.sort_by_key(|(started_at, step)| (*started_at, step.id));
    all.into_iter().map(|(_, step)| step).collect()
}
