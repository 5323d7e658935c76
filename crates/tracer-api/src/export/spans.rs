//! An execution and its steps as spans of OpenTelemetry. Pure.
//!
//! The execution is the root span, under the id that its `traceparent`s name ([`ExecutionId::root_span`]). What is
//! known beyond OpenTelemetry's conventions is in attributes that begin with `tracer.`; payloads are not exported.

use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, KeyValueList};
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link, SpanKind};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{Span, Status};
use serde_json::Value;
use tracer_core::attributes::Attributes;
use tracer_core::detect::Bottleneck;
use tracer_core::execution::{Execution, ExecutionStatus};
use tracer_core::failure::Failure;
use tracer_core::ids::{ExecutionId, StepId};
use tracer_core::span::SERVICE_NAME;
use tracer_core::step::{Step, StepStatus};
use tracer_core::time::Timestamp;

/// Flags of a span: sampled, since what is recorded is recorded; and whether its parent is elsewhere, which is known.
const SAMPLED: u32 = 0x01;
const REMOTE_IS_KNOWN: u32 = 0x100;

/// Returns the span that an ended execution is; none while it runs.
pub(super) fn of_execution(execution: &Execution) -> Option<Span> {
    let ended_at = execution.ended_at?;
    let mut attributes = of_attributes(&execution.attributes);
    attributes.push(text("tracer.workflow.name", execution.workflow.as_str()));
    attributes.push(text("tracer.status", execution.status.as_str()));
    if let Some(version) = &execution.version {
        attributes.push(text("tracer.workflow.version", version.as_str()));
    }
    if let Some(id) = &execution.correlation_id {
        attributes.push(text("tracer.correlation_id", id.as_str()));
    }
    if execution.simulated {
        attributes.push(pair("tracer.simulated", Any::BoolValue(true)));
    }
    let links = execution.link.map(|link| link_to(link.trace, link.parent));
    let parent = execution.parent.map(|parent| link_to(parent, parent.root_span()));
    Some(Span {
        trace_id: trace_bytes(execution.id),
        span_id: span_bytes(execution.id.root_span()),
        flags: SAMPLED | REMOTE_IS_KNOWN,
        name: execution.workflow.as_str().to_owned(),
        kind: SpanKind::Internal.into(),
        start_time_unix_nano: nanos(execution.started_at),
        end_time_unix_nano: nanos(ended_at.max(execution.started_at)),
        attributes,
        events: exception(execution.failure.as_ref(), ended_at),
        links: links.into_iter().chain(parent).collect(),
        status: Some(match execution.status {
            ExecutionStatus::Completed => status(StatusCode::Ok, None),
            ExecutionStatus::Failed | ExecutionStatus::TimedOut => {
                status(StatusCode::Error, execution.failure.as_ref())
            }
            ExecutionStatus::Running | ExecutionStatus::Cancelled => status(StatusCode::Unset, None),
        }),
        ..Span::default()
    })
}

/// Returns the span that an ended step is; none while it runs, and of one that came as a span.
pub(super) fn of_step(step: &Step) -> Option<Span> {
    let ended_at = step.ended_at.filter(|_| step.span.is_none())?;
    let mut attributes = of_attributes(&step.attributes);
    attributes.push(text("tracer.step.type", step.step_type.as_str()));
    attributes.push(text("tracer.status", step.status.as_str()));
    if step.attempt > 1 {
        attributes.push(pair("tracer.step.attempt", Any::IntValue(step.attempt.into())));
    }
    attributes.extend(step.bottleneck.iter().flat_map(of_verdict));
    let parent = step.parent.unwrap_or_else(|| step.execution.root_span());
    Some(Span {
        trace_id: trace_bytes(step.execution),
        span_id: span_bytes(step.id),
        parent_span_id: span_bytes(parent),
        flags: SAMPLED | REMOTE_IS_KNOWN,
        name: step.name.as_str().to_owned(),
        kind: SpanKind::Internal.into(),
        start_time_unix_nano: nanos(step.started_at),
        end_time_unix_nano: nanos(ended_at.max(step.started_at)),
        attributes,
        events: exception(step.failure.as_ref(), ended_at),
        status: Some(match step.status {
            StepStatus::Completed => status(StatusCode::Ok, None),
            StepStatus::Failed => status(StatusCode::Error, step.failure.as_ref()),
            StepStatus::Running | StepStatus::Skipped | StepStatus::Cancelled => {
                status(StatusCode::Unset, None)
            }
        }),
        ..Span::default()
    })
}

