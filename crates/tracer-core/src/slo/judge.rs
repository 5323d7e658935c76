//! Judging an indicator: how fast its budget burns, and what is left of it.

use std::fmt::Write as _;

use super::{Objective, Sli, Slo, SloSpec, SlotRange, SlotSums, Window};
use crate::detect::Severity;
use crate::ids::ExecutionId;
use crate::time::{Micros, Timestamp};

/// A budget burns too fast where it does so in both windows: the long one says that much of it was spent, the short one
/// that this goes on, so that the alarm ends soon after the trouble does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rule {
    /// The burn rate above which it fires, in both windows.
    pub burn_rate: f64,
    /// The window that must hold enough events.
    pub long: Window,
    /// The window that shows that it goes on: a twelfth of the long one.
    pub short: Window,
    /// How bad it is.
    pub severity: Severity,
}

/// The rules that the workbook recommends. Of a window of 30 days, 14.4 over an hour spends 2 % of the budget, 6 over six
/// hours 5 %, and 1 over three days 10 %.
pub const RULES: [Rule; 3] = [
    Rule { burn_rate: 14.4, long: Window::H1, short: Window::M5, severity: Severity::Critical },
    Rule { burn_rate: 6.0, long: Window::H6, short: Window::M30, severity: Severity::Critical },
    Rule { burn_rate: 1.0, long: Window::D3, short: Window::H6, severity: Severity::Warning },
];

/// A budget that is spent is an alarm only while it goes on burning in this window: nobody can bring it back by hand, and
/// an alarm that nothing can end for a month is one that people learn to look past.
const STILL: Window = Window::H6;

/// What is left of a budget is rounded to this, so that one that is spent to the last event is spent.
const EXACTNESS: f64 = 1e-9;

/// The events of an indicator in a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// All of them.
    pub events: u64,
    /// The bad ones; at most all of them.
    pub bad: u64,
    /// The last bad one, where one is known.
    pub last_bad: Option<ExecutionId>,
}

impl Counted {
    fn of(sums: &SlotSums, sli: Sli) -> Self {
        let (events, bad, last_bad) = sums.of(sli);
        Self { events, bad: bad.min(events), last_bad }
    }

    /// Returns the share of bad ones; none without any event.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "so many executions never end within 90 days")]
    pub fn bad_share(&self) -> Option<f64> {
        (self.events > 0).then(|| self.bad as f64 / self.events as f64)
    }

    /// Returns how many times as fast as may be they use the budget up; none without any event.
    #[must_use]
    pub fn burn_rate(&self, objective: Objective) -> Option<f64> {
        Some(self.bad_share()? / objective.budget())
    }
}

/// Where an indicator stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The budget lasts.
    Ok,
    /// It burns too fast.
    Burning,
    /// It is spent.
    Exhausted,
    /// No window that a rule or the budget rests on holds enough events.
    NoData,
}

impl State {
    /// Returns its name, as answers have it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Burning => "burning",
            Self::Exhausted => "exhausted",
            Self::NoData => "no_data",
        }
    }
}

/// That a budget burns, and by which rule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Burning {
    /// How bad it is.
    pub severity: Severity,
    /// The window that was judged.
    pub long: Window,
    /// The window that shows that it goes on.
    pub short: Window,
    /// The burn rate of the long one.
    pub burn_rate: f64,
}

/// An indicator of an objective, judged.
#[derive(Clone, Debug, PartialEq)]
pub struct Indicator {
    /// What is measured.
    pub sli: Sli,
    /// What was counted, by the windows of [`Window::ALL`].
    pub counts: [Counted; Window::ALL.len()],
    /// The share of the budget that is left: 1 untouched, 0 spent, below that overspent. None without any event.
    pub budget_remaining: Option<f64>,
    /// Where it stands.
    pub state: State,
    /// Which rule fires, if one does.
    pub burning: Option<Burning>,
    /// Why it stands there, in a sentence or two.
    pub why: String,
}

impl Indicator {
    /// Returns the ranges of slots that an objective is judged by, by the windows of [`Window::ALL`].
    #[must_use]
    pub fn ranges(slo: &Slo, now: Timestamp) -> [SlotRange; Window::ALL.len()] {
        Window::ALL.map(|window| {
            let (resolution, from) = window.slots(slo.spec().window, now);
            SlotRange { slo: slo.name().clone(), definition: slo.definition(), resolution, from }
        })
    }

    /// Judges an indicator by what was counted in the ranges of [`Indicator::ranges`]; what is missing is nothing.
    #[must_use]
    pub fn judge(slo: &Slo, sli: Sli, sums: &[SlotSums]) -> Self {
        let mut counts = [Counted::default(); Window::ALL.len()];
        for (count, sums) in counts.iter_mut().zip(sums) {
            *count = Counted::of(sums, sli);
        }
        let mut judged =
            Self { sli, counts, budget_remaining: None, state: State::Ok, burning: None, why: String::new() };
        let objective = slo.spec().objective;
        judged.budget_remaining = judged.counted(Window::Budget).burn_rate(objective).map(|spent| {
            let left = 1.0 - spent;
            if left.abs() < EXACTNESS { 0.0 } else { left }
        });
        let is_spent =
            judged.is_enough(slo, Window::Budget) && judged.budget_remaining.is_some_and(|left| left <= 0.0);
        judged.burning = judged.burning_by(slo, is_spent);
        judged.state = if is_spent {
            State::Exhausted
        } else if judged.burning.is_some() {
            State::Burning
        } else if long_windows().any(|window| judged.is_enough(slo, window)) {
            State::Ok
        } else {
            State::NoData
        };
        judged.why = judged.explained(slo);
        judged
    }

