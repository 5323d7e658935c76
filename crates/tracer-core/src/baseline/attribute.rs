//! What one attribute says of how long a step takes: levels of its values, and for numbers a slope.
//!
//! Numbers begin as levels of their own; when there are too many, the two nearest, as a ratio, become
//! one range, as the bins of a streaming histogram do (Ben-Haim and Tom-Tov, *A Streaming Parallel
//! Decision Tree Algorithm*, JMLR 2010). So a few configurations stay apart however near they are, and a
//! size that varies freely is cut into ranges of about equal ratio. Texts that are too many are an id
//! rather than a configuration, and explain nothing; unless each came after the other, as versions do.
//!
//! Invariant: at most [`LEVELS`] levels; ranges do not overlap and are sorted. A text whose runs were all
//! bottlenecks has a level without samples: when it was first seen is known all the same.
//! Not here: which attribute is used (`explain`).

use super::codec::{DecodeError, Reader, Writer};
use super::level::{BELIEVED, Level, Place};
use super::slope::{Line, Slope};
use crate::features::{Feature, NAME_BYTES, VERSION};
use crate::time::{Micros, Timestamp};

/// Most levels of an attribute.
pub(super) const LEVELS: usize = 8;
/// Samples from which an attribute can be said to explain something.
const KNOWN: f64 = 20.0;
/// How often a text must have come back after another one before it can be used: values that only
/// follow each other are a change, and a change must not become its own excuse.
const RETURNS: u8 = 5;
/// Largest number that is told from a larger one.
const LARGEST: f64 = 1e30;

/// An attribute, as far as it has been seen.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Attribute {
    pub(super) name: String,
    pub(super) levels: Vec<Level>,
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq)]
enum Kind {
    Number(Slope),
    /// How often a value came back after another one, and which was the last.
    Text {
        returns: u8,
        last: u32,
    },
}

/// What was made of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    Yes,
    /// There are too many values: the attribute is an id.
    TooMany,
}

/// How a sample was judged, as far as it concerns an attribute.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum JudgedBy {
    /// By a level of this attribute: its limit, where the sample was over it.
    Level(Option<Micros>),
    /// By the slope of this attribute, likewise.
    Slope(Option<Micros>),
    /// By something else, and whether it was a bottleneck.
    Other(bool),
}

impl Attribute {
    pub(super) fn new(name: &str, feature: &Feature) -> Self {
        let kind = match feature {
            Feature::Number(_) => Kind::Number(Slope::default()),
            Feature::Text(_) => Kind::Text { returns: 0, last: 0 },
        };
        Self { name: name.to_owned(), levels: Vec::new(), kind }
    }

    /// Returns the level of a value.
    pub(super) fn level(&self, feature: &Feature) -> Option<&Level> {
        self.position(feature).and_then(|at| self.levels.get(at))
    }

    /// Returns the share of the variance of log durations that the levels explain, adjusted for their
    /// number: 1 less the mean square within over the mean square in all. Below 0 where they explain
    /// less than chance would; none where there is too little to say, or levels only followed each other.
    pub(super) fn levels_explain(&self) -> Option<f64> {
        if let Kind::Text { returns, .. } = self.kind
            && returns < RETURNS
        {
            return None;
        }
        let total: f64 = self.levels.iter().map(|level| f64::from(level.sums.count)).sum();
        let within_freedom = total - self.levels.len() as f64;
        if total < KNOWN || self.levels.len() < 2 || within_freedom <= 0.0 {
            return None;
        }
        let weighted = |level: &Level| f64::from(level.sums.count) * level.sums.log_mean();
        let mean = self.levels.iter().map(weighted).sum::<f64>() / total;
        let within: f64 = self.levels.iter().map(|level| level.sums.log_m2()).sum();
        let between = |level: &Level| f64::from(level.sums.count) * (level.sums.log_mean() - mean).powi(2);
        let between: f64 = self.levels.iter().map(between).sum();
        let all = within + between;
        (all > 0.0).then(|| 1.0 - (within / within_freedom) / (all / (total - 1.0)))
    }

    /// Returns the line through a number's durations; none through a few values, between and beyond which
    /// nothing is known.
    pub(super) fn line(&self) -> Option<(&Slope, Line)> {
        match &self.kind {
            Kind::Number(slope) if self.varies() => slope.line().map(|line| (slope, line)),
            Kind::Number(_) | Kind::Text { .. } => None,
        }
    }

    /// Whether there are too many values of a number for each to be a level.
    fn varies(&self) -> bool {
        let is_wide = |level: &Level| matches!(level.place, Place::Range(low, high) if low < high);
        self.levels.len() >= LEVELS || self.levels.iter().any(is_wide)
    }

    /// Returns how many samples it has seen, as far as it remembers.
    pub(super) fn count(&self) -> u32 {
        self.levels.iter().map(|level| u32::from(level.sums.count)).sum()
    }

