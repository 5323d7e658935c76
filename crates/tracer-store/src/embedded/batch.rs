//! One batch: the five steps of `tracer_core::record`, in one transaction.
//!
//! Not here: what a command means (`tracer_core::record`), which commands share a batch (`writer`).

use std::collections::BTreeSet;

use rusqlite::Transaction;
use tracer_core::detect::Policy;
use tracer_core::live::Change;
use tracer_core::record::{
    FirstNeeds, HistoryNeeds, IncidentNeeds, Request, WorkingSet, apply, segment_needs,
};

use super::error::StoreError;
use super::{baselines, events, executions, failures, idempotency, incidents, services, slo, steps, traces};
use crate::heard::{Heard, Marks};
use crate::room::{Full, Room};
use crate::writer::BatchAnswers;

/// What the process remembers of a batch once it has committed.
pub(super) struct Noted {
    /// What had no room for another history.
    pub(super) full: BTreeSet<Room>,
    /// What was heard of services.
    pub(super) marks: Marks,
    /// What has changed.
    pub(super) changes: Vec<Change>,
}

/// Carries out a batch. Nothing needs to be locked: this connection is the only one that writes. Returns
/// the answers, and what is to be noted once it has committed.
pub(super) fn write(
    tx: &Transaction<'_>,
    policy: &Policy,
    batch: &[Request],
    full: &Full,
    heard: &Heard,
) -> Result<(BatchAnswers, Noted), StoreError> {
    let mut set = WorkingSet::default();
    let first = FirstNeeds::of(batch);
    idempotency::load(tx, &first.idempotency, &mut set)?;
    executions::load(tx, first.executions.keys(), &mut set)?;
    steps::load(tx, &first.steps, &mut set)?;
    steps::load_closings(tx, &first.closings, &mut set)?;
    steps::load_activities(tx, &first.activities, &mut set)?;
    traces::load_waiting(tx, &first.waiting, &mut set)?;
    events::load(tx, &first.events, &mut set)?;

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
    events::save(tx, &set)?;
    let now = batch.iter().map(|request| request.received_at).max().unwrap_or_default();
    let news = heard.news(&set.services, now);
    services::save(tx, &set.services, &news, now)?;
    failures::save(tx, &set)?;
    slo::save(tx, &set)?;
    Ok((answers, Noted { full, marks: news.marks, changes: set.changes }))
}
