//! `tracer tail`: the live stream of a service on a terminal.
//!
//! Follows until it is interrupted: a connection that is lost is made again, and goes on behind the last event.
//! Not here: what the service sends (`live`).

mod line;
mod parse;

use std::io::{IsTerminal, Write};
use std::time::Duration;

use anyhow::{Context, bail};
use reqwest::header::{ACCEPT, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode, Url};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use self::line::Style;
use self::parse::{Event, Parser};
use crate::config::Secret;

/// How long it waits before it connects anew, at first and at most; doubled from time to time.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// A service that says nothing for so long is gone: it sends a sign of life every quarter of a minute.
const SILENCE: Duration = Duration::from_secs(60);
/// Longest time to connect.
const CONNECT: Duration = Duration::from_secs(5);

/// What `tracer tail` was asked for.
#[derive(Clone, Debug)]
pub struct TailOptions {
    /// The service.
    pub url: String,
    /// Its key.
    pub api_key: Option<Secret>,
    /// Of these workflows; of all, if none is named.
    pub workflows: Vec<String>,
    /// Of these executions; of all, if none is named.
    pub executions: Vec<String>,
    /// Of these kinds; of all, if none is named.
    pub kinds: Vec<String>,
}

/// Why a connection ended.
enum Ended {
    /// It may be made again.
    Lost(String),
    /// Whoever reads the output has gone.
    Unread,
}

/// Follows a service until `stop`.
///
/// # Errors
/// If the address is none, or the service refuses what is asked for.
pub async fn tail(options: TailOptions, stop: CancellationToken) -> anyhow::Result<()> {
    let tail = Tail::new(options)?;
    match stop.run_until_cancelled(tail.follow()).await {
        Some(ended) => ended,
        None => Ok(()),
    }
}

struct Tail {
    client: Client,
    stream: Url,
    key: Option<Secret>,
    style: Style,
}

/// The part of a problem document that a person reads.
#[derive(Deserialize)]
struct Refused {
    detail: String,
}

impl Tail {
    fn new(options: TailOptions) -> anyhow::Result<Self> {
        let TailOptions { url, api_key, workflows, executions, kinds } = options;
        let base = Url::parse(&url).ok().filter(|url| url.host().is_some());
        let base = base.with_context(|| format!("{url} is not an address such as http://127.0.0.1:8000"))?;
        let mut stream = Url::parse(&format!("{}/stream", base.as_str().trim_end_matches('/')))?;
        for (name, values) in [("workflow_name", workflows), ("workflow_id", executions), ("kind", kinds)] {
            for value in values {
                stream.query_pairs_mut().append_pair(name, &value);
            }
        }
        let client =
            tracer_alert::client_builder()?.connect_timeout(CONNECT).read_timeout(SILENCE).build()?;
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let style = Style { colours: std::io::stdout().is_terminal() && !no_color };
        Ok(Self { client, stream, key: api_key, style })
    }

    /// Follows, over as many connections as it takes.
    async fn follow(&self) -> anyhow::Result<()> {
        let (mut last_id, mut pause, mut is_lost) = (None, FIRST_PAUSE, false);
        loop {
            let before = last_id.clone();
            let ended = match self.connect(last_id.as_deref()).await? {
                Ok(response) => {
                    if is_lost {
                        note(&self.style.note("connected again"));
                        is_lost = false;
                    }
                    self.read(response, &mut last_id).await
                }
                Err(reason) => Ended::Lost(reason),
            };
            let reason = match ended {
                Ended::Unread => return Ok(()),
                Ended::Lost(reason) => reason,
            };
            if last_id != before {
                pause = FIRST_PAUSE;
            }
            if !is_lost {
                note(&self.style.note(&format!("{reason}; trying again")));
                is_lost = true;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Connects; why not, if trying again may help.
    async fn connect(&self, last_id: Option<&str>) -> anyhow::Result<Result<Response, String>> {
        let request = self.client.get(self.stream.clone()).header(ACCEPT, "text/event-stream");
        let request = match &self.key {
            Some(key) => request.bearer_auth(key.expose()),
            None => request,
        };
        let request = match last_id {
            Some(id) => request.header("last-event-id", id),
            None => request,
        };
        let response = match request.send().await {
            Ok(response) => response,
            Err(_) => {
                let address = self.stream.origin().ascii_serialization();
                return Ok(Err(format!("{address} cannot be reached")));
            }
        };
        let status = response.status();
        if status.is_success() {
            return Ok(Ok(response));
        }
        let may_help = status.is_server_error()
            || status == StatusCode::TOO_MANY_REQUESTS
            || response.headers().contains_key(RETRY_AFTER);
        let refused = response.json::<Refused>().await.map(|refused| refused.detail);
        let reason = refused.unwrap_or_else(|_| format!("the service answers {status}"));
        if may_help { Ok(Err(reason.trim_end_matches('.').to_owned())) } else { bail!("{reason}") }
    }

    async fn read(&self, mut response: Response, last_id: &mut Option<String>) -> Ended {
        let mut parser = Parser::default();
        loop {
            let bytes = match response.chunk().await {
                Ok(Some(bytes)) => bytes,
                Ok(None) => return Ended::Lost("the service has ended the stream".to_owned()),
                Err(_) => return Ended::Lost("the connection was lost".to_owned()),
            };
            let mut lines = String::new();
            for Event { id, data } in parser.push(&bytes) {
                if let Some(text) = data {
                    lines.push_str(&self.style.line(&text));
                    lines.push('\n');
                }
                *last_id = id.or(last_id.take());
            }
            if !lines.is_empty() && print(&lines).is_err() {
                return Ended::Unread;
            }
        }
    }
}

fn print(lines: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(lines.as_bytes())?;
    out.flush()
}

/// Says what is not part of the stream, beside it.
#[expect(clippy::print_stderr, reason = "this is for the person at the terminal")]
fn note(text: &str) {
    eprintln!("{text}");
}
