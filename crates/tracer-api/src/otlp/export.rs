//! The records of one export → one command, and what is refused of it.
//!
//! Spans are mapped one by one as they are read, so that what was sent and what is kept of it are never held
//! together.
//!
//! Invariant: at most [`OTLP_SPANS`](tracer_core::limits::OTLP_SPANS) spans and about [`RETAINED_BYTES`] are held.
//! Not here: reading bytes, and recording.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tracer_core::ids::ExecutionId;
use tracer_core::record::RecordSpans;
use tracer_core::span::{Resource, ResourceId, Span, TraceSpans};
use tracer_core::time::Timestamp;

use super::logs::{self, Told};
use super::mapping::{self, Mapped, Origin, Rejection};
use super::wire::{self, LogRecord, ReadError, Scope, Sink};
use super::{detail, json, protobuf};

/// Most bytes that the spans of one export are kept in, beside their texts: those of an ordinary one of 16 MiB
/// fit several times.
pub const RETAINED_BYTES: usize = 192 * 1024 * 1024;
/// About what a span takes without its attributes, and what each of them takes beside its texts.
const SPAN_BYTES: usize = 600;
const ATTRIBUTE_BYTES: usize = 120;

/// The spans of one export, while it is read.
#[derive(Debug)]
pub struct Gathering {
    now: Timestamp,
    traces: Vec<TraceSpans>,
    places: HashMap<ExecutionId, usize>,
    resources: BTreeMap<ResourceId, Resource>,
    rejected: BTreeMap<Rejection, u64>,
    retained: usize,
    seen: u64,
    taken: u64,
}

/// What an export comes to.
#[derive(Debug)]
pub struct Gathered {
    /// What is to be recorded; none if there is nothing.
    pub command: Option<RecordSpans>,
    /// About how many bytes it takes, beside its texts.
    pub bytes: usize,
    /// How many records it holds.
    pub taken: u64,
    /// What is refused, by why.
    pub rejected: BTreeMap<Rejection, u64>,
}

impl Gathered {
    /// Returns how many records are refused.
    #[must_use]
    pub fn rejections(&self) -> u64 {
        self.rejected.values().sum()
    }

    /// Says how many records are refused and why, in a sentence; `what` they are, such as `spans were`.
    #[must_use]
    pub fn explanation(&self, what: &str) -> String {
        let mut text = format!("{} {what} refused", self.rejections());
        for (at, (why, count)) in self.rejected.iter().enumerate() {
            let between = if at == 0 { ':' } else { ';' };
            text.push_str(&format!("{between} {count} because {why}"));
        }
        text.push('.');
        text
    }
}

impl Gathering {
    /// Returns nothing yet; `now` is when the export arrived.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self {
            now,
            traces: Vec::new(),
            places: HashMap::new(),
            resources: BTreeMap::new(),
            rejected: BTreeMap::new(),
            retained: 0,
            seen: 0,
            taken: 0,
        }
    }

    /// Returns what spans are read into.
    pub fn spans<'a>(&mut self) -> Spans<'_, 'a> {
        Spans { gathering: self, from: From::default() }
    }

    /// Returns what log records are read into.
    pub fn logs<'a>(&mut self) -> Logs<'_, 'a> {
        Logs { gathering: self, from: From::default() }
    }

    /// Returns what all of it comes to.
    #[must_use]
    pub fn finish(self) -> Gathered {
        let command = (!self.traces.is_empty())
            .then_some(RecordSpans { traces: self.traces, resources: self.resources });
        Gathered { command, bytes: self.retained, taken: self.taken, rejected: self.rejected }
    }

    fn reject(&mut self, why: Rejection) {
        *self.rejected.entry(why).or_default() += 1;
    }

    fn take(&mut self, mapped: Result<Mapped, Rejection>, origin: &Origin) -> Result<(), ReadError> {
        self.seen += 1;
        let timely = mapped.and_then(|mapped| mapping::within_time(&mapped.span, self.now).map(|()| mapped));
        let Mapped { trace, mut span, is_reversed } = match timely {
            Ok(mapped) => mapped,
            Err(why) => {
                self.reject(why);
                return Ok(());
            }
        };
        if is_reversed {
            mapping::mark_reversed(&mut span);
        }
        self.retained += SPAN_BYTES + span.attributes.entries().len() * ATTRIBUTE_BYTES;
        if self.retained > RETAINED_BYTES {
            return Err(ReadError::TooMuch("a million attributes"));
        }
        self.resources.entry(origin.id).or_insert_with(|| origin.resource.clone());
        self.taken += 1;
        self.place(trace).push(span);
        Ok(())
    }

    fn place(&mut self, trace: ExecutionId) -> &mut Vec<Span> {
        let next = self.traces.len();
        let at = match self.traces.last() {
            // Most spans follow one of their own trace.
            Some(last) if last.id == trace => next - 1,
            Some(_) | None => *self.places.entry(trace).or_insert(next),
        };
        if at == next {
            self.traces.push(TraceSpans { id: trace, spans: Vec::new() });
        }
        &mut self.traces[at].spans
    }
}

