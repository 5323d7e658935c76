use insta::assert_snapshot;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::import::execution::{Ending, ImportedExecution};

const TRACE: &str = "0AF7651916cd43dd8448eb211c80319c";

/// A span of the trace [`TRACE`] that begins and ends so many milliseconds after a certain moment.
fn span(id: u64, parent: u64, name: &str, from: u64, to: u64) -> Value {
    let nanos = |millis: u64| format!("1769860800{millis:03}000000");
    json!({
        "traceId": TRACE, "spanId": format!("{id:016x}"), "parentSpanId": format!("{parent:016x}"),
        "name": name, "kind": 1, "startTimeUnixNano": nanos(from), "endTimeUnixNano": nanos(to), "status": {},
    })
}

fn with(mut span: Value, members: Value) -> Value {
    let members = members.as_object().unwrap().clone();
    span.as_object_mut().unwrap().extend(members);
    span
}

fn attributes(pairs: &Value) -> Value {
    let pair = |(key, value): (&String, &Value)| json!({"key": key, "value": value});
    pairs.as_object().unwrap().iter().map(pair).collect()
}

/// A line with spans of one service.
fn line(service: &str, spans: &[Value]) -> String {
    let resource = attributes(
        &json!({"service.name": {"stringValue": service}, "service.version": {"stringValue": "7"}}),
    );
    json!({"resourceSpans": [{
        "resource": {"attributes": resource, "unknown": 1}, "scopeSpans": [{"scope": {}, "spans": spans}],
    }]})
    .to_string()
}

/// What files say, as text: for each trace the execution and its steps, or why there is none.
fn told(files: &[String]) -> String {
    told_by(Gathering::default(), files)
}

fn told_by(mut gathering: Gathering, files: &[String]) -> String {
    let mut lines = Vec::new();
    for (at, text) in files.iter().enumerate() {
        if let Err(error) = gathering.file(&format!("{at}.jsonl"), text.as_bytes(), |_| {}) {
            lines.push(error.to_string());
        }
    }
    let gathered = gathering.finish();
    for trace in gathered.traces {
        let id = trace.id;
        match execution(id, trace.into_spans()) {
            Ok(read) => {
                assert_eq!(read.execution.id, id);
                lines.push(shown(&read.execution, read.rooted));
            }
            Err(error) => lines.push(format!("{id} {error}")),
        }
    }
    if gathered.torn + gathered.unfinished > 0 {
        lines.push(format!("torn {} unfinished {}", gathered.torn, gathered.unfinished));
    }
    lines.join("\n")
}

fn shown(execution: &ImportedExecution, rooted: bool) -> String {
    let mut lines = vec![format!(
        "{} v{} {} +{}us {} {}{}",
        execution.workflow_name,
        execution.version.as_deref().unwrap_or("-"),
        execution.started_at,
        execution.ended_at.since(execution.started_at).get(),
        ended(&execution.ending),
        json!(execution.attributes),
        if rooted { "" } else { " without root" },
    )];
    for step in &execution.steps {
        lines.push(format!(
            "  {} {} {} in {} +{}us {}us {} {}",
            step.id,
            step.step_name,
            step.step_type.as_deref().unwrap_or("-"),
            step.parent.map_or("-".to_owned(), |parent| parent.to_string()),
            step.started_at.as_micros() - execution.started_at.as_micros(),
            step.duration.get(),
            ended(&step.ending),
            json!(step.attributes),
        ));
    }
    lines.join("\n")
}

fn ended(ending: &Ending) -> String {
    match ending {
        Ending::Completed => "completed".to_owned(),
        Ending::Failed(failure) => format!("failed {}", json!(failure)),
    }
}

