//! `POST /import`, and the command that reads files.

use std::path::PathBuf;

use serde_json::{Value, json};
use tracer_api::import::command::{self, Local, Remote};

use super::helpers::{send, start};

fn finished() -> Value {
    json!({
        "workflow_id": "wf_0af7651916cd43dd8448eb211c80319c", "workflow_name": "blast",
        "started_at": "2026-01-30T10:00:00Z", "ended_at": "2026-01-30T10:00:09Z", "attributes": {"cores": 4},
        "steps": [
            {"step_id": "st_0000000000000001", "step_name": "split", "started_at": "2026-01-30T10:00:00Z", "duration_ms": 1500.5},
            {"step_id": "st_0000000000000002", "step_name": "blastall", "started_at": "2026-01-30T10:00:02Z",
             "ended_at": "2026-01-30T10:00:08Z", "status": "failed", "error": "boom"},
        ],
    })
}

#[tokio::test]
async fn a_finished_execution_is_recorded_once() {
    let service = start().await;
    let told = json!({"workflow_id": "wf_0af7651916cd43dd8448eb211c80319c", "imported": true});
    assert_eq!(service.post("/import", finished()).await.expect(201), told);
    let before = service.everything().await;
    assert_eq!(service.post("/import", finished()).await.expect(200)["imported"], false);
    assert_eq!(service.everything().await, before);
    let shown = service.get("/workflows/wf_0af7651916cd43dd8448eb211c80319c").await.expect(200);
    assert_eq!(
        (&shown["status"], &shown["total_duration_ms"], &shown["steps_completed"]),
        (&json!("completed"), &json!(9000), &json!(1))
    );
    assert_eq!(
        (&shown["steps"][0]["duration_ms"], &shown["steps"][1]["error"]["message"]),
        (&json!(1501), &json!("boom"))
    );
    let stats = service.get("/stats/blast").await.expect(200);
    assert_eq!(
        (&stats["executions"]["completed"], &stats["steps"][0]["failure_count"]),
        (&json!(1), &json!(1))
    );
}

#[tokio::test]
async fn a_key_repeats_the_answer() {
    let service = start().await;
    let ask = async || {
        send(service.request("POST", "/import").header("idempotency-key", "k").json(&finished())).await
    };
    let (first, again) = (ask().await, ask().await);
    assert_eq!(first.expect(201), again.expect(201));
    assert_eq!([first.header("idempotency-replayed"), again.header("idempotency-replayed")], ["", "true"]);
}

#[tokio::test]
async fn faults_are_told_with_their_place_and_nothing_is_stored() {
    let service = start().await;
    let before = service.everything().await;
    let fault = async |pointer: &str, value: Value| {
        let mut body = finished();
        *body.pointer_mut(pointer).unwrap() = value;
        let answer = service.post("/import", body).await;
        answer.problem(422);
        answer.expect(422)["errors"][0]["pointer"].as_str().unwrap().to_owned()
    };
    assert_eq!(fault("/workflow_id", json!("nope")).await, "/workflow_id");
    assert_eq!(fault("/started_at", json!(null)).await, "/started_at");
    assert_eq!(fault("/ended_at", json!("2026-01-30T09:00:00Z")).await, "/ended_at");
    assert_eq!(fault("/steps", json!([])).await, "/steps");
    assert_eq!(fault("/steps/1/step_id", json!("st_0000000000000001")).await, "/steps/1/step_id");
    assert_eq!(fault("/steps/1/ended_at", json!("2026-01-30T09:00:00Z")).await, "/steps/1/ended_at");
    assert_eq!(fault("/steps/0/duration_ms", json!(null)).await, "/steps/0/ended_at");
    assert_eq!(fault("/steps/0/step_name", json!("")).await, "/steps/0/step_name");
    assert_eq!(service.everything().await, before);
}

fn files() -> Vec<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/wfformat");
    vec![folder.join("backup-002.json"), folder.join("thumbnails-001.json")]
}

#[tokio::test]
async fn files_are_recorded_the_same_locally_and_through_a_service() {
    let (here, there) = (start().await, start().await);
    let local = command::import(&files(), None, None, &Local(here.background.tracing.clone())).await;
    let remote = Remote::new(&format!("http://{}/", there.address), None).unwrap();
    let remotely = command::import(&files(), None, None, &remote).await;
    assert_eq!(local, remotely);
    assert_eq!((local.recorded, local.known, local.failures.len()), (2, 0, 0), "{:?}", local.failures);
    assert_eq!(here.everything().await, there.everything().await);
    let before = there.everything().await;
    let again = command::import(&files(), None, None, &remote).await;
    assert_eq!((again.recorded, again.known), (0, 2));
    assert_eq!(there.everything().await, before);
}

