//! Every row of the contract's table of errors, and that nothing is stored by what is refused.

use serde_json::{Value, json};

use super::helpers::{Service, id_of, send, start, start_with};

const UNKNOWN_EXECUTION: &str = "/workflows/wf_0af7651916cd43dd8448eb211c80319c";
const UNKNOWN_STEP: &str = "st_b7ad6b7169203331";

#[tokio::test]
async fn unknown_things_are_404_whatever_they_look_like() {
    let service = start().await;
    let (one, other) = (service.execution("etl").await, service.execution("etl").await);
    let step = service.step(&one, "load").await;
    let before = service.everything().await;
    for path in [UNKNOWN_EXECUTION, "/workflows/wf_0", "/workflows/nope", "/workflows/%00", "/workflows/%FF"]
    {
        for (method, rest) in [
            ("GET", ""),
            ("PUT", ""),
            ("GET", "/bottlenecks"),
            ("GET", "/steps"),
            ("PUT", "/steps/st_b7ad6b7169203331"),
        ] {
            send(service.request(method, &format!("{path}{rest}"))).await.problem(404);
        }
        service.post(&format!("{path}/steps"), json!({"step_name": "load"})).await.problem(404);
    }
    for step in [UNKNOWN_STEP, "st_0", "nope", id_of(&step)] {
        let detail = service.put(&format!("{other}/steps/{step}"), json!({})).await.problem(404);
        assert_eq!(detail, "This execution has no step of this id.");
    }
    let steps = format!("{other}/steps");
    service.post(&steps, json!({"step_name": "x", "parent_step_id": id_of(&step)})).await.problem(404);
    service.post(&steps, json!({"step_name": "x", "parent_step_id": UNKNOWN_STEP})).await.problem(404);
    let parent = json!({"workflow_name": "etl", "parent_workflow_id": id_of(UNKNOWN_EXECUTION)});
    service.post("/workflows", parent).await.problem(404);
    for path in ["/stats/unknown", "/stats/%00", "/nothing", "/stats/etl/steps/unknown"] {
        service.get(path).await.problem(404);
    }
    send(service.request("POST", "/stats/etl/steps/unknown/rebaseline")).await.problem(404);
    assert_eq!(service.everything().await, before);
}

/// Checks that each body is refused with its status, and that nothing is stored by any.
async fn refused(service: &Service, method: &str, path: &str, bodies: Vec<(Value, u16)>) {
    let before = service.everything().await;
    for (body, status) in bodies {
        let answer = service.raw(method, path, body.to_string()).await;
        answer.problem(status);
        if status == 422 {
            let errors = answer.expect(422)["errors"].clone();
            assert!(
                errors[0]["pointer"].as_str().is_some_and(|p| p.starts_with('/')),
                "{body}: {}",
                answer.text
            );
        }
    }
    assert_eq!(service.everything().await, before);
}

fn values_out_of_bounds() -> Vec<Value> {
    let attributes = |value: Value| json!({"attributes": value});
    let many: serde_json::Map<String, Value> = (0..65).map(|n| (n.to_string(), json!(n))).collect();
    vec![
        attributes(Value::Object(many)),
        attributes(json!({"": 1})),
        attributes(json!({"k".repeat(129): 1})),
        attributes(json!({"k": "v".repeat(4097)})),
        attributes(json!({"k": "a\0b"})),
    ]
}

fn bad_durations() -> Vec<Value> {
    [json!(-1), json!(-0.001), json!(1e15), json!(34_560_000_001_u64), json!(1e300)]
        .map(|d| json!({"duration_ms": d}))
        .to_vec()
}

fn bad_times(field: &str) -> Vec<Value> {
    let malformed =
        ["", "yesterday", "2026-01-31", "20260131T120000Z", "2026-01-31T12:00:00+01:00[Europe/Berlin]"];
    let out_of_range = ["1969-12-31T23:59:59Z", "2026-02-01T12:00:01Z", "9999-12-31T23:59:59Z"];
    malformed.into_iter().chain(out_of_range).map(|time| json!({field: time})).collect()
}

