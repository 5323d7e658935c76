//! What is judged while it runs: once per crossing, by the history of the moment of looking.

use futures_util::future::join_all;

use super::Lab;
use crate::detect::{Severity, VerdictKind};
use crate::execution::ExecutionStatus;
use crate::ids::{ExecutionId, StepId};
use crate::limits;
use crate::record::{Completion, JudgeExecution, JudgeStep, StartStep};
use crate::repository::Due;
use crate::test_util::fixtures::{completed, ms, rebaseline, recorded, step, step_id};
use crate::time::{Micros, Timestamp};

/// What is judged when it exceeds a limit is judged a microsecond later.
const BEYOND: Micros = Micros::new(1);
const NOTHING: [&str; 0] = [];

fn beyond(length: Micros) -> Micros {
    length.saturating_add(BEYOND)
}

/// Returns an execution with a step that runs from now on, and whose history is five runs of 100 ms.
async fn running(lab: &Lab) -> (ExecutionId, StepId) {
    let id = lab.start("etl").await;
    lab.took_each(id, "load", 100, 5).await;
    (id, lab.step(id, "load").await)
}

/// Gives a workflow a history of five executions of a second each.
async fn of_a_second(lab: &Lab, name: &str) {
    for _ in 0..5 {
        lab.record(recorded(lab.now(), name, &[("load", 1_000)])).await;
    }
}

async fn due(lab: &Lab, limit: usize) -> Due {
    lab.store().due(lab.now(), limit).await.expect("an answer")
}

async fn looked_at_next(lab: &Lab, id: ExecutionId) -> Option<Timestamp> {
    lab.execution(id).await.judge_at
}

pub async fn a_step_is_reported_when_it_crosses_its_limit_and_once(lab: Lab) {
    let (id, load) = running(&lab).await;
    lab.advance(ms(200));
    assert_eq!(due(&lab, 10).await, Due::default(), "the limit is strict");
    lab.advance(BEYOND);
    assert_eq!(due(&lab, 10).await.steps, [(id, load)]);
    assert_eq!(lab.look().await, ["load WARNING 2.00 over 100ms of 5"]);
    let stored = lab.step_of(id, load).await;
    let found = stored.bottleneck.expect("a verdict");
    assert_eq!(
        (found.kind, found.in_flight, found.duration),
        (VerdictKind::StuckStep, true, beyond(ms(200)))
    );
    assert_eq!(lab.execution(id).await.worst, Some(Severity::Warning));
    assert_eq!(lab.look().await, NOTHING);
    assert_eq!(lab.judge(JudgeStep { execution: id, id: load }).await, None);
    let shown = lab.store().bottleneck_steps(id).await.expect("an answer").expect("known");
    assert_eq!(shown.running.len(), 1, "it is no ended step");
    assert!(shown.judged.is_empty() && shown.stalled.is_none());
}

pub async fn a_warning_becomes_critical_and_is_left_alone(lab: Lab) {
    let (id, load) = running(&lab).await;
    lab.advance(ms(250));
    assert_eq!(lab.look().await, ["load WARNING 2.50 over 100ms of 5"]);
    lab.advance(ms(50));
    assert_eq!(lab.look().await, NOTHING);
    lab.advance(BEYOND);
    assert_eq!(lab.look().await, ["load CRITICAL 3.00 over 100ms of 5"]);
    assert_eq!(lab.execution(id).await.worst, Some(Severity::Critical));
    assert_eq!(lab.step_of(id, load).await.judge_at, None);
    lab.advance(Micros::from_days(1));
    assert_eq!(lab.look().await, NOTHING);
}

pub async fn what_crossed_both_limits_unseen_is_critical_at_once(lab: Lab) {
    let _step = running(&lab).await;
    lab.advance(Micros::from_secs(30));
    assert_eq!(lab.look().await, ["load CRITICAL 300.00 over 100ms of 5"]);
    assert_eq!(lab.look().await, NOTHING);
}

pub async fn history_that_arrived_later_counts(lab: Lab) {
    let id = lab.start("etl").await;
    lab.step(id, "load").await;
    // Told of only now; what ended after it began would be the faster ones of its siblings.
    let before = Completion { ended_at: Some(lab.now() - ms(1)), ..completed(1_000) };
    for _ in 0..5 {
        lab.ended(id, "load", before.clone()).await;
    }
    lab.advance(Micros::from_secs(59));
    assert_eq!(lab.look().await, NOTHING);
    lab.advance(Micros::from_secs(1));
    assert_eq!(lab.look().await, ["load CRITICAL 60.00 over 1000ms of 5"]);
}

