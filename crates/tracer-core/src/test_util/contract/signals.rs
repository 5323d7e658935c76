//! Signals: what is wrong outside of any single execution.

use futures_util::future::join_all;

use super::Lab;
use crate::cohort::Cohort;
use crate::detect::Severity;
use crate::incident::{
    AlertNote, Cause, Finding, Incident, IncidentKind, IncidentState, ResolvedBy, SloBurn,
};
use crate::outbox::IncidentFilter;
use crate::record::{Answer, Outcome, Signal};
use crate::test_util::fixtures::{channel_name, workflow};
use crate::time::Micros;

const HOUR: Micros = Micros::from_secs(3_600);

fn cause(kind: IncidentKind) -> Cause {
    let labels = [("slo".to_owned(), "nightly".to_owned())];
    Cause { kind, workflow: workflow("etl-*"), step: None, cohort: Cohort::of(labels) }
}

fn burning(severity: Severity) -> Finding {
    Finding::Burning(SloBurn {
        severity,
        slo: "nightly".to_owned(),
        sli: "availability".to_owned(),
        objective: 0.99,
        burn_rate: if severity == Severity::Critical { 20.0 } else { 1.5 },
        long: HOUR,
        short: Micros::from_secs(300),
        events: 50,
        bad: 10,
        budget_remaining: 0.5,
    })
}

async fn signal(lab: &Lab, kind: IncidentKind, found: Option<Finding>) -> Option<Incident> {
    let signal = Signal { cause: cause(kind), found, execution: None };
    let Answer { outcome, fresh } = lab.try_record(signal).await.expect("not refused");
    if let Outcome::Incident(incident) = outcome {
        assert!(fresh);
        return Some(*incident);
    }
    assert_eq!((outcome, fresh), (Outcome::NothingNew, false));
    None
}

async fn burn(lab: &Lab, severity: Severity) -> Option<Incident> {
    signal(lab, IncidentKind::SloBurn, Some(burning(severity))).await
}

async fn pending(lab: &Lab, channel: &str) -> u64 {
    let states = lab.store().channels(lab.now()).await.expect("an answer");
    states.iter().find(|state| state.channel == channel_name(channel)).map_or(0, |state| state.pending)
}

pub async fn what_is_signalled_opens_once_and_ends_when_it_is_no_longer_so(lab: Lab) {
    assert!(signal(&lab, IncidentKind::SloBurn, None).await.is_none(), "there is nothing to end");
    let opened = burn(&lab, Severity::Critical).await.expect("an incident");
    assert_eq!((opened.cause, opened.ongoing, opened.opened_in), (cause(IncidentKind::SloBurn), 1, None));
    for _ in 0..3 {
        lab.advance(Micros::from_secs(10));
        assert!(burn(&lab, Severity::Critical).await.is_none());
    }
    let stored = lab.only_incident().await;
    assert_eq!((stored.occurrences, stored.state), (1, IncidentState::Firing));
    assert_eq!(pending(&lab, "people").await, 1);
    let over = signal(&lab, IncidentKind::SloBurn, None).await.expect("its end");
    assert_eq!(over.resolved.map(|resolved| resolved.by), Some(ResolvedBy::Ended));
    assert!(signal(&lab, IncidentKind::SloBurn, None).await.is_none());
    assert_eq!((lab.only_incident().await.ongoing, pending(&lab, "people").await), (0, 2));
}

pub async fn what_is_signalled_becomes_worse_once_and_never_better(lab: Lab) {
    assert!(burn(&lab, Severity::Warning).await.is_some());
    assert!(burn(&lab, Severity::Critical).await.is_some());
    assert!(burn(&lab, Severity::Critical).await.is_none());
    assert!(burn(&lab, Severity::Warning).await.is_none());
    let stored = lab.only_incident().await;
    assert_eq!((stored.severity, stored.occurrences, stored.ongoing), (Severity::Critical, 1, 1));
    assert_eq!(pending(&lab, "people").await, 2);
}

pub async fn what_goes_on_is_heard_of_and_not_let_go(lab: Lab) {
    burn(&lab, Severity::Warning).await;
    for _ in 0..30 {
        lab.advance(HOUR);
        burn(&lab, Severity::Warning).await;
        lab.tend().await;
    }
    let stored = lab.only_incident().await;
    assert_eq!(
        (stored.state, stored.occurrences, stored.last_seen_at),
        (IncidentState::Firing, 1, lab.now())
    );
    lab.advance(Micros::from_days(1));
    lab.tend().await;
    assert_eq!(lab.only_incident().await.resolved.map(|resolved| resolved.by), Some(ResolvedBy::Stale));
}

pub async fn what_comes_back_reopens_silently_and_is_told_if_it_stays(lab: Lab) {
    burn(&lab, Severity::Warning).await;
    signal(&lab, IncidentKind::SloBurn, None).await;
    lab.advance(Micros::from_secs(60));
    let again = burn(&lab, Severity::Warning).await.expect("an incident");
    assert_eq!((again.state, again.occurrences, again.ongoing), (IncidentState::Firing, 2, 1));
    assert_eq!(pending(&lab, "people").await, 2, "opened and resolved, and no more");
    assert_eq!(lab.only_incident().await.id, again.id);
    lab.advance(Micros::from_secs(239));
    assert!(lab.tend().await.is_empty());
    lab.advance(Micros::from_secs(1));
    assert_eq!(lab.tend().await.len(), 1, "for five minutes people have thought that it is over");
    assert_eq!(pending(&lab, "people").await, 3);
    lab.advance(HOUR);
    assert!(lab.tend().await.is_empty(), "from then on it is reminded of as any other");
}

pub async fn an_alert_is_not_told_back_to_where_it_came_from(lab: Lab) {
    let note = AlertNote {
        severity: Severity::Critical,
        name: "DiskFull".to_owned(),
        summary: "The disk is full.".to_owned(),
        since: lab.now(),
        source: None,
        runbook: None,
    };
    let opened = signal(&lab, IncidentKind::Alert, Some(Finding::Alerted(note.clone()))).await;
    assert_eq!(opened.map(|incident| incident.worst.finding), Some(Finding::Alerted(note)));
    assert_eq!((pending(&lab, "people").await, pending(&lab, "action").await), (1, 1));
    assert_eq!(pending(&lab, "state").await, 0);
}

pub async fn signals_of_many_at_once_are_one_incident(lab: Lab) {
    let told = join_all((0..50).map(|_| burn(&lab, Severity::Critical))).await;
    assert_eq!(told.into_iter().flatten().count(), 1);
    assert_eq!(lab.incidents(&IncidentFilter::default()).await.len(), 1);
    assert_eq!(pending(&lab, "people").await, 1);
}
