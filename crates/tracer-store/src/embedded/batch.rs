//! One batch: the five steps of `tracer_core::record`, in one transaction.
//!
//! Not here: what a command means (`tracer_core::record`), which commands share a batch (`writer`).

use std::collections::BTreeSet;

use rusqlite::Transaction;
use tracer_core::detect::Policy;
use tracer_core::record::{
    FirstNeeds, HistoryNeeds, IncidentNeeds, Request, WorkingSet, apply, segment_needs,
};

use super::error::StoreError;
use super::{baselines, executions, failures, idempotency, incidents, steps};
use crate::room::{Full, Room};
use crate::writer::BatchAnswers;

/// Carries out a batch. Nothing needs to be locked: this connection is the only one that writes. Returns
/// the answers, and what had no room for another history, to be noted once it has committed.
pub(super) fn write(
    tx: &Transaction<'_>,
    policy: &Policy,
    batch: &[Request],
    full: &Full,
) -> Result<(BatchAnswers, BTreeSet<Room>), StoreError> {
    let mut set = WorkingSet::default();
    let first = FirstNeeds::of(batch);
    idempotency::load(tx, &first.idempotency, &mut set)?;
    executions::load(tx, first.executions.keys(), &mut set)?;
    steps::load(tx, &first.steps, &mut set)?;
    steps::load_closings(tx, &first.closings, &mut set)?;
    steps::load_activities(tx, &first.activities, &mut set)?;

    let begun = baselines::load(tx, &HistoryNeeds::of(policy, batch, &set), full, &mut set)?;
    let segments = segment_needs(policy, batch, &set);
    baselines::load_segments(tx, &segments, &mut set)?;
    let needs = IncidentNeeds::of(policy, batch, &set);
    incidents::load(tx, &needs, &mut set)?;

    let answers = apply(policy, batch, &mut set);

    idempotency::save(tx, &set)?;
    executions::save(tx, &set)?;
    steps::save(tx, &set)?;
    let full = baselines::save(tx, begun, &set)?;
    incidents::save(tx, &set)?;
    failures::save(tx, &set)?;
    Ok((answers, full))
}
