//! What every request passes before its handler: its key, its rate, what it accepts.
//!
//! Invariant: a path is closed unless it is listed as open, so that a new route is never open by accident.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use actix_web::body::{BoxBody, EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{self, HeaderMap};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage, web};

use super::{Frame, headers};
use crate::auth::Scope;
use crate::error::ApiError;
use crate::rate_limit::Client;

/// The name of the key that a request came with; in the request's extensions, where keys are set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller(pub Arc<str>);

/// What a path asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// Neither key nor limit: whoever watches over the service.
    Free,
    /// No key: what tells nothing about anybody.
    Open,
    /// A key with this scope.
    Needs(Scope),
}

/// Lets a request through to its handler, or answers why not.
///
/// # Errors
/// Those of the service behind it.
pub async fn gate<B: MessageBody + 'static>(
    req: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B, BoxBody>>, Error> {
    match pass(&req) {
        Ok(()) => next.call(req).await.map(ServiceResponse::map_into_left_body),
        Err(refused) => Ok(req.error_response(refused).map_into_right_body()),
    }
}

fn pass(req: &ServiceRequest) -> Result<(), ApiError> {
    // The router's view of the path: an encoded letter must not lead around a rule.
    let path = req.match_info().as_str();
    let rule = rule(req.method(), path);
    if let Some(frame) = req.app_data::<web::Data<Frame>>() {
        pass_key_and_rate(req, frame, rule)?;
    }
    if answers_json(path) && !headers::accepts_json(req.headers()) {
        return Err(ApiError::NotAcceptable("application/json"));
    }
    Ok(())
}

fn pass_key_and_rate(req: &ServiceRequest, frame: &Frame, rule: Rule) -> Result<(), ApiError> {
    if rule == Rule::Free {
        return Ok(());
    }
    // Where keys are asked for, a wrong one counts against the address: guessing is limited, too.
    let key =
        if frame.keys.is_empty() { None } else { bearer(req.headers()).and_then(|s| frame.keys.find(s)) };
    let client = || match key {
        Some(key) => Client::Key(Arc::clone(key.name())),
        None => Client::at(req.peer_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip())),
    };
    frame.rate.check(client).map_err(ApiError::TooManyRequests)?;
    match (rule, key) {
        (Rule::Needs(_), _) if frame.keys.is_empty() => {}
        (Rule::Needs(_), None) => return Err(ApiError::Unauthorized),
        (Rule::Needs(scope), Some(key)) if !key.allows(scope) => {
            return Err(ApiError::Forbidden(scope.as_str()));
        }
        (Rule::Needs(_) | Rule::Open | Rule::Free, _) => {}
    }
    if let Some(key) = key {
        req.extensions_mut().insert(Caller(Arc::clone(key.name())));
    }
    Ok(())
}

/// The one table of who may do what.
fn rule(method: &Method, path: &str) -> Rule {
    if matches!(path, "/health/live" | "/health/ready") {
        return Rule::Free;
    }
    if matches!(path, "/openapi.json" | "/docs") || path.starts_with("/docs/") {
        return Rule::Open;
    }
    if *method == Method::GET || *method == Method::HEAD {
        return Rule::Needs(Scope::Read);
    }
    // What changes how steps are judged, or what people are told, is not recording.
    if path.starts_with("/stats/") || path.starts_with("/incidents/") {
        return Rule::Needs(Scope::Admin);
    }
    Rule::Needs(Scope::Ingest)
}

/// Returns whether a path answers only who takes JSON. Of the others, some see to `Accept` themselves, and what
/// probes the service looks at nothing but the status: it must not be taken for dead over a header.
fn answers_json(path: &str) -> bool {
    !matches!(
        path,
        "/metrics" | "/docs" | "/openapi.json" | "/stream" | "/ws" | "/health/live" | "/health/ready"
    ) && !path.starts_with("/docs/")
        && !path.starts_with("/v1/")
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, secret) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(secret.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asking_needs_read_recording_needs_ingest_and_changing_detection_needs_admin() {
        let get = |path: &str| rule(&Method::GET, path);
        let post = |path: &str| rule(&Method::POST, path);
        assert_eq!([get("/health/live"), get("/health/ready")], [Rule::Free; 2]);
        assert_eq!([get("/docs"), get("/docs/index.html"), get("/openapi.json")], [Rule::Open; 3]);
        assert_eq!(
            [get("/metrics"), get("/health"), get("/stats/a"), get("/no")],
            [Rule::Needs(Scope::Read); 4]
        );
        assert_eq!(
            [post("/workflows"), post("/simulate"), post("/v1/traces")],
            [Rule::Needs(Scope::Ingest); 3]
        );
        assert_eq!(post("/stats/a/steps/b/rebaseline"), Rule::Needs(Scope::Admin));
        assert_eq!(post("/incidents/1/resolve"), Rule::Needs(Scope::Admin));
        assert_eq!(rule(&Method::DELETE, "/docsuments"), Rule::Needs(Scope::Ingest));
    }
}