/// Where the records come from that are read next. What it comes to is worked out when a record needs it.
#[derive(Debug, Default)]
struct From<'a> {
    resource: wire::Resource<'a>,
    origin: Option<Origin>,
    scope: Option<Arc<str>>,
}

impl<'a> From<'a> {
    fn resource(&mut self, resource: wire::Resource<'a>) {
        *self = Self { resource, ..Self::default() };
    }

    fn origin(&mut self) -> (&Origin, Option<&Arc<str>>) {
        let origin = self.origin.get_or_insert_with(|| Origin::new(&self.resource));
        (origin, self.scope.as_ref())
    }
}

/// Reads spans.
#[derive(Debug)]
pub struct Spans<'g, 'a> {
    gathering: &'g mut Gathering,
    from: From<'a>,
}

impl<'a> Sink<'a> for Spans<'_, 'a> {
    type Record = wire::Span<'a>;

    fn resource(&mut self, resource: wire::Resource<'a>) {
        self.from.resource(resource);
    }

    fn scope(&mut self, scope: Scope<'a>) {
        self.from.scope = detail::scope(&scope);
    }

    fn record(&mut self, span: wire::Span<'a>) -> Result<(), ReadError> {
        let (origin, scope) = self.from.origin();
        self.gathering.take(mapping::mapped(&span, origin, scope), origin)
    }
}

/// Reads log records, and keeps the starts that they tell of.
#[derive(Debug)]
pub struct Logs<'g, 'a> {
    gathering: &'g mut Gathering,
    from: From<'a>,
}

impl<'a> Sink<'a> for Logs<'_, 'a> {
    type Record = LogRecord<'a>;

    fn resource(&mut self, resource: wire::Resource<'a>) {
        self.from.resource(resource);
    }

    fn scope(&mut self, scope: Scope<'a>) {
        self.from.scope = detail::scope(&scope);
    }

    fn record(&mut self, record: LogRecord<'a>) -> Result<(), ReadError> {
        match logs::told(record) {
            Told::Start(span) => {
                let (origin, scope) = self.from.origin();
                self.gathering.take(mapping::mapped(&span, origin, scope), origin)?;
            }
            Told::Partial(body) => {
                // What a record holds is a whole export, and may be none.
                let before = self.gathering.seen;
                match read_partial(self.gathering, &body) {
                    Err(ReadError::TooMuch(what)) => return Err(ReadError::TooMuch(what)),
                    Ok(()) if self.gathering.seen > before => {}
                    Ok(()) | Err(ReadError::Malformed(_)) => self.gathering.reject(Rejection::NoStartTold),
                }
            }
            // The span itself tells of its end.
            Told::Stop => {}
            Told::Nothing => self.gathering.reject(Rejection::NoStartTold),
        }
        Ok(())
    }
}

/// Reads the export in the body of a log record: JSON, or protobuf in base64.
fn read_partial(gathering: &mut Gathering, body: &str) -> Result<(), ReadError> {
    let body = body.trim();
    if body.starts_with('{') {
        return json::read(body.as_bytes(), &mut Starts(gathering.spans()));
    }
    let bytes = STANDARD.decode(body).map_err(|_| ReadError::Malformed("no base64".into()))?;
    protobuf::read(&bytes, &mut Starts(gathering.spans()))
}

/// Reads spans of which only the starts count: their ends are the moment at which they were told of.
struct Starts<'g, 'a>(Spans<'g, 'a>);

impl<'a> Sink<'a> for Starts<'_, 'a> {
    type Record = wire::Span<'a>;

    fn resource(&mut self, resource: wire::Resource<'a>) {
        self.0.resource(resource);
    }

    fn scope(&mut self, scope: Scope<'a>) {
        self.0.scope(scope);
    }

    fn record(&mut self, span: wire::Span<'a>) -> Result<(), ReadError> {
        self.0.record(wire::Span { end: 0, ..span })
    }
}
