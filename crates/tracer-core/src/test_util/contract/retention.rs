//! Retention: detail goes, history stays longer, and what is young is not touched.

use futures_util::future::{join, join_all};

use super::Lab;
use crate::baseline::Ending;
use crate::record::{Refusal, StartExecution};
use crate::repository::{Pruned, Retention};
use crate::test_util::fixtures::{completed, key, ms, recorded, start, step, whole};
use crate::time::Micros;

const USUAL: Retention = Retention { detail: Micros::from_days(30), aggregates: Micros::from_days(400) };

async fn prune(lab: &Lab, retention: Retention) -> Pruned {
    lab.store().prune(lab.now(), retention).await.expect("pruned")
}

pub async fn what_is_old_is_removed_and_what_is_new_stays(lab: Lab) {
    let old = recorded(lab.now(), "etl", &[("load", 100), ("save", 20)]);
    lab.record(old.clone()).await;
    // Far enough for the whole month to have passed, where months are dropped at once.
    lab.advance(Micros::from_days(62));
    let new = recorded(lab.now(), "etl", &[("load", 100)]);
    lab.record(new.clone()).await;
    let open = lab.start("etl").await;
    let pruned = prune(&lab, USUAL).await;
    assert!(pruned.executions + pruned.partitions >= 1, "{pruned:?}");
    assert_eq!(lab.find(old.start.id).await, None);
    assert_eq!(lab.steps(old.start.id).await, []);
    assert!(lab.store().bottleneck_steps(old.start.id).await.expect("an answer").is_none());
    assert_eq!(lab.list(&Default::default()).await.len(), 2);
    assert_eq!((lab.steps(new.start.id).await.len(), lab.execution(open).await.id), (1, open));
    assert_eq!(lab.refused(step(old.start.id, "load")).await, Refusal::UnknownExecution);
    lab.took(open, "load", 5).await;
    assert_eq!(prune(&lab, USUAL).await, Pruned::default(), "there is nothing left to remove");
}

pub async fn baselines_outlive_the_detail(lab: Lab) {
    for run in 0..6 {
        lab.record(recorded(lab.now() + ms(run), "etl", &[("load", 100)])).await;
    }
    let before = lab.baseline("etl", "load").await;
    lab.advance(Micros::from_days(90));
    prune(&lab, USUAL).await;
    assert_eq!(lab.baseline("etl", "load").await, before);
    assert_eq!(lab.totals("etl").await.endings.completed, 6);
    let id = lab.start("etl").await;
    assert!(lab.took(id, "load", 1_000).await.is_some());
}

pub async fn retention_counts_from_recording_not_from_the_start(lab: Lab) {
    let began = lab.now() - Micros::from_days(3_000);
    let import = recorded(began, "etl", &[("load", 100)]);
    lab.record(import.clone()).await;
    let running = lab.start_as(StartExecution { started_at: began, ..start("etl") }).await;
    lab.advance(Micros::from_days(29));
    prune(&lab, USUAL).await;
    assert_eq!(lab.execution(import.start.id).await.started_at, began);
    assert_eq!(lab.steps(import.start.id).await.len(), 1);
    assert_eq!(lab.execution(running).await.started_at, began);
}

pub async fn old_days_of_baselines_are_removed(lab: Lab) {
    let id = lab.start("etl").await;
    for _ in 0..50 {
        lab.took(id, "load", 100).await;
        lab.advance(Micros::from_days(1));
    }
    assert_eq!(prune(&lab, USUAL).await.segments, 0);
    let short = Retention { detail: Micros::from_days(500), aggregates: Micros::from_days(30) };
    // Days 0 to 48 are closed. From 48 on, 18 of them lie further back than 30 days; but recording looks
    // at 44, which leaves 5.
    assert_eq!(prune(&lab, short).await.segments, 5);
    assert_eq!(prune(&lab, short).await.segments, 0);
    let live = lab.start("etl").await;
    for _ in 0..30 {
        lab.took(live, "load", 100).await;
        lab.advance(Micros::from_days(1));
    }
    // Days 49 to 78 are closed since, and as many older ones are out of reach.
    assert_eq!(prune(&lab, short).await.segments, 30);
    assert_eq!(lab.took(live, "load", 100).await, None);
}

pub async fn history_imported_from_years_ago_is_kept(lab: Lab) {
    let years_ago = lab.now() - Micros::from_days(6 * 365);
    for run in 0..6 {
        let began = years_ago + Micros::from_days(run);
        lab.record(recorded(began, "blast", &[("blastall", 1_000)])).await;
    }
    let before = lab.baseline("blast", "blastall").await;
    assert_eq!(prune(&lab, USUAL).await.segments, 0);
    assert_eq!(lab.baseline("blast", "blastall").await, before);
    // The window is summed up anew with every day that begins: from the imported days too, among which
    // the live ones are few.
    for day in 1..=3 {
        let id = lab.start("blast").await;
        assert!(lab.took(id, "blastall", 4_000).await.is_some(), "day {day}");
        assert_eq!(lab.took(id, "blastall", 1_000).await, None, "day {day}");
        lab.advance(Micros::from_days(1));
        assert_eq!(prune(&lab, USUAL).await.segments, 0, "day {day}");
    }
    assert_eq!(lab.baseline("blast", "blastall").await.measured().moments.count(), 12);
}

pub async fn expired_idempotency_keys_are_removed(lab: Lab) {
    for scope in 0..3 {
        lab.record_under(key(scope, 1), start("etl")).await.expect("recorded");
    }
    lab.advance(Micros::from_secs(23 * 3_600));
    lab.record_under(key(9, 1), start("etl")).await.expect("recorded");
    assert_eq!(prune(&lab, USUAL).await.idempotency_keys, 0);
    lab.advance(Micros::from_secs(3_601));
    assert_eq!(prune(&lab, USUAL).await.idempotency_keys, 3);
    let held = lab.record_under(key(9, 1), start("etl")).await.expect("answered");
    assert!(!held.fresh);
}

pub async fn pruning_an_empty_store_removes_nothing(lab: Lab) {
    assert_eq!(prune(&lab, USUAL).await, Pruned::default());
}

pub async fn requests_go_on_while_it_is_pruned(lab: Lab) {
    for _ in 0..5 {
        let mut import = recorded(lab.now(), "etl", &[]);
        import.steps = recorded(lab.now(), "etl", &[("load", 5); 600]).steps;
        lab.record(import).await;
    }
    lab.advance(Micros::from_days(90));
    let id = lab.start("live").await;
    let work = (0..100).map(|_| lab.record(whole(id, "load", completed(5))));
    let (pruned, _) = join(prune(&lab, USUAL), join_all(work)).await;
    assert!(pruned.executions + pruned.partitions >= 1, "{pruned:?}");
    assert_eq!(lab.count("live", "load", Ending::Completed).await, 100);
    assert_eq!(lab.list(&Default::default()).await, [id]);
}
