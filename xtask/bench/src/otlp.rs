//! `otlp`: spans per second, from the first byte of an export until it is durable, and until its traces are settled.
//!
//! Not here: what an export is (`export`), and what PostgreSQL can do at best with the same rows (`copy`).

mod copy;
mod export;

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use self::export::{Exporting, SPANS, SPANS_PER_TRACE, WORKFLOWS};
use crate::load::{Load, millis};
use crate::progress;
use crate::stand::{Place, Stand, Store};
use crate::table::{Figure, Table, Target};
use xtask_machine::interrupt;
use xtask_machine::process;
use xtask_machine::service::fetch;

/// Exporters at once: each is a process that waits for its answer, as a collector's exporter does by default.
const EXPORTERS: usize = 8;
/// Exports after each of which its traces are looked for.
const LOOKS: usize = 100;
/// How long it may take until everything is settled, as a multiple of the load.
const SETTLING: u32 = 20;

/// What to measure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Otlp<'a> {
    /// The service's binary, and where data lives.
    pub(crate) place: &'a Place,
    /// What counts.
    pub(crate) length: Duration,
    /// What does not.
    pub(crate) warm_up: Duration,
}

impl Otlp<'_> {
    /// Measures on one store.
    ///
    /// # Errors
    /// When something does not start, a trace is not found, or the run is interrupted.
    pub(crate) fn run(&self, store: Store, table: &mut Table) -> Result<()> {
        let mut stand = Stand::serving(self.place, store)?;
        table.section(format!("otlp, {}", store.name()));
        progress(&format!("{}: exports that are looked for at once", store.name()));
        let looked = looked_for(&mut stand)?;
        progress(&format!("{}: {EXPORTERS} exporters", store.name()));
        let before = stand.cpu_seconds();
        let began = Instant::now();
        let load = Load { clients: EXPORTERS, warm_up: self.warm_up, length: self.length };
        let measured = stand.drive(&load, |number| Exporting::new(number, u64::MAX))?;
        let after = stand.cpu_seconds();
        let spans = measured.per_second() * SPANS as f64;
        let mut figure = Figure::new(format!("{EXPORTERS} exporters, spans"), spans, "/s")
            .target(Target::AtLeast(50_000.0));
        let settled = self.settled(&stand, began)?;
        if let Some(url) = stand.url() {
            progress("PostgreSQL: COPY of the same rows");
            let copied = copy::rows_per_second(&url)?;
            figure = figure
                .limit("rows /s by COPY of the same rows", copied)
                .target(Target::AtLeast((copied / 2.0).max(50_000.0)));
        }
        table.add(figure);
        table.add(Figure::new("  an export, p50", millis(&measured.all, 0.5), "ms"));
        table.add(Figure::new("  an export, p99", millis(&measured.all, 0.99), "ms"));
        table.add(Figure::new("  bytes of a span", Exporting::new(0, 1).bytes_per_span(), ""));
        table.add(Figure::new(
            "  settled, from the first export until the last step is learnt, spans",
            settled,
            "/s",
        ));
        let all = measured.answers as f64 * SPANS as f64;
        for (name, seconds) in [
            ("service", after.service - before.service),
            ("PostgreSQL", after.database - before.database),
            ("client", after.client - before.client),
        ] {
            if seconds > 0.0 {
                table.add(Figure::new(format!("  processor, {name}"), seconds * 1e6 / all, "µs/span"));
            }
        }
        let memory = process::memory(stand.service()?.id())?;
        table.add(Figure::new("  resident memory, peak", memory.peak, "MB"));
        let failed = measured.failed();
        table.add(Figure::new("  unexpected answers", failed as f64, "").target(Target::AtMost(0.0)));
        for (how, times) in &measured.failures {
            table.add(Figure::new(format!("    {how}"), *times as f64, ""));
        }
        table.add(
            Figure::new("  traces looked for right after their answer, not found", looked as f64, "")
                .target(Target::AtMost(0.0)),
        );
        Ok(())
    }

    /// Waits until every step has entered its history; returns the spans per second since the load began.
    fn settled(&self, stand: &Stand, began: Instant) -> Result<f64> {
        let end = Instant::now() + (self.length + self.warm_up) * SETTLING + Duration::from_secs(10);
        let (mut learnt, mut since) = (0, Instant::now());
        loop {
            interrupt::check()?;
            sleep(Duration::from_millis(200));
            let now = learnt_steps(stand)?;
            if now > learnt {
                (learnt, since) = (now, Instant::now());
            }
            // Whatever was to be settled is looked at every second, and settled two seconds after its end.
            if since.elapsed() > Duration::from_secs(5) {
                break;
            }
            ensure!(Instant::now() < end, "the traces are not settled in time");
        }
        let spans = learnt as f64 * SPANS_PER_TRACE as f64 / (SPANS_PER_TRACE - 1) as f64;
        Ok(spans / since.duration_since(began).as_secs_f64())
    }
}

/// Sends exports one after the other, and after each looks for its traces; returns how many were not found.
fn looked_for(stand: &mut Stand) -> Result<usize> {
    let mut missing = 0;
    for number in 0..LOOKS {
        let exporter = 1_000 + number;
        let sent = Exporting::new(exporter, 1);
        let trace = sent.first_trace();
        let load = Load { clients: 1, warm_up: Duration::ZERO, length: Duration::from_secs(10) };
        let mut sent = Some(sent);
        let measured = stand.drive(&load, |_| sent.take().unwrap_or_else(|| Exporting::new(exporter, 0)))?;
        ensure!(measured.failed() == 0 && measured.all.len() == 1, "an export was refused");
        let address = stand.service()?.address();
        let (shown, _) = fetch(address, &format!("/workflows/wf_{trace}"))?;
        let (_, listed) =
            fetch(address, &format!("/workflows?attribute=bench.exporter:{exporter}&limit=100"))?;
        let listed: Value = serde_json::from_slice(&listed)?;
        let found = listed["workflows"].as_array().map_or(0, Vec::len);
        missing += usize::from(shown != 200 || found != SPANS / SPANS_PER_TRACE);
    }
    Ok(missing)
}

/// Returns how many ends of steps the histories know.
fn learnt_steps(stand: &Stand) -> Result<u64> {
    let mut all = 0;
    for number in 0..WORKFLOWS {
        let (status, body) = fetch(stand.service()?.address(), &format!("/stats/otlp-{number}"))?;
        if status == 404 {
            continue;
        }
        let stats: Value = serde_json::from_slice(&body)?;
        let steps = stats["steps"].as_array().context("statistics without steps")?;
        all += steps.iter().filter_map(|step| step["execution_count"].as_u64()).sum::<u64>();
    }
    Ok(all)
}
