//! Bytes and back.

use proptest::prelude::*;

use super::{Key, day, times};
use crate::baseline::{Baseline, DecodeError, ENCODED_BYTES, Ending, Segment, View};
use crate::time::{Day, Micros};

fn reread(baseline: &Baseline) -> Baseline {
    Baseline::decode(&baseline.encode()).unwrap()
}

/// Spreads 0, 1, 2, … evenly over 0..1 (Weyl's sequence of the golden ratio).
fn spread(number: u32) -> f64 {
    (f64::from(number) * 0.618_033_988_749_894_9).fract()
}

/// A duration over six decades, from 1 ms.
fn scattered(number: u32) -> Micros {
    Micros::from_f64(1_000.0 * (spread(number) * 6.0 * std::f64::consts::LN_10).exp())
}

#[test]
fn an_empty_baseline_is_a_few_bytes() {
    let bytes = Baseline::empty().encode();
    assert!(bytes.len() < 40, "{}", bytes.len());
    assert_eq!(Baseline::decode(&bytes), Ok(Baseline::empty()));
}

#[test]
fn an_ordinary_baseline_is_small() {
    let mut key = Key::of((0..1_000).map(|run| 100 + run % 20));
    key.run(day(101), 100);
    key.run_all((0..1_000).map(|run| 100 + run % 20));
    let bytes = key.baseline.encode().len();
    assert!(bytes < 400, "{bytes}");
}

#[test]
fn a_baseline_full_of_scattered_durations_fits_its_row() {
    let mut baseline = Baseline::empty();
    let mut segments = Vec::new();
    for number in 0..100_000 {
        for at in [day(1), day(2)] {
            // Every seventh is a bottleneck, and its limit is somewhere else again.
            let clamp = (number % 7 == 0).then(|| scattered(number + 1));
            if at == day(1) || number == 99_999 {
                drop(baseline.record(at, scattered(number), clamp, &mut segments));
            }
        }
    }
    for number in 0..100_000 {
        let clamp = (number % 7 == 0).then(|| scattered(number + 1));
        assert_eq!(baseline.record(day(2), scattered(number), clamp, &mut segments), None);
    }
    let bytes = baseline.encode();
    assert!(bytes.len() <= ENCODED_BYTES, "{}", bytes.len());
    let (kept, exact) = (Baseline::decode(&bytes).unwrap(), baseline.measured());
    assert_eq!(kept.measured().moments, exact.moments);
    let (kept, exact) = (kept.measured().p50.unwrap().as_f64(), 1e6);
    assert!((kept / exact - 1.0).abs() < 0.09, "{kept}");
}

#[test]
fn counts_too_large_for_a_row_are_written_more_coarsely() {
    let mut baseline = Baseline::empty();
    let mut segments = Vec::new();
    for number in 0..3_000 {
        drop(baseline.record(day(1), scattered(number), None, &mut segments));
    }
    drop(baseline.record(day(2), Micros::new(u64::MAX), Some(Micros::from_days(400)), &mut segments));
    for number in 0..3_000 {
        drop(baseline.record(day(2), Micros::new(scattered(number).get() << 30), None, &mut segments));
    }
    for _ in 0..25 {
        let sums = baseline.closed_sums().clone();
        baseline.closed_sums().merge(&sums);
        let sums = baseline.current_sums().clone();
        baseline.current_sums().merge(&sums);
    }
    let bytes = baseline.encode();
    assert!(bytes.len() <= ENCODED_BYTES, "{}", bytes.len());
    assert_eq!(reread(&baseline).measured().moments, baseline.measured().moments);
    // What was once written coarsely is written the same from then on.
    assert_eq!(reread(&baseline).encode(), bytes);
}

#[test]
fn a_frozen_reference_survives() {
    let mut key = Key::of(times(30, 100));
    key.run_all(times(10, 300));
    key.baseline = reread(&key.baseline);
    assert_eq!(key.baseline.frozen_since(), Some(day(100) + Micros::from_secs(36)));
    assert_eq!(key.run_all(times(50, 300)), 50);
    assert_eq!(reread(&key.baseline), key.baseline);
}

