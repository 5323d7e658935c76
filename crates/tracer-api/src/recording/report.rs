//! What the log and the metrics are told of an event.
//!
//! Invariant: no value that a client attached is in a line, only names, ids, times and verdicts.

use std::sync::Arc;

use tracer_alert::Verdict;
use tracer_core::detect::Regression;
use tracer_core::execution::ExecutionStatus;
use tracer_core::failure::Failure;
use tracer_core::incident::Incident;
use tracer_core::name::StepName;
use tracer_core::record::{
    ChangeIncident, ExecutionEnded, ExecutionStarted, IncidentChange, Rebaseline, StepEnded, StepStarted,
    TraceSettled,
};
use tracer_core::step::StepStatus;
use tracer_core::time::Micros;
use tracing::{info, warn};

use crate::metrics::{self, Metrics};

/// The type of an error that a client reported; its message may hold anything, so that it stays in the
/// store.
#[derive(Clone, Debug, Default)]
pub(super) struct Cause(Option<String>);

impl Cause {
    /// Returns the type of a failure, if there is one.
    pub(super) fn of(failure: Option<&Failure>) -> Self {
        Self(failure.and_then(|failure| failure.kind.clone()))
    }

    fn as_str(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

/// Writes events to the log and counts them.
#[derive(Clone, Debug)]
pub(super) struct Report {
    metrics: Arc<Metrics>,
}

impl Report {
    /// Returns one that counts in these metrics.
    pub(super) const fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics }
    }

    /// An execution has started.
    #[expect(clippy::unused_self, reason = "reads as the others do; starting is not counted")]
    pub(super) fn execution_started(&self, execution: &ExecutionStarted) {
        info!(
            event = "workflow_start",
            execution_id = %execution.id,
            workflow_name = %execution.workflow,
            status = "running",
            "execution started"
        );
    }

    /// A step has started.
    #[expect(clippy::unused_self, reason = "reads as the others do; starting is not counted")]
    pub(super) fn step_started(&self, step: &StepStarted) {
        info!(
            event = "step_start",
            execution_id = %step.execution,
            workflow_name = %step.workflow,
            step_id = %step.id,
            step_name = %step.name,
            status = "running",
            "step started"
        );
    }

    /// A step has ended.
    pub(super) fn step_ended(&self, step: &StepEnded, cause: &Cause) {
        let verdict = step.bottleneck.as_ref();
        self.count_step(step);
        info!(
            event = "step_complete",
            execution_id = %step.execution,
            workflow_name = %step.workflow,
            step_id = %step.id,
            step_name = %step.name,
            duration_ms = step.duration.as_millis(),
            status = step.status.as_str(),
            severity = verdict.map(|verdict| verdict.severity.as_str()),
            factor = verdict.map(|verdict| verdict.factor()),
            "step ended"
        );
        if let Some(regression) = &step.regression {
            self.regressed(step, regression);
        }
        if step.status == StepStatus::Failed {
            warn!(
                event = "error",
                execution_id = %step.execution,
                workflow_name = %step.workflow,
                step_id = %step.id,
                step_name = %step.name,
                duration_ms = step.duration.as_millis(),
                status = step.status.as_str(),
                error_type = cause.as_str(),
                "step failed"
            );
        }
    }

    fn count_step(&self, step: &StepEnded) {
        self.metrics.step_ended(&metrics::StepEnded {
            workflow: &step.workflow,
            step: &step.name,
            step_type: &step.step_type,
            status: step.status,
            // As in the baseline: what cannot be believed is no sample.
            duration: step.duration.within_bounds().ok(),
            severity: step.bottleneck.as_ref().map(|verdict| verdict.severity),
            compared_with: step.compared_with,
        });
    }

