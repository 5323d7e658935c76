//! What a step is compared with: the cohort that a setting makes, what its history says, or all of it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Lab;
use super::lab::{step_ended, verdict};
use crate::baseline::{Baseline, Sample, ShiftRule};
use crate::detect::{Bottleneck, Histories, StepPolicy};
use crate::features::Features;
use crate::limits;
use crate::record::{
    Completion, Outcome, RecordExecution, RecordedStep, StartExecution, StartStep, StepEnded,
};
use crate::test_util::fixtures::{self, attributes, completed, ms, recorded, recorded_step, version, whole};
use crate::time::Micros;

/// Records a step of an execution of that version whole.
async fn ran(lab: &Lab, of: &str, step: &str, given: Value, millis: u64) -> StepEnded {
    let start =
        StartExecution { version: Some(version(of)), started_at: lab.now(), ..fixtures::start("etl") };
    let id = lab.start_as(start).await;
    step_ended(
        lab.record(StartStep { attributes: attributes(given), ..whole(id, step, completed(millis)) }).await,
    )
}

/// The same for `by_version`, whose history is kept by version and magnitude of the input.
async fn by_version(lab: &Lab, of: &str, bytes: u64, millis: u64) -> Option<Bottleneck> {
    ran(lab, of, "by_version", json!({ "input_bytes": bytes }), millis).await.bottleneck
}

async fn each_by_version(lab: &Lab, of: &str, bytes: u64, millis: u64, times: usize) {
    for _ in 0..times {
        by_version(lab, of, bytes, millis).await;
    }
}

/// What a verdict was compared with, as `attribute=value`.
fn compared(bottleneck: Option<&Bottleneck>) -> String {
    let parts = bottleneck.map(|found| found.cohort.parts().clone()).unwrap_or_default();
    parts.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
}

pub async fn a_cohort_has_a_history_of_its_own(lab: Lab) {
    each_by_version(&lab, "1", 3_000_000, 100, 6).await;
    each_by_version(&lab, "2", 3_000_000, 1_000, 6).await;
    assert_eq!(by_version(&lab, "2", 3_000_000, 1_000).await, None);
    let slow = by_version(&lab, "1", 3_000_000, 1_000).await;
    assert_eq!(verdict(slow.as_ref()), "CRITICAL 10.00 over 100ms of 6");
    assert_eq!(compared(slow.as_ref()), "input_bytes=2 MiB to 4 MiB version=1");
    let slow = by_version(&lab, "2", 3_000_000, 4_000).await;
    assert_eq!(verdict(slow.as_ref()), "CRITICAL 4.00 over 1000ms of 7");
    assert_eq!(compared(slow.as_ref()), "input_bytes=2 MiB to 4 MiB version=2");
}

pub async fn numbers_of_one_magnitude_share_a_cohort(lab: Lab) {
    for bytes in [1 << 20, 1_500_000, 2_000_000, (1 << 21) - 1, 1_100_000] {
        by_version(&lab, "1", bytes, 100).await;
    }
    let slow = by_version(&lab, "1", 1_700_000, 1_000).await;
    assert_eq!(compared(slow.as_ref()), "input_bytes=1 MiB to 2 MiB version=1");
    let slow = by_version(&lab, "1", 1 << 21, 1_000).await;
    assert_eq!(
        (slow.is_some(), compared(slow.as_ref()).as_str()),
        (true, ""),
        "another cohort, still unknown"
    );
}

pub async fn until_it_has_enough_samples_a_cohort_is_compared_with_the_whole_step(lab: Lab) {
    each_by_version(&lab, "1", 9, 100, 20).await;
    for run in 0..5 {
        let slow = by_version(&lab, "2", 9, 900).await;
        assert_eq!((slow.is_some(), compared(slow.as_ref()).as_str()), (true, ""), "run {run}");
    }
    assert_eq!(by_version(&lab, "2", 9, 900).await, None, "it has learnt a level of its own meanwhile");
    let slow = by_version(&lab, "2", 9, 2_700).await;
    assert_eq!(verdict(slow.as_ref()), "WARNING 3.00 over 900ms of 6");
}

pub async fn a_step_without_what_its_cohort_needs_is_compared_with_the_whole_step(lab: Lab) {
    each_by_version(&lab, "1", 9, 100, 6).await;
    for given in [json!({}), json!({ "input_bytes": "many" }), json!({ "input_bytes": -1 })] {
        let slow = ran(&lab, "1", "by_version", given, 500).await.bottleneck;
        assert_eq!((slow.is_some(), compared(slow.as_ref()).as_str()), (true, ""));
    }
    assert_eq!(lab.baseline("etl", "by_version").await.measured().moments.count(), 9);
}

