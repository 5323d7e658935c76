//! Two weeks of a service that alerts: who would have been told what, on a clock that is moved by hand.
//!
//! The runs are spread over a fortnight, several times round, and three faults are planted among them: a step
//! that is slower for a while, one that hangs, and one that fails. Everything goes through the service's own
//! code, as in `replay`; what runs and what fires is looked at exactly when it is due. Counted is what people
//! are told, with the openings of one execution within a few seconds as one message, as it is delivered.
//! Not here: whether verdicts are right (`replay`).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::fmt::Write as _;
use std::sync::Arc;

use anyhow::{Context, Result};
use tracer_core::attributes::Attributes;
use tracer_core::detect::{Policy, Quantile, Severity, StepPolicy};
use tracer_core::execution::ExecutionStatus;
use tracer_core::failure::Failure;
use tracer_core::ids::{ExecutionId, StepId};
use tracer_core::incident::{IncidentKind, Transition};
use tracer_core::limits::GROUPED_WITHIN_SECS;
use tracer_core::name::{StepName, StepType, WorkflowName};
use tracer_core::notify::ChannelName;
use tracer_core::record::{
    Answer, Command, CompleteStep, Completion, EndExecution, JudgeExecution, JudgeStep, Outcome, Request,
    StartExecution, StartStep, TendIncident,
};
use tracer_core::routing::{Alerting, Audience, Channel, NewNotification};
use tracer_core::step::StepStatus;
use tracer_core::test_util::Shelf;
use tracer_core::time::{Micros, Timestamp};
use wildmatch::WildMatch;

use crate::files::{Run, View};
use crate::table::Table;

