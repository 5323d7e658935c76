//! Exports what was recorded over REST as traces of OpenTelemetry, and the service's own requests, if it is told to.
//!
//! An execution that has ended is put into a bounded [`queue`] by its id; the `task` loads it with its steps, makes
//! `spans` of them, gathers these in a `batch`, and `send`s that. Nothing here is on the path of a request: what
//! does not fit is counted and left out.
//!
//! Invariant: what came as spans is never exported; its client has sent it wherever it should be.
//! Not here: what the settings may be (`config::export`), and taking spans (`otlp`).

mod batch;
mod grpc;
mod http;
pub mod queue;
pub mod requests;
mod send;
mod spans;
mod task;

pub use queue::ExportQueue;
pub use task::{Exporter, Parts};
