//! Turns what a file tells into the very body of `POST /import`, so that both ways of importing are one.

use tracer_core::time::Timestamp;

use crate::http::import::{FinishedExecution, FinishedStep, Reported, ReportedParts};
use crate::import::execution::{Ending, ImportedExecution, ImportedStep};

/// Returns what is recorded of an execution.
pub(super) fn finished(execution: ImportedExecution) -> FinishedExecution {
    let (status, error) = ending(execution.ending);
    FinishedExecution {
        workflow_id: Some(execution.id.to_string()),
        workflow_name: Some(execution.workflow_name),
        correlation_id: None,
        version: execution.version,
        attributes: Some(execution.attributes),
        input: None,
        output: None,
        started_at: Some(precise(execution.started_at)),
        ended_at: Some(precise(execution.ended_at)),
        status,
        error,
        steps: execution.steps.into_iter().map(finished_step).collect(),
    }
}

fn finished_step(step: ImportedStep) -> FinishedStep {
    let (status, error) = ending(step.ending);
    FinishedStep {
        step_id: Some(step.id.to_string()),
        step_name: Some(step.step_name),
        step_type: step.step_type,
        parent_step_id: step.parent.map(|parent| parent.to_string()),
        attributes: Some(step.attributes),
        started_at: Some(precise(step.started_at)),
        ended_at: None,
        duration_ms: Some(step.duration.as_f64() / 1000.0),
        status,
        error,
    }
}

fn ending(ending: Ending) -> (Option<String>, Option<Reported>) {
    match ending {
        Ending::Completed => (None, None),
        Ending::Failed(failure) => {
            let reported = failure.map(|failure| {
                let message = Some(failure.message);
                Reported::Parts(ReportedParts { r#type: failure.kind, message, stack: failure.stack })
            });
            (Some("failed".to_owned()), reported)
        }
    }
}

/// Writes a time to the microsecond: shown times have milliseconds only.
fn precise(time: Timestamp) -> String {
    jiff::Timestamp::from_microsecond(time.as_micros())
        .map_or_else(|_| time.to_string(), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_keep_their_microseconds() {
        let time = Timestamp::from_micros(1_769_860_800_123_456);
        assert_eq!(Timestamp::parse(&precise(time)), Ok(time));
    }
}