const DAYS: u64 = 14;
/// How often all runs come round in that time.
const ROUNDS: usize = 4;
/// Runs of a workflow are mixed with those of others: so far apart are two that follow each other.
const STRIDE: usize = 17;
/// How often the service looks at what runs.
const WATCHED_EVERY: Micros = Micros::from_secs(1);
/// How much slower the slow step is.
const SLOWER: u64 = 4;
/// How long the hanging step hangs.
const HANGS: Micros = Micros::from_secs(10 * 3_600);
/// For so long after a fault what is told of its step is told because of it.
const AFTERMATH: Micros = Micros::from_days(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Harm {
    Slow,
    Hang,
    Fail,
}

/// Something that goes wrong for a while.
struct Fault {
    harm: Harm,
    workflow: WorkflowName,
    step: StepName,
    from: Timestamp,
    until: Timestamp,
}

impl Fault {
    fn title(&self) -> String {
        let what = match self.harm {
            Harm::Slow => format!("{SLOWER} times as slow"),
            Harm::Hang => format!("one hangs for {} h", HANGS.as_secs_f64() / 3_600.0),
            Harm::Fail => "fails".to_owned(),
        };
        format!("{} of {} {what}", self.step, self.workflow)
    }

    /// Whether a message is about it.
    fn is_told_by(&self, told: &NewNotification) -> bool {
        let cause = &told.incident.cause;
        let of_harm = match cause.kind {
            IncidentKind::SlowStep | IncidentKind::Regression => self.harm != Harm::Fail,
            IncidentKind::StuckStep | IncidentKind::StalledExecution => self.harm != Harm::Fail,
            IncidentKind::FailureRate => self.harm == Harm::Fail,
            // Nobody signals here.
            IncidentKind::SloBurn | IncidentKind::Alert => false,
        };
        let of_step = cause.step.as_ref().is_none_or(|step| *step == self.step);
        let in_time =
            told.incident.first_seen_at >= self.from && told.incident.first_seen_at <= self.until + AFTERMATH;
        of_harm && of_step && in_time && cause.workflow == self.workflow
    }
}

/// What one fortnight brought.
#[derive(Default)]
struct Fortnight {
    steps: usize,
    bottlenecks: usize,
    in_flight: usize,
    failed: usize,
    told: Vec<NewNotification>,
    opened: BTreeMap<IncidentKind, usize>,
}

/// Replays a fortnight with and without faults, in both views, and says what people were told.
///
/// # Errors
/// If a command is refused, which is a fault of this program or of the files.
pub(crate) fn report(runs: &[Run]) -> Result<String> {
    let mut text = format!(
        "{} runs, {ROUNDS} times round in {DAYS} days. Messages are those to people, as a channel that cannot \
         edit gets them;\nopenings of one execution within {GROUPED_WITHIN_SECS} s are one.",
        runs.len()
    );
    let rules = [
        ("the default rule", StepPolicy::default()),
        ("rule quantile", StepPolicy { rule: Arc::new(Quantile::default()), ..StepPolicy::default() }),
    ];
    for (view, (name, steps)) in View::ALL.into_iter().flat_map(|view| rules.clone().map(|rule| (view, rule)))
    {
        let faults = faults(runs, view)?;
        let quiet = simulate(runs, view, steps.clone(), &[])?;
        let harmed = simulate(runs, view, steps, &faults)?;
        write!(text, "\n\n{name}, {}\n\n{}", view.title(), table(&quiet, &harmed, &faults))?;
        write!(text, "\n\n{}", of_faults(&harmed, &faults))?;
    }
    Ok(text)
}

fn begin() -> Timestamp {
    Timestamp::from_millis(1_772_323_200_000)
}

/// Plants a fault in each of the three workflows with the most runs, in the step that takes the most time, while
/// its runs come round for the third time.
fn faults(runs: &[Run], view: View) -> Result<Vec<Fault>> {
    let mut by_workflow: BTreeMap<&WorkflowName, usize> = BTreeMap::new();
    for run in runs {
        *by_workflow.entry(run.workflow(view)).or_default() += 1;
    }
    let mut workflows: Vec<_> = by_workflow.into_iter().collect();
    workflows.sort_by_key(|(name, count)| (Reverse(*count), (*name).clone()));
    let planted = [Harm::Slow, Harm::Hang, Harm::Fail].into_iter().zip(workflows);
    let planted = planted.map(|(harm, (workflow, _))| {
        let mut times: BTreeMap<&StepName, u64> = BTreeMap::new();
        let steps = runs.iter().filter(|run| run.workflow(view) == workflow).flat_map(|run| &run.steps);
        for step in steps {
            *times.entry(&step.name).or_default() += step.duration.get();
        }
        let step = times.into_iter().max_by_key(|(_, time)| *time).context("a workflow has steps")?.0;
        let is_its = |slot: &usize| {
            runs.get(played_at(*slot, runs.len())).is_some_and(|run| run.workflow(view) == workflow)
        };
        let slots: Vec<usize> = (2 * runs.len()..3 * runs.len()).filter(is_its).collect();
        let (first, last) = slots.first().zip(slots.last()).context("every run comes round")?;
        let from = starts_at(*first, runs.len())?;
        let until = starts_at(*last, runs.len())? + Micros::from_secs(1);
        Ok(Fault { harm, workflow: workflow.clone(), step: step.clone(), from, until })
    });
    planted.collect()
}

fn simulate(runs: &[Run], view: View, steps: StepPolicy, faults: &[Fault]) -> Result<Fortnight> {
    let people = Channel {
        name: ChannelName::new("people")?,
        audience: Audience::People,
        workflow: WildMatch::new("*"),
        severity: Severity::Warning,
        kinds: BTreeSet::new(),
        quiet: None,
        grouped: true,
    };
    let alerting = Alerting { channels: vec![people], ..Alerting::default() };
    let policy = Policy::new(steps, []).with_alerting(alerting);
    let mut service =
        Service { policy, shelf: Shelf::default(), timers: BinaryHeap::new(), found: Fortnight::default() };
    let mut happenings = happenings(runs, view, faults)?;
    happenings.sort_by_key(|happening| (happening.received_at, happening.order));
    for happening in happenings {
        service.wait_until(happening.received_at)?;
        service.hear(happening)?;
    }
    service.wait_until(begin() + Micros::from_days(DAYS + 2))?;
    Ok(service.finish())
}

/// A command and when it arrives; of those that arrive at once the lower order comes first.
struct Happening {
    received_at: Timestamp,
    order: u8,
    command: Command,
}

fn happenings(runs: &[Run], view: View, faults: &[Fault]) -> Result<Vec<Happening>> {
    let mut all = Vec::new();
    let mut hung = false;
    for slot in 0..runs.len() * ROUNDS {
        let run = runs.get(played_at(slot, runs.len())).context("a run")?;
        let starts_at = starts_at(slot, runs.len())?;
        let id = ExecutionId::from_u128(u128::try_from(slot)? + 1).context("runs are numbered")?;
        let fault = faults.iter().find(|fault| {
            *run.workflow(view) == fault.workflow && starts_at >= fault.from && starts_at < fault.until
        });
        all.push(happening(starts_at, 0, Command::StartExecution(start(id, run, view, starts_at))));
        let (mut ends_at, mut is_bad) = (starts_at, false);
        for (number, step) in run.steps.iter().enumerate() {
            let harm = fault.filter(|fault| fault.step == step.name).map(|fault| fault.harm);
            let began = starts_at + step.started_at.since(run.started_at);
            let (duration, status) = match harm {
                Some(Harm::Slow) => (Micros::new(step.duration.get() * SLOWER), StepStatus::Completed),
                Some(Harm::Hang) if !std::mem::replace(&mut hung, true) => (HANGS, StepStatus::Completed),
                Some(Harm::Hang) | None => (step.duration, StepStatus::Completed),
                Some(Harm::Fail) => (step.duration, StepStatus::Failed),
            };
            is_bad |= status == StepStatus::Failed;
            let ended = began + duration;
            ends_at = ends_at.max(ended);
            let step_id = StepId::from_u64(u64::try_from(number)? + 1).context("steps are numbered")?;
            let begun = StartStep {
                execution: id,
                id: step_id,
                name: step.name.clone(),
                step_type: StepType::default(),
                parent: None,
                attempt: 1,
                attributes: step.attributes.clone(),
                started_at: None,
                completion: None,
            };
            let failure = (status == StepStatus::Failed).then(|| Failure::new(None, "planted", None));
            let completion = Completion {
                status,
                duration: None,
                ended_at: None,
                failure,
                attributes: Attributes::default(),
            };
            let end = CompleteStep { execution: id, id: step_id, completion };
            all.push(happening(began, 2, Command::StartStep(begun)));
            let order = if ended == began { 3 } else { 1 };
            all.push(happening(ended, order, Command::CompleteStep(end)));
        }
        let status = if is_bad { ExecutionStatus::Failed } else { ExecutionStatus::Completed };
        let end = EndExecution { id, status, ended_at: None, failure: None, output: None };
        all.push(happening(ends_at, 4, Command::EndExecution(end)));
    }
    Ok(all)
}

/// Returns which of so many runs is played in a slot.
const fn played_at(slot: usize, runs: usize) -> usize {
    (slot % runs * STRIDE + slot / runs) % runs
}

fn starts_at(slot: usize, runs: usize) -> Result<Timestamp> {
    let slots = u64::try_from(runs * ROUNDS)?;
    let apart = Micros::from_days(DAYS).get() / slots;
    Ok(begin() + Micros::new(apart * u64::try_from(slot)?))
}

const fn happening(received_at: Timestamp, order: u8, command: Command) -> Happening {
    Happening { received_at, order, command }
}

fn start(id: ExecutionId, run: &Run, view: View, started_at: Timestamp) -> StartExecution {
    StartExecution {
        id,
        workflow: run.workflow(view).clone(),
        correlation_id: None,
        version: None,
        attributes: run.attributes.clone(),
        input: None,
        started_at,
        parent: None,
        link: None,
        simulated: false,
    }
}

/// Something that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Running {
    Step(ExecutionId, StepId),
    Execution(ExecutionId),
}

