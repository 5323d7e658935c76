//! Who is told of incidents, and how they are reached.
//!
//! Invariant: a [`ChannelSettings`] can be used as it is; what was written, and may be incomplete, stays in here.
//! Not here: what becomes of them (`alerting`).

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::civil::Time;
use jiff::tz::TimeZone;
use serde::Deserialize;
use tracer_core::detect::Severity;
use tracer_core::incident::IncidentKind;
use tracer_core::limits;
use tracer_core::notify::ChannelName;
use tracer_core::routing::QuietHours;

use super::alerts::address;
use super::{Fault, Secret, values};

/// The name of the channel that `[slack]` makes.
const SLACK: &str = "slack";
/// The name of the channel that there is when none is set.
const LOG: &str = "log";

/// Of one channel, unless its entry says otherwise.
const TIMEOUT: Duration = Duration::from_secs(40);
const COOLDOWN: Duration = Duration::from_secs(600);
const PER_HOUR: usize = 10;
/// Slack asks for no more than one message a second.
const SLACK_PER_SECOND: f64 = 1.0;
const PER_SECOND: f64 = 10.0;

/// How a channel is reached.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// An incoming webhook of Slack, which cannot edit what it has posted.
    SlackWebhook {
        /// Its address, which is its secret.
        url: Secret,
    },
    /// A bot of Slack, which edits what it has posted.
    SlackBot {
        /// Its token.
        token: Secret,
        /// The channel that it posts in: an id, or `#` and a name.
        channel: String,
        /// Where Slack's API is, without a slash at its end.
        api_url: String,
    },
    /// Any service that takes JSON.
    Webhook {
        /// Its address.
        url: Secret,
        /// What signs the body; empty for no signature.
        secret: Secret,
    },
    /// A service that does something about it.
    Action {
        /// Its address.
        url: Secret,
        /// What signs the body; empty for no signature.
        secret: Secret,
        /// Of the same cause it is not called again within so long.
        cooldown: Duration,
        /// Most calls in an hour.
        per_hour: usize,
    },
    /// Prometheus Alertmanager.
    Alertmanager {
        /// Its address, without `/api/v2`.
        url: Secret,
    },
    /// The log of this service.
    Log,
}

/// A channel: how it is reached, and what it wants to hear.
#[derive(Clone, Debug, PartialEq)]
pub struct ChannelSettings {
    /// Its name, unlike that of every other.
    pub name: ChannelName,
    /// How it is reached.
    pub target: Target,
    /// Pattern of the names of the workflows that it hears of.
    pub workflow: String,
    /// The least severity.
    pub severity: Severity,
    /// The kinds of incidents; empty for all.
    pub kinds: BTreeSet<IncidentKind>,
    /// When only what is CRITICAL.
    pub quiet: Option<QuietHours>,
    /// Most deliveries in a second; above 0.
    pub rate_per_second: f64,
    /// Longest time that one delivery may take.
    pub timeout: Duration,
}

/// Slack without any file: what `SLACK_WEBHOOK_URL`, `SLACK_BOT_TOKEN` and `SLACK_CHANNEL` set.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlackSettings {
    /// An incoming webhook.
    pub webhook_url: Secret,
    /// The token of a bot; wins over the webhook.
    pub bot_token: Secret,
    /// The channel that the bot posts in.
    pub channel: String,
    /// Where Slack's API is.
    pub api_url: String,
}

/// Of which type a channel is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChannelType {
    /// Slack, by webhook or by bot.
    Slack,
    /// Any service that takes JSON.
    Webhook,
    /// Prometheus Alertmanager.
    Alertmanager,
    /// A service that does something about it.
    Action,
    /// The log of this service.
    Log,
}

impl ChannelType {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Slack => "slack",
            Self::Webhook => "webhook",
            Self::Alertmanager => "alertmanager",
            Self::Action => "action",
            Self::Log => "log",
        }
    }
}

