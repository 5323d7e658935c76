//! How incidents live and who is told of them, as the settings say.
//!
//! Not here: which settings there are (`config`), and what follows from them (`tracer_core::routing`).

use tracer_core::incident::{AlertPlan, FailureRule};
use tracer_core::routing::{Alerting, Audience, Channel};
use wildmatch::WildMatch;

use crate::config::{ChannelSettings, Settings, Target};
use crate::policy::micros;

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
