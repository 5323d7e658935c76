//! Reads exports from protobuf, without copying.
//!
//! A record is read when it is handed on, so that no more than one is held here. Unknown fields are passed over;
//! of a field that must occur once the last one counts; a text that is not UTF-8 is taken with the characters at
//! fault replaced: one bad byte must not cost an export of 512 spans.
//!
//! Invariant: no bytes make this module panic, and it holds no more than one record within the bounds of `wire`.
//! Not here: JSON, and what messages mean.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
use tracer_core::ids::{ExecutionId, StepId};
use tracer_core::limits;

use super::wire::{
    AnyValue, Event, GROUPS, Id, Link, LogRecord, Pair, Pairs, ReadError, Record, Resource, Scope, Sink,
    Span, Status, VALUE_DEPTH, VALUE_PARTS,
};

/// Bytes of a value of that type that are kept: as base64 more do not fit.
const KEPT_BYTES: usize = limits::ATTRIBUTE_VALUE_BYTES / 4 * 3;

/// A record that can be read from protobuf.
pub trait FromProtobuf<'a>: Record {
    /// Reads it.
    ///
    /// # Errors
    /// [`ReadError::Malformed`].
    fn read(bytes: &'a [u8]) -> Result<Self, ReadError>;
}

/// Reads an `ExportTraceServiceRequest`, or one of logs, which have the same form.
///
/// # Errors
/// [`ReadError`] if it is not one, holds too much, or the sink takes no more.
pub fn read<'a, S>(bytes: &'a [u8], sink: &mut S) -> Result<(), ReadError>
where
    S: Sink<'a>,
    S::Record: FromProtobuf<'a>,
{
    let (mut groups, mut records) = (0, 0);
    let mut export = Fields(bytes);
    while let Some((tag, field)) = export.next()? {
        if tag == 1 {
            count(&mut groups, GROUPS)?;
            by_resource(field.bytes()?, sink, &mut groups, &mut records)?;
        }
    }
    Ok(())
}

fn by_resource<'a, S>(
    bytes: &'a [u8],
    sink: &mut S,
    groups: &mut usize,
    records: &mut usize,
) -> Result<(), ReadError>
where
    S: Sink<'a>,
    S::Record: FromProtobuf<'a>,
{
    // What comes first in the message need not come first in the bytes.
    sink.resource(match last(bytes, 1)? {
        Some(bytes) => resource(bytes)?,
        None => Resource::default(),
    });
    let mut message = Fields(bytes);
    while let Some((tag, field)) = message.next()? {
        if tag != 2 {
            continue;
        }
        count(groups, GROUPS)?;
        let bytes = field.bytes()?;
        sink.scope(match last(bytes, 1)? {
            Some(bytes) => scope(bytes)?,
            None => Scope::default(),
        });
        let mut message = Fields(bytes);
        while let Some((tag, field)) = message.next()? {
            if tag == 2 {
                count(records, limits::OTLP_SPANS)?;
                sink.record(S::Record::read(field.bytes()?)?)?;
            }
        }
    }
    Ok(())
}

fn count(counted: &mut usize, most: usize) -> Result<(), ReadError> {
    *counted += 1;
    if *counted > most { Err(ReadError::too_many()) } else { Ok(()) }
}

/// Returns the last field of that number in a message.
fn last(bytes: &[u8], number: u32) -> Result<Option<&[u8]>, ReadError> {
    let (mut message, mut found) = (Fields(bytes), None);
    while let Some((tag, field)) = message.next()? {
        if tag == number {
            found = Some(field.bytes()?);
        }
    }
    Ok(found)
}

fn resource(bytes: &[u8]) -> Result<Resource<'_>, ReadError> {
    let mut resource = Resource::default();
    let mut message = Fields(bytes);
    while let Some((tag, field)) = message.next()? {
        if tag == 1 {
            pair_into(field.bytes()?, &mut resource.attributes)?;
        }
    }
    Ok(resource)
}

fn scope(bytes: &[u8]) -> Result<Scope<'_>, ReadError> {
    let mut scope = Scope::default();
    let mut message = Fields(bytes);
    while let Some((tag, field)) = message.next()? {
        match tag {
            1 => scope.name = field.text()?,
            2 => scope.version = field.text()?,
            _ => {}
        }
    }
    Ok(scope)
}

