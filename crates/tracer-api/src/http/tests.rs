//! The frame over a real socket, with two handlers in it.

use std::net::{Ipv4Addr, SocketAddr};

use actix_web::dev::ServerHandle;
use actix_web::{get, post};
use reqwest::{Client, Method, RequestBuilder, Response};
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::body::{Body, RequestBody};
use super::query::{NoParameters, Query};
use super::*;

#[derive(Deserialize, utoipa::ToSchema)]
struct Greeting {
    name: String,
}

impl RequestBody for Greeting {}

#[utoipa::path]
#[post("/workflows")]
async fn greet(body: Body<Greeting>, _: Query<NoParameters>) -> Result<String, ApiError> {
    if body.value.name == "bug" {
        return Err(ApiError::internal("secret cause"));
    }
    Ok(body.into_inner().name)
}

#[utoipa::path]
#[get("/stats/{workflow_name:.+}")]
async fn named(req: HttpRequest) -> Result<String, ApiError> {
    path::name_after(&req, "/stats/")
}

#[utoipa::path]
#[post("/stats/{workflow_name:.+}/steps/{step_name}/rebaseline")]
async fn rebaseline(req: HttpRequest) -> Result<String, ApiError> {
    path::names_around(&req, "/stats/", "/steps/", "/rebaseline").map(|(a, b)| format!("{a}|{b}"))
}

/// A frame that is being served; stopped when it is dropped.
struct Service {
    address: SocketAddr,
    handle: ServerHandle,
    client: Client,
}

impl Drop for Service {
    fn drop(&mut self) {
        // The future only reports; the command has been sent.
        drop(self.handle.stop(false));
    }
}

fn start(keys: &str, rate: u32) -> Service {
    let mut settings = Settings::defaults().unwrap();
    settings.server.workers = 1;
    settings.server.request_timeout = Duration::from_millis(200);
    settings.api_keys = keys.parse().unwrap();
    (settings.limits.rate_per_second, settings.limits.burst) = (rate, rate.max(1));
    let metrics = Arc::new(Metrics::install(&settings.metrics).unwrap());
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let frame = Arc::new(Frame::new(&settings, metrics));
    let server = super::server(&settings, vec![listener], frame, |config| {
        config.service(rebaseline).service(named).service(greet);
    })
    .unwrap();
    let handle = server.handle();
    tokio::spawn(server);
    let client = tracer_alert::client_builder().unwrap().build().unwrap();
    Service { address, handle, client }
}

impl Service {
    fn request(&self, method: &str, path: &str) -> RequestBuilder {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        self.client.request(method, format!("http://{}{path}", self.address))
    }

    async fn status(&self, method: &str, path: &str) -> u16 {
        self.request(method, path).send().await.unwrap().status().as_u16()
    }

    /// Sends bytes as they are, and returns the answer up to the end of the connection.
    async fn raw(&self, bytes: &[u8]) -> String {
        let mut socket = tokio::net::TcpStream::connect(self.address).await.unwrap();
        socket.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }
}

fn header<'a>(answer: &'a Response, name: &str) -> &'a str {
    answer.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
}

/// Returns the status of a problem document, after checking that it is one.
async fn problem(request: RequestBuilder) -> u16 {
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    assert_eq!(header(&answer, "content-type"), "application/problem+json");
    let text = answer.text().await.unwrap();
    let document: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(document["status"], status, "{text}");
    assert!(document["detail"].as_str().is_some_and(|detail| detail.ends_with('.')), "{text}");
    assert!(!text.contains("secret"), "{text}");
    status
}

