//! The tables: what each rule said, in numbers.

use std::collections::{BTreeMap, BTreeSet};

use tracer_core::name::{StepName, WorkflowName};

use crate::eta::{self, Asked, Coverage, QUARTERS};
use crate::files::{Run, View};
use crate::interval;
use crate::replay::{FACTORS, Scores, WATCHED_FACTOR};
use crate::table::Table;
use crate::tally::{Rate, Tally, flagged_by_run, found_by_run};

/// The place of [`WATCHED_FACTOR`] among [`FACTORS`], by which rules are compared.
const COMPARED: usize = 1;

/// What was said under one rule.
#[derive(Debug)]
pub(crate) struct Scored {
    /// The rule.
    pub(crate) name: String,
    /// What it said.
    pub(crate) scores: Scores,
}

/// Returns one row per rule, over all runs.
pub(crate) fn rules(scored: &[Scored], seed: u64) -> String {
    let mut table = Table::new(columns("rule", true));
    for Scored { name, scores } in scored {
        let tally = Tally::of(scores, |_, _| true);
        let sure = [flagged_by_run(scores), found_by_run(scores, COMPARED)];
        table.add(cells(name.clone(), &tally, Some(sure.map(|rates| interval::over_runs(&rates, seed)))));
    }
    table.text()
}

/// Returns one row per workflow, and beneath it, if so wished, one per step; none if no step was scored.
pub(crate) fn workflows(scores: &Scores, runs: &[&Run], view: View, by_step: bool) -> Option<String> {
    let workflow = |run: usize| runs.get(run).map(|run| run.workflow(view));
    let judged = scores.judged.iter().map(|judged| (judged.run, &judged.step));
    let slowed = scores.slowed.iter().map(|slowed| (slowed.run, &slowed.step));
    let watched = scores.watched.iter().map(|watched| (watched.run, &watched.step));
    let mut names = BTreeMap::<&WorkflowName, BTreeSet<&StepName>>::new();
    for (run, step) in judged.chain(slowed).chain(watched) {
        if let Some(workflow) = workflow(run) {
            names.entry(workflow).or_default().insert(step);
        }
    }
    if names.is_empty() {
        return None;
    }
    let mut table = Table::new(columns("workflow", false));
    for (name, steps) in names {
        let tally = Tally::of(scores, |run, _| workflow(run) == Some(name));
        table.add(cells(name.to_string(), &tally, None));
        for step in steps.into_iter().filter(|_| by_step) {
            let tally = Tally::of(scores, |run, of| workflow(run) == Some(name) && of == step);
            table.add(cells(format!("  {step}"), &tally, None));
        }
    }
    Some(table.text())
}

/// Returns one row per threshold: what it costs in flags, and what it finds.
pub(crate) fn thresholds(swept: &[(f64, Scores)], chosen: f64) -> String {
    let mut table = Table::new(columns_of_steps("threshold", false));
    for (threshold, scores) in swept {
        let mark = if threshold.total_cmp(&chosen).is_eq() { " *" } else { "" };
        let tally = Tally::of(scores, |_, _| true);
        table.add(cells_of_steps(format!("{threshold}{mark}"), &tally, None));
    }
    table.text()
}

/// Returns one row per quarter, one for all of them, and one per workflow.
pub(crate) fn remaining(asked: &[Asked], runs: &[Run], view: View, seed: u64) -> String {
    let titles = ["questions", "answered", "inside %", "95 %", "by runs", "earlier %", "later %"];
    let groups =
        ["", "", "80 % interval", "80 % interval", "80 % interval", "80 % interval", "80 % interval"];
    let columns = groups.into_iter().zip(titles.map(str::to_owned));
    let medians = ["error", "width"].map(|title| ("median, % of the run", title.to_owned()));
    let mut table = Table::new([("", "passed".to_owned())].into_iter().chain(columns).chain(medians));
    let mut add = |name: String, asked: Vec<Asked>| table.add(cells_of_remaining(name, &asked, seed));
    for quarter in QUARTERS {
        let of_quarter = asked.iter().filter(|asked| asked.quarter == quarter);
        add(format!("{} %", 25 * quarter), of_quarter.cloned().collect());
    }
    add("all".to_owned(), asked.to_vec());
    let mut by_workflow = BTreeMap::<&WorkflowName, Vec<Asked>>::new();
    for asked in asked {
        if let Some(run) = runs.get(asked.run) {
            by_workflow.entry(run.workflow(view)).or_default().push(asked.clone());
        }
    }
    for (name, asked) in by_workflow {
        add(format!("  {name}"), asked);
    }
    table.text()
}

