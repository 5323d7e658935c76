//! `/incidents`: what is wrong, who looks after it, and who is told.

use serde_json::{Value, json};
use tracer_core::limits::SNOOZE_DAYS;

use super::helpers::{Answer, Service, id_of, send, start, start_with};

const NOON: &str = "2026-01-31T12:00:00.000Z";

/// Records five runs of 100 ms and one that is slow; returns the execution and the answer of the slow one.
async fn slow_step(service: &Service, workflow: &str, millis: u64) -> (String, Value) {
    let execution = service.execution(workflow).await;
    for _ in 0..5 {
        service.took(&execution, "load", 100).await;
    }
    let slow = service.took(&execution, "load", millis).await;
    (execution, slow)
}

/// Returns the incidents that a query finds.
async fn incidents(service: &Service, query: &str) -> Vec<Value> {
    let answer = service.get(&format!("/incidents{query}")).await.expect(200);
    answer["incidents"].as_array().unwrap().clone()
}

/// Opens an incident and returns its path.
async fn opened(service: &Service) -> String {
    slow_step(service, "etl", 250).await;
    let found = incidents(service, "").await;
    assert_eq!(found.len(), 1);
    format!("/incidents/{}", found[0]["incident_id"].as_str().unwrap())
}

/// Posts without a body.
async fn bare(service: &Service, path: &str) -> Answer {
    send(service.request("POST", path)).await
}

