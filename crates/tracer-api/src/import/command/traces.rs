//! Imports the traces of OTLP JSON files: first everything is read, then every trace is recorded.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use indicatif::ProgressBar;

use super::{Destination, One, Summary, files, record};
use crate::import::execution::ImportedExecution;
use crate::import::otlp::gathering::GatheredTrace;
use crate::import::otlp::{self, Gathered, Gathering, ReadError, TraceError};

/// Spans after which it is shown how many there are.
const SHOWN_EVERY: usize = 10_000;

/// What became of one trace.
enum Outcome {
    Recorded { one: One, rooted: bool },
    LoneRoot,
    Failed(anyhow::Error),
}

/// What was read, and the files that were refused, each with why.
struct Reading {
    gathered: Gathered,
    failures: Vec<anyhow::Error>,
}

/// Records the traces of OTLP files, in the order in which they began.
pub(super) async fn import(
    paths: Vec<PathBuf>,
    workflow_name: Option<&str>,
    destination: &dyn Destination,
    bar: &ProgressBar,
    summary: &mut Summary,
) {
    let shown = bar.clone();
    let read = tokio::task::spawn_blocking(move || gather(&paths, &shown)).await;
    let Reading { gathered, failures } = match read {
        Ok(reading) => reading,
        Err(error) => return summary.file_failed(&error.into()),
    };
    failures.iter().for_each(|error| summary.file_failed(error));
    summary.torn += gathered.torn;
    summary.unfinished += gathered.unfinished;
    bar.set_length(u64::try_from(gathered.traces.len()).unwrap_or(u64::MAX));
    bar.set_position(0);
    // One after the other, because the later ones are judged by the earlier.
    for trace in gathered.traces {
        let outcome = one(trace, workflow_name, destination).await;
        bar.inc(1);
        match outcome {
            Outcome::Recorded { one: One { workflow, steps, is_new }, rooted } => {
                summary.rootless += usize::from(!rooted);
                bar.set_message(workflow.clone());
                summary.note(workflow, steps, is_new);
            }
            Outcome::LoneRoot => summary.lone_roots += 1,
            Outcome::Failed(error) => summary.trace_failed(&error),
        }
    }
}

/// Reads all files. Where one is too much, nothing of any is returned: each trace could lack spans.
fn gather(paths: &[PathBuf], bar: &ProgressBar) -> Reading {
    let mut gathering = Gathering::default();
    let mut failures = Vec::new();
    for path in paths {
        if let Err(error) = gather_one(path, &mut gathering, bar) {
            let too_much = matches!(error.downcast_ref(), Some(ReadError::TooMuch { .. }));
            failures.push(error);
            if too_much {
                return Reading { gathered: Gathered::default(), failures };
            }
        }
        bar.inc(1);
    }
    Reading { gathered: gathering.finish(), failures }
}

fn gather_one(path: &Path, gathering: &mut Gathering, bar: &ProgressBar) -> anyhow::Result<()> {
    let name = path.display().to_string();
    let file = files::open(path).with_context(|| format!("cannot read {name}"))?;
    bar.set_message(name.clone());
    let mut next = 0;
    gathering.file(&name, file, |spans| {
        if spans >= next {
            bar.set_message(format!("{name}: {spans} spans"));
            next = spans + SHOWN_EVERY;
        }
    })?;
    Ok(())
}

async fn one(trace: GatheredTrace, workflow_name: Option<&str>, destination: &dyn Destination) -> Outcome {
    let name = TraceName(format!("{:032x}", trace.id.as_u128()));
    match otlp::execution(trace.id, trace.into_spans()) {
        Ok(read) => match recorded(read.execution, workflow_name, destination, &name).await {
            Ok(one) => Outcome::Recorded { one, rooted: read.rooted },
            Err(error) => Outcome::Failed(error),
        },
        Err(TraceError::NoSteps) => Outcome::LoneRoot,
        Err(error @ TraceError::TooManySteps) => Outcome::Failed(anyhow::anyhow!("{name} {error}")),
    }
}

/// A trace in a message: by its id as OpenTelemetry writes it.
struct TraceName(String);

impl fmt::Display for TraceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "trace {}", self.0)
    }
}

async fn recorded(
    execution: ImportedExecution,
    workflow_name: Option<&str>,
    destination: &dyn Destination,
    name: &TraceName,
) -> anyhow::Result<One> {
    record(execution, workflow_name, destination).await.with_context(|| format!("{name} was not recorded"))
}
