//! Ids of executions and steps, which are W3C trace and span ids.
//!
//! An execution's 128 bits *are* its trace id: made here, a UUIDv7 (RFC 9562, section 5.7), whose
//! leading milliseconds make rows arrive in key order; arriving by OpenTelemetry, whatever the client
//! chose. A step's 64 bits are its span id, unique within its execution.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::time::Timestamp;

/// Identifies an execution; written `wf_` and 32 lowercase hexadecimal digits. Never zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExecutionId(u128);

/// Identifies a step within its execution; written `st_` and 16 lowercase hexadecimal digits. Never zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StepId(u64);

/// The identity that a `traceparent` header carries (W3C Trace Context, section 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traceparent {
    /// The trace: an execution, here or upstream.
    pub trace: ExecutionId,
    /// The parent span within it.
    pub parent: StepId,
}

/// The text is not an id of this kind.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("is not an id of the form {expected}")]
pub struct IdError {
    expected: &'static str,
}

const NOT_EXECUTION: IdError = IdError { expected: "wf_ and 32 hexadecimal digits" };
const NOT_STEP: IdError = IdError { expected: "st_ and 16 hexadecimal digits" };

impl ExecutionId {
    /// Mints an id whose leading 48 bits are the milliseconds of `now`: UUIDv7, so that ids minted
    /// later sort later.
    #[must_use]
    pub fn mint(now: Timestamp) -> Self {
        let millis = u128::from(now.as_micros().div_euclid(1000).unsigned_abs()) & 0xffff_ffff_ffff;
        let random: u128 = rand::random();
        const VERSION_7: u128 = 0x7 << 76;
        const VARIANT: u128 = 0b10 << 62;
        let rand_a = (random >> 64) & 0xfff;
        let rand_b = random & 0x3fff_ffff_ffff_ffff;
        Self((millis << 80) | VERSION_7 | (rand_a << 64) | VARIANT | rand_b)
    }

    /// Takes 128 bits; none if they are zero, which W3C Trace Context forbids.
    #[must_use]
    pub const fn from_u128(bits: u128) -> Option<Self> {
        if bits == 0 { None } else { Some(Self(bits)) }
    }

    /// Takes 16 stored bytes, big-endian.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }

    /// Returns the 16 bytes, big-endian: bytes sort as ids do.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// Returns the 128 bits.
    #[must_use]
    pub const fn as_u128(self) -> u128 {
        self.0
    }
}

impl ExecutionId {
    /// Returns the id of the span that the execution itself is, where no client's span is its root: the low
    /// half of its own, which [`Traceparent`]s of it name as their parent. It is no step.
    #[must_use]
    pub fn root_span(self) -> StepId {
        let low = u64::try_from(self.0 & u128::from(u64::MAX)).unwrap_or(1);
        // 1 is not zero, so that it is an id; minted ids have bits set there.
        StepId(low.max(1))
    }
}

impl StepId {
    /// Mints a random id.
    #[must_use]
    pub fn mint() -> Self {
        Self(rand::random::<u64>().max(1))
    }

    /// Takes 64 bits; none if they are zero, which W3C Trace Context forbids.
    #[must_use]
    pub const fn from_u64(bits: u64) -> Option<Self> {
        if bits == 0 { None } else { Some(Self(bits)) }
    }

    /// Takes the signed 64 bits that databases store.
    #[must_use]
    pub const fn from_stored(bits: i64) -> Self {
        Self(bits.cast_unsigned())
    }

    /// Returns the 64 bits as the signed number that databases store.
    #[must_use]
    pub const fn to_stored(self) -> i64 {
        self.0.cast_signed()
    }

    /// Returns the 64 bits.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }
}

