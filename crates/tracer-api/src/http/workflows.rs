//! Executions: `/workflows`.

mod list;

use std::collections::BTreeMap;

use actix_web::http::header::LOCATION;
use actix_web::{HttpRequest, HttpResponse, get, post, put, web};
use serde::Deserialize;
use serde_json::Value;
use tracer_core::cohort::{BaselineKey, Cohort};
use tracer_core::detect::{Bottleneck, Histories};
use tracer_core::ids::{ExecutionId, StepId, Traceparent};
use tracer_core::limits;
use tracer_core::name::{CorrelationId, StepName, Version, WorkflowName};
use tracer_core::record::{EndExecution, StartExecution};
use tracer_core::repository::{BottleneckSteps, StepCursor};
use tracer_core::step::Step;
use tracer_core::time::Timestamp;
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

pub(super) use self::list::{instant, page_rows, severity};
use super::body::{Body, RequestBody};
use super::checks::{Checks, Reported};
use super::events::EventPlace;
use super::headers::Upstream;
use super::query::{NoParameters, Query};
use super::refusal::{AskErrors, RecordErrors, UNKNOWN_EXECUTION};
use super::retry::Retry;
use super::views::{
    BottleneckView, BottlenecksView, EventView, ExecutionDetailView, ExecutionEndedView, ExecutionStartedView,
};
use super::{cursor, fields};
use crate::error::ApiError;
use crate::recording::{Arrival, Tracing};
use crate::state::AppState;

/// Registers the routes.
pub(super) fn routes(config: &mut ServiceConfig<'_>) {
    config
        .service(start_workflow)
        .service(end_workflow)
        .service(list::list_workflows)
        .service(show_workflow)
        .service(list_bottlenecks);
}

/// What starts an execution.
#[derive(Debug, Deserialize, ToSchema)]
struct StartWorkflow {
    /// The workflow: 1 to 200 characters, none of them a control character.
    #[schema(required = true, value_type = String, example = "nightly_etl")]
    workflow_name: Option<String>,
    /// An id of the client's own, by which it finds the execution again.
    #[schema(example = "order-4711")]
    correlation_id: Option<String>,
    /// The same as `correlation_id`, by another name.
    execution_id: Option<String>,
    /// The version of the workflow.
    #[schema(example = "1.4.2")]
    version: Option<String>,
    /// At most 64 values, 32 KiB in all.
    attributes: Option<BTreeMap<String, Value>>,
    /// What the execution is given: at most 64 KiB.
    input: Option<Value>,
    /// When it began, if not now.
    #[schema(value_type = Option<String>, format = DateTime)]
    started_at: Option<String>,
    /// The execution that starts this one.
    parent_workflow_id: Option<String>,
}

impl RequestBody for StartWorkflow {}

impl StartWorkflow {
    fn into_command(self, link: Option<Traceparent>, now: Timestamp) -> Result<StartExecution, ApiError> {
        let mut checks = Checks::default();
        let workflow = checks.required("/workflow_name", self.workflow_name.as_deref(), WorkflowName::new);
        if let (Some(one), Some(other)) = (&self.correlation_id, &self.execution_id)
            && one != other
        {
            checks.fault("/execution_id", "must equal correlation_id, whose other name it is");
        }
        let (pointer, own_id) = match self.correlation_id {
            Some(id) => ("/correlation_id", Some(id)),
            None => ("/execution_id", self.execution_id),
        };
        let correlation_id = checks.optional(pointer, own_id.as_deref(), CorrelationId::new);
        let version = checks.optional("/version", self.version.as_deref(), Version::new);
        let attributes = checks.attributes(self.attributes);
        let input = checks.payload("/input", self.input.as_ref());
        let started_at = checks.time("/started_at", self.started_at.as_deref(), now).unwrap_or(now);
        let parent = checks.optional(
            "/parent_workflow_id",
            self.parent_workflow_id.as_deref(),
            str::parse::<ExecutionId>,
        );
        checks.finish(|| {
            Some(StartExecution {
                id: ExecutionId::mint(now),
                workflow: workflow?,
                correlation_id,
                version,
                attributes,
                input,
                started_at,
                parent,
                link,
                simulated: false,
            })
        })
    }
}

