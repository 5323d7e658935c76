//! The default rule: more than a multiple of the historical average.

use super::{Limits, Rule};
use crate::baseline::Reference;
use crate::time::Micros;

/// Judges by multiples of the reference's mean: strictly more than `warning` × is WARNING, strictly
/// more than `critical` × is CRITICAL.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FactorOfMean {
    /// Multiple of the mean above which a step is a WARNING. At least 1.
    pub warning: f64,
    /// Multiple of the mean above which it is CRITICAL. At least `warning`.
    pub critical: f64,
    /// Samples below which nothing is judged. At least 1.
    pub min_samples: u64,
    /// Least excess over the mean: what is too short for anybody to care is not judged.
    pub min_excess: Micros,
}

impl Default for FactorOfMean {
    /// 2 × and 3 × the average, from 5 samples on, by at least 5 ms.
    fn default() -> Self {
        Self { warning: 2.0, critical: 3.0, min_samples: 5, min_excess: Micros::from_millis(5) }
    }
}

impl Rule for FactorOfMean {
    fn min_samples(&self) -> u64 {
        self.min_samples
    }

    fn limits(&self, reference: &Reference) -> Option<Limits> {
        if reference.samples < self.min_samples {
            return None;
        }
        let (mean, floor) = (reference.mean_us, Limits::floor(reference, self.min_excess));
        Some(Limits::above(floor, self.warning * mean, self.critical * mean))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::Severity;

    fn judged(mean_ms: u64, samples: u64, duration_us: u64) -> Option<Severity> {
        let mean = Micros::from_millis(mean_ms);
        let reference = Reference::constant(mean, samples);
        FactorOfMean::default().limits(&reference)?.severity(Micros::new(duration_us))
    }

    #[test]
    fn the_limits_are_strict() {
        assert_eq!(judged(420, 5, 840_000), None);
        assert_eq!(judged(420, 5, 840_001), Some(Severity::Warning));
        assert_eq!(judged(420, 5, 1_260_000), Some(Severity::Warning));
        assert_eq!(judged(420, 5, 1_260_001), Some(Severity::Critical));
        assert_eq!(judged(420, 5, 2_100_000), Some(Severity::Critical));
    }

    #[test]
    fn a_short_history_judges_nobody() {
        assert_eq!(judged(420, 4, 2_100_000), None);
    }

    #[test]
    fn an_excess_nobody_would_notice_is_no_bottleneck() {
        assert_eq!(judged(1, 5, 5_999), None);
        assert_eq!(judged(1, 5, 6_000), Some(Severity::Critical));
        assert_eq!(judged(0, 5, 5_000), Some(Severity::Critical));
    }
}
