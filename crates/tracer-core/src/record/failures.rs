//! Notes failures, so that they are counted with their like.
//!
//! Invariant: called once for each step or execution that freshly fails, after its execution is in the working set.
//! Not here: what failures have in common (`similarity`).

use super::needs::sample_time;
use super::working_set::WorkingSet;
use crate::failure::Failure;
use crate::failures::NewFailure;
use crate::ids::{ExecutionId, StepId};
use crate::similarity::Tokens;
use crate::time::Timestamp;

/// What failed, and when.
pub(super) struct Failed<'a> {
    pub(super) execution: ExecutionId,
    /// The step; none if it is the execution itself.
    pub(super) step: Option<StepId>,
    /// Why, if that is known: what says nothing is like nothing.
    pub(super) failure: Option<&'a Failure>,
    pub(super) ended_at: Timestamp,
}

/// Notes a failure. Of an unknown execution nothing is noted.
pub(super) fn note_failure(set: &mut WorkingSet, failed: &Failed<'_>, now: Timestamp) {
    let (Some(failure), Some(head)) = (failed.failure, set.executions.get(&failed.execution)) else { return };
    let at = sample_time(failed.ended_at, now);
    let tokens = Tokens::of_failure(failure);
    let (workflow, recorded_at) = (&head.workflow, head.recorded_at);
    let noted = set.new_failures.entry((failed.execution, tokens.fingerprint())).or_insert_with(|| {
        let (kind, message) = NewFailure::sample(failure);
        NewFailure {
            tokens,
            kind,
            message,
            steps: 0,
            of_execution: false,
            step: None,
            workflow: workflow.clone(),
            recorded_at,
            seen: (at, at),
            noted_at: now,
        }
    });
    noted.seen = (noted.seen.0.min(at), noted.seen.1.max(at));
    noted.noted_at = noted.noted_at.max(now);
    match failed.step {
        None => noted.of_execution = true,
        Some(step) => {
            noted.steps += 1;
            noted.step = Some(step);
        }
    }
}
