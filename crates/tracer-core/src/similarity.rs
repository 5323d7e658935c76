//! What two failures have in common: their words, normalised.
//!
//! A failure's type and message are read as a set of tokens: words in lower case without punctuation, in which
//! whatever is different each time (a number, an id, an address, a path) counts as its kind alone. Failures with the
//! same tokens are one group, told by its [`FailureId`]; how alike two groups are is the exact Jaccard similarity of
//! their tokens.
//!
//! Invariant: the same text gives the same tokens in every version that keeps stored ones; no text makes reading
//! panic, and none gives more than [`FAILURE_TOKENS`](crate::limits::FAILURE_TOKENS) tokens.
//! Not here: how groups are found among many (`prefix`), and where they are kept (`failures`).

mod prefix;
mod reading;

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};
use thiserror::Error;

pub use self::prefix::{Lookup, MinSimilarity, Prefix, Search};
use self::reading::Reading;
use crate::failure::Failure;

/// What a failure is told by: unique, sorted, at most [`FAILURE_TOKENS`](crate::limits::FAILURE_TOKENS), each without a blank.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tokens(Vec<String>);

impl Tokens {
    /// Reads a text. Of one with more distinct tokens than are kept, the first ones count.
    #[must_use]
    pub fn of(text: &str) -> Self {
        Self::sorted(Reading::of([text]).tokens)
    }

    /// Reads a failure: its type and its message. Where it was raised is not compared: the same failure comes along
    /// many ways.
    #[must_use]
    pub fn of_failure(failure: &Failure) -> Self {
        Self::sorted(Reading::of([failure.kind.as_deref().unwrap_or_default(), &failure.message]).tokens)
    }

    /// Takes tokens as they were stored.
    #[must_use]
    pub fn from_stored(tokens: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self::sorted(tokens.into_iter().map(Into::into).collect())
    }

    fn sorted(mut tokens: Vec<String>) -> Self {
        tokens.sort_unstable();
        tokens.dedup();
        Self(tokens)
    }

    /// Returns how many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns whether there are none: of an empty text, and of one that is punctuation alone.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns them, sorted.
    #[must_use]
    pub fn as_slice(&self) -> &[String] {
        &self.0
    }

    /// Returns them in one text, parted by blanks.
    #[must_use]
    pub fn joined(&self) -> String {
        self.0.join(" ")
    }

    /// Returns how many both have.
    #[must_use]
    pub fn shared(&self, other: &Self) -> usize {
        self.shared_with(other.0.iter().map(String::as_str)).0
    }

    /// Returns how many of some tokens, sorted and each once, are among these, and how many there are.
    fn shared_with<'a>(&self, sorted: impl Iterator<Item = &'a str>) -> (usize, usize) {
        let mut ours = self.0.iter().peekable();
        let (mut shared, mut all) = (0, 0);
        for their in sorted {
            all += 1;
            while ours.next_if(|our| our.as_str() < their).is_some() {}
            shared += usize::from(ours.next_if(|our| our.as_str() == their).is_some());
        }
        (shared, all)
    }

    /// Returns the Jaccard similarity, |A∩B| / |A∪B|: 1 of equal sets, 0 of sets that share nothing. Two empty sets
    /// are equal.
    #[must_use]
    pub fn similarity(&self, other: &Self) -> f64 {
        self.similarity_of(other.0.iter().map(String::as_str))
    }

    #[expect(clippy::cast_precision_loss, reason = "sets have at most some hundred members")]
    fn similarity_of<'a>(&self, sorted: impl Iterator<Item = &'a str>) -> f64 {
        let (shared, theirs) = self.shared_with(sorted);
        let all = self.len() + theirs - shared;
        if all == 0 { 1.0 } else { shared as f64 / all as f64 }
    }

    /// Returns what identifies the group of the failures with these tokens.
    #[must_use]
    pub fn fingerprint(&self) -> FailureId {
        let mut hash = Sha256::new();
        for token in &self.0 {
            hash.update(token.as_bytes());
            // No token holds a blank, so that no two sets are the same bytes.
            hash.update(b" ");
        }
        let mut bytes = [0; 16];
        bytes.copy_from_slice(hash.finalize().get(..16).unwrap_or(&[0; 16]));
        FailureId(bytes)
    }
}

/// Identifies a group of failures with the same tokens: the first 16 bytes of SHA-256 over them, written as 32
/// hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FailureId([u8; 16]);

/// The text is no fingerprint.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("is not a fingerprint of 32 hexadecimal digits")]
pub struct FailureIdError;

impl FailureId {
    /// Takes 16 stored bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Returns the 16 bytes.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0
    }
}

impl FromStr for FailureId {
    type Err = FailureIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_form = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let bits = u128::from_str_radix(text, 16).ok().filter(|_| is_form);
        bits.map(|bits| Self(bits.to_be_bytes())).ok_or(FailureIdError)
    }
}

impl fmt::Display for FailureId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for FailureId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Words that an error is searched by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorWords {
    tokens: Tokens,
    literals: Vec<String>,
}

impl ErrorWords {
    /// Reads what is searched for; none if it holds no word.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let text = text.replace('\0', "\u{fffd}");
        let Reading { tokens, mut literals, .. } = Reading::of([text.as_str()]);
        literals.sort_unstable();
        literals.dedup();
        let tokens = Tokens::sorted(tokens);
        (!tokens.is_empty()).then_some(Self { tokens, literals })
    }

    /// Returns what a group must have to be looked at.
    #[must_use]
    pub const fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// Returns the numbers, ids, addresses and paths among the words, in lower case. Groups do not tell them apart, so
    /// that they are to be looked for in the errors themselves ([`holds`]).
    #[must_use]
    pub fn literals(&self) -> &[String] {
        &self.literals
    }
}

/// Returns whether a failure's type or message holds each of these texts, which are in lower case (that of ASCII: so
/// is what databases do alike).
#[must_use]
pub fn holds(failure: &Failure, literals: &[String]) -> bool {
    let lower = |text: &str| text.to_ascii_lowercase();
    let (kind, message) = (failure.kind.as_deref().map(lower).unwrap_or_default(), lower(&failure.message));
    literals.iter().all(|literal| message.contains(literal) || kind.contains(literal))
}

#[cfg(test)]
mod tests;
