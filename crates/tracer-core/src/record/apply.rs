//! Carries out a batch in memory.
//!
//! Invariant: a refused command leaves the working set as it was.

use super::alerting::{self, Telling};
use super::changes;
use super::command::{
    Command, CompleteStep, EndExecution, ParentStep, Rebaseline, RecordExecution, RecordedStep, Request,
    StartExecution, StartStep,
};
use super::events::record_event;
use super::failures::{Failed, note_failure};
use super::judging::{Finish, Judged, finish, write_history};
use super::needs::{key_of, sample_time};
use super::outcome::{
    Answer, ExecutionEnded, ExecutionStarted, JudgedStep, Outcome, Refusal, StepEnded, StepStarted,
};
use super::watch::{self, hear_from};
use super::working_set::{
    Closing, ExecutionEnd, ExecutionHead, History, IdempotencyRecord, StepKey, TracedExecution, WorkingSet,
    Written,
};
use super::{settle, signals, slo, spans};
use crate::baseline::{Baseline, Ending};
use crate::detect::{Policy, Severity};
use crate::execution::{Execution, ExecutionStatus, Transition};
use crate::features::Features;
use crate::ids::ExecutionId;
use crate::name::WorkflowName;
use crate::step::{Step, StepStatus, StepTimes};
use crate::time::Timestamp;

/// Carries out commands in order, each on what the ones before it left.
///
/// The working set must hold what [`super::FirstNeeds`], [`super::HistoryNeeds`] and
/// [`super::segment_needs`] asked for. What is to be written is left in it.
pub fn apply(policy: &Policy, requests: &[Request], set: &mut WorkingSet) -> Vec<Result<Answer, Refusal>> {
    requests.iter().map(|request| carry_out(policy, request, set)).collect()
}

fn carry_out(policy: &Policy, request: &Request, set: &mut WorkingSet) -> Result<Answer, Refusal> {
    let now = request.received_at;
    let Some(idempotency) = request.idempotency else {
        return record(policy, &request.command, now, set);
    };
    if let Some(kept) = set.kept_answer(request) {
        let same = kept.body == idempotency.body;
        return if same { Ok(repeated(kept.outcome.clone())) } else { Err(Refusal::IdempotencyKeyReused) };
    }
    let answer = record(policy, &request.command, now, set)?;
    let kept = IdempotencyRecord { body: idempotency.body, outcome: answer.outcome.clone(), created_at: now };
    set.idempotency.insert(idempotency.scope, kept.clone());
    set.new_idempotency.insert(idempotency.scope, kept);
    Ok(answer)
}

fn record(
    policy: &Policy,
    command: &Command,
    now: Timestamp,
    set: &mut WorkingSet,
) -> Result<Answer, Refusal> {
    match command {
        Command::StartExecution(start) => start_execution(policy, start, now, set),
        Command::StartStep(start) => start_step(policy, start, now, set),
        Command::CompleteStep(complete) => complete_step(policy, complete, now, set),
        Command::EndExecution(end) => end_execution(policy, end, now, set),
        Command::RecordExecution(execution) => record_execution(policy, execution, now, set),
        Command::Rebaseline(step) => rebaseline(policy, step, now, set),
        Command::JudgeStep(judge) => Ok(watch::judge_step(policy, *judge, now, set)),
        Command::JudgeExecution(judge) => Ok(watch::judge_execution(policy, *judge, now, set)),
        Command::TendIncident(tend) => Ok(alerting::tend(policy, tend, now, set)),
        Command::ChangeIncident(change) => alerting::change_by_hand(policy, change, now, set),
        Command::RecordSpans(record) => Ok(spans::record_spans(policy, record, now, set)),
        Command::SettleTrace(look) => Ok(settle::settle_trace(policy, *look, now, set)),
        Command::RecordEvent(event) => record_event(policy, event, now, set),
        Command::Signal(signal) => Ok(signals::signal(policy, signal, now, set)),
    }
}

pub(super) fn fresh(outcome: Outcome) -> Answer {
    Answer { outcome, fresh: true }
}

pub(super) fn repeated(outcome: Outcome) -> Answer {
    Answer { outcome, fresh: false }
}

