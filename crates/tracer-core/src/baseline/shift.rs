//! Whether a step's level has shifted for good, since when, and by how much.
//!
//! The last samples, as the distance of each one's logarithm from that of the median that it was compared
//! with, are kept as segments of exponentially growing length, the newest
//! being single samples, as in `ADWIN` (Bifet and Gavaldà, *Learning from Time-Changing Data with
//! Adaptive Windowing*, SDM 2007; the histogram is that of Datar and others, 2002). At every boundary
//! between two segments the means before and after are compared: the largest
//!
//! ```text
//! t = (after - before) / (s · sqrt(1/n + 1/m))        s² = variance within the two parts
//! ```
//!
//! is the test of Hawkins (*Testing a Sequence of Observations for a Shift in Location*, JASA 1977) and
//! Worsley (1979) for one change of the mean. Its critical value here is the sub-Gaussian bound
//! `sqrt(2 ln(2K/δ))` over the K boundaries that are tried, which holds for every n. Samples are
//! brought within a factor of e of the mean before they enter, so that no single stall makes a shift.
//!
//! Invariant: at most [`SEGMENTS`] segments and [`LONGEST`] samples.
//! Not here: what is said of a shift (`detect`), and what changed with it (`explain`).

use super::codec::{DecodeError, Reader, Writer};
use super::level::to_the_second;
use crate::detect::Confirmation;
use crate::features::{NAME_BYTES, TEXT_BYTES};
use crate::time::{Micros, Timestamp};

/// Most segments: two of each length up to [`LONGEST`].
const SEGMENTS: usize = 24;
/// Segments of one length; one more, and the two oldest are joined.
const OF_A_LENGTH: usize = 2;
/// Samples that are looked back on.
const LONGEST: u32 = 1_024;
/// Samples that there must be before a shift, and after it; after it is enough where it falls again.
const LEAST_BEFORE: f64 = 10.0;
const LEAST_AFTER: f64 = 5.0;
/// Chance of a false shift per sample, before what is asked of its size and its confirmation.
const DELTA: f64 = 1e-4;
/// Samples in a row that were compared with all of the history, after which no others are expected.
const OTHERS: u8 = 16;
/// Below it a spread is taken to be rounding: 2 %.
const LEAST_SPREAD: f64 = 0.02;
/// Farthest that a sample lies from the mean, in natural logarithms.
const FARTHEST: f64 = 1.0;
/// What is kept is the distance plus this, in thousandths, so that ratios below 1 are positive too.
const OFFSET: f64 = 16.0;
const PER_UNIT: f64 = 1_000.0;

/// A lasting shift of a step's level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shift {
    /// When the first sample at the new level ended.
    pub began_at: Timestamp,
    /// Geometric mean before.
    pub before: Micros,
    /// Median of the last samples.
    pub after: Micros,
    /// Samples since, when it was certain.
    pub samples: u64,
    /// The attribute that took a new value when it began, and the value; none if nothing did.
    pub changed: Option<(String, String)>,
}

impl Shift {
    /// Returns the new level over the old one, to two decimals.
    #[must_use]
    pub fn factor(&self) -> f64 {
        let factor = self.after.as_f64() / self.before.as_f64().max(1.0);
        (factor * 100.0).round() / 100.0
    }
}

/// When a shift of the level is told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ShiftRule {
    /// How it must be confirmed.
    pub confirmation: Confirmation,
    /// The least factor; above 1.
    pub least: f64,
}