pub async fn a_running_step_is_looked_at_by_the_limits_of_its_cohort(lab: Lab) {
    each_by_version(&lab, "1", 9, 100, 20).await;
    each_by_version(&lab, "2", 9, 1_000, 6).await;
    lab.advance(Micros::from_secs(1));
    let start =
        StartExecution { version: Some(version("2")), started_at: lab.now(), ..fixtures::start("etl") };
    let id = lab.start_as(start).await;
    let given = attributes(json!({ "input_bytes": 9 }));
    let step = StartStep { attributes: given, ..fixtures::step(id, "by_version") };
    lab.record(step.clone()).await;
    assert_eq!(lab.step_of(id, step.id).await.judge_at, Some(lab.now() + ms(2_000) + Micros::new(1)));
    lab.advance(ms(2_001));
    assert_eq!(lab.look().await, ["by_version WARNING 2.00 over 1000ms of 6"]);
    let found = lab.step_of(id, step.id).await.bottleneck;
    assert_eq!(compared(found.as_ref()), "input_bytes=8 B to 16 B version=2");
}

pub async fn what_is_told_at_the_end_counts_for_the_cohort(lab: Lab) {
    each_by_version(&lab, "1", 9, 100, 6).await;
    let start = StartExecution { version: Some(version("1")), ..fixtures::start("etl") };
    let id = lab.start_as(start).await;
    lab.advance(Micros::from_secs(1));
    let step = lab.step(id, "by_version").await;
    let end = Completion { attributes: attributes(json!({ "input_bytes": 9 })), ..completed(500) };
    let ended = step_ended(lab.record(fixtures::complete(id, step, end)).await);
    assert_eq!(verdict(ended.bottleneck.as_ref()), "CRITICAL 5.00 over 100ms of 6");
    assert_eq!(compared(ended.bottleneck.as_ref()), "input_bytes=8 B to 16 B version=1");
}

/// A step of an execution recorded whole, with attributes.
fn step_with(lab: &Lab, number: u64, name: &str, given: Value) -> RecordedStep {
    RecordedStep { attributes: attributes(given), ..recorded_step(number, name, lab.now(), 100) }
}

fn steps_of(outcome: Outcome) -> Vec<StepEnded> {
    let Outcome::ExecutionRecorded { steps, .. } = outcome else { panic!("not recorded: {outcome:?}") };
    steps
}

/// Records an execution whole, with these steps.
async fn record_steps(lab: &Lab, workflow: &str, steps: Vec<RecordedStep>) -> Vec<StepEnded> {
    let plain = recorded(lab.now(), workflow, &[]);
    let end = crate::record::EndExecution { ended_at: Some(lab.now() + ms(100)), ..plain.end.clone() };
    steps_of(lab.record(RecordExecution { steps, end, ..plain }).await)
}

/// Steps of `by_version`, each of another version.
fn of_versions(lab: &Lab, count: u64) -> Vec<RecordedStep> {
    (1..=count)
        .map(|n| step_with(lab, n, "by_version", json!({ "version": format!("{n}"), "input_bytes": 9 })))
        .collect()
}

async fn over(lab: &Lab) -> u64 {
    lab.store().health().await.expect("an answer").workflows_over_step_limit
}

pub async fn cohorts_beyond_the_bound_are_compared_with_the_whole_step(lab: Lab) {
    for _ in 0..5 {
        record_steps(&lab, "etl", of_versions(&lab, limits::COHORTS_PER_STEP)).await;
    }
    for run in 0..8 {
        let slow = by_version(&lab, "one too many", 9, 500).await;
        assert_eq!((slow.is_some(), compared(slow.as_ref()).as_str()), (true, ""), "run {run}");
    }
    let slow = by_version(&lab, "7", 9, 500).await;
    assert_eq!(compared(slow.as_ref()), "input_bytes=8 B to 16 B version=7", "those that exist stay");
    let steps = lab.history("etl").await.expect("known").steps;
    assert_eq!(steps.len(), 1, "no cohort is listed");
    let expected = 5 * limits::COHORTS_PER_STEP + 9;
    assert_eq!(steps.first().map(|(_, found)| found.measured().moments.count()), Some(expected));
    assert_eq!(over(&lab).await, 0, "that is no matter of step names");
    ran(&lab, "1", "by_version too", json!({ "input_bytes": 9 }), 100).await;
    assert_eq!(lab.history("etl").await.expect("known").steps.len(), 2);
}

pub async fn cohorts_take_no_place_of_a_step_name(lab: Lab) {
    let others = limits::STEP_NAMES_PER_WORKFLOW - 1;
    record_steps(&lab, "etl", of_versions(&lab, 50)).await;
    let names = (1..=others).map(|n| step_with(&lab, n, &format!("step {n}"), json!({}))).collect();
    record_steps(&lab, "etl", names).await;
    let known = async || lab.history("etl").await.expect("known").steps.len() as u64;
    assert_eq!((known().await, over(&lab).await), (limits::STEP_NAMES_PER_WORKFLOW, 0));
    let id = lab.start("etl").await;
    assert_eq!(lab.took_each(id, "one too many", 100, 6).await, 0);
    assert_eq!((known().await, over(&lab).await), (limits::STEP_NAMES_PER_WORKFLOW, 1));
}

