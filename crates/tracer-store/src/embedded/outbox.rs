//! The outbox: what is taken from it, and what is said of that.
//!
//! Invariant: whatever is written here is written under a lease that holds, in one transaction with the look
//! at it. Not here: who puts notifications in (`incidents`), and who delivers them (`tracer-alert`).

use rusqlite::{OptionalExtension, Row, Transaction, params};
use tracer_core::ids::ExecutionId;
use tracer_core::incident::{Fingerprint, Incident, IncidentId, Transition};
use tracer_core::limits;
use tracer_core::notify::{ChannelName, Delivery, Notification, Posted};
use tracer_core::outbox::{ChannelState, Lease, Settlement};
use tracer_core::time::{Micros, Timestamp};

use super::error::StoreError;
use super::incidents;
use super::reads::{collect, sql_limit};
use super::row::{self, count, optional_text, optional_time, text, time};
use crate::settling::{Change, distinct, kept};

/// That a notification is the first of its incident that its channel has yet to send: none overtakes another, except
/// one that quiet hours hold, which must not hold up what may be told in them.
macro_rules! in_turn {
    ($now:literal) => {
        concat!(
            "o.notification_id = (SELECT min(e.notification_id)
                              FROM notification_outbox AS e
                             WHERE e.incident_id = o.incident_id AND e.channel = o.channel
                               AND e.settled_at IS NULL AND NOT (e.held AND e.not_before > ",
            $now,
            "))"
        )
    };
}

const FIRST: &str = concat!(
    "-- first_notification
SELECT o.notification_id, o.loud, o.transition, o.execution_id, o.created_at
  FROM notification_outbox AS o INDEXED BY notification_outbox_pending
 WHERE o.channel = ?1 AND o.settled_at IS NULL AND o.not_before <= ?2
   AND ",
    in_turn!("?2"),
    "
 ORDER BY o.notification_id
 LIMIT 1"
);

/// What waits only for others of its execution does not wait any longer.
const TOGETHER: &str = concat!(
    "-- told_together
SELECT o.notification_id
  FROM notification_outbox AS o INDEXED BY notification_outbox_together
 WHERE o.channel = ?1 AND o.execution_id = ?2 AND o.transition = ?8 AND o.settled_at IS NULL AND o.loud
   AND o.notification_id <> ?3 AND o.created_at BETWEEN ?4 AND ?5 AND (o.not_before <= ?6 OR NOT o.held)
   AND ",
    in_turn!("?6"),
    "
 ORDER BY o.notification_id
 LIMIT ?7"
);

const IS_BUSY: &str = "\
-- is_busy
SELECT 1
  FROM notification_channels
 WHERE channel = ?1 AND (not_before > ?2 OR lease_until > ?2)";

/// Returns which of these channels have something that may be sent, and nobody who does.
pub(super) fn waiting(
    tx: &Transaction<'_>,
    channels: &[ChannelName],
    now: Timestamp,
) -> Result<Vec<ChannelName>, StoreError> {
    let (mut busy, mut first) = (tx.prepare_cached(IS_BUSY)?, tx.prepare_cached(FIRST)?);
    let mut waiting = Vec::new();
    for channel in channels {
        let key = params![channel.as_str(), now.as_micros()];
        if !busy.exists(key)? && first.exists(key)? {
            waiting.push(channel.clone());
        }
    }
    Ok(waiting)
}

const LEASE: &str = "\
-- lease_channel
INSERT INTO notification_channels (channel, lease_holder, lease_token, lease_until)
VALUES (?1, ?2, 1, ?4)
    ON CONFLICT (channel) DO UPDATE
   SET lease_holder = excluded.lease_holder, lease_token = lease_token + 1, lease_until = excluded.lease_until
 WHERE lease_until IS NULL OR lease_until <= ?3 OR lease_holder = ?2
RETURNING lease_token, not_before, failures";

/// Takes a channel, unless another holder has it.
pub(super) fn lease(
    tx: &Transaction<'_>,
    channel: &ChannelName,
    holder: &str,
    now: Timestamp,
    until: Timestamp,
) -> Result<Option<Lease>, StoreError> {
    let mut statement = tx.prepare_cached(LEASE)?;
    let mut rows =
        statement.query(params![channel.as_str(), kept(holder), now.as_micros(), until.as_micros()])?;
    let Some(found) = rows.next()? else { return Ok(None) };
    let lease = Lease {
        channel: channel.clone(),
        token: found.get(0)?,
        not_before: time(found, 1)?,
        failures: found.get(2)?,
    };
    // The row is written once the statement has run to its end.
    while rows.next()?.is_some() {}
    Ok(Some(lease))
}

const RENEW: &str = "\
-- renew_lease
UPDATE notification_channels
   SET lease_until = ?3
 WHERE channel = ?1 AND lease_token = ?2 AND lease_until IS NOT NULL";

/// Keeps a lease; returns false if it was lost.
pub(super) fn renew(tx: &Transaction<'_>, lease: &Lease, until: Timestamp) -> Result<bool, StoreError> {
    let changed =
        tx.prepare_cached(RENEW)?.execute(params![lease.channel.as_str(), lease.token, until.as_micros()])?;
    Ok(changed > 0)
}

const RELEASE: &str = "\
-- release_lease
UPDATE notification_channels
   SET lease_holder = NULL, lease_until = NULL
 WHERE channel = ?1 AND lease_token = ?2";

/// Gives a lease back.
pub(super) fn release(tx: &Transaction<'_>, lease: &Lease) -> Result<(), StoreError> {
    tx.prepare_cached(RELEASE)?.execute(params![lease.channel.as_str(), lease.token])?;
    Ok(())
}

/// A lease that has run out is as good as lost: another holder may be about to take the same. One that holds is
/// kept for what is about to be sent.
const HOLD: &str = "\
-- hold_lease
UPDATE notification_channels
   SET lease_until = max(lease_until, ?4)
 WHERE channel = ?1 AND lease_token = ?2 AND lease_until > ?3";

const COUNT_ATTEMPT: &str = "\
-- count_attempt
UPDATE notification_outbox
   SET attempts = attempts + 1
 WHERE notification_id = ?1";

const NOTIFICATION: &str = "\
-- notification
SELECT notification_id, transition, loud, incident, created_at, attempts - 1, held
  FROM notification_outbox
 WHERE notification_id = ?1";

const TOLD_BEFORE: &str = "\
-- told_before
SELECT 1
  FROM notification_outbox INDEXED BY notification_outbox_of_incident
 WHERE incident_id = ?1 AND channel = ?2 AND outcome = 'sent'";

/// Returns what is to be sent next, and counts an attempt at it.
pub(super) fn take(
    tx: &Transaction<'_>,
    lease: &Lease,
    now: Timestamp,
    until: Timestamp,
    together: &[Transition],
) -> Result<Option<Delivery>, StoreError> {
    let channel = lease.channel.as_str();
    let hold = params![channel, lease.token, now.as_micros(), until.as_micros()];
    if tx.prepare_cached(HOLD)?.execute(hold)? == 0 {
        return Ok(None);
    }
    let ids = next(tx, channel, now, together)?;
    let mut notifications = Vec::with_capacity(ids.len());
    for id in ids {
        tx.prepare_cached(COUNT_ATTEMPT)?.execute([id])?;
        let mut statement = tx.prepare_cached(NOTIFICATION)?;
        let mut rows = statement.query([id])?;
        if let Some(found) = rows.next()? {
            notifications.push(notification(found)?);
        }
    }
    let Some(first) = notifications.first() else { return Ok(None) };
    let id = first.incident.id;
    let current = incidents::incident(tx, id)?.unwrap_or_else(|| first.incident.clone());
    let told_before = tx.prepare_cached(TOLD_BEFORE)?.exists(params![id.to_bytes(), channel])?;
    let posted = posted(tx, channel, id)?;
    Ok(Some(Delivery { notifications, current, told_before, posted }))
}

/// Returns the numbers of what is to be sent next, in their order.
fn next(
    tx: &Transaction<'_>,
    channel: &str,
    now: Timestamp,
    together: &[Transition],
) -> Result<Vec<i64>, StoreError> {
    let mut statement = tx.prepare_cached(FIRST)?;
    let mut rows = statement.query(params![channel, now.as_micros()])?;
    let Some(found) = rows.next()? else { return Ok(Vec::new()) };
    let (id, is_loud, transition): (i64, bool, &str) = (found.get(0)?, found.get(1)?, text(found, 2)?);
    if !is_loud || !together.iter().any(|one| one.as_str() == transition) {
        return Ok(vec![id]);
    }
    let (execution, created_at): (ExecutionId, _) = (row::execution_id(found, 3)?, time(found, 4)?);
    let within = Micros::from_secs(limits::GROUPED_WITHIN_SECS);
    let (from, to) = (created_at - within, created_at + within);
    let mut statement = tx.prepare_cached(TOGETHER)?;
    let mut rows = statement.query(params![
        channel,
        execution.to_bytes(),
        id,
        from.as_micros(),
        to.as_micros(),
        now.as_micros(),
        sql_limit(limits::GROUPED_INCIDENTS - 1),
        transition,
    ])?;
    let others = collect(&mut rows, |found| Ok(found.get::<_, i64>(0)?))?;
    Ok(distinct(others.into_iter().chain([id])))
}

fn notification(found: &Row<'_>) -> Result<Notification, StoreError> {
    let transition = text(found, 1)?;
    Ok(Notification {
        id: found.get(0)?,
        transition: Transition::parse(transition)
            .ok_or_else(|| StoreError::stored("transition", transition.to_owned()))?,
        loud: found.get(2)?,
        incident: row::incident(found, 3)?,
        created_at: time(found, 4)?,
        attempts: found.get(5)?,
        held: found.get(6)?,
    })
}

const REFERENCE: &str = "\
-- message_of_incident
SELECT reference
  FROM notification_messages
 WHERE incident_id = ?1 AND channel = ?2";

const TELLS_OF: &str = "\
-- incidents_of_message
SELECT i.body
  FROM notification_messages AS m INDEXED BY notification_messages_reference
 CROSS JOIN incidents AS i ON i.incident_id = m.incident_id
 WHERE m.channel = ?1 AND m.reference = ?2
 ORDER BY i.first_seen_at, i.incident_id";

fn posted(tx: &Transaction<'_>, channel: &str, id: IncidentId) -> Result<Option<Posted>, StoreError> {
    let mut statement = tx.prepare_cached(REFERENCE)?;
    let reference: Option<String> =
        statement.query_row(params![id.to_bytes(), channel], |found| found.get(0)).optional()?;
    reference.map(|reference| message(tx, channel, reference)).transpose()
}

fn message(tx: &Transaction<'_>, channel: &str, reference: String) -> Result<Posted, StoreError> {
    let mut statement = tx.prepare_cached(TELLS_OF)?;
    let mut rows = statement.query(params![channel, reference])?;
    let incidents: Vec<Incident> = collect(&mut rows, |found| row::incident(found, 0))?;
    Ok(Posted { reference, incidents })
}

const NOTE_CHANNEL: &str = "\
-- note_channel
UPDATE notification_channels
   SET not_before = ?3,
       failures = CASE WHEN ?4 THEN 0 WHEN ?5 THEN failures + 1 ELSE failures END,
       last_sent_at = CASE WHEN ?4 THEN ?6 ELSE last_sent_at END,
       fault_at = CASE WHEN ?7 IS NULL THEN fault_at ELSE ?6 END,
       fault = coalesce(?7, fault)
 WHERE channel = ?1 AND lease_token = ?2 AND lease_until IS NOT NULL";

const SET_ASIDE: &str = "\
-- set_aside
UPDATE notification_outbox
   SET settled_at = ?3, outcome = ?4, reason = ?5
 WHERE notification_id = ?1 AND channel = ?2 AND settled_at IS NULL
RETURNING incident_id, incident_changed_at";

/// What a message showed when it was posted is what the notification said: that it may have shown more costs
/// an edit, that it may have shown less must not be lost.
const NOTE_MESSAGE: &str = "\
-- note_message
INSERT INTO notification_messages (incident_id, channel, reference, shown_at, is_final)
VALUES (?1, ?2, ?3, ?4,
        EXISTS (SELECT 1 FROM incidents WHERE incident_id = ?1 AND NOT is_current AND changed_at = ?4))
    ON CONFLICT (incident_id, channel) DO UPDATE
   SET reference = excluded.reference, shown_at = excluded.shown_at, is_final = excluded.is_final";

/// Says what became of a delivery; returns false, and changes nothing, if the lease was lost.
pub(super) fn settle(
    tx: &Transaction<'_>,
    lease: &Lease,
    settlement: &Settlement,
) -> Result<bool, StoreError> {
    let (channel, at) = (lease.channel.as_str(), settlement.at.as_micros());
    let change = Change::of(settlement);
    let holds = tx.prepare_cached(NOTE_CHANNEL)?.execute(params![
        channel,
        lease.token,
        settlement.not_before.as_micros(),
        change.is_sent,
        change.is_again,
        at,
        change.fault,
    ])?;
    let Some((outcome, reason)) = &change.outcome else { return Ok(holds > 0) };
    if holds == 0 {
        return Ok(false);
    }
    let mut told = Vec::with_capacity(settlement.ids.len());
    for id in distinct(settlement.ids.iter().copied()) {
        let mut statement = tx.prepare_cached(SET_ASIDE)?;
        let mut rows = statement.query(params![id, channel, at, outcome, reason])?;
        told.extend(collect(&mut rows, |found| {
            Ok((IncidentId::from_bytes(found.get(0)?), found.get::<_, i64>(1)?))
        })?);
    }
    if let Some(reference) = &change.reference {
        for (id, shown_at) in &told {
            let message = params![id.to_bytes(), channel, reference, shown_at];
            tx.prepare_cached(NOTE_MESSAGE)?.execute(message)?;
        }
    }
    if let Some(entry) = &change.entry {
        for id in distinct(told.iter().map(|(id, _)| *id)) {
            incidents::add_entry(tx, id, entry)?;
        }
    }
    Ok(true)
}

/// What was shown is compared with what is by its time alone, in either direction: replicas stamp by one clock, and not in
/// one order.
const OUTDATED: &str = "\
-- outdated_messages
SELECT m.reference
  FROM notification_messages AS m INDEXED BY notification_messages_open
 CROSS JOIN incidents AS i ON i.incident_id = m.incident_id
 WHERE m.channel = ?1 AND NOT m.is_final AND i.changed_at <> m.shown_at
 GROUP BY m.reference
 ORDER BY min(i.changed_at), m.reference
 LIMIT ?2";

/// Returns messages whose incidents have changed since, the longest outdated first.
pub(super) fn outdated(
    tx: &Transaction<'_>,
    channel: &ChannelName,
    limit: usize,
) -> Result<Vec<Posted>, StoreError> {
    let mut statement = tx.prepare_cached(OUTDATED)?;
    let mut rows = statement.query(params![channel.as_str(), sql_limit(limit)])?;
    let references = collect(&mut rows, |found| Ok(text(found, 0)?.to_owned()))?;
    references.into_iter().map(|reference| message(tx, channel.as_str(), reference)).collect()
}

const NOTE_RATE: &str = "\
-- note_rate
UPDATE notification_channels
   SET not_before = ?3
 WHERE channel = ?1 AND lease_token = ?2 AND lease_until IS NOT NULL";

const NOTE_EDIT: &str = "\
-- note_edit
UPDATE notification_messages
   SET shown_at = ?4,
       is_final =
           EXISTS (SELECT 1 FROM incidents WHERE incident_id = ?1 AND NOT is_current AND changed_at = ?4)
 WHERE incident_id = ?1 AND channel = ?2 AND reference = ?3";

/// Notes what a message shows; returns false if the lease was lost.
pub(super) fn edited(
    tx: &Transaction<'_>,
    lease: &Lease,
    posted: &Posted,
    not_before: Timestamp,
) -> Result<bool, StoreError> {
    let channel = lease.channel.as_str();
    let rate = params![channel, lease.token, not_before.as_micros()];
    if tx.prepare_cached(NOTE_RATE)?.execute(rate)? == 0 {
        return Ok(false);
    }
    for incident in &posted.incidents {
        let (id, shown_at) = (incident.id.to_bytes(), incident.changed_at.as_micros());
        tx.prepare_cached(NOTE_EDIT)?.execute(params![id, channel, posted.reference, shown_at])?;
    }
    Ok(true)
}

const TOLD: &str = "\
-- told_openings
SELECT o.settled_at, i.fingerprint
  FROM notification_outbox AS o INDEXED BY notification_outbox_told
 CROSS JOIN incidents AS i ON i.incident_id = o.incident_id
 WHERE o.channel = ?1 AND o.outcome IN ('sent', 'refused') AND o.transition = 'opened' AND o.settled_at >= ?2
 ORDER BY o.settled_at DESC
 LIMIT ?3";

/// Returns when the channel was told of which openings, newest first.
pub(super) fn told_since(
    tx: &Transaction<'_>,
    channel: &ChannelName,
    since: Timestamp,
    limit: usize,
) -> Result<Vec<(Timestamp, Fingerprint)>, StoreError> {
    let mut statement = tx.prepare_cached(TOLD)?;
    let mut rows = statement.query(params![channel.as_str(), since.as_micros(), sql_limit(limit)])?;
    collect(&mut rows, |found| Ok((time(found, 0)?, Fingerprint::from_bytes(found.get(1)?))))
}

const CHANNELS: &str = "\
-- channels
SELECT n.channel, coalesce(p.pending, 0), p.oldest,
       (SELECT count(*)
          FROM notification_outbox AS r
         WHERE r.channel = n.channel AND r.outcome = 'refused' AND r.settled_at > ?1),
       coalesce(c.failures, 0), c.fault_at, c.fault, c.last_sent_at
  FROM (SELECT channel FROM notification_channels
         UNION SELECT channel FROM notification_outbox WHERE settled_at IS NULL) AS n
  LEFT JOIN (SELECT channel, count(*) AS pending, min(not_before) AS oldest
               FROM notification_outbox
              WHERE settled_at IS NULL
              GROUP BY channel) AS p ON p.channel = n.channel
  LEFT JOIN notification_channels AS c ON c.channel = n.channel
 ORDER BY n.channel";

/// How long a refusal shows.
const SHOWN: Micros = Micros::from_days(1);

/// Returns how all channels are.
pub(super) fn channels(tx: &Transaction<'_>, now: Timestamp) -> Result<Vec<ChannelState>, StoreError> {
    let mut statement = tx.prepare_cached(CHANNELS)?;
    let mut rows = statement.query([(now - SHOWN).as_micros()])?;
    collect(&mut rows, |found| {
        let fault = optional_time(found, 5)?.zip(optional_text(found, 6)?.map(str::to_owned));
        Ok(ChannelState {
            channel: ChannelName::from_stored(text(found, 0)?),
            pending: count(found, 1)?,
            oldest: optional_time(found, 2)?,
            refused: count(found, 3)?,
            failures: found.get(4)?,
            last_fault: fault,
            last_sent_at: optional_time(found, 7)?,
        })
    })
}

const OLD: &str = "\
-- old_notifications
DELETE FROM notification_outbox
 WHERE notification_id IN (SELECT notification_id
                             FROM notification_outbox
                            WHERE settled_at < ?1
                            ORDER BY settled_at
                            LIMIT ?2)";

/// Deletes at most `limit` notifications that were settled before an instant; returns how many.
pub(super) fn delete_settled(
    tx: &Transaction<'_>,
    before: Timestamp,
    limit: i64,
) -> Result<usize, StoreError> {
    Ok(tx.prepare_cached(OLD)?.execute(params![before.as_micros(), limit])?)
}

#[cfg(test)]
pub(super) const STATEMENTS: [&str; 9] =
    [FIRST, TOGETHER, TOLD_BEFORE, REFERENCE, TELLS_OF, OUTDATED, TOLD, CHANNELS, OLD];