/// Returns the name of the service that an execution says it is part of.
pub(super) fn service_of(execution: &Execution) -> Option<&str> {
    execution.attributes.entries().get(SERVICE_NAME)?.as_str().filter(|name| !name.is_empty())
}

/// What was judged by a fixed time has no history to be told of.
fn of_verdict(verdict: &Bottleneck) -> Vec<KeyValue> {
    let mut told = vec![text("tracer.bottleneck.severity", verdict.severity.as_str())];
    if verdict.samples > 0 {
        let average = i64::try_from(verdict.historical_avg.as_millis()).unwrap_or(i64::MAX);
        told.push(pair("tracer.bottleneck.factor", Any::DoubleValue(verdict.factor())));
        told.push(pair("tracer.bottleneck.historical_avg_ms", Any::IntValue(average)));
    }
    told
}

/// By the conventions for exceptions; one without a type and a message says nothing.
fn exception(failure: Option<&Failure>, at: Timestamp) -> Vec<Event> {
    let Some(failure) = failure else { return Vec::new() };
    let kind = failure.kind.as_deref().map(|kind| text("exception.type", kind));
    let stack = failure.stack.as_deref().map(|stack| text("exception.stacktrace", stack));
    let message = text("exception.message", &failure.message);
    vec![Event {
        time_unix_nano: nanos(at),
        name: "exception".to_owned(),
        attributes: kind.into_iter().chain([message]).chain(stack).collect(),
        dropped_attributes_count: 0,
    }]
}

fn status(code: StatusCode, failure: Option<&Failure>) -> Status {
    Status { code: code.into(), message: failure.map(|failure| failure.message.clone()).unwrap_or_default() }
}

fn link_to(trace: ExecutionId, span: StepId) -> Link {
    Link { trace_id: trace_bytes(trace), span_id: span_bytes(span), ..Link::default() }
}

fn of_attributes(attributes: &Attributes) -> Vec<KeyValue> {
    let present = attributes.entries().iter().filter(|(_, value)| !value.is_null());
    present
        .map(|(key, value)| KeyValue { key: key.clone(), value: Some(any(value)), ..KeyValue::default() })
        .collect()
}

fn any(value: &Value) -> AnyValue {
    let value = match value {
        Value::Null => None,
        Value::Bool(truth) => Some(Any::BoolValue(*truth)),
        Value::Number(number) => Some(match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => Any::IntValue(whole),
            (None, Some(float)) => Any::DoubleValue(float),
            (None, None) => Any::StringValue(number.to_string()),
        }),
        Value::String(text) => Some(Any::StringValue(text.clone())),
        Value::Array(values) => {
            Some(Any::ArrayValue(ArrayValue { values: values.iter().map(any).collect() }))
        }
        Value::Object(entries) => {
            let pairs = entries.iter().map(|(key, value)| KeyValue {
                key: key.clone(),
                value: Some(any(value)),
                ..KeyValue::default()
            });
            Some(Any::KvlistValue(KeyValueList { values: pairs.collect() }))
        }
    };
    AnyValue { value }
}

/// Returns an attribute.
pub(super) fn pair(key: &str, value: Any) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

/// Returns an attribute that is a text.
pub(super) fn text(key: &str, value: &str) -> KeyValue {
    pair(key, Any::StringValue(value.to_owned()))
}

/// Returns nanoseconds since 1970; what lies before is 1970.
pub(super) fn nanos(at: Timestamp) -> u64 {
    u64::try_from(at.as_micros()).unwrap_or(0).saturating_mul(1_000)
}

/// Returns a trace id as OTLP has it.
pub(super) fn trace_bytes(id: ExecutionId) -> Vec<u8> {
    id.to_bytes().to_vec()
}

/// Returns a span id as OTLP has it.
pub(super) fn span_bytes(id: StepId) -> Vec<u8> {
    id.as_u64().to_be_bytes().to_vec()
}
