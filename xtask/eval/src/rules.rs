//! The rules that are scored, by name, each with the threshold that it is swept over.
//!
//! Adding one is one entry of [`VARIANTS`].

use std::sync::Arc;

use tracer_core::cohort::CohortSpec;
use tracer_core::detect::{FactorOfMean, Policy, Quantile, Robust, Rule, StepPolicy};

/// A rule with what it compares with, under a name.
#[derive(Debug)]
pub(crate) struct Variant {
    /// What it is called on the command line and in tables.
    pub(crate) name: &'static str,
    /// The threshold at which it is scored.
    pub(crate) threshold: f64,
    /// The thresholds that `--roc` sweeps.
    pub(crate) sweep: &'static [f64],
    rule: fn(f64) -> Arc<dyn Rule>,
    cohort: CohortSpec,
}

impl Variant {
    /// Returns the policy under which every step is judged by this rule.
    pub(crate) fn policy(&self, threshold: f64) -> Policy {
        let steps =
            StepPolicy { rule: (self.rule)(threshold), cohort: self.cohort.clone(), ..StepPolicy::default() };
        Policy::new(steps, [])
    }
}

const FACTORS: &[f64] = &[1.25, 1.5, 1.75, 2.0, 2.25, 2.5, 3.0, 4.0, 5.0];

const MARGINS: &[f64] = &[1.0, 1.1, 1.2, 1.3, 1.5, 1.75, 2.0, 2.5, 3.0];
const DEVIATIONS: &[f64] = &[2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 8.0];

/// The rules. The first one is the default.
#[rustfmt::skip]
pub(crate) const VARIANTS: &[Variant] = &[
    Variant { name: "factor", threshold: 2.0, sweep: FACTORS, rule: factor, cohort: CohortSpec::Auto },
    Variant { name: "factor-whole", threshold: 2.0, sweep: FACTORS, rule: factor, cohort: CohortSpec::Whole },
    Variant { name: "quantile", threshold: 1.2, sweep: MARGINS, rule: quantile, cohort: CohortSpec::Auto },
    Variant { name: "quantile-whole", threshold: 1.2, sweep: MARGINS, rule: quantile, cohort: CohortSpec::Whole },
    Variant { name: "robust", threshold: 4.0, sweep: DEVIATIONS, rule: robust, cohort: CohortSpec::Auto },
    Variant { name: "robust-whole", threshold: 4.0, sweep: DEVIATIONS, rule: robust, cohort: CohortSpec::Whole },
];

/// More than so many times the mean; critical from half as much again, as by default.
fn factor(warning: f64) -> Arc<dyn Rule> {
    Arc::new(FactorOfMean { warning, critical: 1.5 * warning, ..FactorOfMean::default() })
}

/// More than so many times the 99th percentile.
fn quantile(warning: f64) -> Arc<dyn Rule> {
    Arc::new(Quantile { warning, critical: 1.5 * warning, ..Quantile::default() })
}

/// More than so many deviations of the logarithm above the median.
fn robust(warning: f64) -> Arc<dyn Rule> {
    Arc::new(Robust { warning, critical: 1.5 * warning, ..Robust::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rule_is_the_default_one() {
        let (first, default) = (&VARIANTS[0], StepPolicy::default());
        assert_eq!(format!("{:?}", (first.rule)(first.threshold)), format!("{:?}", default.rule));
        assert_eq!(first.cohort, default.cohort);
    }

    #[test]
    fn each_rule_is_swept_over_the_threshold_at_which_it_is_scored() {
        for variant in VARIANTS {
            assert!(variant.sweep.contains(&variant.threshold), "{}", variant.name);
            assert!(variant.sweep.is_sorted(), "{}", variant.name);
        }
    }
}
