//! What a step has because it came as a span, within [`limits::SPAN_DETAIL_BYTES`].

use std::sync::Arc;

use serde::Serialize;
use tracer_core::attributes::Attributes;
use tracer_core::limits;
use tracer_core::span::{ResourceId, SpanDetail, SpanEvent, SpanKind, SpanLink};

use super::mapping::{fit, timestamp};
use super::wire::{self, Pairs};
use crate::fitting::Fitting;

/// Bytes for all that is no event and no link.
const FRAME_BYTES: usize = 2 * 1024;

/// Returns the detail of a span; `left_out` of its attributes had no room.
pub(super) fn of(
    sent: &wire::Span<'_>,
    kind: SpanKind,
    resource: ResourceId,
    scope: Option<&Arc<str>>,
    left_out: u32,
) -> SpanDetail {
    let mut room = limits::SPAN_DETAIL_BYTES - FRAME_BYTES;
    let (events, no_event) = fitting(sent.events.kept().iter().map(|sent| Some(event(sent))), &mut room);
    let (links, no_link) = fitting(sent.links.kept().iter().map(link), &mut room);
    let counts = [sent.dropped, left_out, sent.events.dropped(), sent.links.dropped(), no_event, no_link];
    SpanDetail {
        kind,
        resource: Some(resource),
        scope: scope.map(|scope| scope.to_string()),
        events,
        links,
        dropped: counts.into_iter().fold(0, u32::saturating_add),
    }
}

/// Returns the name of a library and its version, cut as names are.
pub(super) fn scope(sent: &wire::Scope<'_>) -> Option<Arc<str>> {
    let both = if sent.version.is_empty() {
        sent.name.to_string()
    } else {
        format!("{} {}", sent.name, sent.version)
    };
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    let cut: String = both.trim().chars().take(limits::NAME_CHARS).map(plain).collect();
    (!sent.name.is_empty()).then(|| cut.into())
}

/// Keeps what fits; returns how many did not.
fn fitting<T: Serialize>(all: impl Iterator<Item = Option<T>>, room: &mut usize) -> (Vec<T>, u32) {
    let (mut kept, mut left_out) = (Vec::new(), 0);
    for one in all {
        let bytes = one
            .as_ref()
            .and_then(|one| serde_json::to_vec(one).ok())
            .map_or(usize::MAX, |text| text.len() + 1);
        match (one, room.checked_sub(bytes)) {
            (Some(one), Some(left)) => {
                *room = left;
                kept.push(one);
            }
            (Some(_) | None, _) => left_out += 1,
        }
    }
    (kept, left_out)
}

fn event(sent: &wire::Event<'_>) -> SpanEvent {
    let plain = |c: char| if c == '\0' { char::REPLACEMENT_CHARACTER } else { c };
    SpanEvent {
        at: timestamp(sent.time),
        name: sent.name.chars().take(limits::NAME_CHARS).map(plain).collect(),
        attributes: attributes(&sent.attributes),
    }
}

/// A link to nothing is none.
fn link(sent: &wire::Link<'_>) -> Option<SpanLink> {
    let (trace, span) = (sent.trace.given()?, sent.span.given()?);
    Some(SpanLink { trace, span, attributes: attributes(&sent.attributes) })
}

fn attributes(pairs: &Pairs<'_>) -> Attributes {
    let mut fitting = Fitting::default();
    fit(pairs, &mut fitting);
    Attributes::from_stored(fitting.into_entries())
}
