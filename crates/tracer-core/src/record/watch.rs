//! Judging what runs: what it means to look at a running step, and at a running execution.
//!
//! `judge_at` is a wake-up and not a verdict: written when something starts, for the moment at which it
//! will cross its limit. Whoever finds that moment past sends a command to look, and what is said is
//! said then, against the history as it is then: one that was rebaselined or grew meanwhile counts, and
//! a verdict that no longer holds is taken back.
//!
//! An execution is silent since one of its steps was last written to. Its timer is lazy: steps do not
//! move it, it goes off and is set anew by what it finds. What a running step is still waited for is no
//! silence: while one has its own time to be looked at before it, that is waited for; but a fixed time
//! (`stall_after`) holds whatever runs.
//!
//! Invariants: a verdict is fresh once per crossing: it is written in the transaction that moves
//! `judge_at` past the moment of looking, or removes it. Looking writes nothing that counts as a sign of
//! life.
//! Not here: the limits (`detect`), and who looks (`tracer-alert`).

use super::alerting;
use super::apply::{fresh, repeated};
use super::changes;
use super::command::{JudgeExecution, JudgeStep};
use super::judging::{Known, features_of, worsen};
use super::needs::key_of;
use super::outcome::{Answer, ExecutionStalled, Outcome, StepStuck};
use super::working_set::{WorkingSet, Written};
use crate::detect::{Bottleneck, ComparedWith, Comparison, Policy, Severity, Standard, StepPolicy};
use crate::execution::ExecutionStatus;
use crate::features::Features;
use crate::ids::ExecutionId;
use crate::incident::{Cause, Evidence, Finding, IncidentKind};
use crate::limits;
use crate::name::WorkflowName;
use crate::step::{Step, StepStatus};
use crate::time::{Micros, Timestamp};

/// Returns when a step that starts is to be looked at: when it crosses its first limit. Never, if its
/// start lies so far back that it is told of after the fact.
pub(super) fn first_look_at_step(
    policy: &Policy,
    workflow: &WorkflowName,
    step: &Step,
    now: Timestamp,
    set: &WorkingSet,
) -> Option<Timestamp> {
    let old = Micros::from_secs(limits::OLD_WORK_MINUTES * 60);
    let elapsed = now.since(step.started_at);
    if elapsed > old {
        return None;
    }
    let next = compared(policy, workflow, step, set, |plan, comparison, _| {
        Standard::of_step(plan, comparison).next_look(elapsed, None)
    })?;
    Some((step.started_at + next).max(now))
}

/// Returns when an execution that starts is to be looked at: when it will have been silent for too long,
/// if it is.
pub(super) fn first_look_at_execution(
    policy: &Policy,
    workflow: &WorkflowName,
    now: Timestamp,
    set: &WorkingSet,
) -> Option<Timestamp> {
    of_silence(policy, workflow, set).next_look(Micros::ZERO, None).map(|next| now + next)
}

/// Notes that something was heard of an execution: if it was taken for stalled, it is so no longer, and
/// is looked at anew.
pub(super) fn hear_from(policy: &Policy, id: ExecutionId, now: Timestamp, set: &mut WorkingSet) {
    let Some(head) = set.executions.get_mut(&id).filter(|head| head.stalled.is_some()) else { return };
    head.stalled = None;
    head.judge_at = Some(now);
    let incident = head.incident.take();
    set.watched_executions.insert(id);
    alerting::freed(policy, incident, now, set);
}

/// Looks at a running step whose time has come.
pub(super) fn judge_step(policy: &Policy, judge: JudgeStep, now: Timestamp, set: &mut WorkingSet) -> Answer {
    let key = (judge.execution, judge.id);
    let (Some(execution), Some(step)) = (set.executions.get(&judge.execution), set.steps.get(&key)) else {
        return nothing_new();
    };
    let (Some(due_at), StepStatus::Running) = (step.judge_at.filter(|at| *at <= now), step.status) else {
        return nothing_new();
    };
    let workflow = execution.workflow.clone();
    let elapsed = now.since(step.started_at);
    let (verdict, next, cohort) = compared(policy, &workflow, step, set, |plan, comparison, features| {
        let verdict = plan.judge_running(comparison, elapsed, features);
        let next = Standard::of_step(plan, comparison).next_look(elapsed, severity(verdict.as_ref()));
        let by_cohort = comparison.is_some_and(|found| matches!(found.with, ComparedWith::Cohort(_)));
        let cohort = if by_cohort { plan.cohort.cohort(features) } else { None };
        (verdict, next, cohort.unwrap_or_default())
    });
    let mark = set.changes.len();
    let mut step = step.clone();
    step.judge_at = next.map(|next| step.started_at + next);
    let worse = replace(&mut step.bottleneck, verdict);
    if let Some(verdict) = &worse {
        let (kind, name) = (IncidentKind::StuckStep, Some(step.name.clone()));
        let cause = Cause { kind, workflow: workflow.clone(), step: name, cohort };
        let finding = Finding::TooLong(verdict.clone());
        let evidence = Evidence { execution: Some(step.execution), step: Some(step.id), finding };
        let found = alerting::Stuck { cause, evidence, before: step.incident, is_known: false };
        step.incident = alerting::stuck(policy, found, now, set);
    } else if step.bottleneck.is_none() {
        alerting::freed(policy, step.incident.take(), now, set);
    }
    if worse.is_some() {
        changes::step_stuck(&workflow, &step, mark, now, set);
    }
    let stuck = worse.map(|bottleneck| StepStuck {
        id: step.id,
        execution: step.execution,
        workflow,
        name: step.name.clone(),
        step_type: step.step_type.clone(),
        started_at: step.started_at,
        due_at,
        bottleneck,
    });
    set.steps.insert(key, step);
    set.written_steps.entry(key).or_insert(Written::Update);
    let Some(stuck) = stuck else { return nothing_new() };
    worsen(stuck.execution, stuck.bottleneck.severity, set);
    fresh(Outcome::StepStuck(stuck))
}

