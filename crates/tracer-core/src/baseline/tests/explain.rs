//! What explains durations, and what must not.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::step::{Dice, Step, features, with_version};
use crate::baseline::{Baseline, ENCODED_BYTES};
use crate::detect::Histories;
use crate::features::Features;
use crate::time::Micros;

/// A size from 1 kB to 1 GB, any order of magnitude being as likely.
fn size(dice: &mut Dice) -> f64 {
    (1_000.0 * 10_f64.powf(6.0 * dice.unit())).round()
}

#[test]
fn inputs_of_a_new_size_are_known_after_a_few_runs() {
    let mut step = Step::new();
    let values = [[7_694_u64, 5_112_433_329], [7_890, 5_112_968_848]];
    let flagged: Vec<usize> = [(0, 80, 9_500), (1, 300, 105_000), (0, 40, 9_500), (1, 40, 105_000)]
        .into_iter()
        .map(|(size, runs, ms)| {
            let verdict = |run: usize| {
                let bytes = values[size][usize::from(run % 5 == 4)];
                step.run(json!({ "input_bytes": bytes }), ms + 100 * (run as u64 % 7))
            };
            (0..runs).map(verdict).filter(|flagged| *flagged).count()
        })
        .collect();
    // Five runs of each of its two values.
    assert_eq!(flagged, [0, 10, 0, 0]);
}

#[test]
fn a_size_that_varies_freely_is_scaled_by_the_slope() {
    let (mut step, mut dice) = (Step::new(), Dice(1));
    let mut run = |times: f64| {
        let bytes = size(&mut dice);
        let ran =
            step.take(&features(json!({ "input_bytes": bytes })), dice.about(times * bytes / 100.0, 0.05));
        (ran.verdict.is_some(), ran.compared())
    };
    let _unknown: Vec<_> = (0..100).map(|_| run(1.0)).collect();
    assert_eq!((0..300).filter(|_| run(1.0).0).count(), 0);
    // Few enough for the line to stay what it is.
    let slow: Vec<_> = (0..5).map(|_| run(3.0)).collect();
    for (flagged, compared) in slow {
        assert!(flagged && compared.starts_with("input_bytes=scaled to "), "{compared}");
    }
}

#[test]
fn four_sizes_that_vary_freely_leave_each_other_the_slope() {
    let (mut step, mut dice) = (Step::new(), Dice(2));
    let mut run = |times: f64| {
        let bytes = size(&mut dice);
        let others = [dice.unit(), dice.unit(), dice.unit()].map(|unit| (1e6 * unit).round());
        let given = json!({ "bytes": bytes, "a": others[0], "b": others[1], "c": others[2] });
        step.take(&features(given), dice.about(times * bytes / 100.0, 0.05)).compared()
    };
    let _unknown: Vec<_> = (0..300).map(|_| run(1.0)).collect();
    let compared = run(3.0);
    assert!(compared.starts_with("bytes=scaled to "), "{compared:?}");
}

#[test]
fn a_few_sizes_are_levels_however_near() {
    let mut step = Step::new();
    let took = [(1_000, 100), (1_001, 900), (1_002, 300)];
    let mut flagged = 0;
    for run in 0..120 {
        let (rows, ms) = took[run % 3];
        flagged += usize::from(step.run(json!({ "rows": rows }), ms + run as u64 % 7) && run >= 60);
    }
    assert_eq!(flagged, 0);
    for (rows, ms) in took {
        let ran = step.take(&features(json!({ "rows": rows })), Micros::from_millis(ms * 3));
        assert_eq!(ran.compared(), format!("rows={rows}"));
    }
}

#[test]
fn what_is_different_in_every_run_explains_nothing_and_is_dropped() {
    let (mut with, mut without) = (Step::new(), Step::new());
    for run in 0..100 {
        let ms = if run % 2 == 0 { 100 } else { 180 };
        assert!(!with.run(json!({ "request": format!("id {run}") }), ms));
        assert!(!without.run(json!({}), ms));
    }
    assert_eq!(with.baseline.reference(), without.baseline.reference());
    let longer = with.baseline.encode().len() - without.baseline.encode().len();
    assert!(longer < 10, "{longer} bytes for what explains nothing");
    let ran = with.take(&features(json!({ "request": "id 3" })), Micros::from_millis(900));
    assert_eq!((ran.verdict.is_some(), ran.compared().as_str()), (true, ""));
}

