//! What explains durations, and what must not.

use serde_json::json;

use super::day;
use crate::attributes::Attributes;
use crate::baseline::{Baseline, Sample};
use crate::detect::{Bottleneck, Histories, StepPolicy};
use crate::features::Features;
use crate::time::{Micros, Timestamp};

/// A step that is judged by the default policy, and learns as recording lets it.
struct Step {
    baseline: Baseline,
    now: Timestamp,
}

impl Step {
    fn new() -> Self {
        Self { baseline: Baseline::empty(), now: day(100) }
    }

    /// Records a run a second after the last one, and returns the verdict.
    fn run(&mut self, attributes: serde_json::Value, ms: u64) -> Option<Bottleneck> {
        self.now = self.now + Micros::from_secs(1);
        let features = &features(attributes);
        let duration = Micros::from_millis(ms);
        let histories = Histories { whole: &self.baseline, cohort: None, began: None };
        let plan = StepPolicy::default();
        let comparison = plan.compare(histories, features);
        let verdict = comparison.as_ref().and_then(|found| found.judge(duration, features, false));
        let over = verdict.as_ref().and(comparison.as_ref()).map(|found| found.limits.warning);
        let explained = comparison.as_ref().and_then(|found| found.explained());
        let expected = comparison.as_ref().map(|found| found.reference.p50);
        let sample = Sample { at: self.now, duration, over, explained, expected, features, shifts: None };
        drop(self.baseline.learn(&sample, &mut Vec::new()));
        verdict
    }
}

fn features(attributes: serde_json::Value) -> Features {
    let attributes = Attributes::new(serde_json::from_value(attributes).unwrap()).unwrap();
    Features::of_execution(None, &attributes)
}

#[test]
fn inputs_of_a_new_size_are_known_after_a_few_runs() {
    let mut step = Step::new();
    let values = [[7_694_u64, 5_112_433_329], [7_890, 5_112_968_848]];
    let flagged: Vec<usize> = [(0, 80, 9_500), (1, 300, 105_000), (0, 40, 9_500), (1, 40, 105_000)]
        .into_iter()
        .map(|(size, runs, ms)| {
            let verdict = |run: usize| {
                let bytes = values[size][usize::from(run % 5 == 4)];
                step.run(json!({ "input_bytes": bytes }), ms + 100 * (run as u64 % 7)).is_some()
            };
            (0..runs).map(verdict).filter(|flagged| *flagged).count()
        })
        .collect();
    // Five runs of each of its two values.
    assert_eq!(flagged, [0, 10, 0, 0]);
}
