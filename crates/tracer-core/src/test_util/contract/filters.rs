//! Listing executions: each condition, alone and with others.

use serde_json::{Value, json};

use super::Lab;
use crate::detect::Severity;
use crate::execution::ExecutionStatus;
use crate::ids::ExecutionId;
use crate::record::{EndExecution, StartExecution};
use crate::repository::ExecutionFilter;
use crate::test_util::fixtures::{NOON, attributes, correlation, end, ms, start, workflow};
use crate::time::Micros;

fn any() -> ExecutionFilter {
    ExecutionFilter::default()
}

/// Starts executions one second apart, the given one first.
async fn seconds_apart(lab: &Lab, given: impl IntoIterator<Item = StartExecution>) -> Vec<ExecutionId> {
    let mut ids = Vec::new();
    for start in given {
        lab.advance(Micros::from_secs(1));
        ids.push(lab.start_as(StartExecution { started_at: lab.now(), ..start }).await);
    }
    ids
}

pub async fn without_conditions_everything_is_listed_newest_first(lab: Lab) {
    assert_eq!(lab.list(&any()).await, []);
    let old = lab.start_as(StartExecution { started_at: NOON - Micros::from_days(9), ..start("b") }).await;
    let [first, second] = seconds_apart(&lab, [start("a"), start("b")]).await[..] else { panic!("two") };
    lab.end(first).await;
    assert_eq!(
        lab.list(&any()).await,
        [second, first, old],
        "by their start, not by when they were recorded"
    );
}

pub async fn by_workflow(lab: Lab) {
    let ids = seconds_apart(&lab, [start("etl"), start("ETL"), start("etl "), start("etl")]).await;
    let of = async |name: &str| lab.list(&ExecutionFilter { workflow: Some(workflow(name)), ..any() }).await;
    assert_eq!(of("etl").await, [ids[3], ids[0]]);
    assert_eq!(of("ETL").await, [ids[1]]);
    assert_eq!(of("et").await, []);
}

pub async fn by_status(lab: Lab) {
    let ids = seconds_apart(&lab, ExecutionStatus::ALL.map(|_| start("etl"))).await;
    for (id, status) in
        ids.iter().zip(ExecutionStatus::ALL).filter(|(_, status)| *status != ExecutionStatus::Running)
    {
        lab.end_as(*id, status).await;
    }
    for (id, status) in ids.iter().zip(ExecutionStatus::ALL) {
        assert_eq!(lab.list(&ExecutionFilter { status: Some(status), ..any() }).await, [*id], "{status:?}");
    }
}

pub async fn by_correlation_id(lab: Lab) {
    let named = |id: &str| StartExecution { correlation_id: Some(correlation(id)), ..start("etl") };
    let ids = seconds_apart(&lab, [named("run-1"), named("run-2"), start("etl"), named("run-1")]).await;
    let of =
        async |id: &str| lab.list(&ExecutionFilter { correlation_id: Some(correlation(id)), ..any() }).await;
    assert_eq!(of("run-1").await, [ids[3], ids[0]], "a client may use one id for many");
    assert_eq!(of("run-2").await, [ids[1]]);
    assert_eq!(of("run-%").await, []);
}

pub async fn by_start(lab: Lab) {
    let ids = seconds_apart(&lab, [start("a"), start("b"), start("c")]).await;
    let at = |n: u64| Some(NOON + Micros::from_secs(n));
    let between = async |from, to| {
        lab.list(&ExecutionFilter { started_after: from, started_before: to, ..any() }).await
    };
    assert_eq!(between(at(2), None).await, [ids[2], ids[1]], "at or after");
    assert_eq!(between(None, at(2)).await, [ids[0]], "before, not at");
    assert_eq!(between(at(2), at(3)).await, [ids[1]]);
    assert_eq!(between(at(3), at(2)).await, []);
}

pub async fn by_duration(lab: Lab) {
    let ids = seconds_apart(&lab, [start("a"), start("b"), start("c"), start("still running")]).await;
    for (id, millis) in ids.iter().zip([100, 200, 300]) {
        let ended_at = Some(lab.execution(*id).await.started_at + ms(millis));
        lab.record(EndExecution { ended_at, ..end(*id) }).await;
    }
    let within = async |least: Option<u64>, most: Option<u64>| {
        lab.list(&ExecutionFilter { min_duration: least.map(ms), max_duration: most.map(ms), ..any() }).await
    };
    assert_eq!(within(Some(200), None).await, [ids[2], ids[1]]);
    assert_eq!(within(None, Some(200)).await, [ids[1], ids[0]]);
    assert_eq!(within(Some(200), Some(200)).await, [ids[1]]);
    assert_eq!(within(Some(0), None).await.len(), 3, "only what has ended took any time");
    assert_eq!(within(Some(201), Some(299)).await, []);
}

/// Starts executions with a normal step, a WARNING, a CRITICAL, and both verdicts.
async fn judged(lab: &Lab) -> Vec<ExecutionId> {
    let history = lab.start("history").await;
    lab.took_each(history, "load", 100, 20).await;
    let ids = seconds_apart(lab, [(); 4].map(|()| start("history"))).await;
    for (id, durations) in ids.iter().zip([&[100][..], &[250], &[900], &[900, 250]]) {
        for millis in durations {
            lab.took(*id, "load", *millis).await;
        }
    }
    lab.end(history).await;
    ids
}

fn as_bad_as(severity: Severity) -> ExecutionFilter {
    ExecutionFilter { bottleneck: Some(severity), ..any() }
}

pub async fn by_the_worst_verdict(lab: Lab) {
    let ids = judged(&lab).await;
    for id in &ids {
        lab.end(*id).await;
    }
    assert_eq!(lab.list(&as_bad_as(Severity::Warning)).await, [ids[3], ids[2], ids[1]]);
    assert_eq!(lab.list(&as_bad_as(Severity::Critical)).await, [ids[3], ids[2]]);
}

