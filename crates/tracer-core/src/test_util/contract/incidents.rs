//! Incidents: opened, gathered and ended in the transaction of what they are found by, and found again.

use futures_util::future::join_all;

use super::Lab;
use crate::detect::Severity;
use crate::execution::ExecutionStatus;
use crate::ids::ExecutionId;
use crate::incident::{Incident, IncidentId, IncidentKind, IncidentState, ResolvedBy, Transition};
use crate::limits;
use crate::outbox::{FiringCount, IncidentFilter};
use crate::record::{
    ChangeIncident, Completion, EndExecution, IncidentChange, Outcome, RecordExecution, Refusal,
};
use crate::step::StepStatus;
use crate::test_util::fixtures::{
    channel_name, complete, completed, end, ending, failed, ms, rebaseline, recorded, request, whole,
    workflow,
};
use crate::time::{Micros, Timestamp};

const fn minutes(count: u64) -> Micros {
    Micros::from_secs(count * 60)
}

async fn found(lab: &Lab, id: IncidentId) -> Incident {
    lab.store().incident(id).await.expect("an answer").expect("a known incident")
}

/// Returns the history of an incident, a line each.
async fn history(lab: &Lab, id: IncidentId) -> Vec<String> {
    let entries = lab.store().incident_history(id).await.expect("an answer");
    let line =
        |what: &str, note: Option<&str>| note.map_or(what.to_owned(), |note| format!("{what}: {note}"));
    entries.iter().map(|entry| line(&entry.what, entry.note.as_deref())).collect()
}

/// Returns how many notifications a channel has yet to be sent.
async fn pending(lab: &Lab, channel: &str) -> u64 {
    let states = lab.store().channels(lab.now()).await.expect("an answer");
    states.iter().find(|state| state.channel == channel_name(channel)).map_or(0, |state| state.pending)
}

async fn change(lab: &Lab, id: IncidentId, change: IncidentChange) -> Result<(Incident, bool), Refusal> {
    let answer = lab.try_record(ChangeIncident { id, change, by: Some("kim".to_owned()) }).await?;
    let Outcome::Incident(incident) = answer.outcome else { panic!("no incident: {answer:?}") };
    Ok((*incident, answer.fresh))
}

async fn ids(lab: &Lab, filter: &IncidentFilter) -> Vec<IncidentId> {
    lab.incidents(filter).await.into_iter().map(|incident| incident.id).collect()
}

/// Takes a fast run, often enough and late enough for what is slow to be over.
async fn normal_again(lab: &Lab, id: ExecutionId, step: &str) {
    lab.advance(minutes(10));
    assert_eq!(lab.took_each(id, step, 100, 3).await, 0);
}

pub async fn an_incident_is_there_when_its_verdict_is_answered(lab: Lab) {
    let id = lab.with_history("etl", "load").await;
    assert!(lab.incidents(&IncidentFilter::default()).await.is_empty());
    assert!(lab.took(id, "load", 5_000).await.is_some());
    let opened = lab.only_incident().await;
    assert_eq!(found(&lab, opened.id).await, opened);
    assert_eq!(
        (
            opened.cause.kind,
            opened.cause.workflow.as_str(),
            opened.cause.step.as_ref().map(|name| name.as_str())
        ),
        (IncidentKind::SlowStep, "etl", Some("load"))
    );
    assert_eq!((opened.state, opened.severity), (IncidentState::Firing, Severity::Critical));
    assert_eq!((opened.occurrences, opened.ongoing, opened.is_current), (1, 0, true));
    assert_eq!(
        (opened.first_seen_at, opened.last_seen_at, opened.changed_at),
        (lab.now(), lab.now(), lab.now())
    );
    assert_eq!((opened.opened_in, opened.worst.execution), (Some(id), Some(id)));
    assert_eq!(history(&lab, opened.id).await, ["opened: CRITICAL, 50 times"]);
    assert_eq!((pending(&lab, "people").await, pending(&lab, "state").await), (1, 1));
}

