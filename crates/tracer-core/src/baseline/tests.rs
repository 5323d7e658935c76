//! What a baseline promises, told in runs of a step.

mod days;
mod encoding;
mod explain;
mod shift;
mod sketch;
mod step;

use std::collections::BTreeMap;

use insta::assert_snapshot;

use super::{Baseline, SEGMENTS_READ, Segment};
use crate::time::{Day, Micros, Timestamp};

/// A key with its stored segments, judged by the default rule: more than twice the mean of at least
/// 5 samples, and at least 5 ms more than it.
#[derive(Clone, Default)]
struct Key {
    baseline: Baseline,
    stored: BTreeMap<Day, Segment>,
}

impl Key {
    /// A key whose history is these durations in ms, a second apart, on day 100.
    fn of(history: impl IntoIterator<Item = u64>) -> Self {
        let mut key = Self::default();
        key.run_all(history);
        key
    }

    /// Records durations a second apart after the last; returns how many were bottlenecks.
    fn run_all(&mut self, history: impl IntoIterator<Item = u64>) -> usize {
        let next =
            |key: &Self| key.baseline.measured().last_seen.map_or(day(100), |at| at + Micros::from_secs(1));
        history.into_iter().filter(|ms| self.run(next(self), *ms)).count()
    }

    /// Records one duration; returns whether it was a bottleneck.
    fn run(&mut self, at: Timestamp, ms: u64) -> bool {
        let duration = Micros::from_millis(ms);
        let limit = self.limit(duration);
        let mut segments = self.read(at);
        let changed = self.baseline.record(at, duration, limit, &mut segments);
        self.store(changed);
        limit.is_some()
    }

    fn limit(&self, duration: Micros) -> Option<Micros> {
        let reference = self.baseline.reference().filter(|reference| reference.samples >= 5)?;
        let limit = 2.0 * reference.mean_us;
        let excess = duration.as_f64() - reference.mean_us;
        (duration.as_f64() > limit && excess >= 5_000.0).then(|| Micros::from_f64(limit))
    }

    /// Reads what a store would: the newest segments, and only if the baseline asks for them.
    fn read(&self, at: Timestamp) -> Vec<Segment> {
        if !self.baseline.needs_segments(at) {
            return Vec::new();
        }
        self.stored.values().rev().take(SEGMENTS_READ).cloned().collect()
    }

    fn store(&mut self, changed: Option<Segment>) {
        self.stored.extend(changed.map(|segment| (segment.day, segment)));
    }

    fn mean_ms(&self) -> f64 {
        self.baseline.reference().unwrap().mean_us / 1000.0
    }
}

fn day(number: i32) -> Timestamp {
    Day(number).start()
}

fn times(count: usize, ms: u64) -> impl Iterator<Item = u64> {
    std::iter::repeat_n(ms, count)
}

#[test]
fn nothing_is_known_of_an_empty_key() {
    let mut baseline = Baseline::empty();
    assert_snapshot!(baseline, @"n=0");
    assert!(!baseline.needs_segments(day(1)));
    baseline.rebaseline();
    assert_eq!(baseline, Baseline::empty());
    assert_eq!((baseline.reference(), baseline.measured().p95), (None, None));
}

#[test]
fn a_stall_does_not_move_the_baseline() {
    let mut key = Key::of(times(30, 100));
    assert_eq!(key.run_all([5_000]), 1);
    assert_snapshot!(key.baseline, @"n=31 mean=103ms p50=100ms p95=100ms");
    let measured = key.baseline.measured();
    assert_eq!((measured.moments.count(), measured.moments.max()), (31, Some(Micros::from_secs(5))));
    assert_eq!(measured.moments.mean().unwrap().round(), 258_065.0);
}

#[test]
fn one_stall_in_ten_moves_the_mean_by_less_than_15_percent() {
    let mut key = Key::of(times(30, 100));
    let found = key.run_all((0..500).map(|run| if run % 10 == 9 { 1_000 } else { 100 }));
    assert_eq!(found, 50);
    assert!(key.mean_ms() < 115.0, "{}", key.baseline);
}

#[test]
fn a_lasting_slowdown_does_not_fall_silent() {
    assert_eq!(Key::of(times(30, 100)).run_all(times(60, 300)), 60);
    assert_eq!(Key::of(times(30, 100)).run_all(times(60, 5_000)), 60);
    assert_eq!(Key::of(times(5, 100)).run_all(times(60, 300)), 60);
}

#[test]
fn the_reference_is_frozen_as_it_was_before_the_sample_that_tipped_it() {
    let mut key = Key::of(times(30, 100));
    key.run_all(times(6, 300));
    let before = key.baseline.reference();
    assert_eq!(key.baseline.frozen_since(), None);
    key.run_all([300]);
    assert_eq!(key.baseline.frozen_since(), Some(day(100) + Micros::from_secs(36)));
    key.run_all(times(40, 300));
    assert_eq!(key.baseline.reference(), before);
    assert_snapshot!(key.baseline, @"n=36 mean=119ms p50=100ms p95=226ms frozen");
}

#[test]
fn after_a_slowdown_the_old_level_judges_again() {
    let mut key = Key::of(times(30, 100));
    key.run_all(times(60, 300));
    assert_eq!(key.run_all(times(24, 100)), 0);
    assert_eq!(key.baseline.frozen_since(), None);
    assert_snapshot!(key.baseline, @"n=60 mean=112ms p50=100ms p95=213ms");
    assert_eq!(key.run_all(times(200, 100)), 0);
    assert_snapshot!(key.baseline, @"n=260 mean=103ms p50=100ms p95=100ms");
    assert_eq!(key.run_all([300]), 1);
}

