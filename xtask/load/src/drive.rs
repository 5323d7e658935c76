//! Tells the service of a run, as it happens.

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::client::Client;
use crate::ledger::{Ledger, Recorded, RecordedStep};
use crate::mix::{Run, Step, Way};
use crate::otlp;

/// How often somebody looks at what has run.
const ASKED: f64 = 0.1;

/// Goes through a run, and enters what was acknowledged.
pub(crate) async fn drive(client: &Client, run: Run, ledger: &Ledger) {
    let recorded = match run.way {
        Way::Rest => step_by_step(client, &run).await,
        Way::Otlp => as_a_trace(client, &run).await,
    };
    client.tally.count("executions");
    if rand::random::<f64>() < ASKED {
        ask(client, &recorded).await;
    }
    ledger.enter(recorded);
}

async fn step_by_step(client: &Client, run: &Run) -> Recorded {
    let mut recorded = Recorded { workflow: run.workflow.clone(), ..Recorded::default() };
    let start = json!({"workflow_name": run.workflow, "attributes": run.attributes});
    let started = client.ask(Method::POST, "/workflows", Some(&start)).await;
    let Some(id) = started.as_ref().and_then(|answer| answer["workflow_id"].as_str()) else {
        recorded.in_doubt = true;
        return recorded;
    };
    recorded.id = id.to_owned();
    let mut status = "completed";
    for stage in &run.stages {
        let steps = join_all(stage.iter().map(|step| one_step(client, id, step))).await;
        recorded.in_doubt |= steps.iter().any(Option::is_none);
        recorded.steps.extend(steps.into_iter().flatten());
        if stage.iter().any(|step| step.failure.is_some()) {
            status = "failed";
            break;
        }
    }
    let end = json!({"status": status});
    match client.ask(Method::PUT, &format!("/workflows/{id}"), Some(&end)).await {
        Some(_) => recorded.status = Some(status),
        None => recorded.in_doubt = true,
    }
    recorded
}

/// Takes a step; none if its end was not acknowledged.
async fn one_step(client: &Client, execution: &str, step: &Step) -> Option<RecordedStep> {
    let path = format!("/workflows/{execution}/steps");
    let millis = u64::try_from(step.duration.as_millis()).unwrap_or(u64::MAX);
    let status = if step.failure.is_some() { "failed" } else { "completed" };
    let mut end = json!({"status": status, "duration_ms": millis});
    if let Some((kind, message)) = step.failure.and_then(|failure| failure.split_once(": ")) {
        end["error"] = json!({"type": kind, "message": message});
    }
    let mut start =
        json!({"step_name": step.name, "step_type": step.step_type, "attributes": step.attributes});
    let answer = if step.whole {
        tokio::time::sleep(step.duration).await;
        for (field, value) in end.as_object().into_iter().flatten() {
            start[field] = value.clone();
        }
        client.ask(Method::POST, &path, Some(&start)).await?
    } else {
        let started = client.ask(Method::POST, &path, Some(&start)).await?;
        tokio::time::sleep(step.duration).await;
        let path = format!("{path}/{}", started["step_id"].as_str()?);
        client.ask(Method::PUT, &path, Some(&end)).await?
    };
    client.tally.count("steps");
    let slow = answer.get("bottleneck").is_some_and(|verdict| !verdict.is_null());
    if slow {
        client.tally.count("slow");
    }
    Some(RecordedStep { id: answer["step_id"].as_str()?.to_owned(), name: step.name, status, millis, slow })
}

async fn as_a_trace(client: &Client, run: &Run) -> Recorded {
    for stage in &run.stages {
        tokio::time::sleep(stage.iter().map(|step| step.duration).max().unwrap_or_default()).await;
        if stage.iter().any(|step| step.failure.is_some()) {
            break;
        }
    }
    let (body, recorded) = otlp::export(run);
    match client.ask(Method::POST, "/v1/traces", Some(&body)).await {
        Some(_) => {
            recorded.steps.iter().for_each(|_| client.tally.count("spans"));
            recorded
        }
        None => Recorded { workflow: recorded.workflow, in_doubt: true, ..Recorded::default() },
    }
}

/// Looks at something, as people and dashboards do.
async fn ask(client: &Client, recorded: &Recorded) -> Option<Value> {
    let path = match rand::random::<u8>() % 5 {
        0 => format!("/stats/{}", recorded.workflow),
        1 => format!("/workflows?workflow_name={}&limit=20", recorded.workflow),
        2 => "/incidents?state=firing".to_owned(),
        3 => "/failures?limit=20".to_owned(),
        _ if recorded.id.is_empty() => "/stats".to_owned(),
        _ => format!("/workflows/{}", recorded.id),
    };
    client.get(&path).await
}
