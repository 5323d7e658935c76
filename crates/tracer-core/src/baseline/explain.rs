//! What of a step explains how long it takes, learned from its own history.
//!
//! Each attribute of a step keeps what it has seen ([`Attribute`]). Of those that explain at least
//! [`LEAST_SHARE`] of the variance of log durations, the one whose forecasts were nearest to what came says
//! what a run is compared with: those with the same value, or with values of the same range; or all of
//! them, scaled by the slope. Where none does, or there is not enough of it yet, a run is compared with all
//! of them as they are.
//!
//! Invariants: the same samples in the same order give the same answer; at most [`ATTRIBUTES`]
//! attributes and [`ALL_LEVELS`] levels, whatever the clients send.
//! Not here: cohorts that a setting names (`cohort`).

use super::Sample;
use super::attribute::{Attribute, JudgedBy, Kept, digest};
use super::codec::{DecodeError, Reader, Writer};
use super::level::{KNOWN, Place};
use super::reference::Reference;
use crate::features::{Feature, Features, VERSION};
use crate::time::Timestamp;

/// Most attributes that are watched.
const ATTRIBUTES: usize = 6;
/// Most levels of all attributes together.
const ALL_LEVELS: usize = 20;
/// Most names that are remembered because they explain nothing.
const REFUSED: usize = 32;
/// The least share of the variance of log durations that makes an attribute count: a correlation of
/// 0.55. Below, comparing with fewer runs costs more than it gains.
const LEAST_SHARE: f64 = 0.3;
/// Samples after which an attribute that explains nothing makes room for another one, and one that had
/// only one value.
const TRIED: u32 = 100;
const TRIED_CONSTANT: u32 = 30;
/// The share that is nothing.
const NOTHING: f64 = 0.05;

/// The attributes of a step, and what they say.
#[derive(Clone, Debug, PartialEq, Default)]
pub(super) struct Explainer {
    attributes: Vec<Attribute>,
    /// Digests of names that explain nothing, each as 16 bits.
    refused: Vec<u16>,
}

/// In which way an attribute explains a duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// By the runs with its value, or with one of the same range.
    Level,
    /// By the slope of log duration on log value.
    Slope,
}

/// What a run is compared with: which attribute, by the digest of its name, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Explained {
    /// The digest of the attribute's name.
    pub(super) name: u32,
    /// How it explains.
    pub(super) form: Form,
}

/// A reference that an attribute makes, and how it is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparable<'a> {
    /// What the run is judged by.
    pub reference: Reference,
    /// What it is, to be given back with the sample.
    pub explained: Explained,
    /// The attribute's name.
    pub attribute: &'a str,
    /// The values that it is compared with.
    pub values: Values,
}

/// Which values of an attribute are comparable.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Values {
    /// The same text.
    Same,
    /// Numbers from the first to the last.
    Range(f64, f64),
    /// All, scaled to this one.
    ScaledTo(f64),
}

impl Explainer {
    pub(super) const fn is_empty(&self) -> bool {
        self.attributes.is_empty() && self.refused.is_empty()
    }

