//! Puts the past into the tables of the embedded store, as its own code would have.
//!
//! The service does not run meanwhile. Not here: what the past is (`past`).

use std::path::Path;

use anyhow::{Context, Result};
use rusqlite::{Connection, Transaction, params};
use sha2::{Digest as _, Sha256};

use super::past::{AVERAGE_US, Execution, Histories, History, Past, WORKFLOW};
use super::{PORTION, show};

const EXECUTION: &str = "\
INSERT INTO workflow_executions
       (execution_id, workflow_name, status, started_at, ended_at, duration_us, recorded_at, worst_severity,
        steps_completed, correlation_id, attributes, error)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?4, ?7, ?8, ?9, ?10, ?11)";

const STEP: &str = "\
INSERT INTO workflow_steps
       (execution_id, step_id, status, severity, started_at, changed_at, step_name, step_type, attempt, ended_at,
        duration_us, judged_us, historical_avg_us, samples, p95_us, cohort, in_flight, error)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 'step', 1, ?6, ?8, ?9, ?10, ?11, ?10, ?12, ?13, ?14)";

const BASELINE: &str = "\
INSERT INTO step_baselines (key, workflow_name, step_name, last_seen_at, state)
VALUES (?1, ?2, ?3, ?4, ?5)";

const SEGMENT: &str = "INSERT INTO baseline_segments (key, day, state) VALUES (?1, ?2, ?3)";

const ATTRIBUTE: &str = "INSERT INTO execution_attributes (digest, at, id) VALUES (?1, ?2, ?3)";

/// What a failed execution and its step say.
const ERROR: &str = r#"{"type":"Timeout","message":"upstream did not answer"}"#;

/// Fills the database in a file and returns the past that is in it.
///
/// # Errors
/// SQLite's, or that the run was interrupted.
pub(crate) fn fill(file: &Path, past: &Past) -> Result<Past> {
    let mut connection = Connection::open(file).context("the embedded store cannot be opened")?;
    // What is seeded need not survive a power cut; the service sets its own durability when it opens the file.
    connection.execute_batch("PRAGMA synchronous = OFF; PRAGMA cache_size = -262144")?;
    let mut histories = Histories::new()?;
    let mut number = 0;
    while number < past.executions {
        let end = past.executions.min(number + PORTION);
        let transaction = connection.transaction()?;
        for execution in (number..end).map(|number| past.execution(number)) {
            insert(&transaction, &execution)?;
            histories.take(&execution);
        }
        transaction.commit()?;
        number = end;
        show(number, past.executions)?;
    }
    let transaction = connection.transaction()?;
    for history in histories.all() {
        insert_history(&transaction, history)?;
    }
    transaction.commit()?;
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    Ok(*past)
}

/// Adds the history of one more key.
///
/// # Errors
/// SQLite's.
pub(crate) fn learn(file: &Path, history: &History) -> Result<()> {
    let mut connection = Connection::open(file).context("the embedded store cannot be opened")?;
    let transaction = connection.transaction()?;
    insert_history(&transaction, history)?;
    Ok(transaction.commit()?)
}

fn insert_history(transaction: &Transaction<'_>, history: &History) -> Result<()> {
    let seen = history.baseline.last_seen().map(|at| at.as_micros());
    let state = history.baseline.encode();
    transaction.execute(BASELINE, params![history.key, WORKFLOW, history.step_name, seen, state])?;
    for (day, segment) in &history.closed {
        transaction.execute(SEGMENT, params![history.key, day, segment.encode()])?;
    }
    Ok(())
}

fn insert(transaction: &Transaction<'_>, execution: &Execution) -> Result<()> {
    let status = |failed: bool| if failed { "failed" } else { "completed" };
    let error = |failed: bool| failed.then_some(ERROR);
    let completed = execution.steps.iter().filter(|step| !step.failed).count();
    transaction.prepare_cached(EXECUTION)?.execute(params![
        execution.id,
        WORKFLOW,
        status(execution.failed),
        execution.started_at,
        execution.ended_at,
        execution.ended_at - execution.started_at,
        execution.worst,
        i64::try_from(completed)?,
        execution.correlation,
        execution.attributes_json(),
        error(execution.failed),
    ])?;
    let mut statement = transaction.prepare_cached(ATTRIBUTE)?;
    for (key, value) in &execution.attributes {
        statement.execute(params![digest(key, value), execution.started_at, execution.id])?;
    }
    let mut statement = transaction.prepare_cached(STEP)?;
    for step in &execution.steps {
        let judged = step.severity.is_some();
        statement.execute(params![
            execution.id,
            step.id,
            status(step.failed),
            step.severity,
            step.started_at,
            step.ended_at,
            super::past::STEP,
            step.ended_at - step.started_at,
            judged.then_some(step.ended_at - step.started_at),
            judged.then_some(AVERAGE_US),
            judged.then_some(1_000),
            judged.then_some("{}"),
            judged.then_some(false),
            error(step.failed),
        ])?;
    }
    Ok(())
}

/// Returns under which number an execution is found by an attribute: the first 8 bytes of SHA-256 over
/// key, NUL and text.
fn digest(key: &str, value: &str) -> i64 {
    let hash = Sha256::new().chain_update(key).chain_update([0]).chain_update(value).finalize();
    hash.iter().take(8).fold(0_i64, |number, byte| (number << 8) | i64::from(*byte))
}
