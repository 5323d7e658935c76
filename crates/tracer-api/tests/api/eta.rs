//! `/workflows/{id}/eta`: when it will have ended.

use serde_json::{Value, json};
use tracer_core::detect::{Policy, PolicyEntry, StepPolicy, WorkflowPolicy};
use tracer_core::time::Micros;
use tracer_store::{Location, StoreConfig};

use super::helpers::{Service, settings, start, start_over};

/// Records an execution of the day before, with steps by name, start and end in seconds since its own.
async fn ran(service: &Service, hour: u32, steps: &[(&str, u32, u32)]) {
    let at = |secs: u32| format!("2026-01-30T{hour:02}:{:02}:{:02}Z", secs / 60, secs % 60);
    let body = json!({"workflow_name": "etl", "started_at": at(0)});
    let started = service.post("/workflows", body).await.expect(201);
    let path = format!("/workflows/{}", started["workflow_id"].as_str().unwrap());
    for (name, start, end) in steps {
        let body = json!({"step_name": name, "started_at": at(*start), "ended_at": at(*end)});
        service.post(&format!("{path}/steps"), body).await.expect(201);
    }
    let end = steps.iter().map(|(_, _, end)| *end).max().unwrap_or(0);
    service.put(&path, json!({"ended_at": at(end)})).await.expect(200);
}

/// Six runs alike: `extract`, then `load` beside the longer `index`, then `report`; 200 seconds in all.
async fn with_history(service: &Service) {
    for hour in 0..6 {
        let steps = [("extract", 0, 30), ("load", 30, 90), ("index", 30, 180), ("report", 180, 200)];
        ran(service, hour, &steps).await;
    }
}

async fn eta(service: &Service, path: &str) -> Value {
    service.get(&format!("{path}/eta")).await.expect(200)
}

#[tokio::test]
async fn what_remains_follows_from_past_executions_parallel_branches_included() {
    let service = start().await;
    with_history(&service).await;
    let path = service.execution("etl").await;
    let begun = eta(&service, &path).await;
    assert_eq!([&begun["remaining_ms"], &begun["based_on"]], [200_000, 6]);
    let extract = service.step(&path, "extract").await;
    service.advance(30_000);
    service.put(&extract, json!({})).await.expect(200);
    let load = service.step(&path, "load").await;
    service.step(&path, "index").await;
    service.advance(60_000);
    service.put(&load, json!({})).await.expect(200);
    service.advance(10_000);
    let shown = eta(&service, &path).await;
    let low = shown["remaining_low_ms"].as_u64().unwrap();
    let high = shown["remaining_high_ms"].as_u64().unwrap();
    assert!((70_000..100_000).contains(&low) && (100_000..140_000).contains(&high), "{shown}");
    let expected = json!({
        "workflow_id": path.trim_start_matches("/workflows/"), "workflow_name": "etl", "status": "running",
        "elapsed_ms": 100_000, "expected_end_at": "2026-01-31T12:03:20.000Z",
        "earliest_end_at": shown["earliest_end_at"], "latest_end_at": shown["latest_end_at"],
        "remaining_ms": 100_000, "remaining_low_ms": low, "remaining_high_ms": high,
        "confidence": 0.8, "based_on": 6, "deadline_at": null, "at_risk": false, "reason": null,
    });
    assert_eq!(shown, expected);
    assert_eq!(eta(&service, &path).await, shown, "asking again at the same moment answers the same");
}

#[tokio::test]
async fn a_branch_that_takes_longer_moves_the_end() {
    let service = start().await;
    with_history(&service).await;
    let path = service.execution("etl").await;
    service.step(&path, "extract").await;
    service.advance(100_000);
    let late = eta(&service, &path).await["remaining_ms"].as_u64().unwrap();
    assert!(late > 170_000, "{late}");
}

#[tokio::test]
async fn without_a_completed_execution_there_is_a_reason_instead() {
    let service = start().await;
    let path = service.execution("etl").await;
    let failed = service.execution("etl").await;
    service.put(&failed, json!({"status": "failed"})).await.expect(200);
    service.advance(1_500);
    let shown = eta(&service, &path).await;
    let expected = json!({
        "workflow_id": path.trim_start_matches("/workflows/"), "workflow_name": "etl", "status": "running",
        "elapsed_ms": 1_500, "expected_end_at": null, "earliest_end_at": null, "latest_end_at": null,
        "remaining_ms": null, "remaining_low_ms": null, "remaining_high_ms": null, "confidence": 0.8,
        "based_on": 0, "deadline_at": null, "at_risk": false,
        "reason": "There is no completed execution of this workflow to estimate from.",
    });
    assert_eq!(shown, expected);
}

#[tokio::test]
async fn an_execution_that_has_ended_is_answered_with_its_end() {
    let service = start().await;
    let path = service.execution("etl").await;
    service.advance(2_000);
    service.put(&path, json!({})).await.expect(200);
    service.advance(5_000);
    let shown = eta(&service, &path).await;
    assert_eq!([&shown["elapsed_ms"], &shown["remaining_ms"], &shown["remaining_high_ms"]], [2_000, 0, 0]);
    assert_eq!([&shown["status"], &shown["reason"]], ["completed", "The execution has ended."]);
    for end in ["expected_end_at", "earliest_end_at", "latest_end_at"] {
        assert_eq!(shown[end], "2026-01-31T12:00:02.000Z");
    }
}

/// Starts a service that gives executions of `etl` so many seconds.
async fn with_deadline(secs: u64) -> Service {
    let executions = WorkflowPolicy { deadline: Some(Micros::from_secs(secs)), stall_after: None };
    let steps = StepPolicy::default();
    let entry = PolicyEntry { workflow: "etl".into(), step: "*".into(), steps, executions };
    let policy = Policy::new(StepPolicy::default(), [entry]);
    start_over(&settings(), StoreConfig::at(Location::Memory), policy).await
}

#[tokio::test]
async fn an_execution_that_may_pass_its_deadline_is_at_risk() {
    for (deadline, expected) in [(150, true), (201, true), (2_000, false)] {
        let service = with_deadline(deadline).await;
        with_history(&service).await;
        let path = service.execution("etl").await;
        let shown = eta(&service, &path).await;
        assert_eq!(shown["at_risk"], expected, "{shown}");
        if deadline == 150 {
            assert_eq!(shown["deadline_at"], "2026-01-31T12:02:30.000Z");
        }
    }
}

#[tokio::test]
async fn an_execution_past_its_deadline_is_at_risk_without_an_estimate_and_after_its_end() {
    let service = with_deadline(10).await;
    let [late, in_time] = [service.execution("etl").await, service.execution("etl").await];
    service.advance(9_000);
    service.put(&in_time, json!({})).await.expect(200);
    let risks = async || {
        [eta(&service, &late).await["at_risk"].clone(), eta(&service, &in_time).await["at_risk"].clone()]
    };
    assert_eq!(risks().await, [false, false]);
    service.advance(2_000);
    assert_eq!(risks().await, [true, false]);
    service.put(&late, json!({"status": "failed"})).await.expect(200);
    assert_eq!(risks().await, [true, false]);
}

#[tokio::test]
async fn an_execution_that_is_unknown_has_no_eta() {
    let service = start().await;
    service.get("/workflows/wf_0197a3c5b2f87c4e9d1a2b3c4d5e6f70/eta").await.problem(404);
    service.get("/workflows/nonsense/eta").await.problem(404);
    let path = service.execution("etl").await;
    service.get(&format!("{path}/eta?limit=1")).await.problem(400);
}
