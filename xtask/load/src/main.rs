//! Drives the service as its users would (`load`), and takes away what it stands on while it does (`chaos`).
//!
//! A program of its own, so that it can be put beside the service in a container.

mod chaos;
mod client;
mod drive;
mod ledger;
mod load;
mod mix;
mod otlp;
mod tally;

use clap::{Parser, Subcommand};

/// Drives the service as its users would.
#[derive(Debug, Parser)]
#[command(name = "xtask-load")]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Runs a realistic mix of workflows against running services, at a set rate.
    Load(load::Load),
    /// Runs two replicas over a PostgreSQL of their own, kills them, the database and the network to Slack at random
    /// moments under load, and then checks that nothing that was acknowledged is lost or counted twice.
    Chaos(chaos::Chaos),
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    xtask_machine::interrupt::listen()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match arguments.what {
        What::Load(load) => runtime.block_on(load::run(&load)),
        What::Chaos(chaos) => runtime.block_on(chaos::run(&chaos)),
    }
}
