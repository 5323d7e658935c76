//! The PostgreSQL store, for production: version 15 or newer, one or many replicas.
//!
//! Writes come in batches from the shared writer (`crate::writer`), each one transaction (`batch`) on a session of its
//! own; reads go to a pool of read-only sessions. Everything that replicas share is in the database: rows, locks and
//! the clock.
//!
//! Connection strings are those of libpq; `tls` says what `sslmode` means here, `pool` which pooling works.
//!
//! Invariant: what was answered is durable (`synchronous_commit` is left as it is), and nothing here needs this replica
//! to be the only one.
//! Not here: what commands mean (`tracer_core::record`), and the same for SQLite (`crate::embedded`).

mod alerts;
mod baselines;
mod batch;
mod clock;
mod error;
mod events;
mod executions;
mod failures;
mod idempotency;
mod incidents;
mod listing;
mod live;
mod migrate;
mod outbox;
mod partitions;
mod pool;
mod reads;
mod retention;
mod row;
mod running;
mod runs;
mod services;
mod slo;
mod steps;
mod tls;
mod traces;
mod tx;
mod url;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio_util::sync::{CancellationToken, DropGuard};
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

use crate::config::StoreConfig;
use crate::error::OpenError;
use crate::writer::Writer;
use batch::Batches;
use clock::DatabaseClock;
use live::Live;
use pool::{Connector, ReadPool, Role};

/// Retention and partitions wait longer for a connection than a request does: nobody waits for them.
const UPKEEP_TIMEOUT: Duration = Duration::from_secs(10);

struct PostgresStore {
    connector: Connector,
    pool: ReadPool,
    writer: Writer,
    batches: Arc<Batches>,
    live: Live,
    clock: Arc<dyn Clock>,
    /// Ends the measuring of the clock with the store.
    _background: DropGuard,
}

/// Opens the store: brings the tables up to date, and starts the writer.
///
/// # Errors
/// [`OpenError`] if the connection string is none, or the server cannot be reached, is too old, or refuses a migration.
pub(crate) async fn open(
    url: &str,
    config: &StoreConfig,
    policy: Arc<Policy>,
) -> Result<Arc<dyn Repository>, OpenError> {
    let mut target = url::parse(url)?;
    let tls = tls::connector(&mut target)?;
    let connector = Connector::new(target, tls, config.acquire_timeout);
    // One connection is for the batches.
    let pool = ReadPool::new(&connector, config.pool_size.saturating_sub(1));
    let cancelled = CancellationToken::new();
    let clock: Arc<dyn Clock> = match &config.clock {
        Some(clock) => clock.clone(),
        None => {
            let clock = Arc::new(DatabaseClock::default());
            clock.measure(&pool).await.map_err(error::not_opened)?;
            tokio::spawn(clock.clone().keep(pool.clone(), cancelled.clone()));
            clock
        }
    };
    migrate::run(&connector, clock.now()).await?;
    let live = Live::new();
    live.start(pool.clone(), connector.clone(), &cancelled);
    let batches = Arc::new(Batches::new(connector.clone(), policy, live.clone(), config.acquire_timeout));
    let writer = Writer::start(batches.clone(), &config.writer).map_err(OpenError::Thread)?;
    Ok(Arc::new(PostgresStore {
        connector,
        pool,
        writer,
        batches,
        live,
        clock,
        _background: cancelled.drop_guard(),
    }))
}

#[async_trait]
impl ExecutionRepository for PostgresStore {
    async fn record(&self, request: Request) -> Result<Answer, RepositoryError> {
        self.writer.record(request).await
    }

    async fn execution(&self, id: ExecutionId) -> Result<Option<Execution>, RepositoryError> {
        reads::execution(&self.pool, id).await
    }

    async fn steps(
        &self,
        id: ExecutionId,
        after: Option<StepCursor>,
        limit: usize,
    ) -> Result<Vec<Step>, RepositoryError> {
        reads::steps(&self.pool, id, after, limit).await
    }

    async fn events(
        &self,
        id: ExecutionId,
        after: u32,
        limit: usize,
    ) -> Result<Vec<WorkflowEvent>, RepositoryError> {
        events::list(&self.pool, id, after, limit).await
    }

    async fn bottleneck_steps(&self, id: ExecutionId) -> Result<Option<BottleneckSteps>, RepositoryError> {
        reads::bottleneck_steps(&self.pool, id).await
    }

