//! Whether the dashboards are what the generator makes, and good ones: every panel says what it shows, in which unit,
//! and what it means when it is empty; every query parses and speaks of what exists; no link leads nowhere.
//!
//! Not here: whether a query has data (`stack`).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::metrics::Known;
use crate::dashboards::{self, FOLDER, fill};
use crate::sources::Source;

/// Checks the files against the generator, and each for itself.
pub(super) fn check(sources: &[Source], known: &Known) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut boards = BTreeMap::new();
    let folder = format!("{FOLDER}/");
    for source in sources {
        let Some(name) = source.path.strip_prefix(&folder).and_then(|path| path.strip_suffix(".json")) else {
            continue;
        };
        match serde_json::from_str::<Value>(&source.text) {
            Ok(board) => {
                boards.insert(name.to_owned(), board);
            }
            Err(reason) => wrong.push(format!("{}: is no JSON: {reason}", source.path)),
        }
    }
    let made = dashboards::all().into_iter().map(|board| (board.uid.to_owned(), board.json()));
    wrong.extend(differences(&boards, &made.collect()));
    wrong.extend(faults_of_all(&boards, known));
    wrong
}

/// Returns which files are not as the generator would write them.
fn differences(files: &BTreeMap<String, Value>, made: &BTreeMap<String, Value>) -> Vec<String> {
    let names: BTreeSet<&String> = files.keys().chain(made.keys()).collect();
    let differ = names.into_iter().filter(|name| files.get(*name) != made.get(*name));
    differ
        .map(|name| format!("{FOLDER}/{name}.json: differs from its source: run cargo xtask dashboards"))
        .collect()
}

fn faults_of_all(boards: &BTreeMap<String, Value>, known: &Known) -> Vec<String> {
    let uids: BTreeSet<&str> = boards.values().filter_map(|board| board.get("uid")?.as_str()).collect();
    let mut wrong = Vec::new();
    if uids.len() < boards.len() {
        wrong.push(format!("{FOLDER}: two dashboards have one uid, or one has none"));
    }
    for (name, board) in boards {
        let faults = faults(name, board, &uids, known);
        wrong.extend(faults.into_iter().map(|fault| format!("{FOLDER}/{name}.json: {fault}")));
    }
    wrong
}

fn text<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    value.pointer(pointer).and_then(Value::as_str).filter(|text| !text.trim().is_empty())
}

fn list<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    value.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

fn faults(name: &str, board: &Value, uids: &BTreeSet<&str>, known: &Known) -> Vec<String> {
    let mut faults = Vec::new();
    if text(board, "/uid") != Some(name) {
        faults.push("its uid must be the name of its file".to_owned());
    }
    for field in ["title", "description"] {
        if text(board, &format!("/{field}")).is_none() {
            faults.push(format!("has no {field}"));
        }
    }
    let mut ids = BTreeSet::new();
    for panel in list(board, "/panels") {
        let title = text(panel, "/title").unwrap_or("a panel without a title");
        if !panel.get("id").and_then(Value::as_u64).is_some_and(|id| ids.insert(id)) {
            faults.push(format!("{title}: has no id of its own"));
        }
        if text(panel, "/type") != Some("row") {
            faults.extend(faults_of_panel(panel, known).into_iter().map(|fault| format!("{title}: {fault}")));
        }
    }
    let annotations = list(board, "/annotations/list").filter_map(|marks| text(marks, "/expr"));
    let variables = list(board, "/templating/list").filter_map(|variable| text(variable, "/query/query"));
    let selectors = variables.filter_map(|query| query.strip_prefix("label_values(")?.rsplit_once(", "));
    for query in annotations.chain(selectors.map(|(selector, _)| selector)) {
        // Which values a label has is not summed over replicas.
        let max = format!("max({})", filled(query));
        faults.extend(known.faults(if query.contains("max") { query } else { &max }));
    }
    faults.extend(dangling(board, uids));
    faults
}

