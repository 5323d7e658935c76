//! `/openapi.json` and `/docs`, and what the document says about methods.

use std::collections::HashMap;

use actix_web::http::header;
use actix_web::{HttpResponse, get};
use utoipa::OpenApi;
use utoipa::openapi::path::PathItem;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa_swagger_ui::SwaggerUi;

use crate::error::{FieldError, Problem};

const KEY: &str = "api_key";

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Tracer",
        description = "Records every step of every workflow, and says which one is slow. Errors are problem \
                       documents (RFC 9457); `type` is `urn:tracer:problem:` and the kind of problem.",
        license(name = "MIT", identifier = "MIT")
    ),
    components(schemas(Problem, FieldError)),
    tags(
        (name = "record", description = "Record executions and their steps."),
        (name = "ask", description = "Ask what happened, and what is slow."),
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

/// Returns the service of `/docs/` and `/openapi.json`.
#[must_use]
pub(super) fn swagger_ui(document: utoipa::openapi::OpenApi) -> SwaggerUi {
    SwaggerUi::new("/docs/{_:.*}").url("/openapi.json", document)
}

/// Leads `/docs` to `/docs/`, where relative links work.
#[get("/docs")]
pub(super) async fn redirect() -> HttpResponse {
    HttpResponse::PermanentRedirect().insert_header((header::LOCATION, "/docs/")).finish()
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

    /// Returns the methods of a template, joined by commas; GET, where the document does not have it.
    #[must_use]
    pub fn allowed(&self, template: &str) -> String {
        self.0.get(template).cloned().unwrap_or_else(|| "GET".to_owned())
    }
}

fn methods(item: &PathItem) -> String {
    let all = [
        ("GET", &item.get),
        ("POST", &item.post),
        ("PUT", &item.put),
        ("PATCH", &item.patch),
        ("DELETE", &item.delete),
    ];
    let present: Vec<&str> = all.into_iter().filter(|(_, op)| op.is_some()).map(|(name, _)| name).collect();
    present.join(", ")
}
