//! How an incident lives: minutes and findings in, what people are told out.

use super::*;
use crate::baseline::Reference;
use crate::detect::Bottleneck;
use crate::name::{StepName, WorkflowName};
use crate::time::Micros;

/// An incident on a clock of minutes.
struct Life {
    incident: Option<Incident>,
    kind: IncidentKind,
    plan: AlertPlan,
    told: Vec<String>,
}

fn minute(minutes: u64) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000) + Micros::from_secs(minutes * 60)
}

fn found(severity: Severity) -> Evidence {
    let factor = if severity == Severity::Critical { 5 } else { 2 };
    let verdict = Bottleneck::new(
        severity,
        Micros::from_secs(factor),
        &Reference::constant(Micros::from_secs(1), 30),
        false,
    );
    let execution = ExecutionId::from_u128(7).unwrap();
    Evidence { execution: Some(execution), step: None, finding: Finding::TooLong(verdict) }
}

impl Life {
    fn new(kind: IncidentKind) -> Self {
        Self { incident: None, kind, plan: AlertPlan::default(), told: Vec::new() }
    }

    fn note(&mut self, minutes: u64, event: Option<Event>) {
        let Some(event) = event else { return };
        let loudness = if event.loud { "" } else { ", silently" };
        self.told.push(format!("{minutes}: {}{loudness}", event.transition.as_str()));
    }

    /// A finding; of something that goes on if the kind is one of those.
    fn finds(&mut self, minutes: u64, severity: Severity) -> &mut Self {
        let lasts = matches!(self.kind, IncidentKind::StuckStep | IncidentKind::StalledExecution);
        let (now, plan) = (minute(minutes), self.plan);
        let event = match self.incident.as_mut().filter(|incident| incident.is_current) {
            Some(incident) => incident.gather(found(severity), true, lasts, false, now, &plan),
            None => {
                let (workflow, step) = (WorkflowName::new("etl").unwrap(), StepName::new("load").unwrap());
                let cause = Cause { kind: self.kind, workflow, step: Some(step), cohort: Default::default() };
                let (incident, event) =
                    Incident::open(cause, found(severity), lasts, false, false, now, &plan);
                self.incident = Some(incident);
                Some(event)
            }
        };
        self.note(minutes, event);
        self
    }

    fn with(
        &mut self,
        minutes: u64,
        change: impl FnOnce(&mut Incident, Timestamp, &AlertPlan) -> Option<Event>,
    ) -> &mut Self {
        let plan = self.plan;
        let event = change(self.incident.as_mut().unwrap(), minute(minutes), &plan);
        self.note(minutes, event);
        self
    }

    /// Lets time pass until then: the incident is looked at whenever it is due, with so many normal ends.
    fn passes(&mut self, until: u64, streak: u8) -> &mut Self {
        let mut looks = 0;
        while let Some(due) = self.incident.as_ref().unwrap().due_at.filter(|due| *due <= minute(until)) {
            let minutes = due.since(minute(0)).get() / 60_000_000;
            self.with(minutes, |incident, _, plan| incident.tend(streak, due, plan));
            looks += 1;
            assert!(looks < 50, "it is due again and again: {:?}", self.incident);
        }
        self
    }

    fn told(&self) -> String {
        self.told.join("\n")
    }
}

const WARNING: Severity = Severity::Warning;
const CRITICAL: Severity = Severity::Critical;

