//! Past executions as a remaining time is estimated from them: which ones, and with what.

use super::Lab;
use crate::eta::PastRun;
use crate::execution::ExecutionStatus;
use crate::step::StepStatus;
use crate::test_util::fixtures::{NOON, ending, ms, recorded, workflow};
use crate::time::{Micros, Timestamp};

/// More steps than any test here records.
const ENOUGH: usize = 1_000;

async fn found(lab: &Lab, name: &str, limit: usize, most_steps: usize) -> Vec<PastRun> {
    lab.store().past_runs(&workflow(name), limit, most_steps).await.expect("an answer")
}

/// Tells each by its start, in seconds since noon, and its number of steps.
fn told(runs: &[PastRun]) -> Vec<(u64, usize)> {
    runs.iter().map(|run| (run.started_at.since(NOON).get() / 1_000_000, run.steps.len())).collect()
}

fn at(secs: u64) -> Timestamp {
    NOON + Micros::from_secs(secs)
}

pub async fn past_runs_are_those_that_completed_newest_first(lab: Lab) {
    for (name, start) in [("etl", 30), ("etl", 10), ("other", 40), ("etl", 20)] {
        lab.record(recorded(at(start), name, &[("load", 100)])).await;
    }
    lab.advance(Micros::from_secs(50));
    for status in [ExecutionStatus::Failed, ExecutionStatus::TimedOut, ExecutionStatus::Cancelled] {
        let id = lab.start("etl").await;
        lab.end_as(id, status).await;
    }
    lab.start("etl").await;
    assert_eq!(told(&found(&lab, "etl", 10, ENOUGH).await), [(30, 1), (20, 1), (10, 1)]);
}

pub async fn past_runs_have_the_times_of_their_steps(lab: Lab) {
    let id = lab.start("etl").await;
    lab.advance(ms(10));
    let load = lab.step(id, "load").await;
    let open = lab.step(id, "never closed").await;
    lab.advance(ms(500));
    lab.complete(id, load, 500).await;
    lab.ended(id, "left out", ending(StepStatus::Skipped)).await;
    lab.advance(ms(90));
    lab.end(id).await;
    let runs = found(&lab, "etl", 10, ENOUGH).await;
    let [run] = &runs[..] else { panic!("one: {runs:?}") };
    assert_eq!((run.started_at, run.ended_at), (NOON, NOON + ms(600)));
    let mut steps: Vec<_> =
        run.steps.iter().map(|step| (step.name.as_str(), step.started_at, step.ended_at)).collect();
    steps.sort_unstable();
    let after = |millis| NOON + ms(millis);
    let expected = [
        ("left out", after(510), Some(after(510))),
        ("load", after(10), Some(after(510))),
        ("never closed", after(10), lab.step_of(id, open).await.ended_at),
    ];
    assert_eq!(steps, expected);
}

pub async fn past_runs_are_at_most_as_many_as_asked_for(lab: Lab) {
    for start in 0..5 {
        lab.record(recorded(at(start), "etl", &[("load", 100), ("save", 1)])).await;
    }
    assert_eq!(told(&found(&lab, "etl", 2, ENOUGH).await), [(4, 2), (3, 2)]);
    assert_eq!(told(&found(&lab, "etl", 0, ENOUGH).await), []);
}

pub async fn past_runs_are_whole_or_left_out(lab: Lab) {
    for start in 0..4 {
        lab.record(recorded(at(start), "etl", &[("load", 100), ("map", 5), ("save", 1)])).await;
    }
    for (most, expected) in [(12, 4), (11, 3), (9, 3), (8, 2), (3, 1), (2, 0), (0, 0)] {
        let runs = found(&lab, "etl", 10, most).await;
        assert_eq!((runs.len(), runs.iter().all(|run| run.steps.len() == 3)), (expected, true), "{most}");
    }
    lab.record(recorded(at(9), "plain", &[])).await;
    assert_eq!(told(&found(&lab, "plain", 10, ENOUGH).await), [(9, 0)], "without steps it has a length");
}

pub async fn past_runs_of_an_unknown_workflow_are_none(lab: Lab) {
    lab.start("etl").await;
    assert_eq!(
        [found(&lab, "etl", 10, ENOUGH).await, found(&lab, "none", 10, ENOUGH).await],
        [vec![], vec![]]
    );
}
