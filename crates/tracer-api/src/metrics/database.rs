//! What the database is asked for in the background: what runs, what fires, what waits to be told.

use std::time::{Duration, Instant};

use tracer_core::detect::Severity;
use tracer_core::incident::IncidentKind;
use tracer_core::outbox::{ChannelState, FiringCount};
use tracer_core::time::Timestamp;

use super::gauge::Gauge;
use super::slo::SloGauges;
use super::{ACTIVE_WORKFLOWS, INCIDENTS_FIRING, OUTBOX_OLDEST, OUTBOX_PENDING};

/// The gauges, each as the database said last.
#[derive(Debug)]
pub(super) struct DatabaseGauges {
    active: Gauge<1>,
    firing: Gauge<2>,
    pending: Gauge<1>,
    oldest: Gauge<1>,
    pub(super) slos: SloGauges,
}

impl DatabaseGauges {
    /// Returns gauges that nothing has been said about yet.
    pub(super) const fn new(stale_after: Duration) -> Self {
        let [active, firing, pending, oldest] =
            [ACTIVE_WORKFLOWS, INCIDENTS_FIRING, OUTBOX_PENDING, OUTBOX_OLDEST];
        Self {
            active: Gauge::new(
                active,
                "Running executions, as the database said last.",
                ["workflow_name"],
                stale_after,
            ),
            firing: Gauge::new(
                firing,
                "Incidents that fire, as the database said last.",
                ["kind", "severity"],
                stale_after,
            ),
            pending: Gauge::new(
                pending,
                "Notifications yet to be sent, as the database said last.",
                ["channel"],
                stale_after,
            ),
            oldest: Gauge::new(
                oldest,
                "How long the oldest of them has been due, as the database said last.",
                ["channel"],
                stale_after,
            ),
            slos: SloGauges::new(stale_after),
        }
    }

    /// Takes how many executions run, by label.
    #[expect(clippy::cast_precision_loss, reason = "so many executions never run")]
    pub(super) fn set_active(&mut self, at: Instant, running: impl Iterator<Item = (String, u64)>) {
        let shown = running.filter(|(_, count)| *count > 0);
        self.active.set(at, shown.map(|(label, count)| ([label], count as f64)));
    }

    /// Takes how many incidents fire; of what has none, 0 is shown.
    #[expect(clippy::cast_precision_loss, reason = "so many incidents never fire")]
    pub(super) fn set_firing(&mut self, at: Instant, counts: &[FiringCount]) {
        let labels =
            |kind: IncidentKind, severity: Severity| [kind.as_str().into(), severity.as_str().into()];
        let severities = [Severity::Warning, Severity::Critical];
        let none =
            IncidentKind::ALL.into_iter().flat_map(|kind| severities.map(|bad| (labels(kind, bad), 0.0)));
        let some = counts.iter().map(|count| (labels(count.kind, count.severity), count.incidents as f64));
        self.firing.set(at, none.chain(some));
    }

    /// Takes what waits, by channel; `now` is by the clock of the database.
    #[expect(clippy::cast_precision_loss, reason = "so many notifications never wait")]
    pub(super) fn set_outbox(&mut self, at: Instant, channels: &[ChannelState], now: Timestamp) {
        let label = |state: &ChannelState| [state.channel.as_str().to_owned()];
        self.pending.set(at, channels.iter().map(|state| (label(state), state.pending as f64)));
        let age = |state: &ChannelState| state.oldest.map_or(0.0, |oldest| now.since(oldest).as_secs_f64());
        self.oldest.set(at, channels.iter().map(|state| (label(state), age(state))));
    }

    /// Appends all that is not stale.
    pub(super) fn render(&self, now: Instant, text: &mut String) {
        self.active.render(now, text);
        self.firing.render(now, text);
        self.pending.render(now, text);
        self.oldest.render(now, text);
        self.slos.render(now, text);
    }
}
