//! The query API of Jaeger under `/jaeger/api`, as Grafana's data source and Jaeger's own page ask it.
//!
//! A trace is an execution; the span that is its root is the execution itself. What this answers follows Jaeger's
//! query service, its envelope, units and refusals included, and not the contract of the other routes.
//! Not here: which services there are (`tracer_core::services`).

mod answer;
mod model;
mod query;
mod search;
mod trace;

use actix_web::{HttpRequest, get, web};
use tracer_core::span::SpanKind;
use tracer_core::time::Timestamp;
use utoipa_actix_web::service_config::ServiceConfig;

pub(super) use self::answer::JaegerRefusal;
use self::answer::{JaegerAnswer, JaegerError, JaegerErrors, JaegerFault};
use self::model::{JaegerCalls, JaegerOperation, JaegerTrace};
use self::query::{Asked, read_id};
use self::search::Search;
use super::path;
use crate::error::ApiError;
use crate::state::AppState;

/// What most of them are asked behind.
const SERVICES: &str = "/jaeger/api/services/";

/// Registers the routes.
pub(super) fn routes(config: &mut ServiceConfig<'_>) {
    config
        .service(list_services)
        .service(list_names_of_operations)
        .service(list_operations)
        .service(search_traces)
        .service(show_trace)
        .service(list_dependencies);
}

type Answer<T> = Result<web::Json<JaegerAnswer<T>>, JaegerError>;

/// List services: those that spans were of, and every workflow.
#[utoipa::path(tag = "jaeger",
    responses((status = 200, description = "Their names.", body = JaegerAnswer<Vec<String>>), JaegerErrors))]
#[get("/jaeger/api/services")]
async fn list_services(state: web::Data<AppState>) -> Answer<Vec<String>> {
    Ok(JaegerAnswer::of(state.tracing.repository().services().await?))
}

/// List the names of what a service does.
#[utoipa::path(tag = "jaeger",
    params(("service" = String, Path, description = "The service, percent-encoded; slashes too.")),
    responses((status = 200, description = "Their names; none of an unknown service.", body = JaegerAnswer<Vec<String>>), JaegerErrors))]
#[get("/jaeger/api/services/{service:.+}/operations")]
async fn list_names_of_operations(req: HttpRequest, state: web::Data<AppState>) -> Answer<Vec<String>> {
    let path = req.uri().path();
    let service = path.strip_prefix(SERVICES).and_then(|rest| rest.strip_suffix("/operations"));
    let service = path::decode(service.unwrap_or_default())?;
    let operations = state.tracing.repository().operations(&service).await?;
    let mut names: Vec<String> = operations.into_iter().map(|operation| operation.name).collect();
    names.dedup();
    Ok(JaegerAnswer::of(names))
}

/// List what a service does, with the place of its spans between services.
#[utoipa::path(tag = "jaeger",
    params(
        ("service" = String, Query, description = "The service."),
        ("spanKind" = Option<String>, Query, description = "`internal`, `server`, `client`, `producer` or `consumer`."),
    ),
    responses((status = 200, description = "Its operations; none of an unknown service.", body = JaegerAnswer<Vec<JaegerOperation>>), JaegerErrors))]
#[get("/jaeger/api/operations")]
async fn list_operations(req: HttpRequest, state: web::Data<AppState>) -> Answer<Vec<JaegerOperation>> {
    let asked = Asked::parse(req.query_string())?;
    let kind = asked.read("spanKind", |text| SpanKind::parse(&text.to_ascii_lowercase()))?;
    let operations = state.tracing.repository().operations(asked.required("service")?).await?;
    let of_kind = operations.into_iter().filter(|operation| kind.is_none_or(|kind| operation.kind == kind));
    Ok(JaegerAnswer::of(of_kind.map(JaegerOperation::from).collect()))
}

