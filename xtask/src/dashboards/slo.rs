//! *SLO*: what was promised, what is left of it, and how fast it goes.

use super::board::{Board, values};
use super::panel::{Empty, Panel, bars, graph, table};
use super::query::{instant, range};
use super::style::{BUDGET, BURN, PLAIN, Unit};

const SLO: &str = "slo=~\"$slo\"";
const NONE: Empty = Empty::Maybe("No SLO is set ([[slo]]), or none has seen an execution in this window");
const BOTH: &str = "{{slo}} {{sli}}";

/// Returns it.
pub(super) fn board() -> Board {
    Board::new(
        "tracer-slo",
        "Tracer / SLO",
        "What was promised of workflows, what is left of the error budgets, and how fast they burn. The counts are the store's own, so that ten executions a day are counted as well as ten a second.",
    )
    .variable(values("slo", "SLO", "label_values(tracer_slo_objective_ratio, slo)", true))
    .row("Budgets", budgets())
    .row("Burn rates", burning())
    .row("Indicators", indicators())
}

fn budgets() -> Vec<Panel> {
    vec![
        bars(
            "Error budget left",
            Unit::Share,
            "100 % is untouched, 0 % is spent. Below 0 (shown as an empty bar) more failed than was promised.",
            NONE,
        )
        .steps(BUDGET)
        .most(1.0)
        .ask(instant(BOTH, format!("sort(slo:error_budget_remaining:ratio{{{SLO}}})"))),
        graph(
            "Error budget over time",
            Unit::Share,
            "A line that falls steadily is spent evenly; a cliff is an outage. It rises as bad times leave the window.",
            NONE,
        )
        .steps(BUDGET)
        .ask(range(BOTH, format!("slo:error_budget_remaining:ratio{{{SLO}}}"))),
    ]
}

fn burning() -> Vec<Panel> {
    let windows = |title, description, long: &str, short: &str| {
        [long, short].into_iter().fold(
            graph(title, Unit::Factor, description, NONE).size(8, 8).steps(BURN),
            |panel, window| {
                panel.ask(range(&format!("{BOTH} {window}"), format!("slo:burn_rate:{window}{{{SLO}}}")))
            },
        )
    };
    vec![
        windows(
            "Fast: 1 h and 5 m",
            "Above 14.4 in both windows the alert SloBurnFast pages: 2 % of a 30-day budget went in an hour.",
            "1h",
            "5m",
        ),
        windows(
            "Middling: 6 h and 30 m",
            "Above 6 in both windows the alert SloBurn pages: 5 % of a 30-day budget went in six hours.",
            "6h",
            "30m",
        ),
        windows(
            "Slow: 3 d and 6 h",
            "Above 1 in both windows the alert SloBurnSlow opens a ticket: the budget will not last.",
            "3d",
            "6h",
        ),
    ]
}

fn indicators() -> Vec<Panel> {
    vec![
        graph(
            "Good share, last hour",
            Unit::Share,
            "Executions that were good, of those that count; dashed, what was promised. Cancelled and simulated executions count nowhere.",
            NONE,
        )
        .ask(range(BOTH, format!("slo:sli:ratio{{{SLO}, window=\"1h\"}}")))
        .ask(range("{{slo}} {{sli}}, objective", format!("max by (slo, sli) (tracer_slo_objective_ratio{{{SLO}}})"))),
        graph(
            "Bad executions, last hour",
            Unit::Count,
            "How many spent the budget: failed, timed out, or, of a latency objective, too slow.",
            NONE,
        )
        .ask(range(BOTH, format!("max by (slo, sli) (tracer_slo_bad_events{{{SLO}, window=\"1h\"}})"))),
        table(
            "Windows",
            Unit::OfColumns,
            "Each window of each SLO. Where a window has fewer executions than the SLO asks for, its burn rate says little and pages nobody.",
            NONE,
        )
        .ask(instant("", format!("max by (slo, sli, window) (tracer_slo_events{{{SLO}}})")))
        .ask(instant("", format!("max by (slo, sli, window) (tracer_slo_bad_events{{{SLO}}})")))
        .ask(instant("", format!("max by (slo, sli, window) (slo:sli:ratio{{{SLO}}})")))
        .ask(instant("", format!("max by (slo, sli, window) (tracer_slo_burn_rate{{{SLO}}})")))
        .joined(
            &[
                ("slo", "SLO"),
                ("sli", "SLI"),
                ("window", "Window"),
                ("Value #A", "Executions"),
                ("Value #B", "Bad"),
                ("Value #C", "Good share"),
                ("Value #D", "Burn rate"),
            ],
            &[],
        )
        .column("Executions", Unit::Count, PLAIN)
        .column("Bad", Unit::Count, PLAIN)
        .column("Good share", Unit::Share, PLAIN)
        .column("Burn rate", Unit::Factor, BURN),
        table(
            "Too little data",
            Unit::OfColumns,
            "Windows with fewer executions than their SLO asks for (min_events): honest about what cannot be said.",
            Empty::Maybe("Every window has enough executions, or no SLO is set"),
        )
        .size(24, 6)
        .ask(instant(
            "",
            format!(
                "max by (slo, sli, window) (tracer_slo_events{{{SLO}}}) \
                 < on (slo, sli) group_left max by (slo, sli) (tracer_slo_min_events{{{SLO}}})"
            ),
        ))
        .joined(
            &[("slo", "SLO"), ("sli", "SLI"), ("window", "Window"), ("Value #A", "Executions"), ("Value", "Executions")],
            &[],
        ),
    ]
}