/// A channel as it is written: `[[channel]]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChannelEntry {
    name: String,
    r#type: ChannelType,
    webhook_url: Option<Secret>,
    bot_token: Option<Secret>,
    slack_channel: Option<String>,
    url: Option<Secret>,
    secret: Option<Secret>,
    #[serde(default = "super::anything")]
    workflow: String,
    severity: Option<String>,
    #[serde(default)]
    kinds: Vec<IncidentKind>,
    quiet: Option<String>,
    quiet_zone: Option<String>,
    rate_per_second: Option<f64>,
    #[serde(default, deserialize_with = "values::optional_duration")]
    timeout: Option<Duration>,
    #[serde(default, deserialize_with = "values::optional_duration")]
    cooldown: Option<Duration>,
    per_hour: Option<usize>,
}

/// Returns the channels that the settings describe.
///
/// # Errors
/// The first fault: the dotted key, and what is expected.
pub(super) fn channels(
    entries: &[ChannelEntry],
    slack: &SlackSettings,
) -> Result<Vec<ChannelSettings>, Fault> {
    let general = slack.target()?;
    let mut channels: Vec<ChannelSettings> = Vec::new();
    for (at, entry) in entries.iter().enumerate() {
        let channel = entry
            .resolve(slack, general.as_ref())
            .map_err(|(key, reason)| (format!("channel[{at}].{key}"), reason))?;
        if channels.iter().any(|other| other.name == channel.name) {
            return fault(
                &format!("channel[{at}].name"),
                "is the name of another channel: give each its own",
            );
        }
        channels.push(channel);
    }
    let is_used = entries.iter().any(ChannelEntry::takes_general_slack);
    if let Some(target) = general.filter(|_| !is_used) {
        if let Some(at) = channels.iter().position(|channel| channel.name.as_str() == SLACK) {
            let reason = "is the name of the channel that SLACK_WEBHOOK_URL or SLACK_BOT_TOKEN makes: give this one \
                          another, or leave out its address and token, so that it is that channel";
            return fault(&format!("channel[{at}].name"), reason);
        }
        channels.push(ChannelSettings::hearing_all(SLACK, target));
    }
    if channels.is_empty() {
        channels.push(ChannelSettings::hearing_all(LOG, Target::Log));
    }
    if channels.len() > limits::CHANNELS {
        return fault("channel", format!("must not be more than {}", limits::CHANNELS));
    }
    Ok(channels)
}

impl SlackSettings {
    /// Returns what is set, if anything is.
    fn target(&self) -> Result<Option<Target>, Fault> {
        let at = |key: &'static str| move |(_, reason): Fault| (format!("slack.{key}"), reason);
        address(&self.api_url).map_err(|reason| ("slack.api_url".to_owned(), reason))?;
        if !self.bot_token.is_empty() {
            if self.channel.is_empty() {
                let reason = "must say where the bot posts: set SLACK_CHANNEL to the channel's id, or to # and its name";
                return fault("slack.channel", reason);
            }
            check_token(&self.bot_token).map_err(at("bot_token"))?;
            check_slack_channel(&self.channel).map_err(at("channel"))?;
            return Ok(Some(self.bot(self.bot_token.clone(), self.channel.clone())));
        }
        if !self.webhook_url.is_empty() {
            let url = checked(&self.webhook_url, "webhook_url").map_err(at("webhook_url"))?;
            return Ok(Some(Target::SlackWebhook { url }));
        }
        if !self.channel.is_empty() {
            let reason =
                "does nothing by itself: set SLACK_BOT_TOKEN, too, or SLACK_WEBHOOK_URL in its place";
            return fault("slack.channel", reason);
        }
        Ok(None)
    }

    fn bot(&self, token: Secret, channel: String) -> Target {
        Target::SlackBot { token, channel, api_url: self.api_url.trim_end_matches('/').to_owned() }
    }
}

impl ChannelSettings {
    /// Returns a channel that hears of everything, at any time.
    fn hearing_all(name: &str, target: Target) -> Self {
        Self {
            name: ChannelName::from_stored(name),
            rate_per_second: target.usual_rate(),
            target,
            workflow: super::anything(),
            severity: Severity::Warning,
            kinds: BTreeSet::new(),
            quiet: None,
            timeout: TIMEOUT,
        }
    }
}

impl Target {
    const fn usual_rate(&self) -> f64 {
        match self {
            Self::SlackWebhook { .. } | Self::SlackBot { .. } => SLACK_PER_SECOND,
            Self::Webhook { .. } | Self::Action { .. } | Self::Alertmanager { .. } | Self::Log => PER_SECOND,
        }
    }
}

