//! How incidents live and who is told of them, as the settings say; and how those channels are.
//!
//! Not here: which settings there are (`config`), and what follows from them (`tracer_core::routing`).

use std::sync::Arc;

use tracer_alert::{Recipient, Restraint};
use tracer_core::incident::{AlertPlan, FailureRule};
use tracer_core::notify::Notifier;
use tracer_core::outbox::ChannelState;
use tracer_core::repository::RepositoryError;
use tracer_core::routing::{Alerting, Audience, Channel};
use tracer_core::time::{Micros, Timestamp};
use wildmatch::WildMatch;

use crate::config::{ChannelSettings, Settings, Target};
use crate::policy::micros;
use crate::recording::Tracing;

/// Returns what the settings describe.
#[must_use]
pub fn alerting(settings: &Settings) -> Alerting {
    let alerts = &settings.alerts;
    let plan = AlertPlan {
        resolve_after: micros(alerts.resolve_after),
        resolve_runs: alerts.resolve_runs,
        reopen_within: micros(alerts.reopen_within),
        stale_after: micros(alerts.stale_after),
        repeat_interval: micros(alerts.repeat_interval),
        group_wait: micros(alerts.group_wait),
        failures: FailureRule {
            limit: alerts.failure_rate,
            window: micros(alerts.failure_window),
            least: alerts.failure_min_ends,
        },
    };
    Alerting { plan, channels: settings.channels.iter().map(channel).collect() }
}

/// Returns what a channel wants to hear.
#[must_use]
pub fn channel(settings: &ChannelSettings) -> Channel {
    Channel {
        name: settings.name.clone(),
        audience: audience(&settings.target),
        workflow: WildMatch::new(&settings.workflow),
        severity: settings.severity,
        kinds: settings.kinds.clone(),
        quiet: settings.quiet.clone(),
        grouped: matches!(settings.target, Target::SlackWebhook { .. } | Target::SlackBot { .. }),
    }
}

const fn audience(target: &Target) -> Audience {
    match target {
        // What a bot edits in place it edits by itself: as messages go, it is told what people are told.
        Target::SlackWebhook { .. } | Target::SlackBot { .. } | Target::Webhook { .. } | Target::Log => {
            Audience::People
        }
        Target::Alertmanager { .. } => Audience::State,
        Target::Action { .. } => Audience::Action,
    }
}

/// Returns a channel together with what brings it something.
#[must_use]
pub fn recipient(settings: &Settings, of: &ChannelSettings, notifier: Arc<dyn Notifier>) -> Recipient {
    let restraint = match &of.target {
        Target::SlackWebhook { .. }
        | Target::SlackBot { .. }
        | Target::Webhook { .. }
        | Target::Alertmanager { .. }
        | Target::Log => None,
        Target::Action { cooldown, per_hour, .. } => {
            Some(Restraint { cooldown: micros(*cooldown), per_hour: *per_hour })
        }
    };
    Recipient {
        channel: channel(of),
        notifier,
        interval: Micros::from_f64(1_000_000.0 / of.rate_per_second),
        restraint,
        give_up_after: micros(settings.alerts.give_up_after),
    }
}

/// Returns how the channels are that the settings name, in their order; one of which nothing was ever stored is idle.
/// What is stored of others is of earlier settings, and nobody brings it any more.
///
/// # Errors
/// [`RepositoryError`].
pub async fn channel_states(tracing: &Tracing, now: Timestamp) -> Result<Vec<ChannelState>, RepositoryError> {
    let mut stored = tracing.repository().channels(now).await?;
    let set = tracing.policy().alerting().channels.iter();
    let mut state = |channel: &Channel| match stored.iter().position(|state| state.channel == channel.name) {
        Some(at) => stored.swap_remove(at),
        None => ChannelState {
            channel: channel.name.clone(),
            pending: 0,
            oldest: None,
            refused: 0,
            failures: 0,
            last_fault: None,
            last_sent_at: None,
        },
    };
    Ok(set.map(&mut state).collect())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::Secret;

    #[test]
    fn the_default_settings_are_the_default_plan() {
        let alerting = alerting(&Settings::defaults().unwrap());
        assert_eq!(alerting.plan, AlertPlan::default());
        let channels: Vec<_> = alerting.channels.iter().map(|it| (it.name.as_str(), it.audience)).collect();
        assert_eq!(channels, [("log", Audience::People)]);
    }

    #[test]
    fn people_are_told_what_keeps_state_is_told_all_and_what_acts_is_told_of_openings() {
        let (url, secret) = (Secret::default(), Secret::default());
        let channel = String::new();
        let cooldown = Duration::ZERO;
        let audiences = [
            Target::SlackWebhook { url: url.clone() },
            Target::SlackBot { token: url.clone(), channel: channel.clone(), api_url: channel },
            Target::Webhook { url: url.clone(), secret: secret.clone() },
            Target::Log,
            Target::Alertmanager { url: url.clone() },
            Target::Action { url, secret, cooldown, per_hour: 1 },
        ]
        .map(|target| audience(&target));
        let people = Audience::People;
        assert_eq!(audiences, [people, people, people, people, Audience::State, Audience::Action]);
    }
}
