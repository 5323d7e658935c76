//! Whether Grafana's data sources are those that dashboards begin with, and lead to each other.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::sources::Source;

const FOLDER: &str = "deploy/grafana/provisioning/datasources/";

/// Checks the provisioned data sources against the dashboards.
pub(super) fn check(sources: &[Source]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut types = BTreeMap::new();
    let mut files = Vec::new();
    for source in sources.iter().filter(|source| source.path.starts_with(FOLDER)) {
        let value: Value = match serde_saphyr::from_str(&source.text) {
            Ok(value) => value,
            Err(reason) => {
                wrong.push(format!("{}: is no YAML: {reason}", source.path));
                continue;
            }
        };
        for one in value.get("datasources").and_then(Value::as_array).into_iter().flatten() {
            let text = |field: &str| one.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
            if types.insert(text("uid"), text("type")).is_some() || text("uid").is_empty() {
                wrong.push(format!("{}: {} has no uid of its own", source.path, text("name")));
            }
        }
        files.push((source.path.as_str(), value));
    }
    for (path, value) in &files {
        leads_to(value, &mut |uid| {
            if !types.contains_key(uid) {
                wrong.push(format!("{path}: leads to the data source {uid}, which there is not"));
            }
        });
    }
    let is_board =
        |source: &&Source| source.path.starts_with("dashboards/") && source.path.ends_with(".json");
    for source in sources.iter().filter(is_board) {
        // That it is JSON is another's to say.
        let board: Value = serde_json::from_str(&source.text).unwrap_or_default();
        for (uid, kind) in chosen(&board) {
            if types.get(uid).map(String::as_str) != Some(kind) {
                wrong.push(format!("{}: no data source {uid} of type {kind} is provisioned", source.path));
            }
        }
    }
    wrong
}

/// Returns the data sources that a dashboard begins with, and their types.
fn chosen(board: &Value) -> impl Iterator<Item = (&str, &str)> {
    let variables = board.pointer("/templating/list").and_then(Value::as_array).into_iter().flatten();
    variables
        .filter(|variable| variable.get("type").and_then(Value::as_str) == Some("datasource"))
        .filter_map(|variable| {
            Some((variable.pointer("/current/value")?.as_str()?, variable.get("query")?.as_str()?))
        })
}

fn leads_to(value: &Value, look: &mut impl FnMut(&str)) {
    match value {
        Value::Array(values) => values.iter().for_each(|value| leads_to(value, look)),
        Value::Object(fields) => {
            fields.get("datasourceUid").and_then(Value::as_str).into_iter().for_each(&mut *look);
            fields.values().for_each(|value| leads_to(value, look));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::source;

    const YAML: &str = "
datasources:
  - {name: A, uid: a, type: prometheus}
  - {name: B, uid: b, type: loki, jsonData: {derivedFields: [{datasourceUid: a}]}}
";

    fn checked(yaml: &str, kind: &str) -> Vec<String> {
        let board = format!(
            "{{\"templating\": {{\"list\": [{{\"type\": \"datasource\", \"query\": \"{kind}\", \"current\": {{\"value\": \"a\"}}}}]}}}}"
        );
        check(&[source(&format!("{FOLDER}x.yaml"), yaml), source("dashboards/x.json", &board)])
    }

    #[test]
    fn data_sources_that_fit_pass() {
        assert_eq!(checked(YAML, "prometheus"), [""; 0]);
    }

    #[test]
    fn a_data_source_that_is_missing_or_of_another_type_is_found() {
        assert_eq!(
            checked(YAML, "jaeger"),
            ["dashboards/x.json: no data source a of type jaeger is provisioned"]
        );
        let path = format!("{FOLDER}x.yaml");
        let other = YAML.replace("datasourceUid: a", "datasourceUid: c");
        assert_eq!(
            checked(&other, "prometheus"),
            [format!("{path}: leads to the data source c, which there is not")]
        );
        let twice = YAML.replace("uid: b", "uid: a");
        assert_eq!(checked(&twice, "loki"), [format!("{path}: B has no uid of its own")]);
        assert!(checked("a: [", "x").concat().contains("is no YAML"));
    }
}
