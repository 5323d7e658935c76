//! PostgreSQL goes away, comes back, and refuses: what clients notice of it.
//!
//! Not here: the service's own end in mid-load (`crash`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::join_all;
use serde_json::json;
use tokio::sync::mpsc;
use tokio_postgres::NoTls;
use tracer_core::attributes::Attributes;
use tracer_core::baseline::Ending;
use tracer_core::detect::Policy;
use tracer_core::ids::ExecutionId;
use tracer_core::limits;
use tracer_core::record::{Answer, Request, StartExecution};
use tracer_core::repository::{Repository, RepositoryError};
use tracer_core::test_util::FakeClock;
use tracer_core::test_util::fixtures::{
    IntoCommand, NOON, complete, completed, end, recorded, recorded_step, start, step, workflow,
};
use tracer_core::time::Micros;
use tracer_store::test_util::postgres::{PrivateServer, TestDatabase};
use tracer_store::{Location, OpenError, StoreConfig};

async fn try_open(url: &str) -> Result<Arc<dyn Repository>, OpenError> {
    let config = StoreConfig { pool_size: 4, ..StoreConfig::at(Location::Postgres(url.to_owned())) };
    tracer_store::open(&config, Arc::new(Policy::default())).await
}

async fn open(url: &str) -> Arc<dyn Repository> {
    try_open(url).await.expect("a store")
}

async fn send(store: &dyn Repository, command: impl IntoCommand) -> Result<Answer, RepositoryError> {
    let command = command.into_command();
    store.record(Request { command, idempotency: None, received_at: store.clock().now() }).await
}

/// Records a whole execution; returns its id, or the first error.
async fn run(store: &dyn Repository) -> Result<ExecutionId, RepositoryError> {
    let execution = start("etl");
    send(store, execution.clone()).await?;
    let step = step(execution.id, "load");
    send(store, step.clone()).await?;
    send(store, complete(execution.id, step.id, completed(5))).await?;
    send(store, end(execution.id)).await?;
    store.execution(execution.id).await?.expect("what was answered is found");
    Ok(execution.id)
}

