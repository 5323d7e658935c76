//! What holds for which step: its rule, what it is compared with, and its fixed times.

use std::sync::Arc;

use wildmatch::WildMatch;

use super::{FactorOfMean, Rule};
use crate::cohort::CohortSpec;
use crate::name::{StepName, WorkflowName};
use crate::routing::Alerting;
use crate::slo::Slo;
use crate::time::Micros;
use crate::trace::TracePolicy;

/// How a regression must be confirmed before it is spoken of: at least `least` of the last `of` runs
/// lie nearer to the new level than to the old one. A single extreme run is a bottleneck all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confirmation {
    /// Runs that must agree; at least 1, at most `of`.
    pub least: u8,
    /// Runs that are asked; at most [`Confirmation::MOST`].
    pub of: u8,
}

impl Confirmation {
    /// Most runs that can be asked: as many are remembered.
    pub const MOST: u8 = 16;
}

impl Default for Confirmation {
    /// 6 of the last 8.
    fn default() -> Self {
        Self { least: 6, of: 8 }
    }
}

/// What holds for a step.
#[derive(Clone, Debug)]
pub struct StepPolicy {
    /// What turns its history into limits.
    pub rule: Arc<dyn Rule>,
    /// What makes its history comparable.
    pub cohort: CohortSpec,
    /// When a shift of its level is spoken of.
    pub confirmation: Confirmation,
    /// The least shift that is a regression, as a factor of the level before; above 1.
    pub min_shift: f64,
    /// A running step that exceeds it is stuck, whatever its history says.
    pub timeout: Option<Micros>,
}

impl Default for StepPolicy {
    fn default() -> Self {
        Self {
            rule: Arc::new(FactorOfMean::default()),
            cohort: CohortSpec::default(),
            confirmation: Confirmation::default(),
            min_shift: 1.5,
            timeout: None,
        }
    }
}

/// What holds for a workflow's executions as wholes.
#[derive(Clone, Debug, Default)]
pub struct WorkflowPolicy {
    /// Silence after which an execution is stalled, whatever its history says.
    pub stall_after: Option<Micros>,
    /// How long an execution may take before it is late.
    pub deadline: Option<Micros>,
}

/// What holds for the steps whose workflow and name match two patterns.
#[derive(Clone, Debug)]
pub struct PolicyEntry {
    /// Matches the workflow's name; `*` stands for any text, `?` for one character.
    pub workflow: String,
    /// Matches the step's name, in the same way.
    pub step: String,
    /// What holds for these steps.
    pub steps: StepPolicy,
    /// What holds for these workflows' executions, whatever `step` says.
    pub executions: WorkflowPolicy,
}

#[derive(Clone, Debug)]
struct Entry {
    workflow: WildMatch,
    step: WildMatch,
    steps: StepPolicy,
    executions: WorkflowPolicy,
}

/// The rules of a service: patterns in order, and a default for what matches none.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    entries: Vec<Entry>,
    default: StepPolicy,
    /// Judges the silence of executions by the history of their whole durations.
    stall: FactorOfMean,
    /// What becomes of findings.
    alerting: Arc<Alerting>,
    /// How long spans are waited for.
    traces: TracePolicy,
    /// What is promised.
    slos: Arc<[Slo]>,
}

impl Policy {
    /// Puts a policy together; of several entries that match, the first holds.
    pub fn new(default: StepPolicy, entries: impl IntoIterator<Item = PolicyEntry>) -> Self {
        let compiled = |entry: PolicyEntry| Entry {
            workflow: WildMatch::new(&entry.workflow),
            step: WildMatch::new(&entry.step),
            steps: entry.steps,
            executions: entry.executions,
        };
        let entries = entries.into_iter().map(compiled).collect();
        Self {
            entries,
            default,
            stall: FactorOfMean::default(),
            alerting: Arc::default(),
            traces: TracePolicy::default(),
            slos: Arc::default(),
        }
    }

    /// Judges silence by these numbers.
    #[must_use]
    pub fn with_stall_rule(self, stall: FactorOfMean) -> Self {
        Self { stall, ..self }
    }

    /// Lets incidents live, and people be told of them, by this.
    #[must_use]
    pub fn with_alerting(self, alerting: Alerting) -> Self {
        Self { alerting: Arc::new(alerting), ..self }
    }

    /// Waits so long for the spans of a trace.
    #[must_use]
    pub fn with_traces(self, traces: TracePolicy) -> Self {
        Self { traces, ..self }
    }

