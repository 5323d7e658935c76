//! Reads exports from JSON, borrowing texts from it where they hold no escapes.
//!
//! The rules are those of <https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>: ids are
//! hexadecimal in either case (not base64, as in other protobuf JSON), enumerations are integers, 64-bit
//! integers may be strings or numbers, unknown members are ignored. What is left out or `null` has its
//! default, as protobuf's JSON has it (<https://protobuf.dev/programming-guides/json/>); a number that is
//! not finite is a string.
//!
//! Members may come in any order, so that an export is read whole before its first record is handed on; what is
//! held meanwhile is bounded by `VALUES` beside the bounds of `wire`.
//!
//! Invariant: no bytes make this module panic.
//! Not here: protobuf, and what messages mean.

mod lists;
mod scalars;
mod value;

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde_json::error::Category;
use tracer_core::limits;

use self::lists::{List, pairs};
use self::scalars::{Enumeration, Int32, Nanos, SpanId, Text, TraceId};
use self::value::Value;
use super::wire::{
    Event, GROUPS, Link, LogRecord, Pair, ReadError, Record, Resource, Scope, Sink, Span, Status,
};

/// Most attributes, and parts of their values, that are held at once: 64 for each of many thousand spans.
const VALUES: usize = 1 << 20;
/// `SpanKind`.
const KINDS: &[(&str, i32)] = &[
    ("SPAN_KIND_INTERNAL", 1),
    ("SPAN_KIND_SERVER", 2),
    ("SPAN_KIND_CLIENT", 3),
    ("SPAN_KIND_PRODUCER", 4),
    ("SPAN_KIND_CONSUMER", 5),
];
/// `StatusCode`.
const CODES: &[(&str, i32)] = &[("STATUS_CODE_OK", 1), ("STATUS_CODE_ERROR", 2)];

/// Reads an `ExportTraceServiceRequest`, or one of logs, and hands its records on.
///
/// # Errors
/// [`ReadError`] if it is not one, holds too much, or the sink takes no more.
pub fn read<'a, S>(bytes: &'a [u8], sink: &mut S) -> Result<(), ReadError>
where
    S: Sink<'a>,
    S::Record: Message<'a>,
{
    // Values that are passed over are not looked at.
    if std::str::from_utf8(bytes).is_err() {
        return Err(ReadError::Malformed("The body is not UTF-8.".into()));
    }
    let reading = Reading::new(Ids::AsSent);
    let export: Export<S::Record> = match from_slice(bytes, &reading) {
        Ok(export) => export,
        Err(_) if reading.is_full.get() => return Err(ReadError::too_many()),
        Err(error) => return Err(refused(&error)),
    };
    export.hand_on(sink)
}

/// Whether ids that are none are an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ids {
    /// They are read as such: their spans can be refused by themselves.
    AsSent,
    /// They are: what a file says is taken whole or not at all.
    MustBeValid,
}

/// What is held of an export, and how it is read.
#[derive(Debug)]
pub struct Reading {
    ids: Ids,
    records: Cell<usize>,
    groups: Cell<usize>,
    values: Cell<usize>,
    is_full: Cell<bool>,
}

impl Reading {
    /// Returns the beginning of a reading.
    #[must_use]
    pub const fn new(ids: Ids) -> Self {
        Self {
            ids,
            records: Cell::new(0),
            groups: Cell::new(0),
            values: Cell::new(0),
            is_full: Cell::new(false),
        }
    }

    fn count<E: Error>(&self, counted: &Cell<usize>, most: usize) -> Result<(), E> {
        counted.set(counted.get() + 1);
        // What files hold is bounded by the length of their lines.
        if self.ids == Ids::AsSent && counted.get() > most {
            self.is_full.set(true);
            return Err(E::custom("holds too much"));
        }
        Ok(())
    }

    fn part<E: Error>(&self, of: Part) -> Result<(), E> {
        match of {
            Part::Group => self.count(&self.groups, GROUPS),
            Part::Record => self.count(&self.records, limits::OTLP_SPANS),
            Part::Value => self.count(&self.values, VALUES),
        }
    }