fn over(base: &Value, changes: Vec<Value>, status: u16) -> Vec<(Value, u16)> {
    let put = |change: Value| {
        let mut body = base.clone();
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        (body, status)
    };
    changes.into_iter().map(put).collect()
}

#[tokio::test]
async fn an_execution_with_values_out_of_bounds_is_422_and_nothing_is_stored() {
    let service = start().await;
    service.execution("etl").await;
    let base = json!({"workflow_name": "etl"});
    let names =
        ["", &"a".repeat(201), "a\0b", "a\nb", "\u{85}"].map(|name| json!({"workflow_name": name})).to_vec();
    let other = vec![
        json!({"workflow_name": null}),
        json!({"correlation_id": ""}),
        json!({"correlation_id": "a", "execution_id": "b"}),
        json!({"version": "v".repeat(201)}),
        json!({"parent_workflow_id": "nope"}),
        json!({"input": "x".repeat(70_000)}),
    ];
    let mut bodies = vec![(json!({}), 422)];
    for changes in [names, other, values_out_of_bounds(), bad_times("started_at")] {
        bodies.extend(over(&base, changes, 422));
    }
    let types = vec![
        json!({"workflow_name": 1}),
        json!({"workflow_name": ["etl"]}),
        json!({"attributes": []}),
        json!({"started_at": 17}),
    ];
    bodies.extend(over(&base, types, 400));
    refused(&service, "POST", "/workflows", bodies).await;
}

#[tokio::test]
async fn a_step_with_values_out_of_bounds_is_422_and_nothing_is_stored() {
    let service = start().await;
    let execution = service.execution("etl").await;
    let base = json!({"step_name": "load"});
    let other = vec![
        json!({"step_name": ""}),
        json!({"step_name": "a".repeat(201)}),
        json!({"step_type": ""}),
        json!({"step_type": "t".repeat(65)}),
        json!({"status": "done"}),
        json!({"status": "running", "duration_ms": 5}),
        json!({"status": "running", "error": "boom"}),
        json!({"status": "completed", "error": "boom"}),
        json!({"attempt": 0}),
        json!({"attempt": -1}),
        json!({"attempt": 1.5}),
        json!({"attempt": 1_000_001}),
        json!({"parent_step_id": "nope"}),
        json!({"started_at": "2026-01-31T11:00:00Z", "ended_at": "2026-01-31T10:00:00Z"}),
        json!({"started_at": "2020-01-31T11:00:00Z", "ended_at": "2026-01-31T10:00:00Z"}),
    ];
    let mut bodies = vec![(json!({}), 422)];
    for changes in
        [other, values_out_of_bounds(), bad_durations(), bad_times("started_at"), bad_times("ended_at")]
    {
        bodies.extend(over(&base, changes, 422));
    }
    let types = vec![
        json!({"duration_ms": "5"}),
        json!({"duration_ms": "NaN"}),
        json!({"error": 5}),
        json!({"status": true}),
    ];
    bodies.extend(over(&base, types, 400));
    refused(&service, "POST", &format!("{execution}/steps"), bodies).await;
}

#[tokio::test]
async fn an_ending_with_values_out_of_bounds_is_422_and_nothing_ends() {
    let service = start().await;
    let execution = service.execution("etl").await;
    let step = service.step(&execution, "load").await;
    let statuses = || {
        vec![
            json!({"status": "running"}),
            json!({"status": "done"}),
            json!({"status": ""}),
            json!({"status": "ok", "error": {"type": "E"}}),
        ]
    };
    let early = || vec![json!({"ended_at": "2026-01-31T11:59:59Z"})];
    let mut bodies = Vec::new();
    for changes in [statuses(), early(), values_out_of_bounds(), bad_durations(), bad_times("ended_at")] {
        bodies.extend(over(&json!({}), changes, 422));
    }
    bodies.extend(over(&json!({}), vec![json!({"status": "timed_out", "duration_ms": []})], 400));
    refused(&service, "PUT", &step, bodies).await;
    let mut bodies = Vec::new();
    for changes in [statuses(), early(), bad_times("ended_at"), vec![json!({"output": "x".repeat(70_000)})]] {
        bodies.extend(over(&json!({}), changes, 422));
    }
    refused(&service, "PUT", &execution, bodies).await;
}

