//! What runs, as far as this service has seen it: enough to foresee which baselines a batch needs, so that they are
//! asked for together with the rest, and a round trip is saved.
//!
//! Invariant: only what never changes is relied on (which workflow an execution runs, what a step is called, when they
//! started), and only until the batch has loaded the rows themselves. What is not here costs a round trip, nothing else.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use tracer_core::attributes::Attributes;
use tracer_core::detect::Policy;
use tracer_core::execution::ExecutionStatus;
use tracer_core::features::Features;
use tracer_core::ids::ExecutionId;
use tracer_core::record::{Command, ExecutionHead, HistoryNeeds, ParentStep, Request, StepKey, WorkingSet};
use tracer_core::step::{Step, StepStatus};

/// Most executions, and most steps, that are remembered: some megabytes.
const REMEMBERED: usize = 10_000;

/// Executions and steps that run.
#[derive(Debug, Default)]
pub(super) struct Running(Mutex<Remembered>);

#[derive(Debug, Default)]
struct Remembered {
    executions: HashMap<ExecutionId, ExecutionHead>,
    steps: HashMap<StepKey, Step>,
}

impl Running {
    /// Returns the baselines that the commands will need, or more than those; none if something that they name is
    /// unknown.
    pub(super) fn foresee(&self, policy: &Policy, requests: &[Request]) -> Option<HistoryNeeds> {
        let mut set = WorkingSet::default();
        let remembered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for request in requests {
            remembered.recall(&request.command, &mut set)?;
        }
        drop(remembered);
        Some(HistoryNeeds::of(policy, requests, &set))
    }

    /// Learns what a batch has committed.
    pub(super) fn learn(&self, policy: &Policy, set: &WorkingSet) {
        // What is attached may be large, and says nothing of the baseline unless a setting names it.
        let has_cohorts = policy.has_cohorts();
        let mut remembered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Remembered { executions, steps } = &mut *remembered;
        for (id, head) in &set.executions {
            match head.status {
                // What it is remembered for does not change.
                ExecutionStatus::Running if executions.contains_key(id) => None,
                ExecutionStatus::Running => {
                    make_room(executions).insert(*id, remembered_head(head, has_cohorts))
                }
                ExecutionStatus::Completed
                | ExecutionStatus::Failed
                | ExecutionStatus::Cancelled
                | ExecutionStatus::TimedOut => executions.remove(id),
            };
        }
        for (key, step) in &set.steps {
            if step.status == StepStatus::Running {
                make_room(steps).insert(*key, remembered_step(step, has_cohorts));
            } else {
                steps.remove(key);
            }
        }
    }

    /// Forgets everything.
    pub(super) fn forget(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Remembered::default();
    }
}

impl Remembered {
    /// Fills in what a command names; none if something is unknown.
    fn recall(&self, command: &Command, set: &mut WorkingSet) -> Option<()> {
        let (executions, step) = match command {
            Command::StartExecution(start) => (start.parent, None),
            Command::RecordExecution(record) => (record.start.parent, None),
            Command::StartStep(start) => match start.parent {
                Some(ParentStep::Named(parent)) => (Some(start.execution), Some((start.execution, parent))),
                Some(ParentStep::Traced(_)) | None => (Some(start.execution), None),
            },
            Command::CompleteStep(complete) => {
                (Some(complete.execution), Some((complete.execution, complete.id)))
            }
            Command::EndExecution(end) => (Some(end.id), None),
            Command::JudgeStep(judge) => (Some(judge.execution), Some((judge.execution, judge.id))),
            Command::JudgeExecution(judge) => (Some(judge.id), None),
            // Names may change by spans, and traces are seen once or twice: they are not foreseen.
            Command::RecordSpans(_) | Command::SettleTrace(_) => return None,
            Command::Rebaseline(_)
            | Command::TendIncident(_)
            | Command::ChangeIncident(_)
            | Command::Signal(_)
            | Command::RecordEvent(_) => (None, None),
        };
        if let Some(id) = executions {
            set.executions.insert(id, self.executions.get(&id)?.clone());
        }
        if let Some(key) = step {
            set.steps.insert(key, self.steps.get(&key)?.clone());
        }
        Some(())
    }
}

fn remembered_head(head: &ExecutionHead, has_cohorts: bool) -> ExecutionHead {
    let features = if has_cohorts { head.features.clone() } else { Features::default() };
    ExecutionHead { workflow: head.workflow.clone(), features, stalled: None, trace: None, ..*head }
}

fn remembered_step(step: &Step, has_cohorts: bool) -> Step {
    let attributes = if has_cohorts { step.attributes.clone() } else { Attributes::default() };
    Step {
        name: step.name.clone(),
        step_type: step.step_type.clone(),
        attributes,
        failure: None,
        bottleneck: None,
        span: None,
        ..*step
    }
}

/// What runs for long is learned again when it is next seen.
fn make_room<K, V>(map: &mut HashMap<K, V>) -> &mut HashMap<K, V> {
    if map.len() >= REMEMBERED {
        map.clear();
    }
    map
}
