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
    /// Returns limits of these many microseconds, and never below `floor`.
    pub(super) fn above(floor: f64, warning: f64, critical: f64) -> Self {
        let limit = |us: f64| Micros::from_f64(us.max(floor).floor());
        Self { warning: limit(warning), critical: limit(critical.max(warning)) }
    }

    /// Returns the duration that a least excess over the mean asks for, in microseconds. An excess of
    /// exactly the least one counts, and limits are strict: hence one less.
    pub(super) fn floor(reference: &Reference, least: Micros) -> f64 {
        reference.mean_us + least.as_f64() - 1.0
    }

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
    /// Returns how many samples it needs before it judges.
    fn min_samples(&self) -> u64;

    /// Returns the limits that follow from a reference; none where the history is too short to judge.
    fn limits(&self, reference: &Reference) -> Option<Limits>;
}
