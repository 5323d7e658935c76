//! A server for tests, in the place of Slack, Alertmanager or whoever is called.
//!
//! It plays its answers in order, then the last one for ever, and keeps what it was asked.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore};

/// What is done with a request.
#[derive(Clone, Debug)]
pub(crate) enum Play {
    /// It is answered.
    Answer { status: u16, headers: Vec<(&'static str, String)>, body: String, slow: bool },
    /// Nothing ever comes.
    Silence,
    /// The connection is closed.
    HangUp,
    /// What comes is not HTTP.
    Garbage,
}

impl Play {
    pub(crate) fn status(status: u16) -> Self {
        Self::Answer { status, headers: Vec::new(), body: String::new(), slow: false }
    }

    pub(crate) fn json(value: &Value) -> Self {
        Self::status(200).header("content-type", "application/json; charset=utf-8").body(&value.to_string())
    }

    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Self {
        if let Self::Answer { headers, .. } = &mut self {
            headers.push((name, value.to_owned()));
        }
        self
    }

    pub(crate) fn body(mut self, text: &str) -> Self {
        if let Self::Answer { body, .. } = &mut self {
            text.clone_into(body);
        }
        self
    }

    /// Waits for [`Server::release`].
    pub(crate) fn slow(mut self) -> Self {
        if let Self::Answer { slow, .. } = &mut self {
            *slow = true;
        }
        self
    }
}

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

impl Seen {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

#[derive(Debug)]
struct Shared {
    plays: Vec<Play>,
    seen: Mutex<Vec<Seen>>,
    arrived: Notify,
    released: Semaphore,
}

/// A server on a port of its own.
#[derive(Debug)]
pub(crate) struct Server {
    address: String,
    shared: Arc<Shared>,
}

impl Server {
    pub(crate) async fn playing(plays: impl IntoIterator<Item = Play>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let shared = Arc::new(Shared {
            plays: plays.into_iter().collect(),
            seen: Mutex::default(),
            arrived: Notify::new(),
            released: Semaphore::new(0),
        });
        let serving = Arc::clone(&shared);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(Arc::clone(&serving).serve(stream));
            }
        });
        Self { address, shared }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Returns how long a client waits: short if it waits in vain.
    pub(crate) fn patience(&self) -> Duration {
        let in_vain = self.shared.plays.iter().any(|play| matches!(play, Play::Silence));
        if in_vain { Duration::from_millis(100) } else { Duration::from_secs(60) }
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// Waits for a request.
    pub(crate) async fn arrived(&self) {
        self.shared.arrived.notified().await;
    }

    /// Lets one slow answer go.
    pub(crate) fn release(&self) {
        self.shared.released.add_permits(1);
    }
}

impl Shared {
    async fn serve(self: Arc<Self>, mut stream: TcpStream) {
        let Some(request) = read(&mut stream).await else { return };
        let number = {
            let mut seen = self.seen.lock().unwrap();
            seen.push(request);
            seen.len() - 1
        };
        self.arrived.notify_one();
        let play = self.plays.get(number).or(self.plays.last()).unwrap().clone();
        match play {
            Play::Answer { status, headers, body, slow } => {
                if slow {
                    self.released.acquire().await.unwrap().forget();
                }
                let mut head = format!(
                    "HTTP/1.1 {status} So\r\nconnection: close\r\ncontent-length: {}\r\n",
                    body.len()
                );
                for (name, value) in headers {
                    head += &format!("{name}: {value}\r\n");
                }
                // Whoever has read enough may have gone.
                drop(stream.write_all(format!("{head}\r\n{body}").as_bytes()).await);
            }
            Play::Silence => std::future::pending().await,
            Play::HangUp => {}
            Play::Garbage => drop(stream.write_all(b"SSH-2.0-OpenSSH_9.9\r\n").await),
        }
    }
}

async fn read(stream: &mut TcpStream) -> Option<Seen> {
    let mut bytes = Vec::new();
    loop {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
        let mut headers = [httparse::EMPTY_HEADER; 32];
        let mut request = httparse::Request::new(&mut headers);
        let httparse::Status::Complete(head) = request.parse(&bytes).unwrap() else { continue };
        let headers: BTreeMap<_, _> = request
            .headers
            .iter()
            .map(|header| (header.name.to_lowercase(), String::from_utf8_lossy(header.value).into_owned()))
            .collect();
        let length: usize = headers.get("content-length").map_or(0, |text| text.parse().unwrap());
        if bytes.len() >= head + length {
            let path = request.path.unwrap().to_owned();
            let body = String::from_utf8(bytes[head..head + length].to_vec()).unwrap();
            return Some(Seen { path, headers, body });
        }
    }
}
