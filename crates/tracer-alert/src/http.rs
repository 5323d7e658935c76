//! HTTP as channels need it: one request, one answer or a reason why there is none.
//!
//! Invariants: a call ends within its timeout, redirects are not followed, of an answer no more is read than
//! [`BODY_BYTES`], and no error holds an address, which may be a secret. TLS is rustls with `ring`, which needs
//! no more than a C compiler, and trusts the platform's authorities. A proxy is taken from `HTTPS_PROXY`,
//! `HTTP_PROXY` and `NO_PROXY`.
//! Not here: what is sent, and what an answer means beyond its status.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::fmt::rfc2822::DateTimeParser;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder, Response, StatusCode, Url};
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use thiserror::Error;
use tracer_core::clock::Clock;
use tracer_core::notify::NotifyError;
use tracer_core::time::{Micros, Timestamp};

/// Most bytes that are read of an answer.
const BODY_BYTES: usize = 64 * 1024;
/// How long a connection waits for the next request.
const IDLE: Duration = Duration::from_secs(30);
/// How this service calls itself.
const USER_AGENT: &str = concat!("tracer/", env!("CARGO_PKG_VERSION"));

/// Why a channel cannot be set up. Holds no part of an address, which may be a secret.
#[derive(Debug, Error)]
pub enum SetupError {
    /// The address is none that can be called.
    #[error("must be an address that begins with https:// or http://")]
    Address,
    /// The token or secret cannot be sent.
    #[error("must be letters, digits and signs of ASCII, and not empty")]
    Secret,
    /// TLS, or the client, cannot be set up.
    #[error("HTTP cannot be set up")]
    Client(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Parses the address of a channel.
///
/// # Errors
/// [`SetupError::Address`] if it is none of HTTP or HTTPS.
pub(crate) fn address(text: &str) -> Result<Url, SetupError> {
    let url = Url::parse(text.trim()).map_err(|_| SetupError::Address)?;
    let is_called = matches!(url.scheme(), "http" | "https") && url.has_host();
    if is_called { Ok(url) } else { Err(SetupError::Address) }
}

/// Returns what builds a client with this service's TLS. One that is built in any other way panics, because no
/// other provider of TLS is compiled in.
///
/// # Errors
/// [`SetupError::Client`] if TLS cannot be set up.
pub fn client_builder() -> Result<ClientBuilder, SetupError> {
    client_builder_trusting(None)
}

/// As [`client_builder`], with certificates (PEM) that are trusted beside the platform's.
///
/// # Errors
/// [`SetupError::Client`] if they cannot be read, or TLS cannot be set up.
pub fn client_builder_trusting(certificates: Option<&[u8]>) -> Result<ClientBuilder, SetupError> {
    let mut roots = RootCertStore::empty();
    // A platform's store may hold a certificate that cannot be read, or be empty: then nothing is trusted, and
    // only plain HTTP works.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    for certificate in certificates.map(CertificateDer::pem_slice_iter).into_iter().flatten() {
        let certificate = certificate.map_err(|error| SetupError::Client(error.into()))?;
        roots.add(certificate).map_err(|error| SetupError::Client(error.into()))?;
    }
    let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| SetupError::Client(error.into()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Client::builder().tls_backend_preconfigured(tls))
}

/// An HTTP client that channels share, and the clock that they go by.
#[derive(Clone)]
pub struct Http {
    client: Client,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http").finish_non_exhaustive()
    }
}

/// What was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    /// How long it asks to be left alone, if it does.
    pub(crate) retry_after: Option<Micros>,
    pub(crate) is_json: bool,
    /// As text, cut to [`BODY_BYTES`].
    pub(crate) body: String,
}

impl Http {
    /// Returns a client.
    ///
    /// # Errors
    /// [`SetupError::Client`] if TLS cannot be set up.
    pub fn new(clock: Arc<dyn Clock>) -> Result<Self, SetupError> {
        let builder =
            client_builder()?.user_agent(USER_AGENT).redirect(Policy::none()).pool_idle_timeout(IDLE);
        let client = builder.build().map_err(|error| SetupError::Client(error.into()))?;
        Ok(Self { client, clock })
    }