pub async fn without_history_there_is_no_verdict(lab: Lab) {
    let id = lab.start("etl").await;
    lab.took_each(id, "load", 100, 4).await;
    let load = lab.step(id, "load").await;
    let begun = lab.now();
    for minutes in [1, 1, 2, 4] {
        lab.advance(Micros::from_secs(60 * minutes));
        assert_eq!(due(&lab, 10).await.steps, [(id, load)]);
        assert_eq!(lab.look().await, NOTHING);
    }
    let stored = lab.step_of(id, load).await;
    assert_eq!((stored.judge_at, stored.bottleneck), (Some(begun + Micros::from_secs(16 * 60)), None));
}

pub async fn a_verdict_is_taken_back_after_a_rebaseline_and_may_come_again(lab: Lab) {
    let id = lab.start("etl").await;
    lab.took_each(id, "load", 100, 30).await;
    let load = lab.step(id, "load").await;
    lab.advance(beyond(ms(200)));
    assert_eq!(lab.look().await, ["load WARNING 2.00 over 100ms of 30"]);
    let other = lab.start("etl").await;
    lab.took_each(other, "load", 500, 10).await;
    lab.record(rebaseline("etl", "load")).await;
    lab.advance(ms(100));
    assert_eq!(lab.look().await, NOTHING);
    assert_eq!(lab.step_of(id, load).await.bottleneck, None);
    lab.advance(ms(699));
    assert_eq!(lab.look().await, NOTHING);
    lab.advance(ms(1));
    let said = lab.look().await;
    assert!(said.len() == 1 && said.concat().starts_with("load WARNING 2.00 over 500ms"), "{said:?}");
}

pub async fn a_timeout_is_critical_without_history(lab: Lab) {
    let id = lab.start("etl").await;
    let fetch = lab.step(id, "timed fetch").await;
    lab.advance(Micros::from_secs(1));
    assert_eq!(lab.look().await, NOTHING);
    lab.advance(BEYOND);
    assert_eq!(lab.look().await, ["timed fetch CRITICAL 0.00 over 0ms of 0"]);
    let stored = lab.step_of(id, fetch).await;
    assert_eq!(stored.bottleneck.map(|found| found.severity), Some(Severity::Critical));
    // History of another level changes nothing about it.
    lab.took_each(id, "timed fetch", 5_000, 5).await;
    lab.step(id, "timed fetch").await;
    lab.advance(beyond(Micros::from_secs(1)));
    assert_eq!(lab.look().await, ["timed fetch CRITICAL 0.20 over 5000ms of 5"]);
}

pub async fn old_work_is_not_looked_at(lab: Lab) {
    let id = lab.start("etl").await;
    lab.took_each(id, "load", 100, 5).await;
    lab.advance(Micros::from_secs(3_600));
    let old = Micros::from_secs(limits::OLD_WORK_MINUTES * 60);
    let began = |before: Micros| StartStep { started_at: Some(lab.now() - before), ..step(id, "load") };
    let (told_late, in_time) = (began(beyond(old)), began(old));
    lab.record(told_late.clone()).await;
    lab.record(in_time.clone()).await;
    assert_eq!(lab.step_of(id, told_late.id).await.judge_at, None);
    assert_eq!(lab.step_of(id, in_time.id).await.judge_at, Some(lab.now()), "it is over its limit already");
    assert_eq!(due(&lab, 10).await.steps, [(id, in_time.id)]);
    assert_eq!(lab.look().await, ["load CRITICAL 9000.00 over 100ms of 5"]);
}

pub async fn a_clock_that_steps_back_repeats_nothing(lab: Lab) {
    let (id, load) = running(&lab).await;
    let judge = JudgeStep { execution: id, id: load };
    lab.clock.step_back(Micros::from_secs(3_600));
    assert_eq!((lab.look().await, lab.judge(judge).await), (Vec::new(), None));
    lab.advance(Micros::from_secs(3_600));
    lab.advance(beyond(ms(200)));
    assert_eq!(lab.look().await, ["load WARNING 2.00 over 100ms of 5"]);
    let said = lab.step_of(id, load).await;
    lab.clock.step_back(Micros::from_secs(3_600));
    assert_eq!((lab.look().await, lab.judge(judge).await), (Vec::new(), None));
    assert_eq!(lab.step_of(id, load).await, said);
    lab.advance(Micros::from_secs(3_600));
    assert_eq!(lab.look().await, NOTHING);
    lab.advance(ms(100));
    assert_eq!(lab.look().await, ["load CRITICAL 3.00 over 100ms of 5"]);
    lab.clock.step_back(Micros::from_secs(3_600));
    lab.advance(Micros::from_secs(7_200));
    assert_eq!(lab.look().await, NOTHING);
}

