//! OTLP over gRPC (<https://opentelemetry.io/docs/specs/otlp/#otlpgrpc>).
//!
//! Messages stay bytes until the decoder that HTTP has reads them, so that both have the same bounds.
//!
//! Invariant: every status that a client may send again for says how long to wait, or is `UNAVAILABLE`; what will
//! never be taken is neither.

mod raw;

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future;
use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::codec::CompressionEncoding;
use tonic::codegen::{Context, Poll, Service, http};
use tonic::server::{Grpc, UnaryService};
use tonic::transport::Server;
use tonic::transport::server::{TcpConnectInfo, TcpIncoming};
use tonic::{Code, Request, Response, Status};
use tracer_core::limits;

use self::raw::{Counted, Raw};
use super::inflate::Coding;
use super::intake::{Form, Signal};
use super::respond;
use super::room::Share;
use crate::auth::Scope;
use crate::error::ApiError;
use crate::http::{Frame, gate};
use crate::state::AppState;

const TRACES: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
const LOGS: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
/// The route by which what nobody serves is counted.
const UNMATCHED: &str = "unmatched";

/// Exports that one connection may have on their way at once.
const STREAMS: u32 = 128;
/// How long an export may take, from its first byte to its answer.
const LONGEST: Duration = Duration::from_secs(30);
/// How long a silent connection is kept without an answer to a ping.
const PING: Duration = Duration::from_secs(60);

/// Serves on sockets that are bound already, until it is told to stop; then it waits for exports that are on their
/// way.
///
/// # Errors
/// The operating system's, if a socket cannot be listened on.
pub async fn serve(
    state: AppState,
    frame: Arc<Frame>,
    listeners: Vec<TcpListener>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let receiver = Receiver { state, frame };
    let serving = listeners.into_iter().map(|listener| {
        let (receiver, stop) = (receiver.clone(), stop.clone());
        async move {
            listener.set_nonblocking(true)?;
            let listener = tokio::net::TcpListener::from_std(listener)?;
            let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
            let server = Server::builder()
                .timeout(LONGEST)
                .max_concurrent_streams(Some(STREAMS))
                .http2_adaptive_window(Some(true))
                .http2_keepalive_interval(Some(PING));
            server.serve_with_incoming_shutdown(receiver, incoming, stop.cancelled_owned()).await?;
            Ok::<_, anyhow::Error>(())
        }
    });
    future::try_join_all(serving).await.map(drop)
}

/// Receives exports.
#[derive(Clone, Debug)]
struct Receiver {
    state: AppState,
    frame: Arc<Frame>,
}

impl Service<http::Request<Body>> for Receiver {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let receiver = self.clone();
        Box::pin(async move {
            let begun = Instant::now();
            let (route, signal) = match request.uri().path() {
                TRACES => (TRACES, Some(Signal::Traces)),
                LOGS => (LOGS, Some(Signal::Logs)),
                _ => (UNMATCHED, None),
            };
            let answer = match signal {
                Some(signal) => receiver.export(request, signal).await,
                None => Status::unimplemented("This port receives OTLP traces and logs alone.").into_http(),
            };
            let status = http_status(&answer);
            receiver.frame.metrics.request("GRPC", route, status, begun.elapsed());
            Ok(answer)
        })
    }
}

impl Receiver {
    async fn export(&self, request: http::Request<Body>, signal: Signal) -> http::Response<Body> {
        if let Err(refused) = self.admit(&request) {
            return respond::status(&refused).into_http();
        }
        let share = Arc::new(Mutex::new(self.state.otlp.share()));
        let request = request.map(|body| Counted::new(body, Arc::clone(&share)));
        let reached = Arc::new(AtomicBool::new(false));
        let export = Export { state: self.state.clone(), signal, share, reached: Arc::clone(&reached) };
        let answer = Grpc::new(Raw)
            .accept_compressed(CompressionEncoding::Gzip)
            .max_decoding_message_size(limits::OTLP_BODY_BYTES)
            .unary(export, request)
            .await;
        if reached.load(Ordering::Relaxed) { answer } else { final_answer(answer) }
    }

    fn admit(&self, request: &http::Request<Body>) -> Result<(), ApiError> {
        let authorization = request.headers().get(http::header::AUTHORIZATION);
        let secret = authorization.and_then(|value| value.to_str().ok()).and_then(gate::bearer);
        let peer = request.extensions().get::<TcpConnectInfo>().and_then(TcpConnectInfo::remote_addr);
        let address = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip());
        gate::admit(&self.frame, secret, address, Some(Scope::Ingest)).map(drop)
    }
}

/// One call of `Export`.
struct Export {
    state: AppState,
    signal: Signal,
    share: Arc<Mutex<Share>>,
    reached: Arc<AtomicBool>,
}

impl UnaryService<Bytes> for Export {
    type Response = Bytes;
    type Future = BoxFuture<'static, Result<Response<Bytes>, Status>>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        self.reached.store(true, Ordering::Relaxed);
        let (state, signal) = (self.state.clone(), self.signal);
        let mut held = self.share.lock().unwrap_or_else(PoisonError::into_inner);
        let mut share = std::mem::replace(&mut *held, state.otlp.share());
        drop(held);
        Box::pin(async move {
            let form = (signal, Form::Protobuf, Coding::Identity);
            let body = request.into_inner();
            // What came is counted; what it was before it was compressed may be more.
            share.grow(body.len()).map_err(|full| respond::status(&full.into()))?;
            let taken = state.otlp.take(&state.tracing, form, body, share).await;
            match taken {
                Ok(accepted) => Ok(Response::new(respond::protobuf(&accepted).into())),
                Err(error) => Err(respond::status(&error)),
            }
        })
    }
}

/// Corrects what is answered to a message that could not be read: clients send again for `OUT_OF_RANGE`, which would
/// help no message that is too long, and `INTERNAL` says that the fault were here.
fn final_answer(answer: http::Response<Body>) -> http::Response<Body> {
    let Some(status) = Status::from_header_map(answer.headers()) else { return answer };
    let code = status.code();
    if matches!(code, Code::OutOfRange | Code::ResourceExhausted) {
        respond::status(&ApiError::TooLarge(limits::OTLP_BODY_BYTES)).into_http()
    } else if code == Code::Internal {
        let detail = "The message is cut off, or not coded as its flags say.";
        respond::status(&ApiError::bad_request(detail)).into_http()
    } else {
        answer
    }
}

/// Returns the status by which HTTP would tell the same, so that both are counted alike.
fn http_status(answer: &http::Response<Body>) -> u16 {
    let code = Status::from_header_map(answer.headers()).map_or(Code::Ok, |status| status.code());
    match code {
        Code::Ok => 200,
        Code::InvalidArgument | Code::OutOfRange | Code::FailedPrecondition => 400,
        Code::Unauthenticated => 401,
        Code::PermissionDenied => 403,
        Code::NotFound | Code::Unimplemented => 404,
        Code::AlreadyExists | Code::Aborted => 409,
        Code::DeadlineExceeded | Code::Cancelled => 408,
        Code::ResourceExhausted => 429,
        Code::Unavailable => 503,
        Code::Internal | Code::Unknown | Code::DataLoss => 500,
    }
}
