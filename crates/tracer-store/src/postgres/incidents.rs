//! Incidents: as a batch locks and writes them, and as they are read.
//!
//! Invariants: incidents are locked last of all rows, in the order of their ids; a new one is inserted in the order of
//! its fingerprint, after those that make room for it. Whoever inserts a second one of a cause waits for the first one's
//! transaction, and is replayed.
//! Not here: how they live (`tracer_core::incident`), and how channels are told of them (`outbox`).

use std::collections::HashMap;

use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};
use tracer_core::detect::Severity;
use tracer_core::incident::{HistoryEntry, Incident, IncidentId, IncidentKind};
use tracer_core::limits;
use tracer_core::outbox::{FiringCount, IncidentCursor, IncidentFilter};
use tracer_core::record::{IncidentNeeds, TendIncident, WorkingSet, Written};
use tracer_core::repository::RepositoryError;
use tracer_core::routing::NewNotification;
use tracer_core::time::Timestamp;

use super::error::StoreError;
use super::pool::ReadPool;
use super::reads::sql_limit;
use super::row::{self, Bits, Stamp, stored_count};
use super::tx::{Params, Pipeline, Session, Statements, column};
use crate::settling::kept;

pub(super) const LOCK: &str = "\
-- lock_incidents
SELECT body
  FROM incidents
 WHERE incident_id = ANY($1) OR (is_current AND fingerprint = ANY($2))
 ORDER BY incident_id
   FOR UPDATE";

pub(super) const UPDATE: &str = "\
-- update_incidents
UPDATE incidents AS i
   SET is_current = n.is_current, state = n.state, severity = n.severity, occurrences = n.occurrences,
       last_seen_at = n.last_seen_at, resolved_at = n.resolved_at, due_at = n.due_at, changed_at = n.changed_at,
       body = n.body
  FROM unnest($1::uuid[], $2::boolean[], $3::text[], $4::smallint[], $5::bigint[], $6::timestamptz[], $7::timestamptz[],
              $8::timestamptz[], $9::timestamptz[], $10::text[])
       AS n (id, is_current, state, severity, occurrences, last_seen_at, resolved_at, due_at, changed_at, body)
 WHERE i.incident_id = n.id";

pub(super) const INSERT: &str = "\
-- insert_incidents
INSERT INTO incidents
       (incident_id, is_current, state, severity, occurrences, last_seen_at, resolved_at, due_at, changed_at, body,
        fingerprint, kind, workflow_name, step_name, cohort, first_seen_at)
SELECT n.c1, n.c2, n.c3, n.c4, n.c5, n.c6, n.c7, n.c8, n.c9, n.c10, n.c11, n.c12, n.c13, n.c14, n.c15::jsonb, n.c16
  FROM unnest($1::uuid[], $2::boolean[], $3::text[], $4::smallint[], $5::bigint[], $6::timestamptz[], $7::timestamptz[],
              $8::timestamptz[], $9::timestamptz[], $10::text[], $11::uuid[], $12::text[], $13::text[], $14::text[],
              $15::text[], $16::timestamptz[])
       AS n (c1, c2, c3, c4, c5, c6, c7, c8, c9, c10, c11, c12, c13, c14, c15, c16)";

/// Messages that show an incident as it will stay are not looked at any more.
pub(super) const FINISH_MESSAGES: &str = "\
-- finish_messages
UPDATE notification_messages AS m
   SET is_final = true
  FROM unnest($1::uuid[], $2::timestamptz[]) AS n (id, changed_at)
 WHERE m.incident_id = n.id AND m.shown_at = n.changed_at";

pub(super) const ADD_ENTRIES: &str = "\
-- add_entries
INSERT INTO incident_entries (incident_id, at, what, note)
SELECT n.id, n.at, n.what, n.note
  FROM unnest($1::uuid[], $2::timestamptz[], $3::text[], $4::text[]) WITH ORDINALITY AS n (id, at, what, note, place)
 ORDER BY n.place";

pub(super) const ADD_NOTIFICATIONS: &str = "\
-- add_notifications
INSERT INTO notification_outbox
       (channel, incident_id, transition, loud, execution_id, incident, incident_changed_at, created_at, not_before, held)
SELECT n.c1, n.c2, n.c3, n.c4, n.c5, n.c6, n.c7, n.c8, n.c9, n.c10
  FROM unnest($1::text[], $2::uuid[], $3::text[], $4::boolean[], $5::uuid[], $6::text[], $7::timestamptz[],
              $8::timestamptz[], $9::timestamptz[], $10::boolean[])
       WITH ORDINALITY AS n (c1, c2, c3, c4, c5, c6, c7, c8, c9, c10, place)
 ORDER BY n.place";

