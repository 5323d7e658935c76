//! What recording spans, and settling their trace, needs of histories and incidents.
//!
//! Not here: what they do with it (`spans`, `settle`).

use super::command::{RecordSpans, SettleTrace};
use super::needs::{Sample, cohort_of, sample_time, total_sample};
use super::spans::awaits_its_end;
use super::working_set::{ExecutionHead, WorkingSet};
use crate::attributes::Attributes;
use crate::cohort::{Cohort, CohortSpec};
use crate::detect::Policy;
use crate::execution::ExecutionStatus;
use crate::name::{StepName, WorkflowName};
use crate::span::{Span, TraceSpans};
use crate::time::Timestamp;
use crate::trace::Trace;

/// The history that a span, or a step that waits, is compared with, and learnt by.
pub(super) struct Compared {
    pub(super) workflow: WorkflowName,
    pub(super) step: StepName,
    pub(super) cohort: Option<Cohort>,
}

/// Returns what spans are judged by before they are learnt: those of traces that have a name and go on.
pub(super) fn judged_early(policy: &Policy, record: &RecordSpans, set: &WorkingSet) -> Vec<Compared> {
    let of_trace = |trace: &TraceSpans| {
        let head = set.executions.get(&trace.id);
        let is_settled = head.is_some_and(is_settled);
        let workflow = match head {
            Some(head) if head.trace.as_ref().is_none_or(|trace| !trace.born_of_spans) => {
                head.workflow.clone()
            }
            Some(head) => Trace::told_with(head.trace.as_deref(), &trace.spans)?,
            None => Trace::told_with(None, &trace.spans)?,
        };
        let ends_soon = head.is_some_and(has_ended) || trace.spans.iter().any(Span::is_ended_root);
        let wanted = |span: &&Span| span.end.is_none() || !is_settled && !ends_soon;
        let compared = |span: &Span| Compared {
            workflow: workflow.clone(),
            step: span.name.clone(),
            cohort: cohort(policy, head, &workflow, &span.name, &span.attributes),
        };
        Some(trace.spans.iter().filter(wanted).map(compared).collect::<Vec<_>>())
    };
    record.traces.iter().filter_map(of_trace).flatten().collect()
}

/// Returns what is learnt of spans at once, because their traces are settled, and of the ends of those.
pub(super) fn late_samples(
    policy: &Policy,
    record: &RecordSpans,
    now: Timestamp,
    set: &WorkingSet,
) -> Vec<Sample> {
    let of_trace = |trace: &TraceSpans| {
        let head = set.executions.get(&trace.id).filter(|head| is_settled(head))?;
        let mut after = head.trace.as_deref()?.clone();
        for span in &trace.spans {
            after.take(span, now);
        }
        let workflow = after.workflow().unwrap_or_else(|| head.workflow.clone());
        let is_new = |span: &&Span| {
            let stored = set.steps.get(&(trace.id, span.id));
            span.end.as_ref().is_some_and(|end| end.status.is_judged()) && stored.is_none_or(awaits_its_end)
        };
        let sample = |span: &Span| {
            let at = sample_time(span.ended_at(), now);
            let cohort = cohort(policy, Some(head), &workflow, &span.name, &span.attributes);
            Sample { workflow: workflow.clone(), step: Some(span.name.clone()), cohort, at }
        };
        let mut samples: Vec<Sample> = trace.spans.iter().filter(is_new).map(sample).collect();
        // Its root may come only now.
        let roots = trace.spans.iter().filter(|span| span.parent.is_none() && span.end.is_some());
        samples.extend(
            roots.filter_map(|root| total_sample(&workflow, root.started_at, Some(root.ended_at()), now)),
        );
        Some(samples)
    };
    record.traces.iter().filter_map(of_trace).flatten().collect()
}

/// Returns what is learnt when a trace is settled.
pub(super) fn settling_samples(
    policy: &Policy,
    look: SettleTrace,
    now: Timestamp,
    set: &WorkingSet,
) -> Vec<Sample> {
    let Some(head) = set.executions.get(&look.id).filter(|head| head.settle_at.is_some_and(|at| at <= now))
    else {
        return Vec::new();
    };
    let waiting = set.waiting.get(&look.id).into_iter().flatten();
    let steps = waiting.filter(|step| step.by_trace && step.status.is_judged());
    let mut samples: Vec<Sample> = steps
        .map(|step| Sample {
            workflow: head.workflow.clone(),
            step: Some(step.name.clone()),
            cohort: cohort_of(policy, head, &step.name, &[&step.attributes]),
            at: sample_time(step.ended_at.unwrap_or(now), now),
        })
        .collect();
    if head.trace.as_ref().is_some_and(|trace| trace.ended_by_root) {
        samples.extend(total_sample(&head.workflow, head.started_at, head.ended_at, now));
    }
    samples
}

/// Whether an execution is over: by its root, by its client, or by silence.
fn has_ended(head: &ExecutionHead) -> bool {
    head.status != ExecutionStatus::Running
}

fn is_settled(head: &ExecutionHead) -> bool {
    head.trace.as_ref().is_some_and(|trace| trace.settled)
}

/// Returns the cohort of a span whose execution may have another name by now, or may not be stored yet.
fn cohort(
    policy: &Policy,
    head: Option<&ExecutionHead>,
    workflow: &WorkflowName,
    step: &StepName,
    attributes: &Attributes,
) -> Option<Cohort> {
    let plan = policy.of_step(workflow, step);
    let CohortSpec::Given(_) = &plan.cohort else { return None };
    let features = head.map(|head| head.features.clone()).unwrap_or_default();
    plan.cohort.cohort(&features.with(attributes))
}
