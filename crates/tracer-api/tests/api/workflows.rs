//! `/workflows`: starting, ending, showing and listing executions.

use serde_json::{Value, json};

use super::helpers::{Service, id_of, send, start, start_with};

#[tokio::test]
async fn an_execution_starts_and_ends_as_the_contract_says() {
    let service = start().await;
    let answer = service.post("/workflows", json!({"workflow_name": "etl"})).await;
    let started = answer.expect(201);
    let id = started["workflow_id"].as_str().unwrap().to_owned();
    let digits = id.strip_prefix("wf_").unwrap();
    assert_eq!(answer.header("location"), format!("/workflows/{id}"));
    assert_eq!(answer.header("traceparent"), started["traceparent"]);
    assert_eq!(started["traceparent"], format!("00-{digits}-{}-01", digits.split_at(16).1));
    let fields: Vec<&String> = started.as_object().unwrap().keys().collect();
    assert_eq!(fields, ["started_at", "status", "traceparent", "workflow_id", "workflow_name"]);
    assert_eq!(
        (&started["status"], &started["started_at"]),
        (&json!("running"), &json!("2026-01-31T12:00:00.000Z"))
    );

    let path = format!("/workflows/{id}");
    service.took(&path, "load", 100).await;
    service.advance(1_500);
    let ended = service.put(&path, json!({})).await.expect(200);
    let expected = json!({
        "workflow_id": id, "workflow_name": "etl", "status": "completed",
        "started_at": "2026-01-31T12:00:00.000Z", "ended_at": "2026-01-31T12:00:01.500Z",
        "total_duration_ms": 1500, "steps_completed": 1, "bottlenecks_detected": [],
    });
    assert_eq!(ended, expected);
}

#[tokio::test]
async fn ending_again_answers_what_is_stored_and_another_ending_is_a_conflict() {
    let service = start().await;
    let path = service.execution("etl").await;
    let ended = send(service.request("PUT", &path)).await.expect(200);
    service.advance(1_000);
    assert_eq!(service.put(&path, json!({"status": "success"})).await.expect(200), ended);
    assert_eq!(
        service.put(&path, json!({"status": "failed"})).await.problem(409),
        "The execution has already ended as completed."
    );
    let steps = format!("{path}/steps");
    assert_eq!(
        service.post(&steps, json!({"step_name": "late"})).await.problem(409),
        "The execution has already ended as completed."
    );
}

#[tokio::test]
async fn synonyms_are_read_and_errors_kept() {
    let service = start().await;
    for (body, status, error) in [
        (json!({"status": "ok"}), "completed", Value::Null),
        (json!({"status": "completed", "error": null}), "completed", Value::Null),
        (json!({"status": "completed", "error_message": ""}), "completed", Value::Null),
        (json!({"status": "timeout"}), "timed_out", Value::Null),
        (json!({"status": "cancelled"}), "cancelled", Value::Null),
        (json!({"error": "boom"}), "failed", json!({"type": null, "message": "boom", "stack": null})),
        (
            json!({"status": "failure", "error_message": "bang"}),
            "failed",
            json!({"type": null, "message": "bang", "stack": null}),
        ),
        (
            json!({"status": "error", "error": {"type": "E", "message": "m", "stack": "s"}}),
            "failed",
            json!({"type": "E", "message": "m", "stack": "s"}),
        ),
    ] {
        let path = service.execution("etl").await;
        assert_eq!(service.put(&path, body.clone()).await.expect(200)["status"], status, "{body}");
        let shown = service.get(&path).await.expect(200);
        assert_eq!((&shown["status"], &shown["error"]), (&json!(status), &error), "{body}");
    }
}

#[tokio::test]
async fn what_a_client_gives_is_shown_again() {
    let service = start().await;
    let upstream = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let parent = service.execution("parent").await;
    let body = json!({
        "workflow_name": "a/b ü 🚀", "execution_id": "order-4711", "version": "1.4",
        "attributes": {"region": "eu", "rows": 3}, "input": {"path": ["x", null, 1.5]},
        "started_at": "2026-01-31T10:00:00+01:00", "parent_workflow_id": id_of(&parent), "unknown": true,
    });
    let request = service.request("POST", "/workflows").header("traceparent", upstream).json(&body);
    let started = send(request).await.expect(201);
    let path = format!("/workflows/{}", started["workflow_id"].as_str().unwrap());
    service.put(&path, json!({"output": [1, "two"], "ended_at": "2026-01-31T09:00:02.5Z"})).await.expect(200);
    let shown = service.get(&path).await.expect(200);
    let expected = json!({
        "workflow_id": id_of(&path), "workflow_name": "a/b ü 🚀", "status": "completed",
        "started_at": "2026-01-31T09:00:00.000Z", "ended_at": "2026-01-31T09:00:02.500Z", "total_duration_ms": 2500,
        "steps_completed": 0, "worst_bottleneck": null, "correlation_id": "order-4711", "version": "1.4",
        "attributes": {"region": "eu", "rows": 3}, "parent_workflow_id": id_of(&parent),
        "linked_traceparent": upstream, "simulated": false, "stalled": null, "error": null,
        "traceparent": started["traceparent"],
        "input": {"path": ["x", null, 1.5]}, "output": [1, "two"], "trace": null, "steps": [], "next_cursor": null,
        "events": [], "events_next_cursor": null,
    });
    assert_eq!(shown, expected);
    assert_eq!(
        service.get("/workflows?correlation_id=order-4711").await.expect(200)["workflows"][0]["workflow_id"],
        id_of(&path)
    );
}

