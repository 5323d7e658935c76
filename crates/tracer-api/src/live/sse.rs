//! `GET /stream`: server-sent events (HTML Living Standard, section 9.2).

use actix_web::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use actix_web::{HttpRequest, HttpResponse, get, web};
use bytes::{Bytes, BytesMut};
use tokio::time::{Interval, MissedTickBehavior};

use super::Asked;
use super::hub::Listener;
use crate::error::ApiError;
use crate::http::query::Query;
use crate::http::refusal::AskErrors;
use crate::state::AppState;

/// How long a browser waits before it comes back, in milliseconds.
const RETRY_MS: u32 = 2_000;

/// Hear of changes as they happen, as server-sent events.
///
/// Each event has an `id`, valid on every replica, its kind as `event`, and JSON as `data`. Whoever comes back sends
/// the last id as `Last-Event-ID`, and goes on behind it; where that is no longer possible, or something was missed,
/// comes one event `resync`: then what is of interest is to be read anew. A comment every 15 seconds is a sign of life.
#[utoipa::path(tag = "ask",
    params(
        ("workflow_name" = Option<Vec<String>>, Query, description = "Of these workflows; repeatable."),
        ("workflow_id" = Option<Vec<String>>, Query, description = "Of these executions; repeatable, or separated by commas."),
        ("kind" = Option<Vec<String>>, Query, description = "Of these kinds: `workflow_start`, `step_start`, `step_complete`, `bottleneck`, `in_flight`, `workflow_end`, `incident`, `event`; repeatable, or separated by commas."),
        ("last_event_id" = Option<String>, Query, description = "As the header `Last-Event-ID`, for clients that cannot set one."),
        ("Last-Event-ID" = Option<String>, Header, description = "The id of the last event that was heard."),
    ),
    responses((status = 200, description = "Events, for as long as the client listens.", body = String, content_type = "text/event-stream"), AskErrors))]
#[get("/stream")]
pub(super) async fn stream(
    req: HttpRequest,
    state: web::Data<AppState>,
    Query(asked): Query<Asked>,
) -> Result<HttpResponse, ApiError> {
    if !takes_events(&req) {
        return Err(ApiError::NotAcceptable("text/event-stream"));
    }
    let listener = asked.listen(&req, &state).await?;
    let mut beat = tokio::time::interval(state.live.heartbeat());
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let told = Told { listener, beat, is_new: true };
    let body = futures_util::stream::unfold(told, |mut told| async {
        let bytes = told.next().await?;
        Some((Ok::<_, actix_web::Error>(bytes), told))
    });
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "text/event-stream"))
        .insert_header((CACHE_CONTROL, "no-cache"))
        // Asks nginx not to gather what is sent.
        .insert_header(("X-Accel-Buffering", "no"))
        .streaming(body))
}

/// What is sent to one listener.
struct Told {
    listener: Listener,
    beat: Interval,
    is_new: bool,
}

impl Told {
    /// Returns the next bytes; none when the service stops. Not asked for while the last ones wait to be sent.
    async fn next(&mut self) -> Option<Bytes> {
        if self.is_new {
            self.is_new = false;
            // The first tick is at once.
            self.beat.tick().await;
            let place = self.listener.place();
            return Some(format!("retry: {RETRY_MS}\nid: {place}\n: listening\n\n").into());
        }
        tokio::select! {
            frames = self.listener.next() => {
                let frames = frames?;
                let mut bytes = BytesMut::with_capacity(frames.iter().map(|frame| frame.event.len()).sum());
                frames.iter().for_each(|frame| bytes.extend_from_slice(&frame.event));
                Some(bytes.freeze())
            }
            // With the place that it has got to: who hears little need not resync after a while.
            _ = self.beat.tick() => Some(format!("id: {}\n: alive\n\n", self.listener.place()).into()),
        }
    }
}

fn takes_events(req: &HttpRequest) -> bool {
    let mut listed = req.headers().get_all(ACCEPT).filter_map(|value| value.to_str().ok()).peekable();
    listed.peek().is_none()
        || listed.flat_map(|value| value.split(',')).any(|range| {
            let media = range.split(';').next().unwrap_or_default().trim();
            ["", "*/*", "text/*", "text/event-stream"].iter().any(|known| media.eq_ignore_ascii_case(known))
        })
}
