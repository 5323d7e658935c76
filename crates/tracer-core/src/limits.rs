//! Every bound in the system, side by side.
//!
//! Each is here so that an operator, a reviewer and a test read the same number. What a user may
//! change is a setting; its default is in `config/tracer.toml`.

/// Most Unicode scalars in the name of a workflow or a step, in a version and in a correlation id.
pub const NAME_CHARS: usize = 200;
/// Most Unicode scalars in a step's type.
pub const STEP_TYPE_CHARS: usize = 64;

/// Most attributes on one execution or step.
pub const ATTRIBUTES: usize = 64;
/// Most bytes in an attribute's key.
pub const ATTRIBUTE_KEY_BYTES: usize = 128;
/// Most bytes in an attribute's value, written as JSON.
pub const ATTRIBUTE_VALUE_BYTES: usize = 4 * 1024;
/// Most bytes in all attributes of one execution or step, keys and values together.
pub const ATTRIBUTES_BYTES: usize = 32 * 1024;

/// Most bytes in an execution's input, and in its output, each written as JSON.
pub const PAYLOAD_BYTES: usize = 64 * 1024;
/// Bytes of an error's message that are kept; what is longer is cut and marked.
pub const ERROR_MESSAGE_BYTES: usize = 8 * 1024;
/// Bytes of an error's stack that are kept; what is longer is cut and marked.
pub const ERROR_STACK_BYTES: usize = 32 * 1024;
/// Most attempts one step may count.
pub const ATTEMPTS: u32 = 1_000_000;

/// Most bytes in the body of an ordinary request.
pub const BODY_BYTES: usize = 1024 * 1024;
/// Most bytes in the body of an import, which carries a whole execution.
pub const IMPORT_BODY_BYTES: usize = 16 * 1024 * 1024;
/// Most bytes in a notification of an Alertmanager.
pub const ALERTS_BODY_BYTES: usize = 4 * 1024 * 1024;
/// Most steps in one imported execution.
pub const IMPORT_STEPS: usize = 20_000;
/// Deepest nesting of arrays and objects in a JSON body.
pub const JSON_DEPTH: usize = 32;
/// Most bytes in an `Idempotency-Key`.
pub const IDEMPOTENCY_KEY_BYTES: usize = 255;

/// Longest duration that is believed, in days: what is longer is a unit mistaken by the client.
pub const DURATION_DAYS: u64 = 400;
/// How far ahead of the service's clock a given time may lie, in hours.
pub const FUTURE_HOURS: i64 = 24;

/// What began longer before it was recorded is old work, in minutes: nothing is said of it while it
/// runs, because whoever tells of it only now is importing.
pub const OLD_WORK_MINUTES: u64 = 15;
/// When what has too little history to be judged is looked at for the first time while it runs, in
/// seconds; the interval doubles from look to look.
pub const FIRST_LOOK_SECS: u64 = 60;
/// The longest interval between two such looks, in seconds.
pub const LONGEST_LOOK_SECS: u64 = 3_600;

/// Most rows that one page of a listing holds, and the number when the client names none.
pub const PAGE_ROWS: usize = 1_000;
/// Rows in one page when the client does not say.
pub const PAGE_ROWS_DEFAULT: usize = 100;
/// Steps shown with an execution before a cursor takes over.
pub const STEPS_SHOWN: usize = 1_000;
/// Most `attribute=key:value` filters in one listing.
pub const ATTRIBUTE_FILTERS: usize = 8;

/// Most step names of one workflow that have baselines; further ones are recorded without.
pub const STEP_NAMES_PER_WORKFLOW: u64 = 1_000;
/// Cohorts of a step that have baselines of their own; runs of further ones are compared with the whole step.
pub const COHORTS_PER_STEP: u64 = 100;

/// Most events of one execution.
pub const EVENTS_PER_EXECUTION: u32 = 10_000;
/// Events shown with an execution before a cursor takes over.
pub const EVENTS_SHOWN: usize = 100;

