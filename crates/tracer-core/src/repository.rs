//! The seams that stores implement.
//!
//! What one promises: a recorded command is durable when it is answered, and carried out once;
//! reads see everything that was answered before they began; a failure says whether trying again
//! can help.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use async_trait::async_trait;
use thiserror::Error;

use crate::baseline::Baseline;
use crate::clock::Clock;
use crate::cohort::BaselineKey;
use crate::detect::{Bottleneck, Severity};
use crate::eta::PastRun;
use crate::event::WorkflowEvent;
use crate::execution::{Execution, ExecutionStatus};
use crate::failures::FailureRepository;
use crate::features::Features;
use crate::ids::{ExecutionId, StepId};
use crate::live::ChangeFeed;
use crate::name::{CorrelationId, StepName, WorkflowName};
use crate::outbox::{IncidentRepository, Outbox};
use crate::record::{Answer, Refusal, Request, StepKey, TendIncident};
use crate::services::ServiceRepository;
use crate::similarity::ErrorWords;
use crate::slo::SloRepository;
use crate::step::Step;
use crate::time::{Micros, Timestamp};

/// Why a repository did not do what it was asked.
#[derive(Debug, Error)]
pub enum RepositoryError {
    /// The domain forbids it: nothing changed, and trying again changes nothing either.
    #[error("refused")]
    Refused(#[from] Refusal),
    /// The store is away or full: trying again may help. It is not known whether a write that was
    /// under way took place, unless the queue was full.
    #[error("the store is unavailable: {reason}")]
    Unavailable {
        /// What stands in the way, without the cause.
        reason: &'static str,
        /// The cause, for the log.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// A bug, here or in the store.
    #[error("the store failed: {context}")]
    Internal {
        /// What was being done.
        context: &'static str,
        /// The cause, for the log.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
}

/// Which executions to list. All conditions must hold; none means all executions.
#[derive(Clone, Debug, Default)]
pub struct ExecutionFilter {
    /// Of this workflow.
    pub workflow: Option<WorkflowName>,
    /// In this state.
    pub status: Option<ExecutionStatus>,
    /// With this id of the client's own.
    pub correlation_id: Option<CorrelationId>,
    /// Started at or after.
    pub started_after: Option<Timestamp>,
    /// Started before.
    pub started_before: Option<Timestamp>,
    /// Ended, and took at least so long.
    pub min_duration: Option<Micros>,
    /// Ended, and took at most so long.
    pub max_duration: Option<Micros>,
    /// With a step judged at least so bad.
    pub bottleneck: Option<Severity>,
    /// With these attributes: a value matches a text, a number or a truth value written like it.
    pub attributes: Vec<(String, String)>,
    /// With a failure, of its own or of a step, that has all of these words.
    pub error: Option<ErrorWords>,
}

/// Where a listing of executions, newest start first, goes on: behind this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExecutionCursor {
    /// Its start.
    pub started_at: Timestamp,
    /// Its id, which decides between equal starts.
    pub id: ExecutionId,
}

/// Where a listing of steps, earliest start first, goes on: behind this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepCursor {
    /// Its start.
    pub started_at: Timestamp,
    /// Its id, which decides between equal starts.
    pub id: StepId,
}

/// What is needed to name every bottleneck of an execution.
#[derive(Clone, Debug)]
pub struct BottleneckSteps {
    /// The workflow.
    pub workflow: WorkflowName,
    /// What the execution says that may explain how long its steps take.
    pub features: Features,
    /// Ended steps with a verdict, earliest start first; at most [`crate::limits::STEPS_SHOWN`].
    pub judged: Vec<Step>,
    /// Running steps, earliest start first; at most [`crate::limits::STEPS_SHOWN`].
    pub running: Vec<Step>,
    /// The verdict on the execution as a whole, while it is silent.
    pub stalled: Option<Bottleneck>,
}

/// The histories of a workflow.
#[derive(Clone, Debug)]
pub struct WorkflowHistory {
    /// Of its executions as wholes.
    pub executions: Baseline,
    /// How many of its executions run now.
    pub running: u64,
    /// Of its steps, by name.
    pub steps: Vec<(StepName, Baseline)>,
}

/// A workflow among others.
#[derive(Clone, Debug)]
pub struct WorkflowSummary {
    /// Its name.
    pub name: WorkflowName,
    /// The history of its executions as wholes.
    pub executions: Baseline,
    /// How many of its executions run now.
    pub running: u64,
    /// When one last started or ended.
    pub last_activity: Option<Timestamp>,
}

/// Records and finds executions and steps.
#[async_trait]
pub trait ExecutionRepository: Send + Sync {
    /// Carries out a command in a batch with others, and answers when it is durable.
    async fn record(&self, request: Request) -> Result<Answer, RepositoryError>;

