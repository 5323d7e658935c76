//! Answers as OTLP has them: in the form of the request, with nothing said where nothing is wrong.
//!
//! The messages are those of `opentelemetry/proto/collector` and of `google.rpc`
//! (<https://opentelemetry.io/docs/specs/otlp/#otlphttp-response>).

use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderMap, HeaderValue};
use actix_web::{HttpResponse, ResponseError as _};
use prost::Message;
use serde_json::json;

use super::intake::{Accepted, Form, Signal};
use crate::error::{ApiError, whole_seconds};

/// The media type of protobuf.
pub const PROTOBUF: &str = "application/x-protobuf";
/// The media type of JSON.
pub const JSON: &str = "application/json";

/// `ExportTraceServiceResponse`, and that of logs.
#[derive(Clone, PartialEq, Message)]
struct ExportResponse {
    #[prost(message, optional, tag = "1")]
    partial_success: Option<PartialSuccess>,
}

/// `ExportTracePartialSuccess`, and that of logs.
#[derive(Clone, PartialEq, Message)]
struct PartialSuccess {
    #[prost(int64, tag = "1")]
    rejected: i64,
    #[prost(string, tag = "2")]
    error_message: String,
}

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// `google.rpc.RetryInfo`.
#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<ProtoDuration>,
}

/// `google.protobuf.Duration`.
#[derive(Clone, PartialEq, Message)]
struct ProtoDuration {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

/// Returns the form that a request's media type names.
#[must_use]
pub fn form(headers: &HeaderMap) -> Option<Form> {
    let media = headers.get(header::CONTENT_TYPE)?.to_str().ok()?.split(';').next()?.trim();
    if media.eq_ignore_ascii_case(PROTOBUF) {
        Some(Form::Protobuf)
    } else if media.eq_ignore_ascii_case(JSON) {
        Some(Form::Json)
    } else {
        None
    }
}

/// Returns the protobuf of an answer to an export.
#[must_use]
pub fn protobuf(accepted: &Accepted) -> Vec<u8> {
    let partial = PartialSuccess {
        rejected: i64::try_from(accepted.rejected).unwrap_or(i64::MAX),
        error_message: accepted.explanation.clone(),
    };
    ExportResponse { partial_success: (accepted.rejected > 0).then_some(partial) }.encode_to_vec()
}

/// Returns the answer to an export that was recorded.
#[must_use]
pub fn accepted(accepted: &Accepted, signal: Signal, form: Form) -> HttpResponse {
    let body = match form {
        Form::Protobuf => protobuf(accepted),
        Form::Json => {
            let rejected = match signal {
                Signal::Traces => "rejectedSpans",
                Signal::Logs => "rejectedLogRecords",
            };
            // 64 bits are a text in protobuf's JSON.
            let partial =
                json!({rejected: accepted.rejected.to_string(), "errorMessage": accepted.explanation});
            let whole = if accepted.rejected > 0 { json!({"partialSuccess": partial}) } else { json!({}) };
            whole.to_string().into_bytes()
        }
    };
    answer(StatusCode::OK, form, body)
}

/// Returns the answer to a request that is refused, in its own form; in JSON where that is neither.
#[must_use]
pub fn refused(headers: &HeaderMap, error: &ApiError) -> HttpResponse {
    let form = form(headers).unwrap_or(Form::Json);
    let (code, message) = (code(error), error.to_string());
    let body = match form {
        Form::Protobuf => RpcStatus { code, message, details: Vec::new() }.encode_to_vec(),
        Form::Json => json!({"code": code, "message": message}).to_string().into_bytes(),
    };
    // The headers are those of every other answer of this status: Retry-After, Allow, and the log line.
    let problem = error.error_response();
    let mut answer = answer(error.status_code(), form, body);
    for (name, value) in problem.headers() {
        if name != header::CONTENT_TYPE {
            answer.headers_mut().insert(name.clone(), value.clone());
        }
    }
    if matches!(error, ApiError::TooLarge(_) | ApiError::Timeout) {
        // What remains of a body that is not read would be taken for the next request.
        answer.head_mut().set_connection_type(actix_web::http::ConnectionType::Close);
    }
    answer
}

fn answer(status: StatusCode, form: Form, body: Vec<u8>) -> HttpResponse {
    let media = match form {
        Form::Protobuf => PROTOBUF,
        Form::Json => JSON,
    };
    HttpResponse::build(status)
        .insert_header((header::CONTENT_TYPE, HeaderValue::from_static(media)))
        .body(body)
}

/// Returns the gRPC code of an error. Clients send again only what is `RESOURCE_EXHAUSTED` with a time to wait, or
/// `UNAVAILABLE`.
fn code(error: &ApiError) -> i32 {
    let code = match error {
        ApiError::BadRequest { .. }
        | ApiError::UnsupportedMediaType(_)
        | ApiError::NotAcceptable(_)
        | ApiError::MethodNotAllowed(_)
        | ApiError::Invalid(_)
        | ApiError::Unprocessable(_)
        | ApiError::Conflict(_) => tonic::Code::InvalidArgument,
        ApiError::TooLarge(_) | ApiError::TooMuch(_) | ApiError::TooManyRequests(_) => {
            tonic::Code::ResourceExhausted
        }
        ApiError::Unauthorized => tonic::Code::Unauthenticated,
        ApiError::Forbidden(_) => tonic::Code::PermissionDenied,
        ApiError::NotFound(_) => tonic::Code::NotFound,
        ApiError::Timeout => tonic::Code::DeadlineExceeded,
        ApiError::Unavailable { .. } => tonic::Code::Unavailable,
        ApiError::Internal(_) => tonic::Code::Internal,
    };
    code.into()
}

/// Returns the status by which gRPC tells of an error.
#[must_use]
pub fn status(error: &ApiError) -> tonic::Status {
    error.log();
    let (code, message) = (code(error), error.to_string());
    let wait = match error {
        ApiError::TooManyRequests(wait) | ApiError::Unavailable { retry_after: wait, .. } => Some(*wait),
        ApiError::BadRequest { .. }
        | ApiError::Unauthorized
        | ApiError::Forbidden(_)
        | ApiError::NotFound(_)
        | ApiError::MethodNotAllowed(_)
        | ApiError::NotAcceptable(_)
        | ApiError::Timeout
        | ApiError::Conflict(_)
        | ApiError::TooLarge(_)
        | ApiError::TooMuch(_)
        | ApiError::UnsupportedMediaType(_)
        | ApiError::Invalid(_)
        | ApiError::Unprocessable(_)
        | ApiError::Internal(_) => None,
    };
    let Some(wait) = wait else { return tonic::Status::new(code.into(), message) };
    let details = RpcStatus { code, message: message.clone(), details: vec![retry_info(wait)] };
    tonic::Status::with_details(code.into(), message, details.encode_to_vec().into())
}

fn retry_info(wait: Duration) -> Any {
    let seconds = i64::try_from(whole_seconds(wait)).unwrap_or(i64::MAX);
    let info = RetryInfo { retry_delay: Some(ProtoDuration { seconds, nanos: 0 }) };
    Any { type_url: "type.googleapis.com/google.rpc.RetryInfo".to_owned(), value: info.encode_to_vec() }
}
