//! The change feed: what changes is heard once, in order, by whoever follows.

use std::collections::HashMap;

use futures_util::future::join_all;
use serde_json::json;

use super::Lab;
use super::lab::verdict;
use crate::ids::ExecutionId;
use crate::live::{Change, ChangeBatch, Follow, What};
use crate::record::{JudgeStep, RecordEvent, RecordExecution};
use crate::step::StepStatus;
use crate::test_util::fixtures::{
    attributes, complete, completed, end, event, failed, ms, recorded, start, step, whole,
};

/// More than any test writes.
const ALL: usize = 1 << 24;

/// Somebody who follows, and what they have heard.
struct Ears {
    follow: Box<dyn Follow>,
    heard: Vec<(u64, u32, Change)>,
    begins: Vec<u64>,
}

impl Ears {
    async fn on(lab: &Lab, past_bytes: usize) -> Self {
        let mut ears = Self { follow: lab.store().follow(past_bytes), heard: Vec::new(), begins: Vec::new() };
        while ears.begins.is_empty() {
            ears.listen().await;
        }
        ears
    }

    async fn listen(&mut self) {
        let heard = self.follow.next().await.expect("an answer");
        self.begins.extend(heard.begins_after);
        for batch in heard.batches {
            let ChangeBatch { id, changes } = &*batch;
            self.heard.extend(changes.iter().map(|(place, change)| (*id, *place, change.clone())));
        }
    }

    /// Listens until a number of changes has been heard, and returns them in words.
    async fn until(&mut self, number: usize) -> Vec<String> {
        while self.heard.len() < number {
            self.listen().await;
        }
        self.words()
    }

    fn words(&self) -> Vec<String> {
        self.heard.iter().map(|(_, _, change)| words(change)).collect()
    }

    /// Listens until a marker that is told now is heard, and returns what came before it, in words.
    async fn now(&mut self, lab: &Lab) -> Vec<String> {
        let marker = format!("marker {}", self.heard.len());
        let id = lab.start(&marker).await;
        while self.heard.last().is_none_or(|(_, _, last)| last.execution != Some(id)) {
            self.listen().await;
        }
        self.heard.pop();
        self.words()
    }
}

fn words(change: &Change) -> String {
    let workflow = &change.workflow;
    match &change.what {
        What::ExecutionStarted { .. } => format!("{workflow} starts"),
        What::StepStarted(step) => format!("{workflow} {} starts", step.name),
        What::StepEnded { step, status, duration, failure, .. } => {
            let why = failure.as_ref().map(|why| format!(": {}", why.message)).unwrap_or_default();
            format!("{workflow} {} {} in {} ms{why}", step.name, status.as_str(), duration.as_millis())
        }
        What::Bottleneck { step, verdict: found } => {
            format!("{workflow} {} is {}", step.name, verdict(Some(found)))
        }
        What::InFlight { step, verdict: found, .. } => {
            let what = step.as_ref().map_or("as a whole", |step| step.name.as_str());
            format!("{workflow} {what} takes {}", verdict(Some(found)))
        }
        What::ExecutionEnded { status, steps_completed, bottlenecks, .. } => {
            format!("{workflow} {} with {steps_completed} steps, {bottlenecks} slow", status.as_str())
        }
        What::Incident { transition, kind, severity, occurrences, .. } => {
            let (what, kind, severity) = (transition.as_str(), kind.as_str(), severity.as_str());
            format!("{workflow} {kind} {what} {severity} {occurrences}")
        }
        What::Event { kind, message, attributes, .. } => {
            format!("{workflow} {} {message} {}", kind.as_str(), attributes.entries().len())
        }
    }
}

