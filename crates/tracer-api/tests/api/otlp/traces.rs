//! From spans to executions with steps, histories and verdicts.

use serde_json::{Value, json};
use tracer_core::time::Micros;

use super::fixtures::{NOON, attribute, export, path_of, send, shown, span, take};
use crate::helpers::{Service, id_of, start};

/// Lets the traces whose time has come settle.
async fn settle(service: &Service) {
    service.clock.advance(Micros::from_secs(3));
    service.background.watch().await.unwrap();
}

/// A trace of a workflow with one step that takes so long, now.
async fn run(service: &Service, trace: u8, millis: u64) {
    let now = service.background.tracing.now().as_micros().unsigned_abs() / 1000 - NOON / 1_000_000;
    let mut root = span(trace, 1, 0, "run", now, now + millis + 10);
    root.attributes = vec![attribute("tracer.workflow.name", "etl")];
    take(service, vec![span(trace, 2, 1, "load", now, now + millis), root]).await;
    service.clock.advance(Micros::from_millis(millis + 10));
}

/// Returns how many runs the history of the step knows.
async fn learnt(service: &Service) -> Value {
    let stats = service.get("/stats/etl").await.expect(200);
    let load = stats["steps"].as_array().unwrap().iter().find(|step| step["step_name"] == "load").unwrap();
    load["execution_count"].clone()
}

#[tokio::test]
async fn a_trace_is_an_execution_and_its_spans_are_steps() {
    let service = start().await;
    let mut root = span(1, 1, 0, "run", 0, 500);
    root.attributes = vec![attribute("tracer.workflow.name", "nightly")];
    let mut call = span(1, 3, 2, "post", 10, 90);
    (call.kind, call.attributes) = (3, vec![attribute("http.request.method", "POST")]);
    let mut check = span(1, 4, 1, "check", 100, 400);
    check.status = Some(failed("no"));
    take(&service, vec![check, call]).await;
    take(&service, vec![root, span(1, 2, 1, "load", 0, 100)]).await;
    insta::assert_snapshot!(shown(&service, 1).await, @r#"
    nightly completed 500ms null
      2 load task in - completed 100ms ""
      3 post http in 2 completed 80ms ""
      4 check task in - failed 300ms {"message":"no","stack":null,"type":null}
    "#);
}

fn failed(message: &str) -> opentelemetry_proto::tonic::trace::v1::Status {
    opentelemetry_proto::tonic::trace::v1::Status { message: message.to_owned(), code: 2 }
}

#[tokio::test]
async fn what_was_acknowledged_is_found_at_once() {
    let service = start().await;
    take(&service, vec![span(1, 1, 0, "run", 0, 5)]).await;
    let listed =
        service.get("/workflows?workflow_name=etl%20run&attribute=service.name:etl").await.expect(200);
    assert_eq!(listed["workflows"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_slow_step_is_told_at_once_and_enters_its_history_once_its_trace_has_settled() {
    let service = start().await;
    for trace in 1..=5 {
        run(&service, trace, 100).await;
        settle(&service).await;
    }
    run(&service, 6, 350).await;
    assert_eq!(learnt(&service).await, 5, "not yet");
    settle(&service).await;
    assert_eq!(learnt(&service).await, 6);
    let found = service.get(&format!("{}/bottlenecks", path_of(6))).await.expect(200);
    let found = &found["bottlenecks"][0];
    assert_eq!(
        (&found["step_name"], &found["severity"], &found["factor"], &found["historical_avg_ms"]),
        (&json!("load"), &json!("CRITICAL"), &json!(3.5), &json!(100))
    );
}

#[tokio::test]
async fn sending_again_changes_nothing() {
    let service = start().await;
    run(&service, 1, 100).await;
    let before = service.everything().await;
    let spans = vec![span(1, 2, 1, "load", 0, 100), span(1, 2, 1, "load", 0, 100)];
    take(&service, spans).await;
    assert_eq!(service.everything().await, before);
}

#[tokio::test]
async fn a_span_joins_the_execution_that_a_client_started_over_rest() {
    let service = start().await;
    let started = service.post("/workflows", json!({"workflow_name": "mixed"})).await.expect(201);
    let traceparent = started["traceparent"].as_str().unwrap();
    let hex = |text: &str| -> Vec<u8> {
        text.as_bytes()
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    };
    let mut parts = traceparent.split('-').skip(1);
    let (trace, parent) = (hex(parts.next().unwrap()), hex(parts.next().unwrap()));
    let mut one = span(1, 7, 0, "call", 0, 40);
    (one.trace_id, one.parent_span_id) = (trace, parent);
    assert_eq!(send(&service, &export("llm", vec![one])).await.refused(), "");
    let path = format!("/workflows/{}", started["workflow_id"].as_str().unwrap());
    service.took(&path, "rest", 5).await;
    let shown = service.get(&path).await.expect(200);
    let mut steps: Vec<_> =
        shown["steps"].as_array().unwrap().iter().map(|step| step["step_name"].as_str().unwrap()).collect();
    steps.sort_unstable();
    assert_eq!((steps, &shown["workflow_name"]), (vec!["call", "rest"], &json!("mixed")));
    assert_eq!(id_of(&path), started["workflow_id"]);
}