pub async fn the_end_of_a_step_is_judged_anew(lab: Lab) {
    let (id, first) = running(&lab).await;
    let second = lab.step(id, "load").await;
    lab.advance(ms(201));
    assert_eq!(lab.look().await.len(), 2);
    // As its client measured, it took no longer than usual.
    assert_eq!(lab.complete(id, first, 100).await.bottleneck, None);
    let slow = lab.complete(id, second, 350).await.bottleneck.expect("a bottleneck");
    assert_eq!(
        (slow.kind, slow.severity, slow.in_flight),
        (VerdictKind::SlowStep, Severity::Critical, false)
    );
    assert_eq!(lab.step_of(id, second).await.bottleneck, Some(slow));
    assert_eq!(lab.step_of(id, first).await.bottleneck, None);
    lab.advance(Micros::from_secs(1));
    assert_eq!(lab.look().await, NOTHING);
    assert_eq!(lab.judge(JudgeStep { execution: id, id: second }).await, None);
}

pub async fn twenty_looks_at_one_step_say_it_once(lab: Lab) {
    let (execution, id) = running(&lab).await;
    lab.advance(ms(201));
    let said = join_all((0..20).map(|_| lab.judge(JudgeStep { execution, id }))).await;
    assert_eq!(said.into_iter().flatten().count(), 1);
}

pub async fn a_silent_execution_is_stalled_and_what_is_heard_clears_it(lab: Lab) {
    of_a_second(&lab, "etl").await;
    let id = lab.start("etl").await;
    lab.advance(Micros::from_secs(2));
    assert_eq!(lab.look().await, NOTHING);
    lab.advance(BEYOND);
    assert_eq!(lab.look().await, ["etl as a whole WARNING 2.00 over 1000ms of 5"]);
    let stalled = lab.execution(id).await.stalled.expect("a verdict");
    assert_eq!((stalled.kind, stalled.in_flight), (VerdictKind::StalledExecution, true));
    assert_eq!(lab.look().await, NOTHING);
    lab.advance(Micros::from_secs(1));
    assert_eq!(lab.look().await, ["etl as a whole CRITICAL 3.00 over 1000ms of 5"]);
    assert_eq!(looked_at_next(&lab, id).await, None);
    let shown = lab.store().bottleneck_steps(id).await.expect("an answer").expect("known");
    assert_eq!(shown.stalled, lab.execution(id).await.stalled);
    assert_eq!(lab.execution(id).await.worst, None, "no step of it was judged");

    lab.took(id, "load", 5).await;
    assert_eq!(lab.execution(id).await.stalled, None);
    assert_eq!(lab.look().await, NOTHING);
    assert_eq!(looked_at_next(&lab, id).await, Some(lab.now() + Micros::from_secs(2) + BEYOND));
    lab.advance(beyond(Micros::from_secs(2)));
    assert_eq!(lab.look().await, ["etl as a whole WARNING 2.00 over 1000ms of 5"]);
    let listed = lab.store().executions(&Default::default(), None, 10).await.expect("a page");
    assert_eq!(listed.iter().filter(|execution| execution.stalled.is_some()).count(), 1);
}

pub async fn steps_move_the_silence_without_moving_its_timer(lab: Lab) {
    of_a_second(&lab, "etl").await;
    let (id, begun) = (lab.start("etl").await, lab.now());
    let timer = Some(begun + Micros::from_secs(2) + BEYOND);
    lab.advance(ms(1_500));
    let load = lab.step(id, "load").await;
    lab.complete(id, load, 5).await;
    assert_eq!(looked_at_next(&lab, id).await, timer);
    lab.advance(beyond(ms(500)));
    assert_eq!(due(&lab, 10).await.executions, [id]);
    assert_eq!(lab.look().await, NOTHING);
    assert_eq!(looked_at_next(&lab, id).await, Some(begun + ms(3_500) + BEYOND));
    lab.advance(ms(1_500));
    assert_eq!(lab.look().await, ["etl as a whole WARNING 2.00 over 1000ms of 5"]);
}

pub async fn a_step_that_runs_within_its_limits_is_no_silence(lab: Lab) {
    of_a_second(&lab, "etl").await;
    let id = lab.start("etl").await;
    lab.took_each(id, "train", 10_000, 5).await;
    let (train, begun) = (lab.step(id, "train").await, lab.now());
    lab.advance(Micros::from_secs(3));
    assert_eq!(lab.look().await, NOTHING);
    let judged_at = lab.step_of(id, train).await.judge_at;
    assert_eq!((looked_at_next(&lab, id).await, judged_at), (judged_at, Some(begun + ms(20_000) + BEYOND)));
    lab.advance(beyond(Micros::from_secs(17)));
    assert_eq!(lab.look().await, ["train WARNING 2.00 over 10000ms of 5"]);
    lab.advance(Micros::from_secs(10));
    let both = ["train CRITICAL 3.00 over 10000ms of 5", "etl as a whole CRITICAL 30.00 over 1000ms of 5"];
    assert_eq!(lab.look().await, both);
}

