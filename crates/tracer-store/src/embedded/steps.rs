//! Steps as a batch loads and writes them.
//!
//! The steps of an execution lie side by side in the file, so whatever concerns all of them is one
//! walk. Not here: how they are shown (`reads`).

use rusqlite::{Transaction, params};
use tracer_core::ids::ExecutionId;
use tracer_core::incident::IncidentId;
use tracer_core::record::{Activity, Closing, StepKey, WorkingSet, Written};
use tracer_core::step::{Step, StepStatus};

use super::error::StoreError;
use super::events;
use super::row::{self, stored, stored_attributes, stored_cohort, stored_failure, stored_micros, text};

const LOAD: &str = concat!(
    "-- load_step\nSELECT ",
    row::step_columns!(),
    "\n  FROM workflow_steps\n WHERE execution_id = ?1 AND step_id = ?2"
);

const OF_EXECUTION: &str = concat!(
    "-- load_closing\nSELECT ",
    row::step_columns!(),
    "\n  FROM workflow_steps\n WHERE execution_id = ?1"
);

const ACTIVITY: &str = "\
-- load_activity
SELECT max(changed_at), max(judge_at), max(CASE WHEN status = 'running' THEN incident_id END)
  FROM workflow_steps
 WHERE execution_id = ?1";

/// The columns of a step, in the order of the values of [`write_whole`].
macro_rules! whole {
    () => {
        "workflow_steps
       (execution_id, step_id, status, severity, started_at, changed_at, step_name, step_type,
        parent_step_id, attempt, ended_at, duration_us, judged_us, historical_avg_us, samples, p95_us,
        cohort, in_flight, judge_at, attributes, error, incident_id, span, by_trace)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21,
        ?22, ?23, ?24)"
    };
}

const INSERT: &str = concat!("-- insert_step\nINSERT INTO ", whole!());

/// Of a step that came as a span anything may have changed.
const REPLACE: &str = concat!("-- replace_step\nINSERT OR REPLACE INTO ", whole!());

const UPDATE: &str = "\
-- update_step
UPDATE workflow_steps
   SET status = ?3, severity = ?4, started_at = ?5, changed_at = ?6, ended_at = ?7, duration_us = ?8,
       judged_us = ?9, historical_avg_us = ?10, samples = ?11, p95_us = ?12, cohort = ?13,
       in_flight = ?14, judge_at = ?15, attributes = ?16, error = ?17, incident_id = ?18
 WHERE execution_id = ?1 AND step_id = ?2";

/// Loads these steps, as far as they exist. What no loaded execution has is not looked for.
pub(super) fn load<'a>(
    tx: &Transaction<'_>,
    keys: impl IntoIterator<Item = &'a StepKey>,
    set: &mut WorkingSet,
) -> Result<(), StoreError> {
    let mut statement = tx.prepare_cached(LOAD)?;
    for key in keys.into_iter().filter(|key| set.executions.contains_key(&key.0)).collect::<Vec<_>>() {
        let mut rows = statement.query(params![key.0.to_bytes(), key.1.to_stored()])?;
        if let Some(found) = rows.next()? {
            set.steps.insert(*key, row::step(found)?);
        }
    }
    Ok(())
}

/// Loads what these executions need to know of their steps in order to end.
pub(super) fn load_closings<'a>(
    tx: &Transaction<'_>,
    ids: impl IntoIterator<Item = &'a ExecutionId>,
    set: &mut WorkingSet,
) -> Result<(), StoreError> {
    let mut statement = tx.prepare_cached(OF_EXECUTION)?;
    for id in ids {
        let mut closing = Closing::default();
        let mut rows = statement.query([id.to_bytes()])?;
        while let Some(found) = rows.next()? {
            // Most steps have ended and are normal: of these, nothing more is read.
            let status = text(found, 2)?;
            closing.completed += u64::from(status == StepStatus::Completed.as_str());
            let judged = found.get::<_, Option<i16>>(3)?.is_some();
            if status == StepStatus::Running.as_str() {
                closing.running.push(row::step(found)?);
            }
            if judged {
                closing.bottlenecks.push(row::step(found)?);
            }
        }
        closing.bottlenecks.sort_by_key(|step| (step.started_at, step.id.to_stored()));
        set.closings.insert(*id, closing);
    }
    Ok(())
}

