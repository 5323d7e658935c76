//! Every metric of this crate, declared once, behind typed functions.
//!
//! Invariant: `/metrics` stays below its bytes, whatever names users invent (`labels`); no id is ever a label.
//! Not here: the metrics of the store, which reach the same recorder by their own crate's `metrics.rs`.
#![expect(clippy::disallowed_macros, reason = "this is the crate's metrics.rs, which the ban points to")]

mod database;
pub mod export;
mod gauge;
mod slo;
mod vitals;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use metrics::{Counter, Gauge, Histogram, Unit};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracer_alert::Outcome;
use tracer_core::detect::{Severity, VerdictKind};
use tracer_core::execution::ExecutionStatus;
use tracer_core::name::{StepName, StepType, WorkflowName};
use tracer_core::notify::ChannelName;
use tracer_core::outbox::{ChannelState, FiringCount};
use tracer_core::step::StepStatus;
use tracer_core::time::{Micros, Timestamp};

use self::database::DatabaseGauges;
use crate::config::MetricSettings;
use crate::labels::{OTHER, Series, escaped_len};
use crate::telemetry::DroppedLines;

/// Bounds of the service's own latencies, in seconds.
const SERVICE_BUCKETS: [f64; 13] =
    [0.000_25, 0.000_5, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];
/// Bounds of numbers of things, such as commands in a batch.
const COUNT_BUCKETS: [f64; 10] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];

/// Bytes of a bucket's line besides the labels' values, with a number of ten digits: of a step, of a workflow.
const STEP_LINE_BYTES: usize = 95;
const WORKFLOW_LINE_BYTES: usize = 75;
/// What a step has besides its histogram, three counters and the average, and the bytes of such a line besides its
/// names: 80 with a severity, 67 of the average, which has twelve digits.
const STEP_SINGLES: usize = 4;
const STEP_SINGLE_BYTES: usize = 75;
/// Bytes of a counter's line of a rare verdict, besides its names.
const RARE_LINE_BYTES: usize = 125;
/// Lines of a histogram besides its buckets: `+Inf`, sum, count.
const EXTRA_LINES: usize = 3;

/// Gauges of what is a property of the database.
const ACTIVE_WORKFLOWS: &str = "active_workflows";
const INCIDENTS_FIRING: &str = "tracer_incidents_firing";
const OUTBOX_PENDING: &str = "tracer_outbox_pending";
const OUTBOX_OLDEST: &str = "tracer_outbox_oldest_seconds";

/// The recorder of this process: only one can be installed, and tests start many services in one process.
static RECORDER: OnceLock<Result<PrometheusHandle, String>> = OnceLock::new();

/// The metrics of one service.
#[derive(Debug)]
pub struct Metrics {
    recorder: PrometheusHandle,
    workflows: Series<WorkflowName, WorkflowSeries>,
    steps: Series<StepKey, StepSeries>,
    rare: Series<RareKey, RareSeries>,
    database: Mutex<DatabaseGauges>,
    requests: RwLock<HashMap<String, Route>>,
    dropped_lines: OnceLock<DroppedLines>,
    bucket_lines: usize,
}

type StepKey = (WorkflowName, StepName, StepType);

/// What is counted only where it happens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum RareKey {
    /// A step was stuck.
    Stuck(WorkflowName, StepName),
    /// An execution was stalled.
    Stalled(WorkflowName),
    /// A step has become slower for good.
    Regressed(WorkflowName, StepName),
}

#[derive(Debug)]
struct WorkflowSeries {
    label: String,
    duration: Histogram,
    ended: HashMap<&'static str, Counter>,
}

#[derive(Debug)]
struct StepSeries {
    duration: Histogram,
    errors: Counter,
    warning: Counter,
    critical: Counter,
    baseline: Baseline,
}

/// The average that a step was last compared with: shown from the first time on, of a step with series of its own.
#[derive(Debug, Default)]
struct Baseline {
    of: Option<(String, String)>,
    gauge: OnceLock<Gauge>,
}

#[derive(Debug)]
struct RareSeries {
    warning: Counter,
    critical: Counter,
}

/// The series of one route: latency by method, count by method and status.
#[derive(Default)]
struct Route {
    latency: HashMap<&'static str, Histogram>,
    count: HashMap<(&'static str, u16), Counter>,
}

impl std::fmt::Debug for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Route").field("series", &self.count.len()).finish_non_exhaustive()
    }
}

