//! OTLP over gRPC, by a client that sends what it likes.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use tonic::codec::CompressionEncoding;
use tonic::{Code, Request, Status};

use super::fixtures::{attribute, export, path_of, span};
use crate::helpers::{Service, start, start_with};

async fn client(service: &Service) -> TraceServiceClient<tonic::transport::Channel> {
    TraceServiceClient::connect(format!("http://{}", service.grpc)).await.unwrap()
}

async fn sent(service: &Service, request: Request<ExportTraceServiceRequest>) -> Result<String, Status> {
    let answer = client(service).await.export(request).await?.into_inner();
    let partial = answer.partial_success;
    Ok(partial
        .map_or_else(String::new, |partial| format!("{} {}", partial.rejected_spans, partial.error_message)))
}

#[tokio::test]
async fn an_export_is_recorded_and_what_is_refused_of_it_is_told() {
    let service = start().await;
    let whole = Request::new(export("etl", vec![span(1, 1, 0, "run", 0, 5), span(1, 2, 1, "load", 0, 5)]));
    assert_eq!(sent(&service, whole).await.unwrap(), "");
    assert_eq!(service.get(&path_of(1)).await.expect(200)["steps"].as_array().unwrap().len(), 1);
    let wrong = Request::new(export("etl", vec![span(1, 0, 0, "run", 0, 5)]));
    let told = sent(&service, wrong).await.unwrap();
    assert_eq!(told, "1 1 span was refused: 1 because the span id is not 8 bytes, or all zero.");
    assert_eq!(sent(&service, Request::new(ExportTraceServiceRequest::default())).await.unwrap(), "");
}

#[tokio::test]
async fn gzip_is_taken_and_a_message_that_is_too_large_is_never_to_be_sent_again() {
    let service = start().await;
    let large = |bytes: usize| {
        let mut one = span(1, 1, 0, "run", 0, 5);
        one.attributes = vec![attribute("text", &"x".repeat(bytes))];
        export("etl", vec![one])
    };
    let mut zipping = client(&service).await.send_compressed(CompressionEncoding::Gzip);
    zipping.export(large(1_000_000)).await.unwrap();
    let mut plain = client(&service).await;
    for refused in [zipping.export(large(40_000_000)).await, plain.export(large(17_000_000)).await] {
        let status = refused.unwrap_err();
        // Without a time to wait: clients do not come again.
        assert_eq!((status.code(), status.details()), (Code::ResourceExhausted, &[][..]));
        assert_eq!(status.message(), "The body must not have more than 16777216 bytes.");
    }
    client(&service).await.export(large(1)).await.unwrap();
}

#[tokio::test]
async fn keys_and_rates_hold_for_metadata_too() {
    let service = start_with(|settings| {
        settings.api_keys = "a:ingest:one,b:read:two".parse().unwrap();
        (settings.limits.rate_per_second, settings.limits.burst) = (1, 1);
    })
    .await;
    let with = |key: &'static str| {
        let mut request = Request::new(export("etl", vec![span(1, 1, 0, "run", 0, 5)]));
        request.metadata_mut().insert("authorization", key.parse().unwrap());
        request
    };
    let code = |answer: Result<String, Status>| answer.map_or_else(|status| status.code(), |_| Code::Ok);
    assert_eq!(code(sent(&service, with("Bearer three")).await), Code::Unauthenticated);
    assert_eq!(code(sent(&service, with("Bearer two")).await), Code::PermissionDenied);
    assert_eq!(code(sent(&service, with("Bearer one")).await), Code::Ok);
    let status = sent(&service, with("Bearer one")).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    let details = String::from_utf8_lossy(status.details()).into_owned();
    assert!(details.contains("type.googleapis.com/google.rpc.RetryInfo"), "{details}");
}

#[tokio::test]
async fn when_the_store_is_away_clients_are_to_come_again() {
    let service = start().await;
    service.background.tracing.repository().shut_down().await;
    let request = Request::new(export("etl", vec![span(1, 1, 0, "run", 0, 5)]));
    let status = sent(&service, request).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(String::from_utf8_lossy(status.details()).contains("RetryInfo"));
}
