//! Incidents.

use std::collections::BTreeMap;

use serde::Serialize;
use tracer_core::detect::Severity;
use tracer_core::ids::{ExecutionId, StepId};
use tracer_core::incident::{
    AlertNote, Cause, Evidence, FailureRate, Finding, HistoryEntry, Incident, IncidentId, IncidentKind,
    IncidentState, ResolvedBy, SloBurn,
};
use tracer_core::name::{StepName, WorkflowName};
use utoipa::ToSchema;

use super::{BottleneckView, RegressionView, Time};

/// One cause over time: what was found of it, and what was said of it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(title = "Incident")]
pub struct IncidentView {
    /// Its id.
    #[schema(value_type = String, example = "inc_0197a3c5b2f87c4e9d1a2b3c4d5e6f70")]
    pub incident_id: IncidentId,
    /// `slow_step`, `stuck_step`, `stalled_execution`, `regression`, `failure_rate`, `slo_burn` or `alert`.
    #[schema(value_type = String, example = "slow_step")]
    pub kind: IncidentKind,
    /// `firing`, or `resolved`: a finding within half an hour of the end lets it fire again.
    #[schema(value_type = String, example = "firing")]
    pub state: IncidentState,
    /// The worst so far: `WARNING` or `CRITICAL`.
    #[schema(value_type = String, example = "CRITICAL")]
    pub severity: Severity,
    /// The workflow; of `slo_burn` the pattern of those that the objective is about.
    #[schema(value_type = String, example = "nightly_etl")]
    pub workflow_name: WorkflowName,
    /// The step; `null` where it is about executions as wholes.
    #[schema(value_type = Option<String>, example = "data_transform")]
    pub step_name: Option<StepName>,
    /// The cohort that a setting names; `null`: the whole step. Of `slo_burn` and `alert`, the labels that identify it.
    pub cohort: Option<BTreeMap<String, String>>,
    /// Findings that it has gathered.
    #[schema(example = 3)]
    pub occurrences: u64,
    /// Steps or executions that are stuck at this moment.
    #[schema(example = 0)]
    pub ongoing: u64,
    /// When it opened.
    pub first_seen_at: Time,
    /// When it last gathered a finding.
    pub last_seen_at: Time,
    /// The worst finding.
    pub worst: FindingView,
    /// The execution of the worst finding; `null` where no single one shows it.
    #[schema(value_type = Option<String>, example = "wf_0197a3c5b2f87c4e9d1a2b3c4d5e6f70")]
    pub example_workflow_id: Option<ExecutionId>,
    /// The step of the worst finding; `null` where it is about an execution as a whole.
    #[schema(value_type = Option<String>, example = "st_b7ad6b7169203331")]
    pub example_step_id: Option<StepId>,
    /// Whether only invented executions took part.
    #[schema(example = false)]
    pub simulated: bool,
    /// That somebody looks after it.
    pub acknowledged: Option<AcknowledgedView>,
    /// Until then nobody is told of it; `null` if it was never snoozed.
    pub snoozed_until: Option<Time>,
    /// Its end; `null` while it fires.
    pub resolved: Option<ResolvedView>,
    /// What people were last told; `null` if nothing.
    pub told: Option<ToldView>,
    /// What identifies its cause: 32 hexadecimal digits, the same whenever it opens again.
    #[schema(example = "8f2c1de04b7a4d0f9a4f6f1f0e3f2b1c")]
    pub fingerprint: String,
    /// When anything of it last changed.
    pub changed_at: Time,
}

/// A finding, by the kind of its incident.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(untagged)]
#[schema(title = "Finding")]
pub enum FindingView {
    /// Of `slow_step`, `stuck_step` and `stalled_execution`.
    TooLong(BottleneckView),
    /// Of `regression`.
    Slower(RegressionView),
    /// Of `failure_rate`.
    Failing(FailureRateView),
    /// Of `slo_burn`.
    Burning(SloBurnView),
    /// Of `alert`.
    Alerted(AlertView),
}

