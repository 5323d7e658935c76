//! What every request passes before its handler: its key, its rate, what it accepts.
//!
//! Invariant: a path is closed unless it is listed as open, so that a new route is never open by accident.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use actix_web::body::{BoxBody, EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header;
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage, web};

use super::{Frame, headers};
use crate::auth::{ApiKey, Scope};
use crate::error::ApiError;
use crate::otlp;
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
        Err(refused) if otlp::http::is_intake(req.match_info().as_str()) => {
            let answer = otlp::respond::refused(req.headers(), &refused);
            Ok(req.into_response(answer).map_into_right_body())
        }
        Err(refused) => Ok(req.error_response(refused).map_into_right_body()),
    }
}

fn pass(req: &ServiceRequest) -> Result<(), ApiError> {
    // The router's view of the path: an encoded letter must not lead around a rule.
    let path = req.match_info().as_str();
    let is_for_otlp =
        |frame: &web::Data<Frame>| frame.otlp_port == Some(req.app_config().local_addr().port());
    if req.app_data::<web::Data<Frame>>().is_some_and(is_for_otlp) && !otlp::http::is_intake(path) {
        return Err(ApiError::not_found("This port receives OTLP alone: /v1/traces and /v1/logs."));
    }
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
    let needs = match rule {
        Rule::Free => return Ok(()),
        Rule::Open => None,
        Rule::Needs(scope) => Some(scope),
    };
    let address = req.peer_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip());
    let secret =
        req.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(bearer);
    if let Some(key) = admit(frame, secret, address, needs)? {
        req.extensions_mut().insert(Caller(Arc::clone(key.name())));
    }
    Ok(())
}

/// Lets a client through by its key, and counts it against its rate; returns the key, where keys are set.
///
/// # Errors
/// 401, 403 or 429.
pub(crate) fn admit<'k>(
    frame: &'k Frame,
    secret: Option<&str>,
    address: IpAddr,
    needs: Option<Scope>,
) -> Result<Option<&'k ApiKey>, ApiError> {
    // Where keys are asked for, a wrong one counts against the address: guessing is limited, too.
    let key = if frame.keys.is_empty() { None } else { secret.and_then(|secret| frame.keys.find(secret)) };
    let client = || match key {
        Some(key) => Client::Key(Arc::clone(key.name())),
        None => Client::at(address),
    };
    frame.rate.check(client).map_err(ApiError::TooManyRequests)?;
    match (needs, key) {
        (Some(_), _) if frame.keys.is_empty() => {}
        (Some(_), None) => return Err(ApiError::Unauthorized),
        (Some(scope), Some(key)) if !key.allows(scope) => return Err(ApiError::Forbidden(scope.as_str())),
        (Some(_) | None, _) => {}
    }
    Ok(key)
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

/// Returns the secret of an `Authorization` header.
pub(crate) fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, secret) = authorization.split_once(' ')?;
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
