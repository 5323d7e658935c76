//! The plans of what is asked of failures, beside many groups of them that share their words.

use tracer_core::clock::Clock;
use tracer_core::failure::Failure;
use tracer_core::failures::{GroupCursor, GroupFilter};
use tracer_core::ids::ExecutionId;
use tracer_core::record::{Completion, StartExecution};
use tracer_core::repository::ExecutionFilter;
use tracer_core::similarity::{ErrorWords, MinSimilarity, Search, Tokens};
use tracer_core::step::StepStatus;
use tracer_core::test_util::fixtures::{ending, start, whole, workflow};

use super::Bench;

/// Adds thousands of groups of one common and two rare words, and lets every second execution have failed commonly.
const OTHERS: &str = "\
INSERT INTO failure_groups
       (fingerprint, count, first_seen_at, last_seen_at, last_execution_id, last_workflow_name, noted_day, tokens, message)
SELECT md5('g' || n)::uuid, 1, '2026-01-01', '2026-01-01', md5('e' || n)::uuid, 'other', '2026-01-01',
       ARRAY['common', 'one' || translate((n % 5000)::text, '0123456789', 'abcdefghij'),
             'two' || translate((n % 700)::text, '0123456789', 'abcdefghij')], 'common'
  FROM generate_series(1, 20000) AS n;
INSERT INTO failure_tokens (token, size, fingerprint)
SELECT token, 3, fingerprint FROM failure_groups, unnest(tokens) AS token WHERE last_workflow_name = 'other';
INSERT INTO failure_workflows
       (workflow_name, fingerprint, count, first_seen_at, last_seen_at, last_execution_id, noted_day)
SELECT 'other ' || n % 10, fingerprint, 1, first_seen_at, last_seen_at, last_execution_id, noted_day
  FROM failure_groups, generate_series(1, 2) AS n WHERE last_workflow_name = 'other';
INSERT INTO execution_failures (execution_id, fingerprint, recorded_month, times, of_execution)
SELECT e.execution_id, md5('g1')::uuid, e.recorded_month, 1, true
  FROM (SELECT *, row_number() OVER (ORDER BY started_at, execution_id) AS n FROM workflow_executions) AS e
 WHERE e.n % 2 = 0;";

impl Bench {
    /// Lets a step fail in an execution of its own.
    async fn fail(&self, message: &str) -> ExecutionId {
        let execution = StartExecution { started_at: self.clock.now(), ..start("etl") };
        self.send(execution.clone()).await;
        let failure = Some(Failure::new(None, message, None));
        self.send(whole(execution.id, "load", Completion { failure, ..ending(StepStatus::Failed) })).await;
        execution.id
    }

    async fn by_error(&self, text: &str) -> String {
        let filter = ExecutionFilter { error: ErrorWords::new(text), ..ExecutionFilter::default() };
        let found = self.store.executions(&filter, None, 10).await.expect("a page");
        assert!(!found.is_empty(), "{text}");
        self.used("list_executions")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures_are_counted_and_found_by_their_indexes() {
    let mut bench = Bench::open().await;
    // Planned while the tables are empty, and used so from then on.
    bench.fail("no route").await;
    bench.fill().await;
    bench.run(OTHERS).await;
    bench.forget();
    bench.fail("common oneb again").await;
    let id = bench.fail("common oneb again").await;
    // Either leads to the failure of the execution.
    let of_execution =
        ["pkey", "fingerprint_execution_id_idx"].map(|index| format!("execution_failures_2026_03_{index}"));
    assert!(of_execution.contains(&bench.used("save_failures")), "{}", bench.used("save_failures"));

    bench.run("ANALYZE").await;
    bench.forget();
    let any = GroupFilter::default();
    let first = bench.store.failure_groups(&any, None, 10).await.expect("a page");
    let last = first.last().map(|group| GroupCursor { last_seen_at: group.last_seen.at, id: group.id });
    bench
        .store
        .failure_groups(&GroupFilter { since: Some(bench.clock.now()), ..any }, last, 10)
        .await
        .expect("a page");
    assert_eq!(bench.used("failure_groups"), "failure_groups_seen");
    let of_one = GroupFilter { workflow: Some(workflow("other 1")), ..GroupFilter::default() };
    bench.store.failure_groups(&of_one, last, 10).await.expect("a page");
    assert_eq!(bench.used("failure_groups"), "failure_groups_pkey, failure_workflows_seen");

    let search = Search { tokens: Tokens::of("common oneb again"), least: MinSimilarity::LEAST };
    let similar = bench.store.similar_failures(&search, 10).await.expect("an answer");
    assert_eq!(similar.first().map(|found| (found.similarity, found.group.count)), Some((1.0, 2)));
    bench.store.failures_with(&Tokens::of("common oneb")).await.expect("an answer");
    bench.store.failures_of(id).await.expect("an answer");
    for (query, expected) in [
        ("failure_token_counts", "failure_tokens_pkey"),
        ("similar_failures", "failure_groups_pkey, failure_tokens_pkey"),
        ("failure_group", "failure_groups_pkey"),
        ("failures_with", "failure_tokens_pkey"),
        (
            "failures_of_execution",
            "execution_directory_pkey, execution_failures_2026_03_pkey, failure_groups_pkey",
        ),
    ] {
        assert_eq!(bench.used(query), expected, "{query}");
    }
    // What all groups share makes none of them be read.
    assert!(!bench.plan("similar_failures").contains("rows=2000"), "{}", bench.plan("similar_failures"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn executions_with_a_rare_error_are_looked_up_and_those_with_a_common_one_are_walked_to() {
    let mut bench = Bench::open().await;
    bench.fill().await;
    bench.run(OTHERS).await;
    bench.fail("rare indeed").await;
    bench.run("ANALYZE").await;
    bench.forget();
    let rare = bench.by_error("indeed").await;
    assert!(rare.contains("execution_failures_2026_03_fingerprint_execution_id_idx"), "{rare}");
    assert!(!rare.contains("started_at_execution_id_idx"), "{rare}");
    bench.forget();
    let common = bench.by_error("common oneb").await;
    assert!(common.contains("workflow_executions_2026_03_started_at_execution_id_idx"), "{common}");
    for used in [rare, common] {
        assert!(!used.contains("all of workflow"), "{used}");
    }
}