fn start_execution(
    policy: &Policy,
    start: &StartExecution,
    now: Timestamp,
    set: &mut WorkingSet,
) -> Result<Answer, Refusal> {
    if let Some(known) = set.executions.get(&start.id) {
        // The batch was replayed: ids are minted before it, so this is the same command.
        let started =
            ExecutionStarted { id: start.id, workflow: known.workflow.clone(), started_at: known.started_at };
        return Ok(repeated(Outcome::ExecutionStarted(started)));
    }
    if start.parent.is_some_and(|parent| !set.executions.contains_key(&parent)) {
        return Err(Refusal::UnknownParentExecution);
    }
    let judge_at = watch::first_look_at_execution(policy, &start.workflow, now, set);
    set.executions.insert(start.id, head_of(start, now, judge_at));
    set.new_executions.insert(start.id, row_of(start, now, judge_at));
    changes::execution_started(start.id, &start.workflow, start.started_at, now, set);
    let started =
        ExecutionStarted { id: start.id, workflow: start.workflow.clone(), started_at: start.started_at };
    Ok(fresh(Outcome::ExecutionStarted(started)))
}

pub(super) fn head_of(start: &StartExecution, now: Timestamp, judge_at: Option<Timestamp>) -> ExecutionHead {
    ExecutionHead {
        workflow: start.workflow.clone(),
        status: ExecutionStatus::Running,
        started_at: start.started_at,
        ended_at: None,
        duration: None,
        recorded_at: now,
        steps_completed: 0,
        worst: None,
        features: Features::of_execution(start.version.as_ref(), &start.attributes),
        stalled: None,
        judge_at,
        incident: None,
        trace: None,
        settle_at: None,
    }
}

fn row_of(start: &StartExecution, now: Timestamp, judge_at: Option<Timestamp>) -> Execution {
    Execution {
        id: start.id,
        workflow: start.workflow.clone(),
        status: ExecutionStatus::Running,
        started_at: start.started_at,
        ended_at: None,
        duration: None,
        correlation_id: start.correlation_id.clone(),
        version: start.version.clone(),
        attributes: start.attributes.clone(),
        input: start.input.clone(),
        output: None,
        failure: None,
        parent: start.parent,
        link: start.link,
        simulated: start.simulated,
        recorded_at: now,
        steps_completed: 0,
        worst: None,
        stalled: None,
        judge_at,
        trace: None,
        settle_at: None,
    }
}

fn start_step(
    policy: &Policy,
    start: &StartStep,
    now: Timestamp,
    set: &mut WorkingSet,
) -> Result<Answer, Refusal> {
    let execution = set.executions.get(&start.execution).ok_or(Refusal::UnknownExecution)?;
    let workflow = execution.workflow.clone();
    let key = (start.execution, start.id);
    if let Some(known) = set.steps.get(&key) {
        return Ok(repeated(outcome_of(&workflow, known)));
    }
    if execution.status != ExecutionStatus::Running {
        return Err(Refusal::ExecutionHasEnded(execution.status));
    }
    if let Some(ParentStep::Named(parent)) = start.parent
        && !set.steps.contains_key(&(start.execution, parent))
    {
        return Err(Refusal::UnknownParentStep);
    }
    let times = match &start.completion {
        Some(end) => Some(StepTimes::resolve(start.started_at, end.ended_at, end.duration, now)?),
        None => None,
    };
    let mut step = running_step(start, now);
    let mark = set.changes.len();
    let outcome = if let (Some(completion), Some(times)) = (&start.completion, times) {
        step.attributes.merge(&completion.attributes)?;
        step.started_at = times.started_at;
        let judged = finish(policy, &workflow, &mut step, Finish::of(completion, times, None), now, set);
        changes::step_ended(&workflow, &step, mark, now, set);
        Outcome::StepEnded(ended_step(&workflow, &step, times, judged))
    } else {
        step.judge_at = watch::first_look_at_step(policy, &workflow, &step, now, set);
        changes::step_started(&workflow, &step, now, set);
        outcome_of(&workflow, &step)
    };
    set.steps.insert(key, step);
    set.written_steps.insert(key, Written::Insert);
    if let Some(completion) = &start.completion {
        spans::count_by_rest(start.execution, completion.status, set);
    }
    hear_from(policy, start.execution, now, set);
    Ok(fresh(outcome))
}

fn running_step(start: &StartStep, now: Timestamp) -> Step {
    Step {
        execution: start.execution,
        id: start.id,
        name: start.name.clone(),
        step_type: start.step_type.clone(),
        parent: start.parent.map(ParentStep::id),
        attempt: start.attempt,
        status: StepStatus::Running,
        started_at: start.started_at.unwrap_or(now),
        ended_at: None,
        duration: None,
        attributes: start.attributes.clone(),
        failure: None,
        bottleneck: None,
        judge_at: None,
        incident: None,
        changed_at: now,
        span: None,
        by_trace: false,
    }
}