pub async fn a_fixed_silence_holds_whatever_runs(lab: Lab) {
    let id = lab.start("hushed etl").await;
    lab.step(id, "train").await;
    lab.advance(Micros::from_secs(10));
    assert_eq!(lab.look().await, NOTHING);
    lab.advance(BEYOND);
    assert_eq!(lab.look().await, ["hushed etl as a whole CRITICAL 0.00 over 0ms of 0"]);
    assert_eq!(looked_at_next(&lab, id).await, None);
}

pub async fn an_end_cancels_everything(lab: Lab) {
    of_a_second(&lab, "etl").await;
    let (id, load) = running(&lab).await;
    let unseen = lab.step(id, "new").await;
    let other = lab.start("etl").await;
    lab.advance(beyond(Micros::from_secs(2)));
    assert_eq!(lab.look().await.len(), 2, "the step, and the other execution");
    for id in [id, other] {
        lab.end_as(id, ExecutionStatus::TimedOut).await;
        let ended = lab.execution(id).await;
        assert_eq!((ended.stalled, ended.judge_at), (None, None));
    }
    let kept = lab.step_of(id, load).await;
    assert_eq!(kept.judge_at, None);
    assert_eq!(kept.bottleneck.map(|found| found.kind), Some(VerdictKind::StuckStep), "it was stuck");
    assert_eq!(lab.step_of(id, unseen).await.bottleneck, None);
    lab.advance(Micros::from_days(1));
    let due = due(&lab, 10).await;
    assert!(due.steps.is_empty() && due.executions.is_empty(), "what ran has ended");
    for step in [load, unseen] {
        assert_eq!(lab.judge(JudgeStep { execution: id, id: step }).await, None);
    }
    assert_eq!(lab.judge(JudgeExecution { id: other }).await, None);
    let shown = lab.store().bottleneck_steps(id).await.expect("an answer").expect("known");
    assert_eq!((shown.judged.len(), shown.stalled), (1, None));
}

pub async fn what_is_unknown_or_not_due_is_nothing_new(lab: Lab) {
    let (id, load) = running(&lab).await;
    let nobody = ExecutionId::mint(lab.now());
    assert_eq!(lab.judge(JudgeStep { execution: id, id: load }).await, None);
    assert_eq!(lab.judge(JudgeStep { execution: id, id: step_id(7) }).await, None);
    assert_eq!(lab.judge(JudgeStep { execution: nobody, id: load }).await, None);
    assert_eq!(lab.judge(JudgeExecution { id }).await, None);
    assert_eq!(lab.judge(JudgeExecution { id: nobody }).await, None);
}

pub async fn what_is_due_comes_in_order_and_in_portions(lab: Lab) {
    let id = lab.start("etl").await;
    lab.took_each(id, "load", 100, 5).await;
    let mut expected = Vec::new();
    let begun = lab.now();
    for number in [9, 3, 5] {
        lab.record(StartStep { id: step_id(number), ..step(id, "load") }).await;
        expected.push((id, step_id(number)));
        lab.advance(ms(1));
    }
    lab.advance(ms(500));
    let portion = due(&lab, 2).await;
    assert_eq!((&portion.steps[..], portion.since), (&expected[..2], Some(begun + ms(200) + BEYOND)));
    assert_eq!(due(&lab, 10).await.steps, expected);
    lab.advance(Micros::from_secs(60));
    let all = due(&lab, 10).await;
    assert_eq!((all.steps.len(), all.executions), (3, vec![id]));
}

pub async fn looking_is_no_sign_of_life(lab: Lab) {
    let (id, load) = running(&lab).await;
    let heard = lab.step_of(id, load).await.changed_at;
    lab.advance(Micros::from_days(8));
    assert_eq!(lab.look().await.len(), 1);
    assert_eq!(lab.step_of(id, load).await.changed_at, heard);
    let silent = lab.store().silent_since(lab.now() - Micros::from_days(7), 10).await.expect("an answer");
    assert_eq!(silent, [id]);
}

pub async fn an_import_is_never_due(lab: Lab) {
    let import = recorded(lab.now() - Micros::from_days(1), "etl", &[("load", 100), ("save", 90_000)]);
    let id = import.start.id;
    lab.record(import).await;
    lab.advance(Micros::from_days(1));
    assert_eq!(due(&lab, 10).await, Due::default());
    assert_eq!(looked_at_next(&lab, id).await, None);
}
