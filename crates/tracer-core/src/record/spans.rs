//! Recording spans as they come: in any order, late, and more than once.
//!
//! A span is stored when it comes. If its workflow is known by a name that was given, and its trace goes on, it is
//! judged at once, so that people hear of what is slow before the trace ends; but it enters its histories with its whole trace
//! (`settle`), unless that has happened already: then it is an ordinary step that is recorded whole.
//!
//! Invariant: what is stored in the end depends neither on the order in which spans come nor on how often.
//! Not here: which span names an execution, and which is its root (`crate::trace`).

use std::sync::Arc;

use super::alerting::{self, Telling};
use super::apply::{ended_step, fresh, repeated};
use super::changes;
use super::command::RecordSpans;
use super::failures::{Failed, note_failure};
use super::judging::{Finish, finish, judge_early};
use super::outcome::{Answer, ExecutionEnded, ExecutionStarted, Outcome, SpansRecorded};
use super::services;
use super::settle::learn_end;
use super::slo;
use super::watch::{self, hear_from};
use super::working_set::{ExecutionHead, StepKey, TracedExecution, WorkingSet, Written};
use crate::detect::Policy;
use crate::execution::{Execution, ExecutionStatus};
use crate::features::Features;
use crate::ids::ExecutionId;
use crate::limits;
use crate::span::{Span, SpanEnd, TraceSpans};
use crate::step::{Step, StepStatus, StepTimes};
use crate::time::Timestamp;
use crate::trace::{Place, Trace};

/// Records the spans of an export.
pub(super) fn record_spans(
    policy: &Policy,
    command: &RecordSpans,
    now: Timestamp,
    set: &mut WorkingSet,
) -> Answer {
    let mut told = SpansRecorded::default();
    for trace in &command.traces {
        record_trace(policy, command, trace, now, set, &mut told);
    }
    let answer = if told == SpansRecorded::default() { repeated } else { fresh };
    answer(Outcome::SpansRecorded(told))
}

fn record_trace(
    policy: &Policy,
    command: &RecordSpans,
    spans: &TraceSpans,
    now: Timestamp,
    set: &mut WorkingSet,
    told: &mut SpansRecorded,
) {
    let id = spans.id;
    let is_new = !set.executions.contains_key(&id);
    let before = set.executions.get(&id).and_then(|head| head.trace.clone());
    let places = services::places_of(id, set);
    let mut trace = before
        .clone()
        .unwrap_or_else(|| Box::new(Trace { born_of_spans: is_new, heard_at: now, ..Trace::default() }));
    let mentioned = spans.spans.iter().filter_map(|span| span.detail.resource);
    trace.keep_resources(mentioned.filter_map(|id| Some((id, command.resources.get(&id)?))));
    let (ended_before, mut demoted) = (trace.ended_by_root, Vec::new());
    for span in &spans.spans {
        if let Place::Root { demoted: Some(root) } = trace.take(span, now) {
            demoted.push(*root);
        }
    }
    if is_new {
        begin(policy, id, &trace, now, set);
    } else {
        rename(id, &trace, set);
    }
    let root = trace.root.as_ref().map(|root| root.id);
    let steps = demoted.iter().chain(&spans.spans).filter(|span| Some(span.id) != root);
    let mut taken = Vec::new();
    for span in steps {
        taken.extend(take_step(policy, id, span, &mut trace, now, set, told));
    }
    let before = before.as_deref();
    let root_changed = trace.root.is_some() && before.is_none_or(|before| before.root != trace.root);
    let first_changed = before.is_none_or(|before| before.first != trace.first);
    told.spans += u64::try_from(taken.len()).unwrap_or(u64::MAX) + u64::from(root_changed);
    if taken.is_empty() && !root_changed && !is_new {
        // Nothing but what is known; that a client sends it again is no sign of life.
        return;
    }
    end_by_root(&mut trace, id, set);
    if trace.ended_by_root
        && let Some(timed_out) = trace.timed_out.take()
    {
        slo::take_back(policy, &timed_out, now, set);
    }
    if trace.ended_by_root && (!ended_before || root_changed) {
        tell_end(&trace, id, now, set, told);
    }
    schedule(policy, &mut trace, id, now, set);
    if is_new {
        told.started.extend(started(id, set));
    } else {
        hear_from(policy, id, now, set);
    }
    write(id, trace, root_changed || first_changed, set);
    services::hear(id, places, &spans.spans, set);
    if !ended_before && is_learnt_late(id, set) {
        learn_end(policy, id, now, set);
    }
}

