//! The one service behind every route that records: stamps, records, and tells of what is new.
//!
//! Invariant: an event is logged and counted exactly when its command was carried out for the first
//! time. A repetition, a replay under an `Idempotency-Key`, an import and seeded history are silent.
//! Not here: what a command means (`tracer_core::record`), HTTP (`http`), and what reads answer
//! (handlers ask [`Tracing::repository`] themselves).

mod report;

use std::sync::Arc;

use tracer_alert::Verdict;
use tracer_core::clock::Clock;
use tracer_core::detect::Policy;
use tracer_core::failure::Failure;
use tracer_core::ids::ExecutionId;
use tracer_core::incident::Incident;
use tracer_core::name::{StepName, WorkflowName};
use tracer_core::record::{
    Answer, ChangeIncident, Command, CompleteStep, EndExecution, EventRecorded, ExecutionEnded,
    ExecutionStarted, Idempotency, Outcome, Rebaseline, RecordEvent, RecordExecution, RecordSpans, Request,
    Signal, SpansRecorded, StartExecution, StartStep, StepEnded, StepStarted,
};
use tracer_core::repository::{Repository, RepositoryError};
use tracer_core::time::Timestamp;

use self::report::{Cause, Report};
use crate::export::ExportQueue;
use crate::export::queue::Item;
use crate::metrics::Metrics;

/// What a client is told of something recorded.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded<T> {
    /// What is stored.
    pub value: T,
    /// Whether this very request made it so; otherwise it was so before.
    pub fresh: bool,
}

/// A step that runs, or one that was recorded whole.
#[expect(clippy::large_enum_variant, reason = "one at a time, on its way into an answer")]
#[derive(Clone, Debug, PartialEq)]
pub enum StepRecorded {
    /// It runs.
    Started(StepStarted),
    /// It has ended.
    Ended(StepEnded),
}

/// What became of a finished execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Imported {
    /// Its id.
    pub id: ExecutionId,
    /// Whether it was recorded; false if it was known.
    pub is_new: bool,
    /// Whether this is no replay under an `Idempotency-Key`.
    pub fresh: bool,
}

/// When a request arrived, and what makes it safe to repeat.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// The time of all that the client gave no time for.
    pub at: Timestamp,
    /// The promise of its `Idempotency-Key`.
    pub idempotency: Option<Idempotency>,
}

impl Arrival {
    /// Returns the arrival of something that no `Idempotency-Key` came with.
    #[must_use]
    pub const fn plain(at: Timestamp) -> Self {
        Self { at, idempotency: None }
    }
}

/// Records what clients tell, over any store.
#[derive(Clone)]
pub struct Tracing {
    repository: Arc<dyn Repository>,
    clock: Arc<dyn Clock>,
    policy: Arc<Policy>,
    report: Report,
    exports: Option<ExportQueue>,
}

impl std::fmt::Debug for Tracing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tracing").field("store", &self.repository.kind()).finish_non_exhaustive()
    }
}

impl Tracing {
    /// Returns the service over a store, stamping by the store's clock.
    #[must_use]
    pub fn new(repository: Arc<dyn Repository>, policy: Arc<Policy>, metrics: Arc<Metrics>) -> Self {
        Self { clock: repository.clock(), repository, policy, report: Report::new(metrics), exports: None }
    }

    /// Has executions that end from now on exported.
    #[must_use]
    pub fn exporting(self, queue: ExportQueue) -> Self {
        Self { exports: Some(queue), ..self }
    }

    /// Returns the present by the clock that all replicas share.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Returns the store, for reading.
    #[must_use]
    pub fn repository(&self) -> &dyn Repository {
        &*self.repository
    }

    /// Returns what is judged by.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Starts an execution.
    ///
    /// # Errors
    /// [`RepositoryError`], as every function here.
    pub async fn start_execution(
        &self,
        start: StartExecution,
        arrival: Arrival,
    ) -> Result<Recorded<ExecutionStarted>, RepositoryError> {
        let answer = self.record(Command::StartExecution(start), arrival).await?;
        let Outcome::ExecutionStarted(value) = answer.outcome else {
            return Err(unexpected("start an execution"));
        };
        if answer.fresh {
            self.report.execution_started(&value);
        }
        Ok(Recorded { value, fresh: answer.fresh })
    }

