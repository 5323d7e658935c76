//! Brings foreign attributes within the bounds of this service.
//!
//! Invariant: nothing is refused. A text that is too long is cut, what cannot be cut is left out, and
//! the first ones stay where there are too many: one odd value must not cost an execution.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use serde_json::Value;
use tracer_core::limits;

/// Deepest nesting of a value that is kept: it stands within a body that must not exceed
/// [`limits::JSON_DEPTH`].
const DEPTH: usize = 16;
/// More bytes than any number has in JSON.
const LONGEST_NUMBER: usize = 24;

/// Attributes that fit.
#[derive(Debug, Default)]
pub(crate) struct Fitting {
    entries: BTreeMap<String, Value>,
    bytes: usize,
}

impl Fitting {
    /// Adds a value, unless there is one of that key or no room; returns whether it did.
    pub(crate) fn take(&mut self, key: &str, value: Value) -> bool {
        match value {
            Value::String(text) => self.take_text(key, &text),
            Value::Array(_) | Value::Object(_) => match without_nul(value, DEPTH) {
                Some(value) => {
                    let bytes = value.to_string().len();
                    self.insert(key, value, bytes)
                }
                None => false,
            },
            Value::Null | Value::Bool(_) | Value::Number(_) => self.insert(key, value, LONGEST_NUMBER),
        }
    }

    /// Adds a text, which is cut where it is too long; as [`Fitting::take`].
    pub(crate) fn take_text(&mut self, key: &str, text: &str) -> bool {
        let (text, bytes) = cut_text(text);
        self.insert(key, Value::String(text), bytes)
    }

    fn insert(&mut self, key: &str, value: Value, bytes: usize) -> bool {
        if self.entries.len() == limits::ATTRIBUTES || bytes > limits::ATTRIBUTE_VALUE_BYTES {
            return false;
        }
        let key = if key.contains('\0') { key.replace('\0', "\u{fffd}") } else { key.to_owned() };
        let total = self.bytes + key.len() + bytes;
        if !(1..=limits::ATTRIBUTE_KEY_BYTES).contains(&key.len()) || total > limits::ATTRIBUTES_BYTES {
            return false;
        }
        match self.entries.entry(key) {
            Entry::Occupied(_) => false,
            Entry::Vacant(place) => {
                place.insert(value);
                self.bytes = total;
                true
            }
        }
    }

    /// Returns what fitted.
    pub(crate) fn into_entries(self) -> BTreeMap<String, Value> {
        self.entries
    }
}

/// Returns the value without NUL, which databases refuse; none if it is nested too deeply.
fn without_nul(value: Value, levels: usize) -> Option<Value> {
    let replaced = |text: String| if text.contains('\0') { text.replace('\0', "\u{fffd}") } else { text };
    Some(match value {
        Value::String(text) => Value::String(replaced(text)),
        Value::Array(items) => {
            let inner = levels.checked_sub(1)?;
            Value::Array(items.into_iter().map(|item| without_nul(item, inner)).collect::<Option<_>>()?)
        }
        Value::Object(members) => {
            let inner = levels.checked_sub(1)?;
            let member = |(key, value)| Some((replaced(key), without_nul(value, inner)?));
            Value::Object(members.into_iter().map(member).collect::<Option<_>>()?)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value,
    })
}

/// Returns a text as an attribute that every store takes: without NUL, and cut where it is too long.
pub(crate) fn text_value(text: &str) -> Value {
    Value::String(cut_text(text).0)
}

/// Returns a text as it is kept, and the bytes it counts for: those it has in JSON.
fn cut_text(text: &str) -> (String, usize) {
    const ROOM: usize = limits::ATTRIBUTE_VALUE_BYTES - 2;
    const CUT: &str = "…";
    // Most texts fit, and have nothing to escape.
    let plain = |byte: u8| byte >= b' ' && byte != b'"' && byte != b'\\';
    if text.len() <= ROOM && text.bytes().all(plain) {
        return (text.to_owned(), text.len() + 2);
    }
    let (mut used, mut fits) = (0, String::new());
    for c in text.chars().map(|c| if c == '\0' { char::REPLACEMENT_CHARACTER } else { c }) {
        used += written_bytes(c);
        if used > ROOM {
            while used + CUT.len() > ROOM {
                used -= if let Some(last) = fits.pop() { written_bytes(last) } else { break };
            }
            used += CUT.len();
            fits.push_str(CUT);
            break;
        }
        fits.push(c);
    }
    (fits, used + 2)
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
        entries.into_iter().for_each(|(key, value)| {
            fitting.take(&key, value);
        });
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
