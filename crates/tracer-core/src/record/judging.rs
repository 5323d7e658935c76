//! How a step that ends is judged, and what its histories learn from it.
//!
//! Invariant: a step is judged by its histories as they were before it, and never by itself.
//! Not here: what it is compared with (`detect`), and what a history makes of a sample (`baseline`).

use super::alerting::{self, EndedStep, Telling, Told};
use super::command::Completion;
use super::failures::{Failed, note_failure};
use super::needs::{key_of, sample_time};
use super::working_set::WorkingSet;
use crate::baseline::{Ending, Explained, Learned, Sample, Segment, ShiftRule};
use crate::cohort::{BaselineKey, Cohort, CohortSpec};
use crate::detect::{
    Bottleneck, ComparedWith, Comparison, Histories, Policy, Regression, Severity, StepPolicy,
};
use crate::failure::Failure;
use crate::features::Features;
use crate::ids::ExecutionId;
use crate::name::{StepName, WorkflowName};
use crate::step::{Step, StepStatus, StepTimes};
use crate::time::{Micros, Timestamp};

/// Returns what may explain how long a step takes: its own attributes, and its execution's.
pub(super) fn features_of(step: &Step, set: &WorkingSet) -> Features {
    let of_execution = set.executions.get(&step.execution).map(|execution| &execution.features);
    of_execution.map_or_else(|| Features::default().with(&step.attributes), |own| own.with(&step.attributes))
}

/// Where a step's histories are.
pub(super) struct Known {
    whole: BaselineKey,
    cohort: Option<(Cohort, BaselineKey)>,
}

impl Known {
    pub(super) fn find(
        plan: &StepPolicy,
        workflow: &WorkflowName,
        step: &StepName,
        features: &Features,
        set: &WorkingSet,
    ) -> Self {
        let cohort = plan.cohort.cohort(features).map(|cohort| {
            let key = BaselineKey::of_step(workflow, step, &cohort);
            (cohort, key)
        });
        // Beyond the bound on cohorts a step is compared with all of its history.
        let kept = |(_, key): &(Cohort, BaselineKey)| set.histories.contains_key(key);
        Self { whole: key_of(workflow, Some(step)), cohort: cohort.filter(kept) }
    }

    fn keys(&self) -> impl Iterator<Item = BaselineKey> + use<> {
        [Some(self.whole), self.cohort.as_ref().map(|(_, key)| *key)].into_iter().flatten()
    }

    pub(super) fn histories<'a>(
        &'a self,
        set: &'a WorkingSet,
        began: Option<Timestamp>,
    ) -> Option<Histories<'a>> {
        let baseline = |key: &BaselineKey| set.histories.get(key).map(|history| &history.baseline);
        let cohort = self.cohort.as_ref().and_then(|(cohort, key)| Some((cohort, baseline(key)?)));
        Some(Histories { whole: baseline(&self.whole)?, cohort, began })
    }
}

/// How a step ends.
pub(super) struct Finish<'a> {
    pub(super) status: StepStatus,
    pub(super) times: StepTimes,
    /// When it was started, where it was seen to run.
    pub(super) began: Option<Timestamp>,
    pub(super) failure: Option<&'a Failure>,
    pub(super) telling: Telling,
}

impl<'a> Finish<'a> {
    pub(super) fn of(completion: &'a Completion, times: StepTimes, began: Option<Timestamp>) -> Self {
        let failure = completion.failure.as_ref();
        Self { status: completion.status, times, began, failure, telling: Telling::REAL }
    }
}

/// What came of the end of a step, besides its verdict.
#[derive(Default)]
pub(super) struct Judged {
    /// A lasting slowdown that it makes certain.
    pub(super) regression: Option<Regression>,
    /// The average that it was compared with.
    pub(super) compared_with: Option<Micros>,
}

/// Ends a step: judges it, and lets it enter its history.
pub(super) fn finish(
    policy: &Policy,
    workflow: &WorkflowName,
    step: &mut Step,
    finish: Finish<'_>,
    now: Timestamp,
    set: &mut WorkingSet,
) -> Judged {
    step.status = finish.status;
    step.ended_at = Some(finish.times.ended_at);
    step.duration = Some(finish.times.duration);
    step.failure = finish.failure.cloned();
    step.judge_at = None;
    step.changed_at = now;
    let mut judged = Judged::default();
    let told = Told { in_flight: alerting::freed(policy, step.incident, now, set), early: false };
    if step.status.is_judged() {
        (step.bottleneck, judged) = judge_and_learn(policy, workflow, step, &finish, told, now, set);
    }
    if let Some(bottleneck) = &step.bottleneck {
        worsen(step.execution, bottleneck.severity, set);
    }
    if step.status == StepStatus::Failed {
        let (failure, ended_at) = (step.failure.as_ref(), finish.times.ended_at);
        let failed = Failed { execution: step.execution, step: Some(step.id), failure, ended_at };
        note_failure(set, &failed, now);
    }
    judged
}

