//! Exports in gzipped protobuf, as whoever reaches the port may send them.
#![no_main]

#[path = "export.rs"]
mod export;

use libfuzzer_sys::fuzz_target;
use tracer_api::otlp::inflate::Coding;
use tracer_api::otlp::intake::Form;

fuzz_target!(|bytes: &[u8]| export::read(bytes, Form::Protobuf, Coding::Gzip));
