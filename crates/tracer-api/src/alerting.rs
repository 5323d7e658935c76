//! How incidents live and who is told of them, as the settings say; and how those channels are.
//!
//! Not here: which settings there are (`config`), and what follows from them (`tracer_core::routing`).

use tracer_core::incident::{AlertPlan, FailureRule};
use tracer_core::outbox::ChannelState;
use tracer_core::repository::RepositoryError;
use tracer_core::routing::{Alerting, Audience, Channel};
use tracer_core::time::Timestamp;
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
