//! A rule that a few stalls in the history cannot move: deviations from the median of the logarithm.

use super::{Limits, Rule};
use crate::baseline::{PER_MAD, Reference};
use crate::time::Micros;

/// Judges by standard deviations of log duration above its median, where the deviation is estimated
/// from the median absolute one (Iglewicz and Hoaglin, *How to Detect and Handle Outliers*, 1993): half
/// of the history would have to be stalls before either moved far.
///
/// A step that hardly varies would be flagged for a few percent; hence a floor as a factor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Robust {
    /// Deviations above the median from which on a step is a WARNING. Above 0.
    pub warning: f64,
    /// Deviations from which on it is CRITICAL. At least `warning`.
    pub critical: f64,
    /// Least factor of the median that is a WARNING; its square is the least that is CRITICAL. At least 1.
    pub least_factor: f64,
    /// Samples below which nothing is judged. At least 1.
    pub min_samples: u64,
    /// Least excess over the mean.
    pub min_excess: Micros,
}

impl Default for Robust {
    /// 4 and 6 deviations, 1.5 × the median, from 5 samples on, by at least 5 ms.
    fn default() -> Self {
        let min_excess = Micros::from_millis(5);
        Self { warning: 4.0, critical: 6.0, least_factor: 1.5, min_samples: 5, min_excess }
    }
}

impl Rule for Robust {
    fn min_samples(&self) -> u64 {
        self.min_samples
    }

    fn limits(&self, reference: &Reference) -> Option<Limits> {
        if reference.samples < self.min_samples {
            return None;
        }
        let (median, deviation) = (reference.p50.as_f64(), PER_MAD * reference.log_mad);
        let limit = |deviations: f64, least: f64| median * (deviations * deviation).exp().max(least);
        let warning = limit(self.warning, self.least_factor);
        let critical = limit(self.critical, self.least_factor.powi(2));
        Some(Limits::above(Limits::floor(reference, self.min_excess), warning, critical))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limits_are_deviations_of_the_logarithm_and_never_below_a_factor() {
        let second = Micros::from_secs(1);
        let limits = |log_mad| {
            let reference = Reference { log_mad, ..Reference::constant(second, 5) };
            let limits = Robust::default().limits(&reference).unwrap();
            (limits.warning.as_millis(), limits.critical.as_millis())
        };
        assert_eq!(limits(0.0), (1_500, 2_250));
        // One deviation is 0.25: 4 of them are a factor of e, 6 of them of e^1.5.
        assert_eq!(limits(0.25 / PER_MAD), (2_718, 4_482));
        // However wide the history, a limit stays a number.
        assert_eq!(limits(1e9).0, Micros::from_f64(f64::INFINITY).as_millis());
    }
}
