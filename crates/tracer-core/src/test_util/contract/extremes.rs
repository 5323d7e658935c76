//! The ends of every range.

use std::collections::BTreeMap;

use serde_json::json;

use super::Lab;
use super::lab::step_ended;
use crate::attributes::Attributes;
use crate::limits;
use crate::record::{Completion, EndExecution, Refusal, StartExecution, StartStep};
use crate::repository::ExecutionFilter;
use crate::step::{StepStatus, TimesError};
use crate::test_util::fixtures::{
    complete, completed, end, ending, ms, payload, recorded, recorded_step, start, step, whole,
};
use crate::time::{Micros, Timestamp};

pub async fn work_of_1970_and_of_tomorrow_is_kept(lab: Lab) {
    let tomorrow = lab.now() + Micros::from_secs(limits::FUTURE_HOURS.unsigned_abs() * 3_600);
    for at in [Timestamp::from_micros(0), Timestamp::from_micros(1), tomorrow] {
        let id = lab.start_as(StartExecution { started_at: at, ..start("etl") }).await;
        let given = StartStep { started_at: Some(at), ..step(id, "load") };
        lab.record(given.clone()).await;
        lab.complete(id, given.id, 50).await;
        let ended_at = Some(at + ms(60));
        lab.record(EndExecution { ended_at, ..end(id) }).await;
        let (found, steps) = (lab.execution(id).await, lab.steps(id).await);
        assert_eq!((found.started_at, found.ended_at, found.duration), (at, ended_at, Some(ms(60))));
        assert_eq!((steps[0].started_at, steps[0].ended_at), (at, Some(at + ms(50))));
    }
    let old = ExecutionFilter { started_before: Some(Timestamp::from_micros(1)), ..Default::default() };
    assert_eq!(lab.list(&old).await.len(), 1);
    assert_eq!(lab.totals("etl").await.last_seen, Some(lab.now()));
}

pub async fn a_duration_of_four_hundred_days_is_kept(lab: Lab) {
    let longest = Micros::from_days(limits::DURATION_DAYS);
    let id = lab.start_as(StartExecution { started_at: lab.now() - longest, ..start("etl") }).await;
    let ended = lab.ended(id, "load", Completion { duration: Some(longest), ..completed(0) }).await;
    assert_eq!(ended.duration, longest);
    lab.took_each(id, "load", 5, 3).await;
    let ended = lab.end(id).await;
    assert_eq!(ended.total, longest);
    let measured = lab.baseline("etl", "load").await.measured();
    assert_eq!(measured.moments.max(), Some(longest));
    let filter = ExecutionFilter { min_duration: Some(longest), ..Default::default() };
    assert_eq!(lab.list(&filter).await, [id]);
}

pub async fn work_that_takes_no_time_is_kept(lab: Lab) {
    let id = lab.start("etl").await;
    assert_eq!(lab.took_each(id, "load", 0, 6).await, 0);
    let slow = lab.took(id, "load", 6).await.expect("a bottleneck");
    assert_eq!((slow.historical_avg, slow.factor()), (Micros::ZERO, 6_000.0));
    let stored = lab.steps(id).await;
    assert_eq!(stored.iter().filter_map(|step| step.bottleneck.clone()).collect::<Vec<_>>(), [slow]);
    assert_eq!(lab.end(id).await.total, Micros::ZERO);
}

pub async fn work_open_since_1970_can_be_closed_and_moves_no_average(lab: Lab) {
    let began = Timestamp::from_micros(0);
    let usual = lab.start("etl").await;
    lab.took_each(usual, "load", 100, 6).await;
    lab.advance(ms(700));
    lab.end(usual).await;
    let took = lab.now().since(began);
    let (steps, totals) = (lab.baseline("etl", "load").await, lab.totals("etl").await.moments);
    let id = lab.start_as(StartExecution { started_at: began, ..start("etl") }).await;
    for status in [StepStatus::Completed, StepStatus::Failed] {
        let given = StartStep { started_at: Some(began), ..step(id, "load") };
        lab.record(given.clone()).await;
        let ended = step_ended(lab.record(complete(id, given.id, ending(status))).await);
        assert_eq!((ended.duration, ended.bottleneck), (took, None));
        assert_eq!(lab.step_of(id, given.id).await.duration, Some(ended.duration));
    }
    let given = StartStep { started_at: Some(began), ..whole(id, "load", ending(StepStatus::Completed)) };
    assert_eq!(step_ended(lab.record(given).await).duration, took);
    assert_eq!(lab.end(id).await.total, took);
    let (now, before) = (lab.baseline("etl", "load").await, steps.measured());
    assert_eq!((now.measured().moments, now.reference()), (before.moments, steps.reference()));
    assert_eq!((now.measured().endings.completed, now.measured().endings.failed), (8, 1));
    assert_eq!((lab.totals("etl").await.moments, lab.totals("etl").await.endings.completed), (totals, 2));
    assert!(lab.took(lab.start("etl").await, "load", 1_000).await.is_some());
}

