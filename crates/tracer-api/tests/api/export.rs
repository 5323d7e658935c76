//! Exporting: what leaves the service as traces of OpenTelemetry, and what becomes of it.

use std::collections::BTreeSet;
use std::time::Duration;

use insta::assert_snapshot;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use serde_json::json;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracer_api::config::{Compression, Protocol, Secret, Settings};
use tracer_api::recording::Arrival;
use tracer_core::ids::ExecutionId;
use tracer_core::test_util::fixtures::{NOON, export, span};

use super::fake_collector::{Export, FakeCollector, Mood};
use super::helpers::{Service, id_of, send, start_with};

/// A service that exports, and its exporter.
struct Exporting {
    service: Service,
    closing: CancellationToken,
    exporter: JoinHandle<()>,
}

impl Exporting {
    async fn to(collector: &FakeCollector, change: impl FnOnce(&mut Settings)) -> Self {
        let url = collector.url.clone();
        let mut service = start_with(|settings| {
            settings.export.endpoint = url;
            change(settings);
        })
        .await;
        let closing = CancellationToken::new();
        let exporter = tokio::spawn(service.exporter.take().unwrap().run(closing.clone()));
        Self { service, closing, exporter }
    }

    /// Exports what waits, as when the service stops.
    async fn finish(self) {
        self.closing.cancel();
        self.exporter.await.unwrap();
    }
}

fn value(given: &AnyValue) -> String {
    match given.value.as_ref().unwrap() {
        Any::StringValue(text) => format!("{text:?}"),
        Any::BoolValue(truth) => truth.to_string(),
        Any::IntValue(whole) => whole.to_string(),
        Any::DoubleValue(float) => format!("{float:?}"),
        Any::ArrayValue(array) => {
            format!("[{}]", array.values.iter().map(value).collect::<Vec<_>>().join(", "))
        }
        Any::KvlistValue(list) => format!("{{{}}}", pairs(&list.values)),
        Any::BytesValue(_) | Any::StringValueStrindex(_) => panic!("nothing of ours"),
    }
}

