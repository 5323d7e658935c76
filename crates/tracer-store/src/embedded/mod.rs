//! The embedded store: SQLite in one file, for one process, with nothing to install.
//!
//! One connection writes (`connection`); others read (`readers`). What
//! is written goes through batches (`batch`) and retention (`retention`); what is read is in `reads`
//! and `listing`. Statements live with the tables they are about.
//!
//! Not here: what a command means (`tracer_core::record`), how commands become batches (`writer`).

mod alerts;
mod attributes;
mod baselines;
mod batch;
mod connection;
mod error;
mod events;
mod executions;
mod failures;
mod file;
mod idempotency;
mod incidents;
mod listing;
mod live;
mod migrate;
mod outbox;
mod readers;
mod reads;
mod retention;
mod row;
mod runs;
mod services;
mod slo;
mod steps;
mod traces;

#[cfg(test)]
mod plans;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::Transaction;
use tracer_core::baseline::Baseline;
use tracer_core::clock::Clock;
use tracer_core::cohort::BaselineKey;
use tracer_core::detect::Policy;
use tracer_core::eta::PastRun;
use tracer_core::event::WorkflowEvent;
use tracer_core::execution::Execution;
use tracer_core::ids::ExecutionId;
use tracer_core::live::{ChangeFeed, Follow};
use tracer_core::name::WorkflowName;
use tracer_core::record::{Answer, Request};
use tracer_core::repository::{
    BaselineRepository, BottleneckSteps, Due, ExecutionCursor, ExecutionFilter, ExecutionRepository, Pruned,
    Repository, RepositoryError, Retention, StepCursor, StoreHealth, Upkeep, WorkflowHistory,
    WorkflowSummary,
};
use tracer_core::services::{Operation, ServiceCalls, ServiceRepository};
use tracer_core::step::Step;
use tracer_core::time::{Day, Timestamp};

use self::connection::WriteConnection;
use self::live::Ring;
use self::readers::{Pool, Readers};
use crate::clock::SystemClock;
use crate::config::{Location, StoreConfig};
use crate::error::OpenError;
use crate::heard::Heard;
use crate::room::Full;
use crate::writer::{BatchAnswers, BatchStore, Writer};

/// Opens the store; the location says whether in a file or in memory.
///
/// # Errors
/// [`OpenError`] says what stands in the way and what to do about it.
pub(crate) async fn open(
    config: &StoreConfig,
    policy: Arc<Policy>,
) -> Result<Arc<dyn Repository>, OpenError> {
    let store = EmbeddedStore::open(config, policy).await?;
    Ok(Arc::new(store))
}

/// SQLite behind the repositories.
#[derive(Debug)]
struct EmbeddedStore {
    writer: Writer,
    readers: Readers,
    connection: WriteConnection,
    clock: Arc<dyn Clock>,
    full: Arc<Full>,
    changes: Arc<Ring>,
}

impl EmbeddedStore {
    async fn open(config: &StoreConfig, policy: Arc<Policy>) -> Result<Self, OpenError> {
        let (location, size, timeout) = (config.location.clone(), config.pool_size, config.acquire_timeout);
        let opening = tokio::task::spawn_blocking(move || match location {
            Location::Embedded(path) => open_file(&path, size, timeout),
            // PostgreSQL is opened elsewhere: it never gets here.
            Location::Memory | Location::Postgres(_) => open_memory(),
        });
        let (connection, readers) = match opening.await {
            Ok(opened) => opened?,
            Err(panicked) => return Err(OpenError::Migration(Box::new(panicked))),
        };
        let full = Arc::new(Full::default());
        let clock = config.clock.clone().unwrap_or_else(|| Arc::new(SystemClock));
        let changes = Arc::new(Ring::new(clock.now()));
        let batches = Batches {
            connection: connection.clone(),
            policy,
            full: Arc::clone(&full),
            heard: Heard::default(),
            changes: Arc::clone(&changes),
        };
        let writer = Writer::start(Arc::new(batches), &config.writer).map_err(OpenError::Thread)?;
        Ok(Self { writer, readers, connection, clock, full, changes })
    }
}

