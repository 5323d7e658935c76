//! How the channels are that people are told by, and what waits for them.

use std::collections::BTreeMap;

use serde::Serialize;
use tracer_core::outbox::ChannelState;
use tracer_core::time::{Micros, Timestamp};
use utoipa::ToSchema;

use super::super::views::Time;
use super::Condition;

/// What has waited for longer than this is late, whatever the channel says.
const LATE: Micros = Micros::from_secs(5 * 60);

/// What waits to be told, of all channels.
#[derive(Serialize, ToSchema)]
pub(super) struct OutboxCheck {
    /// Degraded when something has been due for more than five minutes.
    pub(super) status: Condition,
    /// Notifications yet to be sent.
    #[schema(example = 0)]
    pending: u64,
    /// How long the oldest of them has been due; `null` where none waits.
    #[schema(example = 0)]
    oldest_age_ms: Option<u64>,
}

/// A channel.
#[derive(Serialize, ToSchema)]
pub(super) struct ChannelCheck {
    /// Degraded while deliveries fail, and for 24 hours after the channel refused one for good.
    pub(super) status: Condition,
    /// Notifications yet to be sent.
    #[schema(example = 0)]
    pending: u64,
    /// How long the oldest of them has been due; `null` where none waits.
    #[schema(example = 0)]
    oldest_age_ms: Option<u64>,
    /// Deliveries in a row that failed and are tried again.
    #[schema(example = 0)]
    failures: u32,
    /// Notifications that it refused for good, in the last 24 hours.
    #[schema(example = 0)]
    refused: u64,
    /// When it last took one.
    last_sent_at: Option<Time>,
    /// Why it last failed or refused.
    last_fault: Option<ChannelFault>,
}

/// A delivery that failed.
#[derive(Serialize, ToSchema)]
#[schema(title = "Fault of a channel")]
pub(super) struct ChannelFault {
    /// When.
    at: Time,
    /// Why.
    #[schema(example = "Slack answered 404 no_service")]
    reason: String,
}

/// Returns the check of the outbox, and those of its channels by `channel:NAME`.
pub(super) fn of(states: Vec<ChannelState>, now: Timestamp) -> (OutboxCheck, BTreeMap<String, ChannelCheck>) {
    let age = |oldest: Timestamp| now.since(oldest);
    let oldest = states.iter().filter_map(|state| state.oldest).min().map(age);
    let outbox = OutboxCheck {
        status: degraded_if(oldest.is_some_and(|age| age > LATE)),
        pending: states.iter().map(|state| state.pending).sum(),
        oldest_age_ms: oldest.map(Micros::as_millis),
    };
    let check = |state: ChannelState| {
        let check = ChannelCheck {
            status: degraded_if(state.failures > 0 || state.refused > 0),
            pending: state.pending,
            oldest_age_ms: state.oldest.map(age).map(Micros::as_millis),
            failures: state.failures,
            refused: state.refused,
            last_sent_at: state.last_sent_at.map(Time),
            last_fault: state.last_fault.map(|(at, reason)| ChannelFault { at: Time(at), reason }),
        };
        (format!("channel:{}", state.channel), check)
    };
    (outbox, states.into_iter().map(check).collect())
}

const fn degraded_if(so: bool) -> Condition {
    if so { Condition::Degraded } else { Condition::Healthy }
}

#[cfg(test)]
mod tests {
    use tracer_core::notify::ChannelName;

    use super::*;

    fn state(name: &str) -> ChannelState {
        ChannelState {
            channel: ChannelName::new(name).unwrap(),
            pending: 0,
            oldest: None,
            refused: 0,
            failures: 0,
            last_fault: None,
            last_sent_at: None,
        }
    }

    #[test]
    fn a_channel_is_degraded_by_failures_and_refusals_and_the_outbox_by_what_is_late() {
        let now = Timestamp::from_millis(1_000_000);
        let due = |millis: i64| ChannelState {
            pending: 2,
            oldest: Some(Timestamp::from_millis(millis)),
            ..state("b")
        };
        let shown = |states: Vec<ChannelState>| {
            let (outbox, channels) = of(states, now);
            let channels: Vec<String> =
                channels.into_iter().map(|(name, check)| format!("{name} {:?}", check.status)).collect();
            format!(
                "{:?} {} {:?}; {}",
                outbox.status,
                outbox.pending,
                outbox.oldest_age_ms,
                channels.join(", ")
            )
        };
        let lines = [
            shown(Vec::new()),
            shown(vec![ChannelState { failures: 1, ..state("a") }, due(700_000)]),
            shown(vec![ChannelState { refused: 1, ..state("a") }, due(699_999)]),
            // Held until the end of quiet hours.
            shown(vec![due(2_000_000)]),
        ];
        insta::assert_snapshot!(lines.join("\n"), @r"
        Healthy 0 None; 
        Healthy 2 Some(300000); channel:a Degraded, channel:b Healthy
        Degraded 2 Some(300001); channel:a Degraded, channel:b Healthy
        Healthy 2 Some(0); channel:b Healthy
        ");
    }
}
