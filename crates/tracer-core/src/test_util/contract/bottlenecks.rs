//! What names the bottlenecks of one execution: verdicts given, and steps that may get one.

use super::Lab;
use crate::cohort::{BaselineKey, Cohort};
use crate::ids::ExecutionId;
use crate::record::StartStep;
use crate::repository::BottleneckSteps;
use crate::test_util::fixtures::{failed, ms, step, step_id};

async fn shown(lab: &Lab, id: ExecutionId) -> BottleneckSteps {
    lab.store().bottleneck_steps(id).await.expect("an answer").expect("a known execution")
}

fn judged(shown: &BottleneckSteps) -> Vec<&str> {
    shown.judged.iter().map(|step| step.name.as_str()).collect()
}

pub async fn an_ended_execution_shows_the_steps_judged(lab: Lab) {
    let history = lab.start("etl").await;
    for name in ["a", "b", "c"] {
        lab.took_each(history, name, 100, 20).await;
    }
    let id = lab.start("etl").await;
    // Ids that fall while starts rise: the order is that of the starts.
    for (number, name) in [(9, "c"), (8, "b"), (7, "a")] {
        lab.record(StartStep { id: step_id(number), ..step(id, name) }).await;
        lab.advance(ms(1));
        lab.complete(id, step_id(number), if name == "b" { 100 } else { 900 }).await;
    }
    lab.ended(id, "a", failed(30_000)).await;
    lab.end(id).await;
    let found = shown(&lab, id).await;
    assert_eq!(found.workflow.as_str(), "etl");
    assert_eq!(judged(&found), ["a", "c", "a"], "earliest start first, failed ones too");
    assert!(found.judged.iter().all(|step| step.bottleneck.is_some()));
    assert!(found.running.is_empty());
}

pub async fn a_running_step_comes_with_its_history(lab: Lab) {
    let history = lab.start("etl").await;
    lab.took_each(history, "load", 100, 6).await;
    lab.took_each(history, "save", 300, 6).await;
    let id = lab.start("etl").await;
    let expected = [lab.step(id, "load").await, {
        lab.advance(ms(1));
        lab.step(id, "save").await
    }];
    lab.advance(ms(500));
    let found = shown(&lab, id).await;
    let running: Vec<_> = found.running.iter().map(|running| running.id).collect();
    assert_eq!((running, judged(&found).len()), (expected.to_vec(), 0));
    for running in &found.running {
        let key = BaselineKey::of_step(&found.workflow, &running.name, &Cohort::default());
        let stored = lab.baseline("etl", running.name.as_str()).await;
        let found = lab.store().baselines(&[key].into()).await.expect("an answer");
        assert_eq!(found.get(&key), Some(&stored));
    }
}

pub async fn a_running_step_without_history_comes_without(lab: Lab) {
    let id = lab.start("etl").await;
    let step = lab.step(id, "new").await;
    let found = shown(&lab, id).await;
    let [running] = &found.running[..] else { panic!("one: {found:?}") };
    assert_eq!(*running, lab.step_of(id, step).await);
    let key = BaselineKey::of_step(&found.workflow, &running.name, &Cohort::default());
    let known = lab.store().baselines(&[key].into()).await.expect("an answer");
    assert!(known.get(&key).is_none_or(|baseline| baseline.reference().is_none()));
}

pub async fn steps_within_limits_are_not_shown(lab: Lab) {
    let id = lab.start("etl").await;
    lab.took_each(id, "load", 100, 8).await;
    assert_eq!(judged(&shown(&lab, id).await), Vec::<&str>::new());
    let other = lab.start("etl").await;
    lab.took(other, "load", 1_000).await;
    assert_eq!(judged(&shown(&lab, id).await), Vec::<&str>::new(), "nor those of others");
    assert_eq!(judged(&shown(&lab, other).await), ["load"]);
}
