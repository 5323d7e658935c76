//! What goes wrong, at random moments, one after the other; the network fails beside all of it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::oneshot;
use xtask_machine::interrupt;

use super::network::{Line, Network};
use super::stand::{Place, Stand};
use crate::load::say;

/// Longer than a replica keeps the channels that it sends to.
const FROZEN: Duration = Duration::from_secs(13);
/// Quiet between two troubles, at least and at most, in seconds.
const QUIET: (f64, f64) = (1.0, 12.0);
/// How long something is away, at least and at most, in seconds.
const AWAY: (f64, f64) = (0.2, 6.0);

/// How often what was caused.
#[derive(Clone, Debug, Default)]
pub(crate) struct Caused(BTreeMap<&'static str, u64>);

impl Caused {
    fn note(&mut self, what: &'static str) {
        *self.0.entry(what).or_default() += 1;
    }

    /// Adds what was caused elsewhere.
    pub(crate) fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Returns how much there was in all.
    pub(crate) fn all(&self) -> u64 {
        self.0.values().sum()
    }
}

impl fmt::Display for Caused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told: Vec<String> = self.0.iter().map(|(what, count)| format!("{count} × {what}")).collect();
        f.write_str(&told.join(", "))
    }
}

/// The thread that has the stand: the kernel ends what a thread has started when that thread ends.
#[derive(Debug)]
pub(crate) struct Keeper {
    /// Where the replicas listen.
    pub(crate) urls: Vec<String>,
    caused: oneshot::Receiver<Result<Caused>>,
    done: mpsc::Sender<()>,
    thread: thread::JoinHandle<()>,
}

impl Keeper {
    /// Starts a stand, and then breaks it for so long.
    ///
    /// # Errors
    /// If something does not start.
    pub(crate) async fn start(place: Place, replicas: usize, seed: u64, length: Duration) -> Result<Self> {
        let (started, urls) = oneshot::channel();
        let (ended, caused) = oneshot::channel();
        let (done, is_done) = mpsc::channel();
        let thread = thread::spawn(move || {
            let stand = Stand::start(place, replicas);
            let told = stand.as_ref().map(Stand::urls).map_err(|error| anyhow!("{error:#}"));
            // Whoever no longer waits for it has given up, and then the stand goes.
            let waiting = started.send(told).is_ok();
            let Ok(mut stand) = stand else { return };
            let caused = break_machines(&mut stand, StdRng::seed_from_u64(seed), length);
            // Until the other end is dropped.
            if waiting && ended.send(caused).is_ok() && is_done.recv().is_err() {
                drop(stand);
            }
        });
        Ok(Self { urls: urls.await??, caused, done, thread })
    }

    /// Returns what was broken, once it is whole again.
    ///
    /// # Errors
    /// If something did not come back.
    pub(crate) async fn caused(&mut self) -> Result<Caused> {
        (&mut self.caused).await.context("the trouble ended early")?
    }

    /// Ends all that was started.
    ///
    /// # Errors
    /// If the thread has panicked.
    pub(crate) async fn end(self) -> Result<()> {
        drop(self.done);
        let ended = tokio::task::spawn_blocking(move || self.thread.join()).await?;
        ended.map_err(|_| anyhow!("the thread of the stand has panicked"))
    }
}

/// Breaks the network now and then for so long, and returns it whole.
pub(crate) async fn break_lines(network: Network, seed: u64, length: Duration) -> (Network, Caused) {
    let mut random = StdRng::seed_from_u64(seed ^ 1);
    let (began, mut caused) = (Instant::now(), Caused::default());
    loop {
        tokio::time::sleep(between(&mut random, (5.0, 30.0))).await;
        if began.elapsed() >= length || interrupt::check().is_err() {
            return (network, caused);
        }
        let (line, what) = if random.random() {
            (Line::Cut, "network to Slack cut")
        } else {
            (Line::Silent, "network to Slack silent")
        };
        caused.note(what);
        network.set(line);
        tokio::time::sleep(between(&mut random, (1.0, 15.0))).await;
        network.set(Line::Whole);
    }
}

fn break_machines(stand: &mut Stand, mut random: StdRng, length: Duration) -> Result<Caused> {
    let (began, mut caused) = (Instant::now(), Caused::default());
    loop {
        std::thread::sleep(between(&mut random, QUIET));
        if began.elapsed() >= length || interrupt::check().is_err() {
            return Ok(caused);
        }
        let replica = random.random_range(0..stand.replicas());
        let (away, at) = (between(&mut random, AWAY), Instant::now());
        let what = match random.random_range(0..10) {
            0..4 => {
                stand.kill_replica(replica);
                std::thread::sleep(away);
                stand.start_replica(replica)?;
                "replica killed"
            }
            4..6 => {
                stand.stop_replica(replica);
                std::thread::sleep(away);
                stand.start_replica(replica)?;
                "replica stopped"
            }
            6 => {
                freeze(stand, replica);
                "replica frozen"
            }
            7..9 => {
                stand.cluster.crash();
                std::thread::sleep(away);
                stand.cluster.restart()?;
                "database crashed"
            }
            _ => {
                stand.cluster.stop();
                std::thread::sleep(away);
                stand.cluster.restart()?;
                "database stopped"
            }
        };
        caused.note(what);
        let (since, lasted) = (at.duration_since(began).as_secs(), at.elapsed().as_secs_f64());
        say(&format!("{since:>5} s: {what}, back after {lasted:.1} s"));
    }
}

/// Stops a replica's clock for longer than its leases last.
fn freeze(stand: &Stand, replica: usize) {
    let process = stand.process(replica).and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    let Some(process) = process else { return };
    // One that has just ended is frozen enough.
    if kill_process(process, Signal::STOP).is_ok() {
        std::thread::sleep(FROZEN);
        if let Err(error) = kill_process(process, Signal::CONT) {
            say(&format!("a frozen replica cannot be woken: {error}"));
        }
    }
}

fn between(random: &mut StdRng, (least, most): (f64, f64)) -> Duration {
    Duration::from_secs_f64(random.random_range(least..most))
}
