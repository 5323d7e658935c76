//! Logs: JSON lines, or text for people.
//!
//! Invariant: a request never waits for its log. Lines go through a bounded queue to a thread of their own; when
//! that thread cannot keep up, lines are dropped and counted.

mod text;

use std::io::{self, BufWriter, IsTerminal, Write};

use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry};

use crate::config::{LogFormat, LogSettings};

/// Lines that may wait to be written; at 300 bytes each, 5 MB.
const WAITING_LINES: usize = 16_384;

/// Where lines go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// The service's: what a container's runtime collects.
    Stdout,
    /// A subcommand's, whose output is on stdout.
    Stderr,
}

/// Keeps the log going; dropping it writes what still waits.
#[must_use = "dropping the log ends it"]
#[derive(Debug)]
pub struct Log {
    dropped: ErrorCounter,
    _guard: WorkerGuard,
}

impl Log {
    /// Returns a counter of the lines that were dropped because too many waited.
    #[must_use]
    pub fn dropped(&self) -> DroppedLines {
        DroppedLines(self.dropped.clone())
    }
}

/// Counts the lines that were dropped since the start.
#[derive(Clone, Debug)]
pub struct DroppedLines(ErrorCounter);

impl DroppedLines {
    /// Returns the number.
    #[must_use]
    pub fn get(&self) -> u64 {
        u64::try_from(self.0.dropped_lines()).unwrap_or(u64::MAX)
    }
}

/// Parses a level such as `info`, or levels by module such as `info,tracer_store=debug`; none if it is neither.
#[must_use]
pub fn parse_level(text: &str) -> Option<Targets> {
    // A word that is no level would be taken for a module whose every line is wanted.
    let fits = |part: &str| {
        let level = part.rsplit_once('=').map_or(part, |(_, level)| level).trim();
        ["error", "warn", "info", "debug", "trace", "off"]
            .iter()
            .any(|known| level.eq_ignore_ascii_case(known))
    };
    if !text.split(',').all(fits) {
        return None;
    }
    // What the HTTP library says of every start, and of every client that speaks no HTTP, is no news: a stranger
    // must not be able to fill the log. Whoever names these modules hears them again.
    let quiet = if text.trim().eq_ignore_ascii_case("off") { "" } else { "actix_server=error," };
    format!("actix_http=off,{quiet}{text}").parse().ok()
}

/// Starts the log of this process; a later call leaves the first in place.
///
/// # Errors
/// If another subscriber has been installed already, or the level is none.
pub fn start(settings: &LogSettings, destination: Destination) -> anyhow::Result<Log> {
    let (terminal, writer): (bool, Box<dyn Write + Send>) = match destination {
        Destination::Stdout => (io::stdout().is_terminal(), Box::new(io::stdout())),
        Destination::Stderr => (io::stderr().is_terminal(), Box::new(io::stderr())),
    };
    let json = match settings.format {
        LogFormat::Auto => !terminal,
        LogFormat::Json => true,
        LogFormat::Text => false,
    };
    // The thread flushes whenever nothing waits: few system calls when busy, none late when idle.
    let (lines, guard) = NonBlockingBuilder::default()
        .buffered_lines_limit(WAITING_LINES)
        .lossy(true)
        .thread_name("log")
        .finish(BufWriter::with_capacity(64 * 1024, writer));
    let dropped = lines.error_counter();
    let level =
        parse_level(&settings.level).ok_or_else(|| anyhow::anyhow!("the log's level is not valid"))?;
    let layer = if json { json_layer(lines) } else { text_layer(lines, terminal) };
    tracing_subscriber::registry().with(layer.with_filter(level)).try_init()?;
    Ok(Log { dropped, _guard: guard })
}

fn json_layer<W>(writer: W) -> Box<dyn Layer<Registry> + Send + Sync>
where
    W: for<'a> tracing_subscriber::fmt::MakeWriter<'a> + Send + Sync + 'static,
{
    tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_timer(Millis)
        .with_writer(writer)
        .boxed()
}

fn text_layer<W>(writer: W, colours: bool) -> Box<dyn Layer<Registry> + Send + Sync>
where
    W: for<'a> tracing_subscriber::fmt::MakeWriter<'a> + Send + Sync + 'static,
{
    tracing_subscriber::fmt::layer()
        .fmt_fields(text::Fields)
        .with_ansi(colours)
        .with_target(false)
        .with_timer(Millis)
        .with_writer(writer)
        .boxed()
}

