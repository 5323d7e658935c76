//! What is a bottleneck: for all steps, and by pattern.
//!
//! Not here: what follows from it (`policy`).

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Deserialize;
use tracer_core::cohort::{CohortSpec, Dimension};
use tracer_core::detect::Confirmation;

use super::values;

/// The only entry of [`DetectionSettings::cohort`] that is not an attribute.
const AUTO: &str = "auto";

/// Which rule turns a history into limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RuleName {
    /// Multiples of the average.
    Factor,
    /// Multiples of the 99th percentile.
    Quantile,
    /// Deviations of the logarithm from its median.
    Robust,
}

/// What is a bottleneck, unless a pattern says otherwise.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DetectionSettings {
    /// The rule that judges.
    pub rule: RuleName,
    /// Multiple of the average above which a step is a WARNING; above 1.
    pub warning_factor: f64,
    /// Multiple of the average above which a step is CRITICAL; not below the other.
    pub critical_factor: f64,
    /// Multiple of the 99th percentile above which a step is a WARNING; at least 1.
    pub quantile_warning: f64,
    /// Multiple of the 99th percentile above which a step is CRITICAL; not below the other.
    pub quantile_critical: f64,
    /// Deviations above which a step is a WARNING; above 0.
    pub robust_warning: f64,
    /// Deviations above which a step is CRITICAL; not below the other.
    pub robust_critical: f64,
    /// Multiple of the median below which deviations count for nothing; at least 1.
    pub robust_least_factor: f64,
    /// Completed runs that a baseline needs before it judges; at least 1.
    pub min_samples: u64,
    /// Excess over the average that is never a bottleneck.
    #[serde(deserialize_with = "values::duration")]
    pub min_excess: Duration,
    /// What makes history comparable: attributes, `auto` alone, or nothing.
    pub cohort: Vec<String>,
    /// How many of the last how many runs must confirm a regression.
    pub confirm: [u8; 2],
    /// Least factor that is a regression; above 1.
    pub min_shift: f64,
    /// How often what runs is looked at, where it is due.
    #[serde(deserialize_with = "values::duration")]
    pub watch_interval: Duration,
}

/// What is a bottleneck in the workflows and steps that match.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DetectFor {
    /// Pattern of the workflow's name, with `*` and `?`.
    #[serde(default = "super::anything")]
    pub workflow: String,
    /// Pattern of the step's name.
    #[serde(default = "super::anything")]
    pub step: String,
    /// Replaces [`DetectionSettings::rule`].
    pub rule: Option<RuleName>,
    /// Replaces [`DetectionSettings::warning_factor`].
    pub warning_factor: Option<f64>,
    /// Replaces [`DetectionSettings::critical_factor`].
    pub critical_factor: Option<f64>,
    /// Replaces [`DetectionSettings::quantile_warning`].
    pub quantile_warning: Option<f64>,
    /// Replaces [`DetectionSettings::quantile_critical`].
    pub quantile_critical: Option<f64>,
    /// Replaces [`DetectionSettings::robust_warning`].
    pub robust_warning: Option<f64>,
    /// Replaces [`DetectionSettings::robust_critical`].
    pub robust_critical: Option<f64>,
    /// Replaces [`DetectionSettings::robust_least_factor`].
    pub robust_least_factor: Option<f64>,
    /// Replaces [`DetectionSettings::min_samples`].
    pub min_samples: Option<u64>,
    /// Replaces [`DetectionSettings::min_excess`].
    #[serde(default, deserialize_with = "values::optional_duration")]
    pub min_excess: Option<Duration>,
    /// Replaces [`DetectionSettings::cohort`].
    pub cohort: Option<Vec<String>>,
    /// Replaces [`DetectionSettings::confirm`].
    pub confirm: Option<[u8; 2]>,
    /// Replaces [`DetectionSettings::min_shift`].
    pub min_shift: Option<f64>,
    /// A running step that takes longer is stuck, whatever its history.
    #[serde(default, deserialize_with = "values::optional_duration")]
    pub timeout: Option<Duration>,
    /// A running execution that is silent for longer is stalled, whatever its history.
    #[serde(default, deserialize_with = "values::optional_duration")]
    pub stall_after: Option<Duration>,
    /// How long an execution may take before it is late.
    #[serde(default, deserialize_with = "values::optional_duration")]
    pub deadline: Option<Duration>,
}

