//! What makes history comparable, and the key under which it is kept.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::detect::told_range;
use crate::features::{Feature, Features, NAME_BYTES};
use crate::name::{StepName, WorkflowName};

/// The attributes, and their values, that a step shares with the history it is compared with.
///
/// Empty means the whole history of the step.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Cohort(BTreeMap<String, String>);

impl Cohort {
    /// Returns the cohort with these attributes and values.
    pub fn of(parts: impl IntoIterator<Item = (String, String)>) -> Self {
        Self(parts.into_iter().collect())
    }

    /// Returns whether it is the whole history.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the attributes and their values, sorted by attribute.
    #[must_use]
    pub fn parts(&self) -> &BTreeMap<String, String> {
        &self.0
    }
}

/// What makes a step's history comparable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum CohortSpec {
    /// Whichever of its attributes is seen to explain its durations.
    #[default]
    Auto,
    /// Nothing: all of its history.
    Whole,
    /// These, together.
    Given(Vec<Dimension>),
}

/// An attribute that makes history comparable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dimension {
    /// Its name; `version` is also the version of the execution.
    pub attribute: String,
    /// What must be the same.
    pub scale: Scale,
}

/// When two values of an attribute are comparable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// When they are equal.
    Equal,
    /// When they are numbers between the same powers of two.
    Log2,
}

impl CohortSpec {
    /// Returns the cohort of a step with these features; none where one that is named is missing, or the
    /// setting names none.
    #[must_use]
    pub fn cohort(&self, features: &Features) -> Option<Cohort> {
        let Self::Given(dimensions) = self else { return None };
        let parts = dimensions.iter().map(|dimension| {
            let value = dimension.value(features.get(&dimension.attribute)?)?;
            Some((dimension.attribute.clone(), value))
        });
        parts.collect::<Option<BTreeMap<_, _>>>().map(Cohort).filter(|cohort| !cohort.is_whole())
    }
}

impl Dimension {
    /// Reads `attribute` or `log2(attribute)`; none if it is neither.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (attribute, scale) = match text.strip_prefix("log2(").and_then(|rest| rest.strip_suffix(')')) {
            Some(inner) => (inner.trim(), Scale::Log2),
            None => (text.trim(), Scale::Equal),
        };
        let plain = !attribute.is_empty() && attribute.len() <= NAME_BYTES && !attribute.contains(['(', ')']);
        plain.then(|| Self { attribute: attribute.to_owned(), scale })
    }

    fn value(&self, feature: &Feature) -> Option<String> {
        match (self.scale, feature) {
            (Scale::Equal, Feature::Text(text)) => Some(text.clone()),
            (Scale::Equal, Feature::Number(number)) => Some(number.to_string()),
            (Scale::Log2, Feature::Number(number)) if *number < 1.0 => Some("below 1".to_owned()),
            (Scale::Log2, Feature::Number(number)) => {
                let low = 2_f64.powf(number.log2().floor());
                Some(told_range(&self.attribute, low, low * 2.0))
            }
            (Scale::Log2, Feature::Text(_)) => None,
        }
    }
}

/// Identifies a baseline: the first 16 bytes of SHA-256 over workflow, step and cohort.
///
/// A cryptographic hash, because the names come from clients, and a collision that somebody seeks
/// would mix two histories.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BaselineKey([u8; 16]);

impl BaselineKey {
    /// Returns the key of a step's history.
    #[must_use]
    pub fn of_step(workflow: &WorkflowName, step: &StepName, cohort: &Cohort) -> Self {
        Self::digest(workflow.as_str(), step.as_str(), cohort)
    }

    /// Returns the key of the history of a workflow's executions as wholes.
    #[must_use]
    pub fn of_workflow(workflow: &WorkflowName) -> Self {
        // No step has an empty name, so this key is no step's.
        Self::digest(workflow.as_str(), "", &Cohort::default())
    }

    fn digest(workflow: &str, step: &str, cohort: &Cohort) -> Self {
        let mut hash = Sha256::new();
        let parts = cohort.0.iter().flat_map(|(key, value)| [key.as_str(), value.as_str()]);
        for part in [workflow, step].into_iter().chain(parts) {
            // With lengths, so that no two lists of parts are the same bytes.
            hash.update(part.len().to_le_bytes());
            hash.update(part.as_bytes());
        }
        let mut key = [0; 16];
        key.copy_from_slice(hash.finalize().get(..16).unwrap_or(&[0; 16]));
        Self(key)
    }

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

impl fmt::Debug for BaselineKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_histories_share_a_key() {
        let workflow = |text: &str| WorkflowName::new(text).unwrap();
        let step = |text: &str| StepName::new(text).unwrap();
        let whole = Cohort::default();
        let version = |v: &str| Cohort(BTreeMap::from([("version".into(), v.into())]));
        let keys = [
            BaselineKey::of_step(&workflow("ab"), &step("c"), &whole),
            BaselineKey::of_step(&workflow("a"), &step("bc"), &whole),
            BaselineKey::of_step(&workflow("a"), &step("bc"), &version("1")),
            BaselineKey::of_step(&workflow("a"), &step("bc"), &version("2")),
            BaselineKey::of_workflow(&workflow("a")),
            BaselineKey::of_workflow(&workflow("ab")),
        ];
        let distinct: std::collections::BTreeSet<_> = keys.iter().collect();
        assert_eq!(distinct.len(), keys.len());
    }
}
