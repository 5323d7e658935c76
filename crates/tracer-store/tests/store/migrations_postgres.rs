//! Migrations of PostgreSQL: from nothing, all at once, again, and beside a newer version.

use std::sync::Arc;

use futures_util::future::join_all;
use tokio_postgres::{Client, NoTls};
use tracer_core::detect::Policy;
use tracer_core::repository::{Repository, Retention};
use tracer_core::test_util::FakeClock;
use tracer_core::test_util::fixtures::{NOON, end, failed, request, start, whole};
use tracer_core::time::{Micros, Timestamp};
use tracer_store::test_util::postgres::TestDatabase;
use tracer_store::{Location, OpenError, StoreConfig};

/// What is partitioned.
const TABLES: [&str; 5] =
    ["execution_failures", "service_executions", "workflow_events", "workflow_executions", "workflow_steps"];

/// What makes the tables of failures.
const FAILURES: &str = include_str!("../../../../migrations/postgres/V0008__failures.sql");

async fn open_at(url: &str, now: Timestamp) -> Result<Arc<dyn Repository>, OpenError> {
    let clock = Some(Arc::new(FakeClock::at(now)) as _);
    let config = StoreConfig { pool_size: 2, clock, ..StoreConfig::at(Location::Postgres(url.to_owned())) };
    tracer_store::open(&config, Arc::new(Policy::default())).await
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("a connection");
    tokio::spawn(connection);
    client
}

async fn texts(client: &Client, sql: &str) -> Vec<String> {
    let rows = client.query(sql, &[]).await.expect("rows");
    rows.iter().map(|row| row.get(0)).collect()
}

async fn partitions(client: &Client) -> Vec<String> {
    let of_tables = "SELECT inhrelid::regclass::text FROM pg_inherits JOIN pg_class AS p ON p.oid = inhparent
                      WHERE p.relkind = 'p' ORDER BY 1";
    texts(client, of_tables).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_that_start_at_once_on_nothing_all_come_up() {
    let database = TestDatabase::create().await;
    let opened = join_all((0..6).map(|_| open_at(database.url(), NOON))).await;
    for store in &opened {
        let store = store.as_ref().expect("a store");
        let execution = start("etl");
        store.record(request(NOON, execution.clone())).await.expect("started");
        store.record(request(NOON, end(execution.id))).await.expect("ended");
    }
    let client = connect(database.url()).await;
    let applied =
        texts(&client, "SELECT version || ' ' || name FROM refinery_schema_history ORDER BY version").await;
    assert_eq!(
        applied,
        [
            "1 executions",
            "2 baselines",
            "3 incidents",
            "4 idempotency",
            "5 in_flight",
            "6 alerts",
            "7 traces",
            "8 failures",
            "9 live",
            "10 services",
            "11 slo",
        ]
    );
    let expected =
        TABLES.map(|table| ["01", "02", "03"].map(|month| format!("{table}_2026_{month}"))).concat();
    assert_eq!(partitions(&client).await, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn opening_again_changes_nothing_and_keeps_everything() {
    let database = TestDatabase::create().await;
    let execution = start("etl");
    let store = open_at(database.url(), NOON).await.expect("a store");
    store.record(request(NOON, execution.clone())).await.expect("started");
    store.shut_down().await;
    drop(store);
    let client = connect(database.url()).await;
    let tables = "SELECT oid::text FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY oid";
    let before = texts(&client, tables).await;
    let store = open_at(database.url(), NOON).await.expect("a store");
    assert_eq!(texts(&client, tables).await, before);
    assert!(store.execution(execution.id).await.expect("an answer").is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_replica_starts_beside_a_newer_one() {
    let database = TestDatabase::create().await;
    drop(open_at(database.url(), NOON).await.expect("a store"));
    let client = connect(database.url()).await;
    let newer = "INSERT INTO refinery_schema_history (version, name, applied_on, checksum)
                 VALUES (9999, 'later', '2027-01-01T00:00:00Z', '1')";
    client.execute(newer, &[]).await.expect("a migration of the future");
    open_at(database.url(), NOON).await.expect("a store");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn months_come_and_go_with_time() {
    let database = TestDatabase::create().await;
    let store = open_at(database.url(), NOON).await.expect("a store");
    let client = connect(database.url()).await;
    let march = NOON + Micros::from_days(31);
    store.prepare(march).await.expect("prepared");
    // A month that nobody prepared: the writer makes it, and only it.
    let next_year = NOON + Micros::from_days(365);
    store.record(request(next_year, start("etl"))).await.expect("started");
    let retention = Retention { detail: Micros::from_days(30), aggregates: Micros::from_days(400) };
    let pruned = store.prune(march + Micros::from_days(30), retention).await.expect("pruned");
    assert_eq!(pruned.partitions, 10);
    let expected = TABLES
        .map(|table| ["2026_03", "2026_04", "2026_05", "2027_01"].map(|month| format!("{table}_{month}")))
        .concat();
    assert_eq!(partitions(&client).await, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_older_version_recorded_may_fail_yet() {
    let database = TestDatabase::create().await;
    let store = open_at(database.url(), NOON).await.expect("a store");
    let execution = start("etl");
    store.record(request(NOON, execution.clone())).await.expect("started");
    // As the version before failures left it, and as this one then makes it.
    let client = connect(database.url()).await;
    let before = "DROP TABLE failure_groups, failure_tokens, failure_workflows, execution_failures";
    client.batch_execute(before).await.expect("the older tables");
    client.batch_execute(FAILURES).await.expect("migrated");
    let later = NOON + Micros::from_days(365);
    let ended = whole(execution.id, "load", failed(5));
    store.record(request(later, ended)).await.expect("recorded in the month of its execution");
    assert_eq!(store.failures_of(execution.id).await.expect("an answer").len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stands_in_the_way_of_opening_is_told_without_the_password() {
    let database = TestDatabase::create().await;
    let cases = [
        ("nonsense", "the PostgreSQL connection string cannot be used"),
        ("postgres://u:secret@localhost/d?sslmode=loose", "the PostgreSQL connection string cannot be used"),
        ("postgres://u:secret@127.0.0.1:1/d", "PostgreSQL cannot be reached"),
        (
            &format!("{}?sslmode=verify-full&sslrootcert=/nowhere/secret.pem", database.url()),
            "the PostgreSQL connection string cannot be used",
        ),
    ];
    for (url, expected) in cases {
        let error = open_at(url, NOON).await.err().expect("an error");
        assert!(error.to_string().starts_with(expected), "{error}");
        assert!(!error.to_string().contains("u:secret"), "{error}");
    }
}
