//! `/workflows/{id}/steps`: starting, completing, recording whole, listing, and the verdicts.

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::helpers::{id_of, send, start};

#[tokio::test]
async fn a_step_starts_and_completes_as_the_contract_says() {
    let service = start().await;
    let execution = service.execution("etl").await;
    let answer = service.post(&format!("{execution}/steps"), json!({"step_name": "load"})).await;
    let started = answer.expect(201);
    let (id, digits) = (id_of(&execution), id_of(&execution).strip_prefix("wf_").unwrap());
    let step = started["step_id"].as_str().unwrap();
    let span = step.strip_prefix("st_").unwrap();
    let traceparent = format!("00-{digits}-{span}-01");
    let expected = json!({
        "step_id": step, "workflow_id": id, "step_name": "load", "status": "running",
        "started_at": "2026-01-31T12:00:00.000Z", "traceparent": traceparent,
    });
    assert_eq!((&started, answer.header("traceparent")), (&expected, &*traceparent));
    service.advance(250);
    let ended = send(service.request("PUT", &format!("{execution}/steps/{step}"))).await.expect(200);
    let expected = json!({
        "step_id": step, "workflow_id": id, "step_name": "load", "status": "completed",
        "started_at": "2026-01-31T12:00:00.000Z", "ended_at": "2026-01-31T12:00:00.250Z",
        "duration_ms": 250, "bottleneck": null, "regression": null, "traceparent": traceparent,
    });
    assert_eq!(ended, expected);
}

#[tokio::test]
async fn the_example_of_the_original_is_critical() {
    let service = start().await;
    let execution = service.execution("etl").await;
    for millis in [410, 420, 430, 415, 425] {
        assert_eq!(service.took(&execution, "data_transform", millis).await["bottleneck"], Value::Null);
    }
    let slow = service.took(&execution, "data_transform", 2100).await;
    let expected = json!({
        "kind": "slow_step", "step_id": slow["step_id"], "step_name": "data_transform", "duration_ms": 2100,
        "historical_avg_ms": 420,
        "severity": "CRITICAL", "factor": 5.0, "samples": 5, "p95_ms": slow["bottleneck"]["p95_ms"],
        "cohort": null, "compared_with": "compared with 5 runs", "in_flight": false,
    });
    assert_eq!(slow["bottleneck"], expected);
    let warned = service.took(&execution, "data_transform", 1100).await;
    assert_eq!(warned["bottleneck"]["severity"], "WARNING");
    let shown = service.get(&format!("{execution}/bottlenecks")).await.expect(200);
    assert_eq!((&shown["workflow_name"], &shown["workflow_id"]), (&json!("etl"), &json!(id_of(&execution))));
    let mut severities: Vec<&str> =
        shown["bottlenecks"].as_array().unwrap().iter().map(|b| b["severity"].as_str().unwrap()).collect();
    severities.sort_unstable();
    assert_eq!(severities, ["CRITICAL", "WARNING"]);
    let ended = service.put(&execution, json!({})).await.expect(200);
    assert_eq!(ended["bottlenecks_detected"], shown["bottlenecks"]);
    assert_eq!(service.get(&execution).await.expect(200)["worst_bottleneck"], "CRITICAL");
}

#[tokio::test]
async fn a_running_step_is_judged_by_the_time_elapsed() {
    let service = start().await;
    let execution = service.execution("etl").await;
    for _ in 0..5 {
        service.took(&execution, "load", 1_000).await;
    }
    let step = service.step(&execution, "load").await;
    let bottlenecks =
        async || service.get(&format!("{execution}/bottlenecks")).await.expect(200)["bottlenecks"].clone();
    service.advance(2_000);
    assert_eq!(bottlenecks().await, json!([]));
    service.advance(500);
    let found = bottlenecks().await;
    let expected = json!([{
        "kind": "stuck_step", "step_id": id_of(&step), "step_name": "load", "duration_ms": 2500,
        "historical_avg_ms": 1000,
        "severity": "WARNING", "factor": 2.5, "samples": 5, "p95_ms": found[0]["p95_ms"], "cohort": null, "compared_with": "compared with 5 runs", "in_flight": true,
    }]);
    assert_eq!(found, expected);
    service.advance(1_500);
    assert_eq!(bottlenecks().await[0]["severity"], "CRITICAL");
    service.put(&step, json!({})).await.expect(200);
    assert_eq!(bottlenecks().await[0]["in_flight"], false);
}

