//! Two replicas that count for the same objective: what they count adds up, and they do not hold each other up.

use std::sync::Arc;

use futures_util::future::join_all;
use tracer_core::detect::Policy;
use tracer_core::execution::ExecutionStatus;
use tracer_core::record::EndExecution;
use tracer_core::repository::Repository;
use tracer_core::slo::{Indicator, Objective, Sli, Slo, SloName, SloSpec, State, Window};
use tracer_core::test_util::fixtures::{end, start};
use tracer_core::time::Micros;
use tracer_store::test_util::postgres::TestDatabase;
use tracer_store::{Location, StoreConfig};

use super::send;

/// Executions that end, each told to both replicas.
const ENDS: usize = 200;

fn objectives() -> Vec<Slo> {
    let of = |number: usize| {
        Slo::new(SloSpec {
            name: SloName::new(&format!("slo-{number}")).expect("a name"),
            workflow: "*".into(),
            objective: Objective::new(0.9).expect("a share"),
            latency: None,
            window: Micros::from_days(1),
            min_events: 20,
            alert: true,
        })
    };
    (0..5).map(of).collect()
}

async fn replica(url: &str) -> Arc<dyn Repository> {
    let config = StoreConfig { pool_size: 4, ..StoreConfig::at(Location::Postgres(url.to_owned())) };
    let policy = Policy::default().with_slos(objectives());
    tracer_store::open(&config, Arc::new(policy)).await.expect("a replica")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_two_replicas_count_adds_up_and_they_judge_it_alike() {
    let database = TestDatabase::create().await;
    let replicas = [replica(database.url()).await, replica(database.url()).await];
    let executions: Vec<_> = (0..ENDS).map(|_| start("etl")).collect();
    join_all(executions.iter().map(|execution| send(&*replicas[0], execution.clone()))).await;
    let ends = executions.iter().enumerate().flat_map(|(number, execution)| {
        let status = if number % 2 == 0 { ExecutionStatus::Failed } else { ExecutionStatus::Completed };
        let end = EndExecution { status, ..end(execution.id) };
        replicas.iter().map(move |replica| send(&**replica, end.clone()))
    });
    let fresh = join_all(ends).await.iter().filter(|answer| answer.fresh).count();
    assert_eq!(fresh, ENDS);
    let now = replicas[0].clock().now();
    let mut judged = Vec::new();
    for replica in &replicas {
        for slo in objectives() {
            let sums = replica.slo_counts(&Indicator::ranges(&slo, now)).await.expect("an answer");
            let indicator = Indicator::judge(&slo, Sli::Availability, &sums);
            let all = indicator.counted(Window::Budget);
            assert_eq!((all.events, all.bad, indicator.state), (200, 100, State::Exhausted));
            assert!(all.last_bad.is_some());
            judged.push((slo.name().clone(), indicator));
        }
    }
    let (first, second) = judged.split_at(judged.len() / 2);
    assert_eq!(first, second);
}