#[test]
fn a_change_that_lasts_for_a_whole_window_is_the_new_normal() {
    let mut key = Key::of(times(30, 100));
    let hours = 6..;
    let mut normal_after = None;
    for hour in hours.step_by(6).take(80) {
        if !key.run(day(100) + Micros::from_secs(hour * 3600), 300) && normal_after.is_none() {
            normal_after = Some(hour);
        }
    }
    // Frozen by the 7th sample, 42 hours in; a window later one is still judged by the old level.
    assert_eq!(normal_after, Some(42 + 14 * 24 + 6));
    assert_snapshot!(key.baseline, @"n=74 mean=300ms p50=300ms p95=300ms");
    assert_eq!(key.run_all([1_000]), 1);
}

#[test]
fn a_change_seen_too_seldom_is_not_yet_normal_after_a_window() {
    let mut key = Key::of(times(30, 100));
    for later in 1..=35 {
        assert!(key.run(day(100 + later), 300), "day {later}");
    }
    // The 30th sample since the 7th came on day 36: from the next on it is normal.
    assert!(key.run(day(136), 300));
    assert!(!key.run(day(137), 300));
}

#[test]
fn the_old_level_is_still_known_after_a_slowdown_that_outlived_its_window() {
    let mut key = Key::of(times(30, 100));
    let slow = (101..121).filter(|number| key.run(day(*number), 300)).count();
    let fast = (121..160).filter(|number| key.run(day(*number), 100)).count();
    assert_eq!((slow, fast, key.baseline.frozen_since()), (20, 0, None));
    assert_snapshot!(key.baseline, @"n=31 mean=100ms p50=100ms p95=100ms");
    assert_eq!(key.run_all([300]), 1);
}

#[test]
fn rebaseline_makes_the_slow_level_normal_at_once() {
    let mut key = Key::of(times(30, 100));
    key.run_all(times(20, 300));
    let measured = key.baseline.measured();
    key.baseline.rebaseline();
    assert_snapshot!(key.baseline, @"n=20 mean=300ms p50=300ms p95=300ms");
    assert_eq!(key.baseline.measured(), measured);
    assert_eq!(key.run_all(times(20, 300)), 0);
    assert_eq!(key.run_all([650]), 1);
    assert_eq!(key.stored.len(), 0);
}

#[test]
fn rebaseline_of_a_key_that_became_faster_takes_the_recent_samples() {
    let mut key = Key::of(times(300, 1_000));
    key.run_all(times(30, 100));
    assert_snapshot!(key.baseline, @"n=330 mean=918ms p50=995ms p95=995ms");
    key.baseline.rebaseline();
    assert_snapshot!(key.baseline, @"n=30 mean=100ms p50=100ms p95=100ms");
    assert_eq!(key.run_all([300]), 1);
}

#[test]
fn the_old_level_stays_forgotten_when_days_go_by_after_a_rebaseline() {
    let mut key = Key::of(times(300, 100));
    key.run(day(101), 100);
    key.run_all(times(20, 300));
    key.baseline.rebaseline();
    for later in 102..110 {
        assert!(!key.run(day(later), 300));
        // A late sample of the forgotten time is measured, and judges nothing.
        key.run(day(100), 50);
    }
    assert_snapshot!(key.baseline, @"n=28 mean=300ms p50=300ms p95=300ms");
    assert_eq!(key.baseline.measured().moments.count(), 300 + 21 + 16);
}

#[test]
fn the_percentiles_of_a_reference_are_of_the_level_that_judges() {
    let mut key = Key::of(times(30, 100));
    key.run_all(times(60, 5_000));
    key.run_all(times(60, 100));
    let (judging, measured) = (key.baseline.reference().unwrap(), key.baseline.measured());
    assert!(judging.p95 < Micros::from_millis(250), "{}", key.baseline);
    assert_eq!(measured.p95, Some(Micros::from_secs(5)));
}

#[test]
fn another_keys_verdict_does_not_keep_a_slow_cohort_from_learning() {
    let mut segments = Vec::new();
    let mut baseline = Baseline::empty();
    for _ in 0..10 {
        assert_eq!(baseline.record(day(1), Micros::from_secs(9), None, &mut segments), None);
    }
    assert_snapshot!(baseline, @"n=10 mean=9000ms p50=9000ms p95=9000ms");
}

#[test]
fn a_cohort_follows_the_rebaseline_of_its_whole_step() {
    let mut whole = Key::of(times(30, 100));
    let mut cohort = whole.clone();
    for key in [&mut whole, &mut cohort] {
        key.run_all(times(20, 300));
    }
    let before = cohort.baseline.reference();
    assert_eq!(cohort.baseline.reference_following(&whole.baseline), before);
    whole.baseline.rebaseline();
    let whole = Baseline::decode(&whole.baseline.encode()).unwrap();
    let foreseen = cohort.baseline.reference_following(&whole);
    assert_eq!(cohort.baseline.reference(), before, "foreseeing changes nothing");
    cohort.baseline.follow(&whole);
    assert_eq!(cohort.baseline.reference(), foreseen);
    assert_snapshot!(cohort.baseline, @"n=20 mean=300ms p50=300ms p95=300ms");
    cohort.run_all(times(20, 100));
    let followed = Baseline::decode(&cohort.baseline.encode()).unwrap();
    cohort.baseline.follow(&whole);
    assert_eq!(cohort.baseline, followed, "it follows once");
}
