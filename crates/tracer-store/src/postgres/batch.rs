//! Batches: the five steps of `tracer_core::record` in one transaction and, as a rule, two round trips.
//!
//! 1. `BEGIN`; idempotency keys, executions, steps; baselines, where they can be foreseen (`running`);
//! 2. baselines otherwise (once more where one has to be made, once more where a day has ended, and once more for
//!    incidents, of which most batches need none);
//! 3. everything that is to be written, and `COMMIT`.
//!
//! Rows are locked class by class in this order, and within each in the order of their keys; rows are inserted in the
//! same order after all locks are held. That is what keeps batches of several replicas from deadlocking.
//!
//! A batch that met another one, or lost its connection, is replayed. When the connection is lost while committing,
//! nobody knows whether it did; the replay finds out, because ids were minted before: what is stored already is
//! repeated, not counted again.
//!
//! Invariant: a batch is answered only after a `COMMIT` that the server confirmed.
//! Not here: what the commands do (`tracer_core::record::apply`), and gathering them (`writer`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tracer_core::cohort::BaselineKey;
use tracer_core::detect::Policy;
use tracer_core::record::{self, FirstNeeds, HistoryNeeds, IncidentNeeds, Request, WorkingSet};
use tracer_core::repository::RepositoryError;
use tracer_core::time::Timestamp;

use super::error::StoreError;
use super::executions::Locks;
use super::live::Live;
use super::partitions::{self, Month};
use super::pool::{Connector, Role};
use super::row::Bits;
use super::running::Running;
use super::tx::{Session, Sessions};
use super::{
    baselines, events, executions, failures, idempotency, incidents, live, services, slo, steps, traces,
};
use crate::heard::{Heard, News};
use crate::metrics::{self, TransactionOutcome};
use crate::writer::{BatchAnswers, BatchStore};

/// What batches are called in the metrics.
const NAME: &str = "batch";
/// How long a batch may take, all replays together.
const DEADLINE: Duration = Duration::from_secs(10);
/// An import carries thousands of steps in one command: so many more may take a second longer.
const STEPS_PER_SECOND: usize = 2_000;
/// How often a batch may find rows made or removed under its hands before that must be a bug.
const SURPRISES: u32 = 8;
/// How long a batch waits before it is replayed, times the number of the replay.
const PAUSE: Duration = Duration::from_millis(20);

/// Commits batches to PostgreSQL.
pub(super) struct Batches {
    sessions: Sessions,
    connector: Connector,
    known: baselines::Known,
    running: Running,
    heard: Heard,
    policy: Arc<Policy>,
    live: Live,
    /// How long a batch whose outcome is unknown waits for the database to come back.
    patience: Duration,
}

impl Batches {
    pub(super) fn new(connector: Connector, policy: Arc<Policy>, live: Live, patience: Duration) -> Self {
        let sessions = Sessions::new(connector.clone());
        let (known, running) = (baselines::Known::default(), Running::default());
        let heard = Heard::default();
        Self { sessions, connector, known, running, heard, policy, live, patience }
    }

    /// Closes the sessions that no batch uses.
    pub(super) fn close(&self) {
        self.sessions.close();
    }

    /// Returns how many workflows have had more step names than may have baselines.
    pub(super) fn workflows_over_step_limit(&self) -> u64 {
        self.known.full().workflows()
    }

    /// Carries a batch out once. The session is kept only if its transaction has ended.
    async fn attempt(&self, session: Session, requests: &[Request]) -> Result<BatchAnswers, StoreError> {
        match self.transact(&session, requests).await {
            Ok(answers) => {
                self.sessions.give_back(session);
                Ok(answers)
            }
            Err(error) => {
                if error.is_retryable() && session.roll_back().await.is_ok() {
                    self.sessions.give_back(session);
                }
                Err(error)
            }
        }
    }

    async fn transact(&self, session: &Session, requests: &[Request]) -> Result<BatchAnswers, StoreError> {
        let foreseen =
            self.running.foresee(&self.policy, requests).filter(|needs| self.known.all_exist(needs));
        let mut set = self.begin(session, requests, foreseen.as_ref()).await?;
        let needs = HistoryNeeds::of(&self.policy, requests, &set);
        let mut loaded = baselines::Loaded::default();
        match foreseen {
            Some(foreseen) if needs.are_among(&foreseen) => {}
            // Rows are locked already, and locking others now would be out of order.
            Some(_) => return Err(StoreError::Vanished),
            None if needs.0.is_empty() => {}
            None => {
                loaded = baselines::load(session, &self.known, &needs).await?;
                set.histories = std::mem::take(&mut loaded.histories);
            }
        }
        let keys = record::segment_needs(&self.policy, requests, &set);
        baselines::load_segments(session, &keys, &mut set.histories).await?;
        let needs = IncidentNeeds::of(&self.policy, requests, &set);
        set.incidents = incidents::load(session, &needs).await?;
        let answers = record::apply(&self.policy, requests, &mut set);
        let unused = loaded.unused(&set);
        let now = requests.iter().map(|request| request.received_at).max().unwrap_or_default();
        let news = self.heard.news(&set.services, now);
        save_and_commit(session, &set, &unused, &news, now).await?;
        self.heard.remember(news.marks);
        if !set.changes.is_empty() {
            self.live.committed();
        }
        self.running.learn(&self.policy, &set);
        self.known.remember(set.histories.into_keys().filter(|key| !unused.contains(key)));
        self.known.full().note(loaded.full_without(&unused));
        Ok(answers)
    }

