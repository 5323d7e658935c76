//! What went wrong in an execution or a step, cut to a size that can be kept.

use serde::{Deserialize, Serialize};

use crate::limits;

/// What follows a text that was cut.
const CUT_MARK: &str = "… [truncated]";

/// An error that a client reports: type, message and stack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The error's type or code, such as `TimeoutError`.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// What the error says; at most [`limits::ERROR_MESSAGE_BYTES`].
    pub message: String,
    /// Where it was raised; at most [`limits::ERROR_STACK_BYTES`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stack: Option<String>,
}

impl Failure {
    /// Takes what a client reports: too long a text is cut and marked, NUL becomes U+FFFD.
    ///
    /// Nothing is refused: losing the report of a failure over its form would help nobody.
    #[must_use]
    pub fn new(kind: Option<&str>, message: &str, stack: Option<&str>) -> Self {
        Self {
            kind: kind.map(|kind| cut(kind, limits::NAME_CHARS)),
            message: cut(message, limits::ERROR_MESSAGE_BYTES),
            stack: stack.map(|stack| cut(stack, limits::ERROR_STACK_BYTES)),
        }
    }
}

/// Cuts a text between characters and marks it, where it is longer; NUL becomes U+FFFD.
pub(crate) fn cut(text: &str, most_bytes: usize) -> String {
    let text = text.replace('\0', "\u{fffd}");
    if text.len() <= most_bytes {
        return text;
    }
    let end = text.floor_char_boundary(most_bytes - CUT_MARK.len());
    let (kept, _) = text.split_at(end);
    format!("{kept}{CUT_MARK}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_between_characters_and_marked() {
        let failure = Failure::new(None, &"é".repeat(8192), Some("line 1\0"));
        assert!(failure.message.len() <= limits::ERROR_MESSAGE_BYTES);
        assert!(failure.message.ends_with("é… [truncated]"));
        assert_eq!(failure.stack.as_deref(), Some("line 1\u{fffd}"));
        assert_eq!(Failure::new(None, "short", None).message, "short");
    }
}