impl Traceparent {
    /// Parses a header; none if it is invalid, because an invalid one is to be ignored.
    ///
    /// Accepts any version but `ff`, and ignores what versions later than `00` append
    /// (W3C Trace Context, section 3.2.4).
    #[must_use]
    pub fn parse(header: &str) -> Option<Self> {
        let mut fields = header.trim().split('-');
        let (version, trace, parent, flags) =
            (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        if lower_hex(version, 2)? == 0xff || (version == "00" && fields.next().is_some()) {
            return None;
        }
        lower_hex(flags, 2)?;
        Some(Self {
            trace: ExecutionId::from_u128(lower_hex(trace, 32)?)?,
            parent: StepId::from_u64(u64::try_from(lower_hex(parent, 16)?).ok()?)?,
        })
    }
}

impl fmt::Display for Traceparent {
    /// Writes version `00` with the sampled flag: what is recorded here is always recorded.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-01", self.trace.0, self.parent.0)
    }
}

fn lower_hex(text: &str, digits: usize) -> Option<u128> {
    let lower = text.len() == digits && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if lower { u128::from_str_radix(text, 16).ok() } else { None }
}

impl FromStr for ExecutionId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let digits = text.strip_prefix("wf_").ok_or(NOT_EXECUTION)?;
        lower_hex(digits, 32).and_then(Self::from_u128).ok_or(NOT_EXECUTION)
    }
}

impl FromStr for StepId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let digits = text.strip_prefix("st_").ok_or(NOT_STEP)?;
        let bits = lower_hex(digits, 16).ok_or(NOT_STEP)?;
        u64::try_from(bits).ok().and_then(Self::from_u64).ok_or(NOT_STEP)
    }
}

impl fmt::Display for ExecutionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "wf_{:032x}", self.0)
    }
}

impl fmt::Display for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "st_{:016x}", self.0)
    }
}

macro_rules! text_form {
    ($name:ident) => {
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

text_form!(ExecutionId);
text_form!(StepId);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_minted_id_is_a_uuid_of_version_7_that_sorts_by_time() {
        let early = ExecutionId::mint(Timestamp::from_millis(0x0001_0203_0405));
        let late = ExecutionId::mint(Timestamp::from_millis(0x0001_0203_0406));
        assert!(early < late);
        let text = early.to_string();
        assert!(text.starts_with("wf_0001020304057"), "{text}");
        assert!(matches!(text.as_bytes()[19], b'8' | b'9' | b'a' | b'b'), "{text}");
    }

    #[test]
    fn only_the_written_form_is_an_id() {
        for wrong in [
            "",
            "wf_",
            "wf_00000000000000000000000000000000",
            "WF_0123456789abcdef0123456789abcdef",
            "wf_0123456789ABCDEF0123456789abcdef",
            "wf_0123456789abcdef0123456789abcde",
            "wf_+123456789abcdef0123456789abcdef",
        ] {
            assert_eq!(wrong.parse::<ExecutionId>(), Err(NOT_EXECUTION), "{wrong}");
        }
        for wrong in ["", "st_0000000000000000", "st_0123456789abcde", "wf_0123456789abcdef"] {
            assert_eq!(wrong.parse::<StepId>(), Err(NOT_STEP), "{wrong}");
        }
    }

    #[test]
    fn traceparents_follow_the_w3c_form() {
        let valid = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
        let parsed = Traceparent::parse(valid).map(|t| t.to_string());
        assert_eq!(parsed.as_deref(), Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"));
        assert!(
            Traceparent::parse("01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-later").is_some()
        );
        for wrong in [
            "",
            "00",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0",
        ] {
            assert_eq!(Traceparent::parse(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn every_id_survives_being_written_and_read(execution in 1u128.., step in 1u64..) {
            let (execution, step) = (ExecutionId(execution), StepId(step));
            prop_assert_eq!(execution.to_string().parse(), Ok(execution));
            prop_assert_eq!(ExecutionId::from_bytes(execution.to_bytes()), execution);
            prop_assert_eq!(step.to_string().parse(), Ok(step));
            prop_assert_eq!(StepId::from_stored(step.to_stored()), step);
            let traceparent = Traceparent { trace: execution, parent: step };
            prop_assert_eq!(Traceparent::parse(&traceparent.to_string()), Some(traceparent));
        }

        #[test]
        fn no_text_makes_a_parser_panic(text in ".{0,80}") {
            drop((text.parse::<ExecutionId>(), text.parse::<StepId>(), Traceparent::parse(&text)));
        }
    }
}
