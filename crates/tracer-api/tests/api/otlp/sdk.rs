//! The exporters of the OpenTelemetry SDK, as they are: every span arrives once, with the right parent.

use std::collections::BTreeSet;
use std::time::Duration;

use opentelemetry::trace::{
    Span as _, SpanKind, Status, TraceContextExt as _, Tracer as _, TracerProvider as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{Compression, Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider};
use serde_json::json;
use tracer_core::clock::Clock as _;

use crate::helpers::{Service, start_over};

/// A service by the machine's clock, because SDKs read it.
async fn service() -> Service {
    let settings = crate::helpers::settings();
    let policy = tracer_api::policy::policy(&settings);
    let config = tracer_store::StoreConfig::at(tracer_store::Location::Memory);
    let service = start_over(&settings, config, policy).await;
    // The exporter's client asks for one, even where it speaks no TLS. It may be there already.
    drop(rustls::crypto::ring::default_provider().install_default());
    service.clock.advance(tracer_store::SystemClock.now().since(service.clock.now()));
    service
}

fn provider(name: &'static str, exporter: SpanExporter) -> SdkTracerProvider {
    // Small batches, so that a trace comes in several exports.
    let batches = BatchConfigBuilder::default()
        .with_max_export_batch_size(3)
        .with_scheduled_delay(Duration::from_millis(20))
        .build();
    let processor = BatchSpanProcessor::builder(exporter).with_batch_config(batches).build();
    let resource = Resource::builder_empty().with_attribute(KeyValue::new("service.name", name)).build();
    SdkTracerProvider::builder().with_span_processor(processor).with_resource(resource).build()
}

/// Runs a workflow of two services; returns the path of its execution.
fn run(orders: &SdkTracerProvider, payments: &SdkTracerProvider) -> String {
    let (tracer, other) = (orders.tracer("test"), payments.tracer("test"));
    let named = [KeyValue::new("tracer.workflow.name", "sdk")];
    let root = tracer.span_builder("run").with_attributes(named).start(&tracer);
    let root = Context::current().with_span(root);
    for at in 0..8 {
        let step = tracer.start_with_context(format!("step {at}"), &root);
        let step = root.with_span(step);
        let mut inner = tracer.start_with_context(format!("inner {at}"), &step);
        inner.add_event("half", vec![KeyValue::new("at", at)]);
        inner.set_status(if at == 7 { Status::error("boom") } else { Status::Ok });
        inner.end();
        step.span().end();
    }
    let call = tracer.span_builder("call").with_kind(SpanKind::Client).start_with_context(&tracer, &root);
    let call = root.with_span(call);
    let mut serve = other.span_builder("serve").with_kind(SpanKind::Server).start_with_context(&other, &call);
    serve.end();
    call.span().end();
    let path = format!("/workflows/wf_{}", root.span().span_context().trace_id());
    root.span().end();
    path
}

async fn every_span_arrives_once(service: &Service, exporter: impl Fn() -> SpanExporter) {
    let (orders, payments) = (provider("orders", exporter()), provider("payments", exporter()));
    let path = tokio::task::spawn_blocking(move || {
        let path = run(&orders, &payments);
        orders.shutdown().unwrap();
        payments.shutdown().unwrap();
        path
    })
    .await
    .unwrap();
    let shown = service.get(&path).await.expect(200);
    assert_eq!((&shown["workflow_name"], &shown["status"]), (&json!("sdk"), &json!("completed")));
    let steps = shown["steps"].as_array().unwrap();
    let name_of = |id: &serde_json::Value| {
        let step = steps.iter().find(|step| step["step_id"] == *id);
        step.map_or("root", |step| step["step_name"].as_str().unwrap())
    };
    let lines: BTreeSet<String> = steps
        .iter()
        .map(|step| {
            format!("{} in {}", step["step_name"].as_str().unwrap(), name_of(&step["parent_step_id"]))
        })
        .collect();
    let mut expected: BTreeSet<String> = (0..8).map(|at| format!("step {at} in root")).collect();
    expected.extend((0..8).map(|at| format!("inner {at} in step {at}")));
    expected.extend(["call in root".to_owned(), "serve in call".to_owned()]);
    assert_eq!((steps.len(), &lines), (18, &expected));
    let failed: Vec<_> = steps.iter().filter(|step| step["status"] == "failed").collect();
    assert_eq!((failed.len(), &failed[0]["error"]["message"]), (1, &json!("boom")));
}

#[tokio::test(flavor = "multi_thread")]
async fn over_http_in_protobuf() {
    let service = service().await;
    let endpoint = format!("http://{}/v1/traces", service.address);
    every_span_arrives_once(&service, || {
        let builder = SpanExporter::builder().with_http().with_protocol(Protocol::HttpBinary);
        builder.with_endpoint(&endpoint).with_compression(Compression::Gzip).build().unwrap()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_grpc() {
    let service = service().await;
    let endpoint = format!("http://{}", service.grpc);
    every_span_arrives_once(&service, || {
        SpanExporter::builder().with_tonic().with_endpoint(&endpoint).build().unwrap()
    })
    .await;
}
