//! The service's own requests as spans (semantic conventions for HTTP servers).
//!
//! Invariant: what exporting, scraping and probing cause makes no spans, or each export would make another.
//! A query is not told: it may hold what a client searches for.

use std::fmt;
use std::sync::Arc;

use actix_web::dev::ServiceRequest;
use actix_web::http::Method;
use actix_web::http::header::{HOST, HeaderMap, USER_AGENT};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{Span, Status};
use tracer_core::clock::Clock;
use tracer_core::ids::{StepId, Traceparent};
use tracer_core::time::Micros;

use super::queue::{ExportQueue, Item};
use super::spans::{nanos, pair, span_bytes, text, trace_bytes};
use crate::config::SamplerName;

/// Longest text of a header, or of a path, that is told.
const TEXT_CHARS: usize = 256;
/// Longest `tracestate` that is passed on (W3C Trace Context asks for at least this).
const TRACE_STATE_BYTES: usize = 512;
/// Flags: whether it is known if the parent is elsewhere, and that it is.
const REMOTE: u32 = 0x100 | 0x200;

/// Makes spans of requests.
#[derive(Clone)]
pub struct OwnRequests {
    queue: ExportQueue,
    clock: Arc<dyn Clock>,
    sampler: SamplerName,
    ratio: f64,
}

impl fmt::Debug for OwnRequests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnRequests").field("sampler", &self.sampler).finish_non_exhaustive()
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub struct Begun {
    span: Box<Span>,
    method: &'static str,
}

impl OwnRequests {
    /// Returns what puts the spans of sampled requests into a queue.
    #[must_use]
    pub fn new(queue: ExportQueue, clock: Arc<dyn Clock>, sampler: SamplerName, ratio: f64) -> Self {
        Self { queue, clock, sampler, ratio }
    }

    /// Begins the span of a request; none if it is to have none.
    #[must_use]
    pub fn begin(&self, req: &ServiceRequest) -> Option<Begun> {
        if !is_told(req.path()) {
            return None;
        }
        let parent = parent_of(req.headers());
        let now = self.clock.now();
        let trace =
            parent.map_or_else(|| tracer_core::ids::ExecutionId::mint(now), |(parent, _)| parent.trace);
        if !self.samples(trace.as_u128(), parent.map(|(_, sampled)| sampled)) {
            return None;
        }
        let method = method(req.method());
        let state = req.headers().get("tracestate").and_then(|value| value.to_str().ok());
        let state = state.filter(|state| parent.is_some() && state.len() <= TRACE_STATE_BYTES);
        let span = Span {
            trace_id: trace_bytes(trace),
            span_id: span_bytes(StepId::mint()),
            parent_span_id: parent.map(|(parent, _)| span_bytes(parent.parent)).unwrap_or_default(),
            trace_state: state.unwrap_or_default().to_owned(),
            flags: 1 | if parent.is_some() { REMOTE } else { 0x100 },
            kind: SpanKind::Server.into(),
            start_time_unix_nano: nanos(now),
            attributes: attributes(req, method),
            ..Span::default()
        };
        Some(Begun { span: Box::new(span), method })
    }

    /// Ends a span, and has it exported. `route` is the template that took the request, if one did.
    pub fn end(&self, begun: Begun, route: Option<&str>, status: u16, took: Micros) {
        let Begun { mut span, method } = begun;
        let name = if method == OTHER { "HTTP" } else { method };
        span.name = route.map_or_else(|| name.to_owned(), |route| format!("{name} {route}"));
        span.attributes.extend(route.map(|route| text("http.route", route)));
        span.attributes.push(pair("http.response.status_code", Any::IntValue(status.into())));
        // What a client did wrong is no error of the server.
        let failed = status >= 500;
        if failed {
            span.attributes.push(text("error.type", &status.to_string()));
        }
        let code = if failed { StatusCode::Error } else { StatusCode::Unset };
        span.status = Some(Status { code: code.into(), message: String::new() });
        span.end_time_unix_nano = span.start_time_unix_nano.saturating_add(took.get().saturating_mul(1_000));
        self.queue.offer(Item::Request(span));
    }

