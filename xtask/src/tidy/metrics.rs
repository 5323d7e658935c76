//! Whether what is said of metrics is so: every name in a document, dashboard or rule is one that the code makes.

use std::collections::BTreeSet;

use super::is_product_code;
use crate::promql;
use crate::sources::Source;

/// Families that others make: the process itself, PostgreSQL's exporter, Prometheus and Alertmanager.
const FOREIGN: [&str; 8] =
    ["process_", "pg_", "up", "scrape_", "go_", "prometheus_", "alertmanager_", "ALERTS"];

/// What a histogram adds to its name.
const OF_HISTOGRAMS: [&str; 3] = ["_bucket", "_sum", "_count"];

/// Gauges of what is a property of the database: the same on every replica, so that a sum counts it several times.
const OF_THE_DATABASE: [&str; 5] = [
    "active_workflows",
    "tracer_incidents_firing",
    "tracer_outbox_pending",
    "tracer_outbox_oldest_seconds",
    "tracer_slo_",
];

/// Words of documents that begin like metrics and are none: our crates, tables, a file of secrets, a variable of dashboards.
const NO_METRICS: [&str; 8] = [
    "tracer_core",
    "tracer_store",
    "tracer_alert",
    "tracer_api",
    "tracer_api_keys",
    "tracer_url",
    "workflow_executions",
    "workflow_steps",
];

/// The metrics that exist.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// The text of all files that declare metrics.
    declared: String,
    /// The names that our rules record.
    recorded: BTreeSet<String>,
}

impl Known {
    /// Returns those that the code declares.
    pub(super) fn of(sources: &[Source]) -> Self {
        let declares = |source: &&Source| {
            is_product_code(source)
                && (source.path.ends_with("/metrics.rs") || source.path.contains("/src/metrics/"))
        };
        let declared = sources.iter().filter(declares).map(|source| source.text.as_str()).collect();
        Self { declared, recorded: BTreeSet::new() }
    }

    /// Adds what a rule records.
    pub(super) fn record(&mut self, name: &str) {
        self.recorded.insert(name.to_owned());
    }

    /// Returns whether the code, a rule of ours or a known program makes it.
    fn has(&self, name: &str) -> bool {
        let foreign = FOREIGN
            .iter()
            .any(|family| name == *family || (family.ends_with('_') && name.starts_with(family)));
        foreign || self.recorded.contains(name) || self.declares(name)
    }

    fn declares(&self, name: &str) -> bool {
        let base = OF_HISTOGRAMS.iter().find_map(|ending| name.strip_suffix(ending));
        [Some(name), base].into_iter().flatten().any(|name| self.declared.contains(&format!("\"{name}\"")))
    }

    /// Returns what is wrong with a query.
    pub(super) fn faults(&self, query: &str) -> Vec<String> {
        let selected = match promql::selected(query) {
            Ok(selected) => selected,
            Err(reason) => return vec![format!("`{query}` is no PromQL: {reason}")],
        };
        let mut faults = Vec::new();
        for one in selected {
            if !self.has(&one.name) {
                faults.push(format!("no metric is called {}", one.name));
            }
            let of_database = OF_THE_DATABASE.iter().any(|gauge| one.name.starts_with(gauge));
            if of_database && !matches!(one.within.as_deref(), Some("max" | "min" | "count")) {
                faults.push(format!(
                    "`{query}` must take max of {}: it is the same on every replica",
                    one.name
                ));
            }
        }
        faults
    }
}

/// Every metric that a document names is one that the code makes.
pub(super) fn documented(sources: &[Source], known: &Known) -> Vec<String> {
    let mut wrong = BTreeSet::new();
    for source in sources.iter().filter(|source| source.path.ends_with(".md")) {
        for name in mentioned(&source.text) {
            if !known.has(name) {
                wrong.insert(format!("{}: no metric is called {name}", source.path));
            }
        }
    }
    wrong.into_iter().collect()
}

