//! A level that shifts for good is told of once; whatever else happens is not.

use serde_json::json;

use super::day;
use super::step::{Dice, Step, features, with_version};
use crate::baseline::Shift;
use crate::cohort::CohortSpec;
use crate::detect::{Confirmation, StepPolicy};
use crate::features::Features;
use crate::time::{Micros, Timestamp};

/// A step that is judged as a whole.
fn step() -> Step {
    let mut step = Step::new();
    step.plan.cohort = CohortSpec::Whole;
    step
}

/// Runs about so many milliseconds, and returns the shifts that were told.
fn about(step: &mut Step, dice: &mut Dice, times: usize, ms: f64, deviation: f64) -> Vec<Shift> {
    (0..times).filter_map(|_| step.take(&Features::default(), dice.about(ms, deviation)).shift).collect()
}

/// When run number `n`, from 1 on, ends.
fn end_of(n: u64) -> Timestamp {
    day(100) + Micros::from_secs(n)
}

fn near(a: f64, b: f64) -> bool {
    (a / b - 1.0).abs() < 0.1
}

#[test]
fn a_threefold_slowdown_is_told_once_with_its_moment() {
    for seed in 0..10 {
        let (mut step, mut dice) = (step(), Dice(seed));
        assert_eq!(about(&mut step, &mut dice, 200, 1_000.0, 0.05), []);
        let told = about(&mut step, &mut dice, 300, 3_000.0, 0.05);
        let [shift] = &told[..] else { panic!("seed {seed}: {told:?}") };
        assert!((end_of(198)..=end_of(204)).contains(&shift.began_at), "seed {seed}: {shift:?}");
        assert!(near(shift.factor(), 3.0) && near(shift.before.as_f64(), 1e6), "seed {seed}: {shift:?}");
        assert!(shift.samples <= 12, "certain after a few runs: {shift:?}");
        assert_eq!(step.baseline.shift(), Some(shift));
    }
}

#[test]
fn a_shift_as_large_as_the_policy_asks_for_is_told_and_a_smaller_one_is_not() {
    for seed in 0..10 {
        let told = |factor: f64| {
            let (mut step, mut dice) = (step(), Dice(seed));
            about(&mut step, &mut dice, 200, 1_000.0, 0.05);
            about(&mut step, &mut dice, 400, factor * 1_000.0, 0.05).len()
        };
        assert_eq!([told(1.2), told(1.6), told(10.0)], [0, 1, 1], "seed {seed}");
    }
}

#[test]
fn stalls_are_no_shift() {
    for seed in 0..10 {
        let (mut step, mut dice) = (step(), Dice(seed));
        let mut told = about(&mut step, &mut dice, 200, 1_000.0, 0.05);
        told.extend(about(&mut step, &mut dice, 1, 100_000.0, 0.05));
        told.extend(about(&mut step, &mut dice, 100, 1_000.0, 0.05));
        for _ in 0..2_000 {
            let ms = if dice.unit() < 0.1 { 10_000.0 } else { 1_000.0 };
            told.extend(about(&mut step, &mut dice, 1, ms, 0.05));
        }
        assert_eq!(told, [], "seed {seed}");
    }
}

#[test]
fn durations_that_vary_much_are_no_shift() {
    for seed in 0..20 {
        let told = about(&mut step(), &mut Dice(seed), 5_000, 1_000.0, 0.5);
        assert_eq!(told, [], "seed {seed}");
    }
}

#[test]
fn a_level_that_falls_again_clears_what_was_told_and_may_rise_again() {
    let (mut step, mut dice) = (step(), Dice(1));
    about(&mut step, &mut dice, 200, 1_000.0, 0.05);
    assert_eq!(about(&mut step, &mut dice, 50, 3_000.0, 0.05).len(), 1);
    assert_eq!(about(&mut step, &mut dice, 50, 1_000.0, 0.05), []);
    assert_eq!(step.baseline.shift(), None);
    assert_eq!(about(&mut step, &mut dice, 50, 3_000.0, 0.05).len(), 1);
}

#[test]
fn what_was_told_is_cleared_however_soon_the_level_falls_again() {
    for slow in 6..40 {
        let (mut step, mut dice) = (step(), Dice(slow as u64));
        about(&mut step, &mut dice, 200, 1_000.0, 0.05);
        about(&mut step, &mut dice, slow, 3_000.0, 0.05);
        about(&mut step, &mut dice, 300, 1_000.0, 0.05);
        assert_eq!(step.baseline.shift(), None, "after {slow} slow runs");
    }
}

#[test]
fn a_shift_waits_until_as_many_of_the_last_runs_confirm_it_as_the_policy_asks() {
    let certain_after = |least, of, slow_in: usize| {
        let mut step = step();
        step.plan = StepPolicy { confirmation: Confirmation { least, of }, ..step.plan };
        let mut dice = Dice(2);
        about(&mut step, &mut dice, 200, 1_000.0, 0.05);
        (1..=60).find(|run| {
            let ms = if run % slow_in == 0 { 1_000.0 } else { 3_000.0 };
            !about(&mut step, &mut dice, 1, ms, 0.05).is_empty()
        })
    };
    let never = usize::MAX;
    assert_eq!(certain_after(16, 16, never), Some(16));
    assert_eq!(certain_after(12, 16, never), Some(12));
    let soon = certain_after(1, 1, never).unwrap();
    assert!((2..6).contains(&soon), "{soon}");
    // Every fourth run is as it was: of 8 in a row, 6 are slow, and never 7.
    assert!(certain_after(6, 8, 4).is_some());
    assert_eq!(certain_after(7, 8, 4), None);
}

