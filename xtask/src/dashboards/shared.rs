//! Panels that several dashboards show.

use super::link;
use super::panel::{Empty, Panel, table};
use super::query::{Query, instant, range};
use super::style::{PLAIN, Unit};

/// Adds the 50th, 95th and 99th percentile of a histogram, over all series of a selector.
pub(super) fn over_time(panel: Panel, histogram: &str, selector: &str) -> Panel {
    let quantile = |share: &str| {
        format!(
            "histogram_quantile({share}, sum by (le) (rate({histogram}_bucket{selector}[$__rate_interval])))"
        )
    };
    [("p50", "0.5"), ("p95", "0.95"), ("p99", "0.99")]
        .into_iter()
        .fold(panel, |panel, (legend, share)| panel.ask(range(legend, quantile(share))))
}

/// Returns the alerts of Prometheus that fire or are about to.
pub(super) fn firing_alerts() -> Panel {
    table(
        "Alerts of Prometheus",
        Unit::OfColumns,
        "Rules of Tracer (service=tracer) that fire, or will if it lasts (pending). What to do stands in the runbook of each.",
        Empty::Maybe("No alert fires"),
    )
    .size(12, 8)
    .ask(instant("", "ALERTS{service=\"tracer\"}"))
    .joined(
        &[
            ("alertname", "Alert"),
            ("alertstate", "State"),
            ("severity", "Severity"),
            ("workflow_name", "Workflow"),
            ("slo", "SLO"),
            ("sli", "SLI"),
            ("instance", "Instance"),
        ],
        &["Value", "Value #A", "__name__", "job", "service"],
    )
}

/// Returns the incidents that fire and those of the time shown, of which a condition of SQL selects: what fires first,
/// then the newest.
pub(super) fn incident_list(title: &'static str, condition: &str, rows: u32) -> Panel {
    // An incident is named by its own id, which begins with the moment of its opening. `last_seen_at` stays where it is
    // while a step is stuck, an SLO burns or an alert fires: what fires is shown whenever it was seen.
    let sql = format!(
        "SELECT first_seen_at AS \"Since\", \
         CASE severity WHEN 2 THEN 'CRITICAL' ELSE 'WARNING' END AS \"Severity\", \
         kind AS \"Kind\", workflow_name AS \"Workflow\", step_name AS \"Step\", state AS \"State\", \
         occurrences AS \"Findings\", resolved_at AS \"Resolved\", \
         'inc_' || replace(incident_id::text, '-', '') AS \"Incident\" \
         FROM incidents WHERE (state = 'firing' OR $__timeFilter(last_seen_at)){condition} \
         ORDER BY (state = 'firing') DESC, incident_id DESC LIMIT {rows}"
    );
    table(
        title,
        Unit::OfColumns,
        "Incidents that fire, whenever they began, then those last seen in the time shown, the newest first. From PostgreSQL: over the embedded store this stays empty, and GET /incidents has them.",
        Empty::Maybe("Nothing fires and nothing was found in this time, or no PostgreSQL"),
    )
    .ask(Query::Sql(sql))
    .column("Findings", Unit::Count, PLAIN)
    .column_links("Workflow", &[("This workflow", &link::workflow("__value.raw"))])
    .column_links("Incident", &[("This incident", "${tracer_url}/incidents/${__value.raw}")])
}