pub async fn every_change_is_heard_once_in_its_order(lab: Lab) {
    let mut ears = Ears::on(&lab, 0).await;
    let id = lab.start("etl").await;
    let load = lab.step(id, "load").await;
    lab.advance(ms(20));
    lab.complete(id, load, 20).await;
    lab.took(id, "save", 5).await;
    lab.ended(id, "check", failed(0)).await;
    lab.step(id, "left open").await;
    lab.record(event(id, "nearly done")).await;
    lab.end(id).await;
    let expected = [
        "etl starts",
        "etl load starts",
        "etl load completed in 20 ms",
        "etl save completed in 5 ms",
        "etl check failed in 0 ms: disk full",
        "etl left open starts",
        "etl log nearly done 0",
        "etl completed with 2 steps, 0 slow",
    ];
    assert_eq!(ears.now(&lab).await, expected);
    let mut places: Vec<(u64, u32)> = ears.heard.iter().map(|(id, place, _)| (*id, *place)).collect();
    assert!(places.is_sorted());
    places.dedup();
    assert_eq!(places.len(), expected.len());
}

pub async fn what_a_finding_opens_comes_after_it(lab: Lab) {
    let id = lab.with_history("etl", "load").await;
    let mut ears = Ears::on(&lab, 0).await;
    lab.took(id, "load", 250).await;
    let expected = [
        "etl load completed in 250 ms",
        "etl load is WARNING 2.50 over 100ms of 10",
        "etl slow_step opened WARNING 1",
    ];
    assert_eq!(ears.now(&lab).await, expected);
}

pub async fn what_is_found_in_flight_is_heard(lab: Lab) {
    let id = lab.start("hushed").await;
    let timed = lab.step(id, "timed").await;
    let mut ears = Ears::on(&lab, 0).await;
    lab.advance(ms(1_500));
    lab.judge(JudgeStep { execution: id, id: timed }).await;
    lab.complete(id, timed, 1_500).await;
    lab.advance(ms(11_000));
    lab.look().await;
    lab.record(event(id, "here")).await;
    let expected = [
        "hushed timed takes CRITICAL 0.00 over 0ms of 0",
        "hushed stuck_step opened CRITICAL 1",
        "hushed timed completed in 1500 ms",
        "hushed stuck_step resolved CRITICAL 1",
        "hushed as a whole takes CRITICAL 0.00 over 0ms of 0",
        "hushed stalled_execution opened CRITICAL 1",
        "hushed log here 0",
        "hushed stalled_execution resolved CRITICAL 1",
    ];
    assert_eq!(ears.now(&lab).await, expected);
}

pub async fn repetitions_and_refusals_are_no_changes(lab: Lab) {
    let mut ears = Ears::on(&lab, 0).await;
    let id = lab.start("etl").await;
    let load = lab.step(id, "load").await;
    lab.complete(id, load, 20).await;
    lab.try_record(complete(id, load, completed(20))).await.expect("answered");
    lab.try_record(complete(id, load, failed(20))).await.expect_err("refused");
    lab.try_record(step(ExecutionId::mint(lab.now()), "load")).await.expect_err("refused");
    lab.end(id).await;
    lab.try_record(end(id)).await.expect("answered");
    assert_eq!(ears.now(&lab).await.len(), 4);
}

pub async fn of_an_import_only_its_end_is_heard(lab: Lab) {
    let mut ears = Ears::on(&lab, 0).await;
    let import = recorded(lab.now(), "etl", &[("load", 100), ("save", 20)]);
    let import = RecordExecution { alerts: false, ..import };
    lab.record(import.clone()).await;
    lab.try_record(import).await.expect("answered");
    assert_eq!(ears.now(&lab).await, ["etl completed with 2 steps, 0 slow"]);
}

pub async fn an_event_is_heard_with_its_attributes_unless_they_are_large(lab: Lab) {
    let id = lab.start("etl").await;
    let mut ears = Ears::on(&lab, 0).await;
    let small = RecordEvent { attributes: attributes(json!({"a": 1, "b": "x"})), ..event(id, "small") };
    lab.record(small).await;
    let large = json!({"a": "x".repeat(4_000), "b": "x".repeat(4_000)});
    lab.record(RecordEvent { attributes: attributes(large), ..event(id, "large") }).await;
    lab.record(event(id, &"long ".repeat(1_000))).await;
    let heard = ears.now(&lab).await;
    assert_eq!(heard.get(..2), Some(&["etl log small 2".to_owned(), "etl log large 0".to_owned()][..]));
    assert!(heard[2].len() < 600 && heard[2].contains("[truncated]"));
}

