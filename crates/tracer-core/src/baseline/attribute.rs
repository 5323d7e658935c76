//! What one attribute says of how long a step takes: levels of its values, and for numbers a slope.
//!
//! Numbers begin as levels of their own; when there are too many, the two nearest, as a ratio, become
//! one range, as the bins of a streaming histogram do (Ben-Haim and Tom-Tov, *A Streaming Parallel
//! Decision Tree Algorithm*, JMLR 2010). So a few configurations stay apart however near they are, and a
//! size that varies freely is cut into ranges of about equal ratio. Texts that are too many are an id
//! rather than a configuration, and explain nothing; unless each came after the other, as versions do.
//!
//! What only follows something else is a change, and a change must not become its own excuse. So a text
//! judges once it has come back after others. A number does at once where its name says that it is an
//! amount, because inputs of a new size take their own time, and else once it has gone down as well as up:
//! a build, a number of retries or a time only grows.
//!
//! Invariant: at most [`LEVELS`] levels; ranges do not overlap and are sorted. A value first seen while a
//! slowdown lasts may have a level without samples: when it was first seen is known all the same.
//! Not here: which attribute is used (`explain`).

use super::codec::{DecodeError, Reader, Writer};
use super::level::{BELIEVED, Level, Place, ln};
use super::slope::{Line, Slope};
use crate::features::{Feature, NAME_BYTES, VERSION, is_amount};
use crate::time::{Micros, Timestamp};

/// Most levels of an attribute.
pub(super) const LEVELS: usize = 8;
/// Samples from which an attribute can be said to explain something.
const KNOWN: f64 = 20.0;
/// How often a text must have come back after another one before its level can be used.
const RETURNS: u8 = 5;
/// How often a number must have been less than the one before it before any of its levels can.
const FALLS: u8 = 3;
/// Largest number that is told from a larger one.
const LARGEST: f64 = 1e30;

/// An attribute, as far as it has been seen.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Attribute {
    pub(super) name: String,
    pub(super) levels: Vec<Level>,
    kind: Kind,
    /// How far its levels were from what came.
    pub(super) level_error: Error,
    /// How far its line was.
    pub(super) slope_error: Error,
}

/// The mean square of how far forecasts of log durations were from what came, of the last few: which of two
/// attributes explains more is seen in what each says before it has learned (Dawid, *Present Position and
/// Potential Developments: The Prequential Approach*, 1984). What a level does not believe and does not
/// learn counts here, so that no level looks good by believing little.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub(super) struct Error {
    mean: f32,
    /// Forecasts, at most [`Error::MEMORY`].
    count: u8,
}

impl Error {
    const MEMORY: u8 = 16;

    #[expect(clippy::cast_possible_truncation, reason = "what is kept is as exact as it needs to be")]
    fn take(&mut self, distance: f64) {
        self.count = (self.count + 1).min(Self::MEMORY);
        self.mean += ((distance * distance - f64::from(self.mean)) / f64::from(self.count)) as f32;
        self.mean = self.mean.max(0.0);
    }

    /// Returns the mean square of the distances.
    pub(super) const fn mean(self) -> f64 {
        self.mean as f64
    }

    fn write(self, out: &mut Writer) {
        out.single(self.mean);
        out.byte(self.count);
    }