/// What metrics say of a step that has ended.
#[derive(Clone, Copy, Debug)]
pub struct StepEnded<'a> {
    /// Its workflow.
    pub workflow: &'a WorkflowName,
    /// Its name.
    pub step: &'a StepName,
    /// Its type.
    pub step_type: &'a StepType,
    /// How it ended.
    pub status: StepStatus,
    /// How long it took; counted of completed and failed ones.
    pub duration: Option<Micros>,
    /// How bad it was, if it is a bottleneck.
    pub severity: Option<Severity>,
    /// The average that it was compared with, if it was.
    pub compared_with: Option<Micros>,
}

impl Metrics {
    /// Installs the recorder, if this process has none yet, and returns a service's metrics.
    ///
    /// The buckets are those of the process's first service.
    ///
    /// # Errors
    /// If another recorder was installed, or the buckets are empty.
    pub fn install(settings: &MetricSettings) -> anyhow::Result<Self> {
        let installed = RECORDER.get_or_init(|| {
            let recorder =
                builder(&settings.duration_buckets).map_err(|error| error.to_string())?.build_recorder();
            let handle = recorder.handle();
            metrics::set_global_recorder(recorder).map_err(|error| error.to_string())?;
            describe();
            Ok(handle)
        });
        match installed {
            Ok(recorder) => Ok(Self::over(recorder.clone(), settings)),
            Err(reason) => Err(anyhow::anyhow!("cannot install the metrics' recorder: {reason}")),
        }
    }

