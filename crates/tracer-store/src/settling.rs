//! What a settlement makes of the rows of the outbox: the same in both stores.
//!
//! Not here: the rows.

use std::collections::BTreeSet;

use tracer_core::incident::HistoryEntry;
use tracer_core::limits;
use tracer_core::outbox::{Settled, Settlement};

/// What an answer of an action is in the history of an incident.
pub(crate) const ACTION: &str = "action";

/// What a settlement changes.
#[derive(Debug)]
pub(crate) struct Change {
    /// Whether the channel took it.
    pub(crate) is_sent: bool,
    /// Whether it stays where it is.
    pub(crate) is_again: bool,
    /// Why the channel did not take it, if it did not.
    pub(crate) fault: Option<String>,
    /// How the notifications are set aside, and why; none if they stay.
    pub(crate) outcome: Option<(&'static str, Option<String>)>,
    /// Where the message is that tells of them, if the channel can edit it.
    pub(crate) reference: Option<String>,
    /// What belongs into the histories of their incidents.
    pub(crate) entry: Option<HistoryEntry>,
}

impl Change {
    /// Returns what a settlement changes.
    pub(crate) fn of(settlement: &Settlement) -> Self {
        let nothing = Self {
            is_sent: false,
            is_again: false,
            fault: None,
            outcome: None,
            reference: None,
            entry: None,
        };
        match &settlement.settled {
            Settled::Sent { reference, note } => Self {
                is_sent: true,
                outcome: Some(("sent", None)),
                reference: reference.clone(),
                entry: note.as_deref().map(|note| action(settlement, note)),
                ..nothing
            },
            Settled::Again { reason } => Self { is_again: true, fault: Some(kept(reason)), ..nothing },
            Settled::Refused { reason } => {
                let (entry, reason) = (noted(settlement, reason), kept(reason));
                Self {
                    fault: Some(reason.clone()),
                    outcome: Some(("refused", Some(reason))),
                    entry,
                    ..nothing
                }
            }
            Settled::Dropped { reason } => {
                let entry = noted(settlement, reason);
                Self { outcome: Some(("dropped", Some(kept(reason)))), entry, ..nothing }
            }
        }
    }
}

/// Returns the line of why something was not done, where that is to be known.
fn noted(settlement: &Settlement, reason: &str) -> Option<HistoryEntry> {
    settlement.in_history.then(|| action(settlement, reason))
}

fn action(settlement: &Settlement, note: &str) -> HistoryEntry {
    HistoryEntry { at: settlement.at, what: ACTION.to_owned(), note: Some(kept(note)) }
}

/// Returns a text of others as it is kept: cut to [`limits::INCIDENT_NOTE_BYTES`], and without NUL, which
/// PostgreSQL refuses.
pub(crate) fn kept(text: &str) -> String {
    let (kept, _) = text.split_at(text.floor_char_boundary(limits::INCIDENT_NOTE_BYTES));
    kept.replace('\0', " ")
}

/// Returns each of them once, in their order.
pub(crate) fn distinct<T: Ord + Copy>(all: impl IntoIterator<Item = T>) -> Vec<T> {
    all.into_iter().collect::<BTreeSet<T>>().into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_say_is_cut_between_characters_and_has_no_nul() {
        assert_eq!(kept("short\0"), "short ");
        let long = "é".repeat(limits::INCIDENT_NOTE_BYTES);
        assert_eq!(kept(&long).len(), limits::INCIDENT_NOTE_BYTES);
        assert_eq!(kept(&format!("a{long}")).len(), limits::INCIDENT_NOTE_BYTES - 1);
    }
}
