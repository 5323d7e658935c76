use proptest::prelude::*;

use super::*;
use crate::detect::Severity;
use crate::test_util::fixtures::NOON;
use crate::time::Timestamp;

/// An objective of 99 % over 30 days.
fn slo() -> Slo {
    slo_with(|_| {})
}

fn slo_with(change: impl FnOnce(&mut SloSpec)) -> Slo {
    let mut spec = SloSpec {
        name: SloName::new("checkout").unwrap(),
        workflow: "checkout-*".into(),
        objective: Objective::new(0.99).unwrap(),
        latency: Some(Micros::from_secs(30)),
        window: Micros::from_days(30),
        min_events: 20,
        alert: true,
    };
    change(&mut spec);
    Slo::new(spec)
}

/// Judges the availability of what failed of how many, by window: 5m, 30m, 1h, 6h, 3d, budget.
fn judge(slo: &Slo, counts: [(u64, u64); 6]) -> Indicator {
    let sums = counts.map(|(failed, events)| SlotSums { events, failed, ..SlotSums::default() });
    Indicator::judge(slo, Sli::Availability, &sums)
}

fn told(indicator: &Indicator) -> String {
    let rule = indicator.burning.map(|burning| {
        let (long, short) = (burning.long.as_str(), burning.short.as_str());
        format!(" {} by {long} and {short}", burning.severity.as_str())
    });
    format!("{}{}: {}", indicator.state.as_str(), rule.unwrap_or_default(), indicator.why)
}

#[test]
fn a_name_is_safe_as_a_label() {
    for good in ["a", "checkout-99_9", &"x".repeat(64)] {
        assert_eq!(SloName::new(good).map(|name| name.as_str().to_owned()).as_deref(), Ok(good));
    }
    for bad in ["", "a b", "a\"", "ü", "a/b", "a\n", &"x".repeat(65)] {
        assert_eq!(SloName::new(bad), Err(SloNameError), "{bad:?}");
    }
}

#[test]
fn an_objective_leaves_something() {
    for good in [0.5, 0.99, 0.999_999, f64::MIN_POSITIVE] {
        assert!(Objective::new(good).is_some_and(|objective| objective.budget() > 0.0), "{good}");
    }
    for bad in [0.0, 1.0, -0.1, 99.0, f64::NAN, f64::INFINITY] {
        assert_eq!(Objective::new(bad), None, "{bad}");
    }
}

#[test]
fn what_is_counted_is_told_apart_by_what_decides_it() {
    let of = |change: fn(&mut SloSpec)| slo_with(change).definition();
    let same = of(|_| {});
    assert_eq!(of(|spec| spec.objective = Objective::new(0.5).unwrap()), same);
    assert_eq!(of(|spec| spec.window = Micros::from_days(7)), same);
    assert_eq!(of(|spec| (spec.min_events, spec.alert) = (3, false)), same);
    let others = [
        of(|spec| spec.name = SloName::new("checkout2").unwrap()),
        of(|spec| spec.workflow = "checkout*".into()),
        of(|spec| spec.latency = Some(Micros::from_secs(31))),
        of(|spec| spec.latency = None),
    ];
    assert!(others.iter().all(|other| *other != same), "{others:?}");
    // It is stored: it must not change with the program.
    assert_eq!(same.to_stored(), EXPECTED_DEFINITION);
}

const EXPECTED_DEFINITION: i64 = -6_305_449_689_586_014_168;

#[test]
fn the_budget_lasts() {
    let judged = judge(&slo(), [(0, 100), (0, 200), (1, 400), (2, 2_000), (50, 20_000), (600, 200_000)]);
    insta::assert_snapshot!(told(&judged), @"ok: 70.0 % of the error budget of 30 d is left.");
}

