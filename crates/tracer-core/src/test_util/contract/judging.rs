//! Verdicts: what is judged, against what, and what enters history.

use std::collections::BTreeMap;

use serde_json::json;

use super::Lab;
use super::lab::verdict;
use crate::attributes::Attributes;
use crate::baseline::Ending;
use crate::detect::Severity;
use crate::ids::StepId;
use crate::limits;
use crate::record::{Completion, ParentStep, Refusal, StartStep};
use crate::step::StepStatus;
use crate::test_util::fixtures::{
    complete, completed, ending, failed, key, ms, recorded, recorded_step, step, step_id, whole,
};
use crate::time::Micros;

pub async fn five_times_the_average_is_critical(lab: Lab) {
    let id = lab.start("etl").await;
    for millis in [400, 410, 420, 430, 440] {
        assert_eq!(lab.took(id, "load", millis).await, None);
    }
    let found = lab.took(id, "load", 2_100).await.expect("a bottleneck");
    assert_eq!((found.severity, found.factor()), (Severity::Critical, 5.0));
    assert_eq!((found.duration, found.historical_avg, found.samples), (ms(2_100), ms(420), 5));
    assert!((430..=450).contains(&found.p95.as_millis()), "{found:?}");
    assert!(found.cohort.is_whole() && !found.in_flight);
}

pub async fn limits_are_strict(lab: Lab) {
    let id = lab.start("etl").await;
    let judged = async |name: &str, micros: u64| {
        lab.took_each(id, name, 420, 5).await;
        let duration = Some(Micros::new(micros));
        let ended = lab.ended(id, name, Completion { duration, ..completed(0) }).await;
        verdict(ended.bottleneck.as_ref())
    };
    assert_eq!(judged("a", 840_000).await, "normal");
    assert_eq!(judged("b", 840_001).await, "WARNING 2.00 over 420ms of 5");
    assert_eq!(judged("c", 1_260_000).await, "WARNING 3.00 over 420ms of 5");
    assert_eq!(judged("d", 1_260_001).await, "CRITICAL 3.00 over 420ms of 5");
}

pub async fn a_short_history_judges_nobody(lab: Lab) {
    let id = lab.start("etl").await;
    assert_eq!(lab.took_each(id, "load", 100, 4).await, 0);
    assert_eq!(lab.took(id, "load", 60_000).await, None);
}

pub async fn a_step_is_not_part_of_its_own_history(lab: Lab) {
    let id = lab.start("etl").await;
    lab.took_each(id, "load", 100, 5).await;
    let seen = [201, 201].map(|millis| lab.took(id, "load", millis));
    let [first, second] = seen;
    assert_eq!(verdict(first.await.as_ref()), "WARNING 2.01 over 100ms of 5");
    assert_eq!(verdict(second.await.as_ref()), "normal", "the first one entered, at the limit it crossed");
}

pub async fn the_verdict_is_stored_with_the_step(lab: Lab) {
    let id = lab.start("etl").await;
    lab.took_each(id, "load", 100, 5).await;
    let slow = lab.step(id, "load").await;
    let answered = lab.complete(id, slow, 350).await.bottleneck;
    assert!(answered.is_some());
    let stored = lab.step_of(id, slow).await.bottleneck;
    assert_eq!(stored, answered);
    lab.took_each(id, "load", 10_000, 3).await;
    assert_eq!(lab.step_of(id, slow).await.bottleneck, answered, "a verdict stays as it was given");
    let ended = lab.end(id).await;
    assert_eq!(ended.bottlenecks.len(), 4);
    assert_eq!(lab.execution(id).await.worst, Some(Severity::Critical));
}

pub async fn failed_steps_are_judged_and_change_no_average(lab: Lab) {
    let id = lab.start("etl").await;
    lab.took_each(id, "load", 100, 5).await;
    let before = lab.reference("etl", "load").await;
    for millis in [1, 1_000, 90_000] {
        let judged = lab.ended(id, "load", failed(millis)).await.bottleneck;
        assert_eq!(judged.is_some(), millis > 200, "{millis} ms");
    }
    assert_eq!(lab.reference("etl", "load").await, before);
    let measured = lab.baseline("etl", "load").await.measured();
    assert_eq!(
        (measured.endings.failed, measured.moments.count(), measured.moments.max()),
        (3, 5, Some(ms(100)))
    );
}

pub async fn skipped_and_cancelled_steps_are_neither_judged_nor_counted(lab: Lab) {
    let id = lab.start("etl").await;
    lab.took_each(id, "load", 100, 5).await;
    for status in [StepStatus::Skipped, StepStatus::Cancelled] {
        let late = Completion { duration: Some(ms(9_000)), ..ending(status) };
        assert_eq!(lab.ended(id, "load", late.clone()).await.bottleneck, None);
        lab.ended(id, "never done", late).await;
    }
    assert_eq!(lab.baseline("etl", "load").await.measured().endings.total(), 5);
    let names = lab.history("etl").await.expect("known").steps;
    assert_eq!(names.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["load"]);
}

