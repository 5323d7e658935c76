//! What becomes of an incident.
//!
//! | state \ what | a finding | worse than all before | normal for long enough, or ended | untouched for a day |
//! |---|---|---|---|---|
//! | none | opened | | | |
//! | firing | gathered | worsened | resolved | resolved, as stale |
//! | resolved, and current | reopened | worsened | | let go |
//!
//! People are told when it opens, when it becomes worse, every [`AlertPlan::repeat_interval`] while it lasts,
//! and when it is over; of the end only those who were last told that it fires. One that neither goes on nor
//! happens again is repeated once. Reopening is silent, so that
//! what comes and goes is one message and not many; of what is signalled people are told five minutes after they were
//! told that it is over, if it still fires. While it is snoozed nobody is told anything but its end; while
//! it is acknowledged nobody is reminded; both end with the incident.
//!
//! Not here: which findings are of which cause (`record::alerting`), and who is told (`routing`).

use super::{
    Acknowledgement, AlertPlan, Cause, Event, Evidence, Incident, IncidentId, IncidentKind, IncidentState,
    Resolution, ResolvedBy, Told, Transition,
};
use crate::time::{Micros, Timestamp};

/// What is signalled, was over, and fires again is told of once it has done so for this long after people were told that it
/// is over: what comes and goes is still one message. Other kinds end because nothing more was found for a while, and wait
/// for the next reminder.
const RETURNED: Micros = Micros::from_secs(5 * 60);

impl Incident {
    /// Opens an incident. `lasts` says that what was found goes on: something is stuck; `aside` that people
    /// are told of the same trouble by another incident.
    #[must_use]
    pub fn open(
        cause: Cause,
        found: Evidence,
        lasts: bool,
        aside: bool,
        simulated: bool,
        now: Timestamp,
        plan: &AlertPlan,
    ) -> (Self, Event) {
        let severity = found.finding.severity();
        let execution = found.execution;
        let mut incident = Self {
            id: IncidentId::derive(cause.fingerprint(), now, execution),
            cause,
            state: IncidentState::Firing,
            is_current: true,
            severity,
            occurrences: 1,
            ongoing: u64::from(lasts),
            first_seen_at: now,
            last_seen_at: now,
            worst: found,
            opened_in: execution,
            simulated,
            acknowledged: None,
            snoozed_until: None,
            resolved: None,
            told: None,
            due_at: None,
            changed_at: now,
        };
        let transition = Transition::Opened;
        let event = if aside { Event { transition, loud: false } } else { incident.tell(transition, now) };
        incident.reschedule(now, plan);
        (incident, event)
    }

    /// Adds a finding of the same cause. `is_new` says that it is not one that was counted before and has
    /// become worse; `lasts` that what was found goes on, and did not before; `aside` as in [`Incident::open`].
    #[must_use]
    pub fn gather(
        &mut self,
        found: Evidence,
        is_new: bool,
        lasts: bool,
        aside: bool,
        now: Timestamp,
        plan: &AlertPlan,
    ) -> Option<Event> {
        let worsens = found.finding.severity() > self.severity;
        self.occurrences = self.occurrences.saturating_add(u64::from(is_new));
        self.ongoing = self.ongoing.saturating_add(u64::from(lasts));
        self.last_seen_at = self.last_seen_at.max(now);
        if found.finding.is_worse_than(&self.worst.finding) {
            self.severity = self.severity.max(found.finding.severity());
            self.worst = found;
        }
        let reopens = self.state == IncidentState::Resolved;
        if reopens {
            // Whoever looked after it, or wanted to hear nothing of it, took it to be over.
            self.state = IncidentState::Firing;
            (self.resolved, self.acknowledged, self.snoozed_until) = (None, None, None);
        }
        let event = match (reopens, worsens) {
            (_, true) if !aside => Some(self.tell(Transition::Worsened, now)),
            (_, true) => Some(Event { transition: Transition::Worsened, loud: false }),
            // Its first finding was told of otherwise, and this one is not.
            (false, false) if self.told.is_none() && !aside => Some(self.tell(Transition::Opened, now)),
            (true, false) if self.is_to_be_repeated(now, plan) => Some(self.tell(Transition::Repeated, now)),
            (true, false) => Some(Event { transition: Transition::Reopened, loud: false }),
            (false, false) => None,
        };
        self.change(now, plan);
        event
    }

