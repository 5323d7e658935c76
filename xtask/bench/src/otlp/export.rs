//! Exports of 512 spans, as a collector sends them: 32 traces of a root, services that call each other, a database,
//! a model.
//!
//! The message is written once. For each export the ids of its traces and its times are put into the places where
//! they stand, so that the client costs next to nothing.

use std::io::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::script::Script;

/// Spans in an export.
pub(crate) const SPANS: usize = 512;
/// Spans in a trace, its root among them.
pub(crate) const SPANS_PER_TRACE: usize = 16;
/// Workflows that the traces are of.
pub(crate) const WORKFLOWS: usize = 8;

/// Sends exports.
#[derive(Debug)]
pub(crate) struct Exporting {
    message: Vec<u8>,
    /// Where the ids of the traces stand, each trace's together.
    traces: Vec<Vec<usize>>,
    /// Where times stand, and how long after the trace's beginning they are, in nanoseconds.
    times: Vec<(usize, u64)>,
    number: u64,
    next: u64,
    left: u64,
}

impl Exporting {
    /// Returns an exporter that sends so many exports.
    pub(crate) fn new(number: usize, left: u64) -> Self {
        let mut exporting = Self {
            message: Vec::new(),
            traces: Vec::new(),
            times: Vec::new(),
            number: u64::try_from(number).unwrap_or_default(),
            next: 0,
            left,
        };
        exporting.compose();
        exporting
    }

    /// Returns the first trace of the next export, as it is written.
    pub(crate) fn first_trace(&self) -> String {
        self.trace(self.next, 0).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Returns how many bytes a span has.
    pub(crate) fn bytes_per_span(&self) -> f64 {
        self.message.len() as f64 / SPANS as f64
    }

    /// Unlike ids of this service, those of clients are random: rows come in no order.
    fn trace(&self, export: u64, trace: usize) -> [u8; 16] {
        let seed = (self.number << 40) ^ (export << 8) ^ u64::try_from(trace).unwrap_or_default();
        let mixed = |word: u64| {
            let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            word ^ (word >> 31)
        };
        let words =
            [mixed(seed.wrapping_add(0x9e37_79b9_7f4a_7c15)), mixed(seed ^ 0x5851_f42d_4c95_7f2d) | 1];
        let mut id = [0; 16];
        for (part, word) in id.chunks_mut(8).zip(words) {
            part.copy_from_slice(&word.to_be_bytes());
        }
        id
    }

    fn compose(&mut self) {
        let mut spans = Vec::new();
        let mut marks = Vec::new();
        for trace in 0..SPANS / SPANS_PER_TRACE {
            for at in 0..SPANS_PER_TRACE {
                let (span, places) = span(trace, at, self.number);
                let before = spans.len();
                field(2, &span, &mut spans);
                let start = spans.len() - span.len();
                marks.push((trace, start, places));
                debug_assert!(spans.len() > before, "a span has bytes");
            }
        }
        let mut resource = Vec::new();
        for (key, value) in [("service.name", "bench"), ("service.version", "1.4.0"), ("host.name", "node-7")]
        {
            field(1, &pair(key, &text(value)), &mut resource);
        }
        let mut by_resource = Vec::new();
        field(1, &resource, &mut by_resource);
        let mut head = Vec::new();
        let mut scope = Vec::new();
        field(1, b"bench.instrumentation", &mut scope);
        field(1, &scope, &mut head);
        let before_spans = head.len();
        head.extend_from_slice(&spans);
        field(2, &head, &mut by_resource);
        let spans_at = by_resource.len() - head.len() + before_spans;
        field(1, &by_resource, &mut self.message);
        let shift = self.message.len() - by_resource.len() + spans_at;
        self.traces = vec![Vec::new(); SPANS / SPANS_PER_TRACE];
        for (trace, start, places) in marks {
            if let Some(of_trace) = self.traces.get_mut(trace) {
                of_trace.push(shift + start + places.trace);
            }
            self.times.push((shift + start + places.start, places.starts_after));
            self.times.push((shift + start + places.end, places.ends_after));
        }
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        if let Some(place) = self.message.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    }
}

impl Script for Exporting {
    const OPERATIONS: &'static [&'static str] = &["POST /v1/traces"];

    fn write_next(&mut self, out: &mut Vec<u8>) -> Option<usize> {
        self.left = self.left.checked_sub(1)?;
        for trace in 0..self.traces.len() {
            let id = self.trace(self.next, trace);
            let places = std::mem::take(&mut self.traces[trace]);
            places.iter().for_each(|at| self.put(*at, &id));
            self.traces[trace] = places;
        }
        self.next += 1;
        let now = now().saturating_sub(1_000_000_000);
        let times = std::mem::take(&mut self.times);
        times.iter().for_each(|(at, after)| self.put(*at, &(now + after).to_le_bytes()));
        self.times = times;
        // Writing into memory does not fail.
        let _written = write!(
            out,
            "POST /v1/traces HTTP/1.1\r\nhost: bench\r\ncontent-type: application/x-protobuf\r\ncontent-length: {}\r\n\r\n",
            self.message.len()
        );
        out.extend_from_slice(&self.message);
        Some(0)
    }

