//! Incidents: one cause over time, and what people are told of it.
//!
//! A cause is known by its [`Fingerprint`]. The first finding opens an incident, further ones gather in it,
//! and it resolves once things are normal again, or what was stuck has ended; a finding soon after reopens it
//! silently. Pure: given an incident, a finding and a time, what it becomes and what there is to tell.
//!
//! Not here: what is found (`detect`), where it is stored, who is told and how (`notify`, `routing`).

mod alarm;
mod cause;
mod evidence;
mod failures;
mod lifecycle;
mod plan;
mod signal;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use alarm::{ALARM_BYTES, Alarm};
pub use cause::{Cause, Fingerprint, IncidentKind};
pub use evidence::{Evidence, Finding};
pub use failures::{FailureRate, FailureRule, FailureWindow};
pub use plan::AlertPlan;
pub use signal::{AlertNote, SloBurn};

use crate::detect::Severity;
use crate::ids::ExecutionId;
use crate::time::Timestamp;

/// Identifies an incident; written `inc_` and 32 lowercase hexadecimal digits. Its leading 48 bits are the
/// milliseconds of its opening, as a UUIDv7's (RFC 9562, section 5.7).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IncidentId(u128);

/// The text is not the id of an incident.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("is not an id of the form inc_ and 32 hexadecimal digits")]
pub struct IncidentIdError;

impl IncidentId {
    /// Derives the id of what a cause opens at this moment. Nothing in it is random, so that a batch that is
    /// replayed opens the same incident again, and not another one.
    #[must_use]
    pub fn derive(fingerprint: Fingerprint, opened_at: Timestamp, execution: Option<ExecutionId>) -> Self {
        let mut hash = Sha256::new();
        hash.update(fingerprint.to_bytes());
        hash.update(opened_at.as_micros().to_be_bytes());
        hash.update(execution.map_or([0; 16], ExecutionId::to_bytes));
        let mut bits = [0; 16];
        bits.copy_from_slice(hash.finalize().get(..16).unwrap_or(&[0; 16]));
        const TAIL: u128 = (1 << 80) - 1;
        const VERSION_AND_VARIANT: u128 = (0xf << 76) | (0b11 << 62);
        const VERSION_7: u128 = (0x7 << 76) | (0b10 << 62);
        let millis = u128::from(opened_at.as_micros().div_euclid(1000).unsigned_abs()) & 0xffff_ffff_ffff;
        let tail = u128::from_be_bytes(bits) & TAIL & !VERSION_AND_VARIANT;
        Self((millis << 80) | VERSION_7 | tail)
    }

    /// Takes 16 stored bytes, big-endian.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }

    /// Returns the 16 bytes, big-endian: bytes sort as ids do.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }
}

impl fmt::Display for IncidentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "inc_{:032x}", self.0)
    }
}

impl fmt::Debug for IncidentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for IncidentId {
    type Err = IncidentIdError;

    fn from_str(text: &str) -> Result<Self, IncidentIdError> {
        let digits = text.strip_prefix("inc_").ok_or(IncidentIdError)?;
        let lower = digits.len() == 32 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if !lower {
            return Err(IncidentIdError);
        }
        u128::from_str_radix(digits, 16).map(Self).map_err(|_| IncidentIdError)
    }
}

impl Serialize for IncidentId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for IncidentId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Whether a cause is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IncidentState {
    /// It is.
    Firing,
    /// It was.
    Resolved,
}

impl IncidentState {
    /// Both, in their order.
    pub const ALL: [Self; 2] = [Self::Firing, Self::Resolved];

    /// Returns the state as it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Firing => "firing",
            Self::Resolved => "resolved",
        }
    }

    /// Reads a state as it is written.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

/// Why an incident is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResolvedBy {
    /// Things have been normal for long enough.
    Normal,
    /// What was stuck has ended, or was heard of again; what was signalled is no longer so.
    Ended,
    /// Its step has a new reference.
    Rebaselined,
    /// Nothing was heard of it for long.
    Stale,
    /// Somebody said so.
    Hand,
}

