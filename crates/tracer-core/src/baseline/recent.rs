//! The last few completed samples of a key, and which of them were bottlenecks.
//!
//! Invariant: at most [`RECENT_SAMPLES`], in the order in which they were recorded.
//! Not here: what follows from too many bottlenecks (`baseline`).

use std::collections::VecDeque;

use super::codec::{DecodeError, Reader, Writer};
use crate::time::Micros;

/// How many completed samples are remembered one by one.
pub const RECENT_SAMPLES: usize = 30;

/// The last [`RECENT_SAMPLES`] completed samples.
#[derive(Clone, Debug, PartialEq, Default)]
pub(super) struct Recent {
    samples: VecDeque<Sample>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Sample {
    duration: Micros,
    bottleneck: bool,
}

impl Recent {
    /// Remembers a sample, in place of the oldest when full.
    pub(super) fn push(&mut self, duration: Micros, bottleneck: bool) {
        if self.samples.len() >= RECENT_SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back(Sample { duration, bottleneck });
    }

    /// Returns whether more than 20 % of what is remembered are bottlenecks.
    pub(super) fn mostly_slow(&self) -> bool {
        self.samples.iter().filter(|sample| sample.bottleneck).count() * 5 > self.samples.len()
    }

    /// Returns how many are remembered.
    pub(super) fn count(&self) -> usize {
        self.samples.len()
    }

    /// Returns every duration, oldest first.
    pub(super) fn durations(&self) -> Vec<Micros> {
        self.samples.iter().map(|sample| sample.duration).collect()
    }

    /// Returns the level the key is at now: the unbroken run of bottlenecks at the end if there is
    /// one, else everything.
    pub(super) fn level(&self) -> Vec<Micros> {
        let run: Vec<_> = self
            .samples
            .iter()
            .rev()
            .take_while(|sample| sample.bottleneck)
            .map(|sample| sample.duration)
            .collect();
        if run.is_empty() { self.durations() } else { run }
    }

    /// Forgets that any of them was a bottleneck: what is normal has changed.
    pub(super) fn forgive(&mut self) {
        for sample in &mut self.samples {
            sample.bottleneck = false;
        }
    }

    pub(super) fn write(&self, out: &mut Writer) {
        out.varint(self.samples.len() as u64);
        out.varint(
            self.samples.iter().rev().fold(0, |flags, sample| flags << 1 | u64::from(sample.bottleneck)),
        );
        for sample in &self.samples {
            out.varint(sample.duration.get());
        }
    }

    pub(super) fn read(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let count = input.varint()?;
        if count > RECENT_SAMPLES as u64 {
            return Err(DecodeError::Impossible("number of recent samples"));
        }
        let flags = input.varint()?;
        let sample =
            |at| Ok(Sample { duration: Micros::new(input.varint()?), bottleneck: flags >> at & 1 == 1 });
        Ok(Self { samples: (0..count).map(sample).collect::<Result<_, DecodeError>>()? })
    }
}
