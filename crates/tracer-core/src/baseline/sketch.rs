//! The shape of a distribution of durations, with quantiles of bounded relative error.
//!
//! A `DDSketch` (Masson, Rim and Lee, *DDSketch: A Fast and Fully-Mergeable Quantile Sketch with
//! Relative-Error Guarantees*, VLDB 2019) at 1 %. Where a key's durations are so scattered that they
//! need more than [`MAX_BINS`] bins, neighbours are joined in pairs, as in `UDDSketch` (Epicoco and
//! others, *UDDSketch: Accurate Tracking of Quantiles in Data Streams*, IEEE Access 2020): every
//! quantile then keeps a bound, twice as wide. Collapsing the lowest bins instead, as the first paper
//! does, would keep 1 % at the top and lose the median altogether.
//!
//! Each bin counts twice: what was measured, and what the reference counts ([`View`]). Mostly the
//! two are equal, so the second view costs one bit a bin, where a second sketch would cost its size.
//!
//! Invariant: bins are sorted by index, at most [`MAX_BINS`], and none is empty in both views.
//! Not here: the exact extremes (`moments`), into which callers move what a sketch estimates.

use super::codec::{DecodeError, Reader, Writer};
use crate::time::Micros;

/// Most bins in a sketch. At 1 % they span a factor of 270 without a gap.
pub const MAX_BINS: usize = 280;

/// The natural logarithm of a bin's width, `ln((1 + 0.01) / (1 - 0.01))`.
const LN_WIDTH: f64 = 0.020_000_666_706_669_435;
/// Joining pairs this often leaves two bins for everything that a duration can be.
const MAX_LEVEL: u8 = 12;
/// The bin of the longest duration there is, before any joining.
const MAX_INDEX: i16 = 2220;

/// Which of a sketch's two distributions is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// The durations as they were measured.
    Measured,
    /// What counts towards the reference that judges.
    Reference,
}

/// Counts of durations in bins whose width grows with the duration.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Sketch {
    /// How often neighbouring bins were joined.
    level: u8,
    bins: Vec<Bin>,
}

/// Index 0 holds 0 µs; index i holds `(w^(i-2), w^(i-1)]` µs for w = the width, before any joining.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bin {
    index: i16,
    measured: u32,
    reference: u32,
}

impl Sketch {
    /// Counts a duration in both views.
    pub fn record(&mut self, duration: Micros) {
        self.add(Bin { index: index_of(duration), measured: 1, reference: 1 });
    }

    /// Counts a duration in one view only.
    pub fn record_in(&mut self, view: View, duration: Micros) {
        let index = index_of(duration);
        self.add(match view {
            View::Measured => Bin { index, measured: 1, reference: 0 },
            View::Reference => Bin { index, measured: 0, reference: 1 },
        });
    }

    /// Adds everything that `other` counted. Associative and commutative, exactly, while no count
    /// reaches `u32::MAX`, where counts stop.
    pub fn merge(&mut self, other: &Self) {
        self.absorb(other, true);
    }

    /// Adds what `other` measured, and nothing of its reference.
    pub fn merge_measured(&mut self, other: &Self) {
        self.absorb(other, false);
    }

    /// Forgets what the reference counted.
    pub fn forget_reference(&mut self) {
        self.bins.retain_mut(|bin| {
            bin.reference = 0;
            bin.measured > 0
        });
    }

    /// Returns how many durations a view holds.
    #[must_use]
    pub fn count(&self, view: View) -> u64 {
        self.bins.iter().map(|bin| u64::from(bin.count(view))).sum()
    }

    /// Returns an estimate of the value of nearest rank `ceil(q * n)`, off by at most
    /// [`Sketch::relative_error`]; `q` is moved into 0 to 1. `None` where the view is empty.
    #[must_use]
    pub fn quantile(&self, view: View, q: f64) -> Option<Micros> {
        // The nearest rank: the least value that at least this share of all does not exceed.
        let rank = (q.clamp(0.0, 1.0) * self.count(view) as f64).ceil().max(1.0);
        let mut passed = 0_u64;
        let mut found = None;
        for bin in self.bins.iter().filter(|bin| bin.count(view) > 0) {
            passed += u64::from(bin.count(view));
            found = Some(bin.index);
            if passed as f64 >= rank {
                break;
            }
        }
        found.map(|index| self.middle(index))
    }

