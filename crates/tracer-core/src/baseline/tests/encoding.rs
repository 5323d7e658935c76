//! Bytes and back.

use insta::assert_snapshot;
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

/// Bytes as the release before attributes and shifts wrote them: without samples, ...
const FIRST_EMPTY: &str = "0100ffffffff0fffffffff0f000000000000000000000000000000000000";
/// ... of 40 runs from 100 to 119 ms on day 100, 21 on day 101, and a failure, ...
const FIRST_FREE: &str = "\
    010180b4d0f2f8fb03ffffffff0fca01150100000015f53ccff33cbdfa40db799e275dd3c341a08d06b89401000a0001\
    00485a8a28aaaa28ab8028000000002801000000c0bbfa40fbffff1f8cd1d341a08d06b89401000a000200485942850a\
    942850a9c01e0098e30680eb06e8f206d0fa06b88207a08a07889207f09907d8a107b0db06a08d06889506f09c06d8a4\
    06c0ac06a8b40690bc06f8c306e0cb06c8d306b0db0698e30680eb06e8f206d0fa06b88207a08a07889207f09907d8a107";
/// ... and of 30 runs from 90 to 109 ms, and then 10 of 300 ms.
const FIRST_FROZEN: &str = "\
    010380dfa4a7f5f603ffffffff0fc80128000000002800000000b81c02410000464a5ae5514290bf05d0e80c01245555\
    55550d82fc400000f284cdcd2e4290bf058ab0081100010047acb28b2caa8a28a83d7ef57ef57ef1c640000000000000\
    00001e8080c0ff03a08d06889506f09c06d8a406c0ac06a8b40690bc06f8c306e0cb06c8d30690bf05f8c605e0ce05c8\
    d605b0de0598e60580ee05e8f505d0fd05b88506e0a712e0a712e0a712e0a712e0a712e0a712e0a712e0a712e0a712e0\
    a712555555550d82fc4024ebc09bb84d3ae540e6fb05a0c60da4e90d80c4b6a4f5f6030400000000804f124100000000\
    00000000e0a71200";

fn bytes(hex: &str) -> Vec<u8> {
    hex.as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

/// A key as the first release left it.
fn of_first_release(hex: &str) -> Key {
    Key { baseline: Baseline::decode(&bytes(hex)).unwrap(), ..Key::default() }
}

#[test]
fn bytes_of_the_first_version_judge_as_they_did() {
    assert_eq!(of_first_release(FIRST_EMPTY).baseline, Baseline::empty());
    let free = of_first_release(FIRST_FREE);
    assert_snapshot!(free.baseline, @"n=61 mean=110ms p50=110ms p95=117ms");
    assert_eq!(free.limit(Micros::from_millis(900)), Some(Micros::new(219_016)));
    let measured = free.baseline.measured();
    assert_eq!((measured.endings.total(), measured.endings.failed), (62, 1));
    let frozen = of_first_release(FIRST_FROZEN);
    assert_snapshot!(frozen.baseline, @"n=36 mean=117ms p50=98ms p95=222ms frozen");
    assert_eq!(frozen.limit(Micros::from_millis(900)), Some(Micros::new(233_538)));
    let reference = frozen.baseline.reference().unwrap();
    // 43 ms of 117 ms, which the first version did not know by their logarithm.
    assert!((0.20..0.30).contains(&reference.log_mad), "{reference:?}");
}

#[test]
fn bytes_of_the_first_version_learn_as_if_they_had_always_been_of_this_one() {
    for (hex, ms) in [(FIRST_FREE, 110), (FIRST_FROZEN, 300), (FIRST_FROZEN, 100)] {
        let mut key = of_first_release(hex);
        // What began before anything was noted of when it began is judged.
        assert!(key.baseline.was_known_at(day(1), 5));
        assert_eq!(key.run_all(times(40, ms)), if ms == 300 { 40 } else { 0 });
        assert_eq!(reread(&key.baseline), key.baseline);
        assert_eq!(key.baseline.encode().first(), Some(&2));
        assert!(key.baseline.was_known_at(day(1), 5));
    }
}

#[test]
fn a_new_baseline_knows_when_its_first_samples_ended() {
    let mut key = of_first_release(FIRST_EMPTY);
    assert_eq!(key.run_all(times(9, 100)), 0);
    let known = |seconds, samples| key.baseline.was_known_at(day(100) + Micros::from_secs(seconds), samples);
    assert_eq!([known(0, 1), known(3, 5), known(4, 5), known(4, 9)], [true, false, true, true]);
    key.run(day(99), 100);
    let late = |seconds| key.baseline.was_known_at(day(100) + Micros::from_secs(seconds), 5);
    assert_eq!([late(2), late(3)], [false, true], "one that is told of late ended first");
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
