//! What is particular to this store: the file, its lock, and retention in portions.

use std::path::Path;

use tracer_core::execution::ExecutionStatus;
use tracer_core::record::{Command, EndExecution, RecordExecution, RecordedStep, StartExecution};
use tracer_core::step::{StepStatus, StepTimes};
use tracer_core::time::{Micros, Timestamp};

use super::*;

const NOW: Timestamp = Timestamp::from_millis(1_769_860_800_000);

async fn open_at(path: &Path) -> Result<EmbeddedStore, OpenError> {
    let config = StoreConfig::at(Location::Embedded(path.to_owned()));
    EmbeddedStore::open(&config, Arc::new(Policy::default())).await
}

/// Records an execution whose steps took 100 ms each, one after the other.
async fn record(store: &EmbeddedStore, steps: u64) -> ExecutionId {
    try_record(store, steps).await.unwrap()
}

async fn try_record(store: &EmbeddedStore, steps: u64) -> Result<ExecutionId, RepositoryError> {
    let id = ExecutionId::mint(NOW);
    let start = StartExecution {
        id,
        workflow: WorkflowName::from_stored("etl"),
        correlation_id: None,
        version: None,
        attributes: serde_json::from_str(r#"{"region": "eu", "size": 1, "list": [1]}"#).unwrap(),
        input: None,
        started_at: NOW,
        parent: None,
        link: None,
        simulated: false,
    };
    let steps = (1..=steps).map(|n| {
        let (began, took) = (NOW + Micros::from_millis(100 * n), Micros::from_millis(100));
        RecordedStep {
            id: tracer_core::ids::StepId::from_u64(n).unwrap(),
            name: tracer_core::name::StepName::from_stored("load"),
            step_type: Default::default(),
            parent: None,
            attributes: Default::default(),
            status: StepStatus::Completed,
            times: StepTimes { started_at: began, ended_at: began + took, duration: took },
            failure: None,
        }
    });
    let steps = steps.collect();
    let end = EndExecution {
        id,
        status: ExecutionStatus::Completed,
        ended_at: Some(NOW + Micros::from_secs(1)),
        failure: None,
        output: None,
    };
    let command = Command::RecordExecution(Box::new(RecordExecution { start, steps, end, alerts: false }));
    store.record(Request { command, idempotency: None, received_at: NOW }).await?;
    Ok(id)
}

async fn samples(store: &EmbeddedStore) -> u64 {
    let history = store.workflow_history(&WorkflowName::from_stored("etl")).await.unwrap().unwrap();
    history.steps.iter().map(|(_, baseline)| baseline.measured().moments.count()).sum()
}

async fn rows(store: &EmbeddedStore, table: &'static str) -> i64 {
    let sql = format!("SELECT count(*) FROM {table}");
    store
        .connection
        .run("count", move |connection| Ok(connection.query_row(&sql, [], |row| row.get(0))?))
        .await
        .unwrap()
}

#[tokio::test]
async fn a_file_is_opened_once_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tracer.db");
    let first = open_at(&path).await.unwrap();
    let refused = open_at(&path).await.unwrap_err();
    assert!(refused.to_string().contains("tracer.db is in use by another process"), "{refused}");
    drop(first);
    let second = open_at(&path).await.unwrap();
    second.shut_down().await;
    assert!(open_at(&path).await.is_ok(), "what is shut down has let go of the file");
}

#[tokio::test]
async fn a_file_opened_again_holds_everything() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tracer.db");
    let first = open_at(&path).await.unwrap();
    let id = record(&first, 7).await;
    let stored = first.execution(id).await.unwrap();
    drop(first);
    let again = open_at(&path).await.unwrap();
    assert_eq!(again.execution(id).await.unwrap(), stored);
    assert_eq!(again.steps(id, None, 100).await.unwrap().len(), 7);
    assert_eq!(samples(&again).await, 7);
}

#[tokio::test]
async fn after_a_clean_stop_the_file_alone_holds_everything() {
    let folder = tempfile::tempdir().unwrap();
    let (path, copy) = (folder.path().join("tracer.db"), folder.path().join("copy.db"));
    let store = open_at(&path).await.unwrap();
    let id = record(&store, 7).await;
    // Connections that read are open beside the one that writes.
    store.ping().await.unwrap();
    store.shut_down().await;
    std::fs::copy(&path, &copy).unwrap();
    let copied = open_at(&copy).await.unwrap();
    assert_eq!(copied.execution(id).await.unwrap(), store.execution(id).await.unwrap());
    assert_eq!((copied.steps(id, None, 100).await.unwrap().len(), samples(&copied).await), (7, 7));
    drop(copied);
    let log = |path: &Path| {
        let log = path.with_extension("db-wal");
        std::fs::metadata(log).map_or(0, |log| log.len())
    };
    assert_eq!((log(&path), log(&copy)), (0, 0), "neither shutting down nor dropping leaves a log behind");
}

