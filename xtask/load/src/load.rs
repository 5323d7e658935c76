//! `cargo xtask load`: a realistic mix at a set rate.
//!
//! An open loop: runs begin when they begin, however slow the answers are, as users do (Poisson arrivals). Only where
//! more are under way than a client machine would bear, further ones are held back, and counted.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use clap::Args;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::Semaphore;
use xtask_machine::interrupt;

use crate::client::Client;
use crate::drive::drive;
use crate::ledger::Ledger;
use crate::mix::{self, Trouble};

/// Runs under way at once, at most.
const UNDER_WAY: usize = 5_000;
/// How long a request is tried for.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it is said that it goes on.
const TOLD_EVERY: Duration = Duration::from_secs(10);
/// How long the service is waited for at the start.
const AWAITED: Duration = Duration::from_secs(60);

/// What is run, and how much of it.
#[derive(Clone, Debug, Args)]
pub(crate) struct Load {
    /// Where the service listens; several for replicas.
    #[arg(long, default_value = "http://127.0.0.1:8000")]
    pub(crate) url: Vec<String>,
    /// A key with the scopes `ingest` and `read`, where the service wants one.
    #[arg(long, env = "TRACER_API_KEY", hide_env_values = true)]
    pub(crate) api_key: Option<String>,
    #[command(flatten)]
    pub(crate) mix: Mix,
    /// How long, in seconds; 0: until it is stopped.
    #[arg(long, default_value_t = 60)]
    pub(crate) seconds: u64,
}

/// What is run.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Mix {
    /// Executions that begin in a second, of about five steps each.
    #[arg(long, default_value_t = 5.0)]
    pub(crate) rate: f64,
    /// Workflows: 8 to 96.
    #[arg(long, default_value_t = 24)]
    pub(crate) workflows: usize,
    /// The share of steps that are 3.5 to 9 times as slow as usual.
    #[arg(long, default_value_t = 0.005)]
    pub(crate) slow: f64,
    /// A factor on the failures, which are 1 to 5 % of the executions.
    #[arg(long, default_value_t = 1.0)]
    pub(crate) failures: f64,
    /// Repeats the very same runs; any, if it is left out.
    #[arg(long)]
    pub(crate) seed: Option<u64>,
}

impl Mix {
    /// Checks that the numbers can be used.
    ///
    /// # Errors
    /// Which one cannot, and why.
    pub(crate) fn check(&self) -> Result<()> {
        ensure!(self.rate > 0.0 && self.rate <= 10_000.0, "--rate must be above 0 and at most 10000");
        ensure!((0.0..=1.0).contains(&self.slow), "--slow must lie between 0 and 1");
        ensure!((0.0..=20.0).contains(&self.failures), "--failures must lie between 0 and 20");
        Ok(())
    }

    /// Returns the seed that was asked for, or any.
    pub(crate) fn seed(&self) -> u64 {
        self.seed.unwrap_or_else(|| u64::from(rand::random::<u32>()))
    }

    /// Begins runs for so long, and returns when all of them have ended.
    ///
    /// # Errors
    /// That it was interrupted, after what was begun has ended.
    pub(crate) async fn drive(
        &self,
        client: &Client,
        ledger: &Arc<Ledger>,
        length: Option<Duration>,
    ) -> Result<()> {
        let mut random = StdRng::seed_from_u64(self.seed());
        let trouble = Trouble { slow: self.slow, failures: self.failures };
        let room = Arc::new(Semaphore::new(UNDER_WAY));
        let began = Instant::now();
        let mut due = began;
        let mut told = began;
        let interrupted = loop {
            if let Err(error) = interrupt::check() {
                break Err(error);
            }
            if length.is_some_and(|length| began.elapsed() >= length) {
                break Ok(());
            }
            if told.elapsed() >= TOLD_EVERY {
                told = Instant::now();
                let under_way = UNDER_WAY - room.available_permits();
                say(&format!(
                    "{:>5} s: {}, {under_way} under way",
                    began.elapsed().as_secs(),
                    client.tally.line()
                ));
            }
            let run = mix::next(&mut random, self.workflows, trouble);
            let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
                client.tally.count("held back");
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            };
            let (client, ledger) = (client.clone(), Arc::clone(ledger));
            tokio::spawn(async move {
                drive(&client, run, &ledger).await;
                drop(permit);
            });
            due += Duration::from_secs_f64(-random.random_range(f64::MIN_POSITIVE..1.0_f64).ln() / self.rate);
            // In short sleeps, so that an interruption and the end are noticed.
            while let Some(left) = due.checked_duration_since(Instant::now()) {
                tokio::time::sleep(left.min(Duration::from_millis(200))).await;
                if left > Duration::from_millis(200) && interrupt::check().is_err() {
                    break;
                }
            }
        };
        // What has begun goes on to its end.
        let all = u32::try_from(UNDER_WAY)?;
        if tokio::time::timeout(PATIENCE * 4, room.acquire_many(all)).await.is_err() {
            bail!("{} runs did not end", UNDER_WAY - room.available_permits());
        }
        interrupted
    }
}

/// Runs the mix and reports.
///
/// # Errors
/// If the service does not answer, or refused or failed to take something that it should take.
pub(crate) async fn run(load: &Load) -> Result<()> {
    let load = &Load { mix: Mix { seed: Some(load.mix.seed()), ..load.mix }, ..load.clone() };
    load.mix.check()?;
    let client = Client::new(&load.url, load.api_key.as_deref(), PATIENCE)?;
    await_service(load).await?;
    say(&format!(
        "{} executions per second of {} workflows against {}, seed {}",
        load.mix.rate,
        load.mix.workflows,
        load.url.join(" and "),
        load.mix.seed()
    ));
    let length = (load.seconds > 0).then(|| Duration::from_secs(load.seconds));
    let ended = load.mix.drive(&client, &Arc::new(Ledger::none()), length).await;
    say(&client.tally.line());
    say(client.tally.report().trim_end());
    // Whoever stops it wants it to stop.
    if ended.is_err() && length.is_some() {
        return ended;
    }
    let (refused, lost) = (client.tally.of("refused"), client.tally.of("given up"));
    ensure!(refused == 0 && lost == 0, "{refused} requests were refused, and {lost} never answered");
    Ok(())
}

async fn await_service(load: &Load) -> Result<()> {
    let http = reqwest::Client::builder().timeout(Duration::from_secs(5)).build()?;
    let began = Instant::now();
    for url in &load.url {
        let ready = format!("{}/health/ready", url.trim_end_matches('/'));
        loop {
            interrupt::check()?;
            match http.get(&ready).send().await {
                Ok(answer) if answer.status().is_success() => break,
                Ok(_) | Err(_) if began.elapsed() < AWAITED => {
                    tokio::time::sleep(Duration::from_millis(500)).await
                }
                Ok(answer) => bail!("{ready} answers {}", answer.status()),
                Err(error) => bail!("{ready} does not answer: {error}; start it with `cargo run --release`"),
            }
        }
    }
    Ok(())
}

/// Says that it goes on, or how it went.
#[expect(clippy::print_stderr, reason = "a long run shows that it goes on")]
pub(crate) fn say(line: &str) {
    eprintln!("{line}");
}
