//! Groups of failures: what stores keep of them and can be asked.
//!
//! Failures with the same tokens ([`crate::similarity`]) are one group, however many there are. A group says how often
//! it was seen, when and where; of each execution is known which groups its failures belong to.
//!
//! Invariant: a failure is counted once, in the transaction that records it; an execution that fails with the very
//! failure of one of its steps says the same thing twice, and is not counted beside the step.
//! Not here: what is noted when (`record`).

use std::collections::BTreeMap;

use async_trait::async_trait;

use crate::failure::Failure;
use crate::ids::{ExecutionId, StepId};
use crate::limits;
use crate::name::WorkflowName;
use crate::record::WorkingSet;
use crate::repository::RepositoryError;
use crate::similarity::{FailureId, Search, Tokens};
use crate::time::Timestamp;

/// Where and when a failure was seen last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// When it ended what it was a failure of.
    pub at: Timestamp,
    /// The execution.
    pub execution: ExecutionId,
    /// The step; none where the execution itself failed.
    pub step: Option<StepId>,
    /// The workflow.
    pub workflow: WorkflowName,
}

/// Failures that say the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailureGroup {
    /// What identifies it.
    pub id: FailureId,
    /// The error's type, where it was given; of the first one.
    pub kind: Option<String>,
    /// The message of the first one, cut to [`limits::FAILURE_SAMPLE_BYTES`].
    pub message: String,
    /// How many there were.
    pub count: u64,
    /// When the earliest one was seen.
    pub first_seen_at: Timestamp,
    /// The latest one.
    pub last_seen: Seen,
}

/// Which groups to list. All conditions must hold; none means all groups.
#[derive(Clone, Debug, Default)]
pub struct GroupFilter {
    /// Seen in this workflow: then the count, the times and the latest one are those of the workflow.
    pub workflow: Option<WorkflowName>,
    /// Seen at or after.
    pub since: Option<Timestamp>,
}

/// Where a listing of groups, last seen first, goes on: behind this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupCursor {
    /// When it was last seen.
    pub last_seen_at: Timestamp,
    /// What identifies it, which decides between equal times.
    pub id: FailureId,
}

/// A group that is similar to what was asked about.
#[derive(Clone, Debug, PartialEq)]
pub struct SimilarGroup {
    /// Jaccard similarity of the tokens: 1 for the same ones.
    pub similarity: f64,
    /// The group.
    pub group: FailureGroup,
}

/// A group that failures of one execution belong to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnFailure {
    /// The group, with all that belongs to it.
    pub group: FailureGroup,
    /// Its tokens.
    pub tokens: Tokens,
    /// How many of it are the execution's.
    pub times: u64,
    /// Whether the execution itself failed so, and not only a step.
    pub of_execution: bool,
    /// The step that failed so last; none where only the execution did.
    pub step: Option<StepId>,
}

/// Finds failures. They are noted by commands only (`record`).
#[async_trait]
pub trait FailureRepository: Send + Sync {
    /// Returns at most `limit` groups, last seen first. A group that is seen again while pages are turned moves to the
    /// front.
    async fn failure_groups(
        &self,
        filter: &GroupFilter,
        after: Option<GroupCursor>,
        limit: usize,
    ) -> Result<Vec<FailureGroup>, RepositoryError>;

    /// Returns a group; none if no failure was like that.
    async fn failure_group(&self, id: FailureId) -> Result<Option<FailureGroup>, RepositoryError>;

    /// Returns at most `limit` of all groups that are similar enough, the most similar first, among equals the most
    /// frequent, then the smallest id. Exact: none is missed.
    async fn similar_failures(
        &self,
        search: &Search,
        limit: usize,
    ) -> Result<Vec<SimilarGroup>, RepositoryError>;

    /// Returns which groups have all of these tokens, sorted.
    async fn failures_with(&self, tokens: &Tokens) -> Result<Vec<FailureId>, RepositoryError>;

    /// Returns the groups that failures of an execution belong to: its own first, then those of most failures; at most
    /// [`limits::FAILURES_PER_EXECUTION`].
    async fn failures_of(&self, id: ExecutionId) -> Result<Vec<OwnFailure>, RepositoryError>;
}

/// Puts what was found similar in order, and returns the best.
#[must_use]
pub fn best<G>(
    mut found: Vec<(f64, G)>,
    limit: usize,
    count_and_id: impl Fn(&G) -> (u64, FailureId),
) -> Vec<(f64, G)> {
    found.sort_by(|(one, this), (other, that)| {
        let ((these, this), (those, that)) = (count_and_id(this), count_and_id(that));
        other.total_cmp(one).then(those.cmp(&these)).then(this.cmp(&that))
    });
    found.truncate(limit);
    found
}

/// Failures of one execution and one group, which a batch counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewFailure {
    /// What they are told by.
    pub tokens: Tokens,
    /// The type of the first one.
    pub kind: Option<String>,
    /// The message of the first one, cut.
    pub message: String,
    /// How many steps failed so.
    pub steps: u64,
    /// Whether the execution itself did: it counts only where none of its steps did, in this batch or before.
    pub of_execution: bool,
    /// The step that failed so last.
    pub step: Option<StepId>,
    /// The workflow.
    pub workflow: WorkflowName,
    /// The execution's `recorded_at`, which says where its rows are.
    pub recorded_at: Timestamp,
    /// When the earliest and the latest one were seen.
    pub seen: (Timestamp, Timestamp),
    /// When they were recorded.
    pub noted_at: Timestamp,
}

impl NewFailure {
    /// Returns how many to count, where the execution had none of the group before, and where it had.
    #[must_use]
    pub fn times(&self, is_first: bool) -> u64 {
        if is_first { self.steps.max(u64::from(self.of_execution)) } else { self.steps }
    }

    /// Cuts a failure to what is kept of it with its group.
    #[must_use]
    pub fn sample(failure: &Failure) -> (Option<String>, String) {
        let end = failure.message.floor_char_boundary(limits::FAILURE_SAMPLE_BYTES);
        let (kept, _) = failure.message.split_at(end);
        (failure.kind.clone(), kept.to_owned())
    }
}

/// Returns the failures of a batch by group, in the order of their ids: the order in which rows are written that batches
/// share.
#[must_use]
pub fn by_group(set: &WorkingSet) -> BTreeMap<FailureId, Vec<(ExecutionId, &NewFailure)>> {
    let mut groups: BTreeMap<FailureId, Vec<(ExecutionId, &NewFailure)>> = BTreeMap::new();
    for ((execution, id), failure) in &set.new_failures {
        groups.entry(*id).or_default().push((*execution, failure));
    }
    groups
}