pub async fn the_changes_of_an_execution_keep_their_order_when_batches_race(lab: Lab) {
    const EXECUTIONS: usize = 24;
    let mut ears = Ears::on(&lab, 0).await;
    let run = async |number: usize| {
        let start = start(&format!("flow {}", number % 3));
        let id = start.id;
        lab.record(start).await;
        for round in 0..8 {
            let name = format!("step {round}");
            let begun = lab.step(id, &name).await;
            lab.complete(id, begun, 5).await;
            join_all((0..3).map(|_| lab.record(whole(id, "aside", completed(1))))).await;
        }
        lab.end(id).await;
    };
    join_all((0..EXECUTIONS).map(run)).await;
    ears.until(EXECUTIONS * (2 + 8 * 5)).await;
    let mut by_execution: HashMap<ExecutionId, Vec<String>> = HashMap::new();
    for (_, _, change) in &ears.heard {
        let told = match &change.what {
            What::ExecutionStarted { .. } => "start".to_owned(),
            What::StepStarted(step) => format!("{} starts", step.name),
            What::StepEnded { step, status: StepStatus::Completed, .. } => {
                if step.name.as_str() == "aside" {
                    continue;
                }
                format!("{} ends", step.name)
            }
            What::ExecutionEnded { .. } => "end".to_owned(),
            What::StepEnded { .. }
            | What::Bottleneck { .. }
            | What::InFlight { .. }
            | What::Incident { .. }
            | What::Event { .. } => panic!("not what was done: {change:?}"),
        };
        by_execution.entry(change.execution.expect("of an execution")).or_default().push(told);
    }
    let rounds = (0..8).flat_map(|round| [format!("step {round} starts"), format!("step {round} ends")]);
    let expected: Vec<String> = [vec!["start".to_owned()], rounds.collect(), vec!["end".to_owned()]].concat();
    assert_eq!(by_execution.len(), EXECUTIONS);
    by_execution.values().for_each(|told| assert_eq!(*told, expected));
}

pub async fn two_who_follow_hear_the_same_under_the_same_numbers(lab: Lab) {
    let (mut one, mut other) = (Ears::on(&lab, 0).await, Ears::on(&lab, 0).await);
    let id = lab.start("etl").await;
    join_all((0..50).map(|_| lab.record(whole(id, "load", completed(5))))).await;
    one.until(51).await;
    other.until(51).await;
    assert_eq!(one.heard, other.heard);
    assert_eq!((one.begins.len(), other.begins.len()), (1, 1), "nothing was missed");
}

pub async fn whoever_begins_late_hears_of_the_past(lab: Lab) {
    let mut first = Ears::on(&lab, ALL).await;
    let id = lab.start("etl").await;
    lab.took(id, "load", 5).await;
    first.until(2).await;
    let mut late = Ears::on(&lab, ALL).await;
    lab.end(id).await;
    late.until(3).await;
    first.until(3).await;
    assert_eq!(late.heard, first.heard);
    let first_heard = late.heard.first().map(|(id, _, _)| *id).expect("something");
    assert!(late.begins.first().is_some_and(|before| *before < first_heard));
}

pub async fn whoever_wants_no_past_hears_of_what_comes(lab: Lab) {
    let id = lab.start("etl").await;
    lab.took(id, "load", 5).await;
    let mut ears = Ears::on(&lab, 0).await;
    lab.end(id).await;
    assert_eq!(ears.now(&lab).await, ["etl completed with 1 steps, 0 slow"]);
}
