//! A rule for steps whose durations vary much: longer than nearly all of them, by a margin.

use super::{Limits, Rule};
use crate::baseline::Reference;
use crate::time::Micros;

/// Judges by multiples of the reference's 99th percentile.
///
/// A wide distribution raises its own limits, where a multiple of the mean would flag its tail again
/// and again; a narrow one is judged more closely than by twice the mean. Of few samples the 99th
/// percentile is the longest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quantile {
    /// Multiple of the 99th percentile above which a step is a WARNING. At least 1.
    pub warning: f64,
    /// Multiple above which it is CRITICAL. At least `warning`.
    pub critical: f64,
    /// Samples below which nothing is judged. At least 1.
    pub min_samples: u64,
    /// Least excess over the mean.
    pub min_excess: Micros,
}

impl Default for Quantile {
    /// 1.2 × and 1.8 × the 99th percentile, from 5 samples on, by at least 5 ms.
    fn default() -> Self {
        Self { warning: 1.2, critical: 1.8, min_samples: 5, min_excess: Micros::from_millis(5) }
    }
}

impl Rule for Quantile {
    fn min_samples(&self) -> u64 {
        self.min_samples
    }

    fn limits(&self, reference: &Reference) -> Option<Limits> {
        if reference.samples < self.min_samples {
            return None;
        }
        let floor = Limits::floor(reference, self.min_excess);
        let p99 = reference.p99.as_f64();
        Some(Limits::above(floor, self.warning * p99, self.critical * p99))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::Severity;

    #[test]
    fn the_limits_are_multiples_of_the_99th_percentile() {
        let ms = Micros::from_millis;
        let reference = Reference { p99: ms(1_000), ..Reference::constant(ms(400), 5) };
        let judged = |us| Quantile::default().limits(&reference).unwrap().severity(Micros::new(us));
        assert_eq!(judged(1_200_000), None);
        assert_eq!(judged(1_200_001), Some(Severity::Warning));
        assert_eq!(judged(1_800_001), Some(Severity::Critical));
        assert_eq!(Quantile::default().limits(&Reference { samples: 4, ..reference }), None);
    }
}
