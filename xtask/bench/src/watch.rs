//! `watch`: what looking at work that runs costs, with a long history and many running steps.
//!
//! The watchdog of the service looks for what is due in three states of the same database: nothing is due;
//! 2,000 steps cross their limit in the same moment, again and again; and many steps have just ended, whose
//! entries in the index a database may keep for a while. How long the query took each time is read from
//! `/metrics`, and so is when the verdicts were there.
//! Not here: the running steps (`running`), and reading `/metrics` (`observe`).

mod observe;
mod running;

use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use hdrhistogram::Histogram;

use self::observe::{Look, Seen, delays, histogram_of, looks, observe};
use self::running::Running;
use crate::history::past::written;
use crate::history::{filled, now};
use crate::limits::postgres::Postgres;
use crate::load::{Load, millis};
use crate::progress;
use crate::script::{Script, with_body};
use crate::stand::{Place, Stand, Store};
use crate::table::{Figure, Table, Target};

/// How often the watchdog looks where only its query counts: ten times as often as it ships.
const OFTEN: Duration = Duration::from_millis(100);

/// Steps that cross their limit in the same moment, at most.
const AT_ONCE: u64 = 2_000;

/// How often as many do so.
const CROSSINGS: u64 = 10;

/// Microseconds between: no multiple of the time between two looks, so that these come early and late.
const BETWEEN: i64 = 2_370_000;

/// How long the service has to start and to settle before a look counts.
const SETTLED: Duration = Duration::from_millis(1_500);

/// Microseconds that it has before anything is due.
const SETTLING: i64 = 3_000_000;

/// Executions that are certainly ended in a second.
const ENDED_PER_SECOND: u64 = 400;

/// Clients that end them.
const CLIENTS: usize = 16;

/// How long whatever is waited for may take beyond what was expected.
const PATIENCE: i64 = 20_000_000;

/// The bound of the query, in milliseconds.
const QUERY: Target = Target::AtMost(5.0);

/// What to measure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Watch<'a> {
    /// The service's binary, and where data lives.
    pub(crate) place: &'a Place,
    /// Steps that have ended.
    pub(crate) steps: u64,
    /// Steps that run.
    pub(crate) running: u64,
    /// Steps that have ended in the small database to compare with, in which a tenth as many run.
    pub(crate) few: u64,
    /// How long each state is looked at.
    pub(crate) length: Duration,
}

