//! The `import` command: files in, recorded executions and a summary out.
//!
//! What a file holds is recognised by its content. A file in WfFormat is one execution, and recorded as it
//! is read; traces may be spread over several files, and are recorded when all are read. A file that is
//! not what it should be is told and left out, and the others go on.
//!
//! Invariant: ids derive from what a file says, so that importing it again changes nothing.
//! Not here: what a file says (`wfformat`, `otlp`), and how an execution is recorded (`Tracing`, or the
//! service at the other end).

mod body;
mod files;
mod remote;
mod summary;
mod traces;

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use async_trait::async_trait;
use indicatif::{ProgressBar, ProgressStyle};

pub use self::remote::Remote;
pub use self::summary::Summary;
use super::execution::ImportedExecution;
use super::format::Format;
use super::wfformat;
use crate::http::import::FinishedExecution;
use crate::recording::{Arrival, Tracing};

/// Where executions are recorded.
#[async_trait]
pub trait Destination: Send + Sync {
    /// Records an execution; returns whether it was new.
    ///
    /// # Errors
    /// Why it was not recorded, in words for whoever runs the command.
    async fn record(&self, execution: FinishedExecution) -> anyhow::Result<bool>;
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
}

/// Records the executions of files, with a progress bar where there is a terminal.
///
/// A folder stands for the files in it whose names end in `.json`, `.jsonl` or `.ndjson`, with or without
/// `.gz`. `format` is what the files hold, where that is not to be recognised; `workflow_name` replaces
/// the names in them.
pub async fn import(
    paths: &[PathBuf],
    format: Option<Format>,
    workflow_name: Option<&str>,
    destination: &dyn Destination,
) -> Summary {
    let mut summary = Summary::default();
    let paths = paths.to_owned();
    let found = match tokio::task::spawn_blocking(move || recognised(&paths, format)).await {
        Ok(found) => found,
        Err(error) => {
            summary.file_failed(&error.into());
            return summary;
        }
    };
    let bar = ProgressBar::new(u64::try_from(found.len()).unwrap_or(u64::MAX));
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} {wide_msg}") {
        bar.set_style(style);
    }
    let (of_traces, others): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|(_, format)| *format == Some(Format::Otlp));
    whole_files(&others, workflow_name, destination, &bar, &mut summary).await;
    if !of_traces.is_empty() {
        let paths = of_traces.into_iter().map(|(path, _)| path).collect();
        traces::import(paths, workflow_name, destination, &bar, &mut summary).await;
    }
    bar.finish_and_clear();
    summary
}

/// A file, and what it holds; none if that is neither.
type Found = (PathBuf, Option<Format>);

fn recognised(paths: &[PathBuf], format: Option<Format>) -> Vec<Found> {
    let of = |path: &Path| match format {
        Some(format) => Some(format),
        // What cannot be read fails again where files are read, and is told there.
        None => files::format(path).unwrap_or(Some(Format::Wfformat)),
    };
    let with_format = |path: PathBuf| (of(&path), path);
    files::named(paths).into_iter().map(with_format).map(|(format, path)| (path, format)).collect()
}

/// Records files that are one execution each, in their order.
async fn whole_files(
    files: &[Found],
    workflow_name: Option<&str>,
    destination: &dyn Destination,
    bar: &ProgressBar,
    summary: &mut Summary,
) {
    // One after the other, because the later ones are judged by the earlier.
    for (file, format) in files {
        let outcome = one(file, *format, workflow_name, destination).await;
        bar.inc(1);
        bar.set_message(file.display().to_string());
        match outcome {
            Ok(One { workflow, steps, is_new }) => summary.note(workflow, steps, is_new),
            Err(error) => summary.file_failed(&error),
        }
    }
}

/// What became of one execution.
struct One {
    workflow: String,
    steps: usize,
    is_new: bool,
}

async fn one(
    file: &Path,
    format: Option<Format>,
    workflow_name: Option<&str>,
    destination: &dyn Destination,
) -> anyhow::Result<One> {
    let name = file.display().to_string();
    if format.is_none() {
        bail!("{name}: is neither WfFormat nor lines of OTLP JSON");
    }
    let path = file.to_owned();
    let read = tokio::task::spawn_blocking(move || {
        let text = files::content(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok::<_, anyhow::Error>(wfformat::read(&path.display().to_string(), &text)?)
    });
    let execution = read.await??;
    record(execution, workflow_name, destination).await.with_context(|| format!("{name} was not recorded"))
}

async fn record(
    mut execution: ImportedExecution,
    workflow_name: Option<&str>,
    destination: &dyn Destination,
) -> anyhow::Result<One> {
    if let Some(workflow_name) = workflow_name {
        workflow_name.clone_into(&mut execution.workflow_name);
    }
    let (workflow, steps) = (execution.workflow_name.clone(), execution.steps.len());
    let is_new = destination.record(body::finished(execution)).await?;
    Ok(One { workflow, steps, is_new })
}