pub async fn a_thousand_findings_of_one_cause_at_once_are_one_incident(lab: Lab) {
    lab.with_history("etl", "load").await;
    let executions = join_all((0..50).map(|_| lab.start("etl"))).await;
    let steps = executions.iter().flat_map(|id| (0..20).map(|_| whole(*id, "load", completed(5_000))));
    let verdicts = join_all(steps.map(|step| lab.record(step))).await;
    assert_eq!(verdicts.len(), 1_000);
    let slow = IncidentFilter { kind: Some(IncidentKind::SlowStep), ..IncidentFilter::default() };
    let all = lab.incidents(&slow).await;
    let [incident] = &all[..] else { panic!("not one: {all:#?}") };
    assert_eq!((incident.occurrences, incident.severity), (1_000, Severity::Critical));
    assert_eq!(history(&lab, incident.id).await, ["opened: CRITICAL, 50 times"]);
    assert_eq!((pending(&lab, "people").await, pending(&lab, "action").await), (1, 1));
}

pub async fn causes_that_open_at_once_are_incidents_of_their_own(lab: Lab) {
    let names: Vec<String> = (0..20).map(|n| format!("step {n}")).collect();
    let id = lab.start("etl").await;
    join_all(names.iter().map(|name| lab.took_each(id, name, 100, 10))).await;
    let slow = names.iter().flat_map(|name| (0..5).map(|_| whole(id, name, completed(900))));
    join_all(slow.map(|step| lab.record(step))).await;
    let all = lab.incidents(&IncidentFilter::default()).await;
    assert_eq!((all.len(), all.iter().map(|incident| incident.occurrences).sum::<u64>()), (20, 100));
    assert_eq!(pending(&lab, "people").await, 20);
}

pub async fn a_worse_finding_raises_the_severity_once(lab: Lab) {
    let id = lab.with_history("etl", "load").await;
    for millis in [250, 250, 5_000, 5_000, 250] {
        lab.took(id, "load", millis).await.expect("a bottleneck");
    }
    let incident = lab.only_incident().await;
    assert_eq!((incident.occurrences, incident.severity), (5, Severity::Critical));
    let lines = history(&lab, incident.id).await;
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(
        lines[0].starts_with("opened: WARNING") && lines[1].starts_with("worsened: CRITICAL"),
        "{lines:?}"
    );
    assert_eq!(pending(&lab, "people").await, 2);
}

pub async fn normal_ends_and_time_together_resolve_it(lab: Lab) {
    let id = lab.with_history("etl", "load").await;
    lab.took(id, "load", 5_000).await;
    lab.took_each(id, "load", 100, 5).await;
    assert_eq!(lab.only_incident().await.state, IncidentState::Firing, "it is too soon");
    lab.advance(minutes(10));
    lab.took(id, "load", 100).await;
    let over = lab.only_incident().await;
    assert_eq!(
        over.resolved.map(|resolved| (resolved.at, resolved.by)),
        Some((lab.now(), ResolvedBy::Normal))
    );
    assert_eq!(history(&lab, over.id).await, ["opened: CRITICAL, 50 times", "resolved: normal"]);
    assert_eq!(pending(&lab, "people").await, 2);
}

pub async fn too_few_normal_ends_do_not_resolve_it(lab: Lab) {
    let id = lab.with_history("etl", "load").await;
    lab.took(id, "load", 5_000).await;
    lab.advance(minutes(10));
    lab.took_each(id, "load", 100, 2).await;
    assert_eq!(lab.only_incident().await.state, IncidentState::Firing);
    lab.took(id, "load", 5_000).await;
    lab.advance(minutes(10));
    lab.took_each(id, "load", 100, 2).await;
    assert_eq!(lab.only_incident().await.state, IncidentState::Firing, "they are counted anew");
    lab.took(id, "load", 100).await;
    assert_eq!(lab.only_incident().await.state, IncidentState::Resolved);
}

