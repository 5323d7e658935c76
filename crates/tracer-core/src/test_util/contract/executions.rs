//! Executions: how they start and end, and that they end once.

use serde_json::json;

use super::Lab;
use super::lab::execution_ended;
use crate::baseline::Ending;
use crate::execution::{Execution, ExecutionStatus};
use crate::failure::Failure;
use crate::ids::{ExecutionId, StepId, Traceparent};
use crate::payload::Payload;
use crate::record::{EndExecution, Outcome, Refusal, StartExecution, StartStep};
use crate::step::{StepStatus, TimesError};
use crate::test_util::fixtures::{
    attributes, complete, completed, correlation, end, ms, payload, recorded, start, step, version, whole,
};
use crate::time::Micros;

pub async fn a_started_execution_is_found_as_it_was_given(lab: Lab) {
    let parent = lab.start("nightly").await;
    lab.advance(ms(5));
    let given = StartExecution {
        correlation_id: Some(correlation("run-7")),
        version: Some(version("1.2.3-rc")),
        attributes: attributes(
            json!({"region": "eu", "cores": 4, "deep": {"list": [1, null, "x"]}, "ratio": 0.5}),
        ),
        input: Some(payload(&json!({"file": "a.csv", "rows": [1, 2, 3]}))),
        started_at: lab.now() - ms(1_500),
        parent: Some(parent),
        link: Traceparent::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        simulated: true,
        ..start("etl")
    };
    let Outcome::ExecutionStarted(answer) = lab.record(given.clone()).await else { panic!("not started") };
    assert_eq!(
        (answer.id, answer.workflow, answer.started_at),
        (given.id, given.workflow.clone(), given.started_at)
    );
    let expected = Execution {
        id: given.id,
        workflow: given.workflow,
        status: ExecutionStatus::Running,
        started_at: given.started_at,
        ended_at: None,
        duration: None,
        correlation_id: given.correlation_id,
        version: given.version,
        attributes: given.attributes,
        input: given.input,
        output: None,
        failure: None,
        parent: Some(parent),
        link: given.link,
        simulated: true,
        recorded_at: lab.now(),
        steps_completed: 0,
        worst: None,
        stalled: None,
        judge_at: Some(lab.now() + Micros::from_secs(60)),
        trace: None,
        settle_at: None,
    };
    assert_eq!(lab.execution(given.id).await, expected);
}

pub async fn a_plain_execution_has_nothing_that_was_not_given(lab: Lab) {
    let id = lab.start("etl").await;
    let found = lab.execution(id).await;
    assert!(found.attributes.is_empty() && !found.simulated);
    assert_eq!((found.correlation_id, found.version, found.input, found.output), (None, None, None, None));
    assert_eq!((found.failure, found.parent, found.link, found.worst), (None, None, None, None));
    assert_eq!(lab.steps(id).await, []);
}

pub async fn starting_the_same_id_again_changes_nothing(lab: Lab) {
    let given = start("etl");
    let first = lab.try_record(given.clone()).await.expect("started");
    let again = lab.try_record(StartExecution { simulated: true, ..given.clone() }).await.expect("answered");
    assert!(first.fresh && !again.fresh);
    assert_eq!(first.outcome, again.outcome);
    assert!(!lab.execution(given.id).await.simulated);
}

pub async fn an_unknown_parent_is_refused_and_nothing_is_stored(lab: Lab) {
    let given = StartExecution { parent: Some(ExecutionId::mint(lab.now())), ..start("orphan") };
    assert_eq!(lab.refused(given.clone()).await, Refusal::UnknownParentExecution);
    assert_eq!(lab.find(given.id).await, None);
    assert!(lab.history("orphan").await.is_none(), "the workflow is not known either");
}

pub async fn an_execution_ends_in_every_way_and_stays_so(lab: Lab) {
    let ways = ExecutionStatus::ALL.into_iter().filter(|status| *status != ExecutionStatus::Running);
    for status in ways {
        let id = lab.start("etl").await;
        lab.advance(ms(250));
        let ended = lab.end_as(id, status).await;
        assert_eq!((ended.status, ended.total, ended.ended_at), (status, ms(250), lab.now()));
        let found = lab.execution(id).await;
        assert_eq!((found.status, found.duration, found.ended_at), (status, Some(ms(250)), Some(lab.now())));
    }
    let counts = lab.totals("etl").await.endings;
    let counted =
        [Ending::Completed, Ending::Failed, Ending::TimedOut, Ending::Cancelled].map(|way| counts.get(way));
    assert_eq!((counted, counts.total()), ([1; 4], 4));
    assert_eq!(lab.totals("etl").await.moments.count(), 1, "only what completed has a duration that counts");
}

