//! `/openapi.json` and `/docs`, and what the document says about methods.

use std::collections::HashMap;
use std::sync::Arc;

use actix_web::http::header::{self, ContentEncoding, ContentType};
use actix_web::web::{self, Bytes};
use actix_web::{HttpResponse, get};
use utoipa::OpenApi;
use utoipa::openapi::path::PathItem;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{RefOr, Required};
use utoipa_swagger_ui::Config;

use super::jaeger::JaegerRefusal;
use super::query::{NoParameters, Query};
use crate::error::{ApiError, FieldError, Problem};

const KEY: &str = "api_key";
const OPENAPI: &str = "/openapi.json";

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Tracer",
        description = "Records every step of every workflow, and says which one is slow. Errors are problem \
                       documents (RFC 9457); `type` is `urn:tracer:problem:` and the kind of problem.",
        license(name = "MIT", identifier = "MIT")
    ),
    components(schemas(Problem, FieldError, JaegerRefusal)),
    tags(
        (name = "record", description = "Record executions and their steps."),
        (name = "ask", description = "Ask what happened, and what is slow."),
        (name = "failures", description = "See what failed, and what failed like it."),
        (name = "incidents", description = "See what is wrong, and say what becomes of it."),
        (name = "jaeger", description = "Ask as Jaeger is asked: for Grafana, and for Jaeger's own page."),
        (name = "operate", description = "Watch over the service.")
    )
)]
struct Document;

/// Returns the document before any path is in it.
#[must_use]
pub(super) fn frame() -> utoipa::openapi::OpenApi {
    let mut document = Document::openapi();
    let scheme = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("A key of TRACER_API_KEYS; where none are set, nothing is asked for."))
        .build();
    document.components.get_or_insert_default().add_security_scheme(KEY, SecurityScheme::Http(scheme));
    // Either the key or nothing: without keys the service is open.
    document.security =
        Some(vec![SecurityRequirement::new::<_, [&str; 0], _>(KEY, []), SecurityRequirement::default()]);
    document
}

/// Says what the handlers' descriptions cannot: that a request which completes something, or says of an incident
/// what needs no more words, needs no body, nor does an export without anything in it.
#[must_use]
pub(super) fn completed(mut document: utoipa::openapi::OpenApi) -> utoipa::openapi::OpenApi {
    let bare =
        |path: &str| path.ends_with("/acknowledge") || path.ends_with("/resolve") || path.starts_with("/v1/");
    let operations = document.paths.paths.iter_mut().flat_map(|(path, item)| {
        let said = item.post.as_mut().filter(|_| bare(path));
        item.put.as_mut().into_iter().chain(said)
    });
    for body in operations.filter_map(|operation| operation.request_body.as_mut()) {
        if let RefOr::T(body) = body {
            body.required = Some(Required::False);
        }
    }
    document
}

/// What is served of a document.
pub(super) struct Served {
    document: Bytes,
    page: Arc<Config<'static>>,
}

impl Served {
    /// Writes a document once, for every request.
    #[must_use]
    pub(super) fn of(document: &utoipa::openapi::OpenApi) -> Self {
        // Texts and numbers always serialise.
        let document = serde_json::to_vec(document).unwrap_or_default().into();
        Self { document, page: Arc::new(Config::new([OPENAPI])) }
    }
}

/// Answers with the document.
#[get("/openapi.json")]
pub(super) async fn show_document(served: web::Data<Served>, _: Query<NoParameters>) -> HttpResponse {
    HttpResponse::Ok().content_type(ContentType::json()).body(served.document.clone())
}

/// Leads `/docs` to `/docs/`, where relative links work.
#[get("/docs")]
pub(super) async fn redirect() -> HttpResponse {
    HttpResponse::PermanentRedirect().insert_header((header::LOCATION, "/docs/")).finish()
}

/// Answers with the files of the page that shows the document. What a browser asks with them is not looked at.
#[get("/docs/{file:.*}")]
pub(super) async fn show_page(
    file: web::Path<String>,
    served: web::Data<Served>,
) -> Result<HttpResponse, ApiError> {
    let found = utoipa_swagger_ui::serve(&file, Arc::clone(&served.page));
    let file = found
        .map_err(|error| ApiError::internal(error.to_string()))?
        .ok_or_else(|| ApiError::not_found("There is nothing at this path; /docs/ shows what there is."))?;
    let mut answer = HttpResponse::Ok();
    if file.gzpipped {
        answer.insert_header(ContentEncoding::Gzip);
    }
    Ok(answer.content_type(file.content_type).body(file.bytes.into_owned()))
}

/// The methods of each path, by the document: what `Allow` says.
#[derive(Clone, Debug)]
pub struct Methods(HashMap<String, String>);

impl Methods {
    /// Reads them from a document.
    #[must_use]
    pub(super) fn of(document: &utoipa::openapi::OpenApi) -> Self {
        Self(document.paths.paths.iter().map(|(path, item)| (path.clone(), methods(item))).collect())
    }

    /// Returns the methods of a template, joined by commas; GET and HEAD, where the document does not have it.
    #[must_use]
    pub fn allowed(&self, template: &str) -> String {
        self.0.get(template).cloned().unwrap_or_else(|| "GET, HEAD".to_owned())
    }
}

fn methods(item: &PathItem) -> String {
    let all = [
        ("GET", &item.get),
        ("HEAD", &item.get),
        ("POST", &item.post),
        ("PUT", &item.put),
        ("PATCH", &item.patch),
        ("DELETE", &item.delete),
    ];
    let present: Vec<&str> = all.into_iter().filter(|(_, op)| op.is_some()).map(|(name, _)| name).collect();
    present.join(", ")
}
