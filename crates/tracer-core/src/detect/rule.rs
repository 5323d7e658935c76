//! The seam behind which every detection rule sits.

use std::fmt::Debug;

use super::Severity;
use crate::baseline::Reference;
use crate::time::Micros;

/// Durations that a step must exceed, strictly, to be judged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Above it: WARNING. Also what a bottleneck's duration is clamped to in the reference.
    pub warning: Micros,
    /// Above it: CRITICAL. Never below `warning`.
    pub critical: Micros,
}

impl Limits {
    /// Returns the severity of a duration; none if it is within the limits.
    #[must_use]
    pub fn severity(&self, duration: Micros) -> Option<Severity> {
        if duration > self.critical {
            Some(Severity::Critical)
        } else if duration > self.warning {
            Some(Severity::Warning)
        } else {
            None
        }
    }
}

/// Turns what is normal into what is too long.
pub trait Rule: Debug + Send + Sync {
    /// Returns the limits that follow from a reference; none where the history is too short to judge.
    fn limits(&self, reference: &Reference) -> Option<Limits>;
}