fn complete_step(
    policy: &Policy,
    complete: &CompleteStep,
    now: Timestamp,
    set: &mut WorkingSet,
) -> Result<Answer, Refusal> {
    let execution = set.executions.get(&complete.execution).ok_or(Refusal::UnknownExecution)?;
    let (workflow, execution_status) = (execution.workflow.clone(), execution.status);
    let key = (complete.execution, complete.id);
    let stored = set.steps.get(&key).ok_or(Refusal::UnknownStep)?;
    let completion = &complete.completion;
    match stored.status.transition(completion.status) {
        Transition::Repeat => return Ok(repeated(outcome_of(&workflow, stored))),
        Transition::Refuse => return Err(Refusal::StepHasEnded(stored.status)),
        Transition::Take => {}
    }
    if execution_status != ExecutionStatus::Running {
        return Err(Refusal::ExecutionHasEnded(execution_status));
    }
    let times = StepTimes::ending(stored.started_at, completion.ended_at, completion.duration, now)?;
    let mut step = stored.clone();
    step.attributes.merge(&completion.attributes)?;
    let end = Finish::of(completion, times, Some(stored.started_at));
    let mark = set.changes.len();
    let judged = finish(policy, &workflow, &mut step, end, now, set);
    changes::step_ended(&workflow, &step, mark, now, set);
    let outcome = Outcome::StepEnded(ended_step(&workflow, &step, times, judged));
    set.steps.insert(key, step);
    set.written_steps.entry(key).or_insert(Written::Update);
    spans::count_by_rest(complete.execution, completion.status, set);
    hear_from(policy, complete.execution, now, set);
    Ok(fresh(outcome))
}

fn end_execution(
    policy: &Policy,
    end: &EndExecution,
    now: Timestamp,
    set: &mut WorkingSet,
) -> Result<Answer, Refusal> {
    let head = set.executions.get(&end.id).ok_or(Refusal::UnknownExecution)?;
    match head.status.transition(end.status) {
        Transition::Repeat => return Ok(repeated(Outcome::ExecutionEnded(stored_end(end.id, head, set)))),
        Transition::Refuse => return Err(Refusal::ExecutionHasEnded(head.status)),
        Transition::Take => {}
    }
    let times = StepTimes::ending(head.started_at, end.ended_at, None, now)?;
    let workflow = head.workflow.clone();
    let ended = close_execution(policy, end, &workflow, times, Telling::REAL, now, set);
    Ok(fresh(Outcome::ExecutionEnded(ended)))
}

fn stored_end(id: ExecutionId, head: &ExecutionHead, set: &WorkingSet) -> ExecutionEnded {
    let closing = set.closings.get(&id);
    ExecutionEnded {
        id,
        workflow: head.workflow.clone(),
        status: head.status,
        started_at: head.started_at,
        ended_at: head.ended_at.unwrap_or(head.started_at),
        total: head.duration.unwrap_or_default(),
        steps_completed: head.steps_completed,
        bottlenecks: closing.map(|closing| judged_steps(&closing.bottlenecks)).unwrap_or_default(),
    }
}

/// Returns the steps that have a verdict, in the order in which they started.
fn judged_steps(steps: &[Step]) -> Vec<JudgedStep> {
    let mut sorted: Vec<&Step> = steps.iter().collect();
    sorted.sort_by_key(|step| (step.started_at, step.id));
    let judged = |step: &Step| {
        let bottleneck = step.bottleneck.clone()?;
        Some(JudgedStep { id: step.id, name: step.name.clone(), bottleneck })
    };
    sorted.into_iter().filter_map(judged).collect()
}