#[tokio::test]
async fn a_step_is_recorded_whole_by_any_sign_of_its_end() {
    let service = start().await;
    let execution = service.execution("etl").await;
    for (given, status, start, end, millis) in [
        (json!({"duration_ms": 1500}), "completed", "11:59:58.500", "12:00:00.000", 1500),
        (json!({"status": "success"}), "completed", "12:00:00.000", "12:00:00.000", 0),
        (
            json!({"started_at": "2026-01-31T11:00:00Z", "duration_ms": 2.6}),
            "completed",
            "11:00:00.000",
            "11:00:00.002",
            3,
        ),
        (
            json!({"started_at": "2026-01-31T11:00:00Z", "ended_at": "2026-01-31T11:00:09Z"}),
            "completed",
            "11:00:00.000",
            "11:00:09.000",
            9000,
        ),
        (
            json!({"ended_at": "2026-01-31T11:00:09Z", "duration_ms": 1000, "status": "failed"}),
            "failed",
            "11:00:08.000",
            "11:00:09.000",
            1000,
        ),
        (json!({"error": "boom"}), "failed", "12:00:00.000", "12:00:00.000", 0),
        (json!({"status": "skipped"}), "skipped", "12:00:00.000", "12:00:00.000", 0),
    ] {
        let mut body = given.clone();
        body["step_name"] = json!("load");
        let ended = service.post(&format!("{execution}/steps"), body).await.expect(201);
        let time = |text: &str| json!(format!("2026-01-31T{text}Z"));
        let shown = [&ended["status"], &ended["started_at"], &ended["ended_at"], &ended["duration_ms"]];
        assert_eq!(shown, [&json!(status), &time(start), &time(end), &json!(millis)], "{given}");
        assert!(ended["bottleneck"].is_null() && ended["traceparent"].is_string(), "{ended}");
    }
    let running =
        service.post(&format!("{execution}/steps"), json!({"step_name": "load", "status": "running"})).await;
    assert_eq!(running.expect(201)["status"], "running");
}

#[tokio::test]
async fn a_given_duration_counts_whatever_the_clock_says() {
    let service = start().await;
    let execution = service.execution("etl").await;
    let step = service.step(&execution, "load").await;
    service.advance(60_000);
    let ended = service.put(&step, json!({"duration_ms": 40})).await.expect(200);
    assert_eq!((&ended["duration_ms"], &ended["ended_at"]), (&json!(40), &json!("2026-01-31T12:00:00.040Z")));
}

#[tokio::test]
async fn completing_again_answers_what_is_stored_and_another_ending_is_a_conflict() {
    let service = start().await;
    let execution = service.execution("etl").await;
    let step = service.step(&execution, "load").await;
    let first = service.put(&step, json!({"duration_ms": 40})).await.expect(200);
    assert_eq!(service.put(&step, json!({"duration_ms": 99})).await.expect(200), first);
    assert_eq!(
        service.put(&step, json!({"status": "failed"})).await.problem(409),
        "The step has already ended as completed."
    );
    let stats = service.get("/stats/etl").await.expect(200);
    assert_eq!(
        (&stats["steps"][0]["execution_count"], &stats["steps"][0]["avg_duration_ms"]),
        (&json!(1), &json!(40))
    );
}

#[tokio::test]
async fn twenty_clients_completing_the_same_step_at_once_count_once() {
    let service = start().await;
    let execution = service.execution("twenty-clients").await;
    let step = service.step(&execution, "load").await;
    let answers = join_all((0..20).map(|n| service.put(&step, json!({"duration_ms": 100 + n})))).await;
    let first = answers[0].expect(200);
    assert!(answers.iter().all(|answer| answer.expect(200) == first));
    let stats = service.get("/stats/twenty-clients").await.expect(200);
    assert_eq!(stats["steps"][0]["execution_count"], 1);
    assert_eq!(stats["steps"][0]["avg_duration_ms"], first["duration_ms"]);
}

