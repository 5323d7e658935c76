//! The least of all stores: maps, and the five steps around [`apply`].
//!
//! Invariant: rows are loaded and saved by their keys alone, so that a batch costs what it needs and not
//! what there is, and nothing is decided here.
//! Not here: anything that a [`Repository`](crate::repository::Repository) can be asked; stores do that.

#![expect(clippy::expect_used, reason = "a row that is missing or broken is a fault of what is tested")]

use std::collections::BTreeMap;

use crate::baseline::{Baseline, SEGMENTS_READ, Segment};
use crate::cohort::BaselineKey;
use crate::detect::Policy;
use crate::event::WorkflowEvent;
use crate::execution::{Execution, ExecutionStatus};
use crate::features::Features;
use crate::ids::{ExecutionId, StepId};
use crate::incident::{ALARM_BYTES, Alarm, HistoryEntry, Incident, IncidentId};
use crate::live::Change;
use crate::record::{
    Activity, Answer, Claims, Closing, EventLog, ExecutionHead, FirstNeeds, History, HistoryNeeds,
    IdempotencyRecord, IdempotencyScope, IncidentNeeds, Refusal, Request, StepKey, WorkingSet, Written,
    apply, segment_needs,
};
use crate::routing::NewNotification;
use crate::similarity::FailureId;
use crate::step::{Step, StepStatus};
use crate::time::Day;

/// Everything that is stored, in the form in which a database would have it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Shelf {
    /// Executions.
    pub executions: BTreeMap<ExecutionId, Execution>,
    /// Their steps.
    pub steps: BTreeMap<StepKey, Step>,
    /// Baselines, encoded, as they travel through a database.
    pub baselines: BTreeMap<BaselineKey, Vec<u8>>,
    /// Closed days, encoded too.
    pub segments: BTreeMap<(BaselineKey, Day), Vec<u8>>,
    /// What is known of the incidents of the baselines, encoded.
    pub alarms: BTreeMap<BaselineKey, Vec<u8>>,
    /// Answers kept under idempotency keys.
    pub idempotency: BTreeMap<IdempotencyScope, IdempotencyRecord>,
    /// To which incident the silence of an execution belongs.
    pub silences: BTreeMap<ExecutionId, IncidentId>,
    /// Incidents.
    pub incidents: BTreeMap<IncidentId, Incident>,
    /// Their histories.
    pub entries: Vec<(IncidentId, HistoryEntry)>,
    /// What channels are to be told.
    pub notifications: Vec<NewNotification>,
    /// What clients told of executions, by number.
    pub events: BTreeMap<(ExecutionId, u32), WorkflowEvent>,
    /// What whoever watches is told.
    pub changes: Vec<Change>,
    /// How many failures of an execution belong to a group.
    pub failures: BTreeMap<(ExecutionId, FailureId), u64>,
}

impl Shelf {
    /// Carries out one batch; all of its commands must be admitted to it.
    ///
    /// # Panics
    /// If they are not, or if what is to be written contradicts what is stored.
    pub fn write(&mut self, policy: &Policy, batch: &[Request]) -> Vec<Result<Answer, Refusal>> {
        let (mut set, made) = self.load(policy, batch);
        for key in made {
            self.baselines.insert(key, Baseline::empty().encode());
        }
        let answers = carry_out(policy, batch, &mut set);
        self.save(set);
        answers
    }

    /// Returns what a batch would be answered, and leaves everything as it is.
    ///
    /// # Panics
    /// As [`Shelf::write`].
    #[must_use]
    pub fn ask(&self, policy: &Policy, batch: &[Request]) -> Vec<Result<Answer, Refusal>> {
        let (mut set, _) = self.load(policy, batch);
        carry_out(policy, batch, &mut set)
    }

    /// Returns the baseline under a key; an empty one if there is none.
    ///
    /// # Panics
    /// If what is stored there is no baseline.
    #[must_use]
    pub fn baseline(&self, key: BaselineKey) -> Baseline {
        let stored = self.baselines.get(&key);
        stored.map(|bytes| Baseline::decode(bytes).expect("an encoded baseline")).unwrap_or_default()
    }

    /// Returns a shelf with the same history, and without the executions that made it.
    #[must_use]
    pub fn with_history_alone(&self) -> Self {
        Self { baselines: self.baselines.clone(), segments: self.segments.clone(), ..Self::default() }
    }

