//! What is recorded, and what people are told of it: commands in, lines out.

use std::collections::BTreeSet;

use crate::cohort::{CohortSpec, Dimension};
use crate::detect::{Policy, Severity, StepPolicy};
use crate::execution::ExecutionStatus;
use crate::ids::{ExecutionId, StepId};
use crate::incident::{IncidentKind, IncidentState, ResolvedBy};
use crate::notify::ChannelName;
use crate::record::{
    Answer, ChangeIncident, Completion, EndExecution, IncidentChange, JudgeExecution, JudgeStep, Outcome,
    RecordExecution, Refusal, StartExecution, TendIncident,
};
use crate::routing::{Alerting, Audience, Channel};
use crate::step::StepStatus;
use crate::test_util::Shelf;
use crate::test_util::fixtures::{
    IntoCommand, NOON, attributes, complete, completed, end, ending, failed, ms, rebaseline, recorded,
    request, start, step, whole,
};
use crate::time::{Micros, Timestamp};
use serde_json::json;
use wildmatch::WildMatch;

/// A service with one channel of people and one that keeps state, and a clock moved by hand.
struct Service {
    shelf: Shelf,
    policy: Policy,
    now: Timestamp,
}

fn channel(name: &str, audience: Audience) -> Channel {
    Channel {
        name: ChannelName::new(name).unwrap(),
        audience,
        workflow: WildMatch::new("*"),
        severity: Severity::Warning,
        kinds: BTreeSet::new(),
        quiet: None,
        grouped: false,
    }
}

impl Service {
    fn new() -> Self {
        Self::with(StepPolicy::default())
    }

    fn with(steps: StepPolicy) -> Self {
        let channels = vec![channel("people", Audience::People), channel("state", Audience::State)];
        let alerting = Alerting { channels, ..Alerting::default() };
        Self { shelf: Shelf::default(), policy: Policy::new(steps, []).with_alerting(alerting), now: NOON }
    }

    fn pass(&mut self, minutes: u64) {
        self.now = self.now + Micros::from_secs(minutes * 60);
    }

    fn try_do(&mut self, command: impl IntoCommand) -> Result<Answer, Refusal> {
        self.shelf.write(&self.policy, &[request(self.now, command)]).remove(0)
    }

    fn record(&mut self, command: impl IntoCommand) -> Outcome {
        self.try_do(command).unwrap().outcome
    }

    fn run(&mut self, workflow: &str) -> ExecutionId {
        let begin = start(workflow);
        self.record(StartExecution { started_at: self.now, ..begin.clone() });
        begin.id
    }

    /// Starts an execution in a workflow whose step has taken 100 ms ten times, an hour ago.
    fn with_history(&mut self, step: &str) -> ExecutionId {
        let id = self.run("etl");
        for _ in 0..10 {
            self.record(whole(id, step, completed(100)));
        }
        self.pass(60);
        id
    }

    fn starts(&mut self, execution: ExecutionId, name: &str) -> StepId {
        let begun = step(execution, name);
        self.record(begun.clone());
        begun.id
    }

    /// Looks at everything that is due, as the watchdog does.
    fn watch(&mut self) {
        let due = |at: Option<Timestamp>| at.is_some_and(|at| at <= self.now);
        let steps = self.shelf.steps.iter().filter(|(_, step)| due(step.judge_at));
        let steps: Vec<_> = steps.map(|(key, _)| *key).collect();
        let executions = self.shelf.executions.values().filter(|found| due(found.judge_at));
        let executions: Vec<_> = executions.map(|found| found.id).collect();
        for (execution, id) in steps {
            self.record(JudgeStep { execution, id });
        }
        for id in executions {
            self.record(JudgeExecution { id });
        }
        let due = |at: Option<Timestamp>| at.is_some_and(|at| at <= self.now);
        let incidents = self.shelf.incidents.values().filter(|incident| due(incident.due_at));
        let incidents: Vec<_> =
            incidents.map(|found| TendIncident { id: found.id, cause: found.cause.clone() }).collect();
        for tend in incidents {
            self.record(tend);
        }
    }