struct Service {
    policy: Policy,
    shelf: Shelf,
    /// When what runs may be due. What was moved since has a later entry.
    timers: BinaryHeap<Reverse<(Timestamp, Running)>>,
    found: Fortnight,
}

impl Service {
    /// Looks at all that is due before then, at the moment at which it is.
    fn wait_until(&mut self, until: Timestamp) -> Result<()> {
        loop {
            let running = self.timers.peek().map(|Reverse((at, _))| *at);
            let incident =
                self.shelf.incidents.values().filter_map(|incident| Some((incident.due_at?, incident.id)));
            let incident = incident.min();
            match incident.filter(|(at, _)| running.is_none_or(|running| *at <= running)) {
                Some((at, id)) if at <= until => {
                    let cause = self.shelf.incidents.get(&id).context("an incident")?.cause.clone();
                    self.hear(happening(at, 0, Command::TendIncident(TendIncident { id, cause })))?;
                }
                _ => match self.timers.pop() {
                    Some(Reverse((at, running))) if at <= until => self.look(at, running)?,
                    Some(later) => {
                        self.timers.push(later);
                        return Ok(());
                    }
                    None => return Ok(()),
                },
            }
        }
    }

    fn look(&mut self, at: Timestamp, running: Running) -> Result<()> {
        if self.due(running) != Some(at) {
            return Ok(());
        }
        let command = match running {
            Running::Step(execution, id) => Command::JudgeStep(JudgeStep { execution, id }),
            Running::Execution(id) => Command::JudgeExecution(JudgeExecution { id }),
        };
        self.hear(happening(at, 0, command))
    }

