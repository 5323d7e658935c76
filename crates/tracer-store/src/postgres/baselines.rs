//! Baselines: made where they are missing, locked, and written back.
//!
//! No two batches can deadlock over them. A batch inserts its missing rows in the order of their keys, and only then
//! locks all of its rows in that order. While it inserts, it holds nothing of this class but rows that it has just
//! inserted, with smaller keys; a batch that waits for one of these is itself still inserting, and has not yet reached
//! the larger keys. A batch that already locks has been past every key that it needs, so that none of them can be
//! inserted by another one any more. Thus every wait is for a batch that is further on. Where every row is known to
//! exist, the locking is all there is.
//!
//! Invariant: a key counts as known only after a transaction that saw or made it has committed.
//! Not here: what a baseline is (`tracer_core::baseline`).

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use tracer_core::baseline::{Baseline, SEGMENTS_READ, Segment};
use tracer_core::cohort::BaselineKey;
use tracer_core::incident::Alarm;
use tracer_core::name::{StepName, WorkflowName};
use tracer_core::record::{History, HistoryNeed, HistoryNeeds, WorkingSet};

use super::error::StoreError;
use super::row::{self, Bits, Date, Stamp};
use super::tx::{Params, Pipeline, Results, Session, Slot, Statements, column};
use crate::room::{Full, Room};

pub(super) const KNOWN: &str = "\
-- known_baselines
SELECT key FROM step_baselines WHERE key = ANY($1)";

/// Held until the end of the transaction by whoever makes step names of a workflow: two that count at the same time
/// would both find the last place. Taken before any row of this class, in the order of the numbers.
pub(super) const TAKE_PLACES: &str = "\
-- take_places
SELECT count(pg_advisory_xact_lock(n.number)) FROM unnest($1::bigint[]) AS n (number)";

pub(super) const COUNT_STEP_NAMES: &str = "\
-- count_step_names
SELECT workflow_name, count(*) AS names
  FROM step_baselines
 WHERE workflow_name = ANY($1) AND step_name <> '' AND cohort = '{}'::jsonb
 GROUP BY workflow_name";

pub(super) const COUNT_COHORTS: &str = "\
-- count_cohorts
SELECT n.workflow_name, n.step_name,
       (SELECT count(*) FROM step_baselines AS b
         WHERE b.workflow_name = n.workflow_name AND b.step_name = n.step_name AND b.cohort <> '{}'::jsonb) AS cohorts
  FROM unnest($1::text[], $2::text[]) AS n (workflow_name, step_name)";

pub(super) const CREATE: &str = "\
-- create_baselines
INSERT INTO step_baselines (key, workflow_name, step_name, cohort, state)
SELECT n.key, n.workflow_name, n.step_name, n.cohort::jsonb, $5
  FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[]) AS n (key, workflow_name, step_name, cohort)
    ON CONFLICT (key) DO NOTHING";

pub(super) const LOOK: &str = "\
-- look_baselines
SELECT key, state, alarm FROM step_baselines WHERE key = ANY($1)";

pub(super) const LOCK: &str = "\
-- lock_baselines
SELECT key, state, alarm FROM step_baselines WHERE key = ANY($1) ORDER BY key FOR UPDATE";

pub(super) const SEGMENTS: &str = "\
-- read_segments
SELECT k.key, s.state
  FROM unnest($1::uuid[]) AS k (key)
 CROSS JOIN LATERAL (SELECT state FROM baseline_segments WHERE key = k.key ORDER BY day DESC LIMIT $2) AS s";

pub(super) const SAVE: &str = "\
-- save_baselines
UPDATE step_baselines AS b
   SET state = n.state, last_seen_at = n.last_seen_at, alarm = n.alarm
  FROM unnest($1::uuid[], $2::bytea[], $3::timestamptz[], $4::bytea[]) AS n (key, state, last_seen_at, alarm)
 WHERE b.key = n.key";

pub(super) const SAVE_SEGMENTS: &str = "\
-- save_segments
INSERT INTO baseline_segments (key, day, state)
SELECT * FROM unnest($1::uuid[], $2::date[], $3::bytea[])
    ON CONFLICT (key, day) DO UPDATE SET state = excluded.state";

pub(super) const REMOVE: &str = "\
-- remove_baselines
DELETE FROM step_baselines WHERE key = ANY($1)";

