//! When an execution will have ended: `/workflows/{workflow_id}/eta`.

use actix_web::{HttpRequest, get, web};
use tracer_core::eta::{Present, Span, estimate};
use tracer_core::execution::Execution;
use tracer_core::ids::ExecutionId;
use tracer_core::limits;
use tracer_core::repository::{Repository, RepositoryError};
use tracer_core::time::Timestamp;
use utoipa_actix_web::service_config::ServiceConfig;

use super::fields;
use super::query::{NoParameters, Query};
use super::refusal::{AskErrors, UNKNOWN_EXECUTION};
use super::views::EtaView;
use super::views::eta::End;
use super::workflows::place_of;
use crate::error::ApiError;
use crate::state::AppState;

/// Steps of the present execution that are read at once.
const PAGE: usize = 4_000;

/// Registers the routes.
pub(super) fn routes(config: &mut ServiceConfig<'_>) {
    config.service(show_eta);
}

/// Estimate when an execution will have ended.
///
/// The last 10 completed executions of the workflow are played on from where this one stands, parallel branches
/// included; the interval is as wide as such estimates were wrong on them. Without any, or with more than
/// 20,000 steps, there is no estimate but a reason. One that has ended is answered with its end.
#[utoipa::path(tag = "ask", params(("workflow_id" = String, Path, description = "The execution's id.")),
    responses((status = 200, description = "Its remaining time.", body = EtaView), AskErrors))]
#[get("/workflows/{workflow_id}/eta")]
async fn show_eta(
    req: HttpRequest,
    state: web::Data<AppState>,
    _: Query<NoParameters>,
) -> Result<web::Json<EtaView>, ApiError> {
    let id = fields::execution_id(&req)?;
    let repository = state.tracing.repository();
    let execution = repository.execution(id).await?.ok_or_else(|| ApiError::not_found(UNKNOWN_EXECUTION))?;
    let now = state.tracing.now();
    let end = match execution.ended_at {
        Some(ended_at) => End::Known(ended_at),
        None => foretold(repository, &execution, now).await?,
    };
    let deadline = state.tracing.policy().deadline(&execution.workflow);
    Ok(web::Json(EtaView::new(execution, now, end, deadline)))
}

async fn foretold(
    repository: &dyn Repository,
    execution: &Execution,
    now: Timestamp,
) -> Result<End, ApiError> {
    let Some(steps) = spans(repository, execution.id).await? else {
        return Ok(End::Unknown(format!(
            "The execution has more than {} steps, too many to estimate from.",
            limits::ETA_STEPS
        )));
    };
    let past = repository.past_runs(&execution.workflow, limits::ETA_RUNS, limits::ETA_STEPS).await?;
    let present = Present { id: execution.id, started_at: execution.started_at, steps };
    // With many steps it takes long enough to keep other requests of this thread waiting.
    let estimated = web::block(move || estimate(now, &present, &past)).await.map_err(ApiError::internal)?;
    Ok(estimated.map_or_else(
        || End::Unknown("There is no completed execution of this workflow to estimate from.".to_owned()),
        End::Estimated,
    ))
}

/// Returns the times of an execution's steps; none if there are too many.
async fn spans(repository: &dyn Repository, id: ExecutionId) -> Result<Option<Vec<Span>>, RepositoryError> {
    let mut spans = Vec::new();
    let mut after = None;
    loop {
        let page = repository.steps(id, after, PAGE).await?;
        after = page.last().map(place_of);
        let is_last = page.len() < PAGE;
        spans.extend(page.into_iter().map(|step| Span {
            name: step.name,
            started_at: step.started_at,
            ended_at: step.ended_at,
        }));
        if spans.len() > limits::ETA_STEPS {
            return Ok(None);
        }
        if is_last {
            return Ok(Some(spans));
        }
    }
}