impl Watch<'_> {
    /// Measures on one store.
    ///
    /// # Errors
    /// When something does not start, or the run is interrupted.
    pub(crate) fn run(&self, store: Store, table: &mut Table) -> Result<()> {
        let (mut small, _) = self.seeded(store, self.few, self.few / 10)?;
        let idle_when_small = self.idle(&mut small)?;
        drop(small);
        let (mut stand, running) = self.seeded(store, self.steps, self.running)?;
        table.section(format!(
            "watchdog, {} steps ended, {} running, {}",
            self.steps,
            self.running,
            store.name()
        ));
        self.nothing_due(&mut stand, mean_of(&idle_when_small), table)?;
        self.crossing(&mut stand, &running, table)?;
        self.ended(&mut stand, &running, table)
    }

    /// Returns a store with so many steps that have ended and that run. The service is stopped.
    fn seeded(&self, store: Store, steps: u64, running: u64) -> Result<(Stand, Running)> {
        let (stand, past) = filled(self.place, store, steps + running)?;
        progress(&format!("{}: of which {running} run", store.name()));
        let running = Running::begin(&stand, &past, running)?;
        Ok((stand, running))
    }

    /// Measures while nothing is due, and at the same time what the machine does to questions asked so rarely.
    fn nothing_due(&self, stand: &mut Stand, mean_when_small: f64, table: &mut Table) -> Result<()> {
        let floor = stand.url().map(|url| Postgres::new(&url)).transpose()?;
        let (queries, floor) = std::thread::scope(|scope| {
            let floor = floor.map(|floor| {
                scope.spawn(move || {
                    std::thread::sleep(SETTLED);
                    floor.rare_round_trips(OFTEN, self.length)
                })
            });
            let queries = self.idle(stand)?;
            let floor = floor.map(|floor| floor.join().map_err(|_| anyhow!("measuring the limit failed")));
            anyhow::Ok((queries, floor.transpose()?.transpose()?))
        })?;
        let mean = Figure::new("  mean", mean_of(&queries), "ms").limit("small database", mean_when_small);
        query("nothing due", &queries, mean, table);
        if let Some(floor) = floor {
            // The watchdog asks twice: for steps, and for executions.
            table.add(Figure::new("  2 × SELECT 1, as rarely, p99", millis(&floor, 0.99), "ms"));
            table.add(Figure::new("    p50", millis(&floor, 0.5), "ms"));
        }
        Ok(())
    }

    /// Lets the watchdog look while nothing is due.
    fn idle(&self, stand: &mut Stand) -> Result<Histogram<u64>> {
        progress(&format!("{}: looking, nothing due", stand.store().name()));
        stand.start_with(&[often()])?;
        let seen = self.observed_from(stand, now()? + i64::try_from(SETTLED.as_micros())?)?;
        stand.stop();
        let looks = looks(&seen);
        ensure!(looks.iter().all(|look| look.found == 0), "steps are due that should not be");
        histogram_of(looks.iter().map(|look| look.query))
    }

    /// Lets the watchdog look as often as it ships, while many steps cross their limit at once, several times.
    fn crossing(&self, stand: &mut Stand, running: &Running, table: &mut Table) -> Result<()> {
        let each = AT_ONCE.min(self.running / CROSSINGS / 2).max(1);
        progress(&format!("{}: {CROSSINGS} times {each} steps due at once", stand.store().name()));
        // Moving them takes a moment for each.
        let first = now()? + SETTLING + i64::try_from(CROSSINGS * each)? * 200;
        let moments: Vec<i64> = (0..i64::try_from(CROSSINGS)?).map(|nth| first + nth * BETWEEN).collect();
        for moment in &moments {
            running.cross_at(stand, each, *moment)?;
        }
        stand.start()?;
        ensure!(now()? < first, "moving steps took too long");
        let end = moments.last().copied().unwrap_or(first) + PATIENCE;
        let expected = each * CROSSINGS;
        let mut seen = observe(stand, |seen| seen.verdicts >= expected || seen.at > end)?;
        // The last round has yet to end, and a verdict that is repeated to come.
        let last = now()? + SETTLING;
        seen.extend(observe(stand, |seen| seen.at > last)?);
        stand.stop();
        let looks: Vec<Look> = looks(&seen).into_iter().filter(|look| look.found > 0).collect();
        let queries = histogram_of(looks.iter().map(|look| look.query))?;
        query(
            &format!("{each} due at once"),
            &queries,
            Figure::new("  mean", mean_of(&queries), "ms"),
            table,
        );
        let delays = delays(&seen, &moments, each)?;
        let seconds = |quantile: f64| millis(&delays, quantile) / 1e3;
        table.add(
            Figure::new("  from crossing to verdict, looking once a second, p99", seconds(0.99), "s")
                .target(Target::AtMost(2.0)),
        );
        table.add(Figure::new("  from crossing to verdict, p50", seconds(0.5), "s"));
        let lags = histogram_of(looks.iter().map(|look| look.lag))?;
        table.add(Figure::new("  from crossing to being found, p99", millis(&lags, 0.99) / 1e3, "s"));
        let verdicts = seen.last().map_or(0, |seen| seen.verdicts);
        table.add(
            Figure::new("  verdicts missing or repeated", expected.abs_diff(verdicts) as f64, "")
                .target(Target::AtMost(0.0)),
        );
        Ok(())
    }

    /// Ends half of what runs, and lets the watchdog look while the moments pass at which it would have been due.
    fn ended(&self, stand: &mut Stand, running: &Running, table: &mut Table) -> Result<()> {
        let half = running.first_half();
        progress(&format!("{}: ending {} executions", stand.store().name(), half.len()));
        let time = Duration::from_secs(u64::try_from(half.len())? / ENDED_PER_SECOND);
        let due = now()? + SETTLING * 2 + i64::try_from(time.as_micros())?;
        let steps = running.delay_half(stand, due, self.length)?;
        stand.start_with(&[often()])?;
        let mut shares = half.chunks(half.len().div_ceil(CLIENTS).max(1));
        let load =
            Load { clients: shares.len(), warm_up: Duration::ZERO, length: time + Duration::from_secs(60) };
        let measured = stand.drive(&load, |_| Ending::of(shares.next().unwrap_or_default()))?;
        ensure!(now()? < due, "ending {} executions took too long", half.len());
        ensure!(measured.failed() == 0, "executions do not end: {:?}", measured.failures);
        progress(&format!("{}: looking past {steps} ended steps", stand.store().name()));
        let seen = self.observed_from(stand, due)?;
        stand.stop();
        let looks = looks(&seen);
        ensure!(looks.iter().all(|look| look.found == 0), "steps are due that have ended");
        let queries = histogram_of(looks.iter().map(|look| look.query))?;
        let mean = Figure::new("  mean", mean_of(&queries), "ms");
        query(&format!("{steps} steps ended before they were due"), &queries, mean, table);
        Ok(())
    }

    /// Waits until a moment, and watches from then on.
    fn observed_from(&self, stand: &Stand, from: i64) -> Result<Vec<Seen>> {
        let end = from + i64::try_from(self.length.as_micros())?;
        let mut seen = observe(stand, |seen| seen.at > end)?;
        seen.retain(|seen| seen.at >= from);
        Ok(seen)
    }
}