fn pairs(attributes: &[KeyValue]) -> String {
    let all = attributes.iter().map(|pair| format!("{}={}", pair.key, value(pair.value.as_ref().unwrap())));
    all.collect::<Vec<_>>().join(" ")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn spans(exports: &[Export]) -> Vec<Span> {
    let resources = exports.iter().flat_map(|export| &export.request.resource_spans);
    resources.flat_map(|resource| &resource.scope_spans).flat_map(|scope| scope.spans.clone()).collect()
}

fn services(exports: &[Export]) -> BTreeSet<String> {
    let resources = exports.iter().flat_map(|export| &export.request.resource_spans);
    let named = resources.flat_map(|resource| &resource.resource.as_ref().unwrap().attributes);
    named.filter(|pair| pair.key == "service.name").map(|pair| value(pair.value.as_ref().unwrap())).collect()
}

fn names(exports: &[Export]) -> Vec<String> {
    spans(exports).into_iter().map(|span| span.name).collect()
}

/// Says what an export holds, a few lines for each span.
fn told(export: &Export) -> String {
    let at = |nanos: u64| i64::try_from(nanos / 1_000).unwrap() - NOON.as_micros();
    let mut lines = Vec::new();
    for resource in &export.request.resource_spans {
        lines.push(pairs(&resource.resource.as_ref().unwrap().attributes));
        for span in resource.scope_spans.iter().flat_map(|scope| &scope.spans) {
            let status = span.status.as_ref().unwrap();
            lines.push(format!(
                "{} in {} {:?} of {} kind {} flags {:x} {}..{} status {} {:?}",
                hex(&span.span_id),
                hex(&span.trace_id),
                span.name,
                hex(&span.parent_span_id),
                span.kind,
                span.flags,
                at(span.start_time_unix_nano),
                at(span.end_time_unix_nano),
                status.code,
                status.message
            ));
            lines.push(format!("  {}", pairs(&span.attributes)));
            for event in &span.events {
                lines.push(format!(
                    "  at {}: {} {}",
                    at(event.time_unix_nano),
                    event.name,
                    pairs(&event.attributes)
                ));
            }
            lines.extend(
                span.links.iter().map(|link| format!("  to {} {}", hex(&link.trace_id), hex(&link.span_id))),
            );
        }
    }
    lines.join("\n")
}

async fn end(service: &Service, execution: &str, status: &str) {
    service.put(execution, json!({"status": status})).await.expect(200);
}

/// Records an execution of two steps.
async fn run(service: &Service, workflow: &str) {
    let execution = service.execution(workflow).await;
    service.took(&execution, "load", 100).await;
    service.took(&execution, "save", 20).await;
    end(service, &execution, "completed").await;
}

#[tokio::test]
async fn an_execution_is_exported_when_it_ends() {
    let collector = FakeCollector::start([]);
    let exporting = Exporting::to(&collector, |settings| {
        settings.export.headers = Secret::new("authorization=Bearer%20secret,x-tenant=a");
        settings.export.resource_attributes = "deployment.environment.name=test,service.version=0".to_owned();
    })
    .await;
    let service = &exporting.service;
    let earlier = service.execution("etl").await;
    for _ in 0..5 {
        service.took(&earlier, "load", 100).await;
    }
    let upstream = "00-000000000000000000000000000000cd-00000000000000ef-01";
    let attributes =
        json!({"region": "eu", "rows": 5, "ratio": 0.5, "dry": true, "none": null, "list": [1, {"a": "b"}]});
    let body = json!({"workflow_name": "etl", "version": "7", "correlation_id": "c-1", "attributes": attributes,
        "parent_workflow_id": id_of(&earlier), "input": {"secret": 1}});
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
    let error = json!({"type": "Timeout", "message": "too late", "stack": "at a"});
    service.put(&inner, json!({"status": "failed", "error": error})).await.expect(200);
    let ended = json!({"status": "failed", "error": {"message": "inner failed"}});
    service.put(&execution, ended).await.expect(200);
    let exports = collector.wait_for(1).await;
    assert_eq!(exports[0].path, "/v1/traces");
    let headers = exports[0].headers.join("\n");
    for header in [
        "authorization: Bearer secret",
        "content-encoding: gzip",
        "content-type: application/x-protobuf",
        "x-tenant: a",
    ] {
        assert!(headers.contains(header), "{headers}");
    }
    let trace = id_of(&execution).strip_prefix("wf_").unwrap().to_owned();
    let above = id_of(&earlier).strip_prefix("wf_").unwrap().to_owned();
    let load =
        spans(&exports).iter().find(|span| span.name == "load").map(|span| hex(&span.span_id)).unwrap();
    let mut shown = told(&exports[0]).replace(env!("CARGO_PKG_VERSION"), "[version]");
    for (name, text) in [
        ("[trace]", trace.as_str()),
        ("[root]", trace.get(16..).unwrap()),
        ("[above]", above.as_str()),
        ("[root of above]", above.get(16..).unwrap()),
        ("[transform]", id_of(&transform).strip_prefix("st_").unwrap()),
        ("[inner]", id_of(&inner).strip_prefix("st_").unwrap()),
        ("[load]", &load),
    ] {
        shown = shown.replace(text, name);
    }
    assert_snapshot!(shown, @r#"
    deployment.environment.name="test" service.name="etl" service.version="7" telemetry.sdk.language="rust" telemetry.sdk.name="tracer" telemetry.sdk.version="[version]"
    [root] in [trace] "etl" of  kind 1 flags 101 0..41000 status 2 "inner failed"
      dry=true list=[1, {a="b"}] ratio=0.5 region="eu" rows=5 tracer.workflow.name="etl" tracer.status="failed" tracer.workflow.version="7" tracer.correlation_id="c-1"
      at 41000: exception exception.message="inner failed"
      to 000000000000000000000000000000cd 00000000000000ef
      to [above] [root of above]
    [load] in [trace] "load" of [root] kind 1 flags 101 -500000..0 status 1 ""
      tracer.step.type="task" tracer.status="completed" tracer.bottleneck.severity="CRITICAL" tracer.bottleneck.factor=5.0 tracer.bottleneck.historical_avg_ms=100
    [transform] in [trace] "transform" of [root] kind 1 flags 101 0..41000 status 0 ""
      tracer.step.type="task" tracer.status="cancelled"
    [inner] in [trace] "inner" of [transform] kind 1 flags 101 1000..41000 status 2 "too late"
      tracer.step.type="llm" tracer.status="failed" tracer.step.attempt=2
      at 41000: exception exception.type="Timeout" exception.message="too late" exception.stacktrace="at a"
    "#);
    exporting.finish().await;
    assert_eq!(collector.exports().len(), 1);
}

#[tokio::test]
async fn json_and_grpc_carry_the_same() {
    let by_json = FakeCollector::start([]);
    let exporting = Exporting::to(&by_json, |settings| {
        settings.export.protocol = Protocol::HttpJson;
        settings.export.compression = Compression::None;
        settings.export.traces_endpoint = format!("{}/some/path?a=b", settings.export.endpoint);
    })
    .await;
    run(&exporting.service, "etl").await;
    exporting.finish().await;
    let exports = by_json.exports();
    assert_eq!(
        (exports[0].path.as_str(), names(&exports)),
        ("/some/path", vec!["etl".into(), "load".into(), "save".into()])
    );
    assert!(exports[0].headers.contains(&"content-type: application/json".to_owned()));
    assert!(!exports[0].headers.iter().any(|header| header.starts_with("content-encoding")));

    let by_grpc = FakeCollector::start_grpc([Mood::Away, Mood::Partial]).await;
    let exporting = Exporting::to(&by_grpc, |settings| {
        settings.export.protocol = Protocol::Grpc;
        settings.export.headers = Secret::new("x-tenant=a");
    })
    .await;
    run(&exporting.service, "etl").await;
    let exports = by_grpc.wait_for(2).await;
    assert_eq!(exports[0].request, exports[1].request);
    assert_eq!(names(&exports[..1]), ["etl", "load", "save"]);
    assert!(exports[0].headers.contains(&"x-tenant: a".to_owned()), "{:?}", exports[0].headers);
    exporting.finish().await;
    assert_eq!(by_grpc.exports().len(), 2);
}

#[tokio::test]
async fn what_may_help_is_tried_again_and_what_cannot_is_not() {
    let collector = FakeCollector::start([
        Mood::Away,
        Mood::Away,
        Mood::Fine,
        Mood::Status(400),
        Mood::Partial,
        Mood::Garbage,
    ]);
    let exporting = Exporting::to(&collector, |_| {}).await;
    run(&exporting.service, "first").await;
    collector.wait_for(3).await;
    for (name, arrived) in [("refused", 4), ("partly", 5), ("garbled", 6), ("last", 7)] {
        run(&exporting.service, name).await;
        collector.wait_for(arrived).await;
    }
    exporting.finish().await;
    let exports = collector.exports();
    let roots: Vec<String> =
        exports.iter().map(|export| names(std::slice::from_ref(export))[0].clone()).collect();
    assert_eq!(roots, ["first", "first", "first", "refused", "partly", "garbled", "last"]);
    assert_eq!(exports[0].request, exports[2].request);
}

#[tokio::test]
async fn a_collector_that_never_answers_holds_up_nobody() {
    let collector = FakeCollector::start([Mood::Silent; 100]);
    let exporting =
        Exporting::to(&collector, |settings| settings.export.timeout = Duration::from_millis(50)).await;
    run(&exporting.service, "first").await;
    collector.wait_for(1).await;
    for _ in 0..3 {
        run(&exporting.service, "more").await;
    }
    // What waits is tried once more, all of it together, and let go.
    exporting.finish().await;
    let exports = collector.exports();
    assert_eq!(names(&exports).iter().filter(|name| *name == "more").count(), 3, "{:?}", names(&exports));
}

#[tokio::test]
async fn a_large_execution_is_split() {
    let collector = FakeCollector::start([]);
    let exporting = Exporting::to(&collector, |_| {}).await;
    let service = &exporting.service;
    let execution = service.execution("wide").await;
    for _ in 0..300 {
        service.took(&execution, "part", 1).await;
    }
    let large = json!({"step_name": "large", "duration_ms": 1, "attributes":
        (0..8).map(|n| (format!("k{n}"), json!("x".repeat(4_000)))).collect::<serde_json::Map<_, _>>()});
    for _ in 0..400 {
        service.post(&format!("{execution}/steps"), large.clone()).await.expect(201);
    }
    end(service, &execution, "completed").await;
    exporting.finish().await;
    let exports = collector.exports();
    let ids: BTreeSet<Vec<u8>> = spans(&exports).into_iter().map(|span| span.span_id).collect();
    assert_eq!((spans(&exports).len(), ids.len()), (701, 701));
    for export in &exports {
        let bytes = prost::Message::encoded_len(&export.request);
        assert!(spans(std::slice::from_ref(export)).len() <= 512 && bytes <= 4 << 20, "{bytes}");
    }
    assert!(exports.len() >= 4, "{}", exports.len());
}

#[tokio::test]
async fn only_what_happened_here_is_exported() {
    let collector = FakeCollector::start([]);
    let exporting =
        Exporting::to(&collector, |settings| settings.export.service_name = "platform".to_owned()).await;
    let service = &exporting.service;
    let import = json!({"workflow_name": "import", "workflow_id": format!("wf_{:032x}", 7), "status": "completed",
        "started_at": "2026-01-31T11:00:00Z", "ended_at": "2026-01-31T11:00:01Z",
        "steps": [{"step_id": "st_0000000000000001", "step_name": "a", "started_at": "2026-01-31T11:00:00Z", "duration_ms": 5}]});
    let imported = service.post("/import", import).await;
    assert!([200, 201].contains(&imported.status), "{}", imported.text);
    let tracing = &service.background.tracing;
    let spans = export(ExecutionId::from_u128(9).unwrap(), [span(1, None, "traced", 0, 10)]);
    tracing.record_spans(spans, Arrival::plain(tracing.now())).await.unwrap();
    let named = json!({"workflow_name": "named", "attributes": {"service.name": "own"}});
    let named = service.post("/workflows", named).await;
    named.expect(201);
    end(service, named.header("location"), "cancelled").await;
    let running = service.execution("running").await;
    service.took(&running, "load", 5).await;
    service.post("/simulate?workflow_name=demo", json!({})).await;
    exporting.finish().await;
    let exports = collector.exports();
    let names = names(&exports);
    assert!(names.contains(&"named".to_owned()) && names.contains(&"demo".to_owned()), "{names:?}");
    for absent in ["import", "traced", "running", "load"] {
        assert!(!names.contains(&absent.to_owned()), "{absent}: {names:?}");
    }
    let expected = ["\"own\"", "\"platform\""].map(str::to_owned);
    assert_eq!(services(&exports), BTreeSet::from(expected));
}

#[tokio::test]
async fn when_too_many_wait_the_newest_is_left_out_and_recording_goes_on() {
    let collector = FakeCollector::start([]);
    let url = collector.url.clone();
    let mut service = start_with(|settings| {
        settings.export.endpoint = url;
        settings.export.queue = 2;
    })
    .await;
    for name in ["a", "b", "c", "d"] {
        run(&service, name).await;
    }
    let metrics = service.get("/metrics").await.text;
    assert!(
        metrics.contains("tracer_export_dropped_total") && metrics.contains("tracer_export_queue"),
        "{metrics}"
    );
    let closing = CancellationToken::new();
    closing.cancel();
    service.exporter.take().unwrap().run(closing).await;
    assert_eq!(names(&collector.exports()), ["a", "load", "save", "b", "load", "save"]);
    let metrics = service.get("/metrics").await.text;
    assert!(metrics.contains("tracer_export_spans_total{outcome=\"sent\"}"), "{metrics}");
}

#[tokio::test]
async fn the_services_own_requests_are_spans_if_it_is_told_so() {
    let collector = FakeCollector::start([]);
    let exporting = Exporting::to(&collector, |settings| settings.export.own_requests = true).await;
    let service = &exporting.service;
    for path in ["/metrics", "/health/ready", "/health"] {
        service.get(path).await;
    }
    let sampled = "00-000000000000000000000000000000cd-00000000000000ef-01";
    let unsampled = "00-000000000000000000000000000000ce-00000000000000ef-00";
    for traceparent in [sampled, unsampled] {
        let ask = service.request("GET", "/stats/a%2Fb?limit=secret").header("traceparent", traceparent);
        send(ask.header("user-agent", "test").header("tracestate", "a=b")).await.problem(400);
    }
    exporting.finish().await;
    let exports = collector.exports();
    assert_eq!(services(&exports), BTreeSet::from(["\"tracer\"".to_owned()]));
    let spans = spans(&exports);
    assert_eq!(spans.len(), 1);
    let span = &spans[0];
    assert_eq!(
        (span.name.as_str(), span.kind, span.trace_state.as_str()),
        ("GET /stats/{workflow_name}", 2, "a=b")
    );
    assert_eq!(
        (hex(&span.trace_id), hex(&span.parent_span_id)),
        (format!("{:032x}", 0xcd), format!("{:016x}", 0xef))
    );
    assert_snapshot!(pairs(&span.attributes), @r#"http.request.method="GET" url.path="/stats/a%2Fb" url.scheme="http" network.protocol.version="1.1" server.address="127.0.0.1" client.address="127.0.0.1" user_agent.original="test" http.route="/stats/{workflow_name}" http.response.status_code=400"#);
}

#[tokio::test]
async fn what_another_tracer_takes_is_the_same_trace() {
    let other = start_with(|_| {}).await;
    let url = format!("http://{}", other.address);
    let mut service = start_with(|settings| settings.export.endpoint = url).await;
    let execution = service.execution("etl").await;
    service.took(&execution, "load", 100).await;
    let outer = service.step(&execution, "outer").await;
    let inner = json!({"step_name": "inner", "parent_step_id": id_of(&outer), "duration_ms": 5,
        "status": "failed", "error": {"type": "Timeout", "message": "too late"}});
    service.post(&format!("{execution}/steps"), inner).await.expect(201);
    service.advance(250);
    service.put(&outer, json!({"status": "completed"})).await.expect(200);
    end(&service, &execution, "completed").await;
    let closing = CancellationToken::new();
    closing.cancel();
    service.exporter.take().unwrap().run(closing).await;
    let mut shown = Vec::new();
    for tracer in [&service, &other] {
        let answer = tracer.get(&format!("/jaeger/api/traces/{}", id_of(&execution))).await.expect(200);
        let spans = answer["data"][0]["spans"].as_array().unwrap().clone();
        let told = spans.iter().map(|span| {
            let error = span["tags"].as_array().unwrap().iter().any(|tag| tag["key"] == "error");
            let (id, name, above) = (&span["spanID"], &span["operationName"], &span["references"]);
            format!("{id} {name} {above} {} {} {error} {}", span["startTime"], span["duration"], span["logs"])
        });
        shown.push(told.collect::<BTreeSet<String>>());
        let services = tracer.get("/jaeger/api/services").await.expect(200);
        assert_eq!(services["data"], json!(["etl"]));
    }
    assert_eq!(shown[0].len(), 4);
    assert_eq!(shown[0], shown[1]);
}