    const fn must_be_valid(&self) -> bool {
        matches!(self.ids, Ids::MustBeValid)
    }
}

/// What is counted while an export is read.
#[derive(Clone, Copy, Debug)]
enum Part {
    Group,
    Record,
    Value,
}

/// Reads a message from JSON.
///
/// # Errors
/// The parser's.
pub fn from_slice<'a, M: Message<'a>>(bytes: &'a [u8], reading: &Reading) -> Result<M, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let message = Object::new(reading).deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(message)
}

/// Says what is wrong with a body, without repeating it.
fn refused(error: &serde_json::Error) -> ReadError {
    let (line, column) = (error.line(), error.column());
    ReadError::Malformed(
        match error.classify() {
            Category::Eof => "The body is JSON that ends too early.".to_owned(),
            Category::Syntax | Category::Io => format!("The body is not JSON from line {line}, column {column} on."),
            Category::Data => format!(
                "The body is not an OTLP export: the value that ends at line {line}, column {column} has the wrong type."
            ),
        }
        .into(),
    )
}

/// `TracesData`, and an `ExportTraceServiceRequest`, which is written alike; and those of logs.
#[derive(Debug)]
pub struct Export<'a, R> {
    /// Records by what produced them.
    pub by_resource: Vec<ByResource<'a, R>>,
}

/// The records of one resource.
#[derive(Debug)]
pub struct ByResource<'a, R> {
    /// What produced them.
    pub resource: Resource<'a>,
    /// They, by the library that made them.
    pub by_scope: Vec<ByScope<'a, R>>,
}

/// The records of one library.
#[derive(Debug)]
pub struct ByScope<'a, R> {
    /// The library.
    pub scope: Scope<'a>,
    /// They.
    pub records: Vec<R>,
}

impl<'a, R: Record> Export<'a, R> {
    /// Hands its records on.
    ///
    /// # Errors
    /// The sink's.
    pub fn hand_on<S: Sink<'a, Record = R>>(self, sink: &mut S) -> Result<(), ReadError> {
        for by_resource in self.by_resource {
            sink.resource(by_resource.resource);
            for by_scope in by_resource.by_scope {
                sink.scope(by_scope.scope);
                by_scope.records.into_iter().try_for_each(|record| sink.record(record))?;
            }
        }
        Ok(())
    }
}

impl<R> Default for Export<'_, R> {
    fn default() -> Self {
        Self { by_resource: Vec::new() }
    }
}

impl<R> Default for ByResource<'_, R> {
    fn default() -> Self {
        Self { resource: Resource::default(), by_scope: Vec::new() }
    }
}

impl<R> Default for ByScope<'_, R> {
    fn default() -> Self {
        Self { scope: Scope::default(), records: Vec::new() }
    }
}

/// What is written as an object.
pub trait Message<'de>: Default {
    /// Takes the value of a member, or passes over it.
    ///
    /// # Errors
    /// The parser's.
    fn member<A: MapAccess<'de>>(
        &mut self,
        name: &str,
        members: &mut A,
        reading: &Reading,
    ) -> Result<(), A::Error>;

    /// Checks what is there once all members are.
    ///
    /// # Errors
    /// If something is missing.
    fn complete<E: Error>(&self, _: &Reading) -> Result<(), E> {
        Ok(())
    }
}

fn pass_over<'de, A: MapAccess<'de>>(members: &mut A) -> Result<(), A::Error> {
    members.next_value::<IgnoredAny>().map(drop)
}

impl<'de, R: Record + Message<'de>> Message<'de> for Export<'de, R> {
    fn member<A: MapAccess<'de>>(
        &mut self,
        name: &str,
        members: &mut A,
        reading: &Reading,
    ) -> Result<(), A::Error> {
        if name != R::BY_RESOURCE {
            return pass_over(members);
        }
        members.next_value_seed(List::of(Part::Group, reading, |one| {
            self.by_resource.push(one);
            true
        }))
    }
}

