//! Incidents for tests: one of each kind, plain and mean.

use tracer_core::baseline::Reference;
use tracer_core::cohort::Cohort;
use tracer_core::detect::{Bottleneck, Regression, Severity, VerdictKind};
use tracer_core::ids::ExecutionId;
use tracer_core::incident::{
    Acknowledgement, AlertNote, AlertPlan, Cause, Evidence, FailureRate, Finding, Incident, IncidentKind,
    ResolvedBy, SloBurn, Transition,
};
use tracer_core::name::{StepName, WorkflowName};
use tracer_core::notify::{Delivery, Notification, Posted};
use tracer_core::test_util::fixtures::{NOON, step_id};
use tracer_core::time::{Micros, Timestamp};

const PLAN: AlertPlan = AlertPlan {
    resolve_after: Micros::from_secs(600),
    resolve_runs: 3,
    reopen_within: Micros::from_secs(1_800),
    stale_after: Micros::from_days(1),
    repeat_interval: Micros::from_secs(4 * 3_600),
    group_wait: Micros::from_secs(2),
    failures: tracer_core::incident::FailureRule { limit: 0.05, window: Micros::from_secs(3_600), least: 20 },
};

/// Returns the instant so many seconds after noon.
pub(crate) fn after(secs: u64) -> Timestamp {
    NOON + Micros::from_secs(secs)
}

pub(crate) fn execution(number: u128) -> ExecutionId {
    ExecutionId::from_u128(0x0198_c0ff_ee00_7000_8000_0000_0000_0000 + number).unwrap()
}

