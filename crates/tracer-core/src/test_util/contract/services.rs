//! Services: who they are, what they do, where they had a part, whom they call.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Lab;
use crate::ids::ExecutionId;
use crate::record::{Outcome, RecordSpans};
use crate::repository::{ExecutionCursor, Retention};
use crate::span::{Resource, ResourceId, Span, SpanKind, TraceSpans};
use crate::test_util::fixtures::{NOON, attributes, end, ms, span, start};
use crate::time::{Micros, Timestamp};

/// A span of a service, which is number of its resource.
fn of(service: u32, kind: SpanKind, mut span: Span) -> Span {
    span.attributes = attributes(serde_json::json!({"service.name": name(service)}));
    let detail = Arc::make_mut(&mut span.detail);
    (detail.resource, detail.kind) = (Some(ResourceId(service)), kind);
    span
}

fn name(service: u32) -> String {
    format!("service {service}")
}

async fn record(lab: &Lab, id: ExecutionId, spans: impl IntoIterator<Item = Span>) {
    let spans: Vec<Span> = spans.into_iter().collect();
    let resource = |span: &Span| {
        let id = span.detail.resource?;
        Some((id, Resource(attributes(serde_json::json!({"service.name": name(id.0)})))))
    };
    let resources: BTreeMap<ResourceId, Resource> = spans.iter().filter_map(resource).collect();
    let command = RecordSpans { traces: vec![TraceSpans { id, spans }], resources };
    let answer = lab.try_record(command).await.expect("spans are not refused");
    assert!(matches!(answer.outcome, Outcome::SpansRecorded(_)));
}

/// A request that one service takes and has another help with, twice.
fn request() -> Vec<Span> {
    vec![
        of(1, SpanKind::Server, span(1, None, "GET /cart", 100, 500)),
        of(1, SpanKind::Client, span(2, Some(1), "ask prices", 110, 100)),
        of(2, SpanKind::Server, span(3, Some(2), "prices", 120, 80)),
        of(2, SpanKind::Server, span(4, Some(1), "prices", 300, 80)),
        of(2, SpanKind::Internal, span(5, Some(4), "prices", 310, 10)),
    ]
}

fn id(number: u128) -> ExecutionId {
    ExecutionId::from_u128(number).expect("an id")
}

async fn found(lab: &Lab, service: u32, after: Option<ExecutionCursor>, limit: usize) -> Vec<ExecutionId> {
    let (from, until) = (NOON, NOON + Micros::from_days(1));
    let executions = lab.store().executions_of_service(&name(service), from, until, after, limit).await;
    executions.expect("an answer").into_iter().map(|execution| execution.id).collect()
}

async fn operations(lab: &Lab, service: &str) -> Vec<String> {
    let operations = lab.store().operations(service).await.expect("an answer");
    operations.into_iter().map(|known| format!("{} {}", known.kind.as_str(), known.name)).collect()
}

async fn calls(lab: &Lab) -> Vec<String> {
    let day = NOON.day();
    let calls = lab.store().service_calls(day, day).await.expect("an answer");
    calls.into_iter().map(|call| format!("{} > {}: {}", call.parent, call.child, call.calls)).collect()
}

pub async fn services_and_workflows_are_known_with_what_they_do(lab: Lab) {
    assert!(lab.store().services().await.expect("an answer").is_empty());
    record(&lab, id(7), request()).await;
    record(&lab, id(7), request()).await;
    let execution = lab.start("etl").await;
    lab.took(execution, "load", 5).await;
    lab.record(end(execution)).await;
    lab.advance(Micros::from_secs(10));
    lab.settle().await;
    let services = lab.store().services().await.expect("an answer");
    assert_eq!(services, ["etl", "service 1", "service 1 GET /cart", "service 2"]);
    assert_eq!(operations(&lab, "service 1").await, ["server GET /cart", "client ask prices"]);
    assert_eq!(operations(&lab, "service 2").await, ["internal prices", "server prices"]);
    assert_eq!(operations(&lab, "etl").await, ["internal etl", "internal load"]);
    assert!(operations(&lab, "nobody").await.is_empty());
}

pub async fn executions_are_found_by_service_newest_start_first(lab: Lab) {
    for number in 1..=5_u64 {
        let of_request = |mut span: Span| {
            span.started_at = span.started_at + ms(number * 1_000);
            span
        };
        record(&lab, id(number.into()), request().into_iter().map(of_request)).await;
    }
    let alone = of(1, SpanKind::Server, span(1, None, "GET /", 20_000, 5));
    record(&lab, id(6), [alone]).await;
    lab.start("etl").await;
    assert_eq!(found(&lab, 1, None, 10).await, [6, 5, 4, 3, 2, 1].map(id));
    assert_eq!(found(&lab, 2, None, 2).await, [5, 4].map(id));
    let after = ExecutionCursor { started_at: NOON + ms(4_100), id: id(4) };
    assert_eq!(found(&lab, 2, Some(after), 10).await, [3, 2, 1].map(id));
    assert!(found(&lab, 3, None, 10).await.is_empty());
    let between = |from: u64, until: u64| (NOON + ms(from), NOON + ms(until));
    let (from, until) = between(2_100, 4_100);
    let within = lab.store().executions_of_service("service 2", from, until, None, 10).await;
    let within: Vec<ExecutionId> = within.expect("an answer").into_iter().map(|found| found.id).collect();
    assert_eq!(within, [3, 2].map(id));
}

