//! What a batch hears of services: who they are, what they do, which executions they have a part in, whom they call.
//!
//! Invariant: where an execution is found by service follows from its trace alone, so that what was to be found before
//! a batch, and is after it, says what to write; mostly nothing.
//! Not here: what is known already and need not be written again (stores remember that).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::working_set::{ExecutionHead, WorkingSet};
use crate::ids::ExecutionId;
use crate::limits;
use crate::services::{service_of, services_of};
use crate::span::{Span, SpanKind};
use crate::step::Step;
use crate::time::{Day, Timestamp};

/// What is to be written of services.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServiceChanges {
    /// To note, unless it is known: operations by service and name.
    pub operations: BTreeMap<String, BTreeMap<String, BTreeSet<SpanKind>>>,
    /// To move: executions among those of a service.
    pub places: BTreeMap<(String, ExecutionId), Placement>,
    /// To add: calls from one service to another, by day.
    pub calls: BTreeMap<(Day, String, String), u64>,
}

/// Where an execution is among those of a service, by its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Where it was; none: it was not among them.
    pub from: Option<Timestamp>,
    /// Where it is; none: it is not among them any more.
    pub to: Option<Timestamp>,
    /// When the execution was recorded: the month of its partition.
    pub recorded_at: Timestamp,
}

impl ServiceChanges {
    /// Returns whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty() && self.places.is_empty() && self.calls.is_empty()
    }
}

/// Where an execution is found by service.
pub(super) type Places = BTreeMap<String, Timestamp>;

/// Returns where an execution is found before its spans are recorded.
pub(super) fn places_of(id: ExecutionId, set: &WorkingSet) -> Places {
    set.executions.get(&id).map(found_at).unwrap_or_default()
}

fn found_at(head: &ExecutionHead) -> Places {
    let services = head.trace.as_deref().map(services_of).unwrap_or_default();
    services.into_iter().map(|service| (service, head.started_at)).collect()
}

/// Notes what spans tell of services, and where their execution is found now.
pub(super) fn hear(id: ExecutionId, before: Places, spans: &[Span], set: &mut WorkingSet) {
    for span in spans {
        note_operation(span, set);
    }
    let Some(head) = set.executions.get(&id) else { return };
    let (after, recorded_at) = (found_at(head), head.recorded_at);
    let services: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    for service in services {
        let (from, to) = (before.get(service).copied(), after.get(service).copied());
        if from != to {
            set.services.places.insert((service.clone(), id), Placement { from, to, recorded_at });
        }
    }
}

fn note_operation(span: &Span, set: &mut WorkingSet) {
    let Some(service) = service_of(&span.attributes) else { return };
    let services = &mut set.services.operations;
    // Most are known, and found without making a text of them. What is all different is no name.
    if !services.contains_key(service) && services.len() < limits::SERVICES {
        services.insert(service.to_owned(), BTreeMap::new());
    }
    let Some(operations) = services.get_mut(service) else { return };
    let (name, kind) = (span.name.as_str(), span.detail.kind);
    if let Some(kinds) = operations.get_mut(name) {
        kinds.insert(kind);
    } else if operations.len() < limits::SERVICE_OPERATIONS {
        operations.insert(name.to_owned(), BTreeSet::from([kind]));
    }
}

/// Counts the calls between services that the steps of a trace are which settle: each that a step of another service
/// is part of.
pub(super) fn count_calls(root: Option<&Span>, steps: &[Step], set: &mut WorkingSet) {
    let of_root = root.and_then(|root| Some((root.id, service_of(&root.attributes)?)));
    let of_steps = steps.iter().filter_map(|step| Some((step.id, service_of(&step.attributes)?)));
    let services: HashMap<_, _> = of_steps.chain(of_root).collect();
    for step in steps.iter().filter(|step| step.by_trace) {
        let Some(child) = services.get(&step.id) else { continue };
        let Some(parent) = step.parent.and_then(|parent| services.get(&parent)) else { continue };
        if parent != child {
            let call = (step.started_at.day(), (*parent).to_owned(), (*child).to_owned());
            *set.services.calls.entry(call).or_default() += 1;
        }
    }
}
