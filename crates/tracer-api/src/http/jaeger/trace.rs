//! An execution and its steps as a trace of Jaeger's. Loading it apart, pure.
//!
//! The root is the span that told of it, if one did; otherwise the execution itself, under the id that its
//! `traceparent`s name. Of a trace whose root has not come yet, nothing is made up.

use std::collections::BTreeMap;

use serde_json::Value;
use tracer_core::attributes::Attributes;
use tracer_core::detect::Bottleneck;
use tracer_core::execution::{Execution, ExecutionStatus};
use tracer_core::failure::Failure;
use tracer_core::ids::{ExecutionId, StepId};
use tracer_core::limits;
use tracer_core::repository::{Repository, RepositoryError, StepCursor};
use tracer_core::services::service_of;
use tracer_core::span::{ResourceId, SERVICE_NAME, Span, SpanDetail};
use tracer_core::step::{Step, StepStatus};
use tracer_core::time::{Micros, Timestamp};

use super::model::{JaegerLog, JaegerProcess, JaegerReference, JaegerSpan, JaegerTag, JaegerTrace};

/// Steps that are read at once.
const PAGE: usize = 1_000;

/// The spans that an answer still has room for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room(usize);

impl Default for Room {
    fn default() -> Self {
        Self(limits::JAEGER_SPANS)
    }
}

/// An execution with its steps, as far as there was room for them.
#[derive(Debug)]
pub(super) struct Gathered {
    pub(super) execution: Execution,
    pub(super) steps: Vec<Step>,
    pub(super) is_cut: bool,
}

/// Loads an execution as a trace; none if the id is unknown. Even without room, its root is shown.
pub(super) async fn load(
    repository: &dyn Repository,
    id: ExecutionId,
    now: Timestamp,
    room: &mut Room,
) -> Result<Option<JaegerTrace>, RepositoryError> {
    let Some(gathered) = gather(repository, id, room.0.max(1)).await? else { return Ok(None) };
    let trace = view(gathered, now);
    room.take(&trace);
    Ok(Some(trace))
}

impl Room {
    /// Gives the trace a place, and cuts it to what there is room for.
    pub(super) fn fit(&mut self, mut trace: JaegerTrace) -> JaegerTrace {
        if trace.spans.len() > self.0.max(1) {
            trace.spans.truncate(self.0.max(1));
            trace.warnings = Some(vec![cut_warning(trace.spans.len())]);
        }
        self.take(&trace);
        trace
    }

    fn take(&mut self, trace: &JaegerTrace) {
        self.0 = self.0.saturating_sub(trace.spans.len());
    }
}

/// Loads an execution and at most so many steps, earliest start first.
pub(super) async fn gather(
    repository: &dyn Repository,
    id: ExecutionId,
    most: usize,
) -> Result<Option<Gathered>, RepositoryError> {
    let Some(execution) = repository.execution(id).await? else { return Ok(None) };
    let mut steps: Vec<Step> = Vec::new();
    loop {
        let after = steps.last().map(|step| StepCursor { started_at: step.started_at, id: step.id });
        // One more than there is room for says that there are more.
        let wanted = (most + 1 - steps.len()).min(PAGE);
        let page = repository.steps(id, after, wanted).await?;
        let is_last = page.len() < wanted;
        steps.extend(page);
        if is_last || steps.len() > most {
            break;
        }
    }
    let is_cut = steps.len() > most;
    steps.truncate(most);
    Ok(Some(Gathered { execution, steps, is_cut }))
}

/// Shows an execution as a trace, root first.
pub(super) fn view(gathered: Gathered, now: Timestamp) -> JaegerTrace {
    let Gathered { execution, steps, is_cut } = gathered;
    let mut builder = Builder { execution: &execution, now, processes: Vec::new() };
    let root = builder.root();
    let spans: Vec<JaegerSpan> =
        root.into_iter().chain(steps.iter().map(|step| builder.step(step))).collect();
    let processes = builder
        .processes
        .into_iter()
        .enumerate()
        .map(|(at, (_, process))| (process_id(at), process))
        .collect();
    let warnings = is_cut.then(|| vec![cut_warning(spans.len())]);
    JaegerTrace { trace_id: trace_id(execution.id), spans, processes, warnings }
}

fn cut_warning(shown: usize) -> String {
    format!("only the first {shown} spans are shown: the answer has no room for more")
}

