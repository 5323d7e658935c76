//! Service level objectives.

use serde::Serialize;
use tracer_core::detect::Severity;
use tracer_core::ids::ExecutionId;
use tracer_core::slo::{Indicator, Slo, Window};
use utoipa::ToSchema;

use crate::slo::Standing;

/// The service level objectives.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(title = "Slos")]
pub struct SlosView {
    /// All of them, in the order of the settings.
    pub slos: Vec<SloView>,
}

/// A service level objective, and how it stands.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(title = "Slo")]
pub struct SloView {
    /// What it is called.
    #[schema(example = "checkout")]
    pub name: String,
    /// The pattern of its workflows.
    #[schema(example = "checkout-*")]
    pub workflow: String,
    /// The share that is to be good.
    #[schema(example = 0.99)]
    pub objective: f64,
    /// How long an execution may take; `null`: only how it ends is measured.
    #[schema(example = 30_000)]
    pub latency_ms: Option<u64>,
    /// Over how long the error budget is reckoned.
    #[schema(example = 2_592_000_000_u64)]
    pub window_ms: u64,
    /// Events without which a window that a verdict rests on is not judged.
    #[schema(example = 20)]
    pub min_events: u64,
    /// Whether a burning budget opens an incident.
    #[schema(example = true)]
    pub alert: bool,
    /// What is measured: `availability`, and `latency` where there is a target.
    pub indicators: Vec<SloIndicatorView>,
}

/// What is measured of an objective, and how it stands.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(title = "SloIndicator")]
pub struct SloIndicatorView {
    /// `availability`: completed of all that ended, without those that were cancelled. `latency`: within the target of
    /// those that completed.
    #[schema(example = "availability")]
    pub sli: &'static str,
    /// `ok`, `burning` (a rule fires), `exhausted` (the error budget is spent) or `no_data` (nothing holds enough events
    /// to be judged).
    #[schema(example = "burning")]
    pub state: &'static str,
    /// Why, in a sentence or two.
    #[schema(
        example = "71.4 % of the error budget of 30 d is left. It burns 15.4 times as fast as it may over 1 h, and goes on in the last 5 m."
    )]
    pub why: String,
    /// How bad it is that it burns; `null` where no rule fires.
    #[schema(value_type = Option<String>, example = "CRITICAL")]
    pub severity: Option<Severity>,
    /// Events in the objective's own window.
    #[schema(example = 2_800)]
    pub events: u64,
    /// Those of them that were bad.
    #[schema(example = 8)]
    pub bad: u64,
    /// The share of good ones, with six decimals; `null` without any event.
    #[schema(example = 0.997_143)]
    pub ratio: Option<f64>,
    /// The share of the error budget that is left, with four decimals: 1 untouched, 0 spent, below 0 overspent; `null`
    /// without any event.
    #[schema(example = 0.7143)]
    pub error_budget_remaining: Option<f64>,
    /// The execution that was bad last; `null` where none is known.
    #[schema(value_type = Option<String>, example = "wf_0197a3c5b2f87c4e9d1a2b3c4d5e6f70")]
    pub last_bad_workflow_id: Option<ExecutionId>,
    /// How fast the budget is used up, over windows that end now.
    pub burn_rates: Vec<BurnRateView>,
}

/// How fast an error budget is used up over a window.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(title = "BurnRate")]
pub struct BurnRateView {
    /// `5m`, `30m`, `1h`, `6h`, `3d`, or `budget`: the objective's own.
    #[schema(example = "1h")]
    pub window: &'static str,
    /// How long it is.
    #[schema(example = 3_600_000)]
    pub window_ms: u64,
    /// Events in it.
    #[schema(example = 52)]
    pub events: u64,
    /// Those of them that were bad.
    #[schema(example = 8)]
    pub bad: u64,
    /// The share of bad ones over the share that may be bad, with two decimals: at 1 the budget lasts exactly its window.
    /// `null` without any event.
    #[schema(example = 15.38)]
    pub burn_rate: Option<f64>,
    /// Whether it holds fewer than `min_events` events: then no verdict rests on it alone.
    #[schema(example = false)]
    pub too_few: bool,
}

fn decimals(number: f64, power: i32) -> f64 {
    let scale = 10_f64.powi(power);
    let rounded = (number * scale).round() / scale;
    // There is no nothing below zero.
    if rounded == 0.0 { 0.0 } else { rounded }
}

impl From<&Standing> for SloView {
    fn from(standing: &Standing) -> Self {
        let spec = standing.slo.spec();
        Self {
            name: spec.name.as_str().to_owned(),
            workflow: spec.workflow.clone(),
            objective: spec.objective.get(),
            latency_ms: spec.latency.map(|latency| latency.as_millis()),
            window_ms: spec.window.as_millis(),
            min_events: spec.min_events,
            alert: spec.alert,
            indicators: standing.indicators.iter().map(|one| indicator(&standing.slo, one)).collect(),
        }
    }
}

fn indicator(slo: &Slo, indicator: &Indicator) -> SloIndicatorView {
    let all = indicator.counted(Window::Budget);
    let rate = |window: Window| {
        let counted = indicator.counted(window);
        BurnRateView {
            window: window.as_str(),
            window_ms: window.length(slo.spec().window).as_millis(),
            events: counted.events,
            bad: counted.bad,
            burn_rate: counted.burn_rate(slo.spec().objective).map(|rate| decimals(rate, 2)),
            too_few: !indicator.is_enough(slo, window),
        }
    };
    SloIndicatorView {
        sli: indicator.sli.as_str(),
        state: indicator.state.as_str(),
        why: indicator.why.clone(),
        severity: indicator.burning.map(|burning| burning.severity),
        events: all.events,
        bad: all.bad,
        ratio: all.bad_share().map(|bad| decimals(1.0 - bad, 6)),
        error_budget_remaining: indicator.budget_remaining.map(|left| decimals(left, 4)),
        last_bad_workflow_id: all.last_bad,
        burn_rates: Window::ALL.map(rate).into(),
    }
}
