//! `/failures`: what went wrong, how often, what is like it, and which executions had it.

use serde_json::{Value, json};

use super::helpers::{Service, id_of, start};

const NOON: &str = "2026-01-31T12:00:00.000Z";

/// Records a step that fails, and returns its id.
async fn fails(service: &Service, execution: &str, message: &str) -> Value {
    let error = json!({"type": "IoError", "message": message});
    let body = json!({"step_name": "load", "status": "failed", "duration_ms": 5, "error": error});
    let recorded = service.post(&format!("{execution}/steps"), body).await.expect(201);
    recorded["step_id"].clone()
}

async fn ends_by(service: &Service, execution: &str, message: &str) {
    service.put(execution, json!({"status": "failed", "error": message})).await.expect(200);
}

async fn failures(service: &Service, path: &str) -> Vec<Value> {
    service.get(path).await.expect(200)["failures"].as_array().unwrap().clone()
}

/// Returns what the groups of an answer say, and how often.
async fn told(service: &Service, path: &str) -> Vec<String> {
    let all = failures(service, path).await;
    all.iter().map(|group| format!("{} × {}", group["count"], group["message"].as_str().unwrap())).collect()
}

async fn by_error(service: &Service, query: &str) -> Vec<String> {
    let found = service.get(&format!("/workflows?{query}")).await.expect(200);
    let ids = found["workflows"].as_array().unwrap().iter();
    ids.map(|execution| format!("/workflows/{}", execution["workflow_id"].as_str().unwrap())).collect()
}

#[tokio::test]
async fn failures_that_say_the_same_are_one_group_with_an_example() {
    let service = start().await;
    let (first, second) = (service.execution("etl").await, service.execution("ml").await);
    fails(&service, &first, "query 4711 timed out after 30 s").await;
    service.advance(1_000);
    let step = fails(&service, &second, "Query 12 timed out after 45 s!").await;
    let all = failures(&service, "/failures").await;
    assert_eq!(all.len(), 1);
    let fingerprint = all[0]["fingerprint"].as_str().unwrap();
    let expected = json!({
        "fingerprint": fingerprint, "error_type": "IoError", "message": "query 4711 timed out after 30 s",
        "count": 2, "first_seen": NOON, "last_seen": "2026-01-31T12:00:01.000Z", "workflow_name": "ml",
        "workflow_id": id_of(&second), "step_id": step,
    });
    assert_eq!(all[0], expected);
    assert_eq!(service.get(&format!("/failures/{fingerprint}")).await.expect(200), expected);
    assert_eq!(told(&service, "/failures?workflow_name=etl").await, ["1 × query 4711 timed out after 30 s"]);
    assert_eq!(told(&service, "/failures?since=2026-01-31T12:00:02Z").await, [""; 0]);
    for unknown in ["0123456789abcdef0123456789abcdef", "none"] {
        let detail = service.get(&format!("/failures/{unknown}")).await.problem(404);
        assert_eq!(detail, "No group of failures has this fingerprint.");
    }
}

#[tokio::test]
async fn the_listing_is_paged() {
    let service = start().await;
    let execution = service.execution("etl").await;
    for message in ["disk full", "no route", "out of memory"] {
        fails(&service, &execution, message).await;
        service.advance(1_000);
    }
    let first = service.get("/failures?limit=2").await.expect(200);
    let cursor = first["next_cursor"].as_str().unwrap();
    assert_eq!(first["failures"][0]["message"], "out of memory");
    let second = service.get(&format!("/failures?limit=2&cursor={cursor}")).await.expect(200);
    assert_eq!(
        (&second["failures"][0]["message"], &second["next_cursor"]),
        (&json!("disk full"), &Value::Null)
    );
    assert!(service.get(&format!("/workflows?cursor={cursor}")).await.problem(400).contains("cursor"));
}

#[tokio::test]
async fn what_is_like_an_error_is_found_the_most_similar_first() {
    let service = start().await;
    let execution = service.execution("etl").await;
    for message in ["disk 7 is full", "disk 7 is slow", "disk is slow today on this host", "no route"] {
        fails(&service, &execution, message).await;
    }
    fails(&service, &execution, "Disk 8 is full.").await;
    let path = "/failures/similar?error=IoError:%20disk%2099%20is%20full";
    let found = failures(&service, path).await;
    let shown: Vec<_> =
        found.iter().map(|group| (group["similarity"].as_f64().unwrap(), &group["count"])).collect();
    assert_eq!(shown, [(1.0, &json!(2)), (0.6667, &json!(1)), (0.3, &json!(1))]);
    assert_eq!(told(&service, &format!("{path}&min_similarity=0.5&limit=1")).await, ["2 × disk 7 is full"]);
    assert_eq!(failures(&service, &format!("{path}&min_similarity=0.31")).await.len(), 2);
    assert_eq!(failures(&service, "/failures/similar?error=unheard+of").await, [Value::Null; 0]);
}

