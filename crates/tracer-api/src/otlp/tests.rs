//! Conventions, bounds, and that no bytes make the readers panic.

use bytes::Bytes;
use insta::assert_snapshot;
use proptest::prelude::*;
use prost::Message as _;
use serde_json::{Value, json};
use tracer_core::span::Span;
use tracer_core::time::Timestamp;

use super::export::Gathered;
use super::inflate::Coding;
use super::intake::{Form, Signal, decoded};
use super::room::Room;
use crate::error::ApiError;

const NOON: u64 = 1_769_860_800_000_000_000;
const NOW: Timestamp = Timestamp::from_millis(1_769_860_800_000);

fn read(signal: Signal, form: Form, coding: Coding, body: &[u8]) -> Result<Gathered, ApiError> {
    let mut share = Room::of(usize::MAX).share();
    decoded(Bytes::copy_from_slice(body), (signal, form, coding), NOW, &mut share)
}

fn attributes(pairs: &Value) -> Value {
    let pair = |(key, value): (&String, &Value)| {
        let value = if value.is_object() { value.clone() } else { json!({"stringValue": value}) };
        json!({"key": key, "value": value})
    };
    pairs.as_object().unwrap().iter().map(pair).collect()
}

/// Reads a span that has these members besides its ids and its times, made by a resource with these attributes.
fn span_of(members: &Value, resource: &Value) -> Span {
    let mut span = json!({
        "traceId": "0af7651916cd43dd8448eb211c80319c", "spanId": "0000000000000002",
        "parentSpanId": "0000000000000001", "name": "step",
        "startTimeUnixNano": NOON.to_string(), "endTimeUnixNano": (NOON + 1_000_000).to_string(),
    });
    span.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    let resource = json!({"attributes": attributes(resource)});
    let body = json!({"resourceSpans": [{"scopeSpans": [{"spans": [span]}], "resource": resource}]});
    let gathered = read(Signal::Traces, Form::Json, Coding::Identity, body.to_string().as_bytes()).unwrap();
    gathered.command.unwrap().traces.remove(0).spans.remove(0)
}

fn with(pairs: &Value) -> Span {
    span_of(&json!({"attributes": attributes(pairs)}), &json!({}))
}

fn root(name: &str, pairs: &Value) -> Span {
    let members = json!({"attributes": attributes(pairs), "parentSpanId": "", "name": name});
    span_of(&members, &json!({"service.name": "svc"}))
}

fn workflow(span: &Span) -> &str {
    span.workflow.as_ref().map_or("-", |name| name.as_str())
}

#[test]
fn the_workflow_is_named_by_every_convention() {
    let named = |pairs: Value| workflow(&with(&pairs)).to_owned();
    assert_eq!(named(json!({"tracer.workflow.name": "a", "workflow.name": "b"})), "a");
    assert_eq!(named(json!({"workflow.name": "b", "airflow.dag_id": "c"})), "b");
    assert_eq!(named(json!({"airflow.dag_id": "c"})), "c");
    assert_eq!(named(json!({"dag_id": "c"})), "c");
    assert_eq!(named(json!({"prefect.flow.name": "d", "prefect.run.name": "wild-owl"})), "d");
    assert_eq!(named(json!({"dagster.job_name": "e"})), "e");
    assert_eq!(named(json!({"temporalWorkflowType": "f"})), "f");
    assert_eq!(named(json!({"temporal.workflow.type": "f"})), "f");
    assert_eq!(named(json!({"gen_ai.workflow.name": "g"})), "g");
    assert_eq!(named(json!({"traceloop.workflow.name": "h"})), "h");
    assert_eq!(named(json!({"workflow.name": {"intValue": "7"}, "other": "x"})), "-");
    assert_eq!(workflow(&root("RunWorkflow:OrderWorkflow", &json!({}))), "OrderWorkflow");
    let by_resource = span_of(&json!({}), &json!({"tracer.workflow.name": "of the process"}));
    assert_eq!(workflow(&by_resource), "of the process");
}

