//! An invented past: the executions that a service would have recorded, and the baselines it would
//! have made of them.
//!
//! Invariant: the baselines come from the same code as the service's own, sample by sample; the same
//! number gives the same execution.
//! Not here: into which tables it goes (`postgres`, `sqlite`).

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use tracer_core::baseline::{Baseline, Ending, Segment};
use tracer_core::cohort::{BaselineKey, Cohort};
use tracer_core::ids::ExecutionId;
use tracer_core::name::{StepName, WorkflowName};
use tracer_core::time::{Micros, Timestamp};

/// The one workflow that the past is of.
pub(crate) const WORKFLOW: &str = "history";

/// The one step that it has, over and over.
pub(crate) const STEP: &str = "work";

/// Steps of each execution.
pub(crate) const STEPS: u64 = 10;

/// Above this a step of 100 ms is a WARNING, and enters the reference as if it had taken so long.
const WARNING_US: u64 = 200_000;

/// Average of the baseline, as verdicts name it.
pub(crate) const AVERAGE_US: i64 = 100_000;

/// How many executions, over which time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Past {
    /// Executions of [`STEPS`] steps each.
    pub(crate) executions: u64,
    /// Microseconds since 1970 at which the first one starts.
    pub(crate) from: i64,
    /// Microseconds since 1970 before which all of them end.
    pub(crate) to: i64,
}

/// One execution, ended. Times are microseconds since 1970.
#[derive(Clone, Debug)]
pub(crate) struct Execution {
    pub(crate) id: [u8; 16],
    pub(crate) started_at: i64,
    pub(crate) ended_at: i64,
    pub(crate) failed: bool,
    /// As it is stored: 1 for WARNING, 2 for CRITICAL.
    pub(crate) worst: Option<i16>,
    pub(crate) correlation: Option<String>,
    /// Keys and texts, by key.
    pub(crate) attributes: Vec<(&'static str, String)>,
    pub(crate) steps: Vec<Step>,
}

/// One step, ended. Times are microseconds since 1970.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub(crate) id: i64,
    pub(crate) started_at: i64,
    pub(crate) ended_at: i64,
    pub(crate) failed: bool,
    /// As it is stored: 1 for WARNING, 2 for CRITICAL.
    pub(crate) severity: Option<i16>,
}

impl Past {
    /// Returns the execution of a number, counted from 0; later numbers start later.
    pub(crate) fn execution(&self, number: u64) -> Execution {
        let noise = mix(number);
        let span = u128::try_from(self.to - self.from).unwrap_or_default();
        let offset = span * u128::from(number) / u128::from(self.executions.max(1));
        // The last ones have to end in time: each takes about a second.
        let started_at = self.from - 10_000_000 + i64::try_from(offset).unwrap_or_default();
        let failed = noise.is_multiple_of(50);
        let mut at = started_at;
        let steps: Vec<Step> = (0..STEPS)
            .map(|place| {
                let fails = failed && place == STEPS - 1;
                let step = step(at, mix(number * STEPS + place + 1), fails);
                at = step.ended_at;
                step
            })
            .collect();
        Execution {
            id: id(started_at, noise),
            started_at,
            ended_at: at,
            failed,
            worst: steps.iter().filter_map(|step| step.severity).max(),
            correlation: number.is_multiple_of(10).then(|| correlation_of(number)),
            attributes: attributes_of(number),
            steps,
        }
    }
}

