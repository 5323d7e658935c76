//! Steps: how they start and end, and that they end once.

use std::collections::BTreeMap;

use serde_json::json;

use super::Lab;
use super::lab::step_ended;
use crate::attributes::{Attributes, AttributesError};
use crate::baseline::Ending;
use crate::execution::ExecutionStatus;
use crate::failure::Failure;
use crate::ids::{ExecutionId, StepId};
use crate::record::{Completion, Outcome, ParentStep, Refusal, StartStep};
use crate::repository::StepCursor;
use crate::step::{Step, StepStatus, TimesError};
use crate::test_util::fixtures::{
    attributes, complete, completed, ending, failed, ms, step, step_id, step_name, step_type, whole,
};
use crate::time::Micros;

pub async fn a_started_step_is_found_as_it_was_given(lab: Lab) {
    let execution = lab.start("etl").await;
    let parent = lab.step(execution, "all").await;
    let given = StartStep {
        step_type: step_type("llm"),
        parent: Some(ParentStep::Named(parent)),
        attempt: 3,
        attributes: attributes(json!({"model": "x-1", "tokens": 512, "tags": ["a", {"b": false}]})),
        started_at: Some(lab.now() - ms(20)),
        ..step(execution, "think")
    };
    let Outcome::StepStarted(answer) = lab.record(given.clone()).await else { panic!("not started") };
    assert_eq!((answer.id, answer.execution, answer.workflow.as_str()), (given.id, execution, "etl"));
    assert_eq!((answer.step_type.as_str(), Some(answer.started_at)), ("llm", given.started_at));
    let found = lab.step_of(execution, given.id).await;
    let expected = Step {
        execution,
        id: given.id,
        name: step_name("think"),
        step_type: given.step_type,
        parent: Some(parent),
        attempt: 3,
        status: StepStatus::Running,
        started_at: lab.now() - ms(20),
        ended_at: None,
        duration: None,
        attributes: given.attributes,
        failure: None,
        bottleneck: None,
        judge_at: Some(lab.now() - ms(20) + Micros::from_secs(60)),
        incident: None,
        changed_at: lab.now(),
        span: None,
        by_trace: false,
    };
    assert_eq!(found, expected);
}

pub async fn a_step_starts_when_its_request_arrived(lab: Lab) {
    let execution = lab.start("etl").await;
    lab.advance(ms(1_234));
    let id = lab.step(execution, "load").await;
    let found = lab.step_of(execution, id).await;
    assert_eq!((found.started_at, found.parent, found.attempt), (lab.now(), None, 1));
    assert_eq!(found.step_type.as_str(), "task");
}

pub async fn starting_the_same_step_again_changes_nothing(lab: Lab) {
    let execution = lab.start("etl").await;
    let given = step(execution, "load");
    let first = lab.try_record(given.clone()).await.expect("started");
    lab.advance(ms(50));
    let again = lab.try_record(StartStep { attempt: 2, ..given.clone() }).await.expect("answered");
    assert!(first.fresh && !again.fresh);
    assert_eq!(first.outcome, again.outcome);
    let ended = lab.complete(execution, given.id, 70).await;
    let after = lab.try_record(given).await.expect("answered");
    assert!(!after.fresh);
    assert_eq!(step_ended(after.outcome), ended);
    assert_eq!(lab.steps(execution).await.len(), 1);
}

pub async fn a_step_of_an_unknown_execution_is_refused(lab: Lab) {
    let unknown = ExecutionId::mint(lab.now());
    assert_eq!(lab.refused(step(unknown, "load")).await, Refusal::UnknownExecution);
    assert_eq!(lab.refused(whole(unknown, "load", completed(1))).await, Refusal::UnknownExecution);
    assert_eq!(lab.steps(unknown).await, []);
}

pub async fn a_named_parent_must_be_a_step_of_the_same_execution(lab: Lab) {
    let (here, there) = (lab.start("etl").await, lab.start("etl").await);
    let elsewhere = lab.step(there, "all").await;
    for parent in [elsewhere, StepId::mint()] {
        let child = StartStep { parent: Some(ParentStep::Named(parent)), ..step(here, "load") };
        assert_eq!(lab.refused(child.clone()).await, Refusal::UnknownParentStep);
        let whole = StartStep { completion: Some(completed(5)), ..child };
        assert_eq!(lab.refused(whole).await, Refusal::UnknownParentStep);
    }
    assert_eq!(lab.steps(here).await, []);
    let parent = lab.took(here, "all", 5).await;
    assert_eq!(parent, None);
    let ended = lab.steps(here).await[0].id;
    let child = StartStep { parent: Some(ParentStep::Named(ended)), ..step(here, "load") };
    lab.record(child).await;
}

