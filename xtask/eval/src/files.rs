//! The runs that are replayed: read from WfFormat files, named for each view, and split.
//!
//! Invariant: order and split follow from what the files say alone, never from the folder's order.
//! Not here: the format (`tracer_api::import`).

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use tracer_api::import::wfformat;
use tracer_core::attributes::Attributes;
use tracer_core::name::{StepName, WorkflowName};
use tracer_core::time::{Micros, Timestamp};

/// One run of a workflow.
#[derive(Debug)]
pub(crate) struct Run {
    /// The file's name without `.json`.
    pub(crate) file: String,
    /// Its workflow where each configuration is one: the file's name without the number of the run.
    pub(crate) configuration: WorkflowName,
    /// Its workflow where configurations are mixed: the first two words of that name.
    pub(crate) family: WorkflowName,
    /// When it began.
    pub(crate) started_at: Timestamp,
    /// What is attached to it.
    pub(crate) attributes: Attributes,
    /// Its steps, at least one.
    pub(crate) steps: Vec<RunStep>,
}

/// One step of a run.
#[derive(Debug)]
pub(crate) struct RunStep {
    /// What it has in common with others of its kind.
    pub(crate) name: StepName,
    /// When it began.
    pub(crate) started_at: Timestamp,
    /// How long it took.
    pub(crate) duration: Micros,
    /// What is attached to it.
    pub(crate) attributes: Attributes,
}

impl Run {
    /// Returns when the last of its steps ended.
    pub(crate) fn ended_at(&self) -> Timestamp {
        let ends = self.steps.iter().map(|step| step.started_at + step.duration);
        ends.max().unwrap_or(self.started_at)
    }

    /// Returns the name of its workflow as a view sees it.
    pub(crate) const fn workflow(&self, view: View) -> &WorkflowName {
        match view {
            View::Pooled => &self.family,
            View::Configured => &self.configuration,
        }
    }
}

/// What counts as the same workflow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum View {
    /// All configurations and input sizes of a family.
    Pooled,
    /// Only runs of the same configuration.
    Configured,
}

impl View {
    /// Both, in the order in which they are shown.
    pub(crate) const ALL: [Self; 2] = [Self::Pooled, Self::Configured];

    /// Returns what it is called in a table's title.
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Pooled => "pooled: a workflow is a family, over all its configurations and input sizes",
            Self::Configured => "configured: a workflow is one configuration, run again and again",
        }
    }

    /// Returns what it is called while one waits.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Pooled => "pooled",
            Self::Configured => "configured",
        }
    }
}

/// Which of the files are replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Split {
    /// Those on which thresholds and rules may be chosen
    Tune,
    /// The others, on which nothing was chosen
    Test,
    /// All of them
    All,
}

impl Split {
    /// Returns what it is called.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Tune => "tune",
            Self::Test => "test",
            Self::All => "all",
        }
    }

    /// Returns, for each of these runs in order of time, whether it belongs to the split: within a
    /// collection (the files' first word) the first run is for tuning, the second for testing, and so on.
    pub(crate) fn choose(self, runs: &[Run]) -> Vec<bool> {
        let mut seen = BTreeMap::<&str, usize>::new();
        let belongs = |run| {
            let count = seen.entry(first_words(run, 1)).or_default();
            *count += 1;
            match self {
                Self::Tune => !count.is_multiple_of(2),
                Self::Test => count.is_multiple_of(2),
                Self::All => true,
            }
        };
        runs.iter().map(|run| run.file.as_str()).map(belongs).collect()
    }
}

/// Reads every `.json` file of a folder; returns the runs in order of time.
///
/// # Errors
/// If the folder or a file cannot be read, or a file is not in WfFormat.
pub(crate) fn read_all(folder: &Path) -> Result<Vec<Run>> {
    let entries = folder.read_dir().with_context(|| format!("{} cannot be read", folder.display()))?;
    let mut runs = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            runs.push(read(&path)?);
        }
    }
    ensure!(!runs.is_empty(), "{} holds no .json file", folder.display());
    runs.sort_by(|a, b| (a.started_at, &a.file).cmp(&(b.started_at, &b.file)));
    Ok(runs)
}

fn read(path: &Path) -> Result<Run> {
    let text = std::fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
    let imported = wfformat::read(&path.display().to_string(), &text)?;
    let within = || format!("{}", path.display());
    let mut steps = Vec::new();
    for step in imported.steps {
        steps.push(RunStep {
            name: StepName::new(&step.step_name).with_context(within)?,
            started_at: step.started_at,
            duration: step.duration,
            attributes: Attributes::new(step.attributes).with_context(within)?,
        });
    }
    let configuration = imported.workflow_name;
    Ok(Run {
        file: path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
        family: WorkflowName::new(first_words(&configuration, 2)).with_context(within)?,
        configuration: WorkflowName::new(&configuration).with_context(within)?,
        started_at: imported.started_at,
        attributes: Attributes::new(imported.attributes).with_context(within)?,
        steps,
    })
}

/// Returns a name up to its hyphen of that number.
fn first_words(name: &str, words: usize) -> &str {
    let cut = name.match_indices('-').nth(words - 1).map(|(at, _)| at);
    cut.and_then(|at| name.get(..at)).unwrap_or(name)
}
