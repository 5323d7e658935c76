//! Which workflows have had more step names, and which steps more cohorts, than may have baselines.
//!
//! Noted by the writer when it leaves one without a baseline, and not asked of the database: counting
//! the names of every workflow would cost more with each of them. Hence a process knows of those that it
//! met since it started, which for one that goes on to use such a name is at once.
//!
//! Invariant: one is noted only after the transaction that left something out has committed. None is
//! ever removed, because baselines are not.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use tracer_core::cohort::BaselineKey;
use tracer_core::limits;
use tracer_core::name::{StepName, WorkflowName};
use tracer_core::record::HistoryNeed;

/// Most that are noted: 16 bytes each.
const MOST: usize = 10_000;

/// What has room for so many baselines.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Room {
    /// A workflow, for step names.
    Workflow(WorkflowName),
    /// A step, for cohorts.
    Step(WorkflowName, StepName),
}

impl Room {
    /// Returns what a history takes a place of; nothing for that of a workflow, which always has one.
    pub(crate) fn of(need: &HistoryNeed) -> Option<Self> {
        let (workflow, step) = (need.workflow.clone(), need.step.clone()?);
        Some(if need.cohort.is_whole() { Self::Workflow(workflow) } else { Self::Step(workflow, step) })
    }

    /// Returns how many places it has.
    pub(crate) const fn places(&self) -> u64 {
        match self {
            Self::Workflow(_) => limits::STEP_NAMES_PER_WORKFLOW,
            Self::Step(..) => limits::COHORTS_PER_STEP,
        }
    }

    /// Returns the workflow that it is, or is in.
    pub(crate) const fn workflow(&self) -> &WorkflowName {
        match self {
            Self::Workflow(workflow) | Self::Step(workflow, _) => workflow,
        }
    }

    /// Returns the key that stands for it.
    fn key(&self) -> BaselineKey {
        match self {
            Self::Workflow(workflow) => BaselineKey::of_workflow(workflow),
            Self::Step(workflow, step) => BaselineKey::of_step(workflow, step, &Default::default()),
        }
    }
}

/// What is known to be without room.
#[derive(Debug, Default)]
pub(crate) struct Full(Mutex<Noted>);

#[derive(Debug, Default)]
struct Noted {
    keys: HashSet<BaselineKey>,
    workflows: u64,
}

impl Full {
    /// Returns whether something is known to be without room. What is not may be so all the same.
    pub(crate) fn contains(&self, room: &Room) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).keys.contains(&room.key())
    }

    /// Notes what a committed transaction left something out of.
    pub(crate) fn note(&self, full: impl IntoIterator<Item = Room>) {
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for room in full {
            if noted.keys.len() < MOST && noted.keys.insert(room.key()) {
                noted.workflows += u64::from(matches!(room, Room::Workflow(_)));
            }
        }
    }

    /// Forgets all of them: the database is not what it was.
    pub(crate) fn forget(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Noted::default();
    }

    /// Returns how many workflows there are among them.
    pub(crate) fn workflows(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).workflows
    }
}