    /// Returns the present instant.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Posts JSON, and returns what was answered, whatever that is.
    ///
    /// # Errors
    /// [`NotifyError`] if nothing was.
    pub(crate) async fn post(
        &self,
        url: &Url,
        headers: HeaderMap,
        json: Vec<u8>,
        timeout: Duration,
    ) -> Result<Answer, NotifyError> {
        let request = self.client.post(url.clone()).headers(headers).timeout(timeout).body(json);
        let request = request.header(CONTENT_TYPE, "application/json; charset=utf-8");
        let unanswered = |error: reqwest::Error| unanswered(error, timeout);
        let mut response = request.send().await.map_err(unanswered)?;
        let status = response.status();
        let retry_after = response.headers().get(RETRY_AFTER);
        let retry_after = retry_after.and_then(|value| self.retry_after(value));
        let is_json = media_type(&response) == Some("application/json");
        let mut body = Vec::new();
        while body.len() < BODY_BYTES {
            let Some(chunk) = response.chunk().await.map_err(unanswered)? else { break };
            body.extend_from_slice(&chunk);
        }
        body.truncate(BODY_BYTES);
        let body = String::from_utf8_lossy(&body).into_owned();
        Ok(Answer { status, retry_after, is_json, body })
    }

    /// Reads seconds or a date (RFC 9110, section 10.2.3).
    fn retry_after(&self, value: &HeaderValue) -> Option<Micros> {
        let text = value.to_str().ok()?.trim();
        if let Ok(seconds) = text.parse() {
            return Some(Micros::from_secs(seconds));
        }
        let at = DateTimeParser::new().relaxed_weekday(true).parse_timestamp(text).ok()?;
        Some(Timestamp::from_micros(at.as_microsecond()).since(self.now()))
    }
}

impl Answer {
    /// Returns whether it may be otherwise the next time.
    pub(crate) fn is_transient(&self) -> bool {
        let again = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS];
        self.status.is_server_error() || again.contains(&self.status)
    }

    /// Returns the answer if it is one of success.
    ///
    /// # Errors
    /// [`NotifyError`] with the status as its reason; `detail` is added to it.
    pub(crate) fn success(self, detail: &str) -> Result<Self, NotifyError> {
        if self.status.is_success() {
            return Ok(self);
        }
        let mut reason = format!("it answered {}", self.status);
        if self.status.is_redirection() {
            reason.push_str(", and redirects are not followed");
        }
        if !detail.is_empty() {
            reason.push_str(": ");
            reason.push_str(detail);
        }
        if self.is_transient() {
            Err(NotifyError::Transient { reason, retry_after: self.retry_after, source: None })
        } else {
            Err(NotifyError::Permanent { reason })
        }
    }
}

fn media_type(response: &Response) -> Option<&str> {
    let text = response.headers().get(CONTENT_TYPE)?.to_str().ok()?;
    text.split(';').next().map(str::trim)
}

fn unanswered(error: reqwest::Error, timeout: Duration) -> NotifyError {
    // The address of a webhook is its secret.
    let error = error.without_url();
    let reason = if error.is_builder() {
        return NotifyError::Permanent { reason: "no such request can be made".to_owned() };
    } else if error.is_timeout() {
        format!("no answer within {timeout:?}")
    } else if error.is_connect() {
        "it cannot be connected to".to_owned()
    } else {
        "the connection broke".to_owned()
    };
    NotifyError::Transient { reason, retry_after: None, source: Some(Box::new(error)) }
}

/// Returns the start of a text on one line, without control characters: for notes and reasons.
pub(crate) fn one_line(text: &str, most_bytes: usize) -> String {
    let mut line = String::new();
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
        let gap = usize::from(!line.is_empty());
        if line.len() + gap + word.len() > most_bytes {
            let room = most_bytes.saturating_sub(line.len() + gap);
            let end = word.floor_char_boundary(room);
            if let Some(start) = word.get(..end).filter(|start| !start.is_empty()) {
                line.extend((gap == 1).then_some(' '));
                line.push_str(start);
            }
            break;
        }
        line.extend((gap == 1).then_some(' '));
        line.push_str(word);
    }
    line
}

#[cfg(test)]
mod tests {
    use tracer_core::test_util::FakeClock;

    use super::*;
    use crate::fake_server::{Play, Server};

    fn http() -> Http {
        Http::new(Arc::new(FakeClock::default())).unwrap()
    }

