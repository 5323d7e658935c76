//! Plays past executions on from where the present one stands.
//!
//! In a scenario one past execution `e` is the plan, and chance draws how long each running step takes: one of
//! the durations of its name in `e` that exceed what has elapsed already; where there is none, one of its name in
//! any past execution or ended in this one; where it has outlasted all of them, up to half as long again.
//! A running step's branch ends at start + duration + *tail*, and the execution at the latest end of a branch:
//! parallel branches do not add up.
//!
//! The tail is what `e` had yet to do once as many steps of the name had ended as will have ended here: its steps
//! that began after that and have not begun here, up to its end. What `e` only waited for, another branch that
//! has its own steps running here, is no part of it.
//!
//! Where steps are due that hang on no running one (between two steps, or before the first), their branch begins
//! as long after the last end as it did in `e`.
//!
//! Scenarios count by how much alike the two executions stand at this moment:
//! `exp(−10 × mean over names of ((ended here − ended in e) / steps in e)²)`. The expected end is their median.

use super::Present;
use super::quantile::{Chance, weighted_median};
use super::run::{Named, Names, Past, Run, offset};

/// How fast a past execution loses weight as it stood differently; tuned.
const LIKENESS: f64 = 10.0;
/// So much longer a step may take that has outlasted everything known, as a share of what has elapsed.
const BEYOND: f64 = 0.5;
/// Two moments nearer than this many microseconds are one: a step that begins when another ends follows it.
const SAME: f64 = 0.5;
/// No scenario is worth nothing: where none is alike, all count.
const LEAST_WEIGHT: f64 = 1e-9;

/// What an execution has done at some moment; times in microseconds since its start.
#[derive(Debug)]
pub(super) struct Seen {
    now: f64,
    /// By name; as many as there are names.
    names: Vec<SeenName>,
    last_end: f64,
}

#[derive(Clone, Debug, Default)]
struct SeenName {
    /// Starts of those that run.
    running: Vec<f64>,
    /// How long the others took.
    ended: Vec<f64>,
}

impl SeenName {
    fn begun(&self) -> usize {
        self.running.len() + self.ended.len()
    }
}

impl Seen {
    fn new(now: f64, names: usize) -> Self {
        Self { now, names: vec![SeenName::default(); names], last_end: 0.0 }
    }

    fn add(&mut self, name: usize, start: f64, end: Option<f64>) {
        if start > self.now {
            return;
        }
        let end = end.filter(|end| *end <= self.now);
        let Some(of_name) = self.names.get_mut(name) else { return };
        match end {
            Some(end) => {
                of_name.ended.push(end - start);
                self.last_end = self.last_end.max(end);
            }
            None => of_name.running.push(start),
        }
    }

    /// Returns what the present execution has done by now.
    pub(super) fn of_present(now: f64, present: &Present, names: &mut Names) -> Self {
        let numbers: Vec<usize> = present.steps.iter().map(|step| names.number(&step.name)).collect();
        let mut seen = Self::new(now, names.len());
        for (step, name) in present.steps.iter().zip(numbers) {
            // A start given for a time to come is a step that has not begun.
            let start = offset(step.started_at, present.started_at);
            let end = step.ended_at.map(|at| offset(at, present.started_at).max(start));
            seen.add(name, start, end);
        }
        seen
    }

    /// Returns what a past execution had done by then.
    pub(super) fn of_past(now: f64, run: &Run, names: usize) -> Self {
        let mut seen = Self::new(now, names);
        for step in &run.steps {
            seen.add(step.name, step.start, Some(step.end));
        }
        seen
    }

    fn begun(&self, name: usize) -> usize {
        self.names.get(name).map_or(0, SeenName::begun)
    }

    fn has_begun(&self, step: &Past) -> bool {
        step.nth < self.begun(step.name)
    }

    fn running(&self) -> impl Iterator<Item = (usize, &SeenName)> {
        self.names.iter().enumerate().filter(|(_, of_name)| !of_name.running.is_empty())
    }
}

/// Past executions, and the durations of their steps by name.
#[derive(Debug)]
pub(super) struct History<'a> {
    runs: &'a [Run],
    /// By name: durations, shortest first, each with the execution it is from.
    durations: Vec<Vec<(f64, usize)>>,
}

/// A past execution as a plan for what runs now.
struct Plan<'a> {
    weight: f64,
    /// When the execution ends at the earliest, whatever becomes of the running steps.
    base: f64,
    /// For each running name: what follows its steps, and how long they took.
    branches: Vec<(f64, &'a [f64])>,
}

impl<'a> History<'a> {
    pub(super) fn new(runs: &'a [Run], names: usize) -> Self {
        let mut durations = vec![Vec::new(); names];
        for (number, run) in runs.iter().enumerate() {
            for (name, of_name) in &run.named {
                if let Some(all) = durations.get_mut(*name) {
                    all.extend(of_name.durations.iter().map(|duration| (*duration, number)));
                }
            }
        }
        for all in &mut durations {
            all.sort_by(|a, b| a.0.total_cmp(&b.0));
        }
        Self { runs, durations }
    }

    /// Returns when what was seen is expected to end, in microseconds since its start: the median of scenarios
    /// over all executions but one.
    pub(super) fn end(&self, seen: &Seen, left_out: Option<usize>, scenarios: usize, seed: u64) -> f64 {
        let plans: Vec<Plan<'_>> = self
            .runs
            .iter()
            .enumerate()
            .filter(|(number, _)| Some(*number) != left_out)
            .map(|(_, run)| Plan::of(run, seen))
            .collect();
        let pools: Vec<Vec<f64>> = seen.running().map(|(name, _)| self.pool(seen, name, left_out)).collect();
        let mut chance = Chance::new(seed);
        let mut ends = Vec::with_capacity(scenarios);
        for plan in plans.iter().cycle().take(scenarios) {
            ends.push((plan.end(seen, &pools, &mut chance), plan.weight));
        }
        weighted_median(&mut ends)
    }