    /// Returns the median absolute deviation of the natural logarithm of a view from its median; 0 where
    /// it is empty. As exact as the quantiles: a bin is 0.02 wide.
    #[must_use]
    pub fn log_mad(&self, view: View) -> f64 {
        let bins: Vec<Bin> = self.bins.iter().copied().filter(|bin| bin.count(view) > 0).collect();
        let half = self.count(view).div_ceil(2);
        let mut passed = 0;
        let median = bins.iter().position(|bin| {
            passed += u64::from(bin.count(view));
            passed >= half
        });
        let Some(median) = median else { return 0.0 };
        // Outwards from the median, always to the nearer side, until half of all are inside.
        let place = |at: usize| bins.get(at).map(|bin| i32::from(bin.index));
        let middle = place(median).unwrap_or_default();
        let (mut below, mut above, mut inside, mut distance) = (median, median + 1, 0_u64, 0);
        let mut next = Some(median);
        while let Some(at) = next {
            let Some(bin) = bins.get(at) else { break };
            inside += u64::from(bin.count(view));
            distance = (i32::from(bin.index) - middle).abs();
            if inside >= half {
                break;
            }
            let down = below.checked_sub(1).and_then(place).map(|index| middle - index);
            let up = place(above).map(|index| index - middle);
            next = match (down, up) {
                (Some(down), up) if up.is_none_or(|up| down <= up) => {
                    below -= 1;
                    Some(below)
                }
                (_, Some(_)) => {
                    above += 1;
                    Some(above - 1)
                }
                (_, None) => None,
            };
        }
        f64::from(distance) * LN_WIDTH * f64::from(1_u16 << self.level)
    }

    /// Returns the bound on the error of quantiles, as a share of the true value: 0.01, about
    /// doubling each time that bins had to be joined. Rounding to whole microseconds adds to it.
    #[must_use]
    pub fn relative_error(&self) -> f64 {
        (LN_WIDTH * f64::from(1_u16 << self.level) / 2.0).tanh()
    }

    /// Returns how many bins hold something.
    #[must_use]
    pub fn bins(&self) -> usize {
        self.bins.len()
    }

    /// Joins neighbouring bins. Returns whether there was anything left to join.
    pub(super) fn coarsen(&mut self) -> bool {
        if self.level >= MAX_LEVEL {
            return false;
        }
        self.level += 1;
        let mut joined: Vec<Bin> = Vec::with_capacity(self.bins.len());
        for bin in &self.bins {
            push(&mut joined, bin.coarser(1));
        }
        self.bins = joined;
        true
    }

    fn add(&mut self, bin: Bin) {
        let bin = bin.coarser(self.level);
        match self.bins.binary_search_by_key(&bin.index, |held| held.index) {
            Ok(at) => {
                if let Some(held) = self.bins.get_mut(at) {
                    held.gain(bin);
                }
            }
            Err(at) => self.bins.insert(at, bin),
        }
        self.bound();
    }

    fn bound(&mut self) {
        while self.bins.len() > MAX_BINS && self.coarsen() {}
    }

    fn absorb(&mut self, other: &Self, with_reference: bool) {
        while self.level < other.level && self.coarsen() {}
        let joins = self.level - other.level;
        let mut merged = Vec::with_capacity(self.bins.len() + other.bins.len());
        let mut mine = self.bins.iter().copied().peekable();
        for bin in &other.bins {
            let mut bin = bin.coarser(joins);
            if !with_reference {
                bin.reference = 0;
            }
            while let Some(earlier) = mine.next_if(|held| held.index <= bin.index) {
                push(&mut merged, earlier);
            }
            push(&mut merged, bin);
        }
        for rest in mine {
            push(&mut merged, rest);
        }
        self.bins = merged;
        self.bound();
    }