    fn read(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (mean, count) = (input.single()?.max(0.0), input.byte()?);
        if count > Self::MEMORY {
            return Err(DecodeError::Impossible("number of forecasts"));
        }
        Ok(Self { mean, count })
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Kind {
    /// With how often it was less than the one before, and the last one.
    Number { slope: Slope, falls: u8, last: f32 },
    /// With the last one.
    Text { last: u32 },
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
    /// By this attribute, which is not to learn from it: a slowdown lasts.
    NotToLearn,
}

impl Attribute {
    pub(super) fn new(name: &str, feature: &Feature) -> Self {
        let kind = match feature {
            Feature::Number(_) => Kind::Number { slope: Slope::default(), falls: 0, last: 0.0 },
            Feature::Text(_) => Kind::Text { last: 0 },
        };
        let (level_error, slope_error) = (Error::default(), Error::default());
        Self { name: name.to_owned(), levels: Vec::new(), kind, level_error, slope_error }
    }

    /// Returns the level by which a value can be judged: one that is no mere change.
    pub(super) fn usable_level(&self, feature: &Feature) -> Option<&Level> {
        let level = self.level(feature)?;
        let usable = match self.kind {
            Kind::Number { .. } => self.is_circumstance(),
            Kind::Text { .. } => level.returns >= RETURNS,
        };
        usable.then_some(level)
    }

    /// Returns whether it has had only one value.
    pub(super) fn is_constant(&self) -> bool {
        self.levels.len() < 2
    }

    /// Returns the level of a value.
    pub(super) fn level(&self, feature: &Feature) -> Option<&Level> {
        self.position(feature).and_then(|at| self.levels.get(at))
    }

    /// Returns the share of the variance of log durations that the levels explain, adjusted for their
    /// number: 1 less the mean square within over the mean square in all. Below 0 where they explain
    /// less than chance would; none where there is too little to say.
    pub(super) fn levels_explain(&self) -> Option<f64> {
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
            Kind::Number { slope, .. } if self.is_circumstance() && self.varies() => {
                slope.line().map(|line| (slope, line))
            }
            Kind::Number { .. } | Kind::Text { .. } => None,
        }
    }

    /// Returns whether it is a circumstance of the work, and no mere change.
    pub(super) fn is_circumstance(&self) -> bool {
        match self.kind {
            Kind::Number { falls, .. } => is_amount(&self.name) || falls >= FALLS,
            Kind::Text { .. } => self.levels.iter().any(|level| level.returns >= RETURNS),
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

    /// Notes how far its forecasts are from what came: that of the value's own level, or of all of them while
    /// that is not known.
    pub(super) fn forecast(&mut self, feature: &Feature, duration: Micros) {
        let came = ln(duration);
        let known = self.level(feature).filter(|level| level.is_known()).map(|level| level.sums.log_mean());
        let total: f64 = self.levels.iter().map(|level| f64::from(level.sums.count)).sum();
        let sum: f64 =
            self.levels.iter().map(|level| f64::from(level.sums.count) * level.sums.log_mean()).sum();
        let Some(expected) = known.or((total > 0.0).then(|| sum / total)) else { return };
        self.level_error.take(came - expected);
        let line = match (&self.kind, feature) {
            (Kind::Number { slope, .. }, Feature::Number(value)) => {
                slope.line().map(|line| slope.expected(&line, value.ln_1p()))
            }
            (Kind::Number { .. } | Kind::Text { .. }, _) => None,
        };
        self.slope_error.take(came - line.unwrap_or(expected));
    }

    /// Learns from a sample. One of another kind than before (a text for a number) is left out.
    pub(super) fn learn(
        &mut self,
        feature: &Feature,
        at: Timestamp,
        duration: Micros,
        judged: JudgedBy,
    ) -> Kept {
        let (before, now) = (self.last_position(), self.position(feature));
        match (&mut self.kind, feature) {
            (Kind::Number { slope, falls, last }, Feature::Number(value)) => {
                let single = single(*value);
                *falls = falls.saturating_add(u8::from(single < *last));
                *last = single;
                learn_slope(slope, *value, duration, judged);
            }
            (Kind::Text { last }, Feature::Text(text)) => *last = digest(text),
            (Kind::Number { .. }, Feature::Text(_)) | (Kind::Text { .. }, Feature::Number(_)) => {
                return Kept::Yes;
            }
        }
        if let Some(level) = now.filter(|_| now != before).and_then(|at| self.levels.get_mut(at)) {
            level.returns = level.returns.saturating_add(1);
        }
        if self.position(feature).is_none() && self.make(feature, at) == Kept::TooMany {
            return Kept::TooMany;
        }
        if let Some(level) = self.position(feature).and_then(|at| self.levels.get_mut(at)) {
            match judged {
                JudgedBy::Level(over) => level.learn_judged(at, duration, over),
                JudgedBy::Slope(over) => level.learn(at, duration, over.is_some()),
                JudgedBy::Other(bottleneck) => level.learn(at, duration, bottleneck),
                JudgedBy::NotToLearn => {}
            }
        }
        self.join_nearest();
        Kept::Yes
    }

    /// Returns where the level of the last value is.
    fn last_position(&self) -> Option<usize> {
        let holds = |place: &Place| match (&self.kind, place) {
            (Kind::Number { last, .. }, Place::Range(low, high)) => low <= last && last <= high,
            (Kind::Text { last }, Place::Text(digest)) => last == digest,
            (Kind::Number { .. }, Place::Text(_)) | (Kind::Text { .. }, Place::Range(..)) => false,
        };
        self.levels.iter().position(|level| holds(&level.place))
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
        let followed = is_version || self.levels.iter().all(|level| level.returns == 0);
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
            Kind::Number { slope, falls, last } => {
                out.byte(0);
                slope.write(out);
                out.byte(*falls);
                out.single(*last);
            }
            Kind::Text { last } => {
                out.byte(1);
                out.varint(u64::from(*last));
            }
        }
        self.level_error.write(out);
        self.slope_error.write(out);
        out.varint(self.levels.len() as u64);
        for level in &self.levels {
            level.write(out);
        }
    }

    pub(super) fn read(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let name = input.text(NAME_BYTES)?;
        let kind = match input.byte()? {
            0 => Kind::Number { slope: Slope::read(input)?, falls: input.byte()?, last: input.single()? },
            1 => {
                let last = u32::try_from(input.varint()?).map_err(|_| DecodeError::Impossible("digest"))?;
                Kind::Text { last }
            }
            _ => return Err(DecodeError::Impossible("kind of attribute")),
        };
        let (level_error, slope_error) = (Error::read(input)?, Error::read(input)?);
        let count = input.varint()?;
        if count > LEVELS as u64 {
            return Err(DecodeError::Impossible("number of levels"));
        }
        let is_text = matches!(kind, Kind::Text { .. });
        let levels = (0..count).map(|_| Level::read(input, is_text)).collect::<Result<_, _>>()?;
        Ok(Self { name, levels, kind, level_error, slope_error })
    }
}

fn learn_slope(slope: &mut Slope, value: f64, duration: Micros, judged: JudgedBy) {
    match judged {
        JudgedBy::Slope(Some(_)) | JudgedBy::Level(Some(_)) => slope.record_over(value, duration),
        JudgedBy::Other(true) => {
            // Of a bottleneck that something else judged, a line believes what is near to it.
            let line = slope.line().and_then(|line| slope.reference(&line, value));
            if line.is_none_or(|line| duration.as_f64() <= BELIEVED * line.mean_us) {
                slope.record(value, duration);
            }
        }
        JudgedBy::Slope(None) | JudgedBy::Level(None) | JudgedBy::Other(false) => {
            slope.record(value, duration);
        }
        JudgedBy::NotToLearn => {}
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
