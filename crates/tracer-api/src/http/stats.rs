//! What is normal: `/stats`.

use actix_web::{HttpRequest, get, post, web};
use tracer_core::name::{StepName, WorkflowName};
use utoipa_actix_web::service_config::ServiceConfig;

use super::query::{FromQuery, NoParameters, Pairs, Query};
use super::refusal::{AskErrors, UNKNOWN_WORKFLOW};
use super::views::{RebaselinedView, StatsView, WorkflowStatsView, WorkflowsView};
use super::workflows::page_rows;
use super::{cursor, path};
use crate::error::ApiError;
use crate::recording::Arrival;
use crate::state::AppState;

/// Registers the routes. A name may hold slashes, so that the longer path comes first.
pub(super) fn routes(config: &mut ServiceConfig<'_>) {
    config.service(rebaseline_step).service(list_stats).service(show_stats);
}

/// Which page of workflows.
struct Listing {
    after: Option<WorkflowName>,
    limit: usize,
}

impl FromQuery for Listing {
    const ONCE: &'static [&'static str] = &["limit", "cursor"];

    fn from_pairs(pairs: &Pairs<'_>) -> Result<Self, ApiError> {
        Ok(Self { after: cursor::read(pairs.text("cursor"))?, limit: page_rows(pairs)? })
    }
}

/// List every workflow with its counts and last activity, by name.
#[utoipa::path(tag = "ask",
    params(
        ("limit" = Option<usize>, Query, description = "Rows in a page: 100, at most 1,000."),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before."),
    ),
    responses((status = 200, description = "A page of workflows.", body = WorkflowsView), AskErrors))]
#[get("/stats")]
async fn list_stats(
    state: web::Data<AppState>,
    Query(Listing { after, limit }): Query<Listing>,
) -> Result<web::Json<WorkflowsView>, ApiError> {
    let found = state.tracing.repository().workflows(after.as_ref(), limit + 1).await?;
    let (found, next_cursor) = cursor::page(found, limit, |workflow| workflow.name.clone());
    let workflows = found.into_iter().map(WorkflowStatsView::from).collect();
    Ok(web::Json(WorkflowsView { workflows, next_cursor }))
}

/// Show how long a workflow and its steps take.
///
/// As measured over the window of the baselines: 14 days, or further back until it holds 30 samples.
#[utoipa::path(tag = "ask",
    params(("workflow_name" = String, Path, description = "The workflow's name, percent-encoded; slashes too.")),
    responses((status = 200, description = "The histories.", body = StatsView), AskErrors))]
#[get("/stats/{workflow_name:.+}")]
async fn show_stats(
    req: HttpRequest,
    state: web::Data<AppState>,
    _: Query<NoParameters>,
) -> Result<web::Json<StatsView>, ApiError> {
    // A name that can be none was never recorded either.
    let unknown = || ApiError::not_found(UNKNOWN_WORKFLOW);
    let name = WorkflowName::new(&path::name_after(&req, "/stats/")?).map_err(|_| unknown())?;
    let history = state.tracing.repository().workflow_history(&name).await?.ok_or_else(unknown)?;
    Ok(web::Json(StatsView::new(name, history)))
}

/// Make the recent level of a step its reference, after a change that was meant.
///
/// The measured history stays as it is.
#[utoipa::path(tag = "operate",
    params(
        ("workflow_name" = String, Path, description = "The workflow's name, percent-encoded; slashes too."),
        ("step_name" = String, Path, description = "The step's name, percent-encoded; slashes too."),
    ),
    responses((status = 200, description = "Done.", body = RebaselinedView), AskErrors))]
#[post("/stats/{workflow_name:.+}/steps/{step_name:.+}/rebaseline")]
async fn rebaseline_step(
    req: HttpRequest,
    state: web::Data<AppState>,
    _: Query<NoParameters>,
) -> Result<web::Json<RebaselinedView>, ApiError> {
    let (workflow, step) = path::names_around(&req, "/stats/", "/steps/", "/rebaseline")?;
    let unknown = |_| ApiError::not_found("No step of this name has a history in a workflow of this name.");
    let workflow_name = WorkflowName::new(&workflow).map_err(unknown)?;
    let step_name = StepName::new(&step).map_err(unknown)?;
    let arrival = Arrival::plain(state.tracing.now());
    state.tracing.rebaseline(workflow_name.clone(), step_name.clone(), arrival).await?;
    Ok(web::Json(RebaselinedView { workflow_name, step_name, status: "rebaselined" }))
}
