//! What a batch must load, and which commands may share one.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::apply::head_of;
use super::command::{
    Command, CompleteStep, Completion, IdempotencyScope, ParentStep, RecordExecution, Request,
    StartExecution, StartStep,
};
use super::span_needs::{Compared, judged_early, late_samples, settling_samples};
use super::working_set::{ExecutionHead, StepKey, WorkingSet};
use crate::attributes::Attributes;
use crate::cohort::{BaselineKey, Cohort, CohortSpec};
use crate::detect::Policy;
use crate::event::EventId;
use crate::execution::ExecutionStatus;
use crate::ids::ExecutionId;
use crate::name::{StepName, WorkflowName};
use crate::step::{StepStatus, StepTimes};
use crate::time::Timestamp;

/// How an execution's row is held until the batch commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lock {
    /// Not at all: it is only looked up.
    Look,
    /// Against every other batch: it may end, or turn worse with one of its steps.
    Update,
}

/// What can be named from the commands alone.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct FirstNeeds {
    /// Idempotency keys, to be claimed.
    pub idempotency: BTreeSet<IdempotencyScope>,
    /// Executions, and how to lock them.
    pub executions: BTreeMap<ExecutionId, Lock>,
    /// Steps, to be locked.
    pub steps: BTreeSet<StepKey>,
    /// Executions whose [`super::Closing`] is needed.
    pub closings: BTreeSet<ExecutionId>,
    /// Executions whose [`super::Activity`] is needed, as it is when they are locked.
    pub activities: BTreeSet<ExecutionId>,
    /// Executions whose steps are needed that wait to enter their histories (`by_trace`) or run.
    pub waiting: BTreeSet<ExecutionId>,
    /// Events to be recorded: whether they are, and how many there are, as it is when the execution is locked.
    pub events: BTreeSet<(ExecutionId, EventId)>,
}

impl FirstNeeds {
    /// Returns what these commands need.
    #[must_use]
    pub fn of<'a>(requests: impl IntoIterator<Item = &'a Request>) -> Self {
        let mut needs = Self::default();
        for request in requests {
            needs.add(request);
        }
        needs
    }

    fn add(&mut self, request: &Request) {
        self.idempotency.extend(request.idempotency.map(|idempotency| idempotency.scope));
        match &request.command {
            Command::StartExecution(start) => {
                // Its own id too: a batch whose COMMIT was in doubt is replayed.
                self.lock(start.id, Lock::Look);
                start.parent.into_iter().for_each(|parent| self.lock(parent, Lock::Look));
            }
            Command::StartStep(start) => {
                self.lock(start.execution, Lock::Update);
                self.steps.insert((start.execution, start.id));
                if let Some(ParentStep::Named(parent)) = start.parent {
                    self.steps.insert((start.execution, parent));
                }
            }
            Command::CompleteStep(complete) => {
                self.lock(complete.execution, Lock::Update);
                self.steps.insert((complete.execution, complete.id));
            }
            Command::EndExecution(end) => {
                self.lock(end.id, Lock::Update);
                self.closings.insert(end.id);
            }
            Command::RecordExecution(record) => {
                self.lock(record.start.id, Lock::Update);
                record.start.parent.into_iter().for_each(|parent| self.lock(parent, Lock::Look));
                self.closings.insert(record.start.id);
            }
            Command::JudgeStep(judge) => {
                self.lock(judge.execution, Lock::Update);
                self.steps.insert((judge.execution, judge.id));
            }
            Command::JudgeExecution(judge) => {
                self.lock(judge.id, Lock::Update);
                self.activities.insert(judge.id);
            }
            Command::RecordSpans(record) => {
                for trace in &record.traces {
                    self.lock(trace.id, Lock::Update);
                    self.steps.extend(trace.spans.iter().map(|span| (trace.id, span.id)));
                }
            }
            Command::SettleTrace(look) => {
                self.lock(look.id, Lock::Update);
                self.waiting.insert(look.id);
            }
            Command::RecordEvent(event) => {
                self.lock(event.execution, Lock::Update);
                self.events.insert((event.execution, event.id));
                self.steps.extend(event.step.map(|step| (event.execution, step)));
            }
            Command::Rebaseline(_)
            | Command::TendIncident(_)
            | Command::Signal(_)
            | Command::ChangeIncident(_) => {}
        }
    }

    fn lock(&mut self, id: ExecutionId, lock: Lock) {
        let held = self.executions.entry(id).or_insert(lock);
        *held = lock.max(*held);
    }
}

