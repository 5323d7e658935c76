//! Invented executions, so that a newcomer sees a bottleneck before anything is instrumented.
//!
//! Invariant: they are recorded by the same command as real ones, marked as simulated, and nobody waits
//! for their durations. History is seeded once per workflow, whoever asks and however often: its ids
//! derive from the workflow's name.
//! Not here: the route and its query (`http::simulate`).

use futures_util::future::try_join_all;
use sha2::{Digest, Sha256};
use tracer_core::attributes::Attributes;
use tracer_core::execution::ExecutionStatus;
use tracer_core::ids::{ExecutionId, StepId};
use tracer_core::name::{StepName, StepType, WorkflowName};
use tracer_core::record::{EndExecution, ExecutionEnded, RecordExecution, RecordedStep, StartExecution};
use tracer_core::repository::{RepositoryError, WorkflowHistory};
use tracer_core::step::{StepStatus, StepTimes};
use tracer_core::time::{Micros, Timestamp};

use crate::recording::{Arrival, Recorded, Tracing};

/// A step of the invented workflow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stage {
    /// Its name.
    pub name: &'static str,
    /// How long it usually takes, in milliseconds.
    typical_ms: u64,
}

/// The five steps, in the order in which they run.
pub const STAGES: [Stage; 5] = [
    Stage { name: "data_extract", typical_ms: 180 },
    Stage { name: "data_validate", typical_ms: 60 },
    Stage { name: "data_transform", typical_ms: 240 },
    Stage { name: "data_enrich", typical_ms: 150 },
    Stage { name: "data_load", typical_ms: 120 },
];

/// Past executions that are seeded where a workflow has no history.
const SEEDED: u64 = 20;
/// How far apart they are: 20 of them fill five days.
const SEED_INTERVAL: Micros = Micros::from_secs(6 * 3600);
/// Durations vary by up to so much of the typical one, either way.
const NOISE: f64 = 0.15;
/// How likely a step is to be slow where nobody chose which.
const SLOW_CHANCE: f64 = 0.12;
/// A slow step takes this many times as long, or up to [`SLOWEST`].
const SLOW: f64 = 2.5;
const SLOWEST: f64 = 6.0;

/// The step that is to be slow, and by how much.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Slow {
    /// The step.
    pub stage: Stage,
    /// Multiple of its present historical average; above 0.
    pub factor: f64,
}

/// Records one invented execution; where the workflow has no history, 20 past ones first. With
/// `notify`, people may be told of what is found in it.
///
/// Without `slow`, each step may be slow by chance; with it, that one is and the others are not.
///
/// # Errors
/// [`RepositoryError`].
pub async fn run(
    tracing: &Tracing,
    workflow: &WorkflowName,
    slow: Option<Slow>,
    notify: bool,
    arrival: Arrival,
) -> Result<Recorded<ExecutionEnded>, RepositoryError> {
    let mut known = tracing.repository().workflow_history(workflow).await?;
    if is_to_be_seeded(known.as_ref()) {
        let seeds = (0..SEEDED)
            .map(|nth| tracing.import(past(workflow, nth, arrival.at), Arrival::plain(arrival.at)));
        try_join_all(seeds).await?;
        known = tracing.repository().workflow_history(workflow).await?;
    }
    let usual = |stage: Stage| stage.typical() * (1.0 + NOISE * (2.0 * rand::random::<f64>() - 1.0));
    let durations = STAGES.map(|stage| match slow {
        Some(slow) if slow.stage == stage => {
            let historical = average(known.as_ref(), stage).unwrap_or(stage.typical());
            Micros::from_f64(slow.factor * historical)
        }
        Some(_) => Micros::from_f64(usual(stage)),
        None => Micros::from_f64(usual(stage) * by_chance()),
    });
    let total = durations.iter().fold(Micros::ZERO, |sum, duration| sum.saturating_add(*duration));
    let id = ExecutionId::mint(arrival.at);
    let invented = execution(id, workflow, arrival.at - total, durations);
    tracing.record_present(RecordExecution { alerts: notify, ..invented }, arrival).await
}

impl Stage {
    fn typical(self) -> f64 {
        Micros::from_millis(self.typical_ms).as_f64()
    }
}

fn by_chance() -> f64 {
    if rand::random::<f64>() < SLOW_CHANCE { SLOW + (SLOWEST - SLOW) * rand::random::<f64>() } else { 1.0 }
}

/// Returns whether a workflow has no history but what another call may be seeding: real executions get
/// no invented ones beside them.
fn is_to_be_seeded(history: Option<&WorkflowHistory>) -> bool {
    let Some(history) = history else { return true };
    let is_stage = |name: &StepName| STAGES.iter().any(|stage| stage.name == name.as_str());
    history.executions.measured().endings.total() < SEEDED
        && history.steps.iter().all(|(name, _)| is_stage(name))
}