    /// Begins the transaction, and loads and locks what the commands name, and the baselines that are foreseen.
    async fn begin(
        &self,
        session: &Session,
        requests: &[Request],
        foreseen: Option<&HistoryNeeds>,
    ) -> Result<WorkingSet, StoreError> {
        let needs = FirstNeeds::of(requests);
        let locks = Locks::of(&needs.executions);
        let statements = &session.statements;
        let mut pipeline = session.pipeline();
        pipeline.begin();
        let now = requests.iter().map(|request| request.received_at).max().unwrap_or_default();
        let idempotency = (!needs.idempotency.is_empty()).then(|| {
            pipeline.execute(&statements.claim_idempotency, idempotency::claim(&needs.idempotency, now));
            pipeline.query(&statements.lock_idempotency, idempotency::lock(&needs.idempotency))
        });
        let locked = (!locks.lock.is_empty())
            .then(|| pipeline.query(&statements.lock_executions, vec![Box::new(locks.lock)]));
        let looked = (!locks.look.is_empty())
            .then(|| pipeline.query(&statements.look_executions, vec![Box::new(locks.look)]));
        let steps = (!needs.steps.is_empty())
            .then(|| pipeline.query(&statements.lock_steps, steps::lock(&needs.steps)));
        let closings = (!needs.closings.is_empty()).then(|| {
            let steps = pipeline.query(&statements.closing_steps, steps::of_executions(&needs.closings));
            (steps, pipeline.query(&statements.count_completed, steps::of_executions(&needs.closings)))
        });
        let activities = (!needs.activities.is_empty()).then(|| {
            let steps =
                pipeline.query(&statements.activity_of_executions, steps::of_executions(&needs.activities));
            (steps, pipeline.query(&statements.last_events, steps::of_executions(&needs.activities)))
        });
        let waiting = (!needs.waiting.is_empty())
            .then(|| pipeline.query(&statements.waiting_steps, steps::of_executions(&needs.waiting)));
        let events = (!needs.events.is_empty())
            .then(|| pipeline.query(&statements.look_events, events::look(&needs.events)));
        let histories = foreseen.map(|needs| (baselines::ask(&mut pipeline, statements, needs), needs));
        let mut results = pipeline.run().await?;
        let mut set = WorkingSet::default();
        if let Some(slot) = idempotency {
            set.idempotency = idempotency::read(&results.take(slot), &needs.idempotency)?;
        }
        for slot in [locked, looked].into_iter().flatten() {
            executions::read_heads(&results.take(slot), &mut set.executions)?;
        }
        if let Some(slot) = steps {
            set.steps = steps::read_all(&results.take(slot))?;
        }
        if let Some((steps, completed)) = closings {
            set.closings =
                steps::read_closings(&results.take(steps), &results.take(completed), &needs.closings)?;
        }
        if let Some((steps, events)) = activities {
            set.activities = steps::read_activities(&results.take(steps))?;
            events::add_activity(&results.take(events), &mut set.activities)?;
        }
        if let Some(slot) = events {
            set.events = events::read_logs(&results.take(slot))?;
        }
        if let Some(slot) = waiting {
            set.waiting = traces::read_waiting(&results.take(slot))?;
        }
        if let Some((slots, needs)) = histories {
            set.histories = baselines::read(&mut results, slots, &self.known, needs)?;
        }
        Ok(set)
    }

    /// Does what has to be done before a replay can succeed.
    async fn before_replay(
        &self,
        error: &StoreError,
        replay: u32,
        requests: &[Request],
    ) -> Result<(), StoreError> {
        match error {
            StoreError::NoPartition(_) => {
                let mut months: Vec<Month> =
                    requests.iter().map(|request| Month::of(request.received_at)).collect();
                months.sort_unstable();
                months.dedup();
                let mut client = self.connector.connect(Role::Upkeep).await?;
                return partitions::ensure(&mut client, &months).await;
            }
            StoreError::Vanished => {
                self.known.forget();
                self.running.forget();
            }
            StoreError::Contention(_) | StoreError::Lost(_) | StoreError::Away(_) => {
                tokio::time::sleep(PAUSE * replay.min(10)).await
            }
            StoreError::Exists(_)
            | StoreError::TooLong
            | StoreError::Unreadable { .. }
            | StoreError::Refused(_) => {}
        }
        Ok(())
    }
}

