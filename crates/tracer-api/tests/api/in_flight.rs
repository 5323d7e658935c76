//! What runs is judged while it runs, and shows everywhere.

use serde_json::{Value, json};
use tracer_api::config::Settings;
use tracer_core::detect::{Policy, PolicyEntry, StepPolicy, WorkflowPolicy};
use tracer_core::time::Micros;
use tracer_store::{Location, StoreConfig};

use super::helpers::{Service, id_of, settings, start, start_over};

/// Returns an execution's bottlenecks.
async fn bottlenecks(service: &Service, execution: &str) -> Vec<Value> {
    let answer = service.get(&format!("{execution}/bottlenecks")).await.expect(200);
    answer["bottlenecks"].as_array().unwrap().clone()
}

/// Looks at what is due; returns how many steps and executions a metric has counted, by its labels.
async fn look(service: &Service, workflow: &str) -> Vec<String> {
    service.background.watch().await.unwrap();
    let text = service.get("/metrics").await.text;
    let begin = format!("tracer_in_flight_bottlenecks_total{{workflow_name=\"{workflow}\",");
    let counted = text.lines().filter_map(|line| line.strip_prefix(&begin));
    let mut counted: Vec<String> = counted.filter(|line| !line.ends_with(" 0")).map(str::to_owned).collect();
    counted.sort_unstable();
    counted
}

#[tokio::test]
async fn a_stuck_step_is_told_of_while_it_runs_and_judged_again_at_its_end() {
    let service = start().await;
    let execution = service.execution("stuck-etl").await;
    for _ in 0..5 {
        service.took(&execution, "load", 100).await;
    }
    let step = service.step(&execution, "load").await;
    service.advance(200);
    assert_eq!(look(&service, "stuck-etl").await, [""; 0]);
    service.advance(50);
    let warning = r#"step_name="load",kind="stuck_step",severity="WARNING"} 1"#;
    assert_eq!(look(&service, "stuck-etl").await, [warning]);
    assert_eq!(look(&service, "stuck-etl").await, [warning], "once");
    let shown = service.get(&execution).await.expect(200);
    assert_eq!(shown["worst_bottleneck"], "WARNING");
    let found = shown["steps"].as_array().unwrap().iter().find(|found| found["status"] == "running").unwrap();
    assert_eq!(
        found["bottleneck"],
        json!({
            "kind": "stuck_step", "step_id": id_of(&step), "step_name": "load", "duration_ms": 250,
            "historical_avg_ms": 100, "severity": "WARNING", "factor": 2.5, "samples": 5, "p95_ms": 100,
            "cohort": null, "compared_with": "compared with 5 runs", "in_flight": true,
        })
    );
    service.advance(100);
    let critical = r#"step_name="load",kind="stuck_step",severity="CRITICAL"} 1"#;
    assert_eq!(look(&service, "stuck-etl").await, [critical, warning]);
    service.advance(650);
    let now = bottlenecks(&service, &execution).await;
    assert_eq!((now.len(), &now[0]["kind"], &now[0]["factor"]), (1, &json!("stuck_step"), &json!(10.0)));

    let ended = service.put(&step, json!({"duration_ms": 250})).await.expect(200);
    assert_eq!(
        (&ended["bottleneck"]["kind"], &ended["bottleneck"]["in_flight"]),
        (&json!("slow_step"), &json!(false))
    );
    let listed = bottlenecks(&service, &execution).await;
    assert_eq!((listed.len(), &listed[0]), (1, &ended["bottleneck"]));
}

#[tokio::test]
async fn a_stalled_execution_is_shown_until_something_is_heard_of_it() {
    let service = start().await;
    for _ in 0..5 {
        let execution = service.execution("stalled-etl").await;
        service.advance(1_000);
        service.put(&execution, json!({})).await.expect(200);
    }
    let execution = service.execution("stalled-etl").await;
    service.advance(2_500);
    let counted = r#"step_name="",kind="stalled_execution",severity="WARNING"} 1"#;
    assert_eq!(look(&service, "stalled-etl").await, [counted]);
    let verdict = json!({
        "kind": "stalled_execution", "step_id": null, "step_name": null, "duration_ms": 2500,
        "historical_avg_ms": 1000, "severity": "WARNING", "factor": 2.5, "samples": 5, "p95_ms": 1000,
        "cohort": null, "compared_with": "compared with 5 whole executions", "in_flight": true,
    });
    assert_eq!(service.get(&execution).await.expect(200)["stalled"], verdict);
    assert_eq!(service.get("/workflows?limit=1").await.expect(200)["workflows"][0]["stalled"], verdict);
    assert_eq!(bottlenecks(&service, &execution).await, [verdict]);
    service.took(&execution, "load", 5).await;
    assert_eq!(service.get(&execution).await.expect(200)["stalled"], Value::Null);
    assert_eq!(bottlenecks(&service, &execution).await, [Value::Null; 0]);
    assert_eq!(look(&service, "stalled-etl").await, [counted]);
}

#[tokio::test]
async fn a_timeout_needs_no_history() {
    let timeout = Some(Micros::from_secs(30));
    let entry = PolicyEntry {
        workflow: "timed-*".into(),
        step: "*".into(),
        steps: StepPolicy { timeout, ..StepPolicy::default() },
        executions: WorkflowPolicy::default(),
    };
    let policy = Policy::new(StepPolicy::default(), [entry]);
    let settings: Settings = settings();
    let service = start_over(&settings, StoreConfig::at(Location::Memory), policy).await;
    let execution = service.execution("timed-etl").await;
    service.step(&execution, "load").await;
    service.advance(30_001);
    // Whether the watchdog has looked already or not.
    let before = bottlenecks(&service, &execution).await;
    assert_eq!(look(&service, "timed-etl").await.len(), 1);
    assert_eq!(bottlenecks(&service, &execution).await, before);
    let found = &before[0];
    assert_eq!(
        (&found["severity"], &found["factor"], &found["samples"]),
        (&json!("CRITICAL"), &json!(0.0), &json!(0))
    );
}
