//! Brings foreign attributes within the bounds of this service.
//!
//! Invariant: nothing is refused. A text that is too long is cut, what cannot be cut is left out, and
//! the first ones stay where there are too many: one odd value must not cost an execution.

use std::collections::BTreeMap;

use serde_json::Value;
use tracer_core::limits;

/// Deepest nesting of a value that is kept: it stands within a body that must not exceed
/// [`limits::JSON_DEPTH`].
const DEPTH: usize = 16;

/// Attributes that fit.
#[derive(Debug, Default)]
pub(super) struct Fitting {
    entries: BTreeMap<String, Value>,
    bytes: usize,
}

impl Fitting {
    /// Adds a value, unless there is one of that key or no room.
    pub(super) fn add(&mut self, key: &str, value: &Value) {
        let key = key.replace('\0', "\u{fffd}");
        let keyed = (1..=limits::ATTRIBUTE_KEY_BYTES).contains(&key.len());
        if !keyed || self.entries.len() == limits::ATTRIBUTES || self.entries.contains_key(&key) {
            return;
        }
        let Some((value, bytes)) = fitting(value) else { return };
        let bytes = self.bytes + key.len() + bytes;
        if bytes <= limits::ATTRIBUTES_BYTES {
            self.bytes = bytes;
            self.entries.insert(key, value);
        }
    }

    /// Returns what fitted.
    pub(super) fn into_entries(self) -> BTreeMap<String, Value> {
        self.entries
    }
}

/// Returns a value that every store takes, and the bytes it counts for.
fn fitting(value: &Value) -> Option<(Value, usize)> {
    let value = match value {
        Value::String(text) => text_value(text),
        Value::Array(_) | Value::Object(_) => without_nul(value, DEPTH)?,
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    };
    let bytes = value.to_string().len();
    (bytes <= limits::ATTRIBUTE_VALUE_BYTES).then_some((value, bytes))
}

/// Returns the value without NUL, which databases refuse; none if it is nested too deeply.
fn without_nul(value: &Value, levels: usize) -> Option<Value> {
    let replaced = |text: &str| text.replace('\0', "\u{fffd}");
    Some(match value {
        Value::String(text) => Value::String(replaced(text)),
        Value::Array(items) => {
            let inner = levels.checked_sub(1)?;
            Value::Array(items.iter().map(|item| without_nul(item, inner)).collect::<Option<_>>()?)
        }
        Value::Object(members) => {
            let inner = levels.checked_sub(1)?;
            let member = |(key, value): (&String, &Value)| Some((replaced(key), without_nul(value, inner)?));
            Value::Object(members.iter().map(member).collect::<Option<_>>()?)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    })
}

/// Returns a text as an attribute that every store takes: without NUL, and cut where it is too long.
pub(super) fn text_value(text: &str) -> Value {
    const CUT: &str = "…";
    let room = limits::ATTRIBUTE_VALUE_BYTES - 2;
    let (mut used, mut fits) = (0, String::new());
    for c in text.chars().map(|c| if c == '\0' { char::REPLACEMENT_CHARACTER } else { c }) {
        used += written_bytes(c);
        if used > room {
            while used + CUT.len() > room {
                used -= if let Some(last) = fits.pop() { written_bytes(last) } else { break };
            }
            fits.push_str(CUT);
            break;
        }
        fits.push(c);
    }
    Value::String(fits)
}

/// Returns how many bytes a character takes in JSON.
fn written_bytes(c: char) -> usize {
    match c {
        '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
        '\0'..='\u{1f}' => 6,
        _ => c.len_utf8(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tracer_core::attributes::Attributes;

    use super::*;

    fn kept(entries: impl IntoIterator<Item = (String, Value)>) -> BTreeMap<String, Value> {
        let mut fitting = Fitting::default();
        entries.into_iter().for_each(|(key, value)| fitting.add(&key, &value));
        let entries = fitting.into_entries();
        assert!(Attributes::new(entries.clone()).is_ok(), "{entries:?}");
        entries
    }

    #[test]
    fn what_is_too_long_is_cut_and_what_cannot_be_cut_is_left_out() {
        let deep = (0..20).fold(json!(1), |inner, _| json!([inner]));
        let entries = kept([
            ("text".to_owned(), json!("é\"".repeat(3000))),
            ("list".to_owned(), json!(vec!["x"; 3000])),
            ("deep".to_owned(), deep),
            ("k".repeat(129), json!(1)),
            (String::new(), json!(1)),
            ("nul\0".to_owned(), json!({"a\0": ["b\0", 1.5, null, true]})),
            ("text".to_owned(), json!("a second one")),
        ]);
        let text = entries["text"].as_str().unwrap();
        assert!(text.ends_with('…') && text.len() > 2000, "{text}");
        assert_eq!(entries.len(), 2);
        assert_eq!(entries["nul\u{fffd}"], json!({"a\u{fffd}": ["b\u{fffd}", 1.5, null, true]}));
    }

    #[test]
    fn the_first_ones_stay_where_there_are_too_many() {
        let many = kept((0..100).map(|n| (format!("{n:03}"), json!(n))));
        assert_eq!((many.len(), many.contains_key("063")), (64, true));
        let large = kept((0..20).map(|n| (format!("{n:03}"), json!("v".repeat(4000)))));
        assert_eq!(large.len(), 8);
    }
}
