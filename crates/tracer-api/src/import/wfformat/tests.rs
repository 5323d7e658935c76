use insta::assert_snapshot;
use proptest::prelude::*;
use serde_json::json;

use super::*;

const SPLIT: &str = include_str!("../../../tests/data/wfformat/thumbnails-001.json");
const JOINED: &str = include_str!("../../../tests/data/wfformat/backup-002.json");

/// What a file says, as text: the execution, then a line for each step.
fn told(source: &str, text: &str) -> String {
    match read(source, text.as_bytes()) {
        Ok(execution) => shown(&execution),
        Err(error) => error.to_string(),
    }
}

fn shown(execution: &ImportedExecution) -> String {
    let mut lines = vec![format!(
        "{} from {} to {} {}",
        execution.workflow_name,
        execution.started_at,
        execution.ended_at,
        json!(execution.attributes)
    )];
    for step in &execution.steps {
        let after = step.started_at.since(execution.started_at);
        let (after, duration) = (after.get(), step.duration.get());
        lines.push(format!("{} +{after}us {duration}us {}", step.step_name, json!(step.attributes)));
    }
    lines.join("\n")
}

/// What is said of the file of version 1.5 after the value at `pointer` was replaced.
fn told_with(pointer: &str, value: Value) -> String {
    told_of(SPLIT, pointer, value)
}

fn told_of(text: &str, pointer: &str, value: Value) -> String {
    let mut document: Value = serde_json::from_str(text).unwrap();
    *document.pointer_mut(pointer).expect(pointer) = value;
    told("x.json", &document.to_string())
}

