//! What a baseline tells: the reference that judges, and the window as it was measured.
//!
//! Invariant: both are values of their own; nothing that is recorded later changes them.
//! Not here: when a reference is frozen or begun anew (`baseline`).

use super::codec::{DecodeError, Reader, Writer};
use super::moments::Moments;
use super::segment::{EndingCounts, Sums};
use super::sketch::View;
use crate::time::{Micros, Timestamp};

/// What a duration is judged by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reference {
    /// Mean, in microseconds.
    pub mean_us: f64,
    /// Number of samples it is made of.
    pub samples: u64,
    /// Sample standard deviation, in microseconds; 0 for one sample.
    pub stddev_us: f64,
    /// Median.
    pub p50: Micros,
    /// 95th percentile.
    pub p95: Micros,
    /// 99th percentile.
    pub p99: Micros,
    /// Median absolute deviation of the natural logarithm; [`PER_MAD`] times it is the standard
    /// deviation, where the logarithms are normal.
    pub log_mad: f64,
}

/// Standard deviations per median absolute deviation of a normal distribution: `1 / Φ⁻¹(3/4)`
/// (Hampel, *The Influence Curve and Its Role in Robust Estimation*, 1974).
pub const PER_MAD: f64 = 1.482_602_218_505_602;
/// The 95th percentile of the standard normal distribution.
pub(super) const NORMAL_P95: f64 = 1.644_853_626_951_472;
/// The 99th.
pub(super) const NORMAL_P99: f64 = 2.326_347_874_040_841;

/// The window as it was measured, bottlenecks and all.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// How work ended.
    pub endings: EndingCounts,
    /// Completed durations.
    pub moments: Moments,
    /// Median; `None` without completed samples, as the others.
    pub p50: Option<Micros>,
    /// 95th percentile.
    pub p95: Option<Micros>,
    /// 99th percentile.
    pub p99: Option<Micros>,
    /// The latest time at which anything ended, whether it is in the window or not.
    pub last_seen: Option<Timestamp>,
}

/// A reference that is held while bottlenecks are too many.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Frozen {
    pub(super) reference: Reference,
    pub(super) since: Timestamp,
    /// What was measured since, the sample that tipped it included.
    pub(super) raw: Moments,
}

impl Reference {
    /// Returns the reference of so many samples that all took the same time.
    #[must_use]
    pub const fn constant(duration: Micros, samples: u64) -> Self {
        let (p50, p95, p99) = (duration, duration, duration);
        Self { mean_us: duration.as_f64(), samples, stddev_us: 0.0, p50, p95, p99, log_mad: 0.0 }
    }

    /// Returns the reference view of these sums, or `None` without samples.
    pub(super) fn of(window: &Sums) -> Option<Self> {
        let mean_us = window.clamped.mean()?;
        // A sketch has something wherever the moments do; the mean is the honest answer if not.
        let quantile = |q| window.quantile(View::Reference, q).unwrap_or_else(|| Micros::from_f64(mean_us));
        Some(Self {
            mean_us,
            samples: window.clamped.count(),
            stddev_us: window.clamped.stddev().unwrap_or(0.0),
            p50: quantile(0.50),
            p95: quantile(0.95),
            p99: quantile(0.99),
            log_mad: window.sketch.log_mad(View::Reference),
        })
    }
}

impl Measured {
    /// Returns the measured view of these sums.
    pub(super) fn of(window: &Sums, last_seen: Option<Timestamp>) -> Self {
        let quantile = |q| window.quantile(View::Measured, q);
        Self {
            endings: window.endings,
            moments: window.raw,
            p50: quantile(0.50),
            p95: quantile(0.95),
            p99: quantile(0.99),
            last_seen,
        }
    }
}

impl Frozen {
    pub(super) fn write(&self, out: &mut Writer) {
        let Reference { mean_us, samples, stddev_us, p50, p95, p99, log_mad } = self.reference;
        out.float(mean_us);
        out.varint(samples);
        out.float(stddev_us);
        for quantile in [p50, p95, p99] {
            out.varint(quantile.get());
        }
        out.float(log_mad);
        out.signed(self.since.as_micros());
        self.raw.write(out);
    }

    /// Reads what was written; version 1 knew no deviation of the logarithm, for which that of the
    /// durations over their mean stands, as it does for small ones.
    pub(super) fn read(input: &mut Reader<'_>, version: u8) -> Result<Self, DecodeError> {
        let (mean_us, samples, stddev_us) = (input.float()?, input.varint()?, input.float()?);
        let mut quantile = || input.varint().map(Micros::new);
        let (p50, p95, p99) = (quantile()?, quantile()?, quantile()?);
        let log_mad = if version == 1 { stddev_us / mean_us.max(1.0) / PER_MAD } else { input.float()? };
        Ok(Self {
            reference: Reference { mean_us, samples, stddev_us, p50, p95, p99, log_mad },
            since: Timestamp::from_micros(input.signed()?),
            raw: Moments::read(input)?,
        })
    }
}