pub async fn an_execution_is_found_once_however_its_spans_come(lab: Lab) {
    let spans = request();
    // The root last: until it comes, the execution begins with its earliest span.
    for span in spans.iter().rev().chain(&spans) {
        record(&lab, id(7), [span.clone()]).await;
    }
    for service in [1, 2] {
        assert_eq!(found(&lab, service, None, 10).await, [id(7)]);
        let start = NOON + ms(100);
        for (from, until, expected) in [(start, start + ms(1), 1), (start + ms(1), start + ms(9_000), 0)] {
            let within = lab.store().executions_of_service(&name(service), from, until, None, 10).await;
            assert_eq!(within.expect("an answer").len(), expected, "{service} from {from}");
        }
    }
}

pub async fn spans_of_a_clients_execution_place_it_among_their_services(lab: Lab) {
    let execution = lab.start_as(start("etl")).await;
    assert!(found(&lab, 1, None, 10).await.is_empty());
    record(&lab, execution, [of(1, SpanKind::Client, span(5, None, "query", 10, 5))]).await;
    assert_eq!(found(&lab, 1, None, 10).await, [execution]);
}

pub async fn calls_are_counted_once_when_a_trace_settles(lab: Lab) {
    let spans = request();
    for span in spans.iter().rev().chain(&spans) {
        record(&lab, id(7), [span.clone()]).await;
    }
    assert!(calls(&lab).await.is_empty());
    lab.advance(Micros::from_secs(10));
    lab.settle().await;
    assert_eq!(calls(&lab).await, ["service 1 > service 2: 2"]);
    record(&lab, id(7), spans.clone()).await;
    lab.advance(Micros::from_secs(10));
    lab.settle().await;
    record(&lab, id(8), spans).await;
    lab.advance(Micros::from_secs(10));
    lab.settle().await;
    assert_eq!(calls(&lab).await, ["service 1 > service 2: 4"]);
    let (before, day) = ((NOON - Micros::from_days(1)).day(), (NOON + Micros::from_days(1)).day());
    assert!(lab.store().service_calls(before, before).await.expect("an answer").is_empty());
    assert_eq!(lab.store().service_calls(before, day).await.expect("an answer").len(), 1);
}

pub async fn what_is_kept_of_services_goes_with_their_executions(lab: Lab) {
    record(&lab, id(7), request()).await;
    lab.advance(Micros::from_secs(10));
    lab.settle().await;
    let retention = Retention { detail: Micros::from_days(30), aggregates: Micros::from_days(400) };
    lab.store().prune(lab.now(), retention).await.expect("pruned");
    assert_eq!((found(&lab, 2, None, 10).await.len(), calls(&lab).await.len()), (1, 1));
    // Two months on, so that the month of its partition is over for long enough, too.
    lab.advance(Micros::from_days(70));
    lab.store().prepare(lab.now()).await.expect("prepared");
    record(&lab, id(9), [of(1, SpanKind::Server, span(1, None, "GET /new", 0, 5))]).await;
    lab.store().prune(lab.now(), retention).await.expect("pruned");
    assert!(found(&lab, 2, None, 10).await.is_empty() && calls(&lab).await.is_empty());
    assert_eq!(operations(&lab, "service 1").await, ["server GET /new"]);
    assert!(operations(&lab, "service 2").await.is_empty());
    assert_eq!(found(&lab, 1, None, 10).await, [id(9)]);
    let everything = (Timestamp::from_micros(0), lab.now() + Micros::from_days(1));
    let left = lab.store().executions_of_service("service 1", everything.0, everything.1, None, 10).await;
    assert_eq!(left.expect("an answer").len(), 1);
}

pub async fn of_names_without_end_a_bounded_number_is_known(lab: Lab) {
    let most = crate::limits::SERVICE_OPERATIONS;
    for portion in 0..4_u64 {
        let spans = (0..400).map(|number| {
            let number = portion * 400 + number;
            of(1, SpanKind::Server, span(10 + number, Some(1), &format!("operation {number}"), number, 1))
        });
        record(&lab, id(7), spans).await;
    }
    assert_eq!(operations(&lab, "service 1").await.len(), most);
}
