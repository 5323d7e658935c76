//! What a batch loads and locks, and what may share one.

use crate::baseline::{Baseline, Segment};
use crate::detect::Policy;
use crate::execution::ExecutionStatus;
use crate::features::Features;
use crate::ids::ExecutionId;
use crate::record::needs::key_of;
use crate::record::{
    Claims, EndExecution, ExecutionHead, FirstNeeds, History, HistoryNeeds, JudgeExecution, JudgeStep, Lock,
    ParentStep, Request, StartExecution, StartStep, WorkingSet, segment_needs,
};
use crate::test_util::fixtures::{
    NOON, complete, completed, end, key, ms, rebaseline, recorded, request, start, step, step_id, step_name,
    whole, workflow,
};
use crate::time::Micros;

fn at_noon(command: impl crate::test_util::fixtures::IntoCommand) -> Request {
    request(NOON, command)
}

fn running(id: ExecutionId) -> (ExecutionId, ExecutionHead) {
    let head = ExecutionHead {
        workflow: workflow("etl"),
        status: ExecutionStatus::Running,
        started_at: NOON,
        ended_at: None,
        duration: None,
        recorded_at: NOON,
        steps_completed: 0,
        worst: None,
        features: Features::default(),
        stalled: None,
        judge_at: None,
        incident: None,
        trace: None,
        settle_at: None,
    };
    (id, head)
}

/// Returns which of the commands share the first batch.
fn admitted(requests: &[Request]) -> Vec<bool> {
    let mut claims = Claims::default();
    requests.iter().map(|request| claims.admit(request)).collect()
}

#[test]
fn each_command_locks_what_it_must_and_no_more() {
    let (parent, id) = (start("etl").id, start("etl").id);
    let locks = |requests: &[Request]| FirstNeeds::of(requests).executions.get(&id).copied();
    assert_eq!(locks(&[at_noon(step(id, "load"))]), Some(Lock::Update));
    assert_eq!(locks(&[at_noon(complete(id, step_id(1), completed(5)))]), Some(Lock::Update));
    assert_eq!(locks(&[at_noon(StartExecution { id, ..start("etl") })]), Some(Lock::Look));
    assert_eq!(locks(&[at_noon(StartExecution { parent: Some(id), ..start("etl") })]), Some(Lock::Look));
    assert_eq!(
        locks(&[at_noon(end(id)), at_noon(step(id, "load"))]),
        Some(Lock::Update),
        "the strongest holds"
    );
    assert_eq!(locks(&[at_noon(rebaseline("etl", "load"))]), None);
    assert_eq!(locks(&[at_noon(JudgeStep { execution: id, id: step_id(1) })]), Some(Lock::Update));
    let looking = FirstNeeds::of(&[at_noon(JudgeExecution { id })]);
    assert_eq!((looking.executions[&id], looking.activities.contains(&id)), (Lock::Update, true));
    let mut import = recorded(NOON, "etl", &[("load", 5)]);
    (import.start.id, import.start.parent) = (id, Some(parent));
    let needs = FirstNeeds::of(&[at_noon(import)]);
    assert_eq!((needs.executions[&id], needs.executions[&parent]), (Lock::Update, Lock::Look));
    assert!(needs.closings.contains(&id) && needs.steps.is_empty());
}

#[test]
fn a_named_parent_is_loaded_and_a_traced_one_is_not() {
    let id = start("etl").id;
    let child = |parent| StartStep { id: step_id(1), parent: Some(parent), ..step(id, "load") };
    let named = FirstNeeds::of(&[at_noon(child(ParentStep::Named(step_id(2))))]);
    assert_eq!(named.steps.into_iter().collect::<Vec<_>>(), [(id, step_id(1)), (id, step_id(2))]);
    let traced = FirstNeeds::of(&[at_noon(child(ParentStep::Traced(step_id(2))))]);
    assert_eq!(traced.steps.into_iter().collect::<Vec<_>>(), [(id, step_id(1))]);
}

#[test]
fn histories_are_made_for_what_will_be_recorded_only() {
    let id = start("etl").id;
    let set = WorkingSet { executions: [running(id)].into(), ..WorkingSet::default() };
    let made = |request: Request| {
        let needs = HistoryNeeds::of(&Policy::default(), &[request], &set).0;
        needs
            .into_values()
            .map(|need| (need.step.map(|step| step.to_string()), need.create, need.lock))
            .collect::<Vec<_>>()
    };
    let load = || Some("load".to_owned());
    assert_eq!(made(at_noon(whole(id, "load", completed(5)))), [(load(), true, true)]);
    assert_eq!(made(at_noon(step(id, "load"))), [(load(), false, false)], "only to know when to wake up");
    assert_eq!(made(at_noon(end(id))), [(None, true, true)]);
    assert_eq!(made(at_noon(start("new"))), [(None, true, false)], "a start counts nothing");
    assert_eq!(made(at_noon(rebaseline("etl", "load"))), [(load(), false, true)]);
    assert_eq!(made(at_noon(whole(start("etl").id, "load", completed(5)))), []);
    assert_eq!(made(at_noon(complete(id, step_id(1), completed(5)))), []);
    assert_eq!(made(at_noon(end(start("etl").id))), []);
    assert_eq!(made(at_noon(EndExecution { ended_at: Some(NOON - ms(1)), ..end(id) })), []);
    assert_eq!(made(at_noon(StartExecution { parent: Some(start("etl").id), ..start("new") })), []);
    let orphan = StartStep { parent: Some(ParentStep::Named(step_id(9))), ..whole(id, "load", completed(5)) };
    assert_eq!(made(at_noon(orphan)), []);
}