impl ChannelEntry {
    /// Returns whether it is Slack by what `[slack]` says.
    fn takes_general_slack(&self) -> bool {
        self.r#type == ChannelType::Slack && self.webhook_url.is_none() && self.bot_token.is_none()
    }

    fn resolve(&self, slack: &SlackSettings, general: Option<&Target>) -> Result<ChannelSettings, Fault> {
        let name = ChannelName::new(&self.name).map_err(|error| ("name".to_owned(), error.to_string()))?;
        self.check_keys()?;
        let target = self.target(slack, general)?;
        if self.workflow.is_empty() {
            return fault("workflow", "must not be empty: no name is; * stands for any");
        }
        let severity = match self.severity.as_deref() {
            None => Severity::Warning,
            Some(text) if text.eq_ignore_ascii_case("warning") => Severity::Warning,
            Some(text) if text.eq_ignore_ascii_case("critical") => Severity::Critical,
            Some(_) => return fault("severity", "expected \"WARNING\" or \"CRITICAL\""),
        };
        let rate_per_second = self.rate_per_second.unwrap_or_else(|| target.usual_rate());
        if !(0.01..=1_000.0).contains(&rate_per_second) {
            return fault("rate_per_second", "must lie between 0.01 and 1000");
        }
        let timeout = self.timeout.unwrap_or(TIMEOUT);
        if !(Duration::from_secs(1)..=Duration::from_secs(300)).contains(&timeout) {
            return fault("timeout", "must lie between 1s and 300 s");
        }
        let (workflow, kinds) = (self.workflow.clone(), self.kinds.iter().copied().collect());
        Ok(ChannelSettings {
            name,
            target,
            workflow,
            severity,
            kinds,
            quiet: self.quiet()?,
            rate_per_second,
            timeout,
        })
    }

    /// Refuses what this type of channel has no use for: it would be taken to do something.
    fn check_keys(&self) -> Result<(), Fault> {
        use ChannelType::{Action, Alertmanager, Slack, Webhook};
        let keys: [(&str, bool, &[ChannelType]); 7] = [
            ("webhook_url", self.webhook_url.is_some(), &[Slack]),
            ("bot_token", self.bot_token.is_some(), &[Slack]),
            ("slack_channel", self.slack_channel.is_some(), &[Slack]),
            ("url", self.url.is_some(), &[Webhook, Action, Alertmanager]),
            ("secret", self.secret.is_some(), &[Webhook, Action]),
            ("cooldown", self.cooldown.is_some(), &[Action]),
            ("per_hour", self.per_hour.is_some(), &[Action]),
        ];
        for (key, is_set, types) in keys {
            if is_set && !types.contains(&self.r#type) {
                let types: Vec<&str> = types.iter().map(|of| of.as_str()).collect();
                let (of, this) = (types.join(" or "), self.r#type.as_str());
                return fault(key, format!("is for channels of type {of}, and this one is of type {this}"));
            }
        }
        if self.quiet.is_some() && self.r#type == Alertmanager {
            return fault(
                "quiet",
                "would leave Alertmanager with a state that is old: use its mute_time_intervals",
            );
        }
        Ok(())
    }

