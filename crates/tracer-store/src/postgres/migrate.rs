//! Brings the tables up to date.
//!
//! One replica at a time, under an advisory lock of its session: the others wait, and then find nothing left to do.
//! A migration that this binary does not know is no error: an older replica goes on beside a newer one, because
//! migrations only ever add.
//!
//! Invariant: after it, the tables of this binary's version exist, and the partitions of the coming months.
//! Not here: the migrations themselves (`migrations/postgres`).

use tokio_postgres::Client;
use tracer_core::time::Timestamp;

use super::error::not_opened;
use super::partitions::{self, SCHEMA_LOCK};
use super::pool::{Connector, Role};
use crate::error::OpenError;

/// The oldest server: its `server_version_num`.
const OLDEST: i32 = 150_000;

mod embedded {
    refinery::embed_migrations!("../../migrations/postgres");
}

/// Migrates, and makes the partitions for an instant.
///
/// # Errors
/// [`OpenError`] if the server cannot be reached, is too old, or refuses a migration.
pub(super) async fn run(connector: &Connector, now: Timestamp) -> Result<(), OpenError> {
    let mut client = connector.connect(Role::Upkeep).await.map_err(not_opened)?;
    check_version(&client).await?;
    // Another replica may be migrating a large table: that is worth waiting for, longer than any row.
    let waiting = "SET lock_timeout = '10min'; SET idle_in_transaction_session_timeout = 0;";
    client.batch_execute(waiting).await.map_err(|error| OpenError::Migration(Box::new(error)))?;
    let lock = client.execute("SELECT pg_advisory_lock($1)", &[&SCHEMA_LOCK]).await;
    lock.map_err(|error| OpenError::Migration(Box::new(error)))?;
    let runner = embedded::migrations::runner().set_abort_missing(false);
    let report =
        runner.run_async(&mut client).await.map_err(|error| OpenError::Migration(Box::new(error)))?;
    for migration in report.applied_migrations() {
        tracing::info!(migration = %migration, "applied a migration");
    }
    let months = partitions::months_ahead(now);
    partitions::ensure(&mut client, &months).await.map_err(|error| OpenError::Migration(Box::new(error)))
    // The lock goes with the session.
}

async fn check_version(client: &Client) -> Result<(), OpenError> {
    const VERSION: &str = "\
-- server_version
SELECT current_setting('server_version_num')::int AS number, current_setting('server_version') AS shown";
    let row = client.query_one(VERSION, &[]).await.map_err(not_opened)?;
    let number: i32 = super::row::get(&row, "number").map_err(not_opened)?;
    if number < OLDEST {
        return Err(OpenError::TooOld { found: super::row::get(&row, "shown").map_err(not_opened)? });
    }
    Ok(())
}
