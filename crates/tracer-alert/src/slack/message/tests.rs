use serde_json::{Value, json};
use tracer_core::incident::{IncidentKind, ResolvedBy};

use super::*;
use crate::links::Runbook;
use crate::samples;

fn links() -> Links {
    let runbook = Runbook {
        workflow: "*".into(),
        step: "*".into(),
        url: "https://wiki.example/{kind}?of={workflow}&step={step}".into(),
    };
    let grafana = "https://grafana.example/d/steps?var-workflow={workflow}&var-step={step}";
    Links::new(Some("https://tracer.example/workflows/{execution}"), Some(grafana), &[runbook]).unwrap()
}

fn told(incident: &Incident, transition: Option<Transition>) -> Value {
    let message = serde_json::to_value(message(&[incident], transition, &links())).unwrap();
    check(&message);
    message
}

/// Checks a message against Slack's documented limits, and that nothing in it mentions, formats or links but
/// what is ours: <https://docs.slack.dev/reference/block-kit/blocks> and
/// <https://docs.slack.dev/reference/block-kit/composition-objects/text-object>.
fn check(message: &Value) {
    let text = message["text"].as_str().unwrap();
    assert!((1..=4_000).contains(&units(text)), "fallback of {}", units(text));
    assert_no_markup(text, &[]);
    let top: Vec<&Value> = message["blocks"].as_array().unwrap().iter().collect();
    check_blocks(&top);
    let attachments = message["attachments"].as_array().cloned().unwrap_or_default();
    assert!(attachments.len() <= 20, "{} attachments", attachments.len());
    let mut all = top.len();
    for attachment in &attachments {
        let color = attachment["color"].as_str().unwrap();
        assert!(color.len() == 7 && color.starts_with('#'), "{color}");
        assert_no_markup(attachment["fallback"].as_str().unwrap(), &[]);
        let blocks: Vec<&Value> = attachment["blocks"].as_array().unwrap().iter().collect();
        check_blocks(&blocks);
        all += blocks.len();
    }
    assert!(all <= 50, "{all} blocks");
    let size = message.to_string().len();
    assert!(size < 100_000, "{size} bytes");
}

fn check_blocks(blocks: &[&Value]) {
    assert!((1..=50).contains(&blocks.len()));
    for block in blocks {
        match block["type"].as_str().unwrap() {
            "header" => {
                assert_eq!(block["text"]["type"], "plain_text");
                check_text(&block["text"], 150);
            }
            "section" => {
                assert!(block.get("text").is_some() || block.get("fields").is_some());
                block.get("text").inspect(|text| check_text(text, 3_000));
                let fields = block.get("fields").map(|fields| fields.as_array().unwrap().clone());
                let fields = fields.unwrap_or_default();
                assert!(fields.len() <= 10, "{} fields", fields.len());
                fields.iter().for_each(|field| check_text(field, 2_000));
            }
            "context" => {
                let elements = block["elements"].as_array().unwrap();
                assert!((1..=10).contains(&elements.len()));
                elements.iter().for_each(|element| check_text(element, 2_000));
            }
            other => panic!("no block of kind {other} is used"),
        }
    }
}

fn check_text(object: &Value, most: usize) {
    let text = object["text"].as_str().unwrap();
    assert!((1..=most).contains(&units(text)), "{} of {most}: {text}", units(text));
    assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
    if object["type"] == "plain_text" {
        return;
    }
    assert_eq!(object["verbatim"], true, "{text}");
    assert_no_markup(
        text,
        &["<https://tracer.example/", "<https://grafana.example/", "<https://wiki.example/", "<!date^"],
    );
}

/// Asserts that outside of code there is nothing that Slack would make something of, but what is ours.
fn assert_no_markup(text: &str, ours: &[&str]) {
    for (at, _) in text.match_indices('<') {
        assert!(ours.iter().any(|start| text.get(at..).unwrap().starts_with(start)), "markup in {text}");
        let inner = text.get(at + 1..).unwrap().split('>').next().unwrap();
        assert!(!inner.contains(['<', '\n', '`', '*']) && inner.matches('|').count() == 1, "{inner}");
    }
    for (at, _) in text.match_indices('&') {
        let entity =
            ["&amp;", "&lt;", "&gt;"].iter().any(|entity| text.get(at..).unwrap().starts_with(entity));
        assert!(entity, "a bare & in {text}");
    }
    if ours.is_empty() {
        return;
    }
    assert!(text.matches('`').count().is_multiple_of(2) && !text.contains("``"), "code in {text}");
    // Every other part lies outside of code, where only our own words are.
    for outside in text.split('`').step_by(2) {
        let ours_only = !outside.contains(['_', '~', '@', '#']) || outside.contains('<');
        assert!(ours_only && outside.matches('*').count() <= 2, "{outside} in {text}");
    }
}

/// Shows a message as its reader would: blocks one after the other, and what colours them.
fn shown(message: &Value) -> String {
    let mut shown = format!("text: {}\n", message["text"].as_str().unwrap());
    show_blocks(&message["blocks"], "", &mut shown);
    for attachment in message["attachments"].as_array().into_iter().flatten() {
        shown += &format!("{}\n", attachment["color"].as_str().unwrap());
        show_blocks(&attachment["blocks"], "| ", &mut shown);
    }
    shown
}

