//! Reads a stream of events (HTML Living Standard, section 9.2.6), as far as the service writes one.
//!
//! Invariant: how the bytes are cut into pieces makes no difference.

/// Bytes of a line above which it is none of ours.
const LONGEST_LINE: usize = 1024 * 1024;

/// What ends with an empty line: an event, or a place without one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Event {
    /// Where it goes on.
    pub(super) id: Option<String>,
    /// The JSON; none of what is only a place.
    pub(super) data: Option<String>,
}

/// Puts pieces together.
#[derive(Debug, Default)]
pub(super) struct Parser {
    line: Vec<u8>,
    event: Event,
}

impl Parser {
    /// Takes a piece, and returns what it completes.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Vec<Event> {
        let mut events = Vec::new();
        for byte in bytes {
            if *byte != b'\n' {
                if self.line.len() < LONGEST_LINE {
                    self.line.push(*byte);
                }
                continue;
            }
            let line = std::mem::take(&mut self.line);
            let line = String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(&line)).into_owned();
            events.extend(self.take(&line));
        }
        events
    }

    fn take(&mut self, line: &str) -> Option<Event> {
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            return (event != Event::default()).then_some(event);
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => self.event.id = Some(value.to_owned()),
            "data" => match &mut self.event.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => self.event.data = Some(value.to_owned()),
            },
            // Comments, `event` (the kind is in the data too), and `retry`.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_however_they_are_cut() {
        let stream = "retry: 2000\nid: 5\n: listening\n\nid: 6-0\nevent: event\ndata: {\"a\":\"é\"}\n\n: alive\n\nid: 7\r\ndata: x\r\ndata:y\r\n\r\n";
        let event = |id: &str, data: Option<&str>| Event { id: Some(id.into()), data: data.map(Into::into) };
        let expected = vec![event("5", None), event("6-0", Some("{\"a\":\"é\"}")), event("7", Some("x\ny"))];
        for size in [1, 2, 3, 7, 1_000] {
            let mut parser = Parser::default();
            let events: Vec<Event> =
                stream.as_bytes().chunks(size).flat_map(|piece| parser.push(piece)).collect();
            assert_eq!(events, expected, "{size}");
        }
    }
}
