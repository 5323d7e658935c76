//! Upkeep: health, months ahead, silence, and shutting down.

use std::sync::Arc;

use futures_util::future::{join, join_all};

use super::Lab;
use crate::clock::Clock;
use crate::record::StartExecution;
use crate::repository::RepositoryError;
use crate::test_util::fixtures::{ms, recorded, request, start};
use crate::time::Micros;

pub async fn a_store_answers_a_ping_and_is_healthy(lab: Lab) {
    lab.store().ping().await.expect("a sign of life");
    let health = lab.store().health().await.expect("an answer");
    assert_eq!((health.queued, health.workflows_over_step_limit), (0, 0));
    assert!(health.queue_capacity > 0);
    assert!(!lab.store().kind().is_empty());
}

pub async fn preparing_is_repeatable_and_months_arrive(lab: Lab) {
    for _ in 0..15 {
        lab.store().prepare(lab.now()).await.expect("prepared");
        lab.store().prepare(lab.now()).await.expect("prepared again");
        let id = lab.start("etl").await;
        lab.took(id, "load", 5).await;
        lab.end(id).await;
        lab.advance(Micros::from_days(31));
    }
    assert_eq!(lab.list(&Default::default()).await.len(), 15);
    // A service that slept through the months finds its way too.
    lab.advance(Micros::from_days(200));
    let id = lab.start("etl").await;
    lab.took(id, "load", 5).await;
    assert_eq!(lab.steps(id).await.len(), 1);
}

pub async fn an_execution_without_activity_is_silent(lab: Lab) {
    let silent = lab.start("silent").await;
    let stepping = lab.start("stepping").await;
    let completing = lab.start("completing").await;
    let ended = lab.start("ended").await;
    let open = lab.step(completing, "open").await;
    lab.step(silent, "open").await;
    lab.record(recorded(lab.now(), "imported", &[("load", 5)])).await;
    lab.advance(Micros::from_days(3));
    lab.step(stepping, "next").await;
    lab.complete(completing, open, 5).await;
    lab.end(ended).await;
    // Recorded just now, whatever its client says of its start.
    let long_ago = lab.now() - Micros::from_days(30);
    let young = lab.start_as(StartExecution { started_at: long_ago, ..start("young") }).await;
    let active = lab.now();
    let since = async |before| {
        let mut ids = lab.store().silent_since(before, 100).await.expect("an answer");
        ids.sort();
        ids
    };
    assert_eq!(since(lab.now() - Micros::from_days(1)).await, [silent]);
    assert_eq!(since(active).await, [silent], "activity at that moment is activity since");
    lab.advance(Micros::from_days(3));
    assert_eq!(since(lab.now() - Micros::from_days(4)).await, [silent]);
    let mut all = vec![silent, stepping, completing, young];
    all.sort();
    assert_eq!(since(lab.now()).await, all);
    assert_eq!(since(lab.now() - Micros::from_days(6)).await, [], "at that moment is not before it");
}

pub async fn a_silent_listing_is_bounded(lab: Lab) {
    for _ in 0..5 {
        lab.start("etl").await;
    }
    lab.advance(Micros::from_days(9));
    let some = lab.store().silent_since(lab.now(), 3).await.expect("an answer");
    assert_eq!(some.len(), 3);
}

pub async fn a_store_stamps_by_the_clock_it_was_given(lab: Lab) {
    assert_eq!(lab.store().clock().now(), lab.now());
    lab.advance(ms(5));
    assert_eq!(lab.store().clock().now(), lab.now());
    let clock: Arc<dyn Clock> = lab.store().clock();
    assert_eq!(clock.now(), lab.now());
}

pub async fn shutting_down_answers_what_was_accepted_and_refuses_the_rest(lab: Lab) {
    let started: Vec<_> = (0..50).map(|_| start("etl")).collect();
    let sent = started.iter().map(|start| lab.store().record(request(lab.now(), start.clone())));
    let (answers, ()) = join(join_all(sent), lab.store().shut_down()).await;
    for (start, answer) in started.iter().zip(answers) {
        match answer {
            Ok(_) => assert_eq!(lab.find(start.id).await.map(|found| found.id), Some(start.id)),
            Err(RepositoryError::Unavailable { .. }) => assert_eq!(lab.find(start.id).await, None),
            Err(error) => panic!("{error:?}"),
        }
    }
    let late = lab.store().record(request(lab.now(), start("late"))).await;
    assert!(matches!(late, Err(RepositoryError::Unavailable { .. })), "{late:?}");
    lab.store().shut_down().await;
}