    fn take(&mut self, status: u16, body: &[u8]) -> bool {
        // Anything in the answer is a refusal of spans.
        status == 200 && body.is_empty()
    }
}

#[expect(clippy::disallowed_methods, reason = "an exporter goes by the clock of its machine")]
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or_default()
}

/// Where in a span that stands which changes.
struct Places {
    trace: usize,
    start: usize,
    end: usize,
    starts_after: u64,
    ends_after: u64,
}

/// What a trace of this kind does: names, kinds and attributes are those of common instrumentations.
fn span(trace: usize, at: usize, exporter: u64) -> (Vec<u8>, Places) {
    let mut out = Vec::new();
    let mut place = |number: u32, bytes: &[u8]| {
        field(number, bytes, &mut out);
        out.len() - bytes.len()
    };
    let trace_at = place(1, &[0; 16]);
    place(2, &id_of(at));
    if at > 0 {
        // The root calls three; each of these the four after it.
        place(4, &id_of(if at <= 3 { 0 } else { (at - 4) / 4 + 1 }));
    }
    let (name, kind, attributes): (&str, u8, Vec<(&str, Vec<u8>)>) = match at {
        0 => (
            "run",
            1,
            vec![
                ("tracer.workflow.name", text(&format!("otlp-{}", trace % WORKFLOWS))),
                ("bench.exporter", text(&exporter.to_string())),
                ("user.id", text("8412")),
            ],
        ),
        1..=3 => (
            ["fetch orders", "price orders", "answer"].get(at - 1).copied().unwrap_or("answer"),
            3,
            vec![
                ("http.request.method", text("POST")),
                ("url.full", text("https://orders.internal.example.com/v2/orders?page=1&size=200")),
                ("server.address", text("orders.internal.example.com")),
                ("server.port", int(443)),
                ("http.response.status_code", int(200)),
            ],
        ),
        4..=11 => (
            ["select orders", "select items", "insert price", "update order"]
                .get(at % 4)
                .copied()
                .unwrap_or("select"),
            3,
            vec![
                ("db.system.name", text("postgresql")),
                ("db.namespace", text("orders")),
                (
                    "db.query.text",
                    text("SELECT id, customer, total FROM orders WHERE created_at > ? AND state = ?"),
                ),
                ("db.collection.name", text("orders")),
                ("db.response.returned_rows", int(182)),
            ],
        ),
        _ => (
            ["chat", "embed", "rerank", "execute_tool search"].get(at % 4).copied().unwrap_or("chat"),
            1,
            vec![
                ("gen_ai.operation.name", text("chat")),
                ("gen_ai.request.model", text("small-v3")),
                ("gen_ai.usage.input_tokens", int(1_873)),
                ("gen_ai.usage.output_tokens", int(211)),
                ("gen_ai.response.finish_reasons", text("stop")),
            ],
        ),
    };
    place(5, name.as_bytes());
    for (key, value) in &attributes {
        place(9, &pair(key, value));
    }
    out.extend_from_slice(&[6 << 3, kind]);
    let mut fixed = |number: u8| {
        out.push(number << 3 | 1);
        out.extend_from_slice(&[0; 8]);
        out.len() - 8
    };
    let (start, end) = (fixed(7), fixed(8));
    let at = u64::try_from(at).unwrap_or_default();
    let starts_after = at * 7_000_000;
    // Close to its mean: what is slow by accident would be an incident, and another thing to measure.
    let ends_after = if at == 0 { 400_000_000 } else { starts_after + 20_000_000 + at * 1_000_000 };
    (out, Places { trace: trace_at, start, end, starts_after, ends_after })
}

fn id_of(at: usize) -> [u8; 8] {
    (u64::try_from(at).unwrap_or_default() + 0x1f2e_3d4c_5b6a_0001).to_be_bytes()
}

fn text(value: &str) -> Vec<u8> {
    let mut out = Vec::new();
    field(1, value.as_bytes(), &mut out);
    out
}

fn int(value: u64) -> Vec<u8> {
    let mut out = vec![3 << 3];
    varint(value, &mut out);
    out
}

fn pair(key: &str, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    field(1, key.as_bytes(), &mut out);
    field(2, value, &mut out);
    out
}

/// Adds a field of bytes (<https://protobuf.dev/programming-guides/encoding/>).
fn field(number: u32, bytes: &[u8], out: &mut Vec<u8>) {
    varint(u64::from(number << 3 | 2), out);
    varint(u64::try_from(bytes.len()).unwrap_or_default(), out);
    out.extend_from_slice(bytes);
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(u8::try_from(value & 0x7f).unwrap_or_default() | 0x80);
        value >>= 7;
    }
    out.push(u8::try_from(value).unwrap_or_default());
}