#[tokio::test]
async fn what_is_read_after_the_end_was_written_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_at(&folder.path().join("tracer.db")).await.unwrap();
    let id = record(&store, 1).await;
    store.shut_down().await;
    assert!(store.execution(id).await.unwrap().is_some());
    let pruned = store.prune(NOW, Retention { detail: Micros::ZERO, aggregates: Micros::ZERO }).await;
    assert!(matches!(pruned, Err(RepositoryError::Unavailable { .. })), "{pruned:?}");
}

#[tokio::test]
async fn a_full_disk_is_said_so_and_passes() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_at(&folder.path().join("tracer.db")).await.unwrap();
    let first = record(&store, 1).await;
    let most_pages = async |pages: i64| {
        let limit = move |connection: &mut rusqlite::Connection| {
            Ok(connection
                .pragma_update_and_check(None, "max_page_count", pages, |row| row.get::<_, i64>(0))?)
        };
        store.connection.run("limit", limit).await.unwrap()
    };
    // SQLite answers a file at its limit as it answers a full disk. No limit is below the present size.
    most_pages(1).await;
    let full = try_record(&store, 5_000).await.unwrap_err();
    assert_eq!(full.to_string(), "the store is unavailable: the disk is full");
    assert!(store.execution(first).await.unwrap().is_some(), "what was written can be read");
    assert_eq!(store.health().await.unwrap().writes_fail, Some("the disk is full"));
    assert!(store.ping().await.is_err());
    most_pages(1_000_000).await;
    record(&store, 5_000).await;
    assert!(store.health().await.unwrap().writes_fail.is_none() && store.ping().await.is_ok());
    assert_eq!((rows(&store, "workflow_executions").await, rows(&store, "workflow_steps").await), (2, 5_001));
    assert_eq!(samples(&store).await, 5_001);
}

#[tokio::test]
async fn portions_delete_whole_executions_and_nothing_else() {
    let store =
        EmbeddedStore::open(&StoreConfig::at(Location::Memory), Arc::new(Policy::default())).await.unwrap();
    for steps in [0, 1, 9, 10, 11, 35] {
        record(&store, steps).await;
    }
    assert_eq!(rows(&store, "execution_attributes").await, 2 * 6, "a list is found by nothing");
    let later = NOW + Micros::from_days(31);
    let usual = Retention { detail: Micros::from_days(30), aggregates: Micros::from_days(400) };
    for portion in [1, 7, 10] {
        let pruned = retention::prune(&store.connection, NOW, usual, portion).await.unwrap();
        assert_eq!(
            (pruned, rows(&store, "workflow_steps").await),
            (Pruned::default(), 66),
            "portion {portion}"
        );
    }
    let pruned = retention::prune(&store.connection, later, usual, 10).await.unwrap();
    assert_eq!(pruned, Pruned { executions: 6, ..Pruned::default() });
    for table in ["workflow_steps", "workflow_executions", "execution_attributes"] {
        assert_eq!(rows(&store, table).await, 0, "{table}");
    }
    assert_eq!(samples(&store).await, 66);
}

#[tokio::test]
async fn a_portion_is_a_transaction_of_its_own() {
    let store =
        EmbeddedStore::open(&StoreConfig::at(Location::Memory), Arc::new(Policy::default())).await.unwrap();
    record(&store, 35).await;
    let one = store
        .connection
        .write("one", |tx| retention::prune_executions(tx, NOW + Micros::new(1), 10))
        .await
        .unwrap();
    assert!(one.more && one.executions == 0);
    assert_eq!((rows(&store, "workflow_steps").await, rows(&store, "workflow_executions").await), (25, 1));
}

#[tokio::test]
async fn the_file_shrinks_when_much_was_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_at(&folder.path().join("tracer.db")).await.unwrap();
    for _ in 0..30 {
        record(&store, 2_000).await;
    }
    let pages = async || {
        let read = |connection: &mut rusqlite::Connection| {
            Ok(connection.pragma_query_value(None, "page_count", |row| row.get::<_, i64>(0))?)
        };
        store.connection.run("pages", read).await.unwrap()
    };
    let before = pages().await;
    let usual = Retention { detail: Micros::from_days(30), aggregates: Micros::from_days(400) };
    store.prune(NOW + Micros::from_days(31), usual).await.unwrap();
    let after = pages().await;
    assert!(after < before / 2, "{before} pages before, {after} after");
}
