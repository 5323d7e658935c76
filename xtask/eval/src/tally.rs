//! Adds up what was said of steps.
//!
//! Not here: how sure the sums are (`interval`), and how they are shown (`report`).

use std::collections::BTreeMap;

use tracer_core::name::StepName;

use crate::replay::{FACTORS, Scores};

/// How many of how many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rate {
    /// Those that were counted.
    pub(crate) hits: u64,
    /// All of them.
    pub(crate) of: u64,
}

impl Rate {
    /// Counts one.
    pub(crate) fn add(&mut self, hit: bool) {
        self.hits += u64::from(hit);
        self.of += 1;
    }

    /// Returns the share in percent; none of nothing.
    pub(crate) fn percent(self) -> Option<f64> {
        (self.of > 0).then(|| 100.0 * self.hits as f64 / self.of as f64)
    }
}

/// The sums over some of the steps.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Tally {
    /// Steps flagged as they were.
    pub(crate) flagged: Rate,
    /// Single steps found when slowed, for each factor.
    pub(crate) found: [Rate; FACTORS.len()],
    /// Steps flagged in runs slowed as wholes, for each factor.
    pub(crate) slowed: [Rate; FACTORS.len()],
    /// Slowed steps known before they ended.
    pub(crate) known: Rate,
    /// After which share of their duration, in ascending order.
    pub(crate) known_after: Vec<f64>,
}

impl Tally {
    /// Adds up the steps of which `includes` says so.
    pub(crate) fn of(scores: &Scores, includes: impl Fn(usize, &StepName) -> bool) -> Self {
        let mut tally = Self::default();
        for judged in scores.judged.iter().filter(|judged| includes(judged.run, &judged.step)) {
            tally.flagged.add(judged.flagged);
            add_each(&mut tally.found, judged.found);
        }
        for slowed in scores.slowed.iter().filter(|slowed| includes(slowed.run, &slowed.step)) {
            add_each(&mut tally.slowed, slowed.found);
        }
        for watched in scores.watched.iter().filter(|watched| includes(watched.run, &watched.step)) {
            tally.known.add(watched.known_after.is_some());
            tally.known_after.extend(watched.known_after);
        }
        tally.known_after.sort_unstable_by(f64::total_cmp);
        tally
    }

    /// Returns the share of its duration after which so many percent of the known ones were known.
    pub(crate) fn known_after_percent(&self, percent: usize) -> Option<f64> {
        let rank = (self.known_after.len() * percent).div_ceil(100).max(1);
        self.known_after.get(rank - 1).copied()
    }
}

fn add_each(rates: &mut [Rate; FACTORS.len()], hits: [bool; FACTORS.len()]) {
    for (rate, hit) in rates.iter_mut().zip(hits) {
        rate.add(hit);
    }
}

/// Returns, for each run that has any, how many of its steps were flagged as they were.
pub(crate) fn flagged_by_run(scores: &Scores) -> Vec<Rate> {
    by_run(scores.judged.iter().map(|judged| (judged.run, judged.flagged)))
}

/// Returns, for each run that has any, how many of its steps were found when slowed by the factor of that
/// place among [`FACTORS`].
pub(crate) fn found_by_run(scores: &Scores, place: usize) -> Vec<Rate> {
    let found = |found: [bool; FACTORS.len()]| found.get(place).is_some_and(|found| *found);
    by_run(scores.judged.iter().map(|judged| (judged.run, found(judged.found))))
}

/// Adds up, for each run that has any.
pub(crate) fn by_run(hits: impl Iterator<Item = (usize, bool)>) -> Vec<Rate> {
    let mut rates = BTreeMap::<usize, Rate>::new();
    hits.for_each(|(run, hit)| rates.entry(run).or_default().add(hit));
    rates.into_values().collect()
}
