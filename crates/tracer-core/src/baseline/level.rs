//! How long the samples with one value of an attribute took.
//!
//! Invariant: counts stay below [`MEMORY`]: when it is reached, what was is worth half.
//! Not here: which levels an attribute has (`attribute`).

use super::codec::{DecodeError, Reader, Writer};
use super::reference::{NORMAL_P95, NORMAL_P99, PER_MAD, Reference};
use crate::time::{Micros, Timestamp};

/// Samples at which a level's past is halved: it remembers some hundreds, whatever their age.
const MEMORY: u16 = 512;
/// Samples from which a level is known: its own mean is then a better measure than anything else.
pub(super) const KNOWN: u16 = 5;
/// Bottlenecks in a row from which a level no longer learns from them: it may be slow for long.
const DISTRUSTED: u8 = 3;
/// Bottlenecks in a row after which a level is begun anew: that is how long it takes now.
const ACCEPTED: u8 = 100;

/// About the logarithm of the longest duration that a number of microseconds can be.
const LARGEST_LOG: f64 = 44.3;
/// The largest standard deviation of a logarithm: that of durations from a microsecond to a year, half of
/// each, is 15.6; beyond it, only the standard deviation of the durations would grow out of bounds.
const WIDEST: f64 = 16.0;

/// How many times what it expects something believes of a bottleneck that it did not judge.
pub(super) const BELIEVED: f64 = 2.0;
/// How far from what was expected a bottleneck enters a mean of logarithms, from which the median comes:
/// as a factor of 1.5. One in ten then moves the median by less than 5 %, where the limit of twice the mean
/// would move it by 8 % (an influence that is bounded: Huber, *Robust Estimation of a Location Parameter*,
/// 1964).
pub(super) const OUTLYING: f64 = 0.405_465_108_108_164_4;

/// Count, mean, and mean and spread of the logarithm.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub(super) struct LogSums {
    pub(super) count: u16,
    mean_us: f32,
    /// Of the natural logarithm of microseconds.
    log_mean: f32,
    /// Sum of squared distances from `log_mean`.
    log_m2: f32,
}

/// The values that are one level.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Place {
    /// Numbers from the first to the last.
    Range(f32, f32),
    /// A text, by its digest.
    Text(u32),
}

/// One value of an attribute, or a range of values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Level {
    pub(super) place: Place,
    pub(super) sums: LogSums,
    pub(super) first_seen: Timestamp,
    pub(super) last_seen: Timestamp,
    /// Bottlenecks in a row, as this level judged them.
    slow: u8,
    /// How often the value came back after another one.
    pub(super) returns: u8,
}

impl LogSums {
    pub(super) fn record(&mut self, duration: Micros) {
        self.record_as(duration, ln(duration));
    }

    /// Records a bottleneck: the mean takes it at the limit that it crossed, the median at [`OUTLYING`].
    fn record_over(&mut self, duration: Micros, limit: Micros) {
        self.record_as(duration.min(limit), ln(duration).min(self.log_mean() + OUTLYING));
    }

    #[expect(clippy::cast_possible_truncation, reason = "what is kept is as exact as it needs to be")]
    fn record_as(&mut self, duration: Micros, log: f64) {
        if self.count >= MEMORY {
            self.count /= 2;
            self.log_m2 /= 2.0;
        }
        self.count += 1;
        let count = f64::from(self.count);
        self.mean_us += ((duration.as_f64() - f64::from(self.mean_us)) / count) as f32;
        let distance = log - f64::from(self.log_mean);
        self.log_mean += (distance / count) as f32;
        self.log_m2 += (distance * (log - f64::from(self.log_mean))) as f32;
        self.log_m2 = self.log_m2.max(0.0);
    }

    #[expect(clippy::cast_possible_truncation, reason = "what is kept is as exact as it needs to be")]
    fn merge(&mut self, other: &Self) {
        let (mine, theirs) = (f64::from(self.count), f64::from(other.count));
        if theirs == 0.0 {
            return;
        }
        let (weight, distance) = (theirs / (mine + theirs), f64::from(other.log_mean - self.log_mean));
        self.log_m2 += other.log_m2 + (distance * distance * mine * weight) as f32;
        self.log_mean += (distance * weight) as f32;
        self.mean_us += (f64::from(other.mean_us - self.mean_us) * weight) as f32;
        self.count = self.count.saturating_add(other.count);
        if self.count >= MEMORY {
            self.count /= 2;
            self.log_m2 /= 2.0;
        }
    }

    pub(super) const fn log_mean(&self) -> f64 {
        self.log_mean as f64
    }

    pub(super) const fn log_m2(&self) -> f64 {
        self.log_m2 as f64
    }

    /// Returns the reference that these samples make, taking their logarithms to be normal: the next
    /// one lies as far off as they do, and as their mean may.
    pub(super) fn reference(&self) -> Reference {
        let count = f64::from(self.count.max(2));
        let spread = (self.log_m2() / (count - 1.0) * (1.0 + 1.0 / count)).sqrt();
        lognormal(f64::from(self.mean_us), self.log_mean(), spread, u64::from(self.count))
    }