/// The recent level, in segments.
#[derive(Clone, Debug, PartialEq, Default)]
pub(super) struct Levels {
    /// Whether the samples were compared with their like, rather than with all of the history.
    explained: bool,
    /// Samples in a row that were compared with the other.
    others: u8,
    /// Oldest first, each at least as long as the next.
    segments: Vec<Segment>,
    /// The newest samples one by one, oldest first: at most [`Confirmation::MOST`].
    last: Vec<u16>,
    /// The shift that was told of, until the level is as it was.
    pub(super) told: Option<Shift>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Segment {
    /// A power of two.
    count: u32,
    mean: u16,
    spread: u16,
    began_at: Timestamp,
}

/// A cut that the test found.
struct Cut {
    /// Segments before it.
    at: usize,
    before: f64,
    after: f64,
    samples_after: u64,
    began_at: Timestamp,
    /// When the last segment of the old level began: what was first seen since then may be the cause.
    not_before: Timestamp,
}

impl Levels {
    /// Adds a sample, as the distance of its logarithm from that of what was expected. Returns a
    /// shift upwards as large as the rule says, once. `level` brings a distance back to
    /// a duration, `changed_since` names what has changed since a moment.
    pub(super) fn record(
        &mut self,
        at: Timestamp,
        explained: bool,
        distance: f64,
        rule: ShiftRule,
        level: impl Fn(f64) -> Micros,
        changed_since: impl FnOnce(Timestamp) -> Option<(String, String)>,
    ) -> Option<Shift> {
        if !self.follows(explained) {
            return None;
        }
        let mean = self.mean().unwrap_or(distance);
        let near = distance.clamp(mean - FARTHEST, mean + FARTHEST);
        self.push(near, at);
        self.remember(distance);
        let cut = self.cut(rule.least.ln())?;
        if !self.is_confirmed(&cut, rule.confirmation) {
            return None;
        }
        let upwards = cut.after > cut.before;
        self.segments.drain(..cut.at.min(self.segments.len()));
        let now = self.median_of_last(cut.samples_after);
        if (now - cut.before).abs() > FARTHEST {
            // They were brought nearer than they lie: else the rest of the way would be another shift.
            self.move_by(now - cut.after);
        }
        let shift = Shift {
            began_at: cut.began_at,
            before: level(cut.before),
            after: level(now),
            samples: cut.samples_after,
            changed: changed_since(cut.not_before),
        };
        self.told = upwards.then_some(shift);
        self.told.clone()
    }

    /// Returns whether a sample belongs to the series. Distances from all of the history are of another kind
    /// than those from what is alike: with the first of these a new series begins, and with the first of
    /// those once there are no others.
    fn follows(&mut self, explained: bool) -> bool {
        if explained == self.explained {
            self.others = 0;
            return true;
        }
        self.others += 1;
        let begins = explained || self.others >= OTHERS;
        if begins {
            *self = Self { explained, told: self.told.take(), ..Self::default() };
        }
        begins
    }

    fn move_by(&mut self, distance: f64) {
        for segment in &mut self.segments {
            segment.mean = kept(segment.mean() + distance);
        }
    }

    fn mean(&self) -> Option<f64> {
        let count: f64 = self.segments.iter().map(Segment::weight).sum();
        (count > 0.0).then(|| self.segments.iter().map(|s| s.weight() * s.mean()).sum::<f64>() / count)
    }

    fn push(&mut self, distance: f64, at: Timestamp) {
        let began_at = to_the_second(at);
        self.segments.push(Segment { count: 1, mean: kept(distance), spread: 0, began_at });
        let mut length = 1;
        while let Some(first) = self.first_of_too_many(length) {
            let newer = self.segments.remove(first + 1);
            if let Some(older) = self.segments.get_mut(first) {
                older.join(&newer);
            }
            length *= 2;
        }
        while self.segments.iter().map(|s| s.count).sum::<u32>() > LONGEST || self.segments.len() > SEGMENTS {
            self.segments.remove(0);
        }
    }

    fn remember(&mut self, distance: f64) {
        if self.last.len() >= usize::from(Confirmation::MOST) {
            self.last.remove(0);
        }
        self.last.push(kept(distance));
    }

