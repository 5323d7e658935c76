//! Measures what completing a step costs with a short and with a long history.
//!
//! ```sh
//! cargo run --release -p tracer-store --example history_cost -- embedded
//! cargo run --release -p tracer-store --example history_cost -- postgres://user@host/empty_database
//! ```
//!
//! One step name gets 1,000 completed runs, another 1,000,000. Then one client completes steps of
//! either in turns, and the medians of five interleaved pairs are compared.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the report is what the program is for")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use tracer_core::attributes::Attributes;
use tracer_core::detect::Policy;
use tracer_core::execution::ExecutionStatus;
use tracer_core::ids::{ExecutionId, StepId};
use tracer_core::name::{NameError, StepName, StepType, WorkflowName};
use tracer_core::record::{
    Command, CompleteStep, Completion, EndExecution, RecordExecution, RecordedStep, Request, StartExecution, StartStep,
};
use tracer_core::repository::{Repository, RepositoryError};
use tracer_core::step::{StepStatus, StepTimes};
use tracer_core::time::{Micros, Timestamp};
use tracer_store::{Location, StoreConfig};

/// Steps in one execution of the history.
const PORTION: u64 = 1_000;
/// Steps timed in one half of a pair.
const TIMED: usize = 1_000;
/// Interleaved pairs.
const PAIRS: usize = 5;

type Failure = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let location = match std::env::args().nth(1).as_deref() {
        Some("embedded") | None => Location::Embedded(folder.path().join("tracer.db")),
        Some(url) => Location::Postgres(url.to_owned()),
    };
    let store = tracer_store::open(&StoreConfig::at(location), Arc::new(Policy::default())).await?;
    let short = Subject::new("short history")?;
    let long = Subject::new("long history")?;
    short.grow(&*store, 1_000).await?;
    long.grow(&*store, 1_000_000).await?;

    let mut ratios = Vec::new();
    println!("{}: one client completes a step, µs", store.kind());
    println!("pair     p50 10³   p50 10⁶   ratio     p99 10³   p99 10⁶");
    for pair in 1..=PAIRS {
        let (few, many) = (short.time(&*store).await?, long.time(&*store).await?);
        let ratio = many.0.as_secs_f64() / few.0.as_secs_f64();
        println!(
            "{pair:<6}{:>10}{:>10}{ratio:>8.2}{:>12}{:>10}",
            few.0.as_micros(),
            many.0.as_micros(),
            few.1.as_micros(),
            many.1.as_micros()
        );
        ratios.push(ratio);
    }
    ratios.sort_by(f64::total_cmp);
    println!("median ratio of p50: {:.2}", ratios.get(PAIRS / 2).copied().unwrap_or_default());
    store.shut_down().await;
    Ok(())
}

/// A workflow with one step name.
struct Subject {
    workflow: WorkflowName,
    step: StepName,
}

impl Subject {
    fn new(name: &str) -> Result<Self, NameError> {
        Ok(Self { workflow: WorkflowName::new(name)?, step: StepName::new("work")? })
    }

    /// Records executions of many steps, each of about 100 ms.
    async fn grow(&self, store: &dyn Repository, steps: u64) -> Result<(), RepositoryError> {
        for portion in 0..steps / PORTION {
            let now = store.clock().now();
            let start = self.start(now - Micros::from_secs(3600));
            let steps = (0..PORTION).map(|number| self.step(number, now)).collect();
            let end = end(start.id);
            record(store, Command::RecordExecution(Box::new(RecordExecution { start, steps, end })), now).await?;
            if portion % 100 == 99 {
                eprintln!("{}: {} steps", self.workflow, (portion + 1) * PORTION);
            }
        }
        Ok(())
    }

    fn step(&self, number: u64, now: Timestamp) -> RecordedStep {
        let duration = Micros::new(100_000 + number % 97 * 100);
        RecordedStep {
            id: StepId::mint(),
            name: self.step.clone(),
            step_type: StepType::default(),
            parent: None,
            attributes: Attributes::default(),
            status: StepStatus::Completed,
            times: StepTimes { started_at: now - duration, ended_at: now, duration },
            failure: None,
        }
    }

    /// Completes steps one by one; returns the median and the 99th percentile.
    async fn time(&self, store: &dyn Repository) -> Result<(Duration, Duration), RepositoryError> {
        let now = store.clock().now();
        let start = self.start(now);
        let execution = start.id;
        record(store, Command::StartExecution(start), now).await?;
        let mut took = Vec::with_capacity(TIMED);
        for _ in 0..TIMED {
            let id = StepId::mint();
            record(store, Command::StartStep(self.running(execution, id)), now).await?;
            let complete = Command::CompleteStep(CompleteStep { execution, id, completion: completion() });
            let began = Instant::now();
            record(store, complete, now).await?;
            took.push(began.elapsed());
        }
        record(store, Command::EndExecution(end(execution)), now).await?;
        took.sort_unstable();
        let at = |percent: usize| took.get(TIMED * percent / 100).copied().unwrap_or_default();
        Ok((at(50), at(99)))
    }

    fn start(&self, started_at: Timestamp) -> StartExecution {
        StartExecution {
            id: ExecutionId::mint(started_at),
            workflow: self.workflow.clone(),
            correlation_id: None,
            version: None,
            attributes: Attributes::default(),
            input: None,
            started_at,
            parent: None,
            link: None,
            simulated: false,
        }
    }

    fn running(&self, execution: ExecutionId, id: StepId) -> StartStep {
        StartStep {
            execution,
            id,
            name: self.step.clone(),
            step_type: StepType::default(),
            parent: None,
            attempt: 1,
            attributes: Attributes::default(),
            started_at: None,
            completion: None,
        }
    }
}

fn completion() -> Completion {
    Completion {
        status: StepStatus::Completed,
        duration: Some(Micros::from_millis(100)),
        ended_at: None,
        failure: None,
        attributes: Attributes::default(),
    }
}

fn end(id: ExecutionId) -> EndExecution {
    EndExecution { id, status: ExecutionStatus::Completed, ended_at: None, failure: None, output: None }
}

async fn record(store: &dyn Repository, command: Command, received_at: Timestamp) -> Result<(), RepositoryError> {
    store.record(Request { command, idempotency: None, received_at }).await.map(drop)
}
