//! OTLP over HTTP, as a client (<https://opentelemetry.io/docs/specs/otlp/#otlphttp>).
//!
//! Invariant: no reason holds the address or a header, either of which may be a secret.

use std::io::Write as _;
use std::time::Duration;

use anyhow::Context as _;
use flate2::write::GzEncoder;
use jiff::fmt::rfc2822::DateTimeParser;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use prost::Message as _;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, DATE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode, Url};

use super::send::{Receipt, Refusal};
use crate::config::{Compression, ExportSettings, Protocol};

/// Most bytes that are read of an answer.
const ANSWER_BYTES: usize = 64 * 1024;
/// How this exporter calls itself.
pub(super) const USER_AGENT: &str = concat!("OTel-OTLP-Exporter-Tracer/", env!("CARGO_PKG_VERSION"));

const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";

/// Sends by HTTP.
#[derive(Debug)]
pub(super) struct Http {
    client: Client,
    url: Url,
    headers: HeaderMap,
    json: bool,
    gzip: bool,
    timeout: Duration,
}

impl Http {
    /// Returns what sends to an address.
    ///
    /// # Errors
    /// If the certificate cannot be read, or TLS cannot be set up.
    pub(super) fn new(url: Url, settings: &ExportSettings) -> anyhow::Result<Self> {
        let certificate = certificate(settings)?;
        let client = tracer_alert::client_builder_trusting(certificate.as_deref())?
            .user_agent(USER_AGENT)
            .redirect(Policy::none())
            .build()
            .context("cannot set up HTTP for exporting")?;
        Ok(Self {
            client,
            url,
            headers: settings.header_map().map_err(anyhow::Error::msg)?,
            json: settings.protocol == Protocol::HttpJson,
            gzip: settings.compression == Compression::Gzip,
            timeout: settings.timeout,
        })
    }

    /// Sends once.
    pub(super) async fn send(&self, request: &ExportTraceServiceRequest) -> Result<Receipt, Refusal> {
        let body =
            if self.json { serde_json::to_vec(request).unwrap_or_default() } else { request.encode_to_vec() };
        let media = if self.json { JSON } else { PROTOBUF };
        let mut call = self.client.post(self.url.clone()).timeout(self.timeout).header(CONTENT_TYPE, media);
        // What is set counts more than what is usual.
        call = match self.gzip.then(|| gzipped(&body)).flatten() {
            Some(smaller) => {
                call.header(CONTENT_ENCODING, "gzip").headers(self.headers.clone()).body(smaller)
            }
            None => call.headers(self.headers.clone()).body(body),
        };
        let response = call.send().await.map_err(|error| self.unanswered(&error))?;
        let status = response.status();
        if !status.is_success() {
            return Err(refusal(status, response.headers()));
        }
        self.receipt(response).await
    }

    /// Reads what an answer of success says. Of another media type it says nothing: some receivers answer `{}` to
    /// protobuf, or nothing at all.
    async fn receipt(&self, mut response: Response) -> Result<Receipt, Refusal> {
        let media = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
        let media = media.split(';').next().unwrap_or("").trim().to_owned();
        let mut body = Vec::new();
        while body.len() < ANSWER_BYTES {
            let Some(chunk) = response.chunk().await.map_err(|error| self.unanswered(&error))? else { break };
            body.extend_from_slice(&chunk);
        }
        let read = match (self.json, media.as_str()) {
            (_, _) if body.is_empty() => Some(ExportTraceServiceResponse::default()),
            (false, PROTOBUF) => ExportTraceServiceResponse::decode(body.as_slice()).ok(),
            (true, JSON) => serde_json::from_slice(&body).ok(),
            _ => Some(ExportTraceServiceResponse::default()),
        };
        read.map(Receipt::of)
            .ok_or_else(|| Refusal::Never { reason: "what it answered is not OTLP".to_owned() })
    }

    fn unanswered(&self, error: &reqwest::Error) -> Refusal {
        let reason = if error.is_builder() {
            return Refusal::Never { reason: "no such request can be made".to_owned() };
        } else if error.is_timeout() {
            format!("no answer within {:?}", self.timeout)
        } else if error.is_connect() {
            "it cannot be connected to".to_owned()
        } else {
            "the connection broke".to_owned()
        };
        Refusal::Again { reason, after: None }
    }
}

/// Returns the certificates that are trusted beside the platform's.
///
/// # Errors
/// If their file cannot be read.
pub(super) fn certificate(settings: &ExportSettings) -> anyhow::Result<Option<Vec<u8>>> {
    let path = &settings.certificate;
    if path.as_os_str().is_empty() {
        return Ok(None);
    }
    let read = std::fs::read(path);
    read.map(Some).with_context(|| format!("cannot read the certificate of export, {}", path.display()))
}

/// Says whether to try again (the specification lists the codes; all others are final).
fn refusal(status: StatusCode, headers: &HeaderMap) -> Refusal {
    let mut reason = format!("it answered {status}");
    let again = [
        StatusCode::TOO_MANY_REQUESTS,
        StatusCode::BAD_GATEWAY,
        StatusCode::SERVICE_UNAVAILABLE,
        StatusCode::GATEWAY_TIMEOUT,
    ];
    if again.contains(&status) {
        return Refusal::Again { reason, after: retry_after(headers) };
    }
    if status.is_redirection() {
        reason.push_str(", and redirects are not followed");
    }
    Refusal::Never { reason }
}

/// Reads seconds; or a date, by the clock of whoever sent it.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let instant = |value: &HeaderValue| {
        DateTimeParser::new().relaxed_weekday(true).parse_timestamp(value.to_str().ok()?.trim()).ok()
    };
    let (at, now) = (instant(headers.get(RETRY_AFTER)?)?, instant(headers.get(DATE)?)?);
    u64::try_from(at.as_second() - now.as_second()).ok().map(Duration::from_secs)
}

/// Compresses in memory; none if that fails, which it cannot.
fn gzipped(body: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), flate2::Compression::fast());
    encoder.write_all(body).ok()?;
    encoder.finish().ok()
}
