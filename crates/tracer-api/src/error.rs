//! The one table of what can go wrong, and how a client is told: problem documents of RFC 9457.
//!
//! Invariant: `detail` is a sentence of ours; a request is never echoed and a cause is never shown. A cause is
//! logged once, here, when it turns into a 500 or a 503.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpResponse, ResponseError};
use serde::Serialize;
use tracer_core::chain::Chain;
use utoipa::ToSchema;

/// The media type of every error.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// A cause, kept for the log.
pub type Cause = Box<dyn StdError + Send + Sync>;

/// An error as a client sees it (RFC 9457).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Problem {
    /// What kind of problem it is; stable, so that a program may compare it.
    #[serde(rename = "type")]
    #[schema(example = "urn:tracer:problem:invalid")]
    pub kind: &'static str,
    /// The same in words.
    #[schema(example = "Out of bounds")]
    pub title: &'static str,
    /// The HTTP status.
    #[schema(example = 422)]
    pub status: u16,
    /// What happened and what to do: a sentence.
    #[schema(value_type = String, example = "One value is out of bounds: duration_ms must not be negative.")]
    pub detail: Cow<'static, str>,
    /// The values at fault, where the request's body has them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub errors: Vec<FieldError>,
}

/// One value at fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// Where it is in the request's body: a JSON pointer (RFC 6901).
    #[schema(example = "/duration_ms")]
    pub pointer: String,
    /// What is wrong with it: the rest of a sentence that begins with its name.
    #[schema(value_type = String, example = "must not be negative")]
    pub detail: Cow<'static, str>,
}

impl FieldError {
    /// Names a value at fault by its JSON pointer, such as `/error/message`.
    pub fn new(pointer: impl Into<String>, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { pointer: pointer.into(), detail: detail.into() }
    }
}

