//! What runs beside the requests: retention, abandoned executions, the watchdog, and numbers of the database.
//!
//! Each task is an idempotent function without input, called again and again until the service stops.
//! A failure is logged and is the next call's to mend; replicas may all run all of them.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracer_alert::{AbandonedExecutions, Watchdog};
use tracer_core::chain::Chain;
use tracer_core::repository::{RepositoryError, Retention};

use crate::alerting::channel_states;
use crate::metrics::Metrics;
use crate::recording::Tracing;
use crate::slo::{SloSignals, standings};

/// How often what was kept long enough is removed.
const PRUNE_PERIOD: Duration = Duration::from_secs(3600);
/// How often executions are looked for that fell silent.
const ABANDONED_PERIOD: Duration = Duration::from_secs(60);
/// How long the store may take to answer before it is away.
const ANSWER: Duration = Duration::from_secs(5);
/// Workflows whose running executions are counted.
const ACTIVE_WORKFLOWS: usize = 10_000;

/// What the tasks work on, and how often.
#[derive(Clone, Debug)]
pub struct Background {
    /// Leads to the store.
    pub tracing: Tracing,
    /// Where numbers of the database go.
    pub metrics: Arc<Metrics>,
    /// What is kept, and for how long.
    pub retention: Retention,
    /// Closes executions that fell silent.
    pub abandoned: Arc<AbandonedExecutions>,
    /// Looks at what runs and is due.
    pub watchdog: Arc<Watchdog>,
    /// How often it does.
    pub watch_interval: Duration,
    /// Tells of error budgets that burn.
    pub slos: Arc<SloSignals>,
    /// How often numbers of the database are asked for.
    pub refresh: Duration,
}

impl Background {
    /// Starts the tasks; they end once `stop` is cancelled, between two calls.
    #[must_use]
    pub fn spawn(self, stop: &CancellationToken) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        let shared = Arc::new(self);
        let this = Arc::clone(&shared);
        tasks.spawn(every(PRUNE_PERIOD, "retention", stop.clone(), move || {
            let this = Arc::clone(&this);
            async move { this.keep_in_order().await }
        }));
        let this = Arc::clone(&shared);
        tasks.spawn(every(ABANDONED_PERIOD, "abandoned executions", stop.clone(), move || {
            let this = Arc::clone(&this);
            async move { this.close_abandoned().await }
        }));
        let this = Arc::clone(&shared);
        tasks.spawn(every(shared.watch_interval, "watchdog", stop.clone(), move || {
            let this = Arc::clone(&this);
            async move { this.watch().await }
        }));
        let this = Arc::clone(&shared);
        tasks.spawn(every(shared.refresh, "active workflows", stop.clone(), move || {
            let this = Arc::clone(&this);
            async move { this.count_active().await }
        }));
        let this = Arc::clone(&shared);
        tasks.spawn(every(shared.refresh, "incidents and outbox", stop.clone(), move || {
            let this = Arc::clone(&this);
            async move { this.count_alerts().await }
        }));
        let this = Arc::clone(&shared);
        tasks.spawn(every(shared.refresh, "service level objectives", stop.clone(), move || {
            let this = Arc::clone(&this);
            async move { this.judge_slos().await }
        }));
        let this = Arc::clone(&shared);
        tasks.spawn(every(shared.refresh, "store", stop.clone(), move || {
            let this = Arc::clone(&this);
            async move {
                this.ask_store().await;
                Ok(())
            }
        }));
        tasks
    }

    /// Makes the partitions of the months to come, and removes what was kept long enough.
    ///
    /// # Errors
    /// [`RepositoryError`], as every function here.
    pub async fn keep_in_order(&self) -> Result<(), RepositoryError> {
        let repository = self.tracing.repository();
        let now = self.tracing.now();
        repository.prepare(now).await?;
        let pruned = repository.prune(now, self.retention).await?;
        if pruned != Default::default() {
            tracing::info!(
                event = "pruned",
                executions = pruned.executions,
                partitions = pruned.partitions,
                segments = pruned.segments,
                idempotency_keys = pruned.idempotency_keys,
                "removed what was kept long enough"
            );
        }
        Ok(())
    }

    /// Closes executions without any activity as `timed_out`.
    ///
    /// # Errors
    /// [`RepositoryError`].
    pub async fn close_abandoned(&self) -> Result<(), RepositoryError> {
        let failure = self.abandoned.failure();
        self.abandoned.close(|ended| self.tracing.report_abandoned(ended, &failure)).await
    }

    /// Looks at the steps and executions that run and are due, and tells of each new verdict.
    ///
    /// # Errors
    /// [`RepositoryError`]; what was not looked at is due the next time.
    pub async fn watch(&self) -> Result<(), RepositoryError> {
        let round = self.watchdog.look(|verdict| self.tracing.report_in_flight(verdict)).await?;
        self.metrics.watched(round.looked_at, round.lag, round.query);
        Ok(())
    }

    /// Asks whether the store answers, and shows it. The other tasks tell of it in the log.
    pub async fn ask_store(&self) {
        let asked = tokio::time::timeout(ANSWER, self.tracing.repository().ping()).await;
        self.metrics.set_store_up(matches!(asked, Ok(Ok(()))));
    }

    /// Counts the executions that run.
    ///
    /// # Errors
    /// [`RepositoryError`]; the number that was shown so far goes stale.
    pub async fn count_active(&self) -> Result<(), RepositoryError> {
        let running = self.tracing.repository().running(ACTIVE_WORKFLOWS).await?;
        self.metrics.set_active(Instant::now(), &running);
        Ok(())
    }

    /// Counts the incidents that fire, and what waits to be told of them.
    ///
    /// # Errors
    /// [`RepositoryError`]; the numbers that were shown so far go stale.
    pub async fn count_alerts(&self) -> Result<(), RepositoryError> {
        let firing = self.tracing.repository().firing().await?;
        self.metrics.set_firing(Instant::now(), &firing);
        let now = self.tracing.now();
        let channels = channel_states(&self.tracing, now).await?;
        self.metrics.set_outbox(Instant::now(), &channels, now);
        Ok(())
    }

    /// Judges the service level objectives, shows how they stand, and signals those that burn.
    ///
    /// # Errors
    /// [`RepositoryError`]; the numbers that were shown so far go stale, and what was not signalled is signalled the
    /// next time.
    pub async fn judge_slos(&self) -> Result<(), RepositoryError> {
        let now = self.tracing.now();
        let judged = standings(&self.tracing, now, |_| true).await?;
        self.metrics.set_slos(Instant::now(), &judged);
        self.slos.signal(&self.tracing, &judged, now).await
    }
}

async fn every<F, R>(period: Duration, name: &'static str, stop: CancellationToken, run: F)
where
    F: Fn() -> R,
    R: Future<Output = Result<(), RepositoryError>>,
{
    let mut tick = tokio::time::interval(period);
    // A call that took longer than its period is not made up for.
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failed: u64 = 0;
    while stop.run_until_cancelled(tick.tick()).await.is_some() {
        match run().await {
            Ok(()) if failed > 0 => {
                tracing::info!(event = "background", task = name, failed, "a background task succeeds again");
                failed = 0;
            }
            Ok(()) => {}
            // A store that is being closed refuses what was under way.
            Err(_) if stop.is_cancelled() => {}
            Err(error) => {
                // One line per outage: some of them run every second.
                if failed == 0 {
                    tracing::warn!(event = "background", task = name, error = %Chain(&error), "a background task failed");
                }
                failed += 1;
            }
        }
    }
}