#[test]
fn closed_days_are_needed_only_on_another_day_than_the_newest() {
    let id = start("etl").id;
    let mut baseline = Baseline::empty();
    let closed: Option<Segment> = baseline.record(NOON, ms(100), None, &mut Vec::new());
    assert_eq!(closed, None);
    let load = key_of(&workflow("etl"), Some(&step_name("load")));
    let mut set = WorkingSet { executions: [running(id)].into(), ..WorkingSet::default() };
    let needed = |set: &WorkingSet, at| {
        let request = request(at, whole(id, "load", completed(5)));
        segment_needs(&Policy::default(), &[request], set).into_iter().collect::<Vec<_>>()
    };
    assert_eq!(needed(&set, NOON), [], "without a history there are no days");
    set.histories.insert(load, History::default());
    assert_eq!(needed(&set, NOON), []);
    set.histories.insert(load, History { baseline, ..History::default() });
    assert_eq!(needed(&set, NOON + ms(5)), []);
    assert_eq!(needed(&set, NOON + Micros::from_days(1)), [load]);
    assert_eq!(needed(&set, NOON - Micros::from_days(1)), [load]);
}

#[test]
fn no_two_commands_of_a_batch_change_the_same_row() {
    let (one, two) = (start("etl").id, start("etl").id);
    let load = || at_noon(complete(one, step_id(1), completed(5)));
    assert_eq!(
        admitted(&[load(), load(), at_noon(complete(one, step_id(2), completed(5)))]),
        [true, false, true]
    );
    assert_eq!(admitted(&[load(), at_noon(end(one)), at_noon(end(two))]), [true, false, true]);
    assert_eq!(admitted(&[at_noon(end(one)), load(), at_noon(end(one))]), [true, false, false]);
    let begin = StartExecution { id: one, ..start("etl") };
    assert_eq!(admitted(&[at_noon(begin.clone()), load(), at_noon(begin)]), [true, false, false]);
    assert_eq!(admitted(&[at_noon(rebaseline("etl", "load")), load()]), [true, true]);
    let look = || at_noon(JudgeStep { execution: one, id: step_id(1) });
    assert_eq!(admitted(&[load(), look(), at_noon(step(one, "save"))]), [true, false, true]);
    let listen = || at_noon(JudgeExecution { id: one });
    assert_eq!(admitted(&[load(), listen(), at_noon(JudgeExecution { id: two })]), [true, false, true]);
    assert_eq!(admitted(&[listen(), at_noon(step(one, "save")), listen()]), [true, false, false]);
}

#[test]
fn a_child_waits_for_the_batch_that_makes_its_parent() {
    let id = start("etl").id;
    let parent = StartStep { id: step_id(1), ..step(id, "all") };
    let child = |parent| StartStep { id: step_id(2), parent: Some(parent), ..step(id, "load") };
    let named = [at_noon(parent.clone()), at_noon(child(ParentStep::Named(step_id(1))))];
    assert_eq!(admitted(&named), [true, false]);
    let traced = [at_noon(parent), at_noon(child(ParentStep::Traced(step_id(1))))];
    assert_eq!(admitted(&traced), [true, true], "a whole export shares a batch");
    let (first, second) = (start("etl"), start("etl"));
    let second = StartExecution { parent: Some(first.id), ..second };
    assert_eq!(admitted(&[at_noon(first), at_noon(second)]), [true, false]);
}

#[test]
fn an_idempotency_key_is_claimed_with_its_command_or_not_at_all() {
    let id = start("etl").id;
    let under = |scope, request: Request| Request { idempotency: Some(key(scope, 1)), ..request };
    let first = under(1, at_noon(start("etl")));
    assert_eq!(
        admitted(&[first.clone(), under(1, at_noon(start("etl"))), under(2, at_noon(start("etl")))]),
        [true, false, true]
    );
    let ending = at_noon(end(id));
    let not_now = under(1, at_noon(step(id, "load")));
    assert_eq!(admitted(&[ending, not_now, first]), [true, false, true], "what waits does not hold its key");
}