fn show_blocks(blocks: &Value, indent: &str, shown: &mut String) {
    for block in blocks.as_array().unwrap() {
        let parts = [&block["text"]].into_iter().chain(block["fields"].as_array().into_iter().flatten());
        for part in parts.chain(block["elements"].as_array().into_iter().flatten()) {
            let Some(text) = part["text"].as_str() else { continue };
            *shown += &format!("{indent}{}: {}\n", block["type"].as_str().unwrap(), text.replace('\n', " "));
        }
    }
}

#[test]
fn a_firing_incident_is_told_whole() {
    insta::assert_json_snapshot!(told(&samples::slow(), Some(Transition::Opened)));
}

#[test]
fn each_kind_is_told_with_what_belongs_to_it() {
    let messages = samples::each_kind().map(|incident| shown(&told(&incident, Some(Transition::Opened))));
    insta::assert_snapshot!(messages.join("\n"));
}

#[test]
fn what_becomes_of_an_incident_is_told() {
    let worse = samples::worse();
    let resolved = samples::resolved(samples::worse(), ResolvedBy::Normal);
    let simulated = Incident { simulated: true, ..samples::slow() };
    let messages = [
        told(&worse, Some(Transition::Worsened)),
        told(&worse, Some(Transition::Repeated)),
        told(&worse, Some(Transition::Reopened)),
        told(&samples::acknowledged(worse), None),
        told(&resolved, Some(Transition::Resolved)),
        told(&simulated, Some(Transition::Opened)),
    ];
    insta::assert_snapshot!(messages.map(|message| shown(&message)).join("\n"));
}

#[test]
fn what_one_execution_opens_is_told_in_one_message() {
    let incidents: Vec<Incident> =
        samples::opened_together(4).notifications.into_iter().map(|one| one.incident).collect();
    let show = |incidents: &[Incident]| {
        let all: Vec<&Incident> = incidents.iter().collect();
        let message = serde_json::to_value(message(&all, None, &links())).unwrap();
        check(&message);
        shown(&message)
    };
    let mut part = incidents.clone();
    part[0] = samples::resolved(part[0].clone(), ResolvedBy::Normal);
    part[1] = samples::acknowledged(part[1].clone());
    let over: Vec<Incident> =
        incidents.iter().map(|one| samples::resolved(one.clone(), ResolvedBy::Hand)).collect();
    insta::assert_snapshot!([show(&incidents), show(&part), show(&over)].join("\n"));
}

#[test]
fn a_thread_gets_a_line_for_what_is_told() {
    let mut lines = String::new();
    for (transition, incident) in [
        (Transition::Worsened, samples::worse()),
        (Transition::Repeated, samples::stuck()),
        (Transition::Resolved, samples::resolved(samples::worse(), ResolvedBy::Normal)),
    ] {
        for named in [false, true] {
            let notification = samples::notification(1, transition, incident.clone());
            let line = serde_json::to_value(line(&notification, named)).unwrap();
            check(&line);
            lines += &shown(&line);
        }
    }
    insta::assert_snapshot!(lines);
}

#[test]
fn whatever_clients_call_their_things_a_message_is_valid() {
    let ends = [None, Some(ResolvedBy::Normal), Some(ResolvedBy::Ended)];
    for text in samples::MEAN {
        for incident in samples::each_kind() {
            let incident = Incident { simulated: true, ..samples::mean(incident, text) };
            for by in ends {
                let incident = by.map_or(incident.clone(), |by| samples::resolved(incident.clone(), by));
                for transition in Transition::ALL.map(Some).into_iter().chain([None]) {
                    told(&incident, transition);
                }
                for transition in Transition::ALL {
                    let notification = samples::notification(1, transition, incident.clone());
                    check(&serde_json::to_value(line(&notification, true)).unwrap());
                }
                let many = vec![&incident; 20];
                check(&serde_json::to_value(message(&many, None, &links())).unwrap());
            }
        }
    }
}

#[test]
fn a_message_of_mean_names_shows_them_and_nothing_else() {
    let incident = samples::mean(samples::slow(), samples::MEAN[0]);
    insta::assert_snapshot!(shown(&told(&incident, None)));
}

#[test]
fn a_name_of_two_hundred_characters_is_shown_whole() {
    let name: String = "abcdefghij".repeat(20);
    for kind in IncidentKind::ALL {
        let incident = samples::each_kind().into_iter().find(|one| one.cause.kind == kind).unwrap();
        let shown = shown(&told(&samples::mean(incident, &name), None));
        assert!(shown.contains(&format!("Workflow* `{name}`")), "{shown}");
    }
}

#[test]
fn twenty_incidents_of_ordinary_names_are_all_told() {
    let incidents: Vec<Incident> =
        samples::opened_together(20).notifications.into_iter().map(|one| one.incident).collect();
    let all: Vec<&Incident> = incidents.iter().collect();
    let message = serde_json::to_value(message(&all, None, &links())).unwrap();
    check(&message);
    assert_eq!(message["attachments"].as_array().unwrap().len(), 20);
    assert!(shown(&message).contains("load-20"));
}

#[test]
fn without_links_there_is_no_row_of_them() {
    let message = serde_json::to_value(message(&[&samples::slow()], None, &Links::default())).unwrap();
    check(&message);
    assert!(!message.to_string().contains("https://"));
    assert_eq!(message["attachments"][0]["blocks"].as_array().map(Vec::len), Some(3));
    assert_eq!(message["attachments"][0]["fallback"], json!(message["text"]));
}