    async fn answer_to(play: Play) -> Result<Answer, NotifyError> {
        let server = Server::playing([play]).await;
        let url = address(&server.url("/")).unwrap();
        http().post(&url, HeaderMap::new(), b"{}".to_vec(), server.patience()).await
    }

    #[tokio::test]
    async fn what_can_help_to_be_tried_again_is_told_from_what_cannot() {
        let mut told = String::new();
        for status in [200, 204, 302, 400, 401, 404, 408, 410, 425, 429, 500, 503] {
            let answer = answer_to(Play::status(status)).await.unwrap().success("");
            told += &match answer {
                Ok(answer) => format!("{}\n", answer.status),
                Err(NotifyError::Transient { reason, .. }) => format!("again: {reason}\n"),
                Err(NotifyError::Permanent { reason }) => format!("never: {reason}\n"),
            };
        }
        insta::assert_snapshot!(told, @"
        200 OK
        204 No Content
        never: it answered 302 Found, and redirects are not followed
        never: it answered 400 Bad Request
        never: it answered 401 Unauthorized
        never: it answered 404 Not Found
        again: it answered 408 Request Timeout
        never: it answered 410 Gone
        again: it answered 425 Too Early
        again: it answered 429 Too Many Requests
        again: it answered 500 Internal Server Error
        again: it answered 503 Service Unavailable
        ");
    }

    #[tokio::test]
    async fn retry_after_is_seconds_or_a_date() {
        let mut told = Vec::new();
        for value in
            ["3", " 120 ", "Sat, 31 Jan 2026 12:01:30 GMT", "Sat, 31 Jan 2026 11:00:00 GMT", "soon", "-1"]
        {
            let answer = answer_to(Play::status(429).header("retry-after", value)).await.unwrap();
            told.push(answer.retry_after.map(|wait| wait.as_millis() / 1_000));
        }
        assert_eq!(told, [Some(3), Some(120), Some(90), Some(0), None, None]);
    }

    #[tokio::test]
    async fn no_answer_is_transient_and_names_no_address() {
        let mut told = String::new();
        for play in [Play::Silence, Play::HangUp, Play::Garbage] {
            let error = answer_to(play).await.unwrap_err();
            let chain = tracer_core::chain::Chain(&error).to_string();
            assert!(
                matches!(error, NotifyError::Transient { .. }) && !chain.contains("127.0.0.1"),
                "{chain}"
            );
            told += &format!("{}\n", error.reason());
        }
        let closed = address("http://127.0.0.1:9/secret").unwrap();
        let error =
            http().post(&closed, HeaderMap::new(), Vec::new(), Duration::from_secs(20)).await.unwrap_err();
        assert!(!tracer_core::chain::Chain(&error).to_string().contains("secret"));
        told += error.reason();
        insta::assert_snapshot!(told, @"
        no answer within 100ms
        the connection broke
        the connection broke
        it cannot be connected to
        ");
    }

    #[tokio::test]
    async fn an_answer_may_be_slow_and_is_read_to_a_bound() {
        let server = Server::playing([Play::status(200).body(&"x".repeat(200_000)).slow()]).await;
        let url = address(&server.url("/")).unwrap();
        let client = http();
        let call = tokio::spawn(async move {
            client.post(&url, HeaderMap::new(), b"{}".to_vec(), Duration::from_secs(60)).await
        });
        server.arrived().await;
        assert!(!call.is_finished());
        server.release();
        assert_eq!(call.await.unwrap().unwrap().body.len(), BODY_BYTES);
    }

    #[test]
    fn only_http_is_an_address() {
        for wrong in
            ["", "hooks.slack.com/x", "ftp://host/x", "file:///etc/passwd", "https://", "javascript:x"]
        {
            assert!(address(wrong).is_err(), "{wrong}");
        }
        assert!(address(" https://user:pw@host/x ").is_ok());
    }

    #[test]
    fn text_is_put_on_one_line_and_cut() {
        assert_eq!(one_line("a\r\n\tb\u{1b}[31m  c", 80), "a b [31m c");
        assert_eq!(one_line("äöü äöü", 9), "äöü ä");
        assert_eq!(one_line("äöü äöü", 5), "äö");
        assert_eq!(one_line("", 5), "");
    }
}
