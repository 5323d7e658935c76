//! What a store's refusal is to a client: the rows of the contract's table that the domain decides.

use std::collections::BTreeMap;
use std::time::Duration;

use actix_web::http::StatusCode;
use tracer_core::limits;
use tracer_core::record::Refusal;
use tracer_core::repository::RepositoryError;
use utoipa::openapi::{ContentBuilder, HeaderBuilder, Object, Ref, RefOr, Response, ResponseBuilder, Type};

use crate::error::{ApiError, PROBLEM_JSON};

/// How long a client is asked to wait for a store that is away or full: most such moments are shorter.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// No execution has this id, whatever it looks like.
pub(crate) const UNKNOWN_EXECUTION: &str = "No execution has this id.";
/// No step of this execution has this id, whatever it looks like.
pub(crate) const UNKNOWN_STEP: &str = "This execution has no step of this id.";
/// No incident has this id, whatever it looks like.
pub(crate) const UNKNOWN_INCIDENT: &str = "No incident has this id.";
/// No failure was like that.
pub(crate) const UNKNOWN_FAILURE: &str = "No group of failures has this fingerprint.";
/// No objective of the settings has this name.
pub(crate) const UNKNOWN_SLO: &str = "No service level objective has this name.";
/// No workflow has this name.
pub(crate) const UNKNOWN_WORKFLOW: &str = "Nothing was ever recorded under this workflow name.";

impl From<RepositoryError> for ApiError {
    fn from(error: RepositoryError) -> Self {
        match error {
            RepositoryError::Refused(refusal) => refusal.into(),
            RepositoryError::Unavailable { reason, source } => Self::Unavailable {
                detail: format!("The store is unavailable: {reason}. Try again.").into(),
                retry_after: RETRY_AFTER,
                cause: source,
            },
            bug @ RepositoryError::Internal { .. } => Self::internal(bug),
        }
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::UnknownExecution => Self::not_found(UNKNOWN_EXECUTION),
            Refusal::UnknownStep => Self::not_found(UNKNOWN_STEP),
            Refusal::UnknownParentExecution => {
                Self::not_found("No execution has the id given as parent_workflow_id.")
            }
            Refusal::UnknownParentStep => {
                Self::not_found("This execution has no step of the id given as parent_step_id.")
            }
            Refusal::UnknownHistory => {
                Self::not_found("No step of this name has a history in a workflow of this name.")
            }
            Refusal::ExecutionHasEnded(status) => {
                Self::conflict(format!("The execution has already ended as {}.", status.as_str()))
            }
            Refusal::StepHasEnded(status) => {
                Self::conflict(format!("The step has already ended as {}.", status.as_str()))
            }
            Refusal::UnknownIncident => Self::not_found(UNKNOWN_INCIDENT),
            Refusal::IncidentIsResolved => Self::conflict("The incident is resolved already."),
            Refusal::TooManyEvents => Self::Unprocessable(
                format!(
                    "This execution has {} events, which is as many as one may have.",
                    limits::EVENTS_PER_EXECUTION
                )
                .into(),
            ),
            Refusal::IdTaken => Self::conflict("An execution or step of this id exists already."),
            Refusal::IdempotencyKeyReused => {
                Self::conflict("This Idempotency-Key was used before with another body: use a new one.")
            }
            Refusal::Times(error) => Self::invalid("/ended_at", error.to_string()),
            Refusal::Attributes(error) => Self::invalid("/attributes", error.to_string()),
        }
    }
}

/// The errors of a route that records, for the API's document.
pub(crate) struct RecordErrors;

/// The errors of a route that answers, for the API's document.
pub(crate) struct AskErrors;

const ASK: [(StatusCode, &str); 7] = [
    (StatusCode::BAD_REQUEST, "A bad query or header."),
    (StatusCode::UNAUTHORIZED, "No key, where keys are set."),
    (StatusCode::FORBIDDEN, "A key that may not do this."),
    (StatusCode::NOT_FOUND, "Unknown execution, workflow, incident, failure or objective."),
    (StatusCode::NOT_ACCEPTABLE, "Accept excludes application/json."),
    (StatusCode::TOO_MANY_REQUESTS, "Too fast: wait as Retry-After says."),
    (StatusCode::SERVICE_UNAVAILABLE, "The store is away: wait as Retry-After says."),
];

const RECORD: [(StatusCode, &str); 5] = [
    (StatusCode::REQUEST_TIMEOUT, "The body did not arrive in time."),
    (
        StatusCode::CONFLICT,
        "The state machine forbids it, or an Idempotency-Key was reused with another body.",
    ),
    (StatusCode::PAYLOAD_TOO_LARGE, "The body is over its limit."),
    (StatusCode::UNSUPPORTED_MEDIA_TYPE, "The body is not application/json."),
    (StatusCode::UNPROCESSABLE_ENTITY, "Well-formed, but out of bounds: every value at fault is named."),
];

impl utoipa::IntoResponses for AskErrors {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        ASK.into_iter().map(documented).collect()
    }
}

impl utoipa::IntoResponses for RecordErrors {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        ASK.into_iter().chain(RECORD).map(documented).collect()
    }
}

fn documented((status, description): (StatusCode, &str)) -> (String, RefOr<Response>) {
    let problem = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    let response = ResponseBuilder::new().description(description).content(PROBLEM_JSON, problem);
    let response = match header_of(status) {
        Some((name, kind, description)) => {
            let header =
                HeaderBuilder::new().schema(Some(Object::with_type(kind))).description(Some(description));
            response.header(name, header.build())
        }
        None => response,
    };
    (status.as_str().to_owned(), RefOr::T(response.build()))
}

/// Returns the header that comes with an error, its type and what it says.
fn header_of(status: StatusCode) -> Option<(&'static str, Type, &'static str)> {
    match status {
        StatusCode::UNAUTHORIZED => Some(("WWW-Authenticate", Type::String, "`Bearer`.")),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            Some(("Retry-After", Type::Integer, "Seconds to wait."))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use tracer_core::execution::ExecutionStatus;

    use super::*;

    #[test]
    fn refusals_have_the_statuses_of_the_contract_and_say_so_in_a_sentence() {
        let told = |error: RepositoryError| {
            let problem = ApiError::from(error).problem();
            format!("{} {}", problem.status, problem.detail)
        };
        let unavailable = RepositoryError::Unavailable { reason: "its queue is full", source: None };
        let lines = [
            told(Refusal::UnknownExecution.into()),
            told(Refusal::UnknownStep.into()),
            told(Refusal::ExecutionHasEnded(ExecutionStatus::TimedOut).into()),
            told(Refusal::IdempotencyKeyReused.into()),
            told(Refusal::Times(tracer_core::step::TimesError::EndBeforeStart).into()),
            told(unavailable),
            told(RepositoryError::Internal { context: "secret", source: None }),
        ];
        insta::assert_snapshot!(lines.join("\n"), @r"
        404 No execution has this id.
        404 This execution has no step of this id.
        409 The execution has already ended as timed_out.
        409 This Idempotency-Key was used before with another body: use a new one.
        422 One value is out of bounds: ended_at must not lie before the start.
        503 The store is unavailable: its queue is full. Try again.
        500 Something went wrong on our side: the log says what.
        ");
    }
}
