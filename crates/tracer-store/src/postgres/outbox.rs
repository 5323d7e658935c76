//! The outbox: what is taken from it, and what is said of that.
//!
//! Invariants: whatever is written here is written under a lease that holds, in one transaction with the look at it; and
//! that transaction holds the channel's row first, then notifications, then messages in the order of their incidents.
//! Not here: who puts notifications in (`incidents`), and who delivers them (`tracer-alert`).

use deadpool_postgres::Object;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use tracer_core::incident::{Fingerprint, HistoryEntry, Incident, IncidentId, Transition};
use tracer_core::limits;
use tracer_core::notify::{ChannelName, Delivery, Notification, Posted};
use tracer_core::outbox::{ChannelState, Lease, Settlement};
use tracer_core::repository::RepositoryError;
use tracer_core::time::{Micros, Timestamp};

use super::error::StoreError;
use super::pool::ReadPool;
use super::reads::sql_limit;
use super::row::{self, Bits, Stamp};
use crate::settling::{Change, distinct, kept};

/// That a notification is the first of its incident that its channel has yet to send: none overtakes another, except one
/// that quiet hours hold, which must not hold up what may be told in them. `$2` is now.
macro_rules! in_turn {
    () => {
        "o.notification_id = (SELECT min(e.notification_id) FROM notification_outbox AS e
                                WHERE e.incident_id = o.incident_id AND e.channel = o.channel AND e.settled_at IS NULL
                                  AND NOT (e.held AND e.not_before > $2))"
    };
}

/// One look per channel, at the first that may be sent.
const WAITING: &str = concat!(
    "-- waiting_channels
SELECT n.channel
  FROM unnest($1::text[]) AS n (channel)
 CROSS JOIN LATERAL (
    SELECT o.notification_id
      FROM notification_outbox AS o
     WHERE o.channel = n.channel AND o.outcome IS NULL AND o.not_before <= $2
       AND ",
    in_turn!(),
    "
     ORDER BY o.notification_id
     LIMIT 1) AS first
 WHERE NOT (SELECT coalesce(bool_or(c.not_before > $2 OR coalesce(c.lease_until > $2, false)), false)
              FROM notification_channels AS c WHERE c.channel = n.channel)"
);

/// Returns which of these channels have something that may be sent, and nobody who does.
pub(super) async fn waiting(
    pool: &ReadPool,
    channels: &[ChannelName],
    now: Timestamp,
) -> Result<Vec<ChannelName>, RepositoryError> {
    const NAME: &str = "waiting_channels";
    let names: Vec<&str> = channels.iter().map(ChannelName::as_str).collect();
    let rows = pool.query_in_order(NAME, WAITING, &[&names, &Stamp(now)]).await?;
    let read = rows.iter().map(|found| Ok(ChannelName::from_stored(row::get(found, "channel")?)));
    read.collect::<Result<_, StoreError>>().map_err(|error| error.into_repository(NAME))
}

const LEASE: &str = "\
-- lease_channel
INSERT INTO notification_channels AS c (channel, lease_holder, lease_token, lease_until)
VALUES ($1, $2, 1, $4)
    ON CONFLICT (channel) DO UPDATE
   SET lease_holder = excluded.lease_holder, lease_token = c.lease_token + 1, lease_until = excluded.lease_until
 WHERE c.lease_until IS NULL OR c.lease_until <= $3 OR c.lease_holder = $2
RETURNING lease_token, not_before, failures";

/// Takes a channel, unless another holder has it.
pub(super) async fn lease(
    client: &Object,
    channel: &ChannelName,
    holder: &str,
    now: Timestamp,
    until: Timestamp,
) -> Result<Option<Lease>, StoreError> {
    let holder = kept(holder);
    let params: [&(dyn ToSql + Sync); 4] = [&channel.as_str(), &holder, &Stamp(now), &Stamp(until)];
    let rows = query(client, LEASE, &params).await?;
    let read = |found: &Row| {
        Ok(Lease {
            channel: channel.clone(),
            token: row::get(found, "lease_token")?,
            not_before: row::some_instant(found, "not_before")?,
            failures: row::get::<i32>(found, "failures")?.unsigned_abs(),
        })
    };
    rows.first().map(read).transpose()
}

