//! Measures the service beside the limits of the machine it runs on.
//!
//! `cargo xtask bench` builds and starts this. It starts everything it measures itself, drives it from
//! this process, and removes all of it at the end.

mod cluster;
mod connection;
mod contract;
mod interrupt;
mod limits;
mod load;
mod memory;
mod process;
mod rest;
mod script;
mod service;
mod stand;
mod start;
mod table;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};

use crate::memory::Memory;
use crate::rest::Rest;
use crate::stand::{Place, Store};
use crate::table::Table;

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// Requests of the original contract, by one client and by many
    Rest,
    /// Resident memory under load, and with 100,000 workflow names
    Memory,
    /// How long the service takes from its start until it is ready
    Start,
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
    /// Seconds that count in each run
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Seconds before, which do not
    #[arg(long, default_value_t = 3.0)]
    warm_up: f64,
    /// Distinct workflow names sent
    #[arg(long, default_value_t = 100_000)]
    names: usize,
    /// A release build of the service, instead of building one
    #[arg(long, value_name = "FILE")]
    tracer: Option<PathBuf>,
    /// Settings of the service beside the shipped ones
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
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
    };
    let stores = arguments.store.map_or_else(|| vec![Store::Embedded, Store::Postgres], |store| vec![store]);
    let mut table = Table::default();
    let rest = Rest {
        place: &place,
        clients: &arguments.clients,
        length: Duration::try_from_secs_f64(arguments.seconds)?,
        warm_up: Duration::try_from_secs_f64(arguments.warm_up)?,
    };
    for store in stores {
        match arguments.what {
            What::Rest => rest.run(store, &mut table)?,
            What::Memory => Memory { rest, names: arguments.names }.run(store, &mut table)?,
            What::Start => start::run(&place, store, &mut table)?,
        }
    }
    println!("{}\n", table.text());
    if let Some(file) = &arguments.json {
        table.write_json(file)?;
    }
    let missed = table.missed();
    match missed.as_slice() {
        [] => println!("every target met"),
        missed => println!("missed:\n  {}", missed.join("\n  ")),
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
