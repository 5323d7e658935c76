//! When incidents open, repeat and end, and where the links in messages lead.
//!
//! Not here: who is told (`channels`), and what an incident is (`tracer_core::incident`).

use std::time::Duration;

use reqwest::Url;
use serde::Deserialize;
use tracer_alert::{LinkError, Links};

use super::{Fault, values};

/// What may stand between braces in the pattern of a link.
const PLACEHOLDERS: [&str; 5] = ["workflow", "step", "execution", "incident", "kind"];
/// Most bytes in the pattern of a link.
const PATTERN_BYTES: usize = 2_000;

const EXPECTED_ADDRESS: &str = "expected an address that begins with https:// or http://";

/// How incidents live, and where messages lead.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlertSettings {
    /// Time without a finding after which an incident may resolve.
    #[serde(deserialize_with = "values::duration")]
    pub resolve_after: Duration,
    /// Normal ends in a row that it takes as well.
    pub resolve_runs: u8,
    /// For so long after its end a finding reopens an incident.
    #[serde(deserialize_with = "values::duration")]
    pub reopen_within: Duration,
    /// Without any finding for so long, an incident is let go.
    #[serde(deserialize_with = "values::duration")]
    pub stale_after: Duration,
    /// How often people are reminded.
    #[serde(deserialize_with = "values::duration")]
    pub repeat_interval: Duration,
    /// How long an opening waits for others of the same execution.
    #[serde(deserialize_with = "values::duration")]
    pub group_wait: Duration,
    /// How long a replica that died keeps its channels from the others.
    #[serde(deserialize_with = "values::duration")]
    pub lease: Duration,
    /// The share of failures that is borne in any case, from 0 to 1.
    pub failure_rate: f64,
    /// How far back failures are counted.
    #[serde(deserialize_with = "values::duration")]
    pub failure_window: Duration,
    /// Ends without which nothing is said of failures; at least 1.
    pub failure_min_ends: u64,
    /// After so long without success a notification is set aside.
    #[serde(deserialize_with = "values::duration")]
    pub give_up_after: Duration,
    /// The pattern of the link to a dashboard; empty for none.
    pub dashboard_url: String,
    /// The pattern of the link to an execution; empty for none.
    pub execution_url: String,
}

/// Where it is written what to do about a step.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunbookFor {
    /// Pattern of the workflow's name, with `*` and `?`.
    #[serde(default = "super::anything")]
    pub workflow: String,
    /// Pattern of the step's name; `*` matches what is about no step, too.
    #[serde(default = "super::anything")]
    pub step: String,
    /// The pattern of the link.
    pub url: String,
}

impl AlertSettings {
    /// Says what is wrong, if anything is: the key, and what is expected.
    ///
    /// # Errors
    /// The first fault.
    pub(super) fn check(&self) -> Result<(), Fault> {
        const MINUTE: Duration = Duration::from_secs(60);
        const DAY: Duration = Duration::from_secs(86_400);
        let second = Duration::from_secs(1);
        let between = [
            ("resolve_after", self.resolve_after, second, DAY * 30),
            ("reopen_within", self.reopen_within, Duration::ZERO, DAY * 30),
            ("stale_after", self.stale_after, second, DAY * 365),
            ("repeat_interval", self.repeat_interval, second, DAY * 365),
            ("group_wait", self.group_wait, Duration::ZERO, MINUTE),
            ("lease", self.lease, second, MINUTE * 5),
            ("failure_window", self.failure_window, second, DAY * 30),
            ("give_up_after", self.give_up_after, MINUTE, DAY * 30),
        ];
        for (key, value, least, most) in between {
            if value < least || value > most {
                return fault(key, format!("must lie between {least:?} and {} s", most.as_secs()));
            }
        }
        if self.stale_after < self.resolve_after {
            return fault("stale_after", "must not be below resolve_after");
        }
        if !(0.0..=1.0).contains(&self.failure_rate) {
            return fault("failure_rate", "must lie between 0 and 1: 0.05 is 5 %, 1 switches it off");
        }
        if !(1..=1_000_000).contains(&self.failure_min_ends) {
            return fault("failure_min_ends", "must lie between 1 and 1000000");
        }
        for (key, pattern) in [("dashboard_url", &self.dashboard_url), ("execution_url", &self.execution_url)]
        {
            if !pattern.is_empty() {
                link(pattern).map_err(|reason| (key.to_owned(), reason))?;
            }
        }
        Ok(())
    }
}

impl RunbookFor {
    /// Says what is wrong, if anything is.
    ///
    /// # Errors
    /// The first fault.
    pub(super) fn check(&self) -> Result<(), Fault> {
        for (key, pattern) in [("workflow", &self.workflow), ("step", &self.step)] {
            if pattern.is_empty() {
                return fault(key, "must not be empty: no name is; * stands for any");
            }
        }
        link(&self.url).map_err(|reason| ("url".to_owned(), reason))
    }
}

/// Checks the pattern of a link, as those who fill it in will.
fn link(pattern: &str) -> Result<(), String> {
    let Err(error) = Links::new(Some(pattern), None, &[]) else { return Ok(()) };
    Err(match error {
        LinkError::Placeholder { .. } => {
            let known = PLACEHOLDERS.map(|name| format!("{{{name}}}")).join(", ");
            format!("has an unknown placeholder; known are {known}")
        }
        LinkError::Host { .. } => "must not have a placeholder before its path".to_owned(),
        LinkError::Address { .. } => EXPECTED_ADDRESS.to_owned(),
        LinkError::Character { .. } | LinkError::TooLong => {
            format!("expected at most {PATTERN_BYTES} characters, each one that an address may have")
        }
    })
}

/// Parses the address of something that is reached over HTTP.
///
/// # Errors
/// What is expected; the text may hold a secret, and is not repeated.
pub(super) fn address(text: &str) -> Result<Url, String> {
    let parsed = Url::parse(text).ok();
    let usable = |url: &Url| matches!(url.scheme(), "http" | "https") && url.has_host();
    parsed.filter(usable).ok_or_else(|| EXPECTED_ADDRESS.to_owned())
}

fn fault<T>(key: &str, reason: impl Into<String>) -> Result<T, Fault> {
    Err((key.to_owned(), reason.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_an_address_with_placeholders_that_are_known() {
        for good in [
            "https://a.example/{workflow}?step={step}&i={incident}#{kind}",
            "http://[::1]:3000/d/{execution}",
        ] {
            assert_eq!(link(good), Ok(()), "{good}");
        }
        let unknown =
            "has an unknown placeholder; known are {workflow}, {step}, {execution}, {incident}, {kind}";
        for bad in ["https://a.example/{workflows}", "https://a.example/{", "https://a.example/{{step}}"] {
            assert_eq!(link(bad).unwrap_err(), unknown, "{bad}");
        }
        for bad in ["a.example/{step}", "javascript:alert(1)", "https://", "/d/{step}", "file:///x"] {
            assert_eq!(
                link(bad).unwrap_err(),
                "expected an address that begins with https:// or http://",
                "{bad}"
            );
        }
    }
}
