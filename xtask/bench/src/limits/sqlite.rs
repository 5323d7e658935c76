//! The limits of SQLite: plain SQL into a file beside the service's, as durable as that one.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use rusqlite::{Connection, params};

use super::{BULK_ROWS, LONE_COMMITS};
use crate::load::histogram;
use xtask_machine::interrupt;

/// The settings are the service's own (see its documentation); the table is that of steps.
const TABLES: &str = "\
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
PRAGMA wal_autocheckpoint = 4096;
CREATE TABLE IF NOT EXISTS one_row (id INTEGER PRIMARY KEY, note TEXT);
CREATE TABLE IF NOT EXISTS steps (
    execution_id BLOB NOT NULL, step_id INTEGER NOT NULL, status TEXT NOT NULL, severity INTEGER,
    started_at INTEGER NOT NULL, changed_at INTEGER NOT NULL, step_name TEXT NOT NULL, step_type TEXT NOT NULL,
    parent_step_id INTEGER, attempt INTEGER NOT NULL, ended_at INTEGER, duration_us INTEGER, judge_at INTEGER,
    attributes TEXT NOT NULL, error TEXT, PRIMARY KEY (execution_id, step_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS steps_running ON steps (judge_at) WHERE status = 'running';
CREATE INDEX IF NOT EXISTS steps_judged ON steps (execution_id, severity) WHERE severity IS NOT NULL";

const STEP: &str = "\
INSERT INTO steps (execution_id, step_id, status, started_at, changed_at, step_name, step_type, attempt,
                   ended_at, duration_us, attributes)
VALUES (?1, ?2, 'completed', ?3, ?3, 'transform', 'step', 1, ?4, 100000, '{}')";

/// A database of its own, beside the service's.
#[derive(Debug)]
pub(crate) struct Sqlite(Connection);

impl Sqlite {
    /// Makes a database in a folder.
    ///
    /// # Errors
    /// SQLite's.
    pub(crate) fn new(folder: &Path) -> Result<Self> {
        let connection = Connection::open(folder.join("limits.db")).context("no database for limits")?;
        connection.execute_batch(TABLES)?;
        Ok(Self(connection))
    }

    /// Times commits of one row each, one after the other, in nanoseconds.
    ///
    /// # Errors
    /// SQLite's.
    pub(crate) fn lone_commits(&self) -> Result<Histogram<u64>> {
        let mut statement =
            self.0.prepare("INSERT INTO one_row (note) VALUES ('as small as a row can be')")?;
        let mut took = histogram()?;
        for round in 0..LONE_COMMITS + LONE_COMMITS / 10 {
            let began = Instant::now();
            statement.execute([])?;
            // The first tenth warms up.
            if round >= LONE_COMMITS / 10 {
                took.saturating_record(u64::try_from(began.elapsed().as_nanos())?);
            }
        }
        interrupt::check()?;
        Ok(took)
    }

    /// Returns rows per second of prepared inserts into a table like that of steps, in one transaction.
    ///
    /// # Errors
    /// SQLite's.
    pub(crate) fn inserted_rows(&mut self) -> Result<f64> {
        let began = Instant::now();
        let transaction = self.0.transaction()?;
        {
            let mut statement = transaction.prepare(STEP)?;
            for row in 0..u64::try_from(BULK_ROWS)? {
                let id = (u128::from(row / 3) << 64 | 1).to_be_bytes();
                let at = i64::try_from(row)?;
                statement.execute(params![id, at.wrapping_mul(2_654_435_761), at, at + 100_000])?;
            }
        }
        transaction.commit()?;
        let per_second = BULK_ROWS as f64 / began.elapsed().as_secs_f64();
        self.0.execute_batch("DELETE FROM steps")?;
        interrupt::check()?;
        Ok(per_second)
    }
}
