//! OTLP over gRPC, as a client (<https://opentelemetry.io/docs/specs/otlp/#otlpgrpc>).

use std::time::Duration;

use anyhow::Context as _;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use prost::Message;
use reqwest::Url;
use tonic::codec::CompressionEncoding;
use tonic::metadata::MetadataMap;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request, Status};

use super::http::{USER_AGENT, certificate};
use super::send::{Receipt, Refusal};
use crate::config::{Compression, ExportSettings};

/// Sends by gRPC.
#[derive(Debug)]
pub(super) struct Grpc {
    client: TraceServiceClient<Channel>,
    metadata: MetadataMap,
    timeout: Duration,
}

impl Grpc {
    /// Returns what sends to an address; it connects when it first sends.
    ///
    /// # Errors
    /// If the certificate cannot be read, or TLS cannot be set up.
    pub(super) fn new(target: &Url, settings: &ExportSettings) -> anyhow::Result<Self> {
        let certificate = certificate(settings)?;
        let mut endpoint = Endpoint::from_shared(target.to_string())
            .and_then(|endpoint| endpoint.user_agent(USER_AGENT))
            .context("the address of export is none that gRPC can call")?
            .connect_timeout(settings.timeout);
        if target.scheme() == "https" {
            let tls = ClientTlsConfig::new().with_enabled_roots();
            let tls = match certificate {
                Some(pem) => tls.ca_certificate(Certificate::from_pem(pem)),
                None => tls,
            };
            endpoint = endpoint.tls_config(tls).context("cannot set up TLS for exporting")?;
        }
        let client =
            TraceServiceClient::new(endpoint.connect_lazy()).accept_compressed(CompressionEncoding::Gzip);
        let client = match settings.compression {
            Compression::Gzip => client.send_compressed(CompressionEncoding::Gzip),
            Compression::None => client,
        };
        let headers = settings.header_map().map_err(anyhow::Error::msg)?;
        // The two name the same headers by types of the same crate.
        Ok(Self { client, metadata: MetadataMap::from_headers(headers), timeout: settings.timeout })
    }

    /// Sends once.
    pub(super) async fn send(&self, request: &ExportTraceServiceRequest) -> Result<Receipt, Refusal> {
        let mut call = Request::new(request.clone());
        *call.metadata_mut() = self.metadata.clone();
        call.set_timeout(self.timeout);
        // It shares one connection.
        let mut client = self.client.clone();
        match tokio::time::timeout(self.timeout, client.export(call)).await {
            Ok(Ok(response)) => Ok(Receipt::of(response.into_inner())),
            Ok(Err(status)) => Err(refusal(&status)),
            Err(_) => {
                Err(Refusal::Again { reason: format!("no answer within {:?}", self.timeout), after: None })
            }
        }
    }
}

/// Says whether to try again, by the specification's list of codes.
fn refusal(status: &Status) -> Refusal {
    let reason = format!("it answered {:?}", status.code());
    let after = retry_delay(status.details());
    match status.code() {
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => Refusal::Again { reason, after },
        // Only if it says when it will have recovered.
        Code::ResourceExhausted if after.is_some() => Refusal::Again { reason, after },
        Code::Ok
        | Code::Unknown
        | Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Unimplemented
        | Code::Internal
        | Code::Unauthenticated => Refusal::Never { reason },
    }
}

/// `google.rpc.Status`, as far as it is of use.
#[derive(Clone, PartialEq, Message)]
struct Details {
    #[prost(message, repeated, tag = "3")]
    details: Vec<AnyDetail>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
struct AnyDetail {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// `google.rpc.RetryInfo`.
#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<Delay>,
}

/// `google.protobuf.Duration`.
#[derive(Clone, PartialEq, Message)]
struct Delay {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

/// Returns how long a receiver asks to be left alone, if it does.
fn retry_delay(details: &[u8]) -> Option<Duration> {
    let details = Details::decode(details).ok()?.details;
    let info = details.iter().find(|detail| detail.type_url.ends_with("/google.rpc.RetryInfo"))?;
    let delay = RetryInfo::decode(info.value.as_slice()).ok()?.retry_delay?;
    Some(Duration::new(u64::try_from(delay.seconds).ok()?, u32::try_from(delay.nanos).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asking(seconds: i64) -> Vec<u8> {
        let info = RetryInfo { retry_delay: Some(Delay { seconds, nanos: 0 }) };
        let detail = AnyDetail {
            type_url: "type.googleapis.com/google.rpc.RetryInfo".into(),
            value: info.encode_to_vec(),
        };
        Details { details: vec![detail] }.encode_to_vec()
    }

    #[test]
    fn what_is_exhausted_is_tried_again_only_if_it_says_when() {
        let told = |code, details: Vec<u8>| match refusal(&Status::with_details(code, "", details.into())) {
            Refusal::Again { after, .. } => format!("again {:?}", after.map(|after| after.as_secs())),
            Refusal::Never { .. } => "never".to_owned(),
        };
        assert_eq!(told(Code::ResourceExhausted, Vec::new()), "never");
        assert_eq!(told(Code::ResourceExhausted, asking(7)), "again Some(7)");
        assert_eq!(told(Code::Unavailable, Vec::new()), "again None");
        assert_eq!(told(Code::Unavailable, asking(-1)), "again None");
        assert_eq!(told(Code::Unavailable, vec![0xff; 9]), "again None");
        assert_eq!(told(Code::InvalidArgument, asking(7)), "never");
    }
}
