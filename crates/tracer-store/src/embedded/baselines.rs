//! Histories as a batch loads and writes them: a row per key, and one per closed day.
//!
//! Invariant: a key gets a row only with something to keep in it, and only while its workflow has
//! room. Not here: what enters a history (`tracer_core::record`, `tracer_core::baseline`).

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use rusqlite::{Transaction, params};
use tracer_core::baseline::{SEGMENTS_READ, Segment};
use tracer_core::cohort::BaselineKey;
use tracer_core::incident::Alarm;
use tracer_core::name::WorkflowName;
use tracer_core::record::{History, HistoryNeed, HistoryNeeds, WorkingSet};

use super::error::StoreError;
use super::row::{self, count};
use crate::room::{Full, Room};

const LOAD: &str = "\
-- load_baseline
SELECT state, alarm
  FROM step_baselines
 WHERE key = ?1";

const STEP_NAMES: &str = "\
-- count_step_names
SELECT count(DISTINCT step_name)
  FROM step_baselines
 WHERE workflow_name = ?1 AND step_name <> ''";

const COHORTS: &str = "\
-- count_cohorts
SELECT count(*)
  FROM step_baselines
 WHERE workflow_name = ?1 AND step_name = ?2 AND cohort <> '{}'";

const LOAD_SEGMENTS: &str = "\
-- load_segments
SELECT state
  FROM baseline_segments
 WHERE key = ?1
 ORDER BY day DESC
 LIMIT ?2";

const INSERT: &str = "\
-- insert_baseline
INSERT INTO step_baselines (key, workflow_name, step_name, cohort, last_seen_at, state, alarm)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";

const UPDATE: &str = "\
-- update_baseline
UPDATE step_baselines
   SET last_seen_at = ?2, state = ?3, alarm = ?4
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
    histories: BTreeMap<BaselineKey, HistoryNeed>,
    /// What had no room for another one.
    full: BTreeSet<Room>,
}

/// Loads these histories, and begins those that are missing and may be made.
pub(super) fn load(
    tx: &Transaction<'_>,
    needs: &HistoryNeeds,
    full: &Full,
    set: &mut WorkingSet,
) -> Result<Begun, StoreError> {
    let mut begun = Begun::default();
    let mut taken = HashMap::new();
    let mut statement = tx.prepare_cached(LOAD)?;
    let (wholes, cohorts): (Vec<_>, Vec<_>) = needs.0.iter().partition(|(_, need)| need.cohort.is_whole());
    for (key, need) in wholes.into_iter().chain(cohorts) {
        let mut rows = statement.query([key.to_bytes()])?;
        let history = match rows.next()? {
            Some(found) => {
                let (baseline, alarm) = (row::baseline(found, 0)?, row::alarm(found, 1)?);
                History { baseline, alarm, ..History::default() }
            }
            None if !need.create => continue,
            // Without room for its name a step has no history, and hence no cohorts.
            None if need.whole().is_some_and(|whole| !set.histories.contains_key(&whole)) => continue,
            None => match without_room(tx, need, full, &mut taken)? {
                None => {
                    begun.histories.insert(*key, need.clone());
                    History::default()
                }
                Some(room) => {
                    begun.full.insert(room);
                    continue;
                }
            },
        };
        set.histories.insert(*key, history);
    }
    Ok(begun)
}

/// Returns what has no room for a history, if that is so; `taken` counts those of this batch too.
fn without_room(
    tx: &Transaction<'_>,
    need: &HistoryNeed,
    full: &Full,
    taken: &mut HashMap<Room, u64>,
) -> Result<Option<Room>, StoreError> {
    let Some(room) = Room::of(need) else { return Ok(None) };
    if full.contains(&room) {
        return Ok(Some(room));
    }
    let known = match taken.get(&room) {
        Some(known) => *known,
        None => count_taken(tx, &room)?,
    };
    if known >= room.places() {
        return Ok(Some(room));
    }
    taken.insert(room, known + 1);
    Ok(None)
}

fn count_taken(tx: &Transaction<'_>, room: &Room) -> Result<u64, StoreError> {
    let (sql, workflow, step) = match room {
        Room::Workflow(workflow) => (STEP_NAMES, workflow, None),
        Room::Step(workflow, step) => (COHORTS, workflow, Some(step)),
    };
    let mut statement = tx.prepare_cached(sql)?;
    let mut rows = match step {
        None => statement.query([workflow.as_str()])?,
        Some(step) => statement.query([workflow.as_str(), step.as_str()])?,
    };
    rows.next()?.map_or(Ok(0), |found| count(found, 0))
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
/// what is full once the transaction has committed: none if a history that was begun is
/// not kept, because that makes room again.
pub(super) fn save(
    tx: &Transaction<'_>,
    begun: Begun,
    set: &WorkingSet,
) -> Result<BTreeSet<Room>, StoreError> {
    let all_kept = insert_begun(tx, &begun, set)?;
    let mut update = tx.prepare_cached(UPDATE)?;
    for key in set.written_histories.keys().filter(|key| !begun.histories.contains_key(key)) {
        let Some(history) = set.histories.get(key) else { continue };
        let last_seen = history.baseline.last_seen().map(|at| at.as_micros());
        update.execute(params![
            key.to_bytes(),
            last_seen,
            history.baseline.encode(),
            stored_alarm(history)
        ])?;
    }
    let mut segments = tx.prepare_cached(SAVE_SEGMENT)?;
    for ((key, day), segment) in &set.written_segments {
        segments.execute(params![key.to_bytes(), day.0, segment.encode()])?;
    }
    Ok(if all_kept { begun.full } else { BTreeSet::new() })
}

/// Returns what is known of the incidents of a history as it is stored: nothing, if nothing is.
fn stored_alarm(history: &History) -> Option<Vec<u8>> {
    (history.alarm != Alarm::default()).then(|| history.alarm.encode())
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
    for (key, need) in &begun.histories {
        let known = need.step.is_none() && started.contains(&need.workflow);
        let kept = known || set.written_histories.contains_key(key);
        all_kept &= kept;
        let Some(history) = set.histories.get(key) else { continue };
        if kept {
            let last_seen = history.baseline.last_seen().map(|at| at.as_micros());
            let step = need.step.as_ref().map_or("", |step| step.as_str());
            insert.execute(params![
                key.to_bytes(),
                need.workflow.as_str(),
                step,
                row::stored_cohort(&need.cohort)?,
                last_seen,
                history.baseline.encode(),
                stored_alarm(history),
            ])?;
        }
    }
    Ok(all_kept)
}