    /// Returns an execution with its payloads; none if the id is unknown.
    async fn execution(&self, id: ExecutionId) -> Result<Option<Execution>, RepositoryError>;

    /// Returns at most `limit` steps of an execution, earliest start first.
    async fn steps(
        &self,
        id: ExecutionId,
        after: Option<StepCursor>,
        limit: usize,
    ) -> Result<Vec<Step>, RepositoryError>;

    /// Returns at most `limit` events of an execution from behind the one of number `after`, in the order of their
    /// numbers, which begin with 1.
    async fn events(
        &self,
        id: ExecutionId,
        after: u32,
        limit: usize,
    ) -> Result<Vec<WorkflowEvent>, RepositoryError>;

    /// Returns the steps that are, or may be, bottlenecks; none if the id is unknown.
    async fn bottleneck_steps(&self, id: ExecutionId) -> Result<Option<BottleneckSteps>, RepositoryError>;

    /// Returns at most `limit` executions, newest start first, without their payloads.
    async fn executions(
        &self,
        filter: &ExecutionFilter,
        after: Option<ExecutionCursor>,
        limit: usize,
    ) -> Result<Vec<Execution>, RepositoryError>;

    /// Returns the newest executions of a workflow that completed, newest start first, with the times of
    /// their steps: at most `limit` of the newest [`crate::limits::ETA_RUNS_LOOKED_AT`], and only so many
    /// that their steps, `most_steps` in all, are complete.
    async fn past_runs(
        &self,
        workflow: &WorkflowName,
        limit: usize,
        most_steps: usize,
    ) -> Result<Vec<PastRun>, RepositoryError>;

    /// Returns how many executions run, by workflow, most first; at most `limit` workflows.
    async fn running(&self, limit: usize) -> Result<Vec<(WorkflowName, u64)>, RepositoryError>;
}

/// Finds what is normal.
#[async_trait]
pub trait BaselineRepository: Send + Sync {
    /// Returns the histories of a workflow; none if nothing was ever recorded under the name.
    async fn workflow_history(
        &self,
        workflow: &WorkflowName,
    ) -> Result<Option<WorkflowHistory>, RepositoryError>;

    /// Returns the baselines of these keys, as far as there are any.
    async fn baselines(
        &self,
        keys: &BTreeSet<BaselineKey>,
    ) -> Result<HashMap<BaselineKey, Baseline>, RepositoryError>;

    /// Returns at most `limit` workflows by name, from behind `after`.
    async fn workflows(
        &self,
        after: Option<&WorkflowName>,
        limit: usize,
    ) -> Result<Vec<WorkflowSummary>, RepositoryError>;
}

/// What retention keeps, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Executions and steps, counted from when they were recorded.
    pub detail: Micros,
    /// Closed days of baselines, counted back from the newest one of their key, so that history that
    /// was imported is not old on arrival. The newest [`crate::baseline::SEGMENTS_READ`] of a key,
    /// which its window may reach back to, are kept in any case.
    pub aggregates: Micros,
    // Incidents that are resolved, with their histories and what was told of them, are kept as aggregates are,
    // by when they ended; settled notifications of others as detail is. Groups of failures go once none was recorded
    // for the time that aggregates are kept; in which executions they were, with these. Counts of objectives are kept as
    // long as their windows reach (`crate::slo`).
}

/// What retention removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Executions deleted, where they are deleted by row.
    pub executions: u64,
    /// Partitions dropped, where there are any.
    pub partitions: u64,
    /// Closed days of baselines.
    pub segments: u64,
    /// Idempotency keys that held no more.
    pub idempotency_keys: u64,
    /// Incidents that are over.
    pub incidents: u64,
    /// Notifications that were sent, refused or dropped.
    pub notifications: u64,
    /// Groups of failures that were not seen for long.
    pub failure_groups: u64,
}