#[tokio::test]
async fn an_execution_is_compared_with_others_by_its_own_failure_or_those_of_its_steps() {
    let service = start().await;
    let (one, other) = (service.execution("etl").await, service.execution("etl").await);
    let step = fails(&service, &one, "disk 7 is full").await;
    fails(&service, &one, "no route").await;
    let path = format!("{one}/similar-failures");
    let alone = service.get(&path).await.expect(200);
    assert_eq!(alone["failures"], json!([]), "nobody else failed");
    assert_eq!((&alone["workflow_id"], &alone["workflow_name"]), (&json!(id_of(&one)), &json!("etl")));
    let own: Vec<_> = alone["own"].as_array().unwrap().iter().map(|own| &own["message"]).collect();
    assert!(own.contains(&&json!("disk 7 is full")) && own.contains(&&json!("no route")) && own.len() == 2);
    let of_disk = alone["own"].as_array().unwrap().iter().find(|own| own["step_id"] == step).unwrap();
    assert_eq!(of_disk["count"], 1);

    fails(&service, &other, "disk 8 is full").await;
    fails(&service, &other, "disk 8 is slow").await;
    assert_eq!(told(&service, &path).await, ["1 × disk 7 is full", "1 × disk 8 is slow"]);
    assert_eq!(failures(&service, &path).await[0]["similarity"], 1.0);
    assert_eq!(told(&service, &format!("{path}?min_similarity=0.9&limit=5")).await, ["1 × disk 7 is full"]);

    service
        .put(&one, json!({"status": "failed", "error": {"type": "IoError", "message": "no route"}}))
        .await
        .expect(200);
    let by_own = service.get(&path).await.expect(200);
    assert_eq!(by_own["own"].as_array().unwrap().len(), 1);
    assert_eq!((&by_own["own"][0]["message"], &by_own["own"][0]["count"]), (&json!("no route"), &json!(1)));
    assert_eq!(by_own["failures"], json!([]));
    let fine = service.execution("etl").await;
    let nothing = service.get(&format!("{fine}/similar-failures")).await.expect(200);
    assert_eq!((&nothing["own"], &nothing["failures"]), (&json!([]), &json!([])));
    let unknown = "/workflows/wf_0000000000000000000000000000000f/similar-failures";
    assert_eq!(service.get(unknown).await.problem(404), "No execution has this id.");
}

#[tokio::test]
async fn executions_are_found_by_the_words_of_their_errors() {
    let service = start().await;
    let mut paths = Vec::new();
    for (name, message) in
        [("etl", "Connection refused by 10.0.0.1"), ("etl", "connection 4711 reset"), ("ml", "out of memory")]
    {
        let execution = service.execution(name).await;
        fails(&service, &execution, message).await;
        service.advance(1_000);
        paths.push(execution);
    }
    ends_by(&service, &paths[2], "worker lost its connection").await;
    let [refused, reset, lost] = paths.try_into().unwrap();
    assert_eq!(by_error(&service, "error=connection").await, [lost.clone(), reset.clone(), refused.clone()]);
    assert_eq!(by_error(&service, "error=Refused,+connection").await, [&*refused]);
    assert_eq!(by_error(&service, "error=connection+4711").await, [&*reset]);
    assert_eq!(by_error(&service, "error=10.0.0.1").await, [&*refused]);
    assert_eq!(by_error(&service, "error=connection&workflow_name=ml&status=failed").await, [&*lost]);
    assert_eq!(by_error(&service, "error=unheard").await, [""; 0]);
    let page = service.get("/workflows?error=connection&limit=2").await.expect(200);
    let cursor = page["next_cursor"].as_str().unwrap();
    assert_eq!(by_error(&service, &format!("error=connection&limit=2&cursor={cursor}")).await, [refused]);
}

#[tokio::test]
async fn what_cannot_be_asked_is_said_so() {
    let service = start().await;
    let long = "x".repeat(8_193);
    for (path, detail) in [
        ("/failures/similar".to_owned(), "The query parameter 'error' is missing: it is what to compare."),
        (
            "/failures/similar?error=".to_owned(),
            "The query parameter 'error' must be a text of at most 8,192 bytes with at least one word.",
        ),
        (
            format!("/failures/similar?error={long}"),
            "The query parameter 'error' must be a text of at most 8,192 bytes with at least one word.",
        ),
        (
            "/workflows?error=%20!%20".to_owned(),
            "The query parameter 'error' must be a text of at most 8,192 bytes with at least one word.",
        ),
        (
            "/failures/similar?error=x&min_similarity=0.2".to_owned(),
            "The query parameter 'min_similarity' must be a number from 0.3 to 1.",
        ),
        (
            "/failures/similar?error=x&min_similarity=NaN".to_owned(),
            "The query parameter 'min_similarity' must be a number from 0.3 to 1.",
        ),
        (
            "/failures?limit=0".to_owned(),
            "The query parameter 'limit' must be a whole number from 1 to 1000.",
        ),
        (
            "/failures?since=yesterday".to_owned(),
            "The query parameter 'since' must be a time of RFC 3339, such as 2026-01-31T12:00:00.123Z.",
        ),
    ] {
        assert_eq!(service.get(&path).await.problem(400), detail, "{path}");
    }
    assert_eq!(service.get("/failures/similar?error=a%00b").await.expect(200), json!({"failures": []}));
}
