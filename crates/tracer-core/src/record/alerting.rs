//! What findings mean for incidents, within the transaction that stores them.
//!
//! Invariants: an incident changes only together with what it was found by; what is told of it is in the outbox
//! of the same transaction. Work that is told of long after it ended changes no incident.
//! Not here: how an incident lives (`incident`), and what is found (`judging`, `watch`).

use super::apply::{fresh, repeated};
use super::changes;
use super::command::{ChangeIncident, IncidentChange, TendIncident};
use super::needs::key_in;
use super::outcome::{Answer, Outcome, Refusal};
use super::working_set::{WorkingSet, Written};
use crate::cohort::Cohort;
use crate::detect::{Bottleneck, Policy, Regression};
use crate::ids::{ExecutionId, StepId};
use crate::incident::{
    Cause, Event, Evidence, Finding, HistoryEntry, Incident, IncidentId, IncidentKind, IncidentState,
    ResolvedBy, Transition,
};
use crate::limits;
use crate::name::{StepName, WorkflowName};
use crate::routing::Alerting;
use crate::time::{Micros, Timestamp};

/// What a command is recorded for: with whom it may alarm.
#[derive(Clone, Copy, Debug)]
pub(super) struct Telling {
    /// Whether people may be told at all.
    pub(super) alerts: bool,
    /// Whether what is recorded was invented.
    pub(super) simulated: bool,
}

impl Telling {
    /// What clients tell of their work.
    pub(super) const REAL: Self = Self { alerts: true, simulated: false };

    /// Returns whether what ended then may alarm anybody now: whoever tells of it much later is importing.
    pub(super) fn may_alarm(self, ended_at: Timestamp, now: Timestamp) -> bool {
        self.alerts && now.since(ended_at) <= Micros::from_secs(limits::OLD_WORK_MINUTES * 60)
    }
}

/// A step that has ended, and what was found of it.
pub(super) struct EndedStep<'a> {
    pub(super) workflow: &'a WorkflowName,
    pub(super) step: &'a StepName,
    pub(super) at: (ExecutionId, StepId),
    pub(super) completed: bool,
    pub(super) verdict: Option<&'a Bottleneck>,
    pub(super) regression: Option<&'a Regression>,
    /// The cohort that a setting names, where it has a history.
    pub(super) cohort: Option<&'a Cohort>,
    /// Whether it was judged by the history of that cohort.
    pub(super) by_cohort: bool,
    /// What people were told of it before.
    pub(super) told: Told,
}

/// What people were told of a step before its end enters its histories.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Told {
    /// That it was stuck, while it ran.
    pub(super) in_flight: bool,
    /// That it was slow, when it came as a span of a trace that goes on.
    pub(super) early: bool,
}

/// A step that is slow, and whose histories learn of it later.
pub(super) struct Slow<'a> {
    pub(super) workflow: &'a WorkflowName,
    pub(super) step: &'a StepName,
    /// The cohort that it was judged by.
    pub(super) cohort: Cohort,
    pub(super) at: (ExecutionId, StepId),
}

/// Brings a step that is slow to its incident before its histories learn of it.
pub(super) fn slow_before_learnt(
    alerting: &Alerting,
    slow: Slow<'_>,
    verdict: &Bottleneck,
    told_in_flight: bool,
    telling: Telling,
    now: Timestamp,
    set: &mut WorkingSet,
) {
    let (kind, step) = (IncidentKind::SlowStep, Some(slow.step.clone()));
    let cause = Cause { kind, workflow: slow.workflow.clone(), step, cohort: slow.cohort };
    let finding = Finding::TooLong(verdict.clone());
    let evidence = Evidence { execution: Some(slow.at.0), step: Some(slow.at.1), finding };
    find(alerting, cause, Found::at_end(evidence, told_in_flight, telling), now, set);
}

