//! Histories as a batch loads and writes them: a row per key, and one per closed day.
//!
//! Invariant: a key gets a row only with something to keep in it, and only while its workflow has
//! room. Not here: what enters a history (`tracer_core::record`, `tracer_core::baseline`).

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use rusqlite::{Transaction, params};
use tracer_core::baseline::{SEGMENTS_READ, Segment};
use tracer_core::cohort::BaselineKey;
use tracer_core::limits;
use tracer_core::name::{StepName, WorkflowName};
use tracer_core::record::{History, HistoryNeed, HistoryNeeds, WorkingSet};

use super::error::StoreError;
use super::row::{self, count};
use crate::step_limit::FullWorkflows;

const LOAD: &str = "\
-- load_baseline
SELECT state
  FROM step_baselines
 WHERE key = ?1";

const STEP_NAMES: &str = "\
-- count_step_names
SELECT count(DISTINCT step_name)
  FROM step_baselines
 WHERE workflow_name = ?1 AND step_name <> ''";

const LOAD_SEGMENTS: &str = "\
-- load_segments
SELECT state
  FROM baseline_segments
 WHERE key = ?1
 ORDER BY day DESC
 LIMIT ?2";

const INSERT: &str = "\
-- insert_baseline
INSERT INTO step_baselines (key, workflow_name, step_name, last_seen_at, state)
VALUES (?1, ?2, ?3, ?4, ?5)";

const UPDATE: &str = "\
-- update_baseline
UPDATE step_baselines
   SET last_seen_at = ?2, state = ?3
 WHERE key = ?1";

const SAVE_SEGMENT: &str = "\
-- save_segment
INSERT INTO baseline_segments (key, day, state)
VALUES (?1, ?2, ?3)
    ON CONFLICT (key, day) DO UPDATE
   SET state = excluded.state";

/// The histories that a batch began, and has to insert if anything is to be kept in them.
#[derive(Debug, Default)]
pub(super) struct Begun {
    histories: BTreeMap<BaselineKey, (WorkflowName, Option<StepName>)>,
    /// The workflows that had no room for a step name.
    full: BTreeSet<WorkflowName>,
}

/// Loads these histories, and begins those that are missing and may be made.
pub(super) fn load(
    tx: &Transaction<'_>,
    needs: &HistoryNeeds,
    full: &FullWorkflows,
    set: &mut WorkingSet,
) -> Result<Begun, StoreError> {
    let mut begun = Begun::default();
    let mut names = HashMap::new();
    let mut statement = tx.prepare_cached(LOAD)?;
    for (key, need) in &needs.0 {
        let mut rows = statement.query([key.to_bytes()])?;
        let history = match rows.next()? {
            Some(found) => History { baseline: row::baseline(found, 0)?, segments: Vec::new() },
            None if !need.create => continue,
            None if has_room(tx, need, full, &mut names)? => {
                begun.histories.insert(*key, (need.workflow.clone(), need.step.clone()));
                History::default()
            }
            None => {
                begun.full.insert(need.workflow.clone());
                continue;
            }
        };
        set.histories.insert(*key, history);
    }
    Ok(begun)
}

/// Returns whether a workflow may have one more step name; `names` counts those of this batch too.
fn has_room(
    tx: &Transaction<'_>,
    need: &HistoryNeed,
    full: &FullWorkflows,
    names: &mut HashMap<WorkflowName, u64>,
) -> Result<bool, StoreError> {
    if need.step.is_none() {
        return Ok(true);
    }
    if full.contains(&need.workflow) {
        return Ok(false);
    }
    let known = match names.get(&need.workflow) {
        Some(known) => *known,
        None => {
            let mut statement = tx.prepare_cached(STEP_NAMES)?;
            let mut rows = statement.query([need.workflow.as_str()])?;
            rows.next()?.map_or(Ok(0), |found| count(found, 0))?
        }
    };
    let room = known < limits::STEP_NAMES_PER_WORKFLOW;
    names.insert(need.workflow.clone(), known + u64::from(room));
    Ok(room)
}

/// Loads the newest closed days of these keys.
pub(super) fn load_segments(
    tx: &Transaction<'_>,
    keys: &BTreeSet<BaselineKey>,
    set: &mut WorkingSet,
) -> Result<(), StoreError> {
    let mut statement = tx.prepare_cached(LOAD_SEGMENTS)?;
    for key in keys {
        let Some(history) = set.histories.get_mut(key) else { continue };
        let mut rows =
            statement.query(params![key.to_bytes(), i64::try_from(SEGMENTS_READ).unwrap_or(i64::MAX)])?;
        while let Some(found) = rows.next()? {
            let state = found.get_ref(0)?.as_blob().map_err(|error| StoreError::stored("segment", error))?;
            let segment = Segment::decode(state).map_err(|error| StoreError::stored("segment", error))?;
            history.segments.push(segment);
        }
    }
    Ok(())
}

/// Writes the histories that have changed, those that were begun, and the days that were closed. Returns
/// the workflows that are full once the transaction has committed: none if a history that was begun is
/// not kept, because that makes room again.
pub(super) fn save(
    tx: &Transaction<'_>,
    begun: Begun,
    set: &WorkingSet,
) -> Result<BTreeSet<WorkflowName>, StoreError> {
    let all_kept = insert_begun(tx, &begun, set)?;
    let mut update = tx.prepare_cached(UPDATE)?;
    for key in set.written_histories.keys().filter(|key| !begun.histories.contains_key(key)) {
        let Some(history) = set.histories.get(key) else { continue };
        let last_seen = history.baseline.last_seen().map(|at| at.as_micros());
        update.execute(params![key.to_bytes(), last_seen, history.baseline.encode()])?;
    }
    let mut segments = tx.prepare_cached(SAVE_SEGMENT)?;
    for ((key, day), segment) in &set.written_segments {
        segments.execute(params![key.to_bytes(), day.0, segment.encode()])?;
    }
    Ok(if all_kept { begun.full } else { BTreeSet::new() })
}

/// A history that was begun is kept if it was written to; a workflow's also from its first execution
/// on. What only a refused command asked for is not. Returns whether all of them were kept.
fn insert_begun(tx: &Transaction<'_>, begun: &Begun, set: &WorkingSet) -> Result<bool, StoreError> {
    if begun.histories.is_empty() {
        return Ok(true);
    }
    let mut all_kept = true;
    let started: HashSet<&WorkflowName> =
        set.new_executions.values().map(|execution| &execution.workflow).collect();
    let mut insert = tx.prepare_cached(INSERT)?;
    for (key, (workflow, step)) in &begun.histories {
        let known = step.is_none() && started.contains(workflow);
        let kept = known || set.written_histories.contains_key(key);
        all_kept &= kept;
        let Some(history) = set.histories.get(key) else { continue };
        if kept {
            let last_seen = history.baseline.last_seen().map(|at| at.as_micros());
            let step = step.as_ref().map_or("", |step| step.as_str());
            insert.execute(params![
                key.to_bytes(),
                workflow.as_str(),
                step,
                last_seen,
                history.baseline.encode()
            ])?;
        }
    }
    Ok(all_kept)
}
