//! Tells Prometheus' Alertmanager what fires and what is over, by `POST /api/v2/alerts`.
//!
//! An alert is its labels: what has the same labels is the same alert. Those of a cause are always the same,
//! and hold no id, so that a silence that somebody made of an alert also holds for the next incident of its
//! cause. The severity is a label too, as everybody's routes go by it, and so an incident that becomes worse is
//! another alert: the one of the lower severity is resolved in the same request, once.
//!
//! An alert that nobody repeats ends by itself, after three times the interval at which it is repeated. So what
//! is lost here, or in a restart of Alertmanager, is right again after the next repetition.
//! Not here: whom Alertmanager tells.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::Url;
use reqwest::header::HeaderMap;
use serde::Serialize;
use tracer_core::detect::Severity;
use tracer_core::incident::{Incident, IncidentKind, IncidentState, Transition};
use tracer_core::notify::{Delivery, Notification, Notifier, NotifyError, Receipt};
use tracer_core::time::{Micros, Timestamp};

use crate::http::{Http, SetupError, address, one_line};
use crate::links::Links;
use crate::words;

/// How often everything that fires is repeated.
const RESTATED_EVERY: Micros = Micros::from_secs(60);
/// Without being repeated for so long, an alert ends.
const LASTS: Micros = Micros::from_secs(3 * 60);
/// Most alerts in one request.
const ALERTS: usize = 200;
/// Most bytes that are shown of an answer.
const ANSWER_BYTES: usize = 200;
/// Characters shown of a name: all that it may have.
const NAME: usize = tracer_core::limits::NAME_CHARS;

/// An Alertmanager.
pub struct Alertmanager {
    http: Http,
    url: Url,
    links: Arc<Links>,
    timeout: Duration,
}

impl fmt::Debug for Alertmanager {
    /// Leaves out the address, which may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Alertmanager").finish_non_exhaustive()
    }
}

impl Alertmanager {
    /// Returns the Alertmanager at an address, which is that of its pages; a user's name and password in it are
    /// sent. A call takes no longer than `timeout`.
    ///
    /// # Errors
    /// [`SetupError::Address`] if it is no address.
    pub fn new(http: &Http, url: &str, links: Arc<Links>, timeout: Duration) -> Result<Self, SetupError> {
        let mut url = address(url)?;
        url.path_segments_mut()
            .map_err(|()| SetupError::Address)?
            .pop_if_empty()
            .extend(["api", "v2", "alerts"]);
        Ok(Self { http: http.clone(), url, links, timeout })
    }

    async fn post(&self, alerts: &[Alert]) -> Result<(), NotifyError> {
        for some in alerts.chunks(ALERTS) {
            let body = serde_json::to_vec(some)
                .map_err(|_| NotifyError::Permanent { reason: "no alert can be made of it".to_owned() })?;
            let answer = self.http.post(&self.url, HeaderMap::new(), body, self.timeout).await?;
            let said = one_line(&answer.body, ANSWER_BYTES);
            answer.success(&said)?;
        }
        Ok(())
    }

    /// Returns the alert of an incident as it is.
    fn present(&self, incident: &Incident) -> Alert {
        let until = match (incident.state, &incident.resolved) {
            (IncidentState::Firing, _) => self.http.now() + LASTS,
            (IncidentState::Resolved, Some(resolved)) => resolved.at,
            (IncidentState::Resolved, None) => self.http.now(),
        };
        self.alert(incident, incident.severity, until)
    }

    /// Returns the alert that an incident was until it became worse, as one that is over. Only then: an end of
    /// what never fired would be told too.
    fn past(&self, notification: &Notification) -> Option<Alert> {
        let incident = &notification.incident;
        let is_worse =
            notification.transition == Transition::Worsened && incident.severity > Severity::Warning;
        is_worse.then(|| self.alert(incident, Severity::Warning, self.http.now()))
    }

    fn alert(&self, incident: &Incident, severity: Severity, until: Timestamp) -> Alert {
        let links = self.links.of(incident);
        let mut annotations = BTreeMap::from([
            ("summary", words::title(incident, NAME)),
            ("description", words::end(incident).unwrap_or_else(|| words::finding(incident))),
            ("incident", incident.id.to_string()),
            ("occurrences", incident.occurrences.to_string()),
        ]);
        annotations.extend(incident.worst.execution.map(|id| ("workflow_id", id.to_string())));
        annotations.extend(incident.simulated.then(|| ("simulated", "true".to_owned())));
        let by = incident.acknowledged.as_ref().and_then(|acknowledged| acknowledged.by.clone());
        annotations.extend(by.map(|by| ("acknowledged_by", by)));
        let named = [
            ("execution_url", &links.execution),
            ("grafana_url", &links.grafana),
            ("runbook_url", &links.runbook),
        ];
        annotations.extend(named.into_iter().filter_map(|(name, url)| Some((name, url.clone()?))));
        // An alert may not end before it starts.
        let starts_at = incident.first_seen_at.min(until);
        Alert {
            labels: labels(incident, severity),
            annotations,
            starts_at: starts_at.to_string(),
            ends_at: until.to_string(),
            generator_url: links.execution,
        }
    }
}

