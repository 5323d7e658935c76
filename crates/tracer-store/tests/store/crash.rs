//! A store outlives its process: `kill -9` in mid-load loses nothing that was acknowledged, and
//! counts nothing twice.
//!
//! The test runs itself again as the process to be killed ([`child`]), which prints a line for
//! everything it was answered. The parent kills it after some number of lines, opens the store and
//! compares; what was sent and not answered may be there or not, but whole and counted once.

mod child;
mod ledger;

use std::process::Stdio;
use std::sync::Arc;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tracer_core::repository::Repository;
use tracer_store::test_util::postgres::TestDatabase;
use tracer_store::{Location, StoreConfig};

use self::ledger::Ledger;

const ROUNDS: u64 = 5;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_embedded_store_keeps_what_it_acknowledged_when_killed() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tracer.db");
    let place = path.to_str().expect("a path in UTF-8");
    killed_again_and_again("embedded", place, Location::Embedded(path.clone())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_keeps_what_it_acknowledged_when_the_service_is_killed() {
    let database = TestDatabase::create().await;
    killed_again_and_again("postgres", database.url(), Location::Postgres(database.url().into())).await;
}

async fn killed_again_and_again(kind: &str, place: &str, location: Location) {
    let mut ledger = Ledger::default();
    for round in 0..ROUNDS {
        // At another point each time; never by a clock, so that a slow machine kills as late as a fast one.
        let acknowledged = 300 + 170 * round;
        kill_after(kind, place, acknowledged, &mut ledger).await;
        let store = open(&location).await;
        ledger.compare(store.as_ref()).await;
        store.shut_down().await;
    }
}

async fn open(location: &Location) -> Arc<dyn Repository> {
    let config = StoreConfig { pool_size: 4, ..StoreConfig::at(location.clone()) };
    tracer_store::open(&config, Arc::default()).await.expect("a store that opens again")
}

/// Runs the child until it has been answered so often, kills it, and notes every answer it told of.
async fn kill_after(kind: &str, place: &str, acknowledged: u64, ledger: &mut Ledger) {
    let itself = std::env::current_exe().expect("the path of this test");
    let mut child = Command::new(itself)
        .args(["crash::child::records_until_it_is_killed", "--exact", "--nocapture", "--test-threads=1"])
        .env(child::STORE, kind)
        .env(child::PLACE, place)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("a child");
    let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
    let (mut seen, mut killed) = (0, false);
    // What it printed before it died is read to the end: all of that was acknowledged.
    while let Some(line) = lines.next_line().await.expect("a line") {
        seen += u64::from(ledger.note(&line));
        if seen >= acknowledged && !killed {
            killed = true;
            child.start_kill().expect("killed");
        }
    }
    let status = child.wait().await.expect("its end");
    assert!(killed, "the child ended by itself after {seen} answers: {status}");
}