pub async fn a_step_without_room_for_its_name_has_no_cohorts_either(lab: Lab) {
    let most = limits::STEP_NAMES_PER_WORKFLOW;
    let names = (1..=most).map(|n| step_with(&lab, n, &format!("step {n}"), json!({}))).collect();
    record_steps(&lab, "etl", names).await;
    for _ in 0..6 {
        assert_eq!(by_version(&lab, "1", 9, 100).await, None);
    }
    assert_eq!(by_version(&lab, "1", 9, 60_000).await, None, "recorded, and not judged");
    assert_eq!(over(&lab).await, 1, "and it shows that there is no room");
    assert_eq!(lab.count("etl", "step 1", crate::baseline::Ending::Completed).await, 1);
}

pub async fn an_execution_recorded_whole_is_compared_by_its_version_and_attributes(lab: Lab) {
    let imported = async |of: &str, bytes: u64, millis: u64| {
        let plain = recorded(lab.now(), "etl", &[("by_version", millis)]);
        let start = StartExecution {
            version: Some(version(of)),
            attributes: attributes(json!({ "input_bytes": bytes })),
            ..plain.start.clone()
        };
        let steps = steps_of(lab.record(RecordExecution { start, ..plain }).await);
        steps.into_iter().find_map(|step| step.bottleneck)
    };
    for _ in 0..6 {
        imported("1", 9, 100).await;
        imported("2", 9, 1_000).await;
    }
    assert_eq!(imported("2", 9, 1_000).await, None);
    let slow = imported("1", 15, 1_000).await;
    assert_eq!(verdict(slow.as_ref()), "CRITICAL 10.00 over 100ms of 6");
    let live = by_version(&lab, "1", 9, 1_000).await;
    assert_eq!(compared(live.as_ref()), "input_bytes=8 B to 16 B version=1", "live work shares its history");
}

/// A step's history and policy, in plain sight.
#[derive(Default)]
struct ByHand {
    baseline: Baseline,
    plan: StepPolicy,
}

impl ByHand {
    fn ran(&mut self, at: crate::time::Timestamp, given: &Value, duration: Micros) -> Option<Bottleneck> {
        let features = &Features::default().with(&attributes(given.clone()));
        let histories = Histories { whole: &self.baseline, cohort: None, began: None };
        let comparison = self.plan.compare(histories, features);
        let verdict = comparison.as_ref().and_then(|found| found.judge(duration, features, false));
        let over = verdict.as_ref().and(comparison.as_ref()).map(|found| found.limits.warning);
        let explained = comparison.as_ref().and_then(|found| found.explained());
        let expected = comparison.as_ref().map(|found| found.reference.p50);
        let like = explained.is_some() || !self.baseline.explains(features);
        let rule = ShiftRule { confirmation: self.plan.confirmation, least: self.plan.min_shift };
        let shifts = like.then_some(rule);
        let sample = Sample { at, duration, over, explained, expected, features, shifts };
        drop(self.baseline.learn(&sample, &mut Vec::new()));
        verdict
    }
}

pub async fn what_a_history_finds_by_itself_is_what_its_baseline_fed_by_hand_finds(lab: Lab) {
    let id = lab.start("etl").await;
    let mut by_hand = ByHand::default();
    let mut seen = BTreeMap::<String, u32>::new();
    for run in 0..200_u64 {
        // Sizes over five orders of magnitude, regions of their own speed, now and then a stall.
        let (rows, slower) = (10_u64.pow(1 + u32::try_from(run * 7 % 5).unwrap_or(0)) + run, 1 + run % 2);
        let stalls = if run % 19 == 18 { 5 } else { 1 };
        let millis = (20 + rows / 50) * slower * stalls;
        let given =
            json!({ "rows": rows, "region": if slower == 1 { "eu" } else { "us" }, "run": format!("{run}") });
        let expected = by_hand.ran(lab.now(), &given, ms(millis));
        let step = StartStep { attributes: attributes(given), ..whole(id, "load", completed(millis)) };
        let found = step_ended(lab.record(step).await).bottleneck;
        assert_eq!(found, expected, "run {run}");
        let compared = compared(found.as_ref());
        *seen.entry(compared.chars().take(8).collect()).or_default() += u32::from(found.is_some());
        lab.advance(Micros::from_secs(1));
    }
    assert!(seen.contains_key("rows=sca"), "the line through sizes was found: {seen:?}");
    assert_eq!(lab.baseline("etl", "load").await, by_hand.baseline);
}

pub async fn a_steps_own_attribute_takes_the_place_of_its_executions(lab: Lab) {
    each_by_version(&lab, "1", 9, 100, 6).await;
    let own = json!({ "version": "1", "input_bytes": 9 });
    let slow = ran(&lab, "2", "by_version", own, 500).await.bottleneck;
    assert_eq!(compared(slow.as_ref()), "input_bytes=8 B to 16 B version=1");
}
