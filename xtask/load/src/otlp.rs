//! A run as OpenTelemetry tells of it: one trace, in the JSON of OTLP
//! (<https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::ledger::{Recorded, RecordedStep};
use crate::mix::Run;

/// Returns the export of a run that ends now, and what the service is to know once it has taken it.
#[expect(clippy::disallowed_methods, reason = "a client has no clock of the service")]
pub(crate) fn export(run: &Run) -> (Value, Recorded) {
    let (trace, root) = (format!("{:032x}", rand::random::<u128>() | 1), span_id());
    let length: Duration =
        run.stages.iter().filter_map(|stage| stage.iter().map(|step| step.duration).max()).sum();
    let began = SystemTime::now() - length;
    let mut spans = Vec::new();
    let mut recorded = Recorded {
        id: format!("wf_{trace}"),
        workflow: run.workflow.clone(),
        traced: true,
        status: Some("completed"),
        ..Recorded::default()
    };
    let mut at = began;
    for stage in &run.stages {
        for step in stage {
            let id = span_id();
            let failed = step.failure.is_some();
            let mut attributes = vec![text("tracer.step.type", step.step_type)];
            attributes.extend(step.failure.map(|failure| text("error.type", failure)));
            spans.push(json!({
                "traceId": trace, "spanId": id, "parentSpanId": root, "name": step.name, "kind": 1,
                "startTimeUnixNano": nanos(at), "endTimeUnixNano": nanos(at + step.duration),
                "attributes": attributes, "status": status(step.failure),
            }));
            recorded.steps.push(RecordedStep {
                id: format!("st_{id}"),
                name: step.name,
                status: if failed { "failed" } else { "completed" },
                millis: u64::try_from(step.duration.as_millis()).unwrap_or(u64::MAX),
                slow: false,
            });
            if failed {
                recorded.status = Some("failed");
            }
        }
        at += stage.iter().map(|step| step.duration).max().unwrap_or_default();
        if recorded.status == Some("failed") {
            break;
        }
    }
    let failure = run.stages.iter().flatten().find_map(|step| step.failure);
    spans.push(json!({
        "traceId": trace, "spanId": root, "name": run.workflow, "kind": 2,
        "startTimeUnixNano": nanos(began), "endTimeUnixNano": nanos(at),
        "attributes": [text("tracer.workflow.name", &run.workflow)], "status": status(failure),
    }));
    let resource = json!({"attributes": [text("service.name", "shop")]});
    let scope = json!({"scope": {"name": "xtask-load"}, "spans": spans});
    (json!({"resourceSpans": [{"resource": resource, "scopeSpans": [scope]}]}), recorded)
}

fn span_id() -> String {
    format!("{:016x}", rand::random::<u64>() | 1)
}

fn text(key: &str, value: &str) -> Value {
    json!({"key": key, "value": {"stringValue": value}})
}

/// OTLP's codes: 1 is OK, 2 an error.
fn status(failure: Option<&str>) -> Value {
    failure.map_or(json!({"code": 1}), |message| json!({"code": 2, "message": message}))
}

/// In JSON, 64-bit numbers are texts.
fn nanos(at: SystemTime) -> String {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos().to_string()
}