/// An error budget that is used up too fast.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(title = "Burning error budget")]
pub struct SloBurnView {
    /// How bad.
    #[schema(value_type = String, example = "CRITICAL")]
    pub severity: Severity,
    /// The name of the objective.
    #[schema(example = "nightly")]
    pub slo: String,
    /// `availability` or `latency`.
    #[schema(example = "availability")]
    pub sli: String,
    /// The share of events that is to be good.
    #[schema(example = 0.99)]
    pub objective: f64,
    /// How many times as fast as it would last its window; two decimals.
    #[schema(example = 15.38)]
    pub burn_rate: f64,
    /// The window it was seen in, in milliseconds.
    #[schema(example = 3_600_000)]
    pub long_window_ms: u64,
    /// The window that says that it goes on, in milliseconds.
    #[schema(example = 300_000)]
    pub short_window_ms: u64,
    /// Events in the longer window.
    #[schema(example = 52)]
    pub events: u64,
    /// Those of them that were not good.
    #[schema(example = 8)]
    pub bad: u64,
    /// The share of the budget that is left; below 0 it is overspent. Four decimals.
    #[schema(example = 0.45)]
    pub error_budget_remaining: f64,
}

/// Somebody else's alert.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(title = "Alert")]
pub struct AlertView {
    /// How bad.
    #[schema(value_type = String, example = "WARNING")]
    pub severity: Severity,
    /// Its name.
    #[schema(example = "DiskFull")]
    pub alert: String,
    /// What it says.
    #[schema(example = "The disk of db-1 is 93 % full.")]
    pub summary: String,
    /// Since when.
    pub since: Time,
    /// Where it can be looked at.
    #[schema(example = "http://prometheus.example.com/graph?g0.expr=up")]
    pub source: Option<String>,
    /// What to do about it.
    #[schema(example = "https://wiki.example.com/disk")]
    pub runbook: Option<String>,
}

/// Too many failures.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(title = "Failure rate")]
pub struct FailureRateView {
    /// How bad.
    #[schema(value_type = String, example = "WARNING")]
    pub severity: Severity,
    /// Ends that were failures.
    #[schema(example = 9)]
    pub failed: u64,
    /// Ends looked at.
    #[schema(example = 60)]
    pub ended: u64,
    /// When the first of them ended, or before.
    pub since: Time,
    /// Their share of failures, from 0 to 1, four decimals.
    #[schema(example = 0.15)]
    pub rate: f64,
    /// The share in the history before them, from 0 to 1, four decimals.
    #[schema(example = 0.01)]
    pub usual_rate: f64,
    /// The share that is borne in any case, from 0 to 1, four decimals.
    #[schema(example = 0.05)]
    pub limit: f64,
    /// Rate over what is usual, or over the limit where that is more; two decimals.
    #[schema(example = 3.0)]
    pub factor: f64,
}

/// That somebody looks after an incident.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(title = "Acknowledgement")]
pub struct AcknowledgedView {
    /// Since when.
    pub at: Time,
    /// Who.
    #[schema(example = "ada")]
    pub by: Option<String>,
}

/// The end of an incident.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(title = "Resolution")]
pub struct ResolvedView {
    /// When.
    pub at: Time,
    /// Why: `normal`, `ended` (what was stuck or was signalled), `rebaselined`, `stale` or `hand`.
    #[schema(value_type = String, example = "normal")]
    pub by: ResolvedBy,
}

/// What people were last told of an incident.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(title = "Last told")]
pub struct ToldView {
    /// When.
    pub at: Time,
    /// How bad it was said to be.
    #[schema(value_type = String, example = "WARNING")]
    pub severity: Severity,
    /// Whether it was said to be firing, and not resolved.
    #[schema(example = true)]
    pub firing: bool,
}

/// A line in the history of an incident.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(title = "Line of a history")]
pub struct HistoryEntryView {
    /// When.
    pub at: Time,
    /// `opened`, `worsened`, `repeated`, `reopened`, `resolved`, `acknowledged`, `snoozed`, or `action`.
    #[schema(example = "opened")]
    pub what: String,
    /// Who or why, or what an action answered.
    #[schema(example = "CRITICAL, 5 times")]
    pub note: Option<String>,
}

/// An incident with its history.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(title = "Incident with its history")]
pub struct IncidentDetailView {
    /// The incident.
    #[serde(flatten)]
    pub incident: IncidentView,
    /// What happened to it, oldest first: the last 200 lines.
    pub history: Vec<HistoryEntryView>,
}

