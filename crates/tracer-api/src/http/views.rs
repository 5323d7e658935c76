//! The JSON of answers.
//!
//! Invariant: times are RFC 3339 in UTC with milliseconds, durations whole milliseconds, a factor has
//! two decimals, and what is not known is `null` rather than left out.
//! Not here: what requests look like (beside their handlers), and errors (`error`).

pub(super) mod eta;
mod event;
mod execution;
mod failure;
mod incident;
mod regression;
mod slo;
mod span;
mod stats;
mod step;

use serde::Serialize;
use tracer_core::ids::{ExecutionId, StepId, Traceparent};
use tracer_core::time::{Micros, Timestamp};
use utoipa::ToSchema;

pub use eta::EtaView;
pub use event::{EventRecordedView, EventView, EventsView};
pub use execution::{
    BottlenecksView, ExecutionDetailView, ExecutionEndedView, ExecutionStartedView, ExecutionView,
    ExecutionsView, ImportedView, SimulatedView, root_of,
};
pub use failure::{
    FailureGroupView, FailuresView, OwnFailureView, SimilarFailureView, SimilarFailuresView,
    SimilarToExecutionView,
};
pub use incident::{
    AcknowledgedView, FailureRateView, FindingView, HistoryEntryView, IncidentDetailView, IncidentView,
    IncidentsView, ResolvedView, ToldView,
};
pub use regression::RegressionView;
pub use slo::{BurnRateView, SloIndicatorView, SloView, SlosView};
pub use span::{SpanEventView, SpanLinkView, SpanView, TraceView};
pub use stats::{
    ExecutionStatsView, RebaselinedView, StatsView, StepStatsView, WorkflowStatsView, WorkflowsView,
};
pub use step::{BottleneckView, StepEndedView, StepStartedView, StepView, StepsView};

/// A time in RFC 3339, UTC, with milliseconds.
#[derive(Clone, Copy, Debug, ToSchema)]
#[schema(value_type = String, format = DateTime, example = "2026-01-31T12:00:00.123Z")]
pub struct Time(pub Timestamp);

impl Serialize for Time {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// Returns the `traceparent` under which an execution's own children are to be sent.
///
/// An execution's trace id is its own; the span id of its root is derived from it, so that it is the same on
/// every replica ([`ExecutionId::root_span`]).
#[must_use]
pub fn traceparent_of_execution(id: ExecutionId) -> String {
    traceparent_of_step(id, id.root_span())
}

/// Returns the `traceparent` under which a step's own children are to be sent.
#[must_use]
pub fn traceparent_of_step(execution: ExecutionId, step: StepId) -> String {
    Traceparent { trace: execution, parent: step }.to_string()
}

/// Returns a mean or deviation in microseconds as whole milliseconds.
fn whole_millis(micros: Option<f64>) -> Option<u64> {
    micros.map(|micros| Micros::from_f64(micros).as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_span_of_an_execution_is_stable_and_never_zero() {
        let of = |bits: u128| traceparent_of_execution(ExecutionId::from_u128(bits).unwrap());
        assert_eq!(
            of(0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c),
            "00-0af7651916cd43dd8448eb211c80319c-8448eb211c80319c-01"
        );
        assert_eq!(of(1 << 64), "00-00000000000000010000000000000000-0000000000000001-01");
    }
}
