//! Gathers commands into batches: group commit, shared by both stores.
//!
//! While one batch is being committed, the commands that arrive gather for the next one: a client
//! alone pays one commit and waits for nobody, a thousand clients share one. Where commits are slow,
//! the next batch begins a little later, once the clients of the last one had time to come back:
//! otherwise half of them would always just have missed it. There is nothing to tune. The writer has a thread of its own, and with it what talks to the
//! database: from a command's arrival to its answer, only those two cross threads.
//!
//! Invariants: a command is answered exactly once, after its batch is durable; commands of one batch
//! change different rows ([`Claims`]); a command that breaks its batch is refused alone.
//!
//! Not here: what a batch does (`tracer_core::record`), and how it is committed ([`BatchStore`]).

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures_util::FutureExt;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracer_core::chain::Chain;
use tracer_core::record::{Answer, Claims, Refusal, Request};
use tracer_core::repository::RepositoryError;

use crate::config::WriterConfig;
use crate::metrics;

/// What a batch's commands become, in their order.
pub(crate) type BatchAnswers = Vec<Result<Answer, Refusal>>;

/// Commits batches.
#[async_trait]
pub(crate) trait BatchStore: Send + Sync + 'static {
    /// Carries out one batch in one transaction.
    ///
    /// Runs on the writer's own thread, and may block it. May be called again with the same commands
    /// after a failure, even one in which it is not known whether the transaction committed: their ids
    /// were minted before.
    async fn write(&self, batch: &[Request]) -> Result<BatchAnswers, RepositoryError>;
}

/// How long a failed batch is held against the store. It must end by itself: a service that is not
/// ready is sent no writes, and only a write can show that writes succeed again.
const FAILURE_HOLDS: Duration = Duration::from_secs(10);

/// Batches that take less are not worth waiting for.
const SLOW: Duration = Duration::from_millis(1);
/// The part of a batch's time for which the next one waits at most, as a divisor, and the limit to that.
const WAIT_SHARE: u32 = 4;
const LONGEST_WAIT: Duration = Duration::from_millis(5);
/// A batch that is about so many steps takes no further command: whoever waits for one of them waits for all.
const MOST_STEPS: usize = 8_192;
/// The part of that for which nobody must have come for the waiting to end, as a divisor.
const PAUSES: u32 = 4;

/// The entrance to the store for everything that writes.
#[derive(Debug)]
pub(crate) struct Writer {
    queue: mpsc::Sender<Waiting>,
    last_failure: LastFailure,
    closing: CancellationToken,
    /// Cancelled once the thread has answered everything and ends.
    ended: CancellationToken,
}