fn faults_of_panel(panel: &Value, known: &Known) -> Vec<String> {
    let mut faults = Vec::new();
    for (field, pointer) in [
        ("title", "/title"),
        ("description", "/description"),
        ("unit", "/fieldConfig/defaults/unit"),
        ("noValue", "/fieldConfig/defaults/noValue"),
    ] {
        if text(panel, pointer).is_none() {
            faults.push(format!("has no {field}"));
        }
    }
    if list(panel, "/targets").next().is_none() {
        faults.push("asks nothing".to_owned());
    }
    let says_now = matches!(text(panel, "/type"), Some("stat" | "gauge" | "bargauge" | "table"));
    for target in list(panel, "/targets") {
        match (text(target, "/expr"), text(target, "/rawSql"), text(target, "/queryType")) {
            (Some(query), _, _) => {
                faults.extend(known.faults(&filled(query)));
                let [instant, range] = ["instant", "range"].map(|way| target.get(way) == Some(&true.into()));
                if says_now && (range || !instant) {
                    faults.push(format!(
                        "`{query}` must be instant: the last value of a range outlives an outage"
                    ));
                }
                faults.extend(of_any_server(query));
            }
            (None, Some(sql), _) => faults.extend(hides_what_fires(sql)),
            (None, None, Some("search")) => {}
            (None, None, _) => faults.push("one of its queries is empty".to_owned()),
        }
    }
    faults
}

/// Returns what is wrong with a query that asks every exporter of a shared Prometheus for PostgreSQL.
fn of_any_server(query: &str) -> Option<String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let mut names = query.match_indices("pg_").map(|(at, _)| query.split_at(at));
    let (_, from) = names.find(|(before, from)| {
        let selector = from.trim_start_matches(is_name);
        !before.ends_with(is_name) && !selector.starts_with("{job=\"postgres\"")
    })?;
    let name = from.split(|c| !is_name(c)).next().unwrap_or_default();
    Some(format!("{name} must be of job=\"postgres\": there may be other servers"))
}

/// Returns what is wrong with a list of incidents by when they were last seen: that stays where it is while a step is
/// stuck, an SLO burns or an alert fires.
fn hides_what_fires(sql: &str) -> Option<String> {
    let by_time = "$__timeFilter(last_seen_at)";
    let hides = sql.contains(by_time) && !sql.contains(&format!("(state = 'firing' OR {by_time})"));
    hides.then(|| "its SQL hides what fires and was last seen before the time shown".to_owned())
}

/// Returns a query with something in place of its variables, so that it can be read.
fn filled(query: &str) -> String {
    let value = |name: &str| {
        let time = matches!(name, "__rate_interval" | "__interval" | "__range");
        (name.to_owned(), if time { "5m" } else { "x" }.to_owned())
    };
    let values = fill::variables(query).into_iter().map(value).collect();
    fill::fill(query, &values)
}

/// Returns the variables that nobody defines, and the dashboards that links lead to and nobody has.
fn dangling(board: &Value, uids: &BTreeSet<&str>) -> Vec<String> {
    let defined: BTreeSet<&str> =
        list(board, "/templating/list").filter_map(|variable| text(variable, "/name")).collect();
    let mut faults = BTreeSet::new();
    each_text(board, &mut |text| {
        for name in fill::variables(text) {
            if !name.starts_with("__") && !defined.contains(name) {
                faults.insert(format!("no variable is called {name}"));
            }
        }
        for (_, rest) in text.match_indices("/d/").map(|(at, mark)| text.split_at(at + mark.len())) {
            let uid = rest.split(['/', '?', '#']).next().unwrap_or_default();
            if !uids.contains(uid) {
                faults.insert(format!("a link leads to the dashboard {uid}, which there is not"));
            }
        }
    });
    faults.into_iter().collect()
}