/// Tells that the root has ended the execution.
fn tell_end(trace: &Trace, id: ExecutionId, now: Timestamp, set: &mut WorkingSet, told: &mut SpansRecorded) {
    let Some(ended) = stored_end(id, set) else { return };
    let failure = trace.root.as_ref().and_then(|root| root.end.as_ref()?.failure.as_ref());
    if ended.status == ExecutionStatus::Failed {
        let failed = Failed { execution: id, step: None, failure, ended_at: ended.ended_at };
        note_failure(set, &failed, now);
    }
    changes::execution_ended(&ended, failure, set.changes.len(), now, set);
    told.ended.push(ended);
}

/// Begins an execution that is known by its spans alone.
fn begin(policy: &Policy, id: ExecutionId, trace: &Trace, now: Timestamp, set: &mut WorkingSet) {
    let (Some(workflow), Some(started_at)) = (trace.workflow(), trace.started_at()) else { return };
    let (version, attributes) = trace.facts();
    let judge_at = watch::first_look_at_execution(policy, &workflow, now, set);
    let head = ExecutionHead {
        workflow: workflow.clone(),
        status: ExecutionStatus::Running,
        started_at,
        ended_at: None,
        duration: None,
        recorded_at: now,
        steps_completed: 0,
        worst: None,
        features: Features::of_execution(version.as_ref(), &attributes),
        stalled: None,
        judge_at,
        incident: None,
        trace: None,
        settle_at: None,
    };
    let row = Execution {
        id,
        workflow,
        status: ExecutionStatus::Running,
        started_at,
        ended_at: None,
        duration: None,
        correlation_id: None,
        version,
        attributes,
        input: None,
        output: None,
        failure: None,
        parent: None,
        link: None,
        simulated: false,
        recorded_at: now,
        steps_completed: 0,
        worst: None,
        stalled: None,
        judge_at,
        trace: None,
        settle_at: None,
    };
    changes::execution_started(id, &head.workflow, started_at, now, set);
    set.executions.insert(id, head);
    set.new_executions.insert(id, row);
}

/// Gives an execution the name, the start and the features that its trace has now.
fn rename(id: ExecutionId, trace: &Trace, set: &mut WorkingSet) {
    let Some(head) = set.executions.get_mut(&id) else { return };
    let (Some(workflow), Some(started_at)) = (trace.workflow(), trace.started_at()) else { return };
    let (version, attributes) = trace.facts();
    head.features = Features::of_execution(version.as_ref(), &attributes);
    head.started_at = started_at;
    if head.workflow != workflow {
        head.workflow = workflow;
    }
}

/// Stores a span as a step; none if nothing is new about it.
fn take_step(
    policy: &Policy,
    id: ExecutionId,
    span: &Span,
    trace: &mut Trace,
    now: Timestamp,
    set: &mut WorkingSet,
    told: &mut SpansRecorded,
) -> Option<StepKey> {
    if !trace.born_of_spans && span.id == id.root_span() {
        // The execution itself, as it was exported from here.
        return None;
    }
    let key = (id, span.id);
    let stored = set.steps.get(&key);
    let has_ended = set.executions.get(&id).is_some_and(|head| head.status != ExecutionStatus::Running);
    // Then it is settled in a moment, and judged once and for all.
    let ends_soon = has_ended || trace.root.as_ref().is_some_and(|root| root.end.is_some());
    let (replaced, was_completed) = match (stored, &span.end) {
        // Of work that is over nothing starts any more.
        (None, None) if has_ended && trace.settled => return None,
        (None, _) => (None, false),
        (Some(_), None) => return None,
        (Some(step), Some(_)) if awaits_its_end(step) => (Some(step), false),
        (Some(step), Some(end)) if step.by_trace && !trace.settled && replaces(span, end, step) => {
            (Some(step), step.status == StepStatus::Completed)
        }
        (Some(_), Some(_)) => return None,
    };
    let written = if replaced.is_some() { Written::Update } else { Written::Insert };
    let waited = replaced.is_some_and(|step| step.by_trace);
    let had_failed = replaced.is_some_and(|step| step.status == StepStatus::Failed);
    let mut step = step_of(id, span, replaced, now);
    let mark = set.changes.len();
    let workflow = set.executions.get(&id)?.workflow.clone();
    match &span.end {
        None => {
            step.judge_at = watch::first_look_at_step(policy, &workflow, &step, now, set);
            changes::step_started(&workflow, &step, now, set);
        }
        Some(end) if trace.settled => {
            let times = times_of(span, end);
            let finished = finished(end, times);
            let judged = finish(policy, &workflow, &mut step, finished, now, set);
            changes::step_ended(&workflow, &step, mark, now, set);
            told.late.push(ended_step(&workflow, &step, times, judged));
        }
        Some(end) => {
            let times = times_of(span, end);
            step.status = end.status;
            step.ended_at = Some(times.ended_at);
            step.duration = Some(times.duration);
            step.failure.clone_from(&end.failure);
            step.judge_at = None;
            step.by_trace = true;
            let told_in_flight = alerting::freed(policy, step.incident, now, set);
            if step.status == StepStatus::Failed && !had_failed {
                let has_name = trace.is_named() || trace.root.is_some();
                if has_name || trace.uncounted.len() >= limits::TRACE_FAILURES_WAITING {
                    let (failure, ended_at) = (end.failure.as_ref(), times.ended_at);
                    let failed = Failed { execution: id, step: Some(span.id), failure, ended_at };
                    note_failure(set, &failed, now);
                } else {
                    trace.uncounted.push(span.id);
                }
            }
            if trace.is_named() && !ends_soon && end.status.is_judged() {
                let finished = finished(end, times);
                judge_early(policy, &workflow, &mut step, &finished, told_in_flight, now, set);
            }
            trace.waiting += u32::from(!waited);
            changes::step_ended(&workflow, &step, mark, now, set);
        }
    }
    let (before, after) = (u64::from(was_completed), u64::from(step.status == StepStatus::Completed));
    let counted = |count: u64| (count + after).saturating_sub(before);
    trace.completed = counted(trace.completed);
    if let Some(head) = set.executions.get_mut(&id).filter(|_| has_ended) {
        head.steps_completed = counted(head.steps_completed);
    }
    set.steps.insert(key, step);
    set.written_steps.entry(key).or_insert(written);
    Some(key)
}