    /// Returns what a step is best compared with; none where that is everything.
    pub(super) fn comparable<'a>(&'a self, features: &Features, min_samples: u64) -> Option<Comparable<'a>> {
        let mut best: Option<(f64, Comparable<'a>)> = None;
        for attribute in &self.attributes {
            let Some(feature) = features.get(&attribute.name) else { continue };
            for (error, candidate) in candidates(attribute, feature, min_samples).into_iter().flatten() {
                if best.as_ref().is_none_or(|(least, _)| error < *least) {
                    best = Some((error, candidate));
                }
            }
        }
        best.map(|(_, candidate)| candidate)
    }

    /// Returns whether one of a step's attributes explains enough, be its own value known or not.
    pub(super) fn explains(&self, features: &Features) -> bool {
        self.attributes.iter().any(|held| {
            let enough = |share: f64| share >= LEAST_SHARE;
            held.name != VERSION
                && held.is_circumstance()
                && features.get(&held.name).is_some()
                && (held.levels_explain().is_some_and(enough)
                    || held.line().is_some_and(|(_, line)| enough(line.explains)))
        })
    }

    /// Notes how well each attribute would have foretold a sample.
    pub(super) fn forecast(&mut self, sample: &Sample<'_>) {
        for attribute in &mut self.attributes {
            if let Some(feature) = sample.features.get(&attribute.name) {
                attribute.forecast(feature, sample.duration);
            }
        }
    }

    /// Learns from a completed sample. `judged` says what judged it, and the limit if it was over it.
    ///
    /// While a slowdown is `lasting`, the attribute that judged stays as it was before.
    pub(super) fn learn(&mut self, sample: &Sample<'_>, lasting: bool) {
        let Sample { at, duration, over, explained: judged, features, .. } = *sample;
        for (name, feature) in features.own_first() {
            let Some(place) = self.place_of(name, feature) else { continue };
            let Some(attribute) = self.attributes.get_mut(place) else { continue };
            let judged = match judged.filter(|judged| judged.name == digest(name)) {
                Some(_) if lasting => JudgedBy::NotToLearn,
                Some(Explained { form: Form::Level, .. }) => JudgedBy::Level(over),
                Some(Explained { form: Form::Slope, .. }) => JudgedBy::Slope(over),
                None => JudgedBy::Other(over.is_some()),
            };
            if attribute.learn(feature, at, duration, judged) == Kept::TooMany {
                self.refuse(place);
            }
        }
        self.bound();
    }

    /// Returns an attribute whose value is new since `since`: what changed with a level that shifted.
    pub(super) fn changed_since<'a>(
        &self,
        features: &'a Features,
        since: Timestamp,
    ) -> Option<(&'a str, &'a Feature)> {
        let is_new = |(name, feature): &(&str, &Feature)| {
            let attribute = self.attributes.iter().find(|attribute| attribute.name == *name);
            let Some(attribute) = attribute else { return false };
            let new = attribute.level(feature).is_some_and(|level| level.first_seen >= since);
            new && attribute.levels.iter().any(|level| level.first_seen < since && level.is_known())
        };
        let version = features.get(VERSION).map(|version| (VERSION, version));
        version.into_iter().chain(features.iter()).find(is_new)
    }

    /// Returns where an attribute is watched; none where it is not.
    fn place_of(&mut self, name: &str, feature: &Feature) -> Option<usize> {
        if let Some(place) = self.attributes.iter().position(|held| held.name == name) {
            return Some(place);
        }
        let refused = self.refused.len() >= REFUSED || self.refused.contains(&short(name));
        if refused && name != VERSION {
            return None;
        }
        // A place is kept for the version, whose change is to be told.
        let others = self.attributes.iter().filter(|held| held.name != VERSION).count();
        if name != VERSION && others + 1 >= ATTRIBUTES {
            let useless = self.attributes.iter().position(explains_nothing);
            self.refuse(useless?);
        }
        self.attributes.push(Attribute::new(name, feature));
        Some(self.attributes.len() - 1)
    }

    fn refuse(&mut self, place: usize) {
        let refused = self.attributes.remove(place);
        if self.refused.len() < REFUSED {
            self.refused.push(short(&refused.name));
        }
    }

    /// Keeps the number of levels within its bound: the attribute that has most of them gives way.
    fn bound(&mut self) {
        while self.attributes.iter().map(|held| held.levels.len()).sum::<usize>() > ALL_LEVELS {
            let largest = self.attributes.iter().enumerate().max_by_key(|(_, held)| held.levels.len());
            let Some(place) = largest.map(|(place, _)| place) else { return };
            if !self.attributes.get_mut(place).is_some_and(Attribute::join_once) {
                self.refuse(place);
            }
        }
    }

    pub(super) fn write(&self, out: &mut Writer) {
        out.varint(self.attributes.len() as u64);
        for attribute in &self.attributes {
            attribute.write(out);
        }
        out.varint(self.refused.len() as u64);
        for digest in &self.refused {
            out.varint(u64::from(*digest));
        }
    }

    pub(super) fn read(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let count = input.varint()?;
        if count > ATTRIBUTES as u64 {
            return Err(DecodeError::Impossible("number of attributes"));
        }
        let attributes = (0..count).map(|_| Attribute::read(input)).collect::<Result<_, _>>()?;
        let count = input.varint()?;
        if count > REFUSED as u64 {
            return Err(DecodeError::Impossible("number of refused attributes"));
        }
        let digest = |_| u16::try_from(input.varint()?).map_err(|_| DecodeError::Impossible("digest"));
        Ok(Self { attributes, refused: (0..count).map(digest).collect::<Result<_, _>>()? })
    }
}

/// Whether an attribute has been watched for long enough to say that it explains nothing.
fn explains_nothing(held: &Attribute) -> bool {
    let levels = held.levels_explain().unwrap_or(0.0);
    let share = held.line().map_or(levels, |(_, line)| levels.max(line.explains));
    let tried = if held.is_constant() { TRIED_CONSTANT } else { TRIED };
    held.name != VERSION && held.count() >= tried && share < NOTHING
}

/// Returns what an attribute offers for a value where it explains enough, each with its mean square error.
fn candidates<'a>(
    attribute: &'a Attribute,
    feature: &Feature,
    min_samples: u64,
) -> [Option<(f64, Comparable<'a>)>; 2] {
    let name = digest(&attribute.name);
    let made = |reference, form, values| Comparable {
        reference,
        explained: Explained { name, form },
        attribute: &attribute.name,
        values,
    };
    // An execution's version is a change, not a circumstance: only a setting makes it one.
    let usable = attribute.name != VERSION;
    let level = attribute.usable_level(feature).filter(|level| {
        usable && u64::from(level.sums.count) >= min_samples.clamp(KNOWN.into(), u64::from(u8::MAX))
    });
    let enough = |share: &f64| *share >= LEAST_SHARE;
    let of_level = level.zip(attribute.levels_explain().filter(enough)).map(|(level, _)| {
        let values = match level.place {
            Place::Range(low, high) => Values::Range(low.into(), high.into()),
            Place::Text(_) => Values::Same,
        };
        (attribute.level_error.mean(), made(level.sums.reference(), Form::Level, values))
    });
    let of_slope = match feature {
        Feature::Number(value) if usable => attribute.line().and_then(|(slope, line)| {
            let reference = slope.reference(&line, *value).filter(|_| enough(&line.explains))?;
            Some((attribute.slope_error.mean(), made(reference, Form::Slope, Values::ScaledTo(*value))))
        }),
        Feature::Number(_) | Feature::Text(_) => None,
    };
    [of_level, of_slope]
}

#[expect(clippy::cast_possible_truncation, reason = "the low half is what is wanted")]
fn short(name: &str) -> u16 {
    digest(name) as u16
}
