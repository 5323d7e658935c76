//! Gathers the spans of many lines and files by their trace.
//!
//! A file that is not what it should be is refused whole, and with it every trace that has a span on a
//! line of it: an execution that is recorded stays as it is, so that half of one would stay a half.
//!
//! Invariant: at most [`SPANS`] spans and [`SPAN_BYTES`] are held, whatever is read.
//! Not here: opening files, and what a trace's spans become.

use std::collections::{HashMap, HashSet};
use std::io::{self, BufRead};

use serde::de::DeserializeSeed as _;
use serde_json::error::Category;
use thiserror::Error;
use tracer_core::ids::ExecutionId;
use tracer_core::time::Timestamp;

use super::lines::{LINE_BYTES, Line, Lines};
use super::span::FinishedSpan;
use crate::otlp::json::{Export, Ids, Object, Reading, from_slice};
use crate::otlp::mapping::{Origin, mapped};
use crate::otlp::wire::{self, hexadecimal};

/// Most spans that are held: those of one import.
pub const SPANS: usize = 1_000_000;
/// Most bytes that they are held in.
pub const SPAN_BYTES: usize = 2 * 1024 * 1024 * 1024;
/// Longest text of a parser that is repeated, in characters.
const WORDS: usize = 200;

/// Spans by trace, while files are read.
#[derive(Debug)]
pub struct Gathering {
    traces: HashMap<ExecutionId, Trace>,
    most: Bounds,
    held: Bounds,
    unfinished: usize,
}

/// Everything that was gathered.
#[derive(Debug, Default)]
pub struct Gathered {
    /// The traces, in the order in which they began.
    pub traces: Vec<GatheredTrace>,
    /// How many traces have spans in files that were refused, and are left out.
    pub torn: usize,
    /// How many spans had no start or no end, and are left out.
    pub unfinished: usize,
}

/// The spans of one trace, in the least space.
#[derive(Debug)]
pub struct GatheredTrace {
    /// Its id.
    pub id: ExecutionId,
    began_at: Timestamp,
    spans: Vec<Box<[u8]>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Bounds {
    spans: usize,
    bytes: usize,
}

#[derive(Debug)]
enum Trace {
    Held(GatheredTrace),
    Torn,
}

/// Why a file of OTLP JSON cannot be read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The file itself.
    #[error("{file}: cannot be read after line {line}")]
    Unreadable {
        /// The file, as the caller named it.
        file: String,
        /// The last line that was.
        line: u64,
        /// Why not.
        source: io::Error,
    },
    /// A line is no JSON.
    #[error("{file}: line {line}: is not JSON from column {column} on")]
    NotJson {
        /// The file.
        file: String,
        /// The line, from 1.
        line: u64,
        /// Where in it, in bytes from 1.
        column: usize,
    },
    /// A line ends within an object: it was cut off, or the file is one object on many lines.
    #[error("{file}: line {line}: ends too early: each line must hold a whole object")]
    Incomplete {
        /// The file.
        file: String,
        /// The line.
        line: u64,
    },
    /// One value is not what it should be.
    #[error("{file}: line {line}: {path}: {problem}")]
    Value {
        /// The file.
        file: String,
        /// The line.
        line: u64,
        /// Where in it, such as `$.resourceSpans[0].scopeSpans[0].spans[3].traceId`.
        path: String,
        /// What is wrong there.
        problem: String,
    },
    /// A line has more than [`LINE_BYTES`].
    #[error("{file}: line {line}: has more than {LINE_BYTES} bytes")]
    LineTooLong {
        /// The file.
        file: String,
        /// The line.
        line: u64,
    },
    /// The bounds of [`Gathering`].
    #[error(
        "{file}: line {line}: more than {SPANS} spans, or {SPAN_BYTES} bytes of them, cannot be imported at \
         once: name fewer files at a time, those with spans of the same traces together"
    )]
    TooMuch {
        /// The file.
        file: String,
        /// The line.
        line: u64,
    },
}

impl Default for Gathering {
    fn default() -> Self {
        Self::of_at_most(SPANS, SPAN_BYTES)
    }
}

impl Gathering {
    pub(super) fn of_at_most(spans: usize, bytes: usize) -> Self {
        Self { traces: HashMap::new(), most: Bounds { spans, bytes }, held: Bounds::default(), unfinished: 0 }
    }

    /// Reads a file; `progress` is told after every line how many spans are held.
    ///
    /// `source` is the file's name or path: it begins every message.
    ///
    /// # Errors
    /// [`ReadError`] if the file is refused. After [`ReadError::TooMuch`] nothing that was gathered is
    /// whole, and the import cannot go on.
    pub fn file(
        &mut self,
        source: &str,
        file: impl BufRead,
        mut progress: impl FnMut(usize),
    ) -> Result<(), ReadError> {
        let mut lines = Lines::new(file);
        let mut touched = HashSet::new();
        let mut refused = None;
        let mut last = 0;
        loop {
            let read = lines.next_line();
            let unreadable =
                |error| ReadError::Unreadable { file: source.to_owned(), line: last, source: error };
            let Some((number, line)) = (match read {
                Ok(line) => line,
                Err(error) => {
                    refused.get_or_insert(unreadable(error));
                    None
                }
            }) else {
                break;
            };
            last = number;
            let data = match decoded(source, number, &line) {
                Ok(data) => data,
                Err(error) => {
                    refused.get_or_insert(error);
                    touched.extend(mentioned(&line));
                    continue;
                }
            };
            self.take(data, &mut touched, refused.is_some())
                .map_err(|Full| ReadError::TooMuch { file: source.to_owned(), line: number })?;
            progress(self.held.spans);
        }
        let Some(error) = refused else { return Ok(()) };
        touched.into_iter().for_each(|id| self.tear(id));
        Err(error)
    }