impl<'a> FromProtobuf<'a> for Span<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, ReadError> {
        let mut span = Self::default();
        let mut dropped: u64 = 0;
        let mut message = Fields(bytes);
        while let Some((tag, field)) = message.next()? {
            match tag {
                1 => span.trace = Id::<ExecutionId>::from_bytes(field.bytes()?),
                2 => span.id = Id::<StepId>::from_bytes(field.bytes()?),
                4 => span.parent = Id::<StepId>::from_bytes(field.bytes()?),
                5 => span.name = field.text()?,
                6 => span.kind = field.int()?,
                7 => span.start = field.fixed()?,
                8 => span.end = field.fixed()?,
                9 => pair_into(field.bytes()?, &mut span.attributes)?,
                10 | 12 | 14 => dropped = dropped.saturating_add(field.varint()?),
                11 => {
                    span.events.push(event(field.bytes()?)?);
                }
                13 => {
                    span.links.push(link(field.bytes()?)?);
                }
                15 => span.status = status(field.bytes()?)?,
                _ => {}
            }
        }
        span.dropped = u32::try_from(dropped).unwrap_or(u32::MAX);
        Ok(span)
    }
}

impl<'a> FromProtobuf<'a> for LogRecord<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, ReadError> {
        let mut record = Self::default();
        let mut message = Fields(bytes);
        while let Some((tag, field)) = message.next()? {
            match tag {
                1 => record.time = field.fixed()?,
                11 => record.observed = field.fixed()?,
                5 => record.body = value(field.bytes()?)?,
                6 => pair_into(field.bytes()?, &mut record.attributes)?,
                9 => record.trace = Id::<ExecutionId>::from_bytes(field.bytes()?),
                10 => record.span = Id::<StepId>::from_bytes(field.bytes()?),
                12 => record.event = field.text()?,
                _ => {}
            }
        }
        Ok(record)
    }
}

fn event(bytes: &[u8]) -> Result<Event<'_>, ReadError> {
    let mut event = Event::default();
    let mut message = Fields(bytes);
    while let Some((tag, field)) = message.next()? {
        match tag {
            1 => event.time = field.fixed()?,
            2 => event.name = field.text()?,
            3 => pair_into(field.bytes()?, &mut event.attributes)?,
            _ => {}
        }
    }
    Ok(event)
}

fn link(bytes: &[u8]) -> Result<Link<'_>, ReadError> {
    let mut link = Link::default();
    let mut message = Fields(bytes);
    while let Some((tag, field)) = message.next()? {
        match tag {
            1 => link.trace = Id::<ExecutionId>::from_bytes(field.bytes()?),
            2 => link.span = Id::<StepId>::from_bytes(field.bytes()?),
            4 => pair_into(field.bytes()?, &mut link.attributes)?,
            _ => {}
        }
    }
    Ok(link)
}

fn status(bytes: &[u8]) -> Result<Status<'_>, ReadError> {
    let mut status = Status::default();
    let mut message = Fields(bytes);
    while let Some((tag, field)) = message.next()? {
        match tag {
            2 => status.message = field.text()?,
            3 => status.code = field.int()?,
            _ => {}
        }
    }
    Ok(status)
}

fn pair_into<'a>(bytes: &'a [u8], pairs: &mut Pairs<'a>) -> Result<(), ReadError> {
    let (key, bytes) = halves(bytes)?;
    if pairs.takes(&key) {
        let value = bytes.map(value).transpose()?.unwrap_or_default();
        pairs.push(Pair { key, value });
    }
    Ok(())
}

/// Returns the key of a `KeyValue`, and the bytes of its value.
fn halves(bytes: &[u8]) -> Result<(Cow<'_, str>, Option<&[u8]>), ReadError> {
    let (mut key, mut value) = (Cow::default(), None);
    let mut message = Fields(bytes);
    while let Some((tag, field)) = message.next()? {
        match tag {
            1 => key = field.text()?,
            2 => value = Some(field.bytes()?),
            _ => {}
        }
    }
    Ok((key, value))
}

fn value(bytes: &[u8]) -> Result<AnyValue<'_>, ReadError> {
    let mut parts = VALUE_PARTS;
    value_within(bytes, VALUE_DEPTH, &mut parts)
}

fn value_within<'a>(bytes: &'a [u8], levels: usize, parts: &mut usize) -> Result<AnyValue<'a>, ReadError> {
    let mut value = AnyValue::None;
    let mut message = Fields(bytes);
    while let Some((tag, field)) = message.next()? {
        value = match tag {
            1 => AnyValue::Text(field.text()?),
            2 => AnyValue::Bool(field.varint()? != 0),
            3 => AnyValue::Int(field.varint()?.cast_signed()),
            4 => AnyValue::Double(f64::from_bits(field.fixed()?)),
            5 => list(field.bytes()?, levels, parts)?,
            6 => map(field.bytes()?, levels, parts)?,
            7 => {
                let bytes = field.bytes()?;
                let kept = bytes.get(..KEPT_BYTES).unwrap_or(bytes);
                AnyValue::Text(STANDARD.encode(kept).into())
            }
            _ => continue,
        };
    }
    Ok(value)
}