pub async fn by_the_verdicts_of_running_executions(lab: Lab) {
    let ids = judged(&lab).await;
    assert_eq!(lab.list(&as_bad_as(Severity::Warning)).await, [ids[3], ids[2], ids[1]]);
    assert_eq!(lab.execution(ids[1]).await.worst, Some(Severity::Warning), "it shows why it is found");
    lab.end(ids[2]).await;
    assert_eq!(
        lab.list(&as_bad_as(Severity::Critical)).await,
        [ids[3], ids[2]],
        "running and ended ones together"
    );
    let running = ExecutionFilter { status: Some(ExecutionStatus::Running), ..as_bad_as(Severity::Warning) };
    assert_eq!(lab.list(&running).await, [ids[3], ids[1]]);
    let ended = ExecutionFilter { status: Some(ExecutionStatus::Completed), ..as_bad_as(Severity::Warning) };
    assert_eq!(lab.list(&ended).await, [ids[2]]);
}

fn with(object: Value) -> StartExecution {
    StartExecution { attributes: attributes(object), ..start("etl") }
}

async fn having(lab: &Lab, pairs: &[(&str, &str)]) -> Vec<ExecutionId> {
    let attributes = pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
    lab.list(&ExecutionFilter { attributes, ..any() }).await
}

pub async fn by_attributes(lab: Lab) {
    let given = [
        json!({"region": "eu", "cores": 4}),
        json!({"region": "us", "cores": "4", "fast": true}),
        json!({"region": "eu", "cores": 4.5, "fast": "true"}),
        json!({"region": ["eu"], "cores": null, "fast": false, "nested": {"region": "eu"}}),
    ];
    let ids = seconds_apart(&lab, given.map(with)).await;
    assert_eq!(having(&lab, &[("region", "eu")]).await, [ids[2], ids[0]]);
    assert_eq!(having(&lab, &[("cores", "4")]).await, [ids[1], ids[0]], "a number or a text that reads so");
    assert_eq!(having(&lab, &[("cores", "4.5")]).await, [ids[2]]);
    assert_eq!(having(&lab, &[("fast", "true")]).await, [ids[2], ids[1]]);
    assert_eq!(having(&lab, &[("fast", "false")]).await, [ids[3]]);
    assert_eq!(having(&lab, &[("region", "eu"), ("cores", "4")]).await, [ids[0]]);
    assert_eq!(having(&lab, &[("region", "eu"), ("region", "us")]).await, []);
    assert_eq!(having(&lab, &[("missing", "eu")]).await, []);
    assert_eq!(having(&lab, &[("region", "EU")]).await, []);
}

pub async fn by_attributes_with_odd_characters(lab: Lab) {
    let pairs = [
        ("a.b", "dot"),
        ("$.a", "path"),
        ("quo\"te", "\"quoted\""),
        ("it's", "it's"),
        ("back\\slash", "C:\\tmp\\"),
        ("k:v", "a:b:c"),
        ("%", "_%"),
        ("[0]", "]["),
        ("ünï 🚀", "漢字 \u{202e}rtl"),
        ("{}", "{\"a\":1}"),
        ("empty", ""),
        ("space ", " x "),
        ("null", "null"),
    ];
    let ids = seconds_apart(&lab, pairs.map(|(key, value)| with(json!({ key: value })))).await;
    for (id, pair) in ids.iter().zip(pairs) {
        assert_eq!(having(&lab, &[pair]).await, [*id], "{pair:?}");
    }
    assert_eq!(having(&lab, &[("a", "dot")]).await, []);
    assert_eq!(having(&lab, &[("%", "xx")]).await, []);
}

pub async fn all_conditions_must_hold(lab: Lab) {
    let history = lab.start("etl").await;
    lab.took_each(history, "load", 100, 5).await;
    let given = StartExecution {
        correlation_id: Some(correlation("run-1")),
        attributes: attributes(json!({"region": "eu"})),
        ..start("etl")
    };
    let [id] = seconds_apart(&lab, [given]).await[..] else { panic!("one") };
    lab.took(id, "load", 900).await;
    let started_at = lab.now();
    lab.record(EndExecution { ended_at: Some(started_at + ms(900)), ..end(id) }).await;
    let exact = ExecutionFilter {
        workflow: Some(workflow("etl")),
        status: Some(ExecutionStatus::Completed),
        correlation_id: Some(correlation("run-1")),
        started_after: Some(started_at),
        started_before: Some(started_at + Micros::new(1)),
        min_duration: Some(ms(900)),
        max_duration: Some(ms(900)),
        bottleneck: Some(Severity::Critical),
        attributes: vec![("region".into(), "eu".into())],
        error: None,
    };
    assert_eq!(lab.list(&exact).await, [id]);
    let off_by_one = [
        ExecutionFilter { workflow: Some(workflow("etl2")), ..exact.clone() },
        ExecutionFilter { status: Some(ExecutionStatus::Failed), ..exact.clone() },
        ExecutionFilter { correlation_id: Some(correlation("run-2")), ..exact.clone() },
        ExecutionFilter { started_after: Some(started_at + Micros::new(1)), ..exact.clone() },
        ExecutionFilter { started_before: Some(started_at), ..exact.clone() },
        ExecutionFilter { min_duration: Some(ms(901)), ..exact.clone() },
        ExecutionFilter { max_duration: Some(ms(899)), ..exact.clone() },
        ExecutionFilter { attributes: vec![("region".into(), "us".into())], ..exact.clone() },
    ];
    for filter in off_by_one {
        assert_eq!(lab.list(&filter).await, [], "{filter:?}");
    }
}
