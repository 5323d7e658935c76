//! How requests ended, and how long answers took.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;

/// Longest latency that is told apart, in microseconds: two minutes.
const LONGEST: u64 = 120_000_000;

/// What has happened so far.
#[derive(Debug)]
pub(crate) struct Tally {
    inner: Mutex<Counts>,
}

#[derive(Debug)]
struct Counts {
    latency: Histogram<u64>,
    endings: BTreeMap<String, u64>,
    counted: BTreeMap<&'static str, u64>,
}

impl Tally {
    /// Returns an empty tally.
    ///
    /// # Errors
    /// Never: the bounds of the histogram are fixed and valid.
    pub(crate) fn new() -> anyhow::Result<Self> {
        let latency = Histogram::new_with_bounds(1, LONGEST, 3)?;
        Ok(Self { inner: Mutex::new(Counts { latency, endings: BTreeMap::new(), counted: BTreeMap::new() }) })
    }

    /// Counts an attempt.
    pub(crate) fn attempt(&self, ending: &str, took: Duration) {
        let mut counts = self.lock();
        let micros = u64::try_from(took.as_micros()).unwrap_or(LONGEST);
        counts.latency.saturating_record(micros.max(1));
        *counts.endings.entry(ending.to_owned()).or_default() += 1;
    }

    /// Counts something of a name.
    pub(crate) fn count(&self, what: &'static str) {
        *self.lock().counted.entry(what).or_default() += 1;
    }

    /// Returns how often something was counted.
    pub(crate) fn of(&self, what: &'static str) -> u64 {
        self.lock().counted.get(what).copied().unwrap_or_default()
    }

    /// Returns a line of what was counted.
    pub(crate) fn line(&self) -> String {
        let counts = self.lock();
        let told = counts.counted.iter().map(|(what, count)| format!("{count} {what}"));
        told.collect::<Vec<_>>().join(", ")
    }

    /// Returns how attempts ended and how long they took, a line each.
    pub(crate) fn report(&self) -> String {
        let counts = self.lock();
        let millis = |quantile: f64| {
            Duration::from_micros(counts.latency.value_at_quantile(quantile)).as_secs_f64() * 1e3
        };
        let mut told = format!(
            "latency of {} requests: p50 {:.1} ms, p95 {:.1} ms, p99 {:.1} ms, slowest {:.1} ms\n",
            counts.latency.len(),
            millis(0.5),
            millis(0.95),
            millis(0.99),
            millis(1.0)
        );
        for (ending, count) in &counts.endings {
            told += &format!("{count:>9}  {ending}\n");
        }
        told
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