/// Why the history under a key is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryNeed {
    /// The workflow.
    pub workflow: WorkflowName,
    /// The step; none for the workflow's executions as wholes.
    pub step: Option<StepName>,
    /// What of the step's history; all of it if empty.
    pub cohort: Cohort,
    /// Whether to make it where it does not exist (and, for a step, its workflow has room).
    pub create: bool,
    /// Whether it will change, so that its row must be locked.
    pub lock: bool,
}

impl HistoryNeed {
    /// Returns the key of the history that a cohort is a part of; none for what is no cohort.
    #[must_use]
    pub fn whole(&self) -> Option<BaselineKey> {
        let step = self.step.as_ref().filter(|_| !self.cohort.is_whole());
        step.map(|step| BaselineKey::of_step(&self.workflow, step, &Cohort::default()))
    }
}

/// The histories that a batch needs, by key.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct HistoryNeeds(pub BTreeMap<BaselineKey, HistoryNeed>);

impl HistoryNeeds {
    /// Returns what these commands need, given the executions and steps loaded for them.
    #[must_use]
    pub fn of<'a>(
        policy: &Policy,
        requests: impl IntoIterator<Item = &'a Request>,
        set: &WorkingSet,
    ) -> Self {
        let mut needs = Self::default();
        for request in requests {
            needs.add(policy, request, set);
        }
        needs
    }

    fn add(&mut self, policy: &Policy, request: &Request, set: &WorkingSet) {
        for sample in samples(policy, request, set) {
            self.need(&sample.workflow, sample.step.as_ref(), sample.cohort, true, true);
        }
        if set.kept_answer(request).is_some() {
            return;
        }
        match &request.command {
            // A workflow is known from its first execution on, and counted without being locked.
            Command::StartExecution(start)
                if !set.executions.contains_key(&start.id) && is_known(start.parent, set) =>
            {
                self.need(&start.workflow, None, None, true, false);
            }
            Command::StartStep(start) if start.completion.is_none() => {
                if let Some(execution) = set.executions.get(&start.execution) {
                    let cohort = cohort_of(policy, execution, &start.name, &[&start.attributes]);
                    self.need(&execution.workflow, Some(&start.name), cohort, false, false);
                }
            }
            Command::Rebaseline(step) => self.need(&step.workflow, Some(&step.step), None, false, true),
            // What is looked at is judged, and learnt nothing from. Whether it is due must not count here:
            // another replica may have looked since this one foresaw what it would need.
            Command::JudgeStep(judge) => {
                let step = set.steps.get(&(judge.execution, judge.id));
                if let (Some(execution), Some(step)) = (set.executions.get(&judge.execution), step) {
                    let cohort = cohort_of(policy, execution, &step.name, &[&step.attributes]);
                    self.need(&execution.workflow, Some(&step.name), cohort, false, false);
                }
            }
            Command::JudgeExecution(judge) => {
                if let Some(execution) = set.executions.get(&judge.id) {
                    self.need(&execution.workflow, None, None, false, false);
                }
            }
            // Whether it may resolve is in the row of its history.
            Command::TendIncident(tend) => {
                let cause = &tend.cause;
                let cohort = Some(cause.cohort.clone()).filter(|cohort| !cohort.is_whole());
                self.need(&cause.workflow, cause.step.as_ref(), cohort, false, false);
            }
            // What is too long opens an incident, which is marked in the row of the history.
            Command::RecordSpans(record) => {
                for compared in judged_early(policy, record, set) {
                    let Compared { workflow, step, cohort } = compared;
                    self.need(&workflow, Some(&step), cohort, false, true);
                }
            }
            Command::StartExecution(_)
            | Command::StartStep(_)
            | Command::CompleteStep(_)
            | Command::EndExecution(_)
            | Command::RecordExecution(_)
            | Command::SettleTrace(_)
            | Command::RecordEvent(_)
            | Command::Signal(_)
            | Command::ChangeIncident(_) => {}
        }
    }

    /// Returns whether `others` hold all of these, and lock what is to be locked.
    #[must_use]
    pub fn are_among(&self, others: &Self) -> bool {
        self.0.iter().all(|(key, need)| others.0.get(key).is_some_and(|other| other.lock >= need.lock))
    }

    /// Needs the history of a step, and that of its cohort if it has one.
    fn need(
        &mut self,
        workflow: &WorkflowName,
        step: Option<&StepName>,
        cohort: Option<Cohort>,
        create: bool,
        lock: bool,
    ) {
        for cohort in [Some(Cohort::default()), cohort].into_iter().flatten() {
            let need = self.0.entry(key_in(workflow, step, &cohort)).or_insert_with(|| HistoryNeed {
                workflow: workflow.clone(),
                step: step.cloned(),
                cohort,
                create: false,
                lock: false,
            });
            need.create |= create;
            need.lock |= lock;
        }
    }
}

