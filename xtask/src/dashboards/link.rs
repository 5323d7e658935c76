//! Where panels lead: to another dashboard, to an execution, to its trace, to its logs.
//!
//! Invariant: the time that is shown goes along.

use serde_json::{Value, json};

/// How logs of the service are found: the label, and the structured metadata, that deploy/alloy gives them.
const LOGS: &str = "{service=\"tracer\"}";

/// Returns the way to the dashboard of a workflow that a value names.
pub(crate) fn workflow(value: &str) -> String {
    format!(
        "/d/tracer-workflow?${{__url_time_range}}&${{datasource:queryparam}}&${{tracer_url:queryparam}}\
         &var-workflow=${{{value}:percentencode}}"
    )
}

/// Returns the way to a dashboard with the same time and data source.
pub(crate) fn board(uid: &str) -> String {
    format!("/d/{uid}?${{__url_time_range}}&${{datasource:queryparam}}&${{tracer_url:queryparam}}")
}

/// Returns the way to the execution whose id without `wf_` a value holds.
pub(crate) fn execution(value: &str) -> String {
    format!("${{tracer_url}}/workflows/wf_${{{value}}}")
}

/// Returns the way to the trace whose id a value holds.
pub(crate) fn trace(value: &str) -> String {
    let query = json!({"refId": "A", "query": format!("${{{value}}}")});
    explore("jaeger", "jaeger", query)
}

/// Returns the way to what the service logged of the execution whose id without `wf_` a value holds.
pub(crate) fn logs(value: &str) -> String {
    let expr = format!("{LOGS} | execution_id=`wf_${{{value}}}`");
    explore("loki", "loki", json!({"refId": "A", "expr": expr, "queryType": "range"}))
}

/// Returns the way to a query in Explore, over the time that is shown.
fn explore(variable: &str, kind: &str, mut query: Value) -> String {
    let uid = format!("${{{variable}}}");
    if let Some(query) = query.as_object_mut() {
        query.insert("datasource".to_owned(), json!({"type": kind, "uid": uid}));
    }
    let panes = json!({"a": {
        "datasource": uid,
        "queries": [query],
        "range": {"from": "${__from}", "to": "${__to}"},
    }});
    format!("/explore?schemaVersion=1&orgId=1&panes={}", encoded(&panes.to_string()))
}

/// Percent-encodes a text for a query string, without the variables in it: Grafana looks for these in the URL.
fn encoded(text: &str) -> String {
    let mut out = String::new();
    let mut in_variable = false;
    for (at, c) in text.char_indices() {
        in_variable |= text.get(at..).is_some_and(|rest| rest.starts_with("${"));
        if in_variable || c.is_ascii_alphanumeric() || "-._~".contains(c) {
            out.push(c);
        } else {
            let mut bytes = [0; 4];
            for byte in c.encode_utf8(&mut bytes).bytes() {
                out.push_str(&format!("%{byte:02X}"));
            }
        }
        in_variable &= c != '}';
    }
    out
}

#[cfg(test)]
mod tests {
    use super::encoded;

    #[test]
    fn variables_stay_readable_and_all_else_is_encoded() {
        assert_eq!(
            encoded(r#"{"uid":"${loki}","é":1}"#),
            "%7B%22uid%22%3A%22${loki}%22%2C%22%C3%A9%22%3A1%7D"
        );
    }
}
