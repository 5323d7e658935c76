//! A baseline as the bytes of its row.
//!
//! Version 2 follows version 1 field by field, and has more behind it; what is empty takes a bit. A row is
//! rewritten with every batch, so that its size is what recording costs.
//! Not here: how any one of its parts is written (beside the part).

use super::Baseline;
use super::baseline::EARLIEST;
use super::codec::{DecodeError, Reader, Writer};
use super::explain::Explainer;
use super::recent::Recent;
use super::reference::Frozen;
use super::segment::{Segment, Sums, read_day};
use super::shift::Levels;
use crate::time::Timestamp;

/// Most bytes in an encoded baseline.
pub const ENCODED_BYTES: usize = 1_900;

/// Version 1 knew no attributes and no shifts.
const VERSION: u8 = 2;
const HAS_LAST_SEEN: u8 = 1;
const IS_FROZEN: u8 = 2;
const HAS_ATTRIBUTES: u8 = 4;
const HAS_LEVELS: u8 = 8;
const IS_REBASELINED: u8 = 16;

impl Baseline {
    /// Returns the baseline as at most [`ENCODED_BYTES`]. In the rare case that the counts of its
    /// sketches are too many and too large for that, the sketches are written more coarsely.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = self.encode_as_it_is();
        if bytes.len() > ENCODED_BYTES {
            let mut coarser = self.clone();
            while bytes.len() > ENCODED_BYTES && coarser.coarsen() {
                bytes = coarser.encode_as_it_is();
            }
        }
        bytes
    }

    /// Returns the baseline that [`Baseline::encode`] wrote.
    ///
    /// # Errors
    /// [`DecodeError`] on bytes that it never writes.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let (mut input, version) = Reader::with_versions(bytes, VERSION)?;
        let flags = input.byte()?;
        let baseline = Self {
            last_seen: read_if(flags & HAS_LAST_SEEN, || input.signed().map(Timestamp::from_micros))?,
            reference_from: read_day(&mut input)?,
            current: Segment::read(&mut input)?,
            closed: Sums::read(&mut input)?,
            recent: Recent::read(&mut input)?,
            frozen: read_if(flags & IS_FROZEN, || Frozen::read(&mut input, version))?,
            explainer: read_if(flags & HAS_ATTRIBUTES, || Explainer::read(&mut input))?.unwrap_or_default(),
            levels: read_if(flags & HAS_LEVELS, || Levels::read(&mut input))?.unwrap_or_default(),
            earliest: if version == 1 { Vec::new() } else { read_earliest(&mut input)? },
            rebaselined: read_if(flags & IS_REBASELINED, || read_rebaselined(&mut input))?
                .unwrap_or_default(),
        };
        input.finish()?;
        Ok(baseline)
    }

    /// Joins bins of the sketch that has more of them. Returns whether there was any to join.
    fn coarsen(&mut self) -> bool {
        let (closed, current) = (&mut self.closed.sketch, &mut self.current.sums.sketch);
        if closed.bins() > current.bins() { closed.coarsen() } else { current.coarsen() || closed.coarsen() }
    }

    fn encode_as_it_is(&self) -> Vec<u8> {
        let mut out = Writer::with_version(VERSION);
        let has_levels = self.levels != Levels::default();
        let flags = [
            (self.last_seen.is_some(), HAS_LAST_SEEN),
            (self.frozen.is_some(), IS_FROZEN),
            (!self.explainer.is_empty(), HAS_ATTRIBUTES),
            (has_levels, HAS_LEVELS),
            (self.rebaselined > 0, IS_REBASELINED),
        ];
        out.byte(flags.into_iter().filter(|(is, _)| *is).fold(0, |all, (_, flag)| all | flag));
        if let Some(last_seen) = self.last_seen {
            out.signed(last_seen.as_micros());
        }
        out.signed(i64::from(self.reference_from.0));
        self.current.write(&mut out);
        self.closed.write(&mut out);
        self.recent.write(&mut out);
        if let Some(frozen) = &self.frozen {
            frozen.write(&mut out);
        }
        if !self.explainer.is_empty() {
            self.explainer.write(&mut out);
        }
        if has_levels {
            self.levels.write(&mut out);
        }
        out.varint(self.earliest.len() as u64);
        let mut before = 0;
        for end in &self.earliest {
            let seconds = end.as_micros().div_euclid(1_000_000);
            out.signed(seconds - before);
            before = seconds;
        }
        if self.rebaselined > 0 {
            out.varint(u64::from(self.rebaselined));
        }
        out.finish()
    }
}

fn read_earliest(input: &mut Reader<'_>) -> Result<Vec<Timestamp>, DecodeError> {
    let count = input.varint()?;
    if count > EARLIEST as u64 {
        return Err(DecodeError::Impossible("number of early samples"));
    }
    let mut seconds = 0_i64;
    let mut end = |_| {
        seconds = seconds.saturating_add(input.signed()?);
        Ok(Timestamp::from_micros(seconds.saturating_mul(1_000_000)))
    };
    (0..count).map(&mut end).collect()
}

fn read_rebaselined(input: &mut Reader<'_>) -> Result<u32, DecodeError> {
    u32::try_from(input.varint()?).map_err(|_| DecodeError::Impossible("number of rebaselines"))
}

fn read_if<T>(flag: u8, read: impl FnOnce() -> Result<T, DecodeError>) -> Result<Option<T>, DecodeError> {
    if flag == 0 { Ok(None) } else { read().map(Some) }
}
