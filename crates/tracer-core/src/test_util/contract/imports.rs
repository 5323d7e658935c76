//! Executions recorded whole: all of one, once, or nothing.

use super::Lab;
use super::lab::verdict;
use crate::baseline::Ending;
use crate::execution::ExecutionStatus;
use crate::ids::ExecutionId;
use crate::record::{EndExecution, ExecutionEnded, Outcome, RecordExecution, Refusal, StepEnded};
use crate::step::{StepStatus, TimesError};
use crate::test_util::fixtures::{attributes, completed, ms, recorded, recorded_step, step_id, whole};
use crate::time::Micros;

fn both(outcome: Outcome) -> (ExecutionEnded, Vec<StepEnded>) {
    let Outcome::ExecutionRecorded { execution, steps } = outcome else {
        panic!("not recorded whole: {outcome:?}")
    };
    (execution, steps)
}

pub async fn an_execution_recorded_whole_is_found_with_its_steps(lab: Lab) {
    let began = lab.now() - Micros::from_days(30);
    let mut given = recorded(began, "blast", &[("split", 100), ("blast", 2_000), ("merge", 50)]);
    given.start.attributes = attributes(serde_json::json!({"file": "a.json"}));
    given.steps[1].attributes = attributes(serde_json::json!({"cores": 4, "input_bytes": 123}));
    given.steps[2].parent = Some(step_id(1));
    given.steps[2].status = StepStatus::Skipped;
    let (execution, steps) = both(lab.record(given.clone()).await);
    assert_eq!((execution.total, execution.steps_completed, execution.started_at), (ms(2_150), 2, began));
    assert_eq!(steps.iter().map(|step| step.name.as_str()).collect::<Vec<_>>(), ["split", "blast", "merge"]);
    let found = lab.execution(given.start.id).await;
    assert_eq!((found.status, found.steps_completed), (ExecutionStatus::Completed, 2));
    assert_eq!((found.ended_at, found.recorded_at), (given.end.ended_at, lab.now()));
    assert_eq!(found.attributes, given.start.attributes);
    let stored = lab.steps(given.start.id).await;
    assert_eq!(stored.len(), 3);
    for (stored, given) in stored.iter().zip(&given.steps) {
        assert_eq!((stored.id, &stored.name, stored.status), (given.id, &given.name, given.status));
        assert_eq!((&stored.attributes, stored.parent), (&given.attributes, given.parent));
        assert_eq!(
            (stored.started_at, stored.duration),
            (given.times.started_at, Some(given.times.duration))
        );
    }
    assert_eq!(lab.count("blast", "blast", Ending::Completed).await, 1);
}

pub async fn recording_it_again_changes_nothing(lab: Lab) {
    let given = recorded(lab.now() - ms(500), "blast", &[("split", 100), ("blast", 200)]);
    let (first, _) = both(lab.record(given.clone()).await);
    let before = (lab.execution(given.start.id).await, lab.steps(given.start.id).await);
    lab.advance(ms(5));
    let mut changed = given.clone();
    changed.steps.push(recorded_step(9, "new", lab.now(), 5));
    for again in [given.clone(), changed] {
        let answer = lab.try_record(again).await.expect("answered");
        assert!(!answer.fresh);
        assert_eq!(both(answer.outcome), (first.clone(), vec![]));
    }
    assert_eq!((lab.execution(given.start.id).await, lab.steps(given.start.id).await), before);
    assert_eq!(lab.count("blast", "split", Ending::Completed).await, 1);
    assert_eq!(lab.totals("blast").await.endings.completed, 1);
}

pub async fn its_steps_are_judged_in_the_order_given(lab: Lab) {
    let steps = [
        ("load", 100),
        ("load", 100),
        ("load", 100),
        ("load", 100),
        ("load", 100),
        ("load", 900),
        ("load", 150),
    ];
    let given = recorded(lab.now(), "etl", &steps);
    let id = given.start.id;
    let (execution, steps) = both(lab.record(given).await);
    let judged: Vec<_> = steps.iter().map(|step| verdict(step.bottleneck.as_ref())).collect();
    assert_eq!(judged[5], "CRITICAL 9.00 over 100ms of 5");
    assert_eq!(judged.iter().filter(|verdict| *verdict == "normal").count(), 6);
    assert_eq!(execution.bottlenecks.len(), 1);
    let found = lab.execution(id).await;
    assert_eq!(found.worst.map(|worst| worst.as_str()), Some("CRITICAL"));
    assert_eq!(lab.steps(id).await[5].bottleneck, steps[5].bottleneck);
}

pub async fn an_import_that_is_refused_leaves_nothing(lab: Lab) {
    let given = recorded(lab.now(), "etl", &[("load", 100)]);
    let backwards = RecordExecution {
        end: EndExecution { ended_at: Some(lab.now() - ms(1)), ..given.end.clone() },
        ..given.clone()
    };
    assert_eq!(lab.refused(backwards).await, Refusal::Times(TimesError::EndBeforeStart));
    let mut orphan = given.clone();
    orphan.start.parent = Some(ExecutionId::mint(lab.now()));
    assert_eq!(lab.refused(orphan).await, Refusal::UnknownParentExecution);
    assert_eq!(lab.find(given.start.id).await, None);
    assert_eq!(lab.steps(given.start.id).await, []);
    assert!(lab.history("etl").await.is_none(), "nor is its workflow known");
    lab.record(given).await;
}

pub async fn an_import_of_thousands_of_steps_is_whole(lab: Lab) {
    let mut given = recorded(lab.now() - ms(60_000), "wide", &[]);
    let began = given.start.started_at;
    given.steps =
        (1..=3_000).map(|n| recorded_step(n, &format!("kind {}", n % 7), began + ms(n), 20)).collect();
    given.end.ended_at = Some(began + ms(3_020));
    let id = given.start.id;
    let (execution, steps) = both(lab.record(given).await);
    assert_eq!((execution.steps_completed, steps.len()), (3_000, 3_000));
    assert_eq!(lab.steps(id).await.len(), 3_000);
    let counted = lab.history("wide").await.expect("known").steps;
    assert_eq!(counted.iter().map(|(_, baseline)| baseline.measured().moments.count()).sum::<u64>(), 3_000);
}

pub async fn imports_and_live_work_share_one_history(lab: Lab) {
    for run in 0..5 {
        let began = lab.now() - Micros::from_days(60 - run);
        lab.record(recorded(began, "blast", &[("blastall", 1_000)])).await;
    }
    let id = lab.start("blast").await;
    let Outcome::StepEnded(slow) = lab.record(whole(id, "blastall", completed(4_000))).await else {
        panic!("no step")
    };
    assert_eq!(verdict(slow.bottleneck.as_ref()), "CRITICAL 4.00 over 1000ms of 5");
}
