//! Every route of the domain, in one list.

use actix_web::web;
use utoipa_actix_web::service_config::ServiceConfig;

use super::{
    alertmanager, eta, events, failures, health, import, incidents, jaeger, simulate, slo, stats, steps,
    workflows,
};
use crate::live;
use crate::otlp;
use crate::state::AppState;

/// Returns what registers the routes for each worker, over one state.
pub fn over(state: AppState) -> impl Fn(&mut ServiceConfig<'_>) + Clone + Send + 'static {
    let state = web::Data::new(state);
    move |config| {
        config.app_data(state.clone());
        workflows::routes(config);
        steps::routes(config);
        events::routes(config);
        eta::routes(config);
        failures::routes(config);
        stats::routes(config);
        simulate::routes(config);
        import::routes(config);
        otlp::http::routes(config);
        incidents::routes(config);
        alertmanager::routes(config);
        slo::routes(config);
        jaeger::routes(config);
        health::routes(config);
        live::routes(config);
    }
}
