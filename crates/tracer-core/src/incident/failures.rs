//! How many of the last ends were failures, and when that is too many.
//!
//! The window is a ring of small buckets, so that it costs the same however much goes on: it holds what ended
//! in the last hour, or, where less happens, the last ends as far back as needed to say anything.
//!
//! A rate counts as too high when its lower confidence bound is: the lower end of the score interval of
//! Wilson (1927), at 99 % one-sided. One failure among three ends says nothing.

use serde::{Deserialize, Serialize};

use crate::baseline::DecodeError;
use crate::baseline::codec::{Reader, Writer};
use crate::detect::Severity;
use crate::time::{Micros, Timestamp};

/// Closed buckets that are kept.
const BUCKETS: usize = 12;
/// Of the standard normal distribution, 99 % one-sided.
const Z: f64 = 2.326;
/// Above this multiple of the limit, or of what is usual, it is CRITICAL: that of the default rule.
const CRITICAL: f64 = 3.0;
/// Above this multiple of what is usual it is a WARNING: that of the default rule.
const WARNING: f64 = 2.0;

/// When failures are too many.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FailureRule {
    /// The share of failures that is borne in any case, from 0 to 1; at 1 nothing is ever too much.
    pub limit: f64,
    /// How far back is looked, at least.
    pub window: Micros,
    /// Ends without which nothing is said, and which are looked back to if the window holds fewer.
    pub least: u64,
}

impl Default for FailureRule {
    /// More than 5 % in an hour, and in at least 20 ends.
    fn default() -> Self {
        Self { limit: 0.05, window: Micros::from_secs(3_600), least: 20 }
    }
}

/// Too many failures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FailureRate {
    /// How bad.
    pub severity: Severity,
    /// Ends that were failures.
    pub failed: u64,
    /// Ends looked at.
    pub ended: u64,
    /// When the first of them ended, or before.
    pub since: Timestamp,
    /// The share of failures in the history before them, from 0 to 1.
    pub usual: f64,
    /// The limit that was exceeded, from 0 to 1.
    pub limit: f64,
}

impl FailureRate {
    /// Returns the share of failures, from 0 to 1.
    #[must_use]
    pub fn rate(&self) -> f64 {
        share(self.failed, self.ended)
    }

    /// Returns by what factor it exceeds what is usual, or the limit where that is more; two decimals.
    #[must_use]
    pub fn factor(&self) -> f64 {
        (self.rate() / self.usual.max(self.limit).max(0.001) * 100.0).round() / 100.0
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Bucket {
    began: Timestamp,
    ended: u64,
    failed: u64,
}

/// The last ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FailureWindow {
    /// Oldest first; the last one is being filled.
    buckets: Vec<Bucket>,
}

impl FailureWindow {
    /// Adds an end.
    pub fn add(&mut self, rule: &FailureRule, failed: bool, now: Timestamp) {
        let parts = BUCKETS as u64;
        let (span, share) = (Micros::new(rule.window.get() / parts), rule.least.div_ceil(parts));
        let full = |bucket: &Bucket| now.since(bucket.began) >= span && bucket.ended >= share;
        if self.buckets.last().is_none_or(full) {
            self.buckets.push(Bucket { began: now, ..Bucket::default() });
        }
        if self.buckets.len() > BUCKETS + 1 {
            self.buckets.remove(0);
        }
        if let Some(bucket) = self.buckets.last_mut() {
            bucket.ended = bucket.ended.saturating_add(1);
            bucket.failed = bucket.failed.saturating_add(u64::from(failed));
        }
    }

    /// Judges the window. `history` is how many failures there were and among how many ends, the window's
    /// own included: what is usual is what was before it.
    #[must_use]
    pub fn judge(&self, rule: &FailureRule, history: (u64, u64)) -> Option<FailureRate> {
        let ended: u64 = self.buckets.iter().map(|bucket| bucket.ended).sum();
        let failed: u64 = self.buckets.iter().map(|bucket| bucket.failed).sum();
        if ended < rule.least.max(1) {
            return None;
        }
        let before = history.1.saturating_sub(ended);
        let usual = if before < rule.least { 0.0 } else { share(history.0.saturating_sub(failed), before) };
        let surely = lower_bound(failed, ended);
        let severity = if surely > CRITICAL * usual.max(rule.limit) {
            Severity::Critical
        } else if surely > rule.limit.max(WARNING * usual) {
            Severity::Warning
        } else {
            return None;
        };
        let since = self.buckets.first().map(|bucket| bucket.began).unwrap_or_default();
        Some(FailureRate { severity, failed, ended, since, usual, limit: rule.limit })
    }

