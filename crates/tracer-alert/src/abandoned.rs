//! Closes executions that have fallen silent.
//!
//! A process that dies says no farewell: without this its executions would run for ever, and count
//! as active for ever.

use std::fmt;
use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream;
use tracer_core::clock::Clock;
use tracer_core::execution::ExecutionStatus;
use tracer_core::failure::Failure;
use tracer_core::ids::ExecutionId;
use tracer_core::record::{Command, EndExecution, ExecutionEnded, Outcome, Refusal, Request};
use tracer_core::repository::{Repository, RepositoryError};
use tracer_core::time::{Micros, Timestamp};

/// Executions closed in one go; what is left is found the next time.
const PORTION: usize = 1_000;
/// Executions closed at a time, so that they share commits and leave the queue to the clients.
const AT_A_TIME: usize = 32;

/// Closes executions without any activity as `timed_out`.
pub struct AbandonedExecutions {
    repository: Arc<dyn Repository>,
    clock: Arc<dyn Clock>,
    silence: Micros,
}

impl fmt::Debug for AbandonedExecutions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AbandonedExecutions").field("silence", &self.silence).finish_non_exhaustive()
    }
}

impl AbandonedExecutions {
    /// Returns a task that closes what has been silent for longer than `silence`.
    #[must_use]
    pub fn new(repository: Arc<dyn Repository>, silence: Micros) -> Self {
        Self { clock: repository.clock(), repository, silence }
    }

    /// Closes at most a thousand silent executions and tells `closed` of each that this very call
    /// ended.
    ///
    /// Two replicas that find the same execution close it once: the second is told that it has ended.
    ///
    /// # Errors
    /// The first [`RepositoryError`], after all were tried; what was closed stays closed.
    pub async fn close(&self, mut closed: impl FnMut(&ExecutionEnded)) -> Result<(), RepositoryError> {
        let now = self.clock.now();
        let silent = self.repository.silent_since(now - self.silence, PORTION).await?;
        let mut ends = stream::iter(silent).map(|id| self.end(id, now)).buffer_unordered(AT_A_TIME);
        let mut failed = Ok(());
        while let Some(end) = ends.next().await {
            match end {
                Ok(Some(ended)) => closed(&ended),
                Ok(None) => {}
                Err(error) => failed = failed.and(Err(error)),
            }
        }
        failed
    }

    async fn end(&self, id: ExecutionId, now: Timestamp) -> Result<Option<ExecutionEnded>, RepositoryError> {
        let end = EndExecution {
            id,
            status: ExecutionStatus::TimedOut,
            ended_at: None,
            failure: Some(self.failure()),
            output: None,
        };
        let request = Request { command: Command::EndExecution(end), idempotency: None, received_at: now };
        match self.repository.record(request).await {
            Ok(answer) if answer.fresh => match answer.outcome {
                Outcome::ExecutionEnded(ended) => Ok(Some(ended)),
                Outcome::ExecutionStarted(_)
                | Outcome::StepStarted(_)
                | Outcome::StepEnded(_)
                | Outcome::ExecutionRecorded { .. }
                | Outcome::Rebaselined
                | Outcome::StepStuck(_)
                | Outcome::ExecutionStalled(_)
                | Outcome::Incident(_)
                | Outcome::SpansRecorded(_)
                | Outcome::TraceSettled(_)
                | Outcome::EventRecorded(_)
                | Outcome::NothingNew => Ok(None),
            },
            // Somebody else ended it in the meantime, which is just as well.
            Ok(_)
            | Err(RepositoryError::Refused(Refusal::ExecutionHasEnded(_) | Refusal::UnknownExecution)) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Returns what is stored as the reason.
    #[must_use]
    pub fn failure(&self) -> Failure {
        let days = self.silence.as_secs_f64() / 86_400.0;
        let message = format!("No activity was recorded for {days:.1} days, so the execution was closed.");
        Failure::new(Some("abandoned"), &message, None)
    }
}
