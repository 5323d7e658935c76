//! The plans of the queries that matter, as PostgreSQL ran them for the store itself: with its sessions' settings, its
//! prepared statements and its parameters. The server's `auto_explain` writes them to its log.
//!
//! Each plan is told as the indexes it used and the tables it read through; a partition that was left alone does not
//! show.

mod alerts;
mod failures;
mod live;
mod services;
mod slo;

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::json;
use tokio_postgres::{Client, NoTls};
use tracer_core::clock::Clock;
use tracer_core::detect::{Policy, Severity};
use tracer_core::execution::ExecutionStatus;
use tracer_core::ids::ExecutionId;
use tracer_core::record::{JudgeExecution, JudgeStep, RecordExecution, StartExecution};
use tracer_core::repository::{ExecutionFilter, Repository};
use tracer_core::routing::{Alerting, Audience};
use tracer_core::test_util::FakeClock;
use tracer_core::test_util::fixtures::{
    IntoCommand, NOON, attributes, channel, complete, completed, correlation, end, recorded, request, start,
    step, workflow,
};
use tracer_core::time::Micros;
use tracer_store::test_util::postgres::PrivateServer;
use tracer_store::{Location, StoreConfig};

/// Executions recorded in each of three months.
const EXECUTIONS: usize = 1_500;

struct Bench {
    server: PrivateServer,
    store: Arc<dyn Repository>,
    clock: Arc<FakeClock>,
    admin: Client,
    read_from: usize,
}

impl Bench {
    async fn open() -> Self {
        let server = PrivateServer::start_with(&[
            "session_preload_libraries=auto_explain",
            "auto_explain.log_min_duration=0",
            "auto_explain.log_analyze=on",
            "auto_explain.log_timing=off",
            "autovacuum=off",
        ]);
        let url = server.url("postgres");
        let clock = Arc::new(FakeClock::at(NOON));
        let config =
            StoreConfig { clock: Some(clock.clone()), ..StoreConfig::at(Location::Postgres(url.clone())) };
        let alerting =
            Alerting { channels: vec![channel("people", Audience::People)], ..Alerting::default() };
        let policy = Policy::default().with_alerting(alerting).with_slos([slo::objective()]);
        let policy = Arc::new(policy);
        let store = tracer_store::open(&config, policy).await.expect("a store");
        let (admin, connection) = tokio_postgres::connect(&url, NoTls).await.expect("a connection");
        tokio::spawn(connection);
        Self { server, store, clock, admin, read_from: 0 }
    }

    async fn send(&self, command: impl IntoCommand) {
        self.store.record(request(self.clock.now(), command)).await.expect("carried out");
    }

    /// Records executions in January, February and March.
    async fn fill(&self) {
        for month in 0..3 {
            if month > 0 {
                self.clock.advance(Micros::from_days(28));
            }
            let now = self.clock.now();
            let record = |number: usize| {
                let name = format!("workflow {}", number % 20);
                let mut execution: RecordExecution = recorded(now, &name, &[("load", 100), ("save", 20)]);
                execution.start.correlation_id = Some(correlation(&format!("{month}-{number}")));
                execution.start.attributes = attributes(json!({"number": number}));
                self.send(execution)
            };
            futures_util::future::join_all((0..EXECUTIONS).map(record)).await;
        }
    }

    /// Sends one of each command of an ordinary execution.
    async fn send_each(&self) {
        let execution = start("workflow 1");
        let step = step(execution.id, "load");
        self.send(execution.clone()).await;
        self.send(step.clone()).await;
        // What has too little history is looked at after a minute.
        self.clock.advance(Micros::from_secs(61));
        self.look().await;
        self.send(complete(execution.id, step.id, completed(5))).await;
        self.send(end(execution.id)).await;
    }

    /// Looks at what runs and is due.
    async fn look(&self) {
        let due = self.store.due(self.clock.now(), 1_000).await.expect("an answer");
        for (execution, id) in due.steps {
            self.send(JudgeStep { execution, id }).await;
        }
        for id in due.executions {
            self.send(JudgeExecution { id }).await;
        }
    }

    async fn run(&self, sql: &str) {
        self.admin.batch_execute(sql).await.expect("carried out");
    }

