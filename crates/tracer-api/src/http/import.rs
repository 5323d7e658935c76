//! `POST /import`: a finished execution with all its steps, as another system observed it.

use std::collections::{BTreeMap, HashSet};

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, post, web};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tracer_core::ids::{ExecutionId, StepId};
use tracer_core::limits;
use tracer_core::name::{CorrelationId, StepName, StepType, Version, WorkflowName};
use tracer_core::record::{EndExecution, RecordExecution, RecordedStep, StartExecution};
use tracer_core::step::StepTimes;
use tracer_core::time::Timestamp;
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

use super::body::{Body, RequestBody};
use super::checks::Checks;
pub(crate) use super::checks::{Reported, ReportedParts};
use super::fields;
use super::query::{NoParameters, Query};
use super::refusal::RecordErrors;
use super::retry::Retry;
use super::views::ImportedView;
use crate::error::ApiError;
use crate::state::AppState;

/// Registers the route.
pub(super) fn routes(config: &mut ServiceConfig<'_>) {
    config.service(import_execution);
}

/// A finished execution. Its ids are the client's: recording them again changes nothing.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct FinishedExecution {
    /// Its id: `wf_` and 32 hexadecimal digits.
    #[schema(required = true, value_type = String, example = "wf_0af7651916cd43dd8448eb211c80319c")]
    pub(crate) workflow_id: Option<String>,
    /// The workflow.
    #[schema(required = true, value_type = String, example = "blast-chameleon-small")]
    pub(crate) workflow_name: Option<String>,
    /// An id of the client's own.
    pub(crate) correlation_id: Option<String>,
    /// The version of the workflow.
    pub(crate) version: Option<String>,
    /// At most 64 values, 32 KiB in all.
    pub(crate) attributes: Option<BTreeMap<String, Value>>,
    /// What it was given: at most 64 KiB.
    pub(crate) input: Option<Value>,
    /// What it produced: at most 64 KiB.
    pub(crate) output: Option<Value>,
    /// When it began.
    #[schema(required = true, value_type = String, format = DateTime)]
    pub(crate) started_at: Option<String>,
    /// When it ended.
    #[schema(required = true, value_type = String, format = DateTime)]
    pub(crate) ended_at: Option<String>,
    /// How it ended; `completed` if it is left out.
    pub(crate) status: Option<String>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<Reported>,
    /// Its steps: 1 to 20,000.
    #[serde(default)]
    #[schema(required = true)]
    pub(crate) steps: Vec<FinishedStep>,
}

/// A finished step.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct FinishedStep {
    /// Its id within the execution: `st_` and 16 hexadecimal digits.
    #[schema(required = true, value_type = String, example = "st_b7ad6b7169203331")]
    pub(crate) step_id: Option<String>,
    /// Its name.
    #[schema(required = true, value_type = String, example = "blastall")]
    pub(crate) step_name: Option<String>,
    /// What kind of work it is; `task` if it is left out.
    pub(crate) step_type: Option<String>,
    /// The step that it is part of.
    pub(crate) parent_step_id: Option<String>,
    /// At most 64 values, 32 KiB in all.
    pub(crate) attributes: Option<BTreeMap<String, Value>>,
    /// When it began.
    #[schema(required = true, value_type = String, format = DateTime)]
    pub(crate) started_at: Option<String>,
    /// When it ended; `started_at` and `duration_ms` if it is left out.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) ended_at: Option<String>,
    /// How long it took; from `started_at` to `ended_at` if it is left out.
    #[schema(minimum = 0, maximum = 34_560_000_000_f64)]
    pub(crate) duration_ms: Option<f64>,
    /// How it ended; `completed` if it is left out.
    pub(crate) status: Option<String>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<Reported>,
}

impl RequestBody for FinishedExecution {
    const MOST_BYTES: usize = limits::IMPORT_BODY_BYTES;
}

