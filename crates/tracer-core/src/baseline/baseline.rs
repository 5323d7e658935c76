//! The baseline of one key: what is normal now, and how each sample changes it.
//!
//! A sample takes one of three ways. A normal one enters both views. A bottleneck enters the
//! reference at the limit it crossed, so that a stall hardly moves it. Once more than a fifth of the
//! recent samples are bottlenecks, the reference is frozen and they enter only what is measured, so
//! that a slowdown does not fall silent because it lasts; after a whole window of that, the level of
//! the frozen time becomes the reference.
//!
//! Invariant: `current` is the newest day of the key, `closed` the summary of the older days in the
//! window, as the stored segments give it.
//! Not here: the rule that tells a bottleneck (`detect`), and reading and writing segments (stores).

use std::fmt;

use super::explain::{Comparable, Explained, Explainer};
use super::level::{ln, to_the_second};
use super::moments::Moments;
use super::recent::{RECENT_SAMPLES, Recent};
use super::reference::{Frozen, Measured, Reference};
use super::segment::{Ending, Segment, Sums};
use super::shift::{Levels, Shift, ShiftRule};
use super::sketch::View;
use crate::detect::told_feature;
use crate::features::Features;
use crate::time::{Day, Micros, Timestamp};

/// Days in the window, the newest included. Also how long a change must last to be the new normal.
pub const WINDOW_DAYS: u32 = 14;
/// The window stretches back, by whole days, until its closed days hold this many completed samples.
pub const WINDOW_SAMPLES: u64 = 30;
/// Most stored segments that recording looks at: a whole window, and as many days again as a key
/// with one sample a day needs to reach [`WINDOW_SAMPLES`]. Days of failures alone count too: a key
/// that did nothing else on all of these days has no reference any more.
pub const SEGMENTS_READ: usize = 44;
/// Samples whose ends are remembered one by one.
pub(super) const EARLIEST: usize = 5;

/// How long is normal for one key, and what was measured to know it.
#[derive(Clone, Debug, PartialEq)]
pub struct Baseline {
    pub(super) current: Segment,
    pub(super) closed: Sums,
    pub(super) recent: Recent,
    pub(super) frozen: Option<Frozen>,
    /// Days before this one do not count for the reference.
    pub(super) reference_from: Day,
    pub(super) last_seen: Option<Timestamp>,
    /// What of the steps explains their durations.
    pub(super) explainer: Explainer,
    /// The recent level, and whether it has shifted.
    pub(super) levels: Levels,
    /// When the earliest samples ended, to the second: at most [`EARLIEST`], the first one first.
    pub(super) earliest: Vec<Timestamp>,
    /// How often a user began the reference anew: that of the whole step, which its cohorts follow.
    pub(super) rebaselined: u32,
}

/// A completed sample, with what judged it.
#[derive(Clone, Copy, Debug)]
pub struct Sample<'a> {
    /// When it ended.
    pub at: Timestamp,
    /// How long it took.
    pub duration: Micros,
    /// The limit that it crossed, if it was judged a bottleneck; `None` too where another key's reference
    /// judged it that knows less than this one is to learn (else a cohort that is slower than its step
    /// would never learn a level of its own).
    pub over: Option<Micros>,
    /// What of this key it was compared with, if not with all of it.
    pub explained: Option<Explained>,
    /// The median of what it was compared with.
    pub expected: Option<Micros>,
    /// What may explain its duration.
    pub features: &'a Features,
    /// When a shift of the level is told; none where this sample is not comparable with the last ones.
    pub shifts: Option<ShiftRule>,
}

/// What became of a sample.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Learned {
    /// The closed segment that changed, which must be stored.
    pub closed: Option<Segment>,
    /// A lasting shift upwards that this very sample made certain.
    pub shift: Option<Shift>,
}

impl Default for Baseline {
    fn default() -> Self {
        Self {
            current: Segment::empty(Day(i32::MIN)),
            closed: Sums::default(),
            recent: Recent::default(),
            frozen: None,
            reference_from: Day(i32::MIN),
            last_seen: None,
            explainer: Explainer::default(),
            levels: Levels::default(),
            earliest: Vec::new(),
            rebaselined: 0,
        }
    }
}

impl Baseline {
    /// Returns the baseline of a key of which nothing is known.
    #[must_use]
    pub fn empty() -> Self {
        Self::default()
    }

