//! Spans that are sent together: as many as a receiver takes at once, each under the service that made it.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message as _;

use super::spans::text;

/// Most spans in an export, as the exporters of SDKs have it.
pub(super) const SPANS: usize = 512;
/// Most bytes of the spans in an export, before compression: what receivers take at least (gRPC's default).
pub(super) const BYTES: usize = 4 * 1024 * 1024;
/// What a service, its frame and its attributes may take of that.
const FRAME_BYTES: usize = 64 * 1024;

/// What made spans: the name of the service, and its version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Origin {
    pub(super) service: String,
    pub(super) version: Option<String>,
}

/// Spans that are gathered.
#[derive(Debug, Default)]
pub(super) struct Batch {
    spans: BTreeMap<Origin, Vec<Span>>,
    number: usize,
    bytes: usize,
}

impl Batch {
    /// Returns whether it is to be sent before this span is added.
    pub(super) fn is_full_for(&self, origin: &Origin, span: &Span) -> bool {
        self.number > 0
            && (self.number >= SPANS || self.bytes + self.cost(origin, span) > BYTES - FRAME_BYTES)
    }

    /// Adds a span.
    pub(super) fn add(&mut self, origin: &Origin, span: Span) {
        self.bytes += self.cost(origin, &span);
        self.number += 1;
        match self.spans.get_mut(origin) {
            Some(spans) => spans.push(span),
            None => drop(self.spans.insert(origin.clone(), vec![span])),
        }
    }

    /// Returns whether nothing is to be sent.
    pub(super) const fn is_empty(&self) -> bool {
        self.number == 0
    }

    /// Returns whether more spans may be added.
    pub(super) const fn has_room(&self) -> bool {
        self.number < SPANS
    }

    /// Empties it, and returns what is to be sent, and how many spans that are. `known` is what is known of every
    /// service.
    pub(super) fn take(&mut self, known: &[(String, String)]) -> (ExportTraceServiceRequest, u64) {
        let Self { spans, number, .. } = std::mem::take(self);
        let resource_spans = spans.into_iter().map(|(origin, spans)| ResourceSpans {
            resource: Some(Resource { attributes: resource(&origin, known), ..Resource::default() }),
            scope_spans: vec![ScopeSpans { scope: Some(scope()), spans, schema_url: String::new() }],
            schema_url: String::new(),
        });
        let request = ExportTraceServiceRequest { resource_spans: resource_spans.collect() };
        (request, u64::try_from(number).unwrap_or(u64::MAX))
    }

    fn cost(&self, origin: &Origin, span: &Span) -> usize {
        // A field's tag and length come with each.
        const FRAME: usize = 8;
        let service = if self.spans.contains_key(origin) { 0 } else { 512 + origin.service.len() };
        span.encoded_len() + FRAME + service
    }
}

/// Says what made spans; what the origin says wins over what is known of every service.
fn resource(origin: &Origin, known: &[(String, String)]) -> Vec<KeyValue> {
    let mut all: BTreeMap<&str, &str> = BTreeMap::new();
    all.insert("telemetry.sdk.name", "tracer");
    all.insert("telemetry.sdk.language", "rust");
    all.insert("telemetry.sdk.version", env!("CARGO_PKG_VERSION"));
    all.extend(known.iter().map(|(key, value)| (key.as_str(), value.as_str())));
    all.insert("service.name", &origin.service);
    all.extend(origin.version.as_deref().map(|version| ("service.version", version)));
    all.into_iter().map(|(key, value)| text(key, value)).collect()
}

fn scope() -> InstrumentationScope {
    InstrumentationScope {
        name: "tracer".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    }
}
