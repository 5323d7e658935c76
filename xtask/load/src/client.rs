//! A client as it should be: it asks again, safely, until it is answered or its patience ends.
//!
//! Every POST carries an `Idempotency-Key`, the same at each attempt, so that what was lost on the way back is not
//! recorded twice. Attempts go to the addresses in turn, as through a load balancer in front of replicas.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::Value;

use crate::tally::Tally;

/// First pause between attempts, which doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Asks the service.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    urls: Arc<[String]>,
    turn: Arc<AtomicUsize>,
    key: Option<Arc<str>>,
    patience: Duration,
    /// What has happened so far.
    pub(crate) tally: Arc<Tally>,
}

impl Client {
    /// Returns a client of these addresses. Each attempt may take as long as `patience`, and all of them together
    /// not much longer.
    ///
    /// # Errors
    /// If no client can be made.
    pub(crate) fn new(urls: &[String], key: Option<&str>, patience: Duration) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().timeout(patience.min(Duration::from_secs(10))).build()?;
        let urls = urls.iter().map(|url| url.trim_end_matches('/').to_owned()).collect();
        let turn = Arc::default();
        Ok(Self { http, urls, turn, key: key.map(Into::into), patience, tally: Arc::new(Tally::new()?) })
    }

    /// Asks until there is an answer; none if it is refused, or patience ends.
    pub(crate) async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Option<Value> {
        let retry_key = format!("{:032x}", rand::random::<u128>());
        let began = Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            let base = self.urls.get(self.turn.fetch_add(1, Ordering::Relaxed) % self.urls.len().max(1))?;
            let mut request = self.http.request(method.clone(), format!("{base}{path}"));
            if method == Method::POST {
                request = request.header("idempotency-key", &retry_key);
            }
            if let Some(key) = &self.key {
                request = request.bearer_auth(key);
            }
            if let Some(body) = body {
                request = request.json(body);
            }
            match self.attempt(&method, request).await {
                Attempt::Answered(answer) => return Some(answer),
                Attempt::Refused => {
                    self.tally.count("refused");
                    return None;
                }
                Attempt::Unknown => return None,
                Attempt::Again if began.elapsed() < self.patience => {}
                Attempt::Again => {
                    self.tally.count("given up");
                    return None;
                }
            }
            tokio::time::sleep(pause.mul_f64(0.5 + rand::random::<f64>())).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Asks for something.
    pub(crate) async fn get(&self, path: &str) -> Option<Value> {
        self.ask(Method::GET, path, None).await
    }

    async fn attempt(&self, method: &Method, request: reqwest::RequestBuilder) -> Attempt {
        let began = Instant::now();
        let answer = match request.send().await {
            Ok(response) => {
                let status = response.status();
                response.bytes().await.map(|body| (status, body))
            }
            Err(error) => Err(error),
        };
        let (ending, attempt) = match answer {
            Ok((status, body)) if status.is_success() => {
                // An answer to an export may be empty.
                let value = serde_json::from_slice(&body).unwrap_or(Value::Null);
                (status.as_u16().to_string(), Attempt::Answered(value))
            }
            // What has begun may not be known yet, as a workflow whose first trace is yet to settle.
            Ok((StatusCode::NOT_FOUND, _)) if *method == Method::GET => ("404".to_owned(), Attempt::Unknown),
            Ok((status, _)) => {
                let may_pass = status.is_server_error()
                    || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT);
                (status.as_u16().to_string(), if may_pass { Attempt::Again } else { Attempt::Refused })
            }
            Err(error) if error.is_connect() => ("not connected".to_owned(), Attempt::Again),
            Err(error) if error.is_timeout() => ("no answer".to_owned(), Attempt::Again),
            Err(_) => ("connection lost".to_owned(), Attempt::Again),
        };
        self.tally.attempt(&format!("{method} {ending}"), began.elapsed());
        attempt
    }
}

enum Attempt {
    Answered(Value),
    Refused,
    Unknown,
    Again,
}