/// Ends an execution that runs, and with it the steps still running.
fn close_execution(
    policy: &Policy,
    end: &EndExecution,
    workflow: &WorkflowName,
    times: StepTimes,
    telling: Telling,
    now: Timestamp,
    set: &mut WorkingSet,
) -> ExecutionEnded {
    let mark = set.changes.len();
    let closing = set.closings.remove(&end.id).unwrap_or_default();
    for mut step in closing.running {
        let key = (step.execution, step.id);
        let ended_at = times.ended_at.max(step.started_at);
        step.status = StepStatus::Cancelled;
        step.ended_at = Some(ended_at);
        step.duration = Some(ended_at.since(step.started_at));
        step.judge_at = None;
        step.changed_at = now;
        alerting::freed(policy, step.incident, now, set);
        set.steps.insert(key, step);
        set.written_steps.insert(key, Written::Update);
    }
    let silent = set.executions.get(&end.id).and_then(|head| head.incident);
    alerting::freed(policy, silent, now, set);
    let bottlenecks = judged_steps(&closing.bottlenecks);
    // A verdict in flight may have been taken back when its step ended.
    let worst = bottlenecks.iter().map(|step| step.bottleneck.severity).max();
    write_end(end, times, closing.completed, worst, set);
    learn_total(policy, (end.id, end.status), workflow, times, telling, now, set);
    if matches!(end.status, ExecutionStatus::Failed | ExecutionStatus::TimedOut) {
        let failure = end.failure.as_ref();
        let failed = Failed { execution: end.id, step: None, failure, ended_at: times.ended_at };
        note_failure(set, &failed, now);
    }
    settle_with_its_end(policy, end.id, now, set);
    let ended = ExecutionEnded {
        id: end.id,
        workflow: workflow.clone(),
        status: end.status,
        started_at: times.started_at,
        ended_at: times.ended_at,
        total: times.duration,
        steps_completed: closing.completed,
        bottlenecks,
    };
    changes::execution_ended(&ended, end.failure.as_ref(), mark, now, set);
    ended
}

fn write_end(
    end: &EndExecution,
    times: StepTimes,
    steps_completed: u64,
    worst: Option<Severity>,
    set: &mut WorkingSet,
) {
    if let Some(head) = set.executions.get_mut(&end.id) {
        head.status = end.status;
        head.ended_at = Some(times.ended_at);
        head.duration = Some(times.duration);
        head.steps_completed = steps_completed;
        (head.judge_at, head.stalled, head.incident) = (None, None, None);
        head.worst = worst;
    }
    if let Some(row) = set.new_executions.get_mut(&end.id) {
        row.status = end.status;
        row.ended_at = Some(times.ended_at);
        row.duration = Some(times.duration);
        row.output.clone_from(&end.output);
        row.failure.clone_from(&end.failure);
        row.steps_completed = steps_completed;
        row.worst = worst;
        row.judge_at = None;
        return;
    }
    let stored = ExecutionEnd {
        status: end.status,
        ended_at: times.ended_at,
        duration: times.duration,
        output: end.output.clone(),
        failure: end.failure.clone(),
        steps_completed,
        worst,
    };
    set.worsened_executions.remove(&end.id);
    set.watched_executions.remove(&end.id);
    set.ended_executions.insert(end.id, stored);
}

/// Has the spans of an execution that its client ends settled, if any came.
fn settle_with_its_end(policy: &Policy, id: ExecutionId, now: Timestamp, set: &mut WorkingSet) {
    let Some(head) = set.executions.get_mut(&id) else { return };
    if head.trace.as_ref().is_some_and(|trace| !trace.settled) {
        head.settle_at = Some(now + policy.traces().grace);
        set.traced_executions.insert(id, TracedExecution::default());
    }
}

/// Adds an execution's end to the history of its workflow, where one that took unbelievably long only counts, and to the
/// objectives that it counts for.
pub(super) fn learn_total(
    policy: &Policy,
    (id, status): (ExecutionId, ExecutionStatus),
    workflow: &WorkflowName,
    times: StepTimes,
    telling: Telling,
    now: Timestamp,
    set: &mut WorkingSet,
) {
    slo::note_end(policy, (id, status), workflow, times, telling, now, set);
    let key = key_of(workflow, None);
    let (Some(history), Some(ending)) = (set.histories.get_mut(&key), status.ending()) else { return };
    let at = sample_time(times.ended_at, now);
    let segments = &mut history.segments;
    let closed = match times.sample().filter(|_| ending == Ending::Completed) {
        Some(duration) => history.baseline.record(at, duration, None, segments),
        None => history.baseline.count(at, ending, segments),
    };
    write_history(set, key, closed);
    let failed = match ending {
        Ending::Completed => false,
        Ending::Failed | Ending::TimedOut => true,
        Ending::Cancelled | Ending::Skipped => return,
    };
    if telling.may_alarm(times.ended_at, now) {
        alerting::execution_ended(policy.alerting(), workflow, id, failed, telling, now, set);
    }
}

