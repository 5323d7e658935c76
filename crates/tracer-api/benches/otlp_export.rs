//! What an export of spans costs from bytes to command.
//!
//! Not here: the network before it and the store behind it, which `cargo xtask bench otlp` measures together.
#![expect(clippy::unwrap_used, reason = "a benchmark whose fixture is wrong must stop")]

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, Throughput};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message as _;
use serde_json::json;
use tracer_api::otlp::inflate::Coding;
use tracer_api::otlp::intake::{Form, Signal, decoded};
use tracer_api::otlp::room::{ROOM_BYTES, Room};
use tracer_core::time::Timestamp;

/// 2026-01-31T12:00:00Z.
const NOW: Timestamp = Timestamp::from_millis(1_769_860_800_000);
const SPANS: u64 = 512;

const TEXTS: [(&str, &str); 4] = [
    ("db.system.name", "postgresql"),
    ("db.namespace", "orders"),
    ("db.query.text", "SELECT id, customer, total FROM orders WHERE created_at > ? AND state = ?"),
    ("db.collection.name", "orders"),
];

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let (protobuf, json) = (Bytes::from(protobuf()), Bytes::from(json().to_string()));
    let mut group = criterion.benchmark_group("export of 512 spans");
    group.throughput(Throughput::Elements(SPANS));
    for (name, form, body) in [("protobuf", Form::Protobuf, protobuf), ("json", Form::Json, json)] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut share = Room::of(ROOM_BYTES).share();
                let form = (Signal::Traces, form, Coding::Identity);
                let gathered = decoded(black_box(body.clone()), form, NOW, &mut share).unwrap();
                assert_eq!(gathered.taken, SPANS);
                gathered
            });
        });
    }
    group.finish();
    criterion.final_summary();
}

fn start() -> u64 {
    u64::try_from(NOW.as_micros()).unwrap() * 1_000
}

fn protobuf() -> Vec<u8> {
    let pair = |key: &str, value: Value| KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    };
    let attributes: Vec<KeyValue> = TEXTS
        .iter()
        .map(|(key, text)| pair(key, Value::StringValue((*text).to_owned())))
        .chain([pair("db.response.returned_rows", Value::IntValue(182))])
        .collect();
    let span = |number: u64| Span {
        trace_id: u128::from(number / 16 + 1).to_be_bytes().to_vec(),
        span_id: (number + 1).to_be_bytes().to_vec(),
        parent_span_id: if number.is_multiple_of(16) {
            Vec::new()
        } else {
            (number / 16 * 16 + 1).to_be_bytes().to_vec()
        },
        name: "select orders".to_owned(),
        kind: 3,
        start_time_unix_nano: start(),
        end_time_unix_nano: start() + 5_000_000,
        attributes: attributes.clone(),
        ..Span::default()
    };
    let resource = Resource {
        attributes: vec![pair("service.name", Value::StringValue("orders".to_owned()))],
        ..Resource::default()
    };
    let scope_spans = vec![ScopeSpans { spans: (0..SPANS).map(span).collect(), ..ScopeSpans::default() }];
    let resource_spans =
        vec![ResourceSpans { resource: Some(resource), scope_spans, ..ResourceSpans::default() }];
    ExportTraceServiceRequest { resource_spans }.encode_to_vec()
}

fn json() -> serde_json::Value {
    let mut attributes: Vec<_> =
        TEXTS.iter().map(|(key, text)| json!({"key": key, "value": {"stringValue": text}})).collect();
    attributes.push(json!({"key": "db.response.returned_rows", "value": {"intValue": "182"}}));
    let span = |number: u64| {
        json!({
            "traceId": format!("{:032x}", number / 16 + 1), "spanId": format!("{:016x}", number + 1),
            "parentSpanId": if number.is_multiple_of(16) { String::new() } else { format!("{:016x}", number / 16 * 16 + 1) },
            "name": "select orders", "kind": 3, "startTimeUnixNano": start().to_string(),
            "endTimeUnixNano": (start() + 5_000_000).to_string(), "attributes": attributes,
        })
    };
    let resource = json!({"attributes": [{"key": "service.name", "value": {"stringValue": "orders"}}]});
    let spans: Vec<_> = (0..SPANS).map(span).collect();
    json!({"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": spans}]}]})
}
