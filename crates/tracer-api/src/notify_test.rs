//! The incident that there is not: what `tracer notify-test` tells a channel.
//!
//! Not here: the channel (`app`).

use tracer_core::baseline::Reference;
use tracer_core::cohort::Cohort;
use tracer_core::detect::{Bottleneck, Severity};
use tracer_core::ids::{ExecutionId, StepId};
use tracer_core::incident::{
    AlertPlan, Cause, Evidence, Finding, Incident, IncidentKind, ResolvedBy, Transition,
};
use tracer_core::name::{StepName, WorkflowName};
use tracer_core::notify::{Delivery, Notification, NotifyError, Posted, Receipt};
use tracer_core::time::{Micros, Timestamp};

const DURATION: Micros = Micros::from_millis(2_100);
const AVERAGE: Micros = Micros::from_millis(420);
const SAMPLES: u64 = 30;

/// Returns the opening of an incident, and its end.
pub(crate) fn deliveries(now: Timestamp) -> (Delivery, Delivery) {
    let plan = AlertPlan::default();
    let cause = Cause {
        kind: IncidentKind::SlowStep,
        workflow: WorkflowName::from_stored("tracer-notify-test"),
        step: Some(StepName::from_stored("nothing-is-wrong")),
        cohort: Cohort::default(),
    };
    let reference = Reference::constant(AVERAGE, SAMPLES);
    let verdict = Bottleneck::new(Severity::Warning, DURATION, &reference, false);
    let (execution, finding) = (ExecutionId::mint(now), Finding::TooLong(verdict));
    let evidence = Evidence { execution: Some(execution), step: Some(StepId::mint()), finding };
    let (opened, _) = Incident::open(cause, evidence, false, false, true, now, &plan);
    let mut over = opened.clone();
    // It was open a moment ago, so that it ends.
    let _told = over.end(ResolvedBy::Hand, now, &plan);
    (delivery(opened, Transition::Opened, now), delivery(over, Transition::Resolved, now))
}

/// Returns a delivery as it is after the one before it was taken.
pub(crate) fn after(mut delivery: Delivery, receipt: &Receipt) -> Delivery {
    let incidents = vec![delivery.current.clone()];
    delivery.posted = receipt.reference.clone().map(|reference| Posted { reference, incidents });
    delivery.told_before = true;
    delivery
}

/// Returns what the channel answered, for a sentence.
pub(crate) fn answered(receipt: &Receipt) -> String {
    receipt.note.as_ref().map(|note| format!(", and answered {note}")).unwrap_or_default()
}

/// Says what to do about a channel that did not take it.
pub(crate) fn explained(error: NotifyError) -> anyhow::Error {
    let hint = match error {
        NotifyError::Transient { .. } => {
            "a notification would be tried again; is the address right and reachable?"
        }
        NotifyError::Permanent { .. } => "a notification would be set aside; check the channel's settings",
    };
    anyhow::Error::new(error).context(hint)
}

fn delivery(incident: Incident, transition: Transition, now: Timestamp) -> Delivery {
    let notification = Notification {
        id: 0,
        transition,
        loud: true,
        incident: incident.clone(),
        created_at: now,
        attempts: 0,
        held: false,
    };
    Delivery { notifications: vec![notification], current: incident, told_before: false, posted: None }
}
