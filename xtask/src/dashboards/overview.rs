//! *Overview*: is all well, and if not, where to look.

use super::board::{Board, each_incident, postgres};
use super::link;
use super::panel::{Empty, bars, graph, stat, table};
use super::query::{instant, range};
use super::shared::{firing_alerts, incident_list, over_time};
use super::style::{BUDGET, Colour};
use super::style::{FACTORS, FAILURES, FEW_IS_GOOD, FULL, NONE_IS_GOOD, ONE_IS_GOOD, PLAIN, Unit};

const NO_ENDS: Empty = Empty::Until("No execution has ended lately");

/// Returns it.
pub(super) fn board() -> Board {
    Board::new(
        "tracer-overview",
        "Tracer / Overview",
        "Is all well? Traffic, failures, durations and what fires, over all workflows.",
    )
    .variable(postgres())
    .annotation(each_incident(""))
    .row("Now", now())
    .row("Golden signals", signals())
    .row("Workflows", vec![workflows()])
    .row("Bottlenecks", bottlenecks())
    .row("Incidents", incidents())
}

fn now() -> Vec<super::panel::Panel> {
    vec![
        stat("Executions", Unit::PerMinute, "Executions that ended per minute, over the last five.", NO_ENDS)
            .size(3, 4)
            .ask(instant("", "sum(workflow:executions:rate5m) * 60")),
        stat(
            "Failures",
            Unit::Share,
            "Share of the executions of the last five minutes that failed or timed out; cancelled ones count nowhere.",
            NO_ENDS,
        )
        .size(3, 4)
        .steps(FAILURES)
        .ask(instant(
            "",
            "sum(workflow:executions:rate5m{status=~\"failed|timed_out\"}) \
             / (sum(workflow:executions:rate5m{status=~\"completed|failed|timed_out\"}) > 0)",
        )),
        stat(
            "Active executions",
            Unit::Count,
            "Executions that run now, as the database says: the same on every replica, so the greatest is taken.",
            Empty::Until("The store does not answer"),
        )
        .size(3, 4)
        .ask(instant("", "sum(max by (workflow_name) (active_workflows)) or max(tracer_store_up == 1) * 0"))
        .link("Workflows that run", &link::board("tracer-workflow")),
        stat(
            "Bottlenecks",
            Unit::Count,
            "Steps of the time shown that took longer than their history allows.",
            Empty::Until("No step has ended yet"),
        )
        .size(3, 4)
        .steps(&[(None, Colour::Good), (Some(1.0), Colour::Warning)])
        .ask(instant("", "round(sum(increase(bottlenecks_total[$__range])))")),
        stat(
            "Incidents firing",
            Unit::Count,
            "Incidents that fire now, of every kind. The list is below, the life of each under /incidents.",
            Empty::Until("The store does not answer"),
        )
        .size(3, 4)
        .steps(FEW_IS_GOOD)
        .ask(instant("", "sum(max by (kind, severity) (tracer_incidents_firing))"))
        .link("Alerts and delivery", &link::board("tracer-alerts")),
        stat(
            "Least error budget",
            Unit::Share,
            "What is left of the error budget of the SLO that is worst off: 100 % is untouched, below 0 it is overspent.",
            Empty::Maybe("No SLO is set ([[slo]]), none has seen an execution, or nobody answers"),
        )
        .size(3, 4)
        .steps(BUDGET)
        .ask(instant("", "min(slo:error_budget_remaining:ratio)"))
        .link("SLO", &link::board("tracer-slo")),
        stat(
            "Replicas up",
            Unit::Count,
            "Replicas of the service that Prometheus reaches.",
            Empty::Until("Prometheus has no target of job tracer"),
        )
        .size(3, 4)
        .steps(ONE_IS_GOOD)
        .ask(instant("", "sum(up{job=\"tracer\"})"))
        .link("Infrastructure", &link::board("tracer-infrastructure")),
        stat(
            "Store answers",
            Unit::YesNo,
            "Whether the database answers every replica. While it does not, requests are answered 503 and nothing acknowledged is lost.",
            Empty::Until("No replica is up"),
        )
        .size(3, 4)
        .steps(ONE_IS_GOOD)
        .ask(instant("", "min(tracer_store_up)"))
        .link("Service internals", &link::board("tracer-internals")),
    ]
}

fn signals() -> Vec<super::panel::Panel> {
    vec![
        graph("Traffic: executions by how they ended", Unit::PerMinute, "Executions that ended per minute.", NO_ENDS)
            .ask(range("{{status}}", "sum by (status) (workflow:executions:rate5m) * 60")),
        over_time(
            graph(
                "Latency: executions",
                Unit::Seconds,
                "How long executions take from start to end, over all workflows. One workflow alone is on its own dashboard.",
                NO_ENDS,
            ),
            "workflow_duration_seconds",
            "",
        ),
        graph(
            "Errors: share of failures by workflow",
            Unit::Share,
            "The ten workflows of which most executions of the last hour failed or timed out.",
            NO_ENDS,
        )
        .steps(FAILURES)
        .ask(range("{{workflow_name}}", "topk(10, workflow:error_ratio:rate1h)"))
        .link("This workflow", &link::workflow("__field.labels.workflow_name")),
        graph(
            "Saturation: how full the service is",
            Unit::Share,
            "Connections to the database in use, and file descriptors, of the replica that is worst off. At 100 % requests wait, then answer 503.",
            Empty::Until("No replica is up"),
        )
        .steps(FULL)
        .most(1.0)
        .ask(range(
            "connections",
            "max(tracer_store_connections{state=\"in_use\"} \
             / ignoring (state) sum without (state) (tracer_store_connections))",
        ))
        .ask(range(
            "file descriptors",
            "max(process_open_fds{job=\"tracer\"} / process_max_fds{job=\"tracer\"})",
        )),
    ]
}

