//! *Infrastructure*: the processes, and PostgreSQL as its exporter shows it.

use super::board::{Board, postgres};
use super::panel::{Empty, Panel, areas, bars, graph, stat, table};
use super::query::{Query, instant, range};
use super::style::{FULL, NONE_IS_GOOD, ONE_IS_GOOD, PLAIN, Unit};

const NOT_UP: Empty = Empty::Until("No replica is up");
const NO_EXPORTER: Empty = Empty::Maybe("No postgres_exporter: the embedded store has none");

/// The jobs of deploy/prometheus/prometheus.yml: a Prometheus may scrape much else.
const OURS: &str = "job=~\"tracer|postgres|prometheus|alertmanager\"";

/// Returns it.
pub(super) fn board() -> Board {
    Board::new(
        "tracer-infrastructure",
        "Tracer / Infrastructure",
        "What the service stands on: its processes, what Prometheus reaches, and PostgreSQL.",
    )
    .variable(postgres())
    .row("Targets", targets())
    .row("Processes", processes())
    .row("PostgreSQL", database())
    .row("PostgreSQL: what costs", costs())
}

fn targets() -> Vec<Panel> {
    vec![
        stat(
            "Targets",
            Unit::YesNo,
            "Whether Prometheus reaches each of them, by the jobs that ship.",
            Empty::Until("Prometheus has no targets"),
        )
        .size(12, 5)
        .steps(ONE_IS_GOOD)
        .ask(instant("{{job}} {{instance}}", format!("min by (job, instance) (up{{{OURS}}})"))),
        graph(
            "Time to scrape",
            Unit::Seconds,
            "How long each target takes to answer; past the scrape timeout its data has gaps.",
            Empty::Until("Prometheus has no targets"),
        )
        .size(12, 5)
        .ask(range(
            "{{job}} {{instance}}",
            format!("max by (job, instance) (scrape_duration_seconds{{{OURS}}})"),
        )),
    ]
}

fn processes() -> Vec<Panel> {
    vec![
        graph("Processor", Unit::Count, "Cores that each replica keeps busy.", NOT_UP).size(8, 8).ask(range(
            "{{instance}}",
            "sum by (instance) (rate(process_cpu_seconds_total{job=\"tracer\"}[$__rate_interval]))",
        )),
        graph("Memory", Unit::Bytes, "Resident memory of each replica.", NOT_UP)
            .size(8, 8)
            .ask(range("{{instance}}", "max by (instance) (process_resident_memory_bytes{job=\"tracer\"})")),
        graph("File descriptors", Unit::Share, "Open, of those that the process may have.", NOT_UP)
            .size(8, 8)
            .steps(FULL)
            .ask(range(
                "{{instance}}",
                "max by (instance) (process_open_fds{job=\"tracer\"} / process_max_fds{job=\"tracer\"})",
            )),
        graph("Threads", Unit::Count, "Of each replica.", NOT_UP)
            .size(8, 6)
            .ask(range("{{instance}}", "max by (instance) (process_threads{job=\"tracer\"})")),
        stat("Up since", Unit::Seconds, "How long each replica has been running.", NOT_UP).size(8, 6).ask(
            instant(
                "{{instance}}",
                "time() - max by (instance) (process_start_time_seconds{job=\"tracer\"})",
            ),
        ),
        graph("Virtual memory", Unit::Bytes, "Of each replica: address space, mostly untouched.", NOT_UP)
            .size(8, 6)
            .ask(range("{{instance}}", "max by (instance) (process_virtual_memory_bytes{job=\"tracer\"})")),
    ]
}

