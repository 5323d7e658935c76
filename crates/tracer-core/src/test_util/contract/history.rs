//! Histories over days: the store keeps exactly what the baseline, fed by hand, says.

use super::Lab;
use crate::baseline::{Baseline, Ending, SEGMENTS_READ, Sample, Segment, ShiftRule};
use crate::detect::{FactorOfMean, Rule, StepPolicy};
use crate::features::Features;
use crate::ids::ExecutionId;
use crate::record::{Completion, EndExecution};
use crate::step::StepStatus;
use crate::test_util::fixtures::{completed, end, ending, failed, ms, recorded};
use crate::time::{Micros, Timestamp};

/// What a store should know of one step: a baseline and its closed days, kept in plain sight.
#[derive(Default)]
struct ByHand {
    baseline: Baseline,
    segments: Vec<Segment>,
}

impl ByHand {
    fn record(&mut self, at: Timestamp, duration: Micros) {
        let reference = self.baseline.reference();
        let limits = reference.and_then(|reference| FactorOfMean::default().limits(&reference));
        let clamp = limits.and_then(|limits| limits.severity(duration).map(|_| limits.warning));
        let mut known = self.newest();
        let plan = StepPolicy::default();
        let shifts = Some(ShiftRule { confirmation: plan.confirmation, least: plan.min_shift });
        let (over, features) = (clamp, &Features::default());
        let judged = reference.filter(|_| limits.is_some());
        let expected = judged.map(|reference| reference.p50);
        let sample = Sample { at, duration, over, explained: None, expected, features, shifts };
        let closed = self.baseline.learn(&sample, &mut known).closed;
        self.keep(closed);
    }

    fn fail(&mut self, at: Timestamp) {
        let mut known = self.newest();
        let closed = self.baseline.count(at, Ending::Failed, &mut known);
        self.keep(closed);
    }

    fn newest(&mut self) -> Vec<Segment> {
        self.segments.sort_by_key(|segment| segment.day);
        let skipped = self.segments.len().saturating_sub(SEGMENTS_READ);
        self.segments.iter().skip(skipped).cloned().collect()
    }

    fn keep(&mut self, closed: Option<Segment>) {
        let Some(closed) = closed else { return };
        self.segments.retain(|segment| segment.day != closed.day);
        self.segments.push(closed);
    }
}

/// Records a completed step that ended at that time.
async fn ended_at(lab: &Lab, id: ExecutionId, at: Timestamp, millis: u64) {
    let given = Completion { ended_at: Some(at), ..completed(millis) };
    lab.ended(id, "load", given).await;
}

pub async fn days_roll_over_and_the_window_forgets(lab: Lab) {
    let id = lab.start("etl").await;
    let mut by_hand = ByHand::default();
    for day in 0..50_u64 {
        for sample in 0..4 {
            let millis = 100 + day + sample;
            lab.took(id, "load", millis).await;
            by_hand.record(lab.now(), ms(millis));
        }
        assert_eq!(lab.baseline("etl", "load").await, by_hand.baseline, "day {day}");
        lab.advance(Micros::from_days(1));
    }
    let measured = lab.baseline("etl", "load").await.measured();
    assert_eq!((measured.moments.count(), measured.moments.min()), (14 * 4, Some(ms(136))));
}

pub async fn a_late_sample_joins_its_own_day(lab: Lab) {
    let id = lab.start("etl").await;
    let first = lab.now();
    lab.took_each(id, "load", 100, 3).await;
    lab.advance(Micros::from_days(2));
    lab.took_each(id, "load", 200, 3).await;
    for day in [0, 1] {
        ended_at(&lab, id, first + Micros::from_days(day), 150).await;
    }
    let measured = lab.baseline("etl", "load").await.measured();
    assert_eq!((measured.moments.count(), measured.moments.mean()), (8, Some(150_000.0)));
    assert_eq!(measured.last_seen, Some(lab.now()), "what arrives late is not the latest");
    // Thirteen days on, the first day leaves the window and the late sample with it.
    lab.advance(Micros::from_days(12));
    lab.took_each(id, "load", 300, 30).await;
    lab.advance(Micros::from_days(1));
    lab.took(id, "load", 300).await;
    let measured = lab.baseline("etl", "load").await.measured();
    assert_eq!((measured.moments.count(), measured.moments.min()), (3 + 30 + 1, Some(ms(200))));
}

pub async fn samples_of_any_day_in_any_order_are_as_the_baseline_says(lab: Lab) {
    let id = lab.start("etl").await;
    let mut by_hand = ByHand::default();
    for round in 0..120_u64 {
        // A walk that jumps back up to nine days, and on the whole goes forward; no two runs differ.
        let back = Micros::from_days(round * 7 % 10);
        let (at, millis) = (lab.now() - back, 80 + round * 13 % 60 + 900 * u64::from(round % 17 == 16));
        if round % 11 == 10 {
            lab.ended(id, "load", Completion { ended_at: Some(at), ..failed(millis) }).await;
            by_hand.fail(at);
        } else {
            ended_at(&lab, id, at, millis).await;
            by_hand.record(at, ms(millis));
        }
        if round % 3 == 0 {
            lab.advance(Micros::from_days(1));
        }
        if round % 10 == 0 {
            assert_eq!(lab.baseline("etl", "load").await, by_hand.baseline, "round {round}");
        }
    }
    assert_eq!(lab.baseline("etl", "load").await, by_hand.baseline);
}

pub async fn an_end_in_the_future_opens_no_day_before_its_time(lab: Lab) {
    let id = lab.start("etl").await;
    ended_at(&lab, id, lab.now() + Micros::from_days(1), 100).await;
    lab.took(id, "load", 100).await;
    let measured = lab.baseline("etl", "load").await.measured();
    assert_eq!((measured.moments.count(), measured.last_seen), (2, Some(lab.now())));
}

pub async fn executions_as_wholes_have_a_history_too(lab: Lab) {
    for millis in [100, 200, 600] {
        let id = lab.start("etl").await;
        let ended_at = Some(lab.now() + ms(millis));
        lab.record(EndExecution { ended_at, ..end(id) }).await;
        lab.advance(Micros::from_days(1));
    }
    lab.record(recorded(lab.now() - ms(500), "etl", &[("load", 300)])).await;
    let totals = lab.totals("etl").await;
    assert_eq!((totals.moments.count(), totals.moments.mean()), (4, Some(300_000.0)));
    assert_eq!((totals.moments.min(), totals.moments.max()), (Some(ms(100)), Some(ms(600))));
}

pub async fn baselines_and_answers_agree_on_what_was_measured(lab: Lab) {
    let id = lab.start("etl").await;
    let given = [31, 7, 7, 250, 90, 90, 11, 42, 1_000, 5];
    for millis in given {
        lab.took(id, "load", millis).await;
    }
    lab.ended(id, "load", ending(StepStatus::Skipped)).await;
    lab.ended(id, "load", failed(77)).await;
    let stored = lab.steps(id).await;
    let durations =
        stored.iter().filter(|step| step.status == StepStatus::Completed).filter_map(|step| step.duration);
    let sum: f64 = durations.map(Micros::as_f64).sum();
    let measured = lab.baseline("etl", "load").await.measured();
    let mean = measured.moments.mean().expect("samples");
    assert!((mean - sum / 10.0).abs() < 1e-3, "{mean} is not {sum} / 10");
    assert_eq!((measured.endings.completed, measured.endings.failed, measured.endings.total()), (10, 1, 11));
}
