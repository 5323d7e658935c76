//! What a trace is in Jaeger's JSON: times and durations in microseconds, values as texts of their type.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use tracer_core::services::{Operation, ServiceCalls};
use utoipa::ToSchema;

/// Something that a service does.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(title = "Jaeger operation")]
pub(super) struct JaegerOperation {
    name: String,
    #[serde(rename = "spanKind")]
    span_kind: &'static str,
}

impl From<Operation> for JaegerOperation {
    fn from(operation: Operation) -> Self {
        Self { name: operation.name, span_kind: operation.kind.as_str() }
    }
}

/// How often one service called another.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(title = "Jaeger dependency")]
pub(super) struct JaegerCalls {
    parent: String,
    child: String,
    #[serde(rename = "callCount")]
    call_count: u64,
}

impl From<ServiceCalls> for JaegerCalls {
    fn from(calls: ServiceCalls) -> Self {
        Self { parent: calls.parent, child: calls.child, call_count: calls.calls }
    }
}

/// An execution as a trace.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(title = "Jaeger trace")]
#[serde(rename_all = "camelCase")]
pub(super) struct JaegerTrace {
    #[serde(rename = "traceID")]
    pub(super) trace_id: String,
    pub(super) spans: Vec<JaegerSpan>,
    /// By the ids that spans name them by.
    pub(super) processes: BTreeMap<String, JaegerProcess>,
    pub(super) warnings: Option<Vec<String>>,
}

/// A step, or the execution itself, as a span.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(title = "Jaeger span")]
#[serde(rename_all = "camelCase")]
pub(super) struct JaegerSpan {
    #[serde(rename = "traceID")]
    pub(super) trace_id: String,
    #[serde(rename = "spanID")]
    pub(super) span_id: String,
    /// 1: sampled.
    pub(super) flags: u32,
    pub(super) operation_name: String,
    pub(super) references: Vec<JaegerReference>,
    /// Microseconds since 1970.
    pub(super) start_time: i64,
    /// Microseconds; of what runs, so far.
    pub(super) duration: u64,
    pub(super) tags: Vec<JaegerTag>,
    pub(super) logs: Vec<JaegerLog>,
    #[serde(rename = "processID")]
    pub(super) process_id: String,
    pub(super) warnings: Option<Vec<String>>,
}

/// Another span that this one belongs to or has to do with.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(title = "Jaeger reference")]
#[serde(rename_all = "camelCase")]
pub(super) struct JaegerReference {
    /// `CHILD_OF`, or `FOLLOWS_FROM` for a link.
    pub(super) ref_type: &'static str,
    #[serde(rename = "traceID")]
    pub(super) trace_id: String,
    #[serde(rename = "spanID")]
    pub(super) span_id: String,
}

/// A named value.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(title = "Jaeger tag")]
pub(super) struct JaegerTag {
    pub(super) key: String,
    /// `string`, `bool`, `int64` or `float64`.
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) value: Value,
}

/// Something that happened in a span.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(title = "Jaeger log")]
pub(super) struct JaegerLog {
    /// Microseconds since 1970.
    pub(super) timestamp: i64,
    pub(super) fields: Vec<JaegerTag>,
}

/// What made spans.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(title = "Jaeger process")]
#[serde(rename_all = "camelCase")]
pub(super) struct JaegerProcess {
    pub(super) service_name: String,
    pub(super) tags: Vec<JaegerTag>,
}

impl JaegerTag {
    /// Returns a tag; none for nothing. What Jaeger has no type for is its JSON.
    pub(super) fn of(key: &str, value: &Value) -> Option<Self> {
        let kind = match value {
            Value::Null => return None,
            Value::Bool(_) => "bool",
            Value::Number(number) if number.is_i64() => "int64",
            Value::Number(_) => "float64",
            Value::String(_) => "string",
            Value::Array(_) | Value::Object(_) => {
                return Some(Self { key: key.to_owned(), kind: "string", value: value.to_string().into() });
            }
        };
        Some(Self { key: key.to_owned(), kind, value: value.clone() })
    }

    /// Returns a tag that is a text.
    pub(super) fn text(key: &str, value: impl Into<String>) -> Self {
        Self { key: key.to_owned(), kind: "string", value: Value::String(value.into()) }
    }

    /// Returns whether it is of this key, and its value is written so.
    pub(super) fn is(&self, key: &str, written: &str) -> bool {
        let is_written_so = || match &self.value {
            Value::String(text) => text == written,
            Value::Bool(truth) => written == if *truth { "true" } else { "false" },
            Value::Number(number) => number.to_string() == written,
            Value::Null | Value::Array(_) | Value::Object(_) => false,
        };
        self.key == key && is_written_so()
    }
}
