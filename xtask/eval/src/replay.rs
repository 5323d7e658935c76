//! Replays runs through the code that records them in the service, and notes what it says of each step.
//!
//! Nothing here decides: every verdict is the answer of `tracer_core::record::apply`, around which the
//! shelf does what a store does. A slowdown is injected by asking what a longer duration would have been
//! answered in the very state in which the real one was recorded; it leaves no trace in the history.
//! Not here: adding up (`tally`).

use std::collections::{BTreeMap, HashSet};

use anyhow::{Context, Result, bail};
use tracer_core::cohort::{BaselineKey, Cohort};
use tracer_core::detect::Policy;
use tracer_core::name::StepName;
use tracer_core::record::{Answer, Outcome, Request};
use tracer_core::test_util::Shelf;
use tracer_core::time::Micros;

use crate::files::{Run, RunStep, View};
use crate::stream::{Event, Played, What, events};

/// How many times as slow steps are made.
pub(crate) const FACTORS: [u64; 3] = [2, 3, 5];
/// The factor by which steps are slowed that are watched while they run.
pub(crate) const WATCHED_FACTOR: u64 = 3;
/// Completed samples that a step's history must have held when it began for it to be scored.
pub(crate) const LEAST_HISTORY: u64 = 20;
/// The shortest duration that is scored.
pub(crate) const LEAST_DURATION: Micros = Micros::from_secs(1);

/// What is replayed beside single steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    /// Steps as they end, and nothing else.
    StepsAlone,
    /// Steps in flight, and whole runs slowed, too.
    Everything,
}

/// What was said of steps as they ended.
#[derive(Clone, Debug)]
pub(crate) struct Judged {
    /// The run.
    pub(crate) run: usize,
    /// The step.
    pub(crate) step: StepName,
    /// Whether it was flagged as it was.
    pub(crate) flagged: bool,
    /// Whether it would have been flagged, had it taken so many times as long.
    pub(crate) found: [bool; FACTORS.len()],
}

/// What was said of a step in a run of which every step was slowed.
#[derive(Clone, Debug)]
pub(crate) struct Slowed {
    /// The run.
    pub(crate) run: usize,
    /// The step.
    pub(crate) step: StepName,
    /// Whether it was flagged, for each factor.
    pub(crate) found: [bool; FACTORS.len()],
}

/// When a slowed step would have been known while it ran.
#[derive(Clone, Debug)]
pub(crate) struct Watched {
    /// The run.
    pub(crate) run: usize,
    /// The step.
    pub(crate) step: StepName,
    /// After which share of its slowed duration; none if it ended before.
    pub(crate) known_after: Option<f64>,
}

/// All that was said in one replay.
#[derive(Debug, Default)]
pub(crate) struct Scores {
    /// Of steps as they ended.
    pub(crate) judged: Vec<Judged>,
    /// Of runs slowed as wholes.
    pub(crate) slowed: Vec<Slowed>,
    /// Of steps while they ran.
    pub(crate) watched: Vec<Watched>,
}

/// Replays runs, which are in order of time, as one stream.
///
/// # Errors
/// If a command is refused, which is a fault of this program or of the files.
pub(crate) fn replay(runs: &[&Run], view: View, policy: &Policy, depth: Depth) -> Result<Scores> {
    let played: Vec<Played<'_>> =
        runs.iter().enumerate().map(|(number, run)| Played::new(run, view, number)).collect::<Result<_>>()?;
    let mut replay =
        Replay { policy, shelf: Shelf::default(), scores: Scores::default(), with_history: HashSet::new() };
    for event in events(&played) {
        let run = played.get(event.run).context("events name their run")?;
        replay.happens(run, event, depth)?;
    }
    Ok(replay.scores)
}

struct Replay<'a> {
    policy: &'a Policy,
    shelf: Shelf,
    scores: Scores,
    /// The steps, by run and number, that began with enough history.
    with_history: HashSet<(usize, usize)>,
}