/// Notes a verdict on the execution, so that it is found by it while it still runs.
pub(super) fn worsen(id: ExecutionId, severity: Severity, set: &mut WorkingSet) {
    let Some(head) = set.executions.get_mut(&id).filter(|head| head.worst < Some(severity)) else { return };
    head.worst = Some(severity);
    match set.new_executions.get_mut(&id) {
        Some(row) => row.worst = Some(severity),
        None => {
            set.worsened_executions.insert(id, severity);
        }
    }
}

/// A step that ended, compared with its histories as they are before they learn from it.
pub(super) struct Examined {
    known: Known,
    features: Features,
    found: Found,
    /// What its histories are to learn; none if it only counts.
    lesson: Option<Lesson>,
}

/// What was found of a step that ended.
#[derive(Default)]
struct Found {
    verdict: Option<Bottleneck>,
    /// The average that it was compared with.
    average: Option<Micros>,
    /// The limit that it crossed.
    over: Option<Micros>,
    by_cohort: bool,
    /// What it was compared with, in the words of the answer.
    told: Option<Cohort>,
}

/// A duration that enters histories, and how it lay in them.
struct Lesson {
    duration: Micros,
    explained: Option<Explained>,
    expected: Option<Micros>,
    rule: ShiftRule,
    /// Whether it was compared with its like, and so is a witness of a shift.
    like: bool,
}

impl Examined {
    /// Returns the verdict, if it took too long.
    pub(super) fn verdict(&self) -> Option<&Bottleneck> {
        self.found.verdict.as_ref()
    }

    /// Returns the average that it was compared with.
    pub(super) fn compared_with(&self) -> Option<Micros> {
        self.found.average
    }
}

/// Judges a step by the history as it was before it, then adds it, and lets the incidents know.
fn judge_and_learn(
    policy: &Policy,
    workflow: &WorkflowName,
    step: &Step,
    finish: &Finish<'_>,
    told: Told,
    now: Timestamp,
    set: &mut WorkingSet,
) -> (Option<Bottleneck>, Judged) {
    // Beyond the bound on step names a step has no history: it is recorded, and not judged.
    let Some(examined) = examine(policy, workflow, step, finish, set) else {
        return (None, Judged::default());
    };
    let regression = absorb(policy, workflow, step, finish, &examined, told, now, set);
    let compared_with = examined.compared_with();
    (examined.found.verdict, Judged { regression, compared_with })
}

/// Compares a step that ended with its histories; none if it has none. One that is no sample is neither judged
/// nor averaged: only its ending is counted.
pub(super) fn examine(
    policy: &Policy,
    workflow: &WorkflowName,
    step: &Step,
    finish: &Finish<'_>,
    set: &WorkingSet,
) -> Option<Examined> {
    let plan = policy.of_step(workflow, &step.name);
    let features = features_of(step, set);
    let known = Known::find(plan, workflow, &step.name, &features, set);
    let histories = known.histories(set, finish.began)?;
    let Some(duration) = finish.times.sample() else {
        return Some(Examined { known, features, found: Found::default(), lesson: None });
    };
    let comparison = plan.compare(histories, &features);
    let verdict = comparison.as_ref().and_then(|comparison| comparison.judge(duration, &features, false));
    let by_cohort = comparison.as_ref().is_some_and(|found| matches!(found.with, ComparedWith::Cohort(_)));
    let average = comparison.as_ref().map(|comparison| Micros::from_f64(comparison.reference.mean_us));
    if finish.status != StepStatus::Completed {
        let found = Found { verdict, average, by_cohort, ..Found::default() };
        return Some(Examined { known, features, found, lesson: None });
    }
    let over = verdict.as_ref().and(comparison.as_ref()).map(|comparison| comparison.limits.warning);
    let explained = comparison.as_ref().and_then(Comparison::explained);
    let expected = comparison.as_ref().map(|comparison| comparison.reference.p50);
    let told = comparison.as_ref().map(|comparison| comparison.cohort(&features));
    // A run is a witness of a shift where it was compared with its like.
    let like = match plan.cohort {
        CohortSpec::Whole => true,
        CohortSpec::Auto => explained.is_some() || !histories.whole.explains(&features),
        CohortSpec::Given(_) => known.cohort.is_none(),
    };
    let rule = ShiftRule { confirmation: plan.confirmation, least: plan.min_shift };
    let lesson = Lesson { duration, explained, expected, rule, like };
    let found = Found { verdict, average, over, by_cohort, told };
    Some(Examined { known, features, found, lesson: Some(lesson) })
}

