//! Says what is wrong with a body that does not parse, and where, in words that repeat nothing of it.

use serde::de::DeserializeOwned;
use serde_json::error::Category;
use serde_path_to_error::{Path, Segment};

use crate::error::{ApiError, FieldError};

/// Longest part of a pointer that is told: a key may be as long as the body.
const SEGMENT_BYTES: usize = 64;

/// Parses once more, slowly, to learn where the fault is.
pub(super) fn explain<T: DeserializeOwned>(text: &str) -> ApiError {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    match serde_path_to_error::deserialize::<_, T>(&mut deserializer) {
        Err(error) => told(&error.path().clone(), error.inner()),
        // Only what follows the object can be wrong.
        Ok(_) => ApiError::bad_request("The body must be one JSON object, with nothing after it."),
    }
}

fn told(path: &Path, error: &serde_json::Error) -> ApiError {
    let place = format!(" at line {} column {}", error.line(), error.column());
    let message = error.to_string();
    let message = message.strip_suffix(&place).unwrap_or(&message);
    if message == "number out of range" {
        return ApiError::invalid(pointer(path), "is out of range");
    }
    match error.classify() {
        Category::Syntax | Category::Eof | Category::Io => ApiError::bad_request(format!(
            "The body is not valid JSON: see line {}, column {}.",
            error.line(),
            error.column()
        )),
        Category::Data => {
            let (out_of_bounds, words, field) = in_our_words(message);
            let pointer = match field {
                Some(field) => format!("{}/{field}", pointer(path)),
                None => pointer(path),
            };
            if out_of_bounds {
                return ApiError::invalid(pointer, words);
            }
            ApiError::BadRequest {
                detail: "A value in the body has the wrong type, is missing, or occurs twice.".into(),
                errors: vec![FieldError::new(pointer, words)],
            }
        }
    }
}

/// Rewrites a message of serde's without the client's values; says whether it is of bounds rather than of types,
/// and which field of the object at fault it names.
fn in_our_words(message: &str) -> (bool, String, Option<&str>) {
    if let Some(field) = between(message, "missing field `", "`") {
        return (false, "is missing".to_owned(), Some(field));
    }
    if let Some(field) = between(message, "duplicate field `", "`") {
        return (false, "occurs twice".to_owned(), Some(field));
    }
    if let Some(rest) = message.strip_prefix("invalid type: ") {
        return (false, mismatch(rest), None);
    }
    if let Some(rest) = message.strip_prefix("invalid value: ").or(message.strip_prefix("invalid length: ")) {
        return (true, mismatch(rest), None);
    }
    // The variants are ours; the variant that was sent stands before them.
    if message.starts_with("unknown variant `") {
        let known = message.rsplit_once("`, expected ").map_or("another", |(_, known)| known);
        return (true, format!("must be {}", known.replace('`', "'")), None);
    }
    if message.starts_with("data did not match any variant") {
        return (false, "has none of the forms that are accepted here".to_owned(), None);
    }
    // What our own types say: "must not be empty".
    if message.starts_with("must ") || message.starts_with("is ") {
        return (true, message.to_owned(), None);
    }
    (false, "is not valid".to_owned(), None)
}

/// Rewrites `string "hunter2", expected u64` as `must be u64, not string`.
fn mismatch(rest: &str) -> String {
    let (found, expected) = rest.rsplit_once(", expected ").unwrap_or((rest, "something else"));
    let kind = found.split(['"', '`']).next().unwrap_or_default().trim();
    let expected = match expected {
        "a string" | "string" | "str" => "a text",
        "a boolean" => "true or false",
        "a map" => "an object",
        "a sequence" => "a list",
        "f64" | "f32" => "a number",
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, not negative",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        ours if ours.starts_with("struct ") => "an object",
        ours => ours,
    };
    let kind = match kind {
        "string" => "a text",
        "integer" => "that whole number",
        "floating point" | "floating point number" | "number" => "a fraction",
        "boolean" => "true or false",
        "map" => "an object",
        "sequence" => "a list",
        "null" | "unit value" | "Option value" => "null",
        _ => "this",
    };
    format!("must be {expected}, not {kind}")
}

fn between<'a>(text: &'a str, begin: &str, end: &str) -> Option<&'a str> {
    text.strip_prefix(begin)?.split_once(end).map(|(inner, _)| inner)
}

/// Returns the JSON pointer of a path (RFC 6901), cut short before a key that is too long to repeat.
fn pointer(path: &Path) -> String {
    let mut pointer = String::new();
    for segment in path.iter() {
        let part = match segment {
            Segment::Seq { index } => index.to_string(),
            Segment::Map { key } if key.len() <= SEGMENT_BYTES => key.replace('~', "~0").replace('/', "~1"),
            Segment::Map { .. } | Segment::Enum { .. } | Segment::Unknown => break,
        };
        pointer.push('/');
        pointer.push_str(&part);
    }
    pointer
}