const RENEW: &str = "\
-- renew_lease
UPDATE notification_channels SET lease_until = $3
 WHERE channel = $1 AND lease_token = $2 AND lease_until IS NOT NULL";

/// Keeps a lease; returns false if it was lost.
pub(super) async fn renew(client: &Object, lease: &Lease, until: Timestamp) -> Result<bool, StoreError> {
    let changed = execute(client, RENEW, &[&lease.channel.as_str(), &lease.token, &Stamp(until)]).await?;
    Ok(changed > 0)
}

const RELEASE: &str = "\
-- release_lease
UPDATE notification_channels SET lease_holder = NULL, lease_until = NULL WHERE channel = $1 AND lease_token = $2";

/// Gives a lease back.
pub(super) async fn release(client: &Object, lease: &Lease) -> Result<(), StoreError> {
    execute(client, RELEASE, &[&lease.channel.as_str(), &lease.token]).await.map(drop)
}

/// A lease that has run out is as good as lost: another holder may be about to take the same. One that holds is kept for
/// what is about to be sent, and nobody takes this one until the transaction has ended.
const HOLD: &str = "\
-- hold_lease
UPDATE notification_channels SET lease_until = greatest(lease_until, $4)
 WHERE channel = $1 AND lease_token = $2 AND lease_until > $3";

/// What waits only for others of its execution does not wait any longer once one of them is sent.
const TAKE: &str = concat!(
    "-- take_notifications
WITH first AS MATERIALIZED (
    SELECT o.notification_id, o.loud AND o.transition = ANY($5) AS joins, o.transition, o.execution_id, o.created_at
      FROM notification_outbox AS o
     WHERE o.channel = $1 AND o.outcome IS NULL AND o.not_before <= $2
       AND ",
    in_turn!(),
    "
     ORDER BY o.notification_id
     LIMIT 1),
together AS MATERIALIZED (
    SELECT others.notification_id
      FROM first AS f
     CROSS JOIN LATERAL (
        SELECT o.notification_id
          FROM notification_outbox AS o
         WHERE o.channel = $1 AND o.execution_id = f.execution_id
           AND o.transition = f.transition AND o.outcome IS NULL AND o.loud
           AND o.notification_id <> f.notification_id
           AND o.created_at >= f.created_at - $3::bigint * interval '1 second'
           AND o.created_at <= f.created_at + $3::bigint * interval '1 second'
           AND (o.not_before <= $2 OR NOT o.held)
           AND ",
    in_turn!(),
    "
         ORDER BY o.notification_id
         LIMIT $4) AS others
     WHERE f.joins)
UPDATE notification_outbox AS taken
   SET attempts = taken.attempts + 1
  FROM (SELECT notification_id FROM first UNION ALL SELECT notification_id FROM together) AS n
 WHERE taken.notification_id = n.notification_id
RETURNING taken.notification_id, taken.transition, taken.loud, taken.incident, taken.created_at,
          taken.attempts - 1 AS attempts, taken.held"
);

const CONTEXT: &str = "\
-- context_of_notification
SELECT (SELECT body FROM incidents WHERE incident_id = $1) AS body,
       EXISTS (SELECT FROM notification_outbox
                WHERE incident_id = $1 AND channel = $2 AND outcome = 'sent') AS told_before,
       (SELECT reference FROM notification_messages WHERE incident_id = $1 AND channel = $2) AS reference";

/// `OFFSET 0` keeps the planner from turning look-ups into a join, here as below: which reads a table through if that was
/// empty when it was planned.
const TELLS_OF: &str = "\
-- incidents_of_messages
SELECT m.reference, i.body
  FROM unnest($2::text[]) WITH ORDINALITY AS n (reference, place)
 CROSS JOIN LATERAL (
    SELECT reference, incident_id FROM notification_messages
     WHERE channel = $1 AND reference = n.reference OFFSET 0) AS m
 CROSS JOIN LATERAL (
    SELECT body, first_seen_at, incident_id FROM incidents WHERE incident_id = m.incident_id OFFSET 0) AS i
 ORDER BY n.place, i.first_seen_at, i.incident_id";

