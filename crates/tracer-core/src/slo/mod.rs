//! Service level objectives: how many of a workflow's executions are to end well, and to end in time.
//!
//! An objective is a share, such as 0.99. What it leaves, 1 − 0.99, is the *error budget*: the share that may be bad
//! within the objective's window. Two indicators are measured against it:
//!
//! - **availability**: completed / (completed + failed + timed out). Who called an execution off did not ask for its
//!   result, so that cancelled ones count nowhere; invented (simulated) ones do not either.
//! - **latency**, where a target is set: completed within the target / completed. What failed is bad already, by the
//!   other indicator, and is not bad twice.
//!
//! The *burn rate* of a window is the share of bad events in it over the share that may be bad: at 1 the budget lasts
//! exactly as long as the objective's window. Formulas and rules are those of Google's *Site Reliability Workbook*,
//! chapter 5, "Alerting on SLOs" (<https://sre.google/workbook/alerting-on-slos/>).
//!
//! Invariant: an execution is counted once, in the transaction that records its end, and in the slots of the moment at
//! which it ended, however late that is told.
//! Not here: where the counts are kept (stores), and who asks for them (`tracer-api`).

pub(crate) mod counts;
mod judge;
mod watch;
mod window;

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;
use wildmatch::WildMatch;

pub use counts::{
    HOURS_KEPT, MINUTES_KEPT, Resolution, SloRepository, Slot, SlotCount, SlotRange, SlotSums, TimedOut,
    slots_of,
};
pub use judge::{Burning, Counted, Indicator, RULES, Rule, State};
pub use watch::{HOLD, RESENT, Say, SloWatch};
pub use window::{LONGEST, Window};

use crate::limits;
use crate::name::WorkflowName;
use crate::time::Micros;

/// The name of an objective, which is safe as the value of a label: letters and digits of ASCII, `_` and `-`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SloName(Arc<str>);

/// The text is no name of an objective.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("must be 1 to {} letters, digits, - and _", limits::SLO_NAME_BYTES)]
pub struct SloNameError;

impl SloName {
    /// Takes a name.
    ///
    /// # Errors
    /// [`SloNameError`] if it is empty, too long, or has another character.
    pub fn new(text: &str) -> Result<Self, SloNameError> {
        let fits = (1..=limits::SLO_NAME_BYTES).contains(&text.len());
        let is_safe = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        if fits && is_safe { Ok(Self(text.into())) } else { Err(SloNameError) }
    }

    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SloName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The share of events that are to be good: above 0, below 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Objective(f64);

impl Objective {
    /// Takes a share; none if it does not lie strictly between 0 and 1.
    #[must_use]
    pub fn new(share: f64) -> Option<Self> {
        // A share so near to 1 that nothing is left of it when it is taken from 1 leaves no budget.
        (share > 0.0 && share < 1.0 && 1.0 - share > 0.0).then_some(Self(share))
    }

    /// Returns the share.
    #[must_use]
    pub const fn get(self) -> f64 {
        self.0
    }

    /// Returns the share that may be bad; above 0.
    #[must_use]
    pub fn budget(self) -> f64 {
        1.0 - self.0
    }
}

/// What is measured against an objective.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sli {
    /// Whether executions end well.
    Availability,
    /// Whether those that do end in time.
    Latency,
}

impl Sli {
    /// Returns its name, as labels and answers have it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Availability => "availability",
            Self::Latency => "latency",
        }
    }
}

/// Identifies what an objective counts: its name, pattern and latency target. With another definition counting begins
/// anew, because what was counted by the one before says nothing of it. The objective itself, the window and the least
/// number of events are no part of it: they decide how counts are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Definition(i64);

impl Definition {
    fn of(name: &SloName, workflow: &str, latency: Option<Micros>) -> Self {
        let mut hash = Sha256::new();
        for part in [name.as_str(), workflow] {
            // With lengths, so that no two definitions are the same bytes.
            hash.update(part.len().to_le_bytes());
            hash.update(part.as_bytes());
        }
        hash.update(latency.map_or(u64::MAX, Micros::get).to_le_bytes());
        let mut bytes = [0; 8];
        bytes.copy_from_slice(hash.finalize().get(..8).unwrap_or(&[0; 8]));
        Self(i64::from_be_bytes(bytes))
    }

    /// Takes a stored number.
    #[must_use]
    pub const fn from_stored(number: i64) -> Self {
        Self(number)
    }

    /// Returns the number that is stored.
    #[must_use]
    pub const fn to_stored(self) -> i64 {
        self.0
    }
}

/// What an objective is made of.
#[derive(Clone, Debug)]
pub struct SloSpec {
    /// What it is called.
    pub name: SloName,
    /// Matches the names of its workflows; `*` stands for any text, `?` for one character.
    pub workflow: String,
    /// The share that is to be good.
    pub objective: Objective,
    /// How long an execution may take; none: only how it ends is measured.
    pub latency: Option<Micros>,
    /// Over how long the budget is reckoned.
    pub window: Micros,
    /// Events without which a window that a rule rests on says nothing.
    pub min_events: u64,
    /// Whether burning opens an incident.
    pub alert: bool,
}

/// An objective.
#[derive(Clone, Debug)]
pub struct Slo {
    spec: SloSpec,
    matcher: WildMatch,
    definition: Definition,
}

impl Slo {
    /// Makes an objective of what it is made of.
    #[must_use]
    pub fn new(spec: SloSpec) -> Self {
        let definition = Definition::of(&spec.name, &spec.workflow, spec.latency);
        Self { matcher: WildMatch::new(&spec.workflow), definition, spec }
    }

    /// Returns what it is made of.
    #[must_use]
    pub const fn spec(&self) -> &SloSpec {
        &self.spec
    }

    /// Returns what it is called.
    #[must_use]
    pub const fn name(&self) -> &SloName {
        &self.spec.name
    }

    /// Returns what identifies what it counts.
    #[must_use]
    pub const fn definition(&self) -> Definition {
        self.definition
    }

    /// Returns whether executions of a workflow count.
    #[must_use]
    pub fn is_about(&self, workflow: &WorkflowName) -> bool {
        self.matcher.matches(workflow.as_str())
    }

    /// Returns what it measures.
    #[must_use]
    pub fn slis(&self) -> &'static [Sli] {
        if self.spec.latency.is_some() { &[Sli::Availability, Sli::Latency] } else { &[Sli::Availability] }
    }
}

#[cfg(test)]
mod tests;