/// Returns whether a step runs, or was called off with its execution before its own end came.
pub(super) fn awaits_its_end(step: &Step) -> bool {
    match step.status {
        StepStatus::Running => true,
        StepStatus::Cancelled => step.span.is_some() && !step.by_trace,
        StepStatus::Completed | StepStatus::Failed | StepStatus::Skipped => false,
    }
}

/// Returns whether a span that came again says more than the step that was made of it.
fn replaces(span: &Span, end: &SpanEnd, step: &Step) -> bool {
    let failed = |status: StepStatus| status != StepStatus::Completed;
    let detail = step.span.as_deref();
    let stored = (
        step.duration,
        failed(step.status),
        step.attributes.entries().len(),
        detail.map_or(0, |detail| detail.events.len()),
        detail.map_or(0, |detail| detail.links.len()),
    );
    let (events, links) = (span.detail.events.len(), span.detail.links.len());
    (Some(end.duration), failed(end.status), span.attributes.entries().len(), events, links) > stored
}

/// Returns the step that a span is, as far as its end says nothing of it. What was given by REST stays.
fn step_of(id: ExecutionId, span: &Span, stored: Option<&Step>, now: Timestamp) -> Step {
    let by_rest = stored.filter(|step| step.span.is_none());
    Step {
        execution: id,
        id: span.id,
        name: by_rest.map_or_else(|| span.name.clone(), |step| step.name.clone()),
        step_type: by_rest.map_or_else(|| span.step_type.clone(), |step| step.step_type.clone()),
        parent: by_rest.and_then(|step| step.parent).or(span.parent),
        attempt: by_rest.map_or(span.attempt, |step| step.attempt),
        status: StepStatus::Running,
        started_at: span.started_at,
        ended_at: None,
        duration: None,
        attributes: by_rest
            .map_or_else(|| span.attributes.clone(), |step| span.attributes.joined(&step.attributes)),
        failure: None,
        bottleneck: stored.and_then(|step| step.bottleneck.clone()),
        judge_at: None,
        incident: stored.and_then(|step| step.incident),
        changed_at: now,
        span: Some(Arc::clone(&span.detail)),
        by_trace: false,
    }
}

pub(super) fn times_of(span: &Span, end: &SpanEnd) -> StepTimes {
    StepTimes { started_at: span.started_at, ended_at: span.ended_at(), duration: end.duration }
}

fn finished(end: &SpanEnd, times: StepTimes) -> Finish<'_> {
    let began = Some(times.started_at);
    Finish { status: end.status, times, began, failure: end.failure.as_ref(), telling: Telling::REAL }
}

