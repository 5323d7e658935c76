//! Turns the values of a body into those of the domain, and gathers everything that is wrong with them.
//!
//! Invariant: a body with a fault makes no command, and its client learns of all of them at once.
//! Not here: whether the body is JSON of the right types (`body`), or what the store refuses (`refusal`).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Display;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tracer_core::attributes::Attributes;
use tracer_core::failure::Failure;
use tracer_core::payload::Payload;
use tracer_core::time::{Micros, TimeError, Timestamp};
use utoipa::ToSchema;

use crate::error::{ApiError, FieldError};

/// Most faults that are told: a body of 20,000 wrong steps needs no answer of that length.
const MOST_FAULTS: usize = 100;

/// What a field's value must be if it is no id of the right form.
const REQUIRED: &str = "is required";

/// Gathers what is wrong with the values of a body.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    prefix: String,
    faults: Vec<FieldError>,
}

impl Checks {
    /// Makes every pointer that follows begin with `prefix`, such as `/steps/3`.
    pub(crate) fn within(&mut self, prefix: String) {
        self.prefix = prefix;
    }

    /// Notes a fault.
    pub(crate) fn fault(&mut self, pointer: &str, detail: impl Into<Cow<'static, str>>) {
        if self.faults.len() < MOST_FAULTS {
            self.faults.push(FieldError::new(format!("{}{pointer}", self.prefix), detail));
        }
    }

    /// Takes a parsed value, or notes why it is none.
    pub(crate) fn take<T, E: Display>(&mut self, pointer: &str, parsed: Result<T, E>) -> Option<T> {
        match parsed {
            Ok(value) => Some(value),
            Err(error) => {
                self.fault(pointer, error.to_string());
                None
            }
        }
    }

    /// Parses a text that must be there.
    pub(crate) fn required<T, E: Display>(
        &mut self,
        pointer: &str,
        text: Option<&str>,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        match text {
            Some(text) => self.take(pointer, parse(text)),
            None => {
                self.fault(pointer, REQUIRED);
                None
            }
        }
    }

    /// Parses a text that may be left out.
    pub(crate) fn optional<T, E: Display>(
        &mut self,
        pointer: &str,
        text: Option<&str>,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        text.and_then(|text| self.take(pointer, parse(text)))
    }

    /// Parses a time between 1970 and a day from `now`.
    pub(crate) fn time(&mut self, pointer: &str, text: Option<&str>, now: Timestamp) -> Option<Timestamp> {
        self.optional(pointer, text, |text| given_time(text, now))
    }

    /// Parses a time that must be there.
    pub(crate) fn required_time(
        &mut self,
        pointer: &str,
        text: Option<&str>,
        now: Timestamp,
    ) -> Option<Timestamp> {
        self.required(pointer, text, |text| given_time(text, now))
    }

    /// Parses a duration in milliseconds.
    pub(crate) fn duration(&mut self, pointer: &str, millis: Option<f64>) -> Option<Micros> {
        millis.and_then(|millis| self.take(pointer, Micros::from_client_millis(millis)))
    }

    /// Parses attributes; none are empty ones.
    pub(crate) fn attributes(&mut self, given: Option<BTreeMap<String, Value>>) -> Attributes {
        given.and_then(|entries| self.take("/attributes", Attributes::new(entries))).unwrap_or_default()
    }

    /// Parses an input or output; JSON's `null` is none.
    pub(crate) fn payload(&mut self, pointer: &str, given: Option<&Value>) -> Option<Payload> {
        given.and_then(|value| self.take(pointer, Payload::new(value)))
    }

    /// Returns what `make` makes of the values, unless there is a fault.
    ///
    /// # Errors
    /// 422 with every fault; 500 if `make` misses a value that nothing was noted about.
    pub(crate) fn finish<T>(self, make: impl FnOnce() -> Option<T>) -> Result<T, ApiError> {
        if !self.faults.is_empty() {
            return Err(ApiError::Invalid(self.faults));
        }
        make().ok_or_else(|| ApiError::internal("a value was neither parsed nor refused"))
    }
}

fn given_time(text: &str, now: Timestamp) -> Result<Timestamp, TimeError> {
    Timestamp::parse(text)?.check_given(now)
}

/// An error that a client reports: a text, or its parts.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum Reported {
    /// What it says.
    Message(String),
    /// Its parts.
    Parts(ReportedParts),
}

/// The parts of an error that a client reports. Long texts are cut and marked.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct ReportedParts {
    /// The error's type or code.
    #[schema(example = "TimeoutError")]
    pub(crate) r#type: Option<String>,
    /// What it says.
    #[schema(example = "upstream did not answer in 30 s")]
    pub(crate) message: Option<String>,
    /// Where it was raised.
    pub(crate) stack: Option<String>,
}

impl Reported {
    /// Returns whether it is empty in all its parts: some clients always send one.
    pub(crate) fn says_nothing(&self) -> bool {
        let none = |text: &Option<String>| text.as_ref().is_none_or(String::is_empty);
        match self {
            Self::Message(text) => text.is_empty(),
            Self::Parts(parts) => none(&parts.r#type) && none(&parts.message) && none(&parts.stack),
        }
    }

    /// Returns the failure, with `kind` as its type where the client gave none.
    pub(crate) fn into_failure(self, kind: Option<&str>) -> Failure {
        match self {
            Self::Message(message) => Failure::new(kind, &message, None),
            Self::Parts(parts) => Failure::new(
                parts.r#type.as_deref().or(kind),
                parts.message.as_deref().unwrap_or_default(),
                parts.stack.as_deref(),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tracer_core::name::WorkflowName;

    use super::*;

    #[test]
    fn every_fault_is_told_with_its_place() {
        let now = Timestamp::from_millis(0);
        let mut checks = Checks::default();
        assert!(checks.required("/workflow_name", None, WorkflowName::new).is_none());
        checks.within("/steps/3".into());
        checks.time("/started_at", Some("yesterday"), now);
        checks.duration("/duration_ms", Some(-1.0));
        checks.attributes(Some([(String::new(), json!(1))].into()));
        let error = checks.finish(|| Some(())).unwrap_err();
        let shown: Vec<String> = error
            .problem()
            .errors
            .into_iter()
            .map(|fault| format!("{} {}", fault.pointer, fault.detail))
            .collect();
        insta::assert_snapshot!(shown.join("\n"), @r"
        /workflow_name is required
        /steps/3/started_at is not a time of RFC 3339, such as 2026-01-31T12:00:00.123Z
        /steps/3/duration_ms must not be negative
        /steps/3/attributes must have keys of 1 to 128 bytes
        ");
    }

    #[test]
    fn an_error_is_a_text_or_its_parts() {
        let failure =
            |error: Value, kind| serde_json::from_value::<Reported>(error).unwrap().into_failure(kind);
        let text = failure(json!("boom"), Some("timeout"));
        assert_eq!((text.kind.as_deref(), text.message.as_str()), (Some("timeout"), "boom"));
        let parts = failure(json!({"type": "E", "message": "m", "stack": "s", "more": 1}), Some("timeout"));
        assert_eq!((parts.kind.as_deref(), parts.stack.as_deref()), (Some("E"), Some("s")));
    }

    #[test]
    fn faults_are_told_up_to_a_bound() {
        let mut checks = Checks::default();
        (0..1000).for_each(|_| checks.fault("/x", "is wrong"));
        assert_eq!(checks.finish(|| Some(())).unwrap_err().problem().errors.len(), MOST_FAULTS);
    }
}
