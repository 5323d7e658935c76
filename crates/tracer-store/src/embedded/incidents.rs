//! Incidents: as a batch loads and writes them, and as they are read.
//!
//! Not here: how they live (`tracer_core::incident`), and how channels are told of them (`outbox`).

use rusqlite::types::Value as SqlValue;
use rusqlite::{Transaction, params, params_from_iter};
use tracer_core::detect::Severity;
use tracer_core::incident::{HistoryEntry, Incident, IncidentId, IncidentKind, IncidentState};
use tracer_core::limits;
use tracer_core::outbox::{FiringCount, IncidentCursor, IncidentFilter};
use tracer_core::record::{IncidentNeeds, TendIncident, WorkingSet, Written};
use tracer_core::routing::NewNotification;
use tracer_core::time::Timestamp;

use super::error::StoreError;
use super::reads::{collect, sql_limit};
use super::row::{self, stored, stored_cohort, text, time};
use crate::settling::kept;

const INCIDENT: &str = "\
-- incident
SELECT body
  FROM incidents
 WHERE incident_id = ?1";

const CURRENT: &str = "\
-- current_incident
SELECT body
  FROM incidents
 WHERE is_current AND fingerprint = ?1";

const INSERT: &str = "\
-- insert_incident
INSERT INTO incidents
       (incident_id, fingerprint, kind, workflow_name, step_name, cohort, first_seen_at, is_current, state,
        severity, occurrences, last_seen_at, resolved_at, due_at, changed_at, body)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)";

const UPDATE: &str = "\
-- update_incident
UPDATE incidents
   SET is_current = ?2, state = ?3, severity = ?4, occurrences = ?5, last_seen_at = ?6, resolved_at = ?7,
       due_at = ?8, changed_at = ?9, body = ?10
 WHERE incident_id = ?1";

const FINISH_MESSAGES: &str = "\
-- finish_messages
UPDATE notification_messages
   SET is_final = 1
 WHERE incident_id = ?1 AND shown_at = ?2";

const ADD_ENTRY: &str = "\
-- add_entry
INSERT INTO incident_entries (incident_id, at, what, note)
VALUES (?1, ?2, ?3, ?4)";

const ADD_NOTIFICATION: &str = "\
-- add_notification
INSERT INTO notification_outbox
       (channel, incident_id, transition, loud, execution_id, incident, incident_changed_at, created_at,
        not_before, held)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";

/// Loads the incidents that a batch needs.
pub(super) fn load(
    tx: &Transaction<'_>,
    needs: &IncidentNeeds,
    set: &mut WorkingSet,
) -> Result<(), StoreError> {
    let mut by_id = tx.prepare_cached(INCIDENT)?;
    for id in &needs.ids {
        if let Some(found) = by_id.query([id.to_bytes()])?.next()? {
            set.incidents.insert(*id, row::incident(found, 0)?);
        }
    }
    let mut by_cause = tx.prepare_cached(CURRENT)?;
    for fingerprint in &needs.fingerprints {
        if let Some(found) = by_cause.query([fingerprint.to_bytes()])?.next()? {
            let incident = row::incident(found, 0)?;
            set.incidents.insert(incident.id, incident);
        }
    }
    Ok(())
}

/// Writes the incidents that are new and those that have changed, and what there is to tell of them.
pub(super) fn save(tx: &Transaction<'_>, set: &WorkingSet) -> Result<(), StoreError> {
    // What is no longer current makes room for what is new.
    for how in [Written::Update, Written::Insert] {
        for (_, id) in
            set.written_incidents.iter().filter(|(_, written)| **written == how).map(|(key, _)| key)
        {
            let Some(incident) = set.incidents.get(id) else { continue };
            match how {
                Written::Insert => insert(tx, incident)?,
                Written::Update => update(tx, incident)?,
            }
        }
    }
    for (id, entry) in &set.new_entries {
        add_entry(tx, *id, entry)?;
    }
    for notification in &set.new_notifications {
        add_notification(tx, notification)?;
    }
    Ok(())
}

