//! Log records that tell of a start.
//!
//! | told by | what began |
//! |---|---|
//! | event name, `event.name` or body `tracer.step.start`, with the ids of a trace and a span | that span; its name and its parent are `tracer.step.name` and `tracer.step.parent_id` |
//! | `partial.event` = `heartbeat` | the span in the body: OTLP in JSON, or in protobuf as base64 |
//!
//! Not here: what spans tell of starts themselves (`starts`).

use std::borrow::Cow;

use tracer_core::ids::StepId;

use super::starts::START;
use super::wire::{AnyValue, Id, LogRecord, Span};

/// What a log record tells.
#[derive(Debug)]
pub enum Told<'a> {
    /// That this span began.
    Start(Box<Span<'a>>),
    /// That the spans of this export are running.
    Partial(Cow<'a, str>),
    /// That a span of which it was told before has ended.
    Stop,
    /// Nothing of a start.
    Nothing,
}

/// Returns what a log record tells.
#[must_use]
pub fn told(record: LogRecord<'_>) -> Told<'_> {
    match record.attributes.text("partial.event") {
        Some("heartbeat") => {
            return if let AnyValue::Text(body) = record.body { Told::Partial(body) } else { Told::Nothing };
        }
        Some("stop") => return Told::Stop,
        Some(_) | None => {}
    }
    let is_start = record.event == START
        || record.attributes.text("event.name") == Some(START)
        || record.body.text() == Some(START);
    if is_start { Told::Start(Box::new(start(record))) } else { Told::Nothing }
}

fn start(record: LogRecord<'_>) -> Span<'_> {
    let owned = |key| record.attributes.text(key).map(str::to_owned);
    let name = owned("tracer.step.name").or_else(|| owned("span.name"));
    let parent =
        record.attributes.text("tracer.step.parent_id").or_else(|| record.attributes.text("parent_span_id"));
    // Where the body is more than the mark, it may be the name.
    let said = record.body.text().filter(|body| *body != START).map(str::to_owned);
    Span {
        trace: record.trace,
        id: record.span,
        parent: parent.map(Id::<StepId>::from_digits).unwrap_or_default(),
        name: name.or(said).unwrap_or_default().into(),
        start: if record.time == 0 { record.observed } else { record.time },
        attributes: record.attributes,
        ..Span::default()
    }
}