/// Writes RFC 3339 in UTC with milliseconds, as everything of ours shows times.
struct Millis;

impl FormatTime for Millis {
    fn format_time(&self, writer: &mut Writer<'_>) -> std::fmt::Result {
        #[expect(
            clippy::disallowed_methods,
            reason = "a line says when it was written, whatever a test's clock says"
        )]
        let now = jiff::Timestamp::now();
        write!(writer, "{now:.3}")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_is_one_flat_json_object() {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::registry().with(json_layer(move || writer.clone()));
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(event = "step_complete", execution_id = %"wf_1", duration_ms = 42, "step completed");
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let mut line: serde_json::Value = serde_json::from_str(&text).unwrap();
        let time = line["timestamp"].take();
        assert!(time.as_str().is_some_and(|t| t.len() == 24 && t.ends_with('Z')), "{time}");
        insta::assert_snapshot!(line, @r#"{"duration_ms":42,"event":"step_complete","execution_id":"wf_1","level":"INFO","message":"step completed","target":"tracer_api::telemetry::tests","timestamp":null}"#);
    }

    fn text_of(colours: bool, tell: impl FnOnce()) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::registry().with(text_layer(move || writer.clone(), colours));
        tracing::subscriber::with_default(subscriber, tell);
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        // Behind the time and the level.
        text.split_once("INFO").unwrap().1.trim_start_matches("\x1b[0m").to_owned()
    }

    #[test]
    fn a_line_for_people_has_words_and_quoted_texts() {
        let text = text_of(false, || {
            tracing::info!(event = "step_complete", step_name = %"load data", empty = "", duration_ms = 42, factor = 1.5, absent = None::<u64>, "step ended");
        });
        let expected =
            " step ended event=step_complete step_name=\"load data\" empty=\"\" duration_ms=42 factor=1.5\n";
        assert_eq!(text, expected);
        let colours = text_of(true, || tracing::info!(status = "failed", "step ended"));
        assert_eq!(colours, " step ended \x1b[3mstatus\x1b[0m\x1b[2m=\x1b[0mfailed\n");
    }

    #[test]
    fn no_value_in_a_line_for_people_moves_a_cursor_turns_text_around_or_looks_like_another_field() {
        for (value, shown) in [
            ("\x1b[2Jgone", r#""\u{1b}[2Jgone""#),
            ("a\u{9b}31m", r#""a\u{9b}31m""#),
            ("a\nINFO b", r#""a\nINFO b""#),
            ("a\u{202e}b", r#""a\u{202e}b""#),
            ("a\u{2028}b", r#""a\u{2028}b""#),
            ("a status=failed", r#""a status=failed""#),
            ("a=b", r#""a=b""#),
            ("a\"b", r#""a\"b""#),
            ("größe/漢字🚀", "größe/漢字🚀"),
        ] {
            assert_eq!(
                text_of(false, || tracing::info!(step_name = %value)),
                format!(" step_name={shown}\n")
            );
            assert_eq!(text_of(false, || tracing::info!(kind = value)), format!(" kind={shown}\n"));
        }
        assert_eq!(text_of(false, || tracing::info!("\x1b[2Jgone")), " \\u{1b}[2Jgone\n");
    }

    #[test]
    fn strangers_who_speak_no_http_do_not_fill_the_log_unless_asked_for() {
        let hears =
            |level: &str| parse_level(level).unwrap().would_enable("actix_http::h1", &tracing::Level::ERROR);
        assert_eq!([hears("info"), hears("off"), hears("info,actix_http=debug")], [false, false, true]);
        assert!(parse_level("info").unwrap().would_enable("tracer_api::app", &tracing::Level::INFO));
    }

    #[test]
    fn a_level_is_one_word_or_one_by_module() {
        for level in ["info", "WARN", "off", "info,tracer_store=debug", "warn, actix_web=error"] {
            assert!(parse_level(level).is_some(), "{level}");
        }
        for wrong in ["", "loud", "loud=", "info,loud", "tracer_store="] {
            assert!(parse_level(wrong).is_none(), "{wrong}");
        }
    }
}
