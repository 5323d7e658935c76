//! Which incidents a batch must load: those that its findings may belong to, and those that it names.
//!
//! What a history's row does not mark as firing needs no look, so that the usual batch needs none.

use std::collections::BTreeSet;

use super::command::{Command, Request};
use super::needs::{cohort_of, key_in, samples};
use super::span_needs::judged_early;
use super::working_set::WorkingSet;
use crate::cohort::Cohort;
use crate::detect::Policy;
use crate::incident::{Cause, Fingerprint, IncidentId, IncidentKind};
use crate::name::{StepName, WorkflowName};

/// Incidents to load and lock, after baselines and sorted by id.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct IncidentNeeds {
    /// These.
    pub ids: BTreeSet<IncidentId>,
    /// The current ones of these causes.
    pub fingerprints: BTreeSet<Fingerprint>,
}

impl IncidentNeeds {
    /// Returns what these commands need, given what was loaded for them.
    #[must_use]
    pub fn of<'a>(
        policy: &Policy,
        requests: impl IntoIterator<Item = &'a Request>,
        set: &WorkingSet,
    ) -> Self {
        let mut needs = Self::default();
        for request in requests {
            needs.add(policy, request, set);
        }
        needs
    }

    /// Returns whether nothing is needed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty() && self.fingerprints.is_empty()
    }

    fn add(&mut self, policy: &Policy, request: &Request, set: &WorkingSet) {
        for sample in samples(policy, request, set) {
            self.marked(&sample.workflow, sample.step.as_ref(), sample.cohort, set);
        }
        if set.kept_answer(request).is_some() {
            return;
        }
        let of_execution = |id| set.executions.get(&id).and_then(|execution| execution.incident);
        let of_step = |key| set.steps.get(&key).and_then(|step| step.incident);
        match &request.command {
            Command::StartStep(start) => self.ids.extend(of_execution(start.execution)),
            Command::CompleteStep(complete) => {
                self.ids.extend(of_execution(complete.execution));
                self.ids.extend(of_step((complete.execution, complete.id)));
            }
            Command::RecordEvent(event) => self.ids.extend(of_execution(event.execution)),
            Command::EndExecution(end) => {
                self.ids.extend(of_execution(end.id));
                let running = set.closings.get(&end.id).into_iter().flat_map(|closing| &closing.running);
                self.ids.extend(running.filter_map(|step| step.incident));
            }
            Command::JudgeStep(judge) => {
                let key = (judge.execution, judge.id);
                self.ids.extend(of_step(key));
                if let (Some(execution), Some(step)) = (set.executions.get(&key.0), set.steps.get(&key)) {
                    let cohort = cohort_of(policy, execution, &step.name, &[&step.attributes]);
                    for cohort in [Some(Cohort::default()), cohort].into_iter().flatten() {
                        self.cause(IncidentKind::StuckStep, &execution.workflow, Some(&step.name), cohort);
                    }
                }
            }
            Command::JudgeExecution(judge) => {
                self.ids.extend(of_execution(judge.id));
                self.ids.extend(set.activities.get(&judge.id).and_then(|activity| activity.stuck));
                if let Some(execution) = set.executions.get(&judge.id) {
                    let kind = IncidentKind::StalledExecution;
                    self.cause(kind, &execution.workflow, None, Cohort::default());
                }
            }
            Command::Rebaseline(step) => self.marked(&step.workflow, Some(&step.step), None, set),
            Command::TendIncident(tend) => self.ids.extend([tend.id]),
            Command::ChangeIncident(change) => self.ids.extend([change.id]),
            Command::Signal(signal) => {
                self.fingerprints.insert(signal.cause.fingerprint());
            }
            Command::RecordSpans(record) => {
                for trace in &record.traces {
                    self.ids.extend(of_execution(trace.id));
                    self.ids.extend(trace.spans.iter().filter_map(|span| of_step((trace.id, span.id))));
                }
                for compared in judged_early(policy, record, set) {
                    self.marked(&compared.workflow, Some(&compared.step), compared.cohort, set);
                }
            }
            Command::SettleTrace(look) => {
                let waiting = set.waiting.get(&look.id).into_iter().flatten();
                self.ids.extend(waiting.filter_map(|step| step.incident));
            }
            Command::StartExecution(_) | Command::RecordExecution(_) => {}
        }
    }

    /// Needs what the histories of a step, or of a workflow, mark.
    fn marked(
        &mut self,
        workflow: &WorkflowName,
        step: Option<&StepName>,
        cohort: Option<Cohort>,
        set: &WorkingSet,
    ) {
        for cohort in [Some(Cohort::default()), cohort].into_iter().flatten() {
            let Some(history) = set.histories.get(&key_in(workflow, step, &cohort)) else { continue };
            for kind in IncidentKind::ALL.into_iter().filter(|kind| history.alarm.is_marked(*kind)) {
                self.cause(kind, workflow, step, cohort.clone());
            }
        }
    }

    fn cause(
        &mut self,
        kind: IncidentKind,
        workflow: &WorkflowName,
        step: Option<&StepName>,
        cohort: Cohort,
    ) {
        let cause = Cause { kind, workflow: workflow.clone(), step: step.cloned(), cohort };
        self.fingerprints.insert(cause.fingerprint());
    }
}