/// Start an execution of a workflow.
///
/// Its id is also its W3C trace id. A `traceparent` that the request carries is kept as a link.
#[utoipa::path(tag = "record", request_body = StartWorkflow,
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes the request safe to repeat, for 24 hours.")),
    responses((status = 201, description = "The execution runs.", body = ExecutionStartedView, headers(
        ("Location" = String, description = "The path of the execution."),
        ("traceparent" = String, description = "As in the body."),
        ("Idempotency-Replayed" = String, description = "`true`, where the answer repeats that of an earlier request."),
    )), RecordErrors))]
#[post("/workflows")]
async fn start_workflow(
    state: web::Data<AppState>,
    retry: Retry,
    upstream: Upstream,
    _: Query<NoParameters>,
    body: Body<StartWorkflow>,
) -> Result<HttpResponse, ApiError> {
    let now = state.tracing.now();
    let arrival = retry.arrival(now, || body.digest());
    let start = body.into_inner().into_command(upstream.0, now)?;
    let started = state.tracing.start_execution(start, arrival).await?;
    let view = ExecutionStartedView::from(started.value);
    let mut answer = retry.created(started.fresh, &view.traceparent, &view);
    if let Ok(location) = format!("/workflows/{}", view.workflow_id).parse() {
        answer.headers_mut().insert(LOCATION, location);
    }
    Ok(answer)
}

/// What ends an execution; nothing: it completed.
#[derive(Debug, Deserialize, ToSchema)]
struct EndWorkflow {
    /// `completed`, `failed`, `timed_out` or `cancelled`; `completed` if it is left out, or `failed` if
    /// there is an error.
    #[schema(example = "completed")]
    status: Option<String>,
    /// Why it failed.
    error: Option<Reported>,
    /// The same as `error`, by another name.
    error_message: Option<Reported>,
    /// When it ended, if not now.
    #[schema(value_type = Option<String>, format = DateTime)]
    ended_at: Option<String>,
    /// What it produced: at most 64 KiB.
    output: Option<Value>,
}

impl RequestBody for EndWorkflow {
    const MAY_BE_EMPTY: bool = true;
}

impl EndWorkflow {
    fn into_command(self, id: ExecutionId, now: Timestamp) -> Result<EndExecution, ApiError> {
        let mut checks = Checks::default();
        let error = self.error.or(self.error_message);
        let ending = fields::execution_ending(&mut checks, self.status.as_deref(), error);
        let ended_at = checks.time("/ended_at", self.ended_at.as_deref(), now);
        let output = checks.payload("/output", self.output.as_ref());
        checks.finish(|| {
            let (status, failure) = ending?;
            Some(EndExecution { id, status, ended_at, failure, output })
        })
    }
}

/// End an execution.
///
/// Steps still running are cancelled with it. Ending it the same way again answers what is stored.
#[utoipa::path(tag = "record", request_body = EndWorkflow,
    params(("workflow_id" = String, Path, description = "The execution's id.")),
    responses((status = 200, description = "The execution has ended.", body = ExecutionEndedView), RecordErrors))]
#[put("/workflows/{workflow_id}")]
async fn end_workflow(
    req: HttpRequest,
    state: web::Data<AppState>,
    _: Query<NoParameters>,
    body: Body<EndWorkflow>,
) -> Result<web::Json<ExecutionEndedView>, ApiError> {
    let now = state.tracing.now();
    let end = body.into_inner().into_command(fields::execution_id(&req)?, now)?;
    let ended = state.tracing.end_execution(end, Arrival::plain(now)).await?;
    Ok(web::Json(ended.value.into()))
}

/// Show an execution with its first 1,000 steps and 100 events.
#[utoipa::path(tag = "ask", params(("workflow_id" = String, Path, description = "The execution's id.")),
    responses((status = 200, description = "The execution.", body = ExecutionDetailView), AskErrors))]
