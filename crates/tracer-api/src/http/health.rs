//! Whether the service lives, is ready, and is well: `/health`.

mod channels;

use std::collections::BTreeMap;
use std::time::Duration;

use actix_web::http::header::RETRY_AFTER;
use actix_web::{HttpResponse, get, web};
use serde::Serialize;
use tracer_core::repository::StoreHealth;
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

use self::channels::{ChannelCheck, OutboxCheck};
use super::query::{NoParameters, Query};
use super::refusal::AskErrors;
use crate::alerting::channel_states;
use crate::error::{ApiError, Problem};
use crate::state::AppState;

/// Registers the routes.
pub(super) fn routes(config: &mut ServiceConfig<'_>) {
    config.service(live).service(ready).service(health);
}

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Condition {
    /// As it should be.
    Healthy,
    /// It works, but somebody should look.
    Degraded,
    /// It does not work.
    Unhealthy,
}

/// A sign of life.
#[derive(Serialize, ToSchema)]
struct Sign {
    /// `alive` or `ready`.
    #[schema(example = "alive")]
    status: &'static str,
}

/// How the service and its parts are.
#[derive(Serialize, ToSchema)]
struct Health {
    /// The worst of the checks.
    status: Condition,
    /// Each part.
    checks: Checks,
}

/// The parts of the service.
#[derive(Serialize, ToSchema)]
struct Checks {
    /// The store.
    store: StoreCheck,
    /// The queue of what waits to be written; `null` while the store is away.
    writer: Option<WriterCheck>,
    /// Step names beyond the number that may have baselines; `null` while the store is away.
    baselines: Option<BaselineCheck>,
    /// What waits to be told; `null` while the store is away.
    outbox: Option<OutboxCheck>,
    /// Each channel, as `channel:NAME`; none while the store is away.
    #[serde(flatten)]
    channels: BTreeMap<String, ChannelCheck>,
}

/// The store.
#[derive(Serialize, ToSchema)]
struct StoreCheck {
    /// Unhealthy when it does not answer.
    status: Condition,
    /// Which store it is.
    #[schema(example = "PostgreSQL")]
    kind: &'static str,
}

/// The writer's queue.
#[derive(Serialize, ToSchema)]
struct WriterCheck {
    /// Degraded from three quarters full on; unhealthy while writes fail, as with a full disk.
    status: Condition,
    /// Why writes fail; `null` while they do not.
    #[schema(example = "the disk is full")]
    detail: Option<&'static str>,
    /// Commands that wait.
    #[schema(example = 3)]
    queued: usize,
    /// Commands that may wait; further ones are answered 503.
    #[schema(example = 4096)]
    capacity: usize,
}

/// Step names and their baselines.
#[derive(Serialize, ToSchema)]
struct BaselineCheck {
    /// Degraded when there is a workflow with too many step names.
    status: Condition,
    /// Workflows with more than 1,000 step names; steps beyond are recorded and not judged.
    #[schema(example = 0)]
    workflows_over_step_limit: u64,
}

/// Say whether the process is alive. It asks nothing of the store: a database that is away is no reason to
/// restart this.
#[utoipa::path(tag = "operate", responses((status = 200, description = "Yes.", body = Sign)))]
#[get("/health/live")]
async fn live(_: Query<NoParameters>) -> web::Json<Sign> {
    web::Json(Sign { status: "alive" })
}

/// Say whether requests can be served: 503 while the store is away or takes no writes, and once the
/// service is stopping.
#[utoipa::path(tag = "operate", responses(
    (status = 200, description = "Yes.", body = Sign),
    (status = 503, body = Problem, content_type = "application/problem+json", description = "Not ready.")))]
#[get("/health/ready")]
async fn ready(state: web::Data<AppState>, _: Query<NoParameters>) -> Result<web::Json<Sign>, ApiError> {
    if state.stopping.is_cancelled() {
        let retry_after = Duration::from_secs(5);
        return Err(ApiError::Unavailable {
            detail: "The service is stopping.".into(),
            retry_after,
            cause: None,
        });
    }
    state.tracing.repository().ping().await?;
    Ok(web::Json(Sign { status: "ready" }))
}