#[test]
fn what_only_followed_others_is_no_excuse() {
    for name in ["version", "release", "image"] {
        let mut step = Step::new();
        let mut runs = |value: &str, ms: u64, times: usize| {
            let given = json!({ name: value });
            (0..times).filter(|_| step.run(given.clone(), ms)).count()
        };
        assert_eq!([runs("1", 100, 60), runs("2", 100, 60), runs("3", 300, 120)], [0, 0, 120], "{name}");
    }
}

#[test]
fn the_version_is_no_excuse_even_where_it_comes_back() {
    let mut step = Step::new();
    let mut flagged = 0;
    for run in 0..200 {
        let (version, ms) = if run % 8 == 7 { ("2", 300) } else { ("1", 100) };
        flagged += usize::from(
            step.take(&with_version(version, json!({})), Micros::from_millis(ms)).verdict.is_some(),
        );
    }
    assert_eq!(flagged, 25);
}

#[test]
fn regions_that_come_back_explain() {
    let mut step = Step::new();
    let regions = [("eu", 100), ("us", 350), ("ap", 200)];
    let mut run = |run: usize| step.run(json!({ "region": regions[run % 3].0 }), regions[run % 3].1);
    let _unknown = (0..60).filter(|number| run(*number)).count();
    assert_eq!((60..360).filter(|number| run(*number)).count(), 0);
    let slow = step.take(&features(json!({ "region": "eu" })), Micros::from_millis(500));
    assert_eq!(slow.compared(), "region=eu");
    let far = step.take(&features(json!({ "region": "sa" })), Micros::from_millis(400));
    assert!(far.verdict.is_none(), "a region never seen is judged by all of the history");
    let far = step.take(&features(json!({ "region": "sa" })), Micros::from_millis(500));
    assert_eq!((far.verdict.is_some(), far.compared().as_str()), (true, ""));
}

#[test]
fn a_new_slow_machine_is_told_of_until_it_has_come_back_and_is_known() {
    let mut step = Step::new();
    for run in 0..60 {
        assert!(!step.run(json!({ "host": format!("h{}", run % 3) }), 100 + run % 9));
    }
    let mut told = Vec::new();
    for run in 0..360 {
        let is_new = run % 6 == 5;
        let host = if is_new { "new".to_owned() } else { format!("h{}", run % 3) };
        if step.run(json!({ "host": host }), if is_new { 500 } else { 100 + run % 9 }) {
            told.push(run);
        }
    }
    assert_eq!(told, [5, 11, 17, 23, 29, 35]);
}

#[test]
fn what_is_rare_and_slow_is_compared_with_its_like_once_it_has_come_back() {
    let mut step = Step::new();
    let backup =
        |run: u64| (json!({ "full": run % 7 == 6 }), if run % 7 == 6 { 3_600 } else { 600 } + run % 5);
    let told: Vec<u64> = (0..200)
        .filter(|run| {
            let (attributes, ms) = backup(*run);
            step.run(attributes, ms)
        })
        .collect();
    assert!(told.len() <= 7 && told.iter().all(|run| *run < 60), "{told:?}");
    assert!(step.run(json!({ "full": false }), 1_300));
}

#[test]
fn a_number_that_only_grows_excuses_nothing() {
    let mut step = Step::new();
    for build in 0..60_u64 {
        assert!(!step.run(json!({ "build": 100 + build / 8 }), 100 + build % 9));
    }
    let told = (0..60_u64).filter(|run| step.run(json!({ "build": 108 + run / 8 }), 300 + run % 9)).count();
    assert_eq!(told, 60);
}

/// How far stalls in 10 % of the runs, each ten times as long, move mean and median of what judges.
fn moved_by_stalls(given: impl Fn(&mut Dice) -> (Value, f64), asked: Value) -> (f64, f64) {
    let after = |share: f64| {
        let (mut step, mut values, mut dice) = (Step::new(), Dice(3), Dice(4));
        for run in 0..1_500 {
            let (attributes, ms) = given(&mut values);
            // The same noise with and without stalls.
            let (duration, stalls) = (dice.about(ms, 0.1), dice.unit() < share && run >= 100);
            let duration = if stalls { Micros::new(10 * duration.get()) } else { duration };
            step.take(&features(attributes), duration);
        }
        step.measure(asked.clone())
    };
    let (calm, attacked) = (after(0.0), after(0.1));
    (attacked.0 / calm.0, attacked.1 / calm.1)
}