pub async fn repeating_an_end_answers_what_is_stored_and_counts_once(lab: Lab) {
    let id = lab.start("etl").await;
    lab.took_each(id, "load", 100, 5).await;
    lab.took(id, "load", 1_000).await;
    lab.advance(ms(100));
    let first = lab.end(id).await;
    assert_eq!((first.steps_completed, first.bottlenecks.len()), (6, 1));
    lab.advance(ms(900));
    let output = Some(payload(&json!("late")));
    let again = lab
        .try_record(EndExecution { output, ended_at: Some(lab.now()), ..end(id) })
        .await
        .expect("answered");
    assert!(!again.fresh);
    assert_eq!(execution_ended(again.outcome), first);
    assert_eq!(lab.execution(id).await.output, None);
    assert_eq!(lab.totals("etl").await.endings.total(), 1);
}

pub async fn another_end_is_refused_and_changes_nothing(lab: Lab) {
    let id = lab.start("etl").await;
    lab.end(id).await;
    let before = lab.execution(id).await;
    lab.advance(ms(10));
    for status in [ExecutionStatus::Failed, ExecutionStatus::TimedOut, ExecutionStatus::Cancelled] {
        let refusal = lab.refused(EndExecution { status, ..end(id) }).await;
        assert_eq!(refusal, Refusal::ExecutionHasEnded(ExecutionStatus::Completed));
    }
    assert_eq!(lab.execution(id).await, before);
    assert_eq!(lab.totals("etl").await.endings.total(), 1);
}

pub async fn the_total_is_wall_clock_and_a_given_end_counts(lab: Lab) {
    let id = lab.start("etl").await;
    lab.took_each(id, "in parallel", 400, 3).await;
    let ended_at = Some(lab.now() + ms(500));
    lab.advance(ms(700));
    let ended = execution_ended(lab.record(EndExecution { ended_at, ..end(id) }).await);
    assert_eq!((ended.total, Some(ended.ended_at), ended.steps_completed), (ms(500), ended_at, 3));
    assert_eq!(lab.totals("etl").await.moments.mean(), Some(ms(500).as_f64()));
}

pub async fn an_end_before_the_start_is_refused_and_changes_nothing(lab: Lab) {
    let id = lab.start("etl").await;
    let running = lab.step(id, "load").await;
    let ended_at = Some(lab.now() - Micros::new(1));
    let refusal = lab.refused(EndExecution { ended_at, ..end(id) }).await;
    assert_eq!(refusal, Refusal::Times(TimesError::EndBeforeStart));
    let far = Some(lab.now() + Micros::from_days(400) + Micros::new(1));
    let refusal = lab.refused(EndExecution { ended_at: far, ..end(id) }).await;
    assert_eq!(refusal, Refusal::Times(TimesError::TooLong));
    assert_eq!(lab.execution(id).await.status, ExecutionStatus::Running);
    assert_eq!(lab.step_of(id, running).await.status, StepStatus::Running);
}

pub async fn ending_cancels_the_running_steps_which_enter_no_baseline(lab: Lab) {
    let id = lab.start("etl").await;
    lab.took_each(id, "load", 100, 5).await;
    let open = lab.step(id, "load").await;
    let ahead = StartStep { started_at: Some(lab.now() + ms(9_000)), ..step(id, "ahead") };
    lab.record(ahead.clone()).await;
    let reference = lab.reference("etl", "load").await;
    lab.advance(ms(5_000));
    let ended = lab.end(id).await;
    assert_eq!((ended.steps_completed, ended.bottlenecks), (5, vec![]));
    let closed = lab.step_of(id, open).await;
    assert_eq!((closed.status, closed.duration), (StepStatus::Cancelled, Some(ms(5_000))));
    assert_eq!((closed.ended_at, closed.judge_at), (Some(lab.now()), None));
    let ahead = lab.step_of(id, ahead.id).await;
    assert_eq!((ahead.status, ahead.duration), (StepStatus::Cancelled, Some(Micros::ZERO)));
    assert_eq!(ahead.ended_at, Some(ahead.started_at), "no step ends before it starts");
    assert_eq!(lab.reference("etl", "load").await, reference);
    assert_eq!(lab.execution(id).await.steps_completed, 5);
    let late = lab.refused(complete(id, open, completed(5))).await;
    assert_eq!(late, Refusal::StepHasEnded(StepStatus::Cancelled));
}