pub async fn a_traced_parent_may_arrive_later(lab: Lab) {
    let execution = lab.start("etl").await;
    let parent = StepId::mint();
    let child = StartStep { parent: Some(ParentStep::Traced(parent)), ..step(execution, "load") };
    lab.record(child.clone()).await;
    assert_eq!(lab.step_of(execution, child.id).await.parent, Some(parent));
    lab.record(StartStep { id: parent, ..step(execution, "all") }).await;
    assert_eq!(lab.steps(execution).await.len(), 2);
}

pub async fn the_same_step_id_in_two_executions_is_two_steps(lab: Lab) {
    let (one, two) = (lab.start("etl").await, lab.start("etl").await);
    let id = StepId::mint();
    for execution in [one, two] {
        lab.record(StartStep { id, ..step(execution, "load") }).await;
    }
    lab.complete(one, id, 10).await;
    assert_eq!(lab.step_of(one, id).await.status, StepStatus::Completed);
    assert_eq!(lab.step_of(two, id).await.status, StepStatus::Running);
    lab.complete(two, id, 20).await;
    assert_eq!(lab.count("etl", "load", Ending::Completed).await, 2);
}

pub async fn a_step_of_another_execution_is_unknown(lab: Lab) {
    let (one, two) = (lab.start("etl").await, lab.start("etl").await);
    let id = lab.step(one, "load").await;
    assert_eq!(lab.refused(complete(two, id, completed(10))).await, Refusal::UnknownStep);
    assert_eq!(lab.refused(complete(one, StepId::mint(), completed(10))).await, Refusal::UnknownStep);
    assert_eq!(lab.step_of(one, id).await.status, StepStatus::Running);
    assert_eq!(lab.count("etl", "load", Ending::Completed).await, 0);
}

pub async fn a_given_duration_counts_whatever_the_clock_says(lab: Lab) {
    let execution = lab.start("etl").await;
    let id = lab.step(execution, "load").await;
    let begun = lab.now();
    lab.advance(ms(9_000));
    let ended = lab.complete(execution, id, 70).await;
    assert_eq!((ended.duration, ended.started_at, ended.ended_at), (ms(70), begun, begun + ms(70)));
    let found = lab.step_of(execution, id).await;
    assert_eq!(
        (found.duration, found.ended_at, found.changed_at),
        (Some(ms(70)), Some(begun + ms(70)), lab.now())
    );
    assert_eq!((found.status, found.judge_at), (StepStatus::Completed, None));
}

pub async fn a_step_without_times_is_measured_by_the_clock(lab: Lab) {
    let execution = lab.start("etl").await;
    let id = lab.step(execution, "load").await;
    lab.advance(ms(321));
    let ended = step_ended(lab.record(complete(execution, id, ending(StepStatus::Completed))).await);
    assert_eq!((ended.duration, ended.ended_at), (ms(321), lab.now()));
    let ahead = StartStep { started_at: Some(lab.now() + ms(500)), ..step(execution, "load") };
    lab.record(ahead.clone()).await;
    let ended = step_ended(lab.record(complete(execution, ahead.id, ending(StepStatus::Completed))).await);
    assert_eq!((ended.duration, ended.ended_at), (Micros::ZERO, ended.started_at));
}

pub async fn a_given_end_makes_the_duration(lab: Lab) {
    let execution = lab.start("etl").await;
    let id = lab.step(execution, "load").await;
    let ended_at = Some(lab.now() + ms(40));
    let given = Completion { ended_at, ..ending(StepStatus::Completed) };
    let ended = step_ended(lab.record(complete(execution, id, given)).await);
    assert_eq!((ended.duration, Some(ended.ended_at)), (ms(40), ended_at));
    let both = Completion { ended_at, ..completed(15) };
    let id = lab.step(execution, "load").await;
    let ended = step_ended(lab.record(complete(execution, id, both)).await);
    assert_eq!((ended.duration, Some(ended.ended_at)), (ms(15), ended_at));
}

pub async fn an_end_before_the_start_leaves_the_step_running(lab: Lab) {
    let execution = lab.start("etl").await;
    let id = lab.step(execution, "load").await;
    let before = lab.step_of(execution, id).await;
    let early = Completion { ended_at: Some(lab.now() - Micros::new(1)), ..completed(5) };
    assert_eq!(lab.refused(complete(execution, id, early)).await, Refusal::Times(TimesError::EndBeforeStart));
    let far = Completion { ended_at: Some(lab.now() + Micros::from_days(401)), ..ending(StepStatus::Failed) };
    assert_eq!(lab.refused(complete(execution, id, far)).await, Refusal::Times(TimesError::TooLong));
    assert_eq!(lab.step_of(execution, id).await, before);
    assert_eq!(lab.complete(execution, id, 5).await.status, StepStatus::Completed);
}