    /// Loads what a batch needs; returns the keys of the baselines to be made for it, too.
    fn load(&self, policy: &Policy, batch: &[Request]) -> (WorkingSet, Vec<BaselineKey>) {
        let needs = FirstNeeds::of(batch);
        let mut set = WorkingSet::default();
        for scope in needs.idempotency {
            set.idempotency.extend(self.idempotency.get(&scope).map(|kept| (scope, kept.clone())));
        }
        for id in needs.executions.into_keys() {
            let incident = self.silences.get(&id).copied();
            set.executions.extend(self.executions.get(&id).map(|found| (id, head_of(found, incident))));
        }
        for key in needs.steps {
            set.steps.extend(self.steps.get(&key).map(|step| (key, step.clone())));
        }
        for id in needs.closings {
            set.closings.insert(id, self.closing(id));
        }
        for id in needs.activities {
            let told_at = self.events_of(id).map(|event| event.recorded_at);
            let changed_at = self.steps_of(id).map(|step| step.changed_at).chain(told_at).max();
            let judge_at = self.steps_of(id).filter_map(|step| step.judge_at).max();
            let stuck = self.steps_of(id).filter(|step| step.status == StepStatus::Running);
            let stuck = stuck.filter_map(|step| step.incident).max();
            set.activities.insert(id, Activity { changed_at, judge_at, stuck });
        }
        for id in needs.waiting {
            let waits = |step: &&Step| step.by_trace || step.status == StepStatus::Running;
            set.waiting.insert(id, self.steps_of(id).filter(waits).cloned().collect());
        }
        for (id, event) in needs.events {
            let log: &mut EventLog = set.events.entry(id).or_default();
            log.last = self.events_of(id).map(|event| event.number).max().unwrap_or(0);
            log.known.extend(self.events_of(id).map(|event| event.id).filter(|known| *known == event));
        }
        let mut made = Vec::new();
        for (key, need) in HistoryNeeds::of(policy, batch, &set).0 {
            let is_known = self.baselines.contains_key(&key);
            if need.create && !is_known {
                made.push(key);
            }
            if need.create || is_known {
                set.histories.insert(key, self.history(key));
            }
        }
        for key in segment_needs(policy, batch, &set) {
            let newest =
                self.segments.range((key, Day(i32::MIN))..=(key, Day(i32::MAX))).rev().take(SEGMENTS_READ);
            let newest = newest.map(|((_, day), bytes)| {
                let segment = Segment::decode(bytes).expect("an encoded segment");
                assert_eq!(segment.day, *day);
                segment
            });
            set.histories.get_mut(&key).expect("a loaded history").segments = newest.collect();
        }
        let needs = IncidentNeeds::of(policy, batch, &set);
        let is_needed = |incident: &&Incident| {
            let by_cause = incident.is_current && needs.fingerprints.contains(&incident.cause.fingerprint());
            by_cause || needs.ids.contains(&incident.id)
        };
        let needed = self.incidents.values().filter(is_needed);
        set.incidents = needed.map(|incident| (incident.id, incident.clone())).collect();
        (set, made)
    }

    fn history(&self, key: BaselineKey) -> History {
        let alarm = self.alarms.get(&key).map(|bytes| Alarm::decode(bytes).expect("an encoded alarm"));
        History { baseline: self.baseline(key), segments: Vec::new(), alarm: alarm.unwrap_or_default() }
    }

    fn events_of(&self, id: ExecutionId) -> impl Iterator<Item = &WorkflowEvent> {
        self.events.range((id, 0)..=(id, u32::MAX)).map(|(_, event)| event)
    }

    fn steps_of(&self, id: ExecutionId) -> impl Iterator<Item = &Step> {
        let from = (id, StepId::from_stored(0));
        self.steps.range(from..).take_while(move |((of, _), _)| *of == id).map(|(_, step)| step)
    }

    fn closing(&self, id: ExecutionId) -> Closing {
        let steps = || self.steps_of(id);
        let completed = steps().filter(|step| step.status == StepStatus::Completed).count();
        Closing {
            running: steps().filter(|step| step.status == StepStatus::Running).cloned().collect(),
            completed: u64::try_from(completed).expect("fewer than 2^64"),
            bottlenecks: steps().filter(|step| step.bottleneck.is_some()).cloned().collect(),
        }
    }