/// Lets the incidents of a step know how it ended.
pub(super) fn step_ended(
    alerting: &Alerting,
    ended: &EndedStep<'_>,
    telling: Telling,
    now: Timestamp,
    set: &mut WorkingSet,
) {
    let whole = Cohort::default();
    let judged_by = ended.cohort.filter(|_| ended.by_cohort).unwrap_or(&whole);
    for cohort in [Some(&whole), ended.cohort].into_iter().flatten() {
        let key = key_in(ended.workflow, Some(ended.step), cohort);
        let Some(history) = set.histories.get_mut(&key) else { continue };
        match ended.verdict {
            Some(_) if cohort == judged_by => history.alarm.completed(false),
            None if ended.completed => history.alarm.completed(true),
            Some(_) | None => {}
        }
    }
    let cause = |kind, cohort: &Cohort| Cause {
        kind,
        workflow: ended.workflow.clone(),
        step: Some(ended.step.clone()),
        cohort: cohort.clone(),
    };
    let evidence = |finding| Evidence { execution: Some(ended.at.0), step: Some(ended.at.1), finding };
    if let Some(verdict) = ended.verdict.filter(|_| !ended.told.early) {
        let found = Found::at_end(evidence(Finding::TooLong(verdict.clone())), ended.told.in_flight, telling);
        find(alerting, cause(IncidentKind::SlowStep, judged_by), found, now, set);
    }
    if let Some(regression) = ended.regression {
        // Whoever knows that it is slow need not hear of it a second time because it stays so.
        let slow = current(&cause(IncidentKind::SlowStep, judged_by), set);
        let is_known = slow.is_some_and(|slow| slow.told.is_some_and(|told| told.firing));
        let found = Found::at_end(evidence(Finding::Slower(regression.clone())), is_known, telling);
        find(alerting, cause(IncidentKind::Regression, judged_by), found, now, set);
    }
    for cohort in [Some(&whole), ended.cohort].into_iter().flatten() {
        calm_down(alerting, &cause(IncidentKind::SlowStep, cohort), now, set);
        calm_down(alerting, &cause(IncidentKind::Regression, cohort), now, set);
    }
    let at = (ended.at.0, Some(ended.at.1));
    count_end(alerting, cause(IncidentKind::FailureRate, &whole), at, !ended.completed, telling, now, set);
}

/// Lets the incidents of a workflow know how one of its executions ended.
pub(super) fn execution_ended(
    alerting: &Alerting,
    workflow: &WorkflowName,
    execution: ExecutionId,
    failed: bool,
    telling: Telling,
    now: Timestamp,
    set: &mut WorkingSet,
) {
    let cause = of_workflow(IncidentKind::FailureRate, workflow);
    count_end(alerting, cause, (execution, None), failed, telling, now, set);
}

/// Counts an end in the window of its history. An end that went well is no finding, however many failed before it.
fn count_end(
    alerting: &Alerting,
    cause: Cause,
    at: (ExecutionId, Option<StepId>),
    failed: bool,
    telling: Telling,
    now: Timestamp,
    set: &mut WorkingSet,
) {
    let rule = &alerting.plan.failures;
    let Some(history) = set.histories.get_mut(&key_in(&cause.workflow, cause.step.as_ref(), &cause.cohort))
    else {
        return;
    };
    history.alarm.failures.add(rule, failed, now);
    let rate = history.alarm.failures.judge(rule, history.baseline.failures());
    history.alarm.ended(rate.is_some());
    match rate.filter(|_| failed) {
        Some(rate) => {
            let found = Evidence { execution: Some(at.0), step: at.1, finding: Finding::Failing(rate) };
            find(alerting, cause, Found::at_end(found, false, telling), now, set);
        }
        None => calm_down(alerting, &cause, now, set),
    }
}

/// Ends what a new reference makes normal.
pub(super) fn rebaselined(
    alerting: &Alerting,
    workflow: &WorkflowName,
    step: &StepName,
    now: Timestamp,
    set: &mut WorkingSet,
) {
    for kind in [IncidentKind::SlowStep, IncidentKind::Regression] {
        let (step, cohort) = (Some(step.clone()), Cohort::default());
        let cause = Cause { kind, workflow: workflow.clone(), step, cohort };
        if let Some(mut incident) = current(&cause, set).cloned() {
            let event = incident.end(ResolvedBy::Rebaselined, now, &alerting.plan);
            change(alerting, incident, event, now, set);
        }
    }
}

/// Something that runs and has a verdict, or a worse one.
pub(super) struct Stuck {
    pub(super) cause: Cause,
    pub(super) evidence: Evidence,
    /// The incident that it belonged to.
    pub(super) before: Option<IncidentId>,
    /// Whether people know of it by another incident.
    pub(super) is_known: bool,
}

/// Brings what is stuck to its incident, and returns the one that it belongs to from now on.
pub(super) fn stuck(
    policy: &Policy,
    found: Stuck,
    now: Timestamp,
    set: &mut WorkingSet,
) -> Option<IncidentId> {
    let Stuck { cause, evidence, before, is_known } = found;
    // One that was let go meanwhile is history: what goes on belongs to the next one.
    let kept = before.filter(|id| set.incidents.get(id).is_some_and(|incident| incident.is_current));
    let is_new = kept.is_none();
    let found = Found { evidence, is_new, lasts: is_new, aside: is_known, simulated: false };
    Some(find(policy.alerting(), cause, found, now, set))
}