/// Most keys that are remembered: 16 bytes each, so that a few megabytes hold them.
const KNOWN_KEYS: usize = 100_000;

/// What is known of the baselines that exist, so that the usual batch need not ask. No row is deleted once the
/// transaction that made it has committed, so that what was true stays true.
#[derive(Debug, Default)]
pub(super) struct Known {
    keys: Mutex<HashSet<BaselineKey>>,
    full: Full,
}

impl Known {
    /// Returns the needs that may have to be made.
    fn perhaps_missing<'a>(&self, needs: &'a HistoryNeeds) -> BTreeMap<BaselineKey, &'a HistoryNeed> {
        let keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let known = |key: &BaselineKey, need: &HistoryNeed| {
            keys.contains(key) || Room::of(need).is_some_and(|room| self.full.contains(&room))
        };
        let missing = needs.0.iter().filter(|(key, need)| need.create && !known(key, need));
        missing.map(|(key, need)| (*key, need)).collect()
    }

    /// Returns whether none of these has to be made.
    pub(super) fn all_exist(&self, needs: &HistoryNeeds) -> bool {
        self.perhaps_missing(needs).is_empty()
    }

    /// Remembers keys that exist for good: their transaction has committed.
    pub(super) fn remember(&self, keys: impl IntoIterator<Item = BaselineKey>) {
        let mut known = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KNOWN_KEYS {
            known.clear();
        }
        known.extend(keys);
    }

    /// Returns what has no room for another history.
    pub(super) const fn full(&self) -> &Full {
        &self.full
    }

    /// Forgets everything: something that was known is not so.
    pub(super) fn forget(&self) {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.full.forget();
    }
}

/// What a batch loaded.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    /// The histories by key.
    pub(super) histories: HashMap<BaselineKey, History>,
    /// Those that were made for this batch, with the workflow of those that stand for one.
    made: BTreeMap<BaselineKey, Option<WorkflowName>>,
    /// What had no room for a history of this batch.
    full: BTreeSet<Room>,
}

impl Loaded {
    /// Returns the keys that were made for commands which were then refused: a name that nothing was recorded under
    /// must not become known.
    pub(super) fn unused(&self, set: &WorkingSet) -> Vec<BaselineKey> {
        let begun =
            |workflow: &WorkflowName| set.new_executions.values().any(|new| new.workflow == *workflow);
        let unused = self.made.iter().filter(|(key, workflow)| {
            !set.written_histories.contains_key(key) && !workflow.as_ref().is_some_and(begun)
        });
        unused.map(|(key, _)| *key).collect()
    }

    /// Returns what is full once the batch has committed and removed what was unused: none if there is
    /// such, because that makes room again.
    pub(super) fn full_without(self, unused: &[BaselineKey]) -> BTreeSet<Room> {
        if unused.is_empty() { self.full } else { BTreeSet::new() }
    }
}

/// Asks for baselines: locked, those that will change.
pub(super) fn ask<'a>(
    pipeline: &mut Pipeline<'a>,
    statements: &'a Statements,
    needs: &HistoryNeeds,
) -> Vec<Slot> {
    let keys = |lock: bool| -> Vec<Bits> {
        needs.0.iter().filter(|(_, need)| need.lock == lock).map(|(key, _)| Bits::from(*key)).collect()
    };
    [(&statements.lock_baselines, keys(true)), (&statements.look_baselines, keys(false))]
        .into_iter()
        .filter(|(_, keys)| !keys.is_empty())
        .map(|(statement, keys)| pipeline.query(statement, vec![Box::new(keys)]))
        .collect()
}

/// Reads what was asked for.
///
/// # Errors
/// [`StoreError::Vanished`] if a key that was known is not there; it is forgotten, and a replay makes it.
pub(super) fn read(
    results: &mut Results,
    slots: Vec<Slot>,
    known: &Known,
    needs: &HistoryNeeds,
) -> Result<HashMap<BaselineKey, History>, StoreError> {
    let mut histories = HashMap::with_capacity(needs.0.len());
    for row in slots.into_iter().flat_map(|slot| results.take(slot)) {
        let state: &[u8] = row::get(&row, "state")?;
        let baseline = Baseline::decode(state).map_err(|error| StoreError::unreadable("baseline", error))?;
        let alarm: Option<&[u8]> = row::get(&row, "alarm")?;
        let alarm = alarm.map(Alarm::decode).transpose();
        let alarm = alarm.map_err(|error| StoreError::unreadable("alarm", error))?.unwrap_or_default();
        histories.insert(row::baseline_key(&row, "key")?, History { baseline, alarm, ..History::default() });
    }
    let keys = known.keys.lock().unwrap_or_else(PoisonError::into_inner);
    if needs.0.keys().any(|key| keys.contains(key) && !histories.contains_key(key)) {
        return Err(StoreError::Vanished);
    }
    drop(keys);
    Ok(histories)
}

