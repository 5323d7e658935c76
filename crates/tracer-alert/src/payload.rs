//! A notification as JSON, for programs.
//!
//! One object; what a field is called does not change, further fields may come, and then `version` stays:
//!
//! | field | value |
//! |---|---|
//! | `version` | 1 |
//! | `notification_id` | the number of the notification, the same at every attempt: what was had already can be left |
//! | `transition` | `opened`, `worsened`, `repeated`, `reopened` or `resolved` |
//! | `created_at` | when it happened |
//! | `incident_id`, `fingerprint` | the incident, and its cause, which is the same from incident to incident |
//! | `kind` | `slow_step`, `stuck_step`, `stalled_execution`, `regression` or `failure_rate` |
//! | `severity` | `WARNING` or `CRITICAL` |
//! | `state` | `firing` or `resolved` |
//! | `title`, `summary` | in words; names are as clients wrote them |
//! | `workflow_name`, `step_name` | the cause; `step_name` is null where it is about executions as wholes |
//! | `cohort` | null, or the cohort that a setting names |
//! | `workflow_id`, `step_id` | the example to look at: the worst so far |
//! | `occurrences`, `ongoing` | findings so far; and what is stuck at this moment |
//! | `first_seen_at`, `last_seen_at` | when the first and the last finding were made |
//! | `factor` | by what factor it is worse than normal; 0 where it is compared with nothing |
//! | `duration_ms`, `historical_avg_ms`, `p95_ms`, `samples`, `in_flight`, `compared_with` | of the first three kinds |
//! | `before_ms`, `after_ms`, `began_at`, `samples`, `changed` | of a regression; `changed` is null or `{"attribute", "value"}` |
//! | `failed`, `ended`, `rate`, `usual`, `limit`, `since` | of a failure rate; shares are from 0 to 1 |
//! | `acknowledged` | null or `{"at", "by"}` |
//! | `snoozed_until` | null or a time |
//! | `resolved` | null or `{"at", "by"}`, by `normal`, `ended`, `rebaselined`, `stale` or `hand` |
//! | `simulated` | whether only invented executions took part |
//! | `links` | `{"execution", "grafana", "runbook"}`, as far as patterns are set |
//!
//! Times are RFC 3339 in UTC with milliseconds, durations whole milliseconds.
//! Not here: how it is sent and signed (`webhook`).

use serde_json::{Map, Value, json};
use tracer_core::cohort::Cohort;
use tracer_core::incident::{Finding, Incident};
use tracer_core::notify::Notification;

use crate::links::Links;
use crate::words;

/// Characters shown of a name: all that it may have.
const NAME: usize = tracer_core::limits::NAME_CHARS;

/// Returns a notification as JSON.
pub(crate) fn payload(notification: &Notification, links: &Links) -> Value {
    let incident = &notification.incident;
    let mut payload = json!({
        "version": 1,
        "notification_id": notification.id,
        "transition": notification.transition,
        "created_at": notification.created_at.to_string(),
        "links": links.of(incident),
    });
    if let Some(fields) = payload.as_object_mut() {
        fields.extend(of_incident(incident));
        fields.extend(of_finding(&incident.worst.finding));
    }
    payload
}

fn of_incident(incident: &Incident) -> Map<String, Value> {
    let (cause, worst) = (&incident.cause, &incident.worst);
    let acknowledged = incident.acknowledged.as_ref();
    let resolved = incident.resolved.as_ref();
    object(json!({
        "incident_id": incident.id,
        "fingerprint": cause.fingerprint().to_string(),
        "kind": cause.kind,
        "severity": incident.severity,
        "state": incident.state,
        "title": words::title(incident, NAME),
        "summary": words::end(incident).unwrap_or_else(|| words::finding(incident)),
        "workflow_name": cause.workflow,
        "step_name": cause.step,
        "cohort": cohort(&cause.cohort),
        "workflow_id": worst.execution,
        "step_id": worst.step,
        "occurrences": incident.occurrences,
        "ongoing": incident.ongoing,
        "first_seen_at": incident.first_seen_at.to_string(),
        "last_seen_at": incident.last_seen_at.to_string(),
        "factor": worst.finding.factor(),
        "acknowledged": acknowledged.map(|by| json!({"at": by.at.to_string(), "by": by.by})),
        "snoozed_until": incident.snoozed_until.map(|until| until.to_string()),
        "resolved": resolved.map(|end| json!({"at": end.at.to_string(), "by": end.by})),
        "simulated": incident.simulated,
    }))
}

fn of_finding(finding: &Finding) -> Map<String, Value> {
    object(match finding {
        Finding::TooLong(verdict) => json!({
            "duration_ms": verdict.duration.as_millis(),
            "historical_avg_ms": verdict.historical_avg.as_millis(),
            "p95_ms": verdict.p95.as_millis(),
            "samples": verdict.samples,
            "in_flight": verdict.in_flight,
            "compared_with": verdict.compared_with(),
        }),
        Finding::Slower(regression) => json!({
            "before_ms": regression.before.as_millis(),
            "after_ms": regression.after.as_millis(),
            "began_at": regression.began_at.to_string(),
            "samples": regression.samples,
            "changed": regression.changed.as_ref().map(|(name, value)| json!({"attribute": name, "value": value})),
        }),
        Finding::Failing(rate) => json!({
            "failed": rate.failed,
            "ended": rate.ended,
            "rate": rate.rate(),
            "usual": rate.usual,
            "limit": rate.limit,
            "since": rate.since.to_string(),
        }),
        Finding::Burning(burn) => json!({
            "slo": burn.slo,
            "sli": burn.sli,
            "objective": burn.objective,
            "burn_rate": burn.burn_rate,
            "long_window_ms": burn.long.as_millis(),
            "short_window_ms": burn.short.as_millis(),
            "events": burn.events,
            "bad": burn.bad,
            "error_budget_remaining": burn.budget_remaining,
        }),
        Finding::Alerted(note) => json!({
            "alert": note.name,
            "alert_summary": note.summary,
            "since": note.since.to_string(),
            "source": note.source,
            "runbook": note.runbook,
        }),
    })
}

fn cohort(cohort: &Cohort) -> Option<&Cohort> {
    Some(cohort).filter(|cohort| !cohort.is_whole())
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use tracer_core::incident::{ResolvedBy, Transition};

    use super::*;
    use crate::samples;

    #[test]
    fn a_notification_is_told_in_the_public_fields() {
        let links = Links::new(Some("https://tracer.example/workflows/{execution}"), None, &[]).unwrap();
        let incident = samples::acknowledged(samples::worse());
        insta::assert_json_snapshot!(payload(
            &samples::notification(42, Transition::Worsened, incident),
            &links
        ));
    }

    #[test]
    fn each_kind_has_fields_of_its_own() {
        let mut told = String::new();
        for incident in samples::each_kind() {
            let fields = serde_json::to_string_pretty(&of_finding(&incident.worst.finding)).unwrap();
            told += &format!("{} {fields}\n", incident.cause.kind.as_str());
        }
        let over = samples::resolved(samples::regression(), ResolvedBy::Rebaselined);
        let over = payload(&samples::notification(43, Transition::Resolved, over), &Links::default());
        told += &format!("{} {} {}", over["state"], over["resolved"], over["links"]);
        insta::assert_snapshot!(told);
    }
}
