//! What an incident is about.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::cohort::Cohort;
use crate::name::{StepName, WorkflowName};

/// Of what kind a cause is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IncidentKind {
    /// A step takes too long.
    SlowStep,
    /// A step runs, and has taken too long already.
    StuckStep,
    /// An execution runs, and nothing is heard of it.
    StalledExecution,
    /// A step has become slower for good.
    Regression,
    /// A step, or a workflow's executions, fail too often.
    FailureRate,
    /// The error budget of a service level objective is used up too fast. Its workflow is the objective's pattern.
    SloBurn,
    /// Something outside, such as a Prometheus' Alertmanager, says that something is wrong.
    Alert,
}

impl IncidentKind {
    /// Every kind, in their order.
    pub const ALL: [Self; 7] = [
        Self::SlowStep,
        Self::StuckStep,
        Self::StalledExecution,
        Self::Regression,
        Self::FailureRate,
        Self::SloBurn,
        Self::Alert,
    ];

    /// Returns the kind as it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SlowStep => "slow_step",
            Self::StuckStep => "stuck_step",
            Self::StalledExecution => "stalled_execution",
            Self::Regression => "regression",
            Self::FailureRate => "failure_rate",
            Self::SloBurn => "slo_burn",
            Self::Alert => "alert",
        }
    }

    /// Reads a kind as it is written.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// What an incident is about: two findings of the same cause belong together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Cause {
    /// Of what kind.
    pub kind: IncidentKind,
    /// The workflow.
    pub workflow: WorkflowName,
    /// The step; none where it is about executions as wholes.
    pub step: Option<StepName>,
    /// The cohort that a setting names. What a history explains by itself makes no causes of their own: there
    /// would be one for each size of input. Of what is signalled, the labels that identify it.
    pub cohort: Cohort,
}

impl Cause {
    /// Returns what identifies it.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        let mut hash = Sha256::new();
        let step = self.step.as_ref().map_or("", StepName::as_str);
        let parts = self.cohort.parts().iter().flat_map(|(key, value)| [key.as_str(), value.as_str()]);
        for part in [self.kind.as_str(), self.workflow.as_str(), step].into_iter().chain(parts) {
            // With lengths, so that no two lists of parts are the same bytes.
            hash.update(part.len().to_le_bytes());
            hash.update(part.as_bytes());
        }
        let mut bytes = [0; 16];
        bytes.copy_from_slice(hash.finalize().get(..16).unwrap_or(&[0; 16]));
        Fingerprint(bytes)
    }
}

/// Identifies a cause: the first 16 bytes of SHA-256 over kind, workflow, step and cohort.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 16]);

impl Fingerprint {
    /// Takes 16 stored bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Returns the 16 bytes.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
