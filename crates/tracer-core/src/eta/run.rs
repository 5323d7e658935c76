//! A past execution, prepared for many questions: names as numbers, times as microseconds since its start.

use std::collections::HashMap;

use super::{PastRun, Span};
use crate::name::StepName;
use crate::time::Timestamp;

/// Names as numbers, in the order in which they were met.
#[derive(Debug, Default)]
pub(super) struct Names(HashMap<StepName, usize>);

impl Names {
    /// Returns the number of a name.
    pub(super) fn number(&mut self, name: &StepName) -> usize {
        if let Some(known) = self.0.get(name) {
            return *known;
        }
        let next = self.0.len();
        self.0.insert(name.clone(), next);
        next
    }

    /// Returns how many there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

/// A step of a past execution.
#[derive(Clone, Copy, Debug)]
pub(super) struct Past {
    pub(super) name: usize,
    /// How many of its name began before it.
    pub(super) nth: usize,
    pub(super) start: f64,
    pub(super) end: f64,
}

/// What a past execution knows of one step name.
#[derive(Clone, Debug, Default)]
pub(super) struct Named {
    /// When they ended, earliest first.
    pub(super) ends: Vec<f64>,
    /// How long they took, shortest first.
    pub(super) durations: Vec<f64>,
}

/// A past execution.
#[derive(Debug)]
pub(super) struct Run {
    /// How long it took.
    pub(super) end: f64,
    /// When its last step ended.
    pub(super) last_end: f64,
    /// Its steps, in the order of their start.
    pub(super) steps: Vec<Past>,
    /// By name.
    pub(super) named: HashMap<usize, Named>,
}

/// Returns a moment in microseconds since a start, not before it.
pub(super) fn offset(at: Timestamp, start: Timestamp) -> f64 {
    at.since(start).as_f64()
}

impl Run {
    /// Prepares an execution. What lies outside of its own time, as clients' clocks have it, is moved inside.
    pub(super) fn of(run: &PastRun, names: &mut Names) -> Self {
        let end = offset(run.ended_at, run.started_at);
        let mut steps: Vec<Past> = run.steps.iter().map(|step| past(step, run, end, names)).collect();
        steps.sort_by(|a, b| a.start.total_cmp(&b.start).then(a.end.total_cmp(&b.end)));
        let mut named: HashMap<usize, Named> = HashMap::new();
        let mut last_end = 0.0_f64;
        for step in &mut steps {
            let of_name = named.entry(step.name).or_default();
            step.nth = of_name.ends.len();
            of_name.ends.push(step.end);
            of_name.durations.push(step.end - step.start);
            last_end = last_end.max(step.end);
        }
        for of_name in named.values_mut() {
            of_name.ends.sort_by(f64::total_cmp);
            of_name.durations.sort_by(f64::total_cmp);
        }
        Self { end, last_end, steps, named }
    }

    /// Returns what passed between the end of its last step and its own.
    pub(super) fn closing(&self) -> f64 {
        self.end - self.last_end
    }
}

fn past(step: &Span, run: &PastRun, end: f64, names: &mut Names) -> Past {
    let start = offset(step.started_at, run.started_at).min(end);
    let ended = step.ended_at.map_or(end, |at| offset(at, run.started_at)).clamp(start, end);
    Past { name: names.number(&step.name), nth: 0, start, end: ended }
}
