//! `live`: what a thousand listeners cost those who write, and whether each of them hears everything.
//!
//! Writers complete steps at a steady rate, without anybody listening and then with a thousand listeners to a workflow
//! each, ten to all of them and ten that stop reading. The steps of a workflow are counted in their attempt, by which
//! every listener sees that it heard of each once and in order, or else was told to resync.
//! Not here: writing (`writers`), listening (`listeners`).

mod listeners;
mod writers;

use std::time::Duration;

use anyhow::Result;
use hdrhistogram::Histogram;

use self::listeners::{Heard, Listeners};
use self::writers::Writers;
use crate::load::{histogram, millis};
use crate::progress;
use crate::stand::{Place, Stand, Store};
use crate::table::{Figure, Table, Target};
use xtask_machine::process;

/// Workflows that run at once.
const WORKFLOWS: usize = 100;
/// Listeners to one workflow each.
const LISTENERS: usize = 1_000;
/// Listeners to everything.
const TO_ALL: usize = 10;
/// Listeners that read nothing after the head of the answer.
const STALLED: usize = 10;
/// Steps that complete in a second, each started before.
const RATE: f64 = 2_000.0;
/// Rounds without and with listeners, in turns.
const ROUNDS: usize = 3;

/// What to measure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Live<'a> {
    /// The service's binary, and where data lives.
    pub(crate) place: &'a Place,
    /// How long each round is.
    pub(crate) length: Duration,
}

/// What writers saw, without and with listeners.
struct Seen {
    took: Histogram<u64>,
    rate: f64,
    service_cpu: f64,
}

impl Live<'_> {
    /// Measures on one store.
    ///
    /// # Errors
    /// When something does not start, or the run is interrupted.
    pub(crate) fn run(&self, store: Store, table: &mut Table) -> Result<()> {
        let stand = Stand::serving(self.place, store)?;
        let mut writers = Writers::new(stand.service()?.address(), WORKFLOWS)?;
        progress(&format!("{}: warming up", store.name()));
        writers.run(RATE, self.length / 2)?;
        let (mut alone, mut heard_of, mut heard) = (Vec::new(), Vec::new(), Heard::default());
        let (mut before, mut with) = (0.0, 0.0_f64);
        for round in 1..=ROUNDS {
            progress(&format!("{}: round {round} of {ROUNDS}, nobody listens", store.name()));
            alone.push(self.write(&stand, &mut writers)?);
            before = process::memory(stand.service()?.id())?.now;
            progress(&format!("{}: round {round} of {ROUNDS}, {LISTENERS} listeners", store.name()));
            let listening =
                Listeners::start(stand.service()?.address(), WORKFLOWS, LISTENERS, TO_ALL, STALLED)?;
            heard_of.push(self.write(&stand, &mut writers)?);
            heard.add(&listening.finish(&writers.last())?);
            with = with.max(process::memory(stand.service()?.id())?.now);
        }
        table.section(format!("live, {LISTENERS} listeners, {RATE} steps/s, {}", store.name()));
        report(&alone, &heard_of, &heard, table)?;
        table.add(
            Figure::new("resident memory of the service, with listeners", with, "MB")
                .limit("just before", before)
                .target(Target::AtMost(150.0)),
        );
        Ok(())
    }

    fn write(&self, stand: &Stand, writers: &mut Writers) -> Result<Seen> {
        let before = stand.cpu_seconds().service;
        let (took, rate) = writers.run(RATE, self.length)?;
        let service_cpu = (stand.cpu_seconds().service - before) / self.length.as_secs_f64();
        Ok(Seen { took, rate, service_cpu })
    }
}

fn report(alone: &[Seen], with: &[Seen], heard: &Heard, table: &mut Table) -> Result<()> {
    let together = |rounds: &[Seen]| {
        let mut all = histogram()?;
        rounds.iter().try_for_each(|round| all.add(&round.took))?;
        anyhow::Ok(all)
    };
    let mean = |rounds: &[Seen], of: fn(&Seen) -> f64| {
        rounds.iter().map(of).sum::<f64>() / rounds.len().max(1) as f64
    };
    let (quiet, loud) = (together(alone)?, together(with)?);
    for (name, quantile) in [("p50", 0.5), ("p99", 0.99)] {
        let figure = Figure::new(
            format!("start or complete a step, {name}, with listeners"),
            millis(&loud, quantile),
            "ms",
        );
        table.add(figure.limit("without", millis(&quiet, quantile)));
    }
    let spread = |rounds: &[Seen]| {
        let each: Vec<String> =
            rounds.iter().map(|round| format!("{:.1}", millis(&round.took, 0.99))).collect();
        each.join(", ")
    };
    progress(&format!("p99 of each round, ms: without {}; with {}", spread(alone), spread(with)));
    table.add(
        Figure::new("steps completed per second, with listeners", mean(with, |seen| seen.rate), "/s")
            .limit("without", mean(alone, |seen| seen.rate))
            .target(Target::AtLeast(RATE * 0.95)),
    );
    table.add(
        Figure::new(
            "processor of the service, with listeners",
            mean(with, |seen| seen.service_cpu) * 100.0,
            "% of a core",
        )
        .limit("without", mean(alone, |seen| seen.service_cpu) * 100.0),
    );
    table.add(Figure::new("events heard", heard.events as f64, ""));
    table.add(
        Figure::new("  missing, repeated or out of order, without a resync", heard.wrong as f64, "")
            .target(Target::AtMost(0.0)),
    );
    table.add(
        Figure::new("  listeners that never heard the last step", heard.behind as f64, "")
            .target(Target::AtMost(0.0)),
    );
    table.add(Figure::new("  resyncs", heard.resyncs as f64, ""));
    Ok(())
}
