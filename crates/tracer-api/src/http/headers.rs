//! Request headers that mean something here.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::http::header::{ACCEPT, HeaderMap};
use actix_web::{FromRequest, HttpRequest};
use tracer_core::ids::Traceparent;
use tracer_core::limits;

use crate::error::ApiError;

/// Extracts `Idempotency-Key`, if it was sent: 1 to 255 visible ASCII characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey(pub Option<String>);

/// Extracts `traceparent`, if a valid one was sent; an invalid one is ignored (W3C Trace Context, section 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upstream(pub Option<Traceparent>);

impl FromRequest for IdempotencyKey {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(req: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(idempotency_key(req.headers()).map(Self))
    }
}

impl FromRequest for Upstream {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(req: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(Self(traceparent(req.headers()))))
    }
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let mut sent = headers.get_all("idempotency-key");
    let Some(key) = sent.next() else { return Ok(None) };
    let bytes = key.as_bytes();
    let fits = (1..=limits::IDEMPOTENCY_KEY_BYTES).contains(&bytes.len())
        && bytes.iter().all(u8::is_ascii_graphic)
        && sent.next().is_none();
    match key.to_str() {
        Ok(key) if fits => Ok(Some(key.to_owned())),
        _ => Err(ApiError::bad_request(format!(
            "The header Idempotency-Key must be sent once, with 1 to {} visible ASCII characters.",
            limits::IDEMPOTENCY_KEY_BYTES
        ))),
    }
}

fn traceparent(headers: &HeaderMap) -> Option<Traceparent> {
    let mut sent = headers.get_all("traceparent");
    let only = sent.next().filter(|_| sent.next().is_none())?;
    Traceparent::parse(only.to_str().ok()?)
}

/// Returns whether the client takes JSON: it does unless `Accept` is there and allows none of its media types.
#[must_use]
pub fn accepts_json(headers: &HeaderMap) -> bool {
    let mut listed = headers.get_all(ACCEPT).filter_map(|value| value.to_str().ok()).peekable();
    if listed.peek().is_none() {
        return true;
    }
    listed.flat_map(|value| value.split(',')).any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default();
        let json = ["*/*", "application/*", "application/json", "application/problem+json"];
        let refused = parts.any(|parameter| {
            let weight = parameter.strip_prefix("q=").or_else(|| parameter.strip_prefix("Q="));
            weight.is_some_and(|weight| weight.trim().parse::<f32>() == Ok(0.0))
        });
        !refused && (media.is_empty() || json.iter().any(|known| media.eq_ignore_ascii_case(known)))
    })
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn headers(name: &str, values: &[&str]) -> HeaderMap {
        let request = values.iter().fold(TestRequest::default(), |r, v| r.append_header((name, *v)));
        request.to_http_request().headers().clone()
    }

    #[test]
    fn an_idempotency_key_is_visible_ascii_and_sent_once() {
        let key = |values: &[&str]| {
            idempotency_key(&headers("idempotency-key", values)).map_err(|e| e.problem().status)
        };
        assert_eq!(key(&[]), Ok(None));
        assert_eq!(key(&["8e03978e-40d5"]), Ok(Some("8e03978e-40d5".into())));
        assert_eq!(key(&[&"k".repeat(255)]).map(|k| k.map(|k| k.len())), Ok(Some(255)));
        for wrong in [&["a b"][..], &[""], &["a", "a"], &["ü"], &[&"k".repeat(256)]] {
            assert_eq!(key(wrong), Err(400), "{wrong:?}");
        }
    }

    #[test]
    fn an_invalid_traceparent_is_ignored() {
        let valid = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let upstream = |values: &[&str]| traceparent(&headers("traceparent", values)).map(|t| t.to_string());
        assert_eq!(upstream(&[valid]).as_deref(), Some(valid));
        for ignored in [&["nonsense"][..], &[], &[valid, valid]] {
            assert_eq!(upstream(ignored), None, "{ignored:?}");
        }
    }

    #[test]
    fn only_an_accept_that_excludes_json_is_refused() {
        let accepts = |values: &[&str]| accepts_json(&headers("accept", values));
        for fine in [
            &[][..],
            &["*/*"],
            &["text/html, application/json;q=0.9"],
            &["Application/*"],
            &["text/html", "*/*;q=0.1"],
            &["application/problem+json"],
            &[""],
        ] {
            assert!(accepts(fine), "{fine:?}");
        }
        for refused in [&["text/html"][..], &["application/xml, text/*"], &["application/json;q=0"]] {
            assert!(!accepts(refused), "{refused:?}");
        }
    }
}