    /// Returns the median of the last samples, at most so many: the level as it is, where the segments
    /// hold it within bounds.
    fn median_of_last(&self, most: u64) -> f64 {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let mut last: Vec<u16> = self.last.iter().rev().take(most).copied().collect();
        last.sort_unstable();
        last.get(last.len() / 2).map_or(0.0, |value| f64::from(*value) / PER_UNIT - OFFSET)
    }

    fn first_of_too_many(&self, length: u32) -> Option<usize> {
        let of_length = |segment: &&Segment| segment.count == length;
        let many = self.segments.iter().filter(of_length).count() > OF_A_LENGTH;
        many.then(|| self.segments.iter().position(|segment| segment.count == length)).flatten()
    }

    /// Returns the boundary at which the means differ most, if they differ enough.
    fn cut(&self, least: f64) -> Option<Cut> {
        let tried = self.segments.len().saturating_sub(1).max(1) as f64;
        let critical = (2.0 * (2.0 * tried / DELTA).ln()).sqrt();
        let total = self.segments.iter().fold(Part::default(), |part, segment| part.with(segment));
        let mut before = Part::default();
        let mut not_before = Timestamp::from_micros(0);
        let mut best: Option<(f64, Cut)> = None;
        for (at, segment) in self.segments.iter().enumerate() {
            let after = total.without(&before);
            let difference = after.mean() - before.mean();
            // A level that was told of may fall again before there are more samples of it.
            let falls_again = self.told.is_some() && difference < 0.0;
            let least_before = if falls_again { LEAST_AFTER } else { LEAST_BEFORE };
            if before.count >= least_before && after.count >= LEAST_AFTER && difference.abs() >= least {
                let within = (before.scatter() + after.scatter()) / (total.count - 2.0);
                let spread = within.max(0.0).sqrt().max(LEAST_SPREAD);
                let t = difference.abs() / (spread * (1.0 / before.count + 1.0 / after.count).sqrt());
                if t > critical && best.as_ref().is_none_or(|(largest, _)| t > *largest) {
                    let cut = Cut {
                        at,
                        before: before.mean(),
                        after: after.mean(),
                        samples_after: self.segments.iter().skip(at).map(|s| u64::from(s.count)).sum(),
                        began_at: segment.began_at,
                        not_before,
                    };
                    best = Some((t, cut));
                }
            }
            before = before.with(segment);
            not_before = segment.began_at;
        }
        best.map(|(_, cut)| cut)
    }

    /// Whether enough of the last samples lie nearer to the new level than to the old one.
    fn is_confirmed(&self, cut: &Cut, confirmation: Confirmation) -> bool {
        let asked = self.last.iter().rev().take(usize::from(confirmation.of));
        let nearer = |value: &&u16| {
            let distance = f64::from(**value) / PER_UNIT - OFFSET;
            (distance - cut.after).abs() < (distance - cut.before).abs()
        };
        asked.filter(nearer).count() >= usize::from(confirmation.least)
    }

    pub(super) fn write(&self, out: &mut Writer) {
        out.byte(u8::from(self.explained));
        out.byte(self.others);
        out.varint(self.segments.len() as u64);
        let mut earlier = 0;
        for segment in &self.segments {
            out.byte(u8::try_from(segment.count.trailing_zeros()).unwrap_or(0));
            out.varint(u64::from(segment.mean));
            out.varint(u64::from(segment.spread));
            let seconds = segment.began_at.as_micros().div_euclid(1_000_000);
            out.signed(seconds - earlier);
            earlier = seconds;
        }
        out.varint(self.last.len() as u64);
        for value in &self.last {
            out.varint(u64::from(*value));
        }
        out.byte(u8::from(self.told.is_some()));
        if let Some(told) = &self.told {
            out.signed(told.began_at.as_micros());
            for value in [told.before.get(), told.after.get(), told.samples] {
                out.varint(value);
            }
            out.byte(u8::from(told.changed.is_some()));
            if let Some((name, value)) = &told.changed {
                out.text(name);
                out.text(value);
            }
        }
    }

