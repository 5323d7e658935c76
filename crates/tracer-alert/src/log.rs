//! Writes incidents to the log of the service: what is done where no channel is configured.
//!
//! Not here: where the log goes, and in which form.

use async_trait::async_trait;
use tracer_core::detect::Severity;
use tracer_core::incident::{Incident, IncidentState, Transition};
use tracer_core::notify::{Delivery, Notifier, NotifyError, Receipt};

use crate::words;

/// Writes one line for each notification.
#[derive(Clone, Copy, Debug, Default)]
pub struct Log;

#[async_trait]
impl Notifier for Log {
    async fn deliver(&self, delivery: &Delivery) -> Result<Receipt, NotifyError> {
        for notification in &delivery.notifications {
            write(&notification.incident, notification.transition);
        }
        Ok(Receipt::default())
    }
}

/// Writes a line: names, but no value that a client has attached to its work.
fn write(incident: &Incident, transition: Transition) {
    let summary = words::end(incident).unwrap_or_else(|| words::finding(incident));
    macro_rules! line {
        ($level:ident, $message:literal) => {
            tracing::$level!(
                event = "incident",
                incident.id = %incident.id,
                transition = transition.as_str(),
                kind = incident.cause.kind.as_str(),
                severity = incident.severity.as_str(),
                state = incident.state.as_str(),
                workflow.name = %incident.cause.workflow,
                step.name = incident.cause.step.as_ref().map(tracing::field::display),
                execution.id = incident.worst.execution.map(tracing::field::display),
                occurrences = incident.occurrences,
                simulated = incident.simulated,
                summary,
                $message
            )
        };
    }
    match (incident.state, incident.severity) {
        (IncidentState::Resolved, _) => line!(info, "an incident is over"),
        (IncidentState::Firing, Severity::Warning) => line!(warn, "an incident fires"),
        (IncidentState::Firing, Severity::Critical) => line!(error, "an incident fires"),
    }
}

#[cfg(test)]
mod tests {
    use std::fmt;
    use std::sync::{Arc, Mutex};

    use tracer_core::incident::ResolvedBy;
    use tracing::field::{Field, Visit};
    use tracing::span::{Attributes, Id, Record};
    use tracing::{Event, Metadata, Subscriber};

    use super::*;
    use crate::samples;

    /// Keeps what is written.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<String>>);

    impl Visit for Lines {
        fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
            *self.0.lock().unwrap() += &format!(" {field}={value:?}");
        }
    }

    impl Subscriber for Lines {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            metadata.target().starts_with("tracer_alert::log")
        }

        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }

        fn record(&self, _: &Id, _: &Record<'_>) {}

        fn record_follows_from(&self, _: &Id, _: &Id) {}

        fn event(&self, event: &Event<'_>) {
            *self.0.lock().unwrap() += &format!("\n{}", event.metadata().level());
            event.record(&mut self.clone());
        }

        fn enter(&self, _: &Id) {}

        fn exit(&self, _: &Id) {}
    }

    #[test]
    fn an_incident_is_a_line_of_fields() {
        let lines = Lines::default();
        tracing::subscriber::with_default(lines.clone(), || {
            write(&samples::slow(), Transition::Opened);
            write(&samples::worse(), Transition::Worsened);
            write(&samples::stalled(), Transition::Opened);
            write(&samples::resolved(samples::regression(), ResolvedBy::Hand), Transition::Resolved);
        });
        let written = lines.0.lock().unwrap().clone();
        assert!(!written.contains("region") && !written.contains("input_bytes"), "{written}");
        insta::assert_snapshot!(written);
    }
}
