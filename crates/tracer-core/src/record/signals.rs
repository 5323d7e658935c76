//! Carries out signals: what is wrong outside of any single execution, and is said again and again while it is.
//!
//! Invariant: what says nothing new changes nothing, so that every replica may say it as often as it likes.
//! Not here: how incidents live (`incident`), and who judges (`slo`, and whoever sends alerts).

use super::alerting::{self, Found};
use super::apply::{fresh, repeated};
use super::command::Signal;
use super::outcome::{Answer, Outcome};
use super::working_set::WorkingSet;
use crate::detect::Policy;
use crate::incident::{Evidence, Finding, Incident, IncidentState};
use crate::limits;
use crate::time::{Micros, Timestamp};

/// Brings a signal to the incident of its cause: opens, worsens or ends it, or notes that it goes on.
pub(super) fn signal(policy: &Policy, signal: &Signal, now: Timestamp, set: &mut WorkingSet) -> Answer {
    let alerting = policy.alerting();
    let known = alerting::current(&signal.cause, set);
    let id = match (&signal.found, known) {
        (Some(finding), Some(incident)) if !is_news(incident, finding, now) => None,
        (Some(finding), known) => {
            let is_new = known.is_none_or(|incident| incident.state == IncidentState::Resolved);
            let finding = finding.clone();
            let evidence = Evidence { execution: signal.execution, step: None, finding };
            let found = Found { evidence, is_new, lasts: is_new, aside: false, simulated: false };
            Some(alerting::find(alerting, signal.cause.clone(), found, now, set))
        }
        (None, Some(incident)) if incident.state == IncidentState::Firing => {
            let mut incident = incident.clone();
            let event = incident.ended(now, &alerting.plan);
            Some(alerting::change(alerting, incident, event, now, set))
        }
        (None, Some(_) | None) => None,
    };
    match id.and_then(|id| set.incidents.get(&id)) {
        Some(incident) => fresh(Outcome::Incident(Box::new(incident.clone()))),
        None => repeated(Outcome::NothingNew),
    }
}

/// Returns whether a finding changes an incident: it is worse, fires again, or was last heard of long ago, after
/// which it would be let go.
fn is_news(incident: &Incident, finding: &Finding, now: Timestamp) -> bool {
    let heard = Micros::from_secs(limits::SIGNAL_HEARD_MINUTES * 60);
    incident.state == IncidentState::Resolved
        || finding.severity() > incident.severity
        || now.since(incident.last_seen_at) >= heard
}