pub async fn an_import_open_since_1970_moves_no_average(lab: Lab) {
    lab.record(recorded(lab.now(), "etl", &[("load", 100)])).await;
    let mut import = recorded(lab.now(), "etl", &[]);
    let began = Timestamp::from_micros(0);
    import.steps = vec![recorded_step(1, "load", began, lab.now().as_micros().unsigned_abs() / 1_000)];
    import.start.started_at = began;
    import.end.ended_at = None;
    lab.record(import.clone()).await;
    assert_eq!(lab.execution(import.start.id).await.duration, Some(lab.now().since(began)));
    assert_eq!(lab.baseline("etl", "load").await.measured().moments.max(), Some(ms(100)));
    assert_eq!(
        (lab.totals("etl").await.moments.max(), lab.totals("etl").await.endings.completed),
        (Some(ms(100)), 2)
    );
}

pub async fn times_that_follow_from_a_duration_lie_where_given_ones_may(lab: Lab) {
    let id = lab.start("etl").await;
    let day = Micros::from_secs(limits::FUTURE_HOURS.unsigned_abs() * 3_600);
    let long = Completion { duration: Some(day.saturating_add(Micros::new(1))), ..completed(0) };
    let ahead = StartStep { started_at: Some(lab.now()), ..whole(id, "load", long) };
    assert_eq!(lab.refused(ahead).await, Refusal::Times(TimesError::EndTooFarAhead));
    let early = Completion { ended_at: Some(Timestamp::from_millis(99)), ..completed(100) };
    assert_eq!(lab.refused(whole(id, "load", early)).await, Refusal::Times(TimesError::StartBefore1970));
    assert_eq!(lab.steps(id).await, []);
    assert_eq!(lab.history("etl").await.expect("known").steps, [], "nor is there a history of it");
    let last = Completion { duration: Some(day), ..completed(0) };
    lab.record(StartStep { started_at: Some(lab.now()), ..whole(id, "load", last) }).await;
    let first = Completion { ended_at: Some(Timestamp::from_millis(100)), ..completed(100) };
    assert_eq!(lab.ended(id, "load", first).await.started_at, Timestamp::from_micros(0));
    // What runs can be ended: there the duration counts, whatever the clock says.
    let running = lab.step(id, "load").await;
    let longest = Completion { duration: Some(Micros::from_days(limits::DURATION_DAYS)), ..completed(0) };
    lab.record(complete(id, running, longest)).await;
}

pub async fn microseconds_are_kept(lab: Lab) {
    lab.advance(Micros::new(1));
    let id = lab.start("etl").await;
    let given = Completion { duration: Some(Micros::new(1_234_567)), ..completed(0) };
    let ended = lab.ended(id, "load", given).await;
    let [stored] = &lab.steps(id).await[..] else { panic!("one step") };
    assert_eq!((stored.duration, stored.started_at), (Some(ended.duration), ended.started_at));
    assert_eq!(stored.started_at.as_micros() % 1_000_000, 1_000_001 - 234_567);
    lab.advance(Micros::new(1));
    assert_eq!(lab.end(id).await.total, Micros::new(1));
    assert_eq!(lab.execution(id).await.duration, Some(Micros::new(1)));
}

pub async fn attributes_at_their_bounds_are_kept(lab: Lab) {
    let entries: BTreeMap<_, _> =
        (0..limits::ATTRIBUTES).map(|n| (format!("{n:0>128}"), json!("é".repeat(190)))).collect();
    let many = Attributes::new(entries).expect("within bounds");
    let id = lab.start_as(StartExecution { attributes: many.clone(), ..start("etl") }).await;
    lab.record(StartStep { attributes: many.clone(), ..whole(id, "load", completed(5)) }).await;
    assert_eq!(lab.execution(id).await.attributes, many);
    assert_eq!(lab.steps(id).await[0].attributes, many);
    let numbers = json!({"big": u64::MAX, "small": i64::MIN, "tenth": 0.1, "negative": -1.25e-3});
    let numbers = crate::test_util::fixtures::attributes(numbers);
    let id = lab.start_as(StartExecution { attributes: numbers.clone(), ..start("etl") }).await;
    assert_eq!(lab.execution(id).await.attributes, numbers);
}

pub async fn payloads_at_their_bounds_are_kept(lab: Lab) {
    let largest = payload(&json!("x".repeat(limits::PAYLOAD_BYTES - 2)));
    let id = lab.start_as(StartExecution { input: Some(largest.clone()), ..start("etl") }).await;
    lab.record(EndExecution { output: Some(largest.clone()), ..end(id) }).await;
    let found = lab.execution(id).await;
    assert!(found.input.as_ref() == Some(&largest) && found.output.as_ref() == Some(&largest));
}

pub async fn an_execution_of_a_thousand_steps_ends(lab: Lab) {
    let history = lab.start("etl").await;
    lab.took_each(history, "load", 100, 5).await;
    let id = lab.start("etl").await;
    let steps: Vec<_> =
        (0..1_200).map(|n| whole(id, "load", completed(if n % 100 == 0 { 300 } else { 100 }))).collect();
    futures_util::future::join_all(steps.into_iter().map(|step| lab.record(step))).await;
    let open = futures_util::future::join_all((0..1_100).map(|_| lab.step(id, "open"))).await;
    let ended = lab.end(id).await;
    assert_eq!((ended.steps_completed, ended.bottlenecks.len()), (1_200, 12));
    let stored = lab.steps(id).await;
    assert_eq!(stored.len(), 1_200 + open.len());
    assert!(stored.iter().all(|step| step.status != StepStatus::Running));
    let mut import = recorded(lab.now(), "etl", &[]);
    import.steps = vec![recorded_step(1, "load", lab.now(), 100)];
    lab.record(import).await;
}