/// Runs executions until told to stop; returns those that were answered, and the errors.
async fn load(store: Arc<dyn Repository>, stop: Arc<AtomicBool>) -> (Vec<ExecutionId>, Vec<RepositoryError>) {
    let (mut done, mut errors) = (Vec::new(), Vec::new());
    while !stop.load(Ordering::SeqCst) {
        match run(&*store).await {
            Ok(id) => done.push(id),
            Err(error) => {
                errors.push(error);
                tokio::task::yield_now().await;
            }
        }
    }
    (done, errors)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stops_under_load_is_unavailable_until_it_is_back_and_then_nothing_fails() {
    let mut server = PrivateServer::start();
    let store = open(&server.url("postgres")).await;
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..8).map(|_| tokio::spawn(load(store.clone(), stop.clone()))).collect();
    let mut acknowledged = Vec::new();
    for _ in 0..3 {
        acknowledged.extend(
            join_all((0..20).map(|_| run(&*store))).await.into_iter().map(|id| id.expect("recorded")),
        );
        server = tokio::task::spawn_blocking(move || {
            server.stop();
            server
        })
        .await
        .expect("stopped");
        assert!(matches!(store.ping().await, Err(RepositoryError::Unavailable { .. })));
        assert!(matches!(run(&*store).await, Err(RepositoryError::Unavailable { .. })));
        server = tokio::task::spawn_blocking(move || {
            server.restart();
            server
        })
        .await
        .expect("restarted");
        // From here on nothing may fail: the next round begins at once.
    }
    acknowledged
        .extend(join_all((0..20).map(|_| run(&*store))).await.into_iter().map(|id| id.expect("recorded")));
    stop.store(true, Ordering::SeqCst);
    for client in clients {
        let (done, errors) = client.await.expect("no panic");
        acknowledged.extend(done);
        for error in errors {
            assert!(matches!(error, RepositoryError::Unavailable { .. }), "{error:?}");
        }
    }
    for id in &acknowledged {
        let found = store.execution(*id).await.expect("an answer");
        assert_eq!(found.map(|found| found.steps_completed), Some(1), "{id} was acknowledged");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_break_under_load_fail_no_request_and_count_nothing_twice() {
    const CLIENTS: u64 = 8;
    const EXECUTIONS: u64 = 25;
    let database = TestDatabase::create().await;
    let store = open(database.url()).await;
    let (admin, connection) = tokio_postgres::connect(database.url(), NoTls).await.expect("a connection");
    tokio::spawn(connection);
    let (progress, mut progressed) = mpsc::channel(1);
    let breaker = tokio::spawn(async move {
        let others = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                       WHERE datname = current_database() AND application_name = 'tracer'";
        let mut broken = 0;
        while progressed.recv().await.is_some() {
            broken += admin.query_one(others, &[]).await.expect("terminated").get::<_, i64>(0);
        }
        broken
    });
    let client = async |progress: mpsc::Sender<()>| {
        for turn in 0..EXECUTIONS {
            run(&*store).await.expect("carried out");
            if turn % 3 == 0 {
                progress.send(()).await.expect("a breaker");
            }
        }
    };
    join_all((0..CLIENTS).map(|_| client(progress.clone()))).await;
    drop(progress);
    assert!(breaker.await.expect("no panic") > 0, "no connection was broken");
    let history = store.workflow_history(&workflow("etl")).await.expect("an answer").expect("a history");
    assert_eq!(history.executions.measured().endings.get(Ending::Completed), CLIENTS * EXECUTIONS);
    let (_, load) = history.steps.first().expect("a step");
    assert_eq!(load.measured().endings.get(Ending::Completed), CLIENTS * EXECUTIONS);
    assert_eq!(history.running, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_the_database_refuses_takes_no_other_with_it() {
    let database = TestDatabase::create().await;
    let store = open(database.url()).await;
    // What no client can send: PostgreSQL has no NUL in its texts, and the edge refuses one.
    let nul = Attributes::from_stored(BTreeMap::from([("key".to_owned(), json!("a\0b"))]));
    let poison = StartExecution { attributes: nul, ..start("poison") };
    let sound: Vec<_> = (0..40).map(|_| start("sound")).collect();
    let commands = sound.iter().take(20).chain([&poison]).chain(sound.iter().skip(20));
    let answers = join_all(commands.map(|command| send(&*store, command.clone()))).await;
    let failed: Vec<_> = answers.iter().filter_map(|answer| answer.as_ref().err()).collect();
    assert!(matches!(failed[..], [RepositoryError::Internal { .. }]), "{failed:?}");
    assert_eq!(store.running(10).await.expect("an answer"), [(workflow("sound"), 40)]);
    assert!(store.workflow_history(&workflow("poison")).await.expect("an answer").is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn step_names_of_a_batch_that_failed_take_no_room() {
    let database = TestDatabase::create().await;
    let store = open(database.url()).await;
    let mut many = recorded(NOON, "wide", &[]);
    let most = limits::STEP_NAMES_PER_WORKFLOW;
    many.steps = (0..=most).map(|n| recorded_step(n + 1, &format!("step {n}"), NOON, 100)).collect();
    many.end.ended_at = Some(NOON + Micros::from_millis(100));
    many.start.attributes = Attributes::from_stored(BTreeMap::from([("key".to_owned(), json!("a\0b"))]));
    send(&*store, many).await.expect_err("refused by the database");
    send(&*store, recorded(NOON, "wide", &[("load", 100)])).await.expect("recorded");
    let history = store.workflow_history(&workflow("wide")).await.expect("an answer").expect("a history");
    assert_eq!(history.steps.len(), 1);
    assert_eq!(store.health().await.expect("an answer").workflows_over_step_limit, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_lets_nobody_in_is_told_from_one_that_is_not_there() {
    let server = PrivateServer::start();
    let (url, missing) = (server.url("postgres"), server.url("missing"));
    let (admin, connection) = tokio_postgres::connect(&url, NoTls).await.expect("a connection");
    let connection = tokio::spawn(connection);
    let closed = "CREATE ROLE outsider LOGIN; CREATE ROLE group_only NOLOGIN;
                  REVOKE CONNECT ON DATABASE postgres FROM PUBLIC";
    admin.batch_execute(closed).await.expect("carried out");
    let as_user = |name: &str| url.replace("postgres@", &format!("{name}@"));
    for url in [missing, as_user("nobody_here"), as_user("group_only"), as_user("outsider")] {
        let error = try_open(&url).await.map(|_| ()).expect_err("refused");
        assert!(matches!(error, OpenError::Rejected(_)), "{url}: {error:?}");
        let clock = Some(Arc::new(FakeClock::at(NOON)) as _);
        let config = StoreConfig { clock, ..StoreConfig::at(Location::Postgres(url.clone())) };
        let error = tracer_store::open(&config, Arc::default()).await.map(|_| ()).expect_err("refused");
        assert!(matches!(error, OpenError::Rejected(_)), "{url}: {error:?}");
    }
    drop((admin, server));
    connection.await.expect("driven").ok();
    let error = try_open(&url).await.map(|_| ()).expect_err("nobody answers");
    assert!(matches!(error, OpenError::Unreachable(_)), "{error:?}");
}
