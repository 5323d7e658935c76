//! What attributes tell by convention: the workflow, the kind of work, the attempt, that something began.
//!
//! The attributes of a span are passed over once, and what tells is kept by where it is from. The conventions,
//! and which of several counts, are the table in `docs/opentelemetry.md`.
//!
//! Not here: what becomes of it (`mapping`, `starts`).

mod kind;

use tracer_core::limits;

use super::wire::{AnyValue, Pairs};

pub use self::kind::{Family, span_kind};

/// How many conventions name a workflow on any span.
const NAMES: usize = 8;

/// What the attributes of one span tell.
#[derive(Clone, Debug, Default)]
pub struct Signals<'s> {
    /// Names of the workflow, in the order in which they count.
    names: [Option<&'s str>; NAMES],
    /// A name that counts only on a root, where it is that of the whole.
    agent: Option<&'s str>,
    entity: Option<&'s str>,
    own_type: Option<&'s str>,
    gen_ai_operation: Option<&'s str>,
    openinference: Option<&'s str>,
    traceloop: Option<&'s str>,
    families: Family,
    attempt: Option<i64>,
    retries: Option<i64>,
    /// The version of the workflow.
    pub version: Option<&'s str>,
    /// Whether the span says that it only began.
    pub is_running: bool,
    /// Whether it is Logfire's message that its parent began.
    pub is_pending: bool,
    /// The parent of that parent, in hexadecimal digits.
    pub pending_parent: Option<&'s str>,
}

impl<'s> Signals<'s> {
    /// Passes over the attributes of a span, or of what produced spans.
    #[must_use]
    pub fn of(attributes: &'s Pairs<'_>) -> Self {
        let mut signals = Self::default();
        for pair in attributes.kept() {
            signals.note(&pair.key, &pair.value);
        }
        signals
    }

    fn note(&mut self, key: &str, value: &'s AnyValue<'_>) {
        let text = || value.text();
        match key {
            "tracer.workflow.name" => self.name(0, text()),
            "workflow.name" => self.name(1, text()),
            "airflow.dag_id" | "dag_id" => self.name(2, text()),
            "prefect.flow.name" => self.name(3, text()),
            "dagster.job_name" | "dagster.job.name" => self.name(4, text()),
            "temporalWorkflowType" | "temporal.workflow.type" | "temporal.workflow_type" => {
                self.name(5, text())
            }
            "gen_ai.workflow.name" => {
                self.name(6, text());
                self.families |= Family::GEN_AI;
            }
            "traceloop.workflow.name" => self.name(7, text()),
            "traceloop.entity.name" => self.entity = text(),
            "traceloop.span.kind" => self.traceloop = text(),
            "openinference.span.kind" => self.openinference = text(),
            "agent.name" => self.agent = self.agent.or(text()),
            "gen_ai.agent.name" => {
                self.agent = text();
                self.families |= Family::GEN_AI;
            }
            "gen_ai.operation.name" => {
                self.gen_ai_operation = text();
                self.families |= Family::GEN_AI;
            }
            "tracer.step.type" => self.own_type = text(),
            "tracer.step.state" => self.is_running = text() == Some("running"),
            "tracer.workflow.version" => self.version = text(),
            "tracer.step.attempt" => self.attempt = value.whole(),
            "airflow.task_instance.try_number"
            | "airflow.try_number"
            | "try_number"
            | "temporal.attempt"
            | "temporalAttempt" => self.attempt = self.attempt.or(value.whole()),
            "http.request.resend_count" | "http.resend_count" => {
                self.retries = value.whole();
                self.families |= Family::HTTP;
            }
            "dagster.retry_number" => self.retries = value.whole(),
            "logfire.span_type" => self.is_pending = text() == Some("pending_span"),
            "logfire.pending_parent_id" => self.pending_parent = text(),
            _ => self.families |= Family::of(key),
        }
    }

    /// A key may have two forms: the first one that is there counts.
    fn name(&mut self, rank: usize, name: Option<&'s str>) {
        if let Some(place) = self.names.get_mut(rank) {
            *place = place.or(name);
        }
    }

    /// Returns the name of the workflow, where any span may tell it.
    #[must_use]
    pub fn workflow(&self) -> Option<&'s str> {
        self.names.iter().flatten().next().copied()
    }

    /// Returns the name of the workflow, where the span is its root: then an agent or a chain that is the whole
    /// names it too. `name` is the span's.
    #[must_use]
    pub fn workflow_of_root(&self, name: &'s str) -> Option<&'s str> {
        let whole = matches!(self.traceloop, Some("workflow" | "agent"));
        let chain = matches!(self.openinference, Some("CHAIN" | "AGENT"));
        self.workflow()
            .or(self.entity.filter(|_| whole))
            .or(self.agent)
            .or((chain && !is_generic(name)).then_some(name))
    }

    /// Returns which attempt at the same work the span is, from 1 to [`limits::ATTEMPTS`].
    #[must_use]
    pub fn attempt(&self) -> u32 {
        let told = self.attempt.or(self.retries.map(|retries| retries.saturating_add(1))).unwrap_or(1);
        u32::try_from(told).map_or(1, |attempt| attempt.clamp(1, limits::ATTEMPTS))
    }
}

/// Returns the workflow that a span of a Temporal SDK runs, by its name: `RunWorkflow:OrderWorkflow`.
#[must_use]
pub fn temporal_workflow(name: &str) -> Option<&str> {
    let workflow = name.strip_prefix("RunWorkflow:").or_else(|| name.strip_prefix("StartWorkflow:"))?;
    Some(workflow.trim()).filter(|name| !name.is_empty())
}

/// Returns whether a chain is named by what it is made of, and not by what it is for.
fn is_generic(name: &str) -> bool {
    matches!(
        name,
        "RunnableSequence"
            | "RunnableLambda"
            | "RunnableParallel"
            | "LangGraph"
            | "AgentExecutor"
            | "LLMChain"
            | "Chain"
            | "chain"
            | "agent"
            | "Agent"
            | "workflow"
            | "invoke_agent"
    )
}
