//! Instants and durations, in whole microseconds.
//!
//! Microseconds are stored, whole milliseconds are shown. Both types are plain numbers inside, so
//! that a batch of a thousand rows moves through the service without a calendar.

use std::fmt;
use std::ops::{Add, Sub};
use std::str::FromStr;

use jiff::civil::DateTime;
use thiserror::Error;

use crate::limits;

/// Microseconds in a day.
const MICROS_PER_DAY: i64 = 86_400_000_000;

/// An instant: microseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

/// A day in UTC: whole days since 1970-01-01.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Day(pub i32);

/// A length of time in whole microseconds, from zero to [`limits::DURATION_DAYS`] where it was parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Micros(u64);

/// Why a text is not an instant, or an instant cannot be accepted.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum TimeError {
    /// The text is not RFC 3339 with an offset.
    #[error("is not a time of RFC 3339, such as 2026-01-31T12:00:00.123Z")]
    Malformed,
    /// The instant lies before 1970 or more than a day ahead.
    #[error("lies before 1970 or more than {} hours ahead", limits::FUTURE_HOURS)]
    OutOfRange,
}

/// Why a number is not a duration.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum DurationError {
    /// Below zero.
    #[error("must not be negative")]
    Negative,
    /// Infinite or not a number.
    #[error("must be a finite number")]
    NotFinite,
    /// Longer than any believable step.
    #[error("must not exceed {} days", limits::DURATION_DAYS)]
    TooLong,
}

impl Timestamp {
    /// Returns the instant that many microseconds after 1970-01-01T00:00:00Z.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Returns the instant that many milliseconds after 1970-01-01T00:00:00Z.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis.saturating_mul(1000))
    }

    /// Returns microseconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Returns the UTC day that holds this instant.
    #[must_use]
    pub fn day(self) -> Day {
        Day(i32::try_from(self.0.div_euclid(MICROS_PER_DAY)).unwrap_or(i32::MAX))
    }

    /// Returns the time since `earlier`, or zero where `earlier` is later: a clock that stepped back
    /// must not make a duration negative.
    #[must_use]
    pub fn since(self, earlier: Self) -> Micros {
        Micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Parses RFC 3339 with any offset, from year 0 to the last instant of year 9999.
    ///
    /// # Errors
    /// [`TimeError::Malformed`] if the text is anything else: the other forms of ISO 8601 too.
    pub fn parse(text: &str) -> Result<Self, TimeError> {
        parse_rfc3339(text).map(Self).ok_or(TimeError::Malformed)
    }

    /// Checks that a time given by a client lies between 1970 and a day from `now`.
    ///
    /// # Errors
    /// [`TimeError::OutOfRange`] outside of it.
    pub fn check_given(self, now: Self) -> Result<Self, TimeError> {
        let latest = now + Micros::from_secs(limits::FUTURE_HOURS.unsigned_abs() * 3600);
        if self.0 < 0 || self > latest { Err(TimeError::OutOfRange) } else { Ok(self) }
    }
}

/// Returns microseconds since 1970. The calendar reads the date and the time of day; their form and the offset
/// are read here, because it takes more forms than RFC 3339 has, and its instants end before year 9999 does.
fn parse_rfc3339(text: &str) -> Option<i64> {
    const SHAPE: &[u8; 19] = b"0000-00-00T00:00:00";
    let (local, offset) = match text.strip_suffix(['Z', 'z']) {
        Some(local) => (local, 0),
        None => {
            let (local, offset) = text.split_at_checked(text.len().checked_sub(6)?)?;
            (local, offset_micros(offset)?)
        }
    };
    let (seconds, fraction) = local.as_bytes().split_first_chunk::<19>()?;
    let shaped = seconds.iter().zip(SHAPE).all(|(byte, expected)| match expected {
        b'0' => byte.is_ascii_digit(),
        b'T' => matches!(byte, b'T' | b't' | b' '),
        _ => byte == expected,
    });
    let fraction_shaped = match fraction {
        [] => true,
        [b'.', digits @ ..] => !digits.is_empty() && digits.iter().all(u8::is_ascii_digit),
        [..] => false,
    };
    if !shaped || !fraction_shaped {
        return None;
    }
    let since_1970 =
        DateTime::from_str(local).ok()?.duration_since(jiff::civil::date(1970, 1, 1).at(0, 0, 0, 0));
    i64::try_from(since_1970.as_micros()).ok()?.checked_sub(offset)
}

