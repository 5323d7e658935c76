//! `POST /alertmanager/webhook`: alerts of a Prometheus' Alertmanager become incidents, so that they reach the
//! channels of the service, the acting ones included, once and lastingly as everything else does.
//!
//! The body is version 4 of Alertmanager's webhook
//! (<https://prometheus.io/docs/alerting/latest/configuration/#webhook_config>). Alertmanager sends it until it is
//! answered 2xx, and again while an alert fires: what says nothing new changes nothing.
//!
//! Invariant: what the service itself has told an Alertmanager, or tells people by itself, does not come back.

use std::collections::BTreeMap;

use actix_web::{post, web};
use futures_util::future::try_join_all;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tracer_core::cohort::Cohort;
use tracer_core::detect::Severity;
use tracer_core::incident::{AlertNote, Cause, Finding, IncidentKind};
use tracer_core::limits;
use tracer_core::name::{StepName, WorkflowName};
use tracer_core::record::Signal;
use tracer_core::time::Timestamp;
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

use super::body::{Body, RequestBody};
use super::checks::Checks;
use super::query::{NoParameters, Query};
use super::refusal::RecordErrors;
use crate::error::ApiError;
use crate::recording::Arrival;
use crate::state::AppState;

/// Most alerts in one request; `max_alerts` of Alertmanager's `webhook_configs` keeps within it.
const MOST_ALERTS: usize = 500;
/// Most labels of an alert that are kept: the first ones by name.
const MOST_LABELS: usize = 32;
/// Most characters of what an alert says.
const SUMMARY_CHARS: usize = 1_000;
/// Most bytes of an address.
const URL_BYTES: usize = 2_000;
/// An alert with this label and value is one of which the service tells people by itself.
const TOLD_BY: (&str, &str) = ("told_by", "tracer");
/// The labels that name a workflow or, where none does, what stands for it.
const WORKFLOW_LABELS: [&str; 4] = ["workflow_name", "workflow", "service", "job"];
/// The labels that name a step.
const STEP_LABELS: [&str; 2] = ["step_name", "step"];
/// What an alert is about that names nothing.
const NOTHING_NAMED: &str = "alerts";

/// Under which name the digest of labels stands that are too many or too long to be kept, and how long it is.
const DIGEST: &str = "labels_digest";
const DIGEST_BYTES: usize = 16;
/// How Go writes a time that is none.
const NO_TIME: &str = "0001-01-01";

/// Registers the route.
pub(super) fn routes(config: &mut ServiceConfig<'_>) {
    config.service(receive_alerts);
}

/// What Alertmanager sends; the parts that are read.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(title = "Notification of Alertmanager")]
struct Received {
    /// At most 500.
    alerts: Vec<ReceivedAlert>,
    /// Alerts that Alertmanager has left out.
    #[serde(default, rename = "truncatedAlerts")]
    truncated: u64,
}

/// An alert.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(title = "Alert of Alertmanager")]
struct ReceivedAlert {
    /// `firing` or `resolved`.
    #[schema(example = "firing")]
    status: String,
    /// What identifies it.
    labels: BTreeMap<String, String>,
    /// What it says: `summary` or `description`, and `runbook_url`.
    annotations: Option<BTreeMap<String, String>>,
    /// Since when.
    #[schema(value_type = Option<String>, format = DateTime)]
    starts_at: Option<String>,
    /// Where it can be looked at.
    #[serde(rename = "generatorURL")]
    generator_url: Option<String>,
}

impl RequestBody for Received {
    // What rules say in their annotations may be long.
    const MOST_BYTES: usize = limits::ALERTS_BODY_BYTES;
}

/// What became of the alerts.
#[derive(Debug, Default, PartialEq, Serialize, ToSchema)]
#[schema(title = "Alerts received")]
struct ReceivedView {
    /// Alerts in the request.
    #[schema(example = 2)]
    received: usize,
    /// Those that opened, worsened, reopened or ended an incident.
    #[schema(example = 1)]
    changed: usize,
    /// Those that said nothing new.
    #[schema(example = 1)]
    unchanged: usize,
    /// Those of which the service tells people by itself, and those about which nobody is to do anything: of severity
    /// `none` or `info`.
    #[schema(example = 0)]
    ignored: usize,
}

/// Receive alerts of an Alertmanager, as incidents of kind `alert`.
#[utoipa::path(tag = "incidents", request_body = Received,
    responses((status = 200, description = "What became of them.", body = ReceivedView), RecordErrors))]
