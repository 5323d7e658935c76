//! What detection says of a step over its limits.

use serde::{Deserialize, Serialize};

use crate::baseline::Reference;
use crate::cohort::Cohort;
use crate::time::Micros;

/// How bad a bottleneck is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Severity {
    /// Over the warning limit.
    Warning,
    /// Over the critical limit.
    Critical,
}

impl Severity {
    /// Returns the severity as it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Warning => "WARNING",
            Self::Critical => "CRITICAL",
        }
    }

    /// Returns the number under which it is stored: worse is larger.
    #[must_use]
    pub const fn to_stored(self) -> i16 {
        match self {
            Self::Warning => 1,
            Self::Critical => 2,
        }
    }

    /// Reads a stored number; none for 0 and for what was never stored.
    #[must_use]
    pub const fn from_stored(number: i16) -> Option<Self> {
        match number {
            1 => Some(Self::Warning),
            2 => Some(Self::Critical),
            _ => None,
        }
    }
}

/// The verdict on a step judged WARNING or CRITICAL, with what it was judged against.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bottleneck {
    /// How bad.
    pub severity: Severity,
    /// The duration judged: of the whole step, or what had elapsed of a running one.
    pub duration: Micros,
    /// The reference's mean when it was judged.
    pub historical_avg: Micros,
    /// Samples in the reference.
    pub samples: u64,
    /// The reference's 95th percentile.
    pub p95: Micros,
    /// What made the history comparable; the whole history if empty.
    pub cohort: Cohort,
    /// Whether the step was still running.
    pub in_flight: bool,
}

impl Bottleneck {
    /// Puts a verdict together from the duration and the reference that judged it.
    #[must_use]
    pub fn new(severity: Severity, duration: Micros, reference: &Reference, in_flight: bool) -> Self {
        Self {
            severity,
            duration,
            historical_avg: Micros::from_f64(reference.mean_us),
            samples: reference.samples,
            p95: reference.p95,
            cohort: Cohort::default(),
            in_flight,
        }
    }

    /// Returns the duration as a multiple of the average, to two decimals; an average of nothing
    /// counts as a microsecond, so that the factor stays a number.
    #[must_use]
    pub fn factor(&self) -> f64 {
        let factor = self.duration.as_f64() / self.historical_avg.as_f64().max(1.0);
        (factor * 100.0).round() / 100.0
    }
}
