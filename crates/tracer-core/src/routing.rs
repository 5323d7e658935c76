//! Who is told of which incident.

use std::collections::BTreeSet;

use jiff::civil::Time;
use jiff::tz::TimeZone;
use wildmatch::WildMatch;

use crate::detect::Severity;
use crate::incident::{AlertPlan, Event, Incident, IncidentId, IncidentKind, Transition};
use crate::notify::ChannelName;
use crate::time::Timestamp;

/// What a channel wants to hear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// People: what is worth a message.
    People,
    /// What keeps the state of incidents, and has people of its own: every change of it.
    State,
    /// What acts: that an incident has opened.
    Action,
}

/// Hours in which only what is CRITICAL is brought, and everything else waits for their end.
#[derive(Clone, Debug, PartialEq)]
pub struct QuietHours {
    /// When they begin, on the clock of the zone.
    pub from: Time,
    /// When they end, on the clock of the zone; may be before `from`, on the next day.
    pub until: Time,
    /// The zone.
    pub zone: TimeZone,
}

impl QuietHours {
    /// Returns when they will end; none if it is not quiet now.
    #[must_use]
    pub fn end_after(&self, now: Timestamp) -> Option<Timestamp> {
        let instant = jiff::Timestamp::from_microsecond(now.as_micros()).ok()?;
        let local = instant.to_zoned(self.zone.clone());
        let time = local.time();
        let overnight = self.until <= self.from;
        let is_quiet = if overnight {
            time >= self.from || time < self.until
        } else {
            time >= self.from && time < self.until
        };
        if !is_quiet {
            return None;
        }
        let day = if overnight && time >= self.from { local.date().tomorrow().ok()? } else { local.date() };
        let end = day.to_datetime(self.until).to_zoned(self.zone.clone()).ok()?;
        Some(Timestamp::from_micros(end.timestamp().as_microsecond()))
    }
}

/// A channel, and what it wants to hear.
#[derive(Clone, Debug)]
pub struct Channel {
    /// Its name.
    pub name: ChannelName,
    /// Of which transitions.
    pub audience: Audience,
    /// Of workflows whose name matches.
    pub workflow: WildMatch,
    /// Of incidents at least so bad.
    pub severity: Severity,
    /// Of incidents of these kinds; of all kinds if empty.
    pub kinds: BTreeSet<IncidentKind>,
    /// When only what is CRITICAL.
    pub quiet: Option<QuietHours>,
    /// Whether it is told together of what one execution opens, and of what ends together: both wait a moment for
    /// others.
    pub grouped: bool,
}

impl Channel {
    /// Returns whether it wants to hear of an incident.
    #[must_use]
    pub fn hears_of(&self, incident: &Incident) -> bool {
        // An alert that came from elsewhere is kept there already, and would come back.
        let comes_from_there = self.audience == Audience::State && incident.cause.kind == IncidentKind::Alert;
        !comes_from_there
            && self.workflow.matches(incident.cause.workflow.as_str())
            && incident.severity >= self.severity
            && (self.kinds.is_empty() || self.kinds.contains(&incident.cause.kind))
    }

    fn wants(&self, incident: &Incident, event: Event) -> bool {
        let of_transition = match (self.audience, event.transition) {
            (_, Transition::Acknowledged | Transition::Snoozed) => false,
            (Audience::People, _) => event.loud,
            (Audience::State, _) => true,
            (Audience::Action, transition) => transition == Transition::Opened && event.loud,
        };
        of_transition && self.hears_of(incident)
    }
}

/// A row of the outbox, before it has a number.
#[derive(Clone, Debug, PartialEq)]
pub struct NewNotification {
    /// The channel to be told.
    pub channel: ChannelName,
    /// What happened.
    pub event: Event,
    /// The incident as it was just after.
    pub incident: Incident,
    /// When it happened.
    pub created_at: Timestamp,
    /// Before that it is not sent.
    pub not_before: Timestamp,
    /// Whether that is because of quiet hours.
    pub held: bool,
}

impl NewNotification {
    /// Returns the id of the incident.
    #[must_use]
    pub const fn incident_id(&self) -> IncidentId {
        self.incident.id
    }
}

/// How incidents live, and who is told of them.
#[derive(Clone, Debug, Default)]
pub struct Alerting {
    /// The times of incidents.
    pub plan: AlertPlan,
    /// Who is told.
    pub channels: Vec<Channel>,
}

