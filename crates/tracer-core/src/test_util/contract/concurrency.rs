//! Many at once: everything is answered, and counted exactly once.

use std::collections::BTreeMap;

use futures_util::future::{join_all, join3};

use super::Lab;
use super::lab::step_ended;
use crate::baseline::Ending;
use crate::execution::ExecutionStatus;
use crate::ids::{ExecutionId, StepId};
use crate::record::{EndExecution, Refusal};
use crate::step::StepStatus;
use crate::test_util::fixtures::{complete, completed, end, failed, ms, start, step, whole};

pub async fn twenty_completions_of_one_step_count_once(lab: Lab) {
    let execution = lab.start("etl").await;
    lab.took_each(execution, "load", 100, 5).await;
    let id = lab.step(execution, "load").await;
    // Each says another duration: whichever comes first is what all are told.
    let all = (1..=20).map(|n| lab.try_record(complete(execution, id, completed(1_000 * n))));
    let answers: Vec<_> = join_all(all).await.into_iter().map(|answer| answer.expect("answered")).collect();
    assert_eq!(answers.iter().filter(|answer| answer.fresh).count(), 1);
    let all_told: Vec<_> = answers.into_iter().map(|answer| step_ended(answer.outcome)).collect();
    assert!(all_told.windows(2).all(|pair| pair[0] == pair[1]), "{all_told:#?}");
    let told = &all_told[0];
    assert!(told.bottleneck.is_some());
    assert_eq!(lab.step_of(execution, id).await.duration, Some(told.duration));
    assert_eq!(lab.count("etl", "load", Ending::Completed).await, 6);
}

pub async fn completions_that_disagree_have_one_winner(lab: Lab) {
    let execution = lab.start("etl").await;
    let id = lab.step(execution, "load").await;
    let wishes = (0..20).map(|n| if n % 2 == 0 { completed(10) } else { failed(20) });
    let answers = join_all(wishes.map(|wish| lab.try_record(complete(execution, id, wish)))).await;
    let stored = lab.step_of(execution, id).await.status;
    let told = answers.iter().filter(|answer| answer.is_ok()).count();
    let refused = answers.iter().filter(|answer| **answer == Err(Refusal::StepHasEnded(stored))).count();
    assert_eq!((told, refused), (10, 10), "{answers:#?}");
    assert_eq!(answers.iter().flatten().filter(|answer| answer.fresh).count(), 1);
    let endings = lab.baseline("etl", "load").await.measured().endings;
    assert_eq!(endings.total(), 1);
    assert_eq!(endings.completed, u64::from(stored == StepStatus::Completed));
}

pub async fn twenty_ends_of_one_execution_count_once(lab: Lab) {
    let id = lab.start("etl").await;
    lab.step(id, "open").await;
    lab.took(id, "load", 5).await;
    let answers = join_all((0..20).map(|_| lab.try_record(end(id)))).await;
    let answers: Vec<_> = answers.into_iter().map(|answer| answer.expect("answered")).collect();
    assert_eq!(answers.iter().filter(|answer| answer.fresh).count(), 1);
    assert!(answers.windows(2).all(|pair| pair[0].outcome == pair[1].outcome));
    assert_eq!(lab.totals("etl").await.endings.total(), 1);
    let disagree = lab.try_record(EndExecution { status: ExecutionStatus::Failed, ..end(id) }).await;
    assert_eq!(disagree, Err(Refusal::ExecutionHasEnded(ExecutionStatus::Completed)));
}

