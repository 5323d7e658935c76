//! Records through a service that runs already, by its `POST /import`.

use std::time::Duration;

use anyhow::{Context, bail};
use async_trait::async_trait;
use reqwest::header::RETRY_AFTER;
use reqwest::{Client, Response, StatusCode, Url};
use serde::Deserialize;

use super::Destination;
use crate::config::Secret;
use crate::http::import::FinishedExecution;

/// How long one execution may take to be recorded.
const TIMEOUT: Duration = Duration::from_secs(60);
/// How often a service that is busy or away is asked again.
const ATTEMPTS: u32 = 5;
/// Longest wait between two attempts, whatever the service asks for.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// A service, by its address.
#[derive(Debug)]
pub struct Remote {
    client: Client,
    import: Url,
    key: Option<Secret>,
}

/// The part of an answer that counts.
#[derive(Deserialize)]
struct Told {
    imported: bool,
}

/// The part of a problem document that a person reads.
#[derive(Deserialize)]
struct Refused {
    detail: String,
}

impl Remote {
    /// Returns the service at an address such as `http://127.0.0.1:8000`.
    ///
    /// # Errors
    /// If it is no address of that form.
    pub fn new(url: &str, key: Option<Secret>) -> anyhow::Result<Self> {
        let base = Url::parse(url).ok().filter(|url| url.host().is_some());
        let base = base.with_context(|| format!("{url} is not an address such as http://127.0.0.1:8000"))?;
        if base.scheme() != "http" {
            bail!("{url} cannot be used: an import goes to an address that begins with http://");
        }
        let import = Url::parse(&format!("{}/import", base.as_str().trim_end_matches('/')))?;
        let client = tracer_alert::client_builder()?.timeout(TIMEOUT).build()?;
        Ok(Self { client, import, key })
    }

    async fn send(&self, execution: &FinishedExecution) -> anyhow::Result<Response> {
        let request = self.client.post(self.import.clone()).json(execution);
        let request = match &self.key {
            Some(key) => request.bearer_auth(key.expose()),
            None => request,
        };
        request.send().await.with_context(|| format!("{} cannot be reached", self.import))
    }
}

#[async_trait]
impl Destination for Remote {
    async fn record(&self, execution: FinishedExecution) -> anyhow::Result<bool> {
        let mut attempt = 1;
        loop {
            // Recording is idempotent by the execution's id, so that it may be asked for again.
            let answer = self.send(&execution).await?;
            let status = answer.status();
            if status.is_success() {
                return Ok(answer
                    .json::<Told>()
                    .await
                    .context("the answer is not that of POST /import")?
                    .imported);
            }
            let busy = matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
            if !busy || attempt == ATTEMPTS {
                bail!("the service answered {}: {}", status.as_u16(), why(answer).await);
            }
            tokio::time::sleep(wait(&answer)).await;
            attempt += 1;
        }
    }
}

fn wait(answer: &Response) -> Duration {
    let asked = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    asked.map_or(Duration::from_secs(1), Duration::from_secs).min(LONGEST_WAIT)
}

async fn why(answer: Response) -> String {
    answer.json::<Refused>().await.map_or_else(|_| "without saying why".to_owned(), |refused| refused.detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_end_with_a_slash_and_have_a_path() {
        let import = |url: &str| Remote::new(url, None).map(|remote| remote.import.to_string()).ok();
        assert_eq!(import("http://127.0.0.1:8000").as_deref(), Some("http://127.0.0.1:8000/import"));
        assert_eq!(import("http://h/tracer/").as_deref(), Some("http://h/tracer/import"));
        assert_eq!([import("127.0.0.1:8000"), import("https://h"), import("nonsense")], [None, None, None]);
    }
}
