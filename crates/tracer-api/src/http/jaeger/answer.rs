//! The envelope around everything that Jaeger's API answers, refusals included.

use std::collections::BTreeMap;
use std::fmt;

use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, HeaderValue};
use actix_web::{HttpResponse, ResponseError, web};
use serde::Serialize;
use tracer_core::repository::RepositoryError;
use utoipa::ToSchema;
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Response};

use super::super::refusal::AskErrors;
use crate::error::ApiError;

/// What is answered.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct JaegerAnswer<T> {
    data: T,
    /// How many there are in `data`.
    total: usize,
    /// Always 0: nothing is paged.
    limit: usize,
    /// Always 0.
    offset: usize,
    /// What is missing, and why.
    errors: Option<Vec<JaegerFault>>,
}

/// What is wrong, or missing.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(title = "Jaeger error")]
pub(in crate::http) struct JaegerFault {
    /// The HTTP status.
    code: u16,
    /// What it is.
    msg: String,
    /// The trace that it is about.
    #[serde(rename = "traceID", skip_serializing_if = "Option::is_none")]
    trace_id: Option<String>,
}

/// An envelope with nothing but what is wrong.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(title = "Jaeger refusal")]
pub(in crate::http) struct JaegerRefusal {
    /// Always `null`.
    data: Option<bool>,
    /// Always 0.
    total: usize,
    /// Always 0.
    limit: usize,
    /// Always 0.
    offset: usize,
    /// What is wrong.
    errors: Vec<JaegerFault>,
}

impl JaegerFault {
    /// No trace has this id.
    pub(super) fn unknown(id: &str) -> Self {
        Self { code: 404, msg: "trace not found".to_owned(), trace_id: Some(id.to_owned()) }
    }
}

impl<T> JaegerAnswer<Vec<T>> {
    /// Puts an answer together.
    pub(super) fn of(data: Vec<T>) -> web::Json<Self> {
        Self::with_faults(data, Vec::new())
    }

    /// Puts an answer together of which something is missing.
    pub(super) fn with_faults(data: Vec<T>, faults: Vec<JaegerFault>) -> web::Json<Self> {
        let errors = (!faults.is_empty()).then_some(faults);
        web::Json(Self { total: data.len(), data, limit: 0, offset: 0, errors })
    }
}

/// What can go wrong, in Jaeger's envelope.
#[derive(Debug)]
pub(super) struct JaegerError(ApiError);

impl From<ApiError> for JaegerError {
    fn from(error: ApiError) -> Self {
        Self(error)
    }
}

impl From<RepositoryError> for JaegerError {
    fn from(error: RepositoryError) -> Self {
        Self(error.into())
    }
}

impl fmt::Display for JaegerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl ResponseError for JaegerError {
    fn status_code(&self) -> StatusCode {
        self.0.status_code()
    }

    fn error_response(&self) -> HttpResponse {
        let status = self.status_code().as_u16();
        let fault = JaegerFault { code: status, msg: self.0.to_string(), trace_id: None };
        let refused = JaegerRefusal { data: None, total: 0, limit: 0, offset: 0, errors: vec![fault] };
        // Logged, and with the headers that it has elsewhere.
        let mut answer = self.0.error_response();
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        // Texts and numbers always serialise.
        answer.set_body(serde_json::to_vec(&refused).unwrap_or_default()).map_into_boxed_body()
    }
}

/// The errors of these routes, for the API's document: those of every route that answers, of which these answer some by
/// themselves.
pub(super) struct JaegerErrors;

impl utoipa::IntoResponses for JaegerErrors {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let mut responses = <AskErrors as utoipa::IntoResponses>::responses();
        let content = || ContentBuilder::new().schema(Some(Ref::from_schema_name("JaegerRefusal"))).build();
        for (status, description) in [
            ("400", "A bad parameter."),
            ("404", "Unknown trace."),
            ("503", "The store is away: wait as Retry-After says."),
        ] {
            if let Some(RefOr::T(response)) = responses.get_mut(status) {
                response.description = description.to_owned();
                response.content.clear();
                response.content.insert("application/json".to_owned(), content().into());
            }
        }
        responses
    }
}
