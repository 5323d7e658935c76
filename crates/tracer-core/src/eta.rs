//! When a running execution will have ended, with an interval that holds the true end four times out of five.
//!
//! What is asked: the moment, what this execution has done so far, and a few past executions of its workflow.
//!
//! 1. **Expected end** (`forecast`): the past executions are played on from where this one stands, and the
//!    median of what comes out is taken.
//! 2. **Interval**: the method's own errors on the past. Each past execution `i` is foretold from the others
//!    when it had done the same share of its time, and `eᵢ = ln(true remaining / foretold remaining)`, kept
//!    within ±2. With `s² = (ν₀s₀² + Σeᵢ²) / (ν₀ + n)`, the prior's `s₀` worth `ν₀` executions, the interval
//!    is `now + remaining × exp(±t₀.₉,ν₀₊ₙ × s)`: Student's quantile, because `s` is itself an estimate from
//!    few. With one past execution there is nothing to leave out, and the prior speaks alone.
//!
//! Errors by leaving one out are those of the jackknife (M. Quenouille 1956; for intervals of predictions
//! R. Barber, E. Candès, A. Ramdas, R. Tibshirani, "Predictive inference with the jackknife+", Annals of
//! Statistics 49, 2021). Their bounds need no distribution but at least nine past executions for 80 %; with
//! fewer the errors are taken as log-normal, with the conjugate prior of a variance (scaled inverse χ²;
//! Gelman et al., Bayesian Data Analysis, 3rd ed., §2.6), under which the next one is Student's t.
//!
//! Invariant: the same values give the same answer, on every replica; `now ≤ earliest ≤ expected ≤ latest`.
//! Not here: which past executions are read (`repository`), and how it is shown.

mod forecast;
mod quantile;
mod run;
#[cfg(test)]
mod tests;

use crate::ids::ExecutionId;
use crate::limits;
use crate::name::StepName;
use crate::time::{Micros, Timestamp};

use forecast::{History, Seen};
use quantile::student_90;
use run::{Names, Run};

/// The probability with which the interval is to hold the true end.
pub const CONFIDENCE: f64 = 0.8;
/// Spread of `ln(true / foretold)` before any error is known: a factor of 1.5 either way, tuned.
const PRIOR_SPREAD: f64 = 0.4;
/// How many executions the prior is worth.
const PRIOR_WEIGHT: u8 = 3;
/// Largest error that counts, a factor of 7.4: one freak among the past must not make every interval endless.
const LARGEST_ERROR: f64 = 2.0;
/// The least that is said to remain, as a share of the whole: a forecast is never surer than that.
const LEAST_REMAINING: f64 = 1e-3;
/// A past execution is asked no later than at this share of its time, so that something remains.
const LATEST_SHARE: f64 = 0.98;
/// Scenarios drawn for the expected end, and for each error on the past.
const SCENARIOS: usize = 40;
const SCENARIOS_OF_PAST: usize = 20;

/// A step as far as times go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its name.
    pub name: StepName,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended; none while it runs.
    pub ended_at: Option<Timestamp>,
}

/// A past execution, which completed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastRun {
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
    /// Its steps, in any order.
    pub steps: Vec<Span>,
}

/// The execution that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Present {
    /// Its id, from which chance is drawn, so that asking twice answers the same.
    pub id: ExecutionId,
    /// When it began.
    pub started_at: Timestamp,
    /// Its steps so far, in any order.
    pub steps: Vec<Span>,
}

/// When an execution will have ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Estimate {
    /// When it was asked.
    pub now: Timestamp,
    /// As likely later as earlier.
    pub remaining: Micros,
    /// The interval's lower end.
    pub remaining_low: Micros,
    /// The interval's upper end.
    pub remaining_high: Micros,
    /// How many past executions it is based on.
    pub based_on: usize,
}

impl Estimate {
    /// Returns when it is expected to end.
    #[must_use]
    pub fn expected_end(&self) -> Timestamp {
        self.now + self.remaining
    }

    /// Returns the interval's lower end.
    #[must_use]
    pub fn earliest_end(&self) -> Timestamp {
        self.now + self.remaining_low
    }

    /// Returns the interval's upper end.
    #[must_use]
    pub fn latest_end(&self) -> Timestamp {
        self.now + self.remaining_high
    }
}

/// Returns whether an execution may miss its deadline: the interval's upper end passes it, or it has passed.
#[must_use]
pub fn at_risk(now: Timestamp, estimate: Option<&Estimate>, deadline_at: Timestamp) -> bool {
    estimate.map_or(now, Estimate::latest_end) > deadline_at
}

/// Foretells the end of an execution; none without a past execution of its workflow.
///
/// Of `past`, the first [`limits::ETA_RUNS`] are used. Costs about `runs × (steps + scenarios × running
/// steps)`, times the number of runs for the errors.
#[must_use]
pub fn estimate(now: Timestamp, present: &Present, past: &[PastRun]) -> Option<Estimate> {
    let mut names = Names::default();
    let runs: Vec<Run> = past.iter().take(limits::ETA_RUNS).map(|run| Run::of(run, &mut names)).collect();
    if runs.is_empty() {
        return None;
    }
    let elapsed = now.since(present.started_at).as_f64();
    // A start given for a time to come is waited for first.
    let ahead = present.started_at.since(now);
    let seen = Seen::of_present(elapsed, present, &mut names);
    let bits = present.id.to_bytes();
    let seed = bits.iter().fold(0_u64, |seed, byte| seed.rotate_left(8) ^ u64::from(*byte));
    let history = History::new(&runs, names.len());
    let end = history.end(&seen, None, SCENARIOS, seed);
    let remaining = remaining_until(end, elapsed, end);
    let (mut squares, mut errors) = (f64::from(PRIOR_WEIGHT) * PRIOR_SPREAD * PRIOR_SPREAD, 0_u8);
    if runs.len() > 1 {
        let share = (elapsed / end.max(1.0)).min(LATEST_SHARE);
        for (left_out, run) in runs.iter().enumerate() {
            let error = history.error_on(run, left_out, share, names.len(), seed);
            squares += error * error;
            errors = errors.saturating_add(1);
        }
    }
    let freedom = PRIOR_WEIGHT.saturating_add(errors);
    let spread = (squares / f64::from(freedom)).sqrt();
    let factor = (student_90(freedom) * spread).exp();
    Some(Estimate {
        now,
        remaining: ahead.saturating_add(Micros::from_f64(remaining)),
        remaining_low: ahead.saturating_add(Micros::from_f64(remaining / factor)),
        remaining_high: ahead.saturating_add(Micros::from_f64(remaining * factor)),
        based_on: runs.len(),
    })
}

/// Returns what remains until `end`, of something that takes about `whole` in all; never nothing.
fn remaining_until(end: f64, now: f64, whole: f64) -> f64 {
    (end - now).max(LEAST_REMAINING * whole).max(1.0)
}

impl History<'_> {
    /// Returns by how much the others would have foretold a past execution wrongly, when a share of its time
    /// had passed: `ln(true / foretold)` of what remained, within bounds.
    fn error_on(&self, run: &Run, left_out: usize, share: f64, names: usize, seed: u64) -> f64 {
        let at = run.end * share;
        let seen = Seen::of_past(at, run, names);
        let foretold = self.end(&seen, Some(left_out), SCENARIOS_OF_PAST, seed);
        let truth = (run.end - at).max(1.0);
        (truth / remaining_until(foretold, at, run.end)).ln().clamp(-LARGEST_ERROR, LARGEST_ERROR)
    }
}
