//! The messages of OTLP that carry spans, and how they are written in JSON.
//!
//! The rules are those of <https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>: ids are
//! hexadecimal in either case (not base64, as in other protobuf JSON), enumerations are integers, 64-bit
//! integers may be strings or numbers, unknown members are ignored. What is left out or `null` has its
//! default, as protobuf's JSON has it (<https://protobuf.dev/programming-guides/json/>); a number that is
//! not finite is a string.
//!
//! These are own types because the `opentelemetry-proto` crate, at 0.33, refuses what these rules allow
//! (an empty `arrayValue: {}`, `null` for a parent's id, `"NaN"`), and brings an SDK with it.
//!
//! Only what is used is here: links, scopes and the counts of what was dropped are passed over.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};
use serde_json::Value;
use tracer_core::ids::{ExecutionId, StepId};

/// `TracesData`, and an `ExportTraceServiceRequest`, which is written alike.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TracesData {
    /// Spans by what produced them.
    #[serde(deserialize_with = "or_default")]
    pub resource_spans: Vec<ResourceSpans>,
}

/// The spans of one resource.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ResourceSpans {
    /// What produced them.
    #[serde(deserialize_with = "or_default")]
    pub resource: Resource,
    /// They, by the library that made them.
    #[serde(deserialize_with = "or_default")]
    pub scope_spans: Vec<ScopeSpans>,
}

/// What produces spans, such as a process of a service.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Resource {
    /// What is known of it.
    #[serde(deserialize_with = "or_default")]
    pub attributes: Vec<KeyValue>,
}

/// The spans of one library.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct ScopeSpans {
    /// They.
    #[serde(deserialize_with = "or_default")]
    pub spans: Vec<WireSpan>,
}

/// A span.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WireSpan {
    /// The trace it is part of.
    #[serde(deserialize_with = "trace_id")]
    pub trace_id: ExecutionId,
    /// Its id.
    #[serde(deserialize_with = "span_id")]
    pub span_id: StepId,
    /// The span that it is part of; none if it is the root.
    #[serde(default, deserialize_with = "parent_span_id")]
    pub parent_span_id: Option<StepId>,
    /// What it is called.
    #[serde(default, deserialize_with = "or_default")]
    pub name: String,
    /// Its `SpanKind`.
    #[serde(default, deserialize_with = "or_default")]
    pub kind: i32,
    /// When it began, in nanoseconds since 1970; 0 if that is not known.
    #[serde(default, deserialize_with = "or_default")]
    pub start_time_unix_nano: Nanos,
    /// When it ended.
    #[serde(default, deserialize_with = "or_default")]
    pub end_time_unix_nano: Nanos,
    /// What is known of it.
    #[serde(default, deserialize_with = "or_default")]
    pub attributes: Vec<KeyValue>,
    /// What happened in it.
    #[serde(default, deserialize_with = "or_default")]
    pub events: Vec<Event>,
    /// How it ended.
    #[serde(default, deserialize_with = "or_default")]
    pub status: Status,
}

/// Something that happened in a span.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Event {
    /// What it is called, such as `exception`.
    #[serde(deserialize_with = "or_default")]
    pub name: String,
    /// What is known of it.
    #[serde(deserialize_with = "or_default")]
    pub attributes: Vec<KeyValue>,
}

/// How a span ended.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Status {
    /// Its `StatusCode`.
    #[serde(deserialize_with = "or_default")]
    pub code: i32,
    /// What is said of an error.
    #[serde(deserialize_with = "or_default")]
    pub message: String,
}

/// An attribute.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct KeyValue {
    /// Its key.
    #[serde(deserialize_with = "or_default")]
    pub key: String,
    /// Its value; bytes are base64, and a number that is not finite is its name.
    #[serde(deserialize_with = "any_value")]
    pub value: Value,
}

/// Nanoseconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Nanos(pub u64);

/// An `AnyValue` as it is written: at most one member is there.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct AnyValue {
    string_value: Option<String>,
    bool_value: Option<bool>,
    int_value: Option<Int>,
    double_value: Option<Double>,
    array_value: Option<List<AnyValue>>,
    kvlist_value: Option<List<KeyValue>>,
    bytes_value: Option<String>,
}

