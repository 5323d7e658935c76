//! `HEAD`: what `GET` would answer, without its body.
//!
//! Invariant: no route knows of it; from here on the request is a `GET`, and the connection, which saw the method
//! before, leaves the body away and keeps its length.

use actix_web::Error;
use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::middleware::Next;

/// What answers with a body that has no end: a `HEAD` of it would wait for that.
const STREAMS: [&str; 2] = ["/stream", "/ws"];

/// Hands a `HEAD` on as a `GET`.
///
/// # Errors
/// Those of the service behind it.
pub(super) async fn as_get<B: MessageBody>(
    mut req: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    if *req.method() == Method::HEAD && !STREAMS.contains(&req.match_info().as_str()) {
        req.head_mut().method = Method::GET;
    }
    next.call(req).await
}
