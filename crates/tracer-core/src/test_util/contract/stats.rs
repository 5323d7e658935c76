//! What a store says of workflows: their names, counts and histories.

use super::Lab;
use crate::repository::WorkflowSummary;
use crate::test_util::fixtures::{ms, recorded, workflow};
use crate::time::Micros;

pub async fn a_workflow_is_known_from_its_first_execution_on(lab: Lab) {
    assert!(lab.history("etl").await.is_none());
    let id = lab.start("etl").await;
    let known = lab.history("etl").await.expect("known");
    assert_eq!((known.running, known.steps.len(), known.executions.measured().endings.total()), (1, 0, 0));
    lab.step(id, "open").await;
    assert_eq!(lab.history("etl").await.expect("known").steps, [], "a step has a history when one has ended");
    lab.end(id).await;
    let known = lab.history("etl").await.expect("known");
    assert_eq!((known.running, known.executions.measured().endings.total()), (0, 1));
    lab.record(recorded(lab.now(), "imported", &[("load", 5)])).await;
    assert_eq!(lab.history("imported").await.expect("known").running, 0);
}

pub async fn a_name_never_recorded_is_unknown(lab: Lab) {
    lab.start("etl").await;
    for name in ["ETL", "etl ", "et", "etl%", "%", "load"] {
        assert!(lab.history(name).await.is_none(), "{name}");
    }
    assert!(lab.store().workflows(Some(&workflow("etl")), 10).await.expect("an answer").is_empty());
}

pub async fn the_history_of_a_workflow_names_its_steps(lab: Lab) {
    let (id, other) = (lab.start("etl").await, lab.start("other").await);
    lab.took(other, "elsewhere", 5).await;
    for (name, millis) in [("load", 30), ("extract", 10), ("transform", 20), ("load", 50)] {
        lab.took(id, name, millis).await;
    }
    let known = lab.history("etl").await.expect("known");
    let mut steps: Vec<_> = known.steps.iter().map(|(name, baseline)| format!("{name} {baseline}")).collect();
    steps.sort();
    let shown: Vec<_> = steps.iter().filter_map(|step| step.split(" p50").next()).collect();
    assert_eq!(shown, ["extract n=1 mean=10ms", "load n=2 mean=40ms", "transform n=1 mean=20ms"]);
}

pub async fn workflows_are_paged_by_name(lab: Lab) {
    let names = ["b", "a", "ü", "B", "a b", "aa", "漢", "_", "A"];
    for name in names {
        lab.start(name).await;
    }
    let all = lab.store().workflows(None, 100).await.expect("an answer");
    let mut found: Vec<_> = all.iter().map(|summary| summary.name.as_str()).collect();
    for limit in [1, 2, 8, 9, 10] {
        let (mut paged, mut after): (Vec<String>, _) = (Vec::new(), None);
        loop {
            let page = lab.store().workflows(after.as_ref(), limit).await.expect("an answer");
            assert!(page.len() <= limit);
            let Some(last) = page.last() else { break };
            after = Some(last.name.clone());
            paged.extend(page.iter().map(|summary| summary.name.as_str().into()));
            assert!(paged.len() <= names.len(), "the pages go round in circles");
        }
        assert_eq!(paged, found, "{limit} at a time");
    }
    found.sort_unstable();
    let mut expected = names;
    expected.sort_unstable();
    assert_eq!(found, expected);
}

pub async fn workflows_show_their_counts_and_last_activity(lab: Lab) {
    let started = lab.now();
    let id = lab.start("etl").await;
    lab.start("etl").await;
    lab.advance(Micros::from_secs(90));
    lab.end(id).await;
    let ended = lab.now();
    lab.advance(Micros::from_secs(90));
    lab.start("idle").await;
    let all = lab.store().workflows(None, 10).await.expect("an answer");
    let [etl, idle] = &all[..] else { panic!("two: {all:?}") };
    assert_eq!((etl.name.as_str(), etl.running, idle.name.as_str(), idle.running), ("etl", 1, "idle", 1));
    let measured = |summary: &WorkflowSummary| summary.executions.measured();
    assert_eq!((measured(etl).endings.completed, measured(etl).moments.max()), (1, Some(ms(90_000))));
    assert_eq!(measured(idle).endings.total(), 0);
    assert!(started < ended);
    assert_eq!((etl.last_activity, idle.last_activity), (Some(ended), Some(lab.now())));
}