#[test]
fn bytes_of_another_version_or_length_are_refused() {
    let mut bytes = Key::of([100, 200]).baseline.encode();
    bytes.push(0);
    assert_eq!(Baseline::decode(&bytes), Err(DecodeError::Trailing));
    bytes.truncate(bytes.len() - 2);
    assert_eq!(Baseline::decode(&bytes), Err(DecodeError::Truncated));
    assert_eq!(Baseline::decode(&[9]), Err(DecodeError::Version(9)));
    assert_eq!(Segment::decode(&[]), Err(DecodeError::Truncated));
}

/// A day of anything that can happen.
fn segments() -> impl Strategy<Value = Segment> {
    let micros = || prop_oneof![0..2_000_000_u64, 0..u64::MAX].prop_map(Micros::new);
    let sample = (micros(), prop::option::of(micros()));
    (any::<i32>(), prop::collection::vec(sample, 0..200), 0..5_u64).prop_map(|(number, samples, failed)| {
        let mut segment = Segment::empty(Day(number));
        for (duration, reference) in samples {
            segment.sums.record(duration, reference);
        }
        (0..failed).for_each(|_| segment.sums.endings.add(Ending::Failed));
        segment
    })
}

fn merged(a: &Segment, b: &Segment) -> Segment {
    let mut sum = a.clone();
    sum.merge(b);
    sum
}

/// Everything that is exact, and the mean to nine digits.
fn comparable(segment: &Segment) -> (String, u64) {
    let sums = &segment.sums;
    let mean = sums.raw.mean().map(|mean| format!("{mean:.8e}"));
    (format!("{mean:?} {:?} {:?} {:?}", sums.sketch, sums.endings, sums.raw.max()), sums.clamped.count())
}

proptest! {
    #[test]
    fn segments_are_read_as_they_were_written(segment in segments()) {
        prop_assert_eq!(Segment::decode(&segment.encode()), Ok(segment));
    }

    #[test]
    fn segments_may_be_merged_in_any_order(a in segments(), b in segments(), c in segments()) {
        let (b, c) = (Segment { day: a.day, ..b }, Segment { day: a.day, ..c });
        let forward = comparable(&merged(&merged(&a, &b), &c));
        prop_assert_eq!(&forward, &comparable(&merged(&a, &merged(&b, &c))));
        prop_assert_eq!(&forward, &comparable(&merged(&merged(&c, &b), &a)));
    }

    #[test]
    fn no_bytes_make_decoding_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        drop(Segment::decode(&bytes));
        drop(Baseline::decode(&bytes));
        if let Some(version) = bytes.first_mut() {
            *version = 1;
        }
        drop(Segment::decode(&bytes));
        drop(Baseline::decode(&bytes));
    }

    #[test]
    fn damaged_bytes_give_an_error_or_something_usable(
        segment in segments(), place in any::<prop::sample::Index>(), byte in any::<u8>(), cut in 0..4_usize,
    ) {
        let mut key = Key::of(times(30, 100));
        key.baseline.current_sums().merge(&segment.sums);
        let mut bytes = key.baseline.encode();
        let at = place.index(bytes.len());
        bytes[at] = byte;
        bytes.truncate(bytes.len() - cut);
        if let Ok(mut baseline) = Baseline::decode(&bytes) {
            drop(baseline.record(day(101), Micros::from_millis(5), None, &mut Vec::new()));
            baseline.rebaseline();
            prop_assert!(baseline.encode().len() <= ENCODED_BYTES);
            prop_assert!(baseline.reference().is_none_or(|reference| !reference.mean_us.is_nan()));
        }
    }

    #[test]
    fn quantiles_are_of_the_view_that_is_asked(segment in segments()) {
        for (view, moments) in [(View::Measured, segment.sums.raw), (View::Reference, segment.sums.clamped)] {
            prop_assert_eq!(segment.sums.sketch.count(view), moments.count());
            prop_assert_eq!(segment.sums.quantile(view, 0.5).is_some(), moments.count() > 0);
            let middle = segment.sums.quantile(view, 0.5);
            prop_assert!(moments.min() <= middle && middle <= moments.max());
        }
    }
}