/// What made a span: a resource that the trace knows, or a service that nothing else is known of.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Maker {
    Resource(ResourceId),
    Service(String),
}

struct Builder<'a> {
    execution: &'a Execution,
    now: Timestamp,
    /// Few; in the order of their first spans.
    processes: Vec<(Maker, JaegerProcess)>,
}

impl Builder<'_> {
    fn root(&mut self) -> Option<JaegerSpan> {
        let trace = self.execution.trace.as_deref();
        match trace.and_then(|trace| trace.root.as_deref()) {
            Some(root) => Some(self.root_span(root)),
            None if trace.is_some_and(|trace| trace.born_of_spans) => None,
            None => Some(self.execution_itself()),
        }
    }

    /// The span that told of the execution.
    fn root_span(&mut self, root: &Span) -> JaegerSpan {
        let execution = self.execution;
        let end = root.end.as_ref();
        let (status, failure) =
            (end.map_or(StepStatus::Running, |end| end.status), end.and_then(|end| end.failure.as_ref()));
        let duration = end.map_or_else(|| self.now.since(root.started_at), |end| end.duration);
        let mut tags = tags_of(&root.attributes);
        tags.extend(status_tags(outcome(status), status.as_str(), failure));
        tags.extend(detail_tags(&root.detail));
        tags.push(JaegerTag::text("tracer.workflow.name", execution.workflow.as_str()));
        JaegerSpan {
            span_id: span_id(root.id),
            operation_name: root.name.as_str().to_owned(),
            references: references(execution.id, None, Some(&root.detail)),
            start_time: root.started_at.as_micros(),
            duration: duration.get(),
            logs: logs(Some(&root.detail), failure, root.ended_at()),
            process_id: self.process(Some(&root.detail), &root.attributes),
            warnings: self.warnings_of_execution(status == StepStatus::Running),
            ..self.blank(tags)
        }
    }

    /// The execution, where no span is its root.
    fn execution_itself(&mut self) -> JaegerSpan {
        let execution = self.execution;
        let is_running = execution.status == ExecutionStatus::Running;
        let duration = execution.duration.unwrap_or_else(|| self.now.since(execution.started_at));
        let outcome = match execution.status {
            ExecutionStatus::Completed => Some(true),
            ExecutionStatus::Failed | ExecutionStatus::TimedOut => Some(false),
            ExecutionStatus::Running | ExecutionStatus::Cancelled => None,
        };
        let mut tags = tags_of(&execution.attributes);
        tags.extend(status_tags(outcome, execution.status.as_str(), execution.failure.as_ref()));
        tags.push(JaegerTag::text("span.kind", "internal"));
        tags.push(JaegerTag::text("tracer.workflow.name", execution.workflow.as_str()));
        tags.extend(
            execution
                .version
                .iter()
                .map(|version| JaegerTag::text("tracer.workflow.version", version.as_str())),
        );
        tags.extend(
            execution.correlation_id.iter().map(|id| JaegerTag::text("tracer.correlation_id", id.as_str())),
        );
        let links = execution.link.map(|link| (link.trace, link.parent));
        let parent = execution.parent.map(|parent| (parent, parent.root_span()));
        let ended_at = execution.ended_at.unwrap_or(execution.started_at);
        JaegerSpan {
            span_id: span_id(execution.id.root_span()),
            operation_name: execution.workflow.as_str().to_owned(),
            references: links.into_iter().chain(parent).map(|(trace, span)| follows(trace, span)).collect(),
            start_time: execution.started_at.as_micros(),
            duration: duration.get(),
            logs: logs(None, execution.failure.as_ref(), ended_at),
            process_id: self.process(None, &execution.attributes),
            warnings: self.warnings_of_execution(is_running),
            ..self.blank(tags)
        }
    }

    fn step(&mut self, step: &Step) -> JaegerSpan {
        let detail = step.span.as_deref();
        let is_running = step.status == StepStatus::Running;
        let duration = step.duration.unwrap_or_else(|| self.now.since(step.started_at));
        let mut tags = tags_of(&step.attributes);
        tags.extend(status_tags(outcome(step.status), step.status.as_str(), step.failure.as_ref()));
        match detail {
            Some(detail) => tags.extend(detail_tags(detail)),
            None => tags.push(JaegerTag::text("span.kind", "internal")),
        }
        tags.push(JaegerTag::text("tracer.step.type", step.step_type.as_str()));
        if step.attempt > 1 {
            tags.extend(JaegerTag::of("tracer.step.attempt", &step.attempt.into()));
        }
        tags.extend(step.bottleneck.iter().flat_map(verdict_tags));
        let running = is_running.then(|| STILL_RUNNING.to_owned());
        let warnings: Vec<String> = step.bottleneck.iter().map(verdict_warning).chain(running).collect();
        // What its client started has the execution itself above everything that is part of nothing else.
        let born_of_spans = self.execution.trace.as_deref().is_some_and(|trace| trace.born_of_spans);
        let parent = step.parent.or_else(|| (!born_of_spans).then(|| step.execution.root_span()));
        JaegerSpan {
            span_id: span_id(step.id),
            operation_name: step.name.as_str().to_owned(),
            references: references(step.execution, parent, detail),
            start_time: step.started_at.as_micros(),
            duration: duration.get(),
            logs: logs(detail, step.failure.as_ref(), step.ended_at.unwrap_or(step.started_at)),
            process_id: self.process(detail, &step.attributes),
            warnings: (!warnings.is_empty()).then_some(warnings),
            ..self.blank(tags)
        }
    }

    /// Returns a span with what all of a trace have in common; the name of the service is its process's.
    fn blank(&self, mut tags: Vec<JaegerTag>) -> JaegerSpan {
        tags.retain(|tag| tag.key != SERVICE_NAME);
        JaegerSpan {
            trace_id: trace_id(self.execution.id),
            span_id: String::new(),
            flags: 1,
            operation_name: String::new(),
            references: Vec::new(),
            start_time: 0,
            duration: 0,
            tags,
            logs: Vec::new(),
            process_id: String::new(),
            warnings: None,
        }
    }

    fn warnings_of_execution(&self, is_running: bool) -> Option<Vec<String>> {
        let silent = self.execution.stalled.as_ref().map(verdict_warning);
        let running = is_running.then(|| STILL_RUNNING.to_owned());
        let warnings: Vec<String> = silent.into_iter().chain(running).collect();
        (!warnings.is_empty()).then_some(warnings)
    }

    /// Returns the id of the process that made a span: a service says so itself, or the workflow counts as one.
    fn process(&mut self, detail: Option<&SpanDetail>, attributes: &Attributes) -> String {
        let trace = self.execution.trace.as_deref();
        let known = detail.and_then(|detail| {
            let id = detail.resource?;
            Some((id, trace?.resources.get(&id)?))
        });
        let own = service_of(attributes).or_else(|| service_of(&self.execution.attributes));
        let service = own.unwrap_or_else(|| self.execution.workflow.as_str());
        let maker = known.map_or_else(|| Maker::Service(service.to_owned()), |(id, _)| Maker::Resource(id));
        let at = self.processes.iter().position(|(known, _)| *known == maker);
        process_id(at.unwrap_or_else(|| {
            let resource = known.map(|(_, resource)| &resource.0);
            let service_name = resource.and_then(service_of).unwrap_or(service).to_owned();
            let mut tags = resource.map(tags_of).unwrap_or_default();
            tags.retain(|tag| tag.key != SERVICE_NAME);
            self.processes.push((maker, JaegerProcess { service_name, tags }));
            self.processes.len() - 1
        }))
    }
}

