//! `POST /v1/traces` and `POST /v1/logs`: OTLP over HTTP (<https://opentelemetry.io/docs/specs/otlp/#otlphttp>).

use std::time::Duration;

use actix_web::http::header::{self, HeaderMap};
use actix_web::web::{self, Bytes, BytesMut, Payload};
use actix_web::{HttpRequest, HttpResponse, post};
use futures_util::StreamExt as _;
use tracer_core::limits;
use utoipa_actix_web::service_config::ServiceConfig;

use super::inflate::Coding;
use super::intake::{Accepted, Form, Signal};
use super::respond;
use super::room::Share;
use crate::error::ApiError;
use crate::http::Frame;
use crate::state::AppState;

/// How long a body may take where no frame says so.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// Registers the routes.
pub fn routes(config: &mut ServiceConfig<'_>) {
    config.service(export_traces).service(export_logs);
}

/// Returns whether a path is one whose errors are told as OTLP has them.
#[must_use]
pub fn is_intake(path: &str) -> bool {
    matches!(path, "/v1/traces" | "/v1/logs")
}

/// Take in spans as OTLP has them, in protobuf or JSON, gzipped or not: traces are executions, spans are steps.
///
/// What is acknowledged is stored. Spans without ids or a start are refused by `partialSuccess`; errors are
/// `google.rpc.Status`, in the form of the request.
#[utoipa::path(tag = "record",
    request_body(description = "An `ExportTraceServiceRequest`, 16 MiB at most before and after decompression.",
        content((Vec<u8> = "application/x-protobuf"), (serde_json::Value = "application/json"))),
    responses(
        (status = 200, description = "It is recorded, but for what `partialSuccess` refuses.",
            content((Vec<u8> = "application/x-protobuf"), (serde_json::Value = "application/json"))),
        (status = 400, description = "It cannot be decoded: it is not to be sent again."),
        (status = 401, description = "No key, where keys are set."),
        (status = 403, description = "A key that may not do this."),
        (status = 413, description = "The body is over its limit, or holds too many spans."),
        (status = 415, description = "Another media type or coding."),
        (status = 429, description = "Too fast: wait as Retry-After says."),
        (status = 503, description = "The store is away: wait as Retry-After says.")))]
#[post("/v1/traces")]
async fn export_traces(state: web::Data<AppState>, req: HttpRequest, body: Payload) -> HttpResponse {
    export(&state, &req, body, Signal::Traces).await
}

/// Take in log records that tell that steps began (`tracer.step.start`, partial spans); others are refused by
/// `partialSuccess`.
#[utoipa::path(tag = "record",
    request_body(description = "An `ExportLogsServiceRequest`, 16 MiB at most before and after decompression.",
        content((Vec<u8> = "application/x-protobuf"), (serde_json::Value = "application/json"))),
    responses(
        (status = 200, description = "It is recorded, but for what `partialSuccess` refuses.",
            content((Vec<u8> = "application/x-protobuf"), (serde_json::Value = "application/json"))),
        (status = 400, description = "It cannot be decoded: it is not to be sent again."),
        (status = 401, description = "No key, where keys are set."),
        (status = 403, description = "A key that may not do this."),
        (status = 413, description = "The body is over its limit, or holds too many records."),
        (status = 415, description = "Another media type or coding."),
        (status = 429, description = "Too fast: wait as Retry-After says."),
        (status = 503, description = "The store is away: wait as Retry-After says.")))]
#[post("/v1/logs")]
async fn export_logs(state: web::Data<AppState>, req: HttpRequest, body: Payload) -> HttpResponse {
    export(&state, &req, body, Signal::Logs).await
}

async fn export(state: &AppState, req: &HttpRequest, body: Payload, signal: Signal) -> HttpResponse {
    match taken(state, req, body, signal).await {
        Ok((accepted, form)) => respond::accepted(&accepted, signal, form),
        Err(error) => respond::refused(req.headers(), &error),
    }
}

async fn taken(
    state: &AppState,
    req: &HttpRequest,
    body: Payload,
    signal: Signal,
) -> Result<(Accepted, Form), ApiError> {
    let form = respond::form(req.headers()).ok_or_else(|| {
        ApiError::UnsupportedMediaType("Send OTLP as 'application/x-protobuf' or 'application/json'.".into())
    })?;
    let coding = coding(req.headers())?;
    let timeout = req.app_data::<web::Data<Frame>>().map_or(DEFAULT_TIMEOUT, |frame| frame.body_timeout);
    let mut share = state.otlp.share();
    let reading = read(body, announced(req.headers())?, &mut share);
    let body = tokio::time::timeout(timeout, reading).await.map_err(|_| ApiError::Timeout)??;
    let accepted = state.otlp.take(&state.tracing, (signal, form, coding), body, share).await?;
    Ok((accepted, form))
}

fn coding(headers: &HeaderMap) -> Result<Coding, ApiError> {
    let Some(coding) = headers.get(header::CONTENT_ENCODING) else { return Ok(Coding::Identity) };
    match coding.as_bytes().trim_ascii() {
        coding if coding.eq_ignore_ascii_case(b"gzip") => Ok(Coding::Gzip),
        coding if coding.is_empty() || coding.eq_ignore_ascii_case(b"identity") => Ok(Coding::Identity),
        _ => {
            Err(ApiError::UnsupportedMediaType("Send OTLP as it is, or as 'Content-Encoding: gzip'.".into()))
        }
    }
}

/// Returns the length that the headers announce, if that is not too much.
fn announced(headers: &HeaderMap) -> Result<usize, ApiError> {
    let length =
        headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    let length = usize::try_from(length.unwrap_or_default()).unwrap_or(usize::MAX);
    if length > limits::OTLP_BODY_BYTES {
        Err(ApiError::TooLarge(limits::OTLP_BODY_BYTES))
    } else {
        Ok(length)
    }
}

async fn read(mut body: Payload, announced: usize, share: &mut Share) -> Result<Bytes, ApiError> {
    let mut whole = BytesMut::new();
    while let Some(chunk) = body.next().await {
        let chunk = chunk.map_err(|error| {
            tracing::debug!(error = %error, "body broke off");
            ApiError::bad_request("The body broke off, or its framing is not valid.")
        })?;
        if whole.len() + chunk.len() > limits::OTLP_BODY_BYTES {
            return Err(ApiError::TooLarge(limits::OTLP_BODY_BYTES));
        }
        share.grow(chunk.len())?;
        if whole.is_empty() {
            // Most clients announce how long it is: it need not be moved while it grows.
            whole.reserve(announced.min(ANNOUNCED));
        }
        whole.extend_from_slice(&chunk);
    }
    Ok(whole.freeze())
}

/// Bytes that are set aside because a client announces them; more only as they come.
const ANNOUNCED: usize = 512 * 1024;
