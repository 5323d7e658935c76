//! Executions that other systems recorded, read from their files.
//!
//! Invariant: a reader is pure. It turns bytes into plain values or into an error that says where;
//! it opens no file, reads no clock and writes to no store. The [`command`] does all of that.

pub mod command;
pub mod execution;
pub mod format;
pub mod otlp;
pub mod wfformat;