impl FinishedExecution {
    /// Checks every value and returns the command.
    pub(crate) fn into_command(self, now: Timestamp) -> Result<RecordExecution, ApiError> {
        let mut checks = Checks::default();
        let id = checks.required("/workflow_id", self.workflow_id.as_deref(), str::parse::<ExecutionId>);
        let workflow = checks.required("/workflow_name", self.workflow_name.as_deref(), WorkflowName::new);
        let correlation_id =
            checks.optional("/correlation_id", self.correlation_id.as_deref(), CorrelationId::new);
        let version = checks.optional("/version", self.version.as_deref(), Version::new);
        let attributes = checks.attributes(self.attributes);
        let input = checks.payload("/input", self.input.as_ref());
        let output = checks.payload("/output", self.output.as_ref());
        let started_at = checks.required_time("/started_at", self.started_at.as_deref(), now);
        let ended_at = checks.required_time("/ended_at", self.ended_at.as_deref(), now);
        if let (Some(start), Some(end)) = (started_at, ended_at) {
            checks.take("/ended_at", StepTimes::resolve(Some(start), Some(end), None, now));
        }
        let ending = fields::execution_ending(&mut checks, self.status.as_deref(), self.error);
        if !(1..=limits::IMPORT_STEPS).contains(&self.steps.len()) {
            checks.fault("/steps", format!("must hold 1 to {} steps", limits::IMPORT_STEPS));
        }
        let steps = recorded_steps(&mut checks, self.steps, now);
        checks.finish(|| {
            let (id, started_at, (status, failure)) = (id?, started_at?, ending?);
            let start = StartExecution {
                id,
                workflow: workflow?,
                correlation_id,
                version,
                attributes,
                input,
                started_at,
                parent: None,
                link: None,
                simulated: false,
            };
            let end = EndExecution { id, status, ended_at, failure, output };
            Some(RecordExecution { start, steps, end, alerts: false })
        })
    }
}

fn recorded_steps(checks: &mut Checks, steps: Vec<FinishedStep>, now: Timestamp) -> Vec<RecordedStep> {
    let mut ids = HashSet::new();
    let mut recorded: Vec<RecordedStep> = Vec::new();
    for (at, step) in steps.into_iter().take(limits::IMPORT_STEPS).enumerate() {
        checks.within(format!("/steps/{at}"));
        if let Some(step) = step.into_recorded(checks, now) {
            if !ids.insert(step.id) {
                checks.fault("/step_id", "must not be that of another step");
            }
            recorded.push(step);
        }
    }
    checks.within(String::new());
    // Each is judged by what had ended before it.
    recorded.sort_by_key(|step| step.times.ended_at);
    recorded
}

impl FinishedStep {
    fn into_recorded(self, checks: &mut Checks, now: Timestamp) -> Option<RecordedStep> {
        let id = checks.required("/step_id", self.step_id.as_deref(), str::parse::<StepId>);
        let name = checks.required("/step_name", self.step_name.as_deref(), StepName::new);
        let step_type =
            checks.optional("/step_type", self.step_type.as_deref(), StepType::new).unwrap_or_default();
        let parent = checks.optional("/parent_step_id", self.parent_step_id.as_deref(), str::parse::<StepId>);
        let attributes = checks.attributes(self.attributes);
        let started_at = checks.required_time("/started_at", self.started_at.as_deref(), now);
        let ended_at = checks.time("/ended_at", self.ended_at.as_deref(), now);
        let duration = checks.duration("/duration_ms", self.duration_ms);
        if self.ended_at.is_none() && self.duration_ms.is_none() {
            checks.fault("/ended_at", "is required where duration_ms is not given");
        }
        let times = started_at.and_then(|start| {
            checks.take("/ended_at", StepTimes::resolve(Some(start), ended_at, duration, now))
        });
        let ending = fields::step_ending(checks, self.status.as_deref(), self.error);
        let (status, failure) = ending?;
        Some(RecordedStep {
            id: id?,
            name: name?,
            step_type,
            parent,
            attributes,
            status,
            times: times?,
            failure,
        })
    }
}

/// Record a finished execution with all its steps: history, which is neither logged, counted nor alerted.
///
/// What is known by its id already is left as it is.
#[utoipa::path(tag = "record", request_body = FinishedExecution,
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes the request safe to repeat, for 24 hours.")),
    responses(
        (status = 201, body = ImportedView, description = "It is recorded.", headers(
            ("Idempotency-Replayed" = String, description = "`true`, where the answer repeats that of an earlier request."),
        )),
        (status = 200, body = ImportedView, description = "It was recorded before."),
        RecordErrors))]
#[post("/import")]
async fn import_execution(
    state: web::Data<AppState>,
    retry: Retry,
    _: Query<NoParameters>,
    body: Body<FinishedExecution>,
) -> Result<HttpResponse, ApiError> {
    let now = state.tracing.now();
    let arrival = retry.arrival(now, || body.digest());
    let recorded = state.tracing.import(body.into_inner().into_command(now)?, arrival).await?;
    let view = ImportedView { workflow_id: recorded.id, imported: recorded.is_new };
    let status = if view.imported { StatusCode::CREATED } else { StatusCode::OK };
    Ok(retry.answer(status, recorded.fresh).json(view))
}
