//! *Service internals*: the service itself, for whoever runs it.

use super::board::Board;
use super::panel::{Empty, Panel, areas, graph, stat, table};
use super::query::{instant, range};
use super::shared::over_time;
use super::style::{NONE_IS_GOOD, PLAIN, Unit, WAITING};

const NOTHING: Empty = Empty::Until("Nothing has been asked of the service yet");
const NO_WRITES: Empty = Empty::Until("Nothing has been written yet");
const NO_SPANS: Empty = Empty::Maybe("Nothing came by OTLP");
const NOT_UP: Empty = Empty::Until("No replica is up");

/// Returns it.
pub(super) fn board() -> Board {
    Board::new(
        "tracer-internals",
        "Tracer / Service internals",
        "How the service itself does: requests, the writer's batches, the store, the watchdog, spans, listeners, memory.",
    )
    .row("Requests", requests())
    .row("Writer", writer())
    .row("Store", store())
    .row("Watchdog and outbox", watchdog())
    .row("Spans in and out", spans())
    .row("Listeners, memory, log", rest())
}

fn requests() -> Vec<Panel> {
    vec![
        graph("Requests by route", Unit::Requests, "Answered requests, by route template.", NOTHING).ask(range(
            "{{method}} {{route}}",
            "topk(12, sum by (method, route) (rate(tracer_http_requests_total[$__rate_interval])))",
        )),
        graph(
            "Answers that were no success",
            Unit::Requests,
            "By status. 503: the store is away or the queue is full, clients are asked to come back. 4xx: what a client got wrong. 500 never happens; if it does, it is a bug.",
            Empty::Maybe("Every answer was a success"),
        )
        .ask(range(
            "{{status}}",
            "sum by (status) (rate(tracer_http_requests_total{status=~\"[45]..\"}[$__rate_interval]))",
        )),
        over_time(
            graph(
                "Time to answer",
                Unit::Seconds,
                "All routes together. A write is answered when it is on disk.",
                NOTHING,
            ),
            "tracer_http_request_duration_seconds",
            "",
        ),
        graph("Slowest routes: p99", Unit::Seconds, "One request in a hundred took longer.", NOTHING).ask(range(
            "{{method}} {{route}}",
            "topk(8, histogram_quantile(0.99, sum by (le, method, route) (rate(tracer_http_request_duration_seconds_bucket[$__rate_interval]))))",
        )),
    ]
}

fn writer() -> Vec<Panel> {
    vec![
        graph(
            "Commands in a batch",
            Unit::Count,
            "On average: the more clients write at once, the more share one commit.",
            NO_WRITES,
        )
        .size(8, 8)
        .ask(range(
            "commands",
            "sum(rate(tracer_writer_batch_commands_sum[$__rate_interval])) \
             / sum(rate(tracer_writer_batch_commands_count[$__rate_interval]))",
        )),
        over_time(
            graph(
                "Wait for a batch",
                Unit::Seconds,
                "How long a command waited until its batch began.",
                NO_WRITES,
            )
            .size(8, 8),
            "tracer_writer_wait_seconds",
            "",
        ),
        graph(
            "Commands waiting",
            Unit::Count,
            "The queue by replica. When it is full (store.queue) requests answer 503 at once.",
            NO_WRITES,
        )
        .size(8, 8)
        .ask(range("{{instance}}", "max by (instance) (tracer_writer_queued_commands)")),
        graph("Batches", Unit::PerSecond, "Batches that began, per second.", NO_WRITES)
            .ask(range("batches", "sum(rate(tracer_writer_batch_commands_count[$__rate_interval]))")),
        graph(
            "Refused commands and batches taken apart",
            Unit::PerSecond,
            "Refused: the queue was full. Taken apart: a command broke its batch, and the others were written one by one.",
            Empty::Maybe("No command was refused, and no batch was taken apart"),
        )
        .ask(range("refused", "sum(rate(tracer_writer_refused_total[$__rate_interval]))"))
        .ask(range("taken apart", "sum(rate(tracer_writer_isolated_batches_total[$__rate_interval]))")),
    ]
}

fn store() -> Vec<Panel> {
    vec![
        stat(
            "Store answers",
            Unit::YesNo,
            "By replica. TracerStoreAway fires when it lasts: see its runbook.",
            NOT_UP,
        )
        .size(6, 8)
        .steps(super::style::ONE_IS_GOOD)
        .ask(instant("{{instance}}", "min by (instance) (tracer_store_up)")),
        areas(
            "Connections",
            Unit::Count,
            "Of the pool to PostgreSQL, over all replicas. All in use for long: raise store.pool_size, or look for slow queries.",
            Empty::Until("No connection has been asked for yet"),
        )
        .size(9, 8)
        .ask(range("{{state}}", "sum by (state) (tracer_store_connections)")),
        graph(
            "Transactions that did not end well",
            Unit::PerSecond,
            "Retried: the database gave them up (deadlock, serialization) and they began anew. Failed: they are answered 503.",
            Empty::Maybe("Every transaction ended well"),
        )
        .size(9, 8)
        .ask(range(
            "{{transaction}} {{outcome}}",
            "sum by (transaction, outcome) (rate(tracer_store_transactions_total{outcome!=\"ok\"}[$__rate_interval])) > 0",
        )),
        graph("Transactions", Unit::PerSecond, "By name, the ten most frequent.", NO_WRITES).ask(range(
            "{{transaction}}",
            "topk(10, sum by (transaction) (rate(tracer_store_transactions_total[$__rate_interval])))",
        )),
        graph(
            "Slowest transactions: p99",
            Unit::Seconds,
            "By name, from asking for a connection to the end.",
            NO_WRITES,
        )
        .ask(range(
            "{{transaction}}",
            "topk(10, histogram_quantile(0.99, sum by (le, transaction) (rate(tracer_store_transaction_duration_seconds_bucket[$__rate_interval]))))",
        )),
    ]
}