    fn target(&self, slack: &SlackSettings, general: Option<&Target>) -> Result<Target, Fault> {
        let secret = || self.secret.clone().unwrap_or_default();
        Ok(match self.r#type {
            ChannelType::Slack => return self.slack(slack, general),
            ChannelType::Webhook => Target::Webhook { url: self.url()?, secret: secret() },
            ChannelType::Alertmanager => {
                let url = self.url()?;
                if url.expose().contains("/api/v") {
                    return fault("url", "must be the address of Alertmanager itself, without /api/v2");
                }
                Target::Alertmanager { url }
            }
            ChannelType::Action => {
                let (cooldown, per_hour) =
                    (self.cooldown.unwrap_or(COOLDOWN), self.per_hour.unwrap_or(PER_HOUR));
                if cooldown > Duration::from_secs(30 * 86_400) {
                    return fault("cooldown", "must not be longer than 30 days");
                }
                if !(1..=1_000).contains(&per_hour) {
                    return fault("per_hour", "must lie between 1 and 1000");
                }
                Target::Action { url: self.url()?, secret: secret(), cooldown, per_hour }
            }
            ChannelType::Log => Target::Log,
        })
    }

    fn slack(&self, slack: &SlackSettings, general: Option<&Target>) -> Result<Target, Fault> {
        let posts_in = self.slack_channel.as_ref();
        if let Some(channel) = posts_in {
            check_slack_channel(channel)?;
        }
        if let Some(token) = &self.bot_token {
            check_token(token)?;
            let Some(channel) = posts_in else {
                return fault(
                    "slack_channel",
                    "must say where the bot posts: a channel's id, or # and its name",
                );
            };
            return Ok(slack.bot(token.clone(), channel.clone()));
        }
        if let Some(url) = &self.webhook_url {
            if posts_in.is_some() {
                return fault("slack_channel", "needs bot_token: a webhook posts where it was made for");
            }
            return Ok(Target::SlackWebhook { url: checked(url, "webhook_url")? });
        }
        match (general.cloned(), posts_in) {
            (Some(Target::SlackBot { token, .. }), Some(channel)) => Ok(slack.bot(token, channel.clone())),
            (Some(_), Some(_)) => {
                fault("slack_channel", "needs a bot: set bot_token here, or SLACK_BOT_TOKEN")
            }
            (Some(general), None) => Ok(general),
            (None, _) => fault(
                "type",
                "needs webhook_url, or bot_token and slack_channel, here or as SLACK_WEBHOOK_URL, SLACK_BOT_TOKEN and \
                 SLACK_CHANNEL",
            ),
        }
    }

    fn url(&self) -> Result<Secret, Fault> {
        match &self.url {
            Some(url) => checked(url, "url"),
            None => fault("url", format!("is required for a channel of type {}", self.r#type.as_str())),
        }
    }

    fn quiet(&self) -> Result<Option<QuietHours>, Fault> {
        let zone = match self.quiet_zone.as_deref() {
            None => TimeZone::UTC,
            Some(_) if self.quiet.is_none() => {
                return fault("quiet_zone", "does nothing without quiet, such as \"22:00-07:00\"");
            }
            Some(name) => TimeZone::get(name).map_err(|_| {
                let expected = "expected a zone of the IANA database, such as \"Europe/Berlin\"";
                ("quiet_zone".to_owned(), expected.to_owned())
            })?,
        };
        let Some(text) = self.quiet.as_deref() else { return Ok(None) };
        let parsed = text.split_once('-').and_then(|(from, until)| Some((clock(from)?, clock(until)?)));
        match parsed.filter(|(from, until)| from != until) {
            Some((from, until)) => Ok(Some(QuietHours { from, until, zone })),
            None => fault("quiet", "expected two different times of day, such as \"22:00-07:00\""),
        }
    }
}

/// Parses `HH:MM`.
fn clock(text: &str) -> Option<Time> {
    let (hour, minute) = text.trim().split_once(':')?;
    let two = |digits: &str| {
        let plain = digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_digit());
        if plain { digits.parse::<i8>().ok() } else { None }
    };
    Time::new(two(hour)?, two(minute)?, 0, 0).ok()
}

fn checked(url: &Secret, key: &str) -> Result<Secret, Fault> {
    address(url.expose()).map(|_| url.clone()).map_err(|reason| (key.to_owned(), reason))
}

fn check_token(token: &Secret) -> Result<(), Fault> {
    let fits = !token.is_empty() && token.expose().bytes().all(|b| b.is_ascii_graphic());
    if fits { Ok(()) } else { fault("bot_token", "expected the bot's token, such as \"xoxb-…\"") }
}

fn check_slack_channel(channel: &str) -> Result<(), Fault> {
    let fits = (1..=100).contains(&channel.chars().count())
        && !channel.chars().any(|c| c.is_control() || c.is_whitespace());
    if fits { Ok(()) } else { fault("slack_channel", "expected a channel's id, or # and its name") }
}

fn fault<T>(key: &str, reason: impl Into<String>) -> Result<T, Fault> {
    Err((key.to_owned(), reason.into()))
}
