//! Values of attributes in the JSON of OTLP: an object of which at most one member is there.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::scalars::{Int64, Text};
use super::{Part, Reading};
use crate::otlp::wire::{AnyValue, VALUE_DEPTH, VALUE_PARTS};

/// Reads an `AnyValue`.
#[derive(Clone, Copy)]
pub(super) struct Value<'r> {
    reading: &'r Reading,
    levels: usize,
}

impl<'r> Value<'r> {
    /// Returns the seed of a value that stands by itself.
    pub(super) const fn new(reading: &'r Reading) -> Self {
        Self { reading, levels: VALUE_DEPTH }
    }
}

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = AnyValue<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = AnyValue<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(AnyValue::None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut value = AnyValue::None;
        while let Some(name) = members.next_key_seed(Text)? {
            let read = match &*name {
                "stringValue" => members.next_value_seed(OptionalText)?.map(AnyValue::Text),
                // Bytes are base64 in JSON, and stay it.
                "bytesValue" => members.next_value_seed(OptionalText)?.map(AnyValue::Text),
                "boolValue" => members.next_value::<Option<bool>>()?.map(AnyValue::Bool),
                "intValue" => members.next_value_seed(Int64)?.map(AnyValue::Int),
                "doubleValue" => members.next_value_seed(Double)?,
                "arrayValue" => members.next_value_seed(self.list(false))?,
                "kvlistValue" => members.next_value_seed(self.list(true))?,
                _ => {
                    members.next_value::<IgnoredAny>()?;
                    None
                }
            };
            value = read.unwrap_or(value);
        }
        Ok(value)
    }
}

impl<'r> Value<'r> {
    const fn list(self, is_map: bool) -> Values<'r> {
        Values { value: self, is_map }
    }
}

/// Reads a text; none where it is `null`.
struct OptionalText;

impl<'de> DeserializeSeed<'de> for OptionalText {
    type Value = Option<Cow<'de, str>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_option(self)
    }
}

impl<'de> Visitor<'de> for OptionalText {
    type Value = Option<Cow<'de, str>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_none<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        Text.deserialize(deserializer).map(Some)
    }
}

/// Reads a number, or the name of one that is not finite.
struct Double;

impl<'de> DeserializeSeed<'de> for Double {
    type Value = Option<AnyValue<'de>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Double {
    type Value = Option<AnyValue<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, or the name of one that is not finite")
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Self::Value, E> {
        Ok(Some(AnyValue::Double(number)))
    }

    #[expect(clippy::cast_precision_loss, reason = "it was to be a double")]
    fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Some(AnyValue::Double(number as f64)))
    }

    #[expect(clippy::cast_precision_loss, reason = "it was to be a double")]
    fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Some(AnyValue::Double(number as f64)))
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(Some(AnyValue::Text(name.to_owned().into())))
    }
}

/// Reads an `ArrayValue`, or a `KeyValueList`: an object whose member `values` is a list.
#[derive(Clone, Copy)]
struct Values<'r> {
    value: Value<'r>,
    is_map: bool,
}

impl<'de> DeserializeSeed<'de> for Values<'_> {
    type Value = Option<AnyValue<'de>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Values<'_> {
    type Value = Option<AnyValue<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut value = if self.is_map { AnyValue::Map(Vec::new()) } else { AnyValue::List(Vec::new()) };
        while let Some(name) = members.next_key_seed(Text)? {
            match (&*name, self.value.levels.checked_sub(1)) {
                ("values", Some(levels)) => {
                    let value_of = Value { levels, ..self.value };
                    value = members.next_value_seed(Items { value: value_of, is_map: self.is_map })?;
                }
                ("values", None) => {
                    members.next_value::<IgnoredAny>()?;
                    value = AnyValue::TooLarge;
                }
                _ => {
                    members.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(Some(value))
    }
}

/// Reads the values of a list, or its pairs.
struct Items<'r> {
    value: Value<'r>,
    is_map: bool,
}

impl<'de> DeserializeSeed<'de> for Items<'_> {
    type Value = AnyValue<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Items<'_> {
    type Value = AnyValue<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a sequence")
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(if self.is_map { AnyValue::Map(Vec::new()) } else { AnyValue::List(Vec::new()) })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let (mut list, mut map) = (Vec::new(), Vec::new());
        let reading = self.value.reading;
        loop {
            if list.len() + map.len() == VALUE_PARTS {
                while items.next_element::<IgnoredAny>()?.is_some() {}
                return Ok(AnyValue::TooLarge);
            }
            reading.part(Part::Value)?;
            if self.is_map {
                match items.next_element_seed(Member(self.value))? {
                    Some(member) => map.push(member),
                    None => return Ok(AnyValue::Map(map)),
                }
            } else {
                match items.next_element_seed(self.value)? {
                    Some(item) => list.push(item),
                    None => return Ok(AnyValue::List(list)),
                }
            }
        }
    }
}

/// Reads a `KeyValue` within a value.
struct Member<'r>(Value<'r>);

impl<'de> DeserializeSeed<'de> for Member<'_> {
    type Value = (Cow<'de, str>, AnyValue<'de>);

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Member<'_> {
    type Value = (Cow<'de, str>, AnyValue<'de>);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Self::Value::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let (mut key, mut value) = Self::Value::default();
        while let Some(name) = members.next_key_seed(Text)? {
            match &*name {
                "key" => key = members.next_value_seed(Text)?,
                "value" => value = members.next_value_seed(self.0)?,
                _ => {
                    members.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok((key, value))
    }
}