/// Returns the keys whose closed segments are needed: those of a day other than the current one.
#[must_use]
pub fn segment_needs<'a>(
    policy: &Policy,
    requests: impl IntoIterator<Item = &'a Request>,
    set: &WorkingSet,
) -> BTreeSet<BaselineKey> {
    let needs_segments = |key: &BaselineKey, at: Timestamp| {
        set.histories.get(key).is_some_and(|history| history.baseline.needs_segments(at))
    };
    let samples = requests.into_iter().flat_map(|request| samples(policy, request, set));
    let keys = samples.flat_map(|sample| sample.keys().map(move |key| (key, sample.at)));
    keys.filter(|(key, at)| needs_segments(key, *at)).map(|(key, _)| key).collect()
}

pub(super) fn key_of(workflow: &WorkflowName, step: Option<&StepName>) -> BaselineKey {
    key_in(workflow, step, &Cohort::default())
}

pub(super) fn key_in(workflow: &WorkflowName, step: Option<&StepName>, cohort: &Cohort) -> BaselineKey {
    match step {
        Some(step) => BaselineKey::of_step(workflow, step, cohort),
        None => BaselineKey::of_workflow(workflow),
    }
}

/// Returns the cohort of a step that is given these attributes one after the other, if its setting names
/// one and the step has what that needs.
pub(super) fn cohort_of(
    policy: &Policy,
    execution: &ExecutionHead,
    step: &StepName,
    attributes: &[&Attributes],
) -> Option<Cohort> {
    let plan = policy.of_step(&execution.workflow, step);
    let CohortSpec::Given(_) = &plan.cohort else { return None };
    let features = attributes.iter().fold(execution.features.clone(), |all, more| all.with(more));
    plan.cohort.cohort(&features)
}

/// Something that will enter, or be counted in, a history.
pub(super) struct Sample {
    pub(super) workflow: WorkflowName,
    pub(super) step: Option<StepName>,
    pub(super) cohort: Option<Cohort>,
    pub(super) at: Timestamp,
}

impl Sample {
    /// Returns the keys of the histories that it enters.
    fn keys(&self) -> impl Iterator<Item = BaselineKey> + use<> {
        let whole = key_of(&self.workflow, self.step.as_ref());
        let of_cohort = self.cohort.as_ref().map(|cohort| key_in(&self.workflow, self.step.as_ref(), cohort));
        [Some(whole), of_cohort].into_iter().flatten()
    }
}

