//! Reading from `/metrics` what the watchdog did, again and again.
//!
//! Histograms there give a number and a sum. Looked at more often than the watchdog looks, the sum grows by
//! one look at a time: how long each took is known exactly, whatever the buckets are.
//! Not here: what is due (`running`).

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;

use super::running::STEP;
use crate::history::now;
use crate::load::histogram;
use crate::stand::Stand;
use xtask_machine::interrupt;
use xtask_machine::service::fetch;

/// Between two scrapes.
const PERIOD: Duration = Duration::from_millis(20);

/// What `/metrics` said at a moment. Everything counts from the start of the service.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Seen {
    /// Microseconds since 1970.
    pub(super) at: i64,
    /// Rounds of looking.
    looks: u64,
    /// Seconds that their queries took.
    queries: f64,
    /// Seconds for which the longest overdue had been due, added up.
    lags: f64,
    /// Steps and executions found due.
    found: u64,
    /// Steps that were said to be too slow while they ran: each once.
    pub(super) verdicts: u64,
}

/// One round of looking.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Look {
    /// Seconds that the query took.
    pub(super) query: f64,
    /// Seconds for which the longest overdue had been due.
    pub(super) lag: f64,
    /// Steps and executions found due.
    pub(super) found: u64,
}

/// Scrapes until told that it is enough.
///
/// # Errors
/// When the service does not answer, or the run is interrupted.
pub(super) fn observe(stand: &Stand, mut enough: impl FnMut(&Seen) -> bool) -> Result<Vec<Seen>> {
    let address = stand.service()?.address();
    let mut all = Vec::new();
    loop {
        interrupt::check()?;
        let (status, body) = fetch(address, "/metrics")?;
        ensure!(status == 200, "/metrics answers {status}");
        let seen = read(now()?, std::str::from_utf8(&body).context("/metrics is no text")?);
        all.push(seen);
        if enough(&seen) {
            return Ok(all);
        }
        std::thread::sleep(PERIOD);
    }
}

fn read(at: i64, text: &str) -> Seen {
    let sum = |name: &str, label: &str| -> f64 { series(text, name, label).sum() };
    let count = |name: &str, label: &str| series(text, name, label).map(whole).sum();
    let step = format!(r#"step_name="{STEP}""#);
    Seen {
        at,
        looks: count("tracer_watchdog_query_duration_seconds_count", ""),
        queries: sum("tracer_watchdog_query_duration_seconds_sum", ""),
        lags: sum("tracer_watchdog_lag_seconds_sum", ""),
        found: count("tracer_watchdog_looks_total", ""),
        verdicts: count("tracer_in_flight_bottlenecks_total", &step),
    }
}

/// Returns the values of the series of a name that have a label.
fn series(text: &str, name: &str, label: &str) -> impl Iterator<Item = f64> {
    text.lines().filter_map(move |line| {
        let rest = line.strip_prefix(name)?;
        let (labels, value) = rest.rsplit_once(' ')?;
        let is_it = labels.is_empty() || labels.starts_with('{');
        if is_it && labels.contains(label) { value.parse().ok() } else { None }
    })
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a counter's value is a whole number"
)]
const fn whole(value: f64) -> u64 {
    value as u64
}

/// Returns the rounds between the first scrape and the last one. Where two fell between the same scrapes,
/// both count as their average.
pub(super) fn looks(seen: &[Seen]) -> Vec<Look> {
    let Some(mut before) = seen.first().copied() else { return Vec::new() };
    let mut all = Vec::new();
    for now in seen {
        let rounds = now.looks.saturating_sub(before.looks);
        // What was found is counted a moment before the round is: it waits for it.
        if rounds > 0 {
            let look = Look {
                query: (now.queries - before.queries) / rounds as f64,
                lag: (now.lags - before.lags) / rounds as f64,
                found: now.found.saturating_sub(before.found) / rounds,
            };
            all.extend(std::iter::repeat_n(look, usize::try_from(rounds).unwrap_or_default()));
            before = *now;
        }
    }
    all
}

