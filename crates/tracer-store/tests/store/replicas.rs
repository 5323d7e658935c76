//! Several replicas over one PostgreSQL: they count once, hold nobody up for good, and lose nothing.

mod alerts;
mod live;
mod slo;

use std::sync::Arc;

use futures_util::future::join_all;
use tracer_core::baseline::Ending;
use tracer_core::detect::Policy;
use tracer_core::record::{Answer, Command, Outcome, Request};
use tracer_core::repository::{Repository, RepositoryError};
use tracer_core::routing::{Alerting, Audience};
use tracer_core::test_util::fixtures::{
    IntoCommand, as_repeated, channel, complete, completed, end, key, recorded, start, step, step_name,
    whole, workflow,
};
use tracer_store::test_util::postgres::{PrivateServer, TestDatabase};
use tracer_store::{Location, StoreConfig};

async fn replica(url: &str) -> Arc<dyn Repository> {
    let config = StoreConfig { pool_size: 4, ..StoreConfig::at(Location::Postgres(url.to_owned())) };
    let alerting = Alerting { channels: vec![channel("people", Audience::People)], ..Alerting::default() };
    let policy = Policy::default().with_alerting(alerting);
    tracer_store::open(&config, Arc::new(policy)).await.expect("a replica")
}

async fn send(store: &dyn Repository, command: impl IntoCommand) -> Answer {
    try_send(store, command).await.expect("carried out")
}

async fn try_send(store: &dyn Repository, command: impl IntoCommand) -> Result<Answer, RepositoryError> {
    let command: Command = command.into_command();
    store.record(Request { command, idempotency: None, received_at: store.clock().now() }).await
}

/// Returns the answer that all of them got, of which one was fresh.
fn agreed(answers: Vec<Answer>) -> Outcome {
    let fresh = answers.iter().filter(|answer| answer.fresh).count();
    assert_eq!(fresh, 1, "of {} answers", answers.len());
    let told: Vec<Outcome> = answers.into_iter().map(|answer| as_repeated(answer.outcome)).collect();
    let first = told.first().expect("an answer").clone();
    assert!(told.iter().all(|outcome| *outcome == first), "{told:#?}");
    first
}

