//! Which workflows have had more step names than may have baselines.
//!
//! Noted by the writer when it leaves a name without a baseline, and not asked of the database: counting
//! the names of every workflow would cost more with each of them. Hence a process knows of those that it
//! met since it started, which for one that goes on to use such a name is at once.
//!
//! Invariant: a workflow is noted only after the transaction that left a name out has committed. None is
//! ever removed, because baselines are not.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use tracer_core::name::WorkflowName;

/// Most workflows that are noted: a name may take 800 bytes.
const MOST: usize = 10_000;

/// The workflows without room for another step name.
#[derive(Debug, Default)]
pub(crate) struct FullWorkflows(Mutex<HashSet<WorkflowName>>);

impl FullWorkflows {
    /// Returns whether a workflow is known to be without room. One that is not may be so all the same.
    pub(crate) fn contains(&self, workflow: &WorkflowName) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(workflow)
    }

    /// Notes workflows of which a committed transaction left a step name out.
    pub(crate) fn note(&self, workflows: impl IntoIterator<Item = WorkflowName>) {
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = MOST.saturating_sub(noted.len());
        noted.extend(workflows.into_iter().take(room));
    }

    /// Forgets all of them: the database is not what it was.
    pub(crate) fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Returns how many there are.
    pub(crate) fn count(&self) -> u64 {
        let noted = self.0.lock().unwrap_or_else(PoisonError::into_inner).len();
        u64::try_from(noted).unwrap_or(u64::MAX)
    }
}
