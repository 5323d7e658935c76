//! Events: what is told of an execution besides its steps.

use serde_json::json;

use super::helpers::{id_of, send, start};

#[tokio::test]
async fn an_event_is_shown_with_its_execution_and_listed() {
    let service = start().await;
    let execution = service.execution("agent").await;
    let step = service.step(&execution, "search").await;
    let body = json!({
        "kind": "tool_call", "message": "searched for 'pump'", "step_id": id_of(&step),
        "at": "2026-01-31T11:59:00Z", "attributes": {"hits": 3}, "ignored": true,
    });
    let recorded = service.post(&format!("{execution}/events"), body).await.expect(201);
    assert!(recorded["event_id"].as_str().unwrap().starts_with("ev_"));
    assert_eq!(
        (&recorded["workflow_id"], &recorded["kind"]),
        (&json!(id_of(&execution)), &json!("tool_call"))
    );
    assert_eq!(recorded["at"], "2026-01-31T11:59:00.000Z");
    let line = json!({"kind": "log", "level": "warn", "message": "half full"});
    service.post(&format!("{execution}/events"), line).await.expect(201);
    let shown = service.get(&execution).await.expect(200);
    assert_eq!(
        shown["events"][0],
        json!({
            "event_id": recorded["event_id"], "kind": "tool_call", "level": null, "message": "searched for 'pump'",
            "step_id": id_of(&step), "at": "2026-01-31T11:59:00.000Z", "attributes": {"hits": 3},
        })
    );
    assert_eq!((&shown["events"][1]["level"], &shown["events_next_cursor"]), (&json!("warn"), &json!(null)));
    let listed = service.get(&format!("{execution}/events")).await.expect(200);
    assert_eq!((&listed["events"], &listed["workflow_id"]), (&shown["events"], &json!(id_of(&execution))));
}

#[tokio::test]
async fn many_events_are_paged_from_where_the_execution_shows_them() {
    let service = start().await;
    let execution = service.execution("agent").await;
    for number in 0..130 {
        let body = json!({"kind": "log", "message": format!("line {number}")});
        service.post(&format!("{execution}/events"), body).await.expect(201);
    }
    let shown = service.get(&execution).await.expect(200);
    let mut messages: Vec<String> = Vec::new();
    let mut take = |page: &serde_json::Value| {
        let events = page["events"].as_array().unwrap();
        messages.extend(events.iter().map(|event| event["message"].as_str().unwrap().to_owned()));
    };
    take(&shown);
    let mut next = shown["events_next_cursor"].as_str().map(str::to_owned);
    while let Some(cursor) = next {
        let page = service.get(&format!("{execution}/events?limit=20&cursor={cursor}")).await.expect(200);
        take(&page);
        next = page["next_cursor"].as_str().map(str::to_owned);
    }
    assert_eq!(messages, (0..130).map(|number| format!("line {number}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_is_wrong_with_an_event_is_said() {
    let service = start().await;
    let execution = service.execution("agent").await;
    let path = format!("{execution}/events");
    let body = json!({"kind": "note", "level": "loud", "step_id": "x", "at": "now", "attributes": {"": 1}});
    let answer = service.post(&path, body).await.expect(422);
    let faults: Vec<String> = answer["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|fault| format!("{} {}", fault["pointer"].as_str().unwrap(), fault["detail"].as_str().unwrap()))
        .collect();
    insta::assert_snapshot!(faults.join("\n"), @r"
    /kind must be branch_decision, tool_call, log or error
    /message is required
    /level must be trace, debug, info, warn or error
    /step_id is not an id of the form st_ and 16 hexadecimal digits
    /at is not a time of RFC 3339, such as 2026-01-31T12:00:00.123Z
    /attributes must have keys of 1 to 128 bytes
    ");
    let levelled = json!({"kind": "error", "message": "no", "level": "warn"});
    service.post(&path, levelled).await.problem(422);
    let elsewhere = json!({"kind": "log", "message": "x", "step_id": "st_0000000000000001"});
    assert_eq!(service.post(&path, elsewhere).await.problem(404), "This execution has no step of this id.");
    let unknown = "/workflows/wf_0197a3c5b2f87c4e9d1a2b3c4d5e6f70/events";
    service.post(unknown, json!({"kind": "log", "message": "x"})).await.problem(404);
    service.get(unknown).await.problem(404);
    service.get(&format!("{path}?cursor=none")).await.problem(400);
    assert_eq!(service.get(&path).await.expect(200)["events"], json!([]));
}

#[tokio::test]
async fn an_event_under_a_key_is_kept_once_and_an_ended_execution_takes_it() {
    let service = start().await;
    let execution = service.execution("agent").await;
    service.put(&execution, json!({})).await.expect(200);
    let before = service.get(&execution).await.expect(200);
    let tell = async |message: &str| {
        let request = service.request("POST", &format!("{execution}/events"));
        let body = json!({"kind": "log", "message": message});
        send(request.header("idempotency-key", "k1").json(&body)).await
    };
    let first = tell("once").await;
    let again = tell("once").await;
    assert_eq!(first.expect(201), again.expect(201));
    assert_eq!((first.header("idempotency-replayed"), again.header("idempotency-replayed")), ("", "true"));
    tell("another").await.problem(409);
    let after = service.get(&execution).await.expect(200);
    assert_eq!(after["events"].as_array().unwrap().len(), 1);
    assert_eq!((&after["status"], &after["ended_at"]), (&before["status"], &before["ended_at"]));
}
