//! The compact binary form of baselines and segments: bytes for scalars, bits for sketches.
//!
//! A baseline's row is rewritten with every batch, so its size is what recording costs. Every type
//! writes and reads itself with the two ends below; the first byte of a row is its version.
//!
//! Invariant: whatever the bytes, reading returns a value that can be calculated with, or an error.
//! Not here: the layout of any one type.

use thiserror::Error;

/// Above every sum of squared durations that can be counted.
const LARGEST_FLOAT: f64 = 1e60;
/// Above every value and every sum in single precision that is kept.
const LARGEST_SINGLE: f32 = 1e30;

/// Why bytes are not a baseline or a segment.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// Written by a newer version of this service.
    #[error("has the unknown version {0}")]
    Version(u8),
    /// The bytes end too early.
    #[error("is cut short")]
    Truncated,
    /// The bytes go on after the end.
    #[error("goes on after its end")]
    Trailing,
    /// A value that is never written.
    #[error("holds an impossible {0}")]
    Impossible(&'static str),
}

/// Appends scalars and bits. Bits are gathered until [`Writer::align`].
#[derive(Debug, Default)]
pub(crate) struct Writer {
    bytes: Vec<u8>,
    /// Bits that do not fill a byte yet, in the low end.
    pending: u64,
    pending_bits: u32,
}

impl Writer {
    pub(crate) fn with_version(version: u8) -> Self {
        let mut bytes = Vec::with_capacity(512);
        bytes.push(version);
        Self { bytes, pending: 0, pending_bits: 0 }
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.bytes
    }

    pub(crate) fn byte(&mut self, byte: u8) {
        self.bytes.push(byte);
    }