    fn due(&self, running: Running) -> Option<Timestamp> {
        match running {
            Running::Step(execution, id) => self.shelf.steps.get(&(execution, id))?.judge_at,
            Running::Execution(id) => self.shelf.executions.get(&id)?.judge_at,
        }
        .map(next_look)
    }

    fn hear(&mut self, happening: Happening) -> Result<()> {
        let Happening { received_at, command, .. } = happening;
        let named = named(&command);
        let request = Request { command, idempotency: None, received_at };
        let answer =
            self.shelf.write(&self.policy, &[request]).pop().context("a command has an answer")??;
        self.count(&answer);
        for running in named {
            let due = self.due(running);
            self.timers.extend(due.map(|at| Reverse((at, running))));
        }
        Ok(())
    }

    fn count(&mut self, answer: &Answer) {
        match &answer.outcome {
            Outcome::StepEnded(ended) => {
                self.found.steps += 1;
                self.found.bottlenecks += usize::from(ended.bottleneck.is_some());
                self.found.failed += usize::from(ended.status == StepStatus::Failed);
            }
            Outcome::StepStuck(_) | Outcome::ExecutionStalled(_) => self.found.in_flight += 1,
            Outcome::ExecutionStarted(_)
            | Outcome::StepStarted(_)
            | Outcome::ExecutionEnded(_)
            | Outcome::ExecutionRecorded { .. }
            | Outcome::Incident(_)
            | Outcome::SpansRecorded(_)
            | Outcome::TraceSettled(_)
            | Outcome::EventRecorded(_)
            | Outcome::Rebaselined
            | Outcome::NothingNew => {}
        }
    }

    fn finish(self) -> Fortnight {
        let Self { shelf, mut found, .. } = self;
        for incident in shelf.incidents.values() {
            *found.opened.entry(incident.cause.kind).or_default() += 1;
        }
        found.told = shelf.notifications;
        found
    }
}

/// Returns when the service looks at what is due then.
fn next_look(due: Timestamp) -> Timestamp {
    let past = due.since(begin()).get() % WATCHED_EVERY.get();
    if past == 0 { due } else { due + Micros::new(WATCHED_EVERY.get() - past) }
}

