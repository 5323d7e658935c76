//! The plans of what is asked of services, and written of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;
use tracer_core::clock::Clock as _;
use tracer_core::ids::ExecutionId;
use tracer_core::record::{RecordSpans, SettleTrace};
use tracer_core::span::{Resource, ResourceId, Span, TraceSpans};
use tracer_core::test_util::fixtures::{NOON, attributes, ms, span};
use tracer_core::time::Micros;

use super::Bench;

/// Executions of each month.
const EXECUTIONS: u128 = 400;

fn of(service: u32, mut span: Span, later: Micros) -> Span {
    span.started_at = span.started_at + later;
    span.attributes = attributes(json!({"service.name": format!("service {service}")}));
    Arc::make_mut(&mut span.detail).resource = Some(ResourceId(service));
    span
}

fn export(number: u128, spans: Vec<Span>) -> RecordSpans {
    let resource = |span: &Span| Some((span.detail.resource?, Resource(span.attributes.clone())));
    let resources: BTreeMap<ResourceId, Resource> = spans.iter().filter_map(resource).collect();
    let id = ExecutionId::from_u128(number + 1).expect("a number");
    RecordSpans { traces: vec![TraceSpans { id, spans }], resources }
}

impl Bench {
    /// Records traces of two of twenty services each, in three months.
    async fn trace(&self) {
        for month in 0..3_u128 {
            if month > 0 {
                self.clock.advance(Micros::from_days(28));
            }
            let record = |number: u128| {
                let days = Micros::from_days(u64::try_from(month).expect("a number") * 28);
                let later = ms(u64::try_from(number).expect("a number")).saturating_add(days);
                let caller = u32::try_from(number % 20).expect("a number");
                let name = format!("operation {}", number % 50);
                let root = of(caller, span(1, None, &name, 0, 100), later);
                let called = of((caller + 1) % 20, span(2, Some(1), &name, 10, 50), later);
                self.send(export(month * EXECUTIONS + number, vec![root, called]))
            };
            futures_util::future::join_all((0..EXECUTIONS).map(record)).await;
        }
    }

    /// Sends spans of which the root comes last, and settles their trace: everything that is written of services.
    async fn send_late_root(&self, number: u128) {
        let now = self.clock.now();
        let later = Micros::new(u64::try_from(now.as_micros() - NOON.as_micros()).expect("a number"));
        self.send(export(number, vec![of(3, span(2, Some(1), &format!("called {number}"), 10, 50), later)]))
            .await;
        self.send(export(number, vec![of(4, span(1, None, "root", 0, 100), later)])).await;
        self.clock.advance(Micros::from_secs(5));
        self.send(SettleTrace { id: ExecutionId::from_u128(number + 1).expect("a number") }).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_asked_of_a_service_reads_what_it_shows() {
    let mut bench = Bench::open().await;
    bench.trace().await;
    bench.run("ANALYZE").await;
    let now = bench.clock.now();
    let from = now - Micros::from_days(80);
    bench.forget();
    let found = bench.store.executions_of_service("service 7", from, now, None, 5).await.expect("an answer");
    assert_eq!(found.len(), 5);
    bench.store.services().await.expect("an answer");
    bench.store.operations("service 7").await.expect("an answer");
    let used = bench.used("executions_of_service");
    assert!(used.contains("service_executions_2026_03_pkey") && !used.contains("all of"), "{used}");
    let plan = bench.plan("executions_of_service");
    assert!(!plan.contains("Sort Method") && !plan.contains("Bitmap"), "reads on behind its limit:\n{plan}");
    for query in ["services", "operations_of_service"] {
        let used = bench.used(query);
        assert!(!used.contains("all of"), "{query}: {used}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_written_of_services_is_looked_up_by_key() {
    let mut bench = Bench::open().await;
    // Planned while the tables are empty, and used so from then on.
    bench.send_late_root(1_000_000).await;
    bench.trace().await;
    bench.forget();
    bench.send_late_root(1_000_001).await;
    assert_eq!(bench.used("leave_services"), "service_executions_2026_03_pkey");
    for query in ["note_services", "note_operations"] {
        let used = bench.used(query);
        assert!(!used.contains("all of"), "{query}: {used}");
    }
    let calls =
        bench.store.service_calls(bench.clock.now().day(), bench.clock.now().day()).await.expect("an answer");
    assert!(
        calls.iter().any(|call| (call.parent.as_str(), call.child.as_str()) == ("service 4", "service 3"))
    );
}
