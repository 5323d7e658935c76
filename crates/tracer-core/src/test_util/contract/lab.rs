//! A store on the bench: records, asks, and moves the clock, in few words.
//!
//! Invariant: whatever a test did not expect (a refusal, an outage) panics with what it was.
//! Not here: what is expected of a store; that is in the other files of this folder.

use std::any::Any;
use std::sync::Arc;

use jiff::civil::Time;
use jiff::tz::TimeZone;
use wildmatch::WildMatch;

use crate::baseline::{Baseline, Ending, Measured};
use crate::clock::Clock;
use crate::cohort::{CohortSpec, Dimension};
use crate::detect::{Bottleneck, FactorOfMean, Policy, PolicyEntry, StepPolicy, WorkflowPolicy};
use crate::execution::{Execution, ExecutionStatus};
use crate::ids::{ExecutionId, StepId};
use crate::incident::Incident;
use crate::outbox::IncidentFilter;
use crate::record::{
    Answer, Completion, ExecutionEnded, Idempotency, JudgeExecution, JudgeStep, Outcome, Refusal, Request,
    SettleTrace, StartExecution, StepEnded, TraceSettled,
};
use crate::repository::{ExecutionFilter, Repository, RepositoryError, WorkflowHistory};
use crate::routing::{Alerting, Audience, Channel, QuietHours};
use crate::step::Step;
use crate::test_util::FakeClock;
use crate::test_util::fixtures::{
    self, IntoCommand, as_repeated, channel, completed, end, request, start, step, whole, workflow,
};
use crate::time::{Micros, Timestamp};

/// A store under test, with what must outlive it.
pub struct Store {
    // Dropped in this order: the store closes before its database goes.
    repository: Arc<dyn Repository>,
    _kept: Option<Box<dyn Any + Send + Sync>>,
}

impl Store {
    /// Takes a store that needs nothing else.
    pub fn new(repository: Arc<dyn Repository>) -> Self {
        Self { repository, _kept: None }
    }

    /// Takes a store, and keeps something (its folder, its database) until it is closed.
    pub fn keeping(repository: Arc<dyn Repository>, kept: impl Any + Send + Sync) -> Self {
        Self { repository, _kept: Some(Box::new(kept)) }
    }
}

/// An empty store, and the clock by which it stamps.
pub struct Lab {
    store: Store,
    /// Moves only by hand.
    pub clock: Arc<FakeClock>,
}

impl Lab {
    /// Opens an empty store at [`fixtures::NOON`].
    ///
    /// Its policy is the default one, but a step named `patient…` may take ten times its average, one
    /// named `timed…` is stuck after a second, one named `by_version…` is compared with those of its version
    /// and magnitude of `input_bytes`, and an execution of a workflow named `hushed…` is stalled
    /// after ten seconds of silence.
    ///
    /// Of incidents is told: `people`; `state`, which keeps them; `action`, which acts on openings; and of workflows
    /// named `nightly…` also `night`, whose quiet hours are from 11:00 to 14:00 UTC.
    ///
    /// Executions of workflows named `promised…` count for objectives (`super::slo`).
    pub async fn open(open: impl AsyncFnOnce(Arc<FakeClock>, Arc<Policy>) -> Store) -> Self {
        let clock = Arc::new(FakeClock::at(fixtures::NOON));
        let patient = FactorOfMean { warning: 10.0, critical: 20.0, ..FactorOfMean::default() };
        let steps = |step: &str, steps| PolicyEntry {
            workflow: "*".into(),
            step: step.into(),
            steps,
            executions: WorkflowPolicy::default(),
        };
        let stall_after = Some(Micros::from_secs(10));
        let hushed = PolicyEntry {
            workflow: "hushed*".into(),
            executions: WorkflowPolicy { stall_after, ..WorkflowPolicy::default() },
            ..steps("", StepPolicy::default())
        };
        let dimensions =
            ["version", "log2(input_bytes)"].map(|text| Dimension::parse(text).expect("a dimension"));
        let by_version = CohortSpec::Given(dimensions.to_vec());
        let entries = [
            steps("by_version*", StepPolicy { cohort: by_version, ..StepPolicy::default() }),
            steps("patient*", StepPolicy { rule: Arc::new(patient), ..StepPolicy::default() }),
            steps("timed*", StepPolicy { timeout: Some(Micros::from_secs(1)), ..StepPolicy::default() }),
            hushed,
        ];
        let alerting = Alerting { channels: channels(), ..Alerting::default() };
        let policy = Policy::new(StepPolicy::default(), entries)
            .with_alerting(alerting)
            .with_slos(super::slo::objectives());
        let store = open(Arc::clone(&clock), Arc::new(policy)).await;
        Self { store, clock }
    }

    /// Returns the store.
    pub fn store(&self) -> &dyn Repository {
        &*self.store.repository
    }

    /// Returns the time.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Records something that may be refused.
    pub async fn try_record(&self, command: impl IntoCommand) -> Result<Answer, Refusal> {
        self.send(request(self.now(), command)).await
    }