    pub(super) fn write(&self, out: &mut Writer) {
        out.varint(u64::from(self.count));
        for value in [self.mean_us, self.log_mean, self.log_m2] {
            out.single(value);
        }
    }

    pub(super) fn read(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let count = u16::try_from(input.varint()?).map_err(|_| DecodeError::Impossible("count"))?;
        let mut positive = || input.single().map(|value| value.max(0.0));
        Ok(Self { count, mean_us: positive()?, log_mean: positive()?, log_m2: positive()? })
    }
}

/// Returns the natural logarithm of a duration in microseconds; that of nothing is that of one.
pub(super) fn ln(duration: Micros) -> f64 {
    duration.as_f64().max(1.0).ln()
}

/// Returns the reference of a lognormal distribution. Its numbers are finite: no duration is above
/// [`LARGEST_LOG`], and none that is believed lies as far from another as [`WIDEST`].
pub(super) fn lognormal(mean_us: f64, log_mean: f64, spread: f64, samples: u64) -> Reference {
    let (log_mean, spread) = (log_mean.clamp(0.0, LARGEST_LOG), spread.min(WIDEST));
    let mean_us = mean_us.min(LARGEST_LOG.exp());
    let at = |deviations: f64| Micros::from_f64((log_mean + deviations * spread).exp());
    Reference {
        mean_us,
        samples,
        stddev_us: mean_us * (spread * spread).exp_m1().max(0.0).sqrt(),
        p50: at(0.0),
        p95: at(NORMAL_P95),
        p99: at(NORMAL_P99),
        log_mad: spread / PER_MAD,
    }
}

impl Level {
    pub(super) fn new(place: Place, at: Timestamp) -> Self {
        let at = to_the_second(at);
        Self { place, sums: LogSums::default(), first_seen: at, last_seen: at, slow: 0, returns: 0 }
    }

    pub(super) fn is_known(&self) -> bool {
        self.sums.count >= KNOWN
    }

    /// Learns from a sample that this level did not judge. Of a bottleneck, a known level believes up to
    /// twice its own mean, and nothing beyond; a new one believes all, because it may be that slow.
    pub(super) fn learn(&mut self, at: Timestamp, duration: Micros, bottleneck: bool) {
        self.last_seen = self.last_seen.max(to_the_second(at));
        let near = duration.as_f64() <= BELIEVED * f64::from(self.sums.mean_us);
        if !bottleneck || !self.is_known() || near {
            self.sums.record(duration);
        }
    }

    /// Learns from a sample that this level judged: within its limit, or over it.
    pub(super) fn learn_judged(&mut self, at: Timestamp, duration: Micros, over: Option<Micros>) {
        self.last_seen = self.last_seen.max(to_the_second(at));
        self.slow = if over.is_some() { self.slow.saturating_add(1) } else { 0 };
        if self.slow >= ACCEPTED {
            *self = Self { sums: LogSums::default(), slow: 0, ..*self };
            self.sums.record(duration);
        } else if self.slow < DISTRUSTED {
            match over {
                Some(limit) => self.sums.record_over(duration, limit),
                None => self.sums.record(duration),
            }
        }
    }

    /// Joins a neighbouring range.
    pub(super) fn join(&mut self, other: &Self) {
        if let (Place::Range(low, high), Place::Range(other_low, other_high)) = (self.place, other.place) {
            self.place = Place::Range(low.min(other_low), high.max(other_high));
        }
        self.sums.merge(&other.sums);
        self.first_seen = self.first_seen.min(other.first_seen);
        self.last_seen = self.last_seen.max(other.last_seen);
        self.slow = self.slow.min(other.slow);
        self.returns = self.returns.saturating_add(other.returns);
    }

    pub(super) fn write(&self, out: &mut Writer) {
        match self.place {
            Place::Range(low, high) => {
                out.single(low);
                out.single(high);
            }
            Place::Text(digest) => out.varint(u64::from(digest)),
        }
        self.sums.write(out);
        out.signed(self.first_seen.as_micros() / SECOND);
        out.signed((self.last_seen.as_micros() - self.first_seen.as_micros()) / SECOND);
        out.byte(self.slow);
        out.byte(self.returns);
    }

    pub(super) fn read(input: &mut Reader<'_>, is_text: bool) -> Result<Self, DecodeError> {
        let place = if is_text {
            Place::Text(u32::try_from(input.varint()?).map_err(|_| DecodeError::Impossible("digest"))?)
        } else {
            Place::Range(input.single()?, input.single()?)
        };
        let sums = LogSums::read(input)?;
        let first = input.signed()?;
        let last = first.saturating_add(input.signed()?);
        let at = |seconds: i64| Timestamp::from_micros(seconds.saturating_mul(SECOND));
        let (slow, returns) = (input.byte()?, input.byte()?);
        Ok(Self { place, sums, first_seen: at(first), last_seen: at(last), slow, returns })
    }
}

/// Times are kept to the second.
const SECOND: i64 = 1_000_000;

/// Returns a time as it is kept.
pub(super) fn to_the_second(at: Timestamp) -> Timestamp {
    Timestamp::from_micros(at.as_micros().div_euclid(SECOND) * SECOND)
}
