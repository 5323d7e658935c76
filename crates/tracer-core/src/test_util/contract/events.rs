//! Events: what clients tell of executions besides their steps.

use serde_json::json;

use super::Lab;
use crate::event::{EventId, EventKind, LogLevel, WorkflowEvent};
use crate::execution::ExecutionStatus;
use crate::ids::ExecutionId;
use crate::limits;
use crate::record::{Outcome, RecordEvent, Refusal};
use crate::repository::Retention;
use crate::test_util::fixtures::{attributes, event, key, ms, step_id};
use crate::time::Micros;

async fn events(lab: &Lab, id: ExecutionId) -> Vec<WorkflowEvent> {
    lab.store().events(id, 0, 20_000).await.expect("an answer")
}

pub async fn an_event_is_found_as_it_was_given(lab: Lab) {
    let execution = lab.start("etl").await;
    let step = lab.step(execution, "load").await;
    let at = lab.now();
    lab.advance(ms(1_500));
    let given = RecordEvent {
        kind: EventKind::ToolCall,
        step: Some(step),
        at: Some(at),
        attributes: attributes(json!({"tool": "grep", "hits": 3, "odd": "\"’\u{1f600}"})),
        ..event(execution, "searched\n'for' \"it\"")
    };
    let Outcome::EventRecorded(recorded) = lab.record(given.clone()).await else { panic!("not an event") };
    assert_eq!((recorded.id, recorded.execution, recorded.at), (given.id, execution, at));
    let line = RecordEvent { level: Some(LogLevel::Warn), ..event(execution, "half full") };
    lab.record(line.clone()).await;
    let stored = |given: RecordEvent, number, at| WorkflowEvent {
        execution,
        number,
        id: given.id,
        kind: given.kind,
        level: given.level,
        message: given.message,
        step: given.step,
        at,
        recorded_at: lab.now(),
        attributes: given.attributes,
    };
    assert_eq!(events(&lab, execution).await, [stored(given, 1, at), stored(line, 2, lab.now())]);
}

pub async fn events_are_numbered_and_paged_in_the_order_in_which_they_were_recorded(lab: Lab) {
    let (one, other) = (lab.start("etl").await, lab.start("etl").await);
    for round in 0..7 {
        lab.record(event(one, &format!("one {round}"))).await;
        lab.record(event(other, &format!("other {round}"))).await;
    }
    let mut seen = Vec::new();
    loop {
        let after = seen.last().map_or(0, |last: &WorkflowEvent| last.number);
        let page = lab.store().events(one, after, 3).await.expect("an answer");
        if page.is_empty() {
            break;
        }
        seen.extend(page);
    }
    let shown: Vec<_> = seen.iter().map(|event| format!("{} {}", event.number, event.message)).collect();
    let expected: Vec<_> = (0..7).map(|round| format!("{} one {round}", round + 1)).collect();
    assert_eq!(shown, expected);
}

pub async fn an_event_of_an_unknown_execution_or_step_is_refused(lab: Lab) {
    let unknown = ExecutionId::mint(lab.now());
    assert_eq!(lab.refused(event(unknown, "lost")).await, Refusal::UnknownExecution);
    let (one, other) = (lab.start("etl").await, lab.start("etl").await);
    let step = lab.step(one, "load").await;
    let elsewhere = RecordEvent { step: Some(step), ..event(other, "lost") };
    assert_eq!(lab.refused(elsewhere).await, Refusal::UnknownStep);
    let nowhere = RecordEvent { step: Some(step_id(1)), ..event(one, "lost") };
    assert_eq!(lab.refused(nowhere).await, Refusal::UnknownStep);
    assert_eq!((events(&lab, one).await.len(), events(&lab, other).await.len()), (0, 0));
}

pub async fn an_event_recorded_again_changes_nothing(lab: Lab) {
    let id = lab.start("etl").await;
    let given = event(id, "once");
    let first = lab.try_record(given.clone()).await.expect("recorded");
    let again = lab.try_record(given).await.expect("answered");
    assert_eq!((again.fresh, again.outcome), (false, first.outcome));
    let under_key = lab.record_under(key(1, 1), event(id, "twice")).await.expect("recorded");
    let repeated = lab.record_under(key(1, 1), event(id, "twice")).await.expect("answered");
    assert_eq!((repeated.fresh, repeated.outcome), (false, under_key.outcome));
    assert_eq!(events(&lab, id).await.len(), 2);
}

pub async fn an_ended_execution_takes_events_and_stays_as_it_is(lab: Lab) {
    let id = lab.start("etl").await;
    lab.end_as(id, ExecutionStatus::Failed).await;
    let before = lab.execution(id).await;
    lab.advance(ms(1_000));
    lab.record(event(id, "somebody looked into it")).await;
    assert_eq!(lab.execution(id).await, before);
    assert_eq!(events(&lab, id).await.len(), 1);
}

pub async fn an_execution_has_at_most_ten_thousand_events(lab: Lab) {
    let id = lab.start("etl").await;
    let most = usize::try_from(limits::EVENTS_PER_EXECUTION).expect("a count");
    for portion in 0..20 {
        let told = (0..most / 20).map(|n| lab.record(event(id, &format!("{portion} {n}"))));
        futures_util::future::join_all(told).await;
    }
    assert_eq!(lab.refused(event(id, "too many")).await, Refusal::TooManyEvents);
    let all = events(&lab, id).await;
    let numbers: Vec<u32> = all.iter().map(|event| event.number).collect();
    assert_eq!(numbers, (1..=limits::EVENTS_PER_EXECUTION).collect::<Vec<_>>());
    let ids: std::collections::BTreeSet<EventId> = all.iter().map(|event| event.id).collect();
    assert_eq!(ids.len(), most);
}

pub async fn an_event_is_a_sign_of_life(lab: Lab) {
    // It is stalled after ten seconds of silence.
    let id = lab.start("hushed").await;
    lab.advance(ms(8_000));
    lab.record(event(id, "still here")).await;
    lab.advance(ms(8_000));
    assert_eq!(lab.look().await, [""; 0], "eight seconds ago something was heard");
    lab.advance(ms(8_000));
    assert_eq!(lab.look().await.len(), 1);
    assert!(lab.execution(id).await.stalled.is_some());
    lab.record(event(id, "and here again")).await;
    assert!(lab.execution(id).await.stalled.is_none());
    // What was told of a week ago is not abandoned.
    let (old, now) = (lab.now(), lab.now() + Micros::from_days(1));
    lab.clock.advance(Micros::from_days(1));
    assert_eq!(lab.store().silent_since(old, 10).await.expect("an answer"), []);
    assert_eq!(lab.store().silent_since(now, 10).await.expect("an answer"), [id]);
}

pub async fn events_go_with_their_execution(lab: Lab) {
    let old = lab.start("etl").await;
    lab.record(event(old, "a long time ago")).await;
    lab.end(old).await;
    lab.advance(Micros::from_days(62));
    let new = lab.start("etl").await;
    lab.record(event(new, "now")).await;
    lab.end(new).await;
    let usual = Retention { detail: Micros::from_days(30), aggregates: Micros::from_days(400) };
    lab.store().prune(lab.now(), usual).await.expect("pruned");
    assert_eq!((events(&lab, old).await.len(), events(&lab, new).await.len()), (0, 1));
}
