//! The metrics of the stores: declared here, and touched nowhere else.
#![expect(clippy::disallowed_macros, reason = "this is where this crate's metrics are declared")]

use std::time::Duration;

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

const BATCH_COMMANDS: &str = "tracer_writer_batch_commands";
const WAIT_SECONDS: &str = "tracer_writer_wait_seconds";
const REFUSED: &str = "tracer_writer_refused_total";
const ISOLATED: &str = "tracer_writer_isolated_batches_total";
const QUEUED: &str = "tracer_writer_queued_commands";
const TRANSACTION_SECONDS: &str = "tracer_store_transaction_duration_seconds";
const TRANSACTIONS: &str = "tracer_store_transactions_total";
const CONNECTIONS: &str = "tracer_store_connections";

/// The histograms of this crate that hold seconds of work inside the service: the exporter gives
/// them finer buckets than those of steps.
pub const DURATION_METRICS: [&str; 2] = [WAIT_SECONDS, TRANSACTION_SECONDS];

/// Registers what each metric means with the installed recorder.
pub fn describe() {
    describe_histogram!(BATCH_COMMANDS, Unit::Count, "Commands that were committed together in one batch.");
    describe_histogram!(WAIT_SECONDS, Unit::Seconds, "Time a command waited for its batch to begin.");
    describe_counter!(REFUSED, Unit::Count, "Commands refused at once because the writer's queue was full.");
    describe_counter!(
        ISOLATED,
        Unit::Count,
        "Batches that failed as a whole and were retried command by command."
    );
    describe_gauge!(QUEUED, Unit::Count, "Commands waiting for a batch.");
    describe_histogram!(
        TRANSACTION_SECONDS,
        Unit::Seconds,
        "Time of store transactions by name, from asking for a connection to the end."
    );
    describe_counter!(
        TRANSACTIONS,
        Unit::Count,
        "Store transactions by name and outcome: ok, retried or failed."
    );
    describe_gauge!(CONNECTIONS, Unit::Count, "Connections to the database by state: idle or in_use.");
}

/// Counts a batch that begins, with how long each of its commands had waited.
pub(crate) fn batch_begins(waits: impl ExactSizeIterator<Item = Duration>) {
    #[expect(clippy::cast_precision_loss, reason = "a batch holds far fewer than 2^52 commands")]
    histogram!(BATCH_COMMANDS).record(waits.len() as f64);
    let wait = histogram!(WAIT_SECONDS);
    for waited in waits {
        wait.record(waited);
    }
}

/// Counts a command that found the queue full.
pub(crate) fn queue_full() {
    counter!(REFUSED).increment(1);
}

/// Counts a batch that has to be retried command by command.
pub(crate) fn batch_isolated() {
    counter!(ISOLATED).increment(1);
}

/// Shows how many commands wait.
pub(crate) fn queued(commands: usize) {
    #[expect(clippy::cast_precision_loss, reason = "the queue is far shorter than 2^52")]
    gauge!(QUEUED).set(commands as f64);
}

/// How a transaction ended.
#[derive(Clone, Copy, Debug)]
pub(crate) enum TransactionOutcome {
    /// It committed, or read what it was asked.
    Ok,
    /// It was given up by the database and began anew.
    Retried,
    /// It failed.
    Failed,
}

/// Counts a transaction and its time. `name` is one of few: the name of the query or of the batch.
pub(crate) fn transaction(name: &'static str, outcome: TransactionOutcome, took: Duration) {
    let outcome = match outcome {
        TransactionOutcome::Ok => "ok",
        TransactionOutcome::Retried => "retried",
        TransactionOutcome::Failed => "failed",
    };
    counter!(TRANSACTIONS, "transaction" => name, "outcome" => outcome).increment(1);
    histogram!(TRANSACTION_SECONDS, "transaction" => name).record(took);
}

/// Shows the connections of the pool.
pub(crate) fn connections(idle: usize, in_use: usize) {
    #[expect(clippy::cast_precision_loss, reason = "a pool holds far fewer than 2^52 connections")]
    let (idle, in_use) = (idle as f64, in_use as f64);
    gauge!(CONNECTIONS, "state" => "idle").set(idle);
    gauge!(CONNECTIONS, "state" => "in_use").set(in_use);
}