    /// Returns the last plan of the query of this name since the last call of [`Bench::forget`].
    fn plan(&self, name: &str) -> String {
        let log = self.server.log();
        let entries: Vec<&str> = log.split_at(self.read_from).1.split("duration: ").collect();
        let marker = format!("Query Text: -- {name}\n");
        let plan = entries.iter().rev().find(|entry| entry.contains(&marker));
        let plan = plan.unwrap_or_else(|| panic!("no plan of {name} in the log:\n{log}"));
        plan.split("\n20").next().unwrap_or(plan).to_owned()
    }

    /// Returns what it used.
    fn used(&self, name: &str) -> String {
        let plan = self.plan(name);
        assert!(!plan.contains("Rows Removed by Join Filter"), "{name} reads what it does not need:\n{plan}");
        let used: BTreeSet<String> =
            plan.lines().filter(|line| !line.contains("never executed")).filter_map(access).collect();
        used.into_iter().collect::<Vec<_>>().join(", ")
    }

    fn forget(&mut self) {
        self.read_from = self.server.log().len();
    }
}

/// Returns the index that a line of a plan uses, or the table that it reads through.
fn access(line: &str) -> Option<String> {
    let word_after = |text: &str| Some(line.split_once(text)?.1.split_whitespace().next()?.to_owned());
    if line.contains("Seq Scan on") {
        return word_after("Seq Scan on ").map(|table| format!("all of {table}"));
    }
    if line.contains("Bitmap Index Scan on") {
        return word_after("Bitmap Index Scan on ");
    }
    if line.contains("Index Scan") || line.contains("Index Only Scan") { word_after(" using ") } else { None }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recording_looks_up_keys_in_the_partition_of_the_month_and_nothing_else() {
    let mut bench = Bench::open().await;
    // Planned while the tables are empty, and used so from then on.
    bench.send_each().await;
    bench.fill().await;
    bench.forget();
    bench.send_each().await;
    let directory = "execution_directory_pkey";
    for (query, expected) in [
        ("lock_executions", format!("{directory}, workflow_executions_2026_03_pkey")),
        ("lock_steps", format!("{directory}, workflow_steps_2026_03_pkey")),
        ("closing_steps", format!("{directory}, workflow_steps_2026_03_pkey")),
        ("count_completed", format!("{directory}, workflow_steps_2026_03_pkey")),
        ("activity_of_executions", format!("{directory}, workflow_steps_2026_03_pkey")),
        ("watch_executions", "workflow_executions_2026_03_pkey".to_owned()),
        ("update_steps", "workflow_steps_2026_03_pkey".to_owned()),
        ("end_executions", "workflow_executions_2026_03_pkey".to_owned()),
        ("lock_baselines", "step_baselines_pkey".to_owned()),
        ("save_baselines", "step_baselines_pkey".to_owned()),
    ] {
        assert_eq!(bench.used(query), expected, "{query}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_execution_and_its_steps_are_read_from_the_partition_of_its_month() {
    let mut bench = Bench::open().await;
    bench.fill().await;
    bench.run("ANALYZE").await;
    let first = bench.store.executions(&ExecutionFilter::default(), None, 1).await.expect("a page");
    let id: ExecutionId = first.first().expect("an execution").id;
    bench.forget();
    bench.store.execution(id).await.expect("an answer").expect("found");
    bench.store.steps(id, None, 10).await.expect("an answer");
    bench.store.bottleneck_steps(id).await.expect("an answer").expect("found");
    let directory = "execution_directory_pkey";
    for (query, expected) in [
        ("execution", format!("{directory}, workflow_executions_2026_03_pkey")),
        ("steps_of_execution", format!("{directory}, workflow_steps_2026_03_pkey")),
        ("judged_steps", format!("{directory}, workflow_steps_2026_03_pkey")),
    ] {
        assert_eq!(bench.used(query), expected, "{query}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn listings_use_their_indexes() {
    let mut bench = Bench::open().await;
    bench.fill().await;
    for _ in 0..5 {
        bench.send(StartExecution { started_at: bench.clock.now(), ..start("workflow 1") }).await;
    }
    bench.run("ANALYZE").await;
    let any = ExecutionFilter::default;
    let of = |month: &str, index: &str| format!("workflow_executions_2026_{month}_{index}");
    let one = Some(workflow("workflow 1"));
    for (filter, index) in [
        (any(), "started_at_execution_id_idx"),
        (ExecutionFilter { workflow: one, ..any() }, "workflow_name_started_at_execut_idx"),
        (
            ExecutionFilter { correlation_id: Some(correlation("1-7")), ..any() },
            "correlation_id_started_at_execu_idx",
        ),
        (
            ExecutionFilter { status: Some(ExecutionStatus::Running), ..any() },
            // Either holds what runs and nothing else.
            "workflow_name_recorded_at_idx|judge_at_idx",
        ),
        (
            ExecutionFilter { status: Some(ExecutionStatus::Failed), ..any() },
            "status_started_at_execution_id_idx",
        ),
        (
            ExecutionFilter { bottleneck: Some(Severity::Critical), ..any() },
            "worst_severity_started_at_execu_idx",
        ),
        (ExecutionFilter { min_duration: Some(Micros::from_days(1)), ..any() }, "duration_us_idx"),
        (ExecutionFilter { attributes: vec![("number".into(), "77".into())], ..any() }, "attributes_idx"),
    ] {
        bench.forget();
        bench.store.executions(&filter, None, 10).await.expect("a page");
        let used = bench.used("list_executions");
        let found = |month| index.split('|').any(|index| used.contains(&of(month, index)));
        assert!(["01", "02", "03"].into_iter().all(found), "{filter:?}\n{used}\n{index}");
        assert!(!used.contains("all of"), "{filter:?}\n{used}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn past_runs_are_read_newest_first_and_their_steps_by_key() {
    let mut bench = Bench::open().await;
    // Planned while the tables are empty, and used so from then on.
    bench.store.past_runs(&workflow("workflow 1"), 10, 100).await.expect("an answer");
    bench.fill().await;
    bench.run("ANALYZE").await;
    bench.forget();
    let runs = bench.store.past_runs(&workflow("workflow 1"), 10, 100).await.expect("an answer");
    assert_eq!(runs.iter().map(|run| run.steps.len()).collect::<Vec<_>>(), [2; 10]);
    let newest = "workflow_executions_2026_03_workflow_name_started_at_execut_idx";
    let used = bench.used("past_runs");
    assert!(used.contains(newest) && !used.contains("all of"), "{used}");
    assert_eq!(bench.used("steps_of_past_runs"), "workflow_steps_2026_03_pkey");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_asked_of_a_workflow_reads_neither_all_executions_nor_all_baselines() {
    let mut bench = Bench::open().await;
    bench.fill().await;
    bench
        .run(
            "INSERT INTO step_baselines (key, workflow_name, step_name, cohort, state)
               SELECT gen_random_uuid(), 'other ' || n, 'step', '{}', '' FROM generate_series(1, 5000) AS n",
        )
        .await;
    bench.run("ANALYZE").await;
    bench.forget();
    bench.store.workflow_history(&workflow("workflow 1")).await.expect("an answer").expect("a history");
    bench.store.workflows(None, 10).await.expect("a page");
    bench.store.silent_since(bench.clock.now(), 10).await.expect("an answer");
    bench.store.running(10).await.expect("an answer");
    for query in ["workflow_history", "workflows", "silent_executions", "running_executions"] {
        let used = bench.used(query);
        assert!(!used.contains("all of"), "{query}: {used}");
    }
    assert!(bench.used("workflow_history").contains("step_baselines_of_workflow"));
    assert!(bench.used("workflows").contains("step_baselines_workflows"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_due_is_found_by_its_index_alone() {
    let mut bench = Bench::open().await;
    // Planned while the tables are empty, and used so from then on.
    bench.send_each().await;
    bench.fill().await;
    let execution = StartExecution { started_at: bench.clock.now(), ..start("workflow 1") };
    bench.send(execution.clone()).await;
    for _ in 0..3 {
        bench.send(step(execution.id, "load")).await;
    }
    for analyzed in [false, true] {
        if analyzed {
            bench.run("ANALYZE").await;
        }
        bench.clock.advance(Micros::from_secs(1));
        bench.forget();
        let due = bench.store.due(bench.clock.now(), 1_000).await.expect("an answer");
        assert_eq!((due.steps.len(), due.executions.len()), (3, 1));
        for (query, table) in [("due_steps", "workflow_steps"), ("due_executions", "workflow_executions")] {
            let expected = ["01", "02", "03"].map(|month| format!("{table}_2026_{month}_judge_at_idx"));
            assert_eq!(bench.used(query), expected.join(", "), "{query}, analyzed: {analyzed}");
            let plan = bench.plan(query);
            assert!(
                !plan.contains("Sort Method") && !plan.contains("Bitmap"),
                "reads on behind its limit:\n{plan}"
            );
        }
    }
}