/// Returns the microseconds by which local time is ahead, of `+01:00`.
fn offset_micros(offset: &str) -> Option<i64> {
    let (sign, rest) = match offset.as_bytes() {
        [b'+', rest @ ..] => (1, rest),
        [b'-', rest @ ..] => (-1, rest),
        [..] => return None,
    };
    let &[h1, h2, b':', m1, m2] = rest else { return None };
    let number = |tens: u8, ones: u8| {
        let digits = tens.is_ascii_digit() && ones.is_ascii_digit();
        digits.then(|| i64::from(tens - b'0') * 10 + i64::from(ones - b'0'))
    };
    let (hours, minutes) = (number(h1, h2)?, number(m1, m2)?);
    (hours < 24 && minutes < 60).then_some(sign * (hours * 60 + minutes) * 60_000_000)
}

impl Add<Micros> for Timestamp {
    type Output = Self;

    fn add(self, length: Micros) -> Self {
        Self(self.0.saturating_add(i64::try_from(length.0).unwrap_or(i64::MAX)))
    }
}

impl Sub<Micros> for Timestamp {
    type Output = Self;

    fn sub(self, length: Micros) -> Self {
        Self(self.0.saturating_sub(i64::try_from(length.0).unwrap_or(i64::MAX)))
    }
}

impl fmt::Display for Timestamp {
    /// Writes RFC 3339 in UTC with milliseconds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0.div_euclid(1000)) {
            Ok(instant) => write!(f, "{instant:.3}"),
            Err(_) => f.write_str("out of range"),
        }
    }
}

impl serde::Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(self.0)
    }
}

impl<'de> serde::Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        i64::deserialize(deserializer).map(Self)
    }
}

impl Day {
    /// Returns the first instant of the day.
    #[must_use]
    pub fn start(self) -> Timestamp {
        Timestamp(i64::from(self.0) * MICROS_PER_DAY)
    }
}

impl Micros {
    /// No time at all.
    pub const ZERO: Self = Self(0);

    /// Returns a length of that many microseconds.
    #[must_use]
    pub const fn new(micros: u64) -> Self {
        Self(micros)
    }

