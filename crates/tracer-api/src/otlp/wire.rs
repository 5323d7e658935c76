//! The messages of OTLP that carry spans and logs, as far as they are used, and the bounds they are read within.
//!
//! Protobuf and JSON become the same messages (<https://opentelemetry.io/docs/specs/otlp/>). Texts are borrowed
//! from the bytes they were read from wherever they can be.
//!
//! These are own types because generated ones hold everything that is sent: 16 MiB of empty spans are 8 million
//! of them, and several gigabytes. What is over a bound is counted here and not kept.
//!
//! Not here: how they are written (`protobuf`, `json`), and what they mean (`signals`, `mapping`).

use std::borrow::Cow;

use serde_json::Value;
use thiserror::Error;
use tracer_core::ids::{ExecutionId, StepId};
use tracer_core::limits;

/// Most attributes of one thing that are looked at: some of them may not fit, and others take their place.
const ATTRIBUTES: usize = 2 * limits::ATTRIBUTES;
/// Most attributes beyond those that are looked at because they are this service's own marks.
const MARKS: usize = 32;
/// What this service's own marks begin with.
const MARK: &str = "tracer.";
/// Deepest nesting of an attribute's value: it stands within a body that must not exceed [`limits::JSON_DEPTH`].
pub const VALUE_DEPTH: usize = 16;
/// Most parts of one attribute's value: more do not fit into [`limits::ATTRIBUTE_VALUE_BYTES`].
pub const VALUE_PARTS: usize = limits::ATTRIBUTE_VALUE_BYTES;
/// Most groups of spans in an export: by resource, and by scope.
pub const GROUPS: usize = limits::OTLP_SPANS;

/// Why an export is refused whole.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ReadError {
    /// It is not what its media type says.
    #[error("{0}")]
    Malformed(Cow<'static, str>),
    /// It holds more than is taken at once.
    #[error("The body holds more than {0} at once: send fewer.")]
    TooMuch(&'static str),
}

impl ReadError {
    /// Returns that there are more spans, or logs, or groups of them, than are taken at once.
    #[must_use]
    pub const fn too_many() -> Self {
        Self::TooMuch("65,536 spans, log records, or groups of them")
    }
}

/// What is read one by one from an export: first what produced records, then the library, then its records.
pub trait Sink<'a> {
    /// A span, or a log record.
    type Record: Record;

    /// The records that follow were produced by this.
    fn resource(&mut self, resource: Resource<'a>);

    /// The records that follow were made by this library.
    fn scope(&mut self, scope: Scope<'a>);

    /// One record.
    ///
    /// # Errors
    /// [`ReadError`] if no more can be taken.
    fn record(&mut self, record: Self::Record) -> Result<(), ReadError>;
}

/// What exports carry.
pub trait Record: Default {
    /// How JSON names the list of records by resource.
    const BY_RESOURCE: &'static str;
    /// How JSON names the list of records by scope.
    const BY_SCOPE: &'static str;
    /// How JSON names the list of records.
    const LIST: &'static str;
}

/// What produces spans, such as a process of a service.
#[derive(Clone, Debug, Default)]
pub struct Resource<'a> {
    /// What is known of it.
    pub attributes: Pairs<'a>,
}

/// A library that makes spans.
#[derive(Clone, Debug, Default)]
pub struct Scope<'a> {
    /// Its name.
    pub name: Cow<'a, str>,
    /// Its version.
    pub version: Cow<'a, str>,
}

/// A span.
#[derive(Clone, Debug, Default)]
pub struct Span<'a> {
    /// The trace it is part of.
    pub trace: Id<ExecutionId>,
    /// Its id.
    pub id: Id<StepId>,
    /// The span that it is part of; missing if it is the root.
    pub parent: Id<StepId>,
    /// What it is called.
    pub name: Cow<'a, str>,
    /// Its `SpanKind`.
    pub kind: i32,
    /// When it began, in nanoseconds since 1970; 0 if that is not known.
    pub start: u64,
    /// When it ended; 0 if it has not.
    pub end: u64,
    /// What is known of it.
    pub attributes: Pairs<'a>,
    /// What happened in it.
    pub events: Events<'a>,
    /// What it has to do with.
    pub links: Links<'a>,
    /// How it ended.
    pub status: Status<'a>,
    /// Attributes, events and links that its client dropped.
    pub dropped: u32,
}

impl Record for Span<'_> {
    const BY_RESOURCE: &'static str = "resourceSpans";
    const BY_SCOPE: &'static str = "scopeSpans";
    const LIST: &'static str = "spans";
}

