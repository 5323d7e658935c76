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

/// Words with which the name of an amount of work ends.
const AMOUNTS: [&str; 18] = [
    "bytes", "size", "length", "count", "total", "rows", "records", "items", "messages", "tokens", "files",
    "pages", "lines", "chars", "pixels", "samples", "elements", "cores",
];

/// Returns whether a number of this name says how much there is to do, as far as names can say: its last
/// word is one of those that such names end with (`input_bytes`, `http.request.body.size`, `row_count`).
#[must_use]
pub fn is_amount(name: &str) -> bool {
    let last = name.rsplit(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or(name);
    AMOUNTS.iter().any(|amount| last.eq_ignore_ascii_case(amount))
}

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
pub struct Features(Vec<Held>);

#[derive(Clone, Debug, PartialEq)]
struct Held {
    name: String,
    feature: Feature,
    /// Whether it is the step's own, rather than its execution's.
    own: bool,
}

impl Features {
    /// Returns those of an execution.
    #[must_use]
    pub fn of_execution(version: Option<&Version>, attributes: &Attributes) -> Self {
        let mut features = Self::default();
        if let Some(version) = version {
            features.put(VERSION, &Value::String(version.as_str().to_owned()), false);
        }
        for (name, value) in attributes.entries() {
            features.put(name, value, false);
        }
        features
    }

    /// Returns these and those of a step, whose own take the place of its execution's.
    #[must_use]
    pub fn with(&self, attributes: &Attributes) -> Self {
        let mut all = self.clone();
        for (name, value) in attributes.entries() {
            all.put(name, value, true);
        }
        all
    }

    /// Returns a value.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Feature> {
        let at = self.0.binary_search_by(|held| held.name.as_str().cmp(name)).ok()?;
        self.0.get(at).map(|held| &held.feature)
    }

    /// Returns names and values, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Feature)> {
        self.0.iter().map(|held| (held.name.as_str(), &held.feature))
    }

    /// Returns names and values, those of the step before those of its execution: what is attached to a step
    /// says more of it.
    pub fn own_first(&self) -> impl Iterator<Item = (&str, &Feature)> {
        let of = move |own: bool| self.0.iter().filter(move |held| held.own == own);
        of(true).chain(of(false)).map(|held| (held.name.as_str(), &held.feature))
    }

    /// Returns whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn put(&mut self, name: &str, value: &Value, own: bool) {
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
        let entry = Held { name: name.to_owned(), feature, own };
        match self.0.binary_search_by(|held| held.name.as_str().cmp(name)) {
            Ok(at) => {
                if let Some(held) = self.0.get_mut(at) {
                    *held = entry;
                }
            }
            Err(at) => self.0.insert(at, entry),
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
    fn an_amount_is_known_by_the_last_word_of_its_name() {
        let amounts =
            ["input_bytes", "http.request.body.size", "row-count", "llm.usage.input_tokens", "ROWS"];
        assert_eq!(amounts.map(is_amount), [true; 5]);
        let others = ["build", "retries", "attempt", "started_at", "bytes_id", "size.class", ""];
        assert_eq!(others.map(is_amount), [false; 7]);
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