    async fn executions(
        &self,
        filter: &ExecutionFilter,
        after: Option<ExecutionCursor>,
        limit: usize,
    ) -> Result<Vec<Execution>, RepositoryError> {
        listing::list(&self.pool, filter, after, limit).await
    }

    async fn past_runs(
        &self,
        workflow: &WorkflowName,
        limit: usize,
        most_steps: usize,
    ) -> Result<Vec<PastRun>, RepositoryError> {
        runs::past_runs(&self.pool, workflow, limit, most_steps).await
    }

    async fn running(&self, limit: usize) -> Result<Vec<(WorkflowName, u64)>, RepositoryError> {
        reads::running(&self.pool, limit).await
    }
}

#[async_trait]
impl BaselineRepository for PostgresStore {
    async fn workflow_history(
        &self,
        workflow: &WorkflowName,
    ) -> Result<Option<WorkflowHistory>, RepositoryError> {
        reads::workflow_history(&self.pool, workflow).await
    }

    async fn baselines(
        &self,
        keys: &BTreeSet<BaselineKey>,
    ) -> Result<HashMap<BaselineKey, Baseline>, RepositoryError> {
        reads::baselines(&self.pool, keys).await
    }

    async fn workflows(
        &self,
        after: Option<&WorkflowName>,
        limit: usize,
    ) -> Result<Vec<WorkflowSummary>, RepositoryError> {
        reads::workflows(&self.pool, after, limit).await
    }
}

#[async_trait]
impl ServiceRepository for PostgresStore {
    async fn services(&self) -> Result<Vec<String>, RepositoryError> {
        services::services(&self.pool).await
    }

    async fn operations(&self, service: &str) -> Result<Vec<Operation>, RepositoryError> {
        services::operations(&self.pool, service).await
    }

    async fn executions_of_service(
        &self,
        service: &str,
        from: Timestamp,
        until: Timestamp,
        after: Option<ExecutionCursor>,
        limit: usize,
    ) -> Result<Vec<Execution>, RepositoryError> {
        services::executions(&self.pool, service, from, until, after, limit).await
    }

    async fn service_calls(&self, first: Day, last: Day) -> Result<Vec<ServiceCalls>, RepositoryError> {
        services::calls(&self.pool, first, last).await
    }
}

#[async_trait]
impl Upkeep for PostgresStore {
    async fn ping(&self) -> Result<(), RepositoryError> {
        self.writer.check()?;
        self.pool.ping().await
    }

    async fn health(&self) -> Result<StoreHealth, RepositoryError> {
        self.pool.ping().await?;
        Ok(StoreHealth {
            queued: self.writer.queued(),
            queue_capacity: self.writer.capacity(),
            writes_fail: self.writer.failing(),
            workflows_over_step_limit: self.batches.workflows_over_step_limit(),
        })
    }

    async fn prepare(&self, now: Timestamp) -> Result<(), RepositoryError> {
        let preparing = async {
            let mut client = self.connector.connect(Role::Upkeep).await?;
            partitions::ensure(&mut client, &partitions::months_ahead(now)).await
        };
        let prepared = tokio::time::timeout(UPKEEP_TIMEOUT, preparing).await;
        let prepared = prepared.unwrap_or(Err(error::StoreError::TooLong));
        prepared.map_err(|error| error.into_repository("making partitions"))
    }

    async fn prune(&self, now: Timestamp, retention: Retention) -> Result<Pruned, RepositoryError> {
        let pruning = async {
            let client = self.connector.connect(Role::Upkeep).await?;
            retention::prune(&client, now, retention).await
        };
        pruning.await.map_err(|error| error.into_repository("retention"))
    }

    async fn silent_since(
        &self,
        before: Timestamp,
        limit: usize,
    ) -> Result<Vec<ExecutionId>, RepositoryError> {
        reads::silent_since(&self.pool, before, limit).await
    }

    async fn due(&self, now: Timestamp, limit: usize) -> Result<Due, RepositoryError> {
        reads::due(&self.pool, now, limit).await
    }

    async fn shut_down(&self) {
        self.writer.shut_down().await;
        self.batches.close();
    }
}

impl ChangeFeed for PostgresStore {
    fn follow(&self, past_bytes: usize) -> Box<dyn Follow> {
        Box::new(self.live.follow(self.connector.clone(), past_bytes))
    }
}

impl Repository for PostgresStore {
    fn clock(&self) -> Arc<dyn Clock> {
        self.clock.clone()
    }

    fn kind(&self) -> &'static str {
        "PostgreSQL"
    }
}
