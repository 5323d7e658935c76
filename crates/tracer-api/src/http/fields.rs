//! Values that several bodies share: how something ended, and ids in paths.

use actix_web::HttpRequest;
use tracer_core::execution::ExecutionStatus;
use tracer_core::failure::Failure;
use tracer_core::ids::{ExecutionId, StepId};
use tracer_core::step::{StepStatus, TIMEOUT, is_timeout};

use super::checks::{Checks, Reported};
use super::refusal::{UNKNOWN_EXECUTION, UNKNOWN_STEP};
use crate::error::ApiError;

const EXECUTION_STATUSES: &str = "must be completed, failed, timed_out or cancelled";
const STEP_STATUSES: &str = "must be completed, failed, skipped or cancelled";
const COMPLETED_WITH_ERROR: &str = "must not be completed where error is given";

/// What stands for the message of a timeout that came without one.
const TIMED_OUT: &str = "timed out";

/// Returns the id of the execution in the path.
///
/// # Errors
/// 404 if it is none: what has no such form was never given out.
pub(crate) fn execution_id(req: &HttpRequest) -> Result<ExecutionId, ApiError> {
    let id = req.match_info().get("workflow_id").and_then(|id| id.parse().ok());
    id.ok_or_else(|| ApiError::not_found(UNKNOWN_EXECUTION))
}

/// Returns the id of the step in the path.
///
/// # Errors
/// 404 if it is none.
pub(crate) fn step_id(req: &HttpRequest) -> Result<StepId, ApiError> {
    let id = req.match_info().get("step_id").and_then(|id| id.parse().ok());
    id.ok_or_else(|| ApiError::not_found(UNKNOWN_STEP))
}

/// Returns how a step ended, and why if it failed.
///
/// Without a status it completed, unless an error says otherwise; one that says nothing, beside a status, is none.
/// A timeout is a failure of that type.
pub(crate) fn step_ending(
    checks: &mut Checks,
    status: Option<&str>,
    error: Option<Reported>,
) -> Option<(StepStatus, Option<Failure>)> {
    let timeout = status.is_some_and(is_timeout);
    let error = error.filter(|error| status.is_none() || !error.says_nothing());
    let ending = match status {
        None if error.is_some() => StepStatus::Failed,
        None => StepStatus::Completed,
        Some(status) => match StepStatus::parse(status) {
            Some(ending) if ending != StepStatus::Running => ending,
            Some(_) | None => {
                checks.fault("/status", STEP_STATUSES);
                return None;
            }
        },
    };
    if ending == StepStatus::Completed && error.is_some() {
        checks.fault("/status", COMPLETED_WITH_ERROR);
    }
    Some((ending, failure(error, timeout)))
}

/// Returns how an execution ended, and why if it failed; as [`step_ending`].
pub(crate) fn execution_ending(
    checks: &mut Checks,
    status: Option<&str>,
    error: Option<Reported>,
) -> Option<(ExecutionStatus, Option<Failure>)> {
    let error = error.filter(|error| status.is_none() || !error.says_nothing());
    let ending = match status {
        None if error.is_some() => ExecutionStatus::Failed,
        None => ExecutionStatus::Completed,
        Some(status) => match ExecutionStatus::parse(status) {
            Some(ending) if ending != ExecutionStatus::Running => ending,
            Some(_) | None => {
                checks.fault("/status", EXECUTION_STATUSES);
                return None;
            }
        },
    };
    if ending == ExecutionStatus::Completed && error.is_some() {
        checks.fault("/status", COMPLETED_WITH_ERROR);
    }
    // Of an execution, `timed_out` is a status of its own and needs no error to say so.
    Some((ending, failure(error, false)))
}

fn failure(error: Option<Reported>, timeout: bool) -> Option<Failure> {
    let kind = timeout.then_some(TIMEOUT);
    let stands_in = || timeout.then(|| Failure::new(kind, TIMED_OUT, None));
    error.map(|error| error.into_failure(kind)).or_else(stands_in)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ending(status: Option<&str>, error: Option<&str>) -> String {
        let mut checks = Checks::default();
        let ending = step_ending(&mut checks, status, error.map(|text| Reported::Message(text.into())));
        match checks.finish(|| ending) {
            Ok((status, None)) => status.as_str().to_owned(),
            Ok((status, Some(failure))) => {
                format!(
                    "{}: {}: {}",
                    status.as_str(),
                    failure.kind.as_deref().unwrap_or("-"),
                    failure.message
                )
            }
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_step_ends_as_its_client_says() {
        assert_eq!(ending(None, None), "completed");
        assert_eq!(ending(Some("ok"), None), "completed");
        assert_eq!(ending(None, Some("boom")), "failed: -: boom");
        assert_eq!(ending(Some("failed"), Some("boom")), "failed: -: boom");
        assert_eq!(ending(Some("skipped"), None), "skipped");
        assert_eq!(ending(Some("skipped"), Some("no input")), "skipped: -: no input");
        assert_eq!(ending(Some("success"), Some("")), "completed");
        let both = "One value is out of bounds: status must not be completed where error is given.";
        assert_eq!(ending(Some("success"), Some("boom")), both);
        assert_eq!(ending(Some("timeout"), None), "failed: timeout: timed out");
        assert_eq!(ending(Some("timed_out"), Some("30 s")), "failed: timeout: 30 s");
        let refused = "One value is out of bounds: status must be completed, failed, skipped or cancelled.";
        assert_eq!(ending(Some("running"), None), refused);
        assert_eq!(ending(Some("done"), None), refused);
    }
}
