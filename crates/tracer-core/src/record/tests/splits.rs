//! However commands are split into batches, the end is the same: what is stored, and every answer.

use proptest::prelude::*;
use serde_json::json;

use crate::attributes::Attributes;
use crate::detect::Policy;
use crate::execution::ExecutionStatus;
use crate::ids::{ExecutionId, StepId};
use crate::record::needs::key_of;
use crate::record::{
    Answer, Claims, Command, CompleteStep, Completion, EndExecution, Outcome, ParentStep, RecordExecution,
    Refusal, Request, StartExecution, StartStep,
};
use crate::step::StepStatus;
use crate::test_util::Shelf;
use crate::test_util::fixtures::{
    IntoCommand, NOON, attributes, ending, key, rebaseline, recorded, start, step, step_id, step_name,
    workflow,
};
use crate::time::{Micros, Timestamp};

const WORKFLOWS: [&str; 2] = ["etl", "chat"];
const STEPS: [&str; 2] = ["load", "save"];

fn execution_id(number: u128) -> ExecutionId {
    ExecutionId::from_u128(number + 1).unwrap()
}

/// Few of everything, so that commands meet.
fn an_execution() -> impl Strategy<Value = ExecutionId> {
    (0..4_u128).prop_map(execution_id)
}

fn a_step() -> impl Strategy<Value = StepId> {
    (1..5_u64).prop_map(step_id)
}

