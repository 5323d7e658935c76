//! The plans of what is asked of events, and of those who follow changes.

use tracer_core::clock::Clock;
use tracer_core::record::{JudgeExecution, RecordEvent, StartExecution};
use tracer_core::test_util::fixtures::{event, start};
use tracer_core::time::Micros;

use super::Bench;

/// Adds many events of other executions, and thousands of batches of changes.
const OTHERS: &str = "\
INSERT INTO workflow_events
       (execution_id, number, recorded_month, event_id, kind, at, recorded_at, message, attributes)
SELECT md5('x' || n / 100)::uuid, n % 100, m, md5('e' || n)::uuid, 'log', '2026-01-31', '2026-01-31', 'm', '{}'
  FROM generate_series(1, 20000) AS n, (VALUES ('2026-01-01'::date), ('2026-02-01'), ('2026-03-01')) AS v (m);
INSERT INTO live_changes (bytes, body) SELECT 2, '[]' FROM generate_series(1, 20000);";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_looked_up_by_their_execution_in_the_partition_of_its_month() {
    let mut bench = Bench::open().await;
    // Planned while the tables are empty, and used so from then on.
    let tell = async |bench: &Bench| {
        let execution = StartExecution { started_at: bench.clock.now(), ..start("workflow 1") };
        bench.send(execution.clone()).await;
        for _ in 0..3 {
            bench.send(event(execution.id, "told")).await;
        }
        bench.clock.advance(Micros::from_secs(3_600));
        bench.send(JudgeExecution { id: execution.id }).await;
        bench.store.events(execution.id, 1, 10).await.expect("an answer");
        bench.store.silent_since(bench.clock.now(), 10).await.expect("an answer");
    };
    tell(&bench).await;
    bench.fill().await;
    bench.run(OTHERS).await;
    bench.forget();
    tell(&bench).await;
    let directory = "execution_directory_pkey";
    let (by_id, by_number) =
        ("workflow_events_2026_03_execution_id_event_id_recorded_mont_idx", "workflow_events_2026_03_pkey");
    assert_eq!(bench.used("look_events"), format!("{directory}, {by_id}, {by_number}"));
    assert_eq!(bench.used("last_events"), format!("{directory}, {by_number}"));
    assert_eq!(bench.used("events"), format!("{directory}, {by_number}"));
    let silent = bench.used("silent_executions");
    assert!(silent.contains(by_number) && !silent.contains("all of workflow_events"), "{silent}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_follows_reads_from_where_they_are() {
    let mut bench = Bench::open().await;
    let mut follow = bench.store.follow(1 << 20);
    assert!(follow.next().await.expect("an answer").begins_after.is_some());
    bench.run(OTHERS).await;
    let mut heard = 0;
    while heard < 20_000 {
        heard += follow.next().await.expect("an answer").batches.len();
    }
    let execution = start("workflow 1");
    bench.send(execution.clone()).await;
    bench.forget();
    bench.send(RecordEvent { at: None, ..event(execution.id, "told") }).await;
    while heard < 20_002 {
        heard += follow.next().await.expect("an answer").batches.len();
    }
    assert_eq!(bench.used("read_changes"), "all of live_state, live_changes_pkey");
    let plan = bench.plan("read_changes");
    assert!(!plan.contains("Bitmap"), "{plan}");
}
