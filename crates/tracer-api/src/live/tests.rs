use std::sync::Arc;

use tracer_core::ids::ExecutionId;
use tracer_core::live::{Change, ChangeBatch, ChangedStep, What};
use tracer_core::step::StepStatus;
use tracer_core::test_util::fixtures::{NOON, step_id, step_name, step_type, workflow};
use tracer_core::time::Micros;

use super::filter::Filter;
use super::ring::{Chunk, Place, Ring, take};
use crate::http::query::Pairs;

fn change(name: &str, execution: u8, what: What) -> Change {
    Change {
        at: NOON,
        execution: Some(ExecutionId::from_bytes([execution; 16])),
        workflow: workflow(name),
        what,
    }
}

fn started(name: &str, execution: u8) -> Change {
    change(name, execution, What::ExecutionStarted { started_at: NOON })
}

fn chunk(id: u64, changes: Vec<Change>) -> Chunk {
    Chunk::render(&[Arc::new(ChangeBatch::new(id, changes))]).unwrap()
}

fn filter(query: &str) -> Result<Filter, String> {
    let pairs = Pairs::parse(query, &[], &["workflow_name", "workflow_id", "kind"]).unwrap();
    Filter::from_pairs(&pairs).map_err(|error| error.to_string())
}

/// Returns the ids of what a filter lets through from behind a place, and the place after it.
fn heard(ring: &Ring, query: &str, mut after: Place, most: usize) -> (Vec<String>, String) {
    let frames = take(&ring.behind(after), &filter(query).unwrap(), &mut after, most);
    let id = |json: &str| {
        serde_json::from_str::<serde_json::Value>(json).unwrap()["id"].as_str().unwrap().to_owned()
    };
    (frames.iter().map(|frame| id(frame.json())).collect(), after.to_string())
}

#[test]
fn a_place_is_read_as_it_is_written_and_nothing_else_is_one() {
    for id in ["0-0", "7-3", "18446744073709551615-4294967294", "12"] {
        assert_eq!(Place::parse(id).map(|place| place.to_string()).as_deref(), Some(id));
    }
    assert!(Place::parse("7").unwrap() > Place::parse("7-9").unwrap());
    assert!(Place::parse("7").unwrap() < Place::parse("8-0").unwrap());
    for wrong in ["", "-", "7-", "-3", "+7-3", "7-3-1", "7 ", "x", "99999999999999999999999", "1-99999999999"]
    {
        assert_eq!(Place::parse(wrong), None, "{wrong}");
    }
}

#[test]
fn a_filter_lets_through_what_matches_all_that_it_names() {
    let mut ring = Ring::new(100);
    let step = ChangedStep {
        id: step_id(7),
        name: step_name("load"),
        step_type: step_type("task"),
        parent: None,
        attempt: 1,
        started_at: NOON,
    };
    ring.push(chunk(1, vec![started("etl", 1), started("chat, and more", 2)]));
    ring.push(chunk(2, vec![change("etl", 1, What::StepStarted(step)), started("etl", 3)]));
    let all = |query: &str| heard(&ring, query, Place::behind(0), 1 << 20).0.join(" ");
    assert_eq!(all(""), "1-0 1-1 2-0 2-1");
    assert_eq!(all("workflow_name=etl"), "1-0 2-0 2-1");
    assert_eq!(all("workflow_name=etl&workflow_name=chat%2C%20and%20more"), "1-0 1-1 2-0 2-1");
    assert_eq!(all("kind=step_start,bottleneck"), "2-0");
    assert_eq!(all("kind=step_start&kind=workflow_start&workflow_name=etl"), "1-0 2-0 2-1");
    let id = ExecutionId::from_bytes([1; 16]);
    assert_eq!(all(&format!("workflow_id={id}")), "1-0 2-0");
    assert_eq!(all(&format!("workflow_id={id}&workflow_name=chat")), "");
    // What is passed over counts as heard.
    assert_eq!(heard(&ring, "workflow_name=none", Place::behind(0), 1 << 20).1, "2-1");
    assert_eq!(
        filter("kind=resync").unwrap_err(),
        "The query parameter 'kind' must be workflow_start, step_start, step_complete, bottleneck, in_flight, workflow_end, incident or event."
    );
    assert_eq!(
        filter("workflow_id=etl").unwrap_err(),
        "The query parameter 'workflow_id' must be the id of an execution."
    );
    assert!(filter(&"workflow_name=a&".repeat(101)).is_err());
}

#[test]
fn a_portion_ends_between_changes_and_the_next_one_goes_on_there() {
    let mut ring = Ring::new(100);
    ring.push(chunk(1, vec![started("etl", 1); 3]));
    ring.push(chunk(2, vec![started("etl", 1); 2]));
    let (mut after, mut seen) = (Place::behind(0), Vec::new());
    for _ in 0..5 {
        let (ids, place) = heard(&ring, "", after, 1);
        assert_eq!(ids.len(), 1);
        seen.extend(ids);
        after = Place::parse(&place).unwrap();
    }
    assert_eq!(seen, ["1-0", "1-1", "1-2", "2-0", "2-1"]);
    assert_eq!(heard(&ring, "", after, 1).0, [""; 0]);
}

#[test]
fn what_is_kept_is_bounded_and_says_from_where_it_is_whole() {
    let mut ring = Ring::new(5);
    ring.begin(10);
    assert!(ring.holds_all_behind(Place::behind(10)) && !ring.holds_all_behind(Place::behind(9)));
    for id in 11..=14 {
        ring.push(chunk(id, vec![started("etl", 1); 2]));
    }
    // Eight changes came, of which five may stay: two batches of two.
    assert_eq!(heard(&ring, "", Place::behind(10), 1 << 20).0, ["13-0", "13-1", "14-0", "14-1"]);
    assert!(ring.holds_all_behind(Place { batch: 12, index: 1 }));
    assert!(!ring.holds_all_behind(Place { batch: 12, index: 0 }));
    ring.begin(20);
    assert!(!ring.holds_all_behind(Place { batch: 14, index: 1 }));
    assert_eq!(ring.head(), Place::behind(20));
}

#[test]
fn an_event_is_its_id_its_kind_and_json_on_one_line() {
    let step = ChangedStep {
        id: step_id(7),
        name: step_name("load \"all\""),
        step_type: step_type("task"),
        parent: Some(step_id(6)),
        attempt: 2,
        started_at: NOON,
    };
    let failure = Some(tracer_core::failure::Failure::new(Some("IoError"), "disk\nfull", None));
    let (status, duration) = (StepStatus::Failed, Micros::from_millis(2_100));
    let what = What::StepEnded { step, status, ended_at: NOON, duration, failure };
    let chunk = Arc::new(chunk(5, vec![change("etl", 1, what)]));
    let mut after = Place::behind(0);
    let frames = take(&[chunk], &Filter::default(), &mut after, 1 << 20);
    insta::assert_snapshot!(String::from_utf8_lossy(&frames[0].event), @r#"
    id: 5-0
    event: step_complete
    data: {"id":"5-0","kind":"step_complete","at":"2026-01-31T12:00:00.000Z","workflow_id":"wf_01010101010101010101010101010101","workflow_name":"etl","step_id":"st_0000000000000007","step_name":"load \"all\"","step_type":"task","parent_step_id":"st_0000000000000006","attempt":2,"started_at":"2026-01-31T12:00:00.000Z","status":"failed","ended_at":"2026-01-31T12:00:00.000Z","duration_ms":2100,"error":{"type":"IoError","message":"disk\nfull"}}
    "#);
}