pub async fn a_step_ends_in_every_way_and_stays_so(lab: Lab) {
    let execution = lab.start("etl").await;
    let ways = || StepStatus::ALL.into_iter().filter(|status| *status != StepStatus::Running);
    for status in ways() {
        let id = lab.step(execution, "load").await;
        lab.advance(ms(7));
        let ended = step_ended(lab.record(complete(execution, id, ending(status))).await);
        assert_eq!((ended.status, ended.duration), (status, ms(7)));
        let stored = lab.step_of(execution, id).await;
        assert_eq!((stored.status, stored.duration, stored.judge_at), (status, Some(ms(7)), None));
        for wish in ways() {
            match lab.try_record(complete(execution, id, ending(wish))).await {
                Ok(answer) => assert!(!answer.fresh && wish == status, "{status:?} became {wish:?}"),
                Err(refusal) => assert_eq!(refusal, Refusal::StepHasEnded(status)),
            }
        }
        assert_eq!(lab.step_of(execution, id).await, stored);
    }
}

pub async fn repeating_a_completion_answers_what_is_stored_and_counts_once(lab: Lab) {
    let execution = lab.start("etl").await;
    lab.took_each(execution, "load", 100, 5).await;
    let id = lab.step(execution, "load").await;
    let first = lab.complete(execution, id, 900).await;
    assert!(first.bottleneck.is_some());
    for millis in [900, 1, 5_000] {
        lab.advance(ms(3));
        let late = Completion { attributes: attributes(json!({"late": true})), ..completed(millis) };
        let again = lab.try_record(complete(execution, id, late)).await.expect("answered");
        assert!(!again.fresh);
        assert_eq!(step_ended(again.outcome), first);
    }
    assert_eq!(lab.count("etl", "load", Ending::Completed).await, 6);
    assert!(lab.step_of(execution, id).await.attributes.is_empty());
    let ended = lab.end(execution).await;
    let again =
        lab.try_record(complete(execution, id, completed(900))).await.expect("answered after the end too");
    assert_eq!((ended.steps_completed, step_ended(again.outcome)), (6, first));
}

pub async fn a_failed_step_keeps_why(lab: Lab) {
    let execution = lab.start("etl").await;
    let id = lab.step(execution, "load").await;
    let failure = Failure::new(Some("timeout"), "línea 1\nline 2 '; DROP TABLE", Some("stack 🚀"));
    let given = Completion { failure: Some(failure.clone()), ..failed(12) };
    let ended = step_ended(lab.record(complete(execution, id, given)).await);
    assert_eq!(ended.status, StepStatus::Failed);
    assert_eq!(lab.step_of(execution, id).await.failure, Some(failure));
    assert_eq!(lab.count("etl", "load", Ending::Failed).await, 1);
}

pub async fn attributes_given_at_the_end_join_those_given_at_the_start(lab: Lab) {
    let execution = lab.start("etl").await;
    let given = StartStep { attributes: attributes(json!({"a": 1, "b": "old"})), ..step(execution, "load") };
    lab.record(given.clone()).await;
    let late = Completion { attributes: attributes(json!({"b": ["new"], "c": null})), ..completed(5) };
    lab.record(complete(execution, given.id, late)).await;
    let expected = attributes(json!({"a": 1, "b": ["new"], "c": null}));
    assert_eq!(lab.step_of(execution, given.id).await.attributes, expected);
}

pub async fn attributes_beyond_their_bounds_leave_the_step_running(lab: Lab) {
    let execution = lab.start("etl").await;
    let many = |from: u32, to: u32| {
        let entries: BTreeMap<_, _> = (from..to).map(|n| (format!("k{n}"), json!(n))).collect();
        Attributes::new(entries).expect("within bounds")
    };
    let given = StartStep { attributes: many(0, 40), ..step(execution, "load") };
    lab.record(given.clone()).await;
    let before = lab.step_of(execution, given.id).await;
    let late = Completion { attributes: many(30, 90), ..completed(5) };
    let refusal = lab.refused(complete(execution, given.id, late)).await;
    assert_eq!(refusal, Refusal::Attributes(AttributesError::TooMany));
    assert_eq!(lab.step_of(execution, given.id).await, before);
    assert_eq!(lab.count("etl", "load", Ending::Completed).await, 0);
    let fits = Completion { attributes: many(0, 64), ..completed(5) };
    lab.record(complete(execution, given.id, fits)).await;
}

