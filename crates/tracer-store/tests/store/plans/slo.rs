//! The plans of what is counted for objectives, and asked of them, beside many others.

use tracer_core::clock::Clock as _;
use tracer_core::record::{EndExecution, StartExecution};
use tracer_core::repository::Retention;
use tracer_core::slo::{Indicator, Objective, Slo, SloName, SloSpec};
use tracer_core::test_util::fixtures::{end, start};
use tracer_core::time::Micros;

use super::Bench;

/// Fills the slots of fifty objectives, minutes and hours.
const OTHERS: &str = "\
INSERT INTO slo_slots (slo, definition, resolution, slot_at, events, failed, slow)
SELECT 'other' || n, n, 1, '2026-01-31 05:00Z'::timestamptz + minute * interval '1 minute', 10, 1, 1
  FROM generate_series(1, 50) AS n, generate_series(1, 420) AS minute;
INSERT INTO slo_slots (slo, definition, resolution, slot_at, events, failed, slow)
SELECT 'other' || n, n, 60, '2025-11-01 00:00Z'::timestamptz + hour * interval '1 hour', 10, 1, 1
  FROM generate_series(1, 50) AS n, generate_series(1, 2184) AS hour;";

pub(super) fn objective() -> Slo {
    Slo::new(SloSpec {
        name: SloName::new("own").expect("a name"),
        workflow: "own".into(),
        objective: Objective::new(0.99).expect("a share"),
        latency: None,
        window: Micros::from_days(30),
        min_events: 20,
        alert: true,
    })
}

impl Bench {
    async fn end_one(&self) {
        let execution = StartExecution { started_at: self.clock.now(), ..start("own") };
        let id = execution.id;
        self.send(execution).await;
        self.send(EndExecution { ..end(id) }).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counts_are_added_to_and_summed_up_by_key() {
    let mut bench = Bench::open().await;
    // Planned while the table is empty, and used so from then on.
    bench.end_one().await;
    bench.run(OTHERS).await;
    bench.run("ANALYZE").await;
    bench.forget();
    bench.end_one().await;
    // Conflicts are found by the key; nothing else is read.
    let plan = bench.plan("add_slo_counts");
    assert!(
        plan.contains("Conflict Arbiter Indexes: slo_slots_pkey") && !plan.contains("Seq Scan"),
        "{plan}"
    );

    bench.forget();
    let ranges = Indicator::ranges(&objective(), bench.clock.now());
    let sums = bench.store.slo_counts(&ranges).await.expect("an answer");
    assert!(sums.iter().all(|sums| sums.events == 2), "{sums:?}");
    assert_eq!(bench.used("slo_counts"), "slo_slots_pkey");

    bench.forget();
    let usual = Retention { detail: Micros::from_days(30), aggregates: Micros::from_days(400) };
    bench.store.prune(bench.clock.now(), usual).await.expect("pruned");
    let used = bench.used("prune_slo_slots");
    assert!(used.contains("slo_slots_old"), "{used}");
    assert_eq!(bench.store.slo_counts(&ranges).await.expect("an answer"), sums);
}