fn workflows() -> super::panel::Panel {
    table(
        "Workflows",
        Unit::OfColumns,
        "Every workflow that ran in the time shown. Its name leads to its dashboard.",
        NO_ENDS,
    )
    .ask(instant("", "sum by (workflow_name) (workflow:executions:rate5m) * 60"))
    .ask(instant("", "max by (workflow_name) (workflow:error_ratio:rate1h)"))
    .ask(instant("", "max by (workflow_name) (workflow:duration_seconds:p50)"))
    .ask(instant("", "max by (workflow_name) (workflow:duration_seconds:p95)"))
    .ask(instant("", "max by (workflow_name) (active_workflows)"))
    .ask(instant("", "sum by (workflow_name) (increase(bottlenecks_total[$__range]))"))
    .joined(
        &[
            ("workflow_name", "Workflow"),
            ("Value #A", "Executions / min"),
            ("Value #B", "Failures, 1 h"),
            ("Value #C", "p50"),
            ("Value #D", "p95"),
            ("Value #E", "Active"),
            ("Value #F", "Bottlenecks"),
        ],
        &[],
    )
    .sorted("Executions / min")
    .column("Executions / min", Unit::PerMinute, PLAIN)
    .column("Active", Unit::Count, PLAIN)
    .column("Failures, 1 h", Unit::Share, FAILURES)
    .column("p50", Unit::Seconds, PLAIN)
    .column("p95", Unit::Seconds, PLAIN)
    .column("Bottlenecks", Unit::Count, FEW_IS_GOOD)
    .column_links("Workflow", &[("This workflow", &link::workflow("__value.raw"))])
}

fn bottlenecks() -> Vec<super::panel::Panel> {
    vec![
        bars(
            "Steps with most bottlenecks",
            Unit::Count,
            "The ten steps that were most often slower than their history allows, in the time shown.",
            Empty::Until("No step has ended yet"),
        )
        .steps(FEW_IS_GOOD)
        .ask(instant(
            "{{workflow_name}} / {{step_name}}",
            "topk(10, sum by (workflow_name, step_name) (increase(bottlenecks_total[$__range])))",
        ))
        .link("This workflow", &link::workflow("__field.labels.workflow_name")),
        bars(
            "Steps furthest above their baseline",
            Unit::Factor,
            "The average of the last five minutes over the average that the step was last compared with. From 2 on a single run is a WARNING, from 3 on CRITICAL, as detection is shipped.",
            Empty::Until("No step has a baseline yet: it takes five completed runs"),
        )
        .steps(FACTORS)
        .ask(instant(
            "{{workflow_name}} / {{step_name}}",
            "topk(10, sum by (workflow_name, step_name) (rate(step_duration_seconds_sum[5m])) \
             / (sum by (workflow_name, step_name) (rate(step_duration_seconds_count[5m])) > 0) \
             / max by (workflow_name, step_name) (step_baseline_seconds))",
        ))
        .link("This workflow", &link::workflow("__field.labels.workflow_name")),
        graph(
            "Bottlenecks by severity",
            Unit::PerMinute,
            "Ended steps judged slower than their history, per minute.",
            Empty::Until("No step has ended yet"),
        )
        .ask(range("{{severity}}", "sum by (severity) (rate(bottlenecks_total[$__rate_interval])) * 60")),
        graph(
            "Stuck, stalled and lastingly slower",
            Unit::Count,
            "Incidents of these kinds that fire, as the database says. How often each was found stands in the list below; which step it was, on the workflow's own dashboard.",
            Empty::Until("The store does not answer"),
        )
        .steps(NONE_IS_GOOD)
        .ask(range(
            "{{kind}}",
            "sum by (kind) (max by (kind, severity) \
             (tracer_incidents_firing{kind=~\"stuck_step|stalled_execution|regression\"}))",
        )),
    ]
}

fn incidents() -> Vec<super::panel::Panel> {
    vec![
        graph(
            "Incidents that fire",
            Unit::Count,
            "By kind. What is acknowledged or snoozed fires as well.",
            Empty::Until("The store does not answer"),
        )
        .steps(NONE_IS_GOOD)
        .ask(range("{{kind}}", "sum by (kind) (max by (kind, severity) (tracer_incidents_firing))")),
        firing_alerts(),
        incident_list("Latest incidents", "", 20),
    ]
}
