//! *Workflow*: one workflow, its steps, and the executions to look at.

use super::board::{Board, each_incident, jaeger, loki, postgres, values};
use super::link;
use super::panel::{Empty, Panel, areas, bars, graph, heatmap, stat, table};
use super::query::{Query, instant, range};
use super::shared::incident_list;
use super::style::{FACTORS, FAILURES, FEW_IS_GOOD, NONE_IS_GOOD, PLAIN, Unit};

/// What selects the workflow.
const WORKFLOW: &str = "workflow_name=\"$workflow\"";
/// What selects the steps.
const STEPS: &str = "workflow_name=\"$workflow\", step_name=~\"$step\"";
/// Traces that the table of the slowest executions is taken from.
const TRACES: u32 = 200;

const NO_ENDS: Empty = Empty::Until("No execution of this workflow has ended lately");
const NO_STEPS: Empty = Empty::Until("No step of this workflow has ended lately");
const OF_INCIDENTS: &str = " AND workflow_name = '${workflow}'";

/// Returns it.
pub(super) fn board() -> Board {
    Board::new(
        "tracer-workflow",
        "Tracer / Workflow",
        "One workflow: how long it and its steps take against their history, where the time goes, what fails, and which executions to look at.",
    )
    .variable(values("workflow", "Workflow", "label_values(workflow_executions_total, workflow_name)", false))
    .variable(values(
        "step",
        "Step",
        "label_values(step_duration_seconds_count{workflow_name=\"$workflow\"}, step_name)",
        true,
    ))
    .variable(jaeger())
    .variable(loki())
    .variable(postgres())
    .annotation(each_incident(OF_INCIDENTS))
    .row("Executions of $workflow", executions())
    .row("Steps against their baseline", against_baseline())
    .row("Where the time goes", shares())
    .row("Failures and bottlenecks", failures())
    .row("What to look at", look())
}

fn executions() -> Vec<Panel> {
    vec![
        stat("Executions", Unit::PerMinute, "Executions that ended per minute, over the last five.", NO_ENDS)
            .ask(instant("", format!("sum(workflow:executions:rate5m{{{WORKFLOW}}}) * 60"))),
        stat(
            "Failures",
            Unit::Share,
            "Share of the executions of the last hour that failed or timed out.",
            NO_ENDS,
        )
        .steps(FAILURES)
        .ask(instant("", format!("max(workflow:error_ratio:rate1h{{{WORKFLOW}}})"))),
        stat("Median", Unit::Seconds, "Half of the executions of the last five minutes took less.", NO_ENDS)
            .ask(instant("", format!("max(workflow:duration_seconds:p50{{{WORKFLOW}}})"))),
        stat("p95", Unit::Seconds, "One execution in twenty of the last five minutes took longer.", NO_ENDS)
            .ask(instant("", format!("max(workflow:duration_seconds:p95{{{WORKFLOW}}})"))),
        stat(
            "Active",
            Unit::Count,
            "Executions of it that run now, as the database says.",
            Empty::Until("The store does not answer"),
        )
        .ask(instant("", format!("max(active_workflows{{{WORKFLOW}}}) or max(tracer_store_up == 1) * 0"))),
        stat("Bottlenecks", Unit::Count, "Steps slower than their history allows, in the time shown.", NO_STEPS)
            .steps(FEW_IS_GOOD)
            .ask(instant("", format!("round(sum(increase(bottlenecks_total{{{WORKFLOW}}}[$__range])))"))),
        ["p50", "p95", "p99"].into_iter().fold(
            graph(
                "Duration",
                Unit::Seconds,
                "How long executions take from start to end: over five minutes, from the histogram, so that values lie within its buckets.",
                NO_ENDS,
            ),
            |panel, quantile| {
                panel.ask(range(quantile, format!("max(workflow:duration_seconds:{quantile}{{{WORKFLOW}}})")))
            },
        ),
        heatmap(
            "How durations are spread",
            Unit::Count,
            "Executions by how long they took. Two bands are two kinds of execution: an average says little of either.",
            NO_ENDS,
        )
        .ask(Query::Buckets {
            expr: format!("sum by (le) (increase(workflow_duration_seconds_bucket{{{WORKFLOW}}}[$__rate_interval]))"),
        }),
    ]
}

/// The average time of steps over a time.
fn average(time: &str) -> String {
    format!(
        "sum by (step_name) (rate(step_duration_seconds_sum{{{STEPS}}}[{time}])) \
         / (sum by (step_name) (rate(step_duration_seconds_count{{{STEPS}}}[{time}])) > 0)"
    )
}

