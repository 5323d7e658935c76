//! What an import did, in numbers and in a sentence.

use std::collections::BTreeSet;
use std::fmt;

/// Most traces of which it is told why they were not recorded; further ones are counted.
const TOLD: usize = 20;

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
    /// Files that were not recorded.
    pub failed_files: usize,
    /// Traces that were not recorded for a reason of their own.
    pub failed_traces: usize,
    /// Why the files and the first of the traces were not recorded.
    pub failures: Vec<String>,
    /// Traces without a root span, which are recorded.
    pub rootless: usize,
    /// Traces that are a root span alone, which are not: an execution has steps.
    pub lone_roots: usize,
    /// Traces that were left out because they have spans in a file that was refused.
    pub torn: usize,
    /// Spans that were left out because they have no start or no end.
    pub unfinished: usize,
}

impl Summary {
    /// Notes an execution that is recorded, now or before.
    pub(super) fn note(&mut self, workflow: String, steps: usize, is_new: bool) {
        self.workflows.insert(workflow);
        if is_new {
            self.recorded += 1;
            self.steps += steps;
        } else {
            self.known += 1;
        }
    }

    /// Notes a file that was not recorded.
    pub(super) fn file_failed(&mut self, error: &anyhow::Error) {
        self.failed_files += 1;
        self.failures.push(format!("{error:#}"));
    }

    /// Notes a trace that was not recorded.
    pub(super) fn trace_failed(&mut self, error: &anyhow::Error) {
        self.failed_traces += 1;
        if self.failed_traces <= TOLD {
            self.failures.push(format!("{error:#}"));
        } else if self.failed_traces == TOLD + 1 {
            self.failures.push("and further traces".to_owned());
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} with {} recorded", counted(self.recorded, "execution"), counted(self.steps, "step"))?;
        if self.known > 0 {
            write!(f, ", {} already recorded", self.known)?;
        }
        for (number, thing) in [(self.failed_files, "file"), (self.failed_traces, "trace")] {
            if number > 0 {
                write!(f, ", {} failed", counted(number, thing))?;
            }
        }
        write!(f, "; {}", counted(self.workflows.len(), "workflow"))?;
        if let Some(first) = self.workflows.iter().next() {
            write!(f, ", such as {first}")?;
        }
        for (number, thing, what) in [
            (self.rootless, "trace", "without a root span"),
            (self.lone_roots, "trace", "of a root span alone left out"),
            (self.torn, "trace", "with spans in a failed file left out"),
            (self.unfinished, "span", "without a start or an end left out"),
        ] {
            if number > 0 {
                write!(f, "; {} {what}", counted(number, thing))?;
            }
        }
        Ok(())
    }
}

fn counted(number: usize, thing: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {thing}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_counts_what_happened() {
        let mut summary =
            Summary { recorded: 1, steps: 20, workflows: ["blast".to_owned()].into(), ..Summary::default() };
        assert_eq!(summary.to_string(), "1 execution with 20 steps recorded; 1 workflow, such as blast");
        summary.known = 2;
        summary.file_failed(&anyhow::anyhow!("x"));
        assert_eq!(
            summary.to_string(),
            "1 execution with 20 steps recorded, 2 already recorded, 1 file failed; 1 workflow, such as blast"
        );
        let traces = Summary { rootless: 1, lone_roots: 2, torn: 3, unfinished: 4, ..Summary::default() };
        assert_eq!(
            traces.to_string(),
            "0 executions with 0 steps recorded; 0 workflows; 1 trace without a root span; 2 traces of a root \
             span alone left out; 3 traces with spans in a failed file left out; 4 spans without a start or an \
             end left out"
        );
    }

    #[test]
    fn the_first_traces_that_fail_are_told_and_the_others_counted() {
        let mut summary = Summary::default();
        (0..100).for_each(|n| summary.trace_failed(&anyhow::anyhow!("trace {n}")));
        assert_eq!((summary.failed_traces, summary.failures.len()), (100, TOLD + 1));
    }
}
