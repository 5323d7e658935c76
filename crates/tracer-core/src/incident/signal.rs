//! What is found outside of any single execution: an error budget that burns, an alert from elsewhere.

use serde::{Deserialize, Serialize};

use crate::detect::Severity;
use crate::time::{Micros, Timestamp};

/// An error budget that is used up too fast.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SloBurn {
    /// How bad.
    pub severity: Severity,
    /// The name of the objective.
    pub slo: String,
    /// What is measured: `availability` or `latency`.
    pub sli: String,
    /// The share of events that is to be good, between 0 and 1.
    pub objective: f64,
    /// How many times as fast as it would last its window, over the longer of the two windows.
    pub burn_rate: f64,
    /// The longer window, which says that it is serious.
    pub long: Micros,
    /// The shorter window, which says that it goes on.
    pub short: Micros,
    /// Events in the longer window.
    pub events: u64,
    /// Those of them that were not good.
    pub bad: u64,
    /// The share of the budget that is left: 1 is all, 0 nothing, and below that it is overspent.
    pub budget_remaining: f64,
}

impl SloBurn {
    /// Returns the burn rate with two decimals.
    #[must_use]
    pub fn factor(&self) -> f64 {
        (self.burn_rate * 100.0).round() / 100.0
    }
}

/// What somebody else's alert says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AlertNote {
    /// How bad.
    pub severity: Severity,
    /// The name of the alert.
    pub name: String,
    /// What it says, in a sentence; empty if it says nothing.
    pub summary: String,
    /// Since when.
    pub since: Timestamp,
    /// Where it can be looked at: an address of HTTP or HTTPS.
    pub source: Option<String>,
    /// What to do about it: an address of HTTP or HTTPS.
    pub runbook: Option<String>,
}
