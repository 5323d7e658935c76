//! `POST /simulate`: an invented execution.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, post, web};
use tracer_core::name::WorkflowName;
use utoipa_actix_web::service_config::ServiceConfig;

use super::query::{FromQuery, Pairs, Query};
use super::refusal::RecordErrors;
use super::retry::{Retry, hash_of};
use super::views::SimulatedView;
use crate::error::ApiError;
use crate::simulation::{self, STAGES, Slow, Stage};
use crate::state::AppState;

/// The workflow of a client that names none.
const DEMO: &str = "demo";
/// The factor of a client that names a slow step and no factor.
const DEFAULT_FACTOR: f64 = 5.0;
/// Largest factor.
const MOST: f64 = 1_000.0;

/// Registers the route.
pub(super) fn routes(config: &mut ServiceConfig<'_>) {
    config.service(simulate);
}

/// What to invent.
struct Wish {
    workflow: WorkflowName,
    slow: Option<Slow>,
    notify: bool,
}

impl FromQuery for Wish {
    const ONCE: &'static [&'static str] = &["workflow_name", "slow_step", "factor", "notify"];

    fn from_pairs(pairs: &Pairs<'_>) -> Result<Self, ApiError> {
        let name = pairs.text("workflow_name").unwrap_or(DEMO);
        let refused =
            |error| ApiError::Unprocessable(format!("The query parameter 'workflow_name' {error}.").into());
        let workflow = WorkflowName::new(name).map_err(refused)?;
        let stage = pairs.text("slow_step").map(stage).transpose()?;
        let factor = pairs.text("factor").map(factor).transpose()?;
        let notify = pairs.parsed::<bool>("notify", "true or false")?.unwrap_or(true);
        let slow = match (stage, factor) {
            (Some(stage), factor) => Some(Slow { stage, factor: factor.unwrap_or(DEFAULT_FACTOR) }),
            (None, None) => None,
            (None, Some(_)) => {
                return Err(ApiError::Unprocessable(
                    "The query parameter 'factor' needs 'slow_step' beside it.".into(),
                ));
            }
        };
        Ok(Self { workflow, slow, notify })
    }
}

fn stage(name: &str) -> Result<Stage, ApiError> {
    STAGES.into_iter().find(|stage| stage.name == name).ok_or_else(|| {
        let known = STAGES.map(|stage| stage.name).join(", ");
        ApiError::Unprocessable(format!("The query parameter 'slow_step' must be one of {known}.").into())
    })
}

fn factor(text: &str) -> Result<f64, ApiError> {
    let number: f64 =
        text.parse().map_err(|_| ApiError::bad_request("The query parameter 'factor' must be a number."))?;
    let fits = number.is_finite() && number > 0.0 && number <= MOST;
    let refused = || {
        ApiError::Unprocessable(
            format!("The query parameter 'factor' must be above 0, at most {MOST}.").into(),
        )
    };
    fits.then_some(number).ok_or_else(refused)
}

/// Record an invented execution of five steps, some of them slow by chance.
///
/// The steps are `data_extract`, `data_validate`, `data_transform`, `data_enrich` and `data_load`. A workflow
/// without history first gets 20 past executions. `slow_step` chooses which step is slow, and `factor` how
/// many times its historical average it takes; nobody waits for it.
#[utoipa::path(tag = "record",
    params(
        ("workflow_name" = Option<String>, Query, description = "The workflow; `demo` if it is left out."),
        ("slow_step" = Option<String>, Query, description = "The step that is to be slow."),
        ("factor" = Option<f64>, Query, description = "How slow: above 0, at most 1,000; 5 if it is left out."),
        ("notify" = Option<bool>, Query, description = "Whether people may be told."),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes the request safe to repeat, for 24 hours."),
    ),
    responses((status = 200, description = "The invented execution.", body = SimulatedView, headers(
        ("Idempotency-Replayed" = String, description = "`true`, where the answer repeats that of an earlier request."),
    )), RecordErrors))]
#[post("/simulate")]
async fn simulate(
    req: HttpRequest,
    state: web::Data<AppState>,
    retry: Retry,
    Query(wish): Query<Wish>,
) -> Result<HttpResponse, ApiError> {
    if !state.simulate {
        return Err(ApiError::not_found("POST /simulate is switched off by the setting 'simulate'."));
    }
    // There is no body: the query says what is asked for.
    let arrival = retry.arrival(state.tracing.now(), || hash_of(req.query_string()));
    let simulated = simulation::run(&state.tracing, &wish.workflow, wish.slow, wish.notify, arrival).await?;
    Ok(retry.answer(StatusCode::OK, simulated.fresh).json(SimulatedView::from(simulated.value)))
}