    pub(super) fn read(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (explained, others) = match (input.byte()?, input.byte()?) {
            (explained @ (0 | 1), others) if others < OTHERS => (explained == 1, others),
            _ => return Err(DecodeError::Impossible("series")),
        };
        let mut segments = Vec::new();
        let mut seconds = 0_i64;
        for _ in 0..bounded(input.varint()?, SEGMENTS)? {
            let length = input.byte()?;
            if length > 10 {
                return Err(DecodeError::Impossible("length of a segment"));
            }
            let (mean, spread) = (small(input.varint()?)?, small(input.varint()?)?);
            seconds = seconds.saturating_add(input.signed()?);
            let began_at = Timestamp::from_micros(seconds.saturating_mul(1_000_000));
            segments.push(Segment { count: 1 << length, mean, spread, began_at });
        }
        let count = bounded(input.varint()?, usize::from(Confirmation::MOST))?;
        let last = (0..count).map(|_| input.varint().and_then(small)).collect::<Result<_, _>>()?;
        let told = match input.byte()? {
            0 => None,
            1 => Some(Shift {
                began_at: Timestamp::from_micros(input.signed()?),
                before: Micros::new(input.varint()?),
                after: Micros::new(input.varint()?),
                samples: input.varint()?,
                changed: match input.byte()? {
                    0 => None,
                    1 => Some((input.text(NAME_BYTES)?, input.text(TEXT_BYTES)?)),
                    _ => return Err(DecodeError::Impossible("flag")),
                },
            }),
            _ => return Err(DecodeError::Impossible("flag")),
        };
        Ok(Self { explained, others, segments, last, told })
    }
}

impl Segment {
    fn weight(&self) -> f64 {
        f64::from(self.count)
    }

    fn mean(&self) -> f64 {
        f64::from(self.mean) / PER_UNIT - OFFSET
    }

    fn spread(&self) -> f64 {
        f64::from(self.spread) / PER_UNIT
    }

    /// Joins the next segment, which is as long.
    fn join(&mut self, newer: &Self) {
        let half = (self.mean() - newer.mean()) / 2.0;
        let variance = (self.spread().powi(2) + newer.spread().powi(2)) / 2.0 + half * half;
        self.mean = kept((self.mean() + newer.mean()) / 2.0);
        self.spread = thousandths(variance.sqrt());
        self.count += newer.count;
    }
}

/// Sums over segments.
#[derive(Clone, Copy, Debug, Default)]
struct Part {
    count: f64,
    sum: f64,
    squares: f64,
}

impl Part {
    fn with(self, segment: &Segment) -> Self {
        let (count, mean) = (segment.weight(), segment.mean());
        Self {
            count: self.count + count,
            sum: self.sum + count * mean,
            squares: self.squares + count * (mean * mean + segment.spread().powi(2)),
        }
    }

    fn without(self, other: &Self) -> Self {
        Self {
            count: self.count - other.count,
            sum: self.sum - other.sum,
            squares: self.squares - other.squares,
        }
    }

    fn mean(&self) -> f64 {
        self.sum / self.count.max(1.0)
    }

    /// Sum of squared distances from the mean.
    fn scatter(&self) -> f64 {
        self.squares - self.count * self.mean().powi(2)
    }
}

fn kept(distance: f64) -> u16 {
    thousandths(distance + OFFSET)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped into its range")]
fn thousandths(value: f64) -> u16 {
    (value * PER_UNIT).round().clamp(0.0, f64::from(u16::MAX)) as u16
}

fn bounded(count: u64, most: usize) -> Result<usize, DecodeError> {
    usize::try_from(count).ok().filter(|n| *n <= most).ok_or(DecodeError::Impossible("number of segments"))
}

fn small(value: u64) -> Result<u16, DecodeError> {
    u16::try_from(value).map_err(|_| DecodeError::Impossible("logarithm"))
}
