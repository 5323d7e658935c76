//! Slack: incoming webhooks, and a bot that edits its messages.
//!
//! Nothing outside of here knows Slack.

mod connector;
mod error;
mod message;
mod notifier;
mod text;

pub use notifier::{SLACK_TIMEOUT, SlackBot, SlackWebhook};
