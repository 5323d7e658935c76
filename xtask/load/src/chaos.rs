//! `cargo xtask chaos`: what holds while everything else does not.
//!
//! Two replicas over a PostgreSQL of their own, driven by the mix of `load`. At random moments a replica is killed,
//! stopped or frozen, the database crashes or stops, and the network to those who are told of incidents is cut. When
//! all is well again it is checked that every write that was acknowledged is there once, that what was learned from
//! them was learned once, and that every incident was told.

mod network;
mod outside;
mod stand;
mod trouble;
mod verify;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::client::Client;
use crate::ledger::Ledger;
use crate::load::{Mix, say};

/// How long a request is tried for: longer than anything is away.
const PATIENCE: Duration = Duration::from_secs(120);

/// What is run, and for how long.
#[derive(Clone, Debug, Args)]
pub(crate) struct Chaos {
    /// How long the trouble lasts, in minutes.
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// Replicas of the service.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=8))]
    replicas: u8,
    #[command(flatten)]
    mix: Mix,
    /// The service's binary; a release build, made if need be, if it is left out.
    #[arg(long)]
    tracer: Option<PathBuf>,
    /// Where the files of the run are made, and removed again.
    #[arg(long)]
    folder: Option<PathBuf>,
    /// Keeps the logs of the replicas in this file.
    #[arg(long)]
    log: Option<PathBuf>,
}

/// Runs it all.
///
/// # Errors
/// If something cannot be started, or something that was acknowledged is not there as it should be.
pub(crate) async fn run(chaos: &Chaos) -> Result<()> {
    let mix = Mix { seed: Some(chaos.mix.seed()), ..chaos.mix };
    mix.check()?;
    ensure!((0.01..=24.0 * 60.0).contains(&chaos.minutes), "--minutes must lie between 0.01 and 1440");
    let length = Duration::from_secs_f64(chaos.minutes * 60.0);
    let tracer = match &chaos.tracer {
        Some(tracer) => tracer.canonicalize().with_context(|| format!("there is no {}", tracer.display()))?,
        None => tokio::task::spawn_blocking(xtask_machine::service::build).await??,
    };
    let people = Arc::new(outside::Outside::start().await?);
    let network = network::Network::to(people.address()).await?;
    let place = stand::Place {
        tracer,
        folder: chaos.folder.clone().unwrap_or_else(std::env::temp_dir),
        log: chaos.log.clone(),
        channels: network.address(),
    };
    let replicas = usize::from(chaos.replicas);
    let mut keeper = trouble::Keeper::start(place, replicas, mix.seed(), length).await?;
    say(&format!(
        "{replicas} replicas over PostgreSQL, {} executions per second, {} minutes, seed {}",
        mix.rate,
        chaos.minutes,
        mix.seed()
    ));
    let client = Client::new(&keeper.urls, None, PATIENCE)?;
    let ledger = Arc::new(Ledger::kept());
    let lines = tokio::spawn(trouble::break_lines(network, mix.seed(), length));
    mix.drive(&client, &ledger, Some(length)).await?;
    let mut caused = keeper.caused().await?;
    // Whoever drops the network cuts it.
    let (network, cuts) = lines.await?;
    caused.extend(cuts);
    say(&format!("trouble: {caused}"));
    say(&client.tally.line());
    say(client.tally.report().trim_end());
    let checks =
        verify::Verify { client: &client, people: &people, recorded: ledger.take(), caused: caused.all() };
    let verified = checks.run().await;
    keeper.end().await?;
    drop(network);
    verified
}
