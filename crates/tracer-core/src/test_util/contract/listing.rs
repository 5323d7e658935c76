//! Pages of executions, and counts of those that run.

use serde_json::json;

use super::Lab;
use crate::detect::Severity;
use crate::ids::ExecutionId;
use crate::record::{EndExecution, StartExecution};
use crate::repository::{ExecutionCursor, ExecutionFilter};
use crate::test_util::fixtures::{attributes, end, ms, payload, start, workflow};
use crate::time::Micros;

/// Walks through all pages of a listing.
async fn paged(lab: &Lab, filter: &ExecutionFilter, limit: usize) -> Vec<ExecutionId> {
    let (mut ids, mut after) = (Vec::new(), None);
    loop {
        let page = lab.store().executions(filter, after, limit).await.expect("an answer");
        assert!(page.len() <= limit);
        let Some(last) = page.last() else { return ids };
        after = Some(ExecutionCursor { started_at: last.started_at, id: last.id });
        ids.extend(page.iter().map(|execution| execution.id));
        assert!(ids.len() <= 1_000, "the pages go round in circles");
    }
}

fn newest_first(mut started: Vec<StartExecution>) -> Vec<ExecutionId> {
    started.sort_by_key(|start| std::cmp::Reverse((start.started_at, start.id)));
    started.into_iter().map(|start| start.id).collect()
}

async fn started_in_groups(lab: &Lab, count: u64) -> Vec<StartExecution> {
    let mut started = Vec::new();
    for n in 0..count {
        let name = if n % 2 == 0 { "even" } else { "odd" };
        let attributes = attributes(json!({"third": n % 3}));
        let given = StartExecution { started_at: lab.now() + ms(n / 7), attributes, ..start(name) };
        lab.start_as(given.clone()).await;
        started.push(given);
    }
    started
}

pub async fn pages_have_no_gaps_or_repeats_when_starts_are_equal(lab: Lab) {
    let all = newest_first(started_in_groups(&lab, 25).await);
    for limit in [1, 3, 7, 24, 25, 26] {
        assert_eq!(paged(&lab, &ExecutionFilter::default(), limit).await, all, "{limit} at a time");
    }
}

pub async fn pages_go_on_where_they_were_when_executions_arrive(lab: Lab) {
    let all = newest_first(started_in_groups(&lab, 20).await);
    let filter = ExecutionFilter::default();
    let first = lab.store().executions(&filter, None, 10).await.expect("an answer");
    let last = first.last().expect("ten");
    lab.start_as(StartExecution { started_at: lab.now() + ms(60_000), ..start("even") }).await;
    let after = Some(ExecutionCursor { started_at: last.started_at, id: last.id });
    let second = lab.store().executions(&filter, after, 100).await.expect("an answer");
    let ids: Vec<_> = first.iter().chain(&second).map(|execution| execution.id).collect();
    assert_eq!(ids, all);
}

pub async fn filtered_pages_have_no_gaps_or_repeats(lab: Lab) {
    let started = started_in_groups(&lab, 30).await;
    let even: Vec<_> = started.into_iter().filter(|start| start.workflow.as_str() == "even").collect();
    let by_name = ExecutionFilter { workflow: Some(workflow("even")), ..ExecutionFilter::default() };
    assert_eq!(paged(&lab, &by_name, 4).await, newest_first(even.clone()));
    let thirds = even.into_iter().filter(|start| start.attributes.entries()["third"] == json!(1)).collect();
    let by_both = ExecutionFilter { attributes: vec![("third".into(), "1".into())], ..by_name };
    assert_eq!(paged(&lab, &by_both, 2).await, newest_first(thirds));
}

pub async fn running_listings_of_bottlenecks_are_paged_too(lab: Lab) {
    let history = lab.start("even").await;
    lab.took_each(history, "load", 100, 30).await;
    let mut slow = Vec::new();
    for (n, given) in started_in_groups(&lab, 24).await.into_iter().enumerate() {
        if given.workflow.as_str() == "even" {
            lab.took(given.id, "load", 9_000).await;
            slow.push(given.clone());
        }
        if n % 3 == 0 {
            lab.end(given.id).await;
        }
    }
    let filter = ExecutionFilter { bottleneck: Some(Severity::Warning), ..ExecutionFilter::default() };
    let expected = newest_first(slow);
    for limit in [1, 5, 12] {
        assert_eq!(paged(&lab, &filter, limit).await, expected, "{limit} at a time");
    }
}

pub async fn a_listing_has_no_payloads(lab: Lab) {
    let given = StartExecution {
        input: Some(payload(&json!("in"))),
        attributes: attributes(json!({"kept": true})),
        ..start("etl")
    };
    let id = lab.start_as(given.clone()).await;
    lab.record(EndExecution { output: Some(payload(&json!("out"))), ..end(id) }).await;
    let listed = lab.store().executions(&ExecutionFilter::default(), None, 10).await.expect("an answer");
    let [listed] = &listed[..] else { panic!("one: {listed:?}") };
    assert_eq!((&listed.input, &listed.output), (&None, &None));
    let mut whole = lab.execution(id).await;
    (whole.input, whole.output) = (None, None);
    assert_eq!(*listed, whole, "everything else is there");
}

pub async fn running_executions_are_counted_by_workflow(lab: Lab) {
    assert_eq!(lab.store().running(10).await.expect("an answer"), []);
    for (name, count) in [("few", 1), ("many", 5), ("some", 3)] {
        for _ in 0..count {
            lab.start(name).await;
        }
        let ended = lab.start(name).await;
        lab.advance(Micros::from_secs(1));
        lab.end(ended).await;
    }
    let counts = lab.store().running(10).await.expect("an answer");
    let counts: Vec<_> = counts.iter().map(|(name, count)| (name.as_str(), *count)).collect();
    assert_eq!(counts, [("many", 5), ("some", 3), ("few", 1)], "most first");
    assert_eq!(lab.store().running(2).await.expect("an answer").len(), 2);
}
