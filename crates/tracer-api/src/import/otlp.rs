//! Reads executions from traces in OTLP JSON, as the file exporter of the OpenTelemetry Collector
//! writes them: on each line one `TracesData` (<https://opentelemetry.io/docs/specs/otel/protocol/file-exporter/>).
//!
//! A trace is an execution and a span is a step: their ids are the trace's and the span's. The spans of
//! a trace may stand on many lines, in many files and in any order, so they are gathered until
//! everything is read ([`Gathering`]), and then become executions ([`trace::execution`]).
//!
//! | step by step | |
//! |---|---|
//! | [`lines`] | bytes → lines of bounded length |
//! | `crate::otlp` | a line → the messages of OTLP → spans within the bounds of this service |
//! | [`span`] | what is kept of a span until its trace is whole |
//! | [`gathering`] | spans → spans by trace |
//! | [`trace`] | the spans of a trace → an execution and its steps |
//!
//! Invariant: no input makes this module panic, and what is kept in memory is bounded.
//! Not here: opening files, and whether a time lies in the future (it needs a clock).

pub mod gathering;
pub mod lines;
pub mod span;
#[cfg(test)]
mod tests;
pub mod trace;

pub use self::gathering::{Gathered, Gathering, ReadError};
pub use self::span::FinishedSpan;
pub use self::trace::{TraceError, execution};
