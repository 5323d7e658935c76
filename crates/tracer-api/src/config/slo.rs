//! Service level objectives: what is promised of which workflows.
//!
//! Not here: what is counted, and when a budget burns (`tracer_core::slo`).

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Deserialize;
use tracer_core::limits;
use tracer_core::name::WorkflowName;
use tracer_core::slo::{LONGEST, Objective, SloName, SloSpec};
use tracer_core::time::Micros;

use super::{Fault, values};

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// One objective.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SloFor {
    /// Its name, which no other one has.
    pub name: String,
    /// Pattern of the names of its workflows, with `*` and `?`.
    #[serde(default = "super::anything")]
    pub workflow: String,
    /// The share that is to be good: above 0, below 1.
    pub objective: f64,
    /// How long an execution may take.
    #[serde(default, deserialize_with = "values::optional_duration")]
    pub latency: Option<Duration>,
    /// Over how long the budget is reckoned.
    #[serde(default = "usual_window", deserialize_with = "values::duration")]
    pub window: Duration,
    /// Executions without which a window is not judged.
    #[serde(default = "usual_min_events")]
    pub min_events: u64,
    /// Whether a burning budget opens an incident.
    #[serde(default = "yes")]
    pub alert: bool,
}

const fn usual_window() -> Duration {
    Duration::from_secs(30 * 86_400)
}

const fn usual_min_events() -> u64 {
    20
}

const fn yes() -> bool {
    true
}

impl SloFor {
    /// Says what is wrong, if anything is.
    ///
    /// # Errors
    /// The first fault.
    fn check(&self) -> Result<(), Fault> {
        let fault = |key: &str, reason: String| Err((key.to_owned(), reason));
        if let Err(error) = SloName::new(&self.name) {
            return fault("name", error.to_string());
        }
        // An incident's workflow is the pattern, so that it must be able to be a name.
        if let Err(error) = WorkflowName::new(&self.workflow) {
            return fault("workflow", format!("the pattern {error}; * stands for any name"));
        }
        if Objective::new(self.objective).is_none() {
            return fault("objective", "must lie between 0 and 1, without either: 0.99 is 99 %".to_owned());
        }
        let longest = DAY * u32::try_from(limits::DURATION_DAYS).unwrap_or(u32::MAX);
        if self.latency.is_some_and(|latency| latency.is_zero() || latency > longest) {
            return fault("latency", format!("must lie between 1us and {} d", limits::DURATION_DAYS));
        }
        if self.window < HOUR || self.window > LONGEST.to_std() {
            return fault("window", "must lie between 1h and 90d".to_owned());
        }
        if !(1..=1_000_000).contains(&self.min_events) {
            return fault("min_events", "must lie between 1 and 1000000".to_owned());
        }
        Ok(())
    }

    /// Returns what the objective is made of; none of one that is not valid.
    #[must_use]
    pub fn spec(&self) -> Option<SloSpec> {
        let micros = |length: Duration| Micros::new(u64::try_from(length.as_micros()).unwrap_or(u64::MAX));
        Some(SloSpec {
            name: SloName::new(&self.name).ok()?,
            workflow: self.workflow.clone(),
            objective: Objective::new(self.objective)?,
            latency: self.latency.map(micros),
            window: micros(self.window),
            min_events: self.min_events,
            alert: self.alert,
        })
    }
}

/// Checks all of them.
///
/// # Errors
/// The first fault, by its key.
pub(super) fn check(slos: &[SloFor]) -> Result<(), Fault> {
    if slos.len() > limits::SLOS {
        return Err(("slo".to_owned(), format!("has more than {} entries", limits::SLOS)));
    }
    let mut names = BTreeSet::new();
    for (at, slo) in slos.iter().enumerate() {
        slo.check().map_err(|(key, reason)| (format!("slo[{at}].{key}"), reason))?;
        if !names.insert(slo.name.as_str()) {
            return Err((format!("slo[{at}].name"), "is the name of another one".to_owned()));
        }
    }
    Ok(())
}