/// Returns the samples that a command will bring: none if it will be refused or was carried out
/// before, so that what is refused makes no history. [`Claims`] sees to it that no command of the
/// same batch makes that another answer.
pub(super) fn samples(policy: &Policy, request: &Request, set: &WorkingSet) -> Vec<Sample> {
    if set.kept_answer(request).is_some() {
        return Vec::new();
    }
    let now = request.received_at;
    match &request.command {
        Command::StartStep(start) => whole_step_sample(policy, start, now, set).into_iter().collect(),
        Command::CompleteStep(complete) => {
            completion_sample(policy, complete, now, set).into_iter().collect()
        }
        Command::EndExecution(end) => {
            let running =
                set.executions.get(&end.id).filter(|execution| execution.status == ExecutionStatus::Running);
            let sample = running.and_then(|execution| {
                total_sample(&execution.workflow, execution.started_at, end.ended_at, now)
            });
            sample.into_iter().collect()
        }
        Command::RecordExecution(record) => execution_samples(policy, record, now, set),
        Command::RecordSpans(record) => late_samples(policy, record, now, set),
        Command::SettleTrace(look) => settling_samples(policy, *look, now, set),
        Command::StartExecution(_)
        | Command::Rebaseline(_)
        | Command::JudgeStep(_)
        | Command::JudgeExecution(_)
        | Command::TendIncident(_)
        | Command::RecordEvent(_)
        | Command::Signal(_)
        | Command::ChangeIncident(_) => Vec::new(),
    }
}

fn whole_step_sample(policy: &Policy, start: &StartStep, now: Timestamp, set: &WorkingSet) -> Option<Sample> {
    let completion = start.completion.as_ref()?;
    let orphan = match start.parent {
        Some(ParentStep::Named(parent)) => !set.steps.contains_key(&(start.execution, parent)),
        Some(ParentStep::Traced(_)) | None => false,
    };
    if orphan || set.steps.contains_key(&(start.execution, start.id)) {
        return None;
    }
    let times = StepTimes::resolve(start.started_at, completion.ended_at, completion.duration, now).ok()?;
    let at = sample_time(times.ended_at, now);
    step_sample(policy, start.execution, &start.name, &start.attributes, completion, at, set)
}

fn completion_sample(
    policy: &Policy,
    complete: &CompleteStep,
    now: Timestamp,
    set: &WorkingSet,
) -> Option<Sample> {
    let step = set.steps.get(&(complete.execution, complete.id))?;
    if step.status != StepStatus::Running {
        return None;
    }
    let completion = &complete.completion;
    let times = StepTimes::ending(step.started_at, completion.ended_at, completion.duration, now).ok()?;
    let at = sample_time(times.ended_at, now);
    step_sample(policy, complete.execution, &step.name, &step.attributes, completion, at, set)
}

fn step_sample(
    policy: &Policy,
    execution: ExecutionId,
    step: &StepName,
    attributes: &Attributes,
    completion: &Completion,
    at: Timestamp,
    set: &WorkingSet,
) -> Option<Sample> {
    let execution = set.executions.get(&execution)?;
    if execution.status != ExecutionStatus::Running || !completion.status.is_judged() {
        return None;
    }
    if !completion.attributes.is_empty() && !attributes.is_empty() {
        attributes.clone().merge(&completion.attributes).ok()?;
    }
    let cohort = cohort_of(policy, execution, step, &[attributes, &completion.attributes]);
    Some(Sample { workflow: execution.workflow.clone(), step: Some(step.clone()), cohort, at })
}

pub(super) fn total_sample(
    workflow: &WorkflowName,
    started_at: Timestamp,
    ended_at: Option<Timestamp>,
    now: Timestamp,
) -> Option<Sample> {
    let times = StepTimes::ending(started_at, ended_at, None, now).ok()?;
    let at = sample_time(times.ended_at, now);
    Some(Sample { workflow: workflow.clone(), step: None, cohort: None, at })
}

