//! What an export is answered: the letter of the protocol.

use prost::Message as _;
use serde_json::{Value, json};
use tracer_store::{Location, StoreConfig};

use super::fixtures::{NOON, PROTOBUF, Reply, export, post, send, span, take, zipped};
use crate::helpers::{self, Service, start, start_over, start_with};

fn in_json() -> Value {
    let span = json!({"traceId": "0AF7651916cd43dd8448eb211c80319c", "spanId": "00000000000000ff", "name": "run",
        "startTimeUnixNano": NOON.to_string(), "endTimeUnixNano": (NOON + 1).to_string()});
    json!({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]})
}

#[tokio::test]
async fn full_success_says_nothing_in_the_form_of_the_request() {
    let service = start().await;
    let reply = send(&service, &export("etl", vec![span(1, 1, 0, "run", 0, 5)])).await;
    assert_eq!((reply.status, &*reply.media, reply.body.len()), (200, PROTOBUF, 0));
    let media = [("content-type", "application/json; charset=utf-8")];
    let reply = post(&service, "/v1/traces", &media, in_json().to_string()).await;
    assert_eq!((reply.status, &*reply.media, &*reply.body), (200, "application/json", &b"{}"[..]));
    service.get("/workflows/wf_0af7651916cd43dd8448eb211c80319c").await.expect(200);
}

#[tokio::test]
async fn an_export_without_anything_in_it_is_a_success() {
    let service = start().await;
    let before = service.everything().await;
    for body in [Vec::new(), export("etl", Vec::new()).encode_to_vec()] {
        let reply = post(&service, "/v1/traces", &[("content-type", PROTOBUF)], body).await;
        assert_eq!(reply.refused(), "");
    }
    for body in ["{}", "{\"resourceSpans\": null}", "{\"resourceSpans\": [{}]}", "{\"resourceMetrics\": []}"]
    {
        let reply = post(&service, "/v1/traces", &[("content-type", "application/json")], body).await;
        assert_eq!((reply.status, &*reply.body), (200, &b"{}"[..]));
    }
    assert_eq!(service.everything().await, before);
}

#[tokio::test]
async fn gzip_is_taken_and_other_codings_and_media_types_are_not() {
    let service = start().await;
    let body = export("etl", vec![span(1, 1, 0, "run", 0, 5)]).encode_to_vec();
    let typed = ("content-type", PROTOBUF);
    let gzip = [typed, ("content-encoding", "gzip")];
    assert_eq!(post(&service, "/v1/traces", &gzip, zipped(&body)).await.refused(), "");
    assert_eq!(
        post(&service, "/v1/traces", &[typed, ("content-encoding", "identity")], body.clone())
            .await
            .refused(),
        ""
    );
    let several: Vec<u8> = body.chunks(7).flat_map(zipped).collect();
    assert_eq!(post(&service, "/v1/traces", &gzip, several).await.refused(), "");
    let coded = [typed, ("content-encoding", "zstd")];
    let told = post(&service, "/v1/traces", &coded, body.clone()).await.error(415);
    assert_eq!(told, "3 Send OTLP as it is, or as 'Content-Encoding: gzip'.");
    for media in ["text/plain", "application/protobuf", "application/grpc"] {
        let told = post(&service, "/v1/traces", &[("content-type", media)], body.clone()).await.error(415);
        assert_eq!(told, "3 Send OTLP as 'application/x-protobuf' or 'application/json'.");
    }
    assert_eq!(service.get("/v1/traces").await.status, 405);
    assert_eq!(post(&service, "/v1/metrics", &[typed], body).await.status, 404);
}