    fn over(recorder: PrometheusHandle, settings: &MetricSettings) -> Self {
        // A fifth for workflows, three quarters for steps, a fortieth for the few that were stuck or regressed; the rest is for the
        // service's own, whose names are ours.
        let (workflow_bytes, step_bytes) = (settings.max_bytes / 5, settings.max_bytes / 4 * 3);
        let rare_bytes = settings.max_bytes / 40;
        metrics::gauge!("tracer_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
        let metrics = Self {
            recorder,
            workflows: Series::new(settings.workflow_series, workflow_bytes),
            steps: Series::new(settings.step_series, step_bytes),
            rare: Series::new(settings.step_series, rare_bytes),
            database: Mutex::new(DatabaseGauges::new(settings.refresh * 3)),
            requests: RwLock::default(),
            dropped_lines: OnceLock::new(),
            bucket_lines: settings.duration_buckets.len() + EXTRA_LINES,
        };
        metrics.set_store_up(true);
        metrics
    }

    /// Counts an execution that has ended.
    pub fn execution_ended(
        &self,
        workflow: &WorkflowName,
        status: ExecutionStatus,
        duration: Option<Micros>,
    ) {
        let series = self.workflow(workflow);
        if let Some(counter) = series.ended.get(status.as_str()) {
            counter.increment(1);
        }
        if let Some(duration) = duration {
            series.duration.record(duration.as_secs_f64());
        }
    }

    /// Counts a step that has ended.
    pub fn step_ended(&self, ended: &StepEnded<'_>) {
        let key = (ended.workflow.clone(), ended.step.clone(), ended.step_type.clone());
        let bytes = || {
            let names = escaped_len(key.0.as_str()) + escaped_len(key.1.as_str());
            let labels = names + escaped_len(key.2.as_str());
            self.bucket_lines * (STEP_LINE_BYTES + labels) + STEP_SINGLES * (STEP_SINGLE_BYTES + names)
        };
        let series = self.steps.get(&key, bytes, StepSeries::new);
        match ended.status {
            StepStatus::Completed | StepStatus::Failed => {
                if let Some(duration) = ended.duration {
                    series.duration.record(duration.as_secs_f64());
                }
            }
            StepStatus::Running | StepStatus::Skipped | StepStatus::Cancelled => {}
        }
        if ended.status == StepStatus::Failed {
            series.errors.increment(1);
        }
        match ended.severity {
            Some(Severity::Warning) => series.warning.increment(1),
            Some(Severity::Critical) => series.critical.increment(1),
            None => {}
        }
        if let Some(average) = ended.compared_with {
            series.baseline.set(average);
        }
    }

    /// Counts a verdict on a step that runs.
    pub fn stuck(&self, workflow: &WorkflowName, step: &StepName, severity: Severity) {
        self.rare(&RareKey::Stuck(workflow.clone(), step.clone()), severity);
    }

    /// Counts a verdict on an execution of which nothing is heard.
    pub fn stalled(&self, workflow: &WorkflowName, severity: Severity) {
        self.rare(&RareKey::Stalled(workflow.clone()), severity);
    }

    /// Counts a lasting slowdown of a step.
    pub fn regressed(&self, workflow: &WorkflowName, step: &StepName, severity: Severity) {
        self.rare(&RareKey::Regressed(workflow.clone(), step.clone()), severity);
    }

    fn rare(&self, key: &RareKey, severity: Severity) {
        let bytes = || {
            let (workflow, step) = key.names();
            2 * (RARE_LINE_BYTES + escaped_len(workflow) + escaped_len(step))
        };
        let series = self.rare.get(key, bytes, RareSeries::new);
        match severity {
            Severity::Warning => series.warning.increment(1),
            Severity::Critical => series.critical.increment(1),
        }
    }

    /// Takes what a round of the watchdog looked at, how long the longest overdue had been due, and how long finding it
    /// took.
    pub fn watched(&self, looked_at: usize, lag: Micros, query: Duration) {
        metrics::counter!("tracer_watchdog_looks_total")
            .increment(u64::try_from(looked_at).unwrap_or(u64::MAX));
        metrics::histogram!("tracer_watchdog_lag_seconds").record(lag.as_secs_f64());
        metrics::histogram!("tracer_watchdog_query_duration_seconds").record(query.as_secs_f64());
    }

    /// Takes the number of running executions by workflow, as the database said at `now`.
    ///
    /// Shown until three refresh periods have passed; a workflow that is not in it has none and is not shown.
    pub fn set_active(&self, now: Instant, running: &[(WorkflowName, u64)]) {
        let labelled = running.iter().map(|(name, count)| (self.workflow(name).label.clone(), *count));
        self.database().set_active(now, labelled);
    }

    /// Takes how many incidents fire, as the database said at `now`; shown as long as [`Metrics::set_active`].
    pub fn set_firing(&self, now: Instant, counts: &[FiringCount]) {
        self.database().set_firing(now, counts);
    }

    /// Takes what waits to be told, as the database said at `now`, which is `at` by its own clock; shown as long as
    /// [`Metrics::set_active`].
    pub fn set_outbox(&self, now: Instant, channels: &[ChannelState], at: Timestamp) {
        for state in channels {
            // What never happened is 0, so that the first time is a rise.
            Outcome::ALL.into_iter().for_each(|outcome| notifications(&state.channel, outcome).increment(0));
        }
        self.database().set_outbox(now, channels, at);
    }

    /// Counts what became of an attempt to tell a channel of a notification.
    pub fn notified(&self, channel: &ChannelName, outcome: Outcome) {
        notifications(channel, outcome).increment(1);
    }

    /// Shows how many listen to changes.
    pub fn live_listeners(&self, listeners: usize) {
        let listeners = u32::try_from(listeners).unwrap_or(u32::MAX);
        metrics::gauge!("tracer_live_listeners").set(listeners);
    }

    /// Counts what was handed to one listener.
    pub fn live_events(&self, events: usize) {
        metrics::counter!("tracer_live_events_total").increment(u64::try_from(events).unwrap_or(u64::MAX));
    }

    /// Counts a listener that missed something.
    pub fn live_resync(&self) {
        metrics::counter!("tracer_live_resyncs_total").increment(1);
    }

    /// Counts what came by OTLP: spans and log records that were stored, and such as were refused.
    pub fn exported(taken: u64, rejected: u64) {
        for (outcome, count) in [("taken", taken), ("rejected", rejected)] {
            metrics::counter!("tracer_otlp_records_total", "outcome" => outcome).increment(count);
        }
    }

    /// Counts an answered request. `route` is a template, never a path; `method` one of HTTP's.
    pub fn request(&self, method: &'static str, route: &str, status: u16, took: Duration) {
        {
            let routes = self.requests.read().unwrap_or_else(PoisonError::into_inner);
            let known = routes.get(route).map(|r| (r.latency.get(method), r.count.get(&(method, status))));
            if let Some((Some(latency), Some(count))) = known {
                latency.record(took.as_secs_f64());
                count.increment(1);
                return;
            }
        }
        let mut routes = self.requests.write().unwrap_or_else(PoisonError::into_inner);
        let entry = routes.entry(route.to_owned()).or_default();
        let latency = entry.latency.entry(method).or_insert_with(|| {
            metrics::histogram!("tracer_http_request_duration_seconds", "method" => method, "route" => route.to_owned())
        });
        latency.record(took.as_secs_f64());
        let count = entry.count.entry((method, status)).or_insert_with(|| {
            metrics::counter!("tracer_http_requests_total", "method" => method, "route" => route.to_owned(), "status" => status.to_string())
        });
        count.increment(1);
    }

    /// Shows the lines that the log has dropped; the first call counts.
    pub fn watch_log(&self, dropped: DroppedLines) {
        // A second log of the process is the same log.
        self.dropped_lines.get_or_init(|| dropped);
    }

    /// Moves what histograms gathered to where it is rendered from; to be called every few seconds, or
    /// they would grow until the next scrape.
    pub fn upkeep(&self) {
        self.recorder.run_upkeep();
    }

    /// Returns the text of `/metrics` (Prometheus text format 0.0.4).
    #[must_use]
    pub fn render(&self, now: Instant) -> String {
        let shared = |kind: &'static str, names: usize| {
            let names = u32::try_from(names).unwrap_or(u32::MAX);
            metrics::gauge!("tracer_label_overflow", "kind" => kind).set(names);
        };
        shared("workflow", self.workflows.overflow());
        shared("step", self.steps.overflow());
        if let Some(dropped) = self.dropped_lines.get() {
            metrics::counter!("tracer_log_lines_dropped_total").absolute(dropped.get());
        }
        let mut text = self.recorder.render();
        self.database().render(now, &mut text);
        vitals::render_process(&mut text);
        text
    }