pub async fn time_alone_resolves_what_has_been_normal(lab: Lab) {
    let id = lab.with_history("etl", "load").await;
    lab.took(id, "load", 5_000).await;
    lab.took_each(id, "load", 100, 3).await;
    lab.advance(minutes(10).saturating_sub(ms(1)));
    assert!(lab.tend().await.is_empty());
    lab.advance(ms(1));
    let tended = lab.tend().await;
    assert_eq!(tended.len(), 1);
    assert_eq!((tended[0].state, &tended[0]), (IncidentState::Resolved, &lab.only_incident().await));
    assert!(lab.tend().await.is_empty());
}

pub async fn soon_after_its_end_it_reopens_and_later_there_is_a_new_one(lab: Lab) {
    let id = lab.with_history("etl", "load").await;
    lab.took(id, "load", 5_000).await;
    normal_again(&lab, id, "load").await;
    let first = lab.only_incident().await;
    lab.advance(minutes(29));
    lab.tend().await;
    lab.took(id, "load", 5_000).await;
    let again = lab.only_incident().await;
    assert_eq!((again.id, again.state, again.occurrences), (first.id, IncidentState::Firing, 2));
    assert_eq!(again.resolved, None);
    normal_again(&lab, id, "load").await;
    lab.advance(minutes(30));
    assert!(lab.tend().await.is_empty(), "that it is history is nothing to tell");
    assert!(!lab.only_incident().await.is_current);
    assert_eq!(
        lab.store().due(lab.now() + Micros::from_days(99), 10).await.expect("an answer").incidents,
        []
    );
    lab.took(id, "load", 5_000).await;
    let all = lab.incidents(&IncidentFilter::default()).await;
    assert_eq!(all.iter().map(|incident| incident.occurrences).collect::<Vec<_>>(), [1, 2], "newest first");
    assert_eq!(all[1].id, first.id);
    let lines = history(&lab, first.id).await;
    let whats: Vec<_> = lines.iter().map(|line| line.split(':').next().unwrap_or_default()).collect();
    assert_eq!(whats, ["opened", "resolved", "reopened", "resolved"]);
}

pub async fn a_stuck_step_is_an_incident_until_it_ends_however_it_ends(lab: Lab) {
    let id = lab.with_history("etl", "load").await;
    let other = lab.start("etl").await;
    let steps = join_all((0..3).map(|_| lab.step(id, "load"))).await;
    let last = lab.step(other, "load").await;
    lab.advance(ms(500));
    assert_eq!(lab.look().await.len(), 4);
    let stuck = lab.only_incident().await;
    assert_eq!((stuck.cause.kind, stuck.ongoing, stuck.occurrences), (IncidentKind::StuckStep, 4, 4));
    for step in &steps {
        assert_eq!(lab.step_of(id, *step).await.incident, Some(stuck.id));
    }
    assert_eq!(lab.look().await, [""; 0], "a second look finds the same");
    lab.record(complete(id, steps[0], ending(StepStatus::Cancelled))).await;
    lab.record(complete(id, steps[1], ending(StepStatus::Completed))).await;
    lab.record(complete(id, steps[2], failed(600))).await;
    let stuck = found(&lab, stuck.id).await;
    assert_eq!((stuck.ongoing, stuck.state), (1, IncidentState::Firing));
    assert_eq!(lab.step_of(other, last).await.incident, Some(stuck.id));
    lab.end_as(other, ExecutionStatus::Cancelled).await;
    let over = found(&lab, stuck.id).await;
    assert_eq!((over.ongoing, over.state), (0, IncidentState::Resolved));
    assert_eq!(over.resolved.map(|resolved| resolved.by), Some(ResolvedBy::Ended));
}