impl ResolvedBy {
    /// Returns the reason as it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Ended => "ended",
            Self::Rebaselined => "rebaselined",
            Self::Stale => "stale",
            Self::Hand => "hand",
        }
    }
}

/// The end of an incident.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Resolution {
    /// When.
    pub at: Timestamp,
    /// Why.
    pub by: ResolvedBy,
}

/// That somebody looks after an incident.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Acknowledgement {
    /// Since when.
    pub at: Timestamp,
    /// Who, as they called themselves.
    pub by: Option<String>,
}

/// What people were last told of an incident.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Told {
    /// When.
    pub at: Timestamp,
    /// How bad it was said to be.
    pub severity: Severity,
    /// Whether it was said to be firing, and not resolved.
    pub firing: bool,
    /// How many findings it was said to have gathered.
    pub occurrences: u64,
    /// Whether it was a reminder that said nothing new.
    pub nothing_new: bool,
}

/// One cause over time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Incident {
    /// Its id.
    pub id: IncidentId,
    /// What it is about.
    pub cause: Cause,
    /// Whether it is still there.
    pub state: IncidentState,
    /// Whether a further finding would belong to it: while it fires, and for a while after.
    pub is_current: bool,
    /// The worst of its findings so far.
    pub severity: Severity,
    /// Findings that it has gathered.
    pub occurrences: u64,
    /// Steps or executions that are stuck at this moment.
    pub ongoing: u64,
    /// When it opened.
    pub first_seen_at: Timestamp,
    /// When it last gathered a finding.
    pub last_seen_at: Timestamp,
    /// The worst finding, and the execution to look at for an example.
    pub worst: Evidence,
    /// The execution whose finding opened it, if it was one's.
    pub opened_in: Option<ExecutionId>,
    /// Whether only invented executions took part.
    pub simulated: bool,
    /// That somebody looks after it: it is not repeated, but told of when it becomes worse.
    pub acknowledged: Option<Acknowledgement>,
    /// Until then nobody is told of it.
    pub snoozed_until: Option<Timestamp>,
    /// Its end.
    pub resolved: Option<Resolution>,
    /// What people were last told.
    pub told: Option<Told>,
    /// When it is to be looked at without a finding: to be repeated, resolved, or let go.
    pub due_at: Option<Timestamp>,
    /// When anything of it last changed.
    pub changed_at: Timestamp,
}

impl Incident {
    /// Returns what it shares with incidents that are told together with it: those that one execution opened.
    #[must_use]
    pub fn group(&self) -> [u8; 16] {
        self.opened_in.map_or(self.id.to_bytes(), ExecutionId::to_bytes)
    }
}

/// What happens to an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transition {
    /// It is new.
    Opened,
    /// Its severity has risen.
    Worsened,
    /// It still fires, and people are reminded.
    Repeated,
    /// It fires again, soon after its end.
    Reopened,
    /// It is over.
    Resolved,
    /// Somebody looks after it.
    Acknowledged,
    /// Nobody is to be told of it for a while.
    Snoozed,
}

impl Transition {
    /// Every transition.
    pub const ALL: [Self; 7] = [
        Self::Opened,
        Self::Worsened,
        Self::Repeated,
        Self::Reopened,
        Self::Resolved,
        Self::Acknowledged,
        Self::Snoozed,
    ];

    /// Returns the transition as it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Worsened => "worsened",
            Self::Repeated => "repeated",
            Self::Reopened => "reopened",
            Self::Resolved => "resolved",
            Self::Acknowledged => "acknowledged",
            Self::Snoozed => "snoozed",
        }
    }

    /// Reads a transition as it is written.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|transition| transition.as_str() == text)
    }
}

/// A transition that has taken place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// What happened.
    pub transition: Transition,
    /// Whether people are to be told. What only keeps state (Alertmanager, a message that is edited in place)
    /// follows either way.
    pub loud: bool,
}

/// A line in the history of an incident.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// When.
    pub at: Timestamp,
    /// What: a [`Transition`] as it is written, or `action`.
    pub what: String,
    /// Who or why, or what an action answered; at most [`crate::limits::INCIDENT_NOTE_BYTES`].
    pub note: Option<String>,
}

#[cfg(test)]
mod tests;
