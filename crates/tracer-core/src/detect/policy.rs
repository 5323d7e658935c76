//! Which rule holds for which step.

use std::sync::Arc;

use wildmatch::WildMatch;

use super::{Bottleneck, FactorOfMean, Limits, Rule};
use crate::baseline::Reference;
use crate::name::{StepName, WorkflowName};
use crate::time::Micros;

/// A rule for the steps whose workflow and name match two patterns.
#[derive(Clone, Debug)]
pub struct PolicyEntry {
    /// Matches the workflow's name; `*` stands for any text, `?` for one character.
    pub workflow: String,
    /// Matches the step's name, in the same way.
    pub step: String,
    /// The rule.
    pub rule: Arc<dyn Rule>,
}

/// The rules of a service: patterns in order, and a default for what matches none.
#[derive(Clone, Debug)]
pub struct Policy {
    entries: Vec<(WildMatch, WildMatch, Arc<dyn Rule>)>,
    default: Arc<dyn Rule>,
}

impl Default for Policy {
    fn default() -> Self {
        Self::new(Arc::new(FactorOfMean::default()), [])
    }
}

impl Policy {
    /// Puts a policy together; of several entries that match a step, the first holds.
    pub fn new(default: Arc<dyn Rule>, entries: impl IntoIterator<Item = PolicyEntry>) -> Self {
        let compiled =
            |entry: PolicyEntry| (WildMatch::new(&entry.workflow), WildMatch::new(&entry.step), entry.rule);
        Self { entries: entries.into_iter().map(compiled).collect(), default }
    }

    /// Returns the limits of a step; none where its history is too short to judge.
    #[must_use]
    pub fn limits(&self, workflow: &WorkflowName, step: &StepName, reference: &Reference) -> Option<Limits> {
        let matching = self.entries.iter().find(|(workflows, steps, _)| {
            workflows.matches(workflow.as_str()) && steps.matches(step.as_str())
        });
        let rule = matching.map_or(&self.default, |(_, _, rule)| rule);
        rule.limits(reference)
    }

    /// Judges a duration; none if it is normal, or the history too short to say.
    #[must_use]
    pub fn judge(
        &self,
        workflow: &WorkflowName,
        step: &StepName,
        reference: &Reference,
        duration: Micros,
        in_flight: bool,
    ) -> Option<Bottleneck> {
        let severity = self.limits(workflow, step, reference)?.severity(duration)?;
        Some(Bottleneck::new(severity, duration, reference, in_flight))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_entry_that_matches_holds() {
        let rule =
            |warning: f64| Arc::new(FactorOfMean { warning, critical: 10.0, ..FactorOfMean::default() });
        let entry = |workflow: &str, step: &str, warning| PolicyEntry {
            workflow: workflow.into(),
            step: step.into(),
            rule: rule(warning),
        };
        let policy = Policy::new(
            rule(2.0),
            [entry("etl-*", "load", 3.0), entry("etl-*", "*", 4.0), entry("*", "llm_?", 5.0)],
        );
        let mean = Micros::from_secs(1);
        let reference =
            Reference { mean_us: mean.as_f64(), samples: 9, stddev_us: 0.0, p50: mean, p95: mean, p99: mean };
        let warning = |workflow, step| {
            let (workflow, step) = (WorkflowName::new(workflow).unwrap(), StepName::new(step).unwrap());
            policy.limits(&workflow, &step, &reference).unwrap().warning.get() / 1_000_000
        };
        assert_eq!(warning("etl-night", "load"), 3);
        assert_eq!(warning("etl-night", "extract"), 4);
        assert_eq!(warning("chat", "llm_1"), 5);
        assert_eq!(warning("chat", "llm_10"), 2);
        assert_eq!(warning("ETL-night", "load"), 2);
    }
}