    /// Learns from a sample. One of another kind than before (a text for a number) is left out.
    pub(super) fn learn(
        &mut self,
        feature: &Feature,
        at: Timestamp,
        duration: Micros,
        judged: JudgedBy,
    ) -> Kept {
        match (&mut self.kind, feature) {
            (Kind::Number(slope), Feature::Number(value)) => {
                let expected = || slope.reference(&slope.line()?, *value);
                match judged {
                    JudgedBy::Slope(Some(_)) | JudgedBy::Level(Some(_)) => {
                        slope.record_over(*value, duration)
                    }
                    // Of a bottleneck that something else judged, a line believes what is near to it.
                    JudgedBy::Other(true)
                        if expected().is_some_and(|line| duration.as_f64() > BELIEVED * line.mean_us) => {}
                    JudgedBy::Slope(None) | JudgedBy::Level(None) | JudgedBy::Other(_) => {
                        slope.record(*value, duration);
                    }
                }
            }
            (Kind::Text { returns, last }, Feature::Text(text)) => {
                let digest = digest(text);
                let known = self.levels.iter().any(|level| level.place == Place::Text(digest));
                if known && *last != digest {
                    *returns = returns.saturating_add(1);
                }
                *last = digest;
            }
            (Kind::Number(_), Feature::Text(_)) | (Kind::Text { .. }, Feature::Number(_)) => {
                return Kept::Yes;
            }
        }
        if self.position(feature).is_none() && self.make(feature, at) == Kept::TooMany {
            return Kept::TooMany;
        }
        if let Some(level) = self.position(feature).and_then(|at| self.levels.get_mut(at)) {
            match judged {
                JudgedBy::Level(over) => level.learn_judged(at, duration, over),
                JudgedBy::Slope(over) => level.learn(at, duration, over.is_some()),
                JudgedBy::Other(bottleneck) => level.learn(at, duration, bottleneck),
            }
        }
        self.join_nearest();
        Kept::Yes
    }

    fn position(&self, feature: &Feature) -> Option<usize> {
        let holds: &dyn Fn(&Place) -> bool = match feature {
            Feature::Number(value) => {
                let value = single(*value);
                &move |place| matches!(place, Place::Range(low, high) if *low <= value && value <= *high)
            }
            Feature::Text(text) => {
                let digest = digest(text);
                &move |place| *place == Place::Text(digest)
            }
        };
        self.levels.iter().position(|level| holds(&level.place))
    }

    /// Makes a level for a value that has none.
    fn make(&mut self, feature: &Feature, at: Timestamp) -> Kept {
        match feature {
            Feature::Number(value) => {
                let value = single(*value);
                let before = |level: &Level| matches!(level.place, Place::Range(low, _) if low < value);
                let place = self.levels.partition_point(before);
                self.levels.insert(place, Level::new(Place::Range(value, value), at));
            }
            Feature::Text(text) => {
                if self.levels.len() >= LEVELS && !self.forget_oldest() {
                    return Kept::TooMany;
                }
                self.levels.push(Level::new(Place::Text(digest(text)), at));
            }
        }
        Kept::Yes
    }

    /// Makes room for a text that follows others, as a version does. Returns whether there is any.
    fn forget_oldest(&mut self) -> bool {
        // A version may come back while the next one is rolled out, and may have few runs.
        let is_version = self.name == VERSION;
        let followed = is_version || matches!(self.kind, Kind::Text { returns: 0, .. });
        let by_age = |(_, level): &(usize, &Level)| level.last_seen;
        let oldest = self.levels.iter().enumerate().min_by_key(by_age);
        let Some((at, _)) = oldest.filter(|(_, level)| followed && (is_version || level.is_known())) else {
            return false;
        };
        self.levels.remove(at);
        true
    }

    /// Joins the two ranges whose values are nearest as a ratio, where there are too many.
    pub(super) fn join_nearest(&mut self) {
        if self.levels.len() > LEVELS {
            self.join_once();
        }
    }

    /// Joins two ranges; returns whether there were two.
    pub(super) fn join_once(&mut self) -> bool {
        let span = |pair: &[Level]| match pair {
            [Level { place: Place::Range(low, _), .. }, Level { place: Place::Range(_, high), .. }] => {
                Some(f64::from(*high).ln_1p() - f64::from(*low).ln_1p())
            }
            _ => None,
        };
        let spans = self.levels.windows(2).map(span).enumerate();
        let nearest = spans.filter_map(|(at, span)| Some((at, span?))).min_by(|a, b| a.1.total_cmp(&b.1));
        let Some((at, _)) = nearest else { return false };
        let other = self.levels.remove(at + 1);
        if let Some(level) = self.levels.get_mut(at) {
            level.join(&other);
        }
        true
    }

    pub(super) fn write(&self, out: &mut Writer) {
        out.text(&self.name);
        match &self.kind {
            Kind::Number(slope) => {
                out.byte(0);
                slope.write(out);
            }
            Kind::Text { returns, last } => {
                out.byte(1);
                out.byte(*returns);
                out.varint(u64::from(*last));
            }
        }
        out.varint(self.levels.len() as u64);
        for level in &self.levels {
            level.write(out);
        }
    }

    pub(super) fn read(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let name = input.text(NAME_BYTES)?;
        let kind = match input.byte()? {
            0 => Kind::Number(Slope::read(input)?),
            1 => {
                let returns = input.byte()?;
                let last = u32::try_from(input.varint()?).map_err(|_| DecodeError::Impossible("digest"))?;
                Kind::Text { returns, last }
            }
            _ => return Err(DecodeError::Impossible("kind of attribute")),
        };
        let count = input.varint()?;
        if count > LEVELS as u64 {
            return Err(DecodeError::Impossible("number of levels"));
        }
        let is_text = matches!(kind, Kind::Text { .. });
        let levels = (0..count).map(|_| Level::read(input, is_text)).collect::<Result<_, _>>()?;
        Ok(Self { name, levels, kind })
    }
}

#[expect(clippy::cast_possible_truncation, reason = "values this near are one level")]
fn single(value: f64) -> f32 {
    value.min(LARGEST) as f32
}

/// Returns a text's FNV-1a hash (Fowler, Noll and Vo): values of one attribute are told apart by it, and
/// two that share it are at worst compared with each other.
pub(super) fn digest(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}
