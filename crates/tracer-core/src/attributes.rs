//! What clients attach to executions and steps, within bounds.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

use crate::limits;

/// Named values on an execution or a step: few, small, and storable in every database.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Attributes(BTreeMap<String, Value>);

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
        let attributes = Self(entries);
        attributes.check()?;
        Ok(attributes)
    }

    /// Takes attributes that were checked before they were stored.
    #[must_use]
    pub fn from_stored(entries: BTreeMap<String, Value>) -> Self {
        Self(entries)
    }

    /// Adds `later` ones, which replace entries of the same key.
    ///
    /// # Errors
    /// [`AttributesError`] if the sum is too many or too large; then nothing is added.
    pub fn merge(&mut self, later: &Self) -> Result<(), AttributesError> {
        if later.is_empty() {
            return Ok(());
        }
        let mut merged = self.0.clone();
        merged.extend(later.0.iter().map(|(key, value)| (key.clone(), value.clone())));
        *self = Self::new(merged)?;
        Ok(())
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
        for (key, value) in &self.0 {
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
    fn merging_replaces_equal_keys_and_keeps_the_bounds() {
        let mut all = of(json!({"a": 1, "b": 1})).unwrap();
        all.merge(&of(json!({"b": 2, "c": 2})).unwrap()).unwrap();
        assert_eq!(Ok(all.clone()), of(json!({"a": 1, "b": 2, "c": 2})));
        let many: BTreeMap<_, _> = (0..64).map(|n| (n.to_string(), json!(n))).collect();
        assert_eq!(all.merge(&Attributes(many)), Err(AttributesError::TooMany));
        assert_eq!(all.entries().len(), 3);
    }
}
