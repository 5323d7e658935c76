//! A step that is judged by a policy, and learns as recording lets it; and dice for its durations.
//!
//! Not here: what is expected of it; and days, which `Key` has.

use serde_json::Value;

use super::day;
use crate::attributes::Attributes;
use crate::baseline::{Baseline, Sample, Shift, ShiftRule};
use crate::cohort::CohortSpec;
use crate::detect::{Bottleneck, Histories, StepPolicy};
use crate::features::Features;
use crate::name::Version;
use crate::time::{Micros, Timestamp};

/// A step with one history, which is not asked for days: all of them are one.
pub(super) struct Step {
    pub(super) baseline: Baseline,
    pub(super) now: Timestamp,
    pub(super) plan: StepPolicy,
}

/// What became of a run.
pub(super) struct Ran {
    pub(super) verdict: Option<Bottleneck>,
    pub(super) shift: Option<Shift>,
}

impl Ran {
    /// What it was compared with, as `attribute=values`; empty where it was normal, or compared with all.
    pub(super) fn compared(&self) -> String {
        let parts = self.verdict.as_ref().map(|found| found.cohort.parts().clone()).unwrap_or_default();
        parts.iter().map(|(name, values)| format!("{name}={values}")).collect::<Vec<_>>().join(" ")
    }
}

impl Step {
    /// A step judged by the default policy.
    pub(super) fn new() -> Self {
        Self { baseline: Baseline::empty(), now: day(100), plan: StepPolicy::default() }
    }

    /// Records a run a second after the last one; returns whether it was a bottleneck.
    pub(super) fn run(&mut self, attributes: Value, ms: u64) -> bool {
        self.take(&features(attributes), Micros::from_millis(ms)).verdict.is_some()
    }

    /// Records a run a second after the last one, as `record::judging` would.
    pub(super) fn take(&mut self, features: &Features, duration: Micros) -> Ran {
        self.now = self.now + Micros::from_secs(1);
        self.take_at(self.now, features, duration)
    }

    /// Records a run that ended at that time.
    pub(super) fn take_at(&mut self, at: Timestamp, features: &Features, duration: Micros) -> Ran {
        let histories = Histories { whole: &self.baseline, cohort: None, began: None };
        let comparison = self.plan.compare(histories, features);
        let verdict = comparison.as_ref().and_then(|found| found.judge(duration, features, false));
        let over = verdict.as_ref().and(comparison.as_ref()).map(|found| found.limits.warning);
        let explained = comparison.as_ref().and_then(|found| found.explained());
        let expected = comparison.as_ref().map(|found| found.reference.p50);
        let like = match self.plan.cohort {
            CohortSpec::Auto => explained.is_some() || !self.baseline.explains(features),
            CohortSpec::Whole | CohortSpec::Given(_) => true,
        };
        let rule = ShiftRule { confirmation: self.plan.confirmation, least: self.plan.min_shift };
        let shifts = like.then_some(rule);
        let sample = Sample { at, duration, over, explained, expected, features, shifts };
        let shift = self.baseline.learn(&sample, &mut Vec::new()).shift;
        Ran { verdict, shift }
    }

    /// Stops and starts the service.
    pub(super) fn restart(&mut self) {
        self.baseline = Baseline::decode(&self.baseline.encode()).unwrap();
    }

    /// Mean and median in milliseconds of what a run with these attributes is compared with.
    pub(super) fn measure(&self, attributes: Value) -> (f64, f64) {
        let histories = Histories { whole: &self.baseline, cohort: None, began: None };
        let reference = self.plan.compare(histories, &features(attributes)).unwrap().reference;
        (reference.mean_us / 1_000.0, reference.p50.as_f64() / 1_000.0)
    }
}

/// The features that these attributes are.
pub(super) fn features(attributes: Value) -> Features {
    Features::default().with(&Attributes::new(serde_json::from_value(attributes).unwrap()).unwrap())
}

/// The same in an execution of that version.
pub(super) fn with_version(version: &str, attributes: Value) -> Features {
    let attributes = Attributes::new(serde_json::from_value(attributes).unwrap()).unwrap();
    Features::of_execution(Some(&Version::new(version).unwrap()), &attributes)
}

/// Numbers that look random and are the same in every run (SplitMix64: Steele, Lea and Flood, *Fast
/// Splittable Pseudorandom Number Generators*, 2014).
pub(super) struct Dice(pub(super) u64);

impl Dice {
    /// Evenly from 0 to 1.
    pub(super) fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Normal with mean 0 and deviation 1 (Box and Muller, 1958).
    pub(super) fn normal(&mut self) -> f64 {
        let (radius, turn) = ((-2.0 * (1.0 - self.unit()).ln()).sqrt(), self.unit());
        radius * (std::f64::consts::TAU * turn).cos()
    }

    /// A duration about `ms` milliseconds, whose logarithm deviates by so much.
    pub(super) fn about(&mut self, ms: f64, deviation: f64) -> Micros {
        Micros::from_f64(1_000.0 * ms * (deviation * self.normal()).exp())
    }
}