/// Returns what is to be sent next, and counts an attempt at it.
pub(super) async fn take(
    client: &Object,
    lease: &Lease,
    now: Timestamp,
    until: Timestamp,
    together: &[Transition],
) -> Result<Option<Delivery>, StoreError> {
    let (channel, now) = (lease.channel.as_str(), Stamp(now));
    if execute(client, HOLD, &[&channel, &lease.token, &now, &Stamp(until)]).await? == 0 {
        return Ok(None);
    }
    let others = sql_limit(limits::GROUPED_INCIDENTS - 1);
    let within = row::stored_count(limits::GROUPED_WITHIN_SECS);
    let together: Vec<&str> = together.iter().map(|transition| transition.as_str()).collect();
    let rows = query(client, TAKE, &[&channel, &now, &within, &others, &together]).await?;
    let mut notifications = rows.iter().map(notification).collect::<Result<Vec<_>, _>>()?;
    notifications.sort_by_key(|notification| notification.id);
    let Some(first) = notifications.first() else { return Ok(None) };
    let context = query(client, CONTEXT, &[&Bits::from(first.incident.id), &channel]).await?;
    let Some(context) = context.first() else { return Err(StoreError::Vanished) };
    let current = match row::get::<Option<&str>>(context, "body")? {
        Some(body) => row::json(body, "body")?,
        None => first.incident.clone(),
    };
    let told_before = row::get(context, "told_before")?;
    let posted = match row::get::<Option<String>>(context, "reference")? {
        Some(reference) => {
            messages(&query(client, TELLS_OF, &[&channel, &vec![reference]]).await?)?.into_iter().next()
        }
        None => None,
    };
    Ok(Some(Delivery { notifications, current, told_before, posted }))
}

fn notification(found: &Row) -> Result<Notification, StoreError> {
    let transition: &str = row::get(found, "transition")?;
    Ok(Notification {
        id: row::get(found, "notification_id")?,
        transition: Transition::parse(transition)
            .ok_or_else(|| StoreError::unreadable("transition", format!("{transition:?} is none")))?,
        loud: row::get(found, "loud")?,
        incident: row::incident(found, "incident")?,
        created_at: row::some_instant(found, "created_at")?,
        attempts: row::get::<i32>(found, "attempts")?.unsigned_abs(),
        held: row::get(found, "held")?,
    })
}

/// Puts the rows of [`TELLS_OF`] together, message by message.
fn messages(rows: &[Row]) -> Result<Vec<Posted>, StoreError> {
    let mut all: Vec<Posted> = Vec::new();
    for found in rows {
        let (reference, incident): (&str, Incident) =
            (row::get(found, "reference")?, row::incident(found, "body")?);
        match all.last_mut().filter(|last| last.reference == reference) {
            Some(last) => last.incidents.push(incident),
            None => all.push(Posted { reference: reference.to_owned(), incidents: vec![incident] }),
        }
    }
    Ok(all)
}

const NOTE_CHANNEL: &str = "\
-- note_channel
UPDATE notification_channels
   SET not_before = $3,
       failures = CASE WHEN $4 THEN 0 WHEN $5 THEN failures + 1 ELSE failures END,
       last_sent_at = CASE WHEN $4 THEN $6 ELSE last_sent_at END,
       fault_at = CASE WHEN $7::text IS NULL THEN fault_at ELSE $6 END,
       fault = coalesce($7, fault)
 WHERE channel = $1 AND lease_token = $2 AND lease_until IS NOT NULL";

/// The rest of the condition is such that no index holds it: on the first day, walking all that is pending looks as cheap
/// as looking up some of it.
const SET_ASIDE: &str = "\
-- set_aside
UPDATE notification_outbox
   SET settled_at = $3, outcome = $4, reason = $5
 WHERE notification_id = ANY($2) AND CASE WHEN settled_at IS NULL THEN channel = $1 ELSE false END
RETURNING incident_id, incident_changed_at";

/// What a message showed when it was posted is what the notification said: that it may have shown more costs an edit,
/// that it may have shown less must not be lost.
const NOTE_MESSAGE: &str = "\
-- note_message
INSERT INTO notification_messages (incident_id, channel, reference, shown_at, is_final)
VALUES ($1, $2, $3, $4,
        EXISTS (SELECT FROM incidents WHERE incident_id = $1 AND NOT is_current AND changed_at = $4))
    ON CONFLICT (incident_id, channel) DO UPDATE
   SET reference = excluded.reference, shown_at = excluded.shown_at, is_final = excluded.is_final";

