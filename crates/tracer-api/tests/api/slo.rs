//! Service level objectives: what is answered of them, shown as metrics, and told to people.

use std::time::Duration;

use serde_json::{Value, json};
use tracer_api::slo::{SloSignals, standings};
use tracer_core::clock::Clock as _;
use tracer_core::slo::State;
use tracer_core::time::Micros;
use tracer_store::{Location, StoreConfig};

use super::alerts;
use super::fake_slack::FakeSlack;
use super::helpers::{Service, id_of, settings_of, start, start_over};

async fn start_promising(text: &str) -> Service {
    let settings = settings_of(text);
    let policy = tracer_api::policy::policy(&settings);
    start_over(&settings, StoreConfig::at(Location::Memory), policy).await
}

/// Runs an execution for so long, and ends it; returns its path.
async fn runs(service: &Service, workflow: &str, status: &str, millis: u64) -> String {
    let execution = service.execution(workflow).await;
    service.advance(millis);
    service.put(&execution, json!({"status": status})).await.expect(200);
    execution
}

const DAILY: &str = "[[slo]]\nname = \"daily\"\nworkflow = \"daily-*\"\nobjective = 0.99\nlatency = \"2s\"\n\
                     [[slo]]\nname = \"quiet\"\nworkflow = \"never-*\"\nobjective = 0.5\nwindow = \"1h\"\nalert = false\n";

/// Ten executions a day, for three days and a little: one of the last fails, two are slow.
async fn daily(service: &Service) -> String {
    let mut failed = String::new();
    for number in 0..35 {
        let (status, millis) = match number {
            33 => ("failed", 5),
            12 | 34 => ("completed", 2_001),
            _ => ("completed", 2_000),
        };
        let execution = runs(service, "daily-etl", status, millis).await;
        if status == "failed" {
            failed = execution;
        }
        service.advance(8_640_000 - millis);
    }
    failed
}

/// Returns an objective in a few lines: each object of its answer that holds no other is one.
fn told(slo: &Value) -> String {
    let mut lines = Vec::new();
    let mut rest = slo.clone();
    for indicator in rest["indicators"].take().as_array_mut().unwrap() {
        let rates = indicator["burn_rates"].take();
        lines.push(indicator.to_string());
        lines.extend(rates.as_array().unwrap().iter().map(|rate| format!("  {rate}")));
    }
    lines.insert(0, rest.to_string());
    lines.join("\n").replace('"', "")
}

