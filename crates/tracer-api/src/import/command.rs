//! The `import` command: files in, recorded executions and a summary out.
//!
//! Ids derive from a file's content, so that importing it again changes nothing. Files are recorded one
//! by one; a file that is not what it should be is told and left out, and the others go on.
//! Not here: what a file says (`wfformat`), and how an execution is recorded (`Tracing`, or the service
//! at the other end).

mod remote;

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use async_trait::async_trait;
use futures_util::{StreamExt, stream};
use indicatif::{ProgressBar, ProgressStyle};
use sha2::{Digest, Sha256};
use tracer_core::ids::{ExecutionId, StepId};
use tracer_core::time::Timestamp;

pub use self::remote::Remote;
use super::wfformat::{self, ImportedExecution, ImportedStep};
use crate::http::import::{FinishedExecution, FinishedStep};
use crate::recording::{Arrival, Tracing};

/// Files that are recorded at once through another service.
const REMOTE_AT_ONCE: usize = 4;

/// Where executions are recorded.
#[async_trait]
pub trait Destination: Send + Sync {
    /// Records an execution; returns whether it was new.
    ///
    /// # Errors
    /// Why it was not recorded, in words for whoever runs the command.
    async fn record(&self, execution: FinishedExecution) -> anyhow::Result<bool>;

    /// Returns how many executions may be recorded at once.
    fn at_once(&self) -> usize;
}

/// Records into a store that this process has open.
#[derive(Debug)]
pub struct Local(pub Tracing);

#[async_trait]
impl Destination for Local {
    async fn record(&self, execution: FinishedExecution) -> anyhow::Result<bool> {
        let now = self.0.now();
        let command = execution.into_command(now)?;
        Ok(self.0.import(command, Arrival::plain(now)).await?.is_new)
    }

    /// One: later files are judged by earlier ones, as named.
    fn at_once(&self) -> usize {
        1
    }
}

/// What an import did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Executions that are new.
    pub recorded: usize,
    /// Executions that were recorded before.
    pub known: usize,
    /// Steps of the new ones.
    pub steps: usize,
    /// Workflows of all of them.
    pub workflows: BTreeSet<String>,
    /// Files that were not recorded, each with why.
    pub failures: Vec<String>,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { recorded, known, steps, workflows, failures } = self;
        write!(f, "{} with {} recorded", counted(*recorded, "execution"), counted(*steps, "step"))?;
        if *known > 0 {
            write!(f, ", {known} already recorded")?;
        }
        if !failures.is_empty() {
            write!(f, ", {} failed", counted(failures.len(), "file"))?;
        }
        write!(f, "; {}", counted(workflows.len(), "workflow"))?;
        match workflows.iter().next() {
            Some(first) => write!(f, ", such as {first}"),
            None => Ok(()),
        }
    }
}

fn counted(number: usize, thing: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {thing}{plural}")
}

/// Records the executions of WfFormat files, with a progress bar where there is a terminal.
pub async fn wfformat(
    files: &[PathBuf],
    workflow_name: Option<&str>,
    destination: &dyn Destination,
) -> Summary {
    let bar = ProgressBar::new(u64::try_from(files.len()).unwrap_or(u64::MAX));
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} {wide_msg}") {
        bar.set_style(style);
    }
    let mut done = stream::iter(files)
        .map(|file| async move { (file, one(file, workflow_name, destination).await) })
        .buffered(destination.at_once());
    let mut summary = Summary::default();
    while let Some((file, outcome)) = done.next().await {
        bar.inc(1);
        bar.set_message(file.display().to_string());
        match outcome {
            Ok(One { workflow, steps, is_new }) => {
                summary.workflows.insert(workflow);
                if is_new {
                    summary.recorded += 1;
                    summary.steps += steps;
                } else {
                    summary.known += 1;
                }
            }
            Err(error) => summary.failures.push(format!("{error:#}")),
        }
    }
    bar.finish_and_clear();
    summary
}

/// What became of one file.
struct One {
    workflow: String,
    steps: usize,
    is_new: bool,
}