/// Returns what judges a step now, in microseconds; none without history.
fn average(history: Option<&WorkflowHistory>, stage: Stage) -> Option<f64> {
    let (_, baseline) = history?.steps.iter().find(|(name, _)| name.as_str() == stage.name)?;
    Some(baseline.reference()?.mean_us)
}

/// Returns the nth past execution of a workflow, oldest first; the same id whenever it is asked for.
fn past(workflow: &WorkflowName, nth: u64, now: Timestamp) -> RecordExecution {
    let age = Micros::new(SEED_INTERVAL.get() * (SEEDED - nth));
    // A spread without a random number: every two simultaneous first calls seed the same history.
    let share = |stage: usize| {
        let hash = digest(workflow, nth, stage);
        f64::from(u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]])) / f64::from(u32::MAX)
    };
    let mut stage_number = 0;
    let durations = STAGES.map(|stage| {
        stage_number += 1;
        Micros::from_f64(stage.typical() * (1.0 + NOISE * (2.0 * share(stage_number) - 1.0)))
    });
    execution(past_id(workflow, nth), workflow, now - age, durations)
}

fn past_id(workflow: &WorkflowName, nth: u64) -> ExecutionId {
    let bits = u128::from_be_bytes(digest(workflow, nth, 0));
    ExecutionId::from_u128(bits).unwrap_or_else(|| ExecutionId::from_bytes([1; 16]))
}

fn digest(workflow: &WorkflowName, nth: u64, part: usize) -> [u8; 16] {
    let mut hash = Sha256::new();
    hash.update(b"tracer simulated history\0");
    hash.update(nth.to_be_bytes());
    hash.update(part.to_be_bytes());
    hash.update(workflow.as_str().as_bytes());
    let mut half = [0; 16];
    half.copy_from_slice(hash.finalize().get(..16).unwrap_or(&[0; 16]));
    half
}

fn execution(
    id: ExecutionId,
    workflow: &WorkflowName,
    started_at: Timestamp,
    durations: [Micros; 5],
) -> RecordExecution {
    let mut at = started_at;
    let steps = STAGES.iter().zip(durations).map(|(stage, duration)| {
        let times = StepTimes { started_at: at, ended_at: at + duration, duration };
        at = times.ended_at;
        RecordedStep {
            id: StepId::mint(),
            name: StepName::from_stored(stage.name),
            step_type: StepType::default(),
            parent: None,
            attributes: Attributes::default(),
            status: StepStatus::Completed,
            times,
            failure: None,
        }
    });
    let steps = steps.collect();
    let start = StartExecution {
        id,
        workflow: workflow.clone(),
        correlation_id: None,
        version: None,
        attributes: Attributes::default(),
        input: None,
        started_at,
        parent: None,
        link: None,
        simulated: true,
    };
    let status = ExecutionStatus::Completed;
    let end = EndExecution { id, status, ended_at: Some(at), failure: None, output: None };
    RecordExecution { start, steps, end, alerts: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeded_history_is_the_same_whoever_asks_and_normal() {
        let workflow = WorkflowName::new("demo").unwrap();
        let now = Timestamp::from_millis(1_769_860_800_000);
        let ids: std::collections::BTreeSet<_> =
            (0..SEEDED).map(|nth| past(&workflow, nth, now).start.id).collect();
        assert_eq!(ids.len(), 20);
        assert_ne!(past_id(&workflow, 0), past_id(&WorkflowName::new("other").unwrap(), 0));
        for nth in 0..SEEDED {
            let (once, again) = (past(&workflow, nth, now), past(&workflow, nth, now));
            assert_eq!(once.start.id, again.start.id);
            assert!(once.end.ended_at < Some(now));
            for (step, stage) in once.steps.iter().zip(STAGES) {
                let share = step.times.duration.as_f64() / stage.typical();
                assert!((0.849..=1.151).contains(&share), "{share}");
            }
            let durations = |recorded: &RecordExecution| {
                recorded.steps.iter().map(|s| s.times.duration).collect::<Vec<_>>()
            };
            assert_eq!(durations(&once), durations(&again));
        }
    }

    #[test]
    fn steps_follow_each_other() {
        let id = ExecutionId::from_u128(7).unwrap();
        let durations = [1, 2, 3, 4, 5].map(Micros::from_secs);
        let recorded =
            execution(id, &WorkflowName::new("demo").unwrap(), Timestamp::from_millis(0), durations);
        let ends: Vec<i64> =
            recorded.steps.iter().map(|step| step.times.ended_at.as_micros() / 1_000_000).collect();
        assert_eq!(ends, [1, 3, 6, 10, 15]);
        assert_eq!(recorded.end.ended_at, Some(Timestamp::from_millis(15_000)));
    }
}