    fn database(&self) -> MutexGuard<'_, DatabaseGauges> {
        self.database.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn workflow(&self, name: &WorkflowName) -> Arc<WorkflowSeries> {
        // The histogram, a counter per status, and the gauge of active ones.
        let lines = self.bucket_lines + ExecutionStatus::ALL.len();
        self.workflows.get(
            name,
            || lines * (WORKFLOW_LINE_BYTES + escaped_len(name.as_str())),
            WorkflowSeries::new,
        )
    }
}

impl WorkflowSeries {
    fn new(name: Option<&WorkflowName>) -> Self {
        let label = name.map_or(OTHER, WorkflowName::as_str).to_owned();
        let counter = |status: ExecutionStatus| {
            let status = status.as_str();
            let counter = metrics::counter!("workflow_executions_total", "workflow_name" => label.clone(), "status" => status);
            (status, counter)
        };
        Self {
            duration: metrics::histogram!("workflow_duration_seconds", "workflow_name" => label.clone()),
            ended: ExecutionStatus::ALL.into_iter().filter(|s| s.ending().is_some()).map(counter).collect(),
            label,
        }
    }
}

impl StepSeries {
    fn new(key: Option<&StepKey>) -> Self {
        let (workflow, step, kind) = match key {
            Some((workflow, step, kind)) => (workflow.as_str(), step.as_str(), kind.as_str()),
            None => (OTHER, OTHER, OTHER),
        };
        let (workflow, step, kind) = (workflow.to_owned(), step.to_owned(), kind.to_owned());
        let bottlenecks = |severity: Severity| metrics::counter!("bottlenecks_total", "workflow_name" => workflow.clone(), "step_name" => step.clone(), "severity" => severity.as_str());
        Self {
            // Steps that share a series have no average in common.
            baseline: Baseline { of: key.map(|_| (workflow.clone(), step.clone())), ..Baseline::default() },
            warning: bottlenecks(Severity::Warning),
            critical: bottlenecks(Severity::Critical),
            errors: metrics::counter!("step_errors_total", "workflow_name" => workflow.clone(), "step_name" => step.clone()),
            duration: metrics::histogram!("step_duration_seconds", "workflow_name" => workflow, "step_name" => step, "step_type" => kind),
        }
    }
}

impl Baseline {
    fn set(&self, average: Micros) {
        let Some((workflow, step)) = &self.of else { return };
        let gauge = self.gauge.get_or_init(
            || metrics::gauge!("step_baseline_seconds", "workflow_name" => workflow.clone(), "step_name" => step.clone()),
        );
        gauge.set(average.as_secs_f64());
    }
}

impl RareKey {
    /// Returns the names of the workflow and, unless it is about an execution, of the step.
    fn names(&self) -> (&str, &str) {
        match self {
            Self::Stuck(workflow, step) | Self::Regressed(workflow, step) => {
                (workflow.as_str(), step.as_str())
            }
            Self::Stalled(workflow) => (workflow.as_str(), ""),
        }
    }
}

