//! Takes exports in: bounded, decoded, and recorded when they are answered. What HTTP and gRPC share.
//!
//! One export is one command and one batch: it is durable as a whole before it is acknowledged, so that a client
//! that sends it again after a failure repeats nothing.
//!
//! Not here: protocols, and what is counted or logged of what is recorded (`recording`).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Semaphore;
use tracer_core::limits;
use tracer_core::time::Timestamp;

use super::export::{Gathered, Gathering};
use super::inflate::{Coding, InflateError, inflated};
use super::room::{Full, ROOM_BYTES, Room, Share};
use super::wire::ReadError;
use super::{json, protobuf};
use crate::error::ApiError;
use crate::metrics::Metrics;
use crate::recording::{Arrival, Tracing};

/// Bodies up to here are decoded where they arrive: it takes less than a few milliseconds. Compressed ones may be
/// a few times larger than they seem.
const SMALL: usize = 512 * 1024;
const SMALL_GZIP: usize = 64 * 1024;

/// How long a client is asked to wait for room: an export takes much less.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What an export carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Spans.
    Traces,
    /// Log records.
    Logs,
}

/// How an export is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `application/x-protobuf`, and gRPC.
    Protobuf,
    /// `application/json`.
    Json,
}

/// An export that has been recorded, but for what was refused of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    /// Records that were refused.
    pub rejected: u64,
    /// Why, in a sentence; empty if none was.
    pub explanation: String,
}

/// Takes exports in. One per process.
#[derive(Debug)]
pub struct Intake {
    room: Arc<Room>,
    decoding: Semaphore,
}

impl Default for Intake {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self { room: Room::of(ROOM_BYTES), decoding: Semaphore::new(cores) }
    }
}

impl Intake {
    /// Returns the room of an export that is about to be read.
    #[must_use]
    pub fn share(&self) -> Share {
        self.room.share()
    }

    /// Takes an export in; `share` has room for its body.
    ///
    /// # Errors
    /// 400 if it cannot be decoded, 413 if it is too large, 503 if there is no room or no store.
    pub async fn take(
        &self,
        tracing: &Tracing,
        (signal, form, coding): (Signal, Form, Coding),
        body: Bytes,
        mut share: Share,
    ) -> Result<Accepted, ApiError> {
        let now = tracing.now();
        let is_small = match coding {
            Coding::Identity => body.len() <= SMALL,
            Coding::Gzip => body.len() <= SMALL_GZIP,
        };
        let decode =
            move || decoded(body, (signal, form, coding), now, &mut share).map(|decoded| (decoded, share));
        let (gathered, share) = if is_small { decode()? } else { self.decoded_aside(decode).await? };
        let accepted = accepted(&gathered, signal);
        if let Some(command) = gathered.command {
            tracing.record_spans(command, Arrival::plain(now)).await?;
        }
        drop(share);
        Metrics::exported(gathered.taken, accepted.rejected);
        Ok(accepted)
    }

    /// Decodes beside the threads that serve, as many bodies at once as there are cores.
    async fn decoded_aside<F, T>(&self, decode: F) -> Result<T, ApiError>
    where
        F: FnOnce() -> Result<T, ApiError> + Send + 'static,
        T: Send + 'static,
    {
        let permit = self.decoding.acquire().await.map_err(ApiError::internal)?;
        let decoded = tokio::task::spawn_blocking(decode).await.map_err(ApiError::internal)?;
        drop(permit);
        decoded
    }
}

fn accepted(gathered: &Gathered, signal: Signal) -> Accepted {
    let rejected = gathered.rejections();
    let what = match (signal, rejected) {
        (Signal::Traces, 1) => "span was",
        (Signal::Traces, _) => "spans were",
        (Signal::Logs, 1) => "log record was",
        (Signal::Logs, _) => "log records were",
    };
    let explanation = if rejected == 0 { String::new() } else { gathered.explanation(what) };
    Accepted { rejected, explanation }
}

/// Returns what a body comes to. It takes time: a tenth of a second at most.
///
/// # Errors
/// As [`Intake::take`].
pub fn decoded(
    body: Bytes,
    (signal, form, coding): (Signal, Form, Coding),
    now: Timestamp,
    share: &mut Share,
) -> Result<Gathered, ApiError> {
    let body = inflated(body, coding, share)?;
    let mut gathering = Gathering::new(now);
    match (signal, form) {
        (Signal::Traces, Form::Protobuf) => protobuf::read(&body, &mut gathering.spans()),
        (Signal::Traces, Form::Json) => json::read(&body, &mut gathering.spans()),
        (Signal::Logs, Form::Protobuf) => protobuf::read(&body, &mut gathering.logs()),
        (Signal::Logs, Form::Json) => json::read(&body, &mut gathering.logs()),
    }?;
    let gathered = gathering.finish();
    share.grow(gathered.bytes)?;
    Ok(gathered)
}

impl From<InflateError> for ApiError {
    fn from(error: InflateError) -> Self {
        match error {
            InflateError::Malformed => Self::bad_request("The body is not valid gzip, or was cut off."),
            InflateError::TooLarge => Self::TooLarge(limits::OTLP_BODY_BYTES),
            InflateError::Full => Full.into(),
        }
    }
}

impl From<Full> for ApiError {
    fn from(Full: Full) -> Self {
        Self::Unavailable {
            detail: "Too many exports are being taken in. Try again.".into(),
            retry_after: RETRY_AFTER,
            cause: None,
        }
    }
}

impl From<ReadError> for ApiError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Malformed(detail) => Self::bad_request(detail),
            ReadError::TooMuch(what) => Self::TooMuch(what),
        }
    }
}
