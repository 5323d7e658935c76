//! Count, mean, variance and extremes of durations, in constant space.
//!
//! Invariant: `mean` and `m2` are finite and not negative, and zero while `count` is zero.
//! Not here: quantiles (`sketch`), which no fixed number of sums can give.

use super::codec::{DecodeError, Reader, Writer};
use crate::time::Micros;

/// Running sums over durations, after Welford (1962).
///
/// Merging follows Chan, Golub and LeVeque, *Updating Formulae and a Pairwise Algorithm for
/// Computing Sample Variances* (1979). Both stay exact where sums of squares would cancel.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct Moments {
    count: u64,
    /// Microseconds.
    mean: f64,
    /// Sum of squared distances from the mean, in square microseconds.
    m2: f64,
    min: Micros,
    max: Micros,
}

impl Moments {
    /// Returns the sums over these durations.
    pub fn of(durations: impl IntoIterator<Item = Micros>) -> Self {
        let mut moments = Self::default();
        for duration in durations {
            moments.record(duration);
        }
        moments
    }

    /// Adds one duration.
    pub fn record(&mut self, duration: Micros) {
        if self.count == 0 {
            (self.min, self.max) = (duration, duration);
        }
        self.count = self.count.saturating_add(1);
        let distance = duration.as_f64() - self.mean;
        self.mean += distance / self.count as f64;
        self.m2 += distance * (duration.as_f64() - self.mean);
        self.min = self.min.min(duration);
        self.max = self.max.max(duration);
    }

    /// Adds everything that `other` has seen.
    pub fn merge(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        if self.count == 0 {
            *self = *other;
            return;
        }
        let (mine, theirs) = (self.count as f64, other.count as f64);
        let distance = other.mean - self.mean;
        let weight = theirs / (mine + theirs);
        self.count = self.count.saturating_add(other.count);
        self.mean += distance * weight;
        self.m2 += other.m2 + distance * distance * mine * weight;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }

    /// Returns how many durations were seen.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// Returns the mean in microseconds, or `None` without samples.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then_some(self.mean)
    }

    /// Returns the sample standard deviation (divisor n - 1) in microseconds, or `None` without
    /// samples. Of one sample it is 0: nothing is known of the spread, and callers want a number.
    #[must_use]
    pub fn stddev(&self) -> Option<f64> {
        match self.count {
            0 => None,
            1 => Some(0.0),
            more => Some((self.m2 / (more - 1) as f64).sqrt()),
        }
    }

    /// Returns the shortest duration, or `None` without samples.
    #[must_use]
    pub fn min(&self) -> Option<Micros> {
        (self.count > 0).then_some(self.min)
    }

    /// Returns the longest duration, or `None` without samples.
    #[must_use]
    pub fn max(&self) -> Option<Micros> {
        (self.count > 0).then_some(self.max)
    }

    /// Returns `value` moved into what was seen: an estimate never leaves the extremes.
    #[must_use]
    pub(super) fn within_extremes(&self, value: Micros) -> Micros {
        value.max(self.min).min(self.max)
    }

    pub(super) fn write(&self, out: &mut Writer) {
        out.varint(self.count);
        if self.count > 0 {
            out.float(self.mean);
            out.float(self.m2);
            out.varint(self.min.get());
            out.varint(self.max.saturating_sub(self.min).get());
        }
    }

    pub(super) fn read(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let count = input.varint()?;
        if count == 0 {
            return Ok(Self::default());
        }
        let (mean, m2) = (input.float()?, input.float()?);
        let min = Micros::new(input.varint()?);
        let max = min.saturating_add(Micros::new(input.varint()?));
        Ok(Self { count, mean, m2, min, max })
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use proptest::prelude::*;

    use super::*;

    fn shown(durations: &[u64]) -> String {
        let moments = Moments::of(durations.iter().map(|micros| Micros::new(*micros)));
        let (mean, stddev) = (moments.mean(), moments.stddev());
        format!("{} {mean:?} {stddev:?} {:?} {:?}", moments.count(), moments.min(), moments.max())
    }

    #[test]
    fn moments_know_nothing_without_samples_and_no_spread_of_one() {
        assert_snapshot!(shown(&[]), @"0 None None None None");
        assert_snapshot!(shown(&[7]), @"1 Some(7.0) Some(0.0) Some(Micros(7)) Some(Micros(7))");
        assert_snapshot!(shown(&[2, 4, 4, 4, 5, 5, 7, 9, 5]), @"9 Some(5.0) Some(2.0) Some(Micros(2)) Some(Micros(9))");
    }

    #[test]
    fn the_longest_durations_stay_finite() {
        let mut moments = Moments::of([Micros::new(u64::MAX), Micros::ZERO]);
        for _ in 0..200 {
            moments.merge(&moments.clone());
        }
        assert_eq!(moments.count(), u64::MAX);
        assert!(moments.mean().unwrap().is_finite() && moments.stddev().unwrap().is_finite());
    }

    fn close(a: &Moments, b: &Moments) -> bool {
        let near = |a: f64, b: f64| (a - b).abs() <= 1e-9 * a.abs().max(b.abs()) + 1e-6;
        (a.count, a.min, a.max) == (b.count, b.min, b.max) && near(a.mean, b.mean) && near(a.m2, b.m2)
    }

    proptest! {
        #[test]
        fn merging_moments_in_any_order_is_recording_at_once(
            a in prop::collection::vec(0..10_000_000_u64, 0..50),
            b in prop::collection::vec(0..10_000_000_u64, 0..50),
            c in prop::collection::vec(0..10_000_000_u64, 0..50),
        ) {
            let of = |parts: &[&Vec<u64>]| Moments::of(parts.iter().copied().flatten().copied().map(Micros::new));
            let merged = |a: &Moments, b: &Moments| { let mut sum = *a; sum.merge(b); sum };
            let (x, y, z) = (of(&[&a]), of(&[&b]), of(&[&c]));
            let at_once = of(&[&a, &b, &c]);
            prop_assert!(close(&merged(&merged(&x, &y), &z), &at_once));
            prop_assert!(close(&merged(&x, &merged(&y, &z)), &at_once));
            prop_assert!(close(&merged(&merged(&z, &y), &x), &at_once));
        }
    }
}