impl<'de, R: Record + Message<'de>> Message<'de> for ByResource<'de, R> {
    fn member<A: MapAccess<'de>>(
        &mut self,
        name: &str,
        members: &mut A,
        reading: &Reading,
    ) -> Result<(), A::Error> {
        if name == "resource" {
            self.resource = members.next_value_seed(Object::new(reading))?;
        } else if name == R::BY_SCOPE {
            members.next_value_seed(List::of(Part::Group, reading, |one| {
                self.by_scope.push(one);
                true
            }))?;
        } else {
            pass_over(members)?;
        }
        Ok(())
    }
}

impl<'de, R: Record + Message<'de>> Message<'de> for ByScope<'de, R> {
    fn member<A: MapAccess<'de>>(
        &mut self,
        name: &str,
        members: &mut A,
        reading: &Reading,
    ) -> Result<(), A::Error> {
        if name == "scope" {
            self.scope = members.next_value_seed(Object::new(reading))?;
        } else if name == R::LIST {
            members.next_value_seed(List::of(Part::Record, reading, |one| {
                self.records.push(one);
                true
            }))?;
        } else {
            pass_over(members)?;
        }
        Ok(())
    }
}

impl<'de> Message<'de> for Resource<'de> {
    fn member<A: MapAccess<'de>>(
        &mut self,
        name: &str,
        members: &mut A,
        reading: &Reading,
    ) -> Result<(), A::Error> {
        match name {
            "attributes" => members.next_value_seed(pairs(&mut self.attributes, reading)),
            _ => pass_over(members),
        }
    }
}

impl<'de> Message<'de> for Scope<'de> {
    fn member<A: MapAccess<'de>>(
        &mut self,
        name: &str,
        members: &mut A,
        _: &Reading,
    ) -> Result<(), A::Error> {
        match name {
            "name" => self.name = members.next_value_seed(Text)?,
            "version" => self.version = members.next_value_seed(Text)?,
            _ => pass_over(members)?,
        }
        Ok(())
    }
}

impl<'de> Message<'de> for Span<'de> {
    fn member<A: MapAccess<'de>>(
        &mut self,
        name: &str,
        members: &mut A,
        reading: &Reading,
    ) -> Result<(), A::Error> {
        match name {
            "traceId" => self.trace = members.next_value_seed(TraceId(reading))?,
            "spanId" => self.id = members.next_value_seed(SpanId { reading, may_be_missing: false })?,
            "parentSpanId" => {
                self.parent = members.next_value_seed(SpanId { reading, may_be_missing: true })?;
            }
            "name" => self.name = members.next_value_seed(Text)?,
            "kind" => self.kind = members.next_value_seed(Enumeration { reading, names: KINDS })?,
            "startTimeUnixNano" => self.start = members.next_value_seed(Nanos)?,
            "endTimeUnixNano" => self.end = members.next_value_seed(Nanos)?,
            "attributes" => {
                members.next_value_seed(pairs(&mut self.attributes, reading))?;
            }
            "droppedAttributesCount" | "droppedEventsCount" | "droppedLinksCount" => {
                let dropped = u32::try_from(members.next_value_seed(Int32)?).unwrap_or_default();
                self.dropped = self.dropped.saturating_add(dropped);
            }
            "events" => {
                members.next_value_seed(List::of(Part::Value, reading, |event| self.events.push(event)))?
            }
            "links" => {
                members.next_value_seed(List::of(Part::Value, reading, |link| self.links.push(link)))?
            }
            "status" => self.status = members.next_value_seed(Object::new(reading))?,
            _ => pass_over(members)?,
        }
        Ok(())
    }

    fn complete<E: Error>(&self, reading: &Reading) -> Result<(), E> {
        if reading.must_be_valid() {
            self.trace.given().ok_or_else(|| E::missing_field("traceId"))?;
            self.id.given().ok_or_else(|| E::missing_field("spanId"))?;
        }
        Ok(())
    }
}

