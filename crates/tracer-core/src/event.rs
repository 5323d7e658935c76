//! What a client tells of an execution besides its steps: which branch it took, which tool it called, a line of
//! a log, an error on the way.
//!
//! Events change no state: an execution that has ended takes them too.
//! Not here: how they are numbered (`record`).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::attributes::Attributes;
use crate::failure::cut;
use crate::ids::{ExecutionId, StepId};
use crate::limits;
use crate::time::Timestamp;

/// Identifies an event; written `ev_` and 32 lowercase hexadecimal digits. A UUIDv7, as an execution's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(u128);

/// The text is not the id of an event.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("is not an id of the form ev_ and 32 hexadecimal digits")]
pub struct EventIdError;

impl EventId {
    /// Mints an id whose leading 48 bits are the milliseconds of `now`.
    #[must_use]
    pub fn mint(now: Timestamp) -> Self {
        Self(ExecutionId::mint(now).as_u128())
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

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ev_{:032x}", self.0)
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for EventId {
    type Err = EventIdError;

    fn from_str(text: &str) -> Result<Self, EventIdError> {
        let digits = text.strip_prefix("ev_").ok_or(EventIdError)?;
        let lower = digits.len() == 32 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if !lower {
            return Err(EventIdError);
        }
        u128::from_str_radix(digits, 16).map(Self).map_err(|_| EventIdError)
    }
}

impl Serialize for EventId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for EventId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What an event tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// Which way the execution went.
    BranchDecision,
    /// A tool that it called.
    ToolCall,
    /// A line of its log.
    Log,
    /// Something that went wrong, and did not end it.
    Error,
}

impl EventKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::BranchDecision, Self::ToolCall, Self::Log, Self::Error];

    /// Returns the kind as it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BranchDecision => "branch_decision",
            Self::ToolCall => "tool_call",
            Self::Log => "log",
            Self::Error => "error",
        }
    }

    /// Reads a kind as it is written.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// How much a line of a log matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogLevel {
    /// Every move.
    Trace,
    /// What helps to find a fault.
    Debug,
    /// What happens.
    Info,
    /// What should not.
    Warn,
    /// What went wrong.
    Error,
}

impl LogLevel {
    /// Every level, the least first.
    pub const ALL: [Self; 5] = [Self::Trace, Self::Debug, Self::Info, Self::Warn, Self::Error];

    /// Returns the level as it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }

    /// Reads a level as it is written.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.as_str() == text)
    }
}

/// Something that a client told of an execution.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkflowEvent {
    /// The execution.
    pub execution: ExecutionId,
    /// Which one of the execution's it is, from 1, in the order in which they were recorded.
    pub number: u32,
    /// Its id.
    pub id: EventId,
    /// What it tells of.
    pub kind: EventKind,
    /// How much it matters, of a log's line.
    pub level: Option<LogLevel>,
    /// What it says; at most [`limits::ERROR_MESSAGE_BYTES`].
    pub message: String,
    /// The step that it happened in.
    pub step: Option<StepId>,
    /// When it happened.
    pub at: Timestamp,
    /// When it was recorded.
    pub recorded_at: Timestamp,
    /// What the client attached.
    pub attributes: Attributes,
}

/// Takes a client's message: what is too long is cut and marked, NUL becomes U+FFFD.
#[must_use]
pub fn message(text: &str) -> String {
    cut(text, limits::ERROR_MESSAGE_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_and_levels_are_read_as_they_are_written() {
        assert_eq!(EventKind::ALL.map(|kind| EventKind::parse(kind.as_str())), EventKind::ALL.map(Some));
        assert_eq!(LogLevel::ALL.map(|level| LogLevel::parse(level.as_str())), LogLevel::ALL.map(Some));
        assert_eq!((EventKind::parse("Log"), LogLevel::parse("fatal")), (None, None));
    }

    #[test]
    fn an_id_survives_being_written_and_read_and_nothing_else_is_one() {
        let id = EventId::mint(Timestamp::from_millis(0x0001_0203_0405));
        assert!(id.to_string().starts_with("ev_0001020304057"));
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(EventId::from_bytes(id.to_bytes()), id);
        for wrong in ["", "ev_", "ev_0123456789ABCDEF0123456789abcdef", "wf_0123456789abcdef0123456789abcdef"]
        {
            assert_eq!(wrong.parse::<EventId>(), Err(EventIdError), "{wrong}");
        }
    }
}
