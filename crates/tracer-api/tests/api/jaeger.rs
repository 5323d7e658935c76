//! `/jaeger/api`: executions as Jaeger's query service would show them.

use std::collections::BTreeMap;
use std::sync::Arc;

use insta::assert_snapshot;
use serde_json::{Value, json};
use tracer_api::recording::Arrival;
use tracer_core::failure::Failure;
use tracer_core::ids::ExecutionId;
use tracer_core::record::{Command, RecordSpans, Request, SettleTrace};
use tracer_core::span::{Resource, ResourceId, Span, SpanEnd, SpanEvent, SpanKind, SpanLink, TraceSpans};
use tracer_core::step::StepStatus;
use tracer_core::test_util::fixtures::{NOON, attributes, ms, span, step_id, workflow};

use super::helpers::{Service, id_of, send, start, start_with};

/// A trace whose id begins with zeros.
const TRACE: u128 = 0xab;

fn trace_id() -> ExecutionId {
    ExecutionId::from_u128(TRACE).unwrap()
}

async fn record(service: &Service, id: ExecutionId, spans: Vec<Span>) {
    let resource = |number: u32, name: &str| {
        let known = json!({"service.name": name, "host.name": format!("node-{number}"), "process.pid": 42});
        (ResourceId(number), Resource(attributes(known)))
    };
    let resources = BTreeMap::from([resource(1, "shop"), resource(2, "prices")]);
    let spans = RecordSpans { traces: vec![TraceSpans { id, spans }], resources };
    let arrival = Arrival::plain(service.background.tracing.now());
    service.background.tracing.record_spans(spans, arrival).await.unwrap();
}

async fn settle(service: &Service, id: ExecutionId) {
    service.advance(10_000);
    let tracing = &service.background.tracing;
    let command = Command::SettleTrace(SettleTrace { id });
    let request = Request { command, idempotency: None, received_at: tracing.now() };
    tracing.repository().record(request).await.unwrap();
}

fn of(service: u32, kind: SpanKind, mut span: Span) -> Span {
    let name = if service == 1 { "shop" } else { "prices" };
    span.attributes = attributes(json!({"service.name": name, "http.response.status_code": 200}));
    let detail = Arc::make_mut(&mut span.detail);
    (detail.resource, detail.kind) = (Some(ResourceId(service)), kind);
    span
}

/// A request to a shop, which asks another service for its prices, in vain.
fn shop() -> Vec<Span> {
    let mut root = of(1, SpanKind::Server, span(1, None, "GET /cart", 100, 500));
    root.workflow = Some(workflow("cart"));
    Arc::make_mut(&mut root.detail).scope = Some("actix 4.1".to_owned());
    let mut ask = of(1, SpanKind::Client, span(2, Some(1), "GET", 110, 100));
    Arc::make_mut(&mut ask.detail).links = vec![SpanLink {
        trace: ExecutionId::from_u128(7).unwrap(),
        span: step_id(9),
        attributes: attributes(json!({})),
    }];
    let mut prices = of(2, SpanKind::Server, span(3, Some(2), "GET /prices", 120, 80));
    prices.end = Some(SpanEnd {
        status: StepStatus::Failed,
        duration: ms(80),
        failure: Some(Failure::new(Some("NoPrice"), "there is none", None)),
    });
    Arc::make_mut(&mut prices.detail).events = vec![SpanEvent {
        at: NOON + ms(150),
        name: "exception".to_owned(),
        attributes: attributes(
            json!({"exception.type": "NoPrice", "retries": 3, "final": true, "wait": 0.5}),
        ),
    }];
    vec![root, ask, prices]
}

fn data(answer: &Value) -> &Value {
    for (key, expected) in [("limit", json!(0)), ("offset", json!(0)), ("errors", Value::Null)] {
        assert_eq!(answer[key], expected, "{key}");
    }
    assert_eq!(answer["total"], answer["data"].as_array().unwrap().len());
    &answer["data"]
}

