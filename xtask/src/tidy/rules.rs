//! Whether the rules of Prometheus are complete: they parse, speak of what exists, and of every alert people are told
//! what it means and what to do, and a test shows that it fires and resolves.
//!
//! Not here: whether Prometheus takes them (`promtool`, by `stack`).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::metrics::Known;
use crate::sources::Source;

const FOLDER: &str = "deploy/prometheus/";
const RUNBOOKS: &str = "docs/runbooks.md";

/// A rule file or a file of tests, read.
struct Yaml<'a> {
    path: &'a str,
    value: Value,
}

/// Checks every rule, and tells `known` what they record.
pub(super) fn check(sources: &[Source], known: &mut Known) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut files = Vec::new();
    let is_yaml = |path: &str| path.ends_with(".yml") || path.ends_with(".yaml");
    for source in sources.iter().filter(|source| source.path.starts_with(FOLDER) && is_yaml(&source.path)) {
        match serde_saphyr::from_str(&source.text) {
            Ok(value) => files.push(Yaml { path: &source.path, value }),
            Err(reason) => wrong.push(format!("{}: is no YAML: {reason}", source.path)),
        }
    }
    let rules: Vec<(&str, &Value)> = files.iter().flat_map(rules_of).collect();
    for name in rules.iter().filter_map(|(_, rule)| rule.get("record")?.as_str()) {
        known.record(name);
    }
    let runbooks = sources.iter().find(|source| source.path == RUNBOOKS);
    let anchors = runbooks.map(|source| anchors(&source.text)).unwrap_or_default();
    wrong.extend(files.iter().filter(|file| has_no_order(file)).map(|file| {
        format!(
            "{}: has no group_eval_order: alerts may be asked before what they ask for is recorded",
            file.path
        )
    }));
    let tested = tested(&files);
    for (path, rule) in rules {
        let faults = faults(rule, known, &anchors, &tested);
        wrong.extend(faults.into_iter().map(|fault| format!("{path}: {fault}")));
    }
    wrong
}

fn rules_of<'a>(file: &'a Yaml<'a>) -> impl Iterator<Item = (&'a str, &'a Value)> {
    let groups = file.value.get("groups").and_then(Value::as_array).into_iter().flatten();
    let rules = groups.filter_map(|group| group.get("rules")?.as_array()).flatten();
    rules.map(|rule| (file.path, rule))
}

/// Groups of one moment are evaluated in any order unless a file of tests says in which: a test would fail now and then.
fn has_no_order(file: &Yaml<'_>) -> bool {
    file.value.get("tests").is_some() && file.value.get("group_eval_order").is_none()
}

/// How the tests of an alert end: whether it fired, and whether it did not.
#[derive(Clone, Copy, Default)]
struct Tested {
    fires: bool,
    rests: bool,
}

fn tested(files: &[Yaml<'_>]) -> BTreeMap<String, Tested> {
    let mut tested: BTreeMap<String, Tested> = BTreeMap::new();
    let tests = files.iter().filter_map(|file| file.value.get("tests")?.as_array()).flatten();
    for test in tests.filter_map(|test| test.get("alert_rule_test")?.as_array()).flatten() {
        let Some(name) = test.get("alertname").and_then(Value::as_str) else { continue };
        let expected = test.get("exp_alerts").and_then(Value::as_array).map_or(0, Vec::len);
        let entry = tested.entry(name.to_owned()).or_default();
        *entry = Tested { fires: entry.fires || expected > 0, rests: entry.rests || expected == 0 };
    }
    tested
}

fn faults(
    rule: &Value,
    known: &Known,
    anchors: &BTreeSet<String>,
    tested: &BTreeMap<String, Tested>,
) -> Vec<String> {
    let text = |pointer: &str| rule.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty());
    let alert = text("/alert");
    let name = alert.or_else(|| text("/record")).unwrap_or("a rule without a name");
    let mut faults = match text("/expr") {
        Some(query) => known.faults(query),
        None => vec!["has no expr".to_owned()],
    };
    if alert.is_some() {
        for note in ["summary", "description", "runbook_url"] {
            if text(&format!("/annotations/{note}")).is_none() {
                faults.push(format!("has no {note}"));
            }
        }
        let anchor = text("/annotations/runbook_url").and_then(|url| Some(url.split_once(RUNBOOKS)?.1));
        if !anchor.and_then(|rest| rest.strip_prefix('#')).is_some_and(|anchor| anchors.contains(anchor)) {
            faults.push(format!("its runbook_url must end in {RUNBOOKS}# and an anchor that exists there"));
        }
        if !matches!(text("/labels/severity"), Some("critical" | "warning")) {
            faults.push("its severity must be critical or warning".to_owned());
        }
        let tested = tested.get(name).copied().unwrap_or_default();
        if !(tested.fires && tested.rests) {
            faults.push("no promtool test shows that it fires and that it does not".to_owned());
        }
    }
    faults.into_iter().map(|fault| format!("{name}: {fault}")).collect()
}