fn open_file(path: &Path, size: usize, timeout: Duration) -> Result<(WriteConnection, Readers), OpenError> {
    let failed = |source: crate::error::Cause| OpenError::File { path: path.to_owned(), source };
    let lock = file::lock(path)?;
    let mut connection = file::open_writing(path)?;
    migrate::migrate(&mut connection)?;
    let pool = Pool::open(path.to_owned(), size, timeout).map_err(|error| failed(error.into()))?;
    Ok((WriteConnection::new(connection, lock), Readers::Pool(pool)))
}

fn open_memory() -> Result<(WriteConnection, Readers), OpenError> {
    let mut connection = file::open_in_memory().map_err(|error| OpenError::Migration(error.into()))?;
    migrate::migrate(&mut connection)?;
    let connection = WriteConnection::new(connection, ());
    Ok((connection.clone(), Readers::Shared(connection)))
}

impl Drop for EmbeddedStore {
    /// Lets go of the file here, and not when the writer's task notices that it is no longer needed.
    fn drop(&mut self) {
        self.connection.close();
    }
}

/// What the writer commits its batches with.
#[derive(Debug)]
struct Batches {
    connection: WriteConnection,
    policy: Arc<Policy>,
    full: Arc<Full>,
    changes: Arc<Ring>,
    heard: Heard,
}

#[async_trait]
impl BatchStore for Batches {
    async fn write(&self, batch: &[Request]) -> Result<BatchAnswers, RepositoryError> {
        let write = |tx: &Transaction<'_>| batch::write(tx, &self.policy, batch, &self.full, &self.heard);
        let (answers, noted) = self.connection.write_here("batch", write).await?;
        self.full.note(noted.full);
        self.heard.remember(noted.marks);
        self.changes.push(noted.changes);
        Ok(answers)
    }
}

#[async_trait]
impl ExecutionRepository for EmbeddedStore {
    async fn record(&self, request: Request) -> Result<Answer, RepositoryError> {
        self.writer.record(request).await
    }

    async fn execution(&self, id: ExecutionId) -> Result<Option<Execution>, RepositoryError> {
        Ok(self.readers.read("execution", move |tx| reads::execution(tx, id)).await?)
    }

    async fn steps(
        &self,
        id: ExecutionId,
        after: Option<StepCursor>,
        limit: usize,
    ) -> Result<Vec<Step>, RepositoryError> {
        Ok(self.readers.read("steps", move |tx| reads::steps(tx, id, after, limit)).await?)
    }

    async fn events(
        &self,
        id: ExecutionId,
        after: u32,
        limit: usize,
    ) -> Result<Vec<WorkflowEvent>, RepositoryError> {
        Ok(self.readers.read("events", move |tx| events::list(tx, id, after, limit)).await?)
    }

    async fn bottleneck_steps(&self, id: ExecutionId) -> Result<Option<BottleneckSteps>, RepositoryError> {
        Ok(self.readers.read("bottleneck_steps", move |tx| reads::bottleneck_steps(tx, id)).await?)
    }

    async fn executions(
        &self,
        filter: &ExecutionFilter,
        after: Option<ExecutionCursor>,
        limit: usize,
    ) -> Result<Vec<Execution>, RepositoryError> {
        let filter = filter.clone();
        Ok(self.readers.read("executions", move |tx| listing::executions(tx, &filter, after, limit)).await?)
    }

    async fn past_runs(
        &self,
        workflow: &WorkflowName,
        limit: usize,
        most_steps: usize,
    ) -> Result<Vec<PastRun>, RepositoryError> {
        let workflow = workflow.clone();
        let read = move |tx: &Transaction<'_>| runs::past_runs(tx, &workflow, limit, most_steps);
        Ok(self.readers.read("past_runs", read).await?)
    }

    async fn running(&self, limit: usize) -> Result<Vec<(WorkflowName, u64)>, RepositoryError> {
        Ok(self.readers.read("running", move |tx| reads::running(tx, limit)).await?)
    }
}

#[async_trait]
impl BaselineRepository for EmbeddedStore {
    async fn workflow_history(
        &self,
        workflow: &WorkflowName,
    ) -> Result<Option<WorkflowHistory>, RepositoryError> {
        let workflow = workflow.clone();
        Ok(self.readers.read("workflow_history", move |tx| reads::workflow_history(tx, &workflow)).await?)
    }

