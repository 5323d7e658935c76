//! The rules that are scored, by name, each with the thresholds that it is swept over.
//!
//! Adding one is one entry of [`VARIANTS`]. What a rule's numbers are is said where it is: scored is each at
//! the threshold that it has by default, and its other numbers stay what they are.

use std::sync::Arc;

use tracer_core::cohort::{CohortSpec, Dimension, Scale};
use tracer_core::detect::{FactorOfMean, Policy, Quantile, Robust, Rule, StepPolicy};

/// A rule with what it compares with, under a name.
#[derive(Debug)]
pub(crate) struct Variant {
    /// What it is called on the command line and in tables.
    pub(crate) name: &'static str,
    rule: &'static Swept,
    cohort: fn() -> CohortSpec,
}

/// A rule whose threshold may be any number.
#[derive(Debug)]
struct Swept {
    threshold: fn() -> f64,
    sweep: &'static [f64],
    at: fn(f64) -> Arc<dyn Rule>,
}

/// The rules. The first one is the default.
#[rustfmt::skip]
pub(crate) const VARIANTS: &[Variant] = &[
    Variant { name: "factor", rule: &FACTOR, cohort: || CohortSpec::Auto },
    Variant { name: "factor-whole", rule: &FACTOR, cohort: || CohortSpec::Whole },
    Variant { name: "factor-by-size", rule: &FACTOR, cohort: by_size },
    Variant { name: "quantile", rule: &QUANTILE, cohort: || CohortSpec::Auto },
    Variant { name: "quantile-whole", rule: &QUANTILE, cohort: || CohortSpec::Whole },
    Variant { name: "robust", rule: &ROBUST, cohort: || CohortSpec::Auto },
    Variant { name: "robust-whole", rule: &ROBUST, cohort: || CohortSpec::Whole },
];

/// Multiples of the mean.
const FACTOR: Swept = Swept {
    threshold: || FactorOfMean::default().warning,
    sweep: &[1.25, 1.5, 1.75, 2.0, 2.25, 2.5, 3.0, 4.0, 5.0],
    at: |warning| {
        let default = FactorOfMean::default();
        let critical = warning / default.warning * default.critical;
        Arc::new(FactorOfMean { warning, critical, ..default })
    },
};

/// Multiples of the 99th percentile.
const QUANTILE: Swept = Swept {
    threshold: || Quantile::default().warning,
    sweep: &[1.0, 1.1, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0],
    at: |warning| {
        let default = Quantile::default();
        let critical = warning / default.warning * default.critical;
        Arc::new(Quantile { warning, critical, ..default })
    },
};

/// Robust deviations of log duration.
const ROBUST: Swept = Swept {
    threshold: || Robust::default().warning,
    sweep: &[2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 8.0],
    at: |warning| {
        let default = Robust::default();
        let critical = warning / default.warning * default.critical;
        Arc::new(Robust { warning, critical, ..default })
    },
};

/// What a user would set who knows that durations follow the size of the input.
fn by_size() -> CohortSpec {
    CohortSpec::Given(vec![Dimension { attribute: "input_bytes".to_owned(), scale: Scale::Log2 }])
}

impl Variant {
    /// Returns the threshold that the rule has by default, at which it is scored.
    pub(crate) fn threshold(&self) -> f64 {
        (self.rule.threshold)()
    }

    /// Returns the thresholds that `--roc` sweeps, in ascending order, that of the score among them.
    pub(crate) fn sweep(&self) -> Vec<f64> {
        let mut sweep = self.rule.sweep.to_vec();
        sweep.push(self.threshold());
        sweep.sort_unstable_by(f64::total_cmp);
        sweep.dedup();
        sweep
    }

    /// Returns the policy under which every step is judged by this rule.
    pub(crate) fn policy(&self, threshold: f64) -> Policy {
        let steps =
            StepPolicy { rule: (self.rule.at)(threshold), cohort: (self.cohort)(), ..StepPolicy::default() };
        Policy::new(steps, [])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_is_scored_as_it_is_by_default_and_the_first_is_the_default_one() {
        let defaults: [(&Swept, Arc<dyn Rule>); 3] = [
            (&FACTOR, StepPolicy::default().rule),
            (&QUANTILE, Arc::new(Quantile::default())),
            (&ROBUST, Arc::new(Robust::default())),
        ];
        for (swept, default) in defaults {
            assert_eq!(format!("{:?}", (swept.at)((swept.threshold)())), format!("{default:?}"));
        }
        let (first, default) = (VARIANTS[0].policy(VARIANTS[0].threshold()), Policy::default());
        assert_eq!(format!("{first:?}"), format!("{default:?}"));
    }

    #[test]
    fn a_sweep_passes_the_threshold_of_the_score_once() {
        for variant in VARIANTS {
            let sweep = variant.sweep();
            let at = |threshold: &&f64| threshold.total_cmp(&variant.threshold()).is_eq();
            assert!(sweep.is_sorted() && sweep.iter().filter(at).count() == 1, "{}: {sweep:?}", variant.name);
        }
    }
}