    /// A step has become slower for good. Which attribute changed with it is told by name; its value is
    /// the client's, and is in the answer.
    fn regressed(&self, step: &StepEnded, regression: &Regression) {
        self.metrics.regressed(&step.workflow, &step.name, regression.severity);
        warn!(
            event = "regression",
            execution_id = %step.execution,
            workflow_name = %step.workflow,
            step_id = %step.id,
            step_name = %step.name,
            severity = regression.severity.as_str(),
            factor = regression.factor,
            before_ms = regression.before.as_millis(),
            after_ms = regression.after.as_millis(),
            began_at = %regression.began_at,
            compared_by = regression.cohort.parts().keys().map(String::as_str).collect::<Vec<_>>().join(","),
            changed = regression.changed.as_ref().map(|(name, _)| name.as_str()),
            "step has become slower for good"
        );
    }

    /// An execution has ended; `duration` is what its workflow is known for, if it says anything.
    pub(super) fn execution_ended(
        &self,
        execution: &ExecutionEnded,
        duration: Option<Micros>,
        cause: &Cause,
    ) {
        self.metrics.execution_ended(&execution.workflow, execution.status, duration);
        info!(
            event = "workflow_complete",
            execution_id = %execution.id,
            workflow_name = %execution.workflow,
            duration_ms = execution.total.as_millis(),
            status = execution.status.as_str(),
            steps_completed = execution.steps_completed,
            bottlenecks = execution.bottlenecks.len(),
            "execution ended"
        );
        match execution.status {
            ExecutionStatus::Failed | ExecutionStatus::TimedOut => warn!(
                event = "error",
                execution_id = %execution.id,
                workflow_name = %execution.workflow,
                duration_ms = execution.total.as_millis(),
                status = execution.status.as_str(),
                error_type = cause.as_str(),
                "execution failed"
            ),
            ExecutionStatus::Running | ExecutionStatus::Completed | ExecutionStatus::Cancelled => {}
        }
    }

    /// Something that runs got a verdict, or a worse one.
    pub(super) fn in_flight(&self, verdict: &Verdict) {
        match verdict {
            Verdict::StepStuck(stuck) => {
                let found = &stuck.bottleneck;
                self.metrics.stuck(&stuck.workflow, &stuck.name, found.severity);
                warn!(
                    event = found.kind.as_str(),
                    execution_id = %stuck.execution,
                    workflow_name = %stuck.workflow,
                    step_id = %stuck.id,
                    step_name = %stuck.name,
                    duration_ms = found.duration.as_millis(),
                    severity = found.severity.as_str(),
                    historical_avg_ms = found.historical_avg.as_millis(),
                    factor = found.factor(),
                    "step is stuck"
                );
            }
            Verdict::TraceSettled(settled) => self.trace_settled(settled),
            Verdict::ExecutionStalled(stalled) => {
                let found = &stalled.bottleneck;
                self.metrics.stalled(&stalled.workflow, found.severity);
                warn!(
                    event = found.kind.as_str(),
                    execution_id = %stalled.id,
                    workflow_name = %stalled.workflow,
                    duration_ms = found.duration.as_millis(),
                    severity = found.severity.as_str(),
                    historical_avg_ms = found.historical_avg.as_millis(),
                    factor = found.factor(),
                    "nothing is heard of an execution"
                );
            }
        }
    }

    /// The steps of a trace were judged together. Each is counted; of those that are normal there is no line,
    /// because there may be tens of thousands in a second.
    pub(super) fn trace_settled(&self, settled: &TraceSettled) {
        settled.steps.iter().for_each(|step| self.span_learnt(step));
        if let Some(ended) = &settled.ended {
            // How long it was silent is no duration of its workflow.
            let total = (!settled.closed_by_silence).then(|| ended.total.within_bounds().ok()).flatten();
            self.execution_ended(ended, total, &Cause::default());
        }
    }

    /// A step that came as a span has entered its history.
    pub(super) fn span_learnt(&self, step: &StepEnded) {
        if step.bottleneck.is_some() || step.regression.is_some() || step.status == StepStatus::Failed {
            return self.step_ended(step, &Cause::default());
        }
        self.count_step(step);
    }

