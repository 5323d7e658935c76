//! Service level objectives: `/slo`.

use actix_web::{HttpRequest, get, web};
use utoipa_actix_web::service_config::ServiceConfig;

use super::path;
use super::query::{NoParameters, Query};
use super::refusal::{AskErrors, UNKNOWN_SLO};
use super::views::{SloView, SlosView};
use crate::error::ApiError;
use crate::slo::standings;
use crate::state::AppState;

/// Registers the routes.
pub(super) fn routes(config: &mut ServiceConfig<'_>) {
    config.service(list_slos).service(show_slo);
}

/// List the service level objectives, and how they stand.
///
/// All of the settings, at most 50, in their order. They are judged by what every replica has counted: at this moment,
/// and the same wherever it is asked. A window that holds fewer than `min_events` events says nothing, and is marked
/// `too_few`; with ten executions a day the windows of hours are, and those of days are judged.
#[utoipa::path(tag = "ask",
    responses((status = 200, description = "The objectives.", body = SlosView), AskErrors))]
#[get("/slo")]
async fn list_slos(
    state: web::Data<AppState>,
    _: Query<NoParameters>,
) -> Result<web::Json<SlosView>, ApiError> {
    let found = standings(&state.tracing, state.tracing.now(), |_| true).await?;
    Ok(web::Json(SlosView { slos: found.iter().map(SloView::from).collect() }))
}

/// Show one service level objective, and how it stands.
#[utoipa::path(tag = "ask",
    params(("name" = String, Path, description = "The objective's name.")),
    responses((status = 200, description = "The objective.", body = SloView), AskErrors))]
#[get("/slo/{name}")]
async fn show_slo(
    req: HttpRequest,
    state: web::Data<AppState>,
    _: Query<NoParameters>,
) -> Result<web::Json<SloView>, ApiError> {
    let name = path::name_after(&req, "/slo/")?;
    let is_it = |slo: &tracer_core::slo::Slo| slo.name().as_str() == name;
    let found = standings(&state.tracing, state.tracing.now(), is_it).await?;
    let view = found.first().map(SloView::from);
    view.map(web::Json).ok_or_else(|| ApiError::not_found(UNKNOWN_SLO))
}