#[post("/alertmanager/webhook")]
async fn receive_alerts(
    state: web::Data<AppState>,
    _query: Query<NoParameters>,
    body: Body<Received>,
) -> Result<web::Json<ReceivedView>, ApiError> {
    let now = state.tracing.now();
    let Received { alerts, truncated } = body.into_inner();
    if truncated > 0 {
        tracing::warn!(
            event = "alerts",
            truncated,
            "Alertmanager has left out alerts: its max_alerts is too low"
        );
    }
    let received = alerts.len();
    let signals = signals(alerts, now)?;
    let told = signals.len();
    let sent = signals.into_iter().map(|signal| state.tracing.signal(signal, Arrival::plain(now)));
    let changed = try_join_all(sent).await?.into_iter().flatten().count();
    let view = ReceivedView { received, changed, unchanged: told - changed, ignored: received - told };
    Ok(web::Json(view))
}

/// Returns what alerts say; those of which the service tells people by itself say nothing.
fn signals(alerts: Vec<ReceivedAlert>, now: Timestamp) -> Result<Vec<Signal>, ApiError> {
    let mut checks = Checks::default();
    if alerts.len() > MOST_ALERTS {
        checks
            .fault("/alerts", format!("must not be more than {MOST_ALERTS}: set max_alerts of the webhook"));
        return checks.finish(|| None);
    }
    let mut signals = Vec::with_capacity(alerts.len());
    for (number, alert) in alerts.into_iter().enumerate() {
        checks.within(format!("/alerts/{number}"));
        let starts_at = alert.starts_at.as_deref().filter(|text| !text.starts_with(NO_TIME));
        let since = checks.time("/startsAt", starts_at, now).unwrap_or(now);
        let fires = match alert.status.as_str() {
            "firing" => true,
            "resolved" => false,
            _ => {
                checks.fault("/status", "must be firing or resolved");
                continue;
            }
        };
        if !is_told_by_ourselves(&alert.labels) && !asks_for_nothing(&alert.labels) {
            signals.push(signal(alert, since, fires));
        }
    }
    checks.finish(|| Some(signals))
}

/// Returns whether it is an alert that the service has told an Alertmanager, or one that rules made of what the
/// service judges and tells by itself.
fn is_told_by_ourselves(labels: &BTreeMap<String, String>) -> bool {
    let label = |name: &str| labels.get(name).map(String::as_str);
    let is_ours = label("fingerprint").is_some_and(|text| text.len() == 32)
        && label("kind").is_some_and(|kind| IncidentKind::parse(kind).is_some());
    is_ours || label(TOLD_BY.0) == Some(TOLD_BY.1)
}

/// Returns whether nobody is to do anything about it: a heartbeat such as `Watchdog`, or a mere remark.
fn asks_for_nothing(labels: &BTreeMap<String, String>) -> bool {
    let severity = labels.get("severity").map(|text| text.to_ascii_lowercase());
    matches!(severity.as_deref(), Some("none" | "info"))
}

fn signal(alert: ReceivedAlert, since: Timestamp, fires: bool) -> Signal {
    let ReceivedAlert { labels, annotations, generator_url, .. } = alert;
    let annotations = annotations.unwrap_or_default();
    let workflow =
        WORKFLOW_LABELS.iter().find_map(|name| WorkflowName::new(&cut_name(labels.get(*name)?)).ok());
    let workflow = workflow.unwrap_or_else(|| WorkflowName::from_stored(NOTHING_NAMED));
    let step = STEP_LABELS.iter().find_map(|name| StepName::new(&cut_name(labels.get(*name)?)).ok());
    let said = ["summary", "description", "message"].iter().find_map(|name| annotations.get(*name));
    let found = fires.then(|| {
        Finding::Alerted(AlertNote {
            severity: severity(labels.get("severity")),
            name: labels.get("alertname").map(cut_name).unwrap_or_default(),
            summary: said.map(|text| cut(text, SUMMARY_CHARS)).unwrap_or_default(),
            since,
            source: generator_url.and_then(address),
            runbook: annotations.get("runbook_url").cloned().and_then(address),
        })
    });
    let cause = Cause { kind: IncidentKind::Alert, workflow, step, cohort: identity(&labels) };
    Signal { cause, found, execution: None }
}

/// Returns what an alert is: its labels, the severity among them, as they are to Alertmanager. One that fires as a warning
/// and as critical is two alerts, each of which ends by itself.
fn identity(labels: &BTreeMap<String, String>) -> Cohort {
    let kept = labels.iter().filter(|(_, value)| !value.is_empty());
    let cut: BTreeMap<String, String> =
        kept.clone().take(MOST_LABELS).map(|(name, value)| (cut_name(name), cut_name(value))).collect();
    if kept.clone().eq(&cut) {
        return Cohort::of(cut);
    }
    // What was cut away tells it from others too.
    let mut hash = Sha256::new();
    for part in kept.flat_map(|(name, value)| [name, value]) {
        hash.update(part.len().to_le_bytes());
        hash.update(part);
    }
    let digest = hash.finalize().iter().take(DIGEST_BYTES).map(|byte| format!("{byte:02x}")).collect();
    Cohort::of(cut.into_iter().chain([(DIGEST.to_owned(), digest)]))
}

