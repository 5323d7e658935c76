//! The gauge of running executions: a property of the database, so absent rather than old.
//!
//! Rendered by ourselves, because the exporter keeps a gauge for ever, and a workflow without running executions,
//! or a database that does not answer, must leave none behind.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::{Duration, Instant};

const HEAD: &str = "\
# HELP active_workflows Running executions, as the database said last.
# TYPE active_workflows gauge
";

/// What the database said last, and when.
#[derive(Debug)]
pub(super) struct ActiveWorkflows {
    stale_after: Duration,
    last: Option<(Instant, BTreeMap<String, u64>)>,
}

impl ActiveWorkflows {
    /// Returns a gauge that nothing has been said about yet.
    pub(super) const fn new(stale_after: Duration) -> Self {
        Self { stale_after, last: None }
    }

    /// Takes the present numbers in place of all earlier ones; equal labels add up.
    pub(super) fn set(&mut self, now: Instant, running: impl Iterator<Item = (String, u64)>) {
        let mut by_label = BTreeMap::new();
        for (label, count) in running.filter(|(_, count)| *count > 0) {
            *by_label.entry(label).or_default() += count;
        }
        self.last = Some((now, by_label));
    }

    /// Appends the gauge, unless what is known is stale.
    pub(super) fn render(&self, now: Instant, text: &mut String) {
        let Some((at, by_label)) = &self.last else { return };
        if now.saturating_duration_since(*at) > self.stale_after || by_label.is_empty() {
            return;
        }
        text.push_str(HEAD);
        for (label, count) in by_label {
            let label = label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            // Writing to a text cannot fail.
            writeln!(text, "active_workflows{{workflow_name=\"{label}\"}} {count}").unwrap_or_default();
        }
    }
}