/// Says what a trace is, a line for each span, with what can be seen of it.
fn told(trace: &Value) -> String {
    let tags = |tags: &Value| {
        let each = tags.as_array().unwrap().iter();
        let written = each.map(|tag| {
            let key = tag["key"].as_str().unwrap();
            format!("{key}={}:{}", tag["value"], tag["type"].as_str().unwrap().get(..1).unwrap())
        });
        written.collect::<Vec<_>>().join(" ")
    };
    let mut lines = Vec::new();
    for span in trace["spans"].as_array().unwrap() {
        assert_eq!(span["traceID"], trace["traceID"]);
        let process = &trace["processes"][span["processID"].as_str().unwrap()]["serviceName"];
        let references = span["references"]
            .as_array()
            .unwrap()
            .iter()
            .map(|to| format!("{} {}", to["refType"].as_str().unwrap(), to["spanID"].as_str().unwrap()));
        lines.push(format!(
            "{} {} of {} at {} for {} [{}]",
            span["spanID"].as_str().unwrap(),
            span["operationName"],
            process.as_str().unwrap(),
            span["startTime"].as_i64().unwrap() - NOON.as_micros(),
            span["duration"],
            references.collect::<Vec<_>>().join(", ")
        ));
        lines.push(format!("  {}", tags(&span["tags"])));
        for log in span["logs"].as_array().unwrap() {
            let at = log["timestamp"].as_i64().unwrap() - NOON.as_micros();
            lines.push(format!("  at {at}: {}", tags(&log["fields"])));
        }
        if let Some(warnings) = span["warnings"].as_array() {
            lines.push(format!("  warnings: {warnings:?}"));
        }
    }
    for (id, process) in trace["processes"].as_object().unwrap() {
        lines.push(format!("{id}: {} {}", process["serviceName"], tags(&process["tags"])));
    }
    lines.join("\n")
}

async fn show(service: &Service, id: &str) -> Value {
    let answer = service.get(&format!("/jaeger/api/traces/{id}")).await.expect(200);
    data(&answer)[0].clone()
}