/// Returns whether people were last told that an incident fires.
pub(super) fn is_told(id: IncidentId, set: &WorkingSet) -> bool {
    set.incidents.get(&id).is_some_and(|incident| incident.told.is_some_and(|told| told.firing))
}

/// Something that was stuck is so no longer. Returns whether people had been told that it was, and of
/// nothing else since.
pub(super) fn freed(policy: &Policy, id: Option<IncidentId>, now: Timestamp, set: &mut WorkingSet) -> bool {
    let Some(mut incident) = id.and_then(|id| set.incidents.get(&id)).cloned() else { return false };
    let was_told = incident.told.is_some_and(|told| told.firing);
    let alerting = policy.alerting();
    let event = incident.ended(now, &alerting.plan);
    change(alerting, incident, event, now, set);
    was_told
}

/// Looks at an incident whose time has come.
pub(super) fn tend(policy: &Policy, tend: &TendIncident, now: Timestamp, set: &mut WorkingSet) -> Answer {
    let due = set.incidents.get(&tend.id).filter(|incident| incident.due_at.is_some_and(|at| at <= now));
    let Some(mut incident) = due.cloned() else { return repeated(Outcome::NothingNew) };
    let cause = &incident.cause;
    let history = set.histories.get(&key_in(&cause.workflow, cause.step.as_ref(), &cause.cohort));
    let streak = history.map_or(0, |history| history.alarm.streak(cause.kind));
    let alerting = policy.alerting();
    let event = incident.tend(streak, now, &alerting.plan);
    let id = change(alerting, incident, event, now, set);
    match set.incidents.get(&id).filter(|_| event.is_some()) {
        Some(incident) => fresh(Outcome::Incident(Box::new(incident.clone()))),
        None => repeated(Outcome::NothingNew),
    }
}

/// Changes an incident by hand.
pub(super) fn change_by_hand(
    policy: &Policy,
    wish: &ChangeIncident,
    now: Timestamp,
    set: &mut WorkingSet,
) -> Result<Answer, Refusal> {
    let mut incident = set.incidents.get(&wish.id).ok_or(Refusal::UnknownIncident)?.clone();
    if incident.state == IncidentState::Resolved && wish.change != IncidentChange::Resolve {
        return Err(Refusal::IncidentIsResolved);
    }
    let alerting = policy.alerting();
    let event = match wish.change {
        IncidentChange::Acknowledge => incident.acknowledge(wish.by.clone(), now, &alerting.plan),
        IncidentChange::Snooze(until) => incident.snooze(until, now, &alerting.plan),
        IncidentChange::Resolve => incident.end(ResolvedBy::Hand, now, &alerting.plan),
    };
    let Some(event) = event else { return Ok(repeated(Outcome::Incident(Box::new(incident)))) };
    let note = match wish.change {
        IncidentChange::Snooze(until) => Some(note_of_snooze(until, wish.by.as_deref())),
        IncidentChange::Acknowledge => wish.by.clone(),
        IncidentChange::Resolve => Some(note_by(ResolvedBy::Hand, wish.by.as_deref())),
    };
    let changed = incident.clone();
    write(alerting, incident, Some((event, note)), now, set);
    Ok(fresh(Outcome::Incident(Box::new(changed))))
}

/// Returns the cause that is about a workflow's executions as wholes.
pub(super) fn of_workflow(kind: IncidentKind, workflow: &WorkflowName) -> Cause {
    Cause { kind, workflow: workflow.clone(), step: None, cohort: Cohort::default() }
}

/// A finding on its way to its incident.
pub(super) struct Found {
    pub(super) evidence: Evidence,
    /// Whether it is not one that was counted before and has become worse.
    pub(super) is_new: bool,
    /// Whether what was found goes on, and did not before.
    pub(super) lasts: bool,
    /// Whether people are told of it otherwise.
    pub(super) aside: bool,
    pub(super) simulated: bool,
}

impl Found {
    fn at_end(evidence: Evidence, aside: bool, telling: Telling) -> Self {
        Self { evidence, is_new: true, lasts: false, aside, simulated: telling.simulated }
    }
}

