//! How similar groups are found without looking at all of them, and none is missed.
//!
//! Let A be the tokens that are asked about, t the least similarity, and B a group with |A∩B| / |A∪B| ≥ t.
//!
//! - |A∪B| ≥ |A| and |A∩B| ≤ |B|, so |A∩B| ≥ t|A| and t|A| ≤ |B| ≤ |A|/t: other sizes need not be looked at.
//! - Leave any r = ⌈t|A|⌉ − 1 tokens of A out. B has at least ⌈t|A|⌉ of A's tokens, so it has one of the others too:
//!   only groups that share one of the other |A| − r tokens need to be looked at. Which ones are left out is free, so
//!   it is the commonest, whose groups are masses.
//! - |A∪B| = |A| + |B| − |A∩B|, so |A∩B| ≥ t/(1+t)·(|A|+|B|). A group that shares c of the tokens looked at shares at
//!   most c + r in all: it is read and compared only if that is enough.
//!
//! Prefix filtering is from Chaudhuri, Ganti and Kaushik, "A Primitive Operator for Similarity Joins in Data Cleaning"
//! (2006); leaving out by frequency and bounding by size, from Bayardo, Ma and Srikant, "Scaling Up All Pairs Similarity
//! Search" (2007).

use super::Tokens;
use crate::limits;

/// What is lost by computing in binary fractions is less; what is let through by it is compared exactly.
const SLACK: f64 = 1e-9;

/// A least similarity: from 0.3 to 1. What is less alike than that has little more than articles in common.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct MinSimilarity(f64);

impl MinSimilarity {
    /// The least that can be asked for.
    pub const LEAST: Self = Self(limits::MIN_SIMILARITY);

    /// Takes a similarity; none if it is out of bounds.
    #[must_use]
    pub fn new(similarity: f64) -> Option<Self> {
        (limits::MIN_SIMILARITY..=1.0).contains(&similarity).then_some(Self(similarity))
    }

    /// Returns the number.
    #[must_use]
    pub const fn get(self) -> f64 {
        self.0
    }
}

/// What similar groups are looked for by.
#[derive(Clone, Debug, PartialEq)]
pub struct Search {
    /// The tokens.
    pub tokens: Tokens,
    /// The least similarity.
    pub least: MinSimilarity,
}

/// The part of a search that an index of tokens answers.
#[derive(Clone, Debug, PartialEq)]
pub struct Prefix {
    /// The tokens to look up.
    pub tokens: Vec<String>,
    /// How many are not looked up.
    pub left_out: usize,
    /// How many tokens were asked about.
    pub asked: usize,
    least: f64,
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "sets have at most some hundred members"
)]
impl Search {
    /// Returns what to look up, given how many groups have each token; a count may be cut off anywhere, which costs
    /// time only.
    #[must_use]
    pub fn prefix(&self, groups_with: impl Fn(&str) -> u64) -> Prefix {
        let asked = self.tokens.len();
        let needed = (self.least.get() * asked as f64 - SLACK).ceil().max(1.0) as usize;
        let mut tokens = self.tokens.as_slice().to_vec();
        tokens.sort_by_cached_key(|token| (groups_with(token), token.clone()));
        let left_out = (needed - 1).min(asked);
        tokens.truncate(asked - left_out);
        Prefix { tokens, left_out, asked, least: self.least.get() }
    }

    /// Returns the similarity of a group, if it is enough.
    #[must_use]
    pub fn compare(&self, group: &Tokens) -> Option<f64> {
        let similarity = self.tokens.similarity(group);
        (similarity >= self.least.get()).then_some(similarity)
    }
}

#[expect(clippy::cast_precision_loss, reason = "sets have at most some hundred members")]
impl Prefix {
    /// Returns whether a group that has so many of the tokens looked up, and so many tokens in all, may be similar
    /// enough.
    #[must_use]
    pub fn may_reach(&self, shared: usize, size: usize) -> bool {
        (shared + self.left_out) as f64 * (1.0 + self.least) + SLACK >= self.least * (self.asked + size) as f64
            && size as f64 * self.least <= self.asked as f64 + SLACK
    }
}
