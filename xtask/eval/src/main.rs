//! Scores detection on real executions.
//!
//! `cargo xtask detect-eval` builds and starts this. It replays runs in `WfFormat` in order of time as a
//! stream of commands, lets the service's own code judge every step, and counts what it says: of steps as
//! they were, and of the same steps made slower. Deterministic: the same files, the same table.

mod eta;
mod files;
mod fortnight;
mod interval;
mod replay;
mod report;
mod rules;
mod stream;
mod table;
mod tally;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::{Context, Result, anyhow};
use clap::Parser;
use clap::builder::PossibleValuesParser;

use crate::files::{Run, Split, View};
use crate::replay::{Depth, LEAST_DURATION, LEAST_HISTORY, Scores, replay};
use crate::report::Scored;
use crate::rules::{VARIANTS, Variant};

/// Replays runs in WfFormat through detection and prints how well each rule does
#[derive(Debug, Parser)]
#[command(name = "cargo xtask detect-eval", bin_name = "cargo xtask detect-eval")]
struct Arguments {
    /// Folder of the runs: `WORKFLOW-NNN.json`, one each
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Which of them: within a collection (the file's first word) they alternate in order of time
    #[arg(long, default_value = "test")]
    split: Split,
    /// Rules to score [default: all]
    #[arg(
        long = "rule",
        value_name = "NAME",
        num_args = 1..,
        value_parser = PossibleValuesParser::new(VARIANTS.iter().map(|variant| variant.name))
    )]
    rules: Vec<String>,
    /// Also shows single steps, for the first of the rules
    #[arg(long)]
    by_step: bool,
    /// Also sweeps each rule's threshold: flags against recall
    #[arg(long)]
    roc: bool,
    /// Instead, simulates a fortnight of all runs with three planted faults, and says what people were told
    #[arg(long)]
    fortnight: bool,
    /// Seeds the draws behind the 95 % intervals
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[expect(clippy::print_stdout, reason = "the tables are what the command is for")]
fn main() -> Result<()> {
    println!("{}", evaluate(&Arguments::parse())?);
    Ok(())
}

/// Returns everything that is printed.
fn evaluate(arguments: &Arguments) -> Result<String> {
    let all = files::read_all(&arguments.folder)?;
    if arguments.fortnight {
        return fortnight::report(&all);
    }
    let chosen = arguments.split.choose(&all);
    let runs: Vec<&Run> = all.iter().zip(&chosen).filter_map(|(run, chosen)| chosen.then_some(run)).collect();
    let is_named = |variant: &&Variant| arguments.rules.iter().any(|name| name == variant.name);
    let variants: Vec<&Variant> =
        VARIANTS.iter().filter(|variant| arguments.rules.is_empty() || is_named(variant)).collect();

    let mut text = heading(arguments, all.len(), &runs);
    let mut by_view = [Vec::new(), Vec::new()];
    for variant in &variants {
        let both = in_both_views(variant, variant.threshold(), &runs, Depth::Everything)?;
        for (scored, scores) in by_view.iter_mut().zip(both) {
            scored.push(Scored { name: variant.name.to_owned(), scores });
        }
    }
    for (view, scored) in View::ALL.into_iter().zip(&by_view) {
        let first = scored.first().context("at least one rule is scored")?;
        let by_workflow = report::workflows(&first.scores, &runs, view, arguments.by_step);
        write!(text, "\n\n{}\n\n{}", view.title(), report::rules(scored, arguments.seed))?;
        if let Some(by_workflow) = by_workflow {
            write!(text, "\n\nby workflow, rule {}\n\n{by_workflow}", first.name)?;
        }
    }
    text.push_str(&remaining(&all, &chosen, arguments.seed)?);
    for variant in variants.iter().filter(|_| arguments.roc) {
        text.push_str(&sweep(variant, &runs)?);
    }
    Ok(text)
}

fn heading(arguments: &Arguments, all: usize, runs: &[&Run]) -> String {
    let split = match arguments.split {
        Split::All => "All of them are replayed, those on which anything was tuned too.".to_owned(),
        Split::Tune | Split::Test => format!(
            "Within a collection (the first word of their names) runs alternate tune, test, tune, … in order of \
             time.\nReplayed is the {} part; nothing of the other part is in the history of any step.",
            arguments.split.name(),
        ),
    };
    let steps: usize = runs.iter().map(|run| run.steps.len()).sum();
    format!(
        "{} of {all} runs in {}, with {steps} steps.\n{split}\nScored are steps of at least {} s with at least \
         {LEAST_HISTORY} completed ones in their history when they began.\n\n{}",
        runs.len(),
        arguments.folder.display(),
        LEAST_DURATION.as_secs_f64(),
        report::legend(),
    )
}

/// Asks about the chosen runs, each with all that were before it: nothing about these was tuned on them.
fn remaining(all: &[Run], chosen: &[bool], seed: u64) -> Result<String> {
    progress("remaining time");
    let mut text = String::from(
        "\n\nremaining time: the true end and the 80 % interval, asked when so much of a run has passed. Learned \
         from are all runs\nof the workflow that had ended by then, of either part. 95 %: by Wilson's formula; by \
         runs: when runs are drawn anew.",
    );
    for view in View::ALL {
        let asked = eta::ask(all, chosen, view)?;
        write!(text, "\n\n{}\n\n{}", view.title(), report::remaining(&asked, all, view, seed))?;
    }
    Ok(text)
}

fn sweep(variant: &Variant, runs: &[&Run]) -> Result<String> {
    let mut by_view = [Vec::new(), Vec::new()];
    for threshold in variant.sweep() {
        let both = in_both_views(variant, threshold, runs, Depth::StepsAlone)?;
        for (swept, scores) in by_view.iter_mut().zip(both) {
            swept.push((threshold, scores));
        }
    }
    let mut text = String::new();
    for (view, swept) in View::ALL.into_iter().zip(by_view) {
        let table = report::thresholds(&swept, variant.threshold());
        write!(text, "\n\nROC of {}, {} (* is the one scored above)\n\n{table}", variant.name, view.name())?;
    }
    Ok(text)
}

/// Replays under one rule in both views, which have nothing to do with each other, at once.
fn in_both_views(variant: &Variant, threshold: f64, runs: &[&Run], depth: Depth) -> Result<[Scores; 2]> {
    progress(&format!("{} at {threshold}, {} runs", variant.name, runs.len()));
    let policy = &variant.policy(threshold);
    let [pooled, configured] = std::thread::scope(|scope| {
        View::ALL
            .map(|view| scope.spawn(move || replay(runs, view, policy, depth)))
            .map(|thread| thread.join().map_err(|_| anyhow!("a replay broke off"))?)
    });
    Ok([pooled?, configured?])
}

/// Says what goes on, for whoever waits.
#[expect(clippy::print_stderr, reason = "long work shows that it goes on")]
fn progress(what: &str) {
    eprintln!("{what}");
}
