//! The error of quantiles, and merging.

use insta::assert_snapshot;
use proptest::prelude::*;

use crate::baseline::{MAX_BINS, Sketch, View};
use crate::time::Micros;

const QUANTILES: [f64; 7] = [0.0, 0.1, 0.5, 0.9, 0.95, 0.99, 1.0];

fn sketch_of(micros: &[u64]) -> Sketch {
    let mut sketch = Sketch::default();
    micros.iter().for_each(|micros| sketch.record(Micros::new(*micros)));
    sketch
}

/// The largest distance of any quantile from the true one, as a share of it, less what rounding to
/// whole microseconds takes.
fn worst_error(micros: &[u64]) -> f64 {
    let sketch = sketch_of(micros);
    let mut sorted = micros.to_vec();
    sorted.sort_unstable();
    let error = |q: f64| {
        let rank = Micros::from_f64((q * sorted.len() as f64).ceil().max(1.0)).get() - 1;
        let (exact, found) = (
            sorted[usize::try_from(rank).unwrap()] as f64,
            sketch.quantile(View::Measured, q).unwrap().as_f64(),
        );
        ((found - exact).abs() - 0.5).max(0.0) / exact.max(1.0)
    };
    QUANTILES.into_iter().map(error).fold(0.0, f64::max)
}

fn merged(a: &Sketch, b: &Sketch) -> Sketch {
    let mut sum = a.clone();
    sum.merge(b);
    sum
}

/// Twelve uniform numbers give a normal one, nearly: their sum less 6.
fn normal(uniform: [f64; 12]) -> f64 {
    uniform.iter().sum::<f64>() - 6.0
}

fn micros_of(value: f64) -> u64 {
    Micros::from_f64(value).get()
}

#[test]
fn every_whole_number_of_microseconds_below_50_is_exact() {
    for micros in 0..50 {
        assert_eq!(sketch_of(&[micros]).quantile(View::Measured, 0.5), Some(Micros::new(micros)));
    }
}

#[test]
fn the_longest_and_the_shortest_durations_have_their_bins() {
    let micros = [0, 1, 400 * 86_400_000_000, u64::MAX];
    assert_eq!(sketch_of(&micros).bins(), 4);
    assert!(worst_error(&micros) <= 0.010_001);
    assert_eq!(Sketch::default().quantile(View::Measured, 0.5), None);
}

#[test]
fn an_absurd_rank_is_moved_into_range() {
    let sketch = sketch_of(&[10, 20, 30]);
    let at = |q| sketch.quantile(View::Measured, q).unwrap().get();
    assert_eq!([at(-1.0), at(7.0), at(f64::NAN)], [10, 30, 10]);
}

#[test]
fn too_many_bins_are_joined_and_every_quantile_keeps_a_bound() {
    let micros: Vec<u64> =
        (0..5_000_u32).map(|number| micros_of((f64::from(number) * 0.0055).exp())).collect();
    let sketch = sketch_of(&micros);
    assert!(sketch.bins() <= MAX_BINS);
    assert_snapshot!(format!("{:.4}", sketch.relative_error()), @"0.0798");
    assert!(worst_error(&micros) <= sketch.relative_error() + 1e-6, "{}", worst_error(&micros));
}

#[test]
fn forgetting_the_reference_leaves_what_was_measured() {
    let mut sketch = sketch_of(&[100, 200]);
    sketch.record_in(View::Reference, Micros::new(7_000));
    sketch.record_in(View::Measured, Micros::new(9_000));
    assert_eq!((sketch.count(View::Measured), sketch.count(View::Reference)), (3, 3));
    sketch.forget_reference();
    assert_eq!((sketch.count(View::Measured), sketch.count(View::Reference), sketch.bins()), (3, 0, 3));
    assert_eq!(sketch.quantile(View::Reference, 0.5), None);
}

#[test]
fn counts_stop_instead_of_starting_over() {
    let mut sketch = sketch_of(&[100]);
    for _ in 0..40 {
        sketch = merged(&sketch, &sketch);
    }
    assert_eq!(sketch.count(View::Measured), u64::from(u32::MAX));
}

proptest! {
    #[test]
    fn quantiles_of_uniform_durations_are_within_1_percent(
        micros in prop::collection::vec(50_000..5_000_000_u64, 1..2_000),
    ) {
        prop_assert!(worst_error(&micros) <= 0.010_001);
    }

    #[test]
    fn quantiles_of_log_normal_durations_are_within_1_percent(
        parts in prop::collection::vec(prop::array::uniform12(0.0..1.0_f64), 1..1_000),
    ) {
        let micros: Vec<u64> = parts.into_iter().map(|part| micros_of((normal(part) * 0.4 + 12.0).exp())).collect();
        prop_assert!(worst_error(&micros) <= 0.010_001);
    }

    #[test]
    fn quantiles_of_two_humps_are_within_1_percent(
        near in prop::collection::vec(900_000..1_100_000_u64, 1..500),
        far in prop::collection::vec(90_000_000_000..110_000_000_000_u64, 1..500),
    ) {
        prop_assert!(worst_error(&[near, far].concat()) <= 0.010_001);
    }

    #[test]
    fn merging_sketches_in_any_order_is_recording_at_once(
        a in prop::collection::vec(0..u64::MAX, 0..300),
        b in prop::collection::vec(0..1_000_000_u64, 0..600),
        c in prop::collection::vec((0.0..44.0_f64).prop_map(|power| micros_of(power.exp())), 0..600),
    ) {
        let (x, y, z) = (sketch_of(&a), sketch_of(&b), sketch_of(&c));
        let at_once = sketch_of(&[a, b, c].concat());
        prop_assert_eq!(&merged(&merged(&x, &y), &z), &at_once);
        prop_assert_eq!(&merged(&x, &merged(&y, &z)), &at_once);
        prop_assert_eq!(&merged(&merged(&z, &y), &x), &at_once);
        prop_assert!(at_once.bins() <= MAX_BINS);
    }
}

#[test]
fn a_high_percentile_of_few_durations_is_the_longest() {
    let sketch = sketch_of(&[410, 415, 420, 425, 2100]);
    let at = |q| sketch.quantile(View::Measured, q).unwrap().get();
    assert!(at(0.5).abs_diff(420) <= 4, "{}", at(0.5));
    assert!(at(0.95).abs_diff(2100) <= 21, "{}", at(0.95));
}
