//! One batch: the five steps of `tracer_core::record`, in one transaction.
//!
//! Not here: what a command means (`tracer_core::record`), which commands share a batch (`writer`).

use std::collections::BTreeSet;

use rusqlite::Transaction;
use tracer_core::detect::Policy;
use tracer_core::name::WorkflowName;
use tracer_core::record::{FirstNeeds, HistoryNeeds, Request, WorkingSet, apply, segment_needs};

use super::error::StoreError;
use super::{baselines, executions, idempotency, steps};
use crate::step_limit::FullWorkflows;
use crate::writer::BatchAnswers;

/// Carries out a batch. Nothing needs to be locked: this connection is the only one that writes. Returns
/// the answers, and the workflows that had no room for a step name, to be noted once it has committed.
pub(super) fn write(
    tx: &Transaction<'_>,
    policy: &Policy,
    batch: &[Request],
    full: &FullWorkflows,
) -> Result<(BatchAnswers, BTreeSet<WorkflowName>), StoreError> {
    let mut set = WorkingSet::default();
    let first = FirstNeeds::of(batch);
    idempotency::load(tx, &first.idempotency, &mut set)?;
    executions::load(tx, first.executions.keys(), &mut set)?;
    steps::load(tx, &first.steps, &mut set)?;
    steps::load_closings(tx, &first.closings, &mut set)?;

    let begun = baselines::load(tx, &HistoryNeeds::of(batch, &set), full, &mut set)?;
    let segments = segment_needs(batch, &set);
    baselines::load_segments(tx, &segments, &mut set)?;

    let answers = apply(policy, batch, &mut set);

    idempotency::save(tx, &set)?;
    executions::save(tx, &set)?;
    steps::save(tx, &set)?;
    let full = baselines::save(tx, begun, &set)?;
    Ok((answers, full))
}