#[test]
fn an_agent_or_a_chain_names_the_workflow_only_where_it_is_the_root() {
    let agent = json!({"gen_ai.agent.name": "researcher", "gen_ai.operation.name": "invoke_agent"});
    assert_eq!([workflow(&root("invoke_agent", &agent)), workflow(&with(&agent))], ["researcher", "-"]);
    let chain = json!({"openinference.span.kind": "CHAIN"});
    assert_eq!(workflow(&root("answer question", &chain)), "answer question");
    assert_eq!(workflow(&root("RunnableSequence", &chain)), "-", "so are all chains");
    let entity = json!({"traceloop.span.kind": "workflow", "traceloop.entity.name": "joke"});
    assert_eq!([workflow(&root("joke.workflow", &entity)), workflow(&with(&entity))], ["joke", "-"]);
    assert_eq!(workflow(&root("GET /", &json!({"http.route": "/"}))), "-");
}

#[test]
fn the_type_of_a_step_follows_from_the_conventions() {
    let of = |kind: i32, pairs: Value| {
        let members = json!({"attributes": attributes(&pairs), "kind": kind});
        span_of(&members, &json!({})).step_type.as_str().to_owned()
    };
    let lines = [
        of(1, json!({})),
        of(1, json!({"gen_ai.system": "x", "tracer.step.type": "branch"})),
        of(3, json!({"http.request.method": "POST", "gen_ai.request.model": "m"})),
        of(1, json!({"gen_ai.operation.name": "execute_tool"})),
        of(1, json!({"gen_ai.operation.name": "invoke_agent"})),
        of(1, json!({"gen_ai.operation.name": "embeddings"})),
        of(1, json!({"gen_ai.operation.name": "retrieval"})),
        of(1, json!({"gen_ai.operation.name": "chat"})),
        of(1, json!({"openinference.span.kind": "RETRIEVER", "gen_ai.system": "x"})),
        of(1, json!({"openinference.span.kind": "LLM"})),
        of(1, json!({"traceloop.span.kind": "tool"})),
        of(1, json!({"traceloop.span.kind": "task"})),
        of(3, json!({"mcp.method.name": "tools/call"})),
        of(3, json!({"http.request.method": "POST", "db.system": "elasticsearch"})),
        of(3, json!({"rpc.system": "grpc"})),
        of(3, json!({"http.request.method": "GET"})),
        of(2, json!({"http.request.method": "GET"})),
        of(1, json!({"faas.trigger": "timer"})),
        of(5, json!({})),
        of(1, json!({"dbx": "", "tracer.step.type": ""})),
    ];
    assert_snapshot!(lines.join(" "), @"task branch llm tool agent embedding retriever llm retriever llm tool task tool db rpc http task faas messaging task");
}

#[test]
fn attempts_and_versions_are_told() {
    let attempt = |pairs: Value| with(&pairs).attempt;
    assert_eq!(attempt(json!({})), 1);
    assert_eq!(attempt(json!({"tracer.step.attempt": {"intValue": "3"}, "try_number": {"intValue": 2}})), 3);
    assert_eq!(attempt(json!({"airflow.task_instance.try_number": {"intValue": 2}})), 2);
    assert_eq!(attempt(json!({"http.request.resend_count": {"intValue": 2}})), 3);
    assert_eq!(attempt(json!({"tracer.step.attempt": {"intValue": "-3"}})), 1);
    assert_eq!(attempt(json!({"tracer.step.attempt": {"intValue": "4000000000"}})), 1_000_000);
    assert_eq!(attempt(json!({"http.request.resend_count": {"intValue": i64::MAX.to_string()}})), 1);
    let version = |pairs: Value, resource: Value| {
        let span = span_of(&json!({"attributes": attributes(&pairs)}), &resource);
        span.version.map_or("-".to_owned(), |version| version.as_str().to_owned())
    };
    let resource = json!({"service.version": "7"});
    assert_eq!(version(json!({}), json!({})), "-");
    assert_eq!(version(json!({}), resource.clone()), "7");
    assert_eq!(version(json!({"tracer.workflow.version": "2"}), resource), "2");
}

