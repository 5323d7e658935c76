//! `GET /metrics`.

use std::time::Instant;

use actix_web::{HttpResponse, get, web};

use super::Frame;
use super::query::{NoParameters, Query};
use crate::error::Problem;

/// The metrics, for Prometheus.
///
/// Where keys are set, it asks for one with the scope `read`: `authorization` in Prometheus's scrape configuration.
#[utoipa::path(tag = "operate", responses(
    (status = 200, description = "The metrics.", body = String, content_type = "text/plain; version=0.0.4"),
    (status = 400, description = "A query parameter: there are none.", body = Problem, content_type = "application/problem+json"),
    (status = 401, description = "No key, where keys are set.", body = Problem, content_type = "application/problem+json")))]
#[get("/metrics")]
pub(super) async fn metrics(frame: web::Data<Frame>, _: Query<NoParameters>) -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/plain; version=0.0.4; charset=utf-8")
        .body(frame.metrics.render(Instant::now()))
}
