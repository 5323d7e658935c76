//! The process that is killed: records from many tasks, and prints what it was answered.

use std::fmt::Display;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use tracer_core::record::Answer;
use tracer_core::repository::Repository;
use tracer_core::test_util::fixtures::{
    IntoCommand, complete, completed, end, failed, request, start, step, whole,
};
use tracer_store::{Location, StoreConfig};

/// Names the variable that says which store to open; only then does the child do anything.
pub(super) const STORE: &str = "TRACER_CRASH_TEST_STORE";
/// Names the variable that says where the store is.
pub(super) const PLACE: &str = "TRACER_CRASH_TEST_PLACE";

/// What each line begins with, so that it is told from the test harness's own.
pub(super) const MARK: &str = "acknowledged";

/// Tasks that record at once: more than one batch takes at a time would not be a load.
const TASKS: usize = 24;

/// Run by the tests of [`super`] as a process of its own; by itself it has nothing to do.
#[test]
fn records_until_it_is_killed() {
    let (Ok(kind), Ok(place)) = (std::env::var(STORE), std::env::var(PLACE)) else { return };
    let location = match kind.as_str() {
        "embedded" => Location::Embedded(PathBuf::from(place)),
        _ => Location::Postgres(place),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(record_without_end(location));
}

async fn record_without_end(location: Location) {
    let config = StoreConfig { pool_size: 4, ..StoreConfig::at(location) };
    let store = tracer_store::open(&config, Arc::default()).await.expect("a store");
    let tasks: Vec<_> = (0..TASKS).map(|task| tokio::spawn(executions(Arc::clone(&store), task))).collect();
    for task in tasks {
        task.await.expect("a task that goes on until it is killed");
    }
}

async fn executions(store: Arc<dyn Repository>, task: usize) {
    let workflow = format!("flow {}", task % 3);
    loop {
        let now = store.clock().now();
        let begun = tracer_core::record::StartExecution { started_at: now, ..start(&workflow) };
        let id = begun.id;
        record(&*store, begun).await;
        tell(&format_args!("execution {id} {workflow}"));
        for number in 0..4 {
            let open = step(id, "load");
            let (step, completion) = (open.id, if number == 3 { failed(7) } else { completed(10 + number) });
            record(&*store, open).await;
            tell(&format_args!("started {id} {step}"));
            let status = completion.status.as_str();
            record(&*store, complete(id, step, completion)).await;
            tell(&format_args!("ended {id} {step} {status}"));
        }
        let at_once = whole(id, "save", completed(3));
        let step = at_once.id;
        record(&*store, at_once).await;
        tell(&format_args!("ended {id} {step} completed"));
        record(&*store, end(id)).await;
        tell(&format_args!("closed {id} completed"));
    }
}

async fn record(store: &dyn Repository, command: impl IntoCommand) -> Answer {
    let answer = store.record(request(store.clock().now(), command)).await.expect("an answer");
    assert!(answer.fresh, "{answer:?}");
    answer
}

/// Prints a line at once and in one piece: it may be the last.
fn tell(what: &dyn Display) {
    let line = format!("\n{MARK} {what}\n");
    let mut out = std::io::stdout().lock();
    out.write_all(line.as_bytes()).and_then(|()| out.flush()).expect("a parent that reads");
}
