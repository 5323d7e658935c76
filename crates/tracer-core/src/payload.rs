//! An execution's input and output: JSON that is kept as it was written.

use serde_json::Value;
use thiserror::Error;

use crate::limits;

/// JSON of at most [`limits::PAYLOAD_BYTES`], as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload(String);

/// The JSON is larger than [`limits::PAYLOAD_BYTES`].
#[derive(Debug, Error, PartialEq, Eq)]
#[error("must not exceed {} bytes", limits::PAYLOAD_BYTES)]
pub struct PayloadTooLarge;

impl Payload {
    /// Takes a client's JSON.
    ///
    /// # Errors
    /// [`PayloadTooLarge`] over [`limits::PAYLOAD_BYTES`].
    pub fn new(value: &Value) -> Result<Self, PayloadTooLarge> {
        let text = value.to_string();
        if text.len() > limits::PAYLOAD_BYTES { Err(PayloadTooLarge) } else { Ok(Self(text)) }
    }

    /// Takes a text that was checked before it was stored.
    #[must_use]
    pub fn from_stored(text: String) -> Self {
        Self(text)
    }

    /// Returns the JSON as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