/// When and why the last batch failed; none since one was committed.
type LastFailure = Arc<Mutex<Option<(Instant, &'static str)>>>;

/// A command that waits for its batch.
#[derive(Debug)]
struct Waiting {
    request: Request,
    since: Instant,
    answer: Reply,
}

/// Where a command's answer goes. A client that has gone away has its command carried out all the same.
type Reply = oneshot::Sender<Result<Answer, RepositoryError>>;

/// Commands that are carried out together, and where their answers go.
#[derive(Debug, Default)]
struct Batch {
    requests: Vec<Request>,
    replies: Vec<Reply>,
}

impl Writer {
    /// Starts the writer's thread.
    ///
    /// # Errors
    /// If the system has none left.
    pub(crate) fn start(store: Arc<dyn BatchStore>, config: &WriterConfig) -> std::io::Result<Self> {
        let (writer, gatherer) = Self::new(store, config);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (closing, ended) = (writer.closing.clone(), writer.ended.clone().drop_guard());
        let run = move || {
            runtime.block_on(gatherer.run(closing));
            drop(ended);
        };
        std::thread::Builder::new().name("tracer-writer".into()).spawn(run)?;
        Ok(writer)
    }

    fn new(store: Arc<dyn BatchStore>, config: &WriterConfig) -> (Self, Gatherer) {
        let (queue, incoming) = mpsc::channel(config.queue.max(1));
        let last_failure = LastFailure::default();
        let gatherer = Gatherer {
            store,
            incoming,
            held_back: VecDeque::new(),
            most: config.batch.max(1),
            took: Duration::ZERO,
            crowd: 0,
            failed: 0,
            last_failure: Arc::clone(&last_failure),
        };
        let (closing, ended) = (CancellationToken::new(), CancellationToken::new());
        (Self { queue, last_failure, closing, ended }, gatherer)
    }

    /// Queues a command and waits until it is durable or refused.
    ///
    /// # Errors
    /// [`RepositoryError::Unavailable`] at once when the queue is full or the writer is shut down;
    /// otherwise what became of the command. Dropping the future does not take the command back.
    pub(crate) async fn record(&self, request: Request) -> Result<Answer, RepositoryError> {
        let (answer, answered) = oneshot::channel();
        let waiting = Waiting { request, since: Instant::now(), answer };
        self.queue.try_send(waiting).map_err(|error| match error {
            TrySendError::Full(_) => {
                metrics::queue_full();
                unavailable("too many writes are waiting")
            }
            TrySendError::Closed(_) => unavailable("the service is shutting down"),
        })?;
        answered.await.unwrap_or_else(|_| Err(unavailable("the writer has stopped")))
    }

    /// Returns how many commands wait.
    pub(crate) fn queued(&self) -> usize {
        self.queue.max_capacity() - self.queue.capacity()
    }

    /// Returns how many commands may wait.
    pub(crate) fn capacity(&self) -> usize {
        self.queue.max_capacity()
    }

    /// Returns why the last batch failed, if it did and not long ago.
    pub(crate) fn failing(&self) -> Option<&'static str> {
        let last_failure = *self.last_failure.lock().unwrap_or_else(PoisonError::into_inner);
        last_failure.filter(|(at, _)| at.elapsed() < FAILURE_HOLDS).map(|(_, reason)| reason)
    }

    /// Fails while [`Writer::failing`].
    ///
    /// # Errors
    /// [`RepositoryError::Unavailable`].
    pub(crate) fn check(&self) -> Result<(), RepositoryError> {
        self.failing().map_or(Ok(()), |reason| Err(unavailable(reason)))
    }

    /// Refuses what comes from now on, and returns when everything accepted before is answered.
    pub(crate) async fn shut_down(&self) {
        self.closing.cancel();
        self.ended.cancelled().await;
    }
}

fn unavailable(reason: &'static str) -> RepositoryError {
    RepositoryError::Unavailable { reason, source: None }
}

/// The task behind the queue.
struct Gatherer {
    store: Arc<dyn BatchStore>,
    incoming: mpsc::Receiver<Waiting>,
    /// Commands that could not share a batch with one before them; first in the next one.
    held_back: VecDeque<Waiting>,
    most: usize,
    /// How long the last batch took.
    took: Duration,
    /// How many commands were under way when it ended: its own, and those that waited.
    crowd: usize,
    /// Batches that failed since one was last committed.
    failed: u64,
    last_failure: LastFailure,
}

impl Gatherer {
    async fn run(mut self, closing: CancellationToken) {
        loop {
            if closing.is_cancelled() {
                self.incoming.close();
            }
            if self.held_back.is_empty() {
                let first = tokio::select! {
                    first = self.incoming.recv() => first,
                    () = closing.cancelled(), if !self.incoming.is_closed() => continue,
                };
                let Some(first) = first else { return };
                self.held_back.push_back(first);
            }
            self.await_the_crowd();
            let batch = self.gather();
            metrics::queued(self.incoming.len());
            let (begun, commands) = (Instant::now(), batch.requests.len());
            self.commit(batch).await;
            self.took = begun.elapsed();
            self.crowd = commands + self.waiting();
        }
    }

    /// Waits while those keep coming who were under way a moment ago. Blocks the thread, on which
    /// nothing goes on between two batches, because timers of the runtime are ten times as coarse.
    fn await_the_crowd(&self) {
        if self.took < SLOW {
            return;
        }
        let (begun, longest) = (Instant::now(), (self.took / WAIT_SHARE).min(LONGEST_WAIT));
        let mut here = self.waiting();
        while here < self.crowd.min(self.most) && begun.elapsed() < longest {
            std::thread::sleep(longest / PAUSES);
            let now_here = self.waiting();
            if now_here == here {
                return;
            }
            here = now_here;
        }
    }

