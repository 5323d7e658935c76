//! A JSON value that knows where in its document it stands.
//!
//! Invariant: whatever is refused is refused with its path, so that a message can be acted upon
//! without a debugger.
//! Not here: what the values of a WfFormat file mean.

use serde_json::{Map, Value};
use thiserror::Error;
use tracer_core::limits;
use tracer_core::name::NameError;
use tracer_core::time::{DurationError, Micros};

/// Most bytes that files can sensibly have: beyond it, a JSON number is no longer exact.
const MOST_BYTES: u64 = 1 << 53;

/// What is wrong with a value in a WfFormat file.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum Problem {
    /// A member that must be there is absent or null.
    #[error("is missing")]
    Missing,
    /// Another JSON type stands where an object must.
    #[error("must be an object")]
    NotObject,
    /// Another JSON type stands where an array must.
    #[error("must be an array")]
    NotArray,
    /// Another JSON type stands where a string must.
    #[error("must be a string")]
    NotString,
    /// Another JSON type stands where a length of time must.
    #[error("must be a number of seconds")]
    NotSeconds,
    /// A number of seconds that no duration has.
    #[error(transparent)]
    Duration(#[from] DurationError),
    /// Not a number of bytes that a file can have.
    #[error("must be a whole number of bytes, not negative and at most {MOST_BYTES}")]
    NotBytes,
    /// Not a number of processor cores.
    #[error("must be a number, not negative")]
    NotCores,
    /// The time has none of the forms that occur.
    #[error("must be a time such as 2026-01-31T12:00:00Z, 20260131T120000+0000 or 01-31-26T12:00:00Z")]
    NotTime,
    /// The time lies before 1970.
    #[error("must not lie before 1970")]
    BeforeEpoch,
    /// A task's id or its step's name is no valid name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A version of the format that is not read here.
    #[error("must be \"1.4\", \"1.5\" or \"1.6\"")]
    Version,
    /// The document's arrays and objects are nested too deeply.
    #[error("must not be nested deeper than {}", limits::JSON_DEPTH)]
    TooDeep,
    /// A workflow is described, and no run of it.
    #[error("is missing: the file describes a workflow, not an execution of it")]
    NotExecuted,
    /// An execution without steps.
    #[error("must hold at least one task")]
    NoTasks,
    /// More than [`limits::IMPORT_STEPS`].
    #[error("must not hold more than {} tasks", limits::IMPORT_STEPS)]
    TooManyTasks,
    /// Two tasks share an id.
    #[error("repeats the id of another task")]
    RepeatedTask,
    /// An id that no task has, or a name that several have.
    #[error("must name one task of this file")]
    UnknownTask,
    /// An id that no file has.
    #[error("must name one of $.workflow.specification.files")]
    UnknownFile,
    /// A task that is specified and has no counterpart in the execution.
    #[error("has no counterpart in $.workflow.execution.tasks")]
    TaskNotExecuted,
    /// A task that waits for itself.
    #[error("depends on itself, by way of its parents")]
    Cycle,
    /// A chain of tasks that together take unbelievably long.
    #[error("would end more than {} days after the start of the execution", limits::DURATION_DAYS)]
    EndsTooLate,
}

/// A problem and the path of the value that has it.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) path: String,
    pub(super) problem: Problem,
}

/// A value and its path from the document's root, `$`.
#[derive(Clone, Debug)]
pub(super) struct Node<'a> {
    value: &'a Value,
    path: String,
}

impl<'a> Node<'a> {
    /// Returns the whole document.
    pub(super) fn root(value: &'a Value) -> Self {
        Self { value, path: "$".to_owned() }
    }

    /// Says that this value has a problem.
    pub(super) fn fault(&self, problem: Problem) -> Fault {
        Fault { path: self.path.clone(), problem }
    }

    /// Says that a member which is not there has a problem.
    pub(super) fn fault_at(&self, key: &str, problem: Problem) -> Fault {
        Fault { path: format!("{}.{key}", self.path), problem }
    }

    /// Returns a member of this object, unless it is absent or null.
    pub(super) fn optional(&self, key: &str) -> Result<Option<Self>, Fault> {
        let member = self.object()?.get(key).filter(|value| !value.is_null());
        Ok(member.map(|value| Self { value, path: format!("{}.{key}", self.path) }))
    }

    /// Returns a member of this object.
    pub(super) fn required(&self, key: &str) -> Result<Self, Fault> {
        self.optional(key)?.ok_or_else(|| self.fault_at(key, Problem::Missing))
    }

    /// Returns the number of items of this array.
    pub(super) fn len(&self) -> Result<usize, Fault> {
        Ok(self.array()?.len())
    }

    /// Returns the items of this array.
    pub(super) fn items(&self) -> Result<impl Iterator<Item = Self>, Fault> {
        let items = self.array()?.iter().enumerate();
        Ok(items.map(|(index, value)| Self { value, path: format!("{}[{index}]", self.path) }))
    }

    /// Returns this string.
    pub(super) fn text(&self) -> Result<&'a str, Fault> {
        self.value.as_str().ok_or_else(|| self.fault(Problem::NotString))
    }

    /// Returns this number of seconds, to the microsecond.
    pub(super) fn seconds(&self) -> Result<Micros, Fault> {
        let seconds = self.value.as_f64().ok_or_else(|| self.fault(Problem::NotSeconds))?;
        Micros::from_client_millis(seconds * 1000.0).map_err(|error| self.fault(error.into()))
    }

    /// Returns this number of bytes; `12.0`, as some writers have it, is 12.
    pub(super) fn bytes(&self) -> Result<u64, Fault> {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole and in range")]
        let whole = |number: f64| {
            let in_range = number.fract() == 0.0 && (0.0..=MOST_BYTES as f64).contains(&number);
            in_range.then_some(number as u64)
        };
        let bytes = self.value.as_u64().or_else(|| self.value.as_f64().and_then(whole));
        bytes.filter(|&bytes| bytes <= MOST_BYTES).ok_or_else(|| self.fault(Problem::NotBytes))
    }

    /// Returns this number of cores as it is written; it may have a fraction.
    pub(super) fn cores(&self) -> Result<Value, Fault> {
        match self.value.as_f64() {
            Some(cores) if cores.is_finite() && cores >= 0.0 => Ok(self.value.clone()),
            Some(_) | None => Err(self.fault(Problem::NotCores)),
        }
    }

    /// Returns whether arrays and objects are nested more than `levels` deep.
    pub(super) fn is_deeper_than(&self, levels: usize) -> bool {
        is_deeper_than(self.value, levels)
    }

    fn object(&self) -> Result<&'a Map<String, Value>, Fault> {
        self.value.as_object().ok_or_else(|| self.fault(Problem::NotObject))
    }

    fn array(&self) -> Result<&'a Vec<Value>, Fault> {
        self.value.as_array().ok_or_else(|| self.fault(Problem::NotArray))
    }
}

/// Recursion is safe here: the JSON parser gives up at 128 levels.
fn is_deeper_than(value: &Value, levels: usize) -> bool {
    let inner = |value: &Value| levels == 0 || is_deeper_than(value, levels.saturating_sub(1));
    match value {
        Value::Array(items) => levels == 0 || items.iter().any(inner),
        Value::Object(members) => levels == 0 || members.values().any(inner),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}
