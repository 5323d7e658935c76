//! One verdict: the reference of a history, the limits that a policy makes of it, the severity.

use std::hint::black_box;

use criterion::Criterion;
use tracer_core::baseline::Baseline;
use tracer_core::detect::{Policy, PolicyEntry, Severity, StepPolicy, WorkflowPolicy};
use tracer_core::name::{StepName, WorkflowName};
use tracer_core::time::Micros;

use crate::history::History;

/// More than three times the mean of every history here.
const STALL: Micros = Micros::from_secs(5);

pub(crate) fn measure(criterion: &mut Criterion) {
    let (free, frozen) = (History::of_a_full_window().baseline, History::of_a_slowdown().baseline);
    let step = Step::new("document-pipeline", "data_transform");
    let (one_rule, many_rules) = (Policy::default(), policy_of_patterns(16));
    let mut group = criterion.benchmark_group("verdict");
    group.bench_function("reference of a full window", |bencher| {
        bencher.iter(|| black_box(&free).reference());
    });
    let reference = free.reference().unwrap();
    for (name, policy) in [
        ("limits by the default rule", &one_rule),
        ("limits after 16 patterns that do not match", &many_rules),
    ] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                black_box(policy).of_step(&step.workflow, &step.name).rule.limits(black_box(&reference))
            });
        });
    }
    let cases = [
        ("reference, limits and severity: full window", &free),
        ("reference, limits and severity: frozen reference", &frozen),
    ];
    for (name, baseline) in cases {
        assert_eq!(step.judge(&one_rule, baseline), Some(Severity::Critical));
        group.bench_function(name, |bencher| bencher.iter(|| step.judge(&one_rule, black_box(baseline))));
    }
    group.finish();
}

/// A step by its names.
struct Step {
    workflow: WorkflowName,
    name: StepName,
}

impl Step {
    fn new(workflow: &str, name: &str) -> Self {
        Self { workflow: WorkflowName::new(workflow).unwrap(), name: StepName::new(name).unwrap() }
    }

    /// Judges a stall in the way in which recording does.
    fn judge(&self, policy: &Policy, baseline: &Baseline) -> Option<Severity> {
        let reference = baseline.reference()?;
        policy.of_step(&self.workflow, &self.name).rule.limits(&reference)?.severity(black_box(STALL))
    }
}

fn policy_of_patterns(count: usize) -> Policy {
    let entry = |number: usize| PolicyEntry {
        workflow: format!("*-{number}"),
        step: "*".into(),
        steps: StepPolicy::default(),
        executions: WorkflowPolicy::default(),
    };
    Policy::new(StepPolicy::default(), (0..count).map(entry))
}
