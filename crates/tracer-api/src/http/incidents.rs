//! What is wrong, and what is said of it: `/incidents`.

mod change;

use actix_web::{HttpRequest, get, web};
use tracer_core::incident::{Incident, IncidentId, IncidentKind, IncidentState};
use tracer_core::name::WorkflowName;
use tracer_core::outbox::{IncidentCursor, IncidentFilter};
use utoipa_actix_web::service_config::ServiceConfig;

use super::cursor;
use super::query::{FromQuery, NoParameters, Pairs, Query};
use super::refusal::{AskErrors, UNKNOWN_INCIDENT};
use super::views::{IncidentDetailView, IncidentView, IncidentsView};
use super::workflows::{page_rows, severity};
use crate::error::ApiError;
use crate::state::AppState;

/// Registers the routes.
pub(super) fn routes(config: &mut ServiceConfig<'_>) {
    config.service(list_incidents).service(show_incident);
    change::routes(config);
}

/// Which incidents, and which page of them.
struct Listing {
    filter: IncidentFilter,
    after: Option<IncidentCursor>,
    limit: usize,
}

impl FromQuery for Listing {
    const ONCE: &'static [&'static str] = &["state", "kind", "workflow_name", "severity", "limit", "cursor"];

    fn from_pairs(pairs: &Pairs<'_>) -> Result<Self, ApiError> {
        let kinds = "slow_step, stuck_step, stalled_execution, regression, failure_rate, slo_burn or alert";
        let name = "a name of 1 to 200 characters";
        let filter = IncidentFilter {
            state: pairs.read("state", "firing or resolved", IncidentState::parse)?,
            kind: pairs.read("kind", kinds, IncidentKind::parse)?,
            workflow: pairs.read("workflow_name", name, |text| WorkflowName::new(text).ok())?,
            severity: pairs.read("severity", "warning or critical", severity)?,
        };
        Ok(Self { filter, after: cursor::read(pairs.text("cursor"))?, limit: page_rows(pairs)? })
    }
}

/// List incidents, newest opening first.
#[utoipa::path(tag = "incidents",
    params(
        ("state" = Option<String>, Query, description = "`firing` or `resolved`."),
        ("kind" = Option<String>, Query, description = "`slow_step`, `stuck_step`, `stalled_execution`, `regression`, `failure_rate`, `slo_burn` or `alert`."),
        ("workflow_name" = Option<String>, Query, description = "Of this workflow."),
        ("severity" = Option<String>, Query, description = "At least so bad: `warning` or `critical`."),
        ("limit" = Option<usize>, Query, description = "Rows in a page: 100, at most 1,000."),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before."),
    ),
    responses((status = 200, description = "A page of incidents.", body = IncidentsView), AskErrors))]
#[get("/incidents")]
async fn list_incidents(
    state: web::Data<AppState>,
    Query(Listing { filter, after, limit }): Query<Listing>,
) -> Result<web::Json<IncidentsView>, ApiError> {
    let found = state.tracing.repository().incidents(&filter, after, limit + 1).await?;
    let (found, next_cursor) = cursor::page(found, limit, |incident: &Incident| incident.id);
    let incidents = found.into_iter().map(IncidentView::from).collect();
    Ok(web::Json(IncidentsView { incidents, next_cursor }))
}

/// Show an incident with its history.
#[utoipa::path(tag = "incidents",
    params(("incident_id" = String, Path, description = "The incident's id.")),
    responses((status = 200, description = "The incident.", body = IncidentDetailView), AskErrors))]
#[get("/incidents/{incident_id}")]
async fn show_incident(
    req: HttpRequest,
    state: web::Data<AppState>,
    _: Query<NoParameters>,
) -> Result<web::Json<IncidentDetailView>, ApiError> {
    let (id, repository) = (incident_id(&req)?, state.tracing.repository());
    let found = repository.incident(id).await?;
    let incident = found.ok_or_else(|| ApiError::not_found(UNKNOWN_INCIDENT))?;
    let history = repository.incident_history(id).await?;
    Ok(web::Json(IncidentDetailView::new(incident, history)))
}

/// Returns the id of the incident in the path: 404 if it is none, because what has no such form was never given out.
fn incident_id(req: &HttpRequest) -> Result<IncidentId, ApiError> {
    let id = req.match_info().get("incident_id").and_then(|id| id.parse().ok());
    id.ok_or_else(|| ApiError::not_found(UNKNOWN_INCIDENT))
}