/// Brings a finding to the incident of its cause, and opens one if there is none.
pub(super) fn find(
    alerting: &Alerting,
    cause: Cause,
    found: Found,
    now: Timestamp,
    set: &mut WorkingSet,
) -> IncidentId {
    let plan = &alerting.plan;
    let Found { evidence, is_new, lasts, aside, simulated } = found;
    if let Some(mut incident) = current(&cause, set).cloned() {
        incident.simulated &= simulated;
        let event = incident.gather(evidence, is_new, lasts, aside, now, plan);
        return change(alerting, incident, event, now, set);
    }
    let key = key_in(&cause.workflow, cause.step.as_ref(), &cause.cohort);
    if let Some(history) = set.histories.get_mut(&key) {
        history.alarm.mark(cause.kind);
    }
    let (incident, event) = Incident::open(cause, evidence, lasts, aside, simulated, now, plan);
    set.written_incidents.insert((incident.cause.fingerprint(), incident.id), Written::Insert);
    change(alerting, incident, Some(event), now, set)
}

/// Ends an incident whose cause has been normal for long enough, and forgets one that is history.
fn calm_down(alerting: &Alerting, cause: &Cause, now: Timestamp, set: &mut WorkingSet) {
    let key = key_in(&cause.workflow, cause.step.as_ref(), &cause.cohort);
    let Some(history) = set.histories.get(&key).filter(|history| history.alarm.is_marked(cause.kind)) else {
        return;
    };
    let (streak, is_shifted) = (history.alarm.streak(cause.kind), history.baseline.shift().is_some());
    let Some(mut incident) = current(cause, set).cloned() else {
        // As long as there is a current one it stays marked: a second one of its cause cannot be stored.
        if let Some(history) = set.histories.get_mut(&key) {
            history.alarm.unmark(cause.kind);
        }
        return;
    };
    let event = match cause.kind {
        // Over once the step is as fast as it was before.
        IncidentKind::Regression if is_shifted => None,
        IncidentKind::Regression => incident.end(ResolvedBy::Normal, now, &alerting.plan),
        IncidentKind::SlowStep
        | IncidentKind::StuckStep
        | IncidentKind::StalledExecution
        | IncidentKind::FailureRate
        | IncidentKind::SloBurn
        | IncidentKind::Alert => incident.calm_down(streak, now, &alerting.plan),
    };
    if event.is_some() {
        change(alerting, incident, event, now, set);
    }
}

pub(super) fn current<'a>(cause: &Cause, set: &'a WorkingSet) -> Option<&'a Incident> {
    // There are few: those that this batch loaded or opened.
    set.incidents.values().find(|incident| incident.is_current && incident.cause == *cause)
}

/// Writes an incident, what happened to it if anything did, and what is to be told of that.
pub(super) fn change(
    alerting: &Alerting,
    incident: Incident,
    event: Option<Event>,
    now: Timestamp,
    set: &mut WorkingSet,
) -> IncidentId {
    let note = |event: &Event| note_of(&incident, event.transition);
    let event = event.map(|event| (event, note(&event)));
    write(alerting, incident, event, now, set)
}

fn write(
    alerting: &Alerting,
    incident: Incident,
    event: Option<(Event, Option<String>)>,
    now: Timestamp,
    set: &mut WorkingSet,
) -> IncidentId {
    let id = incident.id;
    if let Some((event, note)) = event {
        changes::incident_changed(&incident, event.transition, note.as_deref(), now, set);
        let entry = HistoryEntry { at: now, what: event.transition.as_str().to_owned(), note };
        set.new_entries.push((id, entry));
        set.new_notifications.extend(alerting.notifications(&incident, event, now));
    }
    set.written_incidents.entry((incident.cause.fingerprint(), id)).or_insert(Written::Update);
    set.incidents.insert(id, incident);
    id
}

/// Returns what a line of the history says beside the transition.
fn note_of(incident: &Incident, transition: Transition) -> Option<String> {
    match transition {
        Transition::Opened | Transition::Worsened => Some(told_severity(incident)),
        Transition::Repeated | Transition::Reopened => {
            Some(format!("{}, seen {} times", told_severity(incident), incident.occurrences))
        }
        Transition::Resolved => incident.resolved.as_ref().map(|resolved| note_by(resolved.by, None)),
        Transition::Acknowledged | Transition::Snoozed => None,
    }
}

fn told_severity(incident: &Incident) -> String {
    let (severity, factor) = (incident.severity.as_str(), incident.worst.finding.factor());
    if factor > 0.0 { format!("{severity}, {factor} times") } else { severity.to_owned() }
}

fn note_by(reason: ResolvedBy, by: Option<&str>) -> String {
    by.map_or_else(|| reason.as_str().to_owned(), |by| format!("{}: {by}", reason.as_str()))
}

fn note_of_snooze(until: Timestamp, by: Option<&str>) -> String {
    by.map_or_else(|| format!("until {until}"), |by| format!("until {until}: {by}"))
}