#[get("/workflows/{workflow_id}")]
async fn show_workflow(
    req: HttpRequest,
    state: web::Data<AppState>,
    _: Query<NoParameters>,
) -> Result<web::Json<ExecutionDetailView>, ApiError> {
    let id = fields::execution_id(&req)?;
    let repository = state.tracing.repository();
    let execution = repository.execution(id).await?.ok_or_else(|| ApiError::not_found(UNKNOWN_EXECUTION))?;
    let steps = repository.steps(id, None, limits::STEPS_SHOWN + 1).await?;
    let (steps, next) = cursor::page(steps, limits::STEPS_SHOWN, place_of);
    let events = repository.events(id, 0, limits::EVENTS_SHOWN + 1).await?;
    let (events, events_next) = cursor::page(events, limits::EVENTS_SHOWN, EventPlace::of);
    let events = events.into_iter().map(EventView::from).collect();
    Ok(web::Json(ExecutionDetailView::new(execution, (steps, next), (events, events_next))))
}

/// Returns where a listing goes on behind a step.
pub(super) fn place_of(step: &Step) -> StepCursor {
    StepCursor { started_at: step.started_at, id: step.id }
}

/// Name the steps of an execution that took, or are taking, too long.
///
/// Ended steps have the verdict of their end; running ones are judged by the time elapsed now. An execution of which
/// nothing has been heard for too long comes last.
#[utoipa::path(tag = "ask", params(("workflow_id" = String, Path, description = "The execution's id.")),
    responses((status = 200, description = "Its bottlenecks.", body = BottlenecksView), AskErrors))]
#[get("/workflows/{workflow_id}/bottlenecks")]
async fn list_bottlenecks(
    req: HttpRequest,
    state: web::Data<AppState>,
    _: Query<NoParameters>,
) -> Result<web::Json<BottlenecksView>, ApiError> {
    let id = fields::execution_id(&req)?;
    judged(&state.tracing, id).await.map(web::Json)
}

async fn judged(tracing: &Tracing, id: ExecutionId) -> Result<BottlenecksView, ApiError> {
    let found = tracing.repository().bottleneck_steps(id).await?;
    let found = found.ok_or_else(|| ApiError::not_found(UNKNOWN_EXECUTION))?;
    let running = judge_running(tracing, &found).await?;
    let ended = found.judged.into_iter().filter_map(|step| {
        let verdict = step.bottleneck?;
        Some((step.started_at, step.id, step.name, verdict))
    });
    let mut all: Vec<_> = ended.chain(running).collect();
    all.sort_by_key(|(started_at, id, _, _)| (*started_at, *id));
    let steps = all.into_iter().map(|(_, id, name, verdict)| BottleneckView::new(id, name, &verdict));
    let whole = found.stalled.as_ref().map(BottleneckView::of_execution);
    let bottlenecks = steps.chain(whole).collect();
    Ok(BottlenecksView { workflow_id: id, workflow_name: found.workflow, bottlenecks })
}

/// Judges running steps by the time that has elapsed.
async fn judge_running(
    tracing: &Tracing,
    found: &BottleneckSteps,
) -> Result<Vec<(Timestamp, StepId, StepName, Bottleneck)>, ApiError> {
    let asked = found.running.iter().map(|step| {
        let features = found.features.with(&step.attributes);
        let plan = tracing.policy().of_step(&found.workflow, &step.name);
        let whole = BaselineKey::of_step(&found.workflow, &step.name, &Cohort::default());
        let cohort = plan.cohort.cohort(&features).map(|cohort| {
            let key = BaselineKey::of_step(&found.workflow, &step.name, &cohort);
            (cohort, key)
        });
        (step, features, plan, whole, cohort)
    });
    let asked: Vec<_> = asked.collect();
    let keys = asked.iter().flat_map(|(_, _, _, whole, cohort)| {
        [Some(*whole), cohort.as_ref().map(|(_, key)| *key)].into_iter().flatten()
    });
    let baselines = tracing.repository().baselines(&keys.collect()).await?;
    let now = tracing.now();
    let verdicts = asked.iter().filter_map(|(step, features, plan, whole, cohort)| {
        let cohort = cohort.as_ref().and_then(|(cohort, key)| Some((cohort, baselines.get(key)?)));
        let began = Some(step.started_at);
        let histories = baselines.get(whole).map(|whole| Histories { whole, cohort, began });
        let comparison = histories.and_then(|histories| plan.compare(histories, features));
        let verdict = plan.judge_running(comparison.as_ref(), now.since(step.started_at), features)?;
        Some((step.started_at, step.id, step.name.clone(), verdict))
    });
    Ok(verdicts.collect())
}