pub async fn a_step_recorded_whole_is_the_same_as_one_completed(lab: Lab) {
    let execution = lab.start("etl").await;
    let begun = lab.now();
    let end = Completion { attributes: attributes(json!({"rows": 7})), ..completed(30) };
    let one = StartStep {
        attributes: attributes(json!({"file": "a"})),
        started_at: Some(begun),
        ..step(execution, "load")
    };
    lab.record(one.clone()).await;
    lab.advance(ms(30));
    let in_two = step_ended(lab.record(complete(execution, one.id, end.clone())).await);
    let two = StartStep { id: StepId::mint(), completion: Some(end), started_at: None, ..one.clone() };
    let at_once = step_ended(lab.record(two.clone()).await);
    let as_one = |mut ended: crate::record::StepEnded| {
        ended.id = one.id;
        ended
    };
    assert_eq!(as_one(at_once), in_two);
    let (stored_one, mut stored_two) =
        (lab.step_of(execution, one.id).await, lab.step_of(execution, two.id).await);
    stored_two.id = one.id;
    assert_eq!(stored_one, stored_two);
    assert_eq!(lab.count("etl", "load", Ending::Completed).await, 2);
}

pub async fn a_whole_step_that_ends_before_it_starts_is_not_stored(lab: Lab) {
    let execution = lab.start("etl").await;
    let given = Completion { ended_at: Some(lab.now() - ms(1)), ..ending(StepStatus::Completed) };
    let backwards = StartStep { started_at: Some(lab.now()), ..whole(execution, "load", given) };
    assert_eq!(lab.refused(backwards).await, Refusal::Times(TimesError::EndBeforeStart));
    assert_eq!(lab.steps(execution).await, []);
    assert_eq!(lab.history("etl").await.expect("known").steps, []);
}

pub async fn an_ended_execution_takes_no_step(lab: Lab) {
    let execution = lab.start("etl").await;
    lab.end_as(execution, ExecutionStatus::Failed).await;
    let refusal = Refusal::ExecutionHasEnded(ExecutionStatus::Failed);
    assert_eq!(lab.refused(step(execution, "load")).await, refusal);
    assert_eq!(lab.refused(whole(execution, "load", completed(5))).await, refusal);
    assert_eq!(lab.refused(complete(execution, StepId::mint(), completed(5))).await, Refusal::UnknownStep);
    assert_eq!(lab.steps(execution).await, []);
}

pub async fn steps_are_paged_without_gaps_or_repeats(lab: Lab) {
    let (execution, other) = (lab.start("etl").await, lab.start("etl").await);
    lab.took(other, "elsewhere", 1).await;
    for number in 0..23 {
        let started_at = Some(lab.now() + ms(number / 6));
        lab.record(StartStep { started_at, ..step(execution, &format!("s{number}")) }).await;
    }
    let all = lab.steps(execution).await;
    assert!(all.is_sorted_by_key(|step| step.started_at));
    for limit in [1, 4, 22, 23, 24] {
        let (mut paged, mut after) = (Vec::new(), None);
        loop {
            let page = lab.store().steps(execution, after, limit).await.expect("an answer");
            assert!(page.len() <= limit);
            let Some(last) = page.last() else { break };
            after = Some(StepCursor { started_at: last.started_at, id: last.id });
            paged.extend(page);
            assert!(paged.len() <= all.len(), "the pages go round in circles");
        }
        assert_eq!(paged, all, "{limit} at a time");
    }
}

pub async fn step_ids_of_every_size_are_kept_and_paged(lab: Lab) {
    let execution = lab.start("etl").await;
    let ids = [1, 2, 1 << 62, (1 << 63) - 1, 1 << 63, (1 << 63) + 1, u64::MAX - 1, u64::MAX].map(step_id);
    for id in ids {
        lab.record(StartStep { id, ..whole(execution, "load", completed(id.as_u64() % 7)) }).await;
    }
    let all: Vec<_> = lab.steps(execution).await.iter().map(|step| (step.started_at, step.id)).collect();
    let (mut paged, mut after) = (Vec::new(), None);
    while let [step] = lab.store().steps(execution, after, 1).await.expect("an answer").as_slice() {
        after = Some(StepCursor { started_at: step.started_at, id: step.id });
        paged.push((step.started_at, step.id));
        assert!(paged.len() <= ids.len(), "the pages go round in circles");
    }
    assert_eq!(paged, all);
    let mut found: Vec<_> = all.iter().map(|(_, id)| *id).collect();
    found.sort();
    assert_eq!(found, ids);
}