/// A log record.
#[derive(Clone, Debug, Default)]
pub struct LogRecord<'a> {
    /// When it was made, in nanoseconds since 1970; 0 if that is not known.
    pub time: u64,
    /// When it was seen by whoever sent it.
    pub observed: u64,
    /// What it says.
    pub body: AnyValue<'a>,
    /// What is known of it.
    pub attributes: Pairs<'a>,
    /// The trace it is part of.
    pub trace: Id<ExecutionId>,
    /// The span it is part of.
    pub span: Id<StepId>,
    /// What kind of event it tells of.
    pub event: Cow<'a, str>,
}

impl Record for LogRecord<'_> {
    const BY_RESOURCE: &'static str = "resourceLogs";
    const BY_SCOPE: &'static str = "scopeLogs";
    const LIST: &'static str = "logRecords";
}

/// An id as it was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Id<T> {
    /// None, or zeros.
    #[default]
    Missing,
    /// Of another length, or no number.
    Wrong,
    /// One.
    Given(T),
}

impl<T> Id<T> {
    /// Returns the id, if one was given.
    #[must_use]
    pub fn given(self) -> Option<T> {
        match self {
            Self::Given(id) => Some(id),
            Self::Missing | Self::Wrong => None,
        }
    }

    fn of(id: Option<T>) -> Self {
        id.map_or(Self::Missing, Self::Given)
    }
}

impl Id<ExecutionId> {
    /// Takes bytes, most significant first.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        match <[u8; 16]>::try_from(bytes) {
            Ok(bytes) => Self::of(ExecutionId::from_u128(u128::from_be_bytes(bytes))),
            Err(_) if bytes.is_empty() => Self::Missing,
            Err(_) => Self::Wrong,
        }
    }

    /// Takes hexadecimal digits of either case.
    #[must_use]
    pub fn from_digits(text: &str) -> Self {
        match hexadecimal(text, 32) {
            Some(bits) => Self::of(ExecutionId::from_u128(bits)),
            None if text.is_empty() => Self::Missing,
            None => Self::Wrong,
        }
    }
}

impl Id<StepId> {
    /// Takes bytes, most significant first.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        match <[u8; 8]>::try_from(bytes) {
            Ok(bytes) => Self::of(StepId::from_u64(u64::from_be_bytes(bytes))),
            Err(_) if bytes.is_empty() => Self::Missing,
            Err(_) => Self::Wrong,
        }
    }

    /// Takes hexadecimal digits of either case.
    #[must_use]
    pub fn from_digits(text: &str) -> Self {
        match hexadecimal(text, 16).and_then(|bits| u64::try_from(bits).ok()) {
            Some(bits) => Self::of(StepId::from_u64(bits)),
            None if text.is_empty() => Self::Missing,
            None => Self::Wrong,
        }
    }
}

/// Returns the number that so many hexadecimal digits are; none if they are anything else.
#[must_use]
pub fn hexadecimal(text: &str, digits: usize) -> Option<u128> {
    let all = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    all.then(|| u128::from_str_radix(text, 16).ok()).flatten()
}

/// How a span ended.
#[derive(Clone, Debug, Default)]
pub struct Status<'a> {
    /// Its `StatusCode`.
    pub code: i32,
    /// What is said of an error.
    pub message: Cow<'a, str>,
}

/// Something that happened in a span.
#[derive(Clone, Debug, Default)]
pub struct Event<'a> {
    /// When, in nanoseconds since 1970.
    pub time: u64,
    /// What it is called, such as `exception`.
    pub name: Cow<'a, str>,
    /// What is known of it.
    pub attributes: Pairs<'a>,
}

/// The name of the event that tells of an error.
pub const EXCEPTION: &str = "exception";

/// What happened in a span, within [`limits::SPAN_EVENTS`].
#[derive(Clone, Debug, Default)]
pub struct Events<'a> {
    kept: Vec<Event<'a>>,
    dropped: u32,
}

impl<'a> Events<'a> {
    /// Adds one; returns whether there is one more than before. Where there are too many, the last exception
    /// takes the last place: it is what ended the span.
    pub fn push(&mut self, event: Event<'a>) -> bool {
        let room = self.kept.len() < limits::SPAN_EVENTS;
        if room {
            self.kept.push(event);
            return true;
        }
        self.dropped = self.dropped.saturating_add(1);
        if event.name == EXCEPTION
            && let Some(last) = self.kept.last_mut()
        {
            *last = event;
        }
        false
    }

    /// Returns those that are kept.
    #[must_use]
    pub fn kept(&self) -> &[Event<'a>] {
        &self.kept
    }

    /// Returns how many are not.
    #[must_use]
    pub const fn dropped(&self) -> u32 {
        self.dropped
    }
}