const ADD_ACTION: &str = "\
-- add_action
INSERT INTO incident_entries (incident_id, at, what, note)
SELECT n.id, $2, $3, $4 FROM unnest($1::uuid[]) AS n (id)";

/// Says what became of a delivery; returns false, and changes nothing, if the lease was lost.
pub(super) async fn settle(
    client: &Object,
    lease: &Lease,
    settlement: &Settlement,
) -> Result<bool, StoreError> {
    let (channel, at, not_before) =
        (lease.channel.as_str(), Stamp(settlement.at), Stamp(settlement.not_before));
    let change = Change::of(settlement);
    let params: [&(dyn ToSql + Sync); 7] =
        [&channel, &lease.token, &not_before, &change.is_sent, &change.is_again, &at, &change.fault];
    let holds = execute(client, NOTE_CHANNEL, &params).await? > 0;
    let Some((outcome, reason)) = &change.outcome else { return Ok(holds) };
    if !holds {
        return Ok(false);
    }
    let rows = query(client, SET_ASIDE, &[&channel, &settlement.ids, &at, outcome, reason]).await?;
    let told = rows.iter().map(|found| {
        let id = IncidentId::from_bytes(row::get::<Bits>(found, "incident_id")?.0);
        Ok((id, row::some_instant(found, "incident_changed_at")?))
    });
    let told = distinct(told.collect::<Result<Vec<_>, StoreError>>()?);
    if let Some(reference) = &change.reference {
        for (id, shown_at) in &told {
            let message: [&(dyn ToSql + Sync); 4] =
                [&Bits::from(*id), &channel, reference, &Stamp(*shown_at)];
            execute(client, NOTE_MESSAGE, &message).await?;
        }
    }
    if let Some(HistoryEntry { at, what, note }) = &change.entry {
        let ids: Vec<Bits> = distinct(told.iter().map(|(id, _)| *id)).into_iter().map(Bits::from).collect();
        execute(client, ADD_ACTION, &[&ids, &Stamp(*at), what, note]).await?;
    }
    Ok(true)
}

/// What was shown is compared with what is by its time alone, in either direction: replicas stamp by one clock, and not in
/// one order.
const OUTDATED: &str = "\
-- outdated_messages
SELECT m.reference
  FROM notification_messages AS m
 CROSS JOIN LATERAL (
    SELECT changed_at FROM incidents WHERE incident_id = m.incident_id AND changed_at <> m.shown_at OFFSET 0) AS i
 WHERE m.channel = $1 AND NOT m.is_final
 GROUP BY m.reference
 ORDER BY min(i.changed_at), m.reference
 LIMIT $2";

/// Returns messages whose incidents have changed since, the longest outdated first.
pub(super) async fn outdated(
    pool: &ReadPool,
    channel: &ChannelName,
    limit: usize,
) -> Result<Vec<Posted>, RepositoryError> {
    const NAME: &str = "outdated_messages";
    let (channel, limit) = (channel.as_str(), sql_limit(limit));
    let rows = pool.query_in_order(NAME, OUTDATED, &[&channel, &limit]).await?;
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let references = rows.iter().map(|found| row::get(found, "reference"));
    let references = references.collect::<Result<Vec<String>, _>>();
    let references = references.map_err(|error| error.into_repository(NAME))?;
    let rows = pool.query_in_order(NAME, TELLS_OF, &[&channel, &references]).await?;
    messages(&rows).map_err(|error| error.into_repository(NAME))
}

const NOTE_RATE: &str = "\
-- note_rate
UPDATE notification_channels SET not_before = $3
 WHERE channel = $1 AND lease_token = $2 AND lease_until IS NOT NULL";

const NOTE_EDIT: &str = "\
-- note_edit
UPDATE notification_messages
   SET shown_at = $4,
       is_final = EXISTS (SELECT FROM incidents WHERE incident_id = $1 AND NOT is_current AND changed_at = $4)
 WHERE incident_id = $1 AND channel = $2 AND reference = $3";

