//! `traces?service=…`: candidates newest first, of which each is looked into until there are as many as asked for.
//!
//! Who is a candidate is found by an index; what their spans say is not indexed, so that how many are looked into is
//! bounded.

use std::collections::{BTreeMap, HashSet};

use futures_util::StreamExt as _;
use futures_util::stream;
use tracer_core::execution::Execution;
use tracer_core::limits;
use tracer_core::name::WorkflowName;
use tracer_core::repository::{ExecutionCursor, ExecutionFilter, Repository, RepositoryError};
use tracer_core::span::SERVICE_NAME;
use tracer_core::time::{Micros, Timestamp};

use super::model::{JaegerSpan, JaegerTrace};
use super::query::{Asked, LAST_MILLIS, read_duration};
use super::trace::{self, Room, processes_of};
use crate::error::ApiError;

/// Traces that are shown if it is not said how many.
const DEFAULT_LIMIT: usize = 100;
/// How far back is looked if it is not said: as far as Jaeger does.
const DEFAULT_LOOKBACK: Micros = Micros::from_days(2);
/// Candidates that are found at once, and that are loaded at the same time.
const PAGE: usize = 100;
const AT_ONCE: usize = 4;

/// What is searched for.
#[derive(Debug)]
pub(super) struct Search {
    service: String,
    spans: SpanFilter,
    from: Timestamp,
    until: Timestamp,
    limit: usize,
}

/// What one span of a trace must be.
#[derive(Debug, Default, PartialEq)]
struct SpanFilter {
    operation: Option<String>,
    tags: BTreeMap<String, String>,
    least: Option<Micros>,
    most: Option<Micros>,
}

impl Search {
    /// Reads what is searched for.
    ///
    /// # Errors
    /// 400, in the words of the parameter.
    pub(super) fn read(asked: &Asked, now: Timestamp) -> Result<Self, ApiError> {
        let service = asked.required("service")?.to_owned();
        let within = |micros: i64| Timestamp::from_micros(micros.clamp(0, LAST_MILLIS * 1_000));
        let micros = |text: &str| text.parse::<i64>().ok().map(within);
        let end = asked.read("end", micros)?.unwrap_or(now);
        // Jaeger's page sends `custom` where it sends the start.
        let lookback = asked.text("lookback").and_then(read_duration).unwrap_or(DEFAULT_LOOKBACK);
        let from = asked.read("start", micros)?.unwrap_or_else(|| within((end - lookback).as_micros()));
        let limit = |text: &str| text.parse().ok().filter(|limit| *limit >= 1);
        let limit = asked.read("limit", limit)?.unwrap_or(DEFAULT_LIMIT).min(limits::JAEGER_TRACES);
        let spans = SpanFilter {
            // What stands for all in Jaeger's page and in Grafana.
            operation: asked
                .text("operation")
                .filter(|name| *name != "all" && *name != "All")
                .map(str::to_owned),
            tags: asked.tags()?,
            least: asked.read("minDuration", read_duration)?,
            most: asked.read("maxDuration", read_duration)?,
        };
        if spans.least.zip(spans.most).is_some_and(|(least, most)| most < least) {
            return Err(ApiError::bad_request("'maxDuration' should be greater than 'minDuration'"));
        }
        Ok(Self { service, spans, from, until: end + Micros::new(1), limit })
    }

    /// Finds the traces.
    pub(super) async fn run(
        &self,
        repository: &dyn Repository,
        now: Timestamp,
    ) -> Result<Vec<JaegerTrace>, RepositoryError> {
        let (mut found, mut room) = (Vec::new(), Room::default());
        let (mut executions, mut steps) = (0, 0);
        let mut after = None;
        loop {
            let page = self.candidates(repository, after).await?;
            let is_last = page.len() < PAGE;
            after = page.last().map(|last| ExecutionCursor { started_at: last.started_at, id: last.id });
            let loads = page
                .into_iter()
                .map(|execution| trace::gather(repository, execution.id, limits::JAEGER_SPANS));
            let mut loaded = stream::iter(loads).buffered(AT_ONCE);
            while let Some(gathered) = loaded.next().await {
                let Some(gathered) = gathered? else { continue };
                executions += 1;
                steps += gathered.steps.len();
                let is_all_its_own = gathered.execution.workflow.as_str() == self.service;
                let trace = trace::view(gathered, now);
                if self.spans.is_met_by(&trace, &self.service, is_all_its_own) {
                    found.push(room.fit(trace));
                }
                let is_enough =
                    executions >= limits::JAEGER_LOOKED_AT || steps >= limits::JAEGER_STEPS_LOOKED_AT;
                if found.len() >= self.limit || is_enough {
                    return Ok(found);
                }
            }
            if is_last {
                return Ok(found);
            }
        }
    }

    /// Returns the next executions that the service may have a part in, newest start first: those whose spans say so,
    /// those whose attributes do, and those of a workflow of this name.
    async fn candidates(
        &self,
        repository: &dyn Repository,
        after: Option<ExecutionCursor>,
    ) -> Result<Vec<Execution>, RepositoryError> {
        let within = ExecutionFilter {
            started_after: Some(self.from),
            started_before: Some(self.until),
            ..ExecutionFilter::default()
        };
        let mut found =
            repository.executions_of_service(&self.service, self.from, self.until, after, PAGE).await?;
        let by_attribute = ExecutionFilter {
            attributes: vec![(SERVICE_NAME.to_owned(), self.service.clone())],
            ..within.clone()
        };
        found.extend(repository.executions(&by_attribute, after, PAGE).await?);
        if let Ok(workflow) = WorkflowName::new(&self.service) {
            let by_workflow = ExecutionFilter { workflow: Some(workflow), ..within };
            found.extend(repository.executions(&by_workflow, after, PAGE).await?);
        }
        let mut known = HashSet::new();
        found.retain(|execution| known.insert(execution.id));
        found.sort_by_key(|execution| std::cmp::Reverse((execution.started_at, execution.id)));
        found.truncate(PAGE);
        Ok(found)
    }
}

impl SpanFilter {
    /// Returns whether a span of the service is what is searched for. Where a workflow counts as the service, all
    /// spans of its executions are its own.
    fn is_met_by(&self, trace: &JaegerTrace, service: &str, is_all_its_own: bool) -> bool {
        if *self == Self::default() {
            return true;
        }
        let own = processes_of(trace, service);
        trace.spans.iter().any(|span| {
            (is_all_its_own || own.contains_key(span.process_id.as_str())) && self.is_met_by_span(span, trace)
        })
    }

    fn is_met_by_span(&self, span: &JaegerSpan, trace: &JaegerTrace) -> bool {
        let has = |key: &str, written: &str| {
            let process = trace.processes.get(&span.process_id).map(|process| process.tags.as_slice());
            let logged = span.logs.iter().flat_map(|log| &log.fields);
            let tags = span.tags.iter().chain(process.unwrap_or_default()).chain(logged);
            tags.into_iter().any(|tag| tag.is(key, written))
        };
        self.operation.as_ref().is_none_or(|name| span.operation_name == *name)
            && self.least.is_none_or(|least| span.duration >= least.get())
            && self.most.is_none_or(|most| span.duration <= most.get())
            && self.tags.iter().all(|(key, written)| has(key, written))
    }
}
