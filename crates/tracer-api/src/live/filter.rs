//! Which changes a listener wants.

use std::hash::{DefaultHasher, Hash, Hasher};

use tracer_core::ids::ExecutionId;
use tracer_core::live::{Change, ChangeKind};
use tracer_core::name::WorkflowName;

use super::{MOST_VALUES, kinds};
use crate::error::ApiError;
use crate::http::query::Pairs;

/// What a change is compared by, small enough to go through many quickly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    workflow: u64,
    execution: Option<ExecutionId>,
    kind: u16,
}

impl Mark {
    /// Returns the mark of a change.
    pub(super) fn of(change: &Change) -> Self {
        Self { workflow: hash(&change.workflow), execution: change.execution, kind: bit(change.what.kind()) }
    }
}

/// Which changes a listener wants: of any of these workflows, of any of these executions, of any of these kinds.
/// Naming none asks for all.
#[derive(Clone, Debug, Default)]
pub(super) struct Filter {
    workflows: Vec<(u64, WorkflowName)>,
    executions: Vec<ExecutionId>,
    kinds: u16,
}

impl Filter {
    /// Reads the filters of a query.
    ///
    /// # Errors
    /// 400 on what is no name, id or kind, and on too many of them.
    pub(super) fn from_pairs(pairs: &Pairs<'_>) -> Result<Self, ApiError> {
        let wrong = |name: &str, what: &str| {
            ApiError::bad_request(format!("The query parameter '{name}' must be {what}."))
        };
        let mut filter = Self::default();
        for name in pairs.all("workflow_name") {
            let name = WorkflowName::new(name)
                .map_err(|_| wrong("workflow_name", "a name of 1 to 200 characters"))?;
            filter.workflows.push((hash(&name), name));
        }
        for id in pairs.all("workflow_id").flat_map(|list| list.split(',')) {
            let id = id.trim().parse().map_err(|_| wrong("workflow_id", "the id of an execution"))?;
            filter.executions.push(id);
        }
        for kind in pairs.all("kind").flat_map(|list| list.split(',')) {
            let kind = ChangeKind::parse(kind.trim()).ok_or_else(|| wrong("kind", &kinds()))?;
            filter.kinds |= bit(kind);
        }
        if filter.workflows.len() > MOST_VALUES || filter.executions.len() > MOST_VALUES {
            return Err(ApiError::bad_request(
                "The query must not list more than 100 workflows or executions.",
            ));
        }
        Ok(filter)
    }

    /// Returns whether a change is wanted; its workflow is asked for only where the mark is not enough.
    pub(super) fn wants(&self, mark: &Mark, workflow: &WorkflowName) -> bool {
        let is_kind = self.kinds == 0 || self.kinds & mark.kind != 0;
        let is_listed = |id: ExecutionId| self.executions.contains(&id);
        let is_execution = || self.executions.is_empty() || mark.execution.is_some_and(is_listed);
        let is_workflow = || {
            let same = |(hash, name): &(u64, WorkflowName)| *hash == mark.workflow && name == workflow;
            self.workflows.is_empty() || self.workflows.iter().any(same)
        };
        is_kind && is_execution() && is_workflow()
    }
}

const fn bit(kind: ChangeKind) -> u16 {
    1 << kind as u16
}

fn hash(name: &WorkflowName) -> u64 {
    let mut hasher = DefaultHasher::new();
    name.as_str().hash(&mut hasher);
    hasher.finish()
}