    /// Writes seven bits a byte, the lowest first (LEB128).
    pub(crate) fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push(low_byte(value) | 0x80);
            value >>= 7;
        }
        self.bytes.push(low_byte(value));
    }

    /// Writes a signed number so that those near zero are short (zigzag).
    pub(crate) fn signed(&mut self, value: i64) {
        self.varint((value.cast_unsigned() << 1) ^ (value >> 63).cast_unsigned());
    }

    pub(crate) fn float(&mut self, value: f64) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    /// Writes a float in single precision.
    pub(crate) fn single(&mut self, value: f32) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    /// Writes a short text: its length in a byte, and its bytes.
    pub(crate) fn text(&mut self, text: &str) {
        self.varint(text.len() as u64);
        self.bytes.extend_from_slice(text.as_bytes());
    }

    /// Writes the low `count` bits of `value`, the highest first; `count` is at most 56.
    pub(crate) fn bits(&mut self, value: u64, count: u32) {
        self.pending = (self.pending << count) | (value & !(u64::MAX << count));
        self.pending_bits += count;
        while self.pending_bits >= 8 {
            self.pending_bits -= 8;
            self.bytes.push(low_byte(self.pending >> self.pending_bits));
        }
    }

    /// Writes a number in the exponential Golomb code of this order: short up to about 2^order, and
    /// growing by two bits with each doubling beyond (Teuhola, 1978).
    pub(crate) fn golomb(&mut self, value: u32, order: u32) {
        let shifted = u64::from(value) + (1 << order);
        let length = shifted.ilog2();
        self.bits(1, length - order + 1);
        self.bits(shifted, length);
    }

    /// Fills the byte that was begun.
    pub(crate) fn align(&mut self) {
        if self.pending_bits > 0 {
            self.bits(0, 8 - self.pending_bits);
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the low byte is what is wanted")]
const fn low_byte(value: u64) -> u8 {
    value as u8
}

/// Takes what [`Writer`] wrote, in the same order.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    next: usize,
    /// Bits taken from `bytes` and not handed out yet, in the high end; zeros below.
    pending: u64,
    pending_bits: u32,
}

impl<'a> Reader<'a> {
    /// Begins to read bytes of a version up to `known`, and returns which it is.
    pub(crate) fn with_versions(bytes: &'a [u8], known: u8) -> Result<(Self, u8), DecodeError> {
        let mut reader = Self { bytes, next: 0, pending: 0, pending_bits: 0 };
        match reader.byte()? {
            version if (1..=known).contains(&version) => Ok((reader, version)),
            other => Err(DecodeError::Version(other)),
        }
    }

    pub(crate) fn finish(self) -> Result<(), DecodeError> {
        if self.next == self.bytes.len() { Ok(()) } else { Err(DecodeError::Trailing) }
    }

    pub(crate) fn byte(&mut self) -> Result<u8, DecodeError> {
        let byte = self.bytes.get(self.next).ok_or(DecodeError::Truncated)?;
        self.next += 1;
        Ok(*byte)
    }

    pub(crate) fn varint(&mut self) -> Result<u64, DecodeError> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let part = u64::from(byte & 0x7f);
            if (part << shift) >> shift != part {
                return Err(DecodeError::Impossible("number"));
            }
            value |= part << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(DecodeError::Impossible("number"))
    }

    pub(crate) fn signed(&mut self) -> Result<i64, DecodeError> {
        let value = self.varint()?;
        Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }

    /// Takes a float that is not negative and small enough for its square to be finite: durations give
    /// no other.
    pub(crate) fn float(&mut self) -> Result<f64, DecodeError> {
        let rest = self.bytes.get(self.next..).unwrap_or_default();
        let first = rest.first_chunk::<8>().ok_or(DecodeError::Truncated)?;
        self.next += first.len();
        let value = f64::from_le_bytes(*first);
        if (0.0..=LARGEST_FLOAT).contains(&value) { Ok(value) } else { Err(DecodeError::Impossible("float")) }
    }

    /// Takes a float in single precision, small enough to be calculated with.
    pub(crate) fn single(&mut self) -> Result<f32, DecodeError> {
        let rest = self.bytes.get(self.next..).unwrap_or_default();
        let first = rest.first_chunk::<4>().ok_or(DecodeError::Truncated)?;
        self.next += first.len();
        let value = f32::from_le_bytes(*first);
        if value.abs() <= LARGEST_SINGLE { Ok(value) } else { Err(DecodeError::Impossible("float")) }
    }

    /// Takes a text of at most `most` bytes.
    pub(crate) fn text(&mut self, most: usize) -> Result<String, DecodeError> {
        let length = usize::try_from(self.varint()?).unwrap_or(usize::MAX);
        if length > most {
            return Err(DecodeError::Impossible("length of a text"));
        }
        let end = self.next + length;
        let bytes = self.bytes.get(self.next..end).ok_or(DecodeError::Truncated)?;
        self.next = end;
        String::from_utf8(bytes.to_vec()).map_err(|_| DecodeError::Impossible("text"))
    }

    /// Takes `count` bits; `count` is at most 56.
    pub(crate) fn bits(&mut self, count: u32) -> Result<u64, DecodeError> {
        if count == 0 {
            return Ok(0);
        }
        self.refill();
        if self.pending_bits < count {
            return Err(DecodeError::Truncated);
        }
        let value = self.pending >> (64 - count);
        self.pending <<= count;
        self.pending_bits -= count;
        Ok(value)
    }

    /// Takes a number in the exponential Golomb code of this order, which is at most 31.
    pub(crate) fn golomb(&mut self, order: u32) -> Result<u32, DecodeError> {
        self.refill();
        let zeros = self.pending.leading_zeros();
        if zeros >= self.pending_bits {
            return Err(DecodeError::Truncated);
        }
        let length = zeros + order;
        if length > 32 {
            return Err(DecodeError::Impossible("count"));
        }
        self.bits(zeros + 1)?;
        let shifted = (1 << length) | self.bits(length)?;
        u32::try_from(shifted - (1 << order)).map_err(|_| DecodeError::Impossible("count"))
    }

    /// Drops the rest of the byte that was begun.
    pub(crate) fn align(&mut self) {
        let whole_bytes = usize::try_from(self.pending_bits / 8).unwrap_or(0);
        self.next = self.next.saturating_sub(whole_bytes);
        (self.pending, self.pending_bits) = (0, 0);
    }

    fn refill(&mut self) {
        while self.pending_bits <= 56 {
            let Some(byte) = self.bytes.get(self.next) else { return };
            self.next += 1;
            self.pending |= u64::from(*byte) << (56 - self.pending_bits);
            self.pending_bits += 8;
        }
    }
}
