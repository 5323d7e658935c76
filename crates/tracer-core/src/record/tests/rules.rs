//! Single rules, shown on the smallest shelf.

use crate::baseline::Ending;
use crate::detect::Policy;
use crate::execution::ExecutionStatus;
use crate::record::needs::key_of;
use crate::record::{Answer, Completion, Outcome, Refusal, Request, StartStep, StepEnded};
use crate::step::StepStatus;
use crate::test_util::Shelf;
use crate::test_util::fixtures::{
    IntoCommand, NOON, complete, completed, end, ending, key, ms, recorded, request, start, step, step_id,
    step_name, whole, workflow,
};
use crate::time::{Micros, Timestamp};

fn one(shelf: &mut Shelf, at: Timestamp, command: impl IntoCommand) -> Result<Answer, Refusal> {
    shelf.write(&Policy::default(), &[request(at, command)]).remove(0)
}

fn step_ended(answer: Result<Answer, Refusal>) -> StepEnded {
    let Ok(Answer { outcome: Outcome::StepEnded(ended), .. }) = answer else {
        panic!("no ended step: {answer:?}")
    };
    ended
}

#[test]
fn a_batch_of_many_judges_each_by_those_before_it() {
    let (mut shelf, begin) = (Shelf::default(), start("etl"));
    one(&mut shelf, NOON, begin.clone()).unwrap();
    let durations = [100, 100, 100, 100, 100, 250, 90];
    let batch: Vec<Request> =
        durations.iter().map(|millis| request(NOON, whole(begin.id, "load", completed(*millis)))).collect();
    let judged = shelf
        .write(&Policy::default(), &batch)
        .into_iter()
        .map(|answer| step_ended(answer).bottleneck.map(|found| found.samples));
    assert_eq!(judged.collect::<Vec<_>>(), [None, None, None, None, None, Some(5), None]);
}

#[test]
fn an_end_says_which_average_it_was_compared_with_once_there_is_one() {
    let (mut shelf, begin) = (Shelf::default(), start("etl"));
    one(&mut shelf, NOON, begin.clone()).unwrap();
    let mut load = |status: StepStatus, millis: u64| {
        let completion = Completion { status, ..completed(millis) };
        step_ended(one(&mut shelf, NOON, whole(begin.id, "load", completion))).compared_with
    };
    let young: Vec<_> = (0..5).map(|_| load(StepStatus::Completed, 100)).collect();
    assert_eq!(young, [None; 5], "five are a history, fewer are none");
    assert_eq!(load(StepStatus::Completed, 160), Some(ms(100)), "what is normal, too");
    assert_eq!(load(StepStatus::Failed, 100), Some(ms(110)));
    assert_eq!(load(StepStatus::Skipped, 100), None, "it is not judged");
}

#[test]
fn a_step_beyond_the_bound_on_names_is_recorded_without_history() {
    // A store leaves the key out of the set; here that is done by hand.
    let begin = start("etl");
    let mut set = crate::record::WorkingSet::default();
    let requests = [request(NOON, begin.clone())];
    crate::record::apply(&Default::default(), &requests, &mut set);
    let late = [request(NOON, whole(begin.id, "one too many", completed(5)))];
    let answers = crate::record::apply(&Default::default(), &late, &mut set);
    assert!(answers[0].as_ref().is_ok_and(|answer| answer.fresh));
    assert_eq!((set.written_steps.len(), set.written_histories.len()), (1, 0));
}