impl Execution {
    /// Returns the attributes as they are stored.
    pub(crate) fn attributes_json(&self) -> String {
        let pairs: Vec<String> =
            self.attributes.iter().map(|(key, text)| format!(r#""{key}":"{text}""#)).collect();
        format!("{{{}}}", pairs.join(","))
    }
}

fn step(started_at: i64, noise: u64, failed: bool) -> Step {
    let usual = 80_000 + noise % 40_000;
    // Two in a thousand are slow, one in four thousand is very slow.
    let (duration, severity) = match (noise >> 20) % 4_000 {
        _ if failed => (usual, None),
        0 => (usual * 4, Some(2)),
        1..=8 => (WARNING_US + usual / 2, Some(1)),
        _ => (usual, None),
    };
    let ended_at = started_at + i64::try_from(duration).unwrap_or_default();
    Step { id: noise.cast_signed() | 1, started_at, ended_at, failed, severity }
}

/// Returns the correlation id of every tenth execution.
pub(crate) fn correlation_of(number: u64) -> String {
    format!("order-{number}")
}

/// Every second execution has attributes: a common one and a rare one.
fn attributes_of(number: u64) -> Vec<(&'static str, String)> {
    if number.is_multiple_of(2) {
        vec![("region", format!("eu-{}", number % 7)), ("tenant", format!("t{}", number % 20_000))]
    } else {
        Vec::new()
    }
}

/// Returns an id as the service mints it: a UUIDv7 of the start.
fn id(started_at: i64, noise: u64) -> [u8; 16] {
    let millis = u128::from((started_at / 1_000).unsigned_abs()) & 0xffff_ffff_ffff;
    let (high, low) = (u128::from(noise >> 52), u128::from(mix(noise) >> 2));
    ((millis << 80) | (0x7 << 76) | (high << 64) | (0b10 << 62) | low).to_be_bytes()
}

/// Returns a number that looks random: splitmix64 (Steele, Lea, Flood, 2014).
const fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// What the service knows of the past: the history of the step, and that of the workflow as a whole.
#[derive(Debug)]
pub(crate) struct Histories {
    pub(crate) step: History,
    pub(crate) whole: History,
}

/// The history of one key.
#[derive(Debug)]
pub(crate) struct History {
    pub(crate) key: [u8; 16],
    /// Empty for the workflow as a whole.
    pub(crate) step_name: &'static str,
    pub(crate) baseline: Baseline,
    recent: Vec<Segment>,
    /// Closed days, by number since 1970.
    pub(crate) closed: BTreeMap<i32, Segment>,
}

impl Histories {
    /// Begins without any history.
    ///
    /// # Errors
    /// Never with these names.
    pub(crate) fn new() -> Result<Self> {
        let workflow = WorkflowName::new(WORKFLOW).ok().context("a name of a workflow")?;
        let step = StepName::new(STEP).ok().context("a name of a step")?;
        let of_step = BaselineKey::of_step(&workflow, &step, &Cohort::default());
        Ok(Self {
            step: History::new(of_step, STEP),
            whole: History::new(BaselineKey::of_workflow(&workflow), ""),
        })
    }

    /// Takes in one more execution.
    pub(crate) fn take(&mut self, execution: &Execution) {
        for step in &execution.steps {
            let took = (!step.failed).then(|| length(step.started_at, step.ended_at));
            let clamp = step.severity.map(|_| Micros::new(WARNING_US));
            self.step.take(step.ended_at, took, clamp);
        }
        let took = (!execution.failed).then(|| length(execution.started_at, execution.ended_at));
        self.whole.take(execution.ended_at, took, None);
    }

    /// Returns both.
    pub(crate) const fn all(&self) -> [&History; 2] {
        [&self.step, &self.whole]
    }
}

impl History {
    /// Makes the history of another step of the workflow, whose runs ended at these times, each after so long.
    ///
    /// # Errors
    /// When the name is none.
    pub(crate) fn of_step(name: &'static str, ends: impl Iterator<Item = i64>, took: Micros) -> Result<Self> {
        let workflow = WorkflowName::new(WORKFLOW).ok().context("a name of a workflow")?;
        let step = StepName::new(name).ok().context("a name of a step")?;
        let mut history = Self::new(BaselineKey::of_step(&workflow, &step, &Cohort::default()), name);
        ends.for_each(|end| history.take(end, Some(took), None));
        Ok(history)
    }

    fn new(key: BaselineKey, step_name: &'static str) -> Self {
        Self {
            key: key.to_bytes(),
            step_name,
            baseline: Baseline::empty(),
            recent: Vec::new(),
            closed: BTreeMap::new(),
        }
    }

    fn take(&mut self, at: i64, took: Option<Micros>, clamp: Option<Micros>) {
        let at = Timestamp::from_micros(at);
        let changed = match took {
            Some(took) => self.baseline.record(at, took, clamp, &mut self.recent),
            None => self.baseline.count(at, Ending::Failed, &mut self.recent),
        };
        if let Some(segment) = changed {
            self.closed.insert(segment.day.0, segment);
        }
    }
}

fn length(from: i64, to: i64) -> Micros {
    Micros::new((to - from).unsigned_abs())
}

/// Returns an id as clients write it.
pub(crate) fn written(id: [u8; 16]) -> String {
    ExecutionId::from_bytes(id).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400_000_000;

    #[test]
    fn a_past_keeps_to_its_time_and_its_ids_rise() {
        let past = Past { executions: 1_000, from: 100 * DAY, to: 110 * DAY };
        let all: Vec<Execution> = (0..1_000).map(|number| past.execution(number)).collect();
        assert!(all.is_sorted_by_key(|execution| execution.id));
        assert!(all.iter().all(|execution| execution.ended_at < past.to));
        assert!((10..40).contains(&all.iter().filter(|execution| execution.failed).count()));
        assert!((5..60).contains(&all.iter().filter(|execution| execution.worst.is_some()).count()));
    }

    #[test]
    fn every_step_that_completed_is_in_its_history() {
        let past = Past { executions: 500, from: 100 * DAY, to: 110 * DAY };
        let mut histories = Histories::new().unwrap();
        let mut completed = 0;
        for number in 0..500 {
            let execution = past.execution(number);
            completed += execution.steps.iter().filter(|step| !step.failed).count();
            histories.take(&execution);
        }
        let reference = histories.step.baseline.reference().unwrap();
        assert_eq!(usize::try_from(reference.samples).unwrap(), completed);
        assert!((95_000.0..110_000.0).contains(&reference.mean_us), "{}", reference.mean_us);
        assert!((9..=11).contains(&histories.step.closed.len()));
        assert!(histories.step.baseline.frozen_since().is_none());
    }
}
