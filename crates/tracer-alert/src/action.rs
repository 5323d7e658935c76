//! Calls an address that does something about an incident: restarts a worker, cancels a run.
//!
//! The call is that of a webhook, with the same body and signature. What is answered is kept in the incident's
//! history.
//! Not here: when it is called, and how often at most (`routing`, `dispatcher`).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tracer_core::notify::{Delivery, Notifier, NotifyError, Receipt};

use crate::http::{Http, SetupError, one_line};
use crate::links::Links;
use crate::webhook::Endpoint;

/// Most bytes that are kept of an answer.
const NOTE_BYTES: usize = 500;

/// Calls an address, and keeps its answer.
pub struct Action(Endpoint);

impl fmt::Debug for Action {
    /// Leaves out the address and the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Action").finish_non_exhaustive()
    }
}

impl Action {
    /// Returns a channel that calls an address, signed if there is a secret. A call takes no longer than
    /// `timeout`.
    ///
    /// # Errors
    /// [`SetupError::Address`] if it is no address.
    pub fn new(
        http: &Http,
        url: &str,
        secret: Option<&str>,
        links: Arc<Links>,
        timeout: Duration,
    ) -> Result<Self, SetupError> {
        Endpoint::new(http, url, secret, links, timeout).map(Self)
    }
}

#[async_trait]
impl Notifier for Action {
    async fn deliver(&self, delivery: &Delivery) -> Result<Receipt, NotifyError> {
        let mut notes = Vec::new();
        for notification in &delivery.notifications {
            let answer = self.0.post(notification).await?;
            let said = one_line(&self.0.redacted(&answer.body), NOTE_BYTES);
            let answer = answer.success(&said)?;
            let status = answer.status.as_u16();
            notes.push(if said.is_empty() { status.to_string() } else { format!("{status}: {said}") });
        }
        Ok(Receipt { reference: None, note: Some(notes.join("; ")) })
    }
}

#[cfg(test)]
mod tests {
    use tracer_core::incident::Transition;
    use tracer_core::test_util::FakeClock;

    use super::*;
    use crate::fake_server::{Play, Server};
    use crate::samples;

    async fn answered(play: Play) -> Result<Option<String>, NotifyError> {
        let server = Server::playing([play]).await;
        let http = Http::new(Arc::new(FakeClock::default())).unwrap();
        let url = server.url("/restart/hidden?key=also");
        let action = Action::new(&http, &url, Some("secret"), Arc::default(), server.patience()).unwrap();
        let receipt = action.deliver(&samples::delivery(Transition::Opened, samples::slow())).await;
        let seen = server.seen();
        assert!(seen.iter().all(|seen| seen.headers.contains_key("x-tracer-signature")));
        receipt.map(|receipt| receipt.note)
    }

    #[tokio::test]
    async fn what_is_answered_is_kept_on_one_line() {
        let note = answered(Play::status(200).body("restarted\r\n\u{1b}[31mworker 3\0")).await.unwrap();
        assert_eq!(note.as_deref(), Some("200: restarted [31mworker 3"));
        assert_eq!(answered(Play::status(202)).await.unwrap().as_deref(), Some("202"));
        let long = answered(Play::status(200).body(&"ä".repeat(5_000))).await.unwrap().unwrap();
        assert_eq!(long, format!("200: {}", "ä".repeat(250)));
    }

    #[tokio::test]
    async fn an_answer_that_repeats_the_address_gives_no_secret_away() {
        let body = "you called /restart/hidden?key=also";
        let note = answered(Play::status(200).body(body)).await.unwrap();
        assert_eq!(note.as_deref(), Some("200: you called [redacted]?[redacted]"));
        let error = answered(Play::status(404).body(body)).await.unwrap_err();
        assert_eq!(error.reason(), "it answered 404 Not Found: you called [redacted]?[redacted]");
    }

    #[tokio::test]
    async fn what_fails_on_the_other_side_is_tried_again() {
        for play in [Play::status(500), Play::Silence, Play::HangUp] {
            assert!(matches!(answered(play).await, Err(NotifyError::Transient { .. })));
        }
    }
}
