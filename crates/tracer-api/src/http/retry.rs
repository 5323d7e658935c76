//! `Idempotency-Key`: what makes a request that records safe to send again.
//!
//! The key holds for one path, one caller and 24 hours, and is compared by the body's hash. What it promises is kept
//! by the store, in the transaction that records.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::{FromRequest, HttpMessage, HttpRequest, HttpResponse, HttpResponseBuilder};
use serde::Serialize;
use sha2::{Digest, Sha256};
use tracer_core::record::{Idempotency, IdempotencyScope};
use tracer_core::time::Timestamp;

use super::gate::Caller;
use super::headers::IdempotencyKey;
use crate::error::ApiError;
use crate::recording::Arrival;

/// Extracts where an `Idempotency-Key` holds, if one was sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Retry(Option<IdempotencyScope>);

impl FromRequest for Retry {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(req: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let key = IdempotencyKey::from_request(req, payload).into_inner();
        let extensions = req.extensions();
        let caller = extensions.get::<Caller>().map(|Caller(name)| &**name);
        ready(key.map(|IdempotencyKey(key)| Self(key.map(|key| scope(&key, req.path(), caller)))))
    }
}

impl Retry {
    /// Returns the arrival of the request; its body's hash is asked for only where a key was sent.
    pub(crate) fn arrival(self, at: Timestamp, body: impl FnOnce() -> [u8; 16]) -> Arrival {
        Arrival { at, idempotency: self.0.map(|scope| Idempotency { scope, body: body() }) }
    }

    /// Returns an answer to be completed, marked if it repeats an earlier one.
    pub(crate) fn answer(self, status: StatusCode, fresh: bool) -> HttpResponseBuilder {
        let mut answer = HttpResponse::build(status);
        if self.0.is_some() && !fresh {
            answer.insert_header(("Idempotency-Replayed", "true"));
        }
        answer
    }

    /// Returns a 201 with a body and the `traceparent` of what was made.
    pub(crate) fn created(self, fresh: bool, traceparent: &str, view: &impl Serialize) -> HttpResponse {
        self.answer(StatusCode::CREATED, fresh).insert_header(("traceparent", traceparent)).json(view)
    }
}

/// Returns the first 16 bytes of SHA-256 over what stands for a body where there is none.
pub(crate) fn hash_of(text: &str) -> [u8; 16] {
    half(Sha256::digest(text))
}

/// Returns where a key holds: two callers may both count from 1, and neither is to meet the other's answer.
fn scope(key: &str, path: &str, caller: Option<&str>) -> IdempotencyScope {
    // None of them has a NUL, so that no two combinations are the same bytes.
    let mut hash = Sha256::new().chain_update(key).chain_update([0]).chain_update(path);
    if let Some(caller) = caller {
        hash = hash.chain_update([0]).chain_update(caller);
    }
    half(hash.finalize())
}

fn half(digest: impl AsRef<[u8]>) -> [u8; 16] {
    let mut half = [0; 16];
    half.iter_mut().zip(digest.as_ref()).for_each(|(to, from)| *to = *from);
    half
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_holds_for_one_path_and_caller() {
        let scopes = [
            scope("k", "/workflows", None),
            scope("k", "/simulate", None),
            scope("k2", "/workflows", None),
            scope("k", "/workflows", Some("ci")),
            scope("k", "/workflows", Some("nightly")),
        ];
        assert_eq!(scopes.iter().collect::<std::collections::BTreeSet<_>>().len(), 5);
        assert_eq!(scope("k", "/workflows", None), scopes[0]);
    }
}
