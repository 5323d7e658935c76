//! Days that begin, days that are late, and the window over them.

use insta::assert_snapshot;
use proptest::prelude::*;

use super::{Key, day, times};
use crate::baseline::{Baseline, Ending, Segment};
use crate::time::{Day, Micros, Timestamp};

/// What is stored and what is open, as `day:count`.
fn shown(key: &Key) -> String {
    let stored: Vec<_> =
        key.stored.iter().map(|(day, segment)| format!("{}:{}", day.0, segment.sums.raw.count())).collect();
    format!("{} | window {}", stored.join(" "), key.baseline.measured().moments.count())
}

#[test]
fn a_day_is_stored_when_a_newer_one_begins() {
    let mut key = Key::default();
    for number in [100, 100, 101, 103, 103] {
        key.run(day(number), 100);
    }
    assert_snapshot!(shown(&key), @"100:2 101:1 | window 5");
}

#[test]
fn late_samples_land_in_their_day() {
    let mut key = Key::default();
    for number in [100, 102, 104, 100, 101, 103, 104, 99] {
        key.run(day(number), 100);
    }
    assert_snapshot!(shown(&key), @"99:1 100:2 101:1 102:1 103:1 | window 8");
    assert_eq!(key.baseline.measured().last_seen, Some(day(104)));
}

#[test]
fn the_window_drops_old_days_once_it_holds_enough() {
    let mut key = Key::of(times(100, 900));
    for number in 101..114 {
        key.run(day(number), 100);
        key.run_all(times(2, 100));
    }
    assert_eq!(key.baseline.measured().moments.count(), 139);
    key.run(day(114), 100);
    assert_eq!(key.baseline.measured().moments.count(), 40);
    assert_snapshot!(key.baseline, @"n=40 mean=100ms p50=100ms p95=100ms");
}

#[test]
fn the_window_stretches_back_by_whole_days_to_30_samples() {
    let mut key = Key::default();
    for number in 0..60 {
        key.run(day(number * 10), 100);
    }
    assert_snapshot!(key.baseline, @"n=31 mean=100ms p50=100ms p95=100ms");
    key.run_all(times(40, 100));
    key.run(day(2000), 100);
    assert_eq!(key.baseline.measured().moments.count(), 42);
}

#[test]
fn failures_enter_no_average() {
    let mut key = Key::of(times(30, 100));
    let before = key.baseline.reference();
    for ending in [Ending::Failed, Ending::TimedOut, Ending::Cancelled, Ending::Skipped, Ending::Failed] {
        assert_eq!(key.baseline.count(day(100), ending, &mut Vec::new()), None);
    }
    assert_eq!(key.baseline.reference(), before);
    let endings = key.baseline.measured().endings;
    assert_eq!((endings.completed, endings.failed, endings.total()), (30, 2, 35));
    assert_eq!([endings.get(Ending::TimedOut), endings.cancelled, endings.skipped], [1, 1, 1]);
}

#[test]
fn a_month_of_failures_does_not_forget_what_is_normal() {
    let mut key = Key::of(times(30, 100));
    for number in 101..140 {
        let mut segments = key.read(day(number));
        let changed = key.baseline.count(day(number), Ending::Failed, &mut segments);
        key.store(changed);
    }
    assert_eq!(key.baseline.measured().endings.failed, 39);
    assert_eq!(key.run_all([300]), 1);
}

#[test]
fn what_is_older_than_every_segment_at_hand_is_left_out() {
    let mut key = Key::default();
    for number in 100..200 {
        key.run(day(number), 100);
    }
    let before = key.baseline.clone();
    assert!(!key.run(day(120), 100));
    assert_eq!(key.baseline, before);
    key.run(day(160), 100);
    assert_eq!(key.stored.get(&Day(160)).map(|segment| segment.sums.raw.count()), Some(2));
}

/// One ending on one of a few days, some of them far apart.
fn endings() -> impl Strategy<Value = Vec<(Timestamp, Option<u64>)>> {
    let when = prop_oneof![4 => 0..6_i32, 1 => 0..400_i32];
    let outcome = prop_oneof![3 => Just(Some(100)), 2 => (0..100_000_u64).prop_map(Some), 1 => Just(None)];
    let ending = (when, outcome).prop_map(|(number, ms)| (day(20_000 + number), ms));
    prop::collection::vec(ending, 0..300)
}

fn record(key: &mut Key, at: Timestamp, ms: Option<u64>, segments: &mut Vec<Segment>) {
    let changed = match ms.map(Micros::from_millis) {
        Some(duration) => {
            let limit = key.limit(duration);
            key.baseline.record(at, duration, limit, segments)
        }
        None => key.baseline.count(at, Ending::Failed, segments),
    };
    key.store(changed);
}

proptest! {
    #[test]
    fn a_batch_gives_what_its_parts_give_one_by_one(all in endings(), size in 1..40_usize) {
        let (mut apart, mut together) = (Key::default(), Key::default());
        for batch in all.chunks(size) {
            let needed = batch.iter().find(|(at, _)| together.baseline.needs_segments(*at));
            let mut segments = needed.map_or_else(Vec::new, |(at, _)| together.read(*at));
            for (at, ms) in batch {
                record(&mut together, *at, *ms, &mut segments);
                let mut read = apart.read(*at);
                record(&mut apart, *at, *ms, &mut read);
            }
        }
        prop_assert_eq!(&apart.baseline, &together.baseline);
        prop_assert_eq!(apart.stored, together.stored);
    }

    #[test]
    fn whatever_happens_the_numbers_stay_numbers_and_add_up(all in endings()) {
        let mut key = Key::default();
        for (at, ms) in all {
            let mut segments = key.read(at);
            record(&mut key, at, ms, &mut segments);
            let measured = key.baseline.measured();
            prop_assert_eq!(measured.endings.completed, measured.moments.count());
            prop_assert!(measured.moments.stddev().is_none_or(|stddev| stddev.is_finite() && stddev >= 0.0));
            prop_assert!(measured.p50 <= measured.p95 && measured.p95 <= measured.p99);
            prop_assert!(measured.moments.min() <= measured.p50 && measured.p99 <= measured.moments.max());
            if let Some(reference) = key.baseline.reference() {
                prop_assert!(reference.samples > 0 && reference.mean_us >= 0.0);
                prop_assert!(reference.mean_us.is_finite() && reference.stddev_us.is_finite());
            }
            let bytes = key.baseline.encode();
            prop_assert!(bytes.len() <= crate::baseline::ENCODED_BYTES);
            prop_assert_eq!(Baseline::decode(&bytes), Ok(key.baseline.clone()));
        }
    }
}
