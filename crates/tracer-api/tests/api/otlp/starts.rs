//! Steps of which only the start is told yet: judged while they run, and completed by their spans.

use base64::Engine as _;
use prost::Message as _;
use serde_json::{Value, json};
use tracer_core::time::Micros;

use super::fixtures::{NOON, attribute, export, path_of, post, shown, span, take};
use crate::helpers::{Service, start};

#[tokio::test]
async fn a_running_step_is_judged_while_it_runs_and_ends_with_its_span() {
    let service = start().await;
    let execution = service.execution("etl").await;
    for _ in 0..5 {
        service.took(&execution, "load", 100).await;
    }
    let mut root = span(1, 1, 0, "run", 0, 0);
    root.attributes =
        vec![attribute("tracer.workflow.name", "etl"), attribute("tracer.step.state", "running")];
    let mut load = span(1, 2, 1, "load", 0, 0);
    load.attributes = vec![attribute("tracer.step.state", "running")];
    take(&service, vec![root.clone(), load.clone()]).await;
    service.clock.advance(Micros::from_millis(350));
    service.background.watch().await.unwrap();
    let found = service.get(&format!("{}/bottlenecks", path_of(1))).await.expect(200);
    let found = &found["bottlenecks"][0];
    assert_eq!(
        (&found["kind"], &found["severity"], &found["in_flight"]),
        (&json!("stuck_step"), &json!("CRITICAL"), &json!(true))
    );
    (load.end_time_unix_nano, root.end_time_unix_nano) = (NOON + 400_000_000, NOON + 450_000_000);
    load.attributes.clear();
    root.attributes.truncate(1);
    take(&service, vec![load, root]).await;
    insta::assert_snapshot!(shown(&service, 1).await, @r#"
    etl completed 450ms null
      2 load task in - completed 400ms ""
    "#);
    assert!(!service.get(&path_of(1)).await.text.contains("tracer.step.state"));
}

async fn logged(service: &Service, record: Value) -> Value {
    let resource = json!({"attributes": [{"key": "service.name", "value": {"stringValue": "etl"}}]});
    let body = json!({"resourceLogs": [{"resource": resource, "scopeLogs": [{"logRecords": [record]}]}]});
    let reply = post(service, "/v1/logs", &[("content-type", "application/json")], body.to_string()).await;
    assert_eq!(reply.status, 200);
    serde_json::from_slice(&reply.body).unwrap()
}

#[tokio::test]
async fn log_records_tell_of_starts() {
    let service = start().await;
    let text = |text: &str| json!({"stringValue": text});
    let own = json!({
        "timeUnixNano": NOON.to_string(), "eventName": "tracer.step.start",
        "traceId": format!("ab{:028x}01", 0), "spanId": "0000000000000002", "attributes": [
            {"key": "tracer.step.name", "value": text("load")},
            {"key": "tracer.step.parent_id", "value": text("0000000000000001")},
            {"key": "tracer.workflow.name", "value": text("nightly")},
        ],
    });
    assert_eq!(logged(&service, own).await, json!({}));
    let heartbeat = |body: &str| {
        let mark = json!([{"key": "partial.event", "value": text("heartbeat")}]);
        json!({"timeUnixNano": NOON.to_string(), "attributes": mark, "body": text(body)})
    };
    // The way Python writes messages as JSON: enumerations by name.
    let partial = json!({"resourceSpans": [{"scopeSpans": [{"spans": [{
        "traceId": format!("ab{:028x}01", 0), "spanId": "0000000000000003", "parentSpanId": "0000000000000002",
        "name": "in json", "kind": "SPAN_KIND_CLIENT", "startTimeUnixNano": NOON.to_string(), "status": {},
    }]}]}]});
    assert_eq!(logged(&service, heartbeat(&partial.to_string())).await, json!({}));
    let partial = export("other", vec![span(1, 4, 2, "in protobuf", 1, 7)]).encode_to_vec();
    let partial = base64::engine::general_purpose::STANDARD.encode(partial);
    assert_eq!(logged(&service, heartbeat(&partial)).await, json!({}));
    insta::assert_snapshot!(shown(&service, 1).await, @r#"
    nightly running nullms null
      2 load task in - running nullms ""
      3 in json task in 2 running nullms ""
      4 in protobuf task in 2 running nullms ""
    "#);
    for nothing in ["", "{}", "!", "AAAA"] {
        assert_eq!(logged(&service, heartbeat(nothing)).await["partialSuccess"]["rejectedLogRecords"], "1");
    }
    let stop = json!({"attributes": [{"key": "partial.event", "value": text("stop")}]});
    assert_eq!(logged(&service, stop).await, json!({}));
}
