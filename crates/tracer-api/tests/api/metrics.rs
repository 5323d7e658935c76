//! `/metrics`: what is counted, once. The recorder is the process's, so that every test has names of its own.

use serde_json::json;

use super::helpers::{Service, send, start};

/// Returns the samples that name this workflow, sorted, without histogram buckets.
async fn samples(service: &Service, workflow: &str) -> String {
    let text = service.get("/metrics").await.text;
    let label = format!("workflow_name=\"{workflow}\"");
    let mut lines: Vec<&str> = text
        .lines()
        .filter(|line| line.contains(&label) && !line.contains("_bucket{") && !line.ends_with(" 0"))
        .collect();
    lines.sort_unstable();
    lines.join("\n")
}

#[tokio::test]
async fn events_are_counted_once_and_running_ones_shown() {
    let service = start().await;
    let execution = service.execution("metrics-once").await;
    for _ in 0..5 {
        service.took(&execution, "load", 100).await;
    }
    service.took(&execution, "load", 250).await;
    let step = service.step(&execution, "load").await;
    let slow = json!({"status": "failed", "duration_ms": 1000});
    service.put(&step, slow.clone()).await.expect(200);
    service.put(&step, slow).await.expect(200);
    service.step(&execution, "never-ends").await;
    service.background.count_active().await.unwrap();
    insta::assert_snapshot!(samples(&service, "metrics-once").await, @r#"
    active_workflows{workflow_name="metrics-once"} 1
    bottlenecks_total{workflow_name="metrics-once",step_name="load",severity="CRITICAL"} 1
    bottlenecks_total{workflow_name="metrics-once",step_name="load",severity="WARNING"} 1
    step_baseline_seconds{workflow_name="metrics-once",step_name="load"} 0.116667
    step_duration_seconds_count{workflow_name="metrics-once",step_name="load",step_type="task"} 7
    step_duration_seconds_sum{workflow_name="metrics-once",step_name="load",step_type="task"} 1.75
    step_errors_total{workflow_name="metrics-once",step_name="load"} 1
    "#);
    service.advance(2_000);
    for _ in 0..3 {
        service.put(&execution, json!({})).await.expect(200);
    }
    service.background.count_active().await.unwrap();
    let text = samples(&service, "metrics-once").await;
    assert!(!text.contains("active_workflows") && !text.contains("never-ends"), "{text}");
    assert!(
        text.contains("workflow_executions_total{workflow_name=\"metrics-once\",status=\"completed\"} 1"),
        "{text}"
    );
    assert!(text.contains("workflow_duration_seconds_sum{workflow_name=\"metrics-once\"} 2"), "{text}");
}

#[tokio::test]
async fn simulated_executions_are_counted_and_their_seeded_history_is_not() {
    let service = start().await;
    send(service.request("POST", "/simulate?workflow_name=metrics-demo")).await.expect(200);
    let text = samples(&service, "metrics-demo").await;
    assert!(
        text.contains("workflow_executions_total{workflow_name=\"metrics-demo\",status=\"completed\"} 1\n")
            || text.ends_with("status=\"completed\"} 1"),
        "{text}"
    );
    assert!(text.contains("step_duration_seconds_count{workflow_name=\"metrics-demo\",step_name=\"data_load\",step_type=\"task\"} 1"), "{text}");
}

#[tokio::test]
async fn replays_and_imports_are_not_counted() {
    let service = start().await;
    let execution = service.execution("metrics-replay").await;
    for _ in 0..3 {
        let request = service.request("POST", &format!("{execution}/steps")).header("idempotency-key", "k");
        send(request.json(&json!({"step_name": "load", "duration_ms": 5}))).await.expect(201);
    }
    let text = samples(&service, "metrics-replay").await;
    assert!(text.contains("step_duration_seconds_count{workflow_name=\"metrics-replay\",step_name=\"load\",step_type=\"task\"} 1"), "{text}");
    let imported = json!({
        "workflow_id": "wf_00000000000000000000000000000007", "workflow_name": "metrics-import",
        "started_at": "2026-01-30T10:00:00Z", "ended_at": "2026-01-30T10:00:09Z",
        "steps": [{"step_id": "st_0000000000000001", "step_name": "a", "started_at": "2026-01-30T10:00:00Z", "duration_ms": 5}],
    });
    service.post("/import", imported).await.expect(201);
    assert_eq!(samples(&service, "metrics-import").await, "");
}
