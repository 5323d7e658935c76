//! A step that has become slower for good: told once, and normal when it has lasted, or when it is meant.

use serde_json::{Value, json};

use super::Lab;
use super::lab::step_ended;
use crate::baseline::WINDOW_DAYS;
use crate::detect::{Regression, Severity};
use crate::ids::ExecutionId;
use crate::record::{Outcome, RecordExecution, StartExecution, StartStep, StepEnded};
use crate::test_util::fixtures::{
    self, attributes, completed, key, ms, rebaseline, recorded, version, whole,
};
use crate::time::{Micros, Timestamp};

/// Starts an execution of a version.
async fn start(lab: &Lab, of: &str) -> ExecutionId {
    let start =
        StartExecution { version: Some(version(of)), started_at: lab.now(), ..fixtures::start("etl") };
    lab.start_as(start).await
}

/// Records a step of that execution whole, and lets a second go by.
async fn ran(lab: &Lab, id: ExecutionId, step: &str, given: Value, millis: u64) -> StepEnded {
    lab.advance(Micros::from_secs(1));
    let step = StartStep { attributes: attributes(given), ..whole(id, step, completed(millis)) };
    step_ended(lab.record(step).await)
}

/// Runs of about so many milliseconds; returns what was told of a lasting slowdown, and when.
async fn runs(lab: &Lab, id: ExecutionId, step: &str, millis: u64, times: u64) -> Vec<Regression> {
    let mut told = Vec::new();
    for run in 0..times {
        told.extend(ran(lab, id, step, json!({}), millis + run % 7).await.regression);
    }
    told
}

fn seconds_between(a: Timestamp, b: Timestamp) -> u64 {
    a.max(b).since(a.min(b)).get() / 1_000_000
}

pub async fn a_lasting_change_is_one_regression_with_its_moment_and_what_changed(lab: Lab) {
    let before = start(&lab, "3").await;
    assert_eq!(runs(&lab, before, "load", 100, 60).await, []);
    let changed = lab.now();
    let after = start(&lab, "4").await;
    let told = runs(&lab, after, "load", 250, 100).await;
    let [regression] = &told[..] else { panic!("not one: {told:?}") };
    assert!(seconds_between(regression.began_at, changed) <= 3, "{regression:?} at {changed:?}");
    assert!((2.3..2.6).contains(&regression.factor), "{regression:?}");
    assert!((100..110).contains(&regression.before.as_millis()), "{regression:?}");
    assert!((250..260).contains(&regression.after.as_millis()), "{regression:?}");
    assert_eq!(regression.severity, Severity::Warning);
    assert_eq!(regression.changed, Some(("version".to_owned(), "4".to_owned())));
    assert!(regression.cohort.is_whole());
}

pub async fn a_change_by_more_than_three_is_critical_and_one_regression_however_large(lab: Lab) {
    let id = start(&lab, "3").await;
    runs(&lab, id, "load", 100, 60).await;
    let told = runs(&lab, id, "load", 2_000, 100).await;
    let [regression] = &told[..] else { panic!("not one: {told:?}") };
    assert_eq!((regression.severity, regression.changed.as_ref()), (Severity::Critical, None));
    assert!((18.0..20.5).contains(&regression.factor), "{regression:?}");
}

pub async fn stalls_are_bottlenecks_and_no_regression(lab: Lab) {
    let id = start(&lab, "3").await;
    assert_eq!(runs(&lab, id, "load", 100, 60).await, []);
    for run in 0..200 {
        let stalls = run % 10 == 9;
        let ended = ran(&lab, id, "load", json!({}), if stalls { 1_000 } else { 100 + run % 7 }).await;
        assert_eq!((ended.bottleneck.is_some(), ended.regression), (stalls, None), "run {run}");
    }
}

pub async fn a_repetition_of_what_told_a_regression_is_not_news(lab: Lab) {
    let id = start(&lab, "3").await;
    runs(&lab, id, "load", 100, 60).await;
    for run in 1..=30 {
        lab.advance(Micros::from_secs(1));
        let command = whole(id, "load", completed(300));
        let first = lab.record_under(key(run, 1), command.clone()).await.expect("recorded");
        let Some(regression) = step_ended(first.outcome).regression else { continue };
        let again = lab.record_under(key(run, 1), command.clone()).await.expect("recorded");
        assert!(!again.fresh);
        assert_eq!(step_ended(again.outcome).regression, Some(regression), "the same answer to the same key");
        let again = lab.try_record(command).await.expect("recorded");
        assert_eq!((again.fresh, step_ended(again.outcome).regression), (false, None));
        assert_eq!(runs(&lab, id, "load", 300, 30).await, []);
        return;
    }
    panic!("no regression was told");
}