    /// Decides as OpenTelemetry's built-in samplers do.
    fn samples(&self, trace: u128, parent: Option<bool>) -> bool {
        let by_ratio = || {
            // By the last 63 bits, as the SDKs do, so that all of them choose the same traces.
            let bits = u64::try_from(trace & u128::from(u64::MAX)).unwrap_or(0) >> 1;
            #[expect(clippy::cast_precision_loss, reason = "a share need not be exact to the last bit")]
            let place = bits as f64 / (1_u64 << 63) as f64;
            self.ratio >= 1.0 || place < self.ratio
        };
        match self.sampler {
            SamplerName::AlwaysOn => true,
            SamplerName::AlwaysOff => false,
            SamplerName::TraceIdRatio => by_ratio(),
            SamplerName::ParentBasedAlwaysOn => parent.unwrap_or(true),
            SamplerName::ParentBasedAlwaysOff => parent.unwrap_or(false),
            SamplerName::ParentBasedTraceIdRatio => parent.unwrap_or_else(by_ratio),
        }
    }
}

fn is_told(path: &str) -> bool {
    !(path == "/metrics" || path.starts_with("/health") || path.starts_with("/v1/"))
}

/// Returns the caller's span, and whether it is sampled.
fn parent_of(headers: &HeaderMap) -> Option<(Traceparent, bool)> {
    let mut sent = headers.get_all("traceparent");
    let text = sent.next().filter(|_| sent.next().is_none())?.to_str().ok()?;
    let parent = Traceparent::parse(text)?;
    let flags = text.trim().split('-').nth(3).and_then(|flags| u8::from_str_radix(flags, 16).ok())?;
    Some((parent, flags & 1 == 1))
}

/// What stands for a method that HTTP does not know.
const OTHER: &str = "_OTHER";

fn method(method: &Method) -> &'static str {
    let known = ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "CONNECT", "TRACE"];
    known.into_iter().find(|known| *known == method.as_str()).unwrap_or(OTHER)
}

fn attributes(req: &ServiceRequest, method: &str) -> Vec<KeyValue> {
    let header = |name| req.headers().get(name).and_then(|value| value.to_str().ok());
    let mut told = vec![
        text("http.request.method", method),
        text("url.path", &cut(req.path())),
        text("url.scheme", if req.app_config().secure() { "https" } else { "http" }),
    ];
    let version = match req.version() {
        actix_web::http::Version::HTTP_10 => Some("1.0"),
        actix_web::http::Version::HTTP_11 => Some("1.1"),
        actix_web::http::Version::HTTP_2 => Some("2"),
        _ => None,
    };
    told.extend(version.map(|version| text("network.protocol.version", version)));
    told.extend(header(HOST).map(|host| {
        let name = host.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok());
        text("server.address", &cut(name.map_or(host, |(name, _)| name)))
    }));
    told.extend(req.peer_addr().map(|peer| text("client.address", &peer.ip().to_string())));
    told.extend(header(USER_AGENT).map(|agent| text("user_agent.original", &cut(agent))));
    told
}

fn cut(text: &str) -> String {
    text.chars().take(TEXT_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use tracer_core::test_util::FakeClock;

    use super::*;

    fn samples(sampler: SamplerName, trace: u128, parent: Option<bool>) -> bool {
        let (queue, _waiting) = ExportQueue::new(1);
        OwnRequests::new(queue, Arc::new(FakeClock::default()), sampler, 0.25).samples(trace, parent)
    }

    #[test]
    fn a_share_is_chosen_by_trace_id_alone() {
        let low = 0x1111_0000_0000_0000_3fff_ffff_0000_0000;
        let high = 0x1111_0000_0000_0000_4000_0000_0000_0000;
        for sampler in [SamplerName::TraceIdRatio, SamplerName::ParentBasedTraceIdRatio] {
            assert!(samples(sampler, low, None) && !samples(sampler, high, None), "{sampler:?}");
        }
    }

    #[test]
    fn a_caller_that_has_a_trace_decides_where_it_is_asked() {
        for (sampler, expected) in [
            (SamplerName::AlwaysOn, [true, true, true]),
            (SamplerName::AlwaysOff, [false, false, false]),
            (SamplerName::ParentBasedAlwaysOn, [true, true, false]),
            (SamplerName::ParentBasedAlwaysOff, [false, true, false]),
        ] {
            assert_eq!(
                [None, Some(true), Some(false)].map(|parent| samples(sampler, 1, parent)),
                expected,
                "{sampler:?}"
            );
        }
    }

    #[test]
    fn exporting_scraping_and_probing_make_no_spans() {
        for path in ["/v1/traces", "/metrics", "/health", "/health/ready"] {
            assert!(!is_told(path), "{path}");
        }
        assert!(is_told("/workflows"));
    }
}
