//! Makes and drops databases on a server.
//!
//! Invariant: every statement has a connection and a runtime of its own, so that it can be used from any thread
//! that is not driving a runtime, and no test's runtime has to outlive its database.
//! Not here: which server.

use std::time::Duration;

use tokio_postgres::{Client, NoTls};

/// Databases of tests begin so; on a lasting server nothing else is ever dropped.
const PREFIX: &str = "tracer_test_";

/// What the service asks for; an older server would fail test by test, and less clearly.
const OLDEST_SERVER: i32 = 150_000;

/// How long a server may take to answer a connection before it counts as not answering.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Creates an empty UTF-8 database whose name ends in `suffix`, and returns its name.
///
/// # Errors
/// Why the server did not do it, in words.
pub(super) fn create_database(server_url: &str, suffix: &str) -> Result<String, String> {
    run(async {
        let client = connect(server_url).await?;
        // The server's clock goes into the name, so that a later run can tell what is left over.
        let row = client.query_one("SELECT extract(epoch FROM now())::bigint", &[]).await.map_err(explain)?;
        let name = format!("{PREFIX}{}_{suffix}", row.get::<_, i64>(0));
        // template0 is never connected to, so that creations side by side do not refuse each other.
        let create = format!("CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'");
        client.batch_execute(&create).await.map_err(explain)?;
        Ok(name)
    })
}

/// Drops a database of `create_database`, ending whatever is still connected to it.
///
/// # Errors
/// Why the server did not do it, in words.
pub(super) fn drop_database(server_url: &str, name: &str) -> Result<(), String> {
    run(async {
        let client = connect(server_url).await?;
        let drop = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
        client.batch_execute(&drop).await.map_err(explain)
    })
}

/// Drops what tests that were killed more than a day ago left on a lasting server.
///
/// # Errors
/// Why the server did not do it, in words.
pub(super) fn drop_leftovers(server_url: &str) -> Result<(), String> {
    let leftovers: Vec<String> = run(async {
        let client = connect(server_url).await?;
        let rows = client
            .query(
                "SELECT datname::text FROM pg_database
                  WHERE substring(datname FROM '^tracer_test_([0-9]{9,12})_')::bigint < extract(epoch FROM now()) - 86400",
                &[],
            )
            .await
            .map_err(explain)?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    })?;
    leftovers.iter().try_for_each(|name| drop_database(server_url, name))
}

/// Checks that the server answers and is new enough.
///
/// # Errors
/// Why it cannot be used, in words.
pub(super) fn check(server_url: &str) -> Result<(), String> {
    run(probe(server_url))
}

/// Checks, on the runtime of the caller, that the server answers and is new enough.
///
/// # Errors
/// Why it cannot be used, in words.
pub(super) async fn probe(server_url: &str) -> Result<(), String> {
    let client = connect(server_url).await?;
    let row =
        client.query_one("SELECT current_setting('server_version_num')::int", &[]).await.map_err(explain)?;
    let version: i32 = row.get(0);
    if version < OLDEST_SERVER {
        return Err(format!("PostgreSQL 15 or newer is needed, the server's version number is {version}"));
    }
    Ok(())
}

/// Connects to the database that the server's own URL names; the connection lives as long as the client.
///
/// # Errors
/// Why there is no connection, in words.
pub(super) async fn connect(server_url: &str) -> Result<Client, String> {
    let connecting = tokio::time::timeout(CONNECT_TIMEOUT, tokio_postgres::connect(server_url, NoTls));
    let (client, connection) = connecting
        .await
        .map_err(|_| format!("the server did not answer within {} s", CONNECT_TIMEOUT.as_secs()))?
        .map_err(explain)?;
    // The client reports every failure of the connection with the statement that met it.
    tokio::spawn(async move { drop(connection.await) });
    Ok(client)
}

/// Runs `work` to its end on a runtime of its own.
fn run<T>(work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|cause| format!("no runtime for the database's administration: {cause}"))?;
    runtime.block_on(work)
}

/// Spells an error out with its causes; the driver's own text is only "db error".
fn explain(error: tokio_postgres::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
