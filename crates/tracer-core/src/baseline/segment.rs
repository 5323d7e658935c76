//! One day of a key's history, and the sums of which days and windows are made.
//!
//! Invariant: only completed samples enter averages, so `raw.count()` never exceeds `endings.completed`.
//! Not here: which segments make up the window, and what the reference may count (`baseline`).

use super::codec::{DecodeError, Reader, Writer};
use super::moments::Moments;
use super::sketch::{Sketch, View};
use crate::time::{Day, Micros};

const VERSION: u8 = 1;

/// How a step or an execution ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Ending {
    /// Did what it was asked to.
    Completed,
    /// Did not.
    Failed,
    /// Was given up on.
    TimedOut,
    /// Was stopped from outside.
    Cancelled,
    /// Was never begun.
    Skipped,
}

/// How often work ended in which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct EndingCounts {
    /// Number of [`Ending::Completed`].
    pub completed: u64,
    /// Number of [`Ending::Failed`].
    pub failed: u64,
    /// Number of [`Ending::TimedOut`].
    pub timed_out: u64,
    /// Number of [`Ending::Cancelled`].
    pub cancelled: u64,
    /// Number of [`Ending::Skipped`].
    pub skipped: u64,
}

/// What is known of some stretch of a key's history.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Sums {
    /// Completed durations as measured.
    pub raw: Moments,
    /// The same with bottlenecks at the limit they crossed: what the reference is made of.
    pub clamped: Moments,
    /// The shape of both of them.
    pub sketch: Sketch,
    /// Every ending, whether it enters the averages or not.
    pub endings: EndingCounts,
}

/// One day of a key's history.
#[derive(Clone, Debug, PartialEq)]
pub struct Segment {
    /// The day in UTC on which the work ended.
    pub day: Day,
    /// What happened on it.
    pub sums: Sums,
}

impl EndingCounts {
    /// Counts one ending.
    pub fn add(&mut self, ending: Ending) {
        let count = match ending {
            Ending::Completed => &mut self.completed,
            Ending::Failed => &mut self.failed,
            Ending::TimedOut => &mut self.timed_out,
            Ending::Cancelled => &mut self.cancelled,
            Ending::Skipped => &mut self.skipped,
        };
        *count = count.saturating_add(1);
    }

    /// Returns how often work ended that way.
    #[must_use]
    pub const fn get(&self, ending: Ending) -> u64 {
        match ending {
            Ending::Completed => self.completed,
            Ending::Failed => self.failed,
            Ending::TimedOut => self.timed_out,
            Ending::Cancelled => self.cancelled,
            Ending::Skipped => self.skipped,
        }
    }

    /// Returns how often work ended, in whatever way.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.in_order().into_iter().fold(0, u64::saturating_add)
    }

    /// Adds everything that `other` counted.
    pub fn merge(&mut self, other: &Self) {
        let [completed, failed, timed_out, cancelled, skipped] = other.in_order();
        self.completed = self.completed.saturating_add(completed);
        self.failed = self.failed.saturating_add(failed);
        self.timed_out = self.timed_out.saturating_add(timed_out);
        self.cancelled = self.cancelled.saturating_add(cancelled);
        self.skipped = self.skipped.saturating_add(skipped);
    }

    /// The order in which they are encoded.
    const fn in_order(&self) -> [u64; 5] {
        [self.completed, self.failed, self.timed_out, self.cancelled, self.skipped]
    }

    fn write(&self, out: &mut Writer) {
        for count in self.in_order() {
            out.varint(count);
        }
    }

    fn read(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            completed: input.varint()?,
            failed: input.varint()?,
            timed_out: input.varint()?,
            cancelled: input.varint()?,
            skipped: input.varint()?,
        })
    }
}

impl Sums {
    /// Records a completed sample. `reference` is what of it the reference counts: the duration
    /// itself, the limit it was clamped to, or nothing.
    pub fn record(&mut self, duration: Micros, reference: Option<Micros>) {
        self.endings.add(Ending::Completed);
        self.raw.record(duration);
        if let Some(reference) = reference {
            self.clamped.record(reference);
        }
        match reference {
            Some(same) if same == duration => self.sketch.record(duration),
            Some(limit) => {
                self.sketch.record_in(View::Measured, duration);
                self.sketch.record_in(View::Reference, limit);
            }
            None => self.sketch.record_in(View::Measured, duration),
        }
    }

    /// Adds everything that `other` holds.
    pub fn merge(&mut self, other: &Self) {
        self.raw.merge(&other.raw);
        self.clamped.merge(&other.clamped);
        self.sketch.merge(&other.sketch);
        self.endings.merge(&other.endings);
    }

    /// Adds what `other` measured, and nothing to the reference.
    pub fn merge_measured(&mut self, other: &Self) {
        self.raw.merge(&other.raw);
        self.sketch.merge_measured(&other.sketch);
        self.endings.merge(&other.endings);
    }

    /// Forgets what the reference counted; what was measured stays.
    pub fn forget_reference(&mut self) {
        self.clamped = Moments::default();
        self.sketch.forget_reference();
    }

    /// Returns an estimated quantile of a view, never outside of what it saw; `None` without samples.
    #[must_use]
    pub fn quantile(&self, view: View, q: f64) -> Option<Micros> {
        let moments = match view {
            View::Measured => &self.raw,
            View::Reference => &self.clamped,
        };
        self.sketch.quantile(view, q).map(|estimate| moments.within_extremes(estimate))
    }

    pub(super) fn write(&self, out: &mut Writer) {
        self.endings.write(out);
        self.raw.write(out);
        // Without bottlenecks the two views are the same, bit for bit.
        out.byte(u8::from(self.clamped != self.raw));
        if self.clamped != self.raw {
            self.clamped.write(out);
        }
        self.sketch.write(out);
    }

    pub(super) fn read(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let endings = EndingCounts::read(input)?;
        let raw = Moments::read(input)?;
        let clamped = match input.byte()? {
            0 => raw,
            1 => Moments::read(input)?,
            _ => return Err(DecodeError::Impossible("flag")),
        };
        Ok(Self { raw, clamped, sketch: Sketch::read(input)?, endings })
    }
}

impl Segment {
    /// Returns a day on which nothing has happened yet.
    #[must_use]
    pub fn empty(day: Day) -> Self {
        Self { day, sums: Sums::default() }
    }

    /// Adds what another part of the same day holds.
    pub fn merge(&mut self, other: &Self) {
        self.sums.merge(&other.sums);
    }

    /// Returns the segment as bytes; the day is among them.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::with_version(VERSION);
        self.write(&mut out);
        out.finish()
    }

    /// Returns the segment that [`Segment::encode`] wrote.
    ///
    /// # Errors
    /// [`DecodeError`] on bytes that it never writes.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let (mut input, _) = Reader::with_versions(bytes, VERSION)?;
        let segment = Self::read(&mut input)?;
        input.finish()?;
        Ok(segment)
    }

    pub(super) fn write(&self, out: &mut Writer) {
        out.signed(i64::from(self.day.0));
        self.sums.write(out);
    }

    pub(super) fn read(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { day: read_day(input)?, sums: Sums::read(input)? })
    }
}

pub(super) fn read_day(input: &mut Reader<'_>) -> Result<Day, DecodeError> {
    i32::try_from(input.signed()?).map(Day).map_err(|_| DecodeError::Impossible("day"))
}