/// Returns the names of the roots of what is found.
async fn found(service: &Service, query: &str) -> Vec<String> {
    let answer = service.get(&format!("/jaeger/api/traces?{query}")).await.expect(200);
    let traces = data(&answer).as_array().unwrap().iter();
    traces.map(|trace| trace["spans"][0]["operationName"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_trace_of_spans_is_as_its_services_told_it() {
    let service = start().await;
    record(&service, trace_id(), shop()).await;
    let trace = show(&service, "ab").await;
    assert_eq!(trace["traceID"], format!("{TRACE:032x}"));
    assert_eq!(trace["warnings"], Value::Null);
    assert_snapshot!(told(&trace), @r##"
    0000000000000001 "GET /cart" of shop at 100000 for 500000 []
      http.response.status_code=200:i tracer.status="completed":s otel.status_code="OK":s span.kind="server":s otel.scope.name="actix 4.1":s tracer.workflow.name="cart":s
    0000000000000002 "GET" of shop at 110000 for 100000 [CHILD_OF 0000000000000001, FOLLOWS_FROM 0000000000000009]
      http.response.status_code=200:i tracer.status="completed":s otel.status_code="OK":s span.kind="client":s tracer.step.type="task":s
    0000000000000003 "GET /prices" of prices at 120000 for 80000 [CHILD_OF 0000000000000002]
      http.response.status_code=200:i tracer.status="failed":s error=true:b otel.status_code="ERROR":s otel.status_description="there is none":s span.kind="server":s tracer.step.type="task":s
      at 150000: event="exception":s exception.type="NoPrice":s final=true:b retries=3:i wait=0.5:f
    p1: "shop" host.name="node-1":s process.pid=42:i
    p2: "prices" host.name="node-2":s process.pid=42:i
    "##);
    for id in [format!("{TRACE:032x}"), format!("{TRACE:016X}"), trace_id().to_string()] {
        assert_eq!(show(&service, &id).await, trace, "{id}");
    }
}

#[tokio::test]
async fn an_execution_of_rest_is_a_trace_whose_root_it_is() {
    let service = start().await;
    let earlier = service.execution("etl").await;
    for _ in 0..5 {
        service.took(&earlier, "load", 100).await;
    }
    let upstream = "00-000000000000000000000000000000cd-00000000000000ef-01";
    let body = json!({"workflow_name": "etl", "version": "7", "attributes": {"region": "eu", "rows": 5, "skip": null, "list": [1]}});
    let started =
        send(service.request("POST", "/workflows").header("traceparent", upstream).json(&body)).await;
    started.expect(201);
    let execution = started.header("location").to_owned();
    service.took(&execution, "load", 500).await;
    let transform = service.step(&execution, "transform").await;
    service.advance(1);
    let inner =
        json!({"step_name": "inner", "parent_step_id": id_of(&transform), "step_type": "llm", "attempt": 2});
    let inner = service.post(&format!("{execution}/steps"), inner).await.expect(201);
    let inner = format!("{execution}/steps/{}", inner["step_id"].as_str().unwrap());
    service.advance(40);
    let failed =
        json!({"status": "failed", "error": {"type": "Timeout", "message": "too late", "stack": "at a"}});
    service.put(&inner, failed).await.expect(200);
    service.advance(10);
    let trace = show(&service, id_of(&execution)).await;
    let id = id_of(&execution).strip_prefix("wf_").unwrap().to_owned();
    assert_eq!(trace["traceID"], id);
    let mut shown = told(&trace);
    for (name, text) in [
        ("[root]", id.get(16..).unwrap()),
        ("[transform]", id_of(&transform).strip_prefix("st_").unwrap()),
        ("[inner]", id_of(&inner).strip_prefix("st_").unwrap()),
        ("[load]", trace["spans"][1]["spanID"].as_str().unwrap()),
    ] {
        shown = shown.replace(text, name);
    }
    assert_snapshot!(shown, @r##"
    [root] "etl" of etl at 0 for 51000 [FOLLOWS_FROM 00000000000000ef]
      list="[1]":s region="eu":s rows=5:i tracer.status="running":s span.kind="internal":s tracer.workflow.name="etl":s tracer.workflow.version="7":s
      warnings: [String("it still runs: its duration is what it has taken so far")]
    [load] "load" of etl at -500000 for 500000 [CHILD_OF [root]]
      tracer.status="completed":s otel.status_code="OK":s span.kind="internal":s tracer.step.type="task":s tracer.bottleneck.severity="CRITICAL":s tracer.bottleneck.factor=5.0:f tracer.bottleneck.historical_avg_ms=100:i
      warnings: [String("CRITICAL: 500 ms instead of 100 ms on average, 5 times as long, compared with 5 runs")]
    [transform] "transform" of etl at 0 for 51000 [CHILD_OF [root]]
      tracer.status="running":s span.kind="internal":s tracer.step.type="task":s
      warnings: [String("it still runs: its duration is what it has taken so far")]
    [inner] "inner" of etl at 1000 for 40000 [CHILD_OF [transform]]
      tracer.status="failed":s error=true:b otel.status_code="ERROR":s otel.status_description="too late":s span.kind="internal":s tracer.step.type="llm":s tracer.step.attempt=2:i
      at 41000: event="exception":s exception.message="too late":s exception.stacktrace="at a":s exception.type="Timeout":s
    p1: "etl"
    "##);
}

#[tokio::test]
async fn services_are_those_of_spans_and_every_workflow() {
    let service = start().await;
    assert_eq!(*data(&service.get("/jaeger/api/services").await.expect(200)), json!([]));
    record(&service, trace_id(), shop()).await;
    settle(&service, trace_id()).await;
    let execution = service.execution("a/b c").await;
    service.took(&execution, "load", 5).await;
    let services = service.get("/jaeger/api/services").await.expect(200);
    assert_eq!(*data(&services), json!(["a/b c", "cart", "prices", "shop"]));
    for (path, expected) in [
        ("services/shop/operations", json!(["GET", "GET /cart"])),
        ("services/a%2Fb%20c/operations", json!(["a/b c", "load"])),
        ("services/nobody/operations", json!([])),
        ("operations?service=prices", json!([{"name": "GET /prices", "spanKind": "server"}])),
        ("operations?service=shop&spanKind=client", json!([{"name": "GET", "spanKind": "client"}])),
        ("operations?service=nobody", json!([])),
    ] {
        assert_eq!(*data(&service.get(&format!("/jaeger/api/{path}")).await.expect(200)), expected, "{path}");
    }
    let to = NOON.as_micros() / 1_000 + 10_000;
    let calls =
        service.get(&format!("/jaeger/api/dependencies?endTs={to}&lookback=3600000")).await.expect(200);
    assert_eq!(*data(&calls), json!([{"parent": "shop", "child": "prices", "callCount": 1}]));
    let before = service.get("/jaeger/api/dependencies?endTs=86400000&lookback=1000").await.expect(200);
    assert_eq!(*data(&before), json!([]));
    assert_eq!(*data(&service.get("/jaeger/api/dependencies").await.expect(200)), *data(&calls));
}

#[tokio::test]
async fn a_search_finds_traces_by_what_one_span_is() {
    let service = start().await;
    record(&service, trace_id(), shop()).await;
    let other = ExecutionId::from_u128(TRACE + 1).unwrap();
    record(&service, other, vec![of(1, SpanKind::Server, span(1, None, "GET /", 5_000, 20))]).await;
    service.advance(60_000);
    let execution = service.execution("etl").await;
    service.took(&execution, "load", 500).await;
    let named = json!({"workflow_name": "run", "attributes": {"service.name": "shop"}});
    service.post("/workflows", named).await.expect(201);
    for (query, expected) in [
        ("service=shop", &["run", "GET /", "GET /cart"][..]),
        ("service=shop&limit=1", &["run"]),
        ("service=prices", &["GET /cart"]),
        ("service=etl", &["etl"]),
        ("service=cart", &["GET /cart"]),
        ("service=nobody", &[]),
        ("service=shop&operation=GET", &["GET /cart"]),
        ("service=shop&operation=GET+%2Fprices", &[]),
        ("service=shop&operation=all&unknown=1", &["run", "GET /", "GET /cart"]),
        ("service=prices&tags=%7B%22error%22%3A%22true%22%7D", &["GET /cart"]),
        ("service=shop&tags=%7B%22error%22%3A%22true%22%7D", &[]),
        ("service=shop&tag=host.name:node-1&tag=span.kind:client", &["GET /cart"]),
        ("service=shop&tag=host.name:node-2", &[]),
        ("service=prices&tag=retries:3&tag=final:true&tag=wait:0.5", &["GET /cart"]),
        ("service=shop&minDuration=400ms", &["GET /cart"]),
        ("service=shop&minDuration=15ms&maxDuration=0.02s&operation=GET+%2F", &["GET /"]),
        ("service=etl&operation=load&minDuration=400ms", &["etl"]),
        ("service=etl&operation=etl&minDuration=400ms", &[]),
        ("service=shop&lookback=50s", &["run"]),
        ("service=shop&lookback=custom&end=1", &[]),
    ] {
        assert_eq!(found(&service, query).await, expected, "{query}");
    }
    let from = NOON.as_micros() + 4_000_000;
    let within = format!("service=shop&start={from}&end={}&lookback=custom", from + 1_000_000);
    assert_eq!(found(&service, &within).await, ["GET /"]);
    let by_id = service.get("/jaeger/api/traces?traceID=ab&traceID=ff").await.expect(200);
    assert_eq!(by_id["data"].as_array().unwrap().len(), 1);
    assert_eq!(by_id["errors"], json!([{"code": 404, "msg": "trace not found", "traceID": "ff"}]));
}

#[tokio::test]
async fn what_cannot_be_answered_is_told_in_the_envelope() {
    let service = start().await;
    let mut lines = Vec::new();
    for path in [
        "traces/ff",
        "traces/xyz",
        "traces/0",
        "traces",
        "traces?service=a&start=soon",
        "traces?service=a&limit=0",
        "traces?service=a&minDuration=5",
        "traces?service=a&minDuration=2s&maxDuration=1s",
        "traces?service=a&tag=b",
        "traces?service=a&tags=%5B%5D",
        "traces?service=%FF",
        "operations",
        "operations?service=a&spanKind=other",
        "dependencies?endTs=x",
        "dependencies?lookback=-1",
    ] {
        let answer = service.get(&format!("/jaeger/api/{path}")).await;
        assert_eq!(answer.header("content-type"), "application/json");
        let refused: Value = serde_json::from_str(&answer.text).unwrap();
        assert_eq!(refused["errors"][0]["code"], answer.status);
        let rest = json!([refused["data"], refused["total"], refused["limit"], refused["offset"]]);
        assert_eq!(rest, json!([null, 0, 0, 0]));
        lines.push(format!("{path}: {} {}", answer.status, refused["errors"][0]["msg"].as_str().unwrap()));
    }
    assert_snapshot!(lines.join("\n"), @r##"
    traces/ff: 404 trace not found
    traces/xyz: 400 malformed trace id, expecting at most 32 hexadecimal digits
    traces/0: 400 malformed trace id, expecting at most 32 hexadecimal digits
    traces: 400 parameter 'service' is required
    traces?service=a&start=soon: 400 unable to parse param 'start'
    traces?service=a&limit=0: 400 unable to parse param 'limit'
    traces?service=a&minDuration=5: 400 unable to parse param 'minDuration'
    traces?service=a&minDuration=2s&maxDuration=1s: 400 'maxDuration' should be greater than 'minDuration'
    traces?service=a&tag=b: 400 malformed 'tag' parameter, expecting key:value
    traces?service=a&tags=%5B%5D: 400 malformed 'tags' parameter, expecting a JSON object of texts
    traces?service=%FF: 400 unable to parse the query: it is not percent-encoded UTF-8
    operations: 400 parameter 'service' is required
    operations?service=a&spanKind=other: 400 unable to parse param 'spanKind'
    dependencies?endTs=x: 400 unable to parse param 'endTs'
    dependencies?lookback=-1: 400 unable to parse param 'lookback'
    "##);
    service.post("/jaeger/api/traces", json!({})).await.problem(405);
    service.get("/jaeger/api/metrics/latencies").await.problem(404);
}

#[tokio::test]
async fn a_large_trace_is_cut_and_says_so() {
    let service = start().await;
    let most = tracer_core::limits::JAEGER_SPANS;
    let spans =
        (0..=u64::try_from(most).unwrap()).map(|number| span(10 + number, Some(1), "part", number, 1));
    let mut spans: Vec<Span> = spans.collect();
    spans.push(span(1, None, "whole", 0, 90_000));
    for portion in spans.chunks(5_000) {
        record(&service, trace_id(), portion.to_vec()).await;
    }
    let trace = show(&service, "ab").await;
    assert_eq!(trace["spans"].as_array().unwrap().len(), most + 1);
    assert_eq!(trace["spans"][0]["operationName"], "whole");
    assert!(trace["warnings"][0].as_str().unwrap().contains("only the first"), "{}", trace["warnings"]);
    let answer = service.get("/jaeger/api/traces?service=shop").await.expect(200);
    assert_eq!(answer["data"][0]["spans"].as_array().unwrap().len(), most);
}

#[tokio::test]
async fn asking_needs_a_key_that_may_read() {
    let keys = "grafana:read:one,app:ingest:two".parse().unwrap();
    let service = start_with(|settings| settings.api_keys = keys).await;
    let ask = |secret: &str| service.request("GET", "/jaeger/api/services").bearer_auth(secret);
    send(ask("one")).await.expect(200);
    send(ask("two")).await.problem(403);
    service.get("/jaeger/api/services").await.problem(401);
}
