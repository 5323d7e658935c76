//! Steps of an execution: `/workflows/{workflow_id}/steps`.

use std::collections::BTreeMap;

use actix_web::{HttpRequest, HttpResponse, get, post, put, web};
use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};
use tracer_core::attributes::Attributes;
use tracer_core::ids::{ExecutionId, StepId, Traceparent};
use tracer_core::limits;
use tracer_core::name::{StepName, StepType};
use tracer_core::record::{CompleteStep, Completion, ParentStep, StartStep};
use tracer_core::repository::StepCursor;
use tracer_core::time::Timestamp;
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

use super::body::{Body, RequestBody};
use super::checks::{Checks, Reported};
use super::headers::Upstream;
use super::query::{FromQuery, NoParameters, Pairs, Query};
use super::refusal::{AskErrors, RecordErrors, UNKNOWN_EXECUTION};
use super::retry::Retry;
use super::views::{StepEndedView, StepStartedView, StepView, StepsView, root_of};
use super::workflows::{page_rows, place_of};
use super::{cursor, fields};
use crate::error::ApiError;
use crate::recording::{Arrival, StepRecorded};
use crate::state::AppState;

/// Registers the routes.
pub(super) fn routes(config: &mut ServiceConfig<'_>) {
    config.service(start_step).service(complete_step).service(list_steps);
}

/// What starts a step, or records it whole.
#[derive(Debug, Deserialize, ToSchema)]
pub struct RecordStep {
    /// The step's name: 1 to 200 characters, none of them a control character.
    #[schema(required = true, value_type = String, example = "data_transform")]
    step_name: Option<String>,
    /// What kind of work it is: `tool`, `llm`, `branch`, `http`, …; `task` if it is left out.
    #[schema(example = "tool")]
    step_type: Option<String>,
    /// The step that it is part of, in the same execution.
    parent_step_id: Option<String>,
    /// Which attempt it is, from 1.
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 1_000_000, example = 1)]
    attempt: Option<Number>,
    /// At most 64 values, 32 KiB in all.
    attributes: Option<BTreeMap<String, Value>>,
    /// When it began, if not now.
    #[schema(value_type = Option<String>, format = DateTime)]
    started_at: Option<String>,
    /// How long it took: records the step whole.
    #[schema(minimum = 0, maximum = 34_560_000_000_f64, example = 2100)]
    duration_ms: Option<f64>,
    /// When it ended: records the step whole.
    #[schema(value_type = Option<String>, format = DateTime)]
    ended_at: Option<String>,
    /// How it ended (`completed`, `failed`, `skipped`, `cancelled`): records the step whole. `running`
    /// starts it.
    #[schema(example = "completed")]
    status: Option<String>,
    /// Why it failed: records the step whole.
    error: Option<Reported>,
    /// The same as `error`, by another name.
    error_message: Option<Reported>,
}

impl RequestBody for RecordStep {}

impl RecordStep {
    /// Returns the command, with an id for the step. `upstream` names its parent where the body names none.
    ///
    /// # Errors
    /// 422 that names every value out of bounds.
    pub fn into_command(
        self,
        execution: ExecutionId,
        upstream: Option<Traceparent>,
        now: Timestamp,
    ) -> Result<StartStep, ApiError> {
        let mut checks = Checks::default();
        let name = checks.required("/step_name", self.step_name.as_deref(), StepName::new);
        let step_type =
            checks.optional("/step_type", self.step_type.as_deref(), StepType::new).unwrap_or_default();
        let named = checks.optional("/parent_step_id", self.parent_step_id.as_deref(), str::parse::<StepId>);
        let attempt = attempt(&mut checks, self.attempt.as_ref());
        let attributes = checks.attributes(self.attributes);
        let started_at = checks.time("/started_at", self.started_at.as_deref(), now);
        let duration = checks.duration("/duration_ms", self.duration_ms);
        let ended_at = checks.time("/ended_at", self.ended_at.as_deref(), now);
        let error = self.error.or(self.error_message);
        let timed = self.duration_ms.is_some() || self.ended_at.is_some();
        let whole = match self.status.as_deref() {
            Some("running") => {
                if timed || error.is_some() {
                    checks.fault(
                        "/status",
                        "must not be running where duration_ms, ended_at or error is given",
                    );
                }
                false
            }
            status => status.is_some() || timed || error.is_some(),
        };
        let ending =
            if whole { fields::step_ending(&mut checks, self.status.as_deref(), error) } else { None };
        let completion = ending.map(|(status, failure)| {
            let attributes = Attributes::default();
            Completion { status, duration, ended_at, failure, attributes }
        });
        let parent = named.map(ParentStep::Named).or_else(|| traced_parent(execution, upstream));
        checks.finish(|| {
            let id = StepId::mint();
            Some(StartStep {
                execution,
                id,
                name: name?,
                step_type,
                parent,
                attempt,
                attributes,
                started_at,
                completion,
            })
        })
    }
}

