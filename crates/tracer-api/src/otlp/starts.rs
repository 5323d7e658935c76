//! What tells only that a span began: conventions of exporters that do not wait for its end.
//!
//! | told by | what began |
//! |---|---|
//! | no end time | the span |
//! | `tracer.step.state` = `running` | the span |
//! | an event `tracer.step.start`, on a span without any length | the span |
//! | `logfire.span_type` = `pending_span` | the span's parent, whose own parent is `logfire.pending_parent_id` |
//!
//! Not here: log records that tell of a start (`logs`).

use tracer_core::ids::StepId;

use super::signals::Signals;
use super::wire::{Id, Span};

/// The name of an event, or of a log record, that tells of a start.
pub const START: &str = "tracer.step.start";

/// Returns whether an attribute is nothing but the mark of a start: a step that has ended must not keep it.
pub(super) fn is_mark(key: &str) -> bool {
    matches!(key, "tracer.step.state" | "logfire.pending_parent_id")
}

/// Which step a span tells of, and how much of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The step.
    pub id: StepId,
    /// The step that it is part of.
    pub parent: Option<StepId>,
    /// Whether its end is told.
    pub has_ended: bool,
}

/// Returns which step a span of that id tells of.
#[must_use]
pub fn identity(sent: &Span<'_>, signals: &Signals<'_>, id: StepId) -> Identity {
    if let (true, Some(pending)) = (signals.is_pending, sent.parent.given()) {
        let parent = signals.pending_parent.map(Id::<StepId>::from_digits).and_then(Id::given);
        return Identity { id: pending, parent: other(parent, pending), has_ended: false };
    }
    let is_start = sent.end == 0
        || signals.is_running
        || (sent.end == sent.start && sent.events.kept().iter().any(|event| event.name == START));
    Identity { id, parent: other(sent.parent.given(), id), has_ended: !is_start }
}

/// A client that names a span as its own parent has none.
fn other(parent: Option<StepId>, id: StepId) -> Option<StepId> {
    parent.filter(|parent| *parent != id)
}
