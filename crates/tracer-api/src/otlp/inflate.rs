//! Bodies as they were before they were compressed, within bounds.
//!
//! Invariant: no more than [`limits::OTLP_BODY_BYTES`] are made of a body, and what they take is reserved before
//! it is taken.

use std::io::Read as _;

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use tracer_core::limits;

use super::room::{Full, Share};

/// Bytes that are inflated at a time.
const CHUNK: usize = 64 * 1024;

/// How a body is coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// As it is.
    Identity,
    /// gzip (RFC 1952), perhaps of several members.
    Gzip,
}

/// Why a body cannot be inflated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InflateError {
    /// It is not gzip, or was cut off.
    Malformed,
    /// It is larger than a body may be.
    TooLarge,
    /// There is no room for it now.
    Full,
}

impl From<Full> for InflateError {
    fn from(Full: Full) -> Self {
        Self::Full
    }
}

/// Returns what a body is without its coding; `share` has room for the body itself.
///
/// # Errors
/// [`InflateError`].
pub fn inflated(body: Bytes, coding: Coding, share: &mut Share) -> Result<Bytes, InflateError> {
    match coding {
        Coding::Identity => Ok(body),
        Coding::Gzip => inflate(&body, share).map(Bytes::from),
    }
}

fn inflate(body: &[u8], share: &mut Share) -> Result<Vec<u8>, InflateError> {
    let mut whole = Vec::new();
    let mut chunk = vec![0; CHUNK];
    let mut decoder = MultiGzDecoder::new(body);
    loop {
        let read = decoder.read(&mut chunk).map_err(|_| InflateError::Malformed)?;
        let Some(read) = chunk.get(..read).filter(|read| !read.is_empty()) else { return Ok(whole) };
        if whole.len() + read.len() > limits::OTLP_BODY_BYTES {
            return Err(InflateError::TooLarge);
        }
        share.grow(read.len())?;
        whole.extend_from_slice(read);
    }
}