fn a_name(of: [&'static str; 2]) -> impl Strategy<Value = &'static str> {
    prop_oneof![2 => Just(of[0]), 1 => Just(of[1])]
}

/// Mostly normal, now and then slow.
fn a_duration() -> impl Strategy<Value = Option<Micros>> {
    let millis = prop_oneof![4 => 90..110_u64, 1 => 150..900_u64, 1 => Just(0)];
    prop_oneof![5 => millis.prop_map(|millis| Some(Micros::from_millis(millis))), 1 => Just(None)]
}

/// Some time around noon, or days before.
fn a_time() -> impl Strategy<Value = Timestamp> {
    (-4..1_i64, 0..2_000_u64).prop_map(|(days, millis)| {
        NOON - Micros::from_days(days.unsigned_abs()) + Micros::from_millis(millis)
    })
}

fn some_attributes() -> impl Strategy<Value = Attributes> {
    // Two of the widest are more than may be attached.
    let wide = |prefix: &'static str| {
        let entries = (0..40).map(|n| (format!("{prefix}{n}"), json!(n)));
        attributes(entries.collect::<serde_json::Map<_, _>>().into())
    };
    prop_oneof![6 => Just(Attributes::default()), 2 => Just(attributes(json!({"a": 1}))), 1 => Just(wide("x")), 1 => Just(wide("y"))]
}

fn a_completion() -> impl Strategy<Value = Completion> {
    let status = prop_oneof![
        6 => Just(StepStatus::Completed),
        2 => Just(StepStatus::Failed),
        1 => Just(StepStatus::Skipped),
        1 => Just(StepStatus::Cancelled),
    ];
    (status, a_duration(), proptest::option::weighted(0.3, a_time()), some_attributes()).prop_map(
        |(status, duration, ended_at, attributes)| Completion {
            duration,
            ended_at,
            attributes,
            ..ending(status)
        },
    )
}

fn a_start() -> impl Strategy<Value = StartExecution> {
    let parent = proptest::option::weighted(0.2, an_execution());
    (an_execution(), a_name(WORKFLOWS), a_time(), parent)
        .prop_map(|(id, name, started_at, parent)| StartExecution { id, started_at, parent, ..start(name) })
}

fn a_step_start() -> impl Strategy<Value = StartStep> {
    let parent = prop_oneof![
        4 => Just(None),
        1 => a_step().prop_map(|id| Some(ParentStep::Named(id))),
        1 => a_step().prop_map(|id| Some(ParentStep::Traced(id))),
    ];
    let times = (proptest::option::weighted(0.3, a_time()), proptest::option::weighted(0.7, a_completion()));
    (an_execution(), a_step(), a_name(STEPS), parent, some_attributes(), times).prop_map(
        |(execution, id, name, parent, attributes, (started_at, completion))| StartStep {
            id,
            parent,
            attributes,
            started_at,
            completion,
            ..step(execution, name)
        },
    )
}

fn an_end() -> impl Strategy<Value = EndExecution> {
    let status = prop_oneof![3 => Just(ExecutionStatus::Completed), 1 => Just(ExecutionStatus::Failed), 1 => Just(ExecutionStatus::TimedOut)];
    (an_execution(), status, proptest::option::weighted(0.3, a_time()))
        .prop_map(|(id, status, ended_at)| EndExecution { id, status, ended_at, failure: None, output: None })
}

fn an_import() -> impl Strategy<Value = RecordExecution> {
    let steps = proptest::collection::vec((a_name(STEPS), 50..500_u64), 0..4);
    (a_start(), steps, a_time()).prop_map(|(start, steps, ended_at)| {
        let mut import = recorded(start.started_at, start.workflow.as_str(), &steps);
        import.end = EndExecution { id: start.id, ended_at: Some(ended_at), ..import.end };
        import.start = start;
        import
    })
}

fn a_command() -> impl Strategy<Value = Command> {
    prop_oneof![
        2 => a_start().prop_map(IntoCommand::into_command),
        8 => a_step_start().prop_map(IntoCommand::into_command),
        5 => (an_execution(), a_step(), a_completion())
            .prop_map(|(execution, id, completion)| CompleteStep { execution, id, completion }.into_command()),
        1 => an_end().prop_map(IntoCommand::into_command),
        1 => an_import().prop_map(IntoCommand::into_command),
        1 => (a_name(WORKFLOWS), a_name(STEPS)).prop_map(|(workflow, step)| rebaseline(workflow, step).into_command()),
    ]
}

/// Commands in the order in which they arrive, a while apart, some under an `Idempotency-Key`.
fn requests() -> impl Strategy<Value = Vec<Request>> {
    let pause = prop_oneof![30 => 0..50_u64, 1 => Just(86_400_000), 1 => Just(30_000_000)];
    let under =
        proptest::option::weighted(0.2, (0..3_u8, 0..2_u8).prop_map(|(scope, body)| key(scope, body)));
    proptest::collection::vec((a_command(), under, pause), 0..80).prop_map(|parts| {
        let mut received_at = NOON;
        let arrives = |(command, idempotency, pause)| {
            received_at = received_at + Micros::from_millis(pause);
            Request { command, idempotency, received_at }
        };
        parts.into_iter().map(arrives).collect()
    })
}

type Answers = Vec<Result<Answer, Refusal>>;

fn one_by_one(requests: &[Request]) -> (Shelf, Answers) {
    let mut shelf = Shelf::default();
    let answers = requests
        .iter()
        .flat_map(|request| shelf.write(&Policy::default(), std::slice::from_ref(request)))
        .collect();
    (shelf, answers)
}

/// Cuts the commands into batches of at most these sizes, earlier where two may not share one.
fn in_batches(requests: &[Request], sizes: &[usize]) -> (Shelf, Answers) {
    let (mut shelf, mut answers, mut batch, mut claims) =
        (Shelf::default(), Vec::new(), Vec::new(), Claims::default());
    let mut sizes = sizes.iter().copied().cycle();
    let mut room = sizes.next().unwrap_or(1);
    for request in requests {
        if batch.len() >= room || !claims.admit(request) {
            answers.extend(shelf.write(&Policy::default(), &std::mem::take(&mut batch)));
            room = sizes.next().unwrap_or(1);
            claims = Claims::default();
            assert!(claims.admit(request), "alone, every command is admitted");
        }
        batch.push(request.clone());
    }
    answers.extend(shelf.write(&Policy::default(), &batch));
    (shelf, answers)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_split_into_batches_ends_the_same(
        requests in requests(),
        sizes in proptest::collection::vec(1..20_usize, 1..6),
    ) {
        let (alone, expected) = one_by_one(&requests);
        let (together, answers) = in_batches(&requests, &sizes);
        prop_assert_eq!(answers, expected);
        prop_assert_eq!(together, alone);
    }

    #[test]
    fn a_refused_command_and_a_repeated_one_change_nothing(requests in requests()) {
        let mut shelf = Shelf::default();
        for request in &requests {
            let before = shelf.clone();
            let answer = shelf.write(&Policy::default(), std::slice::from_ref(request)).remove(0);
            match answer {
                Ok(answer) if answer.fresh => {}
                Ok(_) => {
                    // The answer is kept under a key that was not used yet; nothing else is.
                    shelf.idempotency.clone_from(&before.idempotency);
                    prop_assert_eq!(&shelf, &before, "repeated: {:?}", request);
                }
                Err(refusal) => prop_assert_eq!(&shelf, &before, "{}: {:?}", refusal, request),
            }
        }
    }

    #[test]
    fn the_same_command_again_is_a_repeat(requests in requests()) {
        let mut shelf = Shelf::default();
        for request in requests {
            let request = Request { idempotency: None, ..request };
            let first = shelf.write(&Policy::default(), std::slice::from_ref(&request)).remove(0);
            // Doing it again is what rebaselining is for.
            if first.is_err() || matches!(request.command, Command::Rebaseline(_)) {
                continue;
            }
            let before = shelf.clone();
            let again = shelf.write(&Policy::default(), std::slice::from_ref(&request)).remove(0);
            prop_assert!(again.as_ref().is_ok_and(|again| !again.fresh), "{:?} for {:?}", again, request);
            prop_assert_eq!(&shelf, &before);
        }
    }

    #[test]
    fn every_completed_step_is_counted_exactly_once(requests in requests()) {
        // All of it within the window, which forgets what is older.
        prop_assume!(requests.last().is_none_or(|last| last.received_at.since(NOON) < Micros::from_days(9)));
        let (shelf, answers) = one_by_one(&requests);
        for (workflow_name, step) in WORKFLOWS.into_iter().flat_map(|w| STEPS.map(|s| (w, s))) {
            let stored = |status| shelf.steps.values().filter(|stored| {
                shelf.executions[&stored.execution].workflow.as_str() == workflow_name
                    && stored.name.as_str() == step
                    && stored.status == status
            }).count() as u64;
            let key = key_of(&workflow(workflow_name), Some(&step_name(step)));
            let counted = shelf.baseline(key).measured().endings;
            prop_assert_eq!((counted.completed, counted.failed), (stored(StepStatus::Completed), stored(StepStatus::Failed)));
        }
        for execution in shelf.executions.values().filter(|execution| execution.status != ExecutionStatus::Running) {
            let steps = shelf.steps.values().filter(|step| step.execution == execution.id);
            prop_assert!(steps.clone().all(|step| step.status != StepStatus::Running));
            let completed = steps.filter(|step| step.status == StepStatus::Completed).count() as u64;
            prop_assert_eq!(execution.steps_completed, completed);
        }
        let ends = |answer: &&Answer| {
            answer.fresh && matches!(answer.outcome, Outcome::ExecutionEnded(_) | Outcome::ExecutionRecorded { .. })
        };
        let ended = answers.iter().flatten().filter(ends).count();
        let stored = shelf.executions.values().filter(|execution| execution.status != ExecutionStatus::Running).count();
        prop_assert_eq!(ended, stored);
    }
}
