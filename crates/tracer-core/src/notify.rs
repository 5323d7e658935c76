//! The seam to whatever tells people: channels, and what is brought to them.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::incident::{Incident, Transition};
use crate::time::{Micros, Timestamp};

/// The name of a channel: lowercase letters, digits, `-` and `_`, 1 to 64 of them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ChannelName(Arc<str>);

/// The text is not the name of a channel.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("must be 1 to 64 lowercase letters, digits, `-` and `_`")]
pub struct ChannelNameError;

impl ChannelName {
    /// Parses a name.
    ///
    /// # Errors
    /// [`ChannelNameError`] if it has other characters, or too many.
    pub fn new(text: &str) -> Result<Self, ChannelNameError> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
        let named = (1..=64).contains(&text.len()) && text.chars().all(plain);
        if named { Ok(Self(text.into())) } else { Err(ChannelNameError) }
    }

    /// Takes a text that was checked before it was stored.
    #[must_use]
    pub fn from_stored(text: &str) -> Self {
        Self(text.into())
    }

    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Something to tell a channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Notification {
    /// Its number: grows in the order in which a channel is to be told, and is the same at every attempt.
    pub id: i64,
    /// What happened.
    pub transition: Transition,
    /// Whether people are to be told, and not only what keeps state.
    pub loud: bool,
    /// The incident as it was just after.
    pub incident: Incident,
    /// When it happened.
    pub created_at: Timestamp,
    /// Attempts before this one.
    pub attempts: u32,
    /// Whether it was held back by the channel's quiet hours.
    pub held: bool,
}

/// A message that a channel has posted, and can edit.
#[derive(Clone, Debug, PartialEq)]
pub struct Posted {
    /// What the channel needs to find it again; its own to write and read.
    pub reference: String,
    /// The incidents that it tells of, as they are now, in the order in which they opened.
    pub incidents: Vec<Incident>,
}

/// What is brought to a channel in one go.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    /// One notification; or the openings of several incidents of one execution, to be told as one. Never empty.
    pub notifications: Vec<Notification>,
    /// The incident of the first one, as it is now.
    pub current: Incident,
    /// Whether the channel has been told of that incident before.
    pub told_before: bool,
    /// The message that tells of it already, if the channel has posted one that it can edit.
    pub posted: Option<Posted>,
}

/// What a channel says of a delivery that it took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    /// What it needs to edit the message that it has posted for it.
    pub reference: Option<String>,
    /// What was answered, if that belongs into the history of the incident.
    pub note: Option<String>,
}

/// Why a channel did not take a delivery.
#[derive(Debug, Error)]
pub enum NotifyError {
    /// Trying again can help.
    #[error("the channel did not take it for now: {reason}")]
    Transient {
        /// Why, without any secret.
        reason: String,
        /// How long it asks to be left alone, if it does.
        retry_after: Option<Micros>,
        /// The cause, for the log.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// It never will take it.
    #[error("the channel refused it: {reason}")]
    Permanent {
        /// Why, without any secret.
        reason: String,
    },
}

impl NotifyError {
    /// Returns why, without any secret.
    #[must_use]
    pub fn reason(&self) -> &str {
        match self {
            Self::Transient { reason, .. } | Self::Permanent { reason } => reason,
        }
    }
}

/// Brings incidents to people, or to what keeps them.
///
/// Every call ends by itself, within the channel's own timeout. Calls for one channel never overlap.
#[async_trait]
pub trait Notifier: Send + Sync {
    /// Delivers; a delivery may come again if it is not known whether it arrived.
    ///
    /// # Errors
    /// [`NotifyError`] says whether trying again can help.
    async fn deliver(&self, delivery: &Delivery) -> Result<Receipt, NotifyError>;

    /// Returns whether it posts messages that it can edit.
    fn edits(&self) -> bool {
        false
    }

    /// Edits a message, so that it shows its incidents as they are.
    ///
    /// # Errors
    /// [`NotifyError`] says whether trying again can help.
    async fn edit(&self, posted: &Posted) -> Result<(), NotifyError> {
        let _unchanged = posted;
        Ok(())
    }

    /// Returns how often it must be told of everything that fires, because it forgets.
    fn forgets_after(&self) -> Option<Micros> {
        None
    }

    /// Tells of everything that fires.
    ///
    /// # Errors
    /// [`NotifyError`] says whether trying again can help.
    async fn restate(&self, firing: &[Incident]) -> Result<(), NotifyError> {
        let _nothing = firing;
        Ok(())
    }
}
