//! Puts the past into the tables of PostgreSQL by COPY, as the service would have.
//!
//! The service does not run meanwhile. Afterwards the tables are vacuumed and analysed, as autovacuum
//! would have done by then.
//! Not here: what the past is (`past`), and COPY's format (`copy`).

use anyhow::{Context, Result};
use futures_util::SinkExt as _;
use tokio_postgres::Client;

use super::copy::Rows;
use super::past::{AVERAGE_US, Execution, Histories, History, Past, STEP, Step, WORKFLOW};
use super::{PORTION, show};
use crate::limits::postgres::connect;

const EXECUTIONS: &str = "\
COPY workflow_executions
     (execution_id, recorded_month, workflow_name, status, started_at, ended_at, duration_us, correlation_id,
      attributes, error, simulated, recorded_at, steps_completed, worst_severity)
FROM STDIN (FORMAT binary)";

const DIRECTORY: &str = "COPY execution_directory (execution_id, recorded_month) FROM STDIN (FORMAT binary)";

const STEPS: &str = "\
COPY workflow_steps
     (execution_id, step_id, recorded_month, step_name, step_type, attempt, status, started_at, ended_at, duration_us,
      attributes, error, severity, judged_us, historical_avg_us, samples, p95_us, cohort, in_flight, changed_at)
FROM STDIN (FORMAT binary)";

const BASELINES: &str = "\
COPY step_baselines (key, workflow_name, step_name, cohort, state, last_seen_at) FROM STDIN (FORMAT binary)";

const SEGMENTS: &str = "COPY baseline_segments (key, day, state) FROM STDIN (FORMAT binary)";

/// Days since 1970 of the present month's first: the partition that the service has made.
const MONTH: &str = "SELECT date_trunc('month', now() AT TIME ZONE 'UTC')::date - DATE '1970-01-01'";

const AFTERWARDS: [&str; 2] = ["VACUUM (ANALYZE)", "CHECKPOINT"];

/// What a failed execution and its step say.
const ERROR: &str = r#"{"type":"Timeout","message":"upstream did not answer"}"#;

const MICROS_OF_DAY: i64 = 86_400_000_000;

/// Fills the database and returns the past that is in it, which does not reach back beyond the present
/// month: the service has made a partition for no earlier one.
///
/// # Errors
/// The database's, or that the run was interrupted.
pub(crate) fn fill(url: &str, past: &Past) -> Result<Past> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let client = connect(url).await?;
        let month: i32 = client.query_one(MONTH, &[]).await?.get(0);
        let past = Past { from: past.from.max(i64::from(month) * MICROS_OF_DAY + 10_000_000), ..*past };
        let mut histories = Histories::new()?;
        let mut number = 0;
        while number < past.executions {
            let end = past.executions.min(number + PORTION);
            let portion: Vec<Execution> = (number..end).map(|number| past.execution(number)).collect();
            portion.iter().for_each(|execution| histories.take(execution));
            copy_portion(&client, &portion, month).await?;
            number = end;
            show(number, past.executions)?;
        }
        copy_histories(&client, &histories.all()).await?;
        for statement in AFTERWARDS {
            client.batch_execute(statement).await?;
        }
        Ok(past)
    })
}

/// Adds the history of one more key.
///
/// # Errors
/// The database's.
pub(crate) fn learn(url: &str, history: &History) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async { copy_histories(&connect(url).await?, &[history]).await })
}

async fn copy_portion(client: &Client, portion: &[Execution], month: i32) -> Result<()> {
    let (mut executions, mut directory, mut steps) = (Rows::new(14), Rows::new(2), Rows::new(20));
    for execution in portion {
        execution_row(&mut executions, execution, month);
        directory.row().uuid(execution.id).date(month);
        for step in &execution.steps {
            step_row(&mut steps, execution, step, month);
        }
    }
    for (statement, rows) in [(EXECUTIONS, executions), (DIRECTORY, directory), (STEPS, steps)] {
        send(client, statement, rows).await?;
    }
    Ok(())
}

fn execution_row(rows: &mut Rows, execution: &Execution, month: i32) {
    let completed = execution.steps.iter().filter(|step| !step.failed).count();
    rows.row()
        .uuid(execution.id)
        .date(month)
        .text(Some(WORKFLOW))
        .text(Some(status(execution.failed)))
        .stamp(execution.started_at)
        .stamp(execution.ended_at)
        .big(Some(execution.ended_at - execution.started_at))
        .text(execution.correlation.as_deref())
        .json(Some(&execution.attributes_json()))
        .json(execution.failed.then_some(ERROR))
        .flag(false)
        .stamp(execution.started_at)
        .big(i64::try_from(completed).ok())
        .small(execution.worst);
}

fn step_row(rows: &mut Rows, execution: &Execution, step: &Step, month: i32) {
    let took = step.ended_at - step.started_at;
    let judged = step.severity.is_some();
    rows.row()
        .uuid(execution.id)
        .big(Some(step.id))
        .date(month)
        .text(Some(STEP))
        .text(Some("step"))
        .int(1)
        .text(Some(status(step.failed)))
        .stamp(step.started_at)
        .stamp(step.ended_at)
        .big(Some(took))
        .json(Some("{}"))
        .json(step.failed.then_some(ERROR))
        .small(step.severity)
        .big(judged.then_some(took))
        .big(judged.then_some(AVERAGE_US))
        .big(judged.then_some(1_000))
        .big(judged.then_some(AVERAGE_US))
        .json(judged.then_some("{}"))
        .flag(false)
        .stamp(step.ended_at);
}

const fn status(failed: bool) -> &'static str {
    if failed { "failed" } else { "completed" }
}

async fn copy_histories(client: &Client, histories: &[&History]) -> Result<()> {
    let (mut baselines, mut segments) = (Rows::new(6), Rows::new(3));
    for history in histories {
        let seen = history.baseline.last_seen().context("a past without an end")?;
        baselines
            .row()
            .uuid(history.key)
            .text(Some(WORKFLOW))
            .text(Some(history.step_name))
            .json(Some("{}"))
            .bytes(&history.baseline.encode())
            .stamp(seen.as_micros());
        for (day, segment) in &history.closed {
            segments.row().uuid(history.key).date(*day).bytes(&segment.encode());
        }
    }
    send(client, BASELINES, baselines).await?;
    send(client, SEGMENTS, segments).await
}

async fn send(client: &Client, statement: &str, rows: Rows) -> Result<()> {
    let mut sink = Box::pin(client.copy_in(statement).await?);
    sink.send(rows.finish()).await?;
    sink.as_mut().finish().await?;
    Ok(())
}
