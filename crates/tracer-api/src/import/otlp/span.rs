//! A span that has ended, as files tell of it.

use serde::{Deserialize, Serialize};
use tracer_core::ids::ExecutionId;
use tracer_core::span::{Resource, Span, SpanDetail, SpanEnd};

use crate::otlp::mapping::Mapped;

/// A finished span.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FinishedSpan {
    /// The span, without events and links: these are not imported.
    pub span: Span,
    /// How it ended.
    pub end: SpanEnd,
    /// What produced it, where it is a root: an execution has the attributes of its process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<Resource>,
}

impl FinishedSpan {
    /// Takes a span, and returns it with its trace; none if it has not ended.
    #[must_use]
    pub fn new(mapped: Mapped, resource: &Resource) -> Option<(ExecutionId, Self)> {
        let mut span = mapped.span;
        span.detail = SpanDetail { kind: span.detail.kind, ..SpanDetail::default() }.into();
        let end = span.end.take()?;
        let resource = span.parent.is_none().then(|| resource.clone());
        Some((mapped.trace, Self { span, end, resource }))
    }
}
