//! Those who write: each runs some workflows, one step after the other, at a steady rate.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use hdrhistogram::Histogram;

use crate::load::histogram;
use crate::script::{find_id, with_body};
use xtask_machine::interrupt;

/// Writers, each with a connection.
const WRITERS: usize = 50;
/// Steps of an execution.
const STEPS: u64 = 50;
/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Those who write.
pub(super) struct Writers(Vec<Writer>);

struct Writer {
    socket: TcpStream,
    out: Vec<u8>,
    inbox: Vec<u8>,
    workflows: Vec<Workflow>,
}

/// A workflow of which one execution runs.
struct Workflow {
    number: usize,
    execution: Vec<u8>,
    step: Vec<u8>,
    /// Steps that have completed.
    done: u64,
}

impl Writers {
    /// Connects, for so many workflows.
    ///
    /// # Errors
    /// When nobody listens there.
    pub(super) fn new(address: SocketAddr, workflows: usize) -> Result<Self> {
        let writer = |number: usize| {
            let socket = TcpStream::connect(address).context("the service cannot be reached")?;
            socket.set_nodelay(true)?;
            socket.set_read_timeout(Some(PATIENCE))?;
            let own = (0..workflows).filter(|workflow| workflow % WRITERS == number);
            let workflow = |number| Workflow { number, execution: Vec::new(), step: Vec::new(), done: 0 };
            Ok(Writer {
                socket,
                out: Vec::new(),
                inbox: vec![0; 16 * 1024],
                workflows: own.map(workflow).collect(),
            })
        };
        Ok(Self((0..WRITERS).map(writer).collect::<Result<_>>()?))
    }

    /// Completes so many steps a second; returns how long requests took, and the rate that was reached.
    ///
    /// # Errors
    /// When an answer is not what was expected.
    pub(super) fn run(&mut self, rate: f64, length: Duration) -> Result<(Histogram<u64>, f64)> {
        let pause = Duration::from_secs_f64(WRITERS as f64 / rate);
        let (begun, done) = (Instant::now(), self.done());
        let mut all = histogram()?;
        std::thread::scope(|scope| {
            let running: Vec<_> = self
                .0
                .iter_mut()
                .enumerate()
                .map(|(number, writer)| {
                    // Not all in the same moment.
                    let first = begun + pause.mul_f64(number as f64 / WRITERS as f64);
                    scope.spawn(move || writer.run(first, pause, begun + length))
                })
                .collect();
            for writer in running {
                all.add(writer.join().map_err(|_| anyhow!("a writer panicked"))??)?;
            }
            anyhow::Ok(())
        })?;
        Ok((all, (self.done() - done) as f64 / begun.elapsed().as_secs_f64()))
    }

    /// Returns how many steps of each workflow have completed.
    pub(super) fn last(&self) -> Vec<u64> {
        let mut all: Vec<_> = self.0.iter().flat_map(|writer| &writer.workflows).collect();
        all.sort_by_key(|workflow| workflow.number);
        all.iter().map(|workflow| workflow.done).collect()
    }

    fn done(&self) -> u64 {
        self.last().iter().sum()
    }
}

impl Writer {
    fn run(&mut self, first: Instant, pause: Duration, end: Instant) -> Result<Histogram<u64>> {
        let mut took = histogram()?;
        let (mut next, mut turn) = (first, 0);
        while next < end {
            interrupt::check()?;
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
            let own = turn % self.workflows.len().max(1);
            self.step(own, &mut took)?;
            turn += 1;
            // Whoever is late does not make up for more than a second.
            next = (next + pause).max(Instant::now().checked_sub(Duration::from_secs(1)).unwrap_or(next));
        }
        Ok(took)
    }

    /// Starts and completes a step.
    fn step(&mut self, own: usize, took: &mut Histogram<u64>) -> Result<()> {
        let Self { socket, out, inbox, workflows } = self;
        let Some(workflow) = workflows.get_mut(own) else { return Ok(()) };
        if workflow.done.is_multiple_of(STEPS) {
            if !workflow.execution.is_empty() {
                ask(socket, out, inbox, "PUT", &[b"/workflows/", &workflow.execution], b"{}", 200)?;
            }
            let body = format!(r#"{{"workflow_name":"live-{}"}}"#, workflow.number);
            let answer = ask(socket, out, inbox, "POST", &[b"/workflows"], body.as_bytes(), 201)?;
            ensure!(
                find_id(answer, br#""workflow_id":""#, &mut workflow.execution),
                "an execution without an id"
            );
        }
        let begun = Instant::now();
        let body = format!(r#"{{"step_name":"work","attempt":{}}}"#, workflow.done + 1);
        let path: [&[u8]; 3] = [b"/workflows/", &workflow.execution, b"/steps"];
        let answer = ask(socket, out, inbox, "POST", &path, body.as_bytes(), 201)?;
        ensure!(find_id(answer, br#""step_id":""#, &mut workflow.step), "a step without an id");
        took.saturating_record(nanos(begun));
        let begun = Instant::now();
        let path: [&[u8]; 4] = [b"/workflows/", &workflow.execution, b"/steps/", &workflow.step];
        ask(socket, out, inbox, "PUT", &path, br#"{"duration_ms":5}"#, 200)?;
        took.saturating_record(nanos(begun));
        workflow.done += 1;
        Ok(())
    }
}

fn nanos(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// Asks, and returns the body of the answer.
fn ask<'a>(
    socket: &mut TcpStream,
    out: &mut Vec<u8>,
    inbox: &'a mut Vec<u8>,
    method: &str,
    path: &[&[u8]],
    body: &[u8],
    expected: u16,
) -> Result<&'a [u8]> {
    out.clear();
    with_body(out, method, path, body);
    socket.write_all(out)?;
    let mut filled = 0;
    loop {
        if filled == inbox.len() {
            inbox.resize(filled * 2, 0);
        }
        let read = socket.read(inbox.get_mut(filled..).unwrap_or_default())?;
        ensure!(read > 0, "the service closed a connection");
        filled += read;
        let mut headers = [httparse::EMPTY_HEADER; 32];
        let mut response = httparse::Response::new(&mut headers);
        let httparse::Status::Complete(head) = response.parse(inbox.get(..filled).unwrap_or_default())?
        else {
            continue;
        };
        let length =
            response.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
        let length: usize = std::str::from_utf8(length.context("no length")?.value)?.parse()?;
        if filled < head + length {
            continue;
        }
        let status = response.code.unwrap_or_default();
        if status != expected {
            bail!("{method} answers {status}");
        }
        return Ok(inbox.get(head..head + length).unwrap_or_default());
    }
}