pub async fn a_silent_execution_is_an_incident_until_it_is_heard_of_or_ends(lab: Lab) {
    let (heard, over) = (lab.start("hushed").await, lab.start("hushed").await);
    lab.advance(Micros::from_secs(11));
    assert_eq!(lab.look().await.len(), 2);
    let silent = lab.only_incident().await;
    assert_eq!((silent.cause.kind, silent.ongoing), (IncidentKind::StalledExecution, 2));
    assert_eq!(silent.cause.step, None);
    lab.step(heard, "load").await;
    assert_eq!(lab.only_incident().await.ongoing, 1);
    lab.step(heard, "load").await;
    assert_eq!(lab.only_incident().await.ongoing, 1, "what is heard of once more was not silent");
    lab.end(over).await;
    assert_eq!(lab.only_incident().await.state, IncidentState::Resolved);
    lab.advance(Micros::from_secs(11));
    assert_eq!(lab.look().await.len(), 1, "silent once more");
    let again = lab.only_incident().await;
    assert_eq!((again.state, again.ongoing, again.occurrences), (IncidentState::Firing, 1, 3));
}

pub async fn old_work_and_imports_that_tell_nobody_open_nothing(lab: Lab) {
    let id = lab.with_history("etl", "load").await;
    let long_ago = Completion { ended_at: Some(lab.now() - minutes(16)), ..completed(5_000) };
    assert!(lab.ended(id, "load", long_ago).await.bottleneck.is_some(), "it is judged");
    let imported = recorded(lab.now() - ms(5_000), "etl", &[("load", 5_000)]);
    let run = imported.start.id;
    lab.record(RecordExecution { alerts: false, ..imported }).await;
    assert!(lab.execution(run).await.worst.is_some(), "it is judged");
    assert!(lab.incidents(&IncidentFilter::default()).await.is_empty());
    assert!(lab.store().channels(lab.now()).await.expect("an answer").is_empty());
}

pub async fn what_is_invented_is_marked_until_something_real_joins(lab: Lab) {
    let id = lab.with_history("etl", "load").await;
    let mut invented = recorded(lab.now() - ms(5_000), "etl", &[("load", 5_000)]);
    invented.start.simulated = true;
    lab.record(invented).await;
    assert!(lab.only_incident().await.simulated);
    lab.took(id, "load", 5_000).await;
    assert!(!lab.only_incident().await.simulated);
}

pub async fn a_new_reference_resolves_what_was_slow_by_the_old_one(lab: Lab) {
    let id = lab.with_history("etl", "load").await;
    lab.took_each(id, "load", 500, 8).await;
    lab.record(rebaseline("etl", "load")).await;
    let firing = IncidentFilter { state: Some(IncidentState::Firing), ..IncidentFilter::default() };
    assert!(lab.incidents(&firing).await.is_empty());
    for incident in lab.incidents(&IncidentFilter::default()).await {
        assert_eq!(incident.resolved.map(|resolved| resolved.by), Some(ResolvedBy::Rebaselined));
    }
}

pub async fn failures_beyond_what_is_borne_are_an_incident_until_they_stop(lab: Lab) {
    for n in 0..60 {
        let id = lab.start("etl").await;
        let is_bad = n >= 40;
        lab.ended(id, "load", if is_bad { failed(100) } else { completed(100) }).await;
        let status = if is_bad { ExecutionStatus::Failed } else { ExecutionStatus::Completed };
        lab.record(EndExecution { status, ..end(id) }).await;
        lab.advance(minutes(1));
    }
    let of_kind = IncidentFilter { kind: Some(IncidentKind::FailureRate), ..IncidentFilter::default() };
    let all = lab.incidents(&of_kind).await;
    let mut about: Vec<_> =
        all.iter().map(|found| found.cause.step.as_ref().map(|step| step.as_str())).collect();
    about.sort();
    assert_eq!(about, [None, Some("load")], "of the workflow, and of its step");
    assert!(all.iter().all(|found| found.severity == Severity::Critical && found.occurrences > 5));
    for _ in 0..80 {
        let id = lab.start("etl").await;
        lab.took(id, "load", 100).await;
        lab.end(id).await;
        lab.advance(minutes(1));
        lab.tend().await;
    }
    assert!(lab.incidents(&of_kind).await.iter().all(|found| found.state == IncidentState::Resolved));
}