pub async fn executions_recorded_whole_tell_of_a_regression_too(lab: Lab) {
    let mut told = Vec::new();
    for run in 0..100_u64 {
        lab.advance(Micros::from_secs(1));
        let millis = if run < 60 { 100 } else { 300 };
        let plain = recorded(lab.now() - ms(millis), "etl", &[("load", millis)]);
        let of = if run < 60 { "3" } else { "4" };
        let start = StartExecution { version: Some(version(of)), ..plain.start.clone() };
        let Outcome::ExecutionRecorded { steps, .. } = lab.record(RecordExecution { start, ..plain }).await
        else {
            panic!("not recorded")
        };
        told.extend(steps.into_iter().filter_map(|step| Some((run, step.regression?))));
    }
    let [(run, regression)] = &told[..] else { panic!("not one: {told:?}") };
    assert!((64..75).contains(run), "certain at run {run}");
    assert_eq!(regression.changed, Some(("version".to_owned(), "4".to_owned())));
}

pub async fn a_cohort_has_regressions_of_its_own(lab: Lab) {
    let id = start(&lab, "3").await;
    let mut told = Vec::new();
    for run in 0..240 {
        // Of two sizes, the larger one becomes slower.
        let (bytes, millis) = match (run % 2, run < 120) {
            (0, _) => (10, 100),
            (_, true) => (1_000, 500),
            (_, false) => (1_000, 1_500),
        };
        let given = json!({ "input_bytes": bytes });
        told.extend(ran(&lab, id, "by_version", given, millis + run % 7).await.regression);
    }
    let [regression] = &told[..] else { panic!("not one: {told:?}") };
    let parts: Vec<_> =
        regression.cohort.parts().iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(parts, ["input_bytes=512 B to 1 KiB", "version=3"]);
    assert!((490..520).contains(&regression.before.as_millis()), "{regression:?}");
}

/// Runs in two regions, of which one is slower; returns how many were bottlenecks.
async fn in_regions(lab: &Lab, id: ExecutionId, slowed: u64, times: u64) -> usize {
    let mut bottlenecks = 0;
    for run in 0..times {
        let (region, millis) = if run % 2 == 0 { ("eu", 100) } else { ("us", 250) };
        let ended = ran(lab, id, "load", json!({ "region": region }), millis * slowed + run % 7).await;
        bottlenecks += usize::from(ended.bottleneck.is_some());
    }
    bottlenecks
}

pub async fn what_is_compared_by_an_attribute_is_normal_after_a_whole_window_too(lab: Lab) {
    let id = start(&lab, "3").await;
    in_regions(&lab, id, 1, 60).await;
    // Frozen on the second day: a window later it is still judged by the old level.
    for day in 0..=WINDOW_DAYS {
        assert_eq!(in_regions(&lab, id, 5, 6).await, 6, "day {day}");
        lab.advance(Micros::from_days(1));
    }
    in_regions(&lab, id, 5, 60).await;
    assert_eq!(in_regions(&lab, id, 5, 20).await, 0);
    assert_eq!(in_regions(&lab, id, 25, 2).await, 2, "the new level judges");
}

pub async fn rebaseline_makes_a_regression_normal_at_once_and_may_be_followed_by_another(lab: Lab) {
    let id = start(&lab, "3").await;
    runs(&lab, id, "load", 100, 60).await;
    assert_eq!(runs(&lab, id, "load", 300, 30).await.len(), 1);
    lab.record(rebaseline("etl", "load")).await;
    let mut slow = 0;
    for run in 0..60 {
        let ended = ran(&lab, id, "load", json!({}), 300 + run % 7).await;
        assert_eq!(ended.regression, None);
        slow += usize::from(ended.bottleneck.is_some());
    }
    assert_eq!(slow, 0);
    let told = runs(&lab, id, "load", 900, 60).await;
    let [regression] = &told[..] else { panic!("not one: {told:?}") };
    assert!((300..310).contains(&regression.before.as_millis()), "{regression:?}");
}

pub async fn rebaseline_makes_the_level_of_every_cohort_normal_at_once(lab: Lab) {
    let id = start(&lab, "3").await;
    let of_size = async |bytes: u64, millis: u64, times: u64| {
        let mut slow = 0;
        for _ in 0..times {
            let ended = ran(&lab, id, "by_version", json!({ "input_bytes": bytes }), millis).await;
            slow += usize::from(ended.bottleneck.is_some());
        }
        slow
    };
    for (bytes, millis) in [(10, 100), (1_000, 500)] {
        of_size(bytes, millis, 30).await;
        assert_eq!(of_size(bytes, 4 * millis, 20).await, 20);
    }
    lab.record(rebaseline("etl", "by_version")).await;
    for (bytes, millis) in [(10, 400), (1_000, 2_000)] {
        assert_eq!(of_size(bytes, millis, 30).await, 0, "{bytes} bytes");
        assert_eq!(of_size(bytes, 4 * millis, 1).await, 1, "{bytes} bytes");
    }
}
