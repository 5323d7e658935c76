//! How durations grow with a number: a straight line through their logarithms.
//!
//! `ln(duration) = a + b · ln(1 + value)`, by least squares over running sums (Welford's updates for a
//! covariance). Work whose duration is a power of its input's size, as most work's is over a few
//! orders of magnitude, is a straight line there, and its spread about it is the same everywhere.
//!
//! Invariant: like a level, it halves its past when it reaches [`MEMORY`] samples.
//! Not here: whether the line explains more than anything else (`explain`).

use super::codec::{DecodeError, Reader, Writer};
use super::level::{OUTLYING, ln, lognormal};
use super::reference::Reference;
use crate::time::Micros;

const MEMORY: u16 = 1_024;
/// Samples from which there is a line.
const KNOWN: u16 = 20;
/// Least standard deviation of `ln(1 + value)`: values that hardly differ say nothing of a slope.
const LEAST_SPREAD: f64 = 0.1;
/// How far beyond the values seen the line is believed, on the scale of `ln(1 + value)`: a factor of 2.
const BEYOND: f64 = std::f64::consts::LN_2;

/// Sums of a regression of log durations on log values.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub(super) struct Slope {
    count: u16,
    mean_x: f32,
    mean_y: f32,
    xx: f32,
    yy: f32,
    xy: f32,
    low: f32,
    high: f32,
}

/// A line, where there is one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    slope: f64,
    /// Residual standard deviation.
    spread: f64,
    /// Share of the variance that it explains, adjusted for its one parameter.
    pub(super) explains: f64,
}

impl Slope {
    pub(super) fn record(&mut self, value: f64, duration: Micros) {
        self.record_as(value, ln(duration));
    }

    /// Records a bottleneck, at most [`OUTLYING`] above the line.
    pub(super) fn record_over(&mut self, value: f64, duration: Micros) {
        let line = self.line().map(|line| self.expected(&line, value.ln_1p()) + OUTLYING);
        self.record_as(value, line.map_or(ln(duration), |most| ln(duration).min(most)));
    }

    #[expect(clippy::cast_possible_truncation, reason = "what is kept is as exact as it needs to be")]
    fn record_as(&mut self, value: f64, log: f64) {
        if self.count >= MEMORY {
            self.count /= 2;
            self.xx /= 2.0;
            self.yy /= 2.0;
            self.xy /= 2.0;
        }
        let (x, y) = (value.ln_1p(), log);
        if self.count == 0 {
            (self.low, self.high) = (x as f32, x as f32);
        }
        self.count += 1;
        let count = f64::from(self.count);
        let (from_x, from_y) = (x - f64::from(self.mean_x), y - f64::from(self.mean_y));
        self.mean_x += (from_x / count) as f32;
        self.mean_y += (from_y / count) as f32;
        self.xx += (from_x * (x - f64::from(self.mean_x))) as f32;
        self.yy += (from_y * (y - f64::from(self.mean_y))) as f32;
        self.xy += (from_x * (y - f64::from(self.mean_y))) as f32;
        (self.xx, self.yy) = (self.xx.max(0.0), self.yy.max(0.0));
        self.low = self.low.min(x as f32);
        self.high = self.high.max(x as f32);
    }

    /// Returns the line through what was seen; none where there is too little, or no spread.
    pub(super) fn line(&self) -> Option<Line> {
        let count = f64::from(self.count);
        let (xx, yy, xy) = (f64::from(self.xx), f64::from(self.yy), f64::from(self.xy));
        if self.count < KNOWN || yy <= 0.0 || (xx / count).sqrt() < LEAST_SPREAD {
            return None;
        }
        let share = (xy * xy / xx / yy).min(1.0);
        Some(Line {
            slope: xy / xx,
            spread: ((yy - xy * xy / xx).max(0.0) / (count - 2.0)).sqrt(),
            explains: 1.0 - (1.0 - share) * (count - 1.0) / (count - 2.0),
        })
    }

    /// Returns what a step with this value is compared with; none if it lies too far beyond what was seen.
    ///
    /// The spread is that of a prediction: the residual one, and that of the line itself.
    pub(super) fn reference(&self, line: &Line, value: f64) -> Option<Reference> {
        let x = value.ln_1p();
        if x < f64::from(self.low) - BEYOND || x > f64::from(self.high) + BEYOND {
            return None;
        }
        let (off, log_mean) = (x - f64::from(self.mean_x), self.expected(line, x));
        let of_line = 1.0 / f64::from(self.count) + off * off / f64::from(self.xx);
        let spread = line.spread * (1.0 + of_line).sqrt();
        // The mean of a lognormal distribution.
        let mean = (log_mean + line.spread * line.spread / 2.0).exp();
        Some(lognormal(mean, log_mean, spread, u64::from(self.count)))
    }

    /// Returns the logarithm of the duration on the line, at `ln(1 + value)`.
    pub(super) fn expected(&self, line: &Line, x: f64) -> f64 {
        f64::from(self.mean_y) + line.slope * (x - f64::from(self.mean_x))
    }

    pub(super) fn write(&self, out: &mut Writer) {
        out.varint(u64::from(self.count));
        for value in [self.mean_x, self.mean_y, self.xx, self.yy, self.xy, self.low, self.high] {
            out.single(value);
        }
    }

    pub(super) fn read(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            count: u16::try_from(input.varint()?).map_err(|_| DecodeError::Impossible("count"))?,
            mean_x: input.single()?,
            mean_y: input.single()?,
            xx: input.single()?.max(0.0),
            yy: input.single()?.max(0.0),
            xy: input.single()?,
            low: input.single()?,
            high: input.single()?,
        })
    }
}
