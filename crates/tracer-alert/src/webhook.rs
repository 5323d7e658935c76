//! Posts notifications as JSON to an address of the user's own.
//!
//! The body is one notification (`payload`). With a secret it is signed, so that whoever receives it knows who
//! sent it, and when:
//!
//! | header | value |
//! |---|---|
//! | `X-Tracer-Notification` | the number of the notification, the same at every attempt |
//! | `X-Tracer-Timestamp` | when this attempt was made, in seconds since 1970 |
//! | `X-Tracer-Signature` | `v1=` and the HMAC-SHA256 of `{timestamp}.{body}`, in lowercase hexadecimal digits |
//!
//! A receiver compares the signature in constant time, and refuses what is older than a few minutes.
//!
//! Any 2xx counts as taken. 408, 425, 429 and 5xx, and no answer, are tried again, after `Retry-After` if there
//! is one; any other answer, redirects too, never is.

use std::fmt;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use sha2::Sha256;
use tracer_core::notify::{Delivery, Notification, Notifier, NotifyError, Receipt};

use crate::http::{Answer, Http, SetupError, address};
use crate::links::Links;
use crate::payload::payload;

const NOTIFICATION: HeaderName = HeaderName::from_static("x-tracer-notification");
const TIMESTAMP: HeaderName = HeaderName::from_static("x-tracer-timestamp");
const SIGNATURE: HeaderName = HeaderName::from_static("x-tracer-signature");

/// Whom notifications are posted to, and with what signature.
pub(crate) struct Endpoint {
    http: Http,
    url: Url,
    secret: Option<String>,
    links: Arc<Links>,
    timeout: Duration,
}

impl Endpoint {
    /// Parses the address; an empty secret is none.
    pub(crate) fn new(
        http: &Http,
        url: &str,
        secret: Option<&str>,
        links: Arc<Links>,
        timeout: Duration,
    ) -> Result<Self, SetupError> {
        let secret = secret.filter(|secret| !secret.is_empty()).map(str::to_owned);
        Ok(Self { http: http.clone(), url: address(url)?, secret, links, timeout })
    }

    /// Posts a notification, and returns what was answered.
    pub(crate) async fn post(&self, notification: &Notification) -> Result<Answer, NotifyError> {
        let body = payload(notification, &self.links).to_string();
        let timestamp = self.http.now().as_micros().div_euclid(1_000_000);
        let mut headers = HeaderMap::new();
        headers.insert(NOTIFICATION, HeaderValue::from(notification.id));
        headers.insert(TIMESTAMP, HeaderValue::from(timestamp));
        let signature = self.secret.as_ref().and_then(|secret| signature(secret, timestamp, &body));
        if let Some(signature) = signature.and_then(|text| HeaderValue::from_str(&text).ok()) {
            headers.insert(SIGNATURE, signature);
        }
        self.http.post(&self.url, headers, body.into_bytes(), self.timeout).await
    }

    /// Returns a text without the parts of the address that may be secret, should an answer repeat them.
    pub(crate) fn redacted(&self, text: &str) -> String {
        let path = Some(self.url.path()).filter(|path| path.len() > 1);
        let secrets = [path, self.url.query(), self.url.password()];
        secrets
            .into_iter()
            .flatten()
            .filter(|secret| !secret.is_empty())
            .fold(text.to_owned(), |text, secret| text.replace(secret, "[redacted]"))
    }
}

/// Returns `v1=` and the signature.
fn signature(secret: &str, timestamp: i64, body: &str) -> Option<String> {
    // HMAC takes a key of any length.
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).ok()?;
    mac.update(format!("{timestamp}.{body}").as_bytes());
    let mut text = "v1=".to_owned();
    for byte in mac.finalize().into_bytes() {
        write!(text, "{byte:02x}").ok()?;
    }
    Some(text)
}

/// Posts each notification as JSON.
pub struct Webhook(Endpoint);

impl fmt::Debug for Webhook {
    /// Leaves out the address and the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook").finish_non_exhaustive()
    }
}