impl<'de> Message<'de> for LogRecord<'de> {
    fn member<A: MapAccess<'de>>(
        &mut self,
        name: &str,
        members: &mut A,
        reading: &Reading,
    ) -> Result<(), A::Error> {
        match name {
            "timeUnixNano" => self.time = members.next_value_seed(Nanos)?,
            "observedTimeUnixNano" => self.observed = members.next_value_seed(Nanos)?,
            "body" => self.body = members.next_value_seed(Value::new(reading))?,
            "attributes" => {
                members.next_value_seed(pairs(&mut self.attributes, reading))?;
            }
            "traceId" => self.trace = members.next_value_seed(TraceId(reading))?,
            "spanId" => self.span = members.next_value_seed(SpanId { reading, may_be_missing: true })?,
            "eventName" => self.event = members.next_value_seed(Text)?,
            _ => pass_over(members)?,
        }
        Ok(())
    }
}

impl<'de> Message<'de> for Event<'de> {
    fn member<A: MapAccess<'de>>(
        &mut self,
        name: &str,
        members: &mut A,
        reading: &Reading,
    ) -> Result<(), A::Error> {
        match name {
            "timeUnixNano" => self.time = members.next_value_seed(Nanos)?,
            "name" => self.name = members.next_value_seed(Text)?,
            "attributes" => {
                members.next_value_seed(pairs(&mut self.attributes, reading))?;
            }
            _ => pass_over(members)?,
        }
        Ok(())
    }
}

impl<'de> Message<'de> for Link<'de> {
    fn member<A: MapAccess<'de>>(
        &mut self,
        name: &str,
        members: &mut A,
        reading: &Reading,
    ) -> Result<(), A::Error> {
        match name {
            "traceId" => self.trace = members.next_value_seed(TraceId(reading))?,
            "spanId" => self.span = members.next_value_seed(SpanId { reading, may_be_missing: false })?,
            "attributes" => {
                members.next_value_seed(pairs(&mut self.attributes, reading))?;
            }
            _ => pass_over(members)?,
        }
        Ok(())
    }
}

impl<'de> Message<'de> for Status<'de> {
    fn member<A: MapAccess<'de>>(
        &mut self,
        name: &str,
        members: &mut A,
        reading: &Reading,
    ) -> Result<(), A::Error> {
        match name {
            "code" => self.code = members.next_value_seed(Enumeration { reading, names: CODES })?,
            "message" => self.message = members.next_value_seed(Text)?,
            _ => pass_over(members)?,
        }
        Ok(())
    }
}

impl<'de> Message<'de> for Pair<'de> {
    fn member<A: MapAccess<'de>>(
        &mut self,
        name: &str,
        members: &mut A,
        reading: &Reading,
    ) -> Result<(), A::Error> {
        match name {
            "key" => self.key = members.next_value_seed(Text)?,
            "value" => self.value = members.next_value_seed(Value::new(reading))?,
            _ => pass_over(members)?,
        }
        Ok(())
    }
}

/// Reads an object, or takes the default where it is `null`.
pub struct Object<'r, M> {
    reading: &'r Reading,
    message: PhantomData<M>,
}

impl<'r, M> Object<'r, M> {
    /// Returns the seed of such a message.
    #[must_use]
    pub const fn new(reading: &'r Reading) -> Self {
        Self { reading, message: PhantomData }
    }
}

impl<'de, M: Message<'de>> DeserializeSeed<'de> for Object<'_, M> {
    type Value = M;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<M, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, M: Message<'de>> Visitor<'de> for Object<'_, M> {
    type Value = M;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_unit<E: Error>(self) -> Result<M, E> {
        Ok(M::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<M, A::Error> {
        let mut message = M::default();
        while let Some(name) = members.next_key_seed(Text)? {
            message.member(&name, &mut members, self.reading)?;
        }
        message.complete(self.reading)?;
        Ok(message)
    }
}
