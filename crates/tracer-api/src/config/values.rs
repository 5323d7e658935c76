//! Texts of the settings that mean more than a text: durations, and secrets.
//!
//! Invariant: a [`Secret`] never shows itself, neither by `Debug` nor by `Display`.

use std::fmt;
use std::time::Duration;

/// What stands in place of a secret wherever settings are shown.
pub const REDACTED: &str = "[redacted]";

/// A text that is never shown: a password, a key, an address that holds either.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes the text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Returns the text, for its one use.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Returns whether nothing is set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "\"\"" } else { REDACTED })
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "" } else { REDACTED })
    }
}

impl<'de> serde::Deserialize<'de> for Secret {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The fault that a deserialiser finds shows what it found.
        let text = String::deserialize(deserializer);
        text.map(Self).map_err(|_| serde::de::Error::custom("expected a text in quotes"))
    }
}

/// What a duration has to look like, for error messages.
const EXPECTED: &str =
    "a duration: a whole number and one of us, ms, s, m, h or d, such as \"5ms\" or \"30d\"";

/// Parses a whole number and its unit: `5ms`, `2s`, `30d`; none if the text is anything else.
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let number: u64 = number.parse().ok()?;
    let (micros, seconds) = match unit.trim_start() {
        "us" => (1, 0),
        "ms" => (1_000, 0),
        "s" => (0, 1),
        "m" => (0, 60),
        "h" => (0, 3_600),
        "d" => (0, 86_400),
        _ => return None,
    };
    let duration = if seconds == 0 {
        Duration::from_micros(number.checked_mul(micros)?)
    } else {
        Duration::from_secs(number.checked_mul(seconds)?)
    };
    // A thousand years: what is longer is a typo, and would overflow sums of instants.
    (duration <= Duration::from_secs(86_400 * 365_000)).then_some(duration)
}

/// Deserialises a duration written as a text.
///
/// # Errors
/// The deserialiser's, naming the form that is expected.
pub(super) fn duration<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = <String as serde::Deserialize>::deserialize(deserializer)?;
    parse_duration(&text).ok_or_else(|| serde::de::Error::custom(format_args!("expected {EXPECTED}")))
}

/// As [`duration`], where the setting may be left out.
///
/// # Errors
/// The deserialiser's, naming the form that is expected.
pub(super) fn optional_duration<'de, D: serde::Deserializer<'de>>(
    d: D,
) -> Result<Option<Duration>, D::Error> {
    duration(d).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_a_whole_number_and_a_unit() {
        assert_eq!(parse_duration("5ms"), Some(Duration::from_millis(5)));
        assert_eq!(parse_duration(" 90 s "), Some(Duration::from_secs(90)));
        assert_eq!(parse_duration("30d"), Some(Duration::from_secs(30 * 86_400)));
        assert_eq!(parse_duration("0s"), Some(Duration::ZERO));
        for wrong in
            ["", "5", "s", "-5s", "1.5s", "5 weeks", "5mss", "99999999999999999999s", "9999999999d", "5µs"]
        {
            assert_eq!(parse_duration(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_secret_shows_only_whether_it_is_set() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret} {secret:?}"), "[redacted] [redacted]");
        assert_eq!(format!("{}{:?}", Secret::default(), Secret::default()), "\"\"");
    }
}
