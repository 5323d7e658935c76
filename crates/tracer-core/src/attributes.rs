//! What clients attach to executions and steps, within bounds.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

use crate::limits;

/// Named values on an execution or a step: few, small, and storable in every database.
///
/// Cheap to clone: the values are shared.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Attributes(Arc<BTreeMap<String, Value>>);

/// Why attributes are refused.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum AttributesError {
    /// More than [`limits::ATTRIBUTES`].
    #[error("must not hold more than {} entries", limits::ATTRIBUTES)]
    TooMany,
    /// An empty key, or one over [`limits::ATTRIBUTE_KEY_BYTES`].
    #[error("must have keys of 1 to {} bytes", limits::ATTRIBUTE_KEY_BYTES)]
    Key,
    /// A value over [`limits::ATTRIBUTE_VALUE_BYTES`].
    #[error("must not hold a value of more than {} bytes", limits::ATTRIBUTE_VALUE_BYTES)]
    Value,
    /// All together over [`limits::ATTRIBUTES_BYTES`].
    #[error("must not exceed {} bytes in all", limits::ATTRIBUTES_BYTES)]
    TooLarge,
    /// A NUL character, which databases refuse.
    #[error("must not contain NUL characters")]
    Nul,
}

impl Attributes {
    /// Checks a client's attributes.
    ///
    /// # Errors
    /// [`AttributesError`] if they are too many, too large, or hold a NUL.
    pub fn new(entries: BTreeMap<String, Value>) -> Result<Self, AttributesError> {
        let attributes = Self(Arc::new(entries));
        attributes.check()?;
        Ok(attributes)
    }

    /// Takes attributes that were checked before they were stored.
    #[must_use]
    pub fn from_stored(entries: BTreeMap<String, Value>) -> Self {
        Self(Arc::new(entries))
    }

    /// Adds `later` ones, which replace entries of the same key.
    ///
    /// # Errors
    /// [`AttributesError`] if the sum is too many or too large; then nothing is added.
    pub fn merge(&mut self, later: &Self) -> Result<(), AttributesError> {
        if later.is_empty() {
            return Ok(());
        }
        let mut merged = BTreeMap::clone(&self.0);
        merged.extend(later.0.iter().map(|(key, value)| (key.clone(), value.clone())));
        *self = Self::new(merged)?;
        Ok(())
    }

    /// Returns these and, as far as there is room, those of `others` whose keys are not among them.
    #[must_use]
    pub fn joined(&self, others: &Self) -> Self {
        let mut joined = BTreeMap::clone(&self.0);
        let mut total: usize = joined.iter().map(|(key, value)| key.len() + written_bytes(value)).sum();
        for (key, value) in &*others.0 {
            let bytes = key.len() + written_bytes(value);
            let has_room = joined.len() < limits::ATTRIBUTES && total + bytes <= limits::ATTRIBUTES_BYTES;
            if has_room && !joined.contains_key(key) {
                total += bytes;
                joined.insert(key.clone(), value.clone());
            }
        }
        Self(Arc::new(joined))
    }

    /// Returns the bytes of keys and values, as [`limits::ATTRIBUTES_BYTES`] counts them.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.iter().map(|(key, value)| key.len() + written_bytes(value)).sum()
    }

    /// Returns whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the entries, sorted by key.
    #[must_use]
    pub fn entries(&self) -> &BTreeMap<String, Value> {
        &self.0
    }

    fn check(&self) -> Result<(), AttributesError> {
        if self.0.len() > limits::ATTRIBUTES {
            return Err(AttributesError::TooMany);
        }
        let mut total = 0;
        for (key, value) in &*self.0 {
            if key.is_empty() || key.len() > limits::ATTRIBUTE_KEY_BYTES {
                return Err(AttributesError::Key);
            }
            if key.contains('\0') || holds_nul(value) {
                return Err(AttributesError::Nul);
            }
            let bytes = written_bytes(value);
            if bytes > limits::ATTRIBUTE_VALUE_BYTES {
                return Err(AttributesError::Value);
            }
            total += key.len() + bytes;
        }
        if total > limits::ATTRIBUTES_BYTES { Err(AttributesError::TooLarge) } else { Ok(()) }
    }
}

/// A text counts by its own bytes, anything else by its JSON.
fn written_bytes(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            value.to_string().len()
        }
    }
}

fn holds_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(holds_nul),
        Value::Object(fields) => fields.iter().any(|(key, field)| key.contains('\0') || holds_nul(field)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(value: Value) -> Result<Attributes, AttributesError> {
        Attributes::new(serde_json::from_value(value).unwrap())
    }

    #[test]
    fn attributes_are_few_small_and_free_of_nul() {
        assert!(of(json!({"region": "eu", "cores": 4, "tags": ["a", "b"], "none": null})).is_ok());
        assert_eq!(of(json!({"": 1})), Err(AttributesError::Key));
        assert_eq!(of(json!({"k".repeat(129): 1})), Err(AttributesError::Key));
        assert!(of(json!({"k": "v".repeat(4096)})).is_ok());
        assert_eq!(of(json!({"k": "v".repeat(4097)})), Err(AttributesError::Value));
        assert_eq!(of(json!({"k": {"deep": ["a\0b"]}})), Err(AttributesError::Nul));
        let many: BTreeMap<_, _> = (0..65).map(|n| (n.to_string(), json!(n))).collect();
        assert_eq!(Attributes::new(many), Err(AttributesError::TooMany));
        let large: BTreeMap<_, _> = (0..9).map(|n| (n.to_string(), json!("v".repeat(4000)))).collect();
        assert_eq!(Attributes::new(large), Err(AttributesError::TooLarge));
    }

    #[test]
    fn joining_keeps_what_was_there_and_adds_what_has_room() {
        let own = of(json!({"a": 1, "b": "own"})).unwrap();
        let joined = own.joined(&of(json!({"b": "other", "c": 3})).unwrap());
        assert_eq!(Ok(joined), of(json!({"a": 1, "b": "own", "c": 3})));
        let many: BTreeMap<_, _> = (0..64).map(|n| (n.to_string(), json!("v".repeat(1000)))).collect();
        let full = own.joined(&Attributes(Arc::new(many)));
        assert!(full.check().is_ok() && full.entries().len() == 34, "{}", full.entries().len());
    }

    #[test]
    fn merging_replaces_equal_keys_and_keeps_the_bounds() {
        let mut all = of(json!({"a": 1, "b": 1})).unwrap();
        all.merge(&of(json!({"b": 2, "c": 2})).unwrap()).unwrap();
        assert_eq!(Ok(all.clone()), of(json!({"a": 1, "b": 2, "c": 2})));
        let many: BTreeMap<_, _> = (0..64).map(|n| (n.to_string(), json!(n))).collect();
        assert_eq!(all.merge(&Attributes(Arc::new(many))), Err(AttributesError::TooMany));
        assert_eq!(all.entries().len(), 3);
    }
}
