//! `POST /simulate`: invented executions.

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::helpers::{Service, send, start, start_with};

async fn simulate(service: &Service, query: &str) -> Value {
    send(service.request("POST", &format!("/simulate{query}"))).await.expect(200)
}

#[tokio::test]
async fn the_first_call_has_a_history_to_be_judged_by() {
    let service = start().await;
    let simulated = simulate(&service, "?workflow_name=demo").await;
    let fields: Vec<&String> = simulated.as_object().unwrap().keys().collect();
    let expected = [
        "bottlenecks_detected",
        "simulated",
        "steps_completed",
        "total_duration_ms",
        "workflow_id",
        "workflow_name",
    ];
    assert_eq!(fields, expected);
    assert_eq!((&simulated["workflow_name"], &simulated["steps_completed"]), (&json!("demo"), &json!(5)));
    let stats = service.get("/stats/demo").await.expect(200);
    assert_eq!(stats["executions"]["completed"], 21);
    let names: Vec<&str> =
        stats["steps"].as_array().unwrap().iter().map(|s| s["step_name"].as_str().unwrap()).collect();
    assert_eq!(names, ["data_enrich", "data_extract", "data_load", "data_transform", "data_validate"]);
    let path = format!("/workflows/{}", simulated["workflow_id"].as_str().unwrap());
    let shown = service.get(&path).await.expect(200);
    assert_eq!((&shown["simulated"], &shown["status"]), (&json!(true), &json!("completed")));
    assert_eq!(shown["total_duration_ms"], simulated["total_duration_ms"]);
}

#[tokio::test]
async fn a_chosen_step_is_as_slow_as_wished() {
    let service = start().await;
    for factor in ["5", "2.5", "1000"] {
        let simulated =
            simulate(&service, &format!("?workflow_name=w&slow_step=data_transform&factor={factor}")).await;
        let found = simulated["bottlenecks_detected"].as_array().unwrap();
        assert_eq!(found.len(), 1, "{simulated}");
        assert_eq!(found[0]["step_name"], "data_transform");
        let (wished, got) = (factor.parse::<f64>().unwrap(), found[0]["factor"].as_f64().unwrap());
        assert!((wished - got).abs() < 0.011, "{got} instead of {wished}");
        assert_eq!(found[0]["severity"], if wished > 3.0 { "CRITICAL" } else { "WARNING" });
    }
    assert_eq!(
        simulate(&service, "?workflow_name=w&slow_step=data_load&factor=0.5&notify=false").await["bottlenecks_detected"],
        json!([])
    );
}

#[tokio::test]
async fn simultaneous_first_calls_seed_one_history() {
    let service = start().await;
    join_all((0..4).map(|_| simulate(&service, "?workflow_name=crowd"))).await;
    assert_eq!(service.get("/stats/crowd").await.expect(200)["executions"]["completed"], 24);
}

#[tokio::test]
async fn a_workflow_with_a_history_of_its_own_gets_no_invented_one() {
    let service = start().await;
    let id = service.execution("real").await;
    service.took(&id, "data_extract", 10).await;
    service.took(&id, "fetch", 10).await;
    simulate(&service, "?workflow_name=real").await;
    let stats = service.get("/stats/real").await.expect(200);
    assert_eq!(stats["executions"]["completed"], 1);
}

#[tokio::test]
async fn a_key_makes_it_safe_to_repeat() {
    let service = start().await;
    let ask = async |query: &str| {
        send(service.request("POST", &format!("/simulate{query}")).header("idempotency-key", "k")).await
    };
    let first = ask("?workflow_name=demo").await;
    let again = ask("?workflow_name=demo").await;
    assert_eq!(first.expect(200), again.expect(200));
    assert_eq!([first.header("idempotency-replayed"), again.header("idempotency-replayed")], ["", "true"]);
    ask("?workflow_name=demo2").await.problem(409);
    assert_eq!(service.get("/stats/demo").await.expect(200)["executions"]["completed"], 21);
}

#[tokio::test]
async fn what_cannot_be_simulated_is_refused_and_nothing_is_stored() {
    let service = start().await;
    for (query, status) in [
        ("?slow_step=nope", 422),
        ("?slow_step=data_load&factor=0", 422),
        ("?slow_step=data_load&factor=-1", 422),
        ("?slow_step=data_load&factor=1001", 422),
        ("?slow_step=data_load&factor=NaN", 422),
        ("?slow_step=data_load&factor=inf", 422),
        ("?slow_step=data_load&factor=many", 400),
        ("?factor=5", 422),
        ("?workflow_name=", 422),
        ("?workflow_name=a%00b", 422),
        ("?notify=perhaps", 400),
        ("?workflow=demo", 400),
    ] {
        send(service.request("POST", &format!("/simulate{query}"))).await.problem(status);
    }
    let detail = send(service.request("POST", "/simulate?slow_step=x")).await.problem(422);
    assert!(
        detail.contains("data_extract, data_validate, data_transform, data_enrich, data_load"),
        "{detail}"
    );
    assert_eq!(service.get("/stats").await.expect(200)["workflows"], json!([]));
}

#[tokio::test]
async fn it_can_be_switched_off() {
    let service = start_with(|settings| settings.simulate = false).await;
    let detail = send(service.request("POST", "/simulate")).await.problem(404);
    assert_eq!(detail, "POST /simulate is switched off by the setting 'simulate'.");
}