pub async fn steps_racing_with_the_end_are_counted_or_refused(lab: Lab) {
    for round in 0..10_usize {
        let id = lab.start("race").await;
        let before = (0..10).map(|_| lab.try_record(whole(id, "load", completed(5))));
        let after = (0..10).map(|_| lab.try_record(whole(id, "load", completed(5))));
        let (before, ended, after) =
            join3(join_all(before.take(round)), lab.try_record(end(id)), join_all(after)).await;
        assert!(ended.is_ok());
        let answers = before.into_iter().chain(after);
        let taken = answers.filter(|answer| match answer {
            Ok(answer) => answer.fresh,
            Err(refusal) => {
                assert_eq!(*refusal, Refusal::ExecutionHasEnded(ExecutionStatus::Completed));
                false
            }
        });
        let taken = taken.count();
        let found = lab.execution(id).await;
        assert_eq!(usize::try_from(found.steps_completed), Ok(taken), "round {round}");
        assert_eq!(lab.steps(id).await.len(), taken);
    }
}

pub async fn many_commands_at_once_are_all_answered(lab: Lab) {
    let names = ["a", "b", "c"];
    let started = join_all((0..30).map(|n| lab.start(names[n % 3]))).await;
    let whole_life = async |execution: ExecutionId, n: usize| {
        let steps = join_all((0..5).map(|_| lab.step(execution, "work"))).await;
        join_all(steps.iter().map(|id| lab.complete(execution, *id, 50))).await;
        lab.took(execution, &format!("own {}", n % 4), 20).await;
        lab.end(execution).await
    };
    let ended = join_all(started.iter().enumerate().map(|(n, id)| whole_life(*id, n))).await;
    assert!(ended.iter().all(|ended| ended.steps_completed == 6));
    for name in names {
        assert_eq!(lab.count(name, "work", Ending::Completed).await, 50, "{name}");
        assert_eq!(lab.totals(name).await.endings.completed, 10);
    }
    assert_eq!(lab.store().running(10).await.expect("an answer"), []);
}

pub async fn many_new_names_at_once_are_all_learnt(lab: Lab) {
    let started: Vec<_> = (0..12).map(|n| start(&format!("flow {}", n % 4))).collect();
    join_all(started.iter().map(|start| lab.record(start.clone()))).await;
    let steps =
        started.iter().flat_map(|start| (0..25).map(|n| whole(start.id, &format!("step {n}"), completed(9))));
    join_all(steps.map(|step| lab.record(step))).await;
    for flow in 0..4 {
        let learnt = lab.history(&format!("flow {flow}")).await.expect("known").steps;
        let counts: BTreeMap<_, _> =
            learnt.iter().map(|(name, known)| (name.as_str(), known.measured().moments.count())).collect();
        assert_eq!(counts.len(), 25);
        assert!(counts.values().all(|count| *count == 3), "{counts:?}");
    }
}

pub async fn one_refused_among_many_harms_no_other(lab: Lab) {
    let id = lab.start("etl").await;
    let commands = (0..60).map(|n| match n % 3 {
        0 => step(ExecutionId::mint(lab.now()), "nowhere"),
        1 => whole(id, "load", completed(7)),
        _ => step(id, "open"),
    });
    let answers = join_all(commands.map(|command| lab.try_record(command))).await;
    for (n, answer) in answers.into_iter().enumerate() {
        match n % 3 {
            0 => assert_eq!(answer, Err(Refusal::UnknownExecution)),
            _ => assert!(answer.expect("recorded").fresh),
        }
    }
    assert_eq!(lab.steps(id).await.len(), 40);
    assert_eq!(lab.refused(complete(id, StepId::mint(), completed(1))).await, Refusal::UnknownStep);
}

pub async fn reads_see_everything_answered_before(lab: Lab) {
    for round in 0..40 {
        let id = lab.start("etl").await;
        assert_eq!(lab.find(id).await.map(|found| found.id), Some(id));
        let step = lab.step(id, "load").await;
        assert_eq!(lab.step_of(id, step).await.status, StepStatus::Running);
        lab.complete(id, step, 5).await;
        assert_eq!(lab.step_of(id, step).await.duration, Some(ms(5)));
        assert_eq!(lab.count("etl", "load", Ending::Completed).await, round + 1);
        lab.end(id).await;
        assert_eq!(lab.totals("etl").await.endings.completed, round + 1);
    }
}