/// What runs and is to be looked at: its `judge_at` has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// Steps, the longest overdue first.
    pub steps: Vec<StepKey>,
    /// Executions, the longest overdue first.
    pub executions: Vec<ExecutionId>,
    /// Incidents, the longest overdue first.
    pub incidents: Vec<TendIncident>,
    /// Traces, the longest overdue first.
    pub traces: Vec<ExecutionId>,
    /// When the longest overdue of all was to be looked at; none if nothing is due.
    pub since: Option<Timestamp>,
}

impl Due {
    /// Puts together what was found, each with when it was to be looked at.
    #[must_use]
    pub fn of(
        steps: Vec<(Timestamp, StepKey)>,
        executions: Vec<(Timestamp, ExecutionId)>,
        incidents: Vec<(Timestamp, TendIncident)>,
        traces: Vec<(Timestamp, ExecutionId)>,
    ) -> Self {
        let first = [
            steps.first().map(|first| first.0),
            executions.first().map(|first| first.0),
            incidents.first().map(|first| first.0),
            traces.first().map(|first| first.0),
        ];
        Self {
            steps: steps.into_iter().map(|(_, key)| key).collect(),
            executions: executions.into_iter().map(|(_, id)| id).collect(),
            incidents: incidents.into_iter().map(|(_, incident)| incident).collect(),
            traces: traces.into_iter().map(|(_, id)| id).collect(),
            since: first.into_iter().flatten().min(),
        }
    }
}

/// How a store is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreHealth {
    /// Commands waiting for a batch.
    pub queued: usize,
    /// Commands that may wait.
    pub queue_capacity: usize,
    /// Why the last batch failed, if it did and not long ago: the store answers and takes no writes, as
    /// with a full disk.
    pub writes_fail: Option<&'static str>,
    /// Workflows that have had more step names than may have baselines
    /// ([`crate::limits::STEP_NAMES_PER_WORKFLOW`]) since this process opened the store.
    pub workflows_over_step_limit: u64,
}

/// Keeps a store in order.
#[async_trait]
pub trait Upkeep: Send + Sync {
    /// Asks the database for a sign of life, through the pool that requests use; fails too when
    /// [`StoreHealth::writes_fail`].
    async fn ping(&self) -> Result<(), RepositoryError>;

    /// Returns how the store is; fails if the database gives no sign of life.
    async fn health(&self) -> Result<StoreHealth, RepositoryError>;

    /// Makes the partitions of this month and the next ones; nothing where there are no partitions.
    async fn prepare(&self, now: Timestamp) -> Result<(), RepositoryError>;

    /// Removes what has been kept long enough, in small portions.
    async fn prune(&self, now: Timestamp, retention: Retention) -> Result<Pruned, RepositoryError>;

    /// Returns at most `limit` running executions that have not been written to, and none of whose
    /// steps has, since `before`.
    async fn silent_since(
        &self,
        before: Timestamp,
        limit: usize,
    ) -> Result<Vec<ExecutionId>, RepositoryError>;

    /// Returns at most `limit` running steps, as many running executions, and as many incidents, that were to be looked at
    /// at `now` or before. What it costs grows with what is due, not with what is stored or runs.
    async fn due(&self, now: Timestamp, limit: usize) -> Result<Due, RepositoryError>;

    /// Writes what was accepted, and refuses what comes after; returns when all of it is answered.
    async fn shut_down(&self);
}

/// A store: everything that is kept, and the clock that its replicas share.
pub trait Repository:
    ExecutionRepository
    + BaselineRepository
    + FailureRepository
    + IncidentRepository
    + Outbox
    + ServiceRepository
    + SloRepository
    + ChangeFeed
    + Upkeep
{
    /// Returns the clock by which all replicas on this store stamp.
    fn clock(&self) -> Arc<dyn Clock>;

    /// Returns what kind of store it is, as people call it: `PostgreSQL`, `embedded SQLite`.
    fn kind(&self) -> &'static str;
}