#[tokio::test]
async fn a_time_far_ahead_is_refused_for_being_ahead() {
    let service = start().await;
    let body = json!({"workflow_name": "etl", "started_at": "9999-12-31T23:59:59Z"});
    assert_eq!(
        service.post("/workflows", body).await.problem(422),
        "One value is out of bounds: started_at lies before 1970 or more than 24 hours ahead."
    );
}

#[tokio::test]
async fn every_fault_of_a_body_is_told_at_once() {
    let service = start().await;
    let execution = service.execution("etl").await;
    let body = json!({"step_name": "", "duration_ms": -5, "status": "done", "attributes": {"": 1}, "started_at": "x"});
    let answer = service.post(&format!("{execution}/steps"), body).await;
    let errors = answer.expect(422)["errors"].clone();
    let shown: Vec<String> = errors
        .as_array()
        .unwrap()
        .iter()
        .map(|error| format!("{} {}", error["pointer"].as_str().unwrap(), error["detail"].as_str().unwrap()))
        .collect();
    insta::assert_snapshot!(shown.join("\n"), @r"
    /step_name must not be empty
    /attributes must have keys of 1 to 128 bytes
    /started_at is not a time of RFC 3339, such as 2026-01-31T12:00:00.123Z
    /duration_ms must not be negative
    /status must be completed, failed, skipped or cancelled
    ");
}

#[tokio::test]
async fn what_is_not_the_json_that_is_meant_is_refused_and_never_echoed() {
    let service = start().await;
    let before = service.everything().await;
    let deep = format!("{}1{}", "[".repeat(40), "]".repeat(40));
    let deep = format!("{{\"workflow_name\":\"hunter2\",\"input\":{deep}}}");
    for (body, status) in [
        (b"hunter2".to_vec(), 400),
        (b"{\"workflow_name\":\"hunter2\"".to_vec(), 400),
        (b"{\"workflow_name\":\"hunter2\"} hunter2".to_vec(), 400),
        (b"[\"hunter2\"]".to_vec(), 400),
        (b"\"hunter2\"".to_vec(), 400),
        (b"null".to_vec(), 400),
        (b"{\"workflow_name\":NaN}".to_vec(), 400),
        (b"{\"workflow_name\":\"\xff\"}".to_vec(), 400),
        (b"{\"workflow_name\":\"hunter2\",\"workflow_name\":\"hunter2\"}".to_vec(), 400),
        (b"{\"workflow_name\":\"\\ud800\"}".to_vec(), 422),
        (b"{\"workflow_name\":\"hunter2\",\"input\":1e999}".to_vec(), 422),
        (deep.into_bytes(), 422),
        (format!("{{\"workflow_name\":\"{}\"}}", "a".repeat(20 << 20)).into_bytes(), 413),
    ] {
        let answer = service.raw("POST", "/workflows", body).await;
        answer.problem(status);
        assert!(!answer.text.contains("hunter2"), "{}", answer.text);
    }
    send(service.request("POST", "/workflows").body("{\"workflow_name\":\"a\"}")).await.problem(415);
    let xml = service.request("POST", "/workflows").header("content-type", "application/xml").body("<a/>");
    send(xml).await.problem(415);
    let html = service.request("GET", "/workflows").header("accept", "text/html");
    send(html).await.problem(406);
    assert_eq!(service.everything().await, before);
}

#[tokio::test]
async fn methods_queries_and_headers_are_checked() {
    let service = start().await;
    let execution = service.execution("etl").await;
    for (method, path, allow) in [
        ("DELETE", "/workflows".to_owned(), "GET, HEAD, POST"),
        ("POST", execution.clone(), "GET, HEAD, PUT"),
        ("DELETE", format!("{execution}/steps"), "GET, HEAD, POST"),
        ("GET", format!("{execution}/steps/{UNKNOWN_STEP}"), "PUT"),
        ("GET", "/simulate".to_owned(), "POST"),
        ("GET", "/import".to_owned(), "POST"),
        ("POST", "/stats/etl".to_owned(), "GET, HEAD"),
    ] {
        let answer = send(service.request(method, &path)).await;
        answer.problem(405);
        assert_eq!(answer.header("allow"), allow, "{method} {path}");
    }
    for path in [
        "/workflows?limit=0",
        "/workflows?limit=1001",
        "/workflows?limit=ten",
        "/workflows?cursor=nonsense",
        "/workflows?status=done",
        "/workflows?bottleneck=normal",
        "/workflows?started_after=yesterday",
        "/workflows?started_after=-009999-01-01T00:00:00Z",
        "/workflows?started_before=20260131T120000Z",
        // A time of 290,000 years before 1970.
        "/workflows?cursor=ZYAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAQ",
        "/workflows?min_duration_ms=-1",
        "/workflows?max_duration_ms=NaN",
        "/workflows?attribute=region",
        "/workflows?attribute=:eu",
        "/workflows?attribute=a:%00",
        "/workflows?workflow_name=",
        "/workflows?correlation_id=a%00b",
        "/workflows?workflow_name=a&workflow_name=b",
        "/workflows?unknown=1",
        "/workflows?workflow_name=%FF",
        "/stats?cursor=nonsense",
        "/stats/etl?window=7d",
        "/health/live?x=1",
    ] {
        service.get(path).await.problem(400);
    }
    service.get(&format!("/workflows?{}", ["attribute=a:b"; 9].join("&"))).await.problem(400);
    // A cursor of another listing is none of this one.
    for name in ["a", "b"] {
        let execution = service.execution(name).await;
        service.put(&execution, json!({})).await.expect(200);
    }
    let cursor = service.get("/stats?limit=1").await.expect(200)["next_cursor"].as_str().unwrap().to_owned();
    service.get(&format!("/workflows?cursor={cursor}")).await.problem(400);
    let key = service
        .request("POST", "/workflows")
        .header("idempotency-key", "a b")
        .json(&json!({"workflow_name": "etl"}));
    send(key).await.problem(400);
}

#[tokio::test]
async fn keys_and_scopes_decide_who_may_do_what() {
    let keys = "ci:ingest:one,grafana:read:two,ops:admin:three";
    let service = start_with(|settings| settings.api_keys = keys.parse().unwrap()).await;
    let ask = async |key: &str, method: &str, path: &str| {
        let request = service.request(method, path).header("authorization", format!("Bearer {key}"));
        send(request.json(&json!({"workflow_name": "etl"}))).await.status
    };
    let missing = service.post("/workflows", json!({"workflow_name": "etl"})).await;
    missing.problem(401);
    assert_eq!(missing.header("www-authenticate"), "Bearer");
    let statuses = async |method: &str, path: &str| {
        [
            ask("one", method, path).await,
            ask("two", method, path).await,
            ask("three", method, path).await,
            ask("four", method, path).await,
        ]
    };
    assert_eq!(statuses("POST", "/workflows").await, [201, 403, 201, 401]);
    assert_eq!(statuses("POST", "/simulate").await, [200, 403, 200, 401]);
    assert_eq!(statuses("GET", "/workflows").await, [403, 200, 200, 401]);
    assert_eq!(statuses("GET", "/metrics").await, [403, 200, 200, 401]);
    assert_eq!(statuses("POST", "/stats/demo/steps/data_load/rebaseline").await, [403, 403, 200, 401]);
}

#[tokio::test]
async fn a_client_that_is_too_fast_is_told_when_to_come_back() {
    let service =
        start_with(|settings| (settings.limits.rate_per_second, settings.limits.burst) = (1, 1)).await;
    assert_eq!(service.get("/stats").await.status, 200);
    let refused = service.get("/stats").await;
    refused.problem(429);
    assert_eq!(refused.header("retry-after"), "1");
}