    /// Records something under an `Idempotency-Key`.
    pub async fn record_under(&self, key: Idempotency, command: impl IntoCommand) -> Result<Answer, Refusal> {
        self.send(Request { idempotency: Some(key), ..request(self.now(), command) }).await
    }

    /// Records something that must be fresh.
    pub async fn record(&self, command: impl IntoCommand) -> Outcome {
        let answer = self.try_record(command).await.expect("not refused");
        assert!(answer.fresh, "recorded before: {answer:?}");
        answer.outcome
    }

    /// Records something that must be refused, and returns why.
    pub async fn refused(&self, command: impl IntoCommand) -> Refusal {
        self.try_record(command).await.expect_err("refused")
    }

    /// Starts an execution now.
    pub async fn start(&self, name: &str) -> ExecutionId {
        self.start_as(StartExecution { started_at: self.now(), ..start(name) }).await
    }

    /// Starts an execution as given.
    pub async fn start_as(&self, start: StartExecution) -> ExecutionId {
        let id = start.id;
        self.record(start).await;
        id
    }

    /// Starts a step now.
    pub async fn step(&self, execution: ExecutionId, name: &str) -> StepId {
        let start = step(execution, name);
        let id = start.id;
        self.record(start).await;
        id
    }

    /// Completes a running step after so many milliseconds.
    pub async fn complete(&self, execution: ExecutionId, id: StepId, millis: u64) -> StepEnded {
        step_ended(self.record(fixtures::complete(execution, id, completed(millis))).await)
    }

    /// Records a completed step whole, and returns its verdict.
    pub async fn took(&self, execution: ExecutionId, name: &str, millis: u64) -> Option<Bottleneck> {
        self.ended(execution, name, completed(millis)).await.bottleneck
    }

    /// Records as many completed steps of the same duration; returns how many were bottlenecks.
    pub async fn took_each(&self, execution: ExecutionId, name: &str, millis: u64, times: usize) -> usize {
        let mut bottlenecks = 0;
        for _ in 0..times {
            bottlenecks += usize::from(self.took(execution, name, millis).await.is_some());
        }
        bottlenecks
    }

    /// Records a step whole.
    pub async fn ended(&self, execution: ExecutionId, name: &str, completion: Completion) -> StepEnded {
        step_ended(self.record(whole(execution, name, completion)).await)
    }

    /// Ends an execution well, now.
    pub async fn end(&self, id: ExecutionId) -> ExecutionEnded {
        self.end_as(id, ExecutionStatus::Completed).await
    }

    /// Ends an execution now.
    pub async fn end_as(&self, id: ExecutionId, status: ExecutionStatus) -> ExecutionEnded {
        execution_ended(self.record(crate::record::EndExecution { status, ..end(id) }).await)
    }

    /// Returns an execution that must be known.
    pub async fn execution(&self, id: ExecutionId) -> Execution {
        self.find(id).await.expect("a known execution")
    }

    /// Returns an execution, if it is known.
    pub async fn find(&self, id: ExecutionId) -> Option<Execution> {
        self.store().execution(id).await.expect("an answer")
    }

    /// Returns the steps of an execution.
    pub async fn steps(&self, id: ExecutionId) -> Vec<Step> {
        self.store().steps(id, None, 10_000).await.expect("an answer")
    }

    /// Returns a step that must be known.
    pub async fn step_of(&self, execution: ExecutionId, id: StepId) -> Step {
        self.steps(execution).await.into_iter().find(|step| step.id == id).expect("a known step")
    }

    /// Returns the ids of all executions that a filter lets through, newest first.
    pub async fn list(&self, filter: &ExecutionFilter) -> Vec<ExecutionId> {
        let listed = self.store().executions(filter, None, 1_000).await.expect("an answer");
        listed.into_iter().map(|execution| execution.id).collect()
    }

    /// Returns the histories of a workflow, if it is known.
    pub async fn history(&self, name: &str) -> Option<WorkflowHistory> {
        self.store().workflow_history(&workflow(name)).await.expect("an answer")
    }

    /// Returns the baseline of a step; an empty one if it has none.
    pub async fn baseline(&self, workflow: &str, step: &str) -> Baseline {
        let steps = self.history(workflow).await.map(|history| history.steps).unwrap_or_default();
        steps
            .into_iter()
            .find(|(name, _)| name.as_str() == step)
            .map(|(_, baseline)| baseline)
            .unwrap_or_default()
    }

    /// Returns the reference of a step, in words.
    pub async fn reference(&self, workflow: &str, step: &str) -> String {
        self.baseline(workflow, step).await.to_string()
    }

    /// Returns how often a step ended in a way.
    pub async fn count(&self, workflow: &str, step: &str, ending: Ending) -> u64 {
        self.baseline(workflow, step).await.measured().endings.get(ending)
    }

    /// Returns what was measured of a workflow's executions as wholes; nothing if it is unknown.
    pub async fn totals(&self, workflow: &str) -> Measured {
        self.history(workflow).await.map(|history| history.executions).unwrap_or_default().measured()
    }

