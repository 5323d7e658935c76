//! Closes executions that have fallen silent.
//!
//! A process that dies says no farewell: without this its executions would run for ever, and count
//! as active for ever.

use std::sync::Arc;

use tracer_core::clock::Clock;
use tracer_core::execution::ExecutionStatus;
use tracer_core::failure::Failure;
use tracer_core::record::{Command, EndExecution, ExecutionEnded, Outcome, Refusal, Request};
use tracer_core::repository::{Repository, RepositoryError};
use tracer_core::time::Micros;

/// Executions closed in one go; what is left is found the next time.
const PORTION: usize = 500;

/// Closes executions without any activity as `timed_out`.
pub struct AbandonedExecutions {
    repository: Arc<dyn Repository>,
    clock: Arc<dyn Clock>,
    silence: Micros,
}

impl AbandonedExecutions {
    /// Returns a task that closes what has been silent for longer than `silence`.
    #[must_use]
    pub fn new(repository: Arc<dyn Repository>, clock: Arc<dyn Clock>, silence: Micros) -> Self {
        Self { repository, clock, silence }
    }

    /// Closes at most a few hundred silent executions and returns those that this very call ended.
    ///
    /// Two replicas that find the same execution close it once: the second is told that it has ended.
    ///
    /// # Errors
    /// [`RepositoryError`] if the store is away; what was closed before stays closed.
    pub async fn close(&self) -> Result<Vec<ExecutionEnded>, RepositoryError> {
        let now = self.clock.now();
        let silent = self.repository.silent_since(now - self.silence, PORTION).await?;
        let mut closed = Vec::new();
        for id in silent {
            let end = EndExecution {
                id,
                status: ExecutionStatus::TimedOut,
                ended_at: None,
                failure: Some(Failure::new(Some("abandoned"), &self.message(), None)),
                output: None,
            };
            let request =
                Request { command: Command::EndExecution(end), idempotency: None, received_at: now };
            match self.repository.record(request).await {
                Ok(answer) if answer.fresh => {
                    if let Outcome::ExecutionEnded(ended) = answer.outcome {
                        closed.push(ended);
                    }
                }
                // Somebody else ended it in the meantime, which is just as well.
                Ok(_)
                | Err(RepositoryError::Refused(Refusal::ExecutionHasEnded(_) | Refusal::UnknownExecution)) => {
                }
                Err(error) => return Err(error),
            }
        }
        Ok(closed)
    }

    fn message(&self) -> String {
        let days = self.silence.as_secs_f64() / 86_400.0;
        format!("No activity was recorded for {days:.1} days, so the execution was closed.")
    }
}