fn nightly() -> [Value; 4] {
    let exception = attributes(&json!({
        "exception.type": {"stringValue": "ValueError"}, "exception.message": {"stringValue": "3 bad rows"},
        "exception.stacktrace": {"stringValue": "line 1"},
    }));
    let root = json!({"parentSpanId": "", "attributes": attributes(&json!({
        "tracer.workflow.name": {"stringValue": "nightly"}, "run": {"intValue": "9007199254740993"}}))});
    let http = attributes(&json!({"http.request.method": {"stringValue": "POST"}}));
    let failed = json!({"status": {"code": 2, "message": "no"}, "events": [
        {"name": "retry"}, {"name": "exception", "timeUnixNano": "1", "attributes": exception}]});
    [
        with(span(1, 0, "run", 0, 500), root),
        span(2, 1, "load", 0, 100),
        with(span(3, 2, "post", 10, 90), json!({"kind": 3, "attributes": http})),
        with(span(4, 1, "check", 100, 600), failed),
    ]
}

#[test]
fn a_trace_is_an_execution_and_its_spans_are_steps_whatever_their_order_lines_files_and_services() {
    let [root, load, post, check] = nightly();
    let one = line("etl", &[root.clone(), load.clone(), post.clone(), check.clone()]);
    assert_snapshot!(told(std::slice::from_ref(&one)), @r#"
    nightly v7 2026-01-31T12:00:00.000Z +600000us completed {"run":9007199254740993,"service.name":"etl","service.version":"7","tracer.workflow.name":"nightly"}
      st_0000000000000002 load - in - +0us 100000us completed {"service.name":"etl"}
      st_0000000000000003 post http in st_0000000000000002 +10000us 80000us completed {"http.request.method":"POST","service.name":"etl","span.kind":"client"}
      st_0000000000000004 check - in - +100000us 500000us failed {"message":"3 bad rows","stack":"line 1","type":"ValueError"} {"service.name":"etl"}
    "#);
    let again = format!("\n{}\n{}\n", line("etl", &[check, post.clone()]), line("etl", &[load, post]));
    assert_eq!(told(&[again, line("etl", &[root])]), told(&[one]));
}

#[test]
fn steps_of_two_services_are_told_apart_and_the_root_gives_the_version() {
    let [root, load, ..] = nightly();
    let mut other: Value = serde_json::from_str(&line("db", &[load])).unwrap();
    other["resourceSpans"][0]["resource"]["attributes"][1]["value"]["stringValue"] = json!("8");
    let mut both: Value = serde_json::from_str(&line("etl", &[root])).unwrap();
    both["resourceSpans"].as_array_mut().unwrap().push(other["resourceSpans"][0].clone());
    assert_snapshot!(told(&[both.to_string()]), @r#"
    nightly v7 2026-01-31T12:00:00.000Z +500000us completed {"run":9007199254740993,"service.name":"etl","service.version":"7","tracer.workflow.name":"nightly"}
      st_0000000000000002 load - in - +0us 100000us completed {"service.name":"db"}
    "#);
}

#[test]
fn a_trace_without_a_root_spans_its_spans_and_fails_with_the_outermost() {
    let [_, load, post, check] = nightly();
    assert_snapshot!(told(&[line("etl", &[check, load, post])]), @r#"
    etl load v7 2026-01-31T12:00:00.000Z +600000us failed {"message":"3 bad rows","stack":"line 1","type":"ValueError"} {"service.name":"etl"} without root
      st_0000000000000002 load - in st_0000000000000001 +0us 100000us completed {"service.name":"etl"}
      st_0000000000000003 post http in st_0000000000000002 +10000us 80000us completed {"http.request.method":"POST","service.name":"etl","span.kind":"client"}
      st_0000000000000004 check - in st_0000000000000001 +100000us 500000us failed {"message":"3 bad rows","stack":"line 1","type":"ValueError"} {"service.name":"etl"}
    "#);
    let alone = line("etl", &[with(span(9, 8, "call", 1, 2), json!({"traceId": "1".repeat(32)}))]);
    assert_snapshot!(told(&[alone]), @r#"
    etl call v7 2026-01-31T12:00:00.001Z +1000us completed {"service.name":"etl"} without root
      st_0000000000000009 call - in st_0000000000000008 +0us 1000us completed {"service.name":"etl"}
    "#);
}

#[test]
fn a_workflow_is_named_by_the_first_span_that_names_it_else_by_service_and_root() {
    let name = |spans: &[Value]| {
        let told = told(&[line("etl", spans)]);
        told.split(" v7").next().unwrap().to_owned()
    };
    let naming =
        |key: &str, name: &str| json!({"attributes": attributes(&json!({key: {"stringValue": name}}))});
    let (root, load, post) = (span(1, 0, "run", 0, 9), span(2, 1, "load", 3, 4), span(3, 1, "post", 1, 2));
    assert_eq!(name(&[root.clone(), load.clone()]), "etl run");
    let (b, c) = (with(load, naming("workflow.name", "b")), with(post, naming("tracer.workflow.name", "c")));
    assert_eq!(name(&[root.clone(), b.clone(), c.clone()]), "c");
    assert_eq!(name(&[with(root.clone(), naming("workflow.name", "a")), b.clone(), c]), "a");
    assert_eq!(name(&[with(root.clone(), naming("workflow.name", "\n")), b]), "b");
    let odd = with(root.clone(), json!({"name": format!("a\nb\0 {}", "ü".repeat(300))}));
    let made = name(&[odd, span(2, 1, "x", 1, 2)]);
    assert!(made.starts_with("etl a b") && made.chars().count() == 200, "{made}");
    assert!(told(&[line("etl", &[root, span(2, 1, " \t", 1, 2)])]).contains(" unnamed "));
}

#[test]
fn values_are_read_by_the_rules_of_otlp_json() {
    let values = json!({
        "int": {"intValue": -5}, "ints": {"intValue": "-5"}, "double": {"doubleValue": 1.5},
        "whole": {"doubleValue": 2}, "nan": {"doubleValue": "NaN"}, "bool": {"boolValue": false},
        "bytes": {"bytesValue": "aGk="}, "none": {}, "null": null, "unset": {"stringValue": null},
        "list": {"arrayValue": {"values": [{"intValue": 1}, {"stringValue": "x"}]}}, "empty": {"arrayValue": {}},
        "map": {"kvlistValue": {"values": [{"key": "k", "value": {"boolValue": true}}]}}, "new": {"later": 1},
    });
    let odd = json!({"attributes": attributes(&values), "events": null, "status": null, "kind": null,
        "startTimeUnixNano": 1_769_860_800_001_000_400_u64, "endTimeUnixNano": "1769860800001002000"});
    let [root, ..] = nightly();
    let root = with(root, json!({"parentSpanId": null, "attributes": null}));
    assert_snapshot!(told(&[line("etl", &[root, with(span(2, 1, "load", 0, 1), odd)])]), @r#"
    etl run v7 2026-01-31T12:00:00.000Z +500000us completed {"service.name":"etl","service.version":"7"}
      st_0000000000000002 load - in - +1000us 2us completed {"bool":false,"bytes":"aGk=","double":1.5,"empty":[],"int":-5,"ints":-5,"list":[1,"x"],"map":{"k":true},"nan":"NaN","new":null,"none":null,"null":null,"service.name":"etl","unset":null,"whole":2.0}
    "#);
}

#[test]
fn what_is_wrong_is_said_with_its_line_and_path() {
    let told = |files: &[String]| told(files).lines().next().unwrap().to_owned();
    let wrong =
        |member: Value| told(&[format!("{{}}\n{}", line("etl", &[with(span(1, 0, "x", 0, 1), member)]))]);
    let mut without = span(1, 0, "x", 0, 1);
    without.as_object_mut().unwrap().remove("spanId");
    let problems = [
        wrong(json!({"traceId": "0".repeat(32)})),
        wrong(json!({"traceId": "CvdlGRbNQ92ESOshHIAxnA=="})),
        wrong(json!({"parentSpanId": "12"})),
        wrong(json!({"startTimeUnixNano": "soon"})),
        wrong(json!({"endTimeUnixNano": -1})),
        wrong(json!({"kind": "SPAN_KIND_CLIENT"})),
        wrong(json!({"attributes": [{"key": "k", "value": {"intValue": 1.5}}]})),
        wrong(json!({"name": {"very": "wrong"}})),
        told(&[line("etl", &[without])]),
        told(&["[1]".to_owned()]),
        told(&["{\"resourceSpans\":[}".to_owned()]),
        told(&["{\n\"resourceSpans\":[]}".to_owned()]),
        told(&["{\"resourceSpans\":7}".to_owned()]),
    ];
    assert_snapshot!(problems.join("\n"), @r#"
    0.jsonl: line 2: $.resourceSpans[0].scopeSpans[0].spans[0].traceId: must be 32 hexadecimal digits, not all of them zero
    0.jsonl: line 2: $.resourceSpans[0].scopeSpans[0].spans[0].traceId: must be 32 hexadecimal digits, not all of them zero
    0.jsonl: line 2: $.resourceSpans[0].scopeSpans[0].spans[0].parentSpanId: must be 16 hexadecimal digits, or empty
    0.jsonl: line 2: $.resourceSpans[0].scopeSpans[0].spans[0].startTimeUnixNano: must be a whole number
    0.jsonl: line 2: $.resourceSpans[0].scopeSpans[0].spans[0].endTimeUnixNano: must be nanoseconds since 1970, in 64 bits
    0.jsonl: line 2: $.resourceSpans[0].scopeSpans[0].spans[0].kind: invalid type: string "SPAN_KIND_CLIENT", expected i32
    0.jsonl: line 2: $.resourceSpans[0].scopeSpans[0].spans[0].attributes[0].value.intValue: must be a whole number
    0.jsonl: line 2: $.resourceSpans[0].scopeSpans[0].spans[0].name: invalid type: map, expected a string
    0.jsonl: line 1: $.resourceSpans[0].scopeSpans[0].spans[0]: missing field `spanId`
    0.jsonl: line 1: $: must be an object
    0.jsonl: line 1: is not JSON from column 19 on
    0.jsonl: line 1: ends too early: each line must hold a whole object
    0.jsonl: line 1: $.resourceSpans: invalid type: integer `7`, expected a sequence
    "#);
}

#[test]
fn a_file_with_an_invalid_line_is_refused_with_every_trace_that_has_spans_in_it() {
    let other = |id: u64, parent: u64| with(span(id, parent, "x", 0, 1), json!({"traceId": "b".repeat(32)}));
    let [root, load, post, check] = nightly();
    let broken = format!("{}\nbroken\n{}", line("etl", &[root]), line("etl", &[load]));
    let whole = line("etl", &[other(1, 0), other(2, 1), post]);
    assert_snapshot!(told(&[broken.clone(), whole.clone()]), @r#"
    0.jsonl: line 2: is not JSON from column 1 on
    etl x v7 2026-01-31T12:00:00.000Z +1000us completed {"service.name":"etl","service.version":"7"}
      st_0000000000000002 x - in - +0us 1000us completed {"service.name":"etl"}
    torn 1 unfinished 0
    "#);
    let before = told(&[whole, broken.clone(), line("etl", &[check])]);
    assert_eq!(
        before.replace("1.jsonl", "0.jsonl"),
        told(&[broken, line("etl", &[other(1, 0), other(2, 1)])])
    );
}

#[test]
fn a_line_that_was_cut_off_takes_the_traces_that_it_still_names() {
    let [root, load, post, check] = nightly();
    let mut cut = line("etl", &[load, post]);
    cut.truncate(cut.len() - 9);
    assert_snapshot!(told(&[line("etl", &[root, check]), cut]), @r#"
    1.jsonl: line 1: ends too early: each line must hold a whole object
    torn 1 unfinished 0
    "#);
}

#[test]
fn more_than_can_be_held_is_an_error_and_not_a_part() {
    let file = format!("{}\n{}", line("a", &[span(1, 0, "x", 0, 1)]), line("a", &[span(2, 1, "y", 0, 1)]));
    let mut gathering = Gathering::of_at_most(1, usize::MAX);
    let error = gathering.file("a.jsonl", file.as_bytes(), |_| {}).unwrap_err();
    assert!(error.to_string().starts_with("a.jsonl: line 2: more than 1000000 spans"), "{error}");
    assert!(Gathering::of_at_most(9, 300).file("a.jsonl", file.as_bytes(), |_| {}).is_err());
}

#[test]
fn what_makes_no_execution_is_said() {
    let root = span(1, 0, "run", 0, 9);
    let unfinished = with(span(2, 1, "x", 0, 1), json!({"endTimeUnixNano": "0"}));
    assert_snapshot!(told(&[line("etl", &[root.clone(), root.clone(), unfinished])]), @r#"
    wf_0af7651916cd43dd8448eb211c80319c has no span beside its root
    torn 0 unfinished 1
    "#);
    let many: Vec<_> = (2..20_003).map(|id| span(id, 1, "x", 0, 1)).chain([root]).collect();
    assert_snapshot!(told(&[line("etl", &many)]), @r#"
    wf_0af7651916cd43dd8448eb211c80319c has more than 20000 spans beside its root
    "#);
    let enough = told(&[line("etl", many.get(1..).unwrap())]);
    assert_eq!(enough.lines().count(), 20_001);
}

#[test]
fn odd_spans_cost_nothing_but_themselves() {
    let back = span(2, 1, "back", 9, 3);
    let own_parent = span(3, 3, "own", 4, 5);
    let unknown = span(4, 77, "lost", 5, 6);
    let second = span(5, 0, "second root", 6, 7);
    let large = json!({"attributes": attributes(&json!({"big": {"stringValue": "x".repeat(10_000)}}))});
    let told =
        told(&[line("etl", &[span(1, 0, "run", 0, 9), back, own_parent, unknown, with(second, large)])]);
    assert_snapshot!(told.replace(&"x".repeat(100), ""), @r#"
    etl run v7 2026-01-31T12:00:00.000Z +9000us completed {"service.name":"etl","service.version":"7"}
      st_0000000000000003 own - in - +4000us 1000us completed {"service.name":"etl"}
      st_0000000000000004 lost - in st_000000000000004d +5000us 1000us completed {"service.name":"etl"}
      st_0000000000000005 second root - in - +6000us 1000us completed {"big":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…","service.name":"etl"}
      st_0000000000000002 back - in - +9000us 0us completed {"service.name":"etl"}
    "#);
}

proptest! {
    #[test]
    fn no_content_makes_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        drop(Gathering::default().file("x", &*bytes, |_| {}));
    }

    #[test]
    fn no_value_in_any_place_makes_the_reader_panic(at in 0_usize..18, which in 0_usize..9) {
        let pointers = [
            "", "/resourceSpans", "/resourceSpans/0", "/resourceSpans/0/resource", "/resourceSpans/0/scopeSpans",
            "/resourceSpans/0/resource/attributes/0/value", "/resourceSpans/0/scopeSpans/0/spans",
        ];
        let members = ["traceId", "spanId", "parentSpanId", "name", "kind", "startTimeUnixNano",
            "endTimeUnixNano", "attributes", "events", "status", "links"];
        let values = [json!(null), json!(-1), json!(1e300), json!(u64::MAX), json!(""), json!("ff"), json!([null]),
            json!({"code": 2}), json!([{"name": "exception", "attributes": [{"key": ""}], "value": {"intValue": "x"}}])];
        let mut document: Value = serde_json::from_str(&line("etl", &nightly())).unwrap();
        let pointer = pointers.get(at).map_or_else(
            || format!("/resourceSpans/0/scopeSpans/0/spans/3/{}", members[at - pointers.len()]),
            |&pointer| pointer.to_owned(),
        );
        if let Some(place) = document.pointer_mut(&pointer) {
            *place = values[which].clone();
        }
        drop(told(&[document.to_string()]));
    }

    #[test]
    fn the_order_of_spans_changes_nothing(spans in Just(nightly().to_vec()).prop_shuffle(), cut in 0_usize..4) {
        let (first, second) = spans.split_at(cut);
        let shuffled = told(&[line("etl", first), line("etl", second)]);
        prop_assert_eq!(shuffled, told(&[line("etl", &nightly())]));
    }
}