impl DetectFor {
    /// Says what is wrong with what only an entry has, if anything is.
    ///
    /// # Errors
    /// The first fault.
    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        for (key, pattern) in [("workflow", &self.workflow), ("step", &self.step)] {
            if pattern.is_empty() {
                return Err((key, "must not be empty: no name is; * stands for any".into()));
            }
        }
        let times =
            [("timeout", self.timeout), ("stall_after", self.stall_after), ("deadline", self.deadline)];
        for (key, time) in times {
            if time.is_some_and(|time| time.is_zero()) {
                return Err((key, "must be longer than nothing".into()));
            }
        }
        Ok(())
    }

    /// Returns the general settings with those that this entry names in their place.
    #[must_use]
    pub fn over(&self, general: &DetectionSettings) -> DetectionSettings {
        DetectionSettings {
            rule: self.rule.unwrap_or(general.rule),
            warning_factor: self.warning_factor.unwrap_or(general.warning_factor),
            critical_factor: self.critical_factor.unwrap_or(general.critical_factor),
            quantile_warning: self.quantile_warning.unwrap_or(general.quantile_warning),
            quantile_critical: self.quantile_critical.unwrap_or(general.quantile_critical),
            robust_warning: self.robust_warning.unwrap_or(general.robust_warning),
            robust_critical: self.robust_critical.unwrap_or(general.robust_critical),
            robust_least_factor: self.robust_least_factor.unwrap_or(general.robust_least_factor),
            min_samples: self.min_samples.unwrap_or(general.min_samples),
            min_excess: self.min_excess.unwrap_or(general.min_excess),
            cohort: self.cohort.clone().unwrap_or_else(|| general.cohort.clone()),
            confirm: self.confirm.unwrap_or(general.confirm),
            min_shift: self.min_shift.unwrap_or(general.min_shift),
            watch_interval: general.watch_interval,
        }
    }
}

impl DetectionSettings {
    /// Returns what [`DetectionSettings::cohort`] means; none if it is not one of its three forms.
    #[must_use]
    pub fn cohort_spec(&self) -> Option<CohortSpec> {
        match self.cohort.as_slice() {
            [] => Some(CohortSpec::Whole),
            [only] if only == AUTO => Some(CohortSpec::Auto),
            named if named.len() > MOST_DIMENSIONS || named.iter().any(|name| name == AUTO) => None,
            named if named.iter().collect::<BTreeSet<_>>().len() < named.len() => None,
            named => {
                let dimensions = named.iter().map(|text| Dimension::parse(text)).collect::<Option<_>>();
                dimensions.map(CohortSpec::Given)
            }
        }
    }

    /// Returns what [`DetectionSettings::confirm`] means; none if it asks for more runs than there are.
    #[must_use]
    pub fn confirmation(&self) -> Option<Confirmation> {
        let [least, of] = self.confirm;
        let fits = least >= 1 && least <= of && of <= Confirmation::MOST;
        fits.then_some(Confirmation { least, of })
    }

    /// Says what is wrong, if anything is: the key, and what is expected.
    ///
    /// # Errors
    /// The first fault.
    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        let pairs = [
            ("warning_factor", self.warning_factor, "critical_factor", self.critical_factor, 1.0),
            ("quantile_warning", self.quantile_warning, "quantile_critical", self.quantile_critical, 0.999),
            ("robust_warning", self.robust_warning, "robust_critical", self.robust_critical, 0.0),
        ];
        for (warning, low, critical, high, above) in pairs {
            let fits = |value: f64| value.is_finite() && value > above && value <= 1e6;
            for (key, value) in [(warning, low), (critical, high)] {
                if !fits(value) {
                    return Err((key, format!("must be above {above}, at most a million")));
                }
            }
            if high < low {
                return Err((critical, format!("must not be below {warning}")));
            }
        }
        let factor = |value: f64| value.is_finite() && (1.0..=1e6).contains(&value);
        if !factor(self.robust_least_factor) {
            return Err(("robust_least_factor", "must be at least 1, at most a million".into()));
        }
        if !factor(self.min_shift) || self.min_shift <= 1.0 {
            return Err(("min_shift", "must be above 1, at most a million".into()));
        }
        if self.min_samples == 0 {
            return Err(("min_samples", "must be at least 1".into()));
        }
        if self.cohort_spec().is_none() {
            let expected = format!(
                "expected [\"auto\"], [], or up to {MOST_DIMENSIONS} different attributes such as \"version\" or \"log2(input_bytes)\""
            );
            return Err(("cohort", expected));
        }
        if self.confirmation().is_none() {
            let most = Confirmation::MOST;
            return Err(("confirm", format!("expected [k, n]: k of the last n runs, n at most {most}")));
        }
        Ok(())
    }
}

/// Most attributes that a cohort is made of.
const MOST_DIMENSIONS: usize = 8;
