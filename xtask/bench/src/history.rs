//! `history`: what a long history costs.
//!
//! Two databases, one with a short and one with a long history of one step, each with a service of its
//! own. Completing a step and `GET /stats/…` are measured on both in turns, so that whatever else the
//! machine does falls on both; the median of the pairs' ratios counts. Then every listing is asked for
//! at the long one.

mod copy;
mod listing;
pub(crate) mod past;
pub(crate) mod postgres;
pub(crate) mod sqlite;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};

use self::past::{Past, STEP, STEPS, WORKFLOW};
use crate::contract::{COMPLETE, Contract};
use crate::limits::http::Constant;
use crate::load::{Load, Measured, median, millis};
use crate::progress;
use crate::script::Repeat;
use crate::stand::{Place, Stand, Store};
use crate::table::{Figure, Table, Target};
use xtask_machine::interrupt;

/// Executions written at once, and between two looks at signals.
const PORTION: u64 = 2_000;

/// How far back the past goes: within the baseline's window of 14 days.
const PAST: Duration = Duration::from_secs(13 * 86_400);

/// Executions run in one half of a pair, of ten steps each: few, so that the short history stays short.
const EXECUTIONS: u64 = 50;

/// Answers of `GET /stats/…` in one half of a pair.
const ANSWERS: u64 = 1_000;

/// How long either may take.
const LONGEST: Duration = Duration::from_secs(120);

/// What to measure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct History<'a> {
    /// The service's binary, and where data lives.
    pub(crate) place: &'a Place,
    /// Steps in the short history.
    pub(crate) few: u64,
    /// Steps in the long history.
    pub(crate) many: u64,
    /// Interleaved pairs.
    pub(crate) pairs: usize,
    /// Whether only `GET /stats/…` is measured.
    pub(crate) stats_only: bool,
}

/// The services with the short and the long history.
#[derive(Debug)]
struct Both {
    few: Stand,
    many: Stand,
}

impl History<'_> {
    /// Measures on one store.
    ///
    /// # Errors
    /// When something does not start, or the run is interrupted.
    pub(crate) fn run(&self, store: Store, table: &mut Table) -> Result<()> {
        let (mut few, _) = filled(self.place, store, self.few)?;
        few.start()?;
        let (mut many, past) = filled(self.place, store, self.many)?;
        many.start()?;
        let mut both = Both { few, many };
        let name = store.name();
        if !self.stats_only {
            table.section(format!("history of {} steps, {name}", self.many));
            let complete = |stand: &mut Stand, _: u64| complete(stand, EXECUTIONS);
            progress(&format!("{name}: completing a step"));
            let half = EXECUTIONS * STEPS;
            self.compare(&mut both, half, "complete a step", complete, None, table)?;
        }
        table.section(format!("statistics at {} steps, {name}", self.many));
        progress(&format!("{name}: GET /stats"));
        let path = format!("/stats/{WORKFLOW}");
        let ask = |stand: &mut Stand, times: u64| answers(stand, &path, times, LONGEST);
        self.compare(&mut both, ANSWERS, "GET /stats/{name}", ask, Some(Target::AtMost(5.0)), table)?;
        let constant = millis(&Constant::start()?.measure(1, Duration::from_secs(1))?.all, 0.5);
        table.add(Figure::new("a constant answer, p50", constant, "ms"));
        if !self.stats_only {
            table.section(format!("listings at {} steps, {name}", self.many));
            progress(&format!("{name}: listings"));
            listing::run(&mut both.many, &past, table)?;
        }
        Ok(())
    }

    /// Measures in pairs, each beginning with the other history than the one before.
    fn compare(
        &self,
        both: &mut Both,
        half: u64,
        name: &str,
        measure: impl Fn(&mut Stand, u64) -> Result<Measured>,
        target: Option<Target>,
        table: &mut Table,
    ) -> Result<()> {
        for stand in [&mut both.few, &mut both.many] {
            measure(stand, half / 10)?;
        }
        let mut figures: [Vec<f64>; 6] = Default::default();
        let mut failed = 0;
        for pair in 0..self.pairs {
            let (few, many) = if pair % 2 == 0 {
                let few = measure(&mut both.few, half)?;
                (few, measure(&mut both.many, half)?)
            } else {
                let many = measure(&mut both.many, half)?;
                (measure(&mut both.few, half)?, many)
            };
            failed += few.failed() + many.failed();
            let of = |measured: &Measured, at: f64| quantile(measured, at, half);
            let (short, long) = ((of(&few, 0.5), of(&few, 0.99)), (of(&many, 0.5), of(&many, 0.99)));
            let row = [short.0, long.0, long.0 / short.0, short.1, long.1, long.1 / short.1];
            for (column, value) in figures.iter_mut().zip(row) {
                column.push(value);
            }
        }
        let [p50_few, p50_many, p50_ratio, p99_few, p99_many, p99_ratio] = figures.map(median);
        let pairs = self.pairs;
        let ratio = |quantile: &str| format!("{name}, {quantile} of long / short, median of {pairs}");
        table.add(Figure::new(ratio("p50"), p50_ratio, "×").target(Target::AtMost(1.1)));
        table.add(Figure::new("  p50, long", p50_many, "ms").limit("short history", p50_few));
        table.add(Figure::new(ratio("p99"), p99_ratio, "×").target(Target::AtMost(1.5)));
        table.add(Figure::new("  p99, long", p99_many, "ms").limit("short history", p99_few).target(target));
        table.add(Figure::new("  unexpected answers", failed as f64, "").target(Target::AtMost(0.0)));
        Ok(())
    }
}