/// Reads a severity as rules commonly write it; what is none of the worst is a WARNING.
fn severity(label: Option<&String>) -> Severity {
    let label = label.map(|label| label.to_ascii_lowercase());
    match label.as_deref() {
        Some("critical" | "page" | "emergency" | "error" | "high" | "sev1" | "p1") => Severity::Critical,
        Some(_) | None => Severity::Warning,
    }
}

fn cut_name(text: impl AsRef<str>) -> String {
    cut(text.as_ref(), limits::NAME_CHARS)
}

/// Returns the first characters of a text in one line.
fn cut(text: &str, most_chars: usize) -> String {
    let line = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    line.take(most_chars).collect::<String>().trim().to_owned()
}

/// Returns an address that a person may be led to.
fn address(url: String) -> Option<String> {
    let is_web = url.starts_with("http://") || url.starts_with("https://");
    let is_plain = |c: char| !c.is_control() && !c.is_whitespace() && !matches!(c, '<' | '>' | '|' | '"');
    (is_web && url.len() <= URL_BYTES && url.chars().all(is_plain)).then_some(url)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn signal_of(alert: serde_json::Value) -> Option<Signal> {
        let alert: ReceivedAlert = serde_json::from_value(alert).unwrap();
        signals(vec![alert], Timestamp::from_millis(0)).unwrap().pop()
    }

    #[test]
    fn an_alert_is_about_the_workflow_that_it_names_or_what_stands_for_it() {
        let about = |labels: serde_json::Value| {
            let cause = signal_of(json!({"status": "firing", "labels": labels})).unwrap().cause;
            format!("{} {:?}", cause.workflow, cause.step.map(|step| step.to_string()))
        };
        assert_eq!(
            about(json!({"alertname": "A", "workflow_name": "etl", "step": "load"})),
            "etl Some(\"load\")"
        );
        assert_eq!(about(json!({"alertname": "A", "job": "node", "service": "db"})), "db None");
        assert_eq!(about(json!({"alertname": "A", "job": " \n"})), "alerts None");
        assert_eq!(about(json!({"job": "x".repeat(300)})).len(), 205);
    }

    #[test]
    fn an_alert_is_all_of_its_labels() {
        let fingerprint = |severity: &str, instance: &str| {
            let labels = json!({"alertname": "A", "severity": severity, "instance": instance});
            let signal = signal_of(json!({"status": "firing", "labels": labels})).unwrap();
            (signal.cause.fingerprint(), signal.found.map(|found| found.severity()))
        };
        let (warning, critical) = (fingerprint("warning", "a"), fingerprint("Page", "a"));
        assert_eq!((warning.1, critical.1), (Some(Severity::Warning), Some(Severity::Critical)));
        assert_ne!(warning.0, critical.0);
        assert_ne!(warning.0, fingerprint("warning", "b").0);
        let long = |end: &str| fingerprint("warning", &format!("{}{end}", "x".repeat(300))).0;
        assert_ne!(long("a"), long("b"), "what is cut away counts");
        assert_eq!(long("a"), long("a"));
    }

    #[test]
    fn what_the_service_tells_by_itself_is_ignored() {
        let labels = |more: serde_json::Value| json!({"status": "firing", "labels": more});
        assert!(signal_of(labels(json!({"alertname": "SloBurn", "told_by": "tracer"}))).is_none());
        let ours = json!({"alertname": "TracerSlowStep", "kind": "slow_step", "fingerprint": "0".repeat(32)});
        assert!(signal_of(labels(ours)).is_none());
        assert!(signal_of(labels(json!({"alertname": "A", "kind": "slow_step"}))).is_some());
        assert!(signal_of(labels(json!({"alertname": "Watchdog", "severity": "none"}))).is_none());
    }

    #[test]
    fn addresses_lead_to_the_web_or_nowhere() {
        let url = |text: &str| address(text.to_owned());
        assert!(url("https://prometheus.example/graph?g0.expr=up").is_some());
        assert_eq!(
            [url("javascript:alert(1)"), url("https://a b"), url("/graph"), url("http://x|y")],
            [const { None }; 4]
        );
        assert!(url(&format!("https://{}", "a".repeat(URL_BYTES))).is_none());
    }
}