/// What a span has to do with.
#[derive(Clone, Debug, Default)]
pub struct Link<'a> {
    /// Its trace.
    pub trace: Id<ExecutionId>,
    /// It.
    pub span: Id<StepId>,
    /// What is known of the link.
    pub attributes: Pairs<'a>,
}

/// What a span has to do with, within [`limits::SPAN_EVENTS`].
#[derive(Clone, Debug, Default)]
pub struct Links<'a> {
    kept: Vec<Link<'a>>,
    dropped: u32,
}

impl<'a> Links<'a> {
    /// Adds one, if there is room; returns whether there was.
    pub fn push(&mut self, link: Link<'a>) -> bool {
        let room = self.kept.len() < limits::SPAN_EVENTS;
        if room {
            self.kept.push(link);
        } else {
            self.dropped = self.dropped.saturating_add(1);
        }
        room
    }

    /// Returns those that are kept.
    #[must_use]
    pub fn kept(&self) -> &[Link<'a>] {
        &self.kept
    }

    /// Returns how many are not.
    #[must_use]
    pub const fn dropped(&self) -> u32 {
        self.dropped
    }
}

/// An attribute.
#[derive(Clone, Debug, Default)]
pub struct Pair<'a> {
    /// Its key.
    pub key: Cow<'a, str>,
    /// Its value.
    pub value: AnyValue<'a>,
}

/// Attributes, so many of them as could have room.
#[derive(Clone, Debug, Default)]
pub struct Pairs<'a> {
    kept: Vec<Pair<'a>>,
    dropped: u32,
}

impl<'a> Pairs<'a> {
    /// Returns whether an attribute of such a key would be kept, and counts it if not.
    pub fn takes(&mut self, key: &str) -> bool {
        let room =
            self.kept.len() < ATTRIBUTES || (self.kept.len() < ATTRIBUTES + MARKS && key.starts_with(MARK));
        self.dropped = self.dropped.saturating_add(u32::from(!room));
        room
    }

    /// Adds one.
    pub fn push(&mut self, pair: Pair<'a>) {
        self.kept.push(pair);
    }

    /// Returns those that are kept.
    #[must_use]
    pub fn kept(&self) -> &[Pair<'a>] {
        &self.kept
    }

    /// Returns how many are not.
    #[must_use]
    pub const fn dropped(&self) -> u32 {
        self.dropped
    }

    /// Returns the value of an attribute that is a text and not empty.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<&str> {
        self.kept.iter().find(|pair| pair.key == key)?.value.text()
    }
}

/// The value of an attribute.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum AnyValue<'a> {
    /// Nothing.
    #[default]
    None,
    /// A text; bytes are one in base64.
    Text(Cow<'a, str>),
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number; one that is not finite is its name.
    Double(f64),
    /// A list.
    List(Vec<AnyValue<'a>>),
    /// Named values.
    Map(Vec<(Cow<'a, str>, AnyValue<'a>)>),
    /// Something that is nested too deeply, or has too many parts, to be kept.
    TooLarge,
}

impl AnyValue<'_> {
    /// Returns a text that is not empty.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) if !text.is_empty() => Some(text),
            Self::Text(_)
            | Self::None
            | Self::Bool(_)
            | Self::Int(_)
            | Self::Double(_)
            | Self::List(_)
            | Self::Map(_)
            | Self::TooLarge => None,
        }
    }

    /// Returns a whole number, also where it is written as a text.
    #[must_use]
    pub fn whole(&self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(*number),
            Self::Text(text) => text.parse().ok(),
            Self::None | Self::Bool(_) | Self::Double(_) | Self::List(_) | Self::Map(_) | Self::TooLarge => {
                None
            }
        }
    }

    /// Returns the value as JSON; none if it is too large.
    #[must_use]
    pub fn to_json(&self) -> Option<Value> {
        Some(match self {
            Self::None => Value::Null,
            Self::Text(text) => Value::String(text.clone().into_owned()),
            Self::Bool(value) => Value::Bool(*value),
            Self::Int(number) => Value::from(*number),
            Self::Double(number) if number.is_nan() => Value::from("NaN"),
            Self::Double(number) if number.is_infinite() => {
                Value::from(if *number > 0.0 { "Infinity" } else { "-Infinity" })
            }
            Self::Double(number) => Value::from(*number),
            Self::List(items) => Value::Array(items.iter().map(Self::to_json).collect::<Option<_>>()?),
            Self::Map(pairs) => {
                let member =
                    |(key, value): &(Cow<'_, str>, Self)| Some((key.clone().into_owned(), value.to_json()?));
                Value::Object(pairs.iter().map(member).collect::<Option<_>>()?)
            }
            Self::TooLarge => return None,
        })
    }
}