/// Returns a store with a history of so many steps, and what it is. The service is stopped.
///
/// # Errors
/// When something does not start, or the run is interrupted.
pub(crate) fn filled(place: &Place, store: Store, steps: u64) -> Result<(Stand, Past)> {
    progress(&format!("{}: a history of {steps} steps", store.name()));
    // The service makes its tables; what is written by others it should not see being written.
    let mut stand = Stand::serving(place, store)?;
    stand.stop();
    let to = now()?;
    let from = to - i64::try_from(PAST.as_micros())?;
    let past = Past { executions: steps.div_ceil(STEPS), from, to };
    let past = match stand.url() {
        Some(url) => postgres::fill(&url, &past)?,
        None => sqlite::fill(&stand.file()?, &past)?,
    };
    Ok((stand, past))
}

/// Runs executions of the one step by one client; the answers to completing one are what counts.
fn complete(stand: &mut Stand, executions: u64) -> Result<Measured> {
    let steps = vec![STEP; usize::try_from(STEPS)?];
    let load = Load { clients: 1, warm_up: Duration::ZERO, length: LONGEST };
    let mut measured = stand.drive(&load, |_| Contract::of(WORKFLOW, &steps, executions))?;
    measured.all = measured.of(COMPLETE).cloned().context("completing is an operation")?;
    Ok(measured)
}

/// Asks for a path so many times, by one client.
fn answers(stand: &mut Stand, path: &str, times: u64, longest: Duration) -> Result<Measured> {
    let load = Load { clients: 1, warm_up: Duration::ZERO, length: longest };
    stand.drive(&load, |_| Repeat::times(path, times))
}

/// Returns a quantile in milliseconds. Where fewer answers came than were asked for, the request that
/// was still waiting counts: else the slowest service would look like the fastest.
fn quantile(measured: &Measured, at: f64, expected: u64) -> f64 {
    let answered = millis(&measured.all, at);
    if measured.all.len() < expected { answered.max(measured.waited.as_secs_f64() * 1e3) } else { answered }
}

/// Returns microseconds since 1970.
///
/// # Errors
/// When the machine's clock is set before that.
#[expect(clippy::disallowed_methods, reason = "there is no clock to take: what is made up ends now")]
pub(crate) fn now() -> Result<i64> {
    Ok(i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros())?)
}

/// Shows how far filling is, and gives up when asked to.
fn show(done: u64, all: u64) -> Result<()> {
    let (step, part) = (all.div_ceil(10).max(1), done * 10 / all.max(1));
    if all > PORTION * 10 && done % step < PORTION {
        progress(&format!("  {} %", part * 10));
    }
    interrupt::check()
}
