//! Connects slack-morphism's client with the HTTP client of all channels.
//!
//! Its own connector has no timeout, and reads `Retry-After` of 429 only. Here a call ends in time, and every
//! answer becomes one of its errors with nothing lost.
//! Not here: what an error means for a delivery (`error`).

use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use serde::de::DeserializeOwned;
use serde_json::Value;
use slack_morphism::errors::{
    SlackClientApiError, SlackClientError, SlackClientHttpError, SlackClientHttpProtocolError,
    SlackClientSystemError, SlackRateLimitError, map_serde_error,
};
use slack_morphism::multipart_form::FileMultipartData;
use slack_morphism::{
    ClientResult, SlackClientApiCallContext, SlackClientHttpConnector, SlackClientId, SlackClientSecret,
    SlackEnvelopeMessage,
};

use crate::http::{Answer, Http};

type SlackUrl = reqwest::Url;

/// Makes the calls of slack-morphism's client. Only JSON is ever posted.
#[derive(Clone, Debug)]
pub(super) struct Connector {
    pub(super) http: Http,
    /// Where the methods of the API are, without a slash at its end.
    pub(super) api: String,
    /// How long a call may take.
    pub(super) timeout: Duration,
}

impl SlackClientHttpConnector for Connector {
    fn create_method_uri_path(&self, method_relative_uri: &str) -> ClientResult<SlackUrl> {
        Ok(format!("{}/{method_relative_uri}", self.api).parse()?)
    }

    fn http_post_uri<'a, RQ, RS>(
        &'a self,
        full_uri: SlackUrl,
        request_body: &'a RQ,
        context: SlackClientApiCallContext<'a>,
    ) -> BoxFuture<'a, ClientResult<RS>>
    where
        RQ: serde::ser::Serialize + Send + Sync,
        RS: for<'de> serde::de::Deserialize<'de> + Send + 'a,
    {
        let body = serde_json::to_vec(request_body).map_err(|error| map_serde_error(error, None));
        async move {
            let body = body?;
            let mut headers = HeaderMap::new();
            if let Some(token) = context.token {
                let value = format!("Bearer {}", token.token_value.0);
                let mut value = HeaderValue::from_str(&value).map_err(|error| protocol(error.into()))?;
                value.set_sensitive(true);
                headers.insert(AUTHORIZATION, value);
            }
            let answer = self.http.post(&full_uri, headers, body, self.timeout).await;
            read(answer.map_err(|error| protocol(error.into()))?, context.token.is_some())
        }
        .boxed()
    }

    fn http_get_uri<'a, RS>(
        &'a self,
        _: SlackUrl,
        _: SlackClientApiCallContext<'a>,
    ) -> BoxFuture<'a, ClientResult<RS>>
    where
        RS: for<'de> serde::de::Deserialize<'de> + Send + 'a,
    {
        unused()
    }

    fn http_get_with_client_secret<'a, RS>(
        &'a self,
        _: SlackUrl,
        _: &'a SlackClientId,
        _: &'a SlackClientSecret,
    ) -> BoxFuture<'a, ClientResult<RS>>
    where
        RS: for<'de> serde::de::Deserialize<'de> + Send + 'a,
    {
        unused()
    }

    fn http_post_uri_multipart_form<'a, 'p, RS, PT, TS>(
        &'a self,
        _: SlackUrl,
        _: Option<FileMultipartData<'p>>,
        _: &'p PT,
        _: SlackClientApiCallContext<'a>,
    ) -> BoxFuture<'a, ClientResult<RS>>
    where
        RS: for<'de> serde::de::Deserialize<'de> + Send + 'a,
        PT: IntoIterator<Item = (&'p str, Option<TS>)> + Clone,
        TS: AsRef<str> + 'p + Send,
    {
        unused()
    }

    fn http_post_uri_binary<'a, 'p, RS>(
        &'a self,
        _: SlackUrl,
        _: String,
        _: &'a [u8],
        _: SlackClientApiCallContext<'a>,
    ) -> BoxFuture<'a, ClientResult<RS>>
    where
        RS: for<'de> serde::de::Deserialize<'de> + Send + 'a,
    {
        unused()
    }
}

fn unused<'a, RS: Send + 'a>() -> BoxFuture<'a, ClientResult<RS>> {
    let message = "only JSON is posted here".to_owned();
    futures_util::future::err(SlackClientError::SystemError(
        SlackClientSystemError::new().with_message(message),
    ))
    .boxed()
}

fn protocol(cause: Box<dyn std::error::Error + Send + Sync>) -> SlackClientError {
    SlackClientError::HttpProtocolError(SlackClientHttpProtocolError::new().with_cause(cause))
}

/// Reads an answer of the API, or of a webhook.
fn read<RS: DeserializeOwned>(answer: Answer, is_api: bool) -> ClientResult<RS> {
    let refused = if is_api || answer.is_json { refusal(&answer.body) } else { code(&answer.body) };
    let limited = |code: String| {
        let error = SlackRateLimitError::new().with_code(code);
        let wait = answer.retry_after.map(|wait| wait.to_std());
        SlackClientError::RateLimitError(error.opt_retry_after(wait))
    };
    if answer.is_transient() {
        // Only this error has a place for how long to wait, whatever the status.
        return Err(limited(refused.unwrap_or_else(|| answer.status.to_string())));
    }
    if !answer.status.is_success() {
        return Err(match refused {
            Some(code) => SlackClientError::ApiError(SlackClientApiError::new(code)),
            None => SlackClientError::HttpError(SlackClientHttpError::new(answer.status)),
        });
    }
    let unexpected = |error| map_serde_error(error, None);
    if !is_api {
        return if is_taken(&answer) {
            serde_json::from_str("{}").map_err(unexpected)
        } else if let Some(code) = refused {
            Err(SlackClientError::ApiError(SlackClientApiError::new(code)))
        } else {
            serde_json::from_str("what is no JSON").map_err(unexpected)
        };
    }
    let envelope: SlackEnvelopeMessage = serde_json::from_str(&answer.body).map_err(unexpected)?;
    match envelope.error {
        _ if envelope.ok => serde_json::from_str(&answer.body).map_err(unexpected),
        Some(code) if is_limit(&code) => Err(limited(code)),
        code => Err(SlackClientError::ApiError(SlackClientApiError::new(code.unwrap_or_default()))),
    }
}

fn is_limit(code: &str) -> bool {
    matches!(code, "ratelimited" | "rate_limited")
}

/// Returns whether a webhook says that it took a message: Slack answers `ok`, and what stands in for Slack says
/// so in JSON, or nothing.
fn is_taken(answer: &Answer) -> bool {
    let body = answer.body.trim();
    if body.is_empty() || body == "ok" {
        return true;
    }
    let denied = |object: &serde_json::Map<String, Value>| {
        ["ok", "success"].iter().any(|key| object.get(*key) == Some(&Value::Bool(false)))
    };
    answer.is_json && matches!(serde_json::from_str(body), Ok(Value::Object(object)) if !denied(&object))
}

/// Returns the error that JSON tells.
fn refusal(body: &str) -> Option<String> {
    let envelope: SlackEnvelopeMessage = serde_json::from_str(body).ok()?;
    envelope.error.filter(|_| !envelope.ok)
}

/// Returns a text if it is the code of an error, as webhooks answer it: `no_service`.
fn code(body: &str) -> Option<String> {
    let body = body.trim();
    let is_code = body != "ok"
        && (1..=64).contains(&body.len())
        && body.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_' || byte.is_ascii_digit());
    is_code.then(|| body.to_owned())
}