    /// Starts a step, or records it whole.
    ///
    /// # Errors
    /// [`RepositoryError`].
    pub async fn start_step(
        &self,
        start: StartStep,
        arrival: Arrival,
    ) -> Result<Recorded<StepRecorded>, RepositoryError> {
        let cause = Cause::of(start.completion.as_ref().and_then(|end| end.failure.as_ref()));
        let Answer { outcome, fresh } = self.record(Command::StartStep(start), arrival).await?;
        let value = match outcome {
            Outcome::StepStarted(step) => StepRecorded::Started(step),
            Outcome::StepEnded(step) => StepRecorded::Ended(step),
            Outcome::ExecutionStarted(_)
            | Outcome::ExecutionEnded(_)
            | Outcome::ExecutionRecorded { .. }
            | Outcome::Rebaselined
            | Outcome::StepStuck(_)
            | Outcome::ExecutionStalled(_)
            | Outcome::SpansRecorded(_)
            | Outcome::TraceSettled(_)
            | Outcome::Incident(_)
            | Outcome::EventRecorded(_)
            | Outcome::NothingNew => return Err(unexpected("start a step")),
        };
        match &value {
            StepRecorded::Started(step) if fresh => self.report.step_started(step),
            StepRecorded::Ended(step) if fresh => self.report.step_ended(step, &cause),
            StepRecorded::Started(_) | StepRecorded::Ended(_) => {}
        }
        Ok(Recorded { value, fresh })
    }

    /// Ends a step and judges it against its history.
    ///
    /// # Errors
    /// [`RepositoryError`].
    pub async fn complete_step(
        &self,
        complete: CompleteStep,
        arrival: Arrival,
    ) -> Result<Recorded<StepEnded>, RepositoryError> {
        let cause = Cause::of(complete.completion.failure.as_ref());
        let Answer { outcome, fresh } = self.record(Command::CompleteStep(complete), arrival).await?;
        let Outcome::StepEnded(value) = outcome else { return Err(unexpected("complete a step")) };
        if fresh {
            self.report.step_ended(&value, &cause);
        }
        Ok(Recorded { value, fresh })
    }

    /// Ends an execution, and with it the steps still running.
    ///
    /// # Errors
    /// [`RepositoryError`].
    pub async fn end_execution(
        &self,
        end: EndExecution,
        arrival: Arrival,
    ) -> Result<Recorded<ExecutionEnded>, RepositoryError> {
        let cause = Cause::of(end.failure.as_ref());
        let ended = self.end(end, arrival).await?;
        if ended.fresh {
            self.report.execution_ended(&ended.value, ended.value.total.within_bounds().ok(), &cause);
            self.export(ended.value.id);
        }
        Ok(ended)
    }

    /// Tells of an execution that was closed because it fell silent. How long it was silent is no
    /// duration of its workflow, and is not counted as one.
    pub fn report_abandoned(&self, ended: &ExecutionEnded, failure: &Failure) {
        self.report.execution_ended(ended, None, &Cause::of(Some(failure)));
        self.export(ended.id);
    }

    /// Tells of a verdict on something that still runs.
    pub fn report_in_flight(&self, verdict: &Verdict) {
        self.report.in_flight(verdict);
    }

    /// Records a finished execution that another system observed, or that is to be history: silently, so its
    /// `alerts` must be false.
    /// It must have a step.
    ///
    /// # Errors
    /// [`RepositoryError`].
    pub async fn import(
        &self,
        execution: RecordExecution,
        arrival: Arrival,
    ) -> Result<Imported, RepositoryError> {
        let Answer { outcome, fresh } =
            self.record(Command::RecordExecution(Box::new(execution)), arrival).await?;
        let Outcome::ExecutionRecorded { execution, steps } = outcome else {
            return Err(unexpected("record an execution"));
        };
        // A replay under its key is told what the first request was told, steps and all; an execution that
        // was known by its id comes without them.
        let is_new = !steps.is_empty();
        Ok(Imported { id: execution.id, is_new, fresh })
    }

