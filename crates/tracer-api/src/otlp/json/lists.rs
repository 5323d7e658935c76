//! Lists in the JSON of OTLP, whose items are counted before they are read and need not be kept.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeSeed, Deserializer, Error, SeqAccess, Visitor};

use super::{Message, Object, Part, Reading};
use crate::otlp::wire::{Pair, Pairs};

/// Reads a list, or nothing where it is `null`, and hands each item on.
pub(super) struct List<'r, M, F> {
    part: Part,
    reading: &'r Reading,
    /// Returns whether the item is kept.
    each: F,
    message: PhantomData<M>,
}

impl<'r, M, F: FnMut(M) -> bool> List<'r, M, F> {
    /// Returns the seed of a list whose items count as that.
    pub(super) const fn of(part: Part, reading: &'r Reading, each: F) -> Self {
        Self { part, reading, each, message: PhantomData }
    }
}

/// Returns the seed of a list of attributes.
pub(super) fn pairs<'r, 'de>(
    pairs: &'r mut Pairs<'de>,
    reading: &'r Reading,
) -> List<'r, Pair<'de>, impl FnMut(Pair<'de>) -> bool + use<'r, 'de>> {
    List::of(Part::Value, reading, |pair: Pair<'de>| {
        let kept = pairs.takes(&pair.key);
        if kept {
            pairs.push(pair);
        }
        kept
    })
}

impl<'de, M: Message<'de>, F: FnMut(M) -> bool> DeserializeSeed<'de> for List<'_, M, F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, M: Message<'de>, F: FnMut(M) -> bool> Visitor<'de> for List<'_, M, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a sequence")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        loop {
            let before = self.reading.values.get();
            let Some(item) = items.next_element_seed(Counted {
                part: self.part,
                reading: self.reading,
                message: PhantomData,
            })?
            else {
                return Ok(());
            };
            if !(self.each)(item) {
                self.reading.values.set(before);
            }
        }
    }
}

/// Counts an item, then reads it.
struct Counted<'r, M> {
    part: Part,
    reading: &'r Reading,
    message: PhantomData<M>,
}

impl<'de, M: Message<'de>> DeserializeSeed<'de> for Counted<'_, M> {
    type Value = M;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<M, D::Error> {
        self.reading.part(self.part)?;
        Object::new(self.reading).deserialize(deserializer)
    }
}
