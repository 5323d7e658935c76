//! `[export]`: where executions go as traces of OpenTelemetry.
//!
//! Not here: the variables of OpenTelemetry that set these (`otel`), and exporting (`crate::export`).

use std::path::PathBuf;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;

use super::values::{Secret, duration};

/// Most executions that may wait to be exported: their ids are all that waits.
const MOST_QUEUED: usize = 1_000_000;

/// Where executions go as traces; nowhere unless an endpoint is set.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportSettings {
    /// The base address, to whose path `v1/traces` is added.
    pub endpoint: String,
    /// The address for traces, used as it is; wins over the base.
    pub traces_endpoint: String,
    /// Headers of every request: `name=value`, percent-encoded, separated by commas.
    pub headers: Secret,
    /// How spans are written.
    pub protocol: Protocol,
    /// How requests are compressed.
    pub compression: Compression,
    /// Longest time for one request.
    #[serde(deserialize_with = "duration")]
    pub timeout: Duration,
    /// A file of certificates (PEM) to trust beside the platform's; empty for none.
    pub certificate: PathBuf,
    /// The name of the service that made the spans, where an execution does not say; empty: its workflow.
    pub service_name: String,
    /// What else is known of it: `key=value`, percent-encoded, separated by commas.
    pub resource_attributes: String,
    /// Whether nothing is exported, whatever else is set.
    pub disabled: bool,
    /// Most executions that may wait.
    pub queue: usize,
    /// Whether the service's own requests become spans, too.
    pub own_requests: bool,
    /// Which of them do.
    pub sampler: SamplerName,
    /// The share of `traceidratio`, from 0 to 1; empty for all.
    pub sampler_arg: String,
    /// Variables that were not heeded, and why; to be logged.
    #[serde(skip)]
    pub ignored: Vec<String>,
}

/// How spans are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Protocol {
    /// OTLP/HTTP with protobuf.
    #[serde(rename = "http/protobuf")]
    HttpProtobuf,
    /// OTLP/HTTP with JSON.
    #[serde(rename = "http/json")]
    HttpJson,
    /// OTLP/gRPC.
    #[serde(rename = "grpc")]
    Grpc,
}

/// How requests are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Not at all.
    None,
    /// By gzip.
    Gzip,
}

/// Which requests become spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SamplerName {
    /// All.
    AlwaysOn,
    /// None.
    AlwaysOff,
    /// A share, chosen by trace id.
    #[serde(rename = "traceidratio")]
    TraceIdRatio,
    /// As the caller's trace; all without one.
    #[serde(rename = "parentbased_always_on")]
    ParentBasedAlwaysOn,
    /// As the caller's trace; none without one.
    #[serde(rename = "parentbased_always_off")]
    ParentBasedAlwaysOff,
    /// As the caller's trace; a share without one.
    #[serde(rename = "parentbased_traceidratio")]
    ParentBasedTraceIdRatio,
}

impl ExportSettings {
    /// Returns whether anything is exported.
    #[must_use]
    pub fn is_on(&self) -> bool {
        let nowhere = self.endpoint.is_empty() && self.traces_endpoint.is_empty();
        !(self.disabled || nowhere)
    }

    /// Returns where spans go; none if they go nowhere.
    ///
    /// # Errors
    /// The key at fault, and what is expected of it.
    pub fn target(&self) -> Result<Option<Url>, (&'static str, &'static str)> {
        if !self.is_on() {
            return Ok(None);
        }
        let (key, text) = match self.traces_endpoint.as_str() {
            "" => ("endpoint", self.endpoint.as_str()),
            own => ("traces_endpoint", own),
        };
        let mut url = Url::parse(text.trim())
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .ok_or((key, "must be an address that begins with https:// or http://"))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err((key, "must not hold a password: send it by headers, which are kept secret"));
        }
        if key == "endpoint" && self.protocol != Protocol::Grpc {
            let base = url.path().trim_end_matches('/').to_owned();
            url.set_path(&format!("{base}/v1/traces"));
        }
        Ok(Some(url))
    }

    /// Returns the headers of every request.
    ///
    /// # Errors
    /// What is expected of them; never what they hold.
    pub fn header_map(&self) -> Result<HeaderMap, &'static str> {
        const EXPECTED: &str = "expected name=value, percent-encoded, separated by commas";
        let mut headers = HeaderMap::new();
        for (name, value) in pairs(self.headers.expose()).ok_or(EXPECTED)? {
            let name = HeaderName::try_from(name).map_err(|_| EXPECTED)?;
            let mut value = HeaderValue::try_from(value).map_err(|_| EXPECTED)?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        Ok(headers)
    }

    /// Returns what is known of the service, sorted as it was written.
    ///
    /// # Errors
    /// What is expected of it.
    pub fn resource(&self) -> Result<Vec<(String, String)>, &'static str> {
        pairs(&self.resource_attributes).ok_or("expected key=value, percent-encoded, separated by commas")
    }

    /// Returns the share of `traceidratio`.
    ///
    /// # Errors
    /// What is expected of it.
    pub fn ratio(&self) -> Result<f64, &'static str> {
        match self.sampler_arg.trim() {
            "" => Ok(1.0),
            text => ratio(text).ok_or("expected a number from 0 to 1"),
        }
    }

    /// Checks what the types do not say.
    ///
    /// # Errors
    /// The key at fault, and what is expected of it.
    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        let fault = |key| move |reason: &str| (key, reason.to_owned());
        self.target().map_err(|(key, reason)| fault(key)(reason))?;
        self.header_map().map_err(fault("headers"))?;
        self.resource().map_err(fault("resource_attributes"))?;
        self.ratio().map_err(fault("sampler_arg"))?;
        if !(1..=MOST_QUEUED).contains(&self.queue) {
            return Err(("queue", format!("must lie between 1 and {MOST_QUEUED}")));
        }
        let (least, most) = (Duration::from_millis(1), Duration::from_secs(3_600));
        if self.timeout < least || self.timeout > most {
            return Err(("timeout", format!("must lie between {least:?} and {} s", most.as_secs())));
        }
        Ok(())
    }
}

/// Reads a share.
pub(super) fn ratio(text: &str) -> Option<f64> {
    text.trim().parse().ok().filter(|share| (0.0..=1.0).contains(share))
}

/// Reads `key=value` pairs as W3C Baggage writes them, without properties; none if that is not what it is.
pub(super) fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    let read = entries.map(|entry| {
        let (key, value) = entry.split_once('=')?;
        let decode = |part: &str| Some(percent_decode_str(part.trim()).decode_utf8().ok()?.into_owned());
        let (key, value) = (decode(key)?, decode(value)?);
        (!key.is_empty()).then_some((key, value))
    });
    read.collect()
}