fn execution_samples(
    policy: &Policy,
    record: &RecordExecution,
    now: Timestamp,
    set: &WorkingSet,
) -> Vec<Sample> {
    let start = &record.start;
    if set.executions.contains_key(&start.id) || !is_known(start.parent, set) {
        return Vec::new();
    }
    let Some(total) = total_sample(&start.workflow, start.started_at, record.end.ended_at, now) else {
        return Vec::new();
    };
    let head = head_of(start, now, None);
    let steps = record.steps.iter().filter(|step| step.status.is_judged()).map(|step| Sample {
        workflow: start.workflow.clone(),
        step: Some(step.name.clone()),
        cohort: cohort_of(policy, &head, &step.name, &[&step.attributes]),
        at: sample_time(step.times.ended_at, now),
    });
    steps.chain([total]).collect()
}

/// Returns whether an execution's parent, if it names one, is known.
fn is_known(parent: Option<ExecutionId>, set: &WorkingSet) -> bool {
    parent.is_none_or(|parent| set.executions.contains_key(&parent))
}

/// Returns when a sample counts as taken: at its end, but never in the future, where it would open a
/// day that the present has yet to reach.
pub(super) fn sample_time(ended_at: Timestamp, now: Timestamp) -> Timestamp {
    ended_at.min(now)
}

/// What the commands of one batch hold, so that no two of them change the same row.
///
/// One command per step and per idempotency key, none beside one that ends its execution or judges its
/// silence, and none beside one that makes its named parent: the rest waits for the next batch, where it finds what the
/// first one left.
#[derive(Debug, Default)]
pub struct Claims {
    idempotency: HashSet<IdempotencyScope>,
    steps: HashSet<StepKey>,
    used: HashSet<ExecutionId>,
    ending: HashSet<ExecutionId>,
}

impl Claims {
    /// Claims what a command changes; returns whether it may join the batch.
    pub fn admit(&mut self, request: &Request) -> bool {
        if request.idempotency.is_some_and(|idempotency| self.idempotency.contains(&idempotency.scope)) {
            return false;
        }
        let admitted = match &request.command {
            Command::StartStep(start) => {
                let waits = match start.parent {
                    Some(ParentStep::Named(parent)) => self.steps.contains(&(start.execution, parent)),
                    // A traced parent need not be known: a whole export shares a batch.
                    Some(ParentStep::Traced(_)) | None => false,
                };
                !waits && self.admit_step((start.execution, start.id))
            }
            Command::CompleteStep(complete) => self.admit_step((complete.execution, complete.id)),
            Command::EndExecution(end) => self.admit_ending(end.id),
            Command::RecordExecution(record) => self.admit_start(&record.start),
            Command::StartExecution(start) => self.admit_start(start),
            Command::JudgeStep(judge) => self.admit_step((judge.execution, judge.id)),
            Command::RecordEvent(event) => self.admit_event(event.execution),
            // Nothing must be written to the execution whose silence is judged.
            Command::JudgeExecution(judge) => self.admit_ending(judge.id),
            Command::RecordSpans(record) => {
                let ids = || record.traces.iter().map(|trace| trace.id);
                let free = ids().all(|id| !self.used.contains(&id) && !self.ending.contains(&id));
                if free {
                    self.ending.extend(ids());
                }
                free
            }
            Command::SettleTrace(look) => self.admit_ending(look.id),
            Command::Rebaseline(_)
            | Command::TendIncident(_)
            | Command::Signal(_)
            | Command::ChangeIncident(_) => true,
        };
        if admitted {
            self.idempotency.extend(request.idempotency.map(|idempotency| idempotency.scope));
        }
        admitted
    }

    fn admit_step(&mut self, key: StepKey) -> bool {
        if self.ending.contains(&key.0) || !self.steps.insert(key) {
            return false;
        }
        self.used.insert(key.0);
        true
    }

    fn admit_event(&mut self, execution: ExecutionId) -> bool {
        let admitted = !self.ending.contains(&execution);
        if admitted {
            self.used.insert(execution);
        }
        admitted
    }

    fn admit_start(&mut self, start: &StartExecution) -> bool {
        !start.parent.is_some_and(|parent| self.ending.contains(&parent)) && self.admit_ending(start.id)
    }

    fn admit_ending(&mut self, id: ExecutionId) -> bool {
        !self.used.contains(&id) && self.ending.insert(id)
    }
}