pub async fn what_is_said_of_it_by_hand_is_kept(lab: Lab) {
    let id = lab.with_history("etl", "load").await;
    lab.took(id, "load", 5_000).await;
    let incident = lab.only_incident().await.id;
    let until = lab.now() + minutes(90);
    for (wish, is_fresh) in [
        (IncidentChange::Acknowledge, true),
        (IncidentChange::Acknowledge, false),
        (IncidentChange::Snooze(until), true),
        (IncidentChange::Snooze(until), false),
        (IncidentChange::Resolve, true),
        (IncidentChange::Resolve, false),
    ] {
        lab.advance(ms(1));
        let (told, fresh) = change(&lab, incident, wish).await.expect("taken");
        assert_eq!((fresh, &told), (is_fresh, &found(&lab, incident).await), "{wish:?}");
    }
    let kept = found(&lab, incident).await;
    assert_eq!(kept.acknowledged.and_then(|told| told.by).as_deref(), Some("kim"));
    assert_eq!(kept.snoozed_until, Some(until));
    assert_eq!(change(&lab, incident, IncidentChange::Acknowledge).await, Err(Refusal::IncidentIsResolved));
    let lines = history(&lab, incident).await;
    let shown = format!("snoozed: until {until}: kim");
    assert_eq!(lines, ["opened: CRITICAL, 50 times", "acknowledged: kim", &shown, "resolved: hand: kim"]);
}

pub async fn an_unknown_incident_is_unknown_to_everything(lab: Lab) {
    let nobody = IncidentId::from_bytes([7; 16]);
    assert_eq!(lab.store().incident(nobody).await.expect("an answer"), None);
    assert_eq!(lab.store().incident_history(nobody).await.expect("an answer"), []);
    assert_eq!(change(&lab, nobody, IncidentChange::Resolve).await, Err(Refusal::UnknownIncident));
    assert_eq!(lab.incidents(&IncidentFilter::default()).await, []);
    assert_eq!(lab.store().firing().await.expect("an answer"), []);
}

/// Opens incidents of slow steps in two workflows, one after the other: of each, one WARNING, which is over,
/// and one CRITICAL; and of one workflow a stuck step.
async fn several(lab: &Lab) -> Vec<IncidentId> {
    let mut opened = Vec::new();
    for name in ["etl", "chat"] {
        let id = lab.with_history(name, "load").await;
        lab.took_each(id, "save", 100, 10).await;
        for (step, millis) in [("load", 250), ("save", 900)] {
            lab.advance(ms(5));
            lab.took(id, step, millis).await;
            opened.extend(ids(lab, &IncidentFilter::default()).await.first());
        }
        change(lab, opened[opened.len() - 2], IncidentChange::Resolve).await.expect("resolved");
    }
    let id = lab.start("chat").await;
    lab.step(id, "load").await;
    lab.advance(ms(5_000));
    lab.look().await;
    opened.extend(ids(lab, &IncidentFilter::default()).await.first());
    opened
}

pub async fn incidents_are_listed_by_what_they_are(lab: Lab) {
    let opened = several(&lab).await;
    let any = IncidentFilter::default;
    let picked = |at: &[usize]| at.iter().map(|at| opened[*at]).collect::<Vec<_>>();
    let (firing, resolved) = (Some(IncidentState::Firing), Some(IncidentState::Resolved));
    let (etl, chat) = (Some(workflow("etl")), Some(workflow("chat")));
    let critical = Some(Severity::Critical);
    for (filter, expected) in [
        (any(), &[4, 3, 2, 1, 0][..]),
        (IncidentFilter { state: firing, ..any() }, &[4, 3, 1]),
        (IncidentFilter { state: resolved, ..any() }, &[2, 0]),
        (IncidentFilter { workflow: chat.clone(), ..any() }, &[4, 3, 2]),
        (IncidentFilter { workflow: Some(workflow("none")), ..any() }, &[]),
        (IncidentFilter { kind: Some(IncidentKind::StuckStep), ..any() }, &[4]),
        (IncidentFilter { kind: Some(IncidentKind::Regression), ..any() }, &[]),
        (IncidentFilter { severity: critical, ..any() }, &[4, 3, 1]),
        (IncidentFilter { severity: Some(Severity::Warning), ..any() }, &[4, 3, 2, 1, 0]),
        (IncidentFilter { state: resolved, workflow: etl, severity: critical, ..any() }, &[]),
        (
            IncidentFilter {
                state: firing,
                workflow: chat,
                kind: Some(IncidentKind::SlowStep),
                severity: critical,
            },
            &[3],
        ),
    ] {
        assert_eq!(ids(&lab, &filter).await, picked(expected), "{filter:?}");
    }
}

