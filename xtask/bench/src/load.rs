//! The load generator: many keep-alive connections in a closed loop, on one thread.
//!
//! It shares the machine with what it measures, so it is as light as can be: readiness by epoll,
//! requests written by hand into buffers that are kept, answers read only as far as their status,
//! their length and what the script looks for.
//!
//! Invariant: a connection asks again only when its last request was answered.
//! Not here: what is asked (`script`), and how a connection reads and writes (`connection`).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use mio::{Events, Interest, Poll, Token};

use crate::connection::{Connection, Progress};
use crate::script::Script;
use xtask_machine::interrupt;

/// How often the loop looks at the clock and for signals when nothing happens.
const TICK: Duration = Duration::from_millis(100);

/// A request that took longer by the end counts as one without an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// How hard to drive, and how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// Connections.
    pub(crate) clients: usize,
    /// What is asked before anything counts.
    pub(crate) warm_up: Duration,
    /// What counts. A script that ends earlier ends the run.
    pub(crate) length: Duration,
}

/// What came of a run.
#[derive(Debug)]
pub(crate) struct Measured {
    /// What was asked, each with how long its expected answers took, in nanoseconds.
    pub(crate) operations: Vec<(&'static str, Histogram<u64>)>,
    /// All expected answers together, in nanoseconds.
    pub(crate) all: Histogram<u64>,
    /// What else came, such as `PUT step 503`, and how often; also during warm-up.
    pub(crate) failures: BTreeMap<String, u64>,
    /// How long counting lasted.
    pub(crate) took: Duration,
    /// How long the request that had waited longest by the end had waited.
    pub(crate) waited: Duration,
    /// Answers of every kind, those of the warm-up too.
    pub(crate) answers: u64,
}

impl Measured {
    /// Returns the expected answers per second.
    pub(crate) fn per_second(&self) -> f64 {
        self.all.len() as f64 / self.took.as_secs_f64().max(f64::EPSILON)
    }

    /// Returns how often anything but the expected answer came.
    pub(crate) fn failed(&self) -> u64 {
        self.failures.values().sum()
    }

    /// Returns how long an operation's answers took.
    pub(crate) fn of(&self, operation: &str) -> Option<&Histogram<u64>> {
        self.operations.iter().find(|(name, _)| *name == operation).map(|(_, histogram)| histogram)
    }
}

/// Returns a quantile in milliseconds; `quantile` lies between 0 and 1.
pub(crate) fn millis(histogram: &Histogram<u64>, quantile: f64) -> f64 {
    histogram.value_at_quantile(quantile) as f64 / 1e6
}

/// Returns the middle of some values, 0 of none.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// Returns an empty histogram of nanoseconds, up to a minute, exact to 0.1 %.
///
/// # Errors
/// Never with these bounds.
pub(crate) fn histogram() -> Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1_000, 60_000_000_000, 3)?)
}

/// Drives a service with one script per client.
///
/// # Errors
/// When the service cannot be reached at the start, or the run is interrupted.
pub(crate) fn drive<S: Script>(
    address: SocketAddr,
    load: &Load,
    make: impl FnMut(usize) -> S,
) -> Result<Measured> {
    let mut run = Run::begin(address, load, make)?;
    let mut events = Events::with_capacity(1_024);
    while run.open > 0 {
        interrupt::check()?;
        match run.poll.poll(&mut events, Some(TICK)) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            polled => polled.context("waiting for answers failed")?,
        }
        if Instant::now() >= run.end {
            break;
        }
        for event in &events {
            run.advance(event.token())?;
        }
    }
    run.finish()
}

struct Run<S> {
    poll: Poll,
    address: SocketAddr,
    connections: Vec<Connection<S>>,
    open: usize,
    counted_from: Instant,
    end: Instant,
    histograms: Vec<Histogram<u64>>,
    failures: BTreeMap<String, u64>,
    answers: u64,
}

impl<S: Script> Run<S> {
    fn begin(address: SocketAddr, load: &Load, mut make: impl FnMut(usize) -> S) -> Result<Self> {
        let poll = Poll::new().context("no epoll")?;
        let mut connections = Vec::with_capacity(load.clients);
        for number in 0..load.clients {
            let mut connection = Connection::open(address, make(number))?;
            poll.registry().register(
                connection.socket(),
                Token(number),
                Interest::READABLE | Interest::WRITABLE,
            )?;
            connections.push(connection);
        }
        let began = Instant::now();
        let counted_from = began + load.warm_up;
        let mut run = Self {
            poll,
            address,
            open: connections.len(),
            connections,
            counted_from,
            end: counted_from + load.length,
            histograms: S::OPERATIONS.iter().map(|_| histogram()).collect::<Result<_>>()?,
            failures: BTreeMap::new(),
            answers: 0,
        };
        for number in 0..run.connections.len() {
            run.ask(number)?;
        }
        Ok(run)
    }

    fn advance(&mut self, Token(number): Token) -> Result<()> {
        loop {
            let Some(connection) = self.connections.get_mut(number) else { return Ok(()) };
            match connection.advance() {
                Progress::Waiting => return Ok(()),
                Progress::Lost(reason) => {
                    self.count_failure(number, reason);
                    self.reconnect(number)?;
                }
                Progress::Answered { status, took, expected } => {
                    self.answers += 1;
                    if !expected {
                        self.count_failure(number, &status.to_string());
                    } else if Instant::now() >= self.counted_from {
                        let operation = connection.operation();
                        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
                        if let Some(histogram) = self.histograms.get_mut(operation) {
                            histogram.saturating_record(nanos);
                        }
                    }
                    self.ask(number)?;
                }
            }
        }
    }

    /// Sends the next request of a connection, or counts it as done.
    fn ask(&mut self, number: usize) -> Result<()> {
        let Some(connection) = self.connections.get_mut(number) else { return Ok(()) };
        if !connection.ask() {
            self.open = self.open.saturating_sub(1);
        }
        Ok(())
    }

    fn reconnect(&mut self, number: usize) -> Result<()> {
        let Some(connection) = self.connections.get_mut(number) else { return Ok(()) };
        let registry = self.poll.registry();
        registry.deregister(connection.socket())?;
        connection.reopen(self.address)?;
        registry.register(connection.socket(), Token(number), Interest::READABLE | Interest::WRITABLE)?;
        self.ask(number)
    }

    fn count_failure(&mut self, number: usize, how: &str) {
        let operation = self.connections.get(number).map(Connection::operation).unwrap_or_default();
        let name = S::OPERATIONS.get(operation).copied().unwrap_or_default();
        *self.failures.entry(format!("{name} {how}")).or_default() += 1;
    }

    fn finish(mut self) -> Result<Measured> {
        let now = Instant::now();
        for number in 0..self.connections.len() {
            if self.connections.get(number).is_some_and(|connection| connection.waits_for() > PATIENCE) {
                self.count_failure(number, "without an answer");
            }
        }
        let waited = self.connections.iter().map(Connection::waits_for).max().unwrap_or_default();
        let mut all = histogram()?;
        for histogram in &self.histograms {
            all.add(histogram)?;
        }
        Ok(Measured {
            operations: S::OPERATIONS.iter().copied().zip(self.histograms).collect(),
            all,
            failures: self.failures,
            took: now.saturating_duration_since(self.counted_from),
            waited,
            answers: self.answers,
        })
    }
}
