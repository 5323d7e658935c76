//! How long is normal: the statistics of one key.
//!
//! A key's history is kept in [`Segment`]s of one day each. What is written with every batch is the
//! [`Baseline`]: the newest day and the summary of the closed days in the window, so that judging
//! and recording cost the same however long the history is. Two views run side by side: what was
//! *measured*, and the *reference* that judges, which the slowness it should reveal cannot move.
//!
//! Invariant: no input makes a number here infinite or NaN, and no bytes make decoding panic.
//! Not here: which key a step belongs to (`cohort`), and what is a bottleneck (`detect`).

mod attribute;
#[expect(clippy::module_inception, reason = "the file is named after the type that callers look for")]
mod baseline;
pub(crate) mod codec;
mod explain;
mod level;
mod moments;
mod recent;
mod reference;
mod row;
mod segment;
mod shift;
mod sketch;
mod slope;

#[cfg(test)]
mod tests;

pub use baseline::{Baseline, Learned, SEGMENTS_READ, Sample, WINDOW_DAYS, WINDOW_SAMPLES};
pub use codec::DecodeError;
pub use explain::{Comparable, Explained, Form, Values};
pub use moments::Moments;
pub use recent::RECENT_SAMPLES;
pub use reference::{Measured, PER_MAD, Reference};
pub use row::ENCODED_BYTES;
pub use segment::{Ending, EndingCounts, Segment, Sums};
pub use shift::{Shift, ShiftRule};
pub use sketch::{MAX_BINS, Sketch, View};