/// Returns how long verdicts took, in nanoseconds and to the time between two scrapes, where so many steps
/// crossed their limit at each of these moments (microseconds since 1970). Those that are overdue longest
/// are judged first.
///
/// # Errors
/// Never with the bounds of [`histogram`].
pub(super) fn delays(seen: &[Seen], crossings: &[i64], each: u64) -> Result<Histogram<u64>> {
    let mut all = histogram()?;
    for (nth, crossed) in (0_u64..).zip(crossings) {
        let mut told = nth * each;
        for now in seen {
            let until = now.verdicts.min((nth + 1) * each);
            if until > told {
                let delay = u64::try_from(now.at - crossed).unwrap_or_default();
                all.saturating_record_n(delay * 1_000, until - told);
                told = until;
            }
        }
    }
    Ok(all)
}

/// Gathers seconds, as nanoseconds.
///
/// # Errors
/// Never with the bounds of [`histogram`].
pub(super) fn histogram_of(seconds: impl Iterator<Item = f64>) -> Result<Histogram<u64>> {
    let mut all = histogram()?;
    seconds.for_each(|seconds| all.saturating_record(whole(seconds * 1e9)));
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::millis;

    #[test]
    fn what_is_said_of_the_watchdog_is_read_and_nothing_else() {
        let text = "\
# TYPE tracer_watchdog_lag_seconds histogram
tracer_watchdog_lag_seconds_bucket{le=\"0.5\"} 7
tracer_watchdog_lag_seconds_sum 1.5
tracer_watchdog_lag_seconds_count 7
tracer_watchdog_query_duration_seconds_sum 0.0025
tracer_watchdog_query_duration_seconds_count 7
tracer_watchdog_looks_total 2003
tracer_watchdog_looks_total_of_others 5
tracer_in_flight_bottlenecks_total{workflow_name=\"w\",step_name=\"wait\",severity=\"WARNING\"} 1999
tracer_in_flight_bottlenecks_total{workflow_name=\"w\",step_name=\"wait\",severity=\"CRITICAL\"} 1
tracer_in_flight_bottlenecks_total{workflow_name=\"w\",step_name=\"work\",severity=\"WARNING\"} 4
";
        let expected = Seen { at: 9, looks: 7, queries: 0.0025, lags: 1.5, found: 2_003, verdicts: 2_000 };
        assert_eq!(read(9, text), expected);
        assert_eq!(read(9, ""), Seen { at: 9, ..Seen::default() });
    }

    #[test]
    fn each_round_is_told_apart_by_what_it_adds() {
        let seen = |looks: u64, queries: f64, lags: f64, found: u64| Seen {
            looks,
            queries,
            lags,
            found,
            ..Seen::default()
        };
        let seen = [
            seen(5, 1.0, 2.0, 10),
            seen(6, 1.25, 2.0, 10),
            // What was found is counted before the round that found it.
            seen(6, 1.25, 2.0, 40),
            seen(7, 1.75, 2.5, 40),
            seen(9, 2.25, 2.5, 40),
        ];
        let look = |query: f64, lag: f64, found: u64| Look { query, lag, found };
        let expected = [look(0.25, 0.0, 0), look(0.5, 0.5, 30), look(0.25, 0.0, 0), look(0.25, 0.0, 0)];
        assert_eq!(looks(&seen), expected);
        assert_eq!(looks(&[]), []);
    }

    #[test]
    fn verdicts_belong_to_the_earliest_crossing_that_lacks_them() {
        let seen = |at: i64, verdicts: u64| Seen { at, verdicts, ..Seen::default() };
        let seen = [seen(0, 0), seen(1_500_000, 6), seen(2_000_000, 10), seen(4_000_000, 25)];
        let all = delays(&seen, &[1_000_000, 3_000_000], 10).unwrap();
        // Six after 0.5 s, four after 1 s, ten after 1 s; what was not asked for is not counted.
        assert_eq!(all.len(), 20);
        assert_eq!(millis(&all, 0.3).round(), 500.0);
        assert_eq!(millis(&all, 0.31).round(), 1_000.0);
        assert_eq!(millis(&all, 1.0).round(), 1_000.0);
    }
}