/// Makes the missing baselines of a batch, locks those that will change, and reads all of them.
///
/// # Errors
/// [`StoreError::Vanished`] as [`read`].
pub(super) async fn load(
    session: &Session,
    known: &Known,
    needs: &HistoryNeeds,
) -> Result<Loaded, StoreError> {
    let (missing, full) = missing(session, known, needs).await?;
    let mut pipeline = session.pipeline();
    if !missing.is_empty() {
        pipeline.execute(&session.statements.create_baselines, create(&missing));
    }
    let slots = ask(&mut pipeline, &session.statements, needs);
    let histories = read(&mut pipeline.run().await?, slots, known, needs)?;
    if missing.keys().any(|key| !histories.contains_key(key)) {
        return Err(StoreError::Vanished);
    }
    let workflow = |need: &HistoryNeed| need.step.is_none().then(|| need.workflow.clone());
    let made = missing.into_iter().map(|(key, need)| (key, workflow(need))).collect();
    Ok(Loaded { histories, made, full })
}

/// Returns what has to be made (not there, and there is room for it), and what has no room.
async fn missing<'a>(
    session: &Session,
    known: &Known,
    needs: &'a HistoryNeeds,
) -> Result<(BTreeMap<BaselineKey, &'a HistoryNeed>, BTreeSet<Room>), StoreError> {
    let mut missing = known.perhaps_missing(needs);
    if missing.is_empty() {
        return Ok((missing, BTreeSet::new()));
    }
    // Whether there is a whole step for a cohort to be of shows only here.
    let wholes: BTreeSet<BaselineKey> = missing.values().filter_map(|need| need.whole()).collect();
    let asked: BTreeSet<BaselineKey> = missing.keys().chain(&wholes).copied().collect();
    let keys: Vec<Bits> = asked.into_iter().map(Bits::from).collect();
    let rooms: BTreeSet<Room> = missing.values().filter_map(|need| Room::of(need)).collect();
    let of_names = |room: &&Room| matches!(room, Room::Workflow(_));
    let workflows: Vec<&str> = rooms.iter().filter(of_names).map(|room| room.workflow().as_str()).collect();
    let with_cohorts = rooms.iter().filter_map(|room| match room {
        Room::Step(workflow, step) => Some((workflow.as_str(), step.as_str())),
        Room::Workflow(_) => None,
    });
    let (of_workflows, steps): (Vec<&str>, Vec<&str>) = with_cohorts.unzip();
    let statements = &session.statements;
    let mut pipeline = session.pipeline();
    if !rooms.is_empty() {
        pipeline.execute(&statements.take_places, vec![Box::new(places(&rooms))]);
    }
    let existing = pipeline.query(&statements.known_baselines, vec![Box::new(keys)]);
    let names = pipeline.query(&statements.count_step_names, vec![Box::new(workflows)]);
    let cohorts = (!steps.is_empty())
        .then(|| pipeline.query(&statements.count_cohorts, vec![Box::new(of_workflows), Box::new(steps)]));
    let mut results = pipeline.run().await?;
    let mut existing_keys = BTreeSet::new();
    for row in results.take(existing) {
        let key = row::baseline_key(&row, "key")?;
        missing.remove(&key);
        existing_keys.insert(key);
    }
    let mut taken: HashMap<Room, u64> = HashMap::new();
    for row in results.take(names) {
        let workflow = WorkflowName::from_stored(row::get(&row, "workflow_name")?);
        taken.insert(Room::Workflow(workflow), row::count(&row, "names")?);
    }
    for row in cohorts.into_iter().flat_map(|slot| results.take(slot)) {
        let workflow = WorkflowName::from_stored(row::get(&row, "workflow_name")?);
        let step = StepName::from_stored(row::get(&row, "step_name")?);
        taken.insert(Room::Step(workflow, step), row::count(&row, "cohorts")?);
    }
    let full = leave_out(&mut missing, existing_keys, &mut taken);
    Ok((missing, full))
}

