//! How similar groups are found without looking at all of them, and none is missed.
//!
//! Let A be the a tokens that are asked about, t the least similarity, and B a group of b tokens with
//! |A∩B| / |A∪B| ≥ t.
//!
//! - |A∪B| ≥ a and |A∩B| ≤ b, so b ≥ ta; and by the same with A and B exchanged, b ≤ a/t. Other sizes need not be
//!   looked at.
//! - |A∪B| = a + b − |A∩B|, so |A∩B| ≥ t(a + b) / (1 + t). As the left side is whole, B shares at least
//!   α(b) = ⌈t(a + b) / (1 + t)⌉ tokens with A.
//! - Put A's tokens in any order, and leave the last α(b) − n of them out, for some n from 1 to α(b). Of those that B
//!   shares, at most α(b) − n are among these, so it has at least n of the others: only groups that do need to be read
//!   and compared. Which tokens are left out is free, so they are the commonest, whose groups are masses. With n = 1
//!   the fewest tokens are looked up; with a larger n, fewer groups are left to compare.
//!
//! So the token in place i (from 0, the rarest first) is looked up for groups of those sizes b alone for which
//! i < a − α(b) + n: the commoner a token, the smaller they are.
//!
//! Prefix filtering is from Chaudhuri, Ganti and Kaushik, "A Primitive Operator for Similarity Joins in Data Cleaning"
//! (2006); the order by frequency and the bound by size, from Bayardo, Ma and Srikant, "Scaling Up All Pairs Similarity
//! Search" (2007); n > 1, from Wang, Li and Feng, "Can We Beat the Prefix Filtering?" (2012).

use super::Tokens;
use crate::limits;

/// What is lost by computing in binary fractions is less; what is let through by it is compared exactly.
const SLACK: f64 = 1e-9;
/// What is looked for first.
const STRICT: MinSimilarity = MinSimilarity(0.6);
/// So many groups are read and compared sooner than another token is looked up, to have fewer.
const FEW: u64 = 1_000;

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

/// A token to look up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lookup {
    /// The token.
    pub token: String,
    /// The most tokens of groups that it is looked up for.
    pub most: usize,
}

/// The part of a search that an index of tokens answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix {
    /// What to look up, the rarest first.
    pub lookups: Vec<Lookup>,
    /// The fewest tokens of groups that may be similar enough.
    pub fewest: usize,
    /// By the number of a group's tokens: how many of those looked up for such groups it must have to be compared.
    needed: Vec<usize>,
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
        let mut tokens: Vec<(u64, &String)> =
            self.tokens.as_slice().iter().map(|token| (groups_with(token), token)).collect();
        tokens.sort_unstable();
        let prefix = self.prefix_for(&tokens, 1);
        // What is looked up for smaller groups only leads to few of them.
        let looked_up =
            tokens.iter().zip(&prefix.lookups).filter(|(_, lookup)| lookup.most >= self.tokens.len());
        let groups = looked_up.fold(0_u64, |sum, ((groups, _), _)| sum.saturating_add(*groups));
        if groups > FEW { self.prefix_for(&tokens, 2) } else { prefix }
    }

    /// Returns what to look up so that a group must have `matches` of it, where it must have so many of all.
    fn prefix_for(&self, tokens: &[(u64, &String)], matches: usize) -> Prefix {
        let (asked, least) = (self.tokens.len(), self.least.get());
        let fewest = ((least * asked as f64 - SLACK).ceil() as usize).max(1);
        let most = ((asked as f64 / least + SLACK).floor() as usize).min(limits::FAILURE_TOKENS);
        let shared_by =
            |size: usize| ((least * (asked + size) as f64 / (1.0 + least) - SLACK).ceil() as usize).max(1);
        let needed = |size: usize| shared_by(size).min(matches);
        let lookups = tokens.iter().enumerate().map_while(|(place, (_, token))| {
            let is_looked_up = |size: &usize| place + shared_by(*size) < asked + needed(*size);
            let most = (fewest..=most).rev().find(is_looked_up)?;
            Some(Lookup { token: (*token).clone(), most })
        });
        Prefix { lookups: lookups.collect(), fewest, needed: (0..=most).map(needed).collect() }
    }

    /// Returns the similarity of a group, if it is enough; its tokens are sorted, each once, as they are stored.
    #[must_use]
    pub fn compare<'a>(&self, sorted: impl Iterator<Item = &'a str>) -> Option<f64> {
        let similarity = self.tokens.similarity_of(sorted);
        (similarity >= self.least.get()).then_some(similarity)
    }

    /// Returns this search for what is most similar, and then as it is: where the first one finds as many as are wanted,
    /// there are none better, and the masses that are a little similar need not be looked at.
    pub fn stages(&self) -> impl Iterator<Item = Self> + '_ {
        let strict = (self.least < STRICT).then_some(STRICT);
        strict.into_iter().chain([self.least]).map(|least| Self { tokens: self.tokens.clone(), least })
    }
}

impl Prefix {
    /// Returns how many of the tokens looked up for groups of so many tokens such a group must have; none if it cannot
    /// be similar enough.
    #[must_use]
    pub fn needed(&self, size: usize) -> Option<usize> {
        self.needed.get(size).copied().filter(|_| size >= self.fewest)
    }

    /// Returns the same for every size from 1 to the largest.
    #[must_use]
    pub fn needed_by_size(&self) -> &[usize] {
        self.needed.get(1..).unwrap_or_default()
    }
}
