//! Names that cannot be empty, endless or unprintable.
//!
//! Parsed once at the edge; from there on nobody checks again.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use thiserror::Error;

use crate::limits;

/// Why a text is not a name.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum NameError {
    /// No character at all.
    #[error("must not be empty")]
    Empty,
    /// More characters than allowed.
    #[error("must not have more than {0} characters")]
    TooLong(usize),
    /// NUL, a line feed or another control character.
    #[error("must not contain control characters")]
    Control,
}

fn check(text: &str, most_chars: usize) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    // The byte length bounds the work on an absurd input before its characters are counted.
    if text.len() > most_chars * 4 || text.chars().count() > most_chars {
        return Err(NameError::TooLong(most_chars));
    }
    if text.chars().any(char::is_control) {
        return Err(NameError::Control);
    }
    Ok(())
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $most:expr) => {
        $(#[$doc])*
        ///
        /// Cheap to clone: the text is shared.
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Parses a client's text.
            ///
            /// # Errors
            /// [`NameError`] if it is empty, too long, or holds a control character.
            pub fn new(text: &str) -> Result<Self, NameError> {
                check(text, $most)?;
                Ok(Self(text.into()))
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

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            /// Takes the text unchecked: only what this service stored is deserialised.
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer).map(|text| Self(text.into()))
            }
        }
    };
}

name!(
    /// The name of a workflow: what its executions have in common.
    WorkflowName,
    limits::NAME_CHARS
);
name!(
    /// The name of a step within its workflow.
    StepName,
    limits::NAME_CHARS
);
name!(
    /// What kind of work a step is: `tool`, `llm`, `branch`, `http`, …
    StepType,
    limits::STEP_TYPE_CHARS
);
name!(
    /// An id of the client's own, by which it finds an execution again.
    CorrelationId,
    limits::NAME_CHARS
);
name!(
    /// The version of a workflow that an execution ran.
    Version,
    limits::NAME_CHARS
);

impl Default for StepType {
    /// The type of a step whose client named none.
    fn default() -> Self {
        Self("task".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_bounded_in_characters_not_bytes() {
        let refused = |text: &str| WorkflowName::new(text).err();
        assert_eq!(refused("a/b: ünï © 漢字 🚀"), None);
        assert_eq!(refused(""), Some(NameError::Empty));
        assert_eq!(refused(&"🚀".repeat(200)), None);
        assert_eq!(refused(&"a".repeat(201)), Some(NameError::TooLong(200)));
        assert_eq!(refused("a\0b"), Some(NameError::Control));
        assert_eq!(refused("a\nb"), Some(NameError::Control));
        assert_eq!(refused("a\u{85}b"), Some(NameError::Control));
    }
}
