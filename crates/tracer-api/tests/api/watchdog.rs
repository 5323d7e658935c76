//! The watchdog over PostgreSQL: each crossing is said once, over replicas, one of which is lost.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use futures_util::{StreamExt as _, stream};
use tokio::sync::Notify;
use tracer_alert::{Verdict, Watchdog};
use tracer_core::detect::{Policy, Severity, VerdictKind};
use tracer_core::ids::ExecutionId;
use tracer_core::record::StepKey;
use tracer_core::repository::Repository;
use tracer_core::test_util::FakeClock;
use tracer_core::test_util::fixtures::{IntoCommand, NOON, completed, ms, request, start, step, whole};
use tracer_store::test_util::postgres::TestDatabase;
use tracer_store::{Location, StoreConfig};

const EXECUTIONS: usize = 100;
const STEPS_EACH: usize = 100;
/// Looks under way at once, of each watchdog.
const AT_A_TIME: usize = 256;
/// Verdicts that the first replica tells of before the other one begins to look, too.
const TOLD: usize = 750;

/// How often each step was told of.
type Told = Arc<Mutex<BTreeMap<StepKey, usize>>>;

async fn replica(database: &TestDatabase, clock: &Arc<FakeClock>) -> Arc<dyn Repository> {
    let location = Location::Postgres(database.url().to_owned());
    let config = StoreConfig { clock: Some(clock.clone()), pool_size: 4, ..StoreConfig::at(location) };
    tracer_store::open(&config, Arc::new(Policy::default())).await.unwrap()
}

async fn send(store: &dyn Repository, command: impl IntoCommand) {
    assert!(store.record(request(store.clock().now(), command)).await.unwrap().fresh);
}

/// Starts ten thousand steps at the same moment; their history is five runs of 100 ms.
async fn start_steps(store: &dyn Repository) -> Vec<ExecutionId> {
    let executions: Vec<_> = (0..EXECUTIONS).map(|_| start("etl")).collect();
    for execution in &executions {
        send(store, execution.clone()).await;
    }
    for _ in 0..5 {
        send(store, whole(executions[0].id, "load", completed(100))).await;
    }
    let ids: Vec<_> = executions.iter().map(|execution| execution.id).collect();
    let steps = ids.iter().flat_map(|id| (0..STEPS_EACH).map(|_| step(*id, "load")));
    stream::iter(steps).for_each_concurrent(AT_A_TIME * 2, |step| send(store, step)).await;
    ids
}

/// Looks until nothing is due; `reached` hears when so many were told of.
async fn look(store: Arc<dyn Repository>, told: Told, many: usize, reached: Arc<Notify>) {
    let watchdog = Watchdog::new(store, AT_A_TIME);
    let mut said = 0;
    let report = |verdict: &Verdict| {
        let Verdict::StepStuck(stuck) = verdict else { return };
        *told.lock().unwrap().entry((stuck.execution, stuck.id)).or_default() += 1;
        said += 1;
        if said == many {
            reached.notify_one();
        }
    };
    watchdog.look(report).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_crossings_are_each_said_once_though_one_of_two_replicas_is_lost() {
    let database = TestDatabase::create().await;
    let clock = Arc::new(FakeClock::at(NOON));
    let (lost, kept) = tokio::join!(replica(&database, &clock), replica(&database, &clock));
    let ids = start_steps(&*kept).await;
    clock.advance(ms(250));

    let (by_lost, by_kept, reached) = (Told::default(), Told::default(), Arc::new(Notify::new()));
    let doomed = tokio::spawn(look(Arc::clone(&lost), Arc::clone(&by_lost), TOLD, Arc::clone(&reached)));
    reached.notified().await;
    // From now on both look at the same; the first one is lost as soon as the second one has told of something.
    let other = tokio::spawn(look(Arc::clone(&kept), Arc::clone(&by_kept), 1, Arc::clone(&reached)));
    reached.notified().await;
    doomed.abort();
    assert!(doomed.await.unwrap_err().is_cancelled(), "it was still looking");
    drop(lost);
    other.await.unwrap();
    // What the lost one had handed to its writer may be under way yet: a restarted one finds what is left.
    let restarted = replica(&database, &clock).await;
    let after = Told::default();
    look(Arc::clone(&restarted), Arc::clone(&after), 1, Arc::default()).await;
    assert_eq!(after.lock().unwrap().len(), 0, "nothing is left, and nothing is repeated");

    let (by_lost, by_kept) = (by_lost.lock().unwrap().clone(), by_kept.lock().unwrap().clone());
    assert!(by_lost.values().chain(by_kept.values()).all(|times| *times == 1));
    assert!(by_lost.keys().all(|key| !by_kept.contains_key(key)), "said by one of them");
    let said = by_lost.len() + by_kept.len();
    // Committed by the lost one, whose caller was gone before it was answered.
    let unsaid = EXECUTIONS * STEPS_EACH - said;
    assert!(
        by_lost.len() >= TOLD && unsaid <= AT_A_TIME,
        "{} and {}, {unsaid} unsaid",
        by_lost.len(),
        by_kept.len()
    );
    println!("said by the lost one {}, by the other {}, unsaid {unsaid}", by_lost.len(), by_kept.len());
    let mut stored = 0;
    for id in ids {
        for step in restarted.steps(id, None, 1_000).await.unwrap() {
            let Some(found) = step.bottleneck.filter(|found| found.in_flight) else { continue };
            assert_eq!((found.kind, found.severity), (VerdictKind::StuckStep, Severity::Warning));
            assert_eq!(step.judge_at, Some(step.started_at + ms(300) + tracer_core::time::Micros::new(1)));
            stored += 1;
        }
    }
    assert_eq!(stored, EXECUTIONS * STEPS_EACH);
}