    /// Returns the value whose relative distance to both ends of the bin is the same.
    fn middle(&self, index: i16) -> Micros {
        if index == 0 {
            return Micros::ZERO;
        }
        let end = |index: i16| (f64::from(i32::from(index) << self.level) - 1.0) * LN_WIDTH;
        Micros::from_f64(2.0 / ((-end(index - 1)).exp() + (-end(index)).exp()))
    }

    pub(super) fn write(&self, out: &mut Writer) {
        out.varint(self.bins.len() as u64);
        if self.bins.is_empty() {
            return;
        }
        // The order that suits the average count suits most of them.
        let average =
            self.bins.iter().map(|bin| u64::from(bin.measured)).sum::<u64>() / self.bins.len() as u64;
        let order = average.max(1).ilog2();
        out.byte(self.level);
        out.varint(u64::from(order));
        let mut next = 0;
        for bin in &self.bins {
            out.golomb(u32::from((bin.index - next).unsigned_abs()), 0);
            next = bin.index + 1;
            out.golomb(bin.measured, order);
            match bin.reference {
                equal if equal == bin.measured => out.bits(0b0, 1),
                0 => out.bits(0b10, 2),
                other => {
                    out.bits(0b11, 2);
                    out.golomb(other, order);
                }
            }
        }
        out.align();
    }

    pub(super) fn read(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let bins = usize::try_from(input.varint()?).unwrap_or(usize::MAX);
        if bins == 0 {
            return Ok(Self::default());
        }
        if bins > MAX_BINS {
            return Err(DecodeError::Impossible("number of bins"));
        }
        let level = input.byte()?;
        let order = u32::try_from(input.varint()?).unwrap_or(u32::MAX);
        if level > MAX_LEVEL || order > 31 {
            return Err(DecodeError::Impossible("sketch"));
        }
        let mut sketch = Self { level, bins: Vec::with_capacity(bins) };
        let mut next = 0_u32;
        for _ in 0..bins {
            let place = input.golomb(0)?.saturating_add(next);
            let index = i16::try_from(place).ok().filter(|index| *index <= coarser(MAX_INDEX, level));
            let index = index.ok_or(DecodeError::Impossible("bin"))?;
            next = place + 1;
            let measured = input.golomb(order)?;
            let reference = match input.bits(1)? {
                0 => measured,
                _ if input.bits(1)? == 0 => 0,
                _ => input.golomb(order)?,
            };
            if measured == 0 && reference == 0 {
                return Err(DecodeError::Impossible("empty bin"));
            }
            sketch.bins.push(Bin { index, measured, reference });
        }
        input.align();
        Ok(sketch)
    }
}

impl Bin {
    const fn count(&self, view: View) -> u32 {
        match view {
            View::Measured => self.measured,
            View::Reference => self.reference,
        }
    }

    fn coarser(mut self, joins: u8) -> Self {
        self.index = coarser(self.index, joins);
        self
    }

    fn gain(&mut self, other: Self) {
        self.measured = self.measured.saturating_add(other.measured);
        self.reference = self.reference.saturating_add(other.reference);
    }
}

/// Appends a bin whose index is not below the last one's; an empty one is left out.
fn push(bins: &mut Vec<Bin>, bin: Bin) {
    match bins.last_mut() {
        Some(last) if last.index == bin.index => last.gain(bin),
        Some(_) | None if bin.measured == 0 && bin.reference == 0 => {}
        Some(_) | None => bins.push(bin),
    }
}

/// Returns where a bin goes when neighbours are joined that often. Index 0 stays alone for good.
fn coarser(index: i16, joins: u8) -> i16 {
    let wide = (i32::from(index) + (1 << joins) - 1) >> joins;
    i16::try_from(wide).unwrap_or(i16::MAX)
}

fn index_of(duration: Micros) -> i16 {
    if duration == Micros::ZERO {
        return 0;
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the logarithm of any u64 is below 45, the index below 2221"
    )]
    let widths = (duration.as_f64().ln() / LN_WIDTH).ceil() as i16;
    widths.saturating_add(1).min(MAX_INDEX)
}
