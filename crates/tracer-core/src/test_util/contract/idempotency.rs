//! `Idempotency-Key`: a repeated request is answered as the first one was, and records nothing.

use futures_util::future::join_all;

use super::Lab;
use crate::baseline::Ending;
use crate::record::{Outcome, Refusal};
use crate::test_util::fixtures::{completed, end, key, recorded, start, step, whole};
use crate::time::Micros;

pub async fn the_same_key_and_body_get_the_same_answer_once(lab: Lab) {
    let first = lab.record_under(key(1, 1), start("etl")).await.expect("recorded");
    // A client that tries again does not know the id: another one is minted.
    let again = lab.record_under(key(1, 1), start("etl")).await.expect("answered");
    assert!(first.fresh && !again.fresh);
    assert_eq!(first.outcome, again.outcome);
    assert_eq!(lab.list(&Default::default()).await.len(), 1);
}

pub async fn the_same_key_with_another_body_is_refused(lab: Lab) {
    lab.record_under(key(1, 1), start("etl")).await.expect("recorded");
    let other = start("etl");
    let id = other.id;
    assert_eq!(lab.record_under(key(1, 2), other).await, Err(Refusal::IdempotencyKeyReused));
    assert_eq!(lab.find(id).await, None);
    let again = lab.record_under(key(1, 1), start("etl")).await.expect("the first body still holds");
    assert!(!again.fresh);
}

pub async fn a_key_holds_for_a_day(lab: Lab) {
    let first = lab.record_under(key(1, 1), start("etl")).await.expect("recorded");
    lab.advance(Micros::from_days(1).saturating_sub(Micros::new(1)));
    let held = lab.record_under(key(1, 1), start("etl")).await.expect("answered");
    assert_eq!((held.fresh, &held.outcome), (false, &first.outcome));
    lab.advance(Micros::new(1));
    let free = lab.record_under(key(1, 2), start("etl")).await.expect("recorded anew, under another body");
    assert!(free.fresh);
    assert_ne!(free.outcome, first.outcome);
    assert_eq!(lab.record_under(key(1, 1), start("etl")).await, Err(Refusal::IdempotencyKeyReused));
    let again = lab.record_under(key(1, 2), start("etl")).await.expect("answered");
    assert_eq!((again.fresh, again.outcome), (false, free.outcome));
}

pub async fn a_refused_command_does_not_use_its_key_up(lab: Lab) {
    let execution = start("etl");
    let refused = lab.record_under(key(1, 1), step(execution.id, "load")).await;
    assert_eq!(refused, Err(Refusal::UnknownExecution));
    lab.record(execution.clone()).await;
    let taken = lab.record_under(key(1, 2), step(execution.id, "load")).await.expect("recorded");
    assert!(taken.fresh);
    assert_eq!(lab.steps(execution.id).await.len(), 1);
}

pub async fn keys_hold_for_steps_and_ends_too(lab: Lab) {
    let id = lab.start("etl").await;
    lab.took_each(id, "load", 100, 5).await;
    let slow = lab.record_under(key(1, 1), whole(id, "load", completed(500))).await.expect("recorded");
    let Outcome::StepEnded(step) = &slow.outcome else { panic!("no step: {slow:?}") };
    assert!(step.bottleneck.is_some());
    let ended = lab.record_under(key(2, 1), end(id)).await.expect("recorded");
    for (key, expected) in [(key(1, 1), &slow.outcome), (key(2, 1), &ended.outcome)] {
        // Whatever the command is by now: the key decides, even after the end.
        let again = lab.record_under(key, whole(id, "load", completed(500))).await.expect("answered");
        assert_eq!((again.fresh, &again.outcome), (false, expected));
    }
    let import = recorded(lab.now(), "import", &[("a", 1), ("b", 2)]);
    let first = lab.record_under(key(3, 1), import.clone()).await.expect("recorded");
    let again = lab.record_under(key(3, 1), import).await.expect("answered");
    assert_eq!((again.fresh, again.outcome), (false, first.outcome));
    assert_eq!(lab.count("etl", "load", Ending::Completed).await, 6);
}

pub async fn keys_are_told_apart_by_scope(lab: Lab) {
    for scope in 0..20 {
        assert!(lab.record_under(key(scope, 1), start("etl")).await.expect("recorded").fresh);
    }
    assert_eq!(lab.list(&Default::default()).await.len(), 20);
}

pub async fn concurrent_requests_with_one_key_record_once(lab: Lab) {
    let id = lab.start("etl").await;
    let answers =
        join_all((0..20).map(|_| lab.record_under(key(1, 1), whole(id, "load", completed(5))))).await;
    let answers: Vec<_> = answers.into_iter().map(|answer| answer.expect("answered")).collect();
    assert_eq!(answers.iter().filter(|answer| answer.fresh).count(), 1);
    assert!(answers.windows(2).all(|pair| pair[0].outcome == pair[1].outcome));
    assert_eq!(lab.steps(id).await.len(), 1);
    assert_eq!(lab.count("etl", "load", Ending::Completed).await, 1);
}

pub async fn a_reused_key_leaves_no_trace_of_the_other_body(lab: Lab) {
    lab.record_under(key(1, 1), start("etl")).await.expect("recorded");
    assert!(lab.record_under(key(1, 2), start("other")).await.is_err());
    assert!(lab.history("other").await.is_none(), "the workflow is not known");
    let names = lab.store().workflows(None, 10).await.expect("an answer");
    assert_eq!(names.len(), 1);
}