#[tokio::test]
async fn every_refusal_is_a_problem_document() {
    let service = start("", 0);
    let post = || service.request("POST", "/workflows");
    let json = |body: &'static str| post().header("content-type", "application/json").body(body);
    assert_eq!(json("{\"name\":\"ada\"}").send().await.unwrap().text().await.unwrap(), "ada");
    assert_eq!(problem(json("{")).await, 400);
    assert_eq!(problem(json("{\"name\":1}")).await, 400);
    assert_eq!(problem(json("{\"name\":\"\\ud800\"}")).await, 422);
    assert_eq!(problem(json("{\"name\":\"bug\"}")).await, 500);
    assert_eq!(problem(post()).await, 400);
    assert_eq!(problem(post().body("{}")).await, 415);
    let queried = service.request("POST", "/workflows?secret=1").header("content-type", "application/json");
    assert_eq!(problem(queried.body("{\"name\":\"a\"}")).await, 400);
    assert_eq!(
        problem(post().header("content-type", "application/json").body(vec![b' '; 20 << 20])).await,
        413
    );
    assert_eq!(problem(post().header("accept", "text/html")).await, 406);
    assert_eq!(problem(service.request("GET", "/secret")).await, 404);
    assert_eq!(problem(service.request("GET", "/stats/%FF")).await, 400);
    assert_eq!(problem(service.request("BREW", "/workflows")).await, 405);
    for (path, allowed) in [
        ("/workflows", "POST"),
        ("/stats/a", "GET, HEAD"),
        ("/stats/a/steps/b/rebaseline", "POST"),
        ("/metrics", "GET, HEAD"),
        ("/openapi.json", "GET, HEAD"),
        ("/docs/", "GET, HEAD"),
    ] {
        let answer = service.request("DELETE", path).send().await.unwrap();
        assert_eq!((answer.status().as_u16(), header(&answer, "allow")), (405, allowed), "{path}");
    }
}