fn cohort(parts: &[(&str, &str)]) -> Cohort {
    Cohort::of(parts.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
}

fn open(kind: IncidentKind, step: Option<&str>, finding: Finding) -> Incident {
    let workflow = WorkflowName::new("etl").unwrap();
    let step = step.map(|name| StepName::new(name).unwrap());
    let cause = Cause { kind, workflow, step, cohort: Cohort::default() };
    let found =
        Evidence { execution: Some(execution(1)), step: cause.step.as_ref().map(|_| step_id(1)), finding };
    let lasts = matches!(
        kind,
        IncidentKind::StuckStep
            | IncidentKind::StalledExecution
            | IncidentKind::SloBurn
            | IncidentKind::Alert
    );
    Incident::open(cause, found, lasts, false, false, NOON, &PLAN).0
}

fn too_long(severity: Severity, kind: VerdictKind, duration: Micros, samples: u64) -> Finding {
    let reference = Reference::constant(Micros::from_millis(420), samples);
    let reference = (samples > 0).then_some(&reference);
    let mut verdict = Bottleneck::in_flight(kind, severity, duration, reference);
    verdict.in_flight = kind != VerdictKind::SlowStep;
    Finding::TooLong(verdict)
}

/// A step of one workflow took five times as long as 212 runs of its cohort.
pub(crate) fn slow() -> Incident {
    let mut finding = too_long(Severity::Warning, VerdictKind::SlowStep, Micros::from_millis(2_100), 212);
    if let Finding::TooLong(verdict) = &mut finding {
        verdict.cohort = cohort(&[("version", "3"), ("input_bytes", "1 MiB to 2 MiB")]);
    }
    open(IncidentKind::SlowStep, Some("load"), finding)
}

/// The same, after 11 further findings, the worst of them CRITICAL.
pub(crate) fn worse() -> Incident {
    let mut incident = slow();
    let finding = too_long(Severity::Critical, VerdictKind::SlowStep, Micros::from_millis(12_345), 230);
    let found = Evidence { execution: Some(execution(2)), step: Some(step_id(2)), finding };
    let _event = incident.gather(found, true, false, false, after(240), &PLAN);
    incident.occurrences = 12;
    incident
}

pub(crate) fn stuck() -> Incident {
    let finding = too_long(Severity::Critical, VerdictKind::StuckStep, Micros::from_secs(4_000), 31);
    let mut incident = open(IncidentKind::StuckStep, Some("load"), finding);
    (incident.ongoing, incident.occurrences) = (2, 2);
    incident
}

pub(crate) fn stalled() -> Incident {
    let finding = too_long(Severity::Warning, VerdictKind::StalledExecution, Micros::from_secs(7_300), 0);
    open(IncidentKind::StalledExecution, None, finding)
}

pub(crate) fn regression() -> Incident {
    let finding = Finding::Slower(Regression {
        severity: Severity::Warning,
        began_at: NOON - Micros::from_secs(86_400),
        before: Micros::from_millis(420),
        after: Micros::from_millis(930),
        factor: 2.21,
        samples: 48,
        cohort: cohort(&[("region", "eu")]),
        changed: Some(("version".into(), "4".into())),
    });
    open(IncidentKind::Regression, Some("load"), finding)
}

pub(crate) fn failing() -> Incident {
    let finding = Finding::Failing(FailureRate {
        severity: Severity::Critical,
        failed: 12,
        ended: 60,
        since: NOON - Micros::from_secs(3_600),
        usual: 0.0125,
        limit: 0.05,
    });
    open(IncidentKind::FailureRate, Some("load"), finding)
}

pub(crate) fn burning() -> Incident {
    let finding = Finding::Burning(SloBurn {
        severity: Severity::Critical,
        slo: "nightly".into(),
        sli: "availability".into(),
        objective: 0.99,
        burn_rate: 15.384,
        long: Micros::from_secs(3_600),
        short: Micros::from_secs(300),
        events: 52,
        bad: 8,
        budget_remaining: 0.45,
    });
    open(IncidentKind::SloBurn, None, finding)
}

pub(crate) fn alerted() -> Incident {
    let finding = Finding::Alerted(AlertNote {
        severity: Severity::Warning,
        name: "DiskFull".into(),
        summary: "The disk of db-1 is 93 % full.".into(),
        since: NOON,
        source: Some("https://prometheus.example/graph?g0.expr=disk".into()),
        runbook: Some("https://wiki.example/disk".into()),
    });
    let mut incident = open(IncidentKind::Alert, None, finding);
    (incident.worst.execution, incident.opened_in) = (None, None);
    incident
}

pub(crate) fn each_kind() -> [Incident; 7] {
    [slow(), stuck(), stalled(), regression(), failing(), burning(), alerted()]
}

pub(crate) fn acknowledged(mut incident: Incident) -> Incident {
    let _event = incident.acknowledge(Some("Ada".into()), after(300), &PLAN);
    let _event = incident.snooze(after(7_200), after(310), &PLAN);
    incident
}

pub(crate) fn resolved(mut incident: Incident, by: ResolvedBy) -> Incident {
    let _event = incident.end(by, after(2_530), &PLAN);
    incident
}

/// What a client may call its things to do harm: each 200 characters.
pub(crate) const MEAN: [&str; 7] = [
    "<!channel> <@U024BE7LH> <#C024BE7LR|general> <https://evil.example|Click> &lt;!here&gt; @channel @here #general ",
    "*bold* _it_ ~gone~ `code` ```block``` > quote :fire: [a](https://evil.example) https://evil.example mailto:a@b ",
    "&&&&&&&&&&",
    "👩‍👩‍👧‍👦🏳️‍🌈",
    "שלום \u{202e}drow\u{202c} مرحبا \u{2067}x",
    "e\u{301}\u{327}\u{20dd}Z\u{351}\u{36b}\u{343}",
    "```\u{2028}`|`{{}}\\\"'%22%7C|> ",
];

/// Returns an incident with a text in every place that holds one from a client.
pub(crate) fn mean(mut incident: Incident, text: &str) -> Incident {
    let name: String = text.chars().cycle().take(200).collect();
    incident.cause.workflow = WorkflowName::from_stored(&name);
    incident.cause.step = incident.cause.step.map(|_| StepName::from_stored(&name));
    let parts: Vec<(&str, &str)> = vec![("version", &name), ("input", &name), (&name, &name)];
    incident.cause.cohort = cohort(&parts);
    match &mut incident.worst.finding {
        Finding::TooLong(verdict) => verdict.cohort = cohort(&parts),
        Finding::Slower(regression) => {
            regression.cohort = cohort(&parts);
            regression.changed = Some((name.clone(), name.repeat(10)));
        }
        Finding::Failing(_) => {}
        Finding::Burning(burn) => burn.slo.clone_from(&name),
        Finding::Alerted(note) => {
            note.name.clone_from(&name);
            note.summary = name.repeat(10);
        }
    }
    incident.acknowledged = Some(Acknowledgement { at: NOON, by: Some(name.repeat(5)) });
    incident
}

pub(crate) fn notification(id: i64, transition: Transition, incident: Incident) -> Notification {
    Notification { id, transition, loud: true, incident, created_at: NOON, attempts: 0, held: false }
}

pub(crate) fn delivery(transition: Transition, incident: Incident) -> Delivery {
    Delivery {
        current: incident.clone(),
        notifications: vec![notification(7, transition, incident)],
        told_before: transition != Transition::Opened,
        posted: None,
    }
}

/// Several steps of one execution.
pub(crate) fn opened_together(count: usize) -> Delivery {
    let step = |number: usize| {
        let mut incident = if number.is_multiple_of(2) { slow() } else { failing() };
        incident.cause.step = Some(StepName::new(&format!("load-{number}")).unwrap());
        incident
    };
    let incidents = (1..=count).map(step);
    let notifications =
        (1..).zip(incidents).map(|(id, incident)| notification(id, Transition::Opened, incident));
    let notifications: Vec<_> = notifications.collect();
    Delivery { current: notifications[0].incident.clone(), notifications, told_before: false, posted: None }
}

pub(crate) fn posted(reference: &str, incidents: Vec<Incident>) -> Option<Posted> {
    Some(Posted { reference: reference.to_owned(), incidents })
}