    /// Returns everything that was gathered.
    #[must_use]
    pub fn finish(self) -> Gathered {
        let mut gathered = Gathered { unfinished: self.unfinished, ..Gathered::default() };
        for trace in self.traces.into_values() {
            match trace {
                Trace::Held(trace) => gathered.traces.push(trace),
                Trace::Torn => gathered.torn += 1,
            }
        }
        gathered.traces.sort_by_key(|trace| (trace.began_at, trace.id));
        gathered
    }

    /// Adds the spans of a line, or only notes their traces if the file is refused already.
    fn take(
        &mut self,
        data: TracesData<'_>,
        touched: &mut HashSet<ExecutionId>,
        refused: bool,
    ) -> Result<(), Full> {
        for resource_spans in data.by_resource {
            let origin = Origin::new(&resource_spans.resource);
            for message in resource_spans.by_scope.into_iter().flat_map(|scope| scope.records) {
                touched.extend(message.trace.given());
                if refused {
                    continue;
                }
                let span = mapped(&message, &origin, None).ok();
                match span.and_then(|mapped| FinishedSpan::new(mapped, &origin.resource)) {
                    Some((trace, span)) => self.hold(trace, &span)?,
                    None => self.unfinished += 1,
                }
            }
        }
        Ok(())
    }

    fn hold(&mut self, trace: ExecutionId, span: &FinishedSpan) -> Result<(), Full> {
        let empty = || GatheredTrace { id: trace, began_at: span.span.started_at, spans: Vec::new() };
        let trace = self.traces.entry(trace).or_insert_with(|| Trace::Held(empty()));
        let Trace::Held(trace) = trace else { return Ok(()) };
        // A tree of strings takes several times the space of its text.
        let Ok(bytes) = serde_json::to_vec(span) else { return Ok(()) };
        self.held.spans += 1;
        self.held.bytes += bytes.len();
        if self.held.spans > self.most.spans || self.held.bytes > self.most.bytes {
            return Err(Full);
        }
        trace.began_at = trace.began_at.min(span.span.started_at);
        trace.spans.push(bytes.into_boxed_slice());
        Ok(())
    }

    fn tear(&mut self, id: ExecutionId) {
        if let Some(Trace::Held(trace)) = self.traces.insert(id, Trace::Torn) {
            self.held.spans -= trace.spans.len();
            self.held.bytes -= trace.spans.iter().map(|span| span.len()).sum::<usize>();
        }
    }
}

impl GatheredTrace {
    /// Returns its spans, in the order in which they were read.
    #[must_use]
    pub fn into_spans(self) -> Vec<FinishedSpan> {
        self.spans.iter().filter_map(|span| serde_json::from_slice(span).ok()).collect()
    }
}

/// No more can be held.
struct Full;

/// What a line holds.
type TracesData<'a> = Export<'a, wire::Span<'a>>;

fn decoded<'a>(source: &str, number: u64, line: &Line<'a>) -> Result<TracesData<'a>, ReadError> {
    let file = || source.to_owned();
    match *line {
        Line::TooLong => Err(ReadError::LineTooLong { file: file(), line: number }),
        // A list could be the beginning of a file that is one document on many lines.
        Line::Text([b'[', ..]) => Err(ReadError::Value {
            file: file(),
            line: number,
            path: "$".to_owned(),
            problem: "must be an object".to_owned(),
        }),
        Line::Text(text) => {
            from_slice(text, &Reading::new(Ids::MustBeValid)).map_err(|error| match error.classify() {
                Category::Eof => ReadError::Incomplete { file: file(), line: number },
                Category::Syntax | Category::Io => {
                    ReadError::NotJson { file: file(), line: number, column: error.column() }
                }
                Category::Data => {
                    let (path, problem) = explained(text, &error);
                    ReadError::Value { file: file(), line: number, path, problem }
                }
            })
        }
    }
}

/// Returns the traces that a line names which cannot be read: it may have been cut off.
fn mentioned(line: &Line<'_>) -> HashSet<ExecutionId> {
    let Line::Text(text) = line else { return HashSet::new() };
    let id = |rest: &str| {
        let rest = rest.trim_start().strip_prefix(':')?.trim_start().strip_prefix('"')?;
        hexadecimal(rest.get(..32)?, 32).and_then(ExecutionId::from_u128)
    };
    String::from_utf8_lossy(text).split("\"traceId\"").skip(1).filter_map(id).collect()
}

/// Parses once more, slowly, to learn where the fault is; returns the path and what is wrong there.
fn explained(text: &[u8], error: &serde_json::Error) -> (String, String) {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let mut track = serde_path_to_error::Track::new();
    let tracked = serde_path_to_error::Deserializer::new(&mut deserializer, &mut track);
    let reading = Reading::new(Ids::MustBeValid);
    let seed: Object<'_, TracesData<'_>> = Object::new(&reading);
    let read = seed.deserialize(tracked).map(drop);
    let path = track.path();
    let path = match read {
        Err(_) if path.iter().next().is_some() => format!("$.{path}"),
        Err(_) | Ok(()) => "$".to_owned(),
    };
    // The place within the line follows; the path says it better.
    let message = error.to_string();
    let words = message.rsplit_once(" at line ").map_or(&*message, |(words, _)| words);
    let cut: String = words.chars().take(WORDS).collect();
    let mark = if cut.len() < words.len() { "…" } else { "" };
    (path, format!("{cut}{mark}"))
}