#[tokio::test]
async fn what_answers_get_answers_head_without_the_body() {
    let service = start("", 0);
    for path in ["/stats/a", "/openapi.json", "/docs/", "/docs/swagger-ui.css", "/docs/nothing", "/nothing"] {
        let get = service.request("GET", path).send().await.unwrap();
        let (status, kind) = (get.status().as_u16(), header(&get, "content-type").to_owned());
        let length = get.bytes().await.unwrap().len();
        let asked = format!("HEAD {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        let answer = service.raw(asked.as_bytes()).await.to_lowercase();
        assert!(answer.starts_with(&format!("http/1.1 {status} ")), "{path}: {answer}");
        assert!(answer.contains(&format!("content-length: {length}\r\n")), "{path}: {answer}");
        assert!(answer.contains(&format!("content-type: {kind}\r\n")), "{path}: {answer}");
        assert!(answer.ends_with("\r\n\r\n"), "{path} has a body: {answer}");
    }
    // What has no GET has no HEAD, and says so.
    let answer = service.request("HEAD", "/workflows").send().await.unwrap();
    assert_eq!((answer.status().as_u16(), header(&answer, "allow")), (405, "POST"));
    let text = service.request("GET", "/metrics").send().await.unwrap().text().await.unwrap();
    assert!(text.contains("method=\"HEAD\",route=\"/stats/{workflow_name}\",status=\"200\""), "{text}");
}

#[tokio::test]
async fn what_is_outside_of_the_domain_is_as_strict() {
    let service = start("", 0);
    for path in ["/metrics?x=1", "/openapi.json?x=1"] {
        assert_eq!(problem(service.request("GET", path)).await, 400, "{path}");
    }
    assert_eq!(problem(service.request("GET", "/docs/nothing")).await, 404);
    assert_eq!(problem(service.request("PUT", "/docs/")).await, 405);
}

#[tokio::test]
async fn names_arrive_as_they_were_meant() {
    let service = start("", 0);
    let text = async |method: &str, path: &str| {
        service.request(method, path).send().await.unwrap().text().await.unwrap()
    };
    assert_eq!(text("GET", "/stats/a%2Fb%20%C3%BC%25").await, "a/b ü%");
    assert_eq!(text("GET", "/stats/a/b").await, "a/b");
    assert_eq!(text("POST", "/stats/a%2Fb/steps/c%2Fd/rebaseline").await, "a/b|c/d");
}

#[tokio::test]
async fn keys_open_what_their_scopes_say() {
    let service = start("ci:ingest:one,grafana:read:two,ops:admin:three", 0);
    let status = async |key: &str, method: &str, path: &str| {
        let request = service.request(method, path).header("authorization", format!("Bearer {key}"));
        request.send().await.unwrap().status().as_u16()
    };
    for path in ["/openapi.json", "/docs", "/docs/"] {
        assert_eq!(service.status("GET", path).await, 200, "{path}");
    }
    let refused = service.request("GET", "/stats/a").send().await.unwrap();
    assert_eq!((refused.status().as_u16(), header(&refused, "www-authenticate")), (401, "Bearer"));
    assert_eq!(problem(service.request("GET", "/metrics")).await, 401);
    assert_eq!(problem(service.request("GET", "/no-such-path")).await, 401);
    assert_eq!(status("wrong", "GET", "/stats/a").await, 401);
    assert_eq!([status("one", "GET", "/stats/a").await, status("two", "GET", "/stats/a").await], [403, 200]);
    assert_eq!(
        [status("one", "POST", "/workflows").await, status("two", "POST", "/workflows").await],
        [400, 403]
    );
    let change = "/stats/a/steps/b/rebaseline";
    assert_eq!([status("one", "POST", change).await, status("three", "POST", change).await], [403, 200]);
    // An encoded letter does not lead around the rule.
    assert_eq!(status("one", "POST", "/st%61ts/a/steps/b/rebaselin%65").await, 403);
    assert_eq!(status("two", "GET", "/metrics").await, 200);
}

#[tokio::test]
async fn a_client_that_is_too_fast_is_told_when_to_come_back_and_health_is_free() {
    let service = start("", 1);
    let first = service.status("GET", "/stats/a").await;
    let second = service.request("GET", "/stats/a").send().await.unwrap();
    assert_eq!((first, second.status().as_u16(), header(&second, "retry-after")), (200, 429, "1"));
    // Nobody answers at this path here; what counts is that the limit does not.
    assert_eq!(service.status("GET", "/health/live").await, 404);
}

#[tokio::test]
async fn requests_are_counted_by_template() {
    let service = start("", 0);
    for path in ["/stats/first-of-two", "/stats/second-of-two", "/nothing-here"] {
        service.status("GET", path).await;
    }
    let text = service.request("GET", "/metrics").send().await.unwrap().text().await.unwrap();
    assert!(
        text.contains(
            "tracer_http_requests_total{method=\"GET\",route=\"/stats/{workflow_name}\",status=\"200\"}"
        ),
        "{text}"
    );
    assert!(text.contains("route=\"unmatched\",status=\"404\"") && !text.contains("of-two"), "{text}");
    assert!(text.contains("tracer_build_info{version="), "{text}");
}

#[tokio::test]
async fn the_document_names_every_path_without_expressions() {
    let service = start("", 0);
    let text = service.request("GET", "/openapi.json").send().await.unwrap().text().await.unwrap();
    let document: serde_json::Value = serde_json::from_str(&text).unwrap();
    let paths: Vec<&str> = document["paths"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        paths,
        [
            "/metrics",
            "/stats/{workflow_name}",
            "/stats/{workflow_name}/steps/{step_name}/rebaseline",
            "/workflows"
        ]
    );
    assert_eq!(document["openapi"], "3.1.0");
    assert!(document["components"]["schemas"]["Problem"].is_object(), "{text}");
    let initializer = service.request("GET", "/docs/swagger-initializer.js").send().await.unwrap();
    assert!(initializer.text().await.unwrap().contains("\"/openapi.json\""));
    let page = service.request("GET", "/docs").send().await.unwrap();
    assert!(page.url().path() == "/docs/" && page.text().await.unwrap().contains("swagger"));
}

#[tokio::test]
async fn what_is_not_http_is_refused_and_a_body_that_does_not_come_times_out() {
    let service = start("", 0);
    assert!(service.raw(b"nonsense\r\n\r\n").await.starts_with("HTTP/1.1 400"));
    let head =
        "POST /workflows HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{";
    let answer = service.raw(head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("urn:tracer:problem:timeout"), "{answer}");
    let chunked = "POST /workflows HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\nzz\r\n";
    assert!(service.raw(chunked.as_bytes()).await.starts_with("HTTP/1.1 400"));
}
