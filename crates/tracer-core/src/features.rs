//! What a step says of itself that may explain how long it takes.
//!
//! Invariant: few, short, and sorted by name; numbers are finite and not negative.
//! Not here: which of them explain anything (`baseline::explain`), or make a cohort (`cohort`).

use serde_json::Value;

use crate::attributes::Attributes;
use crate::name::Version;

/// Longest name of an attribute that can explain a duration, in bytes.
pub const NAME_BYTES: usize = 48;
/// Longest text that can, in bytes: a longer one is prose, a path or a payload.
pub const TEXT_BYTES: usize = 64;
/// The feature that an execution's version is; a step's attribute of this name takes its place.
pub const VERSION: &str = "version";

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub enum Feature {
    /// A number.
    Number(f64),
    /// A text, or `true` or `false`.
    Text(String),
}

/// The values of one step, its execution's among them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Features(Vec<(String, Feature)>);

impl Features {
    /// Returns those of an execution.
    #[must_use]
    pub fn of_execution(version: Option<&Version>, attributes: &Attributes) -> Self {
        let mut features = Self::default();
        if let Some(version) = version {
            features.put(VERSION, &Value::String(version.as_str().to_owned()));
        }
        features.with(attributes)
    }

    /// Returns these and those of a step, whose own take the place of its execution's.
    #[must_use]
    pub fn with(&self, attributes: &Attributes) -> Self {
        let mut all = self.clone();
        for (name, value) in attributes.entries() {
            all.put(name, value);
        }
        all
    }

    /// Returns a value.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Feature> {
        let at = self.0.binary_search_by(|(held, _)| held.as_str().cmp(name)).ok()?;
        self.0.get(at).map(|(_, feature)| feature)
    }

    /// Returns names and values, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Feature)> {
        self.0.iter().map(|(name, feature)| (name.as_str(), feature))
    }

    /// Returns whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn put(&mut self, name: &str, value: &Value) {
        let feature = match value {
            Value::Number(number) => {
                // Minus zero is zero, and told so.
                number.as_f64().filter(|n| n.is_finite() && *n >= 0.0).map(|n| Feature::Number(n.abs()))
            }
            Value::Bool(flag) => Some(Feature::Text(flag.to_string())),
            Value::String(text) => (text.len() <= TEXT_BYTES).then(|| Feature::Text(text.clone())),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        };
        let Some(feature) = feature.filter(|_| name.len() <= NAME_BYTES) else { return };
        match self.0.binary_search_by(|(held, _)| held.as_str().cmp(name)) {
            Ok(at) => {
                if let Some((_, held)) = self.0.get_mut(at) {
                    *held = feature;
                }
            }
            Err(at) => self.0.insert(at, (name.to_owned(), feature)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn attributes(value: Value) -> Attributes {
        Attributes::new(serde_json::from_value(value).unwrap()).unwrap()
    }

    #[test]
    fn a_step_has_its_executions_features_and_its_own_in_their_place() {
        let execution = attributes(json!({"region": "eu", "rows": 7, "tags": ["a"], "debt": -1}));
        let version = Version::new("3").unwrap();
        let of_execution = Features::of_execution(Some(&version), &execution);
        let step = of_execution
            .with(&attributes(json!({"rows": 9, "gpu": true, "cost": -0.0, "prose": "x".repeat(65)})));
        let shown: Vec<_> = step.iter().map(|(name, feature)| format!("{name} {feature:?}")).collect();
        assert_eq!(
            shown,
            [
                "cost Number(0.0)",
                r#"gpu Text("true")"#,
                r#"region Text("eu")"#,
                "rows Number(9.0)",
                r#"version Text("3")"#
            ]
        );
        assert_eq!(step.get("rows"), Some(&Feature::Number(9.0)));
        assert_eq!(step.get("row"), None);
    }
}
