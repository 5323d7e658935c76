//! What children were answered, and whether a store has it.

use std::collections::BTreeMap;

use tracer_core::ids::{ExecutionId, StepId};
use tracer_core::repository::{ExecutionCursor, ExecutionFilter, Repository};
use tracer_core::step::{Step, StepStatus};

use super::child::MARK;

/// Everything that was acknowledged, over all rounds.
#[derive(Default)]
pub(super) struct Ledger {
    executions: BTreeMap<ExecutionId, AcknowledgedExecution>,
}

#[derive(Default)]
struct AcknowledgedExecution {
    workflow: String,
    closed: bool,
    /// By step: the status it was acknowledged to have ended in.
    steps: BTreeMap<StepId, Option<String>>,
}

impl Ledger {
    /// Notes a line of a child's output; returns whether it told of an answer.
    pub(super) fn note(&mut self, line: &str) -> bool {
        let Some(told) = line.strip_prefix(MARK) else { return false };
        let (what, rest) = told.trim().split_once(' ').expect("what was acknowledged");
        let (id, rest) = rest.split_once(' ').expect("an id and more");
        let execution = self.executions.entry(id.parse().expect("an execution's id")).or_default();
        let step = |text: &str| text.parse::<StepId>().expect("a step's id");
        match what {
            "execution" => execution.workflow = rest.into(),
            "started" => drop(execution.steps.insert(step(rest), None)),
            "ended" => {
                let (id, status) = rest.split_once(' ').expect("a status");
                execution.steps.insert(step(id), Some(status.into()));
            }
            "closed" => execution.closed = true,
            other => panic!("{other}?"),
        }
        true
    }

    /// Compares what was acknowledged with what a store has, and what it has with what it counted.
    pub(super) async fn compare(&self, store: &dyn Repository) {
        for (id, acknowledged) in &self.executions {
            acknowledged.compare(*id, store).await;
        }
        let stored = stored_executions(store).await;
        assert!(stored.len() >= self.executions.len());
        let mut counts: BTreeMap<(String, String), [u64; 2]> = BTreeMap::new();
        let mut ended: BTreeMap<String, u64> = BTreeMap::new();
        for (id, workflow, has_ended) in stored {
            *ended.entry(workflow.clone()).or_default() += u64::from(has_ended);
            for step in store.steps(id, None, 1_000).await.expect("steps") {
                let [completed, failed] =
                    counts.entry((workflow.clone(), step.name.to_string())).or_default();
                *completed += u64::from(step.status == StepStatus::Completed);
                *failed += u64::from(step.status == StepStatus::Failed);
                assert!(!has_ended || step.status != StepStatus::Running, "{id} ended half");
            }
        }
        for (workflow, ended) in ended {
            let name = tracer_core::name::WorkflowName::new(&workflow).expect("a name");
            let known = store.workflow_history(&name).await.expect("an answer").expect("known");
            assert_eq!(known.executions.measured().endings.total(), ended, "executions of {workflow}");
            for (step, baseline) in known.steps {
                let endings = baseline.measured().endings;
                let stored = counts.remove(&(workflow.clone(), step.to_string()));
                assert_eq!(Some([endings.completed, endings.failed]), stored, "{step} of {workflow}");
            }
        }
        counts.retain(|_, counted| *counted != [0, 0]);
        assert!(counts.is_empty(), "stored and not counted: {counts:?}");
    }
}

impl AcknowledgedExecution {
    async fn compare(&self, id: ExecutionId, store: &dyn Repository) {
        let found = store.execution(id).await.expect("an answer").unwrap_or_else(|| panic!("{id} is lost"));
        assert_eq!(found.workflow.as_str(), self.workflow);
        assert!(!self.closed || found.status.as_str() == "completed", "the end of {id} is lost");
        let stored = store.steps(id, None, 1_000).await.expect("an answer");
        let stored: BTreeMap<StepId, &Step> = stored.iter().map(|step| (step.id, step)).collect();
        for (step, status) in &self.steps {
            let found = stored.get(step).unwrap_or_else(|| panic!("step {step} of {id} is lost"));
            if let Some(status) = status {
                assert_eq!(found.status.as_str(), status, "the end of {step} of {id} is lost");
            }
        }
    }
}

/// Returns every execution that a store has, with its workflow and whether it has ended.
async fn stored_executions(store: &dyn Repository) -> Vec<(ExecutionId, String, bool)> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = store.executions(&ExecutionFilter::default(), after, 500).await.expect("a page");
        let Some(last) = page.last() else { return all };
        after = Some(ExecutionCursor { started_at: last.started_at, id: last.id });
        all.extend(
            page.into_iter().map(|found| (found.id, found.workflow.to_string(), found.ended_at.is_some())),
        );
    }
}