fn attempt(checks: &mut Checks, given: Option<&Number>) -> u32 {
    let Some(given) = given else { return 1 };
    let fits = given.as_u64().and_then(|attempt| u32::try_from(attempt).ok());
    fits.filter(|attempt| (1..=limits::ATTEMPTS).contains(attempt)).unwrap_or_else(|| {
        checks.fault("/attempt", format!("must be a whole number from 1 to {}", limits::ATTEMPTS));
        1
    })
}

/// Returns the step that `traceparent` names, if it is of this execution. The execution's own root span,
/// which `traceparent` hands out, is no step.
fn traced_parent(execution: ExecutionId, upstream: Option<Traceparent>) -> Option<ParentStep> {
    let upstream = upstream.filter(|upstream| upstream.trace == execution)?;
    (upstream.parent != execution.root_span()).then_some(ParentStep::Traced(upstream.parent))
}

/// Start a step, or record it whole.
///
/// With `status`, `duration_ms`, `ended_at` or `error`, the step is recorded whole, and the answer is that
/// of completing it. A `traceparent` of this execution's trace names the parent step.
#[utoipa::path(tag = "record", request_body = RecordStep,
    params(
        ("workflow_id" = String, Path, description = "The execution's id."),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes the request safe to repeat, for 24 hours."),
    ),
    responses((status = 201, description = "The step runs; one recorded whole is shown as ended.", body = StepAnswer, headers(
        ("traceparent" = String, description = "As in the body."),
        ("Idempotency-Replayed" = String, description = "`true`, where the answer repeats that of an earlier request."),
    )), RecordErrors))]
#[post("/workflows/{workflow_id}/steps")]
async fn start_step(
    req: HttpRequest,
    state: web::Data<AppState>,
    retry: Retry,
    upstream: Upstream,
    _: Query<NoParameters>,
    body: Body<RecordStep>,
) -> Result<HttpResponse, ApiError> {
    let now = state.tracing.now();
    let arrival = retry.arrival(now, || body.digest());
    let start = body.into_inner().into_command(fields::execution_id(&req)?, upstream.0, now)?;
    let recorded = state.tracing.start_step(start, arrival).await?;
    let view = match recorded.value {
        StepRecorded::Started(step) => StepAnswer::Started(step.into()),
        StepRecorded::Ended(step) => StepAnswer::Ended(step.into()),
    };
    Ok(retry.created(recorded.fresh, view.traceparent(), &view))
}

/// A step that runs, or, recorded whole, has ended.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[expect(clippy::large_enum_variant, reason = "one at a time, on its way out")]
enum StepAnswer {
    Started(StepStartedView),
    Ended(StepEndedView),
}

impl StepAnswer {
    fn traceparent(&self) -> &str {
        match self {
            Self::Started(view) => &view.traceparent,
            Self::Ended(view) => &view.traceparent,
        }
    }
}

/// What ends a step; nothing: it completed now.
#[derive(Debug, Deserialize, ToSchema)]
pub struct FinishStep {
    /// `completed`, `failed`, `skipped` or `cancelled`; `completed` if it is left out, or `failed` if there
    /// is an error.
    #[schema(example = "completed")]
    status: Option<String>,
    /// How long it took, if the client measured: it counts, whatever the clock says.
    #[schema(minimum = 0, maximum = 34_560_000_000_f64, example = 2100)]
    duration_ms: Option<f64>,
    /// When it ended, if not now.
    #[schema(value_type = Option<String>, format = DateTime)]
    ended_at: Option<String>,
    /// Why it failed.
    error: Option<Reported>,
    /// The same as `error`, by another name.
    error_message: Option<Reported>,
    /// Join those given at its start, and replace equal keys.
    attributes: Option<BTreeMap<String, Value>>,
}