    /// Counts executions for these objectives.
    #[must_use]
    pub fn with_slos(self, slos: impl IntoIterator<Item = Slo>) -> Self {
        Self { slos: slos.into_iter().collect(), ..self }
    }

    /// Returns the objectives, in the order of the settings.
    #[must_use]
    pub fn slos(&self) -> &[Slo] {
        &self.slos
    }

    /// Returns how long the spans of a trace are waited for.
    #[must_use]
    pub const fn traces(&self) -> TracePolicy {
        self.traces
    }

    /// Returns how incidents live, and who is told of them.
    #[must_use]
    pub fn alerting(&self) -> &Alerting {
        &self.alerting
    }

    /// Returns what holds for a step.
    #[must_use]
    pub fn of_step(&self, workflow: &WorkflowName, step: &StepName) -> &StepPolicy {
        let matches =
            |entry: &&Entry| entry.workflow.matches(workflow.as_str()) && entry.step.matches(step.as_str());
        self.entries.iter().find(matches).map_or(&self.default, |entry| &entry.steps)
    }

    /// Returns whether any setting names what makes history comparable.
    #[must_use]
    pub fn has_cohorts(&self) -> bool {
        let steps = self.entries.iter().map(|entry| &entry.steps).chain([&self.default]);
        steps.into_iter().any(|steps| matches!(steps.cohort, CohortSpec::Given(_)))
    }

    /// Returns how long a workflow's executions may be silent, where a pattern fixes it.
    #[must_use]
    pub fn stall_after(&self, workflow: &WorkflowName) -> Option<Micros> {
        self.of_executions(workflow, |executions| executions.stall_after)
    }

    /// Returns how long a workflow's executions may take, where a pattern says so.
    #[must_use]
    pub fn deadline(&self, workflow: &WorkflowName) -> Option<Micros> {
        self.of_executions(workflow, |executions| executions.deadline)
    }

    /// Returns the rule by which silence is judged, on the history of whole executions.
    #[must_use]
    pub const fn stall_rule(&self) -> &FactorOfMean {
        &self.stall
    }

    fn of_executions<T>(
        &self,
        workflow: &WorkflowName,
        setting: impl Fn(&WorkflowPolicy) -> Option<T>,
    ) -> Option<T> {
        let matching = self.entries.iter().filter(|entry| entry.workflow.matches(workflow.as_str()));
        matching.filter_map(|entry| setting(&entry.executions)).next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(workflow: &str, step: &str, timeout: u64) -> PolicyEntry {
        PolicyEntry {
            workflow: workflow.into(),
            step: step.into(),
            steps: StepPolicy { timeout: Some(Micros::from_secs(timeout)), ..StepPolicy::default() },
            executions: WorkflowPolicy::default(),
        }
    }

    #[test]
    fn the_first_entry_that_matches_a_step_holds() {
        let policy = Policy::new(
            StepPolicy::default(),
            [entry("etl-*", "load", 3), entry("etl-*", "*", 4), entry("*", "llm_?", 5)],
        );
        let timeout = |workflow, step| {
            let (workflow, step) = (WorkflowName::new(workflow).unwrap(), StepName::new(step).unwrap());
            policy.of_step(&workflow, &step).timeout.map(|timeout| timeout.get() / 1_000_000)
        };
        assert_eq!(timeout("etl-night", "load"), Some(3));
        assert_eq!(timeout("etl-night", "extract"), Some(4));
        assert_eq!(timeout("chat", "llm_1"), Some(5));
        assert_eq!(timeout("chat", "llm_10"), None);
        assert_eq!(timeout("ETL-night", "load"), None);
    }

    #[test]
    fn what_an_entry_says_of_executions_holds_whatever_its_steps_and_the_first_that_says_it_holds() {
        let days = |days| Some(Micros::from_days(days));
        let with =
            |workflow: &str, step: &str, executions| PolicyEntry { executions, ..entry(workflow, step, 1) };
        let policy = Policy::new(
            StepPolicy::default(),
            [
                with("etl-*", "load", WorkflowPolicy { deadline: days(1), stall_after: None }),
                with("*", "*", WorkflowPolicy { deadline: days(2), stall_after: days(3) }),
            ],
        );
        let of = |workflow| {
            let workflow = WorkflowName::new(workflow).unwrap();
            (policy.deadline(&workflow), policy.stall_after(&workflow))
        };
        assert_eq!(of("etl-night"), (days(1), days(3)));
        assert_eq!(of("chat"), (days(2), days(3)));
    }
}