/// Locks and reads the incidents that a batch needs; costs nothing if it needs none.
///
/// # Errors
/// [`StoreError`] if the database is away, or an incident is not what was written.
pub(super) async fn load(
    session: &Session,
    needs: &IncidentNeeds,
) -> Result<HashMap<IncidentId, Incident>, StoreError> {
    if needs.is_empty() {
        return Ok(HashMap::new());
    }
    let ids: Vec<Bits> = needs.ids.iter().map(|id| Bits::from(*id)).collect();
    let fingerprints: Vec<Bits> = needs.fingerprints.iter().map(|cause| Bits::from(*cause)).collect();
    let mut pipeline = session.pipeline();
    let found =
        pipeline.query(&session.statements.lock_incidents, vec![Box::new(ids), Box::new(fingerprints)]);
    let rows = pipeline.run().await?.take(found);
    let incidents = rows.iter().map(|row| row::incident(row, "body").map(|found| (found.id, found)));
    incidents.collect()
}

/// Adds the writing of incidents, of their histories and of what there is to tell of them.
pub(super) fn save<'a>(pipeline: &mut Pipeline<'a>, statements: &'a Statements, set: &'a WorkingSet) {
    let [changed, new] = [Written::Update, Written::Insert].map(|how| written(set, how));
    if !changed.is_empty() {
        pipeline.execute(&statements.update_incidents, changing(&changed));
        let over: Vec<&Incident> = changed.into_iter().filter(|incident| !incident.is_current).collect();
        if !over.is_empty() {
            pipeline.execute(&statements.finish_messages, finishing(over));
        }
    }
    if !new.is_empty() {
        pipeline.execute(&statements.insert_incidents, opening(&new));
    }
    if !set.new_entries.is_empty() {
        pipeline.execute(&statements.add_entries, entries(&set.new_entries));
    }
    if !set.new_notifications.is_empty() {
        pipeline.execute(&statements.add_notifications, notifications(&set.new_notifications));
    }
}

/// Returns the incidents to write so, in the order of their fingerprints.
fn written(set: &WorkingSet, how: Written) -> Vec<&Incident> {
    let keys = set.written_incidents.iter().filter(|(_, written)| **written == how);
    keys.filter_map(|((_, id), _)| set.incidents.get(id)).collect()
}

fn changing<'a>(rows: &[&'a Incident]) -> Params<'a> {
    vec![
        column(rows, |i| Bits::from(i.id)),
        column(rows, |i| i.is_current),
        column(rows, |i| i.state.as_str()),
        column(rows, |i| i.severity.to_stored()),
        column(rows, |i| stored_count(i.occurrences)),
        column(rows, |i| Stamp(i.last_seen_at)),
        column(rows, |i| i.resolved.as_ref().map(|resolved| Stamp(resolved.at))),
        column(rows, |i| i.due_at.map(Stamp)),
        column(rows, |i| Stamp(i.changed_at)),
        column(rows, row::to_json),
    ]
}

fn opening<'a>(rows: &[&'a Incident]) -> Params<'a> {
    let mut params = changing(rows);
    params.extend([
        column(rows, |i| Bits::from(i.cause.fingerprint())),
        column(rows, |i| i.cause.kind.as_str()),
        column(rows, |i| i.cause.workflow.as_str()),
        column(rows, |i| i.cause.step.as_ref().map(|step| step.as_str())),
        column(rows, |i| row::to_json(&i.cause.cohort)),
        column(rows, |i| Stamp(i.first_seen_at)),
    ]);
    params
}

/// In the order of their ids, in which a settlement writes messages too.
fn finishing(mut over: Vec<&Incident>) -> Params<'_> {
    over.sort_by_key(|incident| incident.id);
    vec![column(&over, |i| Bits::from(i.id)), column(&over, |i| Stamp(i.changed_at))]
}

fn entries(new: &[(IncidentId, HistoryEntry)]) -> Params<'_> {
    let rows: Vec<&(IncidentId, HistoryEntry)> = new.iter().collect();
    vec![
        column(&rows, |(id, _)| Bits::from(*id)),
        column(&rows, |(_, entry)| Stamp(entry.at)),
        column(&rows, |(_, entry)| entry.what.as_str()),
        column(&rows, |(_, entry)| entry.note.as_deref().map(kept)),
    ]
}

fn notifications(new: &[NewNotification]) -> Params<'_> {
    let rows: Vec<&NewNotification> = new.iter().collect();
    vec![
        column(&rows, |n| n.channel.as_str()),
        column(&rows, |n| Bits::from(n.incident.id)),
        column(&rows, |n| n.event.transition.as_str()),
        column(&rows, |n| n.event.loud),
        column(&rows, |n| Bits(n.incident.group())),
        column(&rows, |n| row::to_json(&n.incident)),
        column(&rows, |n| Stamp(n.incident.changed_at)),
        column(&rows, |n| Stamp(n.created_at)),
        column(&rows, |n| Stamp(n.not_before)),
        column(&rows, |n| n.held),
    ]
}

const INCIDENT: &str = "\
-- incident
SELECT body FROM incidents WHERE incident_id = $1";