/// Leaves out what there is no room for, and returns what is full: a step without room for its name has no
/// history, and hence no cohorts.
fn leave_out(
    missing: &mut BTreeMap<BaselineKey, &HistoryNeed>,
    mut existing: BTreeSet<BaselineKey>,
    taken: &mut HashMap<Room, u64>,
) -> BTreeSet<Room> {
    let mut full = BTreeSet::new();
    let mut has_room = |need: &HistoryNeed, may: bool| {
        let without = Room::of(need).filter(|room| !may || !takes_place(taken, room));
        let has_room = without.is_none();
        full.extend(without);
        has_room
    };
    missing.retain(|_, need| need.whole().is_some() || has_room(need, true));
    existing.extend(missing.keys());
    missing.retain(|_, need| need.whole().is_none_or(|whole| has_room(need, existing.contains(&whole))));
    full
}

/// Returns the numbers that stand for the workflows in which places are to be taken, sorted.
fn places(rooms: &BTreeSet<Room>) -> Vec<i64> {
    let number = |room: &Room| {
        let [a, b, c, d, e, f, g, h, ..] = Bits::from(BaselineKey::of_workflow(room.workflow())).0;
        i64::from_be_bytes([a, b, c, d, e, f, g, h])
    };
    rooms.iter().map(number).collect::<BTreeSet<i64>>().into_iter().collect()
}

/// Takes one of the places; returns whether there was one.
fn takes_place(taken: &mut HashMap<Room, u64>, room: &Room) -> bool {
    let held = taken.entry(room.clone()).or_default();
    let has_room = *held < room.places();
    *held += u64::from(has_room);
    has_room
}

fn create<'a>(missing: &BTreeMap<BaselineKey, &'a HistoryNeed>) -> Params<'a> {
    let rows: Vec<_> = missing.iter().map(|(key, need)| (*key, *need)).collect();
    vec![
        column(&rows, |(key, _)| Bits::from(*key)),
        column(&rows, |(_, need)| need.workflow.as_str()),
        column(&rows, |(_, need)| need.step.as_ref().map_or("", |step| step.as_str())),
        column(&rows, |(_, need)| row::to_json(&need.cohort)),
        Box::new(Baseline::empty().encode()),
    ]
}

/// Reads the newest closed segments of these keys into their histories.
///
/// # Errors
/// [`StoreError`] if the database is away, or a segment is not what was written.
pub(super) async fn load_segments(
    session: &Session,
    keys: &BTreeSet<BaselineKey>,
    histories: &mut HashMap<BaselineKey, History>,
) -> Result<(), StoreError> {
    if keys.is_empty() {
        return Ok(());
    }
    let most = i64::try_from(SEGMENTS_READ).unwrap_or(i64::MAX);
    let keys: Vec<Bits> = keys.iter().map(|key| Bits::from(*key)).collect();
    let mut pipeline = session.pipeline();
    let segments = pipeline.query(&session.statements.read_segments, vec![Box::new(keys), Box::new(most)]);
    for row in pipeline.run().await?.take(segments) {
        let state: &[u8] = row::get(&row, "state")?;
        let segment = Segment::decode(state).map_err(|error| StoreError::unreadable("segment", error))?;
        if let Some(history) = histories.get_mut(&row::baseline_key(&row, "key")?) {
            history.segments.push(segment);
        }
    }
    Ok(())
}

/// The parameters of [`SAVE`].
pub(super) fn save(set: &WorkingSet) -> Params<'_> {
    let written = set.written_histories.keys();
    let rows: Vec<_> = written.filter_map(|key| Some((*key, set.histories.get(key)?))).collect();
    vec![
        column(&rows, |(key, _)| Bits::from(*key)),
        column(&rows, |(_, history)| history.baseline.encode()),
        column(&rows, |(_, history)| history.baseline.last_seen().map(Stamp)),
        column(&rows, |(_, history)| (history.alarm != Alarm::default()).then(|| history.alarm.encode())),
    ]
}

/// The parameters of [`SAVE_SEGMENTS`].
pub(super) fn save_segments(set: &WorkingSet) -> Params<'_> {
    let rows: Vec<_> = set.written_segments.iter().collect();
    vec![
        column(&rows, |((key, _), _)| Bits::from(*key)),
        column(&rows, |((_, day), _)| Date(*day)),
        column(&rows, |(_, segment)| segment.encode()),
    ]
}
