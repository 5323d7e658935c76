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
//! What comes out: an execution named after its file, without `.json` and the last `-NNN`, the number
//! of the run; its start is `executedAt`, and its attributes are `instance` (the name in the file),
//! `runtime_system` and `runtime_system_version`. A step is named after its task without the sample
//! (` (…)`) and the number (`_ID000012`, `_12`) at its end, unless the task's id is its name plus a
//! number; its attributes are `input_bytes` (sum over the input files), `cores`, `command` (program and
//! arguments) and `machine`. Versions and parent steps are not told: the format knows the version of
//! the runtime system, and a task's parents are what it waited for, not what contains it.
//!
//! Invariant: every error names the file and a JSON path in it, and no input makes this module panic.
//! Not here: opening files, and whether a time lies in the future (it needs a clock).

mod ids;
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
use super::execution::{Ending, ImportedExecution, ImportedStep};
use crate::fitting::text_value;

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
/// `source` is the file's name or path: it begins every message and gives the workflow its name. The ids
/// derive from the content: equal for equal files, whatever they are called.
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

    let digest = Sha256::digest(text).into();
    Ok(ImportedExecution {
        id: ids::execution_id(&digest),
        workflow_name: naming::workflow_name(source),
        version: None,
        started_at,
        ended_at: started_at + makespan.max(last_end.unwrap_or_default()),
        ending: Ending::Completed,
        attributes: execution_attributes(root, layout)?,
        steps: tasks
            .into_iter()
            .zip(offsets)
            .map(|(task, offset)| step(&digest, task, started_at + offset))
            .collect(),
    })
}

fn step(digest: &[u8; 32], task: Task<'_>, started_at: Timestamp) -> ImportedStep {
    ImportedStep {
        id: ids::step_id(digest, task.id),
        step_name: task.step_name,
        step_type: None,
        parent: None,
        started_at,
        duration: task.duration,
        ending: Ending::Completed,
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
            attributes.insert(name.to_owned(), text_value(node.text()?));
        }
    }
    Ok(attributes)
}
