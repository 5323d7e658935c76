//! HTTP to the parts of the stack: one question, one answer.

use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use xtask_machine::interrupt;

use super::parts::Part;

/// How long a part may take to be ready.
const START: Duration = Duration::from_secs(60);

/// A client, and what it runs on.
#[derive(Debug)]
pub(super) struct Http {
    runtime: tokio::runtime::Runtime,
    client: reqwest::Client,
}

impl Http {
    /// Returns a client.
    ///
    /// # Errors
    /// If the runtime cannot be made.
    pub(super) fn new() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let client = reqwest::Client::builder().timeout(Duration::from_secs(20)).no_proxy().build()?;
        Ok(Self { runtime, client })
    }

    /// Returns what others run on, too.
    pub(super) const fn runtime(&self) -> &tokio::runtime::Runtime {
        &self.runtime
    }

    /// Returns the client.
    pub(super) fn client(&self) -> reqwest::Client {
        self.client.clone()
    }

    /// Asks for JSON.
    ///
    /// # Errors
    /// If there is no answer, or it is no success, or no JSON; the message holds what was said.
    pub(super) fn get(&self, url: &str) -> Result<Value> {
        interrupt::check()?;
        self.runtime.block_on(async {
            let response =
                self.client.get(url).send().await.with_context(|| format!("no answer from {url}"))?;
            let status = response.status();
            let text = response.text().await?;
            if !status.is_success() {
                bail!("{url} answers {status}: {}", text.chars().take(300).collect::<String>());
            }
            serde_json::from_str(&text).with_context(|| format!("{url} does not answer with JSON"))
        })
    }

    /// Waits until a path of a part answers with success.
    ///
    /// # Errors
    /// If the part ends, or takes too long.
    pub(super) fn wait(&self, part: &mut Part, path: &str) -> Result<()> {
        let (url, began) = (part.url(path), Instant::now());
        loop {
            interrupt::check()?;
            part.runs()?;
            let answer = self.runtime.block_on(async { self.client.get(&url).send().await });
            if answer.is_ok_and(|response| response.status().is_success()) {
                return Ok(());
            }
            if began.elapsed() > START {
                bail!("{url} is not ready after {START:?}");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Returns the time since 1970, as the programs of the stack have it.
#[expect(clippy::disallowed_methods, reason = "others are asked for the time that it really is")]
pub(super) fn now() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// Returns a path with a query string.
pub(super) fn with_query(path: &str, parameters: &[(&str, &str)]) -> String {
    let pairs = parameters.iter().map(|(name, value)| format!("{name}={}", encoded(value)));
    format!("{path}?{}", pairs.collect::<Vec<_>>().join("&"))
}

fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_query_string_holds_any_text() {
        let made = super::with_query("/q", &[("query", "a{b=\"é c\"}"), ("x", "1")]);
        assert_eq!(made, "/q?query=a%7Bb%3D%22%C3%A9%20c%22%7D&x=1");
    }
}