#[tokio::test]
async fn spans_that_cannot_be_taken_are_refused_by_themselves_and_told() {
    let service = start().await;
    let mut spans = vec![span(1, 1, 0, "run", 0, 5)];
    let mut wrong = |change: &dyn Fn(&mut opentelemetry_proto::tonic::trace::v1::Span)| {
        let mut one = span(1, 2, 1, "x", 0, 1);
        change(&mut one);
        spans.push(one);
    };
    wrong(&|span| span.trace_id = vec![0; 16]);
    wrong(&|span| span.trace_id = vec![1; 15]);
    wrong(&|span| span.span_id = vec![0; 8]);
    wrong(&|span| span.span_id = vec![1; 16]);
    wrong(&|span| span.parent_span_id = vec![1; 7]);
    wrong(&|span| span.start_time_unix_nano = 0);
    wrong(&|span| span.end_time_unix_nano = NOON + 25 * 3_600 * 1_000_000_000);
    wrong(&|span| span.start_time_unix_nano = u64::MAX);
    wrong(&|span| span.start_time_unix_nano = 1);
    let refused = send(&service, &export("etl", spans)).await.refused();
    insta::assert_snapshot!(refused, @"9 9 spans were refused: 2 because the trace id is not 16 bytes, or all zero; 2 because the span id is not 8 bytes, or all zero; 1 because the parent's span id is not 8 bytes; 1 because there is no start time; 2 because it begins or ends more than 24 hours ahead; 1 because it takes more than 400 days.");
    let told: Value = {
        let mut body = in_json();
        body["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["spanId"] = json!("12");
        let reply =
            post(&service, "/v1/traces", &[("content-type", "application/json")], body.to_string()).await;
        assert_eq!(reply.status, 200);
        serde_json::from_slice(&reply.body).unwrap()
    };
    assert_eq!(
        told,
        json!({"partialSuccess": {"rejectedSpans": "1",
            "errorMessage": "1 span was refused: 1 because the span id is not 8 bytes, or all zero."}})
    );
}

#[tokio::test]
async fn what_cannot_be_decoded_is_400_in_the_form_of_the_request() {
    let service = start().await;
    let before = service.everything().await;
    let body = export("etl", vec![span(1, 1, 0, "run", 0, 5)]).encode_to_vec();
    let protobuf = |body: Vec<u8>| post(&service, "/v1/traces", &[("content-type", PROTOBUF)], body);
    let not_otlp = "3 The body is not the protobuf message of an OTLP export.";
    assert_eq!(protobuf(body[..body.len() - 3].to_vec()).await.error(400), not_otlp);
    assert_eq!(protobuf(vec![0xff; 100]).await.error(400), not_otlp);
    assert_eq!(protobuf(b"{\"resourceSpans\":[]}".to_vec()).await.error(400), not_otlp);
    let gzip = |body: Vec<u8>| {
        post(&service, "/v1/traces", &[("content-type", PROTOBUF), ("content-encoding", "gzip")], body)
    };
    let whole = zipped(&body);
    for broken in
        [whole[..whole.len() / 2].to_vec(), whole[..whole.len() - 4].to_vec(), body, vec![0x1f, 0x8b]]
    {
        assert_eq!(gzip(broken).await.error(400), "3 The body is not valid gzip, or was cut off.");
    }
    let json =
        |body: &'static [u8]| post(&service, "/v1/traces", &[("content-type", "application/json")], body);
    let lines = [
        json(b"").await.error(400),
        json(b"{\"resourceSpans\": [}").await.error(400),
        json(b"{\"resourceSpans\": [").await.error(400),
        json(b"[]").await.error(400),
        json(b"{\"resourceSpans\": 7}").await.error(400),
        json(b"{\"a\": \"\xff\"}").await.error(400),
        json(b"{} {}").await.error(400),
    ];
    insta::assert_snapshot!(lines.join("\n"), @r#"
    3 The body is JSON that ends too early.
    3 The body is not JSON from line 1, column 20 on.
    3 The body is JSON that ends too early.
    3 The body is not an OTLP export: the value that ends at line 1, column 2 has the wrong type.
    3 The body is not an OTLP export: the value that ends at line 1, column 19 has the wrong type.
    3 The body is not UTF-8.
    3 The body is not JSON from line 1, column 4 on.
    "#);
    assert_eq!(service.everything().await, before);
}

#[tokio::test]
async fn keys_are_asked_for_in_the_form_of_the_request() {
    let service = start_with(|settings| settings.api_keys = "a:ingest:one,b:read:two".parse().unwrap()).await;
    let body = export("etl", vec![span(1, 1, 0, "run", 0, 5)]).encode_to_vec();
    let with = async |key: &'static str, media: &'static str| {
        post(&service, "/v1/traces", &[("authorization", key), ("content-type", media)], body.clone()).await
    };
    assert_eq!(with("Bearer one", PROTOBUF).await.refused(), "");
    assert_eq!(with("Bearer two", PROTOBUF).await.error(403), "7 This API key lacks the scope 'ingest'.");
    let told = "16 Send a valid API key as 'Authorization: Bearer KEY'.";
    for media in [PROTOBUF, "application/json"] {
        let reply = with("Bearer three", media).await;
        assert_eq!((reply.error(401), &*reply.media), (told.to_owned(), media));
    }
}

#[tokio::test]
async fn who_comes_too_often_or_when_the_store_is_away_is_told_when_to_come_again() {
    let often = start_with(|settings| {
        settings.limits.rate_per_second = 1;
        settings.limits.burst = 1;
    })
    .await;
    take(&often, vec![span(1, 1, 0, "run", 0, 5)]).await;
    let reply = send(&often, &export("etl", vec![span(1, 1, 0, "run", 0, 5)])).await;
    assert_eq!(
        (reply.error(429), reply.retry_after.as_deref()),
        ("8 Too many requests: try again in 1 s.".to_owned(), Some("1"))
    );
    assert_eq!(
        away().await,
        "14 The store is unavailable: the service is shutting down. Try again.; retry after 1"
    );
}

/// What is answered once the store has shut down.
async fn away() -> String {
    let settings = helpers::settings();
    let policy = tracer_api::policy::policy(&settings);
    let service: Service = start_over(&settings, StoreConfig::at(Location::Memory), policy).await;
    service.background.tracing.repository().shut_down().await;
    let reply: Reply = send(&service, &export("etl", vec![span(1, 1, 0, "run", 0, 5)])).await;
    format!("{}; retry after {}", reply.error(503), reply.retry_after.unwrap_or_default())
}

#[tokio::test]
async fn logs_that_tell_of_no_start_are_refused_and_told() {
    let service = start().await;
    let media = [("content-type", "application/json")];
    let record = json!({"timeUnixNano": NOON.to_string(), "body": {"stringValue": "hello"}});
    let body = json!({"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]});
    let reply = post(&service, "/v1/logs", &media, body.to_string()).await;
    assert_eq!(reply.status, 200);
    assert_eq!(
        serde_json::from_slice::<Value>(&reply.body).unwrap(),
        json!({"partialSuccess": {"rejectedLogRecords": "1", "errorMessage":
            "1 log record was refused: 1 because it does not tell that a step began, and other logs are not kept."}})
    );
}