#[test]
fn a_fast_burn_is_critical_only_while_it_goes_on() {
    let burns =
        judge(&slo(), [(20, 100), (20, 200), (150, 1_000), (150, 6_000), (150, 70_000), (150, 700_000)]);
    insta::assert_snapshot!(told(&burns), @"burning CRITICAL by 1h and 5m: 97.9 % of the error budget of 30 d is left. It burns 15.0 times as fast as it may over 1 h, and goes on in the last 5 m.");
    let over =
        judge(&slo(), [(1, 100), (20, 200), (150, 1_000), (150, 6_000), (150, 70_000), (150, 700_000)]);
    insta::assert_snapshot!(told(&over), @"ok: 97.9 % of the error budget of 30 d is left.");
    // Exactly at the limit is not above it.
    let limit =
        judge(&slo(), [(144, 1_000), (0, 1_000), (144, 1_000), (144, 6_000), (144, 70_000), (144, 700_000)]);
    assert_eq!(limit.state, State::Ok);
}

#[test]
fn of_rules_that_fire_the_critical_ones_come_first_and_of_these_the_fast_one() {
    let by = |counts| judge(&slo(), counts).burning.map(|burning| (burning.long.as_str(), burning.severity));
    let all = [(50, 100), (50, 100), (50, 100), (50, 100), (50, 100), (50, 10_000)];
    assert_eq!(by(all), Some(("1h", Severity::Critical)));
    let slower = [(8, 100), (8, 100), (8, 100), (8, 100), (8, 100), (8, 10_000)];
    assert_eq!(by(slower), Some(("6h", Severity::Critical)));
    let slow = [(2, 100), (2, 100), (2, 100), (2, 100), (2, 100), (2, 10_000)];
    assert_eq!(by(slow), Some(("3d", Severity::Warning)));
    let spent = [(2, 100), (2, 100), (2, 100), (2, 100), (2, 100), (200, 10_000)];
    assert_eq!(by(spent), Some(("budget", Severity::Critical)));
}

