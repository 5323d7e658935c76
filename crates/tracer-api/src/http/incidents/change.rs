//! What people say of an incident: that they look after it, that it may wait, that it is over.

use actix_web::{HttpMessage, HttpRequest, post, web};
use serde::Deserialize;
use tracer_core::limits;
use tracer_core::name::WorkflowName;
use tracer_core::record::{ChangeIncident, IncidentChange};
use tracer_core::time::{Micros, Timestamp};
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

use super::super::body::{Body, RequestBody};
use super::super::checks::Checks;
use super::super::gate::Caller;
use super::super::query::{NoParameters, Query};
use super::super::refusal::RecordErrors;
use super::super::views::IncidentView;
use super::incident_id;
use crate::error::ApiError;
use crate::recording::Arrival;
use crate::state::AppState;

/// Registers the routes.
pub(super) fn routes(config: &mut ServiceConfig<'_>) {
    config.service(acknowledge_incident).service(snooze_incident).service(resolve_incident);
}

/// Who says something of an incident.
#[derive(Debug, Deserialize, ToSchema)]
struct Said {
    /// Who: 1 to 200 characters; the name of the API key, if it is left out.
    #[schema(example = "ada")]
    by: Option<String>,
}

/// For how long nobody is to be told of an incident: either `until` or `duration_ms`.
#[derive(Debug, Deserialize, ToSchema)]
struct Snooze {
    /// Until when: a time to come, at most 30 days away.
    #[schema(value_type = Option<String>, format = DateTime, example = "2026-01-31T13:00:00Z")]
    until: Option<String>,
    /// How long from now: above 0, at most 30 days.
    #[schema(exclusive_minimum = 0, maximum = 2_592_000_000_f64, example = 3_600_000)]
    duration_ms: Option<f64>,
    /// Who: 1 to 200 characters; the name of the API key, if it is left out.
    #[schema(example = "ada")]
    by: Option<String>,
}

impl RequestBody for Said {
    const MAY_BE_EMPTY: bool = true;
}

impl RequestBody for Snooze {}

impl Said {
    fn into_by(self, req: &HttpRequest) -> Result<Option<String>, ApiError> {
        let mut checks = Checks::default();
        let by = by(&mut checks, self.by.as_deref(), req);
        checks.finish(|| Some(by))
    }
}

impl Snooze {
    fn into_change(
        self,
        req: &HttpRequest,
        now: Timestamp,
    ) -> Result<(IncidentChange, Option<String>), ApiError> {
        let mut checks = Checks::default();
        let by = by(&mut checks, self.by.as_deref(), req);
        let until = match (self.until.as_deref(), self.duration_ms) {
            (Some(text), None) => checks
                .take("/until", Timestamp::parse(text))
                .and_then(|until| checks.take("/until", within_bounds(until, now))),
            (None, Some(_)) => checks
                .duration("/duration_ms", self.duration_ms)
                .and_then(|length| checks.take("/duration_ms", within_bounds(now + length, now))),
            (None, None) => {
                checks.fault("/until", "is required, or duration_ms in its place");
                None
            }
            (Some(_), Some(_)) => {
                checks.fault("/duration_ms", "must not be given together with until");
                None
            }
        };
        checks.finish(|| Some((IncidentChange::Snooze(until?), by)))
    }
}

fn within_bounds(until: Timestamp, now: Timestamp) -> Result<Timestamp, String> {
    if until <= now {
        return Err("must lie in the future".to_owned());
    }
    if until > now + Micros::from_days(limits::SNOOZE_DAYS) {
        return Err(format!("must be at most {} days away", limits::SNOOZE_DAYS));
    }
    Ok(until)
}

/// Returns who says it: as bounded as every name, and the key's where none is given.
fn by(checks: &mut Checks, given: Option<&str>, req: &HttpRequest) -> Option<String> {
    let checked = |text: &str| WorkflowName::new(text).map(|name| name.as_str().to_owned());
    let key = || req.extensions().get::<Caller>().map(|Caller(name)| name.to_string());
    given.map_or_else(key, |text| checks.optional("/by", Some(text), checked))
}

async fn change(
    state: &AppState,
    req: &HttpRequest,
    change: IncidentChange,
    by: Option<String>,
    now: Timestamp,
) -> Result<web::Json<IncidentView>, ApiError> {
    let change = ChangeIncident { id: incident_id(req)?, change, by };
    let changed = state.tracing.change_incident(change, Arrival::plain(now)).await?;
    Ok(web::Json(changed.into()))
}

/// Say that somebody looks after an incident: people are no longer reminded of it, and told only if it becomes worse.
///
/// What is acknowledged already stays as it is.
#[utoipa::path(tag = "incidents",
    params(("incident_id" = String, Path, description = "The incident's id.")),
    request_body = Said,
    responses((status = 200, description = "The incident as it is now.", body = IncidentView), RecordErrors))]
#[post("/incidents/{incident_id}/acknowledge")]
async fn acknowledge_incident(
    req: HttpRequest,
    state: web::Data<AppState>,
    _: Query<NoParameters>,
    body: Body<Said>,
) -> Result<web::Json<IncidentView>, ApiError> {
    let by = body.into_inner().into_by(&req)?;
    change(&state, &req, IncidentChange::Acknowledge, by, state.tracing.now()).await
}

/// Tell nobody of an incident for a while.
///
/// If it still fires then, people are told, at once if it has become worse meanwhile. The last one said holds.
#[utoipa::path(tag = "incidents",
    params(("incident_id" = String, Path, description = "The incident's id.")),
    request_body = Snooze,
    responses((status = 200, description = "The incident as it is now.", body = IncidentView), RecordErrors))]
#[post("/incidents/{incident_id}/snooze")]
async fn snooze_incident(
    req: HttpRequest,
    state: web::Data<AppState>,
    _: Query<NoParameters>,
    body: Body<Snooze>,
) -> Result<web::Json<IncidentView>, ApiError> {
    let now = state.tracing.now();
    let (snooze, by) = body.into_inner().into_change(&req, now)?;
    change(&state, &req, snooze, by, now).await
}

/// End an incident.
///
/// A finding within half an hour reopens it. What is resolved already stays as it is.
#[utoipa::path(tag = "incidents",
    params(("incident_id" = String, Path, description = "The incident's id.")),
    request_body = Said,
    responses((status = 200, description = "The incident as it is now.", body = IncidentView), RecordErrors))]
#[post("/incidents/{incident_id}/resolve")]
async fn resolve_incident(
    req: HttpRequest,
    state: web::Data<AppState>,
    _: Query<NoParameters>,
    body: Body<Said>,
) -> Result<web::Json<IncidentView>, ApiError> {
    let by = body.into_inner().into_by(&req)?;
    change(&state, &req, IncidentChange::Resolve, by, state.tracing.now()).await
}
