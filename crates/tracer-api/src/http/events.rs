//! Events of an execution: `/workflows/{workflow_id}/events`.

use std::collections::BTreeMap;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, get, post, web};
use serde::Deserialize;
use serde_json::Value;
use tracer_core::event::{self, EventId, EventKind, LogLevel, WorkflowEvent};
use tracer_core::ids::{ExecutionId, StepId};
use tracer_core::record::RecordEvent;
use tracer_core::time::Timestamp;
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

use super::body::{Body, RequestBody};
use super::checks::Checks;
use super::cursor::{self, Place};
use super::fields;
use super::query::{FromQuery, NoParameters, Pairs, Query};
use super::refusal::{AskErrors, RecordErrors, UNKNOWN_EXECUTION};
use super::retry::Retry;
use super::views::{EventRecordedView, EventView, EventsView};
use super::workflows::page_rows;
use crate::error::ApiError;
use crate::state::AppState;

const KINDS: &str = "must be branch_decision, tool_call, log or error";
const LEVELS: &str = "must be trace, debug, info, warn or error";

/// Registers the routes.
pub(super) fn routes(config: &mut ServiceConfig<'_>) {
    config.service(record_event).service(list_events);
}

/// What is told of an execution.
#[derive(Debug, Deserialize, ToSchema)]
struct TellEvent {
    /// `branch_decision`, `tool_call`, `log` or `error`.
    #[schema(required = true, value_type = String, example = "tool_call")]
    kind: Option<String>,
    /// What happened; what is longer than 8 KiB is cut and marked.
    #[schema(required = true, value_type = String, example = "searched the catalogue for 'pump'")]
    message: Option<String>,
    /// How much a line of a log matters: `trace`, `debug`, `info`, `warn` or `error`.
    #[schema(example = "warn")]
    level: Option<String>,
    /// The step that it happened in, of the same execution.
    step_id: Option<String>,
    /// When it happened, if not now.
    #[schema(value_type = Option<String>, format = DateTime)]
    at: Option<String>,
    /// At most 64 values, 32 KiB in all.
    attributes: Option<BTreeMap<String, Value>>,
}

impl RequestBody for TellEvent {}

impl TellEvent {
    fn into_command(self, execution: ExecutionId, now: Timestamp) -> Result<RecordEvent, ApiError> {
        let mut checks = Checks::default();
        let kind = checks.required("/kind", self.kind.as_deref(), |kind| EventKind::parse(kind).ok_or(KINDS));
        let message = checks.required("/message", self.message.as_deref(), |message| match message {
            "" => Err("must not be empty"),
            message => Ok(event::message(message)),
        });
        let level =
            checks.optional("/level", self.level.as_deref(), |level| LogLevel::parse(level).ok_or(LEVELS));
        if level.is_some() && kind.is_some_and(|kind| kind != EventKind::Log) {
            checks.fault("/level", "must be left out unless kind is log");
        }
        let step = checks.optional("/step_id", self.step_id.as_deref(), str::parse::<StepId>);
        let at = checks.time("/at", self.at.as_deref(), now);
        let attributes = checks.attributes(self.attributes);
        checks.finish(|| {
            let (kind, message, id) = (kind?, message?, EventId::mint(now));
            Some(RecordEvent { execution, id, kind, level, message, step, at, attributes })
        })
    }
}

/// Tell something of an execution: which branch it took, a tool that it called, a line of its log, an error.
///
/// It is shown with the execution and in the live stream, and is a sign of life. It changes no state: an execution
/// that has ended takes events, too. At most 10,000 of one execution are kept; a further one is refused (422).
#[utoipa::path(tag = "record", request_body = TellEvent,
    params(
        ("workflow_id" = String, Path, description = "The execution's id."),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes the request safe to repeat, for 24 hours."),
    ),
    responses((status = 201, description = "The event is kept.", body = EventRecordedView, headers(
        ("Idempotency-Replayed" = String, description = "`true`, where the answer repeats that of an earlier request."),
    )), RecordErrors))]
#[post("/workflows/{workflow_id}/events")]
async fn record_event(
    req: HttpRequest,
    state: web::Data<AppState>,
    retry: Retry,
    _: Query<NoParameters>,
    body: Body<TellEvent>,
) -> Result<HttpResponse, ApiError> {
    let now = state.tracing.now();
    let arrival = retry.arrival(now, || body.digest());
    let event = body.into_inner().into_command(fields::execution_id(&req)?, now)?;
    let recorded = state.tracing.record_event(event, arrival).await?;
    let view = EventRecordedView::from(recorded.value);
    Ok(retry.answer(StatusCode::CREATED, recorded.fresh).json(view))
}

/// Where a listing of events goes on: behind the one of this number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EventPlace(pub(super) u32);

impl EventPlace {
    /// Returns where a listing goes on behind an event.
    pub(super) const fn of(event: &WorkflowEvent) -> Self {
        Self(event.number)
    }
}

impl Place for EventPlace {
    const LISTING: u8 = b'v';

    fn to_bytes(&self) -> Vec<u8> {
        self.0.to_be_bytes().to_vec()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(|bytes| Self(u32::from_be_bytes(bytes)))
    }
}

/// Which page of events.
struct Listing {
    after: u32,
    limit: usize,
}

impl FromQuery for Listing {
    const ONCE: &'static [&'static str] = &["limit", "cursor"];

    fn from_pairs(pairs: &Pairs<'_>) -> Result<Self, ApiError> {
        let after = cursor::read::<EventPlace>(pairs.text("cursor"))?;
        Ok(Self { after: after.map_or(0, |place| place.0), limit: page_rows(pairs)? })
    }
}

/// List the events of an execution, in the order in which they were recorded.
#[utoipa::path(tag = "ask",
    params(
        ("workflow_id" = String, Path, description = "The execution's id."),
        ("limit" = Option<usize>, Query, description = "Rows in a page: 100, at most 1,000."),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before."),
    ),
    responses((status = 200, description = "A page of events.", body = EventsView), AskErrors))]
#[get("/workflows/{workflow_id}/events")]
async fn list_events(
    req: HttpRequest,
    state: web::Data<AppState>,
    Query(Listing { after, limit }): Query<Listing>,
) -> Result<web::Json<EventsView>, ApiError> {
    let id = fields::execution_id(&req)?;
    let repository = state.tracing.repository();
    let events = repository.events(id, after, limit + 1).await?;
    if events.is_empty() && repository.execution(id).await?.is_none() {
        return Err(ApiError::not_found(UNKNOWN_EXECUTION));
    }
    let (events, next_cursor) = cursor::page(events, limit, EventPlace::of);
    let events = events.into_iter().map(EventView::from).collect();
    Ok(web::Json(EventsView { workflow_id: id, events, next_cursor }))
}