impl Replay<'_> {
    fn happens(&mut self, played: &Played<'_>, event: Event, depth: Depth) -> Result<()> {
        let request = played.request(event)?;
        match event.what {
            What::StartRun => {
                if depth == Depth::Everything {
                    self.slow_down(played, event.run)?;
                }
                write(&mut self.shelf, self.policy, request)?;
            }
            What::StartStep(number) => {
                if is_scored(&self.shelf, played, played.step(number)?) {
                    self.with_history.insert((event.run, number));
                }
                write(&mut self.shelf, self.policy, request)?;
                if depth == Depth::Everything {
                    self.watch(played, event.run, number)?;
                }
            }
            What::EndStep(number) | What::EndStepAtOnce(number) => {
                self.judge(played, event.run, number, request)?;
            }
            What::EndRun => drop(write(&mut self.shelf, self.policy, request)?),
        }
        Ok(())
    }

    /// Records the end of a step, and asks before what slower ones would be answered.
    fn judge(&mut self, played: &Played<'_>, run: usize, number: usize, request: Request) -> Result<()> {
        let step = played.step(number)?;
        if !self.with_history.contains(&(run, number)) {
            write(&mut self.shelf, self.policy, request)?;
            return Ok(());
        }
        let mut found = [false; FACTORS.len()];
        for (found, factor) in found.iter_mut().zip(FACTORS) {
            *found = self.would_flag(played, number, times(step.duration, factor))?;
        }
        let flagged = is_flagged(&write(&mut self.shelf, self.policy, request)?);
        self.scores.judged.push(Judged { run, step: step.name.clone(), flagged, found });
        Ok(())
    }

    fn would_flag(&self, played: &Played<'_>, number: usize, duration: Micros) -> Result<bool> {
        let request = played.completion(number, duration)?;
        Ok(is_flagged(&only(self.shelf.ask(self.policy, &[request]))?))
    }

    /// Looks at a step that has just started: when is it woken for, and is it over its limit then?
    fn watch(&mut self, played: &Played<'_>, run: usize, number: usize) -> Result<()> {
        let step = played.step(number)?;
        if !self.with_history.contains(&(run, number)) {
            return Ok(());
        }
        let stored = self.shelf.steps.get(&played.key(number)?).context("what started is stored")?;
        let full = times(step.duration, WATCHED_FACTOR);
        let mut known_after = None;
        if let Some(judge_at) = stored.judge_at {
            // Limits are strict: it is over them the moment after.
            let elapsed = judge_at.since(step.started_at).saturating_add(Micros::new(1));
            if elapsed < full && self.would_flag(played, number, elapsed)? {
                known_after = Some(elapsed.as_f64() / full.as_f64());
            }
        }
        self.scores.watched.push(Watched { run, step: step.name.clone(), known_after });
        Ok(())
    }

    /// Replays the run that is about to start on copies of the history, slowed as a whole. Scored are its
    /// steps with enough history before the run: its own slow steps are no history of what is normal.
    fn slow_down(&mut self, played: &Played<'_>, run: usize) -> Result<()> {
        let mut is_scored_by_name = BTreeMap::new();
        for step in &played.run.steps {
            is_scored_by_name
                .entry(&step.name)
                .or_insert_with(|| has_history(&self.shelf, played, &step.name));
        }
        let is_scored = |step: &RunStep| {
            step.duration >= LEAST_DURATION && is_scored_by_name.get(&step.name).is_some_and(|scored| *scored)
        };
        if !played.run.steps.iter().any(is_scored) {
            return Ok(());
        }
        let mut found = vec![[false; FACTORS.len()]; played.run.steps.len()];
        for (place, factor) in FACTORS.into_iter().enumerate() {
            let mut shelf = self.shelf.with_history_alone();
            let slowed = [played.slowed(factor)];
            for event in events(&slowed) {
                let answer = write(&mut shelf, self.policy, slowed[0].request(event)?)?;
                if let What::EndStep(number) | What::EndStepAtOnce(number) = event.what
                    && let Some(found) = found.get_mut(number).and_then(|found| found.get_mut(place))
                {
                    *found = is_flagged(&answer);
                }
            }
        }
        let scored = played.run.steps.iter().zip(found).filter(|(step, _)| is_scored(step));
        self.scores.slowed.extend(scored.map(|(step, found)| Slowed { run, step: step.name.clone(), found }));
        Ok(())
    }
}

fn times(duration: Micros, factor: u64) -> Micros {
    Micros::new(duration.get().saturating_mul(factor))
}

fn is_scored(shelf: &Shelf, played: &Played<'_>, step: &RunStep) -> bool {
    step.duration >= LEAST_DURATION && has_history(shelf, played, &step.name)
}

fn has_history(shelf: &Shelf, played: &Played<'_>, step: &StepName) -> bool {
    let key = BaselineKey::of_step(played.workflow, step, &Cohort::default());
    shelf.baseline(key).measured().endings.completed >= LEAST_HISTORY
}

fn write(shelf: &mut Shelf, policy: &Policy, request: Request) -> Result<Answer> {
    only(shelf.write(policy, &[request]))
}

fn only(mut answers: Vec<Result<Answer, tracer_core::record::Refusal>>) -> Result<Answer> {
    match (answers.pop(), answers.is_empty()) {
        (Some(answer), true) => Ok(answer?),
        (_, _) => bail!("one command has one answer"),
    }
}

fn is_flagged(answer: &Answer) -> bool {
    match &answer.outcome {
        Outcome::StepEnded(ended) => ended.bottleneck.is_some(),
        Outcome::ExecutionStarted(_)
        | Outcome::StepStarted(_)
        | Outcome::ExecutionEnded(_)
        | Outcome::ExecutionRecorded { .. }
        | Outcome::Incident(_)
        | Outcome::SpansRecorded(_)
        | Outcome::TraceSettled(_)
        | Outcome::EventRecorded(_)
        | Outcome::Rebaselined
        | Outcome::StepStuck(_)
        | Outcome::ExecutionStalled(_)
        | Outcome::NothingNew => false,
    }
}
