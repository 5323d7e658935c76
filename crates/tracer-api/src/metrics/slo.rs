//! Service level objectives, as the database said last. All replicas say the same: take the greatest, never the sum.

use std::time::{Duration, Instant};

use tracer_core::slo::{Indicator, Slo, Window};

use super::Metrics;
use super::gauge::Gauge;
use crate::slo::Standing;

const OBJECTIVE: &str = "tracer_slo_objective_ratio";
const MIN_EVENTS: &str = "tracer_slo_min_events";
const EVENTS: &str = "tracer_slo_events";
const BAD_EVENTS: &str = "tracer_slo_bad_events";
const BURN_RATE: &str = "tracer_slo_burn_rate";
const BUDGET_REMAINING: &str = "tracer_slo_error_budget_remaining_ratio";

const OF_INDICATOR: [&str; 2] = ["slo", "sli"];
const OF_WINDOW: [&str; 3] = ["slo", "sli", "window"];

/// The gauges.
#[derive(Debug)]
pub(super) struct SloGauges {
    objective: Gauge<2>,
    min_events: Gauge<2>,
    events: Gauge<3>,
    bad_events: Gauge<3>,
    burn_rate: Gauge<3>,
    budget_remaining: Gauge<2>,
}

impl SloGauges {
    /// Returns gauges that nothing has been said about yet.
    pub(super) const fn new(stale_after: Duration) -> Self {
        Self {
            objective: Gauge::new(
                OBJECTIVE,
                "Share of events of a service level objective that is to be good.",
                OF_INDICATOR,
                stale_after,
            ),
            min_events: Gauge::new(
                MIN_EVENTS,
                "Events without which a long window of the objective says nothing.",
                OF_INDICATOR,
                stale_after,
            ),
            events: Gauge::new(
                EVENTS,
                "Events of the objective in the window, as the database said last.",
                OF_WINDOW,
                stale_after,
            ),
            bad_events: Gauge::new(
                BAD_EVENTS,
                "Those of them that were bad, as the database said last.",
                OF_WINDOW,
                stale_after,
            ),
            burn_rate: Gauge::new(
                BURN_RATE,
                "How many times as fast as it may the error budget is used up in the window.",
                OF_WINDOW,
                stale_after,
            ),
            budget_remaining: Gauge::new(
                BUDGET_REMAINING,
                "Share of the error budget that is left: 1 untouched, 0 spent, below 0 overspent.",
                OF_INDICATOR,
                stale_after,
            ),
        }
    }

    /// Takes how the objectives stand.
    #[expect(clippy::cast_precision_loss, reason = "so many executions never end within 90 days")]
    fn set(&mut self, at: Instant, standings: &[Standing]) {
        let each = standings.iter().map(|standing| (&standing.slo, &standing.indicators));
        let all: Vec<(&Slo, &Indicator)> =
            each.flat_map(|(slo, indicators)| indicators.iter().map(move |one| (slo, one))).collect();
        let labels =
            |slo: &Slo, one: &Indicator| [slo.name().as_str().to_owned(), one.sli.as_str().to_owned()];
        let objective = all.iter().map(|(slo, one)| (labels(slo, one), slo.spec().objective.get()));
        self.objective.set(at, objective);
        let least = all.iter().map(|(slo, one)| (labels(slo, one), slo.spec().min_events as f64));
        self.min_events.set(at, least);
        let left = all.iter().filter_map(|(slo, one)| Some((labels(slo, one), one.budget_remaining?)));
        self.budget_remaining.set(at, left);
        let windows = || {
            all.iter().flat_map(|(slo, one)| {
                Window::ALL.map(|window| {
                    let [name, sli] = labels(slo, one);
                    let counted = one.counted(window);
                    (
                        [name, sli, window.as_str().to_owned()],
                        counted,
                        counted.burn_rate(slo.spec().objective),
                    )
                })
            })
        };
        self.events.set(at, windows().map(|(labels, counted, _)| (labels, counted.events as f64)));
        self.bad_events.set(at, windows().map(|(labels, counted, _)| (labels, counted.bad as f64)));
        self.burn_rate.set(at, windows().filter_map(|(labels, _, rate)| Some((labels, rate?))));
    }

    /// Appends all that is not stale.
    pub(super) fn render(&self, now: Instant, text: &mut String) {
        self.objective.render(now, text);
        self.min_events.render(now, text);
        self.events.render(now, text);
        self.bad_events.render(now, text);
        self.burn_rate.render(now, text);
        self.budget_remaining.render(now, text);
    }
}

impl Metrics {
    /// Takes how the objectives stand, as the database said at `now`; shown as long as [`Metrics::set_active`].
    pub fn set_slos(&self, now: Instant, standings: &[Standing]) {
        self.database().slos.set(now, standings);
    }
}