/// Ends the execution as its root says. An end that its client told by REST stays.
fn end_by_root(trace: &mut Trace, id: ExecutionId, set: &mut WorkingSet) {
    let Some(head) = set.executions.get_mut(&id) else { return };
    let ended_by_client =
        head.status != ExecutionStatus::Running && !trace.ended_by_root && !trace.closed_by_silence;
    let Some(root) = trace.root.as_deref().filter(|_| !ended_by_client) else { return };
    let Some(end) = &root.end else {
        // An earlier root, which still runs, has taken the place of one that had ended.
        if trace.ended_by_root {
            trace.ended_by_root = false;
            head.status = ExecutionStatus::Running;
            (head.ended_at, head.duration) = (None, None);
        }
        return;
    };
    head.status = match end.status {
        StepStatus::Completed | StepStatus::Running | StepStatus::Skipped => ExecutionStatus::Completed,
        StepStatus::Failed => ExecutionStatus::Failed,
        StepStatus::Cancelled => ExecutionStatus::Cancelled,
    };
    head.ended_at = Some(root.ended_at());
    head.duration = Some(end.duration);
    head.judge_at = None;
    if !trace.ended_by_root && !trace.closed_by_silence {
        head.steps_completed = trace.completed;
    }
    trace.ended_by_root = true;
    trace.closed_by_silence = false;
}

/// Says when the trace is to be looked at next.
fn schedule(policy: &Policy, trace: &mut Trace, id: ExecutionId, now: Timestamp, set: &mut WorkingSet) {
    let Some(head) = set.executions.get_mut(&id) else { return };
    let rules = policy.traces();
    let has_ended = head.status != ExecutionStatus::Running;
    let wanted = if trace.is_full() && !trace.settled {
        Some(now)
    } else if has_ended {
        (!trace.settled).then_some(now + rules.grace)
    } else {
        trace.born_of_spans.then_some(now + rules.silence)
    };
    head.settle_at = match (head.settle_at, wanted) {
        // A timer is not moved by what comes: it is set anew by what it finds when it goes off.
        (Some(set), Some(wanted)) => Some(set.min(wanted)),
        (_, wanted) => wanted,
    };
}

/// Counts a step that a client has completed by REST in an execution that spans told of first: their root says when it
/// ends, and not how many of its steps completed.
pub(super) fn count_by_rest(id: ExecutionId, status: StepStatus, set: &mut WorkingSet) {
    let Some(trace) = set.executions.get_mut(&id).and_then(|head| head.trace.as_mut()) else { return };
    if trace.born_of_spans && status == StepStatus::Completed {
        trace.completed += 1;
        set.traced_executions.entry(id).or_default();
    }
}

/// Leaves the execution to be written.
pub(super) fn write(id: ExecutionId, trace: Box<Trace>, with_facts: bool, set: &mut WorkingSet) {
    let Some(head) = set.executions.get_mut(&id) else { return };
    let (version, attributes) = trace.facts();
    let failure = trace.ended_by_root.then(|| {
        let end = trace.root.as_ref().and_then(|root| root.end.as_ref());
        end.and_then(|end| end.failure.clone())
    });
    let born_of_spans = trace.born_of_spans;
    head.trace = Some(trace);
    if let Some(row) = set.new_executions.get_mut(&id) {
        row.workflow.clone_from(&head.workflow);
        (row.status, row.started_at) = (head.status, head.started_at);
        (row.ended_at, row.duration) = (head.ended_at, head.duration);
        (row.version, row.attributes) = (version, attributes);
        row.failure = failure.flatten();
        (row.steps_completed, row.worst) = (head.steps_completed, head.worst);
        (row.judge_at, row.settle_at) = (head.judge_at, head.settle_at);
        row.trace.clone_from(&head.trace);
        return;
    }
    let facts = (with_facts && born_of_spans).then_some((version, attributes));
    // Several commands of one batch never change the same execution.
    set.traced_executions.insert(id, TracedExecution { facts, failure });
    set.worsened_executions.remove(&id);
}

/// Whether an end that comes now has to be learnt now: its trace was settled without it.
fn is_learnt_late(id: ExecutionId, set: &WorkingSet) -> bool {
    let head = set.executions.get(&id);
    head.and_then(|head| head.trace.as_ref()).is_some_and(|trace| trace.settled && trace.ended_by_root)
}

fn started(id: ExecutionId, set: &WorkingSet) -> Option<ExecutionStarted> {
    let head = set.executions.get(&id)?;
    Some(ExecutionStarted { id, workflow: head.workflow.clone(), started_at: head.started_at })
}

/// Returns the end of an execution, without its bottlenecks.
pub(super) fn stored_end(id: ExecutionId, set: &WorkingSet) -> Option<ExecutionEnded> {
    let head = set.executions.get(&id)?;
    Some(ExecutionEnded {
        id,
        workflow: head.workflow.clone(),
        status: head.status,
        started_at: head.started_at,
        ended_at: head.ended_at?,
        total: head.duration?,
        steps_completed: head.steps_completed,
        bottlenecks: Vec::new(),
    })
}
