//! Runs as a service would hear of them: one command after the other, in order of time.
//!
//! Not here: what becomes of a command (`tracer_core::record`).

use anyhow::{Context, Result};
use tracer_core::attributes::Attributes;
use tracer_core::execution::ExecutionStatus;
use tracer_core::ids::{ExecutionId, StepId};
use tracer_core::name::{StepType, WorkflowName};
use tracer_core::record::{
    Command, CompleteStep, Completion, EndExecution, Request, StartExecution, StartStep, StepKey,
};
use tracer_core::step::StepStatus;
use tracer_core::time::{Micros, Timestamp};

use crate::files::{Run, RunStep, View};

/// What happens in a run. Of what happens at once, the first of these comes first: a step ends before
/// those that waited for it start, unless it takes no time at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum What {
    /// The run starts.
    StartRun,
    /// The step of this number ends.
    EndStep(usize),
    /// The step of this number starts.
    StartStep(usize),
    /// The step of this number ends at the moment at which it started.
    EndStepAtOnce(usize),
    /// The run ends with its last step.
    EndRun,
}

/// Something that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Event {
    /// When.
    pub(crate) at: Timestamp,
    /// What.
    pub(crate) what: What,
    /// In which of the runs that are replayed.
    pub(crate) run: usize,
}

/// Returns what happens in these runs, in order.
pub(crate) fn events(runs: &[Played<'_>]) -> Vec<Event> {
    let mut all: Vec<Event> = runs.iter().enumerate().flat_map(|(number, run)| run.events(number)).collect();
    all.sort_unstable();
    all
}

/// A run under the name that a view gives its workflow, every step of it so many times as slow.
#[derive(Clone, Debug)]
pub(crate) struct Played<'a> {
    /// The run.
    pub(crate) run: &'a Run,
    /// The workflow that it is recorded under.
    pub(crate) workflow: &'a WorkflowName,
    id: ExecutionId,
    step_type: StepType,
    factor: u64,
}

impl<'a> Played<'a> {
    /// Takes a run as it was.
    ///
    /// # Errors
    /// Never for a number below the largest.
    pub(crate) fn new(run: &'a Run, view: View, number: usize) -> Result<Self> {
        let id = u128::try_from(number).ok().and_then(|number| ExecutionId::from_u128(number + 1));
        Ok(Self {
            run,
            workflow: run.workflow(view),
            id: id.context("runs are numbered")?,
            step_type: StepType::default(),
            factor: 1,
        })
    }

    /// Returns the same run with every step so many times as slow. Steps start when they did: what waits
    /// for what is not known to a service, and no rule looks at it.
    pub(crate) fn slowed(&self, factor: u64) -> Self {
        Self { factor, ..self.clone() }
    }

    /// Returns what happens in it, in no order.
    pub(crate) fn events(&self, run: usize) -> Vec<Event> {
        let mut events = vec![Event { at: self.run.started_at, what: What::StartRun, run }];
        let mut last = self.run.started_at;
        for (number, step) in self.run.steps.iter().enumerate() {
            let end = step.started_at + self.duration(step);
            let ends = if end == step.started_at { What::EndStepAtOnce } else { What::EndStep };
            events.push(Event { at: step.started_at, what: What::StartStep(number), run });
            events.push(Event { at: end, what: ends(number), run });
            last = last.max(end);
        }
        events.push(Event { at: last, what: What::EndRun, run });
        events
    }

    /// Returns the command by which a service hears of it.
    ///
    /// # Errors
    /// Never for an event of this run.
    pub(crate) fn request(&self, event: Event) -> Result<Request> {
        let command = match event.what {
            What::StartRun => Command::StartExecution(self.start()),
            What::StartStep(number) => Command::StartStep(self.start_step(number)?),
            What::EndStep(number) | What::EndStepAtOnce(number) => {
                return self.completion(number, self.duration(self.step(number)?));
            }
            What::EndRun => Command::EndExecution(EndExecution {
                id: self.id,
                status: ExecutionStatus::Completed,
                ended_at: None,
                failure: None,
                output: None,
            }),
        };
        Ok(Request { command, idempotency: None, received_at: event.at })
    }

    /// Returns the command by which a service hears that a step took so long, at the moment it ends.
    ///
    /// # Errors
    /// Never for a step of this run.
    pub(crate) fn completion(&self, number: usize, duration: Micros) -> Result<Request> {
        let completion = Completion {
            status: StepStatus::Completed,
            duration: Some(duration),
            ended_at: None,
            failure: None,
            attributes: Attributes::default(),
        };
        let (execution, id) = self.key(number)?;
        Ok(Request {
            command: Command::CompleteStep(CompleteStep { execution, id, completion }),
            idempotency: None,
            received_at: self.step(number)?.started_at + duration,
        })
    }

    /// Returns a step.
    ///
    /// # Errors
    /// If the run has no step of this number.
    pub(crate) fn step(&self, number: usize) -> Result<&'a RunStep> {
        self.run.steps.get(number).with_context(|| format!("{} has no step {number}", self.run.file))
    }

    /// Returns what identifies a step.
    ///
    /// # Errors
    /// Never for a number below the largest.
    pub(crate) fn key(&self, number: usize) -> Result<StepKey> {
        let id = u64::try_from(number).ok().and_then(|number| StepId::from_u64(number + 1));
        Ok((self.id, id.context("steps are numbered")?))
    }

    fn duration(&self, step: &RunStep) -> Micros {
        Micros::new(step.duration.get().saturating_mul(self.factor))
    }

    fn start(&self) -> StartExecution {
        StartExecution {
            id: self.id,
            workflow: self.workflow.clone(),
            correlation_id: None,
            version: None,
            attributes: self.run.attributes.clone(),
            input: None,
            started_at: self.run.started_at,
            parent: None,
            link: None,
            simulated: false,
        }
    }

    fn start_step(&self, number: usize) -> Result<StartStep> {
        let step = self.step(number)?;
        let (execution, id) = self.key(number)?;
        Ok(StartStep {
            execution,
            id,
            name: step.name.clone(),
            step_type: self.step_type.clone(),
            parent: None,
            attempt: 1,
            attributes: step.attributes.clone(),
            started_at: Some(step.started_at),
            completion: None,
        })
    }
}
