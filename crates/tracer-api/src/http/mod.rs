//! What clients meet: the frame around every handler, and the routes that need no domain.
//!
//! Every request passes, in this order: [`request_metrics`] (counted, timed), [`gate`] (key, rate, `Accept`),
//! `head`, its handler with [`body`], [`query`], [`path`] and [`headers`]; what no handler takes ends in [`docs::Methods`].

mod alertmanager;
pub mod body;
mod checks;
mod cursor;
pub mod docs;
mod eta;
mod events;
mod failures;
mod fields;
pub mod gate;
mod head;
pub mod headers;
mod health;
pub mod import;
mod incidents;
mod jaeger;
pub mod metrics;
pub mod path;
pub mod query;
pub(crate) mod refusal;
pub mod request_metrics;
mod retry;
pub mod routes;
mod simulate;
mod slo;
mod stats;
pub mod steps;
pub mod views;
mod workflows;

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::Server;
use actix_web::middleware::from_fn;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use utoipa_actix_web::AppExt;
use utoipa_actix_web::service_config::ServiceConfig;

use crate::auth::ApiKeys;
use crate::config::Settings;
use crate::error::ApiError;
use crate::export::requests::OwnRequests;
use crate::metrics::Metrics;
use crate::rate_limit::RateLimit;

/// What the frame needs to know; shared by all workers. Somebody has to call [`Frame::upkeep`].
#[derive(Debug)]
pub struct Frame {
    /// Who may do what.
    pub keys: ApiKeys,
    /// How often.
    pub rate: RateLimit,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// How long a body may take to arrive.
    pub body_timeout: Duration,
    /// Makes spans of requests, if they are wanted.
    pub own_requests: Option<OwnRequests>,
    /// The port that receives OTLP and nothing else.
    pub otlp_port: Option<u16>,
}

impl Frame {
    /// Returns the frame that the settings describe.
    #[must_use]
    pub fn new(settings: &Settings, metrics: Arc<Metrics>) -> Self {
        Self {
            keys: settings.api_keys.clone(),
            rate: RateLimit::new(settings.limits.rate_per_second, settings.limits.burst),
            metrics,
            body_timeout: settings.server.request_timeout,
            own_requests: None,
            otlp_port: settings.otlp_http_port(),
        }
    }

    /// Gathers histograms and forgets clients that are idle; to be called every second or so.
    pub fn upkeep(&self) {
        self.metrics.upkeep();
        self.rate.upkeep();
    }
}

/// Serves on sockets that are bound already. `routes` registers the handlers, and their data, for each worker.
///
/// The server runs when it is awaited. It listens to no signal: stop it by its handle, gracefully, and it waits
/// for open requests until the settings' deadline.
///
/// # Errors
/// The operating system's, if a socket cannot be listened on.
pub fn server<R>(
    settings: &Settings,
    listeners: Vec<TcpListener>,
    frame: Arc<Frame>,
    routes: R,
) -> io::Result<Server>
where
    R: Fn(&mut ServiceConfig<'_>) + Clone + Send + 'static,
{
    let frame = web::Data::from(frame);
    let build = move || {
        let app = App::new().into_utoipa_app().openapi(docs::frame()).configure(|config| routes(config));
        let (app, document) = app.service(metrics::metrics).split_for_parts();
        let document = docs::completed(document);
        let methods = docs::Methods::of(&document);
        app.app_data(frame.clone())
            .app_data(web::Data::new(methods))
            .app_data(web::Data::new(docs::Served::of(&document)))
            .service(docs::show_document)
            .service(docs::redirect)
            .service(docs::show_page)
            .default_service(web::to(unmatched))
            .wrap(from_fn(head::as_get))
            .wrap(from_fn(gate::gate))
            .wrap(from_fn(request_metrics::observe))
    };
    let mut server = HttpServer::new(build)
        .workers(workers(settings.server.workers))
        .max_connections(settings.limits.max_connections)
        .keep_alive(settings.server.keep_alive)
        .client_request_timeout(settings.server.request_timeout)
        .shutdown_timeout(settings.server.shutdown_deadline.as_secs())
        .disable_signals();
    for listener in listeners {
        server = server.listen(listener)?;
    }
    Ok(server.run())
}

fn workers(set: usize) -> usize {
    if set > 0 { set } else { std::thread::available_parallelism().map_or(1, usize::from) }
}

/// Answers what no route takes: 405 with what the path does answer, or 404.
async fn unmatched(req: HttpRequest, methods: web::Data<docs::Methods>) -> Result<HttpResponse, ApiError> {
    Err(match req.match_pattern() {
        Some(pattern) => ApiError::MethodNotAllowed(methods.allowed(&path::template(&pattern))),
        None => ApiError::not_found("There is nothing at this path; /docs shows what there is."),
    })
}

#[cfg(test)]
mod tests;