fn assert_withstands((mean, median): (f64, f64)) {
    assert!((0.97..=1.15).contains(&mean), "mean × {mean:.3}, median × {median:.3}");
    assert!((0.97..1.05).contains(&median), "mean × {mean:.3}, median × {median:.3}");
}

#[test]
fn stalls_in_10_percent_of_the_runs_hardly_move_the_reference_of_a_whole_step() {
    assert_withstands(moved_by_stalls(|_| (json!({}), 100.0), json!({})));
}

#[test]
fn stalls_in_10_percent_of_the_runs_hardly_move_the_reference_of_a_level() {
    let region = |dice: &mut Dice| match dice.unit() < 0.5 {
        true => (json!({ "region": "eu" }), 100.0),
        false => (json!({ "region": "us" }), 400.0),
    };
    assert_withstands(moved_by_stalls(region, json!({ "region": "eu" })));
}

#[test]
fn stalls_in_10_percent_of_the_runs_hardly_move_the_reference_of_a_slope() {
    let sized = |dice: &mut Dice| {
        let bytes = size(dice);
        (json!({ "bytes": bytes }), bytes / 100.0)
    };
    assert_withstands(moved_by_stalls(sized, json!({ "bytes": 1e6 })));
}

#[test]
fn a_slowdown_of_one_level_lasts_and_is_accepted_after_a_hundred_runs() {
    let mut step = Step::new();
    let round = |step: &mut Step, slowed: u64| {
        let took = |number: u64| if number == 0 { slowed } else { 100 * (number + 1) };
        let flagged: Vec<_> =
            (0..8).map(|number| step.run(json!({ "region": format!("r{number}") }), took(number))).collect();
        assert!(!flagged[1..].contains(&true), "{flagged:?}");
        flagged[0]
    };
    for _ in 0..30 {
        round(&mut step, 100);
    }
    let flagged: Vec<bool> = (0..150).map(|_| round(&mut step, 300)).collect();
    let accepted = flagged.iter().position(|flagged| !flagged);
    assert_eq!((accepted, flagged.iter().filter(|flagged| **flagged).count()), (Some(100), 100));
    assert!(round(&mut step, 900), "the new level judges");
}

#[test]
fn a_history_made_of_siblings_does_not_excuse_or_accuse_them() {
    // 60 steps begin at once in two regions; the faster ones have ended.
    let mut step = Step::new();
    let began = step.now;
    for run in 0..60 {
        step.run(json!({ "region": if run % 2 == 0 { "eu" } else { "us" } }), 100 + 400 * (run % 2));
    }
    let slow = &features(json!({ "region": "eu" }));
    let judged = |began| {
        let histories = Histories { whole: &step.baseline, cohort: None, began: Some(began) };
        step.plan.compare(histories, slow).is_some()
    };
    assert!(!judged(began));
    assert!(judged(step.now));
}

#[test]
fn an_extreme_value_long_ago_leaves_a_slope_finite() {
    let mut step = Step::new();
    let mut dice = Dice(5);
    step.take(&features(json!({ "n": 1e300 })), Micros::from_secs(1));
    for _ in 0..30_000 {
        let n = 1_000.0 * (1.0 + dice.unit());
        let duration = Micros::from_f64(1e3 * (n / 1_000.0).powf(14.0));
        step.take(&features(json!({ "n": n })), duration);
    }
    for n in [0.0, 1e3, 1e30, 1e100, 1e300] {
        let (mean, median) = step.measure(json!({ "n": n }));
        assert!(mean.is_finite() && median.is_finite(), "{n}: {mean} {median}");
    }
}

#[test]
fn six_attributes_that_vary_freely_leave_room_for_percentiles() {
    let (mut step, mut dice) = (Step::new(), Dice(6));
    let mut durations = Vec::new();
    for run in 0..3_000 {
        let mut of = || (1e6 * dice.unit()).round();
        let given = json!({
            "http.request.body.size": of(), "db.response.returned_rows": of(), "llm.usage.input_tokens": of(),
            "llm.usage.output_tokens": of(), "messaging.batch.message_count": of(), "queue.depth": of(),
        });
        let ms = if run % 2 == 0 { 100.0 } else { 1_000.0 };
        let duration = dice.about(ms, 0.7);
        durations.push(duration);
        step.take(&features(given), duration);
        if run % 50 == 0 {
            step.restart();
        }
    }
    step.restart();
    durations.sort_unstable();
    let measured = step.baseline.measured();
    for (found, at) in [(measured.p50, 1_500), (measured.p95, 2_850), (measured.p99, 2_970)] {
        let (found, exact) = (found.unwrap().as_f64(), durations[at].as_f64());
        assert!((found / exact - 1.0).abs() < 0.05, "{found} is not {exact}");
    }
}

