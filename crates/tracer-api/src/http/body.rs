//! Bodies of requests: bounded before they are read, checked before they are parsed.
//!
//! Invariant: whatever is sent, the answer is a 4xx that says where the fault is and repeats nothing of it.
//! Not here: what values mean; that is for the types which handlers build.

mod fault;
mod scan;

use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::error::PayloadError;
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap};
use actix_web::web::{self, Bytes, BytesMut};
use actix_web::{FromRequest, HttpRequest};
use futures_util::StreamExt;
use futures_util::future::LocalBoxFuture;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use tracer_core::limits;

use super::Frame;
use crate::error::ApiError;

/// What stands for an empty body where one is allowed.
const EMPTY_OBJECT: &[u8] = b"{}";
/// How long a body may take where no frame says so.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// A JSON object that a handler reads.
pub trait RequestBody: DeserializeOwned {
    /// Whether no body at all means `{}`; its media type is not looked at then.
    const MAY_BE_EMPTY: bool = false;
    /// Most bytes.
    const MOST_BYTES: usize = limits::BODY_BYTES;
}

/// Extracts the body of a request.
#[derive(Clone, Debug)]
pub struct Body<T> {
    /// What it says.
    pub value: T,
    raw: Bytes,
}

impl<T> Body<T> {
    /// Returns what it says.
    pub fn into_inner(self) -> T {
        self.value
    }

    /// Returns the first half of the SHA-256 of its bytes: equal bodies, and only they, have equal ones. No body
    /// is equal to `{}`.
    #[must_use]
    pub fn digest(&self) -> [u8; 16] {
        let whole = Sha256::digest(&self.raw);
        whole.first_chunk().copied().unwrap_or_default()
    }
}

impl<T: RequestBody> FromRequest for Body<T> {
    type Error = ApiError;
    type Future = LocalBoxFuture<'static, Result<Self, ApiError>>;

    fn from_request(req: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let checked = check_before(req.headers(), T::MOST_BYTES);
        let is_json = is_json(req.headers());
        let timeout = req.app_data::<web::Data<Frame>>().map_or(DEFAULT_TIMEOUT, |frame| frame.body_timeout);
        let mut payload = payload.take();
        Box::pin(async move {
            checked?;
            let reading = read(&mut payload, T::MOST_BYTES);
            let raw = tokio::time::timeout(timeout, reading).await.map_err(|_| ApiError::Timeout)??;
            let raw = match (raw.is_empty(), T::MAY_BE_EMPTY) {
                (true, true) => Bytes::from_static(EMPTY_OBJECT),
                (true, false) => {
                    return Err(ApiError::bad_request("The request needs a body: a JSON object."));
                }
                (false, _) if !is_json => return Err(not_json()),
                (false, _) => raw,
            };
            parse(&raw).map(|value| Self { value, raw })
        })
    }
}

/// Checks what the headers say: coding, announced length, and, where there is a length, the media type.
fn check_before(headers: &HeaderMap, most: usize) -> Result<(), ApiError> {
    let coded = headers
        .get(CONTENT_ENCODING)
        .is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity"));
    if coded {
        return Err(ApiError::UnsupportedMediaType("Send the body without a Content-Encoding.".into()));
    }
    let length: Option<u64> = headers
        .get(CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok())
        .and_then(|length| length.parse().ok());
    match length.map(usize::try_from) {
        Some(Ok(length)) if length > 0 && !is_json(headers) => Err(not_json()),
        Some(Ok(length)) if length <= most => Ok(()),
        Some(_) => Err(ApiError::TooLarge(most)),
        None => Ok(()),
    }
}

fn not_json() -> ApiError {
    ApiError::UnsupportedMediaType("Send the body as 'Content-Type: application/json', in UTF-8.".into())
}

/// Returns whether the media type is JSON: `application/json`, or `application/…+json`, in UTF-8.
fn is_json(headers: &HeaderMap) -> bool {
    let Some(Ok(value)) = headers.get(CONTENT_TYPE).map(|value| value.to_str()) else { return false };
    let mut parts = value.split(';').map(|part| part.trim().to_ascii_lowercase());
    let media = parts.next().unwrap_or_default();
    let json = media == "application/json" || (media.starts_with("application/") && media.ends_with("+json"));
    json && parts.all(|parameter| match parameter.split_once('=') {
        Some(("charset", charset)) => matches!(charset.trim_matches('"'), "utf-8" | "utf8"),
        _ => true,
    })
}

async fn read(payload: &mut Payload, most: usize) -> Result<Bytes, ApiError> {
    let Some(first) = payload.next().await else { return Ok(Bytes::new()) };
    let first = first.map_err(|error| broken(&error))?;
    if first.len() > most {
        return Err(ApiError::TooLarge(most));
    }
    // Most bodies are one chunk, and need no copy.
    let Some(second) = payload.next().await else { return Ok(first) };
    let mut whole = BytesMut::from(&*first);
    let mut next = Some(second);
    while let Some(chunk) = next {
        let chunk = chunk.map_err(|error| broken(&error))?;
        if whole.len() + chunk.len() > most {
            return Err(ApiError::TooLarge(most));
        }
        whole.extend_from_slice(&chunk);
        next = payload.next().await;
    }
    Ok(whole.freeze())
}

fn broken(error: &PayloadError) -> ApiError {
    tracing::debug!(error = %error, "body broke off");
    ApiError::bad_request("The body broke off, or its framing is not valid.")
}

/// Parses a JSON object.
///
/// # Errors
/// 400 if it is not JSON, or not an object, or a value has the wrong type; 422 if a value is out of bounds.
pub fn parse<T: DeserializeOwned>(raw: &[u8]) -> Result<T, ApiError> {
    let text = std::str::from_utf8(raw).map_err(|_| ApiError::bad_request("The body is not UTF-8."))?;
    scan::check(text)?;
    serde_json::from_str(text).map_err(|_| fault::explain::<T>(text))
}

#[cfg(test)]
mod tests;