/// Returns what a command says something of that runs.
fn named(command: &Command) -> Vec<Running> {
    match command {
        Command::StartExecution(start) => vec![Running::Execution(start.id)],
        Command::StartStep(start) => {
            vec![Running::Step(start.execution, start.id), Running::Execution(start.execution)]
        }
        Command::CompleteStep(complete) => vec![Running::Execution(complete.execution)],
        Command::JudgeStep(judge) => vec![Running::Step(judge.execution, judge.id)],
        Command::JudgeExecution(judge) => vec![Running::Execution(judge.id)],
        Command::EndExecution(_)
        | Command::RecordExecution(_)
        | Command::Rebaseline(_)
        | Command::TendIncident(_)
        | Command::RecordSpans(_)
        | Command::SettleTrace(_)
        | Command::RecordEvent(_)
        | Command::Signal(_)
        | Command::ChangeIncident(_) => Vec::new(),
    }
}

/// Returns the messages in which these notifications are delivered: the first of each.
fn messages(told: &[NewNotification]) -> Vec<&NewNotification> {
    let mut messages: Vec<&NewNotification> = Vec::new();
    for one in told.iter().filter(|one| one.event.loud) {
        let joins = |first: &&NewNotification| {
            first.event.transition == one.event.transition
                && first.incident.opened_in == one.incident.opened_in
                && one.created_at.since(first.created_at) <= Micros::from_secs(GROUPED_WITHIN_SECS)
        };
        if !messages.iter().rev().any(joins) {
            messages.push(one);
        }
    }
    messages
}

fn table(quiet: &Fortnight, harmed: &Fortnight, faults: &[Fault]) -> String {
    let columns =
        ["", "steps", "failed", "bottlenecks", "in flight", "incidents", "messages", "of the faults"];
    let mut table = Table::new(columns.map(|column| ("", column.to_owned())));
    for (name, found) in [("as they were", quiet), ("with the faults", harmed)] {
        let messages = messages(&found.told);
        let because = |one: &&&NewNotification| faults.iter().any(|fault| fault.is_told_by(one));
        let numbers = [
            found.steps,
            found.failed,
            found.bottlenecks,
            found.in_flight,
            found.opened.values().sum(),
            messages.len(),
            messages.iter().filter(because).count(),
        ];
        table.add([name.to_owned()].into_iter().chain(numbers.map(|number| number.to_string())));
    }
    table.text()
}

/// Returns what was told because of each fault, and the rest by kind.
fn of_faults(found: &Fortnight, faults: &[Fault]) -> String {
    let messages = messages(&found.told);
    let mut lines = Vec::new();
    for fault in faults {
        let mut told: BTreeMap<(IncidentKind, Transition), (usize, f64)> = BTreeMap::new();
        for one in messages.iter().filter(|one| fault.is_told_by(one)) {
            let hours = one.created_at.since(fault.from).as_secs_f64() / 3_600.0;
            told.entry((one.incident.cause.kind, one.event.transition)).or_insert((0, hours)).0 += 1;
        }
        let told = told.into_iter().map(|((kind, what), (count, hours))| {
            format!("{count} {} {}, first after {hours:.1} h", kind.as_str(), what.as_str())
        });
        let told: Vec<String> = told.collect();
        let told = if told.is_empty() { "nothing".to_owned() } else { told.join("; ") };
        lines.push(format!("{}: {told}", fault.title()));
    }
    let mut rest: BTreeMap<(IncidentKind, Transition), usize> = BTreeMap::new();
    for one in messages.iter().filter(|one| !faults.iter().any(|fault| fault.is_told_by(one))) {
        *rest.entry((one.incident.cause.kind, one.event.transition)).or_default() += 1;
    }
    let rest: Vec<String> = rest
        .into_iter()
        .map(|((kind, what), count)| format!("{count} {} {}", kind.as_str(), what.as_str()))
        .collect();
    lines.push(format!("of what detection found of steps as they were: {}", rest.join(", ")));
    lines.join("\n")
}