    /// Returns what judges the next sample: the clamped view of the window, or the reference that is
    /// frozen. `None` without samples.
    #[must_use]
    pub fn reference(&self) -> Option<Reference> {
        if let Some(frozen) = &self.frozen {
            return Some(frozen.reference);
        }
        Reference::of(&self.window())
    }

    /// Returns whether so many samples had ended when something began. Steps that run side by side end in
    /// the order of their durations: of the first fan-out of a workflow the longer half would be judged by
    /// the shorter one. Only the first five are remembered: where more are asked for, five are enough.
    #[must_use]
    pub fn was_known_at(&self, began: Timestamp, samples: u64) -> bool {
        let nth = usize::try_from(samples).unwrap_or(usize::MAX).clamp(1, EARLIEST);
        // A baseline of version 1 does not know when it began: it is old enough.
        self.earliest.is_empty() || self.earliest.get(nth - 1).is_some_and(|end| *end <= began)
    }

    /// Returns the part of the history that a step is best compared with: that of the attribute which
    /// explains most of its durations. None where no attribute explains enough, or its part has fewer
    /// samples than these; then the whole history judges.
    #[must_use]
    pub fn comparable<'a>(&'a self, features: &Features, min_samples: u64) -> Option<Comparable<'a>> {
        self.explainer.comparable(features, min_samples)
    }

    /// Returns whether an attribute of a step with these features explains enough of the durations, be its
    /// own value known or too new to be compared with its like.
    #[must_use]
    pub fn explains(&self, features: &Features) -> bool {
        self.explainer.explains(features)
    }

    /// Returns the last shift upwards, until the level falls again or becomes the reference.
    #[must_use]
    pub const fn shift(&self) -> Option<&Shift> {
        self.levels.told.as_ref()
    }

    /// Returns since when the reference is frozen, if it is.
    #[must_use]
    pub fn frozen_since(&self) -> Option<Timestamp> {
        self.frozen.map(|frozen| frozen.since)
    }

    /// Returns the latest time at which anything ended, without summing up the window.
    #[must_use]
    pub const fn last_seen(&self) -> Option<Timestamp> {
        self.last_seen
    }

    /// Returns the window as it was measured.
    #[must_use]
    pub fn measured(&self) -> Measured {
        Measured::of(&self.window(), self.last_seen)
    }

    /// Returns how many of the ends in the window were failures or timeouts, and how many ends of their own
    /// there were in all.
    #[must_use]
    pub fn failures(&self) -> (u64, u64) {
        let both = [&self.closed.endings, &self.current.sums.endings];
        let count = |ending| both.into_iter().map(|ends| ends.get(ending)).fold(0, u64::saturating_add);
        let failed = count(Ending::Failed).saturating_add(count(Ending::TimedOut));
        (failed, failed.saturating_add(count(Ending::Completed)))
    }

    /// Returns whether recording something that ended at `at` needs this key's stored segments:
    /// there is history, and `at` is not on its newest day.
    #[must_use]
    pub fn needs_segments(&self, at: Timestamp) -> bool {
        !self.is_empty() && at.day() != self.current.day
    }

    /// Records a completed sample of which nothing is known but how long it took, as [`Baseline::learn`].
    #[must_use = "the segment must be stored"]
    pub fn record(
        &mut self,
        at: Timestamp,
        duration: Micros,
        over: Option<Micros>,
        segments: &mut Vec<Segment>,
    ) -> Option<Segment> {
        let features = &Features::default();
        let sample = Sample { at, duration, over, explained: None, expected: None, features, shifts: None };
        self.learn(&sample, segments).closed
    }

    /// Records a completed sample. Returns the closed segment that changed, which must be stored: none
    /// within the newest day, the day just closed when a new one begins, or the older day in which a late
    /// sample landed; and a shift of the level, where this sample makes it certain.
    ///
    /// `segments` are the newest [`SEGMENTS_READ`] stored segments of the key, all of them if there
    /// are fewer, in any order; they are looked at only where [`Baseline::needs_segments`] said so
    /// before the batch, and may be empty elsewhere. The same vector serves a whole batch: what
    /// changes is changed in it too.
    ///
    /// A sample of a day that is older than all of [`SEGMENTS_READ`] segments, and hence outside of the
    /// window, is not kept: the day's segment is not at hand.
    #[must_use = "the segment must be stored"]
    pub fn learn(&mut self, sample: &Sample<'_>, segments: &mut Vec<Segment>) -> Learned {
        segments.sort_unstable_by_key(|segment| segment.day);
        let Sample { at, duration, over, .. } = *sample;
        let now = self.see(at);
        if self.is_beyond(at.day(), segments) {
            return Learned::default();
        }
        let reference = self.admit(now, duration, over);
        let shift = self.learn_shift(sample);
        self.explainer.forecast(sample);
        self.explainer.learn(sample, self.frozen.is_some());
        self.note_early(at);
        let closed = self.enter(at.day(), segments, |sums| sums.record(duration, reference));
        // A normal sample says that the change may be over: it must not make the change normal.
        if over.is_some() {
            self.accept_lasting_change(now);
        }
        Learned { closed, shift }
    }

    /// Counts an ending that enters no average. Segments are as for [`Baseline::record`].
    #[must_use = "the segment must be stored"]
    pub fn count(&mut self, at: Timestamp, ending: Ending, segments: &mut Vec<Segment>) -> Option<Segment> {
        segments.sort_unstable_by_key(|segment| segment.day);
        self.see(at);
        if self.is_beyond(at.day(), segments) {
            return None;
        }
        self.enter(at.day(), segments, |sums| sums.endings.add(ending))
    }

    /// Makes the level the key is at now the reference, after a change that was meant: the unbroken
    /// run of bottlenecks up to now, else the recent samples. The measured history stays. Without
    /// samples nothing happens.
    pub fn rebaseline(&mut self) {
        let level = self.recent.level();
        if !level.is_empty() {
            self.restart_reference(Moments::of(level.iter().copied()), &level);
            self.rebaselined = self.rebaselined.wrapping_add(1);
        }
    }

    /// Rebaselines a cohort's history if that of its whole step has been since the two were last seen
    /// together: a user names the step, and its cohorts are as many as its values. To be called before the
    /// cohort learns.
    pub fn follow(&mut self, whole: &Self) {
        if self.rebaselined != whole.rebaselined {
            self.rebaseline();
            self.rebaselined = whole.rebaselined;
        }
    }

    /// Returns what judges the next sample of a cohort, as [`Baseline::follow`] would make it.
    #[must_use]
    pub fn reference_following(&self, whole: &Self) -> Option<Reference> {
        if self.rebaselined == whole.rebaselined {
            return self.reference();
        }
        let mut followed = self.clone();
        followed.follow(whole);
        followed.reference()
    }

    /// Everything in the window, both views.
    fn window(&self) -> Sums {
        let mut window = self.closed.clone();
        window.merge(&self.current.sums);
        window
    }

    fn note_early(&mut self, at: Timestamp) {
        let at = to_the_second(at);
        let is_first = self.recent.count() <= 1;
        // Of one that was older than these ends, as after an upgrade, nothing is made up.
        if self.earliest.is_empty() && !is_first {
            return;
        }
        let place = self.earliest.partition_point(|end| *end <= at);
        self.earliest.insert(place, at);
        self.earliest.truncate(EARLIEST);
    }

    /// Follows how far the samples lie from what was expected of them, so that another mix of values is no
    /// shift.
    fn learn_shift(&mut self, sample: &Sample<'_>) -> Option<Shift> {
        let (rule, expected) = (sample.shifts?, ln(sample.expected?));
        let explainer = &self.explainer;
        self.levels.record(
            sample.at,
            sample.explained.is_some(),
            ln(sample.duration) - expected,
            rule,
            |distance| Micros::from_f64((expected + distance).exp()),
            |since| explainer.changed_since(sample.features, since).map(told_feature),
        )
    }

    fn is_empty(&self) -> bool {
        self.current.sums.endings.total() == 0
    }

    /// Notes the time of an ending and returns the latest one.
    fn see(&mut self, at: Timestamp) -> Timestamp {
        let latest = self.last_seen.map_or(at, |seen| seen.max(at));
        self.last_seen = Some(latest);
        latest
    }

    /// Whether a day lies so far back that nobody here knows what is stored of it.
    fn is_beyond(&self, day: Day, segments: &[Segment]) -> bool {
        day < self.current.day
            && segments.len() >= SEGMENTS_READ
            && segments.first().is_some_and(|oldest| day < oldest.day)
    }

    /// Freezes or thaws the reference in view of one more sample, and returns what of the sample the
    /// reference counts.
    ///
    /// | recent bottlenecks | was free           | was frozen    |
    /// |--------------------|--------------------|---------------|
    /// | more than 20 %     | freezes as it was  | stays frozen  |
    /// | otherwise          | stays free         | thaws         |
    fn admit(&mut self, now: Timestamp, duration: Micros, clamp: Option<Micros>) -> Option<Micros> {
        self.recent.push(duration, clamp.is_some());
        if !self.recent.mostly_slow() {
            self.frozen = None;
        } else if self.frozen.is_none() {
            let before = self.reference();
            self.frozen = before.map(|reference| Frozen { reference, since: now, raw: Moments::default() });
        }
        if let Some(frozen) = &mut self.frozen {
            frozen.raw.record(duration);
        }
        match clamp {
            None => Some(duration),
            Some(limit) => self.frozen.is_none().then_some(duration.min(limit)),
        }
    }

    /// Adds something to the day it belongs to, and returns the closed segment that changed by it.
    fn enter(
        &mut self,
        day: Day,
        segments: &mut Vec<Segment>,
        add: impl FnOnce(&mut Sums),
    ) -> Option<Segment> {
        if self.is_empty() {
            self.current.day = day;
        }
        if day == self.current.day {
            add(&mut self.current.sums);
            return None;
        }
        let changed = if day > self.current.day {
            let closed = std::mem::replace(&mut self.current, Segment::empty(day));
            add(&mut self.current.sums);
            segments.push(closed.clone());
            closed
        } else {
            let at = segments.partition_point(|segment| segment.day < day);
            let mut late = match segments.get(at) {
                Some(segment) if segment.day == day => segments.remove(at),
                Some(_) | None => Segment::empty(day),
            };
            add(&mut late.sums);
            segments.insert(at, late.clone());
            late
        };
        // As many as a store would give: else a batch could know more than its parts.
        segments.drain(..segments.len().saturating_sub(SEGMENTS_READ));
        self.closed = self.summary_of(segments);
        Some(changed)
    }

    /// Sums up the window's closed days; `segments` are sorted by day.
    fn summary_of(&self, segments: &[Segment]) -> Sums {
        let days = i32::try_from(WINDOW_DAYS).unwrap_or(i32::MAX);
        let outside = Day(self.current.day.0.saturating_sub(days));
        let mut closed = Sums::default();
        for segment in segments.iter().rev() {
            if segment.day <= outside && closed.raw.count() >= WINDOW_SAMPLES {
                break;
            }
            if segment.day >= self.reference_from {
                closed.merge(&segment.sums);
            } else {
                closed.merge_measured(&segment.sums);
            }
        }
        closed
    }

    /// Makes what has lasted for a whole window the reference.
    fn accept_lasting_change(&mut self, now: Timestamp) {
        let Some(frozen) = self.frozen else { return };
        let lasted = now.since(frozen.since) >= Micros::from_days(u64::from(WINDOW_DAYS));
        if lasted && frozen.raw.count() >= RECENT_SAMPLES as u64 {
            // All of the recent samples are of the frozen time, so they have its shape.
            let durations = self.recent.durations();
            self.restart_reference(frozen.raw, &durations);
        }
    }

    /// Begins the reference anew from this level, whose shape is that of `durations`; none changes
    /// nothing.
    fn restart_reference(&mut self, level: Moments, durations: &[Micros]) {
        if level.count() == 0 {
            return;
        }
        self.reference_from = self.current.day;
        self.closed.forget_reference();
        self.current.sums.forget_reference();
        self.current.sums.clamped = level;
        for duration in durations {
            self.current.sums.sketch.record_in(View::Reference, *duration);
        }
        self.frozen = None;
        self.recent.forgive();
        // What was learned of attributes was learned at the old level.
        self.explainer = Explainer::default();
        self.levels = Levels::default();
    }
}

#[cfg(test)]
impl Baseline {
    /// The newest day, to put into it what would take too long to record.
    pub(super) const fn current_sums(&mut self) -> &mut Sums {
        &mut self.current.sums
    }

    /// The summary of the closed days, for the same.
    pub(super) const fn closed_sums(&mut self) -> &mut Sums {
        &mut self.closed
    }
}

impl fmt::Display for Baseline {
    /// Writes the reference in whole milliseconds, for tests and logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(reference) = self.reference() else { return f.write_str("n=0") };
        let mean = Micros::from_f64(reference.mean_us).as_millis();
        let (p50, p95) = (reference.p50.as_millis(), reference.p95.as_millis());
        write!(f, "n={} mean={mean}ms p50={p50}ms p95={p95}ms", reference.samples)?;
        if self.frozen.is_some() { f.write_str(" frozen") } else { Ok(()) }
    }
}