    /// Looks at everything that is due, steps first; returns each new verdict in words.
    pub async fn look(&self) -> Vec<String> {
        let due = self.store().due(self.now(), 1_000).await.expect("an answer");
        let mut said = Vec::new();
        for (execution, id) in due.steps {
            said.extend(self.judge(JudgeStep { execution, id }).await);
        }
        for id in due.executions {
            said.extend(self.judge(JudgeExecution { id }).await);
        }
        said
    }

    /// Settles, or closes, the traces that are due; returns what came of those of which something did.
    pub async fn settle(&self) -> Vec<TraceSettled> {
        let due = self.store().due(self.now(), 1_000).await.expect("an answer");
        let mut settled = Vec::new();
        for id in due.traces {
            let answer = self.try_record(SettleTrace { id }).await.expect("looking is never refused");
            if let Outcome::TraceSettled(found) = answer.outcome {
                assert!(answer.fresh);
                settled.push(*found);
            }
        }
        settled
    }

    /// Looks at the incidents that are due; returns what became of those to which something happened.
    pub async fn tend(&self) -> Vec<Incident> {
        let due = self.store().due(self.now(), 1_000).await.expect("an answer");
        let mut changed = Vec::new();
        for tend in due.incidents {
            let answer = self.try_record(tend).await.expect("looking is never refused");
            let is_fresh = answer.fresh;
            if let Outcome::Incident(incident) = answer.outcome {
                assert!(is_fresh);
                changed.push(*incident);
            } else {
                assert_eq!((answer.outcome, is_fresh), (Outcome::NothingNew, false));
            }
        }
        changed
    }

    /// Returns all incidents that a filter lets through, newest first.
    pub async fn incidents(&self, filter: &IncidentFilter) -> Vec<Incident> {
        self.store().incidents(filter, None, 10_000).await.expect("an answer")
    }

    /// Returns the only incident that there is.
    pub async fn only_incident(&self) -> Incident {
        let mut all = self.incidents(&IncidentFilter::default()).await;
        assert_eq!(all.len(), 1, "{all:#?}");
        all.remove(0)
    }

    /// Returns an execution of a workflow whose step has taken 100 ms ten times.
    pub async fn with_history(&self, workflow: &str, step: &str) -> ExecutionId {
        let id = self.start(workflow).await;
        self.took_each(id, step, 100, 10).await;
        id
    }

    /// Looks at one thing; returns the verdict in words, if it is new.
    pub async fn judge(&self, command: impl IntoCommand) -> Option<String> {
        let answer = self.try_record(command).await.expect("looking is never refused");
        let told = match &answer.outcome {
            Outcome::StepStuck(stuck) => Some(format!("{} {}", stuck.name, verdict(Some(&stuck.bottleneck)))),
            Outcome::ExecutionStalled(stalled) => {
                Some(format!("{} as a whole {}", stalled.workflow, verdict(Some(&stalled.bottleneck))))
            }
            Outcome::NothingNew => None,
            Outcome::ExecutionStarted(_)
            | Outcome::StepStarted(_)
            | Outcome::StepEnded(_)
            | Outcome::ExecutionEnded(_)
            | Outcome::ExecutionRecorded { .. }
            | Outcome::Incident(_)
            | Outcome::SpansRecorded(_)
            | Outcome::TraceSettled(_)
            | Outcome::EventRecorded(_)
            | Outcome::Rebaselined => panic!("not what looking says: {answer:?}"),
        };
        assert_eq!(answer.fresh, told.is_some());
        told
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Micros) {
        self.clock.advance(by);
    }

    async fn send(&self, request: Request) -> Result<Answer, Refusal> {
        match self.store().record(request).await {
            Ok(answer) => Ok(answer),
            Err(RepositoryError::Refused(refusal)) => Err(refusal),
            Err(error @ (RepositoryError::Unavailable { .. } | RepositoryError::Internal { .. })) => {
                panic!("the store failed: {error:?}")
            }
        }
    }
}

/// Returns the channels that are told of incidents.
fn channels() -> Vec<Channel> {
    let at = |hour| Time::new(hour, 0, 0, 0).expect("a time of day");
    let quiet = Some(QuietHours { from: at(11), until: at(14), zone: TimeZone::UTC });
    let night = Channel { workflow: WildMatch::new("nightly*"), quiet, ..channel("night", Audience::People) };
    let people = channel("people", Audience::People);
    vec![people, channel("state", Audience::State), channel("action", Audience::Action), night]
}

/// Returns the ended step that an outcome shows, as every answer to the same request does.
pub(super) fn step_ended(outcome: Outcome) -> StepEnded {
    let Outcome::StepEnded(ended) = as_repeated(outcome) else { panic!("no ended step") };
    ended
}

/// Returns the ended execution that an outcome shows.
pub(super) fn execution_ended(outcome: Outcome) -> ExecutionEnded {
    let Outcome::ExecutionEnded(ended) = outcome else { panic!("no ended execution: {outcome:?}") };
    ended
}

/// Returns a verdict in words: severity, factor, average and samples.
pub(super) fn verdict(bottleneck: Option<&Bottleneck>) -> String {
    let Some(found) = bottleneck else { return "normal".into() };
    let average = found.historical_avg.as_millis();
    format!("{} {:.2} over {average}ms of {}", found.severity.as_str(), found.factor(), found.samples)
}
