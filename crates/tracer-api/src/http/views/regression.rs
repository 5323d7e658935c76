//! A step that has become slower for good.

use std::collections::BTreeMap;

use serde::Serialize;
use tracer_core::detect::{Regression, Severity};
use utoipa::ToSchema;

use super::Time;

/// A lasting shift of a step's level upwards.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(title = "Regression")]
pub struct RegressionView {
    /// `CRITICAL` above three times the level before, else `WARNING`.
    #[schema(value_type = String, example = "WARNING")]
    pub severity: Severity,
    /// When the first run at the new level ended.
    pub began_at: Time,
    /// The level before: the geometric mean of its runs.
    #[schema(example = 420)]
    pub before_ms: u64,
    /// The level since: the median of the last runs.
    #[schema(example = 980)]
    pub after_ms: u64,
    /// New level over old one, two decimals.
    #[schema(example = 2.33)]
    pub factor: f64,
    /// Runs since it began, when it was certain.
    #[schema(example = 9)]
    pub samples: u64,
    /// What made the runs comparable; `null`: all of the step's runs.
    pub cohort: Option<BTreeMap<String, String>>,
    /// The attribute that took a new value when it began, and the value; `null` where nothing did.
    pub changed: Option<BTreeMap<String, String>>,
}

impl From<Regression> for RegressionView {
    fn from(regression: Regression) -> Self {
        Self {
            severity: regression.severity,
            began_at: Time(regression.began_at),
            before_ms: regression.before.as_millis(),
            after_ms: regression.after.as_millis(),
            factor: regression.factor,
            samples: regression.samples,
            cohort: (!regression.cohort.is_whole()).then(|| regression.cohort.parts().clone()),
            changed: regression.changed.map(|changed| BTreeMap::from([changed])),
        }
    }
}