/// Returns the words of a text that look like metrics of this project: they begin as ours do, and either end in a
/// unit or stand before labels; or they begin with `tracer_`.
fn mentioned(text: &str) -> BTreeSet<&str> {
    let families = ["workflow_", "step_", "bottlenecks_", "active_workflows"];
    let endings =
        ["_total", "_seconds", "_ratio", "_bytes", "_seconds_bucket", "_seconds_sum", "_seconds_count"];
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let mut found = BTreeSet::new();
    let mut rest = text;
    while let Some(start) = rest.find(is_part) {
        let (before, from) = rest.split_at(start);
        let end = from.find(|c| !is_part(c)).unwrap_or(from.len());
        let (word, after) = from.split_at(end);
        rest = after;
        // Part of a path, of a variable or of a pattern (`tracer_slo_*`).
        let apart = !before.ends_with(['/', '$', '.']) && !after.starts_with(['*', '.', '/', '-']);
        // A path of Rust.
        let ours = !word.contains("::")
            && (word.starts_with("tracer_")
                || (families.iter().any(|family| word.starts_with(family))
                    && (after.starts_with('{') || endings.iter().any(|ending| word.ends_with(ending)))));
        let behind = after.strip_prefix('.');
        let ends_a_sentence =
            behind.is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace));
        if ours && (apart || ends_a_sentence) && !word.ends_with('_') && !NO_METRICS.contains(&word) {
            found.insert(word);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::source;

    fn known() -> Known {
        let mut known = Known::of(&[
            source("crates/a/src/metrics.rs", "counter!(\"steps_total\"); \"tracer_slo_events\""),
            source(
                "crates/a/src/metrics/x.rs",
                "const X: &str = \"tracer_wait_seconds\"; \"active_workflows\"",
            ),
            source("crates/a/src/other.rs", "\"not_a_metric\""),
            source("crates/a/src/metrics/tests.rs", "\"only_tested\""),
        ]);
        known.record("step:duration_seconds:p50");
        known
    }

    #[test]
    fn a_query_of_what_nobody_makes_is_found() {
        for right in [
            "rate(steps_total[5m])",
            "rate(tracer_wait_seconds_bucket[5m])",
            "step:duration_seconds:p50",
            "up and process_open_fds and pg_up and ALERTS",
        ] {
            assert_eq!(known().faults(right), [""; 0], "{right}");
        }
        for (wrong, what) in [
            ("not_a_metric", "no metric is called not_a_metric"),
            ("only_tested", "no metric is called only_tested"),
            ("upper", "no metric is called upper"),
            ("step:duration_seconds:p95", "no metric is called step:duration_seconds:p95"),
            ("steps_total_bucket_bucket", "no metric is called steps_total_bucket_bucket"),
        ] {
            assert_eq!(known().faults(wrong), [what], "{wrong}");
        }
        assert!(known().faults("sum(").concat().contains("is no PromQL"));
    }

    #[test]
    fn a_sum_of_what_is_the_same_on_every_replica_is_found() {
        assert_eq!(known().faults("sum(max by (workflow_name) (active_workflows))"), [""; 0]);
        for wrong in ["sum(active_workflows)", "active_workflows", "max(sum(tracer_slo_events))"] {
            assert!(known().faults(wrong).concat().contains("must take max"), "{wrong}");
        }
    }

    #[test]
    fn a_document_that_names_what_nobody_makes_is_found() {
        let text = "`steps_total{a}` `tracer_wait_seconds`, `tracer_gone` and `step_gone_seconds`; workflow_name, \
                    crates/tracer_core, tracer_core, `tracer_slo_*`, step_types, tracer_odd.";
        let wrong = documented(&[source("docs/x.md", text), source("x.rs", "tracer_never")], &known());
        assert_eq!(
            wrong,
            [
                "docs/x.md: no metric is called step_gone_seconds",
                "docs/x.md: no metric is called tracer_gone",
                "docs/x.md: no metric is called tracer_odd"
            ]
        );
    }
}