    async fn baselines(
        &self,
        keys: &BTreeSet<BaselineKey>,
    ) -> Result<HashMap<BaselineKey, Baseline>, RepositoryError> {
        let keys = keys.clone();
        Ok(self.readers.read("baselines", move |tx| reads::baselines(tx, &keys)).await?)
    }

    async fn workflows(
        &self,
        after: Option<&WorkflowName>,
        limit: usize,
    ) -> Result<Vec<WorkflowSummary>, RepositoryError> {
        let after = after.cloned();
        Ok(self.readers.read("workflows", move |tx| reads::workflows(tx, after.as_ref(), limit)).await?)
    }
}

#[async_trait]
impl ServiceRepository for EmbeddedStore {
    async fn services(&self) -> Result<Vec<String>, RepositoryError> {
        Ok(self.readers.read("services", services::services).await?)
    }

    async fn operations(&self, service: &str) -> Result<Vec<Operation>, RepositoryError> {
        let service = service.to_owned();
        Ok(self.readers.read("operations", move |tx| services::operations(tx, &service)).await?)
    }

    async fn executions_of_service(
        &self,
        service: &str,
        from: Timestamp,
        until: Timestamp,
        after: Option<ExecutionCursor>,
        limit: usize,
    ) -> Result<Vec<Execution>, RepositoryError> {
        let service = service.to_owned();
        let read = move |tx: &Transaction<'_>| services::executions(tx, &service, from, until, after, limit);
        Ok(self.readers.read("executions_of_service", read).await?)
    }

    async fn service_calls(&self, first: Day, last: Day) -> Result<Vec<ServiceCalls>, RepositoryError> {
        Ok(self.readers.read("service_calls", move |tx| services::calls(tx, first, last)).await?)
    }
}

#[async_trait]
impl Upkeep for EmbeddedStore {
    async fn ping(&self) -> Result<(), RepositoryError> {
        self.writer.check()?;
        Ok(self.readers.read("ping", reads::ping).await?)
    }

    async fn health(&self) -> Result<StoreHealth, RepositoryError> {
        self.readers.read("ping", reads::ping).await?;
        Ok(StoreHealth {
            queued: self.writer.queued(),
            queue_capacity: self.writer.capacity(),
            writes_fail: self.writer.failing(),
            workflows_over_step_limit: self.full.workflows(),
        })
    }

    async fn prepare(&self, _now: Timestamp) -> Result<(), RepositoryError> {
        // There are no partitions here.
        Ok(())
    }

    async fn prune(&self, now: Timestamp, retention: Retention) -> Result<Pruned, RepositoryError> {
        Ok(retention::prune_in_portions(&self.connection, now, retention).await?)
    }

    async fn silent_since(
        &self,
        before: Timestamp,
        limit: usize,
    ) -> Result<Vec<ExecutionId>, RepositoryError> {
        Ok(self.readers.read("silent_since", move |tx| reads::silent_since(tx, before, limit)).await?)
    }

    async fn due(&self, now: Timestamp, limit: usize) -> Result<Due, RepositoryError> {
        Ok(self.readers.read("due", move |tx| reads::due(tx, now, limit)).await?)
    }

    async fn shut_down(&self) {
        self.writer.shut_down().await;
        match &self.readers {
            // The file is let go of; what reads has connections of its own.
            Readers::Pool(_) => {
                let connection = self.connection.clone();
                if tokio::task::spawn_blocking(move || connection.close()).await.is_err() {
                    tracing::warn!("closing the database file ended by a panic");
                }
            }
            // The database is the connection's: it ends with the store.
            Readers::Shared(_) => {}
        }
    }
}

impl ChangeFeed for EmbeddedStore {
    fn follow(&self, past_bytes: usize) -> Box<dyn Follow> {
        Box::new(self.changes.follow(past_bytes))
    }
}

impl Repository for EmbeddedStore {
    fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock)
    }

    fn kind(&self) -> &'static str {
        "embedded SQLite"
    }
}