#[async_trait]
impl BatchStore for Batches {
    async fn write(&self, batch: &[Request]) -> Result<BatchAnswers, RepositoryError> {
        let started = Instant::now();
        let deadline = DEADLINE
            + Duration::from_secs(
                u64::try_from(batch.iter().map(Request::steps).sum::<usize>() / STEPS_PER_SECOND)
                    .unwrap_or(0),
            );
        let (mut replay, mut in_doubt) = (0, false);
        loop {
            let error = match self.sessions.take().await {
                Ok(session) => {
                    let left = deadline.saturating_sub(started.elapsed());
                    match tokio::time::timeout(left, self.attempt(session, batch)).await {
                        Ok(Ok(answers)) => {
                            metrics::transaction(NAME, TransactionOutcome::Ok, started.elapsed());
                            return Ok(answers);
                        }
                        Ok(Err(error)) => {
                            in_doubt |= matches!(error, StoreError::Lost(_));
                            error
                        }
                        Err(_) => StoreError::TooLong,
                    }
                }
                Err(error) => error,
            };
            replay += 1;
            if !may_replay(&error, replay, in_doubt, started.elapsed(), self.patience)
                || started.elapsed() >= deadline
            {
                metrics::transaction(NAME, TransactionOutcome::Failed, started.elapsed());
                return Err(error.into_repository("writing a batch"));
            }
            metrics::transaction(NAME, TransactionOutcome::Retried, started.elapsed());
            tracing::debug!(replay, cause = %error, "a batch is replayed");
            if let Err(error) = self.before_replay(&error, replay, batch).await {
                return Err(error.into_repository("preparing a replay"));
            }
        }
    }
}

/// Whether trying again is worth while. Without any connection it is not, and whoever waits is told at once; unless a
/// connection was lost in mid-batch: then the outcome is unknown, and worth some patience.
fn may_replay(
    error: &StoreError,
    replay: u32,
    in_doubt: bool,
    elapsed: Duration,
    patience: Duration,
) -> bool {
    match error {
        StoreError::Contention(_) => true,
        StoreError::Lost(_) => elapsed < patience,
        StoreError::Away(_) => in_doubt && elapsed < patience,
        StoreError::Exists(_) | StoreError::Vanished | StoreError::NoPartition(_) => replay <= SURPRISES,
        StoreError::TooLong | StoreError::Unreadable { .. } | StoreError::Refused(_) => false,
    }
}

/// Writes what the batch left to be written, and commits.
async fn save_and_commit(
    session: &Session,
    set: &WorkingSet,
    unused: &[BaselineKey],
    news: &News<'_>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let statements = &session.statements;
    let mut pipeline = session.pipeline();
    if !set.new_idempotency.is_empty() {
        pipeline.execute(&statements.save_idempotency, idempotency::save(set));
    }
    if !set.new_executions.is_empty() {
        pipeline.execute(&statements.enter_directory, executions::enter_directory(set));
        pipeline.execute(&statements.insert_executions, executions::insert(set));
    }
    if !set.worsened_executions.is_empty() {
        pipeline.execute(&statements.worsen_executions, executions::worsen(set));
    }
    if !set.watched_executions.is_empty() {
        pipeline.execute(&statements.watch_executions, executions::watch(set));
    }
    if !set.ended_executions.is_empty() {
        pipeline.execute(&statements.end_executions, executions::end(set));
    }
    if !set.traced_executions.is_empty() {
        pipeline.execute(&statements.update_traced_executions, traces::update_executions(set));
    }
    if let Some(params) = steps::insert(set) {
        pipeline.execute(&statements.insert_steps, params);
    }
    if let Some(params) = steps::update(set) {
        pipeline.execute(&statements.update_steps, params);
    }
    if let Some(params) = steps::update_spans(set) {
        pipeline.execute(&statements.update_spans, params);
    }
    if !set.written_histories.is_empty() {
        pipeline.execute(&statements.save_baselines, baselines::save(set));
    }
    if !set.written_segments.is_empty() {
        pipeline.execute(&statements.save_segments, baselines::save_segments(set));
    }
    incidents::save(&mut pipeline, statements, set);
    if !unused.is_empty() {
        let keys: Vec<Bits> = unused.iter().map(|key| Bits::from(*key)).collect();
        pipeline.execute(&statements.remove_baselines, vec![Box::new(keys)]);
    }
    if !set.new_events.is_empty() {
        pipeline.execute(&statements.insert_events, events::insert(set));
    }
    services::save(&mut pipeline, statements, set, news, now);
    failures::save(&mut pipeline, statements, set);
    slo::save(&mut pipeline, statements, set);
    // The last one: what is numbered here commits next, and holds all its locks.
    if !set.changes.is_empty() {
        pipeline.execute(&statements.add_changes, live::add(set));
    }
    pipeline.commit();
    pipeline.run().await.map(drop)
}