/// An alert of Alertmanager's API, version 2.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Alert {
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<&'static str, String>,
    starts_at: String,
    ends_at: String,
    #[serde(rename = "generatorURL", skip_serializing_if = "Option::is_none")]
    generator_url: Option<String>,
}

/// Returns the identity of an alert.
fn labels(incident: &Incident, severity: Severity) -> BTreeMap<String, String> {
    let cause = &incident.cause;
    let mut labels = BTreeMap::new();
    // First, so that no attribute takes the place of another label: of two that come to the same name the
    // first in order is kept, and the fingerprint tells them apart.
    for (name, value) in cause.cohort.parts() {
        if !value.is_empty() {
            labels.entry(format!("cohort_{}", label_name(name))).or_insert_with(|| value.clone());
        }
    }
    labels.insert("alertname".to_owned(), alert_name(cause.kind).to_owned());
    labels.insert("severity".to_owned(), severity.as_str().to_lowercase());
    labels.insert("workflow".to_owned(), cause.workflow.to_string());
    labels.extend(cause.step.as_ref().map(|step| ("step".to_owned(), step.to_string())));
    labels.insert("kind".to_owned(), cause.kind.as_str().to_owned());
    labels.insert("fingerprint".to_owned(), cause.fingerprint().to_string());
    labels
}

const fn alert_name(kind: IncidentKind) -> &'static str {
    match kind {
        IncidentKind::SlowStep => "TracerSlowStep",
        IncidentKind::StuckStep => "TracerStuckStep",
        IncidentKind::StalledExecution => "TracerStalledExecution",
        IncidentKind::Regression => "TracerRegression",
        IncidentKind::FailureRate => "TracerFailureRate",
        IncidentKind::SloBurn => "TracerSloBurn",
        IncidentKind::Alert => "TracerAlert",
    }
}