/// Show how the service and its parts are: 503 when it is unhealthy. A channel that cannot be reached degrades it, and
/// no more: whoever records has nothing to do with it.
#[utoipa::path(tag = "operate", responses(
    (status = 200, description = "How everything is.", body = Health),
    AskErrors,
    (status = 503, body = Health, description = "Unhealthy.")))]
#[get("/health")]
async fn health(state: web::Data<AppState>, _: Query<NoParameters>) -> HttpResponse {
    let repository = state.tracing.repository();
    let health = repository.health().await;
    if let Err(error) = &health {
        tracing::debug!(error = %tracer_core::chain::Chain(error), "the store is not healthy");
    }
    let now = state.tracing.now();
    // Of a store that does not answer nothing more is asked.
    let states = match &health {
        Ok(_) => channel_states(&state.tracing, now).await.ok(),
        Err(_) => None,
    };
    let health = of(repository.kind(), health.ok(), states.map(|states| channels::of(states, now)));
    if health.status == Condition::Unhealthy {
        return HttpResponse::ServiceUnavailable().insert_header((RETRY_AFTER, "1")).json(health);
    }
    HttpResponse::Ok().json(health)
}

type Told = (OutboxCheck, BTreeMap<String, ChannelCheck>);

fn of(kind: &'static str, store: Option<StoreHealth>, told: Option<Told>) -> Health {
    let degraded_if = |so: bool| if so { Condition::Degraded } else { Condition::Healthy };
    let writer = store.map(|store| WriterCheck {
        status: match store.queued.saturating_mul(4) >= store.queue_capacity.saturating_mul(3) {
            _ if store.writes_fail.is_some() => Condition::Unhealthy,
            nearly_full => degraded_if(nearly_full),
        },
        detail: store.writes_fail,
        queued: store.queued,
        capacity: store.queue_capacity,
    });
    let baselines = store.map(|store| BaselineCheck {
        status: degraded_if(store.workflows_over_step_limit > 0),
        workflows_over_step_limit: store.workflows_over_step_limit,
    });
    let status = if store.is_some() { Condition::Healthy } else { Condition::Unhealthy };
    let (outbox, channels) =
        told.map_or((None, BTreeMap::new()), |(outbox, channels)| (Some(outbox), channels));
    // Not to know what waits is no better than that it does.
    let waiting = outbox.as_ref().map_or(Condition::Degraded, |check| check.status);
    let parts = [Some(status), writer.as_ref().map(|c| c.status), baselines.as_ref().map(|c| c.status)];
    let told = channels.values().map(|check| check.status).chain([waiting]);
    let worst = parts.into_iter().flatten().chain(told).max().unwrap_or(Condition::Unhealthy);
    let store = StoreCheck { status, kind };
    Health { status: worst, checks: Checks { store, writer, baselines, outbox, channels } }
}

#[cfg(test)]
mod tests {
    use tracer_core::time::Timestamp;

    use super::*;

    #[test]
    fn the_whole_is_as_its_worst_part() {
        let told = || channels::of(Vec::new(), Timestamp::from_millis(0));
        let status = |store| of("fake", store, Some(told())).status;
        let well =
            StoreHealth { queued: 0, queue_capacity: 4, writes_fail: None, workflows_over_step_limit: 0 };
        assert_eq!(status(Some(well)), Condition::Healthy);
        assert_eq!(status(Some(StoreHealth { queued: 3, ..well })), Condition::Degraded);
        assert_eq!(status(Some(StoreHealth { workflows_over_step_limit: 1, ..well })), Condition::Degraded);
        assert_eq!(
            status(Some(StoreHealth { writes_fail: Some("the disk is full"), ..well })),
            Condition::Unhealthy
        );
        assert_eq!(status(None), Condition::Unhealthy);
        assert_eq!(of("fake", Some(well), None).status, Condition::Degraded);
    }
}