fn cells_of_remaining(name: String, asked: &[Asked], seed: u64) -> Vec<String> {
    let coverage = Coverage::of(asked);
    let whole_percent = |share: Option<f64>| share.map_or_else(none, |share| format!("{:.1}", 100.0 * share));
    vec![
        name,
        count(coverage.answered),
        coverage.answered.hits.to_string(),
        percent(coverage.inside),
        interval_text(interval::wilson(coverage.inside)),
        interval_text(interval::over_runs(&eta::inside_by_run(asked), seed)),
        percent(coverage.earlier),
        percent(coverage.later),
        whole_percent(coverage.error),
        whole_percent(coverage.width),
    ]
}

fn columns(first: &str, with_intervals: bool) -> Vec<(&'static str, String)> {
    let mut columns = columns_of_steps(first, with_intervals);
    columns.push(("whole run slowed", "steps".to_owned()));
    columns.extend(FACTORS.map(|factor| ("whole run slowed", format!("{factor}× %"))));
    for title in ["steps", "known %", "median", "p90"] {
        columns.push(("3× in flight", title.to_owned()));
    }
    columns
}

fn columns_of_steps(first: &str, with_intervals: bool) -> Vec<(&'static str, String)> {
    let interval = |group| with_intervals.then(|| (group, "95 %".to_owned()));
    let mut columns = vec![("", first.to_owned()), ("unmodified", "steps".to_owned())];
    columns.push(("unmodified", "flags %".to_owned()));
    columns.extend(interval("unmodified"));
    for (place, factor) in FACTORS.into_iter().enumerate() {
        columns.push(("one step slowed", format!("{factor}× %")));
        columns.extend(interval("one step slowed").filter(|_| place == COMPARED));
    }
    columns
}

/// The intervals of the flag rate and of the share of steps found at [`COMPARED`].
type Intervals = [Option<(f64, f64)>; 2];

fn cells(name: String, tally: &Tally, intervals: Option<Intervals>) -> Vec<String> {
    let mut cells = cells_of_steps(name, tally, intervals);
    cells.push(count(tally.slowed.first().copied().unwrap_or_default()));
    cells.extend(tally.slowed.map(percent));
    cells.extend([count(tally.known), percent(tally.known)]);
    cells.extend(
        [50, 90]
            .map(|share| tally.known_after_percent(share).map_or_else(none, |share| format!("{share:.2}"))),
    );
    cells
}

fn cells_of_steps(name: String, tally: &Tally, intervals: Option<Intervals>) -> Vec<String> {
    let shown = |place: usize| intervals.and_then(|both| both.get(place).copied()).map(interval_text);
    let mut cells = vec![name, count(tally.flagged), percent(tally.flagged)];
    cells.extend(shown(0));
    for (place, rate) in tally.found.into_iter().enumerate() {
        cells.push(percent(rate));
        cells.extend(shown(1).filter(|_| place == COMPARED));
    }
    cells
}

fn count(rate: Rate) -> String {
    rate.of.to_string()
}

fn percent(rate: Rate) -> String {
    rate.percent().map_or_else(none, |percent| format!("{percent:.1}"))
}

fn interval_text(interval: Option<(f64, f64)>) -> String {
    interval.map_or_else(none, |(low, high)| format!("{low:.1}–{high:.1}"))
}

fn none() -> String {
    "-".to_owned()
}

/// Returns what the columns of the tables mean.
pub(crate) fn legend() -> String {
    [
        "unmodified        steps as they were, flagged by the rule".to_owned(),
        "one step slowed   the same ones, found had one of them alone taken so many times as long".to_owned(),
        "whole run slowed  flagged where every step of the run took so many times as long".to_owned(),
        format!(
            "{WATCHED_FACTOR}× in flight      steps so slow that are known before they end, and after which share \
             of their duration"
        ),
        "95 %              of the rate to its left, when runs are drawn anew".to_owned(),
    ]
    .join("\n")
}
