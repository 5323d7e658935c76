use proptest::prelude::*;

use super::*;
use crate::test_util::fixtures::{NOON, step_name};

/// Name, start and end in seconds since the execution's start; no end while it runs.
type Row = (&'static str, u64, Option<u64>);

fn span((name, start, end): Row) -> Span {
    let at = |secs| NOON + Micros::from_secs(secs);
    Span { name: step_name(name), started_at: at(start), ended_at: end.map(at) }
}

fn past(end: u64, steps: &[(&'static str, u64, u64)]) -> PastRun {
    let steps = steps.iter().map(|(name, start, end)| span((name, *start, Some(*end)))).collect();
    PastRun { started_at: NOON, ended_at: NOON + Micros::from_secs(end), steps }
}

fn present(steps: &[Row]) -> Present {
    let id = ExecutionId::from_u128(77).unwrap();
    Present { id, started_at: NOON, steps: steps.iter().copied().map(span).collect() }
}

fn estimated(now: u64, steps: &[Row], past: &[PastRun]) -> Estimate {
    estimate(NOON + Micros::from_secs(now), &present(steps), past).expect("an estimate")
}

/// Returns the expected end in whole seconds since the start.
fn end(now: u64, steps: &[Row], past: &[PastRun]) -> u64 {
    estimated(now, steps, past).expected_end().since(NOON).as_millis().div_ceil(1000)
}

/// One after the other: 10, 20 and 30 seconds, ten runs of them, each by up to a second slower.
fn chain() -> Vec<PastRun> {
    (0..10)
        .map(|run| {
            let slower = run % 2;
            past(60 + slower, &[("a", 0, 10), ("b", 10, 30), ("c", 30, 60 + slower)])
        })
        .collect()
}

#[test]
fn without_a_past_there_is_no_estimate() {
    assert_eq!(estimate(NOON, &present(&[]), &[]), None);
}

#[test]
fn one_past_execution_is_enough_and_the_prior_says_how_sure() {
    let found = estimated(0, &[], &chain()[..1]);
    assert_eq!(
        [found.remaining, found.remaining_low, found.remaining_high].map(|left| left.as_millis() / 1000),
        [60, 31, 115]
    );
    assert_eq!(found.based_on, 1);
}

#[test]
fn what_went_alike_ten_times_is_foretold_narrowly() {
    let found = estimated(30, &[("a", 0, Some(10)), ("b", 10, Some(30)), ("c", 30, None)], &chain());
    let (low, high) = (found.remaining_low.as_millis(), found.remaining_high.as_millis());
    assert!((23_000..30_000).contains(&low) && (30_000..40_000).contains(&high), "{low} {high}");
    assert_eq!(found.based_on, 10);
}

#[test]
fn steps_to_come_are_added_whatever_runs() {
    let ran = chain();
    assert_eq!(end(0, &[], &ran), 60, "nothing has begun");
    assert_eq!(end(5, &[("a", 0, None)], &ran), 60);
    assert_eq!(end(10, &[("a", 0, Some(10))], &ran), 60, "between two steps");
    assert_eq!(end(12, &[("a", 0, Some(10)), ("b", 10, None)], &ran), 60);
    assert_eq!(end(30, &[("a", 0, Some(10)), ("b", 10, Some(30)), ("c", 30, None)], &ran), 60);
}

#[test]
fn what_began_late_or_takes_longer_ends_later() {
    let ran = chain();
    assert_eq!(end(105, &[("a", 100, None)], &ran), 160);
    assert_eq!(end(14, &[("a", 0, Some(14)), ("b", 14, None)], &ran), 64);
    let later: Vec<u64> = [5, 20, 40, 80].into_iter().map(|now| end(now, &[("a", 0, None)], &ran)).collect();
    assert!(later.is_sorted() && later[3] >= 130, "it has outlasted every other: {later:?}");
}

#[test]
fn a_pause_between_steps_is_not_forgotten() {
    let ran: Vec<PastRun> = (0..4).map(|_| past(1_000, &[("ask", 0, 10), ("act", 900, 990)])).collect();
    assert_eq!(end(5, &[("ask", 0, None)], &ran), 1_000);
    assert_eq!(end(300, &[("ask", 0, Some(10))], &ran), 1_000);
    assert_eq!(end(950, &[("ask", 0, Some(10)), ("act", 900, None)], &ran), 1_000);
}

/// Two branches: `short` for 100 seconds, `x` and then `long` until 400; then both are joined.
fn fork() -> Vec<PastRun> {
    let steps = [("short", 0, 100), ("x", 0, 50), ("long", 50, 400), ("join", 400, 420)];
    (0..5).map(|_| past(420, &steps)).collect()
}

#[test]
fn parallel_branches_do_not_add_up() {
    let at_60 = [("short", 0, None), ("x", 0, Some(50)), ("long", 50, None)];
    assert_eq!(end(60, &at_60, &fork()), 420);
}

#[test]
fn a_slow_branch_that_others_outlast_does_not_matter() {
    let at_300 = [("short", 0, None), ("x", 0, Some(50)), ("long", 50, None)];
    assert_eq!(end(200, &at_300, &fork()), 420);
    let without = end(300, &[("short", 0, Some(250)), ("x", 0, Some(50)), ("long", 50, None)], &fork());
    assert_eq!(without, 420);
}

#[test]
fn a_branch_that_has_ended_does_not_matter() {
    let ended = |at| end(300, &[("short", 0, Some(at)), ("x", 0, Some(50)), ("long", 50, None)], &fork());
    assert_eq!([ended(20), ended(100), ended(299)], [420; 3]);
}

#[test]
fn the_branch_that_lasts_longest_decides() {
    let found = end(380, &[("short", 0, Some(100)), ("x", 0, Some(50)), ("long", 350, None)], &fork());
    assert_eq!(found, 720, "it began 300 seconds late");
}

#[test]
fn a_loop_is_played_on_from_the_round_it_is_in() {
    let rounds: Vec<(&str, u64, u64)> = (0..10).map(|round| ("think", round * 10, round * 10 + 10)).collect();
    let ran: Vec<PastRun> = (0..5).map(|_| past(100, &rounds)).collect();
    let mut done: Vec<Row> = (0..4).map(|round| ("think", round * 10, Some(round * 10 + 10))).collect();
    assert_eq!(end(40, &done, &ran), 100, "between rounds");
    done.push(("think", 40, None));
    assert_eq!(end(45, &done, &ran), 100);
}

#[test]
fn many_of_a_name_at_once_end_with_the_last_of_them() {
    let row = |n: u64| ("part", 0, 10 + n * 10);
    let mut steps: Vec<_> = (0..10).map(row).collect();
    steps.push(("merge", 100, 105));
    let ran: Vec<PastRun> = (0..5).map(|_| past(105, &steps)).collect();
    let at_55: Vec<Row> =
        (0..10).map(|n| if n < 5 { ("part", 0, Some(10 + n * 10)) } else { ("part", 0, None) }).collect();
    let found = end(55, &at_55, &ran);
    assert!((95..=105).contains(&found), "{found}");
}

#[test]
fn a_step_that_was_left_out_is_not_waited_for() {
    let ran: Vec<PastRun> =
        (0..5).map(|_| past(100, &[("a", 0, 10), ("retry", 10, 70), ("b", 70, 100)])).collect();
    assert_eq!(end(15, &[("a", 0, Some(10)), ("b", 10, None)], &ran), 40);
}

#[test]
fn a_step_never_seen_before_is_taken_for_what_it_shows() {
    let found = estimated(50, &[("a", 0, Some(10)), ("b", 10, Some(30)), ("new", 30, None)], &chain());
    assert!(found.remaining >= Micros::from_secs(10), "c is still to come: {found:?}");
}

#[test]
fn a_start_to_come_is_waited_for() {
    let an_hour_ago = Timestamp::from_millis(NOON.as_micros() / 1_000 - 3_600_000);
    let found = estimate(an_hour_ago, &present(&[]), &chain()).expect("an estimate");
    assert_eq!(found.expected_end().since(NOON).as_millis() / 1_000, 60);
    assert!(found.earliest_end() > NOON);
}

#[test]
fn a_deadline_is_at_risk_from_the_upper_end_on() {
    let found = estimated(0, &[], &chain()[..1]);
    let at = |secs| NOON + Micros::from_secs(secs);
    let risk =
        |now, estimate| [at(60), at(115), at(116)].map(|deadline| at_risk(at(now), estimate, deadline));
    assert_eq!(risk(0, Some(&found)), [true, true, false]);
    assert_eq!(risk(0, None), [false; 3]);
    assert_eq!(risk(116, None), [true, true, false], "what has passed needs no estimate");
}

#[test]
fn as_many_steps_as_are_read_are_taken_in() {
    let many = |end: Option<u64>| {
        (0..2_000).map(move |n| Span {
            ended_at: end.map(|end| NOON + Micros::new(end + n)),
            ..span(("part", 0, None))
        })
    };
    let run =
        PastRun { started_at: NOON, ended_at: NOON + Micros::from_secs(9), steps: many(Some(5)).collect() };
    let here = Present { steps: many(None).collect(), ..present(&[]) };
    let found = estimate(NOON, &here, &vec![run; 10]).expect("an estimate");
    assert_eq!(found.based_on, 10);
}

prop_compose! {
    fn row()(name in 0..4_usize, start in 0..500_u64, long in 0..300_u64) -> (&'static str, u64, u64) {
        (["a", "b", "c", "d"][name], start, start + long)
    }
}

proptest! {
    #[test]
    fn any_past_and_present_give_an_ordered_answer_twice(
        runs in prop::collection::vec((0..900_u64, prop::collection::vec(row(), 0..12)), 1..6),
        steps in prop::collection::vec((row(), any::<bool>()), 0..12),
        now in 0..1_000_u64,
    ) {
        let past: Vec<PastRun> = runs.iter().map(|(end, steps)| past(*end, steps)).collect();
        let steps: Vec<Row> =
            steps.iter().map(|((name, start, end), ended)| (*name, *start, ended.then_some(*end))).collect();
        let found = estimated(now, &steps, &past);
        prop_assert_eq!(found, estimated(now, &steps, &past));
        prop_assert!(found.now <= found.earliest_end());
        prop_assert!(found.earliest_end() <= found.expected_end());
        prop_assert!(found.expected_end() <= found.latest_end());
        prop_assert!(found.latest_end() < found.now + Micros::from_days(1), "{:?}", found);
    }

    #[test]
    fn running_longer_never_brings_the_end_nearer_than_what_has_passed(now in 0..10_000_u64) {
        let found = end(now, &[("a", 0, Some(10)), ("b", 10, None)], &chain());
        prop_assert!(found > now, "{}", found);
    }
}