/// Looks at a running execution whose time has come.
pub(super) fn judge_execution(
    policy: &Policy,
    judge: JudgeExecution,
    now: Timestamp,
    set: &mut WorkingSet,
) -> Answer {
    let Some(head) = set.executions.get(&judge.id) else { return nothing_new() };
    let (Some(due_at), ExecutionStatus::Running) = (head.judge_at.filter(|at| *at <= now), head.status)
    else {
        return nothing_new();
    };
    let activity = set.activities.get(&judge.id).copied().unwrap_or_default();
    let heard = activity.changed_at.map_or(head.recorded_at, |changed| changed.max(head.recorded_at));
    let silence = now.since(heard);
    let standard = of_silence(policy, &head.workflow, set);
    let waited_for = match policy.stall_after(&head.workflow) {
        Some(_) => None,
        None => activity.judge_at.filter(|at| *at > now),
    };
    let verdict = if waited_for.is_some() { None } else { standard.judge(silence) };
    let said = severity(verdict.as_ref());
    let next = standard.next_look(silence, said).map(|next| heard + next);
    let Some(head) = set.executions.get_mut(&judge.id) else { return nothing_new() };
    head.judge_at = if waited_for.is_some() { waited_for.max(next) } else { next };
    let worse = replace(&mut head.stalled, verdict);
    let (workflow, before, is_stalled) = (head.workflow.clone(), head.incident, head.stalled.is_some());
    let stalled = worse.map(|bottleneck| ExecutionStalled {
        id: judge.id,
        workflow: head.workflow.clone(),
        started_at: head.started_at,
        due_at,
        bottleneck,
    });
    set.watched_executions.insert(judge.id);
    let mark = set.changes.len();
    let incident = match &stalled {
        Some(found) => {
            let finding = Finding::TooLong(found.bottleneck.clone());
            let evidence = Evidence { execution: Some(judge.id), step: None, finding };
            let cause = alerting::of_workflow(IncidentKind::StalledExecution, &workflow);
            // Whoever knows of a step that is stuck need not hear that nothing is heard meanwhile.
            let is_known = activity.stuck.is_some_and(|id| alerting::is_told(id, set));
            let found = alerting::Stuck { cause, evidence, before, is_known };
            alerting::stuck(policy, found, now, set)
        }
        None if is_stalled => before,
        None => {
            alerting::freed(policy, before, now, set);
            None
        }
    };
    if let Some(head) = set.executions.get_mut(&judge.id) {
        head.incident = incident;
    }
    if let Some(stalled) = &stalled {
        changes::execution_stalled(stalled, mark, now, set);
    }
    stalled.map_or_else(nothing_new, |stalled| fresh(Outcome::ExecutionStalled(stalled)))
}

fn nothing_new() -> Answer {
    repeated(Outcome::NothingNew)
}

/// Puts a verdict in the place of the one before, and returns it if it is worse. One that is as bad
/// leaves that of the crossing as it was.
fn replace(kept: &mut Option<Bottleneck>, verdict: Option<Bottleneck>) -> Option<Bottleneck> {
    let (before, now) = (severity(kept.as_ref()), severity(verdict.as_ref()));
    if now == before {
        return None;
    }
    kept.clone_from(&verdict);
    verdict.filter(|_| now > before)
}

fn severity(verdict: Option<&Bottleneck>) -> Option<Severity> {
    verdict.map(|verdict| verdict.severity)
}

/// Finds what a running step is compared with, and what follows from it.
fn compared<T>(
    policy: &Policy,
    workflow: &WorkflowName,
    step: &Step,
    set: &WorkingSet,
    then: impl FnOnce(&StepPolicy, Option<&Comparison<'_>>, &Features) -> T,
) -> T {
    let features = features_of(step, set);
    let plan = policy.of_step(workflow, &step.name);
    let known = Known::find(plan, workflow, &step.name, &features, set);
    let comparison =
        known.histories(set, Some(step.started_at)).and_then(|histories| plan.compare(histories, &features));
    then(plan, comparison.as_ref(), &features)
}

fn of_silence(policy: &Policy, workflow: &WorkflowName, set: &WorkingSet) -> Standard {
    let history = set.histories.get(&key_of(workflow, None));
    let reference = history.and_then(|history| history.baseline.reference());
    Standard::of_silence(policy.stall_after(workflow), policy.stall_rule(), reference)
}
