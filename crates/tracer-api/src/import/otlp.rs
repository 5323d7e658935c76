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
//! | [`wire`] | a line → the messages of OTLP, by the rules of its JSON |
//! | [`span`], [`kind`] | a message → a [`Span`] within the bounds of this service |
//! | [`gathering`] | spans → spans by trace |
//! | [`trace`] | the spans of a trace → an execution and its steps |
//!
//! `wire`, `span` and `trace` know nothing of files: whatever else receives spans can use them.
//!
//! Invariant: no input makes this module panic, and what is kept in memory is bounded.
//! Not here: opening files, and whether a time lies in the future (it needs a clock).

pub mod gathering;
pub mod kind;
pub mod lines;
pub mod span;
#[cfg(test)]
mod tests;
pub mod trace;
pub mod wire;

pub use self::gathering::{Gathered, Gathering, ReadError};
pub use self::span::Span;
pub use self::trace::{TraceError, execution};