impl Webhook {
    /// Returns a channel that posts to an address, signed if there is a secret. A call takes no longer than
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
impl Notifier for Webhook {
    async fn deliver(&self, delivery: &Delivery) -> Result<Receipt, NotifyError> {
        for notification in &delivery.notifications {
            self.0.post(notification).await?.success("")?;
        }
        Ok(Receipt::default())
    }
}

#[cfg(test)]
mod tests {
    use tracer_core::incident::Transition;
    use tracer_core::test_util::FakeClock;

    use super::*;
    use crate::fake_server::{Play, Server};
    use crate::samples;

    fn webhook(server: &Server, secret: Option<&str>) -> Webhook {
        let http = Http::new(Arc::new(FakeClock::default())).unwrap();
        let url = server.url("/hooks/tracer?key=hidden");
        Webhook::new(&http, &url, secret, Arc::default(), server.patience()).unwrap()
    }

    #[test]
    fn a_signature_is_that_of_any_other_implementation() {
        // echo -n '1769860800.{"version":1}' | openssl dgst -sha256 -hmac 'it is a secret'
        let expected = "v1=ac0b5509dcfd931ea13ce90b2d723a21519e4214eebfa8eb3d3bb3545572cbfd";
        assert_eq!(signature("it is a secret", 1_769_860_800, r#"{"version":1}"#).as_deref(), Some(expected));
        assert!(signature(&"long".repeat(100), 0, "").is_some());
    }

    #[tokio::test]
    async fn a_notification_is_posted_with_its_number_and_signature() {
        let server = Server::playing([Play::status(204)]).await;
        let signed = webhook(&server, Some("it is a secret"));
        signed.deliver(&samples::delivery(Transition::Opened, samples::slow())).await.unwrap();
        webhook(&server, Some("")).deliver(&samples::opened_together(2)).await.unwrap();
        let seen = server.seen();
        assert_eq!(seen.len(), 3, "each notification by itself");
        assert_eq!(seen[0].path, "/hooks/tracer?key=hidden");
        assert_eq!(seen[0].json()["notification_id"], 7);
        let header = |number: usize, name: &str| seen[number].headers.get(name).map(String::as_str);
        assert_eq!(header(0, "x-tracer-notification"), Some("7"));
        assert_eq!(header(0, "x-tracer-timestamp"), Some("1769860800"));
        let expected = signature("it is a secret", 1_769_860_800, &seen[0].body);
        assert_eq!(header(0, "x-tracer-signature"), expected.as_deref());
        assert_eq!(
            (header(1, "x-tracer-notification"), header(2, "x-tracer-notification")),
            (Some("1"), Some("2"))
        );
        assert_eq!(header(1, "x-tracer-signature"), None);
    }

    #[tokio::test]
    async fn an_answer_says_whether_to_try_again() {
        let mut told = String::new();
        for play in [
            Play::status(202),
            Play::status(301).header("location", "/elsewhere"),
            Play::status(404).body("no /hooks/tracer here"),
            Play::status(429).header("retry-after", "Sat, 31 Jan 2026 12:00:30 GMT"),
            Play::status(500),
            Play::Silence,
            Play::Garbage,
        ] {
            let server = Server::playing([play]).await;
            let delivery = samples::delivery(Transition::Opened, samples::slow());
            told += &match webhook(&server, None).deliver(&delivery).await {
                Ok(_) => "taken\n".to_owned(),
                Err(NotifyError::Transient { reason, retry_after, .. }) => {
                    format!("again after {:?} ms: {reason}\n", retry_after.map(|wait| wait.as_millis()))
                }
                Err(NotifyError::Permanent { reason }) => format!("never: {reason}\n"),
            };
            assert_eq!(server.seen().len(), 1, "redirects are not followed");
        }
        insta::assert_snapshot!(told, @"
        taken
        never: it answered 301 Moved Permanently, and redirects are not followed
        never: it answered 404 Not Found
        again after Some(30000) ms: it answered 429 Too Many Requests
        again after None ms: it answered 500 Internal Server Error
        again after None ms: no answer within 100ms
        again after None ms: the connection broke
        ");
    }
}