pub async fn an_end_lists_the_bottlenecks_in_the_order_of_their_start(lab: Lab) {
    let past = lab.start("etl").await;
    for name in ["a", "b", "c"] {
        lab.took_each(past, name, 100, 5).await;
    }
    let id = lab.start("etl").await;
    let mut begun = Vec::new();
    for name in ["a", "b", "c"] {
        begun.push(lab.step(id, name).await);
        lab.advance(ms(1));
    }
    for (step, millis) in begun.iter().zip([250, 100, 1_000]).rev() {
        lab.complete(id, *step, millis).await;
    }
    let listed = lab.end(id).await.bottlenecks;
    let shown = listed
        .iter()
        .map(|step| (step.name.as_str(), step.bottleneck.severity.as_str(), step.bottleneck.factor()));
    assert_eq!(shown.collect::<Vec<_>>(), [("a", "WARNING", 2.5), ("c", "CRITICAL", 10.0)]);
    assert_eq!(lab.execution(id).await.worst.map(|worst| worst.as_str()), Some("CRITICAL"));
    assert_eq!(lab.end(past).await.bottlenecks, []);
    assert_eq!(lab.execution(past).await.worst, None);
}

pub async fn payloads_are_kept_to_the_letter(lab: Lab) {
    let odd = json!({
        "z first": 1, "a": [1.0, 1e300, -0.0, 18_446_744_073_709_551_615_u64],
        "text": "NUL \0, quote \", backslash \\, \u{feff}BOM, \u{202e}RTL, 🚀, e\u{301} é, \u{ffff}",
        "nul\0key": null, "": "",
    });
    let spaced = Payload::from_stored("{ \"b\" : 1,\n \"a\" : \"\\u0000\\ud83d\\ude00\" , \"a\":2 }".into());
    for given in [payload(&odd), spaced, payload(&json!(null)), payload(&json!("plain")), payload(&json!(-7))]
    {
        let started = StartExecution { input: Some(given.clone()), ..start("etl") };
        let id = lab.start_as(started).await;
        lab.record(EndExecution { output: Some(given.clone()), ..end(id) }).await;
        let found = lab.execution(id).await;
        assert_eq!((found.input.as_ref(), found.output.as_ref()), (Some(&given), Some(&given)));
    }
}

pub async fn a_failure_is_kept_with_type_message_and_stack(lab: Lab) {
    let failures = [
        Failure::new(
            Some("TimeoutError"),
            "no answer after 30 s: \"x\\y\" 🚀",
            Some("at line 1\n\tat line 2"),
        ),
        Failure::new(None, "", None),
    ];
    for failure in failures {
        let id = lab.start("etl").await;
        let status = ExecutionStatus::Failed;
        lab.record(EndExecution { status, failure: Some(failure.clone()), ..end(id) }).await;
        assert_eq!(lab.execution(id).await.failure, Some(failure));
    }
}

pub async fn an_unknown_execution_is_unknown_to_everything(lab: Lab) {
    let known = lab.start("etl").await;
    let unknown = ExecutionId::mint(lab.now());
    assert_eq!(lab.find(unknown).await, None);
    assert_eq!(lab.steps(unknown).await, []);
    assert!(lab.store().bottleneck_steps(unknown).await.expect("an answer").is_none());
    assert_eq!(lab.refused(end(unknown)).await, Refusal::UnknownExecution);
    assert_eq!(lab.refused(step(unknown, "load")).await, Refusal::UnknownExecution);
    assert_eq!(lab.refused(whole(unknown, "load", completed(5))).await, Refusal::UnknownExecution);
    assert_eq!(lab.refused(complete(unknown, StepId::mint(), completed(5))).await, Refusal::UnknownExecution);
    let mut child = recorded(lab.now(), "etl", &[("load", 5)]);
    child.start.parent = Some(unknown);
    assert_eq!(lab.refused(child).await, Refusal::UnknownParentExecution);
    assert_eq!(lab.list(&Default::default()).await, [known]);
}
