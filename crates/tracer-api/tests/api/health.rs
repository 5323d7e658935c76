//! `/health`: alive, ready, well.

use serde_json::json;

use super::helpers::{send, start, start_with};

#[tokio::test]
async fn a_service_that_is_well_says_so() {
    let service = start().await;
    assert_eq!(service.get("/health/live").await.expect(200), json!({"status": "alive"}));
    assert_eq!(service.get("/health/ready").await.expect(200), json!({"status": "ready"}));
    let expected = json!({"status": "healthy", "checks": {
        "store": {"status": "healthy", "kind": "embedded SQLite"},
        "writer": {"status": "healthy", "detail": null, "queued": 0, "capacity": 4096},
        "baselines": {"status": "healthy", "workflows_over_step_limit": 0},
        "outbox": {"status": "healthy", "pending": 0, "oldest_age_ms": null},
        "channel:log": {"status": "healthy", "pending": 0, "oldest_age_ms": null, "failures": 0, "refused": 0,
            "last_sent_at": null, "last_fault": null},
    }});
    assert_eq!(service.get("/health").await.expect(200), expected);
}

#[tokio::test]
async fn a_probe_may_accept_anything() {
    let service = start().await;
    for accept in ["text/html", "text/plain;q=1", "nonsense", "application/json;q=0"] {
        for path in ["/health/live", "/health/ready"] {
            let answer = send(service.request("GET", path).header("accept", accept)).await;
            assert_eq!(answer.status, 200, "{path} {accept}");
        }
    }
}

#[tokio::test]
async fn a_service_that_stops_is_alive_and_not_ready() {
    let service = start().await;
    service.stopping.cancel();
    assert_eq!(service.get("/health/live").await.status, 200);
    let ready = service.get("/health/ready").await;
    assert_eq!((ready.problem(503).as_str(), ready.header("retry-after")), ("The service is stopping.", "5"));
}

#[tokio::test]
async fn a_store_that_was_shut_down_answers_writes_with_503_and_when_to_come_back() {
    let service = start().await;
    let execution = service.execution("etl").await;
    service.background.tracing.repository().shut_down().await;
    let refused = service.post(&format!("{execution}/steps"), json!({"step_name": "load"})).await;
    refused.problem(503);
    assert_eq!(refused.header("retry-after"), "1");
    assert_eq!(service.get("/health/live").await.status, 200);
}

#[tokio::test]
async fn liveness_and_readiness_need_no_key_and_health_does() {
    let service = start_with(|settings| settings.api_keys = "grafana:read:secret".parse().unwrap()).await;
    for (path, status) in
        [("/health/live", 200), ("/health/ready", 200), ("/health", 401), ("/workflows", 401)]
    {
        assert_eq!(service.get(path).await.status, status, "{path}");
    }
}