impl RequestBody for FinishStep {
    const MAY_BE_EMPTY: bool = true;
}

impl FinishStep {
    /// Returns the command for the step that the path names.
    ///
    /// # Errors
    /// 422 that names every value out of bounds.
    pub fn into_command(
        self,
        execution: ExecutionId,
        id: StepId,
        now: Timestamp,
    ) -> Result<CompleteStep, ApiError> {
        let mut checks = Checks::default();
        let error = self.error.or(self.error_message);
        let ending = fields::step_ending(&mut checks, self.status.as_deref(), error);
        let duration = checks.duration("/duration_ms", self.duration_ms);
        let ended_at = checks.time("/ended_at", self.ended_at.as_deref(), now);
        let attributes = checks.attributes(self.attributes);
        checks.finish(|| {
            let (status, failure) = ending?;
            let completion = Completion { status, duration, ended_at, failure, attributes };
            Some(CompleteStep { execution, id, completion })
        })
    }
}

/// Complete a step and judge it against its history.
///
/// Completing it the same way again answers what is stored, and counts nothing twice.
#[utoipa::path(tag = "record", request_body = FinishStep,
    params(
        ("workflow_id" = String, Path, description = "The execution's id."),
        ("step_id" = String, Path, description = "The step's id."),
    ),
    responses((status = 200, description = "The step has ended.", body = StepEndedView), RecordErrors))]
#[put("/workflows/{workflow_id}/steps/{step_id}")]
async fn complete_step(
    req: HttpRequest,
    state: web::Data<AppState>,
    _: Query<NoParameters>,
    body: Body<FinishStep>,
) -> Result<web::Json<StepEndedView>, ApiError> {
    let now = state.tracing.now();
    let complete =
        body.into_inner().into_command(fields::execution_id(&req)?, fields::step_id(&req)?, now)?;
    let ended = state.tracing.complete_step(complete, Arrival::plain(now)).await?;
    Ok(web::Json(ended.value.into()))
}

/// Which page of steps.
struct Listing {
    after: Option<StepCursor>,
    limit: usize,
}

impl FromQuery for Listing {
    const ONCE: &'static [&'static str] = &["limit", "cursor"];

    fn from_pairs(pairs: &Pairs<'_>) -> Result<Self, ApiError> {
        Ok(Self { after: cursor::read(pairs.text("cursor"))?, limit: page_rows(pairs)? })
    }
}

/// List the steps of an execution, earliest start first.
#[utoipa::path(tag = "ask",
    params(
        ("workflow_id" = String, Path, description = "The execution's id."),
        ("limit" = Option<usize>, Query, description = "Rows in a page: 100, at most 1,000."),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before."),
    ),
    responses((status = 200, description = "A page of steps.", body = StepsView), AskErrors))]
#[get("/workflows/{workflow_id}/steps")]
async fn list_steps(
    req: HttpRequest,
    state: web::Data<AppState>,
    Query(Listing { after, limit }): Query<Listing>,
) -> Result<web::Json<StepsView>, ApiError> {
    let id = fields::execution_id(&req)?;
    let repository = state.tracing.repository();
    let steps = repository.steps(id, after, limit + 1).await?;
    // What a step is part of may be the execution itself, where spans told of it.
    let asks = steps.is_empty() || steps.iter().any(|step| step.span.is_some());
    let execution = if asks { repository.execution(id).await? } else { None };
    if steps.is_empty() && execution.is_none() {
        return Err(ApiError::not_found(UNKNOWN_EXECUTION));
    }
    let root = execution.as_ref().map_or_else(|| id.root_span(), root_of);
    let (steps, next_cursor) = cursor::page(steps, limit, place_of);
    let steps = steps.into_iter().map(|step| StepView::new(step, Some(root))).collect();
    Ok(web::Json(StepsView { workflow_id: id, steps, next_cursor }))
}