async fn one(file: &Path, workflow_name: Option<&str>, destination: &dyn Destination) -> anyhow::Result<One> {
    let name = file.display().to_string();
    let path = file.to_owned();
    let read = tokio::task::spawn_blocking(move || {
        let text = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok::<_, anyhow::Error>(wfformat::read(&path.display().to_string(), &text)?)
    });
    let mut execution = read.await??;
    if let Some(workflow_name) = workflow_name {
        workflow_name.clone_into(&mut execution.workflow_name);
    }
    let (workflow, steps) = (execution.workflow_name.clone(), execution.steps.len());
    let is_new =
        destination.record(finished(execution)).await.with_context(|| format!("{name} was not recorded"))?;
    Ok(One { workflow, steps, is_new })
}

/// Returns what is recorded of a file: the very body of `POST /import`, so that both ways are one.
fn finished(execution: ImportedExecution) -> FinishedExecution {
    let digest = execution.digest;
    FinishedExecution {
        workflow_id: Some(execution_id(&digest).to_string()),
        workflow_name: Some(execution.workflow_name),
        correlation_id: None,
        version: execution.version,
        attributes: Some(execution.attributes),
        input: None,
        output: None,
        started_at: Some(precise(execution.started_at)),
        ended_at: Some(precise(execution.ended_at)),
        status: None,
        error: None,
        steps: execution.steps.into_iter().map(|step| finished_step(&digest, step)).collect(),
    }
}

fn finished_step(digest: &[u8; 32], step: ImportedStep) -> FinishedStep {
    FinishedStep {
        step_id: Some(step_id(digest, &step.task_id).to_string()),
        step_name: Some(step.step_name),
        step_type: None,
        parent_step_id: None,
        attributes: Some(step.attributes),
        started_at: Some(precise(step.started_at)),
        ended_at: None,
        duration_ms: Some(step.duration.as_f64() / 1000.0),
        status: None,
        error: None,
    }
}

/// Returns the first 16 bytes of a file's digest as an id.
fn execution_id(digest: &[u8; 32]) -> ExecutionId {
    let bits = digest.first_chunk().copied().map_or(0, u128::from_be_bytes);
    ExecutionId::from_u128(bits).unwrap_or_else(|| ExecutionId::from_bytes([1; 16]))
}

/// Returns the first 8 bytes of SHA-256 over the file's digest and the task's id.
fn step_id(digest: &[u8; 32], task: &str) -> StepId {
    let hash = Sha256::new().chain_update(digest).chain_update(task).finalize();
    let bits = hash.first_chunk().copied().map_or(0, u64::from_be_bytes);
    StepId::from_u64(bits).unwrap_or_else(|| StepId::from_stored(1))
}

/// Writes a time to the microsecond: shown times have milliseconds only.
fn precise(time: Timestamp) -> String {
    jiff::Timestamp::from_microsecond(time.as_micros())
        .map_or_else(|_| time.to_string(), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_derive_from_the_content_and_are_never_zero() {
        let (ones, zeros) = ([1; 32], [0; 32]);
        assert_eq!(execution_id(&ones).to_string(), "wf_01010101010101010101010101010101");
        assert_eq!(execution_id(&zeros).to_string(), "wf_01010101010101010101010101010101");
        assert_eq!(step_id(&ones, "a"), step_id(&ones, "a"));
        assert_ne!(step_id(&ones, "a"), step_id(&ones, "b"));
        assert_ne!(step_id(&ones, "a"), step_id(&zeros, "a"));
    }

    #[test]
    fn times_keep_their_microseconds() {
        let time = Timestamp::from_micros(1_769_860_800_123_456);
        assert_eq!(Timestamp::parse(&precise(time)), Ok(time));
    }

    #[test]
    fn the_summary_counts_what_happened() {
        let mut summary =
            Summary { recorded: 1, steps: 20, workflows: ["blast".to_owned()].into(), ..Summary::default() };
        assert_eq!(summary.to_string(), "1 execution with 20 steps recorded; 1 workflow, such as blast");
        summary.known = 2;
        summary.failures.push("x".into());
        assert_eq!(
            summary.to_string(),
            "1 execution with 20 steps recorded, 2 already recorded, 1 file failed; 1 workflow, such as blast"
        );
    }
}