/// Lets the histories learn from a step that was examined, and the incidents know of it. Returns a lasting
/// slowdown that it makes certain.
#[expect(clippy::too_many_arguments, reason = "what ended, what was found, and where it goes")]
pub(super) fn absorb(
    policy: &Policy,
    workflow: &WorkflowName,
    step: &Step,
    finish: &Finish<'_>,
    examined: &Examined,
    told: Told,
    now: Timestamp,
    set: &mut WorkingSet,
) -> Option<Regression> {
    let Examined { known, features, found, lesson } = examined;
    let at = sample_time(finish.times.ended_at, now);
    let regression = if let Some(lesson) = lesson {
        let Lesson { duration, explained, expected, rule, like } = *lesson;
        let shifts = like.then_some(rule);
        let sample = Sample { at, duration, over: found.over, explained, expected, features, shifts };
        learn_all(set, known, &sample, found, rule)
    } else {
        count(set, known, at, finish.status);
        None
    };
    if finish.telling.may_alarm(finish.times.ended_at, now) {
        let ended = EndedStep {
            workflow,
            step: &step.name,
            at: (step.execution, step.id),
            completed: finish.status == StepStatus::Completed,
            verdict: found.verdict.as_ref(),
            regression: regression.as_ref(),
            cohort: known.cohort.as_ref().map(|(cohort, _)| cohort),
            by_cohort: found.by_cohort,
            told,
        };
        alerting::step_ended(policy.alerting(), &ended, finish.telling, now, set);
    }
    regression
}

/// Judges a step whose end enters its histories later, with its whole trace: what is too long is told at once.
pub(super) fn judge_early(
    policy: &Policy,
    workflow: &WorkflowName,
    step: &mut Step,
    finish: &Finish<'_>,
    in_flight: bool,
    now: Timestamp,
    set: &mut WorkingSet,
) {
    let examined = examine(policy, workflow, step, finish, set);
    let Some((examined, verdict)) = examined.as_ref().and_then(|found| Some((found, found.verdict()?)))
    else {
        step.bottleneck = None;
        return;
    };
    step.bottleneck = Some(verdict.clone());
    worsen(step.execution, verdict.severity, set);
    if finish.telling.may_alarm(finish.times.ended_at, now) {
        let cohort = examined.known.cohort.as_ref().filter(|_| examined.found.by_cohort);
        let (cohort, key) = cohort.cloned().unwrap_or((Cohort::default(), examined.known.whole));
        let of = alerting::Slow { workflow, step: &step.name, cohort, at: (step.execution, step.id) };
        alerting::slow_before_learnt(policy.alerting(), of, verdict, in_flight, finish.telling, now, set);
        write_history(set, key, None);
    }
}

/// Lets the whole history learn, and that of the cohort if the step has one.
fn learn_all(
    set: &mut WorkingSet,
    known: &Known,
    sample: &Sample<'_>,
    found: &Found,
    rule: ShiftRule,
) -> Option<Regression> {
    if let Some((_, key)) = &known.cohort
        && let Some(mut cohort) = set.histories.remove(key)
    {
        // As it was when it was judged.
        if let Some(whole) = set.histories.get(&known.whole) {
            cohort.baseline.follow(&whole.baseline);
        }
        set.histories.insert(*key, cohort);
    }
    let of_whole = learn(set, known.whole, sample, found.told.as_ref());
    let Some((_, key)) = &known.cohort else { return of_whole };
    // What the whole step judged may be normal for its cohort, which has a level of its own to learn.
    let over = found.over.filter(|_| found.by_cohort);
    let shifts = found.by_cohort.then_some(rule);
    let of_cohort = Sample { over, explained: None, shifts, ..*sample };
    learn(set, *key, &of_cohort, found.told.as_ref()).or(of_whole)
}

fn learn(
    set: &mut WorkingSet,
    key: BaselineKey,
    sample: &Sample<'_>,
    cohort: Option<&Cohort>,
) -> Option<Regression> {
    let history = set.histories.get_mut(&key)?;
    let Learned { closed, shift } = history.baseline.learn(sample, &mut history.segments);
    let regression = shift.map(|shift| Regression::new(shift, cohort.cloned().unwrap_or_default()));
    write_history(set, key, closed);
    regression
}

/// Counts an ending that enters no average.
fn count(set: &mut WorkingSet, known: &Known, at: Timestamp, status: StepStatus) {
    let ending = if status == StepStatus::Completed { Ending::Completed } else { Ending::Failed };
    for key in known.keys() {
        let Some(history) = set.histories.get_mut(&key) else { continue };
        let closed = history.baseline.count(at, ending, &mut history.segments);
        write_history(set, key, closed);
    }
}

pub(super) fn write_history(set: &mut WorkingSet, key: BaselineKey, closed: Option<Segment>) {
    set.written_histories.insert(key, ());
    set.written_segments.extend(closed.map(|segment| ((key, segment.day), segment)));
}
