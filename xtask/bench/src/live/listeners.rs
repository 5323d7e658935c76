//! Those who listen: on one thread, each checks what it hears.
//!
//! The steps of a workflow are counted in their attempt: of each workflow that a listener hears of, every completed
//! step must have the number after that of the one before, unless a resync came in between.

use std::collections::HashMap;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

/// How often the thread looks whether it is to end.
const TICK: Duration = Duration::from_millis(50);
/// How long the last steps may take to be heard of.
const PATIENCE: Duration = Duration::from_secs(10);

/// Those who listen.
pub(super) struct Listeners {
    thread: JoinHandle<Result<Vec<Ear>>>,
    expected: Arc<std::sync::Mutex<Option<Vec<u64>>>>,
    is_over: Arc<AtomicBool>,
}

/// What was heard.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Heard {
    /// Completed steps, each as often as it was heard of.
    pub(super) events: u64,
    /// Those that did not follow the one before.
    pub(super) wrong: u64,
    /// Times that a listener was told to resync.
    pub(super) resyncs: u64,
    /// Listeners that did not hear of the last step of a workflow.
    pub(super) behind: u64,
}

impl Heard {
    /// Adds what was heard in another round.
    pub(super) fn add(&mut self, other: &Self) {
        self.events += other.events;
        self.wrong += other.wrong;
        self.resyncs += other.resyncs;
        self.behind += other.behind;
    }
}

/// One who listens.
struct Ear {
    socket: TcpStream,
    /// Its only workflow; none: all.
    workflow: Option<usize>,
    inbox: Vec<u8>,
    /// The last step of each workflow.
    last: HashMap<usize, u64>,
    heard: Heard,
}

impl Listeners {
    /// Connects all of them, and returns once each has been answered.
    ///
    /// # Errors
    /// When one is refused.
    pub(super) fn start(
        address: SocketAddr,
        workflows: usize,
        listeners: usize,
        to_all: usize,
        stalled: usize,
    ) -> Result<Self> {
        let mut ears = Vec::new();
        for number in 0..listeners {
            let workflow = number % workflows;
            let path = format!("/stream?workflow_name=live-{workflow}&kind=step_complete,workflow_end");
            ears.push(Ear::connect(address, &path, Some(workflow))?);
        }
        for _ in 0..to_all {
            ears.push(Ear::connect(address, "/stream", None)?);
        }
        let deaf: Vec<Ear> =
            (0..stalled).map(|_| Ear::connect(address, "/stream", None)).collect::<Result<_>>()?;
        let (expected, is_over) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let (told, over) = (Arc::clone(&expected), Arc::clone(&is_over));
        let thread = std::thread::spawn(move || {
            let ears = listen(ears, &told, &over);
            drop(deaf);
            ears
        });
        Ok(Self { thread, expected, is_over })
    }

    /// Waits until each has heard of the last step of each of its workflows, and returns what they heard.
    ///
    /// # Errors
    /// When a connection was lost.
    pub(super) fn finish(self, last: &[u64]) -> Result<Heard> {
        *self.expected.lock().map_err(|_| anyhow!("a listener panicked"))? = Some(last.to_vec());
        let begun = Instant::now();
        while !self.thread.is_finished() && begun.elapsed() < PATIENCE {
            std::thread::sleep(TICK);
        }
        self.is_over.store(true, Ordering::Relaxed);
        let ears = self.thread.join().map_err(|_| anyhow!("a listener panicked"))??;
        let mut all = Heard::default();
        for ear in &ears {
            all.add(&ear.heard);
            all.behind += u64::from(!ear.has_heard(last));
        }
        Ok(all)
    }
}