/// One page of incidents, newest opening first.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(title = "Page of incidents")]
pub struct IncidentsView {
    /// The incidents.
    pub incidents: Vec<IncidentView>,
    /// Where the next page begins; `null` on the last one.
    pub next_cursor: Option<String>,
}

impl From<Incident> for IncidentView {
    fn from(incident: Incident) -> Self {
        let fingerprint = incident.cause.fingerprint().to_string();
        let worst = FindingView::new(&incident.cause, &incident.worst);
        let Cause { kind, workflow, step, cohort } = incident.cause;
        Self {
            incident_id: incident.id,
            kind,
            state: incident.state,
            severity: incident.severity,
            workflow_name: workflow,
            step_name: step,
            cohort: (!cohort.is_whole()).then(|| cohort.parts().clone()),
            occurrences: incident.occurrences,
            ongoing: incident.ongoing,
            first_seen_at: Time(incident.first_seen_at),
            last_seen_at: Time(incident.last_seen_at),
            worst,
            example_workflow_id: incident.worst.execution,
            example_step_id: incident.worst.step,
            simulated: incident.simulated,
            acknowledged: incident
                .acknowledged
                .map(|said| AcknowledgedView { at: Time(said.at), by: said.by }),
            snoozed_until: incident.snoozed_until.map(Time),
            resolved: incident.resolved.map(|end| ResolvedView { at: Time(end.at), by: end.by }),
            told: incident.told.map(|told| ToldView {
                at: Time(told.at),
                severity: told.severity,
                firing: told.firing,
            }),
            fingerprint,
            changed_at: Time(incident.changed_at),
        }
    }
}

impl FindingView {
    fn new(cause: &Cause, found: &Evidence) -> Self {
        match &found.finding {
            Finding::TooLong(verdict) => Self::TooLong(match (found.step, &cause.step) {
                (Some(id), Some(name)) => BottleneckView::new(id, name.clone(), verdict),
                (Some(_) | None, _) => BottleneckView::of_execution(verdict),
            }),
            Finding::Slower(regression) => Self::Slower(RegressionView::from(regression.clone())),
            Finding::Failing(rate) => Self::Failing(FailureRateView::from(rate)),
            Finding::Burning(burn) => Self::Burning(SloBurnView::from(burn)),
            Finding::Alerted(note) => Self::Alerted(AlertView::from(note)),
        }
    }
}

impl From<&FailureRate> for FailureRateView {
    fn from(rate: &FailureRate) -> Self {
        Self {
            severity: rate.severity,
            failed: rate.failed,
            ended: rate.ended,
            since: Time(rate.since),
            rate: four_decimals(rate.rate()),
            usual_rate: four_decimals(rate.usual),
            limit: four_decimals(rate.limit),
            factor: rate.factor(),
        }
    }
}

impl From<&SloBurn> for SloBurnView {
    fn from(burn: &SloBurn) -> Self {
        Self {
            severity: burn.severity,
            slo: burn.slo.clone(),
            sli: burn.sli.clone(),
            objective: burn.objective,
            burn_rate: burn.factor(),
            long_window_ms: burn.long.as_millis(),
            short_window_ms: burn.short.as_millis(),
            events: burn.events,
            bad: burn.bad,
            error_budget_remaining: four_decimals(burn.budget_remaining),
        }
    }
}

impl From<&AlertNote> for AlertView {
    fn from(note: &AlertNote) -> Self {
        Self {
            severity: note.severity,
            alert: note.name.clone(),
            summary: note.summary.clone(),
            since: Time(note.since),
            source: note.source.clone(),
            runbook: note.runbook.clone(),
        }
    }
}

impl IncidentDetailView {
    /// Shows an incident with what happened to it.
    #[must_use]
    pub fn new(incident: Incident, history: Vec<HistoryEntry>) -> Self {
        let history = history.into_iter().map(HistoryEntryView::from).collect();
        Self { incident: incident.into(), history }
    }
}

impl From<HistoryEntry> for HistoryEntryView {
    fn from(entry: HistoryEntry) -> Self {
        Self { at: Time(entry.at), what: entry.what, note: entry.note }
    }
}

fn four_decimals(share: f64) -> f64 {
    (share * 10_000.0).round() / 10_000.0
}