impl RareSeries {
    fn new(key: Option<&RareKey>) -> Self {
        let (workflow, step) = key.map_or((OTHER, OTHER), RareKey::names);
        let (workflow, step) = (workflow.to_owned(), step.to_owned());
        let kind = match key {
            Some(RareKey::Stuck(..)) => VerdictKind::StuckStep.as_str(),
            Some(RareKey::Stalled(_)) => VerdictKind::StalledExecution.as_str(),
            Some(RareKey::Regressed(..)) => {
                let counter = |severity: Severity| metrics::counter!("tracer_regressions_total", "workflow_name" => workflow.clone(), "step_name" => step.clone(), "severity" => severity.as_str());
                return Self { warning: counter(Severity::Warning), critical: counter(Severity::Critical) };
            }
            None => OTHER,
        };
        let counter = |severity: Severity| metrics::counter!("tracer_in_flight_bottlenecks_total", "workflow_name" => workflow.clone(), "step_name" => step.clone(), "kind" => kind, "severity" => severity.as_str());
        Self { warning: counter(Severity::Warning), critical: counter(Severity::Critical) }
    }
}

fn notifications(channel: &ChannelName, outcome: Outcome) -> Counter {
    metrics::counter!("tracer_notifications_total", "channel" => channel.as_str().to_owned(), "outcome" => outcome.as_str())
}

/// Returns an exporter whose histograms are histograms: domain durations by the setting's buckets, what is the
/// service's own by its.
fn builder(buckets: &[f64]) -> Result<PrometheusBuilder, metrics_exporter_prometheus::BuildError> {
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Full("workflow_duration_seconds".to_owned()), buckets)?
        .set_buckets_for_metric(Matcher::Full("step_duration_seconds".to_owned()), buckets)?
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SERVICE_BUCKETS)?
        .set_buckets(&COUNT_BUCKETS)
}

fn describe() {
    vitals::describe();
    use metrics::{describe_counter as counter, describe_gauge as gauge, describe_histogram as histogram};
    counter!("workflow_executions_total", Unit::Count, "Executions that have ended, by how.");
    histogram!("workflow_duration_seconds", Unit::Seconds, "Wall-clock time of ended executions.");
    histogram!("step_duration_seconds", Unit::Seconds, "Time of completed and failed steps.");
    gauge!("step_baseline_seconds", Unit::Seconds, "Average that the step was last compared with.");
    counter!("step_errors_total", Unit::Count, "Steps that failed.");
    counter!("bottlenecks_total", Unit::Count, "Ended steps judged slower than their history.");
    counter!(
        "tracer_in_flight_bottlenecks_total",
        Unit::Count,
        "Verdicts on steps and executions while they ran."
    );
    counter!("tracer_regressions_total", Unit::Count, "Steps that became slower for good.");
    counter!(
        "tracer_watchdog_looks_total",
        Unit::Count,
        "Running steps and executions looked at because they were due."
    );
    histogram!(
        "tracer_watchdog_lag_seconds",
        Unit::Seconds,
        "How long the longest overdue had been due when the watchdog looked."
    );
    histogram!("tracer_watchdog_query_duration_seconds", Unit::Seconds, "Time to find what is due.");
    counter!(
        "tracer_notifications_total",
        Unit::Count,
        "Attempts to tell a channel of something, by what became of them."
    );
    gauge!("tracer_live_listeners", Unit::Count, "Listeners of /stream and /ws.");
    counter!("tracer_live_events_total", Unit::Count, "Changes handed to listeners, once for each.");
    counter!("tracer_live_resyncs_total", Unit::Count, "Listeners told that they missed something.");
    counter!(
        "tracer_otlp_records_total",
        Unit::Count,
        "Spans and log records that came by OTLP, by what became of them."
    );
    counter!("tracer_http_requests_total", Unit::Count, "Requests answered, by route template.");
    histogram!("tracer_http_request_duration_seconds", Unit::Seconds, "Time to answer a request.");
    gauge!("tracer_label_overflow", Unit::Count, "Names without series of their own, which share _other.");
    gauge!("tracer_build_info", Unit::Count, "1; the version is in the label.");
    counter!("tracer_log_lines_dropped_total", Unit::Count, "Log lines dropped because too many waited.");
}

#[cfg(test)]
mod tests;
