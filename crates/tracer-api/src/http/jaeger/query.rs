//! Parameters as Jaeger's query service takes them: what it does not know is ignored, and of what repeats and should
//! not, the first counts.

use std::collections::BTreeMap;

use tracer_core::ids::ExecutionId;
use tracer_core::time::Micros;

use super::super::path;
use crate::error::ApiError;

/// The last millisecond of year 9999: no store is asked for a later time.
pub(super) const LAST_MILLIS: i64 = 253_402_300_799_999;

/// Most tags that are asked for at once.
const TAGS: usize = 32;

/// What was asked.
#[derive(Debug)]
pub(super) struct Asked(Vec<(String, String)>);

impl Asked {
    /// Reads `name=value&…`.
    ///
    /// # Errors
    /// 400 if it is not percent-encoded UTF-8.
    pub(super) fn parse(query: &str) -> Result<Self, ApiError> {
        let decode = |text: &str| {
            path::decode(&text.replace('+', " ")).map_err(|_| {
                ApiError::bad_request("unable to parse the query: it is not percent-encoded UTF-8")
            })
        };
        let parts = query.split('&').filter(|part| !part.is_empty());
        let pairs = parts.map(|part| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            Ok((decode(name)?, decode(value)?))
        });
        pairs.collect::<Result<_, _>>().map(Self)
    }

    /// Returns whether a parameter was given.
    pub(super) fn has(&self, name: &str) -> bool {
        self.text(name).is_some()
    }

    /// Returns a parameter; an empty one is none.
    pub(super) fn text<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        self.all(name).next()
    }

    /// Returns every value of a parameter that may repeat.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |(known, value)| known == name && !value.is_empty())
            .map(|(_, value)| value.as_str())
    }

    /// Returns a parameter that must be given.
    ///
    /// # Errors
    /// 400 if it is not.
    pub(super) fn required<'a>(&'a self, name: &'a str) -> Result<&'a str, ApiError> {
        self.text(name).ok_or_else(|| ApiError::bad_request(format!("parameter '{name}' is required")))
    }

    /// Reads a parameter by a function that returns nothing for what it does not take.
    ///
    /// # Errors
    /// 400 if it takes it not.
    pub(super) fn read<T>(
        &self,
        name: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, ApiError> {
        let refuse = || ApiError::bad_request(format!("unable to parse param '{name}'"));
        self.text(name).map(|text| read(text).ok_or_else(refuse)).transpose()
    }

    /// Reads the tags that are asked for.
    ///
    /// # Errors
    /// 400 if they are not what they should be, or too many.
    pub(super) fn tags(&self) -> Result<BTreeMap<String, String>, ApiError> {
        let mut tags = BTreeMap::new();
        for tag in self.all("tag") {
            let malformed = || ApiError::bad_request("malformed 'tag' parameter, expecting key:value");
            let (key, value) = tag.split_once(':').ok_or_else(malformed)?;
            tags.insert(key.to_owned(), value.to_owned());
        }
        for object in self.all("tags") {
            let object: BTreeMap<String, String> = serde_json::from_str(object).map_err(|_| {
                ApiError::bad_request("malformed 'tags' parameter, expecting a JSON object of texts")
            })?;
            tags.extend(object);
        }
        if tags.len() > TAGS {
            return Err(ApiError::bad_request(format!("at most {TAGS} tags can be searched for at once")));
        }
        Ok(tags)
    }
}

/// Reads the id of a trace: at most 32 hexadecimal digits, or `wf_…`.
///
/// # Errors
/// 400 if it is none.
pub(super) fn read_id(text: &str) -> Result<ExecutionId, ApiError> {
    let digits = text.strip_prefix("wf_").unwrap_or(text);
    let fits = (1..=32).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit());
    let bits = if fits { u128::from_str_radix(digits, 16).ok() } else { None };
    bits.and_then(ExecutionId::from_u128)
        .ok_or_else(|| ApiError::bad_request("malformed trace id, expecting at most 32 hexadecimal digits"))
}

/// Reads a duration as Go writes it: `1.2s`, `1h30m`, `500us`; and days, as Jaeger's page does.
pub(super) fn read_duration(text: &str) -> Option<Micros> {
    let text = text.trim();
    let text = text.strip_prefix('+').unwrap_or(text);
    if text == "0" {
        return Some(Micros::ZERO);
    }
    let mut rest = text;
    let mut total = 0.0;
    while !rest.is_empty() {
        let number = rest.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
        let (digits, behind) = rest.split_at_checked(number)?;
        let unit = behind.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(behind.len());
        let (unit, behind) = behind.split_at_checked(unit)?;
        let micros = match unit {
            "ns" => 0.001,
            "us" | "µs" | "μs" => 1.0,
            "ms" => 1e3,
            "s" => 1e6,
            "m" => 6e7,
            "h" => 3.6e9,
            "d" => 8.64e10,
            _ => return None,
        };
        total += digits.parse::<f64>().ok()? * micros;
        rest = behind;
    }
    (!text.is_empty() && total.is_finite()).then(|| Micros::from_f64(total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_in_go() {
        let micros = |text| read_duration(text).map(Micros::get);
        for (text, expected) in [
            ("1.2s", 1_200_000),
            ("100ms", 100_000),
            ("500us", 500),
            ("500µs", 500),
            ("1h30m", 5_400_000_000),
            ("2d", 172_800_000_000),
            ("1500ns", 2),
            (".5ms", 500),
            ("0", 0),
        ] {
            assert_eq!(micros(text), Some(expected), "{text}");
        }
        for wrong in ["", "5", "s", "-5s", "1,2s", "5 s", "5y", "1..2s", "µs"] {
            assert_eq!(micros(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn an_id_may_lack_its_leading_zeros_and_be_written_as_here() {
        let read = |text| read_id(text).map(|id| id.to_string()).ok();
        let full = "wf_000000000000000000000000000000ab";
        for text in ["ab", "AB", "00ab", "000000000000000000000000000000ab", full] {
            assert_eq!(read(text).as_deref(), Some(full), "{text}");
        }
        for wrong in ["", "0", "xyz", "wf_", "-1", "1000000000000000000000000000000ab"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn tags_come_one_by_one_or_as_an_object() {
        let tags =
            |query: &str| Asked::parse(query).and_then(|asked| asked.tags()).map_err(|e| e.to_string());
        let all = tags("tag=a:b:c&tags=%7B%22error%22%3A%22true%22%7D&tag=d:&unknown=1").unwrap();
        assert_eq!(
            all.into_iter().collect::<Vec<_>>(),
            [("a", "b:c"), ("d", ""), ("error", "true")].map(|(k, v)| (k.to_owned(), v.to_owned()))
        );
        assert!(tags("tag=a").is_err() && tags("tags=%7B%22a%22%3A1%7D").is_err() && tags("tags=x").is_err());
    }
}
