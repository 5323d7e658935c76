//! The limits of PostgreSQL: plain SQL on the very server that the service uses.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bytes::Bytes;
use futures_util::SinkExt as _;
use hdrhistogram::Histogram;
use tokio::task::{JoinSet, LocalSet};
use tokio_postgres::{Client, NoTls, Statement};

use super::{BULK_ROWS, LONE_COMMITS};
use crate::load::histogram;
use xtask_machine::cluster::CONNECTIONS;
use xtask_machine::interrupt;

/// Rows sent to COPY at a time.
const PORTION: usize = 2_000;

/// Connections left to the service.
const SPARED: usize = 40;

/// A place of its own in the service's database: small rows, each committed alone.
const TABLES: &str = "\
CREATE SCHEMA IF NOT EXISTS limits;
CREATE TABLE IF NOT EXISTS limits.one_row (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, note text);
DROP TABLE IF EXISTS limits.steps;
CREATE TABLE limits.steps (LIKE public.workflow_steps INCLUDING ALL)";

const ONE_ROW: &str = "INSERT INTO limits.one_row (note) VALUES ('a row as small as a row can be')";

const COPY: &str = "\
COPY limits.steps (execution_id, step_id, recorded_month, step_name, step_type, attempt, status, started_at,
                   ended_at, duration_us, attributes, in_flight, changed_at)
FROM STDIN";

/// A connection to the server, with a thread's worth of runtime.
#[derive(Debug)]
pub(crate) struct Postgres {
    runtime: tokio::runtime::Runtime,
    url: String,
}

impl Postgres {
    /// Makes ready to measure; the service has made its tables.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub(crate) fn new(url: &str) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let postgres = Self { runtime, url: url.to_owned() };
        postgres.execute(TABLES)?;
        Ok(postgres)
    }

    /// Runs statements.
    ///
    /// # Errors
    /// The database's.
    pub(crate) fn execute(&self, statements: &str) -> Result<()> {
        self.runtime.block_on(async {
            let client = connect(&self.url).await?;
            client.batch_execute(statements).await.context("PostgreSQL refused")
        })
    }

    /// Times commits of one row each, one after the other, in nanoseconds.
    ///
    /// # Errors
    /// The database's.
    pub(crate) fn lone_commits(&self) -> Result<Histogram<u64>> {
        self.timed(ONE_ROW, LONE_COMMITS)
    }

    /// Times `SELECT 1`, in nanoseconds.
    ///
    /// # Errors
    /// The database's.
    pub(crate) fn round_trips(&self) -> Result<Histogram<u64>> {
        self.timed("SELECT 1", LONE_COMMITS * 4)
    }

    /// Times two of `SELECT 1`, one after the other, in nanoseconds: again and again for so long, with a pause
    /// between, after which the caches of the machine are as cold as for anything that runs so rarely.
    ///
    /// # Errors
    /// The database's.
    pub(crate) fn rare_round_trips(&self, pause: Duration, length: Duration) -> Result<Histogram<u64>> {
        self.runtime.block_on(async {
            let (client, statement) = prepared(&self.url, "SELECT 1").await?;
            let mut took = histogram()?;
            let end = Instant::now() + length;
            while Instant::now() < end {
                tokio::time::sleep(pause).await;
                interrupt::check()?;
                let began = Instant::now();
                client.execute(&statement, &[]).await?;
                client.execute(&statement, &[]).await?;
                took.saturating_record(u64::try_from(began.elapsed().as_nanos())?);
            }
            Ok(took)
        })
    }

    /// Returns commits per second of one row each by so many connections at once, or as many as there are.
    ///
    /// # Errors
    /// The database's.
    pub(crate) fn group_commits(&self, connections: usize, length: Duration) -> Result<f64> {
        let connections = connections.clamp(1, CONNECTIONS - SPARED);
        let local = LocalSet::new();
        local.block_on(&self.runtime, async {
            let mut clients = Vec::with_capacity(connections);
            for _ in 0..connections {
                clients.push(prepared(&self.url, ONE_ROW).await?);
            }
            let began = Instant::now();
            let mut running = JoinSet::new();
            for (client, statement) in clients {
                running.spawn_local(commit_until(client, statement, began + length));
            }
            let mut commits = 0_u64;
            while let Some(ended) = running.join_next().await {
                commits += ended??;
            }
            Ok(commits as f64 / began.elapsed().as_secs_f64())
        })
    }

    /// Returns rows per second of COPY into a table like that of steps, with its indexes.
    ///
    /// # Errors
    /// The database's.
    pub(crate) fn copied_rows(&self) -> Result<f64> {
        let portions: Vec<Bytes> = (0..BULK_ROWS / PORTION).map(portion).collect();
        self.runtime.block_on(async {
            let client = connect(&self.url).await?;
            client.batch_execute("TRUNCATE limits.steps").await?;
            let began = Instant::now();
            let mut sink = Box::pin(client.copy_in(COPY).await?);
            for portion in portions {
                interrupt::check()?;
                sink.send(portion).await?;
            }
            let rows = sink.as_mut().finish().await?;
            let per_second = rows as f64 / began.elapsed().as_secs_f64();
            client.batch_execute("TRUNCATE limits.steps").await?;
            Ok(per_second)
        })
    }

    fn timed(&self, statement: &str, times: usize) -> Result<Histogram<u64>> {
        self.runtime.block_on(async {
            let (client, statement) = prepared(&self.url, statement).await?;
            let mut took = histogram()?;
            for round in 0..times + times / 10 {
                let began = Instant::now();
                client.execute(&statement, &[]).await?;
                // The first tenth warms up.
                if round >= times / 10 {
                    took.saturating_record(u64::try_from(began.elapsed().as_nanos())?);
                }
            }
            interrupt::check()?;
            Ok(took)
        })
    }
}

async fn commit_until(client: Client, statement: Statement, end: Instant) -> Result<u64> {
    let mut commits = 0;
    while Instant::now() < end {
        commits += client.execute(&statement, &[]).await?;
    }
    Ok(commits)
}

async fn prepared(url: &str, statement: &str) -> Result<(Client, Statement)> {
    let client = connect(url).await?;
    let statement = client.prepare(statement).await?;
    Ok((client, statement))
}

/// Connects; the connection ends with the client.
///
/// # Errors
/// The database's.
pub(crate) async fn connect(url: &str) -> Result<Client> {
    let (client, connection) =
        tokio_postgres::connect(url, NoTls).await.context("PostgreSQL does not answer")?;
    tokio::spawn(connection);
    Ok(client)
}

/// Returns rows of completed steps in COPY's text format.
fn portion(number: usize) -> Bytes {
    let mut rows = String::with_capacity(PORTION * 180);
    for row in number * PORTION..(number + 1) * PORTION {
        let execution = row / 3;
        rows.push_str(&format!(
            "{execution:08x}-0000-7000-8000-{execution:012x}\t{}\t2026-01-01\ttransform\tstep\t1\tcompleted\t\
             2026-01-01 00:00:00+00\t2026-01-01 00:00:00.1+00\t100000\t{{}}\tf\t2026-01-01 00:00:00.1+00\n",
            row.wrapping_mul(2_654_435_761)
        ));
    }
    Bytes::from(rows)
}