#[test]
fn a_baseline_at_all_of_its_bounds_fits_its_row() {
    let (mut step, mut dice) = (Step::new(), Dice(7));
    let name = |number: u32| format!("{number:0>48}");
    // Ids that are given up, then sizes, each with a name as long as it may be; in the end a shift.
    for run in 0..3_000_u32 {
        let mut given = serde_json::Map::new();
        for number in 0..6 {
            if run < 600 {
                given.insert(name(100 + run / 150 * 6 + number), json!(format!("id {run}")));
            } else {
                given.insert(name(number), json!((1e9 * dice.unit()).round()));
            }
        }
        if run > 600 {
            given.insert("version".into(), json!(format!("{:0>64}", run / 2_900)));
        }
        let ms = if run < 2_900 { 1e6 } else { 4e9 };
        step.now = step.now + Micros::from_secs(u64::from(run * 7 % 600));
        step.take(&features(Value::Object(given)), dice.about(ms, 1.5));
    }
    let bytes = step.baseline.encode();
    assert!((1_800..=ENCODED_BYTES).contains(&bytes.len()), "{} bytes", bytes.len());
    assert!(step.baseline.shift().is_some());
    let (kept, exact) = (Baseline::decode(&bytes).unwrap().measured(), step.baseline.measured());
    for (kept, exact) in [(kept.p50, exact.p50), (kept.p95, exact.p95)] {
        let (kept, exact) = (kept.unwrap().as_f64(), exact.unwrap().as_f64());
        // The sketches give way to the rest, as far as this.
        assert!((kept / exact - 1.0).abs() < 0.25, "{kept} is not {exact}");
    }
}

/// A run with some of a few attributes, of which some vary freely, and a duration of any size.
fn runs() -> impl Strategy<Value = Vec<(Features, Micros)>> {
    let number = prop_oneof![
        Just(json!(0)),
        Just(json!(-0.0)),
        Just(json!(f64::MAX)),
        Just(json!(f64::MIN_POSITIVE)),
        Just(json!(u64::MAX)),
        (0..5_u32).prop_map(|few| json!(few)),
        (0.0..1e12_f64).prop_map(|free| json!(free)),
    ];
    let text =
        prop_oneof![(0..4_u8).prop_map(|few| json!(format!("v{few}"))), "[a-z]{0,4}".prop_map(Value::from)];
    let value = prop_oneof![number, text];
    // Names are as long as they may be, so that the bytes are as many as they can be.
    let attributes = prop::collection::btree_map((0..12_u8).prop_map(|n| format!("{n:048}")), value, 0..9);
    let micros = prop_oneof![
        4 => 1_000..100_000_u64,
        1 => Just(0),
        1 => Just(Micros::from_days(400).get()),
        1 => Just(u64::MAX),
        1 => any::<u64>(),
    ];
    let run = (attributes, micros).prop_map(|(attributes, micros)| {
        (features(serde_json::to_value(attributes).unwrap()), Micros::new(micros))
    });
    prop::collection::vec(run, 0..250)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn whatever_attributes_come_a_baseline_stays_within_its_bounds(all in runs()) {
        let (mut first, mut second) = (Step::new(), Step::new());
        for (number, (features, duration)) in all.iter().enumerate() {
            first.take(features, *duration);
            let histories = Histories { whole: &first.baseline, cohort: None, began: None };
            if let Some(found) = first.plan.compare(histories, features) {
                let reference = found.reference;
                let all = [reference.mean_us, reference.stddev_us, reference.log_mad];
                prop_assert!(all.iter().all(|number| number.is_finite() && *number >= 0.0), "{:?}", reference);
                prop_assert!(reference.p50 <= reference.p95 && reference.p95 <= reference.p99);
                prop_assert!(found.limits.warning <= found.limits.critical);
            }
            let bytes = first.baseline.encode();
            prop_assert!(bytes.len() <= ENCODED_BYTES, "{} bytes", bytes.len());
            let read = Baseline::decode(&bytes);
            prop_assert!(read.is_ok());
            // What is at its bound is written more coarsely, once.
            prop_assert_eq!(read.unwrap_or_default().encode(), bytes);
            second.take(features, *duration);
            if number % 7 == 0 {
                second.restart();
            }
        }
        prop_assert_eq!(first.baseline.encode(), second.baseline.encode());
    }
}