/// Search traces of a service, newest start first; or show those of given ids.
///
/// A trace is found if one of its spans of the service meets all conditions. At most 2,000 executions and 100,000 steps
/// are looked at, and an answer has at most 20,000 spans: of a trace that has no more room, the spans that fit.
#[utoipa::path(tag = "jaeger",
    params(
        ("service" = Option<String>, Query, description = "The service; needed unless `traceID` is given."),
        ("operation" = Option<String>, Query, description = "The name of a span."),
        ("tags" = Option<String>, Query, description = "Tags of a span, its process or its logs, as a JSON object of texts."),
        ("tag" = Option<Vec<String>>, Query, description = "A tag, `key:value`; may repeat."),
        ("minDuration" = Option<String>, Query, description = "A span took at least so long: `1.2s`, `100ms`, `500us`."),
        ("maxDuration" = Option<String>, Query, description = "A span took at most so long."),
        ("start" = Option<i64>, Query, description = "Began at or after, in microseconds since 1970; otherwise `lookback`, or two days, before `end`."),
        ("end" = Option<i64>, Query, description = "Began at or before, in microseconds since 1970; otherwise now."),
        ("lookback" = Option<String>, Query, description = "How far back from `end`, where `start` is not given: `1h`, `2d`."),
        ("limit" = Option<usize>, Query, description = "Traces: 100, at most 1,500."),
        ("traceID" = Option<Vec<String>>, Query, description = "An id; may repeat. Nothing else counts then."),
    ),
    responses((status = 200, description = "The traces; none of an unknown service.", body = JaegerAnswer<Vec<JaegerTrace>>), JaegerErrors))]
#[get("/jaeger/api/traces")]
async fn search_traces(req: HttpRequest, state: web::Data<AppState>) -> Answer<Vec<JaegerTrace>> {
    let asked = Asked::parse(req.query_string())?;
    let (repository, now) = (state.tracing.repository(), state.tracing.now());
    if asked.has("traceID") {
        let ids: Vec<&str> = asked.all("traceID").take(tracer_core::limits::JAEGER_TRACES).collect();
        let (mut found, mut faults) = (Vec::new(), Vec::new());
        let mut room = trace::Room::default();
        for text in ids {
            match trace::load(repository, read_id(text)?, now, &mut room).await? {
                Some(trace) => found.push(trace),
                None => faults.push(JaegerFault::unknown(text)),
            }
        }
        return Ok(JaegerAnswer::with_faults(found, faults));
    }
    Ok(JaegerAnswer::of(Search::read(&asked, now)?.run(repository, now).await?))
}

/// Show an execution as a trace.
#[utoipa::path(tag = "jaeger",
    params(("trace_id" = String, Path, description = "Its id: hexadecimal, with or without leading zeros, or as `wf_…`.")),
    responses((status = 200, description = "One trace.", body = JaegerAnswer<Vec<JaegerTrace>>), JaegerErrors))]
#[get("/jaeger/api/traces/{trace_id}")]
async fn show_trace(id: web::Path<String>, state: web::Data<AppState>) -> Answer<Vec<JaegerTrace>> {
    let (repository, now) = (state.tracing.repository(), state.tracing.now());
    let found = trace::load(repository, read_id(&id)?, now, &mut trace::Room::default()).await?;
    let trace = found.ok_or_else(|| ApiError::not_found("trace not found"))?;
    Ok(JaegerAnswer::of(vec![trace]))
}

/// Show how often services called one another, by whole days (UTC).
#[utoipa::path(tag = "jaeger",
    params(
        ("endTs" = Option<i64>, Query, description = "The end, in milliseconds since 1970; otherwise now."),
        ("lookback" = Option<i64>, Query, description = "How far back from there, in milliseconds; otherwise a day."),
    ),
    responses((status = 200, description = "The calls.", body = JaegerAnswer<Vec<JaegerCalls>>), JaegerErrors))]
#[get("/jaeger/api/dependencies")]
async fn list_dependencies(req: HttpRequest, state: web::Data<AppState>) -> Answer<Vec<JaegerCalls>> {
    const DAY_MILLIS: i64 = 86_400_000;
    let asked = Asked::parse(req.query_string())?;
    let millis = |text: &str| text.parse::<i64>().ok();
    let now = state.tracing.now().as_micros() / 1_000;
    let end = asked.read("endTs", millis)?.unwrap_or(now);
    let lookback =
        asked.read("lookback", |text| millis(text).filter(|back| *back >= 0))?.unwrap_or(DAY_MILLIS);
    let day = |millis: i64| Timestamp::from_millis(millis.clamp(0, query::LAST_MILLIS)).day();
    let first = day(end.saturating_sub(lookback));
    let calls = state.tracing.repository().service_calls(first, day(end)).await?;
    Ok(JaegerAnswer::of(calls.into_iter().map(JaegerCalls::from).collect()))
}
