//! What a step is compared with, and what follows from it.
//!
//! Invariant: the same for a step that ends, one that runs, and one that is only asked about.
//! Not here: how an attribute is found that explains durations (`baseline`).

use super::{Bottleneck, Limits, Severity, StepPolicy};
use crate::baseline::{Baseline, Explained, Reference, Values};
use crate::cohort::{Cohort, CohortSpec};
use crate::features::{Feature, Features};
use crate::time::{Micros, Timestamp};

/// The histories that a step may be compared with.
#[derive(Clone, Copy, Debug)]
pub struct Histories<'a> {
    /// Of the whole step.
    pub whole: &'a Baseline,
    /// Of the cohort that a setting makes, if the step has the attributes for it.
    pub cohort: Option<(&'a Cohort, &'a Baseline)>,
    /// When the step was started, where this service saw it start. A history that did not exist then is
    /// made of its own siblings, and only of the faster ones.
    pub began: Option<Timestamp>,
}

/// A step's measure: the part of its history that is comparable, and the limits that follow from it.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison<'a> {
    /// What is normal.
    pub reference: Reference,
    /// What is too long.
    pub limits: Limits,
    /// What it was compared with.
    pub with: ComparedWith<'a>,
}

/// What a step was compared with.
#[derive(Clone, Debug, PartialEq)]
pub enum ComparedWith<'a> {
    /// All of the step's history.
    Whole,
    /// The cohort that a setting makes.
    Cohort(&'a Cohort),
    /// Runs with the same value of an attribute, or all of them scaled to it.
    Attribute {
        /// What the history is to be told.
        explained: Explained,
        /// The attribute's name.
        name: &'a str,
        /// The values.
        values: Values,
    },
}

impl StepPolicy {
    /// Finds what a step is compared with: its cohort, else the whole step; or, where the policy leaves it
    /// to the history, the attribute that explains most. None where no history is long enough to judge.
    #[must_use]
    pub fn compare<'a>(&self, histories: Histories<'a>, features: &Features) -> Option<Comparison<'a>> {
        let judged = |reference: Reference, with| {
            let limits = self.rule.limits(&reference)?;
            Some(Comparison { reference, limits, with })
        };
        let known = |baseline: &'a Baseline| {
            let is_old = |began| baseline.was_known_at(began, self.rule.min_samples());
            histories.began.is_none_or(is_old).then_some(baseline)
        };
        let nearer = match &self.cohort {
            CohortSpec::Whole => None,
            CohortSpec::Given(_) => histories.cohort.and_then(|(cohort, baseline)| {
                let reference = known(baseline)?.reference_following(histories.whole)?;
                judged(reference, ComparedWith::Cohort(cohort))
            }),
            CohortSpec::Auto => {
                let whole = known(histories.whole);
                let part = whole.and_then(|whole| whole.comparable(features, self.rule.min_samples()));
                part.and_then(|part| {
                    let (explained, name, values) = (part.explained, part.attribute, part.values);
                    judged(part.reference, ComparedWith::Attribute { explained, name, values })
                })
            }
        };
        nearer.or_else(|| judged(known(histories.whole)?.reference()?, ComparedWith::Whole))
    }
}

impl Comparison<'_> {
    /// Judges a duration; none if it is normal.
    #[must_use]
    pub fn judge(&self, duration: Micros, features: &Features, in_flight: bool) -> Option<Bottleneck> {
        self.limits.severity(duration).map(|severity| self.verdict(severity, duration, features, in_flight))
    }

    /// Puts a verdict together.
    #[must_use]
    pub fn verdict(
        &self,
        severity: Severity,
        duration: Micros,
        features: &Features,
        in_flight: bool,
    ) -> Bottleneck {
        let verdict = Bottleneck::new(severity, duration, &self.reference, in_flight);
        Bottleneck { cohort: self.cohort(features), ..verdict }
    }

    /// Returns what of the step's own history judged it, if an attribute did.
    #[must_use]
    pub const fn explained(&self) -> Option<Explained> {
        match self.with {
            ComparedWith::Attribute { explained, .. } => Some(explained),
            ComparedWith::Whole | ComparedWith::Cohort(_) => None,
        }
    }

    /// Returns the comparison in the words of the answer: the attributes that had to agree, and their
    /// values. Empty for the whole history.
    #[must_use]
    pub fn cohort(&self, features: &Features) -> Cohort {
        match &self.with {
            ComparedWith::Whole => Cohort::default(),
            ComparedWith::Cohort(cohort) => (*cohort).clone(),
            ComparedWith::Attribute { name, values, .. } => {
                let told = match (values, features.get(name)) {
                    (Values::Range(low, high), _) => told_range(name, *low, *high),
                    (Values::ScaledTo(value), _) => format!("scaled to {}", told_number(name, *value)),
                    (Values::Same, Some(Feature::Text(text))) => text.clone(),
                    (Values::Same, Some(Feature::Number(number))) => told_number(name, *number),
                    (Values::Same, None) => String::new(),
                };
                Cohort::of([((*name).to_owned(), told)])
            }
        }
    }
}

/// Tells an attribute's name and its value.
#[must_use]
pub fn told_feature((name, feature): (&str, &Feature)) -> (String, String) {
    let value = match feature {
        Feature::Text(text) => text.clone(),
        Feature::Number(number) => told_number(name, *number),
    };
    (name.to_owned(), value)
}

/// Tells a range of numbers; one alone as itself.
#[must_use]
pub fn told_range(name: &str, low: f64, high: f64) -> String {
    let (first, last) = (told_number(name, low), told_number(name, high));
    if first == last { first } else { format!("{first} to {last}") }
}

/// Tells a number as people write it: bytes in binary units, where the attribute's name says that they are
/// bytes; else whole, or with three significant digits.
#[must_use]
pub fn told_number(name: &str, number: f64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let is_bytes = name.ends_with("bytes") || name.ends_with("_size");
    if !is_bytes || number < 1024.0 {
        let text =
            if number.fract() == 0.0 && number < 1e15 { format!("{number:.0}") } else { short(number) };
        return if is_bytes { format!("{text} B") } else { text };
    }
    let (mut scaled, mut unit) = (number, 0);
    while scaled >= 1024.0 && unit + 1 < UNITS.len() {
        scaled /= 1024.0;
        unit += 1;
    }
    format!("{} {}", short(scaled), UNITS.get(unit).unwrap_or(&""))
}

/// Writes three significant digits.
fn short(number: f64) -> String {
    if !(1e-3..1e6).contains(&number) {
        return format!("{number:.2e}");
    }
    let digits = if number < 10.0 { 2 } else { usize::from(number < 100.0) };
    let text = format!("{number:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_told_as_people_write_them() {
        let told = |name, number| told_number(name, number);
        assert_eq!(told("input_bytes", 1_572_864.0), "1.5 MiB");
        assert_eq!(told("input_bytes", 1_048_576.0), "1 MiB");
        assert_eq!(told("input_bytes", 900.0), "900 B");
        assert_eq!(told("file_size", 5.2e9), "4.84 GiB");
        assert_eq!(told("rows", 1_572_864.0), "1572864");
        assert_eq!(told("ratio", 0.123_456), "0.12");
        assert_eq!(told("rows", 1e20), "1.00e20");
        assert_eq!(told_range("input_bytes", 7_694.0, 7_694.0), "7.51 KiB");
        assert_eq!(told_range("input_bytes", 1_048_576.0, 2_097_152.0), "1 MiB to 2 MiB");
    }
}
