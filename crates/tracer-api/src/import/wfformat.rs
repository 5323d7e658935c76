//! Reads finished executions from WfFormat files, the JSON of the `WfCommons` project.
//!
//! Versions 1.5 and 1.6 keep what a workflow is (`workflow.specification`) apart from one run of it
//! (`workflow.execution`); 1.6 adds optional members only. Version 1.4 holds both in `workflow.tasks`.
//! Whatever the version, the result is the same.
//!
//! The format says how long a task ran, not when it began. A step is taken to start when the last of
//! its parents ends, and at `executedAt` where it has none: the earliest moment possible. Waiting for
//! a free machine is therefore not seen between steps; it is in the execution's end, which is
//! `executedAt` plus the makespan, and never before the end of the last step.
//!
//! Invariant: every error names the file and a JSON path in it, and no input makes this module panic.
//! Not here: opening files, ids, and whether a time lies in the future (it needs a clock).

mod naming;
mod node;
mod schedule;
mod task;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde_json::Value;
use sha2::{Digest, Sha256};
use thiserror::Error;
use tracer_core::limits;
use tracer_core::time::{Micros, Timestamp};

pub use self::node::Problem;
use self::node::{Fault, Node};
use self::task::{Layout, Task};

/// One finished execution, as a file tells it.
#[derive(Clone, Debug, PartialEq)]
pub struct ImportedExecution {
    /// The file's name without `.json` and without its last `-NNN`, the number of the run.
    /// Not checked as a name, because the caller may replace it.
    pub workflow_name: String,
    /// SHA-256 of the file's content: equal for equal files, whatever they are called.
    pub digest: [u8; 32],
    /// `executedAt`.
    pub started_at: Timestamp,
    /// Start plus makespan, or the end of the last step where that is later or no makespan is given.
    pub ended_at: Timestamp,
    /// `instance` (the name in the file), `runtime_system` and `runtime_system_version`, where given.
    pub attributes: BTreeMap<String, Value>,
    /// Always `None`: WfFormat knows the version of the runtime system, not of the workflow.
    pub version: Option<String>,
    /// The steps in the order of the file; at least one, at most [`limits::IMPORT_STEPS`].
    pub steps: Vec<ImportedStep>,
}

/// One task that ran.
#[derive(Clone, Debug, PartialEq)]
pub struct ImportedStep {
    /// The task's id: unique within the file, and a valid name.
    pub task_id: String,
    /// What the task has in common with others of its kind; a valid name.
    ///
    /// The task's name without the sample (` (…)`) and the number (`_ID000012`, `_12`) at its end.
    /// Where the id is the name plus a number, the name has none of its own and stays as it is.
    pub step_name: String,
    /// Always `None`: a task's parents are what it waited for, not what contains it.
    pub parent: Option<usize>,
    /// When the last parent ended, or the start of the execution.
    pub started_at: Timestamp,
    /// `runtimeInSeconds`.
    pub duration: Micros,
    /// `input_bytes` (sum over the input files), `cores`, `command` (program and arguments, cut to
    /// [`limits::ATTRIBUTE_VALUE_BYTES`]) and `machine`, where given.
    pub attributes: BTreeMap<String, Value>,
}

/// Why a file is not an execution in WfFormat.
#[derive(Debug, Error)]
pub enum FormatError {
    /// The content is not JSON at all.
    #[error("{file}: $: is not JSON from line {}, column {} on", source.line(), source.column())]
    NotJson {
        /// The file, as the caller named it.
        file: String,
        /// What the JSON parser met.
        source: serde_json::Error,
    },
    /// One value is not what it should be.
    #[error("{file}: {path}: {problem}")]
    Value {
        /// The file, as the caller named it.
        file: String,
        /// Where in the file, such as `$.workflow.execution.tasks[3].runtimeInSeconds`.
        path: String,
        /// What is wrong there.
        problem: Problem,
    },
}

/// Reads the content of one file.
///
/// `source` is the file's name or path: it begins every message and gives the workflow its name.
///
/// # Errors
/// [`FormatError`] if the content is not JSON, not WfFormat 1.4 to 1.6, describes a workflow that
/// never ran, contradicts itself (an unknown parent, a cycle, a task that is only half there), or
/// exceeds the bounds of [`limits`].
pub fn read(source: &str, text: &[u8]) -> Result<ImportedExecution, FormatError> {
    let json = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let document: Value = serde_json::from_slice(json)
        .map_err(|cause| FormatError::NotJson { file: source.to_owned(), source: cause })?;
    read_document(source, text, &Node::root(&document))
        .map_err(|Fault { path, problem }| FormatError::Value { file: source.to_owned(), path, problem })
}

fn read_document(source: &str, text: &[u8], root: &Node<'_>) -> Result<ImportedExecution, Fault> {
    if root.is_deeper_than(limits::JSON_DEPTH) {
        return Err(root.fault(Problem::TooDeep));
    }
    let version = root.required("schemaVersion")?;
    let layout = Layout::of_version(version.text()?).ok_or_else(|| version.fault(Problem::Version))?;
    let workflow = root.required("workflow")?;
    let run = layout.run(&workflow)?;

    let executed_at = run.required("executedAt")?;
    let started_at =
        schedule::executed_at(executed_at.text()?).map_err(|problem| executed_at.fault(problem))?;
    let makespan = match run.optional("makespanInSeconds")? {
        Some(makespan) => makespan.seconds()?,
        None => Micros::ZERO,
    };
    let tasks = task::read_all(&workflow, layout)?;
    let offsets = schedule::offsets(&tasks)?;
    let last_end =
        offsets.iter().zip(&tasks).map(|(offset, task)| offset.saturating_add(task.duration)).max();

    Ok(ImportedExecution {
        workflow_name: naming::workflow_name(source),
        digest: Sha256::digest(text).into(),
        started_at,
        ended_at: started_at + makespan.max(last_end.unwrap_or_default()),
        attributes: execution_attributes(root, layout)?,
        version: None,
        steps: tasks.into_iter().zip(offsets).map(|(task, offset)| step(task, started_at + offset)).collect(),
    })
}

fn step(task: Task<'_>, started_at: Timestamp) -> ImportedStep {
    ImportedStep {
        task_id: task.id.to_owned(),
        step_name: task.step_name,
        parent: None,
        started_at,
        duration: task.duration,
        attributes: task.attributes,
    }
}

fn execution_attributes(root: &Node<'_>, layout: Layout) -> Result<BTreeMap<String, Value>, Fault> {
    let system = root.optional(layout.runtime_system())?;
    let within = |key| system.as_ref().map_or(Ok(None), |system| system.optional(key));
    let mut attributes = BTreeMap::new();
    for (name, node) in [
        ("instance", root.optional("name")?),
        ("runtime_system", within("name")?),
        ("runtime_system_version", within("version")?),
    ] {
        if let Some(node) = node {
            attributes.insert(name.to_owned(), task::text_value(node.text()?));
        }
    }
    Ok(attributes)
}
