//! Steps that run: the latest executions of the past, made to run again as the service would have them.
//!
//! Their step takes an hour, so that none is due before a long time unless it is moved there.
//! Invariant: a step is due in the moment in which it crosses its limit by its history, as when the service
//! writes that moment.
//! Not here: the past (`history`).

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use rusqlite::Connection;
use tracer_core::time::Micros;

use crate::history::now;
use crate::history::past::{History, Past, STEPS};
use crate::history::{postgres, sqlite};
use crate::limits::postgres::connect;
use crate::stand::Stand;

/// The step that runs. It has a history of its own.
pub(super) const STEP: &str = "wait";

const HOUR: i64 = 3_600_000_000;

/// A step that takes an hour is too slow after two.
const LIMIT: i64 = 2 * HOUR;

/// How long ago what runs has started, at most.
const OLDEST: i64 = HOUR / 6 * 5;

/// Runs of the step that have ended, one an hour.
const SAMPLES: i64 = 60;

/// The executions that run, in the order of their ids.
#[derive(Debug)]
pub(super) struct Running {
    ids: Vec<[u8; 16]>,
}

impl Running {
    /// Makes the latest executions of a past run again, with so many steps; the service is stopped.
    ///
    /// # Errors
    /// The database's.
    pub(super) fn begin(stand: &Stand, past: &Past, steps: u64) -> Result<Self> {
        let first = past.executions.saturating_sub(steps.div_ceil(STEPS));
        let ids: Vec<[u8; 16]> = (first..past.executions).map(|number| past.execution(number).id).collect();
        let running = Self { ids };
        let database = Database::of(stand)?;
        let hour = Micros::new(HOUR.unsigned_abs());
        let ends = (0..SAMPLES).map(|nth| past.to - (SAMPLES - nth) * HOUR);
        database.learn(&History::of_step(STEP, ends, hour)?)?;
        if let Some(from) = running.ids.first() {
            database.execute(&restart(&database, from, now()?))?;
        }
        database.execute(database.afterwards())?;
        Ok(running)
    }

    /// Lets so many further steps cross their limit at a moment, in microseconds since 1970.
    ///
    /// # Errors
    /// The database's.
    pub(super) fn cross_at(&self, stand: &Stand, steps: u64, moment: i64) -> Result<()> {
        let database = Database::of(stand)?;
        let (started, due) =
            (database.moment(&(moment - LIMIT - 1).to_string()), database.moment(&moment.to_string()));
        // The last ones to be due: never those that were moved before.
        database.execute(&format!(
            "UPDATE workflow_steps SET started_at = {started}, judge_at = {due}
              WHERE status = 'running'
                AND (execution_id, step_id) IN (SELECT execution_id, step_id FROM workflow_steps
                                                 WHERE status = 'running' ORDER BY judge_at DESC LIMIT {steps})"
        ))
    }

    /// Returns the ids of the earlier half.
    pub(super) fn first_half(&self) -> &[[u8; 16]] {
        self.ids.get(..self.ids.len() / 2).unwrap_or_default()
    }

    /// Lets the steps of the earlier half be due between a moment and so long after it; returns how many they
    /// are.
    ///
    /// # Errors
    /// The database's.
    pub(super) fn delay_half(&self, stand: &Stand, from: i64, length: Duration) -> Result<u64> {
        let half = self.first_half();
        let (Some(first), Some(last)) = (half.first(), half.last()) else { return Ok(0) };
        let database = Database::of(stand)?;
        let length = length.as_micros().max(1);
        let due = database.moment(&format!("{from} + abs(step_id) % {length}"));
        let (first, last) = (database.id(first), database.id(last));
        database.execute(&format!(
            "UPDATE workflow_steps SET judge_at = {due}
              WHERE status = 'running' AND execution_id BETWEEN {first} AND {last}"
        ))?;
        Ok(STEPS * u64::try_from(half.len())?)
    }
}