#[test]
fn what_began_is_told_from_what_has_ended() {
    let at = |nanos: u64| json!({"endTimeUnixNano": nanos.to_string()});
    let over = |members: Value, more: Value| {
        let mut members = members;
        members.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let span = span_of(&members, &json!({}));
        format!(
            "{} in {:?} ended {}",
            span.id,
            span.parent.map(|parent| parent.to_string()),
            span.end.is_some()
        )
    };
    let running = json!({"attributes": attributes(&json!({"tracer.step.state": "running"}))});
    let event = json!({"events": [{"name": "tracer.step.start"}]});
    let pending = |parent: &str| {
        json!({"attributes": attributes(&json!({
            "logfire.span_type": "pending_span", "logfire.pending_parent_id": parent}))})
    };
    let lines = [
        over(at(NOON), json!({})),
        over(at(0), json!({})),
        over(at(NOON), running),
        over(at(NOON), event.clone()),
        over(at(NOON + 5), event),
        over(at(NOON), pending("00000000000000aa")),
        over(at(NOON), pending("0000000000000000")),
    ];
    assert_snapshot!(lines.join("\n"), @r#"
    st_0000000000000002 in Some("st_0000000000000001") ended true
    st_0000000000000002 in Some("st_0000000000000001") ended false
    st_0000000000000002 in Some("st_0000000000000001") ended false
    st_0000000000000002 in Some("st_0000000000000001") ended false
    st_0000000000000002 in Some("st_0000000000000001") ended true
    st_0000000000000001 in Some("st_00000000000000aa") ended false
    st_0000000000000001 in None ended false
    "#);
}

#[test]
fn a_failed_span_tells_why() {
    let failure = |members: Value| {
        let end = span_of(&members, &json!({})).end.unwrap();
        format!("{:?} {}", end.status, json!(end.failure))
    };
    let exception = |message: &str| {
        let pairs =
            json!({"exception.type": "E", "exception.message": message, "exception.stacktrace": "at 1"});
        json!({"name": "exception", "attributes": attributes(&pairs)})
    };
    let mut events: Vec<Value> = (0..200).map(|_| json!({"name": "log"})).collect();
    events.push(exception("the last of many"));
    let failed = json!({"code": 2, "message": "said"});
    let lines = [
        failure(json!({"status": {"code": 1}, "events": [exception("survived")]})),
        failure(json!({"status": failed})),
        failure(json!({"status": {"code": "STATUS_CODE_ERROR"}})),
        failure(json!({"status": failed, "events": [exception("first"), exception("second")]})),
        failure(json!({"status": failed, "events": events})),
    ];
    assert_snapshot!(lines.join("\n"), @r#"
    Completed null
    Failed {"message":"said"}
    Failed null
    Failed {"message":"second","stack":"at 1","type":"E"}
    Failed {"message":"the last of many","stack":"at 1","type":"E"}
    "#);
}

#[test]
fn events_links_and_what_was_dropped_are_kept_within_bounds() {
    let long = "x".repeat(3_000);
    let events: Vec<Value> = (0..200)
        .map(|at| {
            json!({"name": format!("e{at}"), "timeUnixNano": NOON.to_string(),
            "attributes": attributes(&json!({"text": long}))})
        })
        .collect();
    let link = |span: &str| json!({"traceId": "1".repeat(32), "spanId": span});
    let span = span_of(
        &json!({"events": events, "links": [link("00000000000000aa"), link(""), link("0")],
            "droppedAttributesCount": 5, "droppedEventsCount": 1}),
        &json!({}),
    );
    let detail = &span.detail;
    assert_eq!((detail.events.len(), detail.links.len()), (10, 1));
    assert_eq!(detail.dropped, 6 + 190 + 2);
    assert!(serde_json::to_vec(detail).unwrap().len() <= tracer_core::limits::SPAN_DETAIL_BYTES);
    let many: serde_json::Map<String, Value> = (0..500).map(|at| (format!("k{at:03}"), json!("v"))).collect();
    let span = with(&Value::Object(many));
    assert_eq!((span.attributes.entries().len(), span.detail.dropped), (64, 436));
    let late: Vec<Value> = (0..500)
        .map(|at| json!({"key": format!("k{at}"), "value": {"stringValue": "v"}}))
        .chain([json!({"key": "tracer.workflow.name", "value": {"stringValue": "late"}})])
        .collect();
    assert_eq!(workflow(&span_of(&json!({"attributes": late}), &json!({}))), "late");
}

/// An export with something of everything, in protobuf.
fn everything() -> Vec<u8> {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
    use opentelemetry_proto::tonic::common::v1::{
        AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList,
    };
    use opentelemetry_proto::tonic::resource::v1::Resource;
    use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
    use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
    let value = |value: Any| Some(AnyValue { value: Some(value) });
    let pair =
        |key: &str, any: Any| KeyValue { key: key.to_owned(), value: value(any), ..KeyValue::default() };
    let inner = AnyValue { value: Some(Any::IntValue(1)) };
    let attributes = vec![
        pair("text", Any::StringValue("é\"".to_owned())),
        pair("int", Any::IntValue(-5)),
        pair("double", Any::DoubleValue(1.5)),
        pair("nan", Any::DoubleValue(f64::NAN)),
        pair("bool", Any::BoolValue(true)),
        pair("bytes", Any::BytesValue(b"hi".to_vec())),
        pair("list", Any::ArrayValue(ArrayValue { values: vec![inner, AnyValue { value: None }] })),
        pair("map", Any::KvlistValue(KeyValueList { values: vec![pair("k", Any::BoolValue(false))] })),
        KeyValue { key: "none".to_owned(), ..KeyValue::default() },
    ];
    let span = Span {
        trace_id: vec![7; 16],
        span_id: vec![2; 8],
        parent_span_id: vec![1; 8],
        trace_state: "a=b".to_owned(),
        name: "step".to_owned(),
        kind: 3,
        start_time_unix_nano: NOON,
        end_time_unix_nano: NOON + 5_000_000,
        attributes: attributes.clone(),
        dropped_attributes_count: 1,
        events: vec![Event {
            time_unix_nano: NOON,
            name: "e".to_owned(),
            attributes: attributes.clone(),
            ..Event::default()
        }],
        links: vec![Link { trace_id: vec![9; 16], span_id: vec![9; 8], attributes, ..Link::default() }],
        status: Some(Status { message: "no".to_owned(), code: 2 }),
        flags: 257,
        ..Span::default()
    };
    let scope = InstrumentationScope {
        name: "lib".to_owned(),
        version: "1".to_owned(),
        ..InstrumentationScope::default()
    };
    let scope_spans = vec![ScopeSpans { scope: Some(scope), spans: vec![span], ..ScopeSpans::default() }];
    let resource = Resource {
        attributes: vec![pair("service.name", Any::StringValue("svc".to_owned()))],
        ..Resource::default()
    };
    let resource_spans =
        vec![ResourceSpans { resource: Some(resource), scope_spans, ..ResourceSpans::default() }];
    ExportTraceServiceRequest { resource_spans }.encode_to_vec()
}

/// The same in JSON.
const EVERYTHING: &str = r#"{"resourceSpans": [{"scopeSpans": [{"scope": {"name": "lib", "version": "1"}, "spans": [{
    "traceId": "07070707070707070707070707070707", "spanId": "0202020202020202", "parentSpanId": "0101010101010101",
    "traceState": "a=b", "name": "step", "kind": 3, "startTimeUnixNano": "1769860800000000000",
    "endTimeUnixNano": "1769860800005000000", "attributes": ATTRIBUTES, "droppedAttributesCount": 1,
    "events": [{"timeUnixNano": "1769860800000000000", "name": "e", "attributes": ATTRIBUTES}],
    "links": [{"traceId": "09090909090909090909090909090909", "spanId": "0909090909090909", "attributes": ATTRIBUTES}],
    "status": {"message": "no", "code": 2}, "flags": 257}]}],
    "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "svc"}}]}}]}"#;