pub async fn histories_are_kept_apart_by_workflow_and_step(lab: Lab) {
    let (day, night) = (lab.start("day").await, lab.start("night").await);
    lab.took_each(day, "load", 100, 5).await;
    lab.took_each(night, "load", 900, 5).await;
    lab.took_each(day, "save", 300, 5).await;
    assert_eq!(verdict(lab.took(night, "load", 1_000).await.as_ref()), "normal");
    assert_eq!(verdict(lab.took(day, "save", 500).await.as_ref()), "normal");
    assert_eq!(verdict(lab.took(day, "load", 500).await.as_ref()), "CRITICAL 5.00 over 100ms of 5");
    // The two texts are the same when put together.
    let (ab, a) = (lab.start("ab").await, lab.start("a").await);
    lab.took_each(ab, "c", 100, 5).await;
    assert_eq!(lab.took_each(a, "bc", 5_000, 5).await, 0);
}

pub async fn a_rule_chosen_by_pattern_holds_for_what_matches(lab: Lab) {
    let id = lab.start("etl").await;
    for name in ["load", "patient-load"] {
        lab.took_each(id, name, 100, 5).await;
    }
    assert_eq!(verdict(lab.took(id, "load", 900).await.as_ref()), "CRITICAL 9.00 over 100ms of 5");
    assert_eq!(verdict(lab.took(id, "patient-load", 900).await.as_ref()), "normal");
    let slow = lab.took(id, "patient-load", 60_000).await;
    assert_eq!(slow.map(|found| found.severity), Some(Severity::Critical));
}

pub async fn a_running_step_is_to_be_looked_at_when_it_crosses_its_limit(lab: Lab) {
    let id = lab.start("etl").await;
    let unknown = lab.step(id, "load").await;
    assert_eq!(lab.step_of(id, unknown).await.judge_at, Some(lab.now() + Micros::from_secs(60)));
    lab.took_each(id, "load", 420, 5).await;
    let known = lab.step(id, "load").await;
    assert_eq!(lab.step_of(id, known).await.judge_at, Some(lab.now() + ms(840) + Micros::new(1)));
}

pub async fn a_workflow_has_at_most_a_thousand_step_histories(lab: Lab) {
    let most = limits::STEP_NAMES_PER_WORKFLOW;
    let mut many = recorded(lab.now(), "wide", &[]);
    many.steps = (1..=most).map(|n| recorded_step(n, &format!("step {n}"), lab.now(), 100)).collect();
    many.end.ended_at = Some(lab.now() + ms(100));
    lab.record(many).await;
    let over = async || lab.store().health().await.expect("an answer").workflows_over_step_limit;
    let id = lab.start("wide").await;
    lab.took(id, "step 1", 100).await;
    assert_eq!(over().await, 0, "as many as there may be are not too many");
    assert_eq!(lab.took_each(id, "one too many", 100, 6).await, 0);
    assert_eq!(lab.took(id, "one too many", 60_000).await, None, "recorded, and not judged");
    assert_eq!(lab.steps(id).await.len(), 8);
    let known = |histories: Vec<_>| u64::try_from(histories.len()).unwrap_or(0);
    assert_eq!(known(lab.history("wide").await.expect("known").steps), most);
    lab.took_each(id, "step 7", 100, 4).await;
    assert!(lab.took(id, "step 7", 60_000).await.is_some(), "the names that have a history keep it");
    let narrow = lab.start("narrow").await;
    lab.took_each(narrow, "load", 100, 5).await;
    assert!(lab.took(narrow, "load", 1_000).await.is_some(), "other workflows are not concerned");
    assert_eq!(over().await, 1);
    lab.end(id).await;
    assert_eq!(lab.totals("wide").await.endings.completed, 2);
}

pub async fn a_refused_step_leaves_no_history(lab: Lab) {
    let (ended, open) = (lab.start("etl").await, lab.start("etl").await);
    lab.end(ended).await;
    lab.refused(whole(ended, "after the end", completed(5))).await;
    let orphan = whole(open, "orphan", completed(5));
    lab.refused(StartStep { parent: Some(ParentStep::Named(step_id(7))), ..orphan }).await;
    let many = |prefix: &str| {
        let entries: BTreeMap<_, _> = (0..60).map(|n| (format!("{prefix}{n}"), json!(n))).collect();
        Attributes::new(entries).expect("within bounds")
    };
    let wide = Completion { attributes: many("b"), ..completed(5) };
    lab.refused(StartStep { attributes: many("a"), ..whole(open, "too wide", wide.clone()) }).await;
    let begun = StartStep { attributes: many("a"), ..step(open, "too wide at the end") };
    lab.record(begun.clone()).await;
    lab.refused(complete(open, begun.id, wide)).await;
    lab.refused(complete(open, StepId::mint(), completed(5))).await;
    lab.record_under(key(1, 1), step(open, "kept")).await.expect("recorded");
    let reused = lab.record_under(key(1, 2), whole(open, "under a used key", completed(5))).await;
    assert_eq!(reused, Err(Refusal::IdempotencyKeyReused));
    assert_eq!(lab.history("etl").await.expect("known").steps, []);
    assert_eq!(lab.count("etl", "too wide", Ending::Completed).await, 0);
}