    /// Records a finished execution that happens now, with every event and count of a real one.
    ///
    /// # Errors
    /// [`RepositoryError`].
    pub async fn record_present(
        &self,
        execution: RecordExecution,
        arrival: Arrival,
    ) -> Result<Recorded<ExecutionEnded>, RepositoryError> {
        let Answer { outcome, fresh } =
            self.record(Command::RecordExecution(Box::new(execution)), arrival).await?;
        let Outcome::ExecutionRecorded { execution, steps } = outcome else {
            return Err(unexpected("record an execution"));
        };
        if fresh {
            self.report.execution_recorded(&execution, &steps);
            self.export(execution.id);
        }
        Ok(Recorded { value: execution, fresh })
    }

    /// Records the spans of one export: all of them, once it is durable. What is new of them is told of when their
    /// traces are settled.
    ///
    /// # Errors
    /// [`RepositoryError`].
    pub async fn record_spans(
        &self,
        spans: RecordSpans,
        arrival: Arrival,
    ) -> Result<Recorded<SpansRecorded>, RepositoryError> {
        let Answer { outcome, fresh } = self.record(Command::RecordSpans(Box::new(spans)), arrival).await?;
        let Outcome::SpansRecorded(value) = outcome else { return Err(unexpected("record spans")) };
        if fresh {
            value.started.iter().for_each(|execution| self.report.execution_started(execution));
            value.late.iter().for_each(|step| self.report.span_learnt(step));
        }
        Ok(Recorded { value, fresh })
    }

    /// Keeps what a client tells of an execution.
    ///
    /// # Errors
    /// [`RepositoryError`].
    pub async fn record_event(
        &self,
        event: RecordEvent,
        arrival: Arrival,
    ) -> Result<Recorded<EventRecorded>, RepositoryError> {
        let Answer { outcome, fresh } = self.record(Command::RecordEvent(Box::new(event)), arrival).await?;
        let Outcome::EventRecorded(value) = outcome else { return Err(unexpected("record an event")) };
        Ok(Recorded { value, fresh })
    }

    /// Makes the recent level of a step its reference.
    ///
    /// # Errors
    /// [`RepositoryError`].
    pub async fn rebaseline(
        &self,
        workflow: WorkflowName,
        step: StepName,
        arrival: Arrival,
    ) -> Result<(), RepositoryError> {
        let told = Rebaseline { workflow, step };
        let answer = self.record(Command::Rebaseline(told.clone()), arrival).await?;
        if answer.fresh {
            self.report.rebaselined(&told);
        }
        Ok(())
    }

    /// Changes an incident by hand, and returns it as it is then.
    ///
    /// # Errors
    /// [`RepositoryError`].
    pub async fn change_incident(
        &self,
        change: ChangeIncident,
        arrival: Arrival,
    ) -> Result<Incident, RepositoryError> {
        let Answer { outcome, fresh } = self.record(Command::ChangeIncident(change.clone()), arrival).await?;
        let Outcome::Incident(incident) = outcome else { return Err(unexpected("change an incident")) };
        if fresh {
            self.report.incident_changed(&incident, &change);
        }
        Ok(*incident)
    }

    /// Says how something is that is found outside of any single execution; returns the incident that it opened, worsened,
    /// reopened or ended.
    ///
    /// # Errors
    /// [`RepositoryError`].
    pub async fn signal(
        &self,
        signal: Signal,
        arrival: Arrival,
    ) -> Result<Option<Incident>, RepositoryError> {
        let Answer { outcome, fresh } = self.record(Command::Signal(Box::new(signal)), arrival).await?;
        let Outcome::Incident(incident) = outcome else { return Ok(None) };
        Ok(fresh.then_some(*incident))
    }

    fn export(&self, id: ExecutionId) {
        if let Some(queue) = &self.exports {
            queue.offer(Item::Execution(id));
        }
    }

    async fn end(
        &self,
        end: EndExecution,
        arrival: Arrival,
    ) -> Result<Recorded<ExecutionEnded>, RepositoryError> {
        let Answer { outcome, fresh } = self.record(Command::EndExecution(end), arrival).await?;
        let Outcome::ExecutionEnded(value) = outcome else { return Err(unexpected("end an execution")) };
        Ok(Recorded { value, fresh })
    }

    async fn record(&self, command: Command, arrival: Arrival) -> Result<Answer, RepositoryError> {
        let request = Request { command, idempotency: arrival.idempotency, received_at: arrival.at };
        self.repository.record(request).await
    }
}

/// An answer of another kind than its command: no client can cause it.
const fn unexpected(context: &'static str) -> RepositoryError {
    RepositoryError::Internal { context, source: None }
}