fn each_text(value: &Value, look: &mut impl FnMut(&str)) {
    match value {
        Value::String(text) => look(text),
        Value::Array(values) => values.iter().for_each(|value| each_text(value, look)),
        Value::Object(fields) => fields.values().for_each(|value| each_text(value, look)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::tidy::source;

    fn good() -> Value {
        json!({
            "uid": "one",
            "title": "One",
            "description": "What for",
            "templating": {"list": [
                {"name": "workflow", "query": {"query": "label_values(runs_total, workflow_name)"}},
            ]},
            "panels": [
                {"id": 9, "type": "row", "title": "A row"},
                {
                    "id": 1,
                    "type": "stat",
                    "title": "Runs",
                    "description": "How many",
                    "fieldConfig": {"defaults": {
                        "unit": "short",
                        "noValue": "None yet",
                        "links": [{"url": "/d/one?var-workflow=${workflow}&${__url_time_range}"}],
                    }},
                    "targets": [{
                        "expr": "rate(runs_total{workflow_name=\"$workflow\"}[$__rate_interval])",
                        "instant": true,
                        "range": false,
                    }],
                },
            ],
        })
    }

    fn wrong(board: Value) -> Vec<String> {
        let known = Known::of(&[source("crates/a/src/metrics.rs", "\"runs_total\"")]);
        faults_of_all(&[("one".to_owned(), board)].into(), &known)
    }

    #[test]
    fn a_good_dashboard_passes() {
        assert_eq!(wrong(good()), [""; 0]);
    }

    #[test]
    fn what_a_dashboard_lacks_is_found() {
        for (pointer, value, what) in [
            ("/uid", json!("two"), "its uid must be the name of its file"),
            ("/title", json!(""), "has no title"),
            ("/description", json!(null), "has no description"),
            ("/panels/0/id", json!(1), "Runs: has no id of its own"),
            ("/panels/1/description", json!(" "), "Runs: has no description"),
            ("/panels/1/fieldConfig/defaults/unit", json!(null), "Runs: has no unit"),
            ("/panels/1/fieldConfig/defaults/noValue", json!(null), "Runs: has no noValue"),
            ("/panels/1/targets", json!([]), "Runs: asks nothing"),
            ("/panels/1/targets/0", json!({}), "Runs: one of its queries is empty"),
            ("/panels/1/targets/0/expr", json!("gone_total"), "Runs: no metric is called gone_total"),
            ("/panels/1/targets/0", json!({"expr": "runs_total"}), "Runs: `runs_total` must be instant"),
            ("/panels/1/targets/0/range", json!(true), "Runs: `rate(runs_total"),
            (
                "/panels/1/targets/0/expr",
                json!("pg_up{job=\"postgres\"} + pg_up{instance=\"a\"}"),
                "Runs: pg_up must be of job=\"postgres\"",
            ),
            (
                "/panels/1/targets/0",
                json!({"rawSql": "SELECT 1 FROM incidents WHERE $__timeFilter(last_seen_at)"}),
                "Runs: its SQL hides what fires",
            ),
            ("/templating/list/0/query/query", json!("label_values(gone, a)"), "no metric is called gone"),
            ("/description", json!("of $workflow and $other"), "no variable is called other"),
        ] {
            let mut board = good();
            *board.pointer_mut(pointer).unwrap() = value;
            let found = wrong(board).join("\n");
            assert!(found.contains(&format!("dashboards/one.json: {what}")), "{pointer}: {found}");
        }
        let mut board = good();
        *board.pointer_mut("/panels/1/fieldConfig/defaults/links/0/url").unwrap() = json!("/d/gone?a");
        assert_eq!(
            wrong(board),
            ["dashboards/one.json: a link leads to the dashboard gone, which there is not"]
        );
    }

    #[test]
    fn two_of_one_uid_and_a_file_changed_by_hand_are_found() {
        let (mut both, known) = (BTreeMap::from([("one".to_owned(), good())]), Known::default());
        let made = both.clone();
        both.insert("two".to_owned(), good());
        assert!(faults_of_all(&both, &known).concat().contains("two dashboards have one uid"));
        assert_eq!(
            differences(&both, &made),
            ["dashboards/two.json: differs from its source: run cargo xtask dashboards"]
        );
        assert_eq!(differences(&made, &made), [""; 0]);
        assert_eq!(differences(&BTreeMap::new(), &made).len(), 1);
    }
}