#[derive(Deserialize)]
#[serde(bound = "T: Deserialize<'de>")]
struct List<T> {
    #[serde(default = "Vec::new", deserialize_with = "or_default")]
    values: Vec<T>,
}

struct Int(i64);

/// A number, or `NaN`, `Infinity` or `-Infinity`.
#[derive(Deserialize)]
#[serde(untagged)]
enum Double {
    Finite(f64),
    Named(String),
}

impl AnyValue {
    fn into_value(self) -> Value {
        let list = |list: List<Self>| list.values.into_iter().map(Self::into_value).collect();
        let object =
            |list: List<KeyValue>| list.values.into_iter().map(|pair| (pair.key, pair.value)).collect();
        let double = |double| match double {
            Double::Finite(number) => Value::from(number),
            Double::Named(name) => Value::String(name),
        };
        self.string_value
            .map(Value::String)
            .or_else(|| self.bool_value.map(Value::Bool))
            .or_else(|| self.int_value.map(|Int(number)| Value::from(number)))
            .or_else(|| self.double_value.map(double))
            .or_else(|| self.array_value.map(|values| Value::Array(list(values))))
            .or_else(|| self.kvlist_value.map(|values| Value::Object(object(values))))
            .or_else(|| self.bytes_value.map(Value::String))
            .unwrap_or_default()
    }
}

/// Reads a value, or takes its default where it is `null`.
fn or_default<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Deserialize<'de> + Default,
    D: Deserializer<'de>,
{
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

fn any_value<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
    or_default(deserializer).map(AnyValue::into_value)
}

fn trace_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ExecutionId, D::Error> {
    let text: String = or_default(deserializer)?;
    let id = hexadecimal(&text, 32).and_then(ExecutionId::from_u128);
    id.ok_or_else(|| D::Error::custom("must be 32 hexadecimal digits, not all of them zero"))
}

fn span_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<StepId, D::Error> {
    let text: String = or_default(deserializer)?;
    let id = hexadecimal(&text, 16).and_then(|bits| u64::try_from(bits).ok()).and_then(StepId::from_u64);
    id.ok_or_else(|| D::Error::custom("must be 16 hexadecimal digits, not all of them zero"))
}

/// Some exporters write the root's parent as zeros.
fn parent_span_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<StepId>, D::Error> {
    let text: String = or_default(deserializer)?;
    if text.is_empty() {
        return Ok(None);
    }
    let bits = hexadecimal(&text, 16).and_then(|bits| u64::try_from(bits).ok());
    bits.map(StepId::from_u64).ok_or_else(|| D::Error::custom("must be 16 hexadecimal digits, or empty"))
}

/// Returns the number that so many hexadecimal digits are; none if they are anything else.
pub(super) fn hexadecimal(text: &str, digits: usize) -> Option<u128> {
    let all = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    all.then(|| u128::from_str_radix(text, 16).ok()).flatten()
}

/// Reads a 64-bit integer from a number or a string.
struct Integer;

impl Visitor<'_> for Integer {
    type Value = i128;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number of 64 bits, or a string of its digits")
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<i128, E> {
        Ok(number.into())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<i128, E> {
        Ok(number.into())
    }

    /// JavaScript writes large ones with an exponent.
    fn visit_f64<E: Error>(self, number: f64) -> Result<i128, E> {
        #[expect(clippy::cast_possible_truncation, reason = "whole, and `as` saturates")]
        let whole = (number.fract() == 0.0).then_some(number as i128);
        whole.ok_or_else(|| E::custom("must be a whole number"))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<i128, E> {
        text.parse().map_err(|_| E::custom("must be a whole number"))
    }
}

impl<'de> Deserialize<'de> for Nanos {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = deserializer.deserialize_any(Integer)?;
        let nanos = u64::try_from(number);
        nanos.map(Self).map_err(|_| D::Error::custom("must be nanoseconds since 1970, in 64 bits"))
    }
}

impl<'de> Deserialize<'de> for Int {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = deserializer.deserialize_any(Integer)?;
        i64::try_from(number).map(Self).map_err(|_| D::Error::custom("must be a whole number of 64 bits"))
    }
}
