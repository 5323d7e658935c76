//! What was found.

use serde::{Deserialize, Serialize};

use super::{AlertNote, FailureRate, SloBurn};
use crate::detect::{Bottleneck, Regression, Severity};
use crate::ids::{ExecutionId, StepId};

/// A finding, and where it was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// The execution; none where no single one shows it.
    pub execution: Option<ExecutionId>,
    /// The step; none where it is about the execution as a whole.
    pub step: Option<StepId>,
    /// What was found.
    pub finding: Finding,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    /// A step took, or takes, too long; or an execution is silent for too long.
    TooLong(Bottleneck),
    /// A step has become slower for good.
    Slower(Regression),
    /// Too many ends were failures.
    Failing(FailureRate),
    /// An error budget is used up too fast.
    Burning(SloBurn),
    /// Something outside says so.
    Alerted(AlertNote),
}

impl Finding {
    /// Returns how bad it is.
    #[must_use]
    pub const fn severity(&self) -> Severity {
        match self {
            Self::TooLong(verdict) => verdict.severity,
            Self::Slower(regression) => regression.severity,
            Self::Failing(rate) => rate.severity,
            Self::Burning(burn) => burn.severity,
            Self::Alerted(note) => note.severity,
        }
    }

    /// Returns by what factor it is worse than normal; 0 where it is compared with nothing.
    #[must_use]
    pub fn factor(&self) -> f64 {
        match self {
            Self::TooLong(verdict) => verdict.factor(),
            Self::Slower(regression) => regression.factor,
            Self::Failing(rate) => rate.factor(),
            Self::Burning(burn) => burn.factor(),
            Self::Alerted(_) => 0.0,
        }
    }

    /// Returns whether it is worse than another one of the same cause.
    #[must_use]
    pub fn is_worse_than(&self, other: &Self) -> bool {
        (self.severity(), self.factor()) > (other.severity(), other.factor())
    }
}
