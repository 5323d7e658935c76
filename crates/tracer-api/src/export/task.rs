//! The one task that exports: takes what waits, loads it, gathers its spans, sends them.
//!
//! What ends while an export is under way gathers for the next, so that many small executions share one and a lone one
//! waits for nobody.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry_proto::tonic::trace::v1::Span;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracer_core::chain::Chain;
use tracer_core::execution::Execution;
use tracer_core::ids::ExecutionId;
use tracer_core::repository::{Repository, RepositoryError, StepCursor};

use super::batch::{Batch, Origin, SPANS};
use super::queue::{ExportQueue, Item};
use super::requests::OwnRequests;
use super::send::Sender;
use super::spans;
use crate::config::ExportSettings;
use crate::metrics::export::{self as metrics, SpansOutcome};

/// The service's own name, where nothing else is set.
const OWN_SERVICE: &str = "tracer";
/// How often a store that is away is asked for an execution, and the pause before the second time, which doubles.
const LOADS: u32 = 6;
const LOAD_PAUSE: Duration = Duration::from_secs(1);

/// Everything that exporting consists of.
#[derive(Debug)]
pub struct Parts {
    /// Takes what is to be exported.
    pub queue: ExportQueue,
    /// Makes spans of the service's own requests, if they are wanted.
    pub requests: Option<OwnRequests>,
    /// To be run.
    pub exporter: Exporter,
}

/// Exports what waits.
pub struct Exporter {
    store: Arc<dyn Repository>,
    waiting: mpsc::Receiver<Item>,
    sender: Sender,
    batch: Batch,
    /// The name of the service, where it is set; an execution's own counts more.
    service: Option<String>,
    /// What is known of every service.
    known: Vec<(String, String)>,
    /// Whether the last export failed, so that a series of them is told of once.
    failing: bool,
}

impl std::fmt::Debug for Exporter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exporter").field("sender", &self.sender).finish_non_exhaustive()
    }
}

impl Exporter {
    /// Puts exporting together, as the settings have it; none if nothing is to be exported.
    ///
    /// # Errors
    /// If the certificate cannot be read, or TLS cannot be set up.
    pub fn parts(settings: &ExportSettings, store: Arc<dyn Repository>) -> anyhow::Result<Option<Parts>> {
        let Some(sender) = Sender::new(settings)? else { return Ok(None) };
        let mut known = settings.resource().map_err(anyhow::Error::msg)?;
        // The name that is set counts more than the one among the attributes.
        let named = known.iter().rposition(|(key, _)| key == "service.name").map(|at| known.remove(at).1);
        let service = Some(settings.service_name.clone()).filter(|name| !name.is_empty()).or(named);
        let (queue, waiting) = ExportQueue::new(settings.queue);
        let requests = settings.own_requests.then(|| {
            let ratio = settings.ratio().unwrap_or(1.0);
            OwnRequests::new(queue.clone(), store.clock(), settings.sampler, ratio)
        });
        metrics::start();
        let exporter =
            Self { store, waiting, sender, batch: Batch::default(), service, known, failing: false };
        Ok(Some(Parts { queue, requests, exporter }))
    }

    /// Exports until `closing` is cancelled, and then what waits by then, each export tried once. Whoever has no time
    /// for that drops the future.
    pub async fn run(mut self, closing: CancellationToken) {
        while let Some(item) = self.next(&closing).await {
            self.gather(item, &closing).await;
            while self.batch.has_room() {
                let Ok(item) = self.waiting.try_recv() else { break };
                self.gather(item, &closing).await;
            }
            metrics::waiting(self.waiting.len());
            self.flush(&closing).await;
        }
    }

    async fn next(&mut self, closing: &CancellationToken) -> Option<Item> {
        tokio::select! {
            biased;
            item = self.waiting.recv() => item,
            () = closing.cancelled() => {
                self.waiting.close();
                self.waiting.recv().await
            }
        }
    }