#[test]
fn an_executions_end_counts_its_steps_and_cancels_the_open_ones() {
    let (mut shelf, begin) = (Shelf::default(), start("etl"));
    one(&mut shelf, NOON, begin.clone()).unwrap();
    one(&mut shelf, NOON, whole(begin.id, "load", completed(5))).unwrap();
    one(&mut shelf, NOON, whole(begin.id, "load", ending(StepStatus::Failed))).unwrap();
    let open = step(begin.id, "save");
    one(&mut shelf, NOON, open.clone()).unwrap();
    let answer = one(&mut shelf, NOON + ms(70), end(begin.id)).unwrap();
    let Outcome::ExecutionEnded(ended) = answer.outcome else { panic!("not ended") };
    assert_eq!((ended.steps_completed, ended.total, ended.status), (1, ms(70), ExecutionStatus::Completed));
    let closed = &shelf.steps[&(begin.id, open.id)];
    assert_eq!((closed.status, closed.duration), (StepStatus::Cancelled, Some(ms(70))));
    let load = shelf.baseline(key_of(&workflow("etl"), Some(&step_name("load")))).measured().endings;
    assert_eq!((load.get(Ending::Completed), load.get(Ending::Failed)), (1, 1));
    assert!(!shelf.baselines.contains_key(&key_of(&workflow("etl"), Some(&step_name("save")))));
}

#[test]
fn a_sample_of_tomorrow_counts_as_of_now() {
    let (mut shelf, begin) = (Shelf::default(), start("etl"));
    one(&mut shelf, NOON, begin.clone()).unwrap();
    let ahead = Completion { ended_at: Some(NOON + Micros::from_days(1)), ..completed(5) };
    one(&mut shelf, NOON, whole(begin.id, "load", ahead)).unwrap();
    one(&mut shelf, NOON, whole(begin.id, "load", completed(5))).unwrap();
    let load = shelf.baseline(key_of(&workflow("etl"), Some(&step_name("load"))));
    assert_eq!((load.measured().last_seen, shelf.segments.len()), (Some(NOON), 0));
}

#[test]
fn a_key_answers_for_a_day_and_is_then_used_anew() {
    let mut shelf = Shelf::default();
    let under = |at, body| Request { idempotency: Some(key(1, body)), ..request(at, start("etl")) };
    let mut answer =
        |at, body| shelf.write(&Policy::default(), &[under(at, body)]).remove(0).map(|answer| answer.fresh);
    let day = Micros::from_days(1);
    assert_eq!(answer(NOON, 1), Ok(true));
    assert_eq!(answer(NOON + day - Micros::new(1), 1), Ok(false));
    assert_eq!(answer(NOON + ms(5), 2), Err(Refusal::IdempotencyKeyReused));
    assert_eq!(answer(NOON + day, 2), Ok(true));
    assert_eq!(answer(NOON + day, 1), Err(Refusal::IdempotencyKeyReused));
}

#[test]
fn an_import_counts_each_step_once_however_often_it_comes() {
    let mut shelf = Shelf::default();
    let import = recorded(NOON, "blast", &[("split", 10), ("blast", 200), ("blast", 210)]);
    let first = one(&mut shelf, NOON + ms(500), import.clone()).unwrap();
    let stored = shelf.clone();
    let again = one(&mut shelf, NOON + ms(900), import).unwrap();
    assert_eq!((first.fresh, again.fresh), (true, false));
    assert_eq!(shelf, stored);
    assert_eq!(
        shelf
            .baseline(key_of(&workflow("blast"), Some(&step_name("blast"))))
            .to_string()
            .split(" p50")
            .next(),
        Some("n=2 mean=205ms")
    );
}

#[test]
fn the_order_of_start_decides_the_order_of_bottlenecks() {
    let (mut shelf, begin) = (Shelf::default(), start("etl"));
    one(&mut shelf, NOON, begin.clone()).unwrap();
    for _ in 0..5 {
        one(&mut shelf, NOON, whole(begin.id, "load", completed(100))).unwrap();
    }
    for number in [3, 1, 2] {
        let at = NOON + Micros::from_secs(number);
        let slow = StartStep { id: step_id(number), started_at: Some(at), ..step(begin.id, "load") };
        one(&mut shelf, NOON, slow).unwrap();
        step_ended(one(&mut shelf, NOON, complete(begin.id, step_id(number), completed(9_000))));
    }
    let answer = one(&mut shelf, NOON, end(begin.id)).unwrap();
    let Outcome::ExecutionEnded(ended) = answer.outcome else { panic!("not ended") };
    assert_eq!(ended.bottlenecks.iter().map(|step| step.id.as_u64()).collect::<Vec<_>>(), [1, 2, 3]);
}
