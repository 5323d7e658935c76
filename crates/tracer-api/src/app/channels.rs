//! The channels of the settings, each with what brings it something: the part of the wiring that names notifiers.

use std::sync::Arc;

use anyhow::Context as _;
use tracer_alert::{
    Action, Alertmanager, Http, Links, Log, Recipient, Runbook, SlackBot, SlackWebhook, Webhook,
};
use tracer_core::clock::Clock;
use tracer_core::notify::Notifier;

use crate::alerting::recipient;
use crate::config::{ChannelSettings, Secret, Settings, Target};

/// Returns the channels of the settings, in their order.
///
/// # Errors
/// If HTTP cannot be set up, or an address or token cannot be used; the message names the channel.
pub(super) fn recipients(settings: &Settings, clock: Arc<dyn Clock>) -> anyhow::Result<Vec<Recipient>> {
    let (http, links) = (Http::new(clock)?, Arc::new(links(settings)?));
    let recipient = |channel: &ChannelSettings| {
        let notifier = notifier(channel, &http, &links);
        let notifier = notifier.with_context(|| format!("the channel {} cannot be used", channel.name))?;
        Ok(recipient(settings, channel, notifier))
    };
    settings.channels.iter().map(recipient).collect()
}

fn links(settings: &Settings) -> anyhow::Result<Links> {
    let given = |pattern: &'_ String| (!pattern.is_empty()).then(|| pattern.clone());
    let (execution, dashboard) =
        (given(&settings.alerts.execution_url), given(&settings.alerts.dashboard_url));
    // As everywhere in the settings the last entry that matches holds; here it is the first.
    let runbooks: Vec<Runbook> = settings
        .runbook
        .iter()
        .rev()
        .map(|runbook| Runbook {
            workflow: runbook.workflow.clone(),
            step: runbook.step.clone(),
            url: runbook.url.clone(),
        })
        .collect();
    Links::new(execution.as_deref(), dashboard.as_deref(), &runbooks).context("a link cannot be used")
}

fn notifier(channel: &ChannelSettings, http: &Http, links: &Arc<Links>) -> anyhow::Result<Arc<dyn Notifier>> {
    let (links, timeout) = (Arc::clone(links), channel.timeout);
    Ok(match &channel.target {
        Target::SlackWebhook { url } => Arc::new(SlackWebhook::new(http, url.expose(), links, timeout)?),
        Target::SlackBot { token, channel, api_url } => {
            Arc::new(SlackBot::new(http, token.expose(), channel, links, timeout, Some(api_url))?)
        }
        Target::Webhook { url, secret } => {
            Arc::new(Webhook::new(http, url.expose(), signed(secret), links, timeout)?)
        }
        Target::Action { url, secret, .. } => {
            Arc::new(Action::new(http, url.expose(), signed(secret), links, timeout)?)
        }
        Target::Alertmanager { url } => Arc::new(Alertmanager::new(http, url.expose(), links, timeout)?),
        Target::Log => Arc::new(Log),
    })
}

/// Returns what signs, if anything is to.
fn signed(secret: &Secret) -> Option<&str> {
    Some(secret.expose()).filter(|text| !text.is_empty())
}
