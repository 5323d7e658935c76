//! What became of what is exported.

use metrics::Unit;

/// What became of spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpansOutcome {
    /// They were taken.
    Sent,
    /// They were refused, alone or with all of their export.
    Rejected,
    /// Nobody took them within the time that it is tried for.
    Failed,
}

impl SpansOutcome {
    const ALL: [Self; 3] = [Self::Sent, Self::Rejected, Self::Failed];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Rejected => "rejected",
            Self::Failed => "failed",
        }
    }
}

/// Counts spans.
pub fn spans(outcome: SpansOutcome, number: u64) {
    metrics::counter!("tracer_export_spans_total", "outcome" => outcome.as_str()).increment(number);
}

/// Counts an execution, or a request, that is not exported because too many wait.
pub fn dropped() {
    metrics::counter!("tracer_export_dropped_total").increment(1);
}

/// Shows how many wait.
pub fn waiting(number: usize) {
    metrics::gauge!("tracer_export_queue").set(u32::try_from(number).unwrap_or(u32::MAX));
}

/// Shows everything once, so that the first time is a rise.
pub fn start() {
    metrics::describe_counter!(
        "tracer_export_spans_total",
        Unit::Count,
        "Spans exported, by what became of them."
    );
    metrics::describe_counter!(
        "tracer_export_dropped_total",
        Unit::Count,
        "Executions and requests not exported because too many waited."
    );
    metrics::describe_gauge!(
        "tracer_export_queue",
        Unit::Count,
        "Executions and requests that wait to be exported."
    );
    SpansOutcome::ALL.into_iter().for_each(|outcome| spans(outcome, 0));
    metrics::counter!("tracer_export_dropped_total").increment(0);
    waiting(0);
}
