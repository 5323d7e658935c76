//! `GET /ws`: the same over a WebSocket (RFC 6455), one JSON text per change.

use std::ops::ControlFlow;
use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, get, web};
use actix_ws::{CloseCode, CloseReason, Message, MessageStream, ProtocolError, Session};
use futures_util::StreamExt;
use tokio::time::MissedTickBehavior;

use super::Asked;
use super::hub::Listener;
use super::ring::Frame;
use crate::error::ApiError;
use crate::http::query::Query;
use crate::http::refusal::AskErrors;
use crate::state::AppState;

/// Most bytes of a frame of the client's, which has nothing to say.
const MOST_BYTES: usize = 4 * 1024;

/// Pings that may go unanswered.
const MOST_UNANSWERED: u32 = 2;

/// Hear of changes as they happen, over a WebSocket.
///
/// Each text is the JSON of one change, as in the `data` of `GET /stream`. `last_event_id` goes on behind the last id
/// that was heard. A ping every 15 seconds asks for a sign of life; when two went unanswered the connection ends.
#[utoipa::path(tag = "ask",
    params(
        ("workflow_name" = Option<Vec<String>>, Query, description = "Of these workflows; repeatable."),
        ("workflow_id" = Option<Vec<String>>, Query, description = "Of these executions; repeatable, or separated by commas."),
        ("kind" = Option<Vec<String>>, Query, description = "Of these kinds, as for `GET /stream`; repeatable, or separated by commas."),
        ("last_event_id" = Option<String>, Query, description = "The id of the last event that was heard."),
    ),
    responses((status = 101, description = "The connection is a WebSocket from here on."), AskErrors))]
#[get("/ws")]
pub(super) async fn socket(
    req: HttpRequest,
    payload: web::Payload,
    state: web::Data<AppState>,
    Query(asked): Query<Asked>,
) -> Result<HttpResponse, ApiError> {
    let not_one = |_| ApiError::bad_request("This path answers only a WebSocket's handshake.");
    let (answer, session, messages) = actix_ws::handle(&req, payload).map_err(not_one)?;
    let listener = asked.listen(&req, &state).await?;
    let messages = messages.max_frame_size(MOST_BYTES);
    let heartbeat = state.live.heartbeat();
    let talk = Talk { session, listener, heartbeat, unanswered: 0 };
    actix_web::rt::spawn(talk.run(messages));
    Ok(answer)
}

/// One client, and what it is told.
struct Talk {
    session: Session,
    listener: Listener,
    heartbeat: Duration,
    /// Pings since the client last gave a sign of life.
    unanswered: u32,
}

impl Talk {
    async fn run(mut self, mut messages: MessageStream) {
        let mut beat = tokio::time::interval(self.heartbeat);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let reason = loop {
            let went_on = tokio::select! {
                frames = self.listener.next() => match frames {
                    Some(frames) => self.tell(&frames).await,
                    None => ControlFlow::Break(Some(CloseCode::Away)),
                },
                message = messages.next() => self.hear(message).await,
                _ = beat.tick() => self.ping().await,
            };
            if let ControlFlow::Break(reason) = went_on {
                break reason;
            }
        };
        if let Some(code) = reason {
            let closed = self.session.close(Some(CloseReason::from(code)));
            // Whoever takes nothing does not take this either.
            drop(tokio::time::timeout(self.heartbeat, closed).await);
        }
    }

    async fn tell(&mut self, frames: &[Frame]) -> ControlFlow<Option<CloseCode>> {
        let patience = self.heartbeat * 2;
        let telling = async {
            for frame in frames {
                self.session.text(frame.json()).await?;
            }
            Ok::<_, actix_ws::Closed>(())
        };
        // A client that takes nothing for so long is gone; it comes back with the id that it has got to.
        match tokio::time::timeout(patience, telling).await {
            Ok(Ok(())) => ControlFlow::Continue(()),
            Ok(Err(_)) | Err(_) => ControlFlow::Break(None),
        }
    }

    async fn hear(
        &mut self,
        message: Option<Result<Message, ProtocolError>>,
    ) -> ControlFlow<Option<CloseCode>> {
        self.unanswered = 0;
        match message {
            Some(Ok(Message::Ping(payload))) => match self.session.pong(&payload).await {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(None),
            },
            Some(Ok(Message::Close(_))) => ControlFlow::Break(Some(CloseCode::Normal)),
            Some(Ok(
                Message::Pong(_)
                | Message::Text(_)
                | Message::Binary(_)
                | Message::Continuation(_)
                | Message::Nop,
            )) => ControlFlow::Continue(()),
            Some(Err(ProtocolError::Overflow)) => ControlFlow::Break(Some(CloseCode::Size)),
            Some(Err(_)) => ControlFlow::Break(Some(CloseCode::Protocol)),
            None => ControlFlow::Break(None),
        }
    }

    async fn ping(&mut self) -> ControlFlow<Option<CloseCode>> {
        if self.unanswered >= MOST_UNANSWERED {
            return ControlFlow::Break(Some(CloseCode::Policy));
        }
        self.unanswered += 1;
        match self.session.ping(b"").await {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(None),
        }
    }
}