    /// Returns whether nothing has ended.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }

    pub(super) fn write(&self, out: &mut Writer) {
        out.varint(self.buckets.len() as u64);
        let mut before = 0;
        for bucket in &self.buckets {
            out.signed(bucket.began.as_micros() - before);
            before = bucket.began.as_micros();
            out.varint(bucket.ended);
            out.varint(bucket.failed);
        }
    }

    pub(super) fn read(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let count = input.varint()?;
        if count > BUCKETS as u64 + 1 {
            return Err(DecodeError::Impossible("count of buckets"));
        }
        let mut at = 0_i64;
        let mut bucket = || {
            at = at.checked_add(input.signed()?).ok_or(DecodeError::Impossible("time"))?;
            let (ended, failed) = (input.varint()?, input.varint()?);
            // So that no sum of them overflows.
            let possible = failed <= ended && ended <= u64::from(u32::MAX);
            let bucket = Bucket { began: Timestamp::from_micros(at), ended, failed };
            if possible { Ok(bucket) } else { Err(DecodeError::Impossible("count of ends")) }
        };
        let buckets = (0..count).map(|_| bucket()).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { buckets })
    }
}

#[expect(clippy::cast_precision_loss, reason = "a share needs no more digits")]
fn share(part: u64, whole: u64) -> f64 {
    part as f64 / (whole as f64).max(1.0)
}

/// Returns the lower end of Wilson's score interval.
#[expect(clippy::cast_precision_loss, reason = "a share needs no more digits")]
fn lower_bound(failed: u64, ended: u64) -> f64 {
    let (n, p, z2) = (ended as f64, share(failed, ended), Z * Z);
    let spread = Z * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
    (p + z2 / (2.0 * n) - spread) / (1.0 + z2 / n)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns what is said after so many ends, one a minute, of which every `nth` fails; none fails if 0.
    fn after(ends: u64, nth: u64, history: (u64, u64)) -> Option<Severity> {
        let (rule, mut window) = (FailureRule::default(), FailureWindow::default());
        for n in 1..=ends {
            let at = Timestamp::from_millis(i64::try_from(n).unwrap() * 60_000);
            window.add(&rule, nth > 0 && n % nth == 0, at);
        }
        window.judge(&rule, history).map(|rate| rate.severity)
    }

    #[test]
    fn a_rate_is_too_high_when_it_surely_is() {
        assert_eq!(after(19, 1, (0, 0)), None, "too few ends");
        assert_eq!(after(20, 1, (0, 0)), Some(Severity::Critical));
        assert_eq!(after(200, 20, (0, 0)), None, "5 % is borne");
        assert_eq!(after(20, 10, (0, 0)), None, "two of twenty may be chance");
        assert_eq!(after(60, 5, (0, 0)), Some(Severity::Warning));
        assert_eq!(after(60, 0, (0, 0)), None);
    }

    #[test]
    fn what_always_fails_so_often_is_usual() {
        assert_eq!(after(60, 5, (220, 1_060)), None, "a fifth, as before");
        assert_eq!(after(60, 5, (32, 1_060)), Some(Severity::Warning), "a fiftieth before");
        assert_eq!(after(60, 2, (150, 1_060)), Some(Severity::Warning), "an eighth before");
    }

    #[test]
    fn the_window_is_an_hour_or_as_many_ends_as_are_needed() {
        let rule = FailureRule::default();
        let ends = |every_secs: i64, count: i64| {
            let mut window = FailureWindow::default();
            for n in 0..count {
                window.add(&rule, false, Timestamp::from_millis(n * every_secs * 1_000));
            }
            window.buckets.iter().map(|bucket| bucket.ended).sum::<u64>()
        };
        assert!((3_600..=3_900).contains(&ends(1, 20_000)));
        assert!((24..=26).contains(&ends(86_400, 100)));
    }

    #[test]
    fn a_window_survives_its_bytes() {
        let (rule, mut window) = (FailureRule::default(), FailureWindow::default());
        for n in 0..500 {
            window.add(&rule, n % 7 == 0, Timestamp::from_millis(1_700_000_000_000 + n * 45_000));
            let mut out = Writer::with_version(1);
            window.write(&mut out);
            let bytes = out.finish();
            let (mut input, _) = Reader::with_versions(&bytes, 1).unwrap();
            assert_eq!(FailureWindow::read(&mut input).unwrap(), window);
            input.finish().unwrap();
        }
    }
}