#[test]
fn a_budget_that_is_spent_is_an_alarm_only_while_it_burns() {
    let burns = judge(&slo(), [(0, 0), (1, 5), (1, 10), (2, 60), (8, 700), (90, 7_000)]);
    insta::assert_snapshot!(told(&burns), @"exhausted CRITICAL by budget and 6h: The error budget of 30 d is spent: 90 of 7000 executions were bad, where 70 may be. It burns 1.3 times as fast as it may over 30 d, and goes on in the last 6 h. Too few to be judged: 1 h (10 of 20).");
    let quiet = judge(&slo(), [(0, 10), (0, 10), (0, 10), (0, 60), (7, 700), (90, 7_000)]);
    insta::assert_snapshot!(told(&quiet), @"exhausted: The error budget of 30 d is spent: 90 of 7000 executions were bad, where 70 may be. In the last 6 h it did not burn faster than it may. Too few to be judged: 1 h (10 of 20).");
    let exactly = judge(&slo(), [(0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (1, 100)]);
    assert_eq!((exactly.state, exactly.budget_remaining), (State::Exhausted, Some(0.0)));
}

#[test]
fn with_too_few_events_nothing_is_judged_and_that_is_said() {
    // Ten executions a day: one of the last three failed.
    let daily = judge(&slo(), [(0, 0), (0, 0), (1, 1), (1, 3), (1, 31), (1, 300)]);
    insta::assert_snapshot!(told(&daily), @"burning WARNING by 3d and 6h: 66.7 % of the error budget of 30 d is left. It burns 3.2 times as fast as it may over 3 d, and goes on in the last 6 h. Too few to be judged: 1 h (1 of 20), 6 h (3 of 20).");
    let few = judge(&slo(), [(3, 3), (3, 3), (3, 3), (3, 3), (3, 7), (3, 19)]);
    insta::assert_snapshot!(told(&few), @"no_data: Too little data: 19 executions ended in the last 30 d. A window is judged from 20 on, the budget from 100 on.");
    insta::assert_snapshot!(told(&judge(&slo(), [(0, 0); 6])), @"no_data: No executions ended in the last 30 d.");
    let none = judge(&slo(), [(0, 0); 6]);
    assert_eq!(
        (none.budget_remaining, none.counted(Window::H1).burn_rate(slo().spec().objective)),
        (None, None)
    );
}

#[test]
fn a_budget_that_allows_less_than_one_bad_event_is_not_judged() {
    // The first three days and a half of ten executions a day.
    let young = judge(&slo(), [(0, 0), (0, 0), (0, 0), (1, 2), (1, 30), (1, 35)]);
    insta::assert_snapshot!(told(&young), @"burning WARNING by 3d and 6h: It burns 3.3 times as fast as it may over 3 d, and goes on in the last 6 h. Too few to be judged: 1 h (0 of 20), 6 h (2 of 20), 30 d (35 of 100).");
    let judged = |objective: f64, events| {
        let slo = slo_with(|spec| spec.objective = Objective::new(objective).unwrap());
        judge(&slo, [(0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (events, events)]).state == State::Exhausted
    };
    for (objective, needed) in
        [(0.5, 20), (0.9, 20), (0.97, 34), (0.99, 100), (0.999, 1_000), (0.9999, 10_000)]
    {
        assert_eq!((judged(objective, needed - 1), judged(objective, needed)), (false, true), "{objective}");
    }
}

#[test]
fn of_latency_only_what_completed_counts() {
    let sums = [SlotSums { events: 200, failed: 40, slow: 3, ..SlotSums::default() }; 6];
    let judged = Indicator::judge(&slo(), Sli::Latency, &sums);
    assert_eq!((judged.counted(Window::H1).events, judged.counted(Window::H1).bad), (160, 3));
    insta::assert_snapshot!(told(&judged), @"exhausted CRITICAL by budget and 6h: The error budget of 30 d is spent: 3 of 160 completed executions were bad, where 1.6 may be. It burns 1.9 times as fast as it may over 30 d, and goes on in the last 6 h.");
}

#[test]
fn slots_are_those_that_a_window_reaches() {
    let now = NOON + Micros::from_secs(90);
    let shown = |slo: &Slo, ago: Micros| {
        let slots = slots_of(slo, now - ago, now);
        let slots: Vec<_> = slots.map(|slot| format!("{} {}", slot.resolution.minutes(), slot.at)).collect();
        slots.join(", ")
    };
    assert_eq!(shown(&slo(), Micros::new(0)), "1 2026-01-31T12:01:00.000Z, 60 2026-01-31T12:00:00.000Z");
    let hours = |hours: u64| Micros::from_secs(hours * 3_600);
    assert_eq!(shown(&slo(), hours(6)), "1 2026-01-31T06:01:00.000Z, 60 2026-01-31T06:00:00.000Z");
    assert_eq!(shown(&slo(), hours(6).saturating_add(Micros::from_secs(31))), "60 2026-01-31T06:00:00.000Z");
    assert_eq!(shown(&slo(), Micros::from_days(30)), "60 2026-01-01T12:00:00.000Z");
    assert_eq!(shown(&slo(), Micros::from_days(31)), "");
    let short = slo_with(|spec| spec.window = hours(1));
    assert_eq!(shown(&short, Micros::from_days(3)), "60 2026-01-28T12:00:00.000Z");
    assert_eq!(shown(&short, Micros::from_days(4)), "");
}

#[test]
fn a_burning_budget_is_told_of_when_it_is_news_and_its_end_once_it_holds() {
    let (name, mut watch) = (SloName::new("checkout").unwrap(), SloWatch::default());
    let mut said = Vec::new();
    let mut look = |at: u64, burns: Option<Severity>, reaches: bool| {
        let now = NOON + Micros::from_secs(at);
        let say = watch.look(&name, Sli::Availability, burns, now);
        if let Some(say) = say {
            said.push(format!("{at} {say:?}"));
            if reaches {
                watch.said(&name, Sli::Availability, burns, now);
            }
        }
    };
    let (warning, critical) = (Some(Severity::Warning), Some(Severity::Critical));
    look(0, None, true);
    look(10, warning, false);
    look(20, warning, true);
    look(30, warning, true);
    look(40, critical, true);
    look(50, warning, true);
    look(110, warning, true);
    look(120, None, true);
    look(400, None, true);
    look(410, None, false);
    look(420, None, true);
    look(430, None, true);
    look(440, warning, true);
    let expected = "10 Burns, 20 Burns, 40 Burns, 110 Burns, 410 Over, 420 Over, 440 Burns";
    assert_eq!(said.join(", "), expected);
}

#[test]
fn after_its_start_a_process_says_once_that_it_is_over() {
    let (name, mut watch) = (SloName::new("checkout").unwrap(), SloWatch::default());
    for at in [0, 100, 299] {
        assert_eq!(watch.look(&name, Sli::Latency, None, NOON + Micros::from_secs(at)), None);
    }
    let later = NOON + Micros::from_secs(300);
    assert_eq!(watch.look(&name, Sli::Latency, None, later), Some(Say::Over));
    watch.said(&name, Sli::Latency, None, later);
    assert_eq!(watch.look(&name, Sli::Latency, None, later + HOLD), None);
}

proptest! {
    #[test]
    fn a_window_reaches_back_as_far_as_it_says_and_less_than_a_slot_further(
        at in 0_i64..4_000_000_000_000_000, own in 3_600_u64..=90 * 86_400
    ) {
        let (now, own) = (Timestamp::from_micros(at), Micros::from_secs(own));
        for window in Window::ALL {
            let (resolution, from) = window.slots(own, now);
            let reach = now.since(from);
            let slot = Micros::from_secs(resolution.minutes().unsigned_abs().into()).get() * 60;
            prop_assert!(reach >= window.length(own) && reach.get() < window.length(own).get() + slot);
            prop_assert!(reach < resolution.kept(), "what is read is kept");
        }
    }

    #[test]
    fn an_event_is_in_the_slots_of_exactly_those_windows_that_reach_it(
        ago in 0_u64..100 * 86_400, own in 3_600_u64..=90 * 86_400
    ) {
        let now = NOON + Micros::from_days(100);
        let at = now - Micros::from_secs(ago);
        let slo = slo_with(|spec| spec.window = Micros::from_secs(own));
        let slots: Vec<Slot> = slots_of(&slo, at, now).collect();
        for window in Window::ALL {
            let (resolution, from) = window.slots(slo.spec().window, now);
            let is_reached = from <= at;
            let is_counted = slots.iter().any(|slot| slot.resolution == resolution && slot.at >= from);
            prop_assert!(!is_reached || is_counted, "{window:?}");
        }
    }

    #[test]
    fn no_counts_make_a_verdict_that_contradicts_itself(
        counts in proptest::array::uniform6((0_u64..2_000, 0_u64..2_000)), objective in 0.000_1..0.999_9_f64
    ) {
        let slo = slo_with(|spec| spec.objective = Objective::new(objective).unwrap());
        let judged = judge(&slo, counts);
        prop_assert!(judged.counts.iter().all(|count| count.bad <= count.events));
        if let Some(burning) = judged.burning {
            prop_assert!(judged.is_enough(&slo, burning.long));
            prop_assert!(judged.counted(burning.short).bad > 0);
            prop_assert!(matches!(judged.state, State::Burning | State::Exhausted));
        }
        prop_assert_eq!(judged.state == State::Exhausted,
            judged.is_enough(&slo, Window::Budget) && judged.budget_remaining.unwrap() <= 0.0);
        prop_assert!(judged.why.ends_with('.') && !judged.why.contains("NaN"), "{}", judged.why);
    }
}