/// Returns a text with what no label's name may hold replaced.
fn label_name(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

#[async_trait]
impl Notifier for Alertmanager {
    async fn deliver(&self, delivery: &Delivery) -> Result<Receipt, NotifyError> {
        let alerts = delivery.notifications.iter().flat_map(|notification| {
            [Some(self.present(&notification.incident)), self.past(notification)].into_iter().flatten()
        });
        let alerts: Vec<Alert> = alerts.collect();
        self.post(&alerts).await?;
        Ok(Receipt::default())
    }

    fn forgets_after(&self) -> Option<Micros> {
        Some(RESTATED_EVERY)
    }

    async fn restate(&self, firing: &[Incident]) -> Result<(), NotifyError> {
        let alerts: Vec<Alert> = firing.iter().map(|incident| self.present(incident)).collect();
        self.post(&alerts).await
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use tracer_core::cohort::Cohort;
    use tracer_core::incident::ResolvedBy;
    use tracer_core::test_util::FakeClock;

    use super::*;
    use crate::fake_server::{Play, Server};
    use crate::samples;

    fn alertmanager(server: &Server, url: &str) -> Alertmanager {
        let clock = FakeClock::default();
        clock.advance(Micros::from_secs(2_600));
        let http = Http::new(Arc::new(clock)).unwrap();
        let links = Links::new(Some("https://tracer.example/workflows/{execution}"), None, &[]).unwrap();
        Alertmanager::new(&http, url, Arc::new(links), server.patience()).unwrap()
    }

    async fn posted(transition: Transition, incident: Incident) -> Value {
        let server = Server::playing([Play::status(200)]).await;
        let url = server.url("");
        alertmanager(&server, &url).deliver(&samples::delivery(transition, incident)).await.unwrap();
        assert_eq!(server.seen()[0].path, "/api/v2/alerts");
        server.seen()[0].json()
    }

    #[tokio::test]
    async fn what_fires_is_an_alert_that_ends_unless_it_is_repeated() {
        insta::assert_json_snapshot!(posted(Transition::Opened, samples::slow()).await);
    }

    #[tokio::test]
    async fn what_is_worse_takes_the_place_of_what_it_was() {
        let mut told = String::new();
        let resolved = samples::resolved(samples::worse(), ResolvedBy::Normal);
        for (transition, incident) in [
            (Transition::Opened, samples::slow()),
            (Transition::Worsened, samples::worse()),
            (Transition::Repeated, samples::worse()),
            (Transition::Resolved, resolved),
        ] {
            for alert in posted(transition, incident).await.as_array().unwrap() {
                let severity = alert["labels"]["severity"].as_str().unwrap();
                let times = ["startsAt", "endsAt"].map(|name| alert[name].as_str().unwrap());
                told += &format!("{severity} {}\n", times.join(" to "));
            }
            told.push('\n');
        }
        insta::assert_snapshot!(told, @"
        warning 2026-01-31T12:00:00.000Z to 2026-01-31T12:46:20.000Z

        critical 2026-01-31T12:00:00.000Z to 2026-01-31T12:46:20.000Z
        warning 2026-01-31T12:00:00.000Z to 2026-01-31T12:43:20.000Z

        critical 2026-01-31T12:00:00.000Z to 2026-01-31T12:46:20.000Z

        critical 2026-01-31T12:00:00.000Z to 2026-01-31T12:42:10.000Z
        ");
    }

    #[tokio::test]
    async fn an_alert_is_the_same_for_all_of_an_incident_and_for_the_next_one_of_its_cause() {
        for incident in samples::each_kind() {
            let firing = posted(Transition::Opened, incident.clone()).await[0]["labels"].clone();
            let acknowledged = samples::acknowledged(incident.clone());
            let over = posted(Transition::Resolved, samples::resolved(acknowledged, ResolvedBy::Hand)).await
                [0]["labels"]
                .clone();
            assert_eq!(firing, over);
            assert!(!firing.to_string().contains("inc_") && !firing.to_string().contains("wf_"), "{firing}");
        }
    }

    #[tokio::test]
    async fn a_cohort_is_labels_whatever_its_attributes_are_called() {
        let mut incident = samples::slow();
        let parts =
            [("alertname", "x"), ("input-bytes", "1"), ("input.bytes", "2"), ("größe", "<b>"), ("none", "")];
        incident.cause.cohort = Cohort::of(parts.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let mut labels = posted(Transition::Opened, incident).await[0]["labels"].clone();
        labels["fingerprint"] = Value::Null;
        insta::assert_json_snapshot!(labels, @r#"
        {
          "alertname": "TracerSlowStep",
          "cohort_alertname": "x",
          "cohort_gr__e": "<b>",
          "cohort_input_bytes": "1",
          "fingerprint": null,
          "kind": "slow_step",
          "severity": "warning",
          "step": "load",
          "workflow": "etl"
        }
        "#);
    }

    #[tokio::test]
    async fn everything_that_fires_is_repeated_in_few_requests() {
        let server = Server::playing([Play::status(200)]).await;
        let alertmanager = alertmanager(&server, &server.url("/am/"));
        assert_eq!(alertmanager.forgets_after(), Some(Micros::from_secs(60)));
        alertmanager.restate(&vec![samples::worse(); 300]).await.unwrap();
        let seen = server.seen();
        assert_eq!(
            seen.iter().map(|seen| seen.json().as_array().unwrap().len()).collect::<Vec<_>>(),
            [200, 100]
        );
        assert_eq!(seen[0].path, "/am/api/v2/alerts");
        alertmanager.restate(&[]).await.unwrap();
        assert_eq!(server.seen().len(), 2);
    }

    #[tokio::test]
    async fn a_password_in_the_address_is_sent_and_told_to_nobody() {
        let server =
            Server::playing([Play::status(200), Play::status(400).body(r#""bad label""#), Play::status(503)])
                .await;
        let url = format!("http://ops:hidden@{}", server.address());
        let alertmanager = alertmanager(&server, &url);
        let delivery = samples::delivery(Transition::Opened, samples::slow());
        alertmanager.deliver(&delivery).await.unwrap();
        assert_eq!(server.seen()[0].headers["authorization"], "Basic b3BzOmhpZGRlbg==");
        let refused = alertmanager.deliver(&delivery).await.unwrap_err();
        assert_eq!(refused.to_string(), "the channel refused it: it answered 400 Bad Request: \"bad label\"");
        let away = alertmanager.restate(&[samples::slow()]).await.unwrap_err();
        assert!(matches!(&away, NotifyError::Transient { .. }) && !format!("{away:?}").contains("hidden"));
        assert!(!format!("{alertmanager:?}").contains("hidden"));
    }
}