fn insert(tx: &Transaction<'_>, incident: &Incident) -> Result<(), StoreError> {
    let cause = &incident.cause;
    tx.prepare_cached(INSERT)?.execute(params![
        incident.id.to_bytes(),
        cause.fingerprint().to_bytes(),
        cause.kind.as_str(),
        cause.workflow.as_str(),
        cause.step.as_ref().map(|step| step.as_str()),
        stored_cohort(&cause.cohort)?,
        incident.first_seen_at.as_micros(),
        incident.is_current,
        incident.state.as_str(),
        incident.severity.to_stored(),
        stored(incident.occurrences),
        incident.last_seen_at.as_micros(),
        incident.resolved.as_ref().map(|resolved| resolved.at.as_micros()),
        incident.due_at.map(|at| at.as_micros()),
        incident.changed_at.as_micros(),
        serde_json::to_string(incident)?,
    ])?;
    Ok(())
}

fn update(tx: &Transaction<'_>, incident: &Incident) -> Result<(), StoreError> {
    tx.prepare_cached(UPDATE)?.execute(params![
        incident.id.to_bytes(),
        incident.is_current,
        incident.state.as_str(),
        incident.severity.to_stored(),
        stored(incident.occurrences),
        incident.last_seen_at.as_micros(),
        incident.resolved.as_ref().map(|resolved| resolved.at.as_micros()),
        incident.due_at.map(|at| at.as_micros()),
        incident.changed_at.as_micros(),
        serde_json::to_string(incident)?,
    ])?;
    if !incident.is_current {
        let shown = params![incident.id.to_bytes(), incident.changed_at.as_micros()];
        tx.prepare_cached(FINISH_MESSAGES)?.execute(shown)?;
    }
    Ok(())
}

/// Appends a line to the history of an incident.
pub(super) fn add_entry(
    tx: &Transaction<'_>,
    id: IncidentId,
    entry: &HistoryEntry,
) -> Result<(), StoreError> {
    let note = entry.note.as_deref().map(kept);
    tx.prepare_cached(ADD_ENTRY)?.execute(params![id.to_bytes(), entry.at.as_micros(), entry.what, note])?;
    Ok(())
}

fn add_notification(tx: &Transaction<'_>, new: &NewNotification) -> Result<(), StoreError> {
    tx.prepare_cached(ADD_NOTIFICATION)?.execute(params![
        new.channel.as_str(),
        new.incident.id.to_bytes(),
        new.event.transition.as_str(),
        new.event.loud,
        new.incident.group(),
        serde_json::to_string(&new.incident)?,
        new.incident.changed_at.as_micros(),
        new.created_at.as_micros(),
        new.not_before.as_micros(),
        new.held,
    ])?;
    Ok(())
}

/// Returns an incident.
pub(super) fn incident(tx: &Transaction<'_>, id: IncidentId) -> Result<Option<Incident>, StoreError> {
    let mut statement = tx.prepare_cached(INCIDENT)?;
    let mut rows = statement.query([id.to_bytes()])?;
    rows.next()?.map(|found| row::incident(found, 0)).transpose()
}

const HISTORY: &str = "\
-- incident_history
SELECT at, what, note
  FROM incident_entries
 WHERE incident_id = ?1
 ORDER BY entry_id DESC
 LIMIT ?2";

/// Returns the newest lines of an incident's history, oldest first.
pub(super) fn history(tx: &Transaction<'_>, id: IncidentId) -> Result<Vec<HistoryEntry>, StoreError> {
    let mut statement = tx.prepare_cached(HISTORY)?;
    let mut rows = statement.query(params![id.to_bytes(), sql_limit(limits::INCIDENT_HISTORY)])?;
    let mut entries = collect(&mut rows, |found| {
        let (at, what, note) = (time(found, 0)?, text(found, 1)?.to_owned(), found.get(2)?);
        Ok(HistoryEntry { at, what, note })
    })?;
    entries.reverse();
    Ok(entries)
}

/// Returns incidents, newest opening first.
pub(super) fn list(
    tx: &Transaction<'_>,
    filter: &IncidentFilter,
    after: Option<IncidentCursor>,
    limit: usize,
) -> Result<Vec<Incident>, StoreError> {
    let (sql, values) = listing(filter, after, limit);
    let mut statement = tx.prepare_cached(&sql)?;
    let mut rows = statement.query(params_from_iter(values))?;
    collect(&mut rows, |found| row::incident(found, 0))
}

