//! OpenTelemetry in: spans, over HTTP and gRPC and from files, become steps.
//!
//! | from bytes to commands | |
//! |---|---|
//! | [`wire`] | the messages of OTLP, as far as they are used, and the bounds they are read within |
//! | [`protobuf`], [`json`] | bytes → messages, borrowed from the bytes |
//! | [`signals`] | attributes → what they tell by convention: names, kinds, attempts, starts |
//! | [`mapping`], [`detail`] | a message → a [`tracer_core::span::Span`] within the bounds of this service |
//! | [`starts`], [`logs`] | what tells only that a step began |
//! | [`export`] | the messages of one export → one command, and what is refused of it |
//!
//! | from the network to commands and back | |
//! |---|---|
//! | [`room`], [`inflate`], [`intake`] | bytes in bounded memory, decoded, recorded |
//! | [`http`], [`grpc`], [`listen`] | the two protocols, and their ports |
//! | [`respond`] | answers as OTLP has them |
//!
//! `import` reads files with the same messages and the same mapping.
//!
//! Invariant: no input makes this module panic, and what it holds is bounded, whatever is sent.
//! Not here: what spans mean for an execution (`tracer_core::trace`, `tracer_core::record`).

pub mod detail;
pub mod export;
pub mod grpc;
pub mod http;
pub mod inflate;
pub mod intake;
pub mod json;
pub mod listen;
pub mod logs;
pub mod mapping;
pub mod protobuf;
pub mod respond;
pub mod room;
pub mod signals;
pub mod starts;
#[cfg(test)]
mod tests;
pub mod wire;
