//! `POST /alertmanager/webhook`: somebody else's alerts, told by the channels of the service.

use serde_json::{Value, json};

use super::helpers::{Service, start};

const WEBHOOK: &str = "/alertmanager/webhook";
const LATER: &str = "2026-01-31T11:59:30.123456789+00:00";

fn alert(name: &str, status: &str, severity: &str) -> Value {
    json!({
        "status": status,
        "labels": {"alertname": name, "severity": severity, "instance": "db-1:9100", "job": "node"},
        "annotations": {"summary": format!("{name} on db-1"), "runbook_url": "https://wiki.example/disk"},
        "startsAt": LATER,
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "http://prometheus.example/graph?g0.expr=disk",
        "fingerprint": "c8c0b7d5a6b1e2f3",
    })
}

/// The whole of what Alertmanager 0.25 sends.
fn body(alerts: &[Value]) -> Value {
    json!({
        "version": "4", "groupKey": "{}:{alertname=\"DiskFull\"}", "truncatedAlerts": 0, "status": "firing",
        "receiver": "tracer", "groupLabels": {"alertname": "DiskFull"}, "commonLabels": {"job": "node"},
        "commonAnnotations": {}, "externalURL": "http://alertmanager.example", "alerts": alerts,
    })
}

async fn told(service: &Service, alerts: &[Value]) -> Value {
    service.post(WEBHOOK, body(alerts)).await.expect(200)
}

async fn incidents(service: &Service) -> Vec<Value> {
    service.get("/incidents?kind=alert").await.expect(200)["incidents"].as_array().unwrap().clone()
}

#[tokio::test]
async fn an_alert_is_an_incident_until_it_is_resolved() {
    let service = start().await;
    let firing = alert("DiskFull", "firing", "warning");
    let answer = told(&service, std::slice::from_ref(&firing)).await;
    assert_eq!(answer, json!({"received": 1, "changed": 1, "unchanged": 0, "ignored": 0}));
    let opened = incidents(&service).await;
    assert_eq!(opened.len(), 1);
    let incident = &opened[0];
    assert_eq!(
        incident["worst"],
        json!({
            "severity": "WARNING", "alert": "DiskFull", "summary": "DiskFull on db-1",
            "since": "2026-01-31T11:59:30.123Z", "source": "http://prometheus.example/graph?g0.expr=disk",
            "runbook": "https://wiki.example/disk",
        })
    );
    assert_eq!(
        (&incident["workflow_name"], &incident["example_workflow_id"]),
        (&json!("node"), &Value::Null)
    );
    assert_eq!(incident["cohort"]["instance"], "db-1:9100");
    // Alertmanager repeats what fires.
    let again = told(&service, &[firing]).await;
    assert_eq!(again, json!({"received": 1, "changed": 0, "unchanged": 1, "ignored": 0}));
    let over = told(&service, &[alert("DiskFull", "resolved", "warning")]).await;
    assert_eq!(over["changed"], 1);
    let id = incident["incident_id"].as_str().unwrap();
    let whole = service.get(&format!("/incidents/{id}")).await.expect(200);
    let history: Vec<&str> =
        whole["history"].as_array().unwrap().iter().map(|line| line["what"].as_str().unwrap()).collect();
    assert_eq!(history, ["opened", "resolved"]);
    assert_eq!(whole["resolved"]["by"], "ended");
    assert_eq!(incidents(&service).await.len(), 1);
}

#[tokio::test]
async fn of_a_warning_and_its_page_each_ends_by_itself() {
    let service = start().await;
    let both = [alert("DiskFull", "firing", "warning"), alert("DiskFull", "firing", "critical")];
    assert_eq!(told(&service, &both).await["changed"], 2);
    told(&service, &[both[0].clone(), alert("DiskFull", "resolved", "critical")]).await;
    let states = |severity: &str| {
        let path = format!("/incidents?kind=alert&severity={severity}&state=firing");
        let service = &service;
        async move { service.get(&path).await.expect(200)["incidents"].as_array().unwrap().len() }
    };
    assert_eq!((states("warning").await, states("critical").await), (1, 0));
}

#[tokio::test]
async fn what_asks_for_nothing_is_ignored_and_long_texts_are_taken() {
    let service = start().await;
    let mut long = alert("Long", "firing", "warning");
    long["annotations"] = json!({"description": "x".repeat(2_000_000)});
    let mut bare = alert("Bare", "firing", "warning");
    (bare["annotations"], bare["startsAt"]) = (Value::Null, json!("0001-01-01T00:00:00Z"));
    let answer = told(&service, &[alert("Watchdog", "firing", "none"), long, bare]).await;
    assert_eq!(answer, json!({"received": 3, "changed": 2, "unchanged": 0, "ignored": 1}));
}

#[tokio::test]
async fn alerts_of_other_labels_are_incidents_of_their_own_and_the_services_own_none() {
    let service = start().await;
    let mut own = alert("SloBurnFast", "firing", "critical");
    own["labels"]["told_by"] = json!("tracer");
    let answer = told(&service, &[alert("A", "firing", ""), alert("B", "firing", "page"), own]).await;
    assert_eq!(answer, json!({"received": 3, "changed": 2, "unchanged": 0, "ignored": 1}));
    let severities: Vec<Value> =
        incidents(&service).await.iter().map(|incident| incident["severity"].clone()).collect();
    assert!(
        severities.contains(&json!("WARNING")) && severities.contains(&json!("CRITICAL")),
        "{severities:?}"
    );
    // The end of what was never told of ends nothing.
    let end = told(&service, &[alert("C", "resolved", "warning")]).await;
    assert_eq!((end["changed"].clone(), incidents(&service).await.len()), (json!(0), 2));
}

#[tokio::test]
async fn what_is_no_alert_is_refused_whole_with_its_place() {
    let service = start().await;
    let wrong = [
        alert("A", "firing", ""),
        alert("B", "burning", ""),
        json!({"status": "firing", "labels": {}, "startsAt": "noon"}),
    ];
    let problem = service.post(WEBHOOK, body(&wrong)).await.expect(422)["detail"].to_string();
    assert!(problem.contains("alerts.1.status") && problem.contains("alerts.2.startsAt"), "{problem}");
    let many: Vec<Value> = (0..501).map(|n| alert(&format!("A{n}"), "firing", "")).collect();
    assert!(service.post(WEBHOOK, body(&many)).await.problem(422).contains("max_alerts"));
    service.post(WEBHOOK, json!({"alerts": "none"})).await.problem(400);
    service.post(WEBHOOK, json!({})).await.problem(400);
    assert!(incidents(&service).await.is_empty(), "nothing of it is kept");
}
