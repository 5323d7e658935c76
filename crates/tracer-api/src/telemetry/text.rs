//! The fields of a line for people.
//!
//! Invariant: a value is one word, or in quotes with whatever a terminal or a reader could take for something else
//! escaped. Names come from clients; none of them moves a cursor, turns text around, or looks like a further field.

use std::fmt::{self, Debug};

use tracing::field::{Field, Visit};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::Writer;

/// Writes the message, and `name=value` for everything else.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields;

impl<'w> FormatFields<'w> for Fields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut line = Line { writer, begun: false, result: Ok(()) };
        fields.record(&mut line);
        line.result
    }
}

struct Line<'w> {
    writer: Writer<'w>,
    begun: bool,
    result: fmt::Result,
}

impl Line<'_> {
    fn write(&mut self, field: &Field, value: &str) -> fmt::Result {
        if std::mem::replace(&mut self.begun, true) {
            self.writer.write_char(' ')?;
        }
        if field.name() == "message" {
            return self.write_message(value);
        }
        let quoted = format!("{value:?}");
        let (name, equals) = if self.writer.has_ansi_escapes() {
            (format!("\x1b[3m{}\x1b[0m", field.name()), "\x1b[2m=\x1b[0m")
        } else {
            (field.name().to_owned(), "=")
        };
        let unchanged = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) == Some(value);
        let plain = unchanged && !value.is_empty() && !value.contains([' ', '=']);
        write!(self.writer, "{name}{equals}{}", if plain { value } else { &quoted })
    }

    /// A message is text of our own, or of a library's: it reads as it is.
    fn write_message(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|c| match c {
            '"' | '\'' | '\\' => self.writer.write_char(c),
            _ => write!(self.writer, "{}", c.escape_debug()),
        })
    }
}

impl Visit for Line<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.result = self.result.and_then(|()| self.write(field, value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}