fn watchdog() -> Vec<Panel> {
    vec![
        over_time(
            graph(
                "How late the watchdog looks",
                Unit::Seconds,
                "How long the longest overdue step or execution had been due: what is stuck is told so much later.",
                NOT_UP,
            )
            .size(8, 8),
            "tracer_watchdog_lag_seconds",
            "",
        ),
        graph("Looks", Unit::PerSecond, "Running steps and executions looked at because they were due.", NOT_UP)
            .size(8, 8)
            .ask(range("looks", "sum(rate(tracer_watchdog_looks_total[$__rate_interval]))"))
            .ask(range(
                "rounds",
                "sum(rate(tracer_watchdog_query_duration_seconds_count[$__rate_interval]))",
            )),
        graph("Outbox", Unit::Seconds, "How long the oldest notification has been due, by channel.", NOT_UP)
            .size(8, 8)
            .steps(WAITING)
            .ask(range("{{channel}}", "max by (channel) (tracer_outbox_oldest_seconds)")),
    ]
}

fn spans() -> Vec<Panel> {
    vec![
        graph(
            "OTLP: spans and log records",
            Unit::PerSecond,
            "What came by OTLP: taken, or rejected because it breaks a bound.",
            NO_SPANS,
        )
        .ask(range("{{outcome}}", "sum by (outcome) (rate(tracer_otlp_records_total[$__rate_interval]))")),
        graph(
            "Exported spans",
            Unit::PerSecond,
            "Spans sent on to export.endpoint, by what became of them, and what was dropped because too many waited.",
            Empty::Maybe("Nothing is exported: export.endpoint is not set"),
        )
        .ask(range("{{outcome}}", "sum by (outcome) (rate(tracer_export_spans_total[$__rate_interval]))"))
        .ask(range("dropped", "sum(rate(tracer_export_dropped_total[$__rate_interval]))")),
        graph(
            "Waiting to be exported",
            Unit::Count,
            "Executions and requests.",
            Empty::Maybe("Nothing is exported: export.endpoint is not set"),
        )
        .size(24, 6)
        .ask(range("{{instance}}", "max by (instance) (tracer_export_queue)")),
    ]
}

fn rest() -> Vec<Panel> {
    vec![
        graph("Listeners", Unit::Count, "Of /stream and /ws, by replica.", NOT_UP)
            .size(8, 8)
            .ask(range("{{instance}}", "max by (instance) (tracer_live_listeners)")),
        graph(
            "Changes handed to listeners",
            Unit::PerSecond,
            "Once for each listener; resyncs are listeners that were too slow and missed something.",
            Empty::Maybe("Nobody listens, or nobody missed anything"),
        )
        .size(8, 8)
        .ask(range("changes", "sum(rate(tracer_live_events_total[$__rate_interval]))"))
        .ask(range("resyncs", "sum(rate(tracer_live_resyncs_total[$__rate_interval]))")),
        graph("Memory", Unit::Bytes, "Resident memory by replica.", NOT_UP)
            .size(8, 8)
            .ask(range("{{instance}}", "max by (instance) (process_resident_memory_bytes{job=\"tracer\"})")),
        stat(
            "Log lines dropped",
            Unit::Count,
            "In the time shown: the log's queue was full, because whatever reads it is slow.",
            NOT_UP,
        )
        .size(6, 5)
        .steps(NONE_IS_GOOD)
        .ask(instant("", "sum(increase(tracer_log_lines_dropped_total[$__range]))")),
        stat(
            "Names without series",
            Unit::Count,
            "Workflows and steps beyond metrics.workflow_series and step_series, which share _other: their numbers are in the API, not here.",
            NOT_UP,
        )
        .size(6, 5)
        .ask(instant("{{kind}}", "max by (kind) (tracer_label_overflow)")),
        table("Versions", Unit::OfColumns, "What runs where; two versions at once are a deployment under way.", NOT_UP)
            .size(12, 5)
            .ask(instant("", "max by (instance, version) (tracer_build_info)"))
            .joined(&[("instance", "Replica"), ("version", "Version")], &["Value", "Value #A"])
            .column("Version", Unit::OfColumns, PLAIN),
    ]
}
