//! How often the interval of the remaining time holds the true end.
//!
//! Each run is asked about when a quarter, a half and so on of it has passed, knowing what had happened by
//! then: its own steps so far, and the runs of its workflow that had ended. So every answer is foretold, and
//! runs that are not of the split are learned from and not scored.
//! Not here: the estimate (`tracer_core::eta`).

use anyhow::{Context, Result};
use tracer_core::eta::{Estimate, PastRun, Present, Span, estimate};
use tracer_core::ids::ExecutionId;
use tracer_core::time::{Micros, Timestamp};

use crate::files::{Run, View};
use crate::tally::Rate;

/// Quarters of its time that have passed when a run is asked about.
pub(crate) const QUARTERS: [u64; 4] = [0, 1, 2, 3];

/// One answer.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// The run.
    pub(crate) run: usize,
    /// How many quarters of it had passed.
    pub(crate) quarter: u64,
    /// What was answered; none without a past run.
    pub(crate) answer: Option<Answer>,
}

/// How an answer compares with the truth.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer {
    /// Where the true end lies.
    pub(crate) end: Place,
    /// By how much the expected end was wrong, as a share of the run's whole time.
    pub(crate) error: f64,
    /// How wide the interval was, as a share of the run's whole time.
    pub(crate) width: f64,
}

/// Where a true end lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Before the interval.
    Earlier,
    /// In it.
    Inside,
    /// After it.
    Later,
}

/// Asks about each of these runs, which are in order of time, that is to be scored.
///
/// # Errors
/// Never for fewer runs than the largest number.
pub(crate) fn ask(runs: &[Run], is_scored: &[bool], view: View) -> Result<Vec<Asked>> {
    let mut asked = Vec::new();
    for (number, run) in runs.iter().enumerate() {
        if !is_scored.get(number).is_some_and(|scored| *scored) || whole(run) == Micros::ZERO {
            continue;
        }
        let id = u128::try_from(number).ok().and_then(|number| ExecutionId::from_u128(number + 1));
        let id = id.context("runs are numbered")?;
        for quarter in QUARTERS {
            let now = run.started_at + Micros::new(whole(run).get() / 4 * quarter);
            let past = past_at(now, run, runs, view);
            let present = Present { id, started_at: run.started_at, steps: spans(run, now) };
            let answer = estimate(now, &present, &past).map(|estimate| compare(&estimate, run));
            asked.push(Asked { run: number, quarter, answer });
        }
    }
    Ok(asked)
}

/// Returns the runs of the same workflow that had ended by then, the newest first.
fn past_at(now: Timestamp, of: &Run, runs: &[Run], view: View) -> Vec<PastRun> {
    let ended =
        runs.iter().rev().filter(|run| run.workflow(view) == of.workflow(view) && run.ended_at() <= now);
    let past = |run: &Run| PastRun {
        started_at: run.started_at,
        ended_at: run.ended_at(),
        steps: spans(run, run.ended_at()),
    };
    ended.map(past).collect()
}

/// Returns the steps of a run as they were seen at a moment.
fn spans(run: &Run, now: Timestamp) -> Vec<Span> {
    let started = run.steps.iter().filter(|step| step.started_at <= now);
    let span = started.map(|step| Span {
        name: step.name.clone(),
        started_at: step.started_at,
        ended_at: Some(step.started_at + step.duration).filter(|end| *end <= now),
    });
    span.collect()
}

fn whole(run: &Run) -> Micros {
    run.ended_at().since(run.started_at)
}

fn compare(estimate: &Estimate, run: &Run) -> Answer {
    let (truth, whole) = (run.ended_at(), whole(run).as_f64());
    let (earliest, expected, latest) =
        (estimate.earliest_end(), estimate.expected_end(), estimate.latest_end());
    let end = match truth {
        truth if truth < earliest => Place::Earlier,
        truth if truth > latest => Place::Later,
        _ => Place::Inside,
    };
    let wrong = expected.since(truth).max(truth.since(expected));
    Answer { end, error: wrong.as_f64() / whole, width: latest.since(earliest).as_f64() / whole }
}

/// The sums over some of the answers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Coverage {
    /// Questions that had an answer.
    pub(crate) answered: Rate,
    /// True ends in the interval.
    pub(crate) inside: Rate,
    /// True ends before it.
    pub(crate) earlier: Rate,
    /// True ends after it.
    pub(crate) later: Rate,
    /// Median error, as a share of the whole time.
    pub(crate) error: Option<f64>,
    /// Median width, as a share of the whole time.
    pub(crate) width: Option<f64>,
}

impl Coverage {
    /// Adds up answers.
    pub(crate) fn of<'a>(asked: impl IntoIterator<Item = &'a Asked>) -> Self {
        let mut coverage = Self::default();
        let (mut errors, mut widths) = (Vec::new(), Vec::new());
        for asked in asked {
            coverage.answered.add(asked.answer.is_some());
            let Some(answer) = asked.answer else { continue };
            coverage.inside.add(answer.end == Place::Inside);
            coverage.earlier.add(answer.end == Place::Earlier);
            coverage.later.add(answer.end == Place::Later);
            errors.push(answer.error);
            widths.push(answer.width);
        }
        (coverage.error, coverage.width) = (median(errors), median(widths));
        coverage
    }
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// Returns, for each run, how many of its answers held the true end.
pub(crate) fn inside_by_run(asked: &[Asked]) -> Vec<Rate> {
    crate::tally::by_run(
        asked.iter().filter_map(|asked| Some((asked.run, asked.answer?.end == Place::Inside))),
    )
}