const STILL_RUNNING: &str = "it still runs: its duration is what it has taken so far";

fn outcome(status: StepStatus) -> Option<bool> {
    match status {
        StepStatus::Completed => Some(true),
        StepStatus::Failed => Some(false),
        StepStatus::Running | StepStatus::Skipped | StepStatus::Cancelled => None,
    }
}

/// As the collector of OpenTelemetry tells Jaeger of a status.
fn status_tags(outcome: Option<bool>, status: &str, failure: Option<&Failure>) -> Vec<JaegerTag> {
    let mut tags = vec![JaegerTag::text("tracer.status", status)];
    match outcome {
        Some(true) => tags.push(JaegerTag::text("otel.status_code", "OK")),
        Some(false) => {
            tags.push(JaegerTag { key: "error".to_owned(), kind: "bool", value: Value::Bool(true) });
            tags.push(JaegerTag::text("otel.status_code", "ERROR"));
            let message =
                failure.map(|failure| failure.message.as_str()).filter(|message| !message.is_empty());
            tags.extend(message.map(|message| JaegerTag::text("otel.status_description", message)));
        }
        None => {}
    }
    tags
}

fn detail_tags(detail: &SpanDetail) -> Vec<JaegerTag> {
    let mut tags = vec![JaegerTag::text("span.kind", detail.kind.as_str())];
    tags.extend(detail.scope.iter().map(|scope| JaegerTag::text("otel.scope.name", scope.as_str())));
    if detail.dropped > 0 {
        tags.extend(JaegerTag::of("tracer.dropped", &detail.dropped.into()));
    }
    tags
}