async fn count(store: &dyn Repository, name: &str, step: &str) -> u64 {
    let history = store.workflow_history(&workflow(name)).await.expect("an answer").expect("a history");
    let baseline = history.steps.iter().find(|(found, _)| *found == step_name(step));
    baseline.map_or(0, |(_, baseline)| baseline.measured().endings.get(Ending::Completed))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_completed_by_twenty_clients_of_two_replicas_counts_once() {
    let database = TestDatabase::create().await;
    let replicas = [replica(database.url()).await, replica(database.url()).await];
    let execution = start("etl");
    send(&*replicas[0], execution.clone()).await;
    for round in 1..=10 {
        let step = step(execution.id, "load");
        send(&*replicas[1], step.clone()).await;
        // Without a duration each request would measure its own: what is stored must be the first one's.
        let mut completion = completed(100);
        completion.duration = None;
        let clients = (0..20)
            .map(|client| send(&*replicas[client % 2], complete(execution.id, step.id, completion.clone())));
        agreed(join_all(clients).await);
        assert_eq!(count(&*replicas[0], "etl", "load").await, round);
    }
    let clients = (0..20).map(|client| send(&*replicas[client % 2], end(execution.id)));
    let Outcome::ExecutionEnded(ended) = agreed(join_all(clients).await) else { panic!("not an end") };
    assert_eq!(ended.steps_completed, 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_ids_arriving_at_two_replicas_are_recorded_once() {
    let database = TestDatabase::create().await;
    let replicas = [replica(database.url()).await, replica(database.url()).await];
    for _ in 0..10 {
        let now = replicas[0].clock().now();
        let execution = recorded(now, "import", &[("load", 100), ("save", 20)]);
        let clients = (0..10).map(|client| send(&*replicas[client % 2], execution.clone()));
        let answers = join_all(clients).await;
        assert_eq!(answers.iter().filter(|answer| answer.fresh).count(), 1);

        let running = start("etl");
        send(&*replicas[0], running.clone()).await;
        let step = whole(running.id, "load", completed(5));
        let clients = (0..10).map(|client| send(&*replicas[client % 2], step.clone()));
        agreed(join_all(clients).await);
    }
    assert_eq!(count(&*replicas[1], "import", "load").await, 10);
    assert_eq!(count(&*replicas[1], "etl", "load").await, 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idempotency_key_used_at_two_replicas_starts_one_execution() {
    let database = TestDatabase::create().await;
    let replicas = [replica(database.url()).await, replica(database.url()).await];
    for scope in 0..10 {
        let clients = (0..10).map(|client| {
            let store = &replicas[client % 2];
            // Every client mints an id of its own; the first one's holds.
            let command = start("etl").into_command();
            let idempotency = Some(key(scope, 1));
            store.record(Request { command, idempotency, received_at: store.clock().now() })
        });
        let answers = join_all(clients).await.into_iter().map(|answer| answer.expect("carried out"));
        agreed(answers.collect());
    }
    assert_eq!(replicas[0].running(10).await.expect("an answer"), [(workflow("etl"), 10)]);
}

/// Runs whole executions, whose steps go to either replica in turn.
async fn client(number: usize, executions: usize, replicas: &[Arc<dyn Repository>; 2]) {
    for turn in 0..executions {
        let store = |at: usize| &*replicas[(number + turn + at) % 2];
        let execution = start(["etl", "chat", "report"][(number + turn) % 3]);
        send(store(0), execution.clone()).await;
        let first = step(execution.id, ["load", "save", "check"][turn % 3]);
        send(store(1), first.clone()).await;
        let more = ["save", "load", "check"].map(|name| whole(execution.id, name, completed(5)));
        join_all(more.into_iter().enumerate().map(|(at, step)| send(store(at), step))).await;
        // A step of the same execution that completes at one replica while the other starts another one.
        let second = step(execution.id, "check");
        let completion = complete(execution.id, first.id, completed(7));
        tokio::join!(send(store(0), completion), send(store(1), second));
        send(store(1), end(execution.id)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replicas_and_many_clients_on_few_workflows_never_deadlock() {
    const CLIENTS: usize = 32;
    const EXECUTIONS: usize = 12;
    let server = PrivateServer::start();
    let url = server.url("postgres");
    let (left, right) = tokio::join!(replica(&url), replica(&url));
    let replicas = [left, right];
    join_all((0..CLIENTS).map(|number| client(number, EXECUTIONS, &replicas))).await;
    let mut completed = 0;
    for name in ["etl", "chat", "report"] {
        for step in ["load", "save", "check"] {
            completed += count(&*replicas[0], name, step).await;
        }
    }
    assert_eq!(completed, u64::try_from(CLIENTS * EXECUTIONS * 4).expect("a count"));
    let log = server.log();
    for complaint in ["deadlock detected", "lock timeout", "could not serialize"] {
        assert!(!log.contains(complaint), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replicas_give_no_workflow_more_step_names_than_it_may_have() {
    let database = TestDatabase::create().await;
    let replicas = [replica(database.url()).await, replica(database.url()).await];
    let execution = start("etl");
    send(&*replicas[0], execution.clone()).await;
    // Few at a time, so that the last places are taken by many batches on both sides.
    for hundred in 0..12 {
        let names = (0..100).map(|n| (n % 2, format!("step {}", hundred * 100 + n)));
        let steps = names.map(|(at, name)| send(&*replicas[at], whole(execution.id, &name, completed(5))));
        join_all(steps).await;
    }
    let history =
        replicas[0].workflow_history(&workflow("etl")).await.expect("an answer").expect("a history");
    assert_eq!(u64::try_from(history.steps.len()), Ok(tracer_core::limits::STEP_NAMES_PER_WORKFLOW));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_stamp_by_one_clock() {
    let database = TestDatabase::create().await;
    let replicas = [replica(database.url()).await, replica(database.url()).await];
    for _ in 0..20 {
        let (first, second) = (replicas[0].clock().now(), replicas[1].clock().now());
        // Each may be off by half a round trip, which on one machine is far below this.
        assert!(second.since(first).as_millis() < 100 && first.since(second).as_millis() < 100);
    }
}