fn listen(
    mut ears: Vec<Ear>,
    expected: &std::sync::Mutex<Option<Vec<u64>>>,
    is_over: &AtomicBool,
) -> Result<Vec<Ear>> {
    let mut poll = Poll::new().context("no epoll")?;
    for (number, ear) in ears.iter_mut().enumerate() {
        poll.registry().register(&mut ear.socket, Token(number), Interest::READABLE)?;
    }
    let mut events = Events::with_capacity(2_048);
    let mut bytes = vec![0; 64 * 1024];
    while !is_over.load(Ordering::Relaxed) {
        match poll.poll(&mut events, Some(TICK)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            polled => polled.context("waiting for events failed")?,
        }
        for event in &events {
            if let Some(ear) = ears.get_mut(event.token().0) {
                ear.read(&mut bytes)?;
            }
        }
        let expected = expected.lock().map_err(|_| anyhow!("the run has failed"))?.clone();
        if expected.is_some_and(|last| ears.iter().all(|ear| ear.has_heard(&last))) {
            break;
        }
    }
    Ok(ears)
}

impl Ear {
    fn connect(address: SocketAddr, path: &str, workflow: Option<usize>) -> Result<Self> {
        let mut socket = std::net::TcpStream::connect(address).context("the service cannot be reached")?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.write_all(format!("GET {path} HTTP/1.1\r\nhost: bench\r\n\r\n").as_bytes())?;
        let mut head = vec![0; 1_024];
        let read = socket.read(&mut head)?;
        ensure!(head.starts_with(b"HTTP/1.1 200"), "a listener was refused");
        head.truncate(read);
        socket.set_nonblocking(true)?;
        let (socket, last) = (TcpStream::from_std(socket), HashMap::new());
        Ok(Self { socket, workflow, inbox: head, last, heard: Heard::default() })
    }

    fn read(&mut self, bytes: &mut [u8]) -> Result<()> {
        loop {
            match self.socket.read(bytes) {
                Ok(0) => return Err(anyhow!("the service ended a stream")),
                Ok(read) => self.inbox.extend_from_slice(bytes.get(..read).unwrap_or_default()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("a stream was lost"),
            }
        }
        let inbox = std::mem::take(&mut self.inbox);
        let mut rest = inbox.as_slice();
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, after) = rest.split_at(end);
            self.take(line);
            rest = after.get(1..).unwrap_or_default();
        }
        self.inbox = rest.to_vec();
        Ok(())
    }

    /// Takes a line; what is neither a completed step nor a resync is passed over.
    fn take(&mut self, line: &[u8]) {
        let Some(json) = line.strip_prefix(b"data: ") else { return };
        if find(json, br#""kind":"resync""#).is_some() {
            self.heard.resyncs += 1;
            self.last.clear();
            return;
        }
        if find(json, br#""kind":"step_complete""#).is_none() {
            return;
        }
        let number = |mark: &[u8]| {
            let from = find(json, mark)? + mark.len();
            let digits = json.get(from..)?.iter().take_while(|byte| byte.is_ascii_digit());
            Some(digits.fold(0_u64, |number, digit| number * 10 + u64::from(digit - b'0')))
        };
        let (workflow, attempt) = (number(br#""workflow_name":"live-"#), number(br#""attempt":"#));
        let (Some(workflow), Some(attempt)) = (workflow.and_then(|of| usize::try_from(of).ok()), attempt)
        else {
            return;
        };
        self.heard.events += 1;
        let is_own = self.workflow.is_none_or(|own| own == workflow);
        let follows = self.last.insert(workflow, attempt).is_none_or(|last| last + 1 == attempt);
        self.heard.wrong += u64::from(!is_own || !follows);
    }

    fn has_heard(&self, last: &[u64]) -> bool {
        let is_heard = |workflow: usize| self.last.get(&workflow) == last.get(workflow);
        match self.workflow {
            Some(own) => is_heard(own),
            None => (0..last.len()).all(is_heard),
        }
    }
}

fn find(text: &[u8], mark: &[u8]) -> Option<usize> {
    text.windows(mark.len()).position(|window| window == mark)
}
