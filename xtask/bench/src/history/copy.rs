//! Rows in PostgreSQL's binary COPY format (PostgreSQL's documentation, COPY, "Binary Format").
//!
//! Not here: which columns a table has.

use bytes::Bytes;

/// PostgreSQL counts from 2000-01-01, the domain from 1970-01-01: the days between them.
const EPOCH_DAYS: i32 = 10_957;

/// The same in microseconds.
const EPOCH_MICROS: i64 = 946_684_800_000_000;

/// Rows of one table, column after column.
#[derive(Debug)]
pub(crate) struct Rows {
    out: Vec<u8>,
    columns: i16,
}

impl Rows {
    /// Begins rows of so many columns.
    pub(crate) fn new(columns: i16) -> Self {
        let mut out = b"PGCOPY\n\xff\r\n\0".to_vec();
        // No flags, and no extension of the header.
        out.extend_from_slice(&[0; 8]);
        Self { out, columns }
    }

    /// Begins a row.
    pub(crate) fn row(&mut self) -> &mut Self {
        self.out.extend_from_slice(&self.columns.to_be_bytes());
        self
    }

    pub(crate) fn uuid(&mut self, value: [u8; 16]) -> &mut Self {
        self.field(Some(&[&value]))
    }

    pub(crate) fn bytes(&mut self, value: &[u8]) -> &mut Self {
        self.field(Some(&[value]))
    }

    pub(crate) fn text(&mut self, value: Option<&str>) -> &mut Self {
        self.field(value.map(|value| [value.as_bytes()]).as_ref().map(<[_; 1]>::as_slice))
    }

    /// Adds a `jsonb`, whose format is a version and the text.
    pub(crate) fn json(&mut self, value: Option<&str>) -> &mut Self {
        self.field(value.map(|value| [[1].as_slice(), value.as_bytes()]).as_ref().map(<[_; 2]>::as_slice))
    }

    pub(crate) fn big(&mut self, value: Option<i64>) -> &mut Self {
        let bytes = value.map(i64::to_be_bytes);
        self.field(bytes.as_ref().map(|bytes| [bytes.as_slice()]).as_ref().map(<[_; 1]>::as_slice))
    }

    pub(crate) fn int(&mut self, value: i32) -> &mut Self {
        self.field(Some(&[&value.to_be_bytes()]))
    }

    pub(crate) fn small(&mut self, value: Option<i16>) -> &mut Self {
        let bytes = value.map(i16::to_be_bytes);
        self.field(bytes.as_ref().map(|bytes| [bytes.as_slice()]).as_ref().map(<[_; 1]>::as_slice))
    }

    pub(crate) fn flag(&mut self, value: bool) -> &mut Self {
        self.field(Some(&[&[u8::from(value)]]))
    }

    /// Adds a `date` from days since 1970.
    pub(crate) fn date(&mut self, days: i32) -> &mut Self {
        self.int(days - EPOCH_DAYS)
    }

    /// Adds a `timestamptz` from microseconds since 1970.
    pub(crate) fn stamp(&mut self, micros: i64) -> &mut Self {
        self.big(Some(micros - EPOCH_MICROS))
    }

    /// Ends the rows.
    pub(crate) fn finish(mut self) -> Bytes {
        self.out.extend_from_slice(&(-1_i16).to_be_bytes());
        Bytes::from(self.out)
    }

    /// Adds a field of these parts, or a null. What is written here is far below the format's 2 GiB.
    fn field(&mut self, parts: Option<&[&[u8]]>) -> &mut Self {
        let length = parts.map(|parts| parts.iter().map(|part| part.len()).sum::<usize>());
        let length = length.map_or(-1, |length| i32::try_from(length).unwrap_or(-1));
        self.out.extend_from_slice(&length.to_be_bytes());
        for part in parts.unwrap_or_default() {
            self.out.extend_from_slice(part);
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::Rows;

    #[test]
    fn a_field_is_its_length_and_its_bytes_and_a_null_is_no_length() {
        let mut rows = Rows::new(3);
        rows.row().json(Some("{}")).small(None).stamp(946_684_800_000_001);
        let bytes = rows.finish();
        let row = &bytes[19..];
        let expected: &[u8] = &[
            0, 3, 0, 0, 0, 3, 1, b'{', b'}', 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 1,
            0xff, 0xff,
        ];
        assert_eq!(row, expected);
    }
}