    /// Returns what a channel was told, a line each.
    fn told(&self, channel: &str) -> String {
        let told = self.shelf.notifications.iter().filter(|told| told.channel.as_str() == channel);
        let lines = told.map(|told| {
            let incident = &told.incident;
            let step = incident.cause.step.as_ref().map_or("-", |step| step.as_str());
            let (kind, transition) = (incident.cause.kind.as_str(), told.event.transition.as_str());
            format!("{kind} {step} {transition}: {} {}×", incident.severity.as_str(), incident.occurrences)
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    fn only_incident(&self) -> &crate::incident::Incident {
        assert_eq!(self.shelf.incidents.len(), 1, "{}", self.told("state"));
        self.shelf.incidents.values().next().unwrap()
    }
}

#[test]
fn a_thousand_slow_steps_of_one_cause_are_one_message_and_one_end() {
    let mut service = Service::new();
    service.with_history("load");
    for _ in 0..50 {
        let id = service.run("etl");
        let batch: Vec<_> =
            (0..20).map(|_| request(service.now, whole(id, "load", completed(5_000)))).collect();
        service.shelf.write(&service.policy, &batch);
    }
    let id = service.run("etl");
    service.pass(11);
    for _ in 0..3 {
        service.record(whole(id, "load", completed(100)));
    }
    insta::assert_snapshot!(service.told("people"), @r"
    slow_step load opened: CRITICAL 1×
    slow_step load resolved: CRITICAL 1000×
    ");
}

#[test]
fn what_has_been_normal_often_enough_ends_with_time_alone() {
    let mut service = Service::new();
    let id = service.with_history("load");
    service.record(whole(id, "load", completed(250)));
    for _ in 0..3 {
        service.record(whole(id, "load", completed(100)));
    }
    service.pass(9);
    service.watch();
    assert_eq!(service.only_incident().state, IncidentState::Firing);
    service.pass(1);
    service.watch();
    insta::assert_snapshot!(service.told("people"), @r"
    slow_step load opened: WARNING 1×
    slow_step load resolved: WARNING 1×
    ");
}

#[test]
fn a_stuck_step_is_told_when_it_is_stuck_and_when_it_has_ended() {
    let mut service = Service::new();
    let id = service.with_history("load");
    let stuck = service.starts(id, "load");
    service.pass(1);
    service.watch();
    service.watch();
    assert_eq!(service.only_incident().ongoing, 1);
    service.record(complete(id, stuck, ending(StepStatus::Completed)));
    // That it was slow is known; it is told of once it is slow again.
    insta::assert_snapshot!(service.told("people"), @r"
    stuck_step load opened: CRITICAL 1×
    stuck_step load resolved: CRITICAL 1×
    ");
    service.record(whole(id, "load", completed(5_000)));
    insta::assert_snapshot!(service.told("people"), @r"
    stuck_step load opened: CRITICAL 1×
    stuck_step load resolved: CRITICAL 1×
    slow_step load opened: CRITICAL 2×
    ");
}

#[test]
fn many_stuck_at_once_are_one_incident_that_ends_with_the_last_however_it_ends() {
    let mut service = Service::new();
    let (id, other) = (service.with_history("load"), service.run("etl"));
    let steps = [service.starts(id, "load"), service.starts(id, "load"), service.starts(other, "load")];
    service.pass(1);
    service.watch();
    service.record(complete(id, steps[0], ending(StepStatus::Cancelled)));
    service.record(complete(id, steps[1], ending(StepStatus::Skipped)));
    assert_eq!((service.only_incident().ongoing, service.only_incident().occurrences), (1, 3));
    service.record(end(other));
    insta::assert_snapshot!(service.told("people"), @r"
    stuck_step load opened: CRITICAL 1×
    stuck_step load resolved: CRITICAL 3×
    ");
    assert_eq!(service.only_incident().resolved.as_ref().unwrap().by, ResolvedBy::Ended);
}

#[test]
fn a_step_that_crosses_two_limits_is_one_occurrence_and_two_messages() {
    let mut service = Service::new();
    let id = service.run("etl");
    for _ in 0..10 {
        service.record(whole(id, "load", completed(60_000)));
    }
    service.pass(60);
    service.starts(id, "load");
    for _ in 0..4 {
        service.pass(1);
        service.watch();
    }
    insta::assert_snapshot!(service.told("people"), @r"
    stuck_step load opened: WARNING 1×
    stuck_step load worsened: CRITICAL 1×
    ");
}

#[test]
fn a_verdict_that_is_taken_back_ends_its_incident() {
    let mut service = Service::new();
    let id = service.with_history("load");
    service.starts(id, "load");
    service.now = service.now + ms(250);
    service.watch();
    // The history grows meanwhile, and what runs is normal by it.
    for _ in 0..60 {
        service.record(whole(id, "load", completed(199)));
    }
    service.now = service.now + ms(60);
    service.watch();
    insta::assert_snapshot!(service.told("people"), @r"
    stuck_step load opened: WARNING 1×
    stuck_step load resolved: WARNING 1×
    ");
}

#[test]
fn a_stalled_execution_ends_when_something_is_heard_of_it_or_it_ends() {
    let mut service = Service::new();
    for _ in 0..6 {
        let begun = recorded(service.now - ms(1_000), "etl", &[("load", 1_000)]);
        service.record(begun);
    }
    let (heard, over) = (service.run("etl"), service.run("etl"));
    service.pass(5);
    service.watch();
    assert_eq!(service.only_incident().ongoing, 2);
    service.record(whole(heard, "save", completed(1)));
    assert_eq!(service.only_incident().ongoing, 1);
    service.record(end(over));
    insta::assert_snapshot!(service.told("people"), @r"
    stalled_execution - opened: CRITICAL 1×
    stalled_execution - resolved: CRITICAL 2×
    ");
}

#[test]
fn an_execution_that_waits_for_a_stuck_step_is_not_told_of_too() {
    let mut service = Service::new();
    for _ in 0..6 {
        let begun = recorded(service.now - ms(1_000), "etl", &[("load", 1_000)]);
        service.record(begun);
    }
    let id = service.run("etl");
    service.starts(id, "load");
    for _ in 0..5 {
        service.pass(1);
        service.watch();
    }
    service.record(end(id));
    insta::assert_snapshot!(service.told("people"), @r"
    stuck_step load opened: CRITICAL 1×
    stuck_step load resolved: CRITICAL 1×
    ");
    assert!(service.told("state").contains("stalled_execution - opened"));
}

#[test]
fn a_regression_of_what_people_know_to_be_slow_is_kept_and_not_told() {
    let slowed_to = |millis| {
        let mut service = Service::new();
        let id = service.with_history("load");
        for _ in 0..20 {
            service.record(whole(id, "load", completed(100)));
        }
        for _ in 0..12 {
            service.record(whole(id, "load", completed(millis)));
        }
        let kinds = service.shelf.incidents.values().map(|incident| incident.cause.kind);
        (service.told("people"), kinds.collect::<BTreeSet<_>>())
    };
    let (told, kinds) = slowed_to(500);
    assert_eq!(told, "slow_step load opened: CRITICAL 1×");
    assert_eq!(kinds, BTreeSet::from([IncidentKind::SlowStep, IncidentKind::Regression]));
    // What is no bottleneck is told as what it is.
    let (told, _) = slowed_to(170);
    assert_eq!(told, "regression load opened: WARNING 1×");
}

#[test]
fn a_regression_ends_once_the_step_is_as_fast_as_before() {
    let mut service = Service::new();
    let id = service.with_history("load");
    for (runs, millis) in [(20, 100), (12, 170), (12, 100)] {
        for _ in 0..runs {
            service.record(whole(id, "load", completed(millis)));
        }
    }
    insta::assert_snapshot!(service.told("people"), @r"
    regression load opened: WARNING 1×
    regression load resolved: WARNING 1×
    ");
    // Once more, while the first one is still remembered.
    for _ in 0..12 {
        service.record(whole(id, "load", completed(170)));
    }
    assert!(service.told("state").ends_with("regression load reopened: WARNING 2×"));
}

#[test]
fn a_new_reference_ends_what_was_slow_by_the_old_one() {
    let mut service = Service::new();
    let id = service.with_history("load");
    for _ in 0..20 {
        service.record(whole(id, "load", completed(500)));
    }
    service.record(rebaseline("etl", "load"));
    service.record(whole(id, "load", completed(500)));
    insta::assert_snapshot!(service.told("people"), @r"
    slow_step load opened: CRITICAL 1×
    slow_step load resolved: CRITICAL 20×
    ");
    let by = service.shelf.incidents.values().map(|incident| incident.resolved.as_ref().unwrap().by);
    assert!(by.into_iter().all(|by| by == ResolvedBy::Rebaselined));
}

#[test]
fn old_work_and_imports_tell_nobody_and_end_nothing() {
    let mut service = Service::new();
    let id = service.with_history("load");
    let old = |service: &Service, millis| Completion {
        ended_at: Some(service.now - Micros::from_secs(16 * 60)),
        ..completed(millis)
    };
    let slow = old(&service, 5_000);
    let outcome = service.record(whole(id, "load", slow));
    assert!(matches!(outcome, Outcome::StepEnded(ended) if ended.bottleneck.is_some()), "it is judged");
    let imported = recorded(service.now - ms(5_000), "etl", &[("load", 5_000)]);
    service.record(RecordExecution { alerts: false, ..imported });
    assert!(service.shelf.incidents.is_empty() && service.shelf.notifications.is_empty());
    // An incident that fires is not ended by an import of normal runs.
    service.record(whole(id, "load", completed(5_000)));
    for _ in 0..5 {
        let normal = old(&service, 100);
        service.record(whole(id, "load", normal));
    }
    service.pass(20);
    service.watch();
    assert_eq!(service.only_incident().state, IncidentState::Firing);
}

#[test]
fn simulated_executions_are_marked_until_a_real_one_joins() {
    let mut service = Service::new();
    let id = service.with_history("load");
    let mut invented = recorded(service.now - ms(5_000), "etl", &[("load", 5_000)]);
    invented.start.simulated = true;
    service.record(invented);
    assert!(service.only_incident().simulated);
    service.record(whole(id, "load", completed(5_000)));
    assert!(!service.only_incident().simulated);
}

#[test]
fn failures_beyond_what_is_borne_are_told_for_the_step_and_for_the_workflow() {
    let mut service = Service::new();
    for n in 0..60 {
        let id = service.run("etl");
        let is_bad = n >= 40;
        service.record(whole(id, "load", if is_bad { failed(100) } else { completed(100) }));
        let status = if is_bad { ExecutionStatus::Failed } else { ExecutionStatus::Completed };
        service.record(EndExecution { status, ..end(id) });
        service.pass(1);
    }
    insta::assert_snapshot!(service.told("people"), @r"
    failure_rate load opened: WARNING 1×
    failure_rate - opened: WARNING 1×
    failure_rate load worsened: CRITICAL 10×
    failure_rate - worsened: CRITICAL 10×
    ");
    for _ in 0..80 {
        let id = service.run("etl");
        service.record(whole(id, "load", completed(100)));
        service.record(end(id));
        service.pass(1);
        service.watch();
    }
    let firing = service.shelf.incidents.values().filter(|found| found.state == IncidentState::Firing);
    assert_eq!(firing.count(), 0, "{}", service.told("people"));
}

#[test]
fn cohorts_that_a_setting_names_are_causes_of_their_own_and_what_explains_is_not() {
    let run = |cohort| {
        let mut service = Service::with(StepPolicy { cohort, ..StepPolicy::default() });
        let id = service.run("etl");
        for round in 0..12 {
            for region in ["eu", "us"] {
                let millis = if round < 10 { 100 } else { 900 };
                let region = attributes(json!({ "region": region }));
                service.record(whole(id, "load", Completion { attributes: region, ..completed(millis) }));
            }
        }
        service.told("people")
    };
    insta::assert_snapshot!(run(CohortSpec::Given(vec![Dimension::parse("region").unwrap()])), @r"
    slow_step load opened: CRITICAL 1×
    slow_step load opened: CRITICAL 1×
    ");
    assert_eq!(run(CohortSpec::Auto), "slow_step load opened: CRITICAL 1×");
}

#[test]
fn whoever_keeps_state_hears_of_every_change_and_people_of_what_matters() {
    let mut service = Service::new();
    let id = service.with_history("load");
    for _ in 0..2 {
        let stuck = service.starts(id, "load");
        service.pass(5);
        service.watch();
        service.record(complete(id, stuck, ending(StepStatus::Cancelled)));
    }
    assert_eq!(service.told("people").lines().count(), 2);
    insta::assert_snapshot!(service.told("state"), @r"
    stuck_step load opened: CRITICAL 1×
    stuck_step load resolved: CRITICAL 1×
    stuck_step load reopened: CRITICAL 2×
    stuck_step load resolved: CRITICAL 2×
    ");
}

#[test]
fn what_is_said_by_hand_is_answered_with_what_it_became_and_kept() {
    let mut service = Service::new();
    let id = service.with_history("load");
    service.record(whole(id, "load", completed(5_000)));
    let incident = service.only_incident().id;
    let say = |change| ChangeIncident { id: incident, change, by: Some("kim".to_owned()) };
    let until = service.now + Micros::from_secs(3_600);
    for (change, is_fresh) in [
        (IncidentChange::Acknowledge, true),
        (IncidentChange::Acknowledge, false),
        (IncidentChange::Snooze(until), true),
        (IncidentChange::Resolve, true),
        (IncidentChange::Resolve, false),
    ] {
        let answer = service.try_do(say(change)).unwrap();
        assert_eq!(answer.fresh, is_fresh, "{change:?}");
        assert_eq!(answer.outcome, Outcome::Incident(Box::new(service.only_incident().clone())));
    }
    let late = service.try_do(say(IncidentChange::Acknowledge));
    assert_eq!(late, Err(Refusal::IncidentIsResolved));
    let lines: Vec<String> = service
        .shelf
        .entries
        .iter()
        .map(|(_, entry)| format!("{}: {}", entry.what, entry.note.as_deref().unwrap_or("-")))
        .collect();
    insta::assert_snapshot!(lines.join("\n"), @r"
    opened: CRITICAL, 50 times
    acknowledged: kim
    snoozed: until 2026-01-31T14:00:00.000Z: kim
    resolved: hand: kim
    ");
}