/// What can go wrong with a request. Every variant is one status of the contract.
///
/// Each `detail` is a whole sentence, beginning with a capital and ending with a full stop.
#[derive(Debug)]
pub enum ApiError {
    /// 400: not JSON, a wrong type, a bad query or header.
    BadRequest {
        /// What is wrong with the request as a whole.
        detail: Cow<'static, str>,
        /// The values at fault, if it is they.
        errors: Vec<FieldError>,
    },
    /// 401: no key, or one that is not known.
    Unauthorized,
    /// 403: a key that may not do this; holds the scope that is missing.
    Forbidden(&'static str),
    /// 404: says what does not exist.
    NotFound(Cow<'static, str>),
    /// 405: holds the methods that there are, for `Allow`.
    MethodNotAllowed(String),
    /// 406: holds the media types that there are.
    NotAcceptable(&'static str),
    /// 408: the body did not arrive in time.
    Timeout,
    /// 409: the state machine forbids it, or a key was reused for something else.
    Conflict(Cow<'static, str>),
    /// 413: holds the limit in bytes.
    TooLarge(usize),
    /// 413: says what there is more of than is taken at once.
    TooMuch(&'static str),
    /// 415: says which media type or coding is expected.
    UnsupportedMediaType(Cow<'static, str>),
    /// 422: well-formed, but out of bounds; never empty.
    Invalid(Vec<FieldError>),
    /// 422: out of bounds, where no single value of a body is at fault.
    Unprocessable(Cow<'static, str>),
    /// 429: holds how long to wait.
    TooManyRequests(Duration),
    /// 503: the store is away, or its queue is full.
    Unavailable {
        /// What is away.
        detail: Cow<'static, str>,
        /// How long to wait.
        retry_after: Duration,
        /// Why, for the log.
        cause: Option<Cause>,
    },
    /// 500: a bug of ours; the cause is logged, not shown.
    Internal(Cause),
}

impl ApiError {
    /// Returns a 400 about the request as a whole.
    pub fn bad_request(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::BadRequest { detail: detail.into(), errors: Vec::new() }
    }

    /// Returns a 404.
    pub fn not_found(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::NotFound(detail.into())
    }

    /// Returns a 409.
    pub fn conflict(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::Conflict(detail.into())
    }

    /// Returns a 422 about one value of the body, named by its JSON pointer.
    pub fn invalid(pointer: impl Into<String>, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::Invalid(vec![FieldError::new(pointer, detail)])
    }

    /// Returns a 500 whose cause is logged.
    pub fn internal(cause: impl Into<Cause>) -> Self {
        Self::Internal(cause.into())
    }

    /// Returns the document that a client gets.
    #[must_use]
    pub fn problem(&self) -> Problem {
        let (kind, title) = self.kind();
        let errors = match self {
            Self::BadRequest { errors, .. } | Self::Invalid(errors) => errors.clone(),
            Self::Unauthorized
            | Self::Forbidden(_)
            | Self::NotFound(_)
            | Self::MethodNotAllowed(_)
            | Self::NotAcceptable(_)
            | Self::Timeout
            | Self::Conflict(_)
            | Self::TooLarge(_)
            | Self::TooMuch(_)
            | Self::UnsupportedMediaType(_)
            | Self::Unprocessable(_)
            | Self::TooManyRequests(_)
            | Self::Unavailable { .. }
            | Self::Internal(_) => Vec::new(),
        };
        Problem { kind, title, status: self.status_code().as_u16(), detail: self.detail(), errors }
    }

    const fn kind(&self) -> (&'static str, &'static str) {
        match self {
            Self::BadRequest { .. } => ("urn:tracer:problem:bad-request", "Bad request"),
            Self::Unauthorized => ("urn:tracer:problem:unauthorized", "No valid key"),
            Self::Forbidden(_) => ("urn:tracer:problem:forbidden", "Not allowed"),
            Self::NotFound(_) => ("urn:tracer:problem:not-found", "Not found"),
            Self::MethodNotAllowed(_) => ("urn:tracer:problem:method-not-allowed", "Method not allowed"),
            Self::NotAcceptable(_) => ("urn:tracer:problem:not-acceptable", "Not acceptable"),
            Self::Timeout => ("urn:tracer:problem:timeout", "Request timed out"),
            Self::Conflict(_) => ("urn:tracer:problem:conflict", "Conflict"),
            Self::TooLarge(_) | Self::TooMuch(_) => ("urn:tracer:problem:too-large", "Body too large"),
            Self::UnsupportedMediaType(_) => {
                ("urn:tracer:problem:unsupported-media-type", "Unsupported media type")
            }
            Self::Invalid(_) | Self::Unprocessable(_) => ("urn:tracer:problem:invalid", "Out of bounds"),
            Self::TooManyRequests(_) => ("urn:tracer:problem:too-many-requests", "Too many requests"),
            Self::Unavailable { .. } => ("urn:tracer:problem:unavailable", "Temporarily unavailable"),
            Self::Internal(_) => ("urn:tracer:problem:internal", "Internal error"),
        }
    }

    fn detail(&self) -> Cow<'static, str> {
        match self {
            Self::BadRequest { detail, .. }
            | Self::NotFound(detail)
            | Self::Conflict(detail)
            | Self::UnsupportedMediaType(detail)
            | Self::Unprocessable(detail)
            | Self::Unavailable { detail, .. } => detail.clone(),
            Self::Unauthorized => "Send a valid API key as 'Authorization: Bearer KEY'.".into(),
            Self::Forbidden(scope) => format!("This API key lacks the scope '{scope}'.").into(),
            Self::MethodNotAllowed(allow) => format!("This path answers only {allow}.").into(),
            Self::NotAcceptable(types) => format!("This path answers only with {types}.").into(),
            Self::Timeout => "The body did not arrive in time.".into(),
            Self::TooLarge(limit) => format!("The body must not have more than {limit} bytes.").into(),
            Self::TooMuch(what) => format!("The body holds more than {what} at once: send fewer.").into(),
            Self::Invalid(errors) => sentence_of(errors).into(),
            Self::TooManyRequests(wait) => {
                format!("Too many requests: try again in {} s.", whole_seconds(*wait)).into()
            }
            Self::Internal(_) => "Something went wrong on our side: the log says what.".into(),
        }
    }

    pub(crate) fn log(&self) {
        match self {
            Self::Internal(cause) => {
                tracing::error!(event = "error", status = 500, error = %Chain(cause.as_ref()), "request failed");
            }
            // The store logs once that it went away: a line for each request would bury that.
            Self::Unavailable { cause: Some(cause), .. } => {
                tracing::debug!(event = "error", status = 503, error = %Chain(cause.as_ref()), "request refused");
            }
            Self::Unavailable { cause: None, .. }
            | Self::BadRequest { .. }
            | Self::Unauthorized
            | Self::Forbidden(_)
            | Self::NotFound(_)
            | Self::MethodNotAllowed(_)
            | Self::NotAcceptable(_)
            | Self::Timeout
            | Self::Conflict(_)
            | Self::TooLarge(_)
            | Self::TooMuch(_)
            | Self::UnsupportedMediaType(_)
            | Self::Invalid(_)
            | Self::Unprocessable(_)
            | Self::TooManyRequests(_) => {}
        }
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail())
    }
}

impl StdError for ApiError {}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        match self {
            Self::BadRequest { .. } => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::NotAcceptable(_) => StatusCode::NOT_ACCEPTABLE,
            Self::Timeout => StatusCode::REQUEST_TIMEOUT,
            Self::Conflict(_) => StatusCode::CONFLICT,
            Self::TooLarge(_) | Self::TooMuch(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Invalid(_) | Self::Unprocessable(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::TooManyRequests(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Unavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn error_response(&self) -> HttpResponse {
        self.log();
        let mut answer = HttpResponse::build(self.status_code());
        answer.insert_header((header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON)));
        match self {
            Self::Unauthorized => {
                answer.insert_header((header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")));
            }
            Self::MethodNotAllowed(allow) => {
                answer.insert_header((header::ALLOW, allow.as_str()));
            }
            Self::TooManyRequests(wait) | Self::Unavailable { retry_after: wait, .. } => {
                answer.insert_header((header::RETRY_AFTER, whole_seconds(*wait).to_string()));
            }
            // What remains of a body that is not read would be taken for the next request.
            Self::TooLarge(_) | Self::Timeout => {
                answer.force_close();
            }
            Self::BadRequest { .. }
            | Self::Forbidden(_)
            | Self::NotFound(_)
            | Self::NotAcceptable(_)
            | Self::Conflict(_)
            | Self::TooMuch(_)
            | Self::UnsupportedMediaType(_)
            | Self::Invalid(_)
            | Self::Unprocessable(_)
            | Self::Internal(_) => {}
        }
        // Texts and numbers always serialise.
        answer.body(serde_json::to_vec(&self.problem()).unwrap_or_default())
    }
}

/// Returns whole seconds, rounded up and never 0: a client that waits so long does not come too early.
pub(crate) fn whole_seconds(wait: Duration) -> u64 {
    (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1)
}

fn sentence_of(errors: &[FieldError]) -> String {
    let named = |error: &FieldError| {
        let name = error.pointer.trim_start_matches('/').replace('/', ".");
        let name = if name.is_empty() { "the body" } else { &name };
        format!("{name} {}", error.detail)
    };
    match errors {
        [only] => format!("One value is out of bounds: {}.", named(only)),
        several => {
            let list: Vec<String> = several.iter().take(8).map(named).collect();
            format!("{} values are out of bounds: {}.", several.len(), list.join("; "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every_error() -> Vec<ApiError> {
        let second = Duration::from_millis(1200);
        vec![
            ApiError::bad_request("The body is not JSON."),
            ApiError::Unauthorized,
            ApiError::Forbidden("read"),
            ApiError::not_found("There is no such execution."),
            ApiError::MethodNotAllowed("GET, PUT".into()),
            ApiError::NotAcceptable("application/json"),
            ApiError::Timeout,
            ApiError::conflict("The execution has ended."),
            ApiError::TooLarge(1024),
            ApiError::TooMuch("65,536 spans"),
            ApiError::UnsupportedMediaType("Send application/json.".into()),
            ApiError::invalid("/error/message", "must not be empty"),
            ApiError::Unprocessable("The body is nested too deeply.".into()),
            ApiError::TooManyRequests(second),
            ApiError::Unavailable { detail: "The store is away.".into(), retry_after: second, cause: None },
            ApiError::internal("secret cause"),
        ]
    }

    #[test]
    fn every_error_is_a_problem_document_whose_detail_is_a_sentence() {
        for error in every_error() {
            let problem = error.problem();
            let detail = &problem.detail;
            assert!(detail.starts_with(char::is_uppercase) && detail.ends_with('.'), "{detail}");
            let answer = error.error_response();
            assert_eq!(answer.status().as_u16(), problem.status);
            assert_eq!(answer.headers().get(header::CONTENT_TYPE).unwrap(), PROBLEM_JSON);
            assert!(!serde_json::to_string(&problem).unwrap().contains("secret"));
        }
    }

    #[test]
    fn a_client_is_told_how_long_to_wait_and_what_else_there_is() {
        let header_of = |status: u16, name: header::HeaderName| {
            let answer =
                every_error().into_iter().map(|e| e.error_response()).find(|a| a.status() == status)?;
            answer.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
        };
        assert_eq!(header_of(429, header::RETRY_AFTER).as_deref(), Some("2"));
        assert_eq!(header_of(503, header::RETRY_AFTER).as_deref(), Some("2"));
        assert_eq!(header_of(401, header::WWW_AUTHENTICATE).as_deref(), Some("Bearer"));
        assert_eq!(header_of(405, header::ALLOW).as_deref(), Some("GET, PUT"));
    }

    #[test]
    fn the_document_has_the_members_of_the_contract() {
        let text = serde_json::to_string(&ApiError::invalid("/error/message", "must not be empty").problem())
            .unwrap();
        insta::assert_snapshot!(text, @r#"{"type":"urn:tracer:problem:invalid","title":"Out of bounds","status":422,"detail":"One value is out of bounds: error.message must not be empty.","errors":[{"pointer":"/error/message","detail":"must not be empty"}]}"#);
    }
}
