//! The change feed over PostgreSQL: gaps, replicas, and a table that lost its rows.

use futures_util::future::join_all;
use tokio_postgres::Client;
use tracer_core::live::{Change, Follow, Heard};
use tracer_core::repository::Repository;
use tracer_core::test_util::fixtures::{completed, end, start, step, whole};
use tracer_store::test_util::postgres::TestDatabase;

use super::{replica, send};

const ALL: usize = 1 << 24;

async fn connect(url: &str) -> Client {
    let (client, connection) =
        tokio_postgres::connect(url, tokio_postgres::NoTls).await.expect("a connection");
    tokio::spawn(connection);
    client
}

async fn begin(store: &dyn Repository) -> Box<dyn Follow> {
    let mut follow = store.follow(ALL);
    assert!(follow.next().await.expect("an answer").begins_after.is_some());
    follow
}

/// Returns the numbers of the batches that are heard until there are so many.
async fn hear(follow: &mut dyn Follow, number: usize) -> Vec<u64> {
    let mut heard = Vec::new();
    while heard.len() < number {
        let more = follow.next().await.expect("an answer");
        assert_eq!(more.begins_after, None, "nothing is missed");
        heard.extend(more.batches.iter().map(|batch| batch.id));
    }
    heard
}

/// Hears what comes until the newest of all batches is known.
async fn hear_of_newest(follow: &mut dyn Follow, newest: u64) -> Vec<u64> {
    let mut heard = Vec::new();
    loop {
        let Heard { batches, newest: known, .. } = follow.next().await.expect("an answer");
        heard.extend(batches.iter().map(|batch| batch.id));
        if known >= newest {
            return heard;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_number_that_is_missing_is_waited_for_and_then_told_in_its_place() {
    let database = TestDatabase::create().await;
    let store = replica(database.url()).await;
    let mut follow = begin(&*store).await;
    let other = connect(database.url()).await;
    other
        .batch_execute("BEGIN; INSERT INTO live_changes (bytes, body) VALUES (2, '[]')")
        .await
        .expect("a row");
    send(&*store, start("etl")).await;
    assert!(hear_of_newest(&mut *follow, 2).await.is_empty(), "1 may still come");
    other.batch_execute("COMMIT").await.expect("committed");
    assert_eq!(hear(&mut *follow, 2).await, [1, 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_number_is_waited_for_even_if_its_transaction_began_after_those_that_are_over() {
    const ADD: &str = "INSERT INTO live_changes (bytes, body) VALUES (2, '[]')";
    let database = TestDatabase::create().await;
    let store = replica(database.url()).await;
    let mut follow = begin(&*store).await;
    let (early, late) = (connect(database.url()).await, connect(database.url()).await);
    early.batch_execute("BEGIN; SELECT pg_current_xact_id()").await.expect("begun");
    late.batch_execute(&format!("BEGIN; {ADD}")).await.expect("1");
    early.batch_execute(&format!("{ADD}; COMMIT")).await.expect("2");
    assert!(hear_of_newest(&mut *follow, 2).await.is_empty(), "1 may still come");
    send(&*store, start("etl")).await;
    assert!(hear_of_newest(&mut *follow, 3).await.is_empty(), "and still");
    late.batch_execute("COMMIT").await.expect("committed");
    assert_eq!(hear(&mut *follow, 3).await, [1, 2, 3]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_number_that_was_rolled_back_is_passed_over() {
    let database = TestDatabase::create().await;
    let store = replica(database.url()).await;
    let mut follow = begin(&*store).await;
    let other = connect(database.url()).await;
    other
        .batch_execute("BEGIN; INSERT INTO live_changes (bytes, body) VALUES (2, '[]')")
        .await
        .expect("a row");
    send(&*store, start("etl")).await;
    send(&*store, start("etl")).await;
    assert!(hear_of_newest(&mut *follow, 3).await.is_empty());
    other.batch_execute("ROLLBACK").await.expect("rolled back");
    assert_eq!(hear(&mut *follow, 2).await, [2, 3]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_tell_the_same_in_the_same_order_under_the_same_numbers() {
    let database = TestDatabase::create().await;
    let replicas = [replica(database.url()).await, replica(database.url()).await];
    let mut ears = [begin(&*replicas[0]).await, begin(&*replicas[1]).await];
    let work = (0..40).map(async |number: usize| {
        let store = |at: usize| &*replicas[(number + at) % 2];
        let execution = start("etl");
        send(store(0), execution.clone()).await;
        for round in 0..5 {
            send(store(round), whole(execution.id, "load", completed(5))).await;
        }
        send(store(0), step(execution.id, "save")).await;
        send(store(1), end(execution.id)).await;
    });
    join_all(work).await;
    let mut told: Vec<Vec<(u64, u32, Change)>> = Vec::new();
    for follow in &mut ears {
        let mut heard = Vec::new();
        while heard.len() < 40 * 8 {
            for batch in follow.next().await.expect("an answer").batches {
                heard.extend(batch.changes.iter().map(|(place, change)| (batch.id, *place, change.clone())));
            }
        }
        told.push(heard);
    }
    assert_eq!(told[0], told[1]);
    assert!(told[0].is_sorted_by_key(|(id, place, _)| (*id, *place)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_lost_its_rows_is_noticed_and_followed_on() {
    let database = TestDatabase::create().await;
    let store = replica(database.url()).await;
    let mut follow = begin(&*store).await;
    send(&*store, start("etl")).await;
    assert_eq!(hear(&mut *follow, 1).await, [1]);
    // What a crash does to unlogged tables.
    let other = connect(database.url()).await;
    other.batch_execute("TRUNCATE live_changes, live_state").await.expect("truncated");
    send(&*store, start("etl")).await;
    let lost = loop {
        let heard = follow.next().await.expect("an answer");
        if heard.begins_after.is_some() {
            break heard;
        }
        assert!(heard.batches.is_empty());
    };
    assert!(lost.begins_after.is_some_and(|before| (1..=2).contains(&before)), "{lost:?}");
    send(&*store, start("etl")).await;
    let mut heard = Vec::new();
    while heard.last() != Some(&3) {
        heard.extend(hear(&mut *follow, 1).await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_was_ended_is_replaced_and_nothing_is_missed() {
    let database = TestDatabase::create().await;
    let store = replica(database.url()).await;
    let mut follow = begin(&*store).await;
    send(&*store, start("etl")).await;
    assert_eq!(hear(&mut *follow, 1).await, [1]);
    let other = connect(database.url()).await;
    let ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query ILIKE '%read_changes%' AND pid <> pg_backend_pid()";
    assert!(!other.query(ended, &[]).await.expect("an answer").is_empty());
    send(&*store, start("etl")).await;
    let mut heard = Vec::new();
    while heard.is_empty() {
        // The first question may find the session gone.
        let Ok(more) = follow.next().await else { continue };
        assert_eq!(more.begins_after, None);
        heard.extend(more.batches.iter().map(|batch| batch.id));
    }
    assert_eq!(heard, [2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_removed_unread_is_said_to_be_missing() {
    let database = TestDatabase::create().await;
    let store = replica(database.url()).await;
    let mut follow = begin(&*store).await;
    for _ in 0..3 {
        send(&*store, start("etl")).await;
    }
    let other = connect(database.url()).await;
    other
        .batch_execute("DELETE FROM live_changes WHERE change_id <= 2; UPDATE live_state SET trimmed = 2")
        .await
        .expect("removed");
    let mut heard = Vec::new();
    let mut begins = None;
    while !heard.contains(&3) {
        let more = follow.next().await.expect("an answer");
        begins = more.begins_after.or(begins);
        heard.extend(more.batches.iter().map(|batch| batch.id));
    }
    assert_eq!((begins, heard), (Some(2), vec![3]));
}
