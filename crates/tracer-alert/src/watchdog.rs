//! Looks at steps and executions that run, at incidents, and at traces that are to be settled, when they are due.
//!
//! What is due was foreseen when it started (`judge_at`); what is said of it is decided in the store's
//! transaction, by the history it has then. So replicas may all look at the same time: of two that find
//! the same row, one is told of the verdict, and the other that there is nothing new.
//!
//! Invariant: at most so many looks wait in the writer's queue at once as were allowed, so that clients
//! find room however much is due.
//! Not here: what a look means (`tracer_core::record`), and what becomes of a verdict (the caller).

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream;
use tracer_core::clock::Clock;
use tracer_core::record::{
    Command, ExecutionStalled, JudgeExecution, JudgeStep, Outcome, Refusal, Request, SettleTrace, StepStuck,
    TraceSettled,
};
use tracer_core::repository::{Due, Repository, RepositoryError};
use tracer_core::time::{Micros, Timestamp};

/// Steps, executions, incidents and traces, of each so many, looked at before it is asked again what is due.
const PORTION: usize = 1_000;

/// What looking has brought about: above all a verdict that was not there before.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// A step has taken too long already.
    StepStuck(StepStuck),
    /// Nothing has been heard of an execution for too long.
    ExecutionStalled(ExecutionStalled),
    /// The steps of a trace were judged, and have entered their histories.
    TraceSettled(Box<TraceSettled>),
}

/// What a round of looking found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// Steps, executions, incidents and traces looked at.
    pub looked_at: usize,
    /// How long the longest overdue had been due when the round began.
    pub lag: Micros,
    /// How long it took to find what is due, the first time it was asked.
    pub query: Duration,
}

/// Looks at what runs and is due.
pub struct Watchdog {
    repository: Arc<dyn Repository>,
    clock: Arc<dyn Clock>,
    at_a_time: usize,
}

impl fmt::Debug for Watchdog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watchdog").field("at_a_time", &self.at_a_time).finish_non_exhaustive()
    }
}

impl Watchdog {
    /// Returns a task that looks at `at_a_time` things at once, at least at one.
    #[must_use]
    pub fn new(repository: Arc<dyn Repository>, at_a_time: usize) -> Self {
        Self { clock: repository.clock(), repository, at_a_time: at_a_time.max(1) }
    }

    /// Looks at all that is due, the longest overdue first, and tells `report` of each verdict that this
    /// very call brought about.
    ///
    /// Steps come before executions: what a step is still waited for is no silence. Incidents come last: what
    /// was just found is no reason to end one. Traces are settled after that.
    ///
    /// # Errors
    /// The first [`RepositoryError`], after all of its portion were tried; what was said stays said, and
    /// was reported.
    pub async fn look(&self, mut report: impl FnMut(&Verdict)) -> Result<Round, RepositoryError> {
        let mut round = Round::default();
        loop {
            let (now, asked) = (self.clock.now(), Instant::now());
            let Due { steps, executions, incidents, traces, since } =
                self.repository.due(now, PORTION).await?;
            if round.looked_at == 0 {
                round.query = asked.elapsed();
                round.lag = since.map_or(Micros::ZERO, |since| now.since(since));
            }
            let sizes = [steps.len(), executions.len(), incidents.len(), traces.len()];
            let (found, full) = (sizes.iter().sum::<usize>(), sizes.contains(&PORTION));
            let steps =
                steps.into_iter().map(|(execution, id)| Command::JudgeStep(JudgeStep { execution, id }));
            let steps = self.send(steps, now, &mut report).await;
            let executions = executions.into_iter().map(|id| Command::JudgeExecution(JudgeExecution { id }));
            let executions = self.send(executions, now, &mut report).await;
            let incidents = incidents.into_iter().map(Command::TendIncident);
            let incidents = self.send(incidents, now, &mut report).await;
            let traces = traces.into_iter().map(|id| Command::SettleTrace(SettleTrace { id }));
            let traces = self.send(traces, now, &mut report).await;
            steps.and(executions).and(incidents).and(traces)?;
            round.looked_at += found;
            // What was looked at is not due any more at this moment, so that this ends.
            if !full {
                return Ok(round);
            }
        }
    }

    async fn send(
        &self,
        commands: impl Iterator<Item = Command>,
        now: Timestamp,
        report: &mut impl FnMut(&Verdict),
    ) -> Result<(), RepositoryError> {
        let mut answers =
            stream::iter(commands).map(|command| self.judge(command, now)).buffer_unordered(self.at_a_time);
        let mut failed = Ok(());
        while let Some(answer) = answers.next().await {
            match answer {
                Ok(Some(verdict)) => report(&verdict),
                Ok(None) => {}
                Err(error) => failed = failed.and(Err(error)),
            }
        }
        failed
    }

    async fn judge(&self, command: Command, now: Timestamp) -> Result<Option<Verdict>, RepositoryError> {
        let request = Request { command, idempotency: None, received_at: now };
        match self.repository.record(request).await {
            Ok(answer) if answer.fresh => Ok(verdict_of(answer.outcome)),
            // It ended, or another replica looked, in the meantime.
            Ok(_)
            | Err(RepositoryError::Refused(
                Refusal::UnknownExecution | Refusal::UnknownStep | Refusal::UnknownIncident,
            )) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn verdict_of(outcome: Outcome) -> Option<Verdict> {
    match outcome {
        Outcome::StepStuck(stuck) => Some(Verdict::StepStuck(stuck)),
        Outcome::ExecutionStalled(stalled) => Some(Verdict::ExecutionStalled(stalled)),
        Outcome::TraceSettled(settled) => Some(Verdict::TraceSettled(settled)),
        Outcome::ExecutionStarted(_)
        | Outcome::StepStarted(_)
        | Outcome::StepEnded(_)
        | Outcome::ExecutionEnded(_)
        | Outcome::ExecutionRecorded { .. }
        | Outcome::Rebaselined
        | Outcome::Incident(_)
        | Outcome::SpansRecorded(_)
        | Outcome::EventRecorded(_)
        | Outcome::NothingNew => None,
    }
}