/// Loads what judging the silence of these executions needs to know of their steps.
pub(super) fn load_activities<'a>(
    tx: &Transaction<'_>,
    ids: impl IntoIterator<Item = &'a ExecutionId>,
    set: &mut WorkingSet,
) -> Result<(), StoreError> {
    let mut statement = tx.prepare_cached(ACTIVITY)?;
    for id in ids {
        let mut rows = statement.query([id.to_bytes()])?;
        let Some(found) = rows.next()? else { continue };
        let (changed_at, judge_at) = (row::optional_time(found, 0)?, row::optional_time(found, 1)?);
        let changed_at = changed_at.max(events::last(tx, *id)?.map(|(_, at)| at));
        let activity = Activity { changed_at, judge_at, stuck: row::incident_id(found, 2)? };
        set.activities.insert(*id, activity);
    }
    Ok(())
}

/// Writes the steps that are new and those that have changed.
pub(super) fn save(tx: &Transaction<'_>, set: &WorkingSet) -> Result<(), StoreError> {
    for (key, written) in &set.written_steps {
        let Some(step) = set.steps.get(key) else { continue };
        match written {
            Written::Insert => write_whole(tx, INSERT, step)?,
            Written::Update if step.span.is_some() => write_whole(tx, REPLACE, step)?,
            Written::Update => update(tx, step)?,
        }
    }
    Ok(())
}

fn write_whole(tx: &Transaction<'_>, sql: &str, step: &Step) -> Result<(), StoreError> {
    let verdict = step.bottleneck.as_ref();
    tx.prepare_cached(sql)?.execute(params![
        step.execution.to_bytes(),
        step.id.to_stored(),
        step.status.as_str(),
        verdict.map(|verdict| verdict.severity.to_stored()),
        step.started_at.as_micros(),
        step.changed_at.as_micros(),
        step.name.as_str(),
        step.step_type.as_str(),
        step.parent.map(|parent| parent.to_stored()),
        step.attempt,
        step.ended_at.map(|at| at.as_micros()),
        step.duration.map(stored_micros),
        verdict.map(|verdict| stored_micros(verdict.duration)),
        verdict.map(|verdict| stored_micros(verdict.historical_avg)),
        verdict.map(|verdict| stored(verdict.samples)),
        verdict.map(|verdict| stored_micros(verdict.p95)),
        verdict.map(|verdict| stored_cohort(&verdict.cohort)).transpose()?,
        verdict.map(|verdict| verdict.in_flight),
        step.judge_at.map(|at| at.as_micros()),
        stored_attributes(&step.attributes)?,
        stored_failure(step.failure.as_ref())?,
        step.incident.map(IncidentId::to_bytes),
        row::stored_span(step.span.as_deref())?,
        step.by_trace,
    ])?;
    Ok(())
}

fn update(tx: &Transaction<'_>, step: &Step) -> Result<(), StoreError> {
    let verdict = step.bottleneck.as_ref();
    tx.prepare_cached(UPDATE)?.execute(params![
        step.execution.to_bytes(),
        step.id.to_stored(),
        step.status.as_str(),
        verdict.map(|verdict| verdict.severity.to_stored()),
        step.started_at.as_micros(),
        step.changed_at.as_micros(),
        step.ended_at.map(|at| at.as_micros()),
        step.duration.map(stored_micros),
        verdict.map(|verdict| stored_micros(verdict.duration)),
        verdict.map(|verdict| stored_micros(verdict.historical_avg)),
        verdict.map(|verdict| stored(verdict.samples)),
        verdict.map(|verdict| stored_micros(verdict.p95)),
        verdict.map(|verdict| stored_cohort(&verdict.cohort)).transpose()?,
        verdict.map(|verdict| verdict.in_flight),
        step.judge_at.map(|at| at.as_micros()),
        stored_attributes(&step.attributes)?,
        stored_failure(step.failure.as_ref())?,
        step.incident.map(IncidentId::to_bytes),
    ])?;
    Ok(())
}
