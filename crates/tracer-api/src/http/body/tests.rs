use std::collections::BTreeMap;

use actix_web::test::TestRequest;
use serde::Deserialize;

use super::*;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Sample {
    count: u32,
    factor: f64,
    name: String,
    kind: Kind,
    attributes: BTreeMap<String, serde_json::Value>,
    error: Option<Failure>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    #[default]
    Tool,
    Llm,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
#[expect(dead_code, reason = "only its parsing is tested")]
enum Failure {
    Text(String),
    Object { message: String },
}

#[derive(Debug, Deserialize)]
#[expect(dead_code, reason = "only its parsing is tested")]
struct Needy {
    name: String,
}

impl RequestBody for Sample {
    const MAY_BE_EMPTY: bool = true;
    const MOST_BYTES: usize = 64;
}

impl RequestBody for Needy {}

/// Returns the status, the pointers and the words of what is refused.
fn refused<T: DeserializeOwned>(raw: &[u8]) -> String {
    match parse::<T>(raw) {
        Ok(_) => "taken".to_owned(),
        Err(error) => {
            let problem = error.problem();
            let errors: Vec<String> =
                problem.errors.iter().map(|e| format!(" {} {}", e.pointer, e.detail)).collect();
            format!("{}{}", problem.status, errors.concat())
        }
    }
}

fn sample(raw: &str) -> String {
    refused::<Sample>(raw.as_bytes())
}

#[test]
fn what_is_not_json_is_400() {
    for raw in [
        "",
        "  ",
        "hello",
        "{",
        "{]",
        "{\"a\":}",
        "{} {}",
        "[]",
        "null",
        "\"{}\"",
        "{\"a\":NaN}",
        "{'a':1}",
        "{\"name\":\"\\ud8\"}",
        "\u{feff}{}",
    ] {
        assert_eq!(sample(raw), "400", "{raw}");
    }
    assert_eq!(refused::<Sample>(b"{\"name\":\"\xff\"}"), "400");
    let error = parse::<Sample>(b"{\n \"a\": }").unwrap_err();
    assert_eq!(error.to_string(), "The body is not valid JSON: see line 2, column 7.");
}

#[test]
fn a_wrong_type_is_400_and_a_wrong_value_422_with_its_pointer() {
    for (raw, expected) in [
        (r#"{"count":"hunter2"}"#, "400 /count must be a whole number, not negative, not a text"),
        (r#"{"count":1.5}"#, "400 /count must be a whole number, not negative, not a fraction"),
        (r#"{"count":-1}"#, "422 /count must be a whole number, not negative, not that whole number"),
        (
            r#"{"count":99999999999}"#,
            "422 /count must be a whole number, not negative, not that whole number",
        ),
        (r#"{"name":null}"#, "400 /name must be a text, not null"),
        (r#"{"name":{"a":1}}"#, "400 /name must be a text, not an object"),
        (r#"{"attributes":[]}"#, "400 /attributes must be an object, not a list"),
        (r#"{"kind":"hunter2`, expected x"}"#, "422 /kind must be 'tool' or 'llm'"),
        (r#"{"error":7}"#, "400 /error has none of the forms that are accepted here"),
        (r#"{"count":1,"count":2}"#, "400 /count occurs twice"),
        (r#"{"factor":1e999}"#, "422 /factor is out of range"),
        (r#"{"attributes":{"a/b":[1,-1e999]}}"#, "422 /attributes/a~1b/1 is out of range"),
    ] {
        assert_eq!(sample(raw), expected, "{raw}");
    }
    assert_eq!(refused::<Needy>(b"{}"), "400 /name is missing");
}

#[test]
fn depth_is_bounded_and_brackets_in_texts_are_no_depth() {
    let nested = |depth: usize| format!("{{\"x\":{}{}}}", "[".repeat(depth - 1), "]".repeat(depth - 1));
    assert_eq!(sample(&nested(32)), "taken");
    assert_eq!(sample(&nested(33)), "422");
    assert_eq!(sample(&nested(400_000)), "422");
    assert_eq!(sample(&format!("{{\"x\":\"{}\\\"{}\"}}", "[".repeat(99), "{".repeat(99))), "taken");
}

#[test]
fn half_a_surrogate_pair_is_422_even_where_nobody_looks() {
    for raw in [
        r#"{"name":"\ud800"}"#,
        r#"{"ignored":"\ud800"}"#,
        r#"{"name":"\udc00"}"#,
        r#"{"name":"\ud800\u0041"}"#,
        r#"{"\udfff":1}"#,
    ] {
        assert_eq!(sample(raw), "422", "{raw}");
    }
    for raw in [r#"{"name":"\ud83d\ude80"}"#, r#"{"name":"\\ud800"}"#, r#"{"name":"🚀\u0000"}"#] {
        assert_eq!(sample(raw), "taken", "{raw}");
    }
}

#[test]
fn a_fault_repeats_nothing_of_the_body() {
    let secret = "hunter2".repeat(20);
    for raw in [
        format!("{{\"count\":\"{secret}\"}}"),
        format!("{{\"kind\":\"{secret}\"}}"),
        format!("{{\"attributes\":{{\"{secret}\":1e999}}}}"),
        format!("{{\"count\":\"a, expected {secret}\"}}"),
        format!("{{{secret}"),
    ] {
        let problem = serde_json::to_string(&parse::<Sample>(raw.as_bytes()).unwrap_err().problem()).unwrap();
        assert!(!problem.contains("hunter2"), "{problem}");
    }
}

/// Extracts a body as a handler would; returns the status of the refusal, or 200.
async fn extracted<T: RequestBody>(request: TestRequest) -> u16 {
    let (request, mut payload) = request.to_http_parts();
    Body::<T>::from_request(&request, &mut payload).await.map_or_else(|e| e.problem().status, |_| 200)
}

fn with_type(media: &str, body: &'static str) -> TestRequest {
    TestRequest::post().insert_header(("content-type", media)).set_payload(body)
}

#[actix_web::test]
async fn the_media_type_is_json_unless_nothing_is_sent() {
    for media in [
        "application/json",
        "Application/JSON; charset=UTF-8",
        "application/x+json",
        "application/json;charset=\"utf-8\"",
    ] {
        assert_eq!(extracted::<Sample>(with_type(media, "{}")).await, 200, "{media}");
    }
    for media in
        ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin1", "json"]
    {
        assert_eq!(extracted::<Sample>(with_type(media, "{}")).await, 415, "{media}");
        assert_eq!(extracted::<Sample>(with_type(media, "")).await, 200, "{media}");
    }
    assert_eq!(extracted::<Sample>(TestRequest::post().set_payload("{}")).await, 415);
    assert_eq!(extracted::<Sample>(TestRequest::post()).await, 200);
    assert_eq!(extracted::<Needy>(TestRequest::post()).await, 400);
    let gzip = with_type("application/json", "{}").insert_header(("content-encoding", "gzip"));
    assert_eq!(extracted::<Sample>(gzip).await, 415);
}

#[actix_web::test]
async fn a_body_over_its_limit_is_413_by_its_length_or_by_its_bytes() {
    let announced = with_type("application/json", "{}").insert_header(("content-length", "65"));
    assert_eq!(extracted::<Sample>(announced).await, 413);
    let absurd =
        with_type("application/json", "{}").insert_header(("content-length", "99999999999999999999"));
    assert_ne!(extracted::<Sample>(absurd).await, 500);
    let long: &'static str = Box::leak(format!("{{\"x\":\"{}\"}}", "y".repeat(60)).into_boxed_str());
    let request = with_type("application/json", long);
    let (request, mut payload) = request.to_http_parts();
    assert!(matches!(read(&mut payload, 64).await, Err(ApiError::TooLarge(64))), "{request:?}");
}

#[actix_web::test]
async fn equal_bodies_have_equal_digests_and_no_body_equals_an_empty_object() {
    let digest = async |request: TestRequest| {
        let (request, mut payload) = request.to_http_parts();
        Body::<Sample>::from_request(&request, &mut payload).await.unwrap().digest()
    };
    let empty = digest(TestRequest::post()).await;
    assert_eq!(empty, digest(with_type("application/json", "{}")).await);
    assert_ne!(empty, digest(with_type("application/json", "{ }")).await);
}
