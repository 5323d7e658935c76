//! What is too much is refused with the right status, and the service goes on.

use prost::Message as _;
use prost::encoding::{WireType, encode_key, encode_varint};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::fixtures::{PROTOBUF, Reply, attribute, export, path_of, post, send, span, take, zipped};
use crate::helpers::{Service, start};

const LIMIT: usize = 16 * 1024 * 1024;

/// Checks that the service takes the next export.
async fn is_unharmed(service: &Service) {
    take(service, vec![span(9, 1, 0, "run", 0, 5)]).await;
    assert_eq!(service.get("/health/live").await.status, 200);
}

async fn zipped_post(service: &Service, body: &[u8]) -> Reply {
    post(service, "/v1/traces", &[("content-type", PROTOBUF), ("content-encoding", "gzip")], zipped(body))
        .await
}

/// A message that holds so many empty messages in a field.
fn empties(field: u32, count: usize) -> Vec<u8> {
    let mut one = Vec::new();
    encode_key(field, WireType::LengthDelimited, &mut one);
    one.push(0);
    one.repeat(count)
}

/// A message within a field of another.
fn within(field: u32, message: &[u8]) -> Vec<u8> {
    let mut outer = Vec::new();
    encode_key(field, WireType::LengthDelimited, &mut outer);
    encode_varint(u64::try_from(message.len()).unwrap(), &mut outer);
    outer.extend_from_slice(message);
    outer
}

#[tokio::test]
async fn a_body_of_a_hundred_megabytes_is_413_however_its_length_is_told() {
    let service = start().await;
    let told = "8 The body must not have more than 16777216 bytes.";
    let large = service.request("POST", "/v1/traces").header("content-type", PROTOBUF);
    // A client may see the connection close while it still sends.
    if let Ok(answer) = large.body(vec![0_u8; 100_000_000]).send().await {
        assert_eq!(answer.status(), 413);
    }
    assert_eq!(in_chunks(&service, 100).await, "HTTP/1.1 413 Payload Too Large");
    let just_over = post(&service, "/v1/traces", &[("content-type", PROTOBUF)], vec![0; LIMIT + 1]).await;
    assert_eq!(just_over.error(413), told);
    is_unharmed(&service).await;
}

/// Sends so many chunks of a megabyte, without saying how many; returns the first line of the answer.
async fn in_chunks(service: &Service, chunks: usize) -> String {
    let socket = tokio::net::TcpStream::connect(service.address).await.unwrap();
    let (mut answer, mut request) = socket.into_split();
    let sending = tokio::spawn(async move {
        let head = format!(
            "POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: {PROTOBUF}\r\ntransfer-encoding: chunked\r\n\r\n"
        );
        let chunk = [format!("{:x}\r\n", 1 << 20).into_bytes(), vec![0; 1 << 20], b"\r\n".to_vec()].concat();
        request.write_all(head.as_bytes()).await?;
        for _ in 0..chunks {
            request.write_all(&chunk).await?;
        }
        Ok::<_, std::io::Error>(())
    });
    let mut first = vec![0; 64];
    let read = answer.read(&mut first).await.unwrap();
    sending.abort();
    String::from_utf8_lossy(&first[..read]).lines().next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_gzip_bomb_is_413() {
    let service = start().await;
    let told = "8 The body must not have more than 16777216 bytes.";
    assert_eq!(zipped_post(&service, &vec![0; 400_000_000]).await.error(413), told);
    is_unharmed(&service).await;
}

#[tokio::test]
async fn millions_of_empty_messages_are_413() {
    let service = start().await;
    let told = "8 The body holds more than 65,536 spans, log records, or groups of them at once: send fewer.";
    let spans = empties(2, 4_000_000);
    for body in [empties(1, 8_000_000), within(1, &empties(2, 4_000_000)), within(1, &within(2, &spans))] {
        assert_eq!(zipped_post(&service, &body).await.error(413), told);
    }
    let json = format!(
        "{{\"resourceSpans\":[{{\"scopeSpans\":[{{\"spans\":[{}{{}}]}}]}}]}}",
        "{},".repeat(4_000_000)
    );
    let media = [("content-type", "application/json"), ("content-encoding", "gzip")];
    assert_eq!(post(&service, "/v1/traces", &media, zipped(json.as_bytes())).await.error(413), told);
    is_unharmed(&service).await;
}

#[tokio::test]
async fn a_span_of_a_million_attributes_events_and_links_keeps_the_first_and_says_how_many_it_dropped() {
    let service = start().await;
    let mut sent = span(1, 1, 0, "run", 0, 5);
    sent.attributes = (0..64).map(|n| attribute(&format!("a{n:02}"), "v")).collect();
    let mut message = sent.encode_to_vec();
    message.extend(empties(9, 1_000_000));
    message.extend(empties(11, 1_000_000));
    message.extend(empties(13, 1_000_000));
    let body = within(1, &within(2, &within(2, &message)));
    assert_eq!(zipped_post(&service, &body).await.refused(), "");
    let shown = service.get(&path_of(1)).await.expect(200);
    assert_eq!(shown["attributes"].as_object().unwrap().len(), 64);
    is_unharmed(&service).await;
}

#[tokio::test]
async fn what_is_nested_too_deeply_is_left_out() {
    let service = start().await;
    let mut value = within(1, b"deep");
    for _ in 0..10_000 {
        value = within(5, &within(1, &value));
    }
    let pair = [within(1, b"k"), within(2, &value)].concat();
    let message = [span(1, 1, 0, "run", 0, 5).encode_to_vec(), within(9, &pair)].concat();
    let body = within(1, &within(2, &within(2, &message)));
    assert_eq!(zipped_post(&service, &body).await.refused(), "");
    let json = format!("{{\"resourceSpans\":{}{}}}", "[".repeat(1_000_000), "]".repeat(1_000_000));
    let reply = post(&service, "/v1/traces", &[("content-type", "application/json")], json).await;
    assert_eq!(reply.status, 400);
    is_unharmed(&service).await;
}

#[tokio::test]
async fn an_end_before_the_start_takes_no_time_and_is_marked() {
    let service = start().await;
    let (root, back) = (span(1, 1, 0, "run", 0, 9), span(1, 2, 1, "back", 8, 3));
    assert_eq!(send(&service, &export("etl", vec![root, back])).await.refused(), "");
    let shown = service.get(&path_of(1)).await.expect(200);
    let step = &shown["steps"][0];
    assert_eq!(
        (&step["duration_ms"], &step["attributes"]["tracer.end_before_start"]),
        (&0.into(), &true.into())
    );
}