/// Returns an incident.
pub(super) async fn incident(pool: &ReadPool, id: IncidentId) -> Result<Option<Incident>, RepositoryError> {
    let rows = pool.query("incident", INCIDENT, &[&Bits::from(id)]).await?;
    let found = rows.first().map(|found| row::incident(found, "body")).transpose();
    found.map_err(|error| error.into_repository("incident"))
}

const HISTORY: &str = "\
-- incident_history
SELECT at, what, note FROM incident_entries WHERE incident_id = $1 ORDER BY entry_id DESC LIMIT $2";

/// Returns the newest lines of an incident's history, oldest first.
pub(super) async fn history(pool: &ReadPool, id: IncidentId) -> Result<Vec<HistoryEntry>, RepositoryError> {
    const NAME: &str = "incident_history";
    let most = sql_limit(limits::INCIDENT_HISTORY);
    let rows = pool.query(NAME, HISTORY, &[&Bits::from(id), &most]).await?;
    let entry = |found: &Row| {
        let (at, what, note) =
            (row::some_instant(found, "at")?, row::get(found, "what")?, row::get(found, "note")?);
        Ok(HistoryEntry { at, what, note })
    };
    let entries = rows.iter().rev().map(entry).collect::<Result<_, StoreError>>();
    entries.map_err(|error| error.into_repository(NAME))
}

/// Returns incidents, newest opening first. The query is put together from what is asked for, and planned for its values
/// each time.
pub(super) async fn list(
    pool: &ReadPool,
    filter: &IncidentFilter,
    after: Option<IncidentCursor>,
    limit: usize,
) -> Result<Vec<Incident>, RepositoryError> {
    const NAME: &str = "list_incidents";
    let limit = sql_limit(limit);
    let (after, workflow) = (after.map(Bits::from), filter.workflow.as_ref().map(|name| name.as_str()));
    let mut params: Vec<(&(dyn ToSql + Sync), Type)> = vec![(&limit, Type::INT8)];
    let mut conditions = Vec::new();
    if let Some(workflow) = &workflow {
        params.push((workflow, Type::TEXT));
        conditions.push(format!("workflow_name = ${}", params.len()));
    }
    if let Some(after) = &after {
        params.push((after, Type::UUID));
        conditions.push(format!("incident_id < ${}", params.len()));
    }
    // Ours, not a client's; and as a constant it can be matched with the index of a state.
    conditions.extend(filter.state.map(|state| format!("state = '{}'", state.as_str())));
    conditions.extend(filter.kind.map(|kind| format!("kind = '{}'", kind.as_str())));
    conditions.extend(filter.severity.map(|least| format!("severity >= {}", least.to_stored())));
    let filter =
        if conditions.is_empty() { String::new() } else { format!("\n WHERE {}", conditions.join(" AND ")) };
    let sql = format!("-- {NAME}\nSELECT body FROM incidents{filter}\n ORDER BY incident_id DESC\n LIMIT $1");
    let rows = pool.query_once(NAME, &sql, &params).await?;
    let read = rows.iter().map(|found| row::incident(found, "body"));
    read.collect::<Result<_, _>>().map_err(|error| error.into_repository(NAME))
}

const FIRING: &str = "\
-- firing_incidents
SELECT kind, severity, count(*) AS incidents FROM incidents WHERE state = 'firing' GROUP BY kind, severity";

/// Returns how many incidents fire.
pub(super) async fn firing(pool: &ReadPool) -> Result<Vec<FiringCount>, RepositoryError> {
    const NAME: &str = "firing_incidents";
    let rows = pool.query(NAME, FIRING, &[]).await?;
    let counts = rows.iter().map(read_firing).collect::<Result<Vec<_>, _>>();
    let mut counts = counts.map_err(|error| error.into_repository(NAME))?;
    counts.sort_by_key(|count| (count.kind, count.severity));
    Ok(counts)
}

fn read_firing(found: &Row) -> Result<FiringCount, StoreError> {
    let (kind, severity): (&str, i16) = (row::get(found, "kind")?, row::get(found, "severity")?);
    Ok(FiringCount {
        kind: IncidentKind::parse(kind)
            .ok_or_else(|| StoreError::unreadable("kind", format!("{kind:?} is none")))?,
        severity: Severity::from_stored(severity)
            .ok_or_else(|| StoreError::unreadable("severity", format!("{severity} is none")))?,
        incidents: row::count(found, "incidents")?,
    })
}

pub(super) const DUE: &str = "\
-- due_incidents
SELECT due_at, body FROM incidents WHERE due_at <= $1 ORDER BY due_at LIMIT $2";

/// Reads a row of [`DUE`].
///
/// # Errors
/// [`StoreError::Unreadable`] if it is not what was written.
pub(super) fn read_due(found: &Row) -> Result<(Timestamp, TendIncident), StoreError> {
    let incident = row::incident(found, "body")?;
    Ok((row::some_instant(found, "due_at")?, TendIncident { id: incident.id, cause: incident.cause }))
}