fn against_baseline() -> Vec<Panel> {
    let baseline = format!("max by (step_name) (step_baseline_seconds{{{STEPS}}})");
    vec![
        graph(
            "Steps: average, and the average they are compared with",
            Unit::Seconds,
            "Solid: how long the step takes on average. Dashed: its baseline, the average that it was last compared with, which judges it. Where a step is compared by cohort, the baseline is that of the last one to end.",
            NO_STEPS,
        )
        .size(12, 10)
        .ask(range("{{step_name}}", average("$__rate_interval")))
        .ask(range("{{step_name}}, baseline", baseline.clone())),
        bars(
            "Times the baseline",
            Unit::Factor,
            "The average of the last five minutes over the baseline. From 2 on a single run is a WARNING, from 3 on CRITICAL, as detection is shipped.",
            Empty::Until("No step of this workflow has a baseline yet: it takes five completed runs"),
        )
        .size(12, 10)
        .steps(FACTORS)
        .ask(instant("{{step_name}}", format!("sort_desc({} / {baseline})", average("5m")))),
        table(
            "Steps",
            Unit::OfColumns,
            "Each step over the last five minutes; runs, failures and bottlenecks over the time shown.",
            NO_STEPS,
        )
        .ask(instant("", baseline))
        .ask(instant("", format!("max by (step_name) (step:duration_seconds:p50{{{STEPS}}})")))
        .ask(instant("", format!("max by (step_name) (step:duration_seconds:p95{{{STEPS}}})")))
        .ask(instant("", format!("max by (step_name) (step:duration_seconds:p99{{{STEPS}}})")))
        .ask(instant("", format!("sum by (step_name) (increase(step_duration_seconds_count{{{STEPS}}}[$__range]))")))
        .ask(instant("", format!("sum by (step_name) (increase(step_errors_total{{{STEPS}}}[$__range]))")))
        .ask(instant("", format!("sum by (step_name) (increase(bottlenecks_total{{{STEPS}}}[$__range]))")))
        .joined(
            &[
                ("step_name", "Step"),
                ("Value #A", "Baseline"),
                ("Value #B", "p50"),
                ("Value #C", "p95"),
                ("Value #D", "p99"),
                ("Value #E", "Runs"),
                ("Value #F", "Failures"),
                ("Value #G", "Bottlenecks"),
            ],
            &[],
        )
        .sorted("p95")
        .column("Baseline", Unit::Seconds, PLAIN)
        .column("p50", Unit::Seconds, PLAIN)
        .column("p95", Unit::Seconds, PLAIN)
        .column("p99", Unit::Seconds, PLAIN)
        .column("Runs", Unit::Count, PLAIN)
        .column("Failures", Unit::Count, NONE_IS_GOOD)
        .column("Bottlenecks", Unit::Count, FEW_IS_GOOD),
    ]
}

fn shares() -> Vec<Panel> {
    let spent = format!("sum by (step_name) (rate(step_duration_seconds_sum{{{STEPS}}}[$__rate_interval]))");
    let all = format!("sum(increase(step_duration_seconds_sum{{{WORKFLOW}}}[$__range]))");
    let each = format!("sum by (step_name) (increase(step_duration_seconds_sum{{{STEPS}}}[$__range]))");
    vec![
        bars(
            "Steps by share of time",
            Unit::Share,
            "Which part of the time of all steps each took, in the time shown: where making something faster pays. Steps that run side by side each count in full.",
            NO_STEPS,
        )
        .most(1.0)
        .ask(instant("{{step_name}}", format!("sort_desc({each} / on () group_left () ({all} > 0))"))),
        areas(
            "Steps that run at a time",
            Unit::Count,
            "Seconds spent in each step per second: how many of it run at once, on average.",
            NO_STEPS,
        )
        .ask(range("{{step_name}}", spent)),
    ]
}

fn failures() -> Vec<Panel> {
    vec![
        graph("Executions by how they ended", Unit::PerMinute, "Executions that ended per minute.", NO_ENDS)
            .ask(range(
                "{{status}}",
                format!("sum by (status) (workflow:executions:rate5m{{{WORKFLOW}}}) * 60"),
            )),
        graph("Failed steps", Unit::PerMinute, "Steps that failed per minute.", NO_STEPS).ask(range(
            "{{step_name}}",
            format!("sum by (step_name) (rate(step_errors_total{{{STEPS}}}[$__rate_interval])) * 60"),
        )),
        graph(
            "Bottlenecks by severity",
            Unit::PerMinute,
            "Steps slower than their history allows, per minute.",
            NO_STEPS,
        )
        .ask(range(
            "{{severity}}",
            format!("sum by (severity) (rate(bottlenecks_total{{{STEPS}}}[$__rate_interval])) * 60"),
        )),
        graph(
            "Stuck, stalled and lastingly slower",
            Unit::Count,
            "Verdicts so far: on what still ran, and on steps that became slower for good. A line that begins or rises is a new one; it falls when a replica restarts, which begins to count anew.",
            Empty::Maybe("Since the replicas started nothing was stuck or stalled, and no step became slower for good"),
        )
        .ask(range(
            "{{kind}} {{step_name}}",
            format!("sum by (kind, step_name) (tracer_in_flight_bottlenecks_total{{{WORKFLOW}}})"),
        ))
        .ask(range(
            "regression {{step_name}}",
            format!("sum by (step_name) (tracer_regressions_total{{{WORKFLOW}}})"),
        )),
    ]
}

fn look() -> Vec<Panel> {
    let id = "__data.fields.traceID";
    vec![
        table(
            "Slowest executions",
            Unit::OfColumns,
            "Of the newest 200 executions in the time shown, the slowest first, from the service's own Jaeger API. An id leads to the execution as JSON, and in Explore to its trace and to what the service logged of it: Grafana lets editors into Explore, so sign in.",
            Empty::Until("No execution of this workflow in this time"),
        )
        .ask(Query::Traces { service: "$workflow".to_owned(), limit: TRACES })
        .sorted("duration")
        .column_links(
            "traceID",
            &[
                ("Trace (signed in, as an editor)", &link::trace(id)),
                ("Execution", &link::execution(id)),
                ("Logs (signed in, as an editor)", &link::logs(id)),
            ],
        ),
        incident_list("Incidents of this workflow", OF_INCIDENTS, 50),
    ]
}