/// Returns the anchors that the headings of a Markdown text have.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings.map(|line| anchor(line.trim_start_matches('#'))).collect()
}

fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter_map(|c| match c {
        ' ' => Some('-'),
        c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c),
        _ => None,
    });
    kept.flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::source;

    const RULES: &str = "
groups:
  - name: all
    rules:
      - record: a:b:c
        expr: sum(rate(runs_total[5m]))
      - alert: TooFew
        expr: a:b:c < 1
        labels: {severity: warning}
        annotations:
          summary: Few
          description: Too few
          runbook_url: https://x.example.com/docs/runbooks.md#too-few
";
    const TESTS: &str = "
group_eval_order: [all]
tests:
  - alert_rule_test:
      - {eval_time: 1m, alertname: TooFew, exp_alerts: [{exp_labels: {}}]}
      - {eval_time: 9m, alertname: TooFew, exp_alerts: []}
";

    fn checked(rules: &str, tests: &str, runbooks: &str) -> Vec<String> {
        let sources = [
            source("deploy/prometheus/rules/all.yml", rules),
            source("deploy/prometheus/tests/all.yml", tests),
            source(RUNBOOKS, runbooks),
            source("crates/a/src/metrics.rs", "\"runs_total\""),
        ];
        let mut known = Known::of(&sources);
        check(&sources, &mut known)
    }

    #[test]
    fn complete_rules_pass() {
        assert_eq!(checked(RULES, TESTS, "# Runbooks\n\n## Too few"), [""; 0]);
    }

    #[test]
    fn what_an_alert_lacks_is_found() {
        let path = "deploy/prometheus/rules/all.yml: TooFew:";
        for (from, to, what) in [
            ("summary: Few", "note: Few", "has no summary"),
            ("description: Too few", "note: x", "has no description"),
            ("severity: warning", "severity: bad", "its severity must be critical or warning"),
            ("a:b:c < 1", "a:b:d < 1", "no metric is called a:b:d"),
            (
                "#too-few",
                "#few",
                "its runbook_url must end in docs/runbooks.md# and an anchor that exists there",
            ),
        ] {
            assert_eq!(checked(&RULES.replace(from, to), TESTS, "## Too few"), [format!("{path} {what}")]);
        }
        let untested = format!("{path} no promtool test shows that it fires and that it does not");
        for tests in [
            "{group_eval_order: [], tests: []}",
            &TESTS.replace("[{exp_labels: {}}]", "[]"),
            &TESTS.replace("9m, alertname: T", "9m, alertname: O"),
        ] {
            assert_eq!(checked(RULES, tests, "## Too few"), std::slice::from_ref(&untested));
        }
    }

    #[test]
    fn tests_without_an_order_of_groups_are_found() {
        let wrong = checked(RULES, &TESTS.replace("group_eval_order: [all]", ""), "## Too few");
        assert!(wrong.concat().contains("tests/all.yml: has no group_eval_order"), "{wrong:?}");
    }

    #[test]
    fn what_is_no_yaml_or_no_query_is_found() {
        assert!(checked("groups: [", TESTS, "").concat().contains("is no YAML"));
        let broken = RULES.replace("sum(rate(runs_total[5m]))", "sum(rate(runs_total))");
        assert!(
            checked(&broken, TESTS, "## Too few")
                .concat()
                .contains("a:b:c: `sum(rate(runs_total))` is no PromQL")
        );
    }
}