    async fn gather(&mut self, item: Item, closing: &CancellationToken) {
        match item {
            Item::Request(span) => {
                let service = self.service.clone().unwrap_or_else(|| OWN_SERVICE.to_owned());
                let origin = Origin { service, version: Some(env!("CARGO_PKG_VERSION").to_owned()) };
                self.add(&origin, *span, closing).await;
            }
            Item::Execution(id) => {
                if let Err(error) = self.gather_execution(id, closing).await {
                    // How many its spans are, nobody knows.
                    metrics::spans(SpansOutcome::Failed, 1);
                    tracing::warn!(event = "export", execution_id = %id, error = %Chain(&error), "an execution could not be loaded to be exported");
                }
            }
        }
    }

    /// Adds the spans of an execution, page by page: it may have any number of steps.
    async fn gather_execution(
        &mut self,
        id: ExecutionId,
        closing: &CancellationToken,
    ) -> Result<(), RepositoryError> {
        let store = Arc::clone(&self.store);
        // One that is gone was kept long enough.
        let Some(execution) = patiently(closing, || store.execution(id)).await? else { return Ok(()) };
        let trace = execution.trace.as_deref();
        if trace.is_some_and(|trace| trace.born_of_spans) {
            return Ok(());
        }
        let origin = self.origin_of(&execution);
        // Where a client's span is the root, it has been sent as the others of its client have.
        if trace.is_none_or(|trace| trace.root.is_none())
            && let Some(span) = spans::of_execution(&execution)
        {
            self.add(&origin, span, closing).await;
        }
        let mut after = None;
        loop {
            let page = patiently(closing, || store.steps(id, after, SPANS)).await?;
            let last = page.last().map(|step| StepCursor { started_at: step.started_at, id: step.id });
            let is_last = page.len() < SPANS;
            for span in page.iter().filter_map(spans::of_step) {
                self.add(&origin, span, closing).await;
            }
            match last {
                Some(last) if !is_last => after = Some(last),
                Some(_) | None => return Ok(()),
            }
        }
    }

    fn origin_of(&self, execution: &Execution) -> Origin {
        let service = spans::service_of(execution)
            .or(self.service.as_deref())
            .unwrap_or_else(|| execution.workflow.as_str())
            .to_owned();
        Origin { service, version: execution.version.as_ref().map(|version| version.as_str().to_owned()) }
    }

    async fn add(&mut self, origin: &Origin, span: Span, closing: &CancellationToken) {
        if self.batch.is_full_for(origin, &span) {
            self.flush(closing).await;
        }
        self.batch.add(origin, span);
    }

    /// Sends what is gathered.
    async fn flush(&mut self, closing: &CancellationToken) {
        if self.batch.is_empty() {
            return;
        }
        let (request, number) = self.batch.take(&self.known);
        match self.sender.deliver(&request, closing).await {
            Ok(receipt) => {
                let rejected = receipt.rejected.min(number);
                metrics::spans(SpansOutcome::Sent, number - rejected);
                metrics::spans(SpansOutcome::Rejected, rejected);
                if rejected > 0 || !receipt.message.is_empty() {
                    let message: String =
                        receipt.message.chars().filter(|c| !c.is_control()).take(500).collect();
                    tracing::warn!(event = "export", spans = number, rejected, message, "spans were refused");
                }
                if std::mem::take(&mut self.failing) {
                    tracing::info!(event = "export", "exports are taken again");
                }
            }
            Err(refusal) => {
                let outcome = match refusal {
                    super::send::Refusal::Again { .. } => SpansOutcome::Failed,
                    super::send::Refusal::Never { .. } => SpansOutcome::Rejected,
                };
                metrics::spans(outcome, number);
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::warn!(event = "export", spans = number, reason = %refusal, "spans could not be exported");
                }
            }
        }
    }
}

/// Asks a store that may be away for a while.
async fn patiently<T, F>(closing: &CancellationToken, ask: impl Fn() -> F) -> Result<T, RepositoryError>
where
    F: Future<Output = Result<T, RepositoryError>>,
{
    let mut asked = 1;
    loop {
        match ask().await {
            Err(RepositoryError::Unavailable { .. }) if asked < LOADS && !closing.is_cancelled() => {
                let pause = LOAD_PAUSE * (1 << (asked - 1));
                let _stopped = closing.run_until_cancelled(tokio::time::sleep(pause)).await;
                asked += 1;
            }
            answer => return answer,
        }
    }
}