/// Returns the setting with which the watchdog looks often.
fn often() -> String {
    format!("detection.watch_interval={}ms", OFTEN.as_millis())
}

/// Adds what the query took.
fn query(state: &str, queries: &Histogram<u64>, mean: Figure, table: &mut Table) {
    let looks = queries.len();
    let p99 = Figure::new(format!("{state}, query, p99 of {looks}"), millis(queries, 0.99), "ms");
    table.add(p99.target(QUERY));
    table.add(Figure::new("  slowest", millis(queries, 1.0), "ms"));
    table.add(Figure::new("  p50", millis(queries, 0.5), "ms"));
    table.add(mean);
}

fn mean_of(queries: &Histogram<u64>) -> f64 {
    queries.mean() / 1e6
}

/// Ends executions, one after the other.
#[derive(Debug)]
struct Ending<'a> {
    left: &'a [[u8; 16]],
}

impl<'a> Ending<'a> {
    const fn of(left: &'a [[u8; 16]]) -> Self {
        Self { left }
    }
}

impl Script for Ending<'_> {
    const OPERATIONS: &'static [&'static str] = &["PUT workflow"];

    fn write_next(&mut self, out: &mut Vec<u8>) -> Option<usize> {
        let (next, left) = self.left.split_first()?;
        self.left = left;
        let id = written(*next);
        // What is cancelled enters no baseline.
        with_body(out, "PUT", &[b"/workflows/", id.as_bytes()], br#"{"status":"cancelled"}"#);
        Some(0)
    }

    fn take(&mut self, status: u16, _: &[u8]) -> bool {
        status == 200
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_execution_is_ended_once() {
        let ids = [[1; 16], [2; 16]];
        let mut ending = Ending::of(&ids);
        let mut out = Vec::new();
        while ending.write_next(&mut out).is_some() {}
        let text = String::from_utf8(out).unwrap();
        let asked: Vec<&str> = text.lines().filter(|line| line.contains("PUT")).collect();
        assert_eq!(
            asked,
            [
                "PUT /workflows/wf_01010101010101010101010101010101 HTTP/1.1",
                // The body has no line break of its own.
                r#"{"status":"cancelled"}PUT /workflows/wf_02020202020202020202020202020202 HTTP/1.1"#,
            ]
        );
    }
}
