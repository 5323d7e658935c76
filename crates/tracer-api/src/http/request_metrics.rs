//! Counts and times every request, by route template.

use std::time::Instant;

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::middleware::Next;
use actix_web::{Error, web};

use tracer_core::time::Micros;

use super::{Frame, path};
use crate::export::requests::Begun;

/// The route of what no route takes.
const UNMATCHED: &str = "unmatched";

/// Counts the request behind it once it is answered; a streamed answer counts until its body begins.
///
/// # Errors
/// Those of the service behind it.
pub async fn observe<B: MessageBody>(
    req: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    let begun = Instant::now();
    let method = method(req.method());
    let frame = req.app_data::<web::Data<Frame>>().cloned();
    let spanned = frame.as_ref().and_then(|frame| frame.own_requests.as_ref()?.begin(&req));
    let answer = next.call(req).await;
    let Some(frame) = frame else { return answer };
    match &answer {
        Ok(answer) => {
            let pattern = answer.request().match_pattern();
            let route = pattern.as_deref().map_or(UNMATCHED.into(), path::template);
            frame.metrics.request(method, &route, answer.status().as_u16(), begun.elapsed());
            let route = pattern.is_some().then_some(&*route);
            end_span(&frame, spanned, route, answer.status().as_u16(), begun);
        }
        Err(error) => {
            let status = error.as_response_error().status_code().as_u16();
            frame.metrics.request(method, UNMATCHED, status, begun.elapsed());
            end_span(&frame, spanned, None, status, begun);
        }
    }
    answer
}

fn end_span(frame: &Frame, spanned: Option<Begun>, route: Option<&str>, status: u16, begun: Instant) {
    if let (Some(own), Some(span)) = (&frame.own_requests, spanned) {
        let took = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        own.end(span, route, status, Micros::new(took));
    }
}

/// Returns the method's label: a client may invent methods, and must not invent labels.
fn method(method: &Method) -> &'static str {
    let known = ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"];
    known.into_iter().find(|known| *known == method.as_str()).unwrap_or("other")
}