#[test]
fn a_thousand_findings_are_one_message_and_one_end() {
    let mut life = Life::new(IncidentKind::SlowStep);
    for minutes in 0..1_000 {
        life.finds(minutes / 10, CRITICAL);
    }
    assert_eq!(life.incident.as_ref().unwrap().occurrences, 1_000);
    life.passes(108, 3);
    insta::assert_snapshot!(life.told(), @"0: opened");
    life.passes(200, 3);
    insta::assert_snapshot!(life.told(), @r"
    0: opened
    109: resolved
    ");
}

#[test]
fn it_ends_after_normal_ends_and_after_a_while_whichever_comes_last() {
    let mut life = Life::new(IncidentKind::SlowStep);
    life.finds(0, WARNING).with(5, |incident, now, plan| incident.calm_down(3, now, plan));
    assert_eq!(life.told(), "0: opened");
    life.passes(20, 2).with(25, |incident, now, plan| incident.calm_down(3, now, plan));
    insta::assert_snapshot!(life.told(), @r"
    0: opened
    25: resolved
    ");
}

#[test]
fn what_comes_and_goes_is_told_once() {
    let mut life = Life::new(IncidentKind::StuckStep);
    for n in 0..5 {
        life.finds(n * 20, WARNING);
        life.with(n * 20 + 10, |incident, now, plan| incident.ended(now, plan));
        life.passes(n * 20 + 19, 0);
    }
    insta::assert_snapshot!(life.told(), @r"
    0: opened
    10: resolved
    20: reopened, silently
    30: resolved, silently
    40: reopened, silently
    50: resolved, silently
    60: reopened, silently
    70: resolved, silently
    80: reopened, silently
    90: resolved, silently
    ");
}

#[test]
fn what_fires_again_much_later_is_another_incident() {
    let mut life = Life::new(IncidentKind::StuckStep);
    life.finds(0, WARNING).with(10, |incident, now, plan| incident.ended(now, plan));
    let first = life.incident.as_ref().unwrap().id;
    life.passes(41, 0).finds(41, WARNING);
    assert_ne!(life.incident.as_ref().unwrap().id, first);
    insta::assert_snapshot!(life.told(), @r"
    0: opened
    10: resolved
    41: opened
    ");
}

#[test]
fn people_are_told_when_it_becomes_worse_and_reminded_while_it_lasts() {
    let mut life = Life::new(IncidentKind::StuckStep);
    life.finds(0, WARNING).finds(7, WARNING).finds(9, CRITICAL).finds(10, WARNING).passes(600, 0);
    insta::assert_snapshot!(life.told(), @r"
    0: opened
    9: worsened
    249: repeated
    489: repeated
    ");
}

#[test]
fn what_nobody_hears_of_any_more_is_let_go() {
    let mut life = Life::new(IncidentKind::SlowStep);
    life.finds(0, WARNING).with(1, |incident, now, plan| incident.acknowledge(None, now, plan));
    life.passes(5_000, 0);
    insta::assert_snapshot!(life.told(), @r"
    0: opened
    1: acknowledged, silently
    1440: resolved
    ");
    let incident = life.incident.as_ref().unwrap();
    assert_eq!(incident.resolved.as_ref().unwrap().by, ResolvedBy::Stale);
    assert!(!incident.is_current && incident.due_at.is_none());
}

#[test]
fn whoever_acknowledges_is_not_reminded_but_told_of_worse() {
    let mut life = Life::new(IncidentKind::SlowStep);
    life.finds(0, WARNING).with(1, |incident, now, plan| incident.acknowledge(Some("kim".into()), now, plan));
    life.passes(300, 0).finds(310, CRITICAL).passes(700, 0);
    insta::assert_snapshot!(life.told(), @r"
    0: opened
    1: acknowledged, silently
    310: worsened
    ");
}

#[test]
fn while_it_is_snoozed_nobody_is_told_and_afterwards_of_what_was_missed() {
    let mut life = Life::new(IncidentKind::StuckStep);
    life.finds(0, WARNING).with(1, |incident, now, plan| incident.snooze(minute(120), now, plan));
    life.finds(60, CRITICAL).passes(200, 0);
    insta::assert_snapshot!(life.told(), @r"
    0: opened
    1: snoozed, silently
    60: worsened, silently
    120: repeated
    ");
    let mut life = Life::new(IncidentKind::StuckStep);
    life.finds(0, WARNING).with(1, |incident, now, plan| incident.snooze(minute(600), now, plan));
    life.passes(599, 0).with(599, |incident, now, plan| incident.ended(now, plan)).passes(999, 0);
    insta::assert_snapshot!(life.told(), @r"
    0: opened
    1: snoozed, silently
    599: resolved
    ");
}

#[test]
fn what_comes_back_is_neither_acknowledged_nor_snoozed_any_more() {
    let mut life = Life::new(IncidentKind::StuckStep);
    life.finds(0, WARNING).with(1, |incident, now, plan| incident.acknowledge(None, now, plan));
    life.with(2, |incident, now, plan| incident.snooze(minute(9_000), now, plan));
    life.with(3, |incident, now, plan| incident.ended(now, plan)).finds(4, WARNING).passes(300, 0);
    insta::assert_snapshot!(life.told(), @r"
    0: opened
    1: acknowledged, silently
    2: snoozed, silently
    3: resolved
    4: reopened, silently
    243: repeated
    ");
}

#[test]
fn what_is_stuck_ends_with_the_last_of_them() {
    let mut life = Life::new(IncidentKind::StuckStep);
    life.finds(0, WARNING).finds(1, WARNING);
    life.with(2, |incident, now, plan| incident.ended(now, plan));
    assert_eq!(life.told(), "0: opened");
    // Normal ends of others say nothing of it.
    life.passes(60, 200).with(61, |incident, now, plan| incident.ended(now, plan));
    insta::assert_snapshot!(life.told(), @r"
    0: opened
    61: resolved
    ");
}

#[test]
fn an_end_by_hand_is_an_end_and_what_goes_on_reopens_it_silently() {
    let mut life = Life::new(IncidentKind::SlowStep);
    life.finds(0, WARNING).with(5, |incident, now, plan| incident.end(ResolvedBy::Hand, now, plan));
    life.with(6, |incident, now, plan| incident.end(ResolvedBy::Hand, now, plan));
    life.with(6, |incident, now, plan| incident.acknowledge(None, now, plan));
    life.finds(7, WARNING).passes(500, 0);
    insta::assert_snapshot!(life.told(), @r"
    0: opened
    5: resolved
    7: reopened, silently
    245: repeated
    485: repeated
    ");
}

#[test]
fn what_is_told_by_another_incident_is_told_with_its_next_finding() {
    let (now, plan) = (minute(0), AlertPlan::default());
    let workflow = WorkflowName::new("etl").unwrap();
    let cause = Cause { kind: IncidentKind::SlowStep, workflow, step: None, cohort: Default::default() };
    let (mut incident, event) = Incident::open(cause, found(WARNING), false, true, false, now, &plan);
    assert_eq!(event, Event { transition: Transition::Opened, loud: false });
    assert_eq!(incident.gather(found(WARNING), true, false, true, minute(1), &plan), None);
    let event = incident.gather(found(WARNING), true, false, false, minute(2), &plan);
    assert_eq!(event, Some(Event { transition: Transition::Opened, loud: true }));
}

#[test]
fn ids_are_derived_sorted_by_time_and_read_as_they_are_written() {
    let workflow = WorkflowName::new("etl").unwrap();
    let cause = |kind| Cause { kind, workflow: workflow.clone(), step: None, cohort: Default::default() };
    let execution = ExecutionId::from_u128(7).unwrap();
    let id = |kind, minutes| IncidentId::derive(cause(kind).fingerprint(), minute(minutes), Some(execution));
    let slow = id(IncidentKind::SlowStep, 0);
    assert_eq!(slow, id(IncidentKind::SlowStep, 0));
    assert_ne!(slow, id(IncidentKind::Regression, 0));
    assert!(slow < id(IncidentKind::Regression, 1) && slow < id(IncidentKind::SlowStep, 1));
    assert_eq!(slow.to_string().parse::<IncidentId>().unwrap(), slow);
    assert_eq!(slow.to_string().as_bytes().get(16), Some(&b'7'), "{slow}");
    for wrong in ["", "inc_", "inc_0g", "wf_00000000000000000000000000000002"] {
        assert_eq!(wrong.parse::<IncidentId>(), Err(IncidentIdError), "{wrong}");
    }
}

#[test]
fn an_incident_survives_its_json() {
    let mut life = Life::new(IncidentKind::SlowStep);
    life.finds(0, CRITICAL)
        .with(1, |incident, now, plan| incident.acknowledge(Some("kim".into()), now, plan));
    life.with(2, |incident, now, plan| incident.snooze(minute(9), now, plan)).passes(30, 9);
    let incident = life.incident.clone().unwrap();
    let text = serde_json::to_string(&incident).unwrap();
    assert_eq!(serde_json::from_str::<Incident>(&text).unwrap(), incident);
}

#[test]
fn no_history_remembers_what_is_found_by_its_signals() {
    for kind in IncidentKind::ALL {
        let mut alarm = Alarm::default();
        alarm.mark(kind);
        let is_signalled = matches!(kind, IncidentKind::SloBurn | IncidentKind::Alert);
        assert_eq!(alarm.is_marked(kind), !is_signalled, "{kind:?}");
    }
}