const ATTRIBUTES: &str = r#"[{"key": "text", "value": {"stringValue": "\u00e9\""}}, {"key": "int", "value": {"intValue": "-5"}},
    {"key": "double", "value": {"doubleValue": 1.5}}, {"key": "nan", "value": {"doubleValue": "NaN"}},
    {"key": "bool", "value": {"boolValue": true}}, {"key": "bytes", "value": {"bytesValue": "aGk="}},
    {"key": "list", "value": {"arrayValue": {"values": [{"intValue": 1}, {}]}}},
    {"key": "map", "value": {"kvlistValue": {"values": [{"key": "k", "value": {"boolValue": false}}]}}},
    {"key": "none"}]"#;

#[test]
fn protobuf_and_json_of_one_export_are_one_thing() {
    let protobuf = read(Signal::Traces, Form::Protobuf, Coding::Identity, &everything()).unwrap();
    let json = EVERYTHING.replace("ATTRIBUTES", ATTRIBUTES);
    let json = read(Signal::Traces, Form::Json, Coding::Identity, json.as_bytes()).unwrap();
    let (protobuf, json) = (protobuf.command.unwrap(), json.command.unwrap());
    assert_eq!((&protobuf.traces, &protobuf.resources), (&json.traces, &json.resources));
    let shown = serde_json::to_string(&protobuf.traces[0].spans[0]).unwrap();
    assert_snapshot!(shown, @r#"{"id":"st_0202020202020202","parent":"st_0101010101010101","name":"step","step_type":"task","attempt":1,"started_at":1769860800000000,"end":{"status":"failed","duration":5000,"failure":{"message":"no"}},"attributes":{"bool":true,"bytes":"aGk=","double":1.5,"int":-5,"list":[1,null],"map":{"k":false},"nan":"NaN","none":null,"service.name":"svc","text":"é\""},"detail":{"kind":"client","resource":1985713540,"scope":"lib 1","events":[{"at":1769860800000000,"name":"e","attributes":{"bool":true,"bytes":"aGk=","double":1.5,"int":-5,"list":[1,null],"map":{"k":false},"nan":"NaN","none":null,"text":"é\""}}],"links":[{"trace":"wf_09090909090909090909090909090909","span":"st_0909090909090909","attributes":{"bool":true,"bytes":"aGk=","double":1.5,"int":-5,"list":[1,null],"map":{"k":false},"nan":"NaN","none":null,"text":"é\""}}],"dropped":1},"workflow":null,"version":null}"#);
}

#[test]
fn a_text_that_is_not_utf8_costs_nothing_but_its_character() {
    let mut body = everything();
    let at = body.windows(4).position(|bytes| bytes == b"step").unwrap();
    body[at] = 0xff;
    let gathered = read(Signal::Traces, Form::Protobuf, Coding::Identity, &body).unwrap();
    assert_eq!(gathered.command.unwrap().traces[0].spans[0].name.as_str(), "\u{fffd}tep");
}

fn every_way(body: &[u8]) {
    for signal in [Signal::Traces, Signal::Logs] {
        for form in [Form::Protobuf, Form::Json] {
            for coding in [Coding::Identity, Coding::Gzip] {
                drop(read(signal, form, coding, body));
            }
        }
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_readers_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        every_way(&bytes);
    }

    #[test]
    fn no_damage_to_an_export_makes_the_readers_panic(at in any::<prop::sample::Index>(), byte: u8, cut in any::<prop::sample::Index>()) {
        for whole in [everything(), EVERYTHING.replace("ATTRIBUTES", ATTRIBUTES).into_bytes()] {
            let mut damaged = whole.clone();
            damaged[at.index(whole.len())] = byte;
            every_way(&damaged);
            every_way(&whole[..cut.index(whole.len())]);
        }
    }
}