    /// Returns a length of that many milliseconds.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1_000))
    }

    /// Returns a length of that many seconds.
    #[must_use]
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1_000_000))
    }

    /// Returns a length of that many days.
    #[must_use]
    pub const fn from_days(days: u64) -> Self {
        Self::from_secs(days.saturating_mul(86_400))
    }

    /// Parses a client's number of milliseconds; a fraction is kept to the microsecond.
    ///
    /// # Errors
    /// [`DurationError`] if it is negative, not finite, or longer than [`limits::DURATION_DAYS`].
    pub fn from_client_millis(millis: f64) -> Result<Self, DurationError> {
        if !millis.is_finite() {
            return Err(DurationError::NotFinite);
        }
        if millis < 0.0 {
            return Err(DurationError::Negative);
        }
        Self::from_f64(millis * 1000.0).within_bounds()
    }

    /// Rounds a number of microseconds, saturating at zero and at the largest length.
    #[must_use]
    pub fn from_f64(micros: f64) -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "`as` saturates, and NaN becomes 0"
        )]
        Self(micros.round() as u64)
    }

    /// Checks that the length is believable.
    ///
    /// # Errors
    /// [`DurationError::TooLong`] above [`limits::DURATION_DAYS`].
    pub fn within_bounds(self) -> Result<Self, DurationError> {
        if self > Self::from_days(limits::DURATION_DAYS) { Err(DurationError::TooLong) } else { Ok(self) }
    }

    /// Returns the number of microseconds.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Returns the number of microseconds as a float; exact up to 285 years.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "lengths stay far below 2^53 microseconds")]
    pub const fn as_f64(self) -> f64 {
        self.0 as f64
    }

    /// Returns whole milliseconds, rounded to the nearest.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0.saturating_add(500) / 1000
    }

    /// Returns the shortest and the longest length that are the same number of whole milliseconds, so
    /// that what was shown finds itself.
    #[must_use]
    pub const fn shown_alike(self) -> (Self, Self) {
        let middle = self.as_millis().saturating_mul(1000);
        (Self(middle.saturating_sub(500)), Self(middle.saturating_add(499)))
    }

    /// Returns seconds, as metrics want them.
    #[must_use]
    pub fn as_secs_f64(self) -> f64 {
        self.as_f64() / 1e6
    }

    /// Returns the length as the standard library's type.
    #[must_use]
    pub const fn to_std(self) -> std::time::Duration {
        std::time::Duration::from_micros(self.0)
    }

    /// Returns the sum, saturating.
    #[must_use]
    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// Returns the difference, or zero.
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl serde::Serialize for Micros {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

impl<'de> serde::Deserialize<'de> for Micros {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        u64::deserialize(deserializer).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_any_offset_and_shown_in_utc_with_milliseconds() {
        let shown = |text: &str| Timestamp::parse(text).map(|t| t.to_string());
        assert_eq!(shown("2026-01-31T12:00:00.1239Z"), Ok("2026-01-31T12:00:00.123Z".into()));
        assert_eq!(shown("2026-01-31T12:00:00+02:00"), Ok("2026-01-31T10:00:00.000Z".into()));
        assert_eq!(shown("1969-12-31T23:59:59.9999Z"), Ok("1969-12-31T23:59:59.999Z".into()));
        assert_eq!(shown("yesterday"), Err(TimeError::Malformed));
        assert_eq!(shown("2026-01-31T12:00:00"), Err(TimeError::Malformed));
    }

    #[test]
    fn only_the_forms_of_rfc_3339_are_times() {
        for (text, shown) in [
            ("2026-01-31t12:00:00z", "2026-01-31T12:00:00.000Z"),
            ("2026-01-31 12:00:00-00:00", "2026-01-31T12:00:00.000Z"),
            ("2024-02-29T23:59:59.123456789+23:59", "2024-02-29T00:00:59.123Z"),
            ("2016-12-31T23:59:60Z", "2016-12-31T23:59:59.000Z"),
        ] {
            assert_eq!(Timestamp::parse(text).map(|time| time.to_string()), Ok(shown.into()), "{text}");
        }
        for text in [
            "20260131T120000Z",
            "2026-01-31T12:00Z",
            "2026-01-31T12:00:00+01",
            "2026-01-31T12:00:00+0100",
            "2026-01-31T12:00:00+24:00",
            "2026-01-31T12:00:00+01:00[Europe/Berlin]",
            "2026-01-31T12:00:00Z[UTC]",
            "2026-01-31T12:00:00,5Z",
            "2026-01-31T12:00:00.Z",
            "2026-02-30T12:00:00Z",
            "2026-01-31T24:00:00Z",
            "-009999-01-01T00:00:00Z",
            "+002026-01-31T12:00:00Z",
            "2026-W05-6T12:00:00Z",
            "2026-01-31T12:00:00+ü:0",
            "Z",
            "",
        ] {
            assert_eq!(Timestamp::parse(text), Err(TimeError::Malformed), "{text}");
        }
    }

    #[test]
    fn a_time_far_ahead_is_a_time_and_out_of_range() {
        let now = Timestamp::from_millis(0);
        for text in ["9999-12-31T23:59:59.999999999Z", "9999-12-31T23:59:59-23:59", "0000-01-01T00:00:00Z"] {
            assert_eq!(
                Timestamp::parse(text).and_then(|time| time.check_given(now)),
                Err(TimeError::OutOfRange)
            );
        }
    }

    #[test]
    fn given_times_lie_between_1970_and_a_day_ahead() {
        let now = Timestamp::from_millis(1_000_000);
        assert_eq!(Timestamp::from_micros(-1).check_given(now), Err(TimeError::OutOfRange));
        let tomorrow = now + Micros::from_days(1);
        assert_eq!(tomorrow.check_given(now), Ok(tomorrow));
        assert_eq!((tomorrow + Micros::new(1)).check_given(now), Err(TimeError::OutOfRange));
    }

    #[test]
    fn durations_are_bounded_and_keep_fractions() {
        assert_eq!(Micros::from_client_millis(1.5), Ok(Micros::new(1500)));
        assert_eq!(Micros::from_client_millis(-0.001), Err(DurationError::Negative));
        assert_eq!(Micros::from_client_millis(f64::NAN), Err(DurationError::NotFinite));
        assert_eq!(Micros::from_client_millis(f64::INFINITY), Err(DurationError::NotFinite));
        assert_eq!(Micros::from_client_millis(400.0 * 86_400_000.0), Ok(Micros::from_days(400)));
        assert_eq!(Micros::from_client_millis(400.0 * 86_400_000.0 + 1.0), Err(DurationError::TooLong));
        assert_eq!(Micros::from_client_millis(1e300), Err(DurationError::TooLong));
    }

    #[test]
    fn what_is_shown_as_so_many_milliseconds_lies_between_their_bounds() {
        for micros in [0, 499, 500, 999, 1_000, 1_499, 1_500, 99_500, 123_456_789] {
            let (least, most) = Micros::from_millis(Micros::new(micros).as_millis()).shown_alike();
            assert!(least.get() <= micros && micros <= most.get(), "{micros}");
            let beyond = Micros::new(most.get() + 1);
            assert_eq!((least.as_millis(), beyond.as_millis()), (most.as_millis(), most.as_millis() + 1));
        }
    }

    #[test]
    fn a_clock_that_steps_back_gives_no_negative_duration() {
        let (earlier, later) = (Timestamp::from_millis(5), Timestamp::from_millis(9));
        assert_eq!(earlier.since(later), Micros::ZERO);
        assert_eq!(later.since(earlier).as_millis(), 4);
    }
}
