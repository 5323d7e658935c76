//! A service of its own for every test, and a small client for it.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;

use actix_web::dev::ServerHandle;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tracer_alert::Dispatcher;
use tracer_api::app::App;
use tracer_api::background::Background;
use tracer_api::config::{Settings, Sources};
use tracer_api::export::Exporter;
use tracer_api::http::{self, routes};
use tracer_api::metrics::Metrics;
use tracer_api::otlp;
use tracer_core::detect::Policy;
use tracer_core::test_util::FakeClock;
use tracer_core::time::Micros;
use tracer_store::{Location, StoreConfig};

/// A service that is being served; stopped when it is dropped.
pub(crate) struct Service {
    pub(crate) address: SocketAddr,
    /// Where it receives OTLP over gRPC.
    pub(crate) grpc: SocketAddr,
    pub(crate) clock: Arc<FakeClock>,
    pub(crate) background: Background,
    pub(crate) dispatcher: Arc<Dispatcher>,
    pub(crate) stopping: CancellationToken,
    pub(crate) exporter: Option<Exporter>,
    handle: ServerHandle,
    client: Client,
}

impl Drop for Service {
    fn drop(&mut self) {
        // The future only reports; the command has been sent.
        drop(self.handle.stop(false));
    }
}

/// What a request was answered.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) text: String,
    headers: reqwest::header::HeaderMap,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
    }

    /// Returns the body, after checking the status.
    #[track_caller]
    pub(crate) fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        serde_json::from_str(&self.text).unwrap()
    }

    /// Checks that it is a problem document of this status, and returns `detail`.
    #[track_caller]
    pub(crate) fn problem(&self, status: u16) -> String {
        let document = self.expect(status);
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(document["status"], status);
        let detail = document["detail"].as_str().unwrap();
        assert!(detail.starts_with(char::is_uppercase) && detail.ends_with('.'), "{detail}");
        detail.to_owned()
    }
}

/// Starts a service with the default settings.
pub(crate) async fn start() -> Service {
    start_with(|_| {}).await
}

/// Starts a service with changed settings.
pub(crate) async fn start_with(change: impl FnOnce(&mut Settings)) -> Service {
    let mut settings = settings();
    change(&mut settings);
    let policy = tracer_api::policy::policy(&settings);
    start_over(&settings, StoreConfig::at(Location::Memory), policy).await
}

/// Returns the settings of a service that does not refuse a test for its haste.
pub(crate) fn settings() -> Settings {
    settings_of("")
}

/// Returns the same with what a file says.
pub(crate) fn settings_of(text: &str) -> Settings {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    let sources = Sources { file: Some(file.path().to_owned()), ..Sources::default() };
    let mut settings = Settings::load(&sources).unwrap();
    settings.server.workers = 1;
    settings.limits.rate_per_second = 0;
    (settings.otlp.http_port, settings.otlp.grpc_port) = (0, 0);
    settings
}

/// Starts a service over a store and a policy of the test's own.
pub(crate) async fn start_over(settings: &Settings, config: StoreConfig, policy: Policy) -> Service {
    let clock = Arc::new(FakeClock::default());
    let config = StoreConfig { clock: Some(clock.clone()), ..config };
    let policy = Arc::new(policy);
    let store = tracer_store::open(&config, Arc::clone(&policy)).await.unwrap();
    let metrics = Arc::new(Metrics::install(&settings.metrics).unwrap());
    let stopping = CancellationToken::new();
    let app = App::new(settings, store, policy, metrics, stopping.clone()).unwrap();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let receiving = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let grpc = receiving.local_addr().unwrap();
    let frame = Arc::clone(&app.frame);
    tokio::spawn(otlp::grpc::serve(app.state.clone(), frame, vec![receiving], stopping.clone()));
    let server = http::server(settings, vec![listener], app.frame, routes::over(app.state)).unwrap();
    let handle = server.handle();
    tokio::spawn(server);
    let client = tracer_alert::client_builder().unwrap().build().unwrap();
    let (background, dispatcher, exporter) = (app.background, app.dispatcher, app.exporter);
    Service { address, grpc, clock, background, dispatcher, stopping, exporter, handle, client }
}

impl Service {
    pub(crate) fn request(&self, method: &str, path: &str) -> RequestBuilder {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        self.client.request(method, format!("http://{}{path}", self.address))
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        send(self.request("GET", path)).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        send(self.request("POST", path).json(&body)).await
    }

    pub(crate) async fn put(&self, path: &str, body: Value) -> Answer {
        send(self.request("PUT", path).json(&body)).await
    }

    /// Sends a body as it is, as JSON.
    pub(crate) async fn raw(&self, method: &str, path: &str, body: impl Into<reqwest::Body>) -> Answer {
        send(self.request(method, path).header("content-type", "application/json").body(body)).await
    }

    /// Starts an execution and returns its path, `/workflows/wf_…`.
    pub(crate) async fn execution(&self, workflow: &str) -> String {
        let answer = self.post("/workflows", json!({"workflow_name": workflow})).await;
        answer.expect(201);
        answer.header("location").to_owned()
    }

    /// Starts a step of an execution and returns its path.
    pub(crate) async fn step(&self, execution: &str, name: &str) -> String {
        let started = self.post(&format!("{execution}/steps"), json!({"step_name": name})).await.expect(201);
        format!("{execution}/steps/{}", started["step_id"].as_str().unwrap())
    }

    /// Records a step whole, and returns the answer.
    pub(crate) async fn took(&self, execution: &str, name: &str, millis: u64) -> Value {
        let body = json!({"step_name": name, "duration_ms": millis});
        self.post(&format!("{execution}/steps"), body).await.expect(201)
    }

    pub(crate) fn advance(&self, millis: u64) {
        self.clock.advance(Micros::from_millis(millis));
    }

    /// Returns everything that is shown of what is stored: executions, their steps, histories.
    pub(crate) async fn everything(&self) -> String {
        let mut shown = vec![self.get("/stats?limit=1000").await.text];
        let executions = self.get("/workflows?limit=1000").await.expect(200);
        for execution in executions["workflows"].as_array().unwrap() {
            let id = execution["workflow_id"].as_str().unwrap();
            shown.push(self.get(&format!("/workflows/{id}")).await.text);
            let name = execution["workflow_name"].as_str().unwrap();
            shown.push(self.get(&format!("/stats/{name}")).await.text);
        }
        shown.join("\n")
    }
}

pub(crate) async fn send(request: RequestBuilder) -> Answer {
    let answer = request.send().await.unwrap();
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    Answer { status, headers, text: answer.text().await.unwrap() }
}

/// Returns the last part of a path: an id.
pub(crate) fn id_of(path: &str) -> &str {
    path.rsplit('/').next().unwrap()
}