#[test]
fn a_rebaseline_forgets_the_shift() {
    let (mut step, mut dice) = (step(), Dice(3));
    about(&mut step, &mut dice, 200, 1_000.0, 0.05);
    about(&mut step, &mut dice, 50, 3_000.0, 0.05);
    assert!(step.baseline.shift().is_some());
    step.baseline.rebaseline();
    assert_eq!(step.baseline.shift(), None);
    assert_eq!(about(&mut step, &mut dice, 200, 3_000.0, 0.05), []);
}

#[test]
fn a_restart_at_any_moment_changes_nothing() {
    let (mut through, mut restarted, mut dice) = (step(), step(), Dice(4));
    for run in 0..300 {
        let duration = dice.about(if run < 150 { 1_000.0 } else { 3_000.0 }, 0.3);
        let region = in_turns(run, ["eu", "us"]);
        let given = features(json!({ "version": run / 50, "region": region }));
        restarted.restart();
        let shifts = [&mut through, &mut restarted].map(|step| step.take(&given, duration).shift);
        assert_eq!(shifts[0], shifts[1], "run {run}");
        assert_eq!(through.baseline, restarted.baseline, "run {run}");
    }
    assert!(through.baseline.shift().is_some());
}

#[test]
fn runs_of_another_mix_are_no_shift_where_an_attribute_explains() {
    let (mut step, mut dice) = (Step::new(), Dice(5));
    let mut told = 0;
    for run in 0..600 {
        // At first mostly small, then mostly large.
        let large = dice.unit() < if run < 300 { 0.3 } else { 0.9 };
        let (region, ms) = if large { ("us", 1_800.0) } else { ("eu", 1_000.0) };
        told += usize::from(
            step.take(&features(json!({ "region": region })), dice.about(ms, 0.05)).shift.is_some(),
        );
    }
    assert_eq!(told, 0);
    for _ in 0..50 {
        told += usize::from(
            step.take(&features(json!({ "region": "us" })), dice.about(5_400.0, 0.05)).shift.is_some(),
        );
    }
    assert_eq!(told, 1);
}

/// The attribute that is named when a step slows down threefold at run 200.
fn named(given: impl Fn(usize, &mut Dice) -> Features) -> Option<String> {
    let (mut step, mut dice) = (step(), Dice(6));
    for run in 0..260 {
        let features = given(run, &mut dice);
        let duration = dice.about(if run < 200 { 1_000.0 } else { 3_000.0 }, 0.05);
        if let Some(shift) = step.take(&features, duration).shift {
            return shift.changed.map(|(name, value)| format!("{name} {value}"));
        }
    }
    panic!("no shift was told");
}

/// One of two, in turns.
fn in_turns(run: usize, both: [&'static str; 2]) -> &'static str {
    both[run % 2]
}

#[test]
fn the_version_that_came_with_a_shift_is_named() {
    let named = named(|run, _| {
        let region = in_turns(run, ["eu", "us"]);
        with_version(if run < 200 { "3" } else { "4" }, json!({ "region": region }))
    });
    assert_eq!(named.as_deref(), Some("version 4"));
}

#[test]
fn an_attribute_that_came_with_a_shift_is_named() {
    let named = named(|run, _| with_version("3", json!({ "threads": if run < 200 { 8 } else { 2 } })));
    assert_eq!(named.as_deref(), Some("threads 2"));
}

#[test]
fn versions_that_alternate_are_not_named() {
    let named = named(|run, _| {
        let region = in_turns(run, ["eu", "us"]);
        with_version(in_turns(run, ["3", "4"]), json!({ "region": region }))
    });
    assert_eq!(named, None);
}

#[test]
fn a_version_that_came_long_before_is_not_named() {
    assert_eq!(named(|run, _| with_version(if run < 100 { "3" } else { "4" }, json!({}))), None);
}

#[test]
fn the_tenth_version_is_named_though_the_last_ones_were_rolled_out_by_and_by() {
    let named = named(|run, _| {
        // Every twenty runs another one, which at first alternates with the one before.
        let newest = if run < 200 { run / 20 } else { 10 };
        let rolling = run < 200 && run % 20 < 6 && run % 2 == 0;
        with_version(&format!("{}", newest.saturating_sub(usize::from(rolling))), json!({}))
    });
    assert_eq!(named.as_deref(), Some("version 10"));
}

#[test]
fn a_size_that_is_new_in_every_run_is_not_named() {
    for growth in [0.0, 100.0] {
        let size = |run: usize, dice: &mut Dice| (1e6 * dice.unit()).round() + growth * run as f64;
        assert_eq!(named(|run, dice| with_version("3", json!({ "rows": size(run, dice) }))), None);
    }
}
