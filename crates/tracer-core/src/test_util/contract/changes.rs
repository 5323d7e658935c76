//! When a step stays slow: loud while it is news, quiet once it is the new normal.

use super::Lab;
use super::lab::verdict;
use crate::record::Refusal;
use crate::test_util::fixtures::{ms, rebaseline};
use crate::time::Micros;

async fn sixty_after_thirty(lab: &Lab, millis: u64) {
    let id = lab.start("etl").await;
    assert_eq!(lab.took_each(id, "load", 100, 30).await, 0);
    assert_eq!(lab.took_each(id, "load", millis, 60).await, 60);
    let last = lab.took(id, "load", millis).await.expect("a bottleneck");
    assert!(last.historical_avg < ms(150), "the slowness moved what it is judged by: {last:?}");
    let measured = lab.baseline("etl", "load").await.measured();
    assert_eq!((measured.moments.count(), measured.moments.max()), (91, Some(ms(millis))));
}

pub async fn sixty_at_three_times_the_average_are_sixty_bottlenecks(lab: Lab) {
    sixty_after_thirty(&lab, 300).await;
}

pub async fn sixty_at_fifty_times_the_average_are_sixty_bottlenecks(lab: Lab) {
    sixty_after_thirty(&lab, 5_000).await;
}

pub async fn after_a_whole_window_the_new_level_is_normal(lab: Lab) {
    let id = lab.start("etl").await;
    lab.took_each(id, "load", 100, 30).await;
    for day in 0..14 {
        assert_eq!(lab.took_each(id, "load", 500, 5).await, 5, "day {day}");
        lab.advance(Micros::from_days(1));
    }
    let mut slow = 0;
    for _ in 0..3 {
        slow += lab.took_each(id, "load", 500, 5).await;
        lab.advance(Micros::from_days(1));
    }
    assert!(slow <= 10, "{slow} of 15 still judged by the old level");
    assert_eq!(lab.took_each(id, "load", 500, 20).await, 0);
    assert!(lab.took(id, "load", 1_600).await.is_some(), "the new level judges");
}

pub async fn rebaseline_makes_the_new_level_normal_at_once(lab: Lab) {
    let id = lab.start("etl").await;
    lab.took_each(id, "load", 100, 30).await;
    assert_eq!(lab.took_each(id, "load", 500, 10).await, 10);
    lab.record(rebaseline("etl", "load")).await;
    assert_eq!(lab.took_each(id, "load", 500, 30).await, 0);
    let slow = lab.took(id, "load", 2_500).await;
    assert!(verdict(slow.as_ref()).starts_with("CRITICAL 5.00 over 500ms"), "{slow:?}");
    let measured = lab.baseline("etl", "load").await.measured();
    assert_eq!(
        (measured.moments.count(), measured.moments.min()),
        (71, Some(ms(100))),
        "what was measured stays"
    );
    let again = lab.try_record(rebaseline("etl", "load")).await;
    assert!(again.is_ok());
}

pub async fn rebaseline_of_what_was_never_recorded_is_refused(lab: Lab) {
    let id = lab.start("etl").await;
    assert_eq!(lab.refused(rebaseline("etl", "load")).await, Refusal::UnknownHistory);
    assert_eq!(lab.refused(rebaseline("nowhere", "load")).await, Refusal::UnknownHistory);
    lab.step(id, "load").await;
    assert_eq!(
        lab.refused(rebaseline("etl", "load")).await,
        Refusal::UnknownHistory,
        "nothing has ended yet"
    );
    assert!(lab.history("nowhere").await.is_none());
    assert_eq!(lab.history("etl").await.expect("known").steps, []);
}

pub async fn a_stall_does_not_move_the_reference(lab: Lab) {
    let id = lab.start("etl").await;
    lab.took_each(id, "load", 100, 30).await;
    assert!(lab.took(id, "load", 5_000).await.is_some());
    assert_eq!(lab.reference("etl", "load").await.split(" p50").next(), Some("n=31 mean=103ms"));
}
