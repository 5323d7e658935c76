//! Measures the service beside the limits of the machine it runs on.
//!
//! `cargo xtask bench` builds and starts this. It starts everything it measures itself, drives it from
//! this process, and removes all of it at the end.

mod connection;
mod contract;
mod failures;
mod history;
mod limits;
mod live;
mod load;
mod memory;
mod otlp;
mod rest;
mod script;
mod stand;
mod start;
mod table;
mod watch;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};

use crate::failures::Failures;
use crate::history::History;
use crate::live::Live;
use crate::memory::Memory;
use crate::otlp::Otlp;
use crate::rest::Rest;
use crate::stand::{Place, Store};
use crate::table::Table;
use crate::watch::Watch;
use xtask_machine::{interrupt, service};

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// Requests of the original contract, by one client and by many
    Rest,
    /// Completing a step, statistics and listings with a long history
    History,
    /// Statistics alone, with a long history
    Stats,
    /// Spans that come by OTLP, until they are durable and until their traces are settled
    Otlp,
    /// Resident memory under load, and with 100,000 workflow names
    Memory,
    /// The watchdog's query, and the time to its verdicts, with a long history and many running steps
    Watch,
    /// What a thousand listeners of the live stream cost, and whether each hears everything
    Live,
    /// Finding failures that are alike among many, and whether all of them are found
    Failures,
    /// How long the service takes from its start until it is ready
    Start,
    /// All of these
    All,
}

/// Measures the service beside the limits of this machine, and prints one table
#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench", bin_name = "cargo xtask bench")]
struct Arguments {
    /// What to measure.
    #[arg(default_value = "rest")]
    what: What,
    /// Over this store only
    #[arg(long)]
    store: Option<Store>,
    /// Numbers of clients, one run each
    #[arg(long, value_delimiter = ',', default_value = "16,64")]
    clients: Vec<usize>,
    /// Distinct workflows that the clients of `rest` run in turns
    #[arg(long, default_value_t = contract::WORKFLOWS)]
    workflows: usize,
    /// Seconds that count in each run
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Seconds before, which do not
    #[arg(long, default_value_t = 3.0)]
    warm_up: f64,
    /// Steps in the long history
    #[arg(long, default_value_t = 1_000_000)]
    steps: u64,
    /// Failures stored, for `failures`
    #[arg(long, default_value_t = 1_000_000)]
    failures: u64,
    /// Running steps beside it, for `watch`
    #[arg(long, default_value_t = 100_000)]
    running: u64,
    /// Steps in the short one
    #[arg(long, default_value_t = 1_000)]
    few: u64,
    /// Interleaved pairs that compare the two
    #[arg(long, default_value_t = 5)]
    pairs: usize,
    /// Distinct workflow names sent
    #[arg(long, default_value_t = 100_000)]
    names: usize,
    /// A release build of the service, instead of building one
    #[arg(long, value_name = "FILE")]
    tracer: Option<PathBuf>,
    /// Settings of the service beside the shipped ones
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
    /// Appends the service's log to this file, instead of dropping it
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Where data lives meanwhile: the disk that is measured [default: the folder for temporary files]
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
    /// Writes the table as JSON too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn main() -> Result<()> {
    let mut words = std::env::args().skip(1);
    if words.next().as_deref() == Some(limits::http::CONSTANT) {
        let port = words.next().context("the server of constants needs a port")?;
        return limits::http::serve(port.parse()?);
    }
    interrupt::listen()?;
    bench(&Arguments::parse())
}

#[expect(clippy::print_stdout, reason = "the table is what the command is for")]
fn bench(arguments: &Arguments) -> Result<()> {
    let place = Place {
        tracer: binary(arguments)?,
        folder: arguments.folder.clone().unwrap_or_else(std::env::temp_dir),
        settings: arguments.settings.clone(),
        log: arguments.log.as_deref().map(std::path::absolute).transpose()?,
    };
    let mut table = Table::default();
    let measured = measure(arguments, &place, &mut table);
    // What was measured before something failed took its time too.
    println!("{}\n", table.text());
    if let Some(file) = &arguments.json {
        table.write_json(file)?;
    }
    measured?;
    match table.missed().as_slice() {
        [] => println!("every target met"),
        missed => println!("missed:\n  {}", missed.join("\n  ")),
    }
    Ok(())
}

fn measure(arguments: &Arguments, place: &Place, table: &mut Table) -> Result<()> {
    let rest = Rest {
        place,
        clients: &arguments.clients,
        workflows: arguments.workflows,
        length: Duration::try_from_secs_f64(arguments.seconds)?,
        warm_up: Duration::try_from_secs_f64(arguments.warm_up)?,
    };
    let otlp = Otlp { place, length: rest.length, warm_up: rest.warm_up };
    let memory = Memory { rest, names: arguments.names };
    let history = History {
        place,
        few: arguments.few,
        many: arguments.steps,
        pairs: arguments.pairs,
        stats_only: false,
    };
    let watch = Watch {
        place,
        steps: arguments.steps,
        running: arguments.running,
        few: arguments.few,
        length: rest.length,
    };
    let live = Live { place, length: rest.length };
    let failures = Failures { place, failures: arguments.failures };
    for store in arguments.store.map_or_else(|| vec![Store::Embedded, Store::Postgres], |store| vec![store]) {
        match arguments.what {
            What::Rest => rest.run(store, table)?,
            What::History => history.run(store, table)?,
            What::Stats => History { stats_only: true, ..history }.run(store, table)?,
            What::Memory => memory.run(store, table)?,
            What::Otlp => otlp.run(store, table)?,
            What::Watch => watch.run(store, table)?,
            What::Live => live.run(store, table)?,
            What::Failures => failures.run(store, table)?,
            What::Start => start::run(place, store, table)?,
            What::All => {
                rest.run(store, table)?;
                otlp.run(store, table)?;
                start::run(place, store, table)?;
                memory.run(store, table)?;
                history.run(store, table)?;
                watch.run(store, table)?;
                live.run(store, table)?;
                failures.run(store, table)?;
            }
        }
    }
    Ok(())
}

fn binary(arguments: &Arguments) -> Result<PathBuf> {
    match &arguments.tracer {
        Some(file) => file.canonicalize().with_context(|| format!("{} is not there", file.display())),
        None => service::build(),
    }
}

/// Says what goes on, for whoever waits.
#[expect(clippy::print_stderr, reason = "long work shows that it goes on")]
fn progress(what: &str) {
    eprintln!("{what}");
}
