//! Texts, numbers and ids in the JSON of OTLP.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, Visitor};
use tracer_core::ids::{ExecutionId, StepId};

use super::Reading;
use crate::otlp::wire::Id;

/// Reads a text; `null` is an empty one.
#[derive(Clone, Copy)]
pub(super) struct Text;

impl<'de> DeserializeSeed<'de> for Text {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Text {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Cow::default())
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
}

/// Reads a trace's id.
pub(super) struct TraceId<'r>(pub(super) &'r Reading);

impl<'de> DeserializeSeed<'de> for TraceId<'_> {
    type Value = Id<ExecutionId>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        let id = Id::<ExecutionId>::from_digits(&Text.deserialize(deserializer)?);
        if self.0.must_be_valid() && id.given().is_none() {
            return Err(D::Error::custom("must be 32 hexadecimal digits, not all of them zero"));
        }
        Ok(id)
    }
}

/// Reads a span's id. Some exporters write the root's parent as zeros.
pub(super) struct SpanId<'r> {
    pub(super) reading: &'r Reading,
    pub(super) may_be_missing: bool,
}

impl<'de> DeserializeSeed<'de> for SpanId<'_> {
    type Value = Id<StepId>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        let id = Id::<StepId>::from_digits(&Text.deserialize(deserializer)?);
        match id {
            Id::Missing if self.reading.must_be_valid() && !self.may_be_missing => {
                Err(D::Error::custom("must be 16 hexadecimal digits, not all of them zero"))
            }
            Id::Wrong if self.reading.must_be_valid() && self.may_be_missing => {
                Err(D::Error::custom("must be 16 hexadecimal digits, or empty"))
            }
            Id::Wrong if self.reading.must_be_valid() => {
                Err(D::Error::custom("must be 16 hexadecimal digits, not all of them zero"))
            }
            Id::Missing | Id::Wrong | Id::Given(_) => Ok(id),
        }
    }
}

/// Reads a number of 32 bits; `null` is 0.
pub(super) struct Int32;

/// Reads an enumeration. OTLP has its number, other JSON of protobuf its name: files must hold what OTLP has.
pub(super) struct Enumeration<'r> {
    pub(super) reading: &'r Reading,
    /// The names, each with its number.
    pub(super) names: &'static [(&'static str, i32)],
}

impl<'de> DeserializeSeed<'de> for Enumeration<'_> {
    type Value = i32;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<i32, D::Error> {
        if self.reading.must_be_valid() {
            Int32.deserialize(deserializer)
        } else {
            deserializer.deserialize_any(self)
        }
    }
}

impl Visitor<'_> for Enumeration<'_> {
    type Value = i32;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the number of an enumeration")
    }

    fn visit_unit<E: Error>(self) -> Result<i32, E> {
        Ok(0)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<i32, E> {
        Ok(i32::try_from(number).unwrap_or_default())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<i32, E> {
        Ok(i32::try_from(number).unwrap_or_default())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<i32, E> {
        Ok(0)
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<i32, E> {
        Ok(self.names.iter().find(|(known, _)| *known == name).map_or(0, |(_, number)| *number))
    }
}

impl<'de> DeserializeSeed<'de> for Int32 {
    type Value = i32;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<i32, D::Error> {
        let number = <Option<i64> as serde::Deserialize>::deserialize(deserializer);
        // The parser says that it wanted more bits than OTLP has.
        number
            .map(|number| i32::try_from(number.unwrap_or_default()).unwrap_or_default())
            .map_err(|error| D::Error::custom(error.to_string().replace("expected i64", "expected i32")))
    }
}

/// Reads nanoseconds since 1970; `null` is 0.
pub(super) struct Nanos;

impl<'de> DeserializeSeed<'de> for Nanos {
    type Value = u64;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<u64, D::Error> {
        let number = deserializer.deserialize_any(Integer)?;
        u64::try_from(number.unwrap_or_default())
            .map_err(|_| D::Error::custom("must be nanoseconds since 1970, in 64 bits"))
    }
}

/// Reads a whole number of 64 bits; none where it is `null`.
pub(super) struct Int64;

impl<'de> DeserializeSeed<'de> for Int64 {
    type Value = Option<i64>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        let number = deserializer.deserialize_any(Integer)?;
        let number = number.map(i64::try_from).transpose();
        number.map_err(|_| D::Error::custom("must be a whole number of 64 bits"))
    }
}

/// Reads a 64-bit integer from a number or a string.
struct Integer;

impl Visitor<'_> for Integer {
    type Value = Option<i128>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number of 64 bits, or a string of its digits")
    }

    fn visit_unit<E: Error>(self) -> Result<Option<i128>, E> {
        Ok(None)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Option<i128>, E> {
        Ok(Some(number.into()))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Option<i128>, E> {
        Ok(Some(number.into()))
    }

    /// JavaScript writes large ones with an exponent.
    fn visit_f64<E: Error>(self, number: f64) -> Result<Option<i128>, E> {
        #[expect(clippy::cast_possible_truncation, reason = "whole, and `as` saturates")]
        let whole = (number.fract() == 0.0).then_some(number as i128);
        whole.map(Some).ok_or_else(|| E::custom("must be a whole number"))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Option<i128>, E> {
        text.parse().map(Some).map_err(|_| E::custom("must be a whole number"))
    }
}