    /// Returns every known duration of a name, shortest first.
    fn pool(&self, seen: &Seen, name: usize, left_out: Option<usize>) -> Vec<f64> {
        let past = self.durations.get(name).into_iter().flatten();
        let mut pool: Vec<f64> =
            past.filter(|(_, run)| Some(*run) != left_out).map(|(duration, _)| *duration).collect();
        pool.extend(seen.names.get(name).into_iter().flat_map(|of_name| &of_name.ended));
        pool.sort_by(f64::total_cmp);
        pool
    }
}

impl<'a> Plan<'a> {
    fn of(run: &'a Run, seen: &Seen) -> Self {
        let pending: Vec<&Past> = run.steps.iter().filter(|step| !seen.has_begun(step)).collect();
        let mut earliest_branch = f64::INFINITY;
        let mut branches = Vec::new();
        for (name, of_name) in seen.running() {
            let branch = run.named.get(&name).map_or((run.closing(), &[][..]), |known| {
                let ended = ended_when_over(known, of_name.begun());
                earliest_branch = earliest_branch.min(ended);
                (tail(run, &pending, ended), &known.durations[..])
            });
            branches.push(branch);
        }
        let base = base(run, seen, &pending, earliest_branch);
        Self { weight: likeness(run, seen), base, branches }
    }

    fn end(&self, seen: &Seen, pools: &[Vec<f64>], chance: &mut Chance) -> f64 {
        let mut end = self.base;
        for (((_, of_name), (tail, own)), pool) in seen.running().zip(&self.branches).zip(pools) {
            for start in &of_name.running {
                let elapsed = seen.now - start;
                let duration = draw(own, elapsed, chance)
                    .or_else(|| draw(pool, elapsed, chance))
                    .unwrap_or_else(|| elapsed * BEYOND.mul_add(chance.share(), 1.0));
                end = end.max(start + duration + tail);
            }
        }
        end
    }
}

/// Returns one of the durations that exceed what has elapsed.
fn draw(durations: &[f64], elapsed: f64, chance: &mut Chance) -> Option<f64> {
    let exceeded = durations.partition_point(|duration| *duration <= elapsed);
    let longer = durations.get(exceeded..).unwrap_or_default();
    longer.get(chance.place(longer.len())).copied()
}

/// Returns when so many steps of a name had ended, or all of them where there were fewer.
fn ended_when_over(known: &Named, count: usize) -> f64 {
    let at = count.min(known.ends.len()).saturating_sub(1);
    known.ends.get(at).copied().unwrap_or(0.0)
}

/// Returns how long an execution went on with what is pending, from when a branch of it ended.
fn tail(run: &Run, pending: &[&Past], ended: f64) -> f64 {
    // In the order of their start.
    let follows = pending.partition_point(|step| step.start < ended - SAME);
    let following = pending.get(follows..).unwrap_or_default();
    let Some(next) = following.first() else { return run.closing() };
    let until = following.iter().fold(0.0_f64, |until, step| until.max(step.end));
    // What it waited for meanwhile runs here too, and counts by itself.
    let waited = run
        .steps
        .iter()
        .take_while(|step| step.start < ended)
        .filter(|step| step.end > ended && step.end <= next.start + SAME)
        .fold(ended, |waited, step| waited.max(step.end));
    until + run.closing() - waited.min(next.start)
}

/// Returns when the execution ends if the running steps take no longer: with what is due and hangs on none of
/// them, or at once.
fn base(run: &Run, seen: &Seen, pending: &[&Past], earliest_branch: f64) -> f64 {
    let newest = run.steps.iter().rev().find(|step| seen.has_begun(step)).map_or(-1.0, |step| step.start);
    // What ended before something began that has begun here was left out here.
    let mut due =
        pending.iter().filter(|step| step.start < earliest_branch - SAME && step.end > newest).peekable();
    let Some(first) = due.peek().map(|step| step.start) else {
        let is_over = seen.running().next().is_none();
        return if is_over { seen.now.max(seen.last_end + run.closing()) } else { seen.now };
    };
    let until = due.fold(0.0_f64, |until, step| until.max(step.end));
    let before = run.steps.iter().filter(|step| step.end <= first + SAME);
    let last_end = before.fold(0.0_f64, |last, step| last.max(step.end));
    seen.now.max(seen.last_end + (first - last_end).max(0.0)) + (until - first) + run.closing()
}

/// Returns how much alike a past execution stood at the same moment; at most 1.
fn likeness(run: &Run, seen: &Seen) -> f64 {
    let (mut names, mut distance) = (0.0, 0.0);
    for (name, of_name) in seen.names.iter().enumerate() {
        let known = run.named.get(&name);
        if known.is_none() && of_name.begun() == 0 {
            continue;
        }
        let (then, steps) = known
            .map_or((0, 0), |known| (known.ends.partition_point(|end| *end <= seen.now), known.ends.len()));
        let ended = of_name.ended.len();
        let share = (number(ended) - number(then)) / number(steps.max(ended).max(1));
        names += 1.0;
        distance += share * share;
    }
    if names == 0.0 { 1.0 } else { (-LIKENESS * distance / names).exp().max(LEAST_WEIGHT) }
}

fn number(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
