//! Recognises what a file holds by how it begins.
//!
//! Invariant: no more is read than up to the first member that tells, so that a file of gigabytes is
//! recognised at once.
//! Not here: whether the file is what it seems to be.

use std::fmt;
use std::io::BufRead;

use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, Visitor};

/// Most bytes that are looked at.
const LOOKED_AT: u64 = 16 * 1024 * 1024;
/// What some editors of another system begin a text with.
pub(super) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// What a file of executions may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One execution in WfFormat.
    Wfformat,
    /// Lines of OTLP JSON.
    Otlp,
}

impl Format {
    /// Returns the format whose members the first objects of a file have; none if they have none of
    /// them, or the file does not begin with objects. Where reading fails, it is not recognised either:
    /// whoever reads it whole will see why.
    #[must_use]
    pub fn recognise(mut file: impl BufRead) -> Option<Self> {
        if file.fill_buf().is_ok_and(|bytes| bytes.starts_with(BYTE_ORDER_MARK)) {
            file.consume(BYTE_ORDER_MARK.len());
        }
        let mut found = None;
        let mut objects = serde_json::Deserializer::from_reader(file.take(LOOKED_AT));
        // An empty object may come first: a collector that had nothing to write.
        while found.is_none() && objects.deserialize_map(Members { found: &mut found }).is_ok() {}
        found
    }

    /// Returns the format that has such a member at its top.
    fn of_member(key: &str) -> Option<Self> {
        match key {
            "schemaVersion" | "workflow" => Some(Self::Wfformat),
            // Logs and metrics may share a file with traces; they are passed over.
            "resourceSpans" | "resourceLogs" | "resourceMetrics" => Some(Self::Otlp),
            _ => None,
        }
    }
}

/// Looks at the keys of an object until one tells; then fails, so that nothing more is read.
struct Members<'a> {
    found: &'a mut Option<Format>,
}

impl<'de> Visitor<'de> for Members<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut members: M) -> Result<(), M::Error> {
        while let Some(key) = members.next_key::<String>()? {
            *self.found = Format::of_member(&key);
            if self.found.is_some() {
                return Err(M::Error::custom("enough is known"));
            }
            members.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_recognised_by_its_content() {
        let of = |text: &str| Format::recognise(text.as_bytes());
        assert_eq!(of(r#" {"name": {"a": [1]}, "schemaVersion": "1.5""#), Some(Format::Wfformat));
        assert_eq!(of(r#"{"workflow": {"resourceSpans": []}}"#), Some(Format::Wfformat));
        assert_eq!(of("\u{feff}\n{\"resourceSpans\":["), Some(Format::Otlp));
        assert_eq!(of("{}\n\n{\"resourceSpans\":[]}"), Some(Format::Otlp));
        assert_eq!(of("{\"resourceLogs\":[]}\n"), Some(Format::Otlp));
        for neither in ["", "{}", "[1]", "{\"other\": 1}", "text", "\x1f\u{8b}", "{\"a\": "] {
            assert_eq!(of(neither), None, "{neither}");
        }
    }
}