/// Returns the statements after which every execution from an id on runs, and all of its steps.
fn restart(database: &Database, from: &[u8; 16], now: i64) -> String {
    let from = database.id(from);
    let began = format!("{} + abs(step_id) % {OLDEST}", now - OLDEST);
    let (started, due) = (database.moment(&began), database.moment(&format!("{began} + {}", LIMIT + 1)));
    let (recorded, silent) = (database.moment(&now.to_string()), database.moment(&(now + LIMIT).to_string()));
    let unjudged = database.unjudged();
    format!(
        "UPDATE workflow_executions
            SET status = 'running', recorded_at = {recorded}, judge_at = {silent}, ended_at = NULL,
                duration_us = NULL, steps_completed = 0, worst_severity = NULL, error = NULL
          WHERE execution_id >= {from};
         UPDATE workflow_steps
            SET status = 'running', step_name = '{STEP}', started_at = {started}, changed_at = {started},
                judge_at = {due}, ended_at = NULL, duration_us = NULL, severity = NULL, judged_us = NULL,
                historical_avg_us = NULL, samples = NULL, p95_us = NULL, cohort = NULL,
                in_flight = {unjudged}, error = NULL
          WHERE execution_id >= {from}"
    )
}

/// The database of a stand, and how its SQL differs from the other's.
#[derive(Debug)]
enum Database {
    Embedded(PathBuf),
    Postgres(String),
}

impl Database {
    fn of(stand: &Stand) -> Result<Self> {
        Ok(match stand.url() {
            Some(url) => Self::Postgres(url),
            None => Self::Embedded(stand.file()?),
        })
    }

    /// Runs statements.
    fn execute(&self, statements: &str) -> Result<()> {
        match self {
            Self::Embedded(file) => {
                Connection::open(file)?.execute_batch(statements).context("SQLite refused")
            }
            Self::Postgres(url) => {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                runtime.block_on(async {
                    let client = connect(url).await?;
                    for statement in statements.split(';') {
                        client.batch_execute(statement).await.context("PostgreSQL refused")?;
                    }
                    Ok(())
                })
            }
        }
    }

    fn learn(&self, history: &History) -> Result<()> {
        match self {
            Self::Embedded(file) => sqlite::learn(file, history),
            Self::Postgres(url) => postgres::learn(url, history),
        }
    }

    /// Returns a time of microseconds since 1970, which may be an expression.
    fn moment(&self, micros: &str) -> String {
        match self {
            Self::Embedded(_) => format!("({micros})"),
            Self::Postgres(_) => {
                format!("(timestamptz '1970-01-01 00:00:00Z' + ({micros}) * interval '1 microsecond')")
            }
        }
    }

    fn id(&self, id: &[u8; 16]) -> String {
        let digits = format!("{:032x}", u128::from_be_bytes(*id));
        match self {
            Self::Embedded(_) => format!("x'{digits}'"),
            Self::Postgres(_) => format!("'{digits}'::uuid"),
        }
    }

    /// Returns what `in_flight` says where there is no verdict.
    const fn unjudged(&self) -> &'static str {
        match self {
            Self::Embedded(_) => "NULL",
            Self::Postgres(_) => "false",
        }
    }

    /// Returns what the database would have done by itself by now.
    const fn afterwards(&self) -> &'static str {
        match self {
            Self::Embedded(_) => "PRAGMA wal_checkpoint(TRUNCATE)",
            // VACUUM runs in no transaction, which several statements at once would be.
            Self::Postgres(_) => "VACUUM (ANALYZE);CHECKPOINT",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_and_an_id_are_written_as_each_database_reads_them() {
        let (embedded, postgres) = (Database::Embedded(PathBuf::new()), Database::Postgres(String::new()));
        let mut id = [0; 16];
        id[0] = 0x01;
        id[15] = 0xff;
        let digits = "010000000000000000000000000000ff";
        assert_eq!(embedded.id(&id), format!("x'{digits}'"));
        assert_eq!(postgres.id(&id), format!("'{digits}'::uuid"));
        assert_eq!(embedded.moment("1 + 2"), "(1 + 2)");
        assert_eq!(
            postgres.moment("1 + 2"),
            "(timestamptz '1970-01-01 00:00:00Z' + (1 + 2) * interval '1 microsecond')"
        );
    }

    #[test]
    fn what_runs_is_too_slow_after_two_hours_by_its_history() {
        let ends = (1..=SAMPLES).map(|nth| 1_700_000_000_000_000 + nth * HOUR);
        let history = History::of_step(STEP, ends, Micros::new(HOUR.unsigned_abs())).unwrap();
        let mean = history.baseline.reference().unwrap().mean_us;
        assert!((mean * 2.0 - LIMIT as f64).abs() < 1.0, "{mean}");
    }
}