#[tokio::test]
async fn what_a_client_gives_is_shown_again() {
    let service = start().await;
    let execution = service.execution("etl").await;
    let parent = service.step(&execution, "outer").await;
    let body = json!({
        "step_name": "load", "step_type": "tool", "parent_step_id": id_of(&parent), "attempt": 2,
        "attributes": {"rows": 3, "region": "eu"},
    });
    let started = service.post(&format!("{execution}/steps"), body).await.expect(201);
    let step = format!("{execution}/steps/{}", started["step_id"].as_str().unwrap());
    service.advance(10);
    service.put(&step, json!({"status": "timeout", "attributes": {"rows": 4}})).await.expect(200);
    let page = service.get(&format!("{execution}/steps")).await.expect(200);
    let steps = page["steps"].as_array().unwrap();
    let expected = json!({
        "step_id": started["step_id"], "step_name": "load", "step_type": "tool", "parent_step_id": id_of(&parent),
        "attempt": 2, "status": "failed", "started_at": "2026-01-31T12:00:00.000Z",
        "ended_at": "2026-01-31T12:00:00.010Z", "duration_ms": 10, "attributes": {"rows": 4, "region": "eu"},
        "error": {"type": "timeout", "message": "timed out", "stack": null}, "bottleneck": null, "span": null,
    });
    assert!(steps.contains(&expected), "{page}");
    assert_eq!(service.get(&execution).await.expect(200)["steps"], page["steps"]);
}

#[tokio::test]
async fn a_traceparent_of_the_same_trace_names_the_parent() {
    let service = start().await;
    let execution = service.execution("etl").await;
    let trace = id_of(&execution).strip_prefix("wf_").unwrap().to_owned();
    let root = trace.split_at(16).1.to_owned();
    let parent_of = async |traceparent: String| {
        let request =
            service.request("POST", &format!("{execution}/steps")).header("traceparent", traceparent);
        let started = send(request.json(&json!({"step_name": "load"}))).await.expect(201);
        let steps = service.get(&execution).await.expect(200)["steps"].clone();
        let found =
            steps.as_array().unwrap().iter().find(|step| step["step_id"] == started["step_id"]).cloned();
        found.unwrap()["parent_step_id"].clone()
    };
    assert_eq!(parent_of(format!("00-{trace}-b7ad6b7169203331-01")).await, "st_b7ad6b7169203331");
    assert_eq!(parent_of(format!("00-{trace}-{root}-01")).await, Value::Null);
    assert_eq!(
        parent_of("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()).await,
        Value::Null
    );
    assert_eq!(parent_of("nonsense".into()).await, Value::Null);
}

#[tokio::test]
async fn a_key_makes_recording_a_step_safe_to_repeat() {
    let service = start().await;
    let execution = service.execution("etl").await;
    let record = async |body: Value| {
        let request = service.request("POST", &format!("{execution}/steps")).header("idempotency-key", "k");
        send(request.json(&body)).await
    };
    let first = record(json!({"step_name": "load", "duration_ms": 5})).await;
    let again = record(json!({"step_name": "load", "duration_ms": 5})).await;
    assert_eq!(first.expect(201), again.expect(201));
    assert_eq!([first.header("idempotency-replayed"), again.header("idempotency-replayed")], ["", "true"]);
    record(json!({"step_name": "load", "duration_ms": 6})).await.problem(409);
    assert_eq!(service.get("/stats/etl").await.expect(200)["steps"][0]["execution_count"], 1);
}

#[tokio::test]
async fn steps_are_listed_earliest_first_and_page_by_page() {
    let service = start().await;
    let execution = service.execution("etl").await;
    for name in ["a", "b", "c"] {
        service.step(&execution, name).await;
        service.advance(1);
    }
    let names = |page: &Value| -> Vec<String> {
        page["steps"]
            .as_array()
            .unwrap()
            .iter()
            .map(|s| s["step_name"].as_str().unwrap().to_owned())
            .collect()
    };
    let first = service.get(&format!("{execution}/steps?limit=2")).await.expect(200);
    assert_eq!(names(&first), ["a", "b"]);
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = service.get(&format!("{execution}/steps?limit=2&cursor={cursor}")).await.expect(200);
    assert_eq!((names(&second), &second["next_cursor"]), (vec!["c".to_owned()], &Value::Null));
}
