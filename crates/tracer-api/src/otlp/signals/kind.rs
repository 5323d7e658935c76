//! What kind of work a span is, told by its attributes and by its `SpanKind`.
//!
//! The conventions are those of <https://opentelemetry.io/docs/specs/semconv/>, of OpenInference
//! (<https://github.com/Arize-ai/openinference>) and of OpenLLMetry (<https://github.com/traceloop/openllmetry>).

use std::ops::BitOrAssign;

use tracer_core::span::SpanKind;

use super::Signals;

/// Families of attributes that a span has some of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Family(u8);

impl Family {
    /// `gen_ai.…`
    pub const GEN_AI: Self = Self(1);
    /// `db.…`
    pub const DB: Self = Self(2);
    /// `http.…`
    pub const HTTP: Self = Self(4);
    /// `messaging.…`
    pub const MESSAGING: Self = Self(8);
    /// `rpc.…`
    pub const RPC: Self = Self(16);
    /// `faas.…`
    pub const FAAS: Self = Self(32);
    /// `mcp.…`
    pub const MCP: Self = Self(64);

    /// Returns the family of an attribute.
    #[must_use]
    pub fn of(key: &str) -> Self {
        match key.split_once('.') {
            Some(("gen_ai", _)) => Self::GEN_AI,
            Some(("db", _)) => Self::DB,
            Some(("http", _)) => Self::HTTP,
            Some(("messaging", _)) => Self::MESSAGING,
            Some(("rpc", _)) => Self::RPC,
            Some(("faas", _)) => Self::FAAS,
            Some(("mcp", _)) => Self::MCP,
            _ => Self(0),
        }
    }

    const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

impl BitOrAssign for Family {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

impl<'s> Signals<'s> {
    /// Returns the type of the step that a span is, as it is told; none where nothing tells. The first line that
    /// fits counts.
    ///
    /// | told by | type |
    /// |---|---|
    /// | `tracer.step.type` | its value |
    /// | `openinference.span.kind` | `llm`, `tool`, `agent`, `retriever`, `embedding`, `reranker`, `guardrail`, `evaluator`, `chain`, `prompt` |
    /// | `gen_ai.operation.name` | `tool`, `agent`, `embedding`, `retriever`, `workflow`; else `llm` |
    /// | `traceloop.span.kind` | `workflow`, `agent`, `tool` |
    /// | any `mcp.…` | `tool` |
    /// | any `gen_ai.…` | `llm` |
    /// | any `db.…` | `db` |
    /// | any `messaging.…` | `messaging` |
    /// | any `rpc.…` | `rpc` |
    /// | any `http.…`, on a span that calls | `http` |
    /// | any `faas.…` | `faas` |
    /// | the span's kind is producer or consumer | `messaging` |
    #[must_use]
    pub fn step_type(&self, kind: SpanKind) -> Option<&'s str> {
        self.own_type
            .or_else(|| self.openinference.and_then(openinference))
            .or_else(|| self.gen_ai_operation.map(gen_ai))
            .or_else(|| self.traceloop.and_then(traceloop))
            .or_else(|| family(self.families, kind))
    }
}

fn openinference(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "LLM" => "llm",
        "TOOL" => "tool",
        "AGENT" => "agent",
        "RETRIEVER" => "retriever",
        "EMBEDDING" => "embedding",
        "RERANKER" => "reranker",
        "GUARDRAIL" => "guardrail",
        "EVALUATOR" => "evaluator",
        "CHAIN" => "chain",
        "PROMPT" => "prompt",
        _ => return None,
    })
}

fn gen_ai(operation: &str) -> &'static str {
    match operation {
        "execute_tool" => "tool",
        "create_agent" | "invoke_agent" => "agent",
        "embeddings" => "embedding",
        "retrieval" => "retriever",
        "invoke_workflow" => "workflow",
        // chat, text_completion, generate_content, and what is yet to come.
        _ => "llm",
    }
}

fn traceloop(kind: &str) -> Option<&'static str> {
    // A `task` is what every step is.
    ["workflow", "agent", "tool"].into_iter().find(|known| *known == kind)
}

fn family(families: Family, kind: SpanKind) -> Option<&'static str> {
    let by_family = [
        (Family::MCP, "tool"),
        (Family::GEN_AI, "llm"),
        (Family::DB, "db"),
        (Family::MESSAGING, "messaging"),
        (Family::RPC, "rpc"),
        (if kind == SpanKind::Client { Family::HTTP } else { Family(0) }, "http"),
        (Family::FAAS, "faas"),
    ];
    let found = by_family.into_iter().find(|(family, _)| families.has(*family)).map(|(_, name)| name);
    found.or(matches!(kind, SpanKind::Producer | SpanKind::Consumer).then_some("messaging"))
}

/// Returns the kind of a span by its number in OTLP.
#[must_use]
pub const fn span_kind(number: i32) -> SpanKind {
    match number {
        2 => SpanKind::Server,
        3 => SpanKind::Client,
        4 => SpanKind::Producer,
        5 => SpanKind::Consumer,
        _ => SpanKind::Internal,
    }
}
