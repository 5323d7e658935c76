//! One keep-alive connection: writes a request, reads its answer.
//!
//! Invariant: the buffers grow to the largest request and answer, and are then reused.
//! Not here: when to ask (`load`), what to ask (`script`).

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use mio::net::TcpStream;

use crate::script::Script;

/// Bytes that an answer's buffer begins with: more than any single answer of the service.
const BUFFER: usize = 16 * 1024;

/// How far a connection got.
#[derive(Debug)]
pub(crate) enum Progress {
    /// Nothing more until the socket is ready again.
    Waiting,
    /// A whole answer was read.
    Answered { status: u16, took: Duration, expected: bool },
    /// The connection is of no more use.
    Lost(&'static str),
}

/// A connection and the script that it plays.
#[derive(Debug)]
pub(crate) struct Connection<S> {
    socket: TcpStream,
    script: S,
    out: Vec<u8>,
    sent: usize,
    inbox: Vec<u8>,
    filled: usize,
    asked_at: Option<Instant>,
    operation: usize,
}

/// Where the body of an answer is, once all of it is there.
struct Answer {
    status: u16,
    body: std::ops::Range<usize>,
}

impl<S: Script> Connection<S> {
    /// Connects.
    ///
    /// # Errors
    /// When nobody listens there.
    pub(crate) fn open(address: SocketAddr, script: S) -> Result<Self> {
        Ok(Self {
            socket: connect(address)?,
            script,
            out: Vec::with_capacity(1_024),
            sent: 0,
            inbox: vec![0; BUFFER],
            filled: 0,
            asked_at: None,
            operation: 0,
        })
    }

    /// Connects anew, after a connection was lost; the script begins where it begins.
    ///
    /// # Errors
    /// When nobody listens there.
    pub(crate) fn reopen(&mut self, address: SocketAddr) -> Result<()> {
        self.socket = connect(address)?;
        self.filled = 0;
        self.script.lost();
        Ok(())
    }

    pub(crate) const fn socket(&mut self) -> &mut TcpStream {
        &mut self.socket
    }

    /// Returns the index of what was asked last, among the script's operations.
    pub(crate) const fn operation(&self) -> usize {
        self.operation
    }

    /// Returns for how long the present request has waited; not at all, if there is none.
    pub(crate) fn waits_for(&self) -> Duration {
        self.asked_at.map(|at| at.elapsed()).unwrap_or_default()
    }

    /// Asks what comes next; returns whether there was anything.
    pub(crate) fn ask(&mut self) -> bool {
        self.out.clear();
        self.sent = 0;
        let Some(operation) = self.script.write_next(&mut self.out) else {
            self.asked_at = None;
            return false;
        };
        self.operation = operation;
        self.asked_at = Some(Instant::now());
        // What could not be sent, or a lost connection, shows when the answer is looked for.
        let _sent_for_now = self.send();
        true
    }

    /// Sends and reads as far as it goes without waiting.
    pub(crate) fn advance(&mut self) -> Progress {
        let Some(asked_at) = self.asked_at else { return Progress::Waiting };
        if let Err(reason) = self.send() {
            return Progress::Lost(reason);
        }
        loop {
            if self.filled == self.inbox.len() {
                self.inbox.resize(self.filled * 2, 0);
            }
            let room = self.inbox.get_mut(self.filled..).unwrap_or_default();
            let space = room.len();
            let read = match self.socket.read(room) {
                Ok(0) => return Progress::Lost("connection closed"),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Progress::Waiting,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return Progress::Lost("connection lost"),
            };
            self.filled += read;
            match parse(self.inbox.get(..self.filled).unwrap_or_default()) {
                Err(()) => return Progress::Lost("unreadable answer"),
                Ok(Some(answer)) => {
                    let took = asked_at.elapsed();
                    let body = self.inbox.get(answer.body).unwrap_or_default();
                    let expected = self.script.take(answer.status, body);
                    self.filled = 0;
                    self.asked_at = None;
                    return Progress::Answered { status: answer.status, took, expected };
                }
                // Less than there was room for: the socket is empty, and readiness will be told anew.
                Ok(None) if read < space => return Progress::Waiting,
                Ok(None) => (),
            }
        }
    }

    fn send(&mut self) -> Result<(), &'static str> {
        while let Some(rest) = self.out.get(self.sent..).filter(|rest| !rest.is_empty()) {
            match self.socket.write(rest) {
                Ok(written) => self.sent += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => (),
                Err(_) => return Err("connection lost"),
            }
        }
        Ok(())
    }
}

fn connect(address: SocketAddr) -> Result<TcpStream> {
    let socket =
        std::net::TcpStream::connect(address).with_context(|| format!("nobody answers at {address}"))?;
    socket.set_nodelay(true)?;
    socket.set_nonblocking(true)?;
    Ok(TcpStream::from_std(socket))
}

/// Returns where the answer is, nothing while it is not all there, or that it is none.
fn parse(bytes: &[u8]) -> Result<Option<Answer>, ()> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(head) = response.parse(bytes).map_err(drop)? else { return Ok(None) };
    let length = response
        .headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case("content-length"))
        .and_then(|header| std::str::from_utf8(header.value).ok()?.parse::<usize>().ok());
    // Chunks are not understood: what is asked here is answered with a length.
    let end = head + length.ok_or(())?;
    let status = response.code.ok_or(())?;
    Ok((bytes.len() >= end).then_some(Answer { status, body: head..end }))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn an_answer_is_whole_when_its_body_is() {
        let whole = b"HTTP/1.1 201 Created\r\nContent-Length: 4\r\n\r\nbody";
        for cut in 0..whole.len() {
            assert!(parse(&whole[..cut]).unwrap().is_none(), "{cut}");
        }
        let answer = parse(whole).unwrap().unwrap();
        assert_eq!((answer.status, &whole[answer.body]), (201, b"body".as_slice()));
    }

    #[test]
    fn what_is_not_an_answer_is_refused() {
        for bytes in [b"SSH-2.0\r\n\r\n".as_slice(), b"HTTP/1.1 200 OK\r\n\r\n"] {
            assert!(parse(bytes).is_err());
        }
    }
}