/// Puts the query together. The index is named: without statistics SQLite may rather sort.
pub(super) fn listing(
    filter: &IncidentFilter,
    after: Option<IncidentCursor>,
    limit: usize,
) -> (String, Vec<SqlValue>) {
    let mut conditions = Vec::new();
    let mut values = Vec::new();
    if let Some(workflow) = &filter.workflow {
        conditions.push("workflow_name = ?".to_owned());
        values.push(workflow.as_str().to_owned().into());
    }
    // Ours, not a client's; and written out it can be matched with the index of a state.
    conditions.extend(filter.state.map(|state| format!("state = '{}'", state.as_str())));
    conditions.extend(filter.kind.map(|kind| format!("kind = '{}'", kind.as_str())));
    conditions.extend(filter.severity.map(|least| format!("severity >= {}", least.to_stored())));
    if let Some(id) = after {
        conditions.push("incident_id < ?".to_owned());
        values.push(id.to_bytes().to_vec().into());
    }
    values.push(sql_limit(limit).into());
    let index = match (filter.state, &filter.workflow) {
        (Some(IncidentState::Firing), _) => "incidents_firing",
        (_, Some(_)) => "incidents_of_workflow",
        (_, None) => "sqlite_autoindex_incidents_1",
    };
    let filter =
        if conditions.is_empty() { String::new() } else { format!("\n WHERE {}", conditions.join(" AND ")) };
    let sql = format!(
        "-- list_incidents\nSELECT body\n  FROM incidents INDEXED BY {index}{filter}\n \
         ORDER BY incident_id DESC\n LIMIT ?"
    );
    (sql, values)
}

const FIRING: &str = "\
-- firing_incidents
SELECT kind, severity, count(*)
  FROM incidents
 WHERE state = 'firing'
 GROUP BY kind, severity";

/// Returns how many incidents fire.
pub(super) fn firing(tx: &Transaction<'_>) -> Result<Vec<FiringCount>, StoreError> {
    let mut statement = tx.prepare_cached(FIRING)?;
    let mut rows = statement.query([])?;
    let mut counts = collect(&mut rows, |found| {
        let kind = text(found, 0)?;
        let kind = IncidentKind::parse(kind).ok_or_else(|| StoreError::stored("kind", kind.to_owned()))?;
        let severity: i16 = found.get(1)?;
        let severity = Severity::from_stored(severity)
            .ok_or_else(|| StoreError::stored("severity", severity.to_string()))?;
        Ok(FiringCount { kind, severity, incidents: row::count(found, 2)? })
    })?;
    counts.sort_by_key(|count| (count.kind, count.severity));
    Ok(counts)
}

const DUE: &str = "\
-- due_incidents
SELECT due_at, body
  FROM incidents INDEXED BY incidents_due
 WHERE due_at <= ?1
 ORDER BY due_at
 LIMIT ?2";

/// Returns the incidents whose time has come, each with when that was.
pub(super) fn due(
    tx: &Transaction<'_>,
    now: Timestamp,
    limit: usize,
) -> Result<Vec<(Timestamp, TendIncident)>, StoreError> {
    let mut statement = tx.prepare_cached(DUE)?;
    let mut rows = statement.query(params![now.as_micros(), sql_limit(limit)])?;
    collect(&mut rows, |found| {
        let incident = row::incident(found, 1)?;
        Ok((time(found, 0)?, TendIncident { id: incident.id, cause: incident.cause }))
    })
}

const OVER: &str = "\
-- old_incidents
SELECT incident_id
  FROM incidents INDEXED BY incidents_over
 WHERE NOT is_current AND resolved_at < ?1
 ORDER BY resolved_at
 LIMIT ?2";

const DELETE: [&str; 4] = [
    "DELETE FROM notification_outbox WHERE incident_id = ?1",
    "DELETE FROM notification_messages WHERE incident_id = ?1",
    "DELETE FROM incident_entries WHERE incident_id = ?1",
    "DELETE FROM incidents WHERE incident_id = ?1",
];

/// Deletes at most `limit` incidents that ended before an instant, with all that is about them; returns how many.
pub(super) fn delete_over(tx: &Transaction<'_>, before: Timestamp, limit: i64) -> Result<usize, StoreError> {
    let mut statement = tx.prepare_cached(OVER)?;
    let mut rows = statement.query(params![before.as_micros(), limit])?;
    let ids = collect(&mut rows, |found| Ok(found.get::<_, [u8; 16]>(0)?))?;
    for id in &ids {
        for sql in DELETE {
            tx.prepare_cached(sql)?.execute([id])?;
        }
    }
    Ok(ids.len())
}

#[cfg(test)]
pub(super) const STATEMENTS: [&str; 8] =
    [INCIDENT, CURRENT, UPDATE, FINISH_MESSAGES, HISTORY, FIRING, DUE, OVER];
