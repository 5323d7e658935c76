//! Looks at work that runs, without being asked, and tells people of what is found.
//!
//! Each task is an idempotent function without input, to be woken by a period: what it finds is in
//! the store, so that any replica may run it, and a restart changes nothing.
//!
//! Not here: what is too long (`tracer_core::detect`), or how often to look (`tracer-api`).

mod abandoned;
mod action;
mod alertmanager;
mod backoff;
mod dispatcher;
#[cfg(test)]
mod fake_server;
mod http;
mod links;
mod log;
mod payload;
#[cfg(test)]
mod samples;
mod slack;
mod watchdog;
mod webhook;
mod words;

pub use abandoned::AbandonedExecutions;
pub use action::Action;
pub use alertmanager::Alertmanager;
pub use dispatcher::{Dispatcher, Outcome, OutcomeReport, Recipient, Restraint};
pub use http::{Http, SetupError, client_builder, client_builder_trusting};
pub use links::{IncidentLinks, LinkError, Links, Runbook};
pub use log::Log;
pub use slack::{SLACK_TIMEOUT, SlackBot, SlackWebhook};
pub use watchdog::{Round, Verdict, Watchdog};
pub use webhook::Webhook;