    fn waiting(&self) -> usize {
        self.incoming.len() + self.held_back.len()
    }

    /// Takes what waits, in order, as far as it may share a batch.
    fn gather(&mut self) -> Batch {
        let mut claims = Claims::default();
        let mut batch = Batch::default();
        let mut waited = Vec::new();
        let mut held_back = VecDeque::new();
        // What is held back is bounded too: it counts towards the size of the batch.
        let mut steps = 0;
        while batch.requests.len() + held_back.len() < self.most && steps < MOST_STEPS {
            let next = self.held_back.pop_front().or_else(|| self.incoming.try_recv().ok());
            let Some(waiting) = next else { break };
            if claims.admit(&waiting.request) {
                steps += waiting.request.steps();
                batch.requests.push(waiting.request);
                batch.replies.push(waiting.answer);
                waited.push(waiting.since.elapsed());
            } else {
                held_back.push_back(waiting);
            }
        }
        held_back.append(&mut self.held_back);
        self.held_back = held_back;
        metrics::batch_begins(waited.into_iter());
        batch
    }

    async fn commit(&mut self, batch: Batch) {
        match self.write(&batch.requests).await {
            Ok(answers) => {
                self.note_success();
                for (reply, answer) in batch.replies.into_iter().zip(answers) {
                    drop(reply.send(answer.map_err(RepositoryError::Refused)));
                }
            }
            Err(error @ RepositoryError::Internal { .. }) if batch.requests.len() > 1 => {
                let commands = batch.requests.len();
                tracing::warn!(commands, error = %Chain(&error), "batch failed, its commands are retried alone");
                metrics::batch_isolated();
                self.commit_alone(batch).await;
            }
            Err(error) => {
                self.note_failure(&error);
                fail_all(batch.replies, &error);
            }
        }
    }

    /// Logs the first failure of a series: a store that is away fails every batch for as long.
    fn note_failure(&mut self, error: &RepositoryError) {
        self.failed += 1;
        *self.last_failure.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((Instant::now(), reason_of(error)));
        if self.failed == 1 {
            tracing::error!(event = "error", error = %Chain(error), "writes fail");
        }
    }

    fn note_success(&mut self) {
        if self.failed > 0 {
            tracing::info!(failed_batches = self.failed, "writes succeed again");
            self.failed = 0;
            *self.last_failure.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }

    /// Writes a batch; a panic in it fails this batch, and not every write from then on.
    async fn write(&self, batch: &[Request]) -> Result<BatchAnswers, RepositoryError> {
        let panicked =
            |_| Err(RepositoryError::Internal { context: "writing a batch panicked", source: None });
        AssertUnwindSafe(self.store.write(batch)).catch_unwind().await.unwrap_or_else(panicked)
    }

    /// Commits every command by itself, so that one that cannot be stored takes no other with it.
    async fn commit_alone(&self, batch: Batch) {
        for (request, reply) in batch.requests.iter().zip(batch.replies) {
            let answer = match self.write(std::slice::from_ref(request)).await {
                Ok(answers) => match answers.into_iter().next() {
                    Some(answer) => answer.map_err(RepositoryError::Refused),
                    None => {
                        Err(RepositoryError::Internal { context: "a batch went unanswered", source: None })
                    }
                },
                Err(error) => Err(error),
            };
            drop(reply.send(answer));
        }
    }
}

fn reason_of(error: &RepositoryError) -> &'static str {
    match error {
        RepositoryError::Unavailable { reason, .. } => reason,
        RepositoryError::Internal { .. } | RepositoryError::Refused(_) => "the store fails: the log says why",
    }
}

/// Gives every command of a batch the same error, without the cause, which was logged.
fn fail_all(replies: Vec<Reply>, error: &RepositoryError) {
    for reply in replies {
        let copy = match error {
            RepositoryError::Refused(refusal) => RepositoryError::Refused(refusal.clone()),
            RepositoryError::Unavailable { reason, .. } => unavailable(reason),
            RepositoryError::Internal { context, .. } => RepositoryError::Internal { context, source: None },
        };
        drop(reply.send(Err(copy)));
    }
}

#[cfg(test)]
mod tests;
