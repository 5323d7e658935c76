//! `/stats`: what is normal.

use serde_json::json;

use super::helpers::{send, start};

#[tokio::test]
async fn a_workflow_shows_how_long_it_and_its_steps_take() {
    let service = start().await;
    let execution = service.execution("etl").await;
    for millis in [100, 200, 300] {
        service.took(&execution, "load", millis).await;
    }
    service
        .post(
            &format!("{execution}/steps"),
            json!({"step_name": "load", "duration_ms": 9000, "status": "failed"}),
        )
        .await
        .expect(201);
    service.advance(2_000);
    service.put(&execution, json!({})).await.expect(200);
    service.execution("etl").await;
    let stats = service.get("/stats/etl").await.expect(200);
    let executions = json!({
        "running": 1, "completed": 1, "failed": 0, "timed_out": 0, "cancelled": 0,
        "avg_duration_ms": 2000, "p50_ms": 2000, "p95_ms": 2000, "p99_ms": 2000,
    });
    assert_eq!((&stats["workflow_name"], &stats["executions"]), (&json!("etl"), &executions));
    let step = stats["steps"][0].clone();
    let near = |field: &str, value: i64| {
        let shown = step[field].as_i64().unwrap();
        assert!((shown - value).abs() * 50 <= value, "{field} is {shown}, and not near {value}");
    };
    assert_eq!([&step["avg_duration_ms"], &step["stddev_ms"]], [&json!(200), &json!(100)]);
    assert_eq!([&step["execution_count"], &step["failure_count"]], [&json!(4), &json!(1)]);
    assert_eq!([&step["min_duration_ms"], &step["max_duration_ms"]], [&json!(100), &json!(300)]);
    assert_eq!(step["last_seen_at"], "2026-01-31T12:00:00.000Z");
    near("p50_ms", 200);
}

#[tokio::test]
async fn a_step_that_never_completed_has_counts_and_no_times() {
    let service = start().await;
    let execution = service.execution("etl").await;
    service
        .post(&format!("{execution}/steps"), json!({"step_name": "load", "status": "failed"}))
        .await
        .expect(201);
    let step = service.get("/stats/etl").await.expect(200)["steps"][0].clone();
    assert_eq!([&step["execution_count"], &step["failure_count"]], [&json!(1), &json!(1)]);
    for field in
        ["avg_duration_ms", "min_duration_ms", "max_duration_ms", "stddev_ms", "p50_ms", "p95_ms", "p99_ms"]
    {
        assert!(step[field].is_null(), "{step}");
    }
}

#[tokio::test]
async fn a_name_may_hold_any_character() {
    let service = start().await;
    for (name, path) in [
        ("a/b", "/stats/a%2Fb"),
        ("a/b", "/stats/a/b"),
        ("ünï © 漢字 🚀", "/stats/%C3%BCn%C3%AF%20%C2%A9%20%E6%BC%A2%E5%AD%97%20%F0%9F%9A%80"),
        ("100% \"it's\" <a>&b?c=d#e+f;", "/stats/100%25%20%22it's%22%20%3Ca%3E%26b%3Fc=d%23e+f;"),
    ] {
        let execution = service.execution(name).await;
        service.took(&execution, "s/t", 5).await;
        let answer = service.get(path).await;
        assert_eq!(answer.expect(200)["workflow_name"], name, "{path}");
    }
    let done = send(service.request("POST", "/stats/a%2Fb/steps/s%2Ft/rebaseline")).await.expect(200);
    assert_eq!(done, json!({"workflow_name": "a/b", "step_name": "s/t", "status": "rebaselined"}));
    assert_eq!(send(service.request("POST", "/stats/a/b/steps/s%2Ft/rebaseline")).await.status, 200);
}

#[tokio::test]
async fn rebaseline_makes_the_present_level_normal_at_once() {
    let service = start().await;
    let execution = service.execution("etl").await;
    for _ in 0..30 {
        service.took(&execution, "load", 100).await;
    }
    for _ in 0..40 {
        assert_eq!(service.took(&execution, "load", 500).await["bottleneck"]["severity"], "CRITICAL");
    }
    send(service.request("POST", "/stats/etl/steps/load/rebaseline")).await.expect(200);
    assert!(service.took(&execution, "load", 500).await["bottleneck"].is_null());
    assert_eq!(service.get("/stats/etl").await.expect(200)["steps"][0]["execution_count"], 71);
}

#[tokio::test]
async fn every_workflow_is_listed_by_name_page_by_page() {
    let service = start().await;
    for name in ["b", "a", "c/d"] {
        let execution = service.execution(name).await;
        service.put(&execution, json!({})).await.expect(200);
    }
    let first = service.get("/stats?limit=2").await.expect(200);
    let names = |page: &serde_json::Value| -> Vec<String> {
        page["workflows"]
            .as_array()
            .unwrap()
            .iter()
            .map(|w| w["workflow_name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names(&first), ["a", "b"]);
    assert_eq!(first["workflows"][0]["executions"]["completed"], 1);
    assert_eq!(first["workflows"][0]["last_activity_at"], "2026-01-31T12:00:00.000Z");
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = service.get(&format!("/stats?limit=2&cursor={cursor}")).await.expect(200);
    assert_eq!((names(&second), &second["next_cursor"]), (vec!["c/d".to_owned()], &serde_json::Value::Null));
}