/// Notes what a message shows; returns false if the lease was lost.
pub(super) async fn edited(
    client: &Object,
    lease: &Lease,
    posted: &Posted,
    not_before: Timestamp,
) -> Result<bool, StoreError> {
    let channel = lease.channel.as_str();
    if execute(client, NOTE_RATE, &[&channel, &lease.token, &Stamp(not_before)]).await? == 0 {
        return Ok(false);
    }
    for (id, shown_at) in distinct(posted.incidents.iter().map(|incident| (incident.id, incident.changed_at)))
    {
        let edit: [&(dyn ToSql + Sync); 4] = [&Bits::from(id), &channel, &posted.reference, &Stamp(shown_at)];
        execute(client, NOTE_EDIT, &edit).await?;
    }
    Ok(true)
}

const TOLD: &str = "\
-- told_openings
SELECT o.settled_at, i.fingerprint
  FROM notification_outbox AS o
 CROSS JOIN LATERAL (SELECT fingerprint FROM incidents WHERE incident_id = o.incident_id OFFSET 0) AS i
 WHERE o.channel = $1 AND o.outcome IN ('sent', 'refused') AND o.transition = 'opened' AND o.settled_at >= $2
 ORDER BY o.settled_at DESC
 LIMIT $3";

/// Returns when the channel was told of which openings, newest first.
pub(super) async fn told_since(
    pool: &ReadPool,
    channel: &ChannelName,
    since: Timestamp,
    limit: usize,
) -> Result<Vec<(Timestamp, Fingerprint)>, RepositoryError> {
    const NAME: &str = "told_openings";
    let params: [&(dyn ToSql + Sync); 3] = [&channel.as_str(), &Stamp(since), &sql_limit(limit)];
    let rows = pool.query_in_order(NAME, TOLD, &params).await?;
    let read = rows.iter().map(|found| {
        let cause = Fingerprint::from_bytes(row::get::<Bits>(found, "fingerprint")?.0);
        Ok((row::some_instant(found, "settled_at")?, cause))
    });
    read.collect::<Result<_, StoreError>>().map_err(|error| error.into_repository(NAME))
}

const CHANNELS: &str = "\
-- channels
SELECT n.channel, coalesce(p.pending, 0) AS pending, p.oldest,
       (SELECT count(*) FROM notification_outbox AS r
         WHERE r.channel = n.channel AND r.outcome = 'refused' AND r.settled_at > $1) AS refused,
       coalesce(c.failures, 0) AS failures, c.fault_at, c.fault, c.last_sent_at
  FROM (SELECT channel FROM notification_channels
         UNION SELECT channel FROM notification_outbox WHERE outcome IS NULL) AS n
  LEFT JOIN (SELECT channel, count(*) AS pending, min(not_before) AS oldest
               FROM notification_outbox WHERE outcome IS NULL GROUP BY channel) AS p ON p.channel = n.channel
  LEFT JOIN notification_channels AS c ON c.channel = n.channel
 ORDER BY n.channel";

/// How long a refusal shows.
const SHOWN: Micros = Micros::from_days(1);

/// Returns how all channels are.
pub(super) async fn channels(pool: &ReadPool, now: Timestamp) -> Result<Vec<ChannelState>, RepositoryError> {
    const NAME: &str = "channels";
    let rows = pool.query_in_order(NAME, CHANNELS, &[&Stamp(now - SHOWN)]).await?;
    let read = rows.iter().map(|found| {
        let fault = row::instant(found, "fault_at")?.zip(row::get::<Option<String>>(found, "fault")?);
        Ok(ChannelState {
            channel: ChannelName::from_stored(row::get(found, "channel")?),
            pending: row::count(found, "pending")?,
            oldest: row::instant(found, "oldest")?,
            refused: row::count(found, "refused")?,
            failures: row::get::<i32>(found, "failures")?.unsigned_abs(),
            last_fault: fault,
            last_sent_at: row::instant(found, "last_sent_at")?,
        })
    });
    read.collect::<Result<_, StoreError>>().map_err(|error| error.into_repository(NAME))
}

async fn query(
    client: &Object,
    sql: &'static str,
    params: &[&(dyn ToSql + Sync)],
) -> Result<Vec<Row>, StoreError> {
    let statement = client.prepare_cached(sql).await?;
    Ok(client.query(&statement, params).await?)
}

async fn execute(
    client: &Object,
    sql: &'static str,
    params: &[&(dyn ToSql + Sync)],
) -> Result<u64, StoreError> {
    let statement = client.prepare_cached(sql).await?;
    Ok(client.execute(&statement, params).await?)
}