#[tokio::test]
async fn an_invalid_traceparent_is_ignored() {
    let service = start().await;
    let request = service.request("POST", "/workflows").header("traceparent", "nonsense");
    let started = send(request.json(&json!({"workflow_name": "etl"}))).await.expect(201);
    let shown =
        service.get(&format!("/workflows/{}", started["workflow_id"].as_str().unwrap())).await.expect(200);
    assert_eq!(shown["linked_traceparent"], Value::Null);
}

#[tokio::test]
async fn ending_an_execution_cancels_its_running_steps_and_counts_them_nowhere() {
    let service = start().await;
    let path = service.execution("etl").await;
    let step = service.step(&path, "load").await;
    service.advance(5_000);
    let ended = service.put(&path, json!({"status": "cancelled"})).await.expect(200);
    assert_eq!((&ended["steps_completed"], &ended["status"]), (&json!(0), &json!("cancelled")));
    let shown = service.get(&path).await.expect(200);
    assert_eq!(
        (&shown["steps"][0]["status"], &shown["steps"][0]["duration_ms"]),
        (&json!("cancelled"), &json!(5000))
    );
    service.put(&step, json!({})).await.problem(409);
    let stats = service.get("/stats/etl").await.expect(200);
    assert!(stats["steps"].as_array().unwrap().iter().all(|step| step["execution_count"] == 0), "{stats}");
}

#[tokio::test]
async fn a_key_makes_starting_safe_to_repeat() {
    let service = start().await;
    let begin = async |key: &str, body: Value| {
        send(service.request("POST", "/workflows").header("idempotency-key", key).json(&body)).await
    };
    let first = begin("k1", json!({"workflow_name": "etl"})).await;
    service.advance(60_000);
    let again = begin("k1", json!({"workflow_name": "etl"})).await;
    assert_eq!(first.expect(201), again.expect(201));
    assert_eq!([first.header("idempotency-replayed"), again.header("idempotency-replayed")], ["", "true"]);
    assert_eq!(
        [first.header("location"), first.header("traceparent")],
        [again.header("location"), again.header("traceparent")]
    );
    begin("k1", json!({"workflow_name": "other"})).await.problem(409);
    assert_ne!(begin("k2", json!({"workflow_name": "etl"})).await.expect(201), first.expect(201));
    assert_eq!(service.get("/workflows").await.expect(200)["workflows"].as_array().unwrap().len(), 2);
    service.advance(24 * 3_600_000);
    assert_ne!(begin("k1", json!({"workflow_name": "etl"})).await.expect(201), first.expect(201));
}

#[tokio::test]
async fn two_callers_may_use_the_same_idempotency_key() {
    let keys = "ci:ingest:one,nightly:ingest:two";
    let service = start_with(|settings| settings.api_keys = keys.parse().unwrap()).await;
    let begin = async |caller: &str| {
        let request = service.request("POST", "/workflows").header("idempotency-key", "1");
        let request = request.header("authorization", format!("Bearer {caller}"));
        send(request.json(&json!({"workflow_name": "etl"}))).await.expect(201)["workflow_id"].clone()
    };
    let (one, two) = (begin("one").await, begin("two").await);
    assert_ne!(one, two);
    assert_eq!([begin("one").await, begin("two").await], [one, two]);
}

/// Records three executions, an hour apart, and returns their ids, oldest first.
async fn three(service: &Service) -> [String; 3] {
    let mut ids = Vec::new();
    for (at, body) in [
        ("2026-01-31T09:00:00Z", json!({"workflow_name": "etl", "attributes": {"region": "eu", "n": 1}})),
        ("2026-01-31T10:00:00Z", json!({"workflow_name": "etl", "attributes": {"region": "us"}})),
        (
            "2026-01-31T11:00:00Z",
            json!({"workflow_name": "chat", "correlation_id": "c-1", "attributes": {"on": true, "aws:run": "a:b"}}),
        ),
    ] {
        let mut body = body;
        body["started_at"] = json!(at);
        let started = service.post("/workflows", body).await.expect(201);
        ids.push(started["workflow_id"].as_str().unwrap().to_owned());
    }
    let path = |n: usize| format!("/workflows/{}", ids[n]);
    service.put(&path(0), json!({"ended_at": "2026-01-31T09:00:01Z"})).await.expect(200);
    service.put(&path(1), json!({"ended_at": "2026-01-31T10:00:05Z", "status": "failed"})).await.expect(200);
    for millis in [420, 420, 420, 420, 420, 2100] {
        service.took(&path(2), "answer", millis).await;
    }
    ids.try_into().unwrap()
}