#[test]
fn an_execution_of_version_1_5_is_read_with_starts_that_follow_from_the_parents() {
    assert_snapshot!(told("runs/thumbnails-001.json", SPLIT), @r#"
    thumbnails from 2026-01-31T12:00:00.000Z to 2026-01-31T12:00:20.000Z {"instance":"thumbnails-of-a-holiday","runtime_system":"Makeflow","runtime_system_version":"7.1"}
    bind +6500000us 250000us {"input_bytes":90,"machine":"worker-2"}
    unpack +0us 2500000us {"command":"tar -xf archive","cores":1,"input_bytes":9000,"machine":"worker-1"}
    scale +2500000us 3000001us {"command":"scale a","cores":2,"input_bytes":4000,"machine":"worker-1, worker-2"}
    scale +2500000us 4000000us {"input_bytes":5000}
    "#);
}

#[test]
fn an_execution_of_version_1_4_is_read_alike() {
    assert_snapshot!(told("backup-002.json", JOINED), @r#"
    backup from 2026-01-31T12:00:00.000Z to 2026-01-31T12:00:06.000Z {"instance":"backup-of-a-tuesday","runtime_system":"Pegasus","runtime_system_version":"5.0"}
    dump +0us 3000000us {"command":"dump --all","cores":1.5,"input_bytes":300,"machine":"store-1"}
    pack +3000000us 2000000us {}
    send +5000000us 1000000us {"input_bytes":0}
    "#);
}

#[test]
fn version_1_6_is_read_as_1_5_and_others_are_refused() {
    assert!(told_with("/schemaVersion", json!("1.6")).starts_with("x from 2026"));
    let refused = r#"x.json: $.schemaVersion: must be "1.4", "1.5" or "1.6""#;
    assert_eq!(told_with("/schemaVersion", json!("1.3")), refused);
    assert_eq!(told_with("/schemaVersion", json!(1.5)), "x.json: $.schemaVersion: must be a string");
}

#[test]
fn equal_contents_have_equal_ids_whatever_the_file_is_called() {
    let ids = |source: &str, text: &str| {
        let execution = read(source, text.as_bytes()).unwrap();
        (execution.id, execution.steps.iter().map(|step| step.id).collect::<Vec<_>>())
    };
    assert_eq!(ids("a-1.json", SPLIT), ids("b-2.json", SPLIT));
    assert_ne!(ids("a-1.json", SPLIT), ids("a-1.json", &format!("{SPLIT} ")));
}

#[test]
fn an_execution_ends_with_its_makespan_or_its_last_step_whichever_is_later() {
    let end = |makespan: Value| {
        let told = told_with("/workflow/execution/makespanInSeconds", makespan);
        told.split(' ').nth(4).map(str::to_owned)
    };
    assert_eq!(end(json!(60)).as_deref(), Some("2026-01-31T12:01:00.000Z"));
    assert_eq!(end(json!(1)).as_deref(), Some("2026-01-31T12:00:06.750Z"));
    assert_eq!(end(Value::Null).as_deref(), Some("2026-01-31T12:00:06.750Z"));
}

#[test]
fn what_is_wrong_is_said_with_its_path() {
    let bare = json!({"schemaVersion": "1.5", "workflow": {"specification": {"tasks": []}}});
    let long = "n".repeat(201);
    let told = [
        told_with("", json!([])),
        told_with("", bare),
        told_with("/workflow", json!("1.5")),
        told_with("/workflow/execution/executedAt", json!("noon")),
        told_with("/workflow/execution/executedAt", json!("1912-06-23T00:00:00Z")),
        told_with("/workflow/execution/executedAt", Value::Null),
        told_with("/workflow/execution/makespanInSeconds", json!("20")),
        told_with("/workflow/execution/tasks", json!({})),
        told_with("/workflow/execution/tasks", json!([])),
        told_with("/workflow/execution/tasks", json!([{"id": "unpack_ID000001", "runtimeInSeconds": 1}])),
        told_with("/workflow/execution/tasks/0/id", json!("pack")),
        told_with("/workflow/execution/tasks/0/id", json!("scale_ID000002")),
        told_with("/workflow/execution/tasks/1/runtimeInSeconds", json!(-1)),
        told_with("/workflow/execution/tasks/1/runtimeInSeconds", json!(1e300)),
        told_with("/workflow/execution/tasks/1/runtimeInSeconds", json!(true)),
        told_with("/workflow/execution/tasks/1/runtimeInSeconds", Value::Null),
        told_with("/workflow/execution/tasks/1/coreCount", json!("two")),
        told_with("/workflow/execution/tasks/1/coreCount", json!(-2)),
        told_with("/workflow/execution/tasks/1/command", json!("scale a")),
        told_with("/workflow/execution/tasks/1/command/arguments/0", json!(7)),
        told_with("/workflow/execution/tasks/1/machines/1", json!({})),
        told_with("/workflow/specification/tasks/0/name", json!("")),
        told_with("/workflow/specification/tasks/0/name", json!(long)),
        told_with("/workflow/specification/tasks/0/id", json!("a\u{0}b")),
        told_with("/workflow/specification/tasks/0/id", json!("unpack_ID000001")),
        told_with("/workflow/specification/tasks/0/parents/1", json!("scale_ID000009")),
        told_with("/workflow/specification/tasks/1/children/0", json!("scale_ID000009")),
        told_with("/workflow/specification/tasks/2/inputFiles/0", json!("c")),
        told_with("/workflow/specification/files/2/sizeInBytes", json!(-5)),
        told_with("/workflow/specification/files/2/sizeInBytes", json!(0.5)),
        told_of(JOINED, "/workflow/tasks/0/files/1/size", Value::Null),
        told_of(JOINED, "/workflow/tasks/1/runtimeInSeconds", Value::Null),
        told_of(JOINED, "/workflow/tasks/1/name", json!("dump_ID0000001")),
    ];
    assert_snapshot!(told.join("\n"), @r#"
    x.json: $: must be an object
    x.json: $.workflow.execution: is missing: the file describes a workflow, not an execution of it
    x.json: $.workflow: must be an object
    x.json: $.workflow.execution.executedAt: must be a time such as 2026-01-31T12:00:00Z, 20260131T120000+0000 or 01-31-26T12:00:00Z
    x.json: $.workflow.execution.executedAt: must not lie before 1970
    x.json: $.workflow.execution.executedAt: is missing
    x.json: $.workflow.execution.makespanInSeconds: must be a number of seconds
    x.json: $.workflow.execution.tasks: must be an array
    x.json: $.workflow.execution.tasks: must hold at least one task
    x.json: $.workflow.specification.tasks[0]: has no counterpart in $.workflow.execution.tasks
    x.json: $.workflow.specification.tasks[1]: has no counterpart in $.workflow.execution.tasks
    x.json: $.workflow.execution.tasks[1].id: repeats the id of another task
    x.json: $.workflow.execution.tasks[1].runtimeInSeconds: must not be negative
    x.json: $.workflow.execution.tasks[1].runtimeInSeconds: must not exceed 400 days
    x.json: $.workflow.execution.tasks[1].runtimeInSeconds: must be a number of seconds
    x.json: $.workflow.execution.tasks[1].runtimeInSeconds: is missing
    x.json: $.workflow.execution.tasks[1].coreCount: must be a number, not negative
    x.json: $.workflow.execution.tasks[1].coreCount: must be a number, not negative
    x.json: $.workflow.execution.tasks[1].command: must be an object
    x.json: $.workflow.execution.tasks[1].command.arguments[0]: must be a string
    x.json: $.workflow.execution.tasks[1].machines[1]: must be a string
    x.json: $.workflow.specification.tasks[0].name: must not be empty
    x.json: $.workflow.specification.tasks[0].name: must not have more than 200 characters
    x.json: $.workflow.specification.tasks[0].id: must not contain control characters
    x.json: $.workflow.specification.tasks[1]: repeats the id of another task
    x.json: $.workflow.specification.tasks[0].parents[1]: must name one task of this file
    x.json: $.workflow.specification.tasks[1].children[0]: must name one task of this file
    x.json: $.workflow.specification.tasks[2].inputFiles[0]: must name one of $.workflow.specification.files
    x.json: $.workflow.specification.files[2].sizeInBytes: must be a whole number of bytes, not negative and at most 9007199254740992
    x.json: $.workflow.specification.files[2].sizeInBytes: must be a whole number of bytes, not negative and at most 9007199254740992
    x.json: $.workflow.tasks[0].files[1].sizeInBytes: is missing
    x.json: $.workflow.tasks[1].runtimeInSeconds: is missing
    x.json: $.workflow.tasks[1].parents[0]: must name one task of this file
    "#);
}

#[test]
fn what_is_not_json_is_said_with_line_and_column() {
    for text in ["", "{", "{\n  \"name\": NaN}", "{\"a\": 1e999}", "\u{0}", &"[".repeat(1000)] {
        let told = told("x.json", text);
        assert!(told.starts_with("x.json: $: is not JSON from line "), "{told}");
    }
    assert_eq!(told("x.json", "{\n  \"name\": NaN}"), "x.json: $: is not JSON from line 2, column 11 on");
    let not_utf8 = read("x.json", b"{\"name\": \"\xff\"}").unwrap_err();
    assert_eq!(not_utf8.to_string(), "x.json: $: is not JSON from line 1, column 11 on");
    assert!(told("x.json", &format!("\u{feff}{SPLIT}")).starts_with("x from 2026"));
}

#[test]
fn a_cycle_is_reported_at_a_task_that_is_part_of_it() {
    let unpack = "/workflow/specification/tasks/1/parents";
    assert_eq!(
        told_with(unpack, json!(["scale_ID000002"])),
        "x.json: $.workflow.specification.tasks[1]: depends on itself, by way of its parents"
    );
    assert_eq!(
        told_with(unpack, json!(["unpack_ID000001"])),
        "x.json: $.workflow.specification.tasks[1]: depends on itself, by way of its parents"
    );
}

#[test]
fn depth_number_and_length_are_bounded() {
    let deep = (0..40).fold(json!(1), |inner, _| json!([inner]));
    assert_eq!(told_with("/description", deep), "x.json: $: must not be nested deeper than 32");
    let fits = (0..31).fold(json!(1), |inner, _| json!([inner]));
    assert!(told_with("/description", fits).starts_with("x from 2026"));

    let file_of = |count: usize, seconds: u64| {
        let task = |n: usize| {
            let parent = n.checked_sub(1).map(|parent| format!("t{parent}"));
            json!({"name": format!("t{n}"), "parents": parent.as_slice(), "runtimeInSeconds": seconds})
        };
        let tasks: Vec<Value> = (0..count).map(task).collect();
        let executed_at = "2026-01-31T12:00:00Z";
        json!({"schemaVersion": "1.4", "workflow": {"executedAt": executed_at, "tasks": tasks}}).to_string()
    };
    let longest = read("x.json", file_of(limits::IMPORT_STEPS, 1).as_bytes()).unwrap();
    assert_eq!(longest.ended_at.since(longest.started_at), Micros::from_secs(20_000));
    let more = told("x.json", &file_of(limits::IMPORT_STEPS + 1, 1));
    assert_eq!(more, "x.json: $.workflow.tasks: must not hold more than 20000 tasks");
    let slow = told("x.json", &file_of(3, 200 * 86_400));
    assert_eq!(
        slow,
        "x.json: $.workflow.tasks[2]: would end more than 400 days after the start of the execution"
    );
}

#[test]
fn a_command_is_cut_to_what_an_attribute_may_hold_and_keeps_no_nul() {
    let command = |program: &str| {
        let mut document: Value = serde_json::from_str(SPLIT).unwrap();
        *document.pointer_mut("/workflow/execution/tasks/0/command").unwrap() = json!({"program": program});
        let execution = read("x.json", document.to_string().as_bytes()).unwrap();
        execution.steps.get(1).unwrap().attributes.get("command").unwrap().clone()
    };
    assert_eq!(command("a\u{0}b"), json!("a\u{fffd}b"));
    assert_eq!(command(&"x".repeat(4094)), json!("x".repeat(4094)));
    for letter in ["x", "ü", "漢", "🚀", "\"", "\n", "\u{1}"] {
        let cut = command(&letter.repeat(4095));
        let bytes = cut.to_string().len();
        assert!((4080..=limits::ATTRIBUTE_VALUE_BYTES).contains(&bytes), "{letter:?}: {bytes}");
        assert!(cut.as_str().unwrap().ends_with('…'));
    }
}

/// Paths of all values in a document, for `Value::pointer_mut`.
fn pointers(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    let members: Vec<(String, &Value)> = match value {
        Value::Array(items) => items.iter().enumerate().map(|(n, item)| (n.to_string(), item)).collect(),
        Value::Object(members) => members.iter().map(|(key, member)| (key.clone(), member)).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    };
    for (key, member) in members {
        pointers(member, &format!("{at}/{key}"), found);
    }
}

fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        Just(json!(true)),
        Just(json!([])),
        Just(json!({})),
        any::<i64>().prop_map(|number| json!(number)),
        any::<u64>().prop_map(|number| json!(number)),
        any::<f64>().prop_map(|number| json!(number)),
        ".{0,8}".prop_map(|text| json!(text)),
        Just(json!("x".repeat(10_000))),
        Just(json!(["unpack_ID000001", "bind_ID000004"])),
        Just(json!("bind_ID000004")),
        Just(json!("ID0000002")),
        Just(json!("-009999-01-01T00:00:00Z")),
        Just(json!("9999-12-30T22:00:00Z")),
    ]
}

/// Holds of whatever was read, however it came about.
fn check(source: &str, bytes: &[u8]) -> Result<(), TestCaseError> {
    match read(source, bytes) {
        Ok(execution) => {
            prop_assert!(!execution.steps.is_empty());
            for step in &execution.steps {
                prop_assert!(step.started_at >= execution.started_at);
                prop_assert!(step.started_at + step.duration <= execution.ended_at);
                for value in execution.attributes.values().chain(step.attributes.values()) {
                    prop_assert!(value.to_string().len() <= limits::ATTRIBUTE_VALUE_BYTES);
                    prop_assert!(!value.as_str().unwrap_or_default().contains('\0'));
                }
            }
        }
        Err(error) => {
            let message = error.to_string();
            prop_assert!(message.starts_with(&format!("{source}: $")), "{}", message);
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(source in ".{0,20}", bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        check(&source, &bytes)?;
    }

    #[test]
    fn no_damage_to_a_file_makes_the_reader_panic(
        joined: bool,
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3_u8), 1..6),
    ) {
        let mut bytes = if joined { JOINED } else { SPLIT }.as_bytes().to_vec();
        for (place, byte, kind) in damage {
            let place = place.index(bytes.len());
            match kind {
                0 => bytes[place] = byte,
                1 => bytes.insert(place, byte),
                _ => bytes.truncate(place.max(1)),
            }
        }
        check("x.json", &bytes)?;
    }

    #[test]
    fn no_value_in_a_wrong_place_makes_the_reader_panic(
        joined: bool,
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any_value()), 1..4),
    ) {
        let mut document: Value = serde_json::from_str(if joined { JOINED } else { SPLIT }).unwrap();
        for (place, value) in changes {
            let mut places = Vec::new();
            pointers(&document, "", &mut places);
            *document.pointer_mut(place.get(places.as_slice()).as_str()).unwrap() = value;
        }
        check("x.json", document.to_string().as_bytes())?;
    }
}