fn whats(incident: &Value) -> Vec<&str> {
    incident["history"].as_array().unwrap().iter().map(|entry| entry["what"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_slow_step_opens_one_incident_in_which_further_ones_gather() {
    let service = start().await;
    let (execution, slow) = slow_step(&service, "etl", 250).await;
    let found = incidents(&service, "").await;
    assert_eq!(found.len(), 1);
    let (id, fingerprint) = (&found[0]["incident_id"], &found[0]["fingerprint"]);
    assert!(id.as_str().unwrap().starts_with("inc_") && fingerprint.as_str().unwrap().len() == 32);
    let mut expected = json!({
        "incident_id": id, "kind": "slow_step", "state": "firing", "severity": "WARNING",
        "workflow_name": "etl", "step_name": "load", "cohort": null, "occurrences": 1, "ongoing": 0,
        "first_seen_at": NOON, "last_seen_at": NOON, "worst": slow["bottleneck"],
        "example_workflow_id": id_of(&execution), "example_step_id": slow["step_id"], "simulated": false,
        "acknowledged": null, "snoozed_until": null, "resolved": null,
        "told": {"at": NOON, "severity": "WARNING", "firing": true},
        "fingerprint": fingerprint, "changed_at": NOON,
    });
    assert_eq!(found[0], expected);
    let path = format!("/incidents/{}", id.as_str().unwrap());
    expected["history"] = json!([{"at": NOON, "what": "opened", "note": "WARNING, 2.5 times"}]);
    assert_eq!(service.get(&path).await.expect(200), expected);

    service.advance(1_000);
    let worse = service.took(&execution, "load", 1_000).await;
    service.took(&execution, "load", 400).await;
    let now = service.get(&path).await.expect(200);
    assert_eq!((&now["severity"], &now["occurrences"]), (&json!("CRITICAL"), &json!(3)));
    assert_eq!((&now["worst"], &now["example_step_id"]), (&worse["bottleneck"], &worse["step_id"]));
    assert_eq!(now["last_seen_at"], "2026-01-31T12:00:01.000Z");
    assert_eq!(whats(&now), ["opened", "worsened"]);
    assert_eq!(incidents(&service, "").await.len(), 1);
}

#[tokio::test]
async fn what_is_stuck_fires_until_it_ends() {
    let service = start().await;
    let execution = service.execution("etl").await;
    for _ in 0..5 {
        service.took(&execution, "load", 100).await;
    }
    let step = service.step(&execution, "load").await;
    service.advance(250);
    service.background.watch().await.unwrap();
    let stuck = incidents(&service, "?kind=stuck_step").await.pop().unwrap();
    assert_eq!((&stuck["ongoing"], &stuck["worst"]["in_flight"]), (&json!(1), &json!(true)));
    assert_eq!(stuck["example_step_id"], id_of(&step));
    service.put(&step, json!({})).await.expect(200);
    let ended = incidents(&service, "?kind=stuck_step&state=resolved").await.pop().unwrap();
    assert_eq!((&ended["ongoing"], &ended["resolved"]["by"]), (&json!(0), &json!("ended")));
}

#[tokio::test]
async fn too_many_failures_are_an_incident_with_their_share() {
    let service = start().await;
    let execution = service.execution("etl").await;
    for _ in 0..20 {
        let body = json!({"step_name": "load", "duration_ms": 5, "status": "failed"});
        service.post(&format!("{execution}/steps"), body).await.expect(201);
    }
    let found = incidents(&service, "?kind=failure_rate").await.pop().unwrap();
    assert_eq!((&found["step_name"], &found["severity"]), (&json!("load"), &json!("CRITICAL")));
    let expected = json!({
        "severity": "CRITICAL", "failed": 20, "ended": 20, "since": NOON, "rate": 1.0, "usual_rate": 0.0,
        "limit": 0.05, "factor": 20.0,
    });
    assert_eq!(found["worst"], expected);
}

#[tokio::test]
async fn an_incident_is_acknowledged_snoozed_and_resolved_by_hand() {
    let service = start().await;
    let path = opened(&service).await;
    let acknowledged = service.post(&format!("{path}/acknowledge"), json!({"by": "ada"})).await.expect(200);
    assert_eq!(acknowledged["acknowledged"], json!({"at": NOON, "by": "ada"}));
    service.advance(1_000);
    assert_eq!(
        bare(&service, &format!("{path}/acknowledge")).await.expect(200),
        acknowledged,
        "once is enough"
    );

    let snoozed = service.post(&format!("{path}/snooze"), json!({"duration_ms": 60_000})).await.expect(200);
    assert_eq!(snoozed["snoozed_until"], "2026-01-31T12:01:01.000Z");
    let until = json!({"until": "2026-01-31T14:00:00+01:00", "by": "ada"});
    let snoozed = service.post(&format!("{path}/snooze"), until).await.expect(200);
    assert_eq!(snoozed["snoozed_until"], "2026-01-31T13:00:00.000Z");

    let resolved = bare(&service, &format!("{path}/resolve")).await.expect(200);
    assert_eq!((&resolved["state"], &resolved["resolved"]["by"]), (&json!("resolved"), &json!("hand")));
    service.advance(1_000);
    assert_eq!(bare(&service, &format!("{path}/resolve")).await.expect(200), resolved);
    for refused in [
        bare(&service, &format!("{path}/acknowledge")).await,
        service.post(&format!("{path}/snooze"), json!({"duration_ms": 5})).await,
    ] {
        assert_eq!(refused.problem(409), "The incident is resolved already.");
    }
    let shown = service.get(&path).await.expect(200);
    assert_eq!(whats(&shown), ["opened", "acknowledged", "snoozed", "snoozed", "resolved"]);
    let notes: Vec<&Value> =
        shown["history"].as_array().unwrap().iter().map(|entry| &entry["note"]).collect();
    assert_eq!(
        notes[1..],
        [
            &json!("ada"),
            &json!("until 2026-01-31T12:01:01.000Z"),
            &json!("until 2026-01-31T13:00:00.000Z: ada"),
            &json!("hand"),
        ]
    );
}

#[tokio::test]
async fn who_says_it_is_the_key_unless_they_say_otherwise() {
    let keys = "boss:admin:one,grafana:read:two,app:ingest:three";
    let service = start_with(|settings| settings.api_keys = keys.parse().unwrap()).await;
    let with = |method: &str, path: &str, key: &str| send(service.request(method, path).bearer_auth(key));
    let started = send(
        service.request("POST", "/workflows").bearer_auth("three").json(&json!({"workflow_name": "etl"})),
    )
    .await;
    let steps = format!("{}/steps", started.header("location"));
    for millis in [100, 100, 100, 100, 100, 250] {
        let body = json!({"step_name": "load", "duration_ms": millis});
        send(service.request("POST", &steps).bearer_auth("three").json(&body)).await.expect(201);
    }
    let found = with("GET", "/incidents", "two").await.expect(200);
    let path = format!("/incidents/{}", found["incidents"][0]["incident_id"].as_str().unwrap());
    assert_eq!(with("GET", &path, "three").await.status, 403);
    for key in ["two", "three"] {
        for change in ["acknowledge", "snooze", "resolve"] {
            with("POST", &format!("{path}/{change}"), key).await.problem(403);
        }
    }
    let said = with("POST", &format!("{path}/acknowledge"), "one").await.expect(200);
    assert_eq!(said["acknowledged"]["by"], "boss");
}

#[tokio::test]
async fn incidents_are_listed_newest_first_by_filter_and_page_by_page() {
    let service = start().await;
    for (workflow, millis) in [("a", 250), ("b", 1_000), ("c/d", 250)] {
        slow_step(&service, workflow, millis).await;
        service.advance(1_000);
    }
    let named = |found: Vec<Value>| -> Vec<String> {
        found.iter().map(|incident| incident["workflow_name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(named(incidents(&service, "").await), ["c/d", "b", "a"]);
    let a = incidents(&service, "?workflow_name=a").await[0]["incident_id"].as_str().unwrap().to_owned();
    bare(&service, &format!("/incidents/{a}/resolve")).await.expect(200);
    for (query, expected) in [
        ("?state=firing", &["c/d", "b"][..]),
        ("?state=resolved", &["a"]),
        ("?severity=critical", &["b"]),
        ("?severity=WARNING", &["c/d", "b", "a"]),
        ("?kind=slow_step&workflow_name=c%2Fd", &["c/d"]),
        ("?kind=regression", &[]),
        ("?workflow_name=nobody", &[]),
    ] {
        assert_eq!(named(incidents(&service, query).await), expected, "{query}");
    }
    let first = service.get("/incidents?limit=2").await.expect(200);
    assert_eq!(named(first["incidents"].as_array().unwrap().clone()), ["c/d", "b"]);
    let next = first["next_cursor"].as_str().unwrap();
    let second = service.get(&format!("/incidents?limit=2&cursor={next}")).await.expect(200);
    assert_eq!(named(second["incidents"].as_array().unwrap().clone()), ["a"]);
    assert_eq!(second["next_cursor"], Value::Null);
}

#[tokio::test]
async fn what_is_none_and_what_is_out_of_bounds_is_refused() {
    let service = start().await;
    let path = opened(&service).await;
    for unknown in
        ["inc_00000000000000000000000000000001", "inc_1", "wf_00000000000000000000000000000001", "%FF"]
    {
        let unknown = format!("/incidents/{unknown}");
        assert_eq!(service.get(&unknown).await.problem(404), "No incident has this id.");
        assert_eq!(
            bare(&service, &format!("{unknown}/resolve")).await.problem(404),
            "No incident has this id."
        );
        let snoozed = service.post(&format!("{unknown}/snooze"), json!({"duration_ms": 5})).await;
        assert_eq!(snoozed.problem(404), "No incident has this id.");
    }
    for query in [
        "state=open",
        "kind=slow",
        "severity=bad",
        "workflow_name=",
        "limit=0",
        "limit=1001",
        "cursor=x",
        "status=firing",
        "state=firing&state=firing",
    ] {
        service.get(&format!("/incidents?{query}")).await.problem(400);
    }
    let days = |days: u64| days * 86_400_000;
    for (body, at_fault) in [
        (json!({}), "/until"),
        (json!({"duration_ms": 5, "until": "2026-01-31T13:00:00Z"}), "/duration_ms"),
        (json!({"duration_ms": 0}), "/duration_ms"),
        (json!({"duration_ms": -1}), "/duration_ms"),
        (json!({"duration_ms": days(SNOOZE_DAYS) + 1}), "/duration_ms"),
        (json!({"until": NOON}), "/until"),
        (json!({"until": "2025-01-31T12:00:00Z"}), "/until"),
        (json!({"until": "2026-03-02T12:00:00.001Z"}), "/until"),
        (json!({"until": "tomorrow"}), "/until"),
        (json!({"duration_ms": 5, "by": ""}), "/by"),
        (json!({"duration_ms": 5, "by": "a\nb"}), "/by"),
    ] {
        let answer = service.post(&format!("{path}/snooze"), body.clone()).await;
        answer.problem(422);
        let problem = answer.expect(422);
        assert_eq!(problem["errors"].as_array().unwrap().len(), 1, "{problem}");
        assert_eq!(problem["errors"][0]["pointer"], at_fault, "{body}");
    }
    service.post(&format!("{path}/snooze"), json!({"duration_ms": days(SNOOZE_DAYS)})).await.expect(200);
    service.post(&format!("{path}/acknowledge"), json!({"by": "x".repeat(201)})).await.problem(422);
    bare(&service, &format!("{path}/snooze")).await.problem(400);
    for body in ["[]", "{", "{\"by\": 3}"] {
        service.raw("POST", &format!("{path}/acknowledge"), body).await.problem(400);
    }
    service.get(&format!("{path}/resolve")).await.problem(405);
    assert_eq!(service.get(&path).await.expect(200)["acknowledged"], Value::Null);
}

#[tokio::test]
async fn health_and_metrics_show_what_fires_and_what_waits_for_whom() {
    let service = start().await;
    let shown = async || -> Vec<String> {
        service.background.count_alerts().await.unwrap();
        let text = service.get("/metrics").await.text;
        let ours = |line: &&str| {
            (line.starts_with("tracer_incidents_firing") || line.starts_with("tracer_outbox_"))
                && !(line.starts_with("tracer_incidents_firing") && line.ends_with(" 0"))
        };
        text.lines().filter(ours).map(str::to_owned).collect()
    };
    let idle =
        [r#"tracer_outbox_pending{channel="log"} 0"#, r#"tracer_outbox_oldest_seconds{channel="log"} 0"#];
    assert_eq!(shown().await, idle);
    opened(&service).await;
    service.advance(10_000);
    assert_eq!(
        shown().await,
        [
            r#"tracer_incidents_firing{kind="slow_step",severity="WARNING"} 1"#,
            r#"tracer_outbox_pending{channel="log"} 1"#,
            r#"tracer_outbox_oldest_seconds{channel="log"} 10"#,
        ]
    );
    let health = service.get("/health").await.expect(200);
    assert_eq!(health["status"], "healthy");
    assert_eq!(
        health["checks"]["outbox"],
        json!({"status": "healthy", "pending": 1, "oldest_age_ms": 10_000})
    );
    assert_eq!(
        health["checks"]["channel:log"],
        json!({
            "status": "healthy", "pending": 1, "oldest_age_ms": 10_000, "failures": 0, "refused": 0,
            "last_sent_at": null, "last_fault": null,
        })
    );
    service.advance(300_000);
    let late = service.get("/health").await.expect(200);
    assert_eq!(
        (&late["status"], &late["checks"]["outbox"]["status"]),
        (&json!("degraded"), &json!("degraded"))
    );
}