async fn listed(service: &Service, query: &str) -> Vec<String> {
    let page = service.get(&format!("/workflows{query}")).await.expect(200);
    page["workflows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|w| w["workflow_id"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn executions_are_listed_newest_first_by_any_filter() {
    let service = start().await;
    let [a, b, c] = three(&service).await;
    for (query, expected) in [
        ("", vec![&c, &b, &a]),
        ("?workflow_name=etl", vec![&b, &a]),
        ("?status=failed", vec![&b]),
        ("?status=running", vec![&c]),
        ("?status=success", vec![&a]),
        ("?correlation_id=c-1", vec![&c]),
        ("?started_after=2026-01-31T10:00:00Z", vec![&c, &b]),
        ("?started_before=2026-01-31T10:00:00Z", vec![&a]),
        ("?started_after=2026-01-31T10:30:00+01:00&started_before=2026-01-31T11:30:00%2B01:00", vec![&b]),
        ("?min_duration_ms=1001", vec![&b]),
        ("?max_duration_ms=1000", vec![&a]),
        ("?bottleneck=warning", vec![&c]),
        ("?bottleneck=critical&workflow_name=chat", vec![&c]),
        ("?bottleneck=critical&workflow_name=etl", vec![]),
        ("?attribute=region:eu", vec![&a]),
        ("?attribute=region:eu&attribute=n:1", vec![&a]),
        ("?attribute=region:eu&attribute=n:2", vec![]),
        ("?attribute=on:true", vec![&c]),
        ("?attribute=aws%5C:run:a:b", vec![&c]),
        ("?attribute=aws:run:a:b", vec![]),
    ] {
        assert_eq!(listed(&service, query).await.iter().collect::<Vec<_>>(), expected, "{query}");
    }
}

#[tokio::test]
async fn what_is_found_by_its_bottleneck_shows_it_while_it_runs() {
    let service = start().await;
    three(&service).await;
    for path in ["/workflows?bottleneck=warning", "/workflows?status=running"] {
        let found = service.get(path).await.expect(200)["workflows"][0].clone();
        assert_eq!(
            (&found["status"], &found["worst_bottleneck"]),
            (&json!("running"), &json!("CRITICAL")),
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_duration_that_is_shown_finds_itself() {
    let service = start().await;
    let path = service.execution("etl").await;
    let started = service.get(&path).await.expect(200)["started_at"].clone();
    let ended = started.as_str().unwrap().replace('Z', "").to_owned() + "995Z";
    let shown = service.put(&path, json!({"ended_at": ended})).await.expect(200);
    assert_eq!(shown["total_duration_ms"], 1, "0.995 ms");
    for (filter, found) in [
        ("min_duration_ms=1", 1),
        ("max_duration_ms=1", 1),
        ("max_duration_ms=0", 0),
        ("min_duration_ms=2", 0),
    ] {
        let listed = service.get(&format!("/workflows?{filter}")).await.expect(200);
        assert_eq!(listed["workflows"].as_array().unwrap().len(), found, "{filter}");
    }
}

#[tokio::test]
async fn pages_hold_everything_once() {
    let service = start().await;
    let all = three(&service).await;
    let mut found = Vec::new();
    let mut query = "?limit=1".to_owned();
    loop {
        let page = service.get(&format!("/workflows{query}")).await.expect(200);
        found.push(page["workflows"][0]["workflow_id"].as_str().unwrap().to_owned());
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        query = format!("?limit=1&cursor={cursor}");
    }
    found.reverse();
    assert_eq!(found, all);
}

#[tokio::test]
async fn an_execution_without_any_activity_is_closed_as_timed_out() {
    let service = start().await;
    let path = service.execution("etl").await;
    service.step(&path, "load").await;
    service.advance(6 * 24 * 3_600_000);
    service.background.close_abandoned().await.unwrap();
    assert_eq!(service.get(&path).await.expect(200)["status"], "running");
    service.advance(2 * 24 * 3_600_000);
    service.background.close_abandoned().await.unwrap();
    let shown = service.get(&path).await.expect(200);
    assert_eq!((&shown["status"], &shown["error"]["type"]), (&json!("timed_out"), &json!("abandoned")));
    assert_eq!(shown["steps"][0]["status"], "cancelled");
}