#[tokio::test]
async fn a_file_that_cannot_be_recorded_is_named_and_the_others_are_recorded() {
    let service = start().await;
    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("broken.json");
    std::fs::write(&broken, "{\"schemaVersion\": 7}").unwrap();
    let all: Vec<PathBuf> = [broken, folder.path().join("missing.json")].into_iter().chain(files()).collect();
    let remote = Remote::new(&format!("http://{}", service.address), None).unwrap();
    let summary = command::import(&all, None, Some("renamed"), &remote).await;
    assert_eq!((summary.recorded, summary.failures.len()), (2, 2));
    assert!(summary.failures[0].contains("broken.json: $.schemaVersion"), "{:?}", summary.failures);
    assert!(summary.failures[1].contains("missing.json"), "{:?}", summary.failures);
    assert_eq!(service.get("/stats/renamed").await.expect(200)["executions"]["completed"], 2);
    let nobody = Remote::new("http://127.0.0.1:1", None).unwrap();
    let failed = command::import(&files(), None, None, &nobody).await;
    assert_eq!((failed.recorded, failed.failures.len()), (0, 2));
}

/// A line of OTLP JSON with the spans of a trace: a root, and a step of so many milliseconds.
fn trace(id: u32, millis: u64) -> String {
    let span = |span: u32, parent: &str, name: &str, ending: Value| {
        json!({"traceId": format!("{id:032x}"), "spanId": format!("{span:016x}"), "parentSpanId": parent,
            "name": name, "kind": 1, "startTimeUnixNano": format!("17698608{id:02}000000000"),
            "endTimeUnixNano": (1_769_860_800_000_000_000 + u64::from(id) * 1_000_000_000 + millis * 1_000_000).to_string(),
            "status": ending})
    };
    let failed = json!({"code": 2, "message": "boom"});
    let spans = [span(2, &format!("{:016x}", 1), "load", failed), span(1, "", "nightly", json!({}))];
    let resource = json!({"attributes": [{"key": "service.name", "value": {"stringValue": "etl"}}]});
    json!({"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": spans}]}]}).to_string()
}

#[tokio::test]
async fn a_folder_of_traces_and_executions_is_recorded_the_same_locally_and_through_a_service() {
    let (here, there) = (start().await, start().await);
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(files().first().unwrap(), folder.path().join("backup-002.json")).unwrap();
    std::fs::write(folder.path().join("a.jsonl"), [trace(2, 200), trace(1, 100)].join("\n")).unwrap();
    std::fs::write(folder.path().join("b.ndjson"), format!("{}\n{}", trace(3, 300), trace(1, 100))).unwrap();
    let paths = [folder.path().to_owned()];
    let local = command::import(&paths, None, None, &Local(here.background.tracing.clone())).await;
    let remote = Remote::new(&format!("http://{}/", there.address), None).unwrap();
    let remotely = command::import(&paths, None, None, &remote).await;
    assert_eq!(local, remotely);
    assert_eq!((local.recorded, local.steps, local.failures.len()), (4, 6, 0), "{:?}", local.failures);
    let shown = there.get(&format!("/workflows/wf_{:032x}", 3)).await.expect(200);
    assert_eq!(
        (&shown["workflow_name"], &shown["status"], &shown["total_duration_ms"]),
        (&json!("etl nightly"), &json!("completed"), &json!(300))
    );
    let step = &shown["steps"][0];
    assert_eq!(
        (&step["step_id"], &step["status"], &step["error"]["message"], &step["parent_step_id"]),
        (&json!("st_0000000000000002"), &json!("failed"), &json!("boom"), &json!(null))
    );
    let stats = here.get("/stats/etl%20nightly").await.expect(200);
    assert_eq!(
        (&stats["executions"]["completed"], &stats["steps"][0]["failure_count"]),
        (&json!(3), &json!(3))
    );
    let before = here.everything().await;
    let again = command::import(&paths, None, None, &Local(here.background.tracing.clone())).await;
    assert_eq!((again.recorded, again.known), (0, 4));
    assert_eq!(here.everything().await, before);
}

#[tokio::test]
async fn of_traces_in_files_that_are_refused_nothing_is_recorded() {
    let service = start().await;
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let paths = [
        file("broken.jsonl", format!("{}\nbroken", trace(1, 100))),
        file("whole.jsonl", [trace(1, 100), trace(2, 100)].join("\n")),
        file("late.jsonl", trace(3, 100).replace("\"17698608", "\"97698608")),
        file("other.json", "{\"other\": 1}".to_owned()),
    ];
    let summary = command::import(&paths, None, None, &Local(service.background.tracing.clone())).await;
    assert_eq!((summary.recorded, summary.torn, summary.failed_files, summary.failed_traces), (1, 1, 2, 1));
    let failures = summary.failures.join("\n");
    for told in ["broken.jsonl: line 2: is not JSON", "other.json: is neither", "trace 0000"] {
        assert!(failures.contains(told), "{failures}");
    }
    assert_eq!(service.get("/stats/etl%20nightly").await.expect(200)["executions"]["completed"], 1);
}
