//! More writes than the store takes: those beyond the queue are refused, and nothing else suffers.

use std::collections::BTreeSet;
use std::sync::{Arc, Condvar, Mutex};

use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tracer_core::baseline::Reference;
use tracer_core::detect::{FactorOfMean, Limits, Policy, Rule, StepPolicy};
use tracer_store::{Location, StoreConfig, WriterConfig};

use super::helpers::{Answer, Service, send, settings, start_over};

/// Commands that may wait, and far more than may wait and be written together.
const QUEUE: usize = 4;
const MANY: usize = 64;

/// The default rule behind a door. While it is shut, a batch with a step that has a history stands in front
/// of it in the middle of its transaction, as it would on a disk that does not answer.
#[derive(Debug, Default)]
struct Door {
    shut: Mutex<bool>,
    moved: Condvar,
    reached: Notify,
}

impl Rule for Door {
    fn min_samples(&self) -> u64 {
        1
    }

    fn limits(&self, reference: &Reference) -> Option<Limits> {
        let shut = self.shut.lock().unwrap();
        if *shut {
            self.reached.notify_one();
        }
        drop(self.moved.wait_while(shut, |shut| *shut).unwrap());
        FactorOfMean::default().limits(reference)
    }
}

/// A door that is shut; open once this is dropped, so that a test that fails ends.
struct Shut(Arc<Door>);

impl Shut {
    fn new(door: &Arc<Door>) -> Self {
        *door.shut.lock().unwrap() = true;
        Self(Arc::clone(door))
    }
}

impl Drop for Shut {
    fn drop(&mut self) {
        *self.0.shut.lock().unwrap() = false;
        self.0.moved.notify_all();
    }
}

#[tokio::test]
async fn a_full_queue_refuses_at_once_reads_go_on_and_nothing_acknowledged_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let door = Arc::new(Door::default());
    let service = start_over_a_small_queue(&folder, &door).await;
    let execution = service.execution("etl").await;
    // From its second run on a step has a history, and is judged.
    let first = service.took(&execution, "load", 100).await;

    let shut = Shut::new(&door);
    let mut writes = JoinSet::new();
    writes.spawn(step(&service, &execution));
    door.reached.notified().await;
    for _ in 1..MANY {
        writes.spawn(step(&service, &execution));
    }
    // The store takes nothing now: whatever is answered is refused, and was not made to wait.
    let refused = writes.join_next().await.unwrap().unwrap();
    expect_refusal(&refused);
    expect_refusal(&service.post("/workflows", json!({"workflow_name": "etl"})).await);
    expect_everything_else_to_be_answered(&service, &execution).await;

    drop(shut);
    let (mut acknowledged, mut refusals) = (BTreeSet::from([id_of(&first)]), 1);
    for answer in writes.join_all().await {
        if answer.status == 201 {
            acknowledged.insert(id_of(&answer.expect(201)));
        } else {
            expect_refusal(&answer);
            refusals += 1;
        }
    }
    assert_eq!(acknowledged.len() + refusals, 1 + MANY);
    assert!(acknowledged.len() > QUEUE, "{} were acknowledged", acknowledged.len());
    assert_eq!(stored(&service, &execution).await, acknowledged);
    let history = service.get("/stats/etl").await.expect(200);
    assert_eq!(history["steps"][0]["execution_count"], acknowledged.len());
    assert_eq!(service.get("/health").await.expect(200)["status"], "healthy");
    service.took(&execution, "load", 100).await;
}

async fn start_over_a_small_queue(folder: &tempfile::TempDir, door: &Arc<Door>) -> Service {
    // A file, because a database in memory has no other connection to read by.
    let file = Location::Embedded(folder.path().join("tracer.db"));
    let config = StoreConfig { writer: WriterConfig { queue: QUEUE, batch: 2 }, ..StoreConfig::at(file) };
    start_over(
        &settings(),
        config,
        Policy::new(StepPolicy { rule: door.clone(), ..StepPolicy::default() }, []),
    )
    .await
}

/// Records a step whole.
fn step(service: &Service, execution: &str) -> impl Future<Output = Answer> + use<> {
    let body = json!({"step_name": "load", "duration_ms": 100});
    send(service.request("POST", &format!("{execution}/steps")).json(&body))
}

#[track_caller]
fn expect_refusal(answer: &Answer) {
    assert_eq!(answer.problem(503), "The store is unavailable: too many writes are waiting. Try again.");
    assert_eq!(answer.header("retry-after"), "1");
}

async fn expect_everything_else_to_be_answered(service: &Service, execution: &str) {
    assert_eq!(service.get("/health/live").await.expect(200), json!({"status": "alive"}));
    assert_eq!(service.get("/health/ready").await.expect(200), json!({"status": "ready"}));
    let health = service.get("/health").await.expect(200);
    assert_eq!(health["status"], "degraded");
    let full = json!({"status": "degraded", "detail": null, "queued": QUEUE, "capacity": QUEUE});
    assert_eq!(health["checks"]["writer"], full);
    for path in ["/workflows", execution, &format!("{execution}/steps"), "/stats", "/stats/etl"] {
        service.get(path).await.expect(200);
    }
    assert_eq!(service.get("/metrics").await.status, 200);
}

/// Returns the ids of an execution's steps.
async fn stored(service: &Service, execution: &str) -> BTreeSet<String> {
    let page = service.get(&format!("{execution}/steps?limit=1000")).await.expect(200);
    page["steps"].as_array().unwrap().iter().map(id_of).collect()
}

fn id_of(step: &Value) -> String {
    step["step_id"].as_str().unwrap().to_owned()
}