    /// An execution was recorded whole, as it happened.
    pub(super) fn execution_recorded(&self, execution: &ExecutionEnded, steps: &[StepEnded]) {
        self.execution_started(&ExecutionStarted {
            id: execution.id,
            workflow: execution.workflow.clone(),
            started_at: execution.started_at,
        });
        for step in steps {
            self.step_started(&StepStarted {
                id: step.id,
                execution: step.execution,
                workflow: step.workflow.clone(),
                name: step.name.clone(),
                step_type: step.step_type.clone(),
                started_at: step.started_at,
            });
            self.step_ended(step, &Cause::default());
        }
        self.execution_ended(execution, Some(execution.total), &Cause::default());
    }

    /// Somebody has said something of an incident; who, is their name and no secret.
    #[expect(clippy::unused_self, reason = "reads as the others do; it is not counted")]
    pub(super) fn incident_changed(&self, incident: &Incident, change: &ChangeIncident) {
        let (what, until) = match change.change {
            IncidentChange::Acknowledge => ("acknowledged", None),
            IncidentChange::Snooze(until) => ("snoozed", Some(until)),
            IncidentChange::Resolve => ("resolved", None),
        };
        info!(
            event = "incident",
            incident_id = %incident.id,
            kind = incident.cause.kind.as_str(),
            workflow_name = %incident.cause.workflow,
            step_name = incident.cause.step.as_ref().map(StepName::as_str),
            severity = incident.severity.as_str(),
            what,
            until = until.map(tracing::field::display),
            by = change.by.as_deref(),
            "incident changed by hand"
        );
    }

    /// A step has a new reference.
    #[expect(clippy::unused_self, reason = "reads as the others do; it is not counted")]
    pub(super) fn rebaselined(&self, step: &Rebaseline) {
        info!(
            event = "rebaseline",
            workflow_name = %step.workflow,
            step_name = %step.step,
            "the recent level is the reference from now on"
        );
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Mutex, PoisonError};

    use tracer_core::ids::{ExecutionId, StepId};
    use tracer_core::name::{StepType, WorkflowName};
    use tracer_core::time::Timestamp;

    use super::*;
    use crate::config::Settings;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_failed_step_is_two_lines_with_their_fields_and_nothing_that_a_client_attached() {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .json()
            .flatten_event(true)
            .without_time()
            .with_target(false)
            .with_writer(move || writer.clone())
            .finish();
        let report = Report::new(Arc::new(Metrics::install(&Settings::defaults().unwrap().metrics).unwrap()));
        let step = StepEnded {
            id: StepId::from_u64(1).unwrap(),
            execution: ExecutionId::from_u128(2).unwrap(),
            workflow: WorkflowName::new("log-lines").unwrap(),
            name: StepName::new("load").unwrap(),
            step_type: StepType::default(),
            status: StepStatus::Failed,
            started_at: Timestamp::from_millis(0),
            ended_at: Timestamp::from_millis(7),
            duration: Micros::from_millis(7),
            bottleneck: None,
            regression: None,
            compared_with: None,
        };
        let cause = Cause::of(Some(&Failure::new(Some("TimeoutError"), "hunter2", Some("hunter2"))));
        tracing::subscriber::with_default(subscriber, || report.step_ended(&step, &cause));
        let text = String::from_utf8(lines.0.lock().unwrap_or_else(PoisonError::into_inner).clone()).unwrap();
        insta::assert_snapshot!(text, @r#"
        {"level":"INFO","message":"step ended","event":"step_complete","execution_id":"wf_00000000000000000000000000000002","workflow_name":"log-lines","step_id":"st_0000000000000001","step_name":"load","duration_ms":7,"status":"failed"}
        {"level":"WARN","message":"step failed","event":"error","execution_id":"wf_00000000000000000000000000000002","workflow_name":"log-lines","step_id":"st_0000000000000001","step_name":"load","duration_ms":7,"status":"failed","error_type":"TimeoutError"}
        "#);
    }
}