/// Bytes of a client's text that a live change repeats; what is longer is cut and marked.
pub const LIVE_TEXT_BYTES: usize = 512;
/// Bytes of an event's attributes up to which a live change repeats them.
pub const LIVE_ATTRIBUTES_BYTES: usize = 4 * 1024;
/// For how long a store keeps changes for whoever comes back to a stream, in seconds.
pub const LIVE_KEPT_SECS: u64 = 120;
/// Most bytes of changes that a store keeps.
pub const LIVE_KEPT_BYTES: usize = 32 * 1024 * 1024;
/// Most bytes of changes that a store in one process keeps in memory.
pub const LIVE_MEMORY_BYTES: usize = 8 * 1024 * 1024;
/// Most bytes of changes, as they are sent, that a process keeps for its listeners.
pub const LIVE_BUFFER_BYTES: usize = 16 * 1024 * 1024;

/// Past executions that a remaining time is estimated from: the newest that completed.
pub const ETA_RUNS: usize = 10;
/// Newest executions of a workflow among which they are looked for: the others run, or failed.
pub const ETA_RUNS_LOOKED_AT: usize = 2_000;
/// Most steps that are read for it: of the past executions in all, and of the one that is asked about.
pub const ETA_STEPS: usize = 20_000;

/// Most bytes of a note in an incident's history: who did something, or what an action answered.
pub const INCIDENT_NOTE_BYTES: usize = 2 * 1024;
/// Most entries of an incident's history that are shown, the newest.
pub const INCIDENT_HISTORY: usize = 200;
/// Most incidents told of in one message.
pub const GROUPED_INCIDENTS: usize = 20;
/// How far apart the openings may lie that one message tells of, in seconds.
pub const GROUPED_WITHIN_SECS: u64 = 10;
/// What is signalled again and again is noted as still going on once it was not heard of for so long, in minutes.
pub const SIGNAL_HEARD_MINUTES: u64 = 60;
/// Most channels that a service may have.
pub const CHANNELS: usize = 50;
/// Longest time for which an incident can be snoozed, in days.
pub const SNOOZE_DAYS: u64 = 30;

/// Most bytes of what a step has because it came as a span, written as JSON: its events and links above all.
pub const SPAN_DETAIL_BYTES: usize = 32 * 1024;
/// Most events, and most links, kept of a span.
pub const SPAN_EVENTS: usize = 128;
/// Most resources (processes of services) kept of a trace.
pub const TRACE_RESOURCES: usize = 32;
/// Steps of a trace that may wait to enter their histories together; with more, those that wait enter them.
pub const TRACE_STEPS_WAITING: u32 = 10_000;
/// Failed steps of a trace without a name that may wait to be counted under the one that it gets.
pub const TRACE_FAILURES_WAITING: usize = 1_000;
/// Most bytes of an OTLP export, before and after decompression.
pub const OTLP_BODY_BYTES: usize = 16 * 1024 * 1024;

/// Most services that are known by name, and most workflows that are shown as such.
pub const SERVICES: usize = 1_000;
/// Most operations that are known of a service.
pub const SERVICE_OPERATIONS: usize = 1_000;
/// Most pairs of services whose calls are shown at once.
pub const SERVICE_CALLS_SHOWN: usize = 10_000;
/// Most spans in an answer of the Jaeger API.
pub const JAEGER_SPANS: usize = 20_000;
/// Most traces in an answer of the Jaeger API.
pub const JAEGER_TRACES: usize = 1_500;
/// Most executions that a search of the Jaeger API looks at.
pub const JAEGER_LOOKED_AT: usize = 2_000;
/// Most steps that it looks at.
pub const JAEGER_STEPS_LOOKED_AT: usize = 100_000;
/// Most spans, or log records, in one OTLP export.
pub const OTLP_SPANS: usize = 65_536;
/// Most distinct words that a failure is told by: the first ones of its type and message.
pub const FAILURE_TOKENS: usize = 128;
/// Most Unicode scalars of such a word; what is longer is cut.
pub const FAILURE_TOKEN_CHARS: usize = 64;
/// Bytes of the first message of a group of failures that are kept with it; what is longer is cut.
pub const FAILURE_SAMPLE_BYTES: usize = 1024;
/// Most groups that the failures of one execution are looked up by, those of most failures first.
pub const FAILURES_PER_EXECUTION: usize = 20;
/// The least similarity of failures that can be asked for.
pub const MIN_SIMILARITY: f64 = 0.3;
/// Most bytes of an error that is searched for.
pub const SEARCH_BYTES: usize = 8 * 1024;

/// Most service level objectives.
pub const SLOS: usize = 50;
/// Most bytes in the name of one, which is ASCII.
pub const SLO_NAME_BYTES: usize = 64;