impl Alerting {
    /// Returns what is to be told of an event.
    pub fn notifications<'a>(
        &'a self,
        incident: &'a Incident,
        event: Event,
        now: Timestamp,
    ) -> impl Iterator<Item = NewNotification> + 'a {
        let wanting = self.channels.iter().filter(move |channel| channel.wants(incident, event));
        wanting.map(move |channel| {
            let quiet = channel.quiet.as_ref().filter(|_| incident.severity < Severity::Critical);
            let held_until = quiet.and_then(|quiet| quiet.end_after(now));
            let may_be_many = matches!(event.transition, Transition::Opened | Transition::Resolved);
            let waits = channel.grouped && may_be_many;
            let at_once = if waits { now + self.plan.group_wait } else { now };
            NewNotification {
                channel: channel.name.clone(),
                event,
                incident: incident.clone(),
                created_at: now,
                not_before: held_until.map_or(at_once, |until| until.max(at_once)),
                held: held_until.is_some(),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::baseline::Reference;
    use crate::detect::Bottleneck;
    use crate::ids::ExecutionId;
    use crate::incident::{Cause, Evidence, Finding};
    use crate::name::WorkflowName;
    use crate::time::Micros;

    /// Hours and minutes of a January day, or of a later one.
    fn at(day: u64, hours: u64, minutes: u64) -> Timestamp {
        let midnight = Timestamp::parse("2026-01-31T00:00:00Z").unwrap();
        midnight + Micros::from_secs(((day * 24 + hours) * 60 + minutes) * 60)
    }

    fn quiet(from: &str, until: &str, zone: TimeZone) -> QuietHours {
        QuietHours { from: from.parse().unwrap(), until: until.parse().unwrap(), zone }
    }

    fn channel(name: &str, audience: Audience) -> Channel {
        Channel {
            name: ChannelName::new(name).unwrap(),
            audience,
            workflow: WildMatch::new("*"),
            severity: Severity::Warning,
            kinds: BTreeSet::new(),
            quiet: None,
            grouped: audience == Audience::People,
        }
    }

    fn incident(severity: Severity) -> (Incident, Event) {
        let (kind, workflow) = (IncidentKind::SlowStep, WorkflowName::new("nightly-etl").unwrap());
        let cause = Cause { kind, workflow, step: None, cohort: Default::default() };
        let reference = Reference::constant(Micros::from_secs(1), 30);
        let verdict = Bottleneck::new(severity, Micros::from_secs(9), &reference, false);
        let execution = ExecutionId::from_u128(7).unwrap();
        let found = Evidence { execution: Some(execution), step: None, finding: Finding::TooLong(verdict) };
        Incident::open(cause, found, false, false, false, at(0, 12, 0), &AlertPlan::default())
    }

    /// Returns who is told of what, and after how many seconds.
    fn told(channels: Vec<Channel>, severity: Severity, event: Option<Event>, now: Timestamp) -> String {
        let alerting = Alerting { plan: AlertPlan::default(), channels };
        let (incident, opened) = incident(severity);
        let told = alerting.notifications(&incident, event.unwrap_or(opened), now).map(|told| {
            let held = if told.held { ", held" } else { "" };
            format!("{} after {} s{held}", told.channel, told.not_before.since(now).as_millis() / 1_000)
        });
        told.collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn quiet_hours_end_on_the_clock_of_their_zone() {
        let night = quiet("22:00", "07:00", TimeZone::UTC);
        assert_eq!(night.end_after(at(0, 21, 59)), None);
        assert_eq!(night.end_after(at(0, 22, 0)), Some(at(1, 7, 0)));
        assert_eq!(night.end_after(at(1, 6, 59)), Some(at(1, 7, 0)));
        assert_eq!(night.end_after(at(1, 7, 0)), None);
        let noon = quiet("12:00", "13:30", TimeZone::fixed(jiff::tz::offset(2)));
        assert_eq!(noon.end_after(at(0, 9, 59)), None);
        assert_eq!(noon.end_after(at(0, 10, 0)), Some(at(0, 11, 30)));
        assert_eq!(noon.end_after(at(0, 11, 30)), None);
    }

    #[test]
    fn in_quiet_hours_only_what_is_critical_is_told_at_once() {
        let quiet = quiet("22:00", "07:00", TimeZone::UTC);
        let channels = || vec![Channel { quiet: Some(quiet.clone()), ..channel("oncall", Audience::People) }];
        let night = at(0, 23, 0);
        assert_eq!(told(channels(), Severity::Warning, None, night), "oncall after 28800 s, held");
        assert_eq!(told(channels(), Severity::Critical, None, night), "oncall after 2 s");
        assert_eq!(told(channels(), Severity::Warning, None, at(0, 12, 0)), "oncall after 2 s");
    }

    #[test]
    fn a_channel_is_told_of_what_it_asks_for() {
        let plain = || channel("a", Audience::People);
        let channels = || {
            vec![
                Channel { workflow: WildMatch::new("nightly-*"), ..plain() },
                Channel { workflow: WildMatch::new("daily-*"), ..channel("b", Audience::People) },
                Channel { severity: Severity::Critical, ..channel("c", Audience::People) },
                Channel { kinds: BTreeSet::from([IncidentKind::SlowStep]), ..channel("d", Audience::People) },
                Channel {
                    kinds: BTreeSet::from([IncidentKind::StuckStep]),
                    ..channel("e", Audience::People)
                },
            ]
        };
        let now = at(0, 12, 0);
        assert_eq!(told(channels(), Severity::Warning, None, now), "a after 2 s; d after 2 s");
        assert_eq!(told(channels(), Severity::Critical, None, now), "a after 2 s; c after 2 s; d after 2 s");
    }

    #[test]
    fn who_acts_hears_of_openings_and_who_keeps_state_of_everything_at_once() {
        let channels = || {
            [("people", Audience::People), ("state", Audience::State), ("action", Audience::Action)]
                .map(|(name, audience)| channel(name, audience))
                .to_vec()
        };
        let tell = |transition, loud| {
            let event = Some(Event { transition, loud });
            told(channels(), Severity::Warning, event, at(0, 12, 0))
        };
        let opened = tell(Transition::Opened, true);
        assert_eq!(opened, "people after 2 s; state after 0 s; action after 0 s");
        assert_eq!(tell(Transition::Worsened, true), "people after 0 s; state after 0 s");
        assert_eq!(tell(Transition::Resolved, true), "people after 2 s; state after 0 s");
        assert_eq!(tell(Transition::Resolved, false), "state after 0 s");
        assert_eq!(tell(Transition::Opened, false), "state after 0 s");
        assert_eq!(tell(Transition::Acknowledged, false), "");
    }
}