pub async fn pages_of_incidents_have_no_gaps_or_repeats(lab: Lab) {
    let id = lab.start("etl").await;
    let names: Vec<String> = (0..25).map(|n| format!("step {n}")).collect();
    join_all(names.iter().map(|name| lab.took_each(id, name, 100, 10))).await;
    // Many of one moment, and some later.
    join_all(names.iter().take(20).map(|name| lab.took(id, name, 900))).await;
    for name in &names[20..] {
        lab.advance(ms(1));
        lab.took(id, name, 900).await;
    }
    let of_etl = IncidentFilter { workflow: Some(workflow("etl")), ..IncidentFilter::default() };
    let firing = IncidentFilter { state: Some(IncidentState::Firing), ..IncidentFilter::default() };
    for filter in [IncidentFilter::default(), of_etl, firing] {
        let all = ids(&lab, &filter).await;
        assert_eq!(all.len(), 25);
        let (mut paged, mut after) = (Vec::new(), None);
        loop {
            let page = lab.store().incidents(&filter, after, 7).await.expect("a page");
            let Some(last) = page.last() else { break };
            after = Some(last.id);
            paged.extend(page.iter().map(|incident| incident.id));
        }
        assert_eq!(paged, all);
        assert!(all.is_sorted_by(|one, next| one > next));
    }
}

pub async fn a_long_history_shows_its_newest_lines_in_order(lab: Lab) {
    let id = lab.with_history("etl", "load").await;
    lab.took(id, "load", 5_000).await;
    let incident = lab.only_incident().await.id;
    let most = u64::try_from(limits::INCIDENT_HISTORY).expect("a count");
    let wishes = (1..=most + 20).map(|n| lab.now() + minutes(n));
    for until in wishes {
        change(&lab, incident, IncidentChange::Snooze(until)).await.expect("taken");
    }
    let entries = lab.store().incident_history(incident).await.expect("an answer");
    let expected = (21..=most + 20).map(|n| Some(format!("until {}: kim", lab.now() + minutes(n))));
    assert_eq!(entries.into_iter().map(|entry| entry.note).collect::<Vec<_>>(), expected.collect::<Vec<_>>());
}

pub async fn what_fires_is_counted_by_kind_and_severity(lab: Lab) {
    several(&lab).await;
    let count = |kind, severity, incidents| FiringCount { kind, severity, incidents };
    let counted = lab.store().firing().await.expect("an answer");
    assert_eq!(
        counted,
        [
            count(IncidentKind::SlowStep, Severity::Critical, 2),
            count(IncidentKind::StuckStep, Severity::Critical, 1)
        ]
    );
}

pub async fn what_is_not_heard_of_is_repeated_once_and_let_go(lab: Lab) {
    let id = lab.with_history("etl", "load").await;
    lab.took(id, "load", 5_000).await;
    let (opened_at, incident) = (lab.now(), lab.only_incident().await.id);
    for hours in [4, 8, 12, 16, 20] {
        lab.clock.advance((opened_at + minutes(60 * hours)).since(lab.now()));
        let tended = lab.tend().await;
        // Nothing has happened since: people are reminded once.
        assert_eq!(tended.len(), usize::from(hours == 4), "after {hours} hours");
        assert!(tended.iter().all(|tended| tended.told.is_some_and(|told| told.at == lab.now())));
    }
    lab.advance(minutes(60 * 4));
    let over = lab.tend().await;
    assert_eq!(over[0].resolved.as_ref().map(|resolved| resolved.by), Some(ResolvedBy::Stale));
    let repeated = history(&lab, incident).await;
    let repeated = repeated.iter().filter(|line| line.starts_with(Transition::Repeated.as_str()));
    assert_eq!(repeated.count(), 1);
}

