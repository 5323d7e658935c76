//! The least of all stores: maps, and the five steps around `apply`.

use std::collections::BTreeMap;

use crate::baseline::{Baseline, SEGMENTS_READ, Segment};
use crate::cohort::BaselineKey;
use crate::detect::Policy;
use crate::execution::{Execution, ExecutionStatus};
use crate::ids::ExecutionId;
use crate::record::{
    Answer, Claims, Closing, ExecutionHead, FirstNeeds, History, HistoryNeeds, IdempotencyRecord,
    IdempotencyScope, Refusal, Request, StepKey, WorkingSet, Written, apply, segment_needs,
};
use crate::step::{Step, StepStatus};
use crate::time::Day;

/// Everything that is stored, in the form in which a database would have it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Shelf {
    pub(super) executions: BTreeMap<ExecutionId, Execution>,
    pub(super) steps: BTreeMap<StepKey, Step>,
    /// Encoded, as they travel through a database.
    pub(super) baselines: BTreeMap<BaselineKey, Vec<u8>>,
    pub(super) segments: BTreeMap<(BaselineKey, Day), Vec<u8>>,
    pub(super) idempotency: BTreeMap<IdempotencyScope, IdempotencyRecord>,
}

impl Shelf {
    /// Carries out one batch; all of its commands must be admitted to it.
    pub(super) fn write(&mut self, batch: &[Request]) -> Vec<Result<Answer, Refusal>> {
        let mut claims = Claims::default();
        assert!(batch.iter().all(|request| claims.admit(request)), "these do not share a batch: {batch:?}");
        let mut set = self.load(batch);
        let answers = apply(&Policy::default(), batch, &mut set);
        assert_eq!(answers.len(), batch.len());
        self.save(set);
        answers
    }

    /// Returns the baseline under a key; an empty one if there is none.
    pub(super) fn baseline(&self, key: BaselineKey) -> Baseline {
        self.baselines.get(&key).map(|bytes| Baseline::decode(bytes).unwrap()).unwrap_or_default()
    }

    fn load(&mut self, batch: &[Request]) -> WorkingSet {
        let needs = FirstNeeds::of(batch);
        let mut set = WorkingSet::default();
        for scope in needs.idempotency {
            set.idempotency.extend(self.idempotency.get(&scope).map(|kept| (scope, kept.clone())));
        }
        for id in needs.executions.into_keys() {
            set.executions.extend(self.executions.get(&id).map(|execution| (id, head_of(execution))));
        }
        for key in needs.steps {
            set.steps.extend(self.steps.get(&key).map(|step| (key, step.clone())));
        }
        for id in needs.closings {
            set.closings.insert(id, self.closing(id));
        }
        for (key, need) in HistoryNeeds::of(batch, &set).0 {
            if need.create {
                self.baselines.entry(key).or_insert_with(|| Baseline::empty().encode());
            }
            if self.baselines.contains_key(&key) {
                set.histories.insert(key, History { baseline: self.baseline(key), segments: Vec::new() });
            }
        }
        for key in segment_needs(batch, &set) {
            let newest =
                self.segments.range((key, Day(i32::MIN))..=(key, Day(i32::MAX))).rev().take(SEGMENTS_READ);
            let newest = newest.map(|((_, day), bytes)| {
                let segment = Segment::decode(bytes).unwrap();
                assert_eq!(segment.day, *day);
                segment
            });
            set.histories.get_mut(&key).unwrap().segments = newest.collect();
        }
        set
    }

    fn closing(&self, id: ExecutionId) -> Closing {
        let steps = || self.steps.values().filter(move |step| step.execution == id);
        let completed = steps().filter(|step| step.status == StepStatus::Completed).count();
        Closing {
            running: steps().filter(|step| step.status == StepStatus::Running).cloned().collect(),
            completed: u64::try_from(completed).unwrap(),
            bottlenecks: steps().filter(|step| step.bottleneck.is_some()).cloned().collect(),
        }
    }

    fn save(&mut self, mut set: WorkingSet) {
        self.idempotency.extend(set.new_idempotency);
        for (id, execution) in set.new_executions {
            assert!(self.executions.insert(id, execution).is_none(), "{id} is inserted twice");
        }
        for (id, severity) in set.worsened_executions {
            let execution = self.executions.get_mut(&id).unwrap();
            assert!(execution.status == ExecutionStatus::Running && execution.worst < Some(severity));
            execution.worst = Some(severity);
        }
        for (id, end) in set.ended_executions {
            let execution = self.executions.get_mut(&id).unwrap();
            assert_eq!(execution.status, ExecutionStatus::Running);
            execution.status = end.status;
            execution.ended_at = Some(end.ended_at);
            execution.duration = Some(end.duration);
            execution.output = end.output;
            execution.failure = end.failure;
            execution.steps_completed = end.steps_completed;
            execution.worst = end.worst;
        }
        for (key, written) in set.written_steps {
            let before = self.steps.insert(key, set.steps.remove(&key).unwrap());
            assert_eq!(before.is_none(), written == Written::Insert, "{key:?}");
        }
        for key in set.written_histories.into_keys() {
            assert!(self.baselines.contains_key(&key), "only what was loaded is written");
            self.baselines.insert(key, set.histories[&key].baseline.encode());
        }
        self.segments.extend(set.written_segments.iter().map(|(key, segment)| (*key, segment.encode())));
    }
}

fn head_of(execution: &Execution) -> ExecutionHead {
    ExecutionHead {
        workflow: execution.workflow.clone(),
        status: execution.status,
        started_at: execution.started_at,
        ended_at: execution.ended_at,
        duration: execution.duration,
        recorded_at: execution.recorded_at,
        steps_completed: execution.steps_completed,
        worst: execution.worst,
    }
}
