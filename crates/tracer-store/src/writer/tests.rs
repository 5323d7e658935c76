use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Semaphore;
use tracer_core::name::{StepName, WorkflowName};
use tracer_core::record::{Command, Outcome, Rebaseline};
use tracer_core::time::Timestamp;

use super::*;

/// Writes a line per batch, as soon as the test lets it go on.
struct Journal {
    batches: Mutex<Vec<Vec<String>>>,
    gate: Semaphore,
    away: AtomicBool,
}

impl Journal {
    fn new(open: bool) -> Arc<Self> {
        let permits = if open { Semaphore::MAX_PERMITS } else { 0 };
        Arc::new(Self {
            batches: Mutex::default(),
            gate: Semaphore::new(permits),
            away: AtomicBool::new(false),
        })
    }

    fn batches(&self) -> Vec<String> {
        self.batches.lock().unwrap().iter().map(|batch| batch.join("+")).collect()
    }
}

#[async_trait]
impl BatchStore for Journal {
    async fn write(&self, batch: &[Request]) -> Result<BatchAnswers, RepositoryError> {
        self.gate.acquire().await.unwrap().forget();
        if self.away.load(Ordering::SeqCst) {
            return Err(unavailable("away"));
        }
        let names: Vec<String> = batch.iter().map(name_of).collect();
        if names.iter().any(|name| name == "poison") {
            return Err(RepositoryError::Internal { context: "poisoned", source: None });
        }
        assert!(!names.iter().any(|name| name == "panic"), "as the test wants it");
        self.batches.lock().unwrap().push(names);
        Ok(batch.iter().map(|_| Ok(Answer { outcome: Outcome::Rebaselined, fresh: true })).collect())
    }
}

fn request(name: &str) -> Request {
    let step = StepName::new(name).unwrap();
    Request {
        command: Command::Rebaseline(Rebaseline { workflow: WorkflowName::new("w").unwrap(), step }),
        idempotency: None,
        received_at: Timestamp::from_millis(0),
    }
}

fn keyed(name: &str, scope: u8) -> Request {
    let idempotency = tracer_core::record::Idempotency { scope: [scope; 16], body: [0; 16] };
    Request { idempotency: Some(idempotency), ..request(name) }
}

fn name_of(request: &Request) -> String {
    let Command::Rebaseline(rebaseline) = &request.command else { panic!("no test sends {request:?}") };
    rebaseline.step.as_str().to_owned()
}

/// Queues commands in order and returns what is yet to be answered.
fn queue(
    writer: &Arc<Writer>,
    requests: Vec<Request>,
) -> Vec<tokio::task::JoinHandle<Result<Answer, RepositoryError>>> {
    let send = |request| {
        let writer = Arc::clone(writer);
        tokio::spawn(async move { writer.record(request).await })
    };
    requests.into_iter().map(send).collect()
}

/// Lets every other task run until it waits.
async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

fn writer(store: &Arc<Journal>, queue: usize, batch: usize) -> Arc<Writer> {
    // On the test's own thread, so that what it waits for is in its hands.
    let (writer, gatherer) = Writer::new(store.clone(), &WriterConfig { queue, batch });
    let (closing, ended) = (writer.closing.clone(), writer.ended.clone());
    tokio::spawn(async move {
        gatherer.run(closing).await;
        ended.cancel();
    });
    Arc::new(writer)
}

#[tokio::test]
async fn what_arrives_during_a_commit_shares_the_next_one() {
    let store = Journal::new(false);
    let writer = writer(&store, 16, 3);
    let first = queue(&writer, vec![request("a")]);
    settle().await;
    let rest = queue(&writer, ["b", "c", "d", "e"].map(request).into());
    settle().await;
    store.gate.add_permits(3);
    for answer in first.into_iter().chain(rest) {
        assert!(answer.await.unwrap().unwrap().fresh);
    }
    assert_eq!(store.batches(), ["a", "b+c+d", "e"]);
}

#[tokio::test]
async fn commands_that_change_the_same_row_take_turns_in_order() {
    let store = Journal::new(false);
    let writer = writer(&store, 16, 8);
    let first = queue(&writer, vec![request("a")]);
    settle().await;
    let rest = queue(&writer, vec![keyed("b1", 1), keyed("b2", 1), keyed("b3", 1), request("c")]);
    settle().await;
    store.gate.add_permits(4);
    for answer in first.into_iter().chain(rest) {
        answer.await.unwrap().unwrap();
    }
    assert_eq!(store.batches(), ["a", "b1+c", "b2", "b3"]);
}

#[tokio::test]
async fn a_command_that_breaks_its_batch_is_refused_alone() {
    for poison in ["poison", "panic"] {
        let store = Journal::new(false);
        let writer = writer(&store, 16, 8);
        let mut all = queue(&writer, vec![request("a")]);
        settle().await;
        all.extend(queue(&writer, ["b", poison, "c"].map(request).into()));
        settle().await;
        store.gate.add_permits(5);
        let mut answers = Vec::new();
        for answer in all {
            answers.push(answer.await.unwrap().is_ok());
        }
        assert_eq!(answers, [true, true, false, true]);
        assert_eq!(store.batches(), ["a", "b", "c"]);
    }
}

#[tokio::test]
async fn a_full_queue_refuses_at_once_and_loses_nothing_it_accepted() {
    let store = Journal::new(false);
    let writer = writer(&store, 2, 8);
    let first = queue(&writer, vec![request("a")]);
    settle().await;
    let waiting = queue(&writer, ["b", "c"].map(request).into());
    settle().await;
    assert_eq!((writer.queued(), writer.capacity()), (2, 2));
    let refused = writer.record(request("d")).await;
    assert!(matches!(refused, Err(RepositoryError::Unavailable { .. })), "{refused:?}");
    store.gate.add_permits(2);
    for answer in first.into_iter().chain(waiting) {
        answer.await.unwrap().unwrap();
    }
    assert_eq!(store.batches(), ["a", "b+c"]);
}

#[tokio::test]
async fn a_store_that_is_away_fails_its_batch_and_the_next_one_is_tried() {
    let store = Journal::new(true);
    let writer = writer(&store, 16, 8);
    store.away.store(true, Ordering::SeqCst);
    let failed = writer.record(request("a")).await;
    assert!(matches!(failed, Err(RepositoryError::Unavailable { reason: "away", .. })), "{failed:?}");
    assert!(writer.failing() == Some("away") && writer.check().is_err());
    store.away.store(false, Ordering::SeqCst);
    writer.record(request("b")).await.unwrap();
    assert!(writer.failing().is_none() && writer.check().is_ok());
    assert_eq!(store.batches(), ["b"]);
}

#[tokio::test]
async fn shutting_down_answers_what_was_accepted_and_refuses_the_rest() {
    let store = Journal::new(false);
    let writer = writer(&store, 16, 1);
    let accepted = queue(&writer, ["a", "b", "c"].map(request).into());
    settle().await;
    let closing = tokio::spawn({
        let writer = Arc::clone(&writer);
        async move { writer.shut_down().await }
    });
    settle().await;
    store.gate.add_permits(3);
    closing.await.unwrap();
    for answer in accepted {
        answer.await.unwrap().unwrap();
    }
    assert!(matches!(writer.record(request("d")).await, Err(RepositoryError::Unavailable { .. })));
    assert_eq!(store.batches(), ["a", "b", "c"]);
    writer.shut_down().await;
}
