//! Exports as clients send them, and what they are answered.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use serde_json::{Value, json};

use crate::helpers::Service;

/// When the clocks of these tests begin: 2026-01-31T12:00:00Z, in nanoseconds.
pub(super) const NOON: u64 = 1_769_860_800_000_000_000;
/// The media type of protobuf.
pub(super) const PROTOBUF: &str = "application/x-protobuf";

/// A span of a trace, that begins and ends so many milliseconds from noon.
pub(super) fn span(trace: u8, id: u8, parent: u8, name: &str, from: u64, to: u64) -> Span {
    let id_of = |id: u8| if id == 0 { Vec::new() } else { vec![0, 0, 0, 0, 0, 0, 0, id] };
    Span {
        trace_id: trace_id(trace),
        span_id: id_of(id),
        parent_span_id: id_of(parent),
        name: name.to_owned(),
        kind: 1,
        start_time_unix_nano: NOON + from * 1_000_000,
        end_time_unix_nano: NOON + to * 1_000_000,
        ..Span::default()
    }
}

pub(super) fn trace_id(trace: u8) -> Vec<u8> {
    let mut id = vec![0; 16];
    id[0] = 0xab;
    id[15] = trace;
    id
}

/// The path of the execution that a trace is.
pub(super) fn path_of(trace: u8) -> String {
    format!("/workflows/wf_ab{:028x}{trace:02x}", 0)
}

pub(super) fn attribute(key: &str, value: &str) -> KeyValue {
    let value = AnyValue { value: Some(Any::StringValue(value.to_owned())) };
    KeyValue { key: key.to_owned(), value: Some(value), ..KeyValue::default() }
}

/// An export of one service.
pub(super) fn export(service: &str, spans: Vec<Span>) -> ExportTraceServiceRequest {
    let resource = Resource { attributes: vec![attribute("service.name", service)], ..Resource::default() };
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    let resource_spans =
        vec![ResourceSpans { resource: Some(resource), scope_spans, ..ResourceSpans::default() }];
    ExportTraceServiceRequest { resource_spans }
}

pub(super) fn zipped(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

/// What an export was answered.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) media: String,
    pub(super) retry_after: Option<String>,
    pub(super) body: Vec<u8>,
}

/// `google.rpc.Status`, as far as it is looked at.
#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
}

impl Reply {
    /// Returns what is said of an error, after checking the status: a sentence.
    #[track_caller]
    pub(super) fn error(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{self:?}");
        let (code, message) = if self.media == PROTOBUF {
            let status = RpcStatus::decode(&*self.body).unwrap();
            (status.code, status.message)
        } else {
            assert_eq!(self.media, "application/json");
            let status: Value = serde_json::from_slice(&self.body).unwrap();
            (
                status["code"].as_i64().unwrap().try_into().unwrap(),
                status["message"].as_str().unwrap().to_owned(),
            )
        };
        assert!(message.starts_with(char::is_uppercase) && message.ends_with('.'), "{message}");
        format!("{code} {message}")
    }

    /// Returns how many spans were refused, and why.
    #[track_caller]
    pub(super) fn refused(&self) -> String {
        assert_eq!(self.status, 200, "{}", String::from_utf8_lossy(&self.body));
        assert_eq!(self.media, PROTOBUF);
        let answer = ExportTraceServiceResponse::decode(&*self.body).unwrap();
        answer.partial_success.map_or_else(String::new, |partial| {
            format!("{} {}", partial.rejected_spans, partial.error_message)
        })
    }
}

/// Posts a body with headers of the test's own.
pub(super) async fn post(
    service: &Service,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<reqwest::Body>,
) -> Reply {
    let request = service.request("POST", path).body(body);
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let answer = request.send().await.unwrap();
    let header = |name: &str| answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
    let (status, media, retry_after) =
        (answer.status().as_u16(), header("content-type").unwrap_or_default(), header("retry-after"));
    Reply { status, media, retry_after, body: answer.bytes().await.unwrap().to_vec() }
}

/// Sends an export in protobuf.
pub(super) async fn send(service: &Service, export: &ExportTraceServiceRequest) -> Reply {
    post(service, "/v1/traces", &[("content-type", PROTOBUF)], export.encode_to_vec()).await
}

/// Sends spans of one service, all of which are taken.
pub(super) async fn take(service: &Service, spans: Vec<Span>) {
    assert_eq!(send(service, &export("etl", spans)).await.refused(), "");
}

/// Returns an execution as text: its head, and each step with its parent and how it ended.
pub(super) async fn shown(service: &Service, trace: u8) -> String {
    let shown = service.get(&path_of(trace)).await.expect(200);
    let mut lines = vec![format!(
        "{} {} {}ms {}",
        shown["workflow_name"].as_str().unwrap(),
        shown["status"].as_str().unwrap(),
        shown["total_duration_ms"],
        shown["error"],
    )];
    for step in shown["steps"].as_array().unwrap() {
        let short = |id: &Value| {
            id.as_str()
                .map_or("-".to_owned(), |id| id.trim_start_matches("st_0").trim_start_matches('0').to_owned())
        };
        lines.push(format!(
            "  {} {} {} in {} {} {}ms {}",
            short(&step["step_id"]),
            step["step_name"].as_str().unwrap(),
            step["step_type"].as_str().unwrap(),
            short(&step["parent_step_id"]),
            step["status"].as_str().unwrap(),
            step["duration_ms"],
            if step["error"].is_null() { json!("") } else { step["error"].clone() },
        ));
    }
    lines.join("\n")
}
