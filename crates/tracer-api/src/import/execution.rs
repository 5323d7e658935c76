//! What a file tells of a finished execution, whatever the file's format.
//!
//! Invariant: ids derive from the file's content, so that reading it again gives the same execution.
//! Not here: reading, and whether a name is valid or a time lies in the future.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tracer_core::failure::Failure;
use tracer_core::ids::{ExecutionId, StepId};
use tracer_core::time::{Micros, Timestamp};

/// One finished execution.
#[derive(Clone, Debug, PartialEq)]
pub struct ImportedExecution {
    /// Its id; recording the same one again changes nothing.
    pub id: ExecutionId,
    /// What it ran. Not checked as a name, because the caller may replace it.
    pub workflow_name: String,
    /// The version of the workflow, where it is told.
    pub version: Option<String>,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended; never before it began.
    pub ended_at: Timestamp,
    /// How it ended.
    pub ending: Ending,
    /// What is attached, within the bounds of [`tracer_core::limits`].
    pub attributes: BTreeMap<String, Value>,
    /// The steps in the order of the file; at least one, at most
    /// [`IMPORT_STEPS`](tracer_core::limits::IMPORT_STEPS).
    pub steps: Vec<ImportedStep>,
}

/// One finished step.
#[derive(Clone, Debug, PartialEq)]
pub struct ImportedStep {
    /// Its id, unique within the execution.
    pub id: StepId,
    /// What it has in common with others of its kind; a valid name.
    pub step_name: String,
    /// What kind of work it is, where it is told; a valid type.
    pub step_type: Option<String>,
    /// The step that it is part of.
    pub parent: Option<StepId>,
    /// When it began.
    pub started_at: Timestamp,
    /// How long it took.
    pub duration: Micros,
    /// How it ended.
    pub ending: Ending,
    /// What is attached, within the bounds of [`tracer_core::limits`].
    pub attributes: BTreeMap<String, Value>,
}

/// How an execution or a step ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ending {
    /// Well, or nothing else is told.
    #[default]
    Completed,
    /// With an error, of which nothing may be known.
    Failed(Option<Failure>),
}