    /// Notes that something that was stuck is so no longer; with the last of them the incident ends.
    #[must_use]
    pub fn ended(&mut self, now: Timestamp, plan: &AlertPlan) -> Option<Event> {
        self.ongoing = self.ongoing.saturating_sub(1);
        let over = self.ongoing == 0 && self.state == IncidentState::Firing;
        let event = over.then(|| self.resolve(ResolvedBy::Ended, now));
        self.change(now, plan);
        event
    }

    /// Ends the incident if things have been normal for long enough; changes nothing otherwise.
    #[must_use]
    pub fn calm_down(&mut self, streak: u8, now: Timestamp, plan: &AlertPlan) -> Option<Event> {
        if !self.is_over(streak, now, plan) {
            return None;
        }
        let event = self.resolve(ResolvedBy::Normal, now);
        self.change(now, plan);
        Some(event)
    }

    /// Looks at an incident whose time has come.
    #[must_use]
    pub fn tend(&mut self, streak: u8, now: Timestamp, plan: &AlertPlan) -> Option<Event> {
        let event = match self.state {
            IncidentState::Resolved => {
                let ended_at = self.resolved.as_ref().map_or(now, |resolved| resolved.at);
                self.is_current &= now.since(ended_at) < plan.reopen_within;
                None
            }
            IncidentState::Firing if self.is_over(streak, now, plan) => {
                Some(self.resolve(ResolvedBy::Normal, now))
            }
            IncidentState::Firing if now.since(self.last_seen_at) >= plan.stale_after => {
                Some(self.resolve(ResolvedBy::Stale, now))
            }
            IncidentState::Firing if self.is_to_be_repeated(now, plan) => {
                Some(self.tell(Transition::Repeated, now))
            }
            IncidentState::Firing => None,
        };
        // Only what happened is a change that anybody is to see.
        if event.is_some() {
            self.changed_at = now;
        }
        self.reschedule(now, plan);
        event
    }

    /// Notes that somebody looks after it. Of one that is resolved, or acknowledged already, nothing changes.
    #[must_use]
    pub fn acknowledge(&mut self, by: Option<String>, now: Timestamp, plan: &AlertPlan) -> Option<Event> {
        if self.state == IncidentState::Resolved || self.acknowledged.is_some() {
            return None;
        }
        self.acknowledged = Some(Acknowledgement { at: now, by });
        self.change(now, plan);
        Some(Event { transition: Transition::Acknowledged, loud: false })
    }

    /// Tells nobody of it until then. Of one that is resolved nothing changes.
    #[must_use]
    pub fn snooze(&mut self, until: Timestamp, now: Timestamp, plan: &AlertPlan) -> Option<Event> {
        if self.state == IncidentState::Resolved || self.snoozed_until == Some(until) {
            return None;
        }
        self.snoozed_until = Some(until);
        self.change(now, plan);
        Some(Event { transition: Transition::Snoozed, loud: false })
    }

    /// Ends it for a reason outside of itself. Of one that is resolved nothing changes.
    #[must_use]
    pub fn end(&mut self, by: ResolvedBy, now: Timestamp, plan: &AlertPlan) -> Option<Event> {
        if self.state == IncidentState::Resolved {
            return None;
        }
        let event = self.resolve(by, now);
        self.change(now, plan);
        Some(event)
    }

    fn is_snoozed(&self, now: Timestamp) -> bool {
        self.snoozed_until.is_some_and(|until| now < until)
    }

    fn is_over(&self, streak: u8, now: Timestamp, plan: &AlertPlan) -> bool {
        let by_ends = match self.cause.kind {
            IncidentKind::SlowStep | IncidentKind::FailureRate => true,
            // What is stuck ends; a regression is accepted, or let go; a signal says that it is over.
            IncidentKind::StuckStep
            | IncidentKind::StalledExecution
            | IncidentKind::Regression
            | IncidentKind::SloBurn
            | IncidentKind::Alert => false,
        };
        by_ends
            && self.state == IncidentState::Firing
            && streak >= plan.resolve_runs
            && now.since(self.last_seen_at) >= plan.resolve_after
    }