fn verdict_tags(verdict: &Bottleneck) -> Vec<JaegerTag> {
    let mut tags = vec![JaegerTag::text("tracer.bottleneck.severity", verdict.severity.as_str())];
    if verdict.samples > 0 {
        tags.extend(JaegerTag::of("tracer.bottleneck.factor", &verdict.factor().into()));
        tags.extend(JaegerTag::of(
            "tracer.bottleneck.historical_avg_ms",
            &verdict.historical_avg.as_millis().into(),
        ));
    }
    tags
}

fn verdict_warning(verdict: &Bottleneck) -> String {
    let (severity, compared) = (verdict.severity.as_str(), verdict.compared_with());
    let took = millis(verdict.duration);
    let took = if verdict.in_flight { format!("{took} so far") } else { took };
    match verdict.samples {
        0 => format!("{severity}: {took}, {compared}"),
        _ => {
            let (average, factor) = (millis(verdict.historical_avg), verdict.factor());
            format!("{severity}: {took} instead of {average} on average, {factor} times as long, {compared}")
        }
    }
}

fn millis(duration: Micros) -> String {
    format!("{} ms", duration.as_millis())
}

fn tags_of(attributes: &Attributes) -> Vec<JaegerTag> {
    attributes.entries().iter().filter_map(|(key, value)| JaegerTag::of(key, value)).collect()
}

/// What happened in a span; a failure that none of it tells of is an exception.
fn logs(detail: Option<&SpanDetail>, failure: Option<&Failure>, ended_at: Timestamp) -> Vec<JaegerLog> {
    let events = detail.map(|detail| detail.events.as_slice()).unwrap_or_default();
    let mut logs: Vec<JaegerLog> = events
        .iter()
        .map(|event| {
            let name = JaegerTag::text("event", event.name.as_str());
            let fields = [name].into_iter().chain(tags_of(&event.attributes)).collect();
            JaegerLog { timestamp: event.at.as_micros(), fields }
        })
        .collect();
    if let Some(failure) = failure.filter(|_| !events.iter().any(|event| event.name == "exception")) {
        let kind = failure.kind.iter().map(|kind| JaegerTag::text("exception.type", kind.as_str()));
        let stack = failure.stack.iter().map(|stack| JaegerTag::text("exception.stacktrace", stack.as_str()));
        let message = JaegerTag::text("exception.message", failure.message.as_str());
        // In the order of the attributes that an event has.
        let fields = [JaegerTag::text("event", "exception"), message].into_iter().chain(stack).chain(kind);
        logs.push(JaegerLog { timestamp: ended_at.as_micros(), fields: fields.collect() });
    }
    logs
}

fn references(
    execution: ExecutionId,
    parent: Option<StepId>,
    detail: Option<&SpanDetail>,
) -> Vec<JaegerReference> {
    let parent = parent.map(|parent| JaegerReference {
        ref_type: "CHILD_OF",
        trace_id: trace_id(execution),
        span_id: span_id(parent),
    });
    let links = detail.map(|detail| detail.links.as_slice()).unwrap_or_default();
    parent.into_iter().chain(links.iter().map(|link| follows(link.trace, link.span))).collect()
}

fn follows(trace: ExecutionId, span: StepId) -> JaegerReference {
    JaegerReference { ref_type: "FOLLOWS_FROM", trace_id: trace_id(trace), span_id: span_id(span) }
}

fn trace_id(id: ExecutionId) -> String {
    format!("{:032x}", id.as_u128())
}

fn span_id(id: StepId) -> String {
    format!("{:016x}", id.as_u64())
}

fn process_id(at: usize) -> String {
    format!("p{}", at + 1)
}

/// Processes by the name of their service: what a search needs to know of a trace.
pub(super) fn processes_of<'a>(
    trace: &'a JaegerTrace,
    service: &str,
) -> BTreeMap<&'a str, &'a JaegerProcess> {
    let of_service = trace.processes.iter().filter(|(_, process)| process.service_name == service);
    of_service.map(|(id, process)| (id.as_str(), process)).collect()
}
