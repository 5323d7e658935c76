//! What Kubernetes gets of files that others read too.
//!
//! Kustomize wraps no file into a resource of a kind that it does not know, so that the `PrometheusRule` is written
//! here, from the rules that Prometheus itself reads. Invariant: they are one text, which tidy checks.

use std::fs;

use anyhow::{Context, Result};

use crate::sources::{self, Source};

/// The rules, in the order in which they are evaluated.
const RULES: [&str; 2] = ["deploy/prometheus/rules/recording.yml", "deploy/prometheus/rules/alerts.yml"];
/// What is made of them.
const MADE: &str = "deploy/kubernetes/components/operator/prometheusrule.yaml";
/// What lists the dashboards.
const DASHBOARDS: &str = "dashboards/kustomization.yaml";
/// How each kind of Prometheus calls what it scrapes, which must be as the rules do: `up{job="tracer"}`.
const JOBS: [(&str, &str); 2] = [
    ("deploy/kubernetes/overlays/prometheus/scrape.yml", "\n  - job_name: tracer\n"),
    // The label that every resource has by base/kustomization.yaml.
    ("deploy/kubernetes/components/operator/servicemonitor.yaml", "\n  jobLabel: app.kubernetes.io/name\n"),
];

const HEAD: &str = "\
# Made by `cargo xtask kubernetes` from the files in deploy/prometheus/rules: change those.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: tracer
  labels:
    app.kubernetes.io/name: tracer
spec:
  groups:
";

/// Writes what is made.
pub(crate) fn run() -> Result<()> {
    let sources = sources::all()?;
    let rule = prometheus_rule(&sources).context("a file of rules is missing, or has no groups")?;
    fs::write(sources::root()?.join(MADE), rule).with_context(|| format!("{MADE} cannot be written"))
}

/// Says what Kubernetes would get that is not as its source is.
pub(crate) fn check(sources: &[Source]) -> Vec<String> {
    let mut wrong = Vec::new();
    if prometheus_rule(sources).as_deref() != text(sources, MADE) {
        wrong.push(format!("{MADE}: is not as the rules are: run `cargo xtask kubernetes`"));
    }
    let listed = text(sources, DASHBOARDS).unwrap_or_default();
    let dashboards = sources.iter().filter_map(|source| source.path.strip_prefix("dashboards/"));
    let unlisted =
        dashboards.filter(|name| name.ends_with(".json") && !listed.contains(&format!("[{name}]")));
    wrong.extend(unlisted.map(|name| format!("{DASHBOARDS}: does not list {name}")));
    let called_otherwise =
        JOBS.iter().filter(|(path, job)| !text(sources, path).is_some_and(|text| text.contains(job)));
    wrong.extend(called_otherwise.map(|(path, _)| format!("{path}: its job must be called tracer")));
    wrong
}

fn text<'a>(sources: &'a [Source], path: &str) -> Option<&'a str> {
    sources.iter().find(|source| source.path == path).map(|source| source.text.as_str())
}

fn prometheus_rule(sources: &[Source]) -> Option<String> {
    let mut rule = HEAD.to_owned();
    for (at, path) in RULES.iter().enumerate() {
        let (_, groups) = text(sources, path)?.split_once("\ngroups:\n")?;
        // Between the files, as between the groups of one.
        if at > 0 {
            rule.push('\n');
        }
        for line in groups.lines() {
            let indent = if line.is_empty() { "" } else { "  " };
            rule.push_str(&format!("{indent}{line}\n"));
        }
    }
    Some(rule)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(path: &str, text: &str) -> Source {
        Source { path: path.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn the_rules_of_both_files_are_the_groups_of_one_resource() {
        let [recording, alerts] = RULES;
        let mut sources = vec![
            source(recording, "# Why.\n\ngroups:\n  - name: a\n    rules: []\n\n  # b\n  - name: b\n"),
            source(alerts, "groups:\n"),
        ];
        assert_eq!(prometheus_rule(&sources), None, "there are no groups");
        sources[1].text = "# Who.\ngroups:\n  - name: c\n".to_owned();
        let rule = prometheus_rule(&sources).unwrap();
        let groups = "    - name: a\n      rules: []\n\n    # b\n    - name: b\n\n    - name: c\n";
        assert_eq!(rule.strip_prefix(HEAD), Some(groups));
        sources.extend(JOBS.map(|(path, job)| source(path, job)));
        assert_eq!(check(&sources).len(), 1);
        sources.push(source(MADE, &rule));
        assert_eq!(check(&sources), [""; 0]);
    }

    #[test]
    fn a_job_of_another_name_is_told_of() {
        let [(scrape, job), (monitor, label)] = JOBS;
        let sources = [
            source(scrape, &job.replace("tracer", "kubernetes-pods")),
            source(monitor, &label.replace("jobLabel", "# jobLabel")),
        ];
        let wrong = check(&sources);
        for path in [scrape, monitor] {
            assert!(wrong.contains(&format!("{path}: its job must be called tracer")), "{wrong:?}");
        }
    }

    #[test]
    fn a_dashboard_that_nobody_lists_is_told_of() {
        let sources = [
            source("dashboards/a.json", "{}"),
            source("dashboards/b.json", "{}"),
            source(DASHBOARDS, "files: [a.json]"),
        ];
        assert_eq!(
            check(&sources).iter().filter(|wrong| wrong.starts_with(DASHBOARDS)).collect::<Vec<_>>(),
            ["dashboards/kustomization.yaml: does not list b.json"]
        );
    }
}