    fn save(&mut self, mut set: WorkingSet) {
        self.idempotency.extend(set.new_idempotency);
        for (id, execution) in set.new_executions {
            assert!(self.executions.insert(id, execution).is_none(), "{id} is inserted twice");
        }
        for (id, severity) in set.worsened_executions {
            let execution = self.executions.get_mut(&id).expect("a stored execution");
            assert!(execution.status == ExecutionStatus::Running && execution.worst < Some(severity));
            execution.worst = Some(severity);
        }
        for id in set.watched_executions {
            let execution = self.executions.get_mut(&id).expect("a stored execution");
            assert_eq!(execution.status, ExecutionStatus::Running);
            execution.judge_at = set.executions[&id].judge_at;
            execution.stalled.clone_from(&set.executions[&id].stalled);
            match set.executions[&id].incident {
                Some(incident) => self.silences.insert(id, incident),
                None => self.silences.remove(&id),
            };
        }
        for (id, end) in set.ended_executions {
            let execution = self.executions.get_mut(&id).expect("a stored execution");
            assert_eq!(execution.status, ExecutionStatus::Running);
            execution.status = end.status;
            execution.ended_at = Some(end.ended_at);
            execution.duration = Some(end.duration);
            execution.output = end.output;
            execution.failure = end.failure;
            execution.steps_completed = end.steps_completed;
            execution.worst = end.worst;
            (execution.judge_at, execution.stalled) = (None, None);
            self.silences.remove(&id);
        }
        for (id, traced) in set.traced_executions {
            let execution = self.executions.get_mut(&id).expect("a stored execution");
            let head = &set.executions[&id];
            execution.workflow.clone_from(&head.workflow);
            (execution.status, execution.started_at) = (head.status, head.started_at);
            (execution.ended_at, execution.duration) = (head.ended_at, head.duration);
            (execution.steps_completed, execution.worst) = (head.steps_completed, head.worst);
            (execution.judge_at, execution.settle_at) = (head.judge_at, head.settle_at);
            execution.trace.clone_from(&head.trace);
            if let Some((version, attributes)) = traced.facts {
                (execution.version, execution.attributes) = (version, attributes);
            }
            execution.failure = traced.failure.unwrap_or(execution.failure.take());
        }
        for (key, written) in set.written_steps {
            let before = self.steps.insert(key, set.steps.remove(&key).expect("a step to write"));
            assert_eq!(before.is_none(), written == Written::Insert, "{key:?}");
        }
        for key in set.written_histories.into_keys() {
            assert!(self.baselines.contains_key(&key), "only what was loaded is written");
            self.baselines.insert(key, set.histories[&key].baseline.encode());
            let alarm = set.histories[&key].alarm.encode();
            assert!(alarm.len() <= ALARM_BYTES);
            self.alarms.insert(key, alarm);
        }
        for ((fingerprint, id), written) in set.written_incidents {
            let incident = set.incidents.remove(&id).expect("an incident to write");
            assert_eq!(incident.cause.fingerprint(), fingerprint);
            let of_cause = |other: &&Incident| {
                other.is_current && other.id != id && other.cause == incident.cause && incident.is_current
            };
            assert!(self.incidents.values().find(of_cause).is_none(), "one cause is one incident");
            assert_eq!(self.incidents.insert(id, incident).is_none(), written == Written::Insert);
        }
        self.entries.extend(set.new_entries);
        self.notifications.extend(set.new_notifications);
        for (key, event) in set.new_events {
            assert!(self.events.insert(key, event).is_none(), "{key:?} is inserted twice");
        }
        self.changes.extend(set.changes);
        for (key, failure) in set.new_failures {
            let is_first = !self.failures.contains_key(&key);
            *self.failures.entry(key).or_default() += failure.times(is_first);
        }
        self.segments.extend(set.written_segments.iter().map(|(key, segment)| (*key, segment.encode())));
    }
}

fn carry_out(policy: &Policy, batch: &[Request], set: &mut WorkingSet) -> Vec<Result<Answer, Refusal>> {
    let mut claims = Claims::default();
    assert!(batch.iter().all(|request| claims.admit(request)), "these do not share a batch: {batch:?}");
    let answers = apply(policy, batch, set);
    assert_eq!(answers.len(), batch.len());
    answers
}

fn head_of(execution: &Execution, incident: Option<IncidentId>) -> ExecutionHead {
    ExecutionHead {
        workflow: execution.workflow.clone(),
        status: execution.status,
        started_at: execution.started_at,
        ended_at: execution.ended_at,
        duration: execution.duration,
        recorded_at: execution.recorded_at,
        steps_completed: execution.steps_completed,
        worst: execution.worst,
        features: Features::of_execution(execution.version.as_ref(), &execution.attributes),
        stalled: execution.stalled.clone(),
        judge_at: execution.judge_at,
        incident,
        trace: execution.trace.clone(),
        settle_at: execution.settle_at,
    }
}
