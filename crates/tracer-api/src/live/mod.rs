//! Live: what changes, while it changes, over `GET /stream` and `GET /ws`.
//!
//! One task per process follows the store's change feed and renders each change once (`hub`); every listener has a
//! place in what is kept and takes from there what its filter lets through. A place is the number of a batch and the
//! change's own within it, the same on every replica, so that whoever comes back goes on where they were, anywhere.
//!
//! Invariant: a listener hears of each of its changes once and in order, or is told to resync; what it costs is
//! bounded, and no write ever waits for it.
//! Not here: what is a change (`tracer_core::live`).

mod filter;
mod hub;
mod ring;
mod sse;
mod view;
mod websocket;

use std::time::Duration;

use actix_web::HttpRequest;
use tracer_core::live::ChangeKind;
use utoipa_actix_web::service_config::ServiceConfig;

use self::filter::Filter;
pub use self::hub::Hub;
use self::hub::{ListenError, Listener, Resume};
use self::ring::Place;
use crate::error::ApiError;
use crate::http::query::{FromQuery, Pairs};
use crate::state::AppState;

/// Most values that one filter may list.
const MOST_VALUES: usize = 100;

/// How long whoever finds no room, or no store, is asked to wait.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// Registers the routes.
pub(crate) fn routes(config: &mut ServiceConfig<'_>) {
    config.service(sse::stream).service(websocket::socket);
}

/// What a listener asks for.
struct Asked {
    filter: Filter,
    last_event_id: Option<String>,
}

impl FromQuery for Asked {
    const ONCE: &'static [&'static str] = &["last_event_id"];
    const REPEATED: &'static [&'static str] = &["workflow_name", "workflow_id", "kind"];

    fn from_pairs(pairs: &Pairs<'_>) -> Result<Self, ApiError> {
        Ok(Self {
            filter: Filter::from_pairs(pairs)?,
            last_event_id: pairs.text("last_event_id").map(str::to_owned),
        })
    }
}

impl Asked {
    /// Begins to listen: after `Last-Event-ID`, which browsers send when they come back, else after the parameter of
    /// that name, else with what comes next.
    async fn listen(self, req: &HttpRequest, state: &AppState) -> Result<Listener, ApiError> {
        let header = req.headers().get("last-event-id").map(|id| id.to_str().unwrap_or("?"));
        let resume = match header.or(self.last_event_id.as_deref()) {
            None | Some("") => Resume::Now,
            Some(id) => Place::parse(id).map_or(Resume::Unknown, Resume::After),
        };
        state.live.listen(self.filter, resume).await.map_err(|error| match error {
            ListenError::Full => ApiError::Unavailable {
                detail: "As many listeners are here as may be. Try again.".into(),
                retry_after: RETRY_AFTER,
                cause: None,
            },
            ListenError::Away => ApiError::Unavailable {
                detail: "The store is unavailable: nothing can be heard of. Try again.".into(),
                retry_after: RETRY_AFTER,
                cause: None,
            },
        })
    }
}

/// Returns the names of all kinds, for a sentence.
fn kinds() -> String {
    let names: Vec<&str> = ChangeKind::ALL.into_iter().map(ChangeKind::as_str).collect();
    match names.split_last() {
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    }
}
#[cfg(test)]
mod tests;