fn database() -> Vec<Panel> {
    vec![
        stat("PostgreSQL answers", Unit::YesNo, "As its exporter says.", NO_EXPORTER)
            .size(6, 4)
            .steps(ONE_IS_GOOD)
            .ask(instant("", "min(pg_up{job=\"postgres\"})")),
        stat(
            "Connections",
            Unit::Share,
            "Of max_connections. When none is left, nobody gets in: replicas times store.pool_size must stay below.",
            NO_EXPORTER,
        )
        .size(6, 4)
        .steps(FULL)
        .most(1.0)
        .ask(instant("", "sum(pg_stat_activity_count{job=\"postgres\"}) / max(pg_settings_max_connections{job=\"postgres\"})")),
        stat(
            "Read from memory",
            Unit::Share,
            "Blocks that were in shared buffers when they were asked for.",
            NO_EXPORTER,
        )
        .size(6, 4)
        .most(1.0)
        .ask(instant(
            "",
            "sum(rate(pg_stat_database_blks_hit{job=\"postgres\"}[5m])) \
             / (sum(rate(pg_stat_database_blks_hit{job=\"postgres\"}[5m])) \
             + sum(rate(pg_stat_database_blks_read{job=\"postgres\"}[5m])) > 0)",
        )),
        stat("Size", Unit::Bytes, "Of all databases of the server.", NO_EXPORTER)
            .size(6, 4)
            .ask(instant("", "sum(pg_database_size_bytes{job=\"postgres\"})")),
        graph("Transactions", Unit::PerSecond, "Committed and rolled back.", NO_EXPORTER)
            .size(8, 8)
            .ask(range("committed", "sum(rate(pg_stat_database_xact_commit{job=\"postgres\"}[$__rate_interval]))"))
            .ask(range("rolled back", "sum(rate(pg_stat_database_xact_rollback{job=\"postgres\"}[$__rate_interval]))")),
        areas("Connections by state", Unit::Count, "What sessions do: active, idle, or idle within a transaction.", NO_EXPORTER)
            .size(8, 8)
            .ask(range("{{state}}", "sum by (state) (pg_stat_activity_count{job=\"postgres\"})")),
        graph("Rows", Unit::PerSecond, "Rows written and read by index.", NO_EXPORTER)
            .size(8, 8)
            .ask(range("inserted", "sum(rate(pg_stat_database_tup_inserted{job=\"postgres\"}[$__rate_interval]))"))
            .ask(range("updated", "sum(rate(pg_stat_database_tup_updated{job=\"postgres\"}[$__rate_interval]))"))
            .ask(range("deleted", "sum(rate(pg_stat_database_tup_deleted{job=\"postgres\"}[$__rate_interval]))"))
            .ask(range("fetched", "sum(rate(pg_stat_database_tup_fetched{job=\"postgres\"}[$__rate_interval]))")),
    ]
}

fn costs() -> Vec<Panel> {
    vec![
        graph(
            "Longest transaction",
            Unit::Seconds,
            "By state. A transaction that is idle for long holds locks and keeps dead rows.",
            NO_EXPORTER,
        )
        .size(8, 8)
        .ask(range("{{state}}", "max by (state) (pg_stat_activity_max_tx_duration{job=\"postgres\"})")),
        graph("Locks", Unit::Count, "Held, by mode.", NO_EXPORTER)
            .size(8, 8)
            .ask(range("{{mode}}", "sum by (mode) (pg_locks_count{job=\"postgres\"}) > 0")),
        graph(
            "Deadlocks and conflicts",
            Unit::Count,
            "In ten minutes. The service writes in one order everywhere, so a deadlock is somebody else's, or a bug.",
            NO_EXPORTER,
        )
        .size(8, 8)
        .steps(NONE_IS_GOOD)
        .ask(range("deadlocks", "sum(increase(pg_stat_database_deadlocks{job=\"postgres\"}[10m]))"))
        .ask(range("conflicts", "sum(increase(pg_stat_database_conflicts{job=\"postgres\"}[10m]))")),
        bars("Databases by size", Unit::Bytes, "On disk, with indexes.", NO_EXPORTER)
            .ask(instant("{{datname}}", "sort_desc(max by (datname) (pg_database_size_bytes{job=\"postgres\"}))")),
        graph("Temporary files", Unit::BytesPerSecond, "Written because work_mem did not do.", NO_EXPORTER)
            .ask(range("{{datname}}", "sum by (datname) (rate(pg_stat_database_temp_bytes{job=\"postgres\"}[$__rate_interval]))")),
        table(
            "Largest tables",
            Unit::OfColumns,
            "Tables and partitions of the service with their indexes, from PostgreSQL itself. Detail is dropped by partition after retention.detail.",
            Empty::Maybe("No PostgreSQL: the embedded store is one file"),
        )
        .ask(Query::Sql(
            "SELECT relname AS \"Table\", n_live_tup AS \"Rows\", n_dead_tup AS \"Dead rows\", \
             pg_total_relation_size(relid) AS \"Size\", last_autovacuum AS \"Vacuumed\" \
             FROM pg_stat_user_tables ORDER BY pg_total_relation_size(relid) DESC LIMIT 20"
                .to_owned(),
        ))
        .column("Rows", Unit::Count, PLAIN)
        .column("Dead rows", Unit::Count, PLAIN)
        .column("Size", Unit::Bytes, PLAIN),
    ]
}
