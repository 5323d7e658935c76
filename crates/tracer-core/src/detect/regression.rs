//! A step that has become slower for good.

use serde::{Deserialize, Serialize};

use super::Severity;
use crate::baseline::Shift;
use crate::cohort::Cohort;
use crate::time::{Micros, Timestamp};

/// Factor from which on a regression is CRITICAL: that of the default rule.
const CRITICAL: f64 = 3.0;

/// A lasting shift of a step's level upwards.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Regression {
    /// How bad.
    pub severity: Severity,
    /// When the first run at the new level ended.
    pub began_at: Timestamp,
    /// The level before: its geometric mean.
    pub before: Micros,
    /// The level since: the median of the last runs.
    pub after: Micros,
    /// New level over old one, two decimals.
    pub factor: f64,
    /// Runs since it began, when it was certain.
    pub samples: u64,
    /// What made the runs comparable; the whole history if empty.
    pub cohort: Cohort,
    /// The attribute that took a new value when it began, and the value, where there is one.
    pub changed: Option<(String, String)>,
}

impl Regression {
    /// Puts together what is known of a shift.
    #[must_use]
    pub fn new(shift: Shift, cohort: Cohort) -> Self {
        let factor = shift.factor();
        Self {
            severity: if factor > CRITICAL { Severity::Critical } else { Severity::Warning },
            began_at: shift.began_at,
            before: shift.before,
            after: shift.after,
            factor,
            samples: shift.samples,
            cohort,
            changed: shift.changed,
        }
    }
}
