//! The times by which incidents open, repeat and end.

use super::FailureRule;
use crate::time::Micros;

/// How incidents live. Durations are of the clock that all replicas share.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AlertPlan {
    /// Time without a finding after which an incident may resolve.
    pub resolve_after: Micros,
    /// Normal ends in a row that it takes as well.
    pub resolve_runs: u8,
    /// For so long after its end a finding reopens an incident, and opens no new one.
    pub reopen_within: Micros,
    /// Without any finding for so long, an incident is let go.
    pub stale_after: Micros,
    /// How often people are reminded of what still fires.
    pub repeat_interval: Micros,
    /// How long the opening of an incident waits for others of the same execution.
    pub group_wait: Micros,
    /// When failures are too many.
    pub failures: FailureRule,
}

impl Default for AlertPlan {
    fn default() -> Self {
        Self {
            resolve_after: Micros::from_secs(10 * 60),
            resolve_runs: 3,
            reopen_within: Micros::from_secs(30 * 60),
            stale_after: Micros::from_days(1),
            repeat_interval: Micros::from_secs(4 * 3_600),
            group_wait: Micros::from_secs(2),
            failures: FailureRule::default(),
        }
    }
}
