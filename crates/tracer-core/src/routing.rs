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
}

impl Channel {
    /// Returns whether it wants to hear of an incident.
    #[must_use]
    pub fn hears_of(&self, incident: &Incident) -> bool {
        self.workflow.matches(incident.cause.workflow.as_str())
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
            // People are told together of what one execution opens; who keeps state groups by itself.
            let waits = channel.audience == Audience::People && event.transition == Transition::Opened;
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