    /// Returns what was counted in a window.
    #[must_use]
    pub fn counted(&self, window: Window) -> Counted {
        let place = Window::ALL.iter().position(|one| *one == window);
        place.and_then(|place| self.counts.get(place)).copied().unwrap_or_default()
    }

    /// Returns whether a window holds enough events to be judged.
    #[must_use]
    pub fn is_enough(&self, slo: &Slo, window: Window) -> bool {
        self.counted(window).events >= needed(slo, window)
    }

    /// Returns the first rule that fires: the critical ones come first, a spent budget before the mere warning.
    fn burning_by(&self, slo: &Slo, is_spent: bool) -> Option<Burning> {
        let objective = slo.spec().objective;
        let rate = |window| self.counted(window).burn_rate(objective);
        let above = |window, least: f64| rate(window).filter(|rate| *rate > least);
        let by_rule = |rule: &Rule| {
            let enough = self.is_enough(slo, rule.long);
            let burn_rate = above(rule.long, rule.burn_rate).filter(|_| enough)?;
            above(rule.short, rule.burn_rate)?;
            Some(Burning { severity: rule.severity, long: rule.long, short: rule.short, burn_rate })
        };
        let of = |severity| RULES.iter().filter(move |rule| rule.severity == severity).find_map(by_rule);
        let spent = || {
            above(STILL, 1.0).filter(|_| is_spent)?;
            let burn_rate = rate(Window::Budget)?;
            Some(Burning { severity: Severity::Critical, long: Window::Budget, short: STILL, burn_rate })
        };
        of(Severity::Critical).or_else(spent).or_else(|| of(Severity::Warning))
    }

    fn explained(&self, slo: &Slo) -> String {
        let own = slo.spec().window;
        let name = |window: Window| told_window(window.length(own));
        let of = match self.sli {
            Sli::Availability => "executions",
            Sli::Latency => "completed executions",
        };
        let all = self.counted(Window::Budget);
        let mut told = match self.state {
            State::NoData if all.events == 0 => {
                format!("No {of} ended in the last {}.", name(Window::Budget))
            }
            State::NoData => format!(
                "Too little data: {} {of} ended in the last {}. A window is judged from {} on, the budget from {} on.",
                all.events,
                name(Window::Budget),
                slo.spec().min_events,
                needed(slo, Window::Budget)
            ),
            State::Exhausted => format!(
                "The error budget of {} is spent: {} of {} {of} were bad, where {} may be.",
                name(Window::Budget),
                all.bad,
                all.events,
                self.allowed(slo)
            ),
            State::Ok | State::Burning => self.budget_told(slo).unwrap_or_default(),
        };
        match self.burning {
            Some(Burning { long, short, burn_rate, .. }) => put(
                &mut told,
                format_args!(
                    " It burns {burn_rate:.1} times as fast as it may over {}, and goes on in the last {}.",
                    name(long),
                    name(short)
                ),
            ),
            None if self.state == State::Exhausted => {
                put(
                    &mut told,
                    format_args!(" In the last {} it did not burn faster than it may.", name(STILL)),
                );
            }
            None => {}
        }
        let unjudged: Vec<String> = long_windows()
            .filter(|window| self.state != State::NoData && !self.is_enough(slo, *window))
            .map(|window| {
                format!("{} ({} of {})", name(window), self.counted(window).events, needed(slo, window))
            })
            .collect();
        if !unjudged.is_empty() {
            put(&mut told, format_args!(" Too few to be judged: {}.", unjudged.join(", ")));
        }
        told.trim().to_owned()
    }

    /// Returns what is left of the budget, as people read it, where it is judged.
    fn budget_told(&self, slo: &Slo) -> Option<String> {
        let left = self.budget_remaining.filter(|_| self.is_enough(slo, Window::Budget))?;
        Some(format!(
            "{:.1} % of the error budget of {} is left.",
            left * 100.0,
            told_window(slo.spec().window)
        ))
    }

    /// Returns how many of the events of the objective's own window may be bad, as people read it.
    #[expect(clippy::cast_precision_loss, reason = "so many executions never end within 90 days")]
    fn allowed(&self, slo: &Slo) -> String {
        let allowed = self.counted(Window::Budget).events as f64 * slo.spec().objective.budget();
        if allowed < 10.0 { format!("{allowed:.1}") } else { format!("{allowed:.0}") }
    }
}

/// Returns how many events a window needs to be judged: the least number of the settings; and the objective's own so many
/// that one of them may be bad, because otherwise a single one would be more than the whole budget.
fn needed(slo: &Slo, window: Window) -> u64 {
    let SloSpec { min_events, objective, .. } = slo.spec();
    match window {
        Window::Budget => (*min_events).max(events_for_one(*objective)),
        Window::M5 | Window::M30 | Window::H1 | Window::H6 | Window::D3 => *min_events,
    }
}

/// Returns of how many events one may be bad. What does not come out even by the way numbers are kept is even.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "above 0, and a larger one is the largest"
)]
fn events_for_one(objective: Objective) -> u64 {
    (1.0 / objective.budget() - 1e-6).ceil() as u64
}

/// Returns the windows that must hold enough events.
fn long_windows() -> impl Iterator<Item = Window> {
    RULES.into_iter().map(|rule| rule.long).chain([Window::Budget])
}

/// Returns the length of a window as people write it: in the largest unit of which it is a whole number.
fn told_window(length: Micros) -> String {
    let secs = length.get() / 1_000_000;
    let units = [(86_400, "d"), (3_600, "h"), (60, "m")];
    let whole = units.into_iter().find(|(unit, _)| secs > 0 && secs.is_multiple_of(*unit));
    whole.map_or_else(|| format!("{secs} s"), |(unit, name)| format!("{} {name}", secs / unit))
}

fn put(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a text cannot fail.
    text.write_fmt(arguments).unwrap_or_default();
}
