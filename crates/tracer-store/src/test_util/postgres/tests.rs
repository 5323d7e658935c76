use tokio_postgres::{Client, NoTls};

use super::{PrivateServer, TestDatabase};

#[tokio::test]
async fn two_databases_know_nothing_of_each_other() {
    let (left, right) = tokio::join!(TestDatabase::create(), TestDatabase::create());
    for database in [&left, &right] {
        let client = connect(database.url()).await;
        client.batch_execute("CREATE TABLE t AS SELECT current_database()::text AS name").await.unwrap();
    }
    for database in [&left, &right] {
        assert_eq!(names(&connect(database.url()).await).await, std::slice::from_ref(&database.name));
    }
    assert_ne!(left.url(), right.url());
}

#[tokio::test]
async fn a_dropped_database_is_gone_even_if_someone_is_still_connected() {
    let (kept, dropped) = (TestDatabase::create().await, TestDatabase::create().await);
    let lingering = connect(dropped.url()).await;
    let name = dropped.name.clone();
    drop(dropped);
    assert!(lingering.simple_query("SELECT 1").await.is_err());
    let rows = connect(kept.url())
        .await
        .query("SELECT 1 FROM pg_database WHERE datname = $1", &[&name])
        .await
        .unwrap();
    assert_eq!(rows.len(), 0, "{name} still exists");
}

#[tokio::test]
async fn leftovers_of_long_ago_are_dropped_and_nothing_else_is() {
    let present = TestDatabase::create().await;
    let client = connect(present.url()).await;
    // Named for this process: others may be sweeping the same server.
    let own = std::process::id();
    let names = [format!("tracer_test_1000000000_{own}_old"), format!("other_1000000000_{own}_old")];
    for name in &names {
        client.batch_execute(&format!("CREATE DATABASE {name} TEMPLATE template0")).await.unwrap();
    }
    let server_url = present.server_url.clone();
    tokio::task::spawn_blocking(move || super::admin::drop_leftovers(&server_url)).await.unwrap().unwrap();
    let mut asked = names.to_vec();
    asked.push(present.name.clone());
    let rows = client
        .query("SELECT datname::text FROM pg_database WHERE datname = ANY($1) ORDER BY 1", &[&asked])
        .await
        .unwrap();
    let left: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    client.batch_execute(&format!("DROP DATABASE {}", names[1])).await.unwrap();
    assert_eq!(left, [names[1].clone(), present.name.clone()]);
}

#[tokio::test]
async fn a_private_server_keeps_its_address_and_its_rows_over_a_stop() {
    let mut server = PrivateServer::start_with(&["log_statement=ddl"]);
    let url = server.url("postgres");
    let client = connect(&url).await;
    client.batch_execute("CREATE TABLE t AS SELECT 'kept'::text AS name").await.unwrap();

    server.stop();
    assert!(client.simple_query("SELECT 1").await.is_err());
    assert!(tokio_postgres::connect(&url, NoTls).await.is_err());

    server.restart();
    assert_eq!(server.url("postgres"), url);
    assert_eq!(names(&connect(&url).await).await, ["kept"]);
    let log = server.log();
    for expected in ["CREATE TABLE t", "immediate shutdown request", "redo"] {
        assert!(log.contains(expected), "{expected} is not in the log:\n{log}");
    }

    // A second restart, of a server that runs: by socket this time.
    server.restart();
    let port = url.rsplit_once(':').and_then(|(_, rest)| rest.split_once('/')).map(|(port, _)| port).unwrap();
    let socket =
        format!("host={} port={port} user=postgres dbname=postgres", server.socket_folder().display());
    assert_eq!(names(&connect(&socket).await).await, ["kept"]);
}

#[test]
fn a_private_server_leaves_no_files_behind_running_or_stopped() {
    let running = PrivateServer::start();
    let mut stopped = PrivateServer::start();
    stopped.stop();
    let homes = [running.socket_folder().to_owned(), stopped.socket_folder().to_owned()];
    assert!(homes.iter().all(|home| home.exists()));
    drop((running, stopped));
    assert!(homes.iter().all(|home| !home.exists()), "{homes:?}");
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn names(client: &Client) -> Vec<String> {
    let rows = client.query("SELECT name FROM t", &[]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}