    fn is_to_be_repeated(&self, now: Timestamp, plan: &AlertPlan) -> bool {
        self.repeat_at(plan).is_some_and(|at| at <= now)
    }

    /// Returns when people are to be reminded: an interval after they were last told, or, where it became
    /// worse while it was snoozed, as soon as that is over. Nobody is reminded of what they were never told,
    /// nor more than once of what neither goes on nor happens again; of a regression, which is a change and is
    /// there until it is accepted or undone, not at all.
    fn repeat_at(&self, plan: &AlertPlan) -> Option<Timestamp> {
        let told = self.told.filter(|_| self.acknowledged.is_none())?;
        let is_said = match self.cause.kind {
            IncidentKind::Regression => self.severity <= told.severity,
            IncidentKind::SlowStep
            | IncidentKind::StuckStep
            | IncidentKind::StalledExecution
            | IncidentKind::FailureRate
            | IncidentKind::SloBurn
            | IncidentKind::Alert => told.nothing_new && !self.has_news_since(&told),
        };
        if is_said {
            return None;
        }
        let regular = told.at + if self.is_thought_over(&told) { RETURNED } else { plan.repeat_interval };
        Some(match self.snoozed_until {
            Some(until) if told.severity < self.severity => until,
            Some(until) => regular.max(until),
            None => regular,
        })
    }

    /// Returns whether people were told that it is over, by somebody who knew, and it is not.
    fn is_thought_over(&self, told: &Told) -> bool {
        let is_signalled = matches!(self.cause.kind, IncidentKind::SloBurn | IncidentKind::Alert);
        is_signalled && self.state == IncidentState::Firing && !told.firing
    }

    fn resolve(&mut self, by: ResolvedBy, now: Timestamp) -> Event {
        self.state = IncidentState::Resolved;
        self.resolved = Some(Resolution { at: now, by });
        // Also while it is snoozed: whoever was told that it fires would think so for ever.
        let loud = self.told.is_some_and(|told| told.firing);
        if loud {
            self.told = Some(self.told_now(now, false));
        }
        Event { transition: Transition::Resolved, loud }
    }

    /// Tells of a transition of an incident that fires, unless it is snoozed.
    fn tell(&mut self, transition: Transition, now: Timestamp) -> Event {
        let loud = !self.is_snoozed(now);
        if loud {
            self.told = Some(self.told_now(now, true));
        }
        Event { transition, loud }
    }

    fn told_now(&self, at: Timestamp, firing: bool) -> Told {
        let nothing_new = self.told.is_some_and(|told| firing && !self.has_news_since(&told));
        Told { at, severity: self.severity, firing, occurrences: self.occurrences, nothing_new }
    }

    /// Returns whether it goes on by itself, or has happened or become worse since people were told.
    fn has_news_since(&self, told: &Told) -> bool {
        self.ongoing > 0 || self.occurrences > told.occurrences || self.severity > told.severity
    }

    fn change(&mut self, now: Timestamp, plan: &AlertPlan) {
        self.changed_at = now;
        self.reschedule(now, plan);
    }

    /// Sets when it is next to be looked at: the earliest of what time alone will bring.
    fn reschedule(&mut self, now: Timestamp, plan: &AlertPlan) {
        self.due_at = match (self.state, &self.resolved) {
            (IncidentState::Resolved, Some(resolved)) => {
                self.is_current.then(|| resolved.at + plan.reopen_within)
            }
            (IncidentState::Resolved, None) => None,
            (IncidentState::Firing, _) => {
                // Once that is past, it waits for an end of its kind, and not for time.
                let over = Some(self.last_seen_at + plan.resolve_after).filter(|at| *at > now);
                let stale = Some(self.last_seen_at + plan.stale_after);
                [self.repeat_at(plan), over, stale].into_iter().flatten().min()
            }
        };
    }
}
