//! A collector's place: takes exports by HTTP or gRPC, and answers what a test wants.

use std::collections::VecDeque;
use std::io::Read as _;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::http::StatusCode;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use prost::Message as _;
use tonic::codec::CompressionEncoding;
use tonic::metadata::KeyAndValueRef;
use tonic::{Request, Response, Status};

/// How it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    /// It takes the export.
    Fine,
    /// It refuses a span.
    Partial,
    /// With this status, and without a word.
    Status(u16),
    /// With 503 (`UNAVAILABLE`), and that it may be asked again at once.
    Away,
    /// With something that is no OTLP.
    Garbage,
    /// Not at all.
    Silent,
}

/// An export that arrived.
#[derive(Clone, Debug)]
pub(crate) struct Export {
    pub(crate) path: String,
    /// Sorted, as `name: value`.
    pub(crate) headers: Vec<String>,
    pub(crate) request: ExportTraceServiceRequest,
}

#[derive(Debug, Default)]
struct State {
    moods: VecDeque<Mood>,
    exports: Vec<Export>,
}

impl State {
    fn take(&mut self, export: Export) -> Mood {
        self.exports.push(export);
        self.moods.pop_front().unwrap_or(Mood::Fine)
    }
}

type Shared = Arc<Mutex<State>>;

/// The server; stopped when it is dropped.
pub(crate) struct FakeCollector {
    pub(crate) url: String,
    state: Shared,
    handle: Option<ServerHandle>,
}

impl Drop for FakeCollector {
    fn drop(&mut self) {
        if let Some(handle) = &self.handle {
            drop(handle.stop(false));
        }
    }
}

impl FakeCollector {
    /// Starts one that answers so, in this order, and then takes everything.
    pub(crate) fn start(moods: impl IntoIterator<Item = Mood>) -> Self {
        let state =
            Shared::new(Mutex::new(State { moods: moods.into_iter().collect(), exports: Vec::new() }));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = web::Data::from(Arc::clone(&state));
        let app = move || {
            let limit = web::PayloadConfig::new(64 << 20);
            App::new().app_data(shared.clone()).app_data(limit).default_service(web::to(answer))
        };
        let server = HttpServer::new(app).workers(1).disable_signals().listen(listener).unwrap().run();
        let handle = server.handle();
        tokio::spawn(server);
        Self { url, state, handle: Some(handle) }
    }

    /// As [`FakeCollector::start`], by gRPC.
    pub(crate) async fn start_grpc(moods: impl IntoIterator<Item = Mood>) -> Self {
        let state =
            Shared::new(Mutex::new(State { moods: moods.into_iter().collect(), exports: Vec::new() }));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        // The port stays ours until the server has it: nothing else asks for this one by number.
        drop(listener);
        let service = TraceServiceServer::new(ByGrpc(Arc::clone(&state)))
            .accept_compressed(CompressionEncoding::Gzip)
            .send_compressed(CompressionEncoding::Gzip);
        tokio::spawn(tonic::transport::Server::builder().add_service(service).serve(address));
        let collector = Self { url: format!("http://{address}"), state, handle: None };
        for _ in 0..3_000 {
            if tokio::net::TcpStream::connect(address).await.is_ok() {
                return collector;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the server did not start");
    }

    pub(crate) fn exports(&self) -> Vec<Export> {
        self.state.lock().unwrap().exports.clone()
    }

    /// Waits until so many exports have arrived, whatever they were answered, and returns them.
    pub(crate) async fn wait_for(&self, count: usize) -> Vec<Export> {
        for _ in 0..3_000 {
            let exports = self.exports();
            if exports.len() >= count {
                return exports;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{count} exports did not arrive: {:#?}", self.exports());
    }
}

fn partial() -> ExportTraceServiceResponse {
    let refused = ExportTracePartialSuccess { rejected_spans: 1, error_message: "too old".to_owned() };
    ExportTraceServiceResponse { partial_success: Some(refused) }
}

async fn answer(req: HttpRequest, body: web::Bytes, state: web::Data<Mutex<State>>) -> HttpResponse {
    let text =
        |name: &str| req.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or("").to_owned();
    let body = if text("content-encoding") == "gzip" {
        let mut inflated = Vec::new();
        flate2::read::GzDecoder::new(&*body).read_to_end(&mut inflated).unwrap();
        inflated
    } else {
        body.to_vec()
    };
    let media = text("content-type");
    let is_json = media == "application/json";
    let request = if is_json {
        serde_json::from_slice(&body).unwrap()
    } else {
        ExportTraceServiceRequest::decode(body.as_slice()).unwrap()
    };
    let mut headers: Vec<String> =
        req.headers().iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
    headers.sort();
    let mood = state.lock().unwrap().take(Export { path: req.path().to_owned(), headers, request });
    let taken = |response: ExportTraceServiceResponse| {
        let body = if is_json { serde_json::to_vec(&response).unwrap() } else { response.encode_to_vec() };
        HttpResponse::Ok().content_type(media.clone()).body(body)
    };
    match mood {
        Mood::Fine => taken(ExportTraceServiceResponse::default()),
        Mood::Partial => taken(partial()),
        Mood::Status(status) => HttpResponse::build(StatusCode::from_u16(status).unwrap()).finish(),
        Mood::Away => HttpResponse::ServiceUnavailable().insert_header(("Retry-After", "0")).finish(),
        Mood::Garbage => HttpResponse::Ok().content_type(media).body("\u{fffd}\u{fffd}"),
        Mood::Silent => std::future::pending().await,
    }
}

struct ByGrpc(Shared);

#[tonic::async_trait]
impl TraceService for ByGrpc {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut headers: Vec<String> = request
            .metadata()
            .iter()
            .filter_map(|entry| match entry {
                KeyAndValueRef::Ascii(name, value) => Some(format!("{name}: {}", value.to_str().unwrap())),
                KeyAndValueRef::Binary(..) => None,
            })
            .collect();
        headers.sort();
        let export = Export { path: String::new(), headers, request: request.into_inner() };
        let mood = self.0.lock().unwrap().take(export);
        match mood {
            Mood::Fine => Ok(Response::new(ExportTraceServiceResponse::default())),
            Mood::Partial => Ok(Response::new(partial())),
            Mood::Away => Err(Status::unavailable("")),
            Mood::Status(_) | Mood::Garbage => Err(Status::invalid_argument("")),
            Mood::Silent => std::future::pending().await,
        }
    }
}