#[tokio::test]
async fn an_objective_answers_how_it_stands_with_ten_executions_a_day() {
    let service = start_promising(DAILY).await;
    let failed = daily(&service).await;
    let found = service.get("/slo").await.expect(200);
    let slos = found["slos"].as_array().unwrap();
    assert_eq!(slos.len(), 2);
    assert_eq!(service.get("/slo/daily").await.expect(200), slos[0]);
    let availability = &slos[0]["indicators"][0];
    assert_eq!(availability["last_bad_workflow_id"], id_of(&failed));
    let text = told(&slos[0]).replace(id_of(&failed), "wf_failed");
    let slow = slos[0]["indicators"][1]["last_bad_workflow_id"].as_str().unwrap();
    insta::assert_snapshot!(text.replace(slow, "wf_slow"), @r#"
    {alert:true,indicators:null,latency_ms:2000,min_events:20,name:daily,objective:0.99,window_ms:2592000000,workflow:daily-*}
    {bad:1,burn_rates:null,error_budget_remaining:-1.8571,events:35,last_bad_workflow_id:wf_failed,ratio:0.971429,severity:WARNING,sli:availability,state:burning,why:It burns 3.3 times as fast as it may over 3 d, and goes on in the last 6 h. Too few to be judged: 1 h (0 of 20), 6 h (2 of 20), 30 d (35 of 100).}
      {bad:0,burn_rate:null,events:0,too_few:true,window:5m,window_ms:300000}
      {bad:0,burn_rate:null,events:0,too_few:true,window:30m,window_ms:1800000}
      {bad:0,burn_rate:null,events:0,too_few:true,window:1h,window_ms:3600000}
      {bad:1,burn_rate:50.0,events:2,too_few:true,window:6h,window_ms:21600000}
      {bad:1,burn_rate:3.33,events:30,too_few:false,window:3d,window_ms:259200000}
      {bad:1,burn_rate:2.86,events:35,too_few:true,window:budget,window_ms:2592000000}
    {bad:2,burn_rates:null,error_budget_remaining:-4.8824,events:34,last_bad_workflow_id:wf_slow,ratio:0.941176,severity:WARNING,sli:latency,state:burning,why:It burns 6.9 times as fast as it may over 3 d, and goes on in the last 6 h. Too few to be judged: 1 h (0 of 20), 6 h (1 of 20), 30 d (34 of 100).}
      {bad:0,burn_rate:null,events:0,too_few:true,window:5m,window_ms:300000}
      {bad:0,burn_rate:null,events:0,too_few:true,window:30m,window_ms:1800000}
      {bad:0,burn_rate:null,events:0,too_few:true,window:1h,window_ms:3600000}
      {bad:1,burn_rate:100.0,events:1,too_few:true,window:6h,window_ms:21600000}
      {bad:2,burn_rate:6.9,events:29,too_few:false,window:3d,window_ms:259200000}
      {bad:2,burn_rate:5.88,events:34,too_few:true,window:budget,window_ms:2592000000}
    "#);
    let quiet = &slos[1];
    assert_eq!((&quiet["latency_ms"], &quiet["alert"]), (&Value::Null, &json!(false)));
    let only = quiet["indicators"].as_array().unwrap();
    assert_eq!((only.len(), &only[0]["state"], &only[0]["ratio"]), (1, &json!("no_data"), &Value::Null));
    assert_eq!(only[0]["why"], "No executions ended in the last 1 h.");
}

#[tokio::test]
async fn an_unknown_objective_is_not_found_and_without_any_there_is_an_empty_list() {
    let service = start().await;
    assert_eq!(service.get("/slo").await.expect(200), json!({"slos": []}));
    service.background.judge_slos().await.unwrap();
    assert!(!service.get("/metrics").await.text.contains("tracer_slo_"));
    let service = start_promising(DAILY).await;
    for path in ["/slo/other", "/slo/Daily", "/slo/daily%2F"] {
        assert_eq!(service.get(path).await.problem(404), "No service level objective has this name.");
    }
    service.get("/slo?limit=1").await.problem(400);
    service.get("/slo/%zz").await.problem(400);
}

#[tokio::test]
async fn objectives_are_metrics_of_the_database() {
    let service = start_promising(DAILY).await;
    daily(&service).await;
    service.background.judge_slos().await.unwrap();
    let text = service.get("/metrics").await.text;
    let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("tracer_slo_")).collect();
    insta::assert_snapshot!(lines.join("\n"), @r#"
    tracer_slo_objective_ratio{slo="daily",sli="availability"} 0.99
    tracer_slo_objective_ratio{slo="daily",sli="latency"} 0.99
    tracer_slo_objective_ratio{slo="quiet",sli="availability"} 0.5
    tracer_slo_min_events{slo="daily",sli="availability"} 20
    tracer_slo_min_events{slo="daily",sli="latency"} 20
    tracer_slo_min_events{slo="quiet",sli="availability"} 20
    tracer_slo_events{slo="daily",sli="availability",window="1h"} 0
    tracer_slo_events{slo="daily",sli="availability",window="30m"} 0
    tracer_slo_events{slo="daily",sli="availability",window="3d"} 30
    tracer_slo_events{slo="daily",sli="availability",window="5m"} 0
    tracer_slo_events{slo="daily",sli="availability",window="6h"} 2
    tracer_slo_events{slo="daily",sli="availability",window="budget"} 35
    tracer_slo_events{slo="daily",sli="latency",window="1h"} 0
    tracer_slo_events{slo="daily",sli="latency",window="30m"} 0
    tracer_slo_events{slo="daily",sli="latency",window="3d"} 29
    tracer_slo_events{slo="daily",sli="latency",window="5m"} 0
    tracer_slo_events{slo="daily",sli="latency",window="6h"} 1
    tracer_slo_events{slo="daily",sli="latency",window="budget"} 34
    tracer_slo_events{slo="quiet",sli="availability",window="1h"} 0
    tracer_slo_events{slo="quiet",sli="availability",window="30m"} 0
    tracer_slo_events{slo="quiet",sli="availability",window="3d"} 0
    tracer_slo_events{slo="quiet",sli="availability",window="5m"} 0
    tracer_slo_events{slo="quiet",sli="availability",window="6h"} 0
    tracer_slo_events{slo="quiet",sli="availability",window="budget"} 0
    tracer_slo_bad_events{slo="daily",sli="availability",window="1h"} 0
    tracer_slo_bad_events{slo="daily",sli="availability",window="30m"} 0
    tracer_slo_bad_events{slo="daily",sli="availability",window="3d"} 1
    tracer_slo_bad_events{slo="daily",sli="availability",window="5m"} 0
    tracer_slo_bad_events{slo="daily",sli="availability",window="6h"} 1
    tracer_slo_bad_events{slo="daily",sli="availability",window="budget"} 1
    tracer_slo_bad_events{slo="daily",sli="latency",window="1h"} 0
    tracer_slo_bad_events{slo="daily",sli="latency",window="30m"} 0
    tracer_slo_bad_events{slo="daily",sli="latency",window="3d"} 2
    tracer_slo_bad_events{slo="daily",sli="latency",window="5m"} 0
    tracer_slo_bad_events{slo="daily",sli="latency",window="6h"} 1
    tracer_slo_bad_events{slo="daily",sli="latency",window="budget"} 2
    tracer_slo_bad_events{slo="quiet",sli="availability",window="1h"} 0
    tracer_slo_bad_events{slo="quiet",sli="availability",window="30m"} 0
    tracer_slo_bad_events{slo="quiet",sli="availability",window="3d"} 0
    tracer_slo_bad_events{slo="quiet",sli="availability",window="5m"} 0
    tracer_slo_bad_events{slo="quiet",sli="availability",window="6h"} 0
    tracer_slo_bad_events{slo="quiet",sli="availability",window="budget"} 0
    tracer_slo_burn_rate{slo="daily",sli="availability",window="3d"} 3.3333333333333304
    tracer_slo_burn_rate{slo="daily",sli="availability",window="6h"} 49.99999999999996
    tracer_slo_burn_rate{slo="daily",sli="availability",window="budget"} 2.8571428571428545
    tracer_slo_burn_rate{slo="daily",sli="latency",window="3d"} 6.896551724137924
    tracer_slo_burn_rate{slo="daily",sli="latency",window="6h"} 99.99999999999991
    tracer_slo_burn_rate{slo="daily",sli="latency",window="budget"} 5.882352941176466
    tracer_slo_error_budget_remaining_ratio{slo="daily",sli="availability"} -1.8571428571428545
    tracer_slo_error_budget_remaining_ratio{slo="daily",sli="latency"} -4.882352941176466
    "#);
}

#[tokio::test]
async fn what_is_imported_counts_when_it_was() {
    let service = start_promising(DAILY).await;
    let now = service.clock.now();
    for days in [1, 40] {
        let began = now - Micros::from_days(days);
        let id = format!("wf_{:032x}", 77 + days);
        let step = json!({
            "step_id": "st_b7ad6b7169203331", "step_name": "load", "status": "failed",
            "started_at": began.to_string(), "duration_ms": 1000
        });
        let body = json!({
            "workflow_id": id, "workflow_name": "daily-etl", "status": "failed", "started_at": began.to_string(),
            "ended_at": (began + Micros::from_secs(1)).to_string(), "steps": [step]
        });
        service.post("/import", body).await.expect(201);
    }
    let availability = service.get("/slo/daily").await.expect(200)["indicators"][0].clone();
    let events: Vec<_> =
        availability["burn_rates"].as_array().unwrap().iter().map(|one| &one["events"]).collect();
    assert_eq!(events, [0, 0, 0, 0, 1, 1]);
}

/// Judges as two replicas do, again and again.
async fn judge(service: &Service, other: &SloSignals) {
    let tracing = &service.background.tracing;
    for _ in 0..3 {
        service.background.judge_slos().await.unwrap();
        let now = tracing.now();
        let judged = standings(tracing, now, |_| true).await.unwrap();
        other.signal(tracing, &judged, now).await.unwrap();
    }
}

async fn incidents(service: &Service) -> Vec<Value> {
    let found = service.get("/incidents").await.expect(200);
    found["incidents"].as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_budget_that_burns_is_one_incident_told_once_and_it_ends_when_executions_succeed_again() {
    let hook = FakeSlack::start();
    // Failures are told by objectives only: otherwise their rate would be an incident as well.
    let alerting = alerts::start(&format!(
        "[alerts]\nfailure_rate = 1.0\n[[channel]]\nname = \"slo-hook\"\ntype = \"webhook\"\nurl = \"{}/hook\"\n\
         [[slo]]\nname = \"checkout\"\nworkflow = \"checkout-*\"\nobjective = 0.95\nmin_events = 5\n\
         [[slo]]\nname = \"silent\"\nworkflow = \"checkout-*\"\nobjective = 0.95\nmin_events = 5\nalert = false\n",
        hook.url
    ))
    .await;
    let (service, other): (&Service, _) = (&alerting, SloSignals::default());
    judge(service, &other).await;
    let mut failed = String::new();
    for _ in 0..6 {
        failed = runs(service, "checkout-shop", "failed", 5).await;
    }
    judge(service, &other).await;
    let told = hook.wait_for("/hook", 1).await;
    let [incident] = <[Value; 1]>::try_from(incidents(service).await).unwrap();
    let shown = [&incident["kind"], &incident["severity"], &incident["workflow_name"], &incident["state"]];
    assert_eq!(shown, ["slo_burn", "CRITICAL", "checkout-*", "firing"]);
    assert_eq!(incident["cohort"], json!({"slo": "checkout", "sli": "availability"}));
    let path = format!("/incidents/{}", incident["incident_id"].as_str().unwrap());
    let detail = service.get(&path).await.expect(200);
    assert!(detail.to_string().contains(id_of(&failed)), "{detail}");
    assert!(told[0].to_string().contains("checkout") && told[0]["transition"] == "opened", "{}", told[0]);

    // It goes on: nobody hears of it again.
    service.advance(120_000);
    runs(service, "checkout-shop", "failed", 5).await;
    judge(service, &other).await;
    service.advance(5_000);
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!((hook.calls().len(), incidents(service).await.len()), (1, 1));

    // A replica whose definition of it is new knows nothing, and says nothing.
    let (tracing, strange) = (&service.background.tracing, SloSignals::default());
    for minutes in [0, 6] {
        let mut judged = standings(tracing, tracing.now(), |_| true).await.unwrap();
        for indicator in judged.iter_mut().flat_map(|standing| &mut standing.indicators) {
            (indicator.state, indicator.burning) = (State::NoData, None);
        }
        let now = tracing.now() + Micros::from_secs(minutes * 60);
        strange.signal(tracing, &judged, now).await.unwrap();
    }
    assert_eq!(incidents(service).await[0]["state"], "firing");

    // Executions succeed again: of the events of all windows fewer than one in twenty are bad.
    for _ in 0..150 {
        runs(service, "checkout-shop", "completed", 5).await;
    }
    judge(service, &other).await;
    assert_eq!(incidents(service).await[0]["state"], "firing", "it may come back: it must hold for a while");
    assert_eq!(service.get("/slo/checkout").await.expect(200)["indicators"][0]["state"], "ok");
    service.advance(300_000);
    judge(service, &other).await;
    let told = hook.wait_for("/hook", 2).await;
    assert_eq!(told[1]["transition"], "resolved", "{}", told[1]);
    let [incident] = <[Value; 1]>::try_from(incidents(service).await).unwrap();
    assert_eq!(incident["state"], "resolved");
    service.advance(300_000);
    judge(service, &other).await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(hook.calls().len(), 2);
}