fn record_execution(
    policy: &Policy,
    execution: &RecordExecution,
    now: Timestamp,
    set: &mut WorkingSet,
) -> Result<Answer, Refusal> {
    let id = execution.start.id;
    if let Some(known) = set.executions.get(&id) {
        let execution = stored_end(id, known, set);
        return Ok(repeated(Outcome::ExecutionRecorded { execution, steps: Vec::new() }));
    }
    let started_at = execution.start.started_at;
    let times = StepTimes::ending(started_at, execution.end.ended_at, None, now)?;
    let mark = set.changes.len();
    start_execution(policy, &execution.start, now, set)?;
    if !execution.alerts {
        // Of history that is imported, only that it is there is news.
        set.changes.truncate(mark);
    }
    let workflow = &execution.start.workflow;
    let telling = Telling { alerts: execution.alerts, simulated: execution.start.simulated };
    let steps = execution
        .steps
        .iter()
        .map(|step| record_step(policy, (id, step.id), workflow, step, telling, now, set))
        .collect();
    let execution = close_execution(policy, &execution.end, workflow, times, telling, now, set);
    Ok(fresh(Outcome::ExecutionRecorded { execution, steps }))
}

fn record_step(
    policy: &Policy,
    key: StepKey,
    workflow: &WorkflowName,
    recorded: &RecordedStep,
    telling: Telling,
    now: Timestamp,
    set: &mut WorkingSet,
) -> StepEnded {
    let mut step = Step {
        execution: key.0,
        id: key.1,
        name: recorded.name.clone(),
        step_type: recorded.step_type.clone(),
        parent: recorded.parent,
        attempt: 1,
        status: StepStatus::Running,
        started_at: recorded.times.started_at,
        ended_at: None,
        duration: None,
        attributes: recorded.attributes.clone(),
        failure: None,
        bottleneck: None,
        judge_at: None,
        incident: None,
        changed_at: now,
        span: None,
        by_trace: false,
    };
    let (status, times, failure) = (recorded.status, recorded.times, recorded.failure.as_ref());
    let end = Finish { status, times, began: None, failure, telling };
    let mark = set.changes.len();
    let judged = finish(policy, workflow, &mut step, end, now, set);
    if telling.alerts {
        changes::step_ended(workflow, &step, mark, now, set);
    }
    let closing: &mut Closing = set.closings.entry(key.0).or_default();
    closing.completed += u64::from(step.status == StepStatus::Completed);
    if step.bottleneck.is_some() {
        closing.bottlenecks.push(step.clone());
    }
    let ended = ended_step(workflow, &step, recorded.times, judged);
    set.steps.insert(key, step);
    set.written_steps.insert(key, Written::Insert);
    ended
}

fn rebaseline(
    policy: &Policy,
    step: &Rebaseline,
    now: Timestamp,
    set: &mut WorkingSet,
) -> Result<Answer, Refusal> {
    let key = key_of(&step.workflow, Some(&step.step));
    // One that was made for a command of this batch that comes later is still empty.
    let recorded = |history: &&mut History| history.baseline != Baseline::empty();
    let history = set.histories.get_mut(&key).filter(recorded).ok_or(Refusal::UnknownHistory)?;
    history.baseline.rebaseline();
    set.written_histories.insert(key, ());
    alerting::rebaselined(policy.alerting(), &step.workflow, &step.step, now, set);
    Ok(fresh(Outcome::Rebaselined))
}

/// Returns the answer that shows a step as it is.
fn outcome_of(workflow: &WorkflowName, step: &Step) -> Outcome {
    match (step.ended_at, step.duration) {
        (Some(ended_at), Some(duration)) => {
            let times = StepTimes { started_at: step.started_at, ended_at, duration };
            Outcome::StepEnded(ended_step(workflow, step, times, Judged::default()))
        }
        _ => Outcome::StepStarted(StepStarted {
            id: step.id,
            execution: step.execution,
            workflow: workflow.clone(),
            name: step.name.clone(),
            step_type: step.step_type.clone(),
            started_at: step.started_at,
        }),
    }
}

pub(super) fn ended_step(
    workflow: &WorkflowName,
    step: &Step,
    times: StepTimes,
    judged: Judged,
) -> StepEnded {
    StepEnded {
        id: step.id,
        execution: step.execution,
        workflow: workflow.clone(),
        name: step.name.clone(),
        step_type: step.step_type.clone(),
        status: step.status,
        started_at: times.started_at,
        ended_at: times.ended_at,
        duration: times.duration,
        bottleneck: step.bottleneck.clone(),
        regression: judged.regression,
        compared_with: judged.compared_with,
    }
}