fn list<'a>(bytes: &'a [u8], levels: usize, parts: &mut usize) -> Result<AnyValue<'a>, ReadError> {
    let Some(levels) = levels.checked_sub(1) else { return Ok(AnyValue::TooLarge) };
    let mut items = Vec::new();
    let mut message = Fields(bytes);
    while let Some((tag, field)) = message.next()? {
        if tag == 1 {
            let Some(left) = parts.checked_sub(1) else { return Ok(AnyValue::TooLarge) };
            *parts = left;
            items.push(value_within(field.bytes()?, levels, parts)?);
        }
    }
    Ok(AnyValue::List(items))
}

fn map<'a>(bytes: &'a [u8], levels: usize, parts: &mut usize) -> Result<AnyValue<'a>, ReadError> {
    let Some(levels) = levels.checked_sub(1) else { return Ok(AnyValue::TooLarge) };
    let mut members = Vec::new();
    let mut message = Fields(bytes);
    while let Some((tag, field)) = message.next()? {
        if tag == 1 {
            let Some(left) = parts.checked_sub(1) else { return Ok(AnyValue::TooLarge) };
            *parts = left;
            let (key, bytes) = halves(field.bytes()?)?;
            let value = bytes.map(|bytes| value_within(bytes, levels, parts)).transpose()?;
            members.push((key, value.unwrap_or_default()));
        }
    }
    Ok(AnyValue::Map(members))
}

/// The fields of a message, one after another.
struct Fields<'a>(&'a [u8]);

/// A field's content, as its wire type tells it.
enum Field<'a> {
    Varint(u64),
    Fixed(u64),
    Bytes(&'a [u8]),
    Other,
}

impl<'a> Fields<'a> {
    fn next(&mut self) -> Result<Option<(u32, Field<'a>)>, ReadError> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let (tag, wire_type) = decode_key(&mut self.0).map_err(|_| malformed())?;
        let field = match wire_type {
            WireType::Varint => Field::Varint(decode_varint(&mut self.0).map_err(|_| malformed())?),
            WireType::SixtyFourBit => {
                let (bytes, rest) = self.0.split_first_chunk::<8>().ok_or_else(malformed)?;
                self.0 = rest;
                Field::Fixed(u64::from_le_bytes(*bytes))
            }
            WireType::LengthDelimited => {
                let length = decode_varint(&mut self.0).map_err(|_| malformed())?;
                let length = usize::try_from(length).map_err(|_| malformed())?;
                let (bytes, rest) = self.0.split_at_checked(length).ok_or_else(malformed)?;
                self.0 = rest;
                Field::Bytes(bytes)
            }
            WireType::ThirtyTwoBit | WireType::StartGroup | WireType::EndGroup => {
                skip_field(wire_type, tag, &mut self.0, DecodeContext::default()).map_err(|_| malformed())?;
                Field::Other
            }
        };
        Ok(Some((tag, field)))
    }
}

impl<'a> Field<'a> {
    fn bytes(self) -> Result<&'a [u8], ReadError> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            Self::Varint(_) | Self::Fixed(_) | Self::Other => Err(malformed()),
        }
    }

    fn text(self) -> Result<Cow<'a, str>, ReadError> {
        self.bytes().map(String::from_utf8_lossy)
    }

    fn varint(self) -> Result<u64, ReadError> {
        match self {
            Self::Varint(number) => Ok(number),
            Self::Bytes(_) | Self::Fixed(_) | Self::Other => Err(malformed()),
        }
    }

    fn fixed(self) -> Result<u64, ReadError> {
        match self {
            Self::Fixed(number) => Ok(number),
            Self::Bytes(_) | Self::Varint(_) | Self::Other => Err(malformed()),
        }
    }

    /// An enumeration: one that is not of 32 bits is none that is known.
    fn int(self) -> Result<i32, ReadError> {
        Ok(i32::try_from(self.varint()?.cast_signed()).unwrap_or_default())
    }
}

fn malformed() -> ReadError {
    ReadError::Malformed("The body is not the protobuf message of an OTLP export.".into())
}