pub async fn incidents_are_due_in_order_and_in_portions(lab: Lab) {
    let id = lab.start("etl").await;
    let mut expected: Vec<(Timestamp, IncidentId)> = Vec::new();
    for name in ["c", "a", "b"] {
        lab.took_each(id, name, 100, 10).await;
        lab.advance(ms(3));
        lab.took(id, name, 900).await;
        let newest = lab.incidents(&IncidentFilter::default()).await.remove(0);
        expected.push((newest.due_at.expect("to be looked at"), newest.id));
    }
    // Or its silence would be due too.
    lab.end(id).await;
    let due = async |limit| lab.store().due(lab.now(), limit).await.expect("an answer");
    lab.advance(minutes(10).saturating_sub(ms(7)));
    assert_eq!(due(10).await.incidents, []);
    lab.advance(minutes(1));
    let portion = due(2).await;
    let shown: Vec<_> = portion.incidents.iter().map(|tend| tend.id).collect();
    assert_eq!((shown, portion.since), (vec![expected[0].1, expected[1].1], Some(expected[0].0)));
    let all = due(10).await.incidents;
    assert_eq!(
        all.iter().map(|tend| tend.id).collect::<Vec<_>>(),
        expected.iter().map(|one| one.1).collect::<Vec<_>>()
    );
    for tend in all {
        assert_eq!(found(&lab, tend.id).await.cause, tend.cause);
    }
}

pub async fn twenty_looks_at_one_incident_tell_of_it_once(lab: Lab) {
    let id = lab.with_history("etl", "load").await;
    lab.took(id, "load", 5_000).await;
    lab.advance(minutes(60 * 4));
    let due = lab.store().due(lab.now(), 10).await.expect("an answer").incidents.remove(0);
    let looks = join_all((0..20).map(|_| lab.try_record(due.clone()))).await;
    assert_eq!(looks.iter().flatten().filter(|answer| answer.fresh).count(), 1);
    assert_eq!(pending(&lab, "people").await, 2);
}

pub async fn incidents_of_cohorts_are_kept_apart(lab: Lab) {
    let sized = |bytes: u64, millis| Completion {
        attributes: crate::test_util::fixtures::attributes(
            serde_json::json!({"version": "v1 \"ü\"", "input_bytes": bytes}),
        ),
        ..completed(millis)
    };
    let id = lab.start("etl").await;
    for bytes in [1_000, 1_000_000] {
        for _ in 0..10 {
            lab.ended(id, "by_version", sized(bytes, 100)).await;
        }
    }
    for bytes in [1_000, 1_000_000, 1_000] {
        lab.ended(id, "by_version", sized(bytes, 900)).await;
    }
    let all = lab.incidents(&IncidentFilter::default()).await;
    let mut counts: Vec<_> = all.iter().map(|found| found.occurrences).collect();
    counts.sort_unstable();
    assert_eq!(counts, [1, 2]);
    assert!(all.iter().all(|incident| !incident.cause.cohort.is_whole()));
    for incident in &all {
        assert_eq!(&found(&lab, incident.id).await, incident);
    }
}

pub async fn whatever_is_said_can_be_kept(lab: Lab) {
    let id = lab.with_history("etl \"é\" '%'", "load\\ 🦀").await;
    lab.took(id, "load\\ 🦀", 5_000).await;
    let incident = lab.only_incident().await;
    let odd = format!("{}\0\"'\\", "🦀".repeat(limits::NAME_CHARS - 4));
    let wish = ChangeIncident { id: incident.id, change: IncidentChange::Acknowledge, by: Some(odd.clone()) };
    let answer = lab.store().record(request(lab.now(), wish)).await.expect("taken");
    assert!(answer.fresh);
    let kept = found(&lab, incident.id).await;
    assert_eq!(kept.cause, incident.cause);
    assert_eq!(kept.acknowledged.and_then(|told| told.by), Some(odd));
    assert_eq!(history(&lab, incident.id).await.len(), 2);
}
