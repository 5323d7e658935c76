//! Reads an export, and checks what is promised of what comes of it.

use bytes::Bytes;
use tracer_api::otlp::inflate::Coding;
use tracer_api::otlp::intake::{Form, Signal, decoded};
use tracer_api::otlp::room::{ROOM_BYTES, Room};
use tracer_core::attributes::Attributes;
use tracer_core::limits;
use tracer_core::name::{StepName, StepType};
use tracer_core::span::Span;
use tracer_core::time::Timestamp;

/// 2026-01-31T12:00:00Z.
const NOW: Timestamp = Timestamp::from_millis(1_769_860_800_000);

pub fn read(bytes: &[u8], form: Form, coding: Coding) {
    for signal in [Signal::Traces, Signal::Logs] {
        let mut share = Room::of(ROOM_BYTES).share();
        let Ok(gathered) = decoded(Bytes::copy_from_slice(bytes), (signal, form, coding), NOW, &mut share) else {
            continue;
        };
        for trace in gathered.command.into_iter().flat_map(|command| command.traces) {
            assert!(!trace.spans.is_empty());
            trace.spans.iter().for_each(check);
        }
    }
}

/// What is stored without a further look at it.
fn check(span: &Span) {
    assert!(StepName::new(span.name.as_str()).is_ok(), "{:?}", span.name);
    assert!(StepType::new(span.step_type.as_str()).is_ok(), "{:?}", span.step_type);
    assert!((1..=limits::ATTEMPTS).contains(&span.attempt));
    assert!(span.parent != Some(span.id));
    assert!(span.started_at.check_given(NOW).is_ok() && span.ended_at().check_given(NOW).is_ok());
    within_bounds(&span.attributes);
    let detail = serde_json::to_string(&*span.detail).expect("details are JSON");
    assert!(detail.len() <= limits::SPAN_DETAIL_BYTES && !detail.contains("\\u0000"));
    span.detail.events.iter().for_each(|event| within_bounds(&event.attributes));
    span.detail.links.iter().for_each(|link| within_bounds(&link.attributes));
}

fn within_bounds(attributes: &Attributes) {
    let entries = attributes.entries().iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    assert!(Attributes::new(entries).is_ok(), "{attributes:?}");
}
