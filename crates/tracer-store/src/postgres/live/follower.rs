//! One who follows: reads the rows in the order of their numbers, and waits where one is missing.
//!
//! A number below one that is visible may belong to a transaction that still runs. It had its own id before it took the
//! number, so that the next id to be given is above it: the reader takes one itself when it sees the gap. (The end of a
//! snapshot, `pg_snapshot_xmax`, would not do: transactions that run may lie above it.) Once every transaction up to
//! that id is over and the row is still not there, it was rolled back, and reading goes on. Some other transaction of the server may run for hours: after half a minute
//! the gap is given up, and whoever listens is told that something may be missing.
//!
//! Invariant: batches come in the order of their numbers, each once; what is not certain to be all of it begins with
//! [`Heard::begins_after`].

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_postgres::{Client, Row};
use tracer_core::live::{Change, ChangeBatch, Follow, Heard};
use tracer_core::repository::RepositoryError;

use super::{CHANNEL, Live};
use crate::postgres::error::StoreError;
use crate::postgres::pool::Connector;
use crate::postgres::row::{self, Bits};

/// How long nothing is asked without a hint.
const PERIOD: Duration = Duration::from_secs(1);
/// How soon a missing number is looked for again.
const GAP_PERIOD: Duration = Duration::from_millis(5);
/// The part of the time that it has been missing for, as a divisor, and the longest.
const GAP_SHARE: u32 = 4;
const LONGEST_GAP_PERIOD: Duration = Duration::from_millis(250);
/// How long one is waited for: three times what a batch may take.
const GAP_PATIENCE: Duration = Duration::from_secs(30);
/// Longest time for one question.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Rows read at once.
const PORTION: i64 = 128;

const STATE: &str = "\
-- live_state
INSERT INTO live_state DEFAULT VALUES ON CONFLICT DO NOTHING";

const BEGIN: &str = "\
-- begin_following
SELECT (SELECT min(change_id)
          FROM (SELECT change_id, sum(bytes) OVER (ORDER BY change_id DESC) AS total FROM live_changes) AS kept
         WHERE total <= $1) AS first,
       (SELECT max(change_id) FROM live_changes) AS last,
       (SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM live_change_ids) AS given,
       epoch, trimmed
  FROM live_state";

const READ: &str = "\
-- read_changes
SELECT s.epoch, s.trimmed, pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS oldest, c.change_id, c.body
  FROM live_state AS s
  LEFT JOIN LATERAL (
    SELECT change_id, body FROM live_changes WHERE change_id >= $1 ORDER BY change_id LIMIT $2) AS c ON true
 ORDER BY c.change_id";

const TAKE_ID: &str = "\
-- take_transaction_id
SELECT pg_current_xact_id()::text::bigint AS given";

/// One who follows.
pub(in crate::postgres) struct Follower {
    connector: Connector,
    past_bytes: usize,
    written: watch::Receiver<()>,
    live: Live,
    session: Option<Session>,
    place: Option<Place>,
    newest: u64,
    /// Whether there may be more to read at once.
    more: bool,
}

/// A session that listens.
struct Session {
    client: Client,
    notified: watch::Receiver<()>,
}

/// Where reading has got to.
#[derive(Debug)]
struct Place {
    epoch: Bits,
    /// The number of the next batch.
    next: i64,
    gap: Option<Gap>,
}

/// A number that is missing: the next one.
#[derive(Clone, Copy, Debug)]
struct Gap {
    /// The id of a transaction that began when it was seen.
    given: i64,
    since: Instant,
}

/// One look at the table.
struct Look {
    epoch: Bits,
    trimmed: i64,
    /// The oldest transaction that may still run.
    oldest: i64,
    rows: VecDeque<(i64, Vec<u8>)>,
}

/// Makes the one row, if a crash or nobody yet has left none.
///
/// # Errors
/// The database's.
pub(super) async fn ensure_state(client: &Client) -> Result<(), StoreError> {
    client.execute(STATE, &[]).await?;
    Ok(())
}

impl Follower {
    pub(super) fn new(connector: Connector, live: Live, past_bytes: usize) -> Self {
        let written = live.written.subscribe();
        let (session, place) = (None, None);
        Self { connector, past_bytes, written, live, session, place, newest: 0, more: true }
    }

    async fn hear(&mut self) -> Result<Heard, StoreError> {
        self.wait().await;
        let session = match self.session.take() {
            Some(session) if !session.client.is_closed() => session,
            Some(_) | None => self.connect().await?,
        };
        let asked = tokio::time::timeout(TIMEOUT, self.ask(&session)).await;
        let heard = asked.unwrap_or(Err(StoreError::TooLong))?;
        self.session = Some(session);
        Ok(heard)
    }

    /// Waits until there may be something new.
    async fn wait(&mut self) {
        let Some(session) = self.session.as_mut().filter(|_| !self.more) else { return };
        let gap = self.place.as_ref().and_then(|place| place.gap);
        let period =
            gap.map_or(PERIOD, |gap| (gap.since.elapsed() / GAP_SHARE).clamp(GAP_PERIOD, LONGEST_GAP_PERIOD));
        let (written, notified) = (self.written.changed(), session.notified.changed());
        let hint = async {
            tokio::select! {
                _ = written => {}
                _ = notified => {}
            }
        };
        // Which of them it was does not matter: it is looked all the same.
        drop(tokio::time::timeout(period, hint).await);
    }

    async fn connect(&self) -> Result<Session, StoreError> {
        let (told, notified) = watch::channel(());
        let own = self.live.origin.clone();
        let hint = move |from: &str| {
            if from != own {
                told.send_replace(());
            }
        };
        let client = self.connector.connect_listening(hint).await?;
        client.batch_execute(&format!("LISTEN {CHANNEL}")).await?;
        Ok(Session { client, notified })
    }

    async fn ask(&mut self, session: &Session) -> Result<Heard, StoreError> {
        self.written.mark_unchanged();
        let Some(place) = &mut self.place else { return self.begin(&session.client).await };
        let rows = session.client.query(READ, &[&place.next, &PORTION]).await?;
        let look = match look(&rows)? {
            Some(look) if look.epoch == place.epoch && look.trimmed < place.next => look,
            // A crash has emptied the table, or what comes next was removed unread.
            Some(_) | None => return self.begin(&session.client).await,
        };
        self.newest = self.newest.max(look.rows.back().map_or(0, |(id, _)| id.unsigned_abs()));
        self.more = i64::try_from(look.rows.len()) == Ok(PORTION);
        let give_up = place.gap.is_some_and(|gap| gap.since.elapsed() > GAP_PATIENCE);
        let Taken { batches, begins_after, new_gap } = take(place, look, give_up);
        self.more &= place.gap.is_none();
        if new_gap {
            let row = session.client.query_one(TAKE_ID, &[]).await?;
            place.gap = Some(Gap { given: row::get(&row, "given")?, since: Instant::now() });
            // It may have been filled meanwhile.
            self.more = true;
        }
        Ok(Heard { begins_after, batches, newest: self.newest })
    }

    /// Finds where to begin, and says so.
    async fn begin(&mut self, client: &Client) -> Result<Heard, StoreError> {
        ensure_state(client).await?;
        let past = i64::try_from(self.past_bytes).unwrap_or(i64::MAX);
        let row = client.query_one(BEGIN, &[&past]).await?;
        let trimmed: i64 = row::get(&row, "trimmed")?;
        let last: Option<i64> = row::get(&row, "last")?;
        let given: i64 = row::get(&row, "given")?;
        let (next, begins_after) = match (row::get::<Option<i64>>(&row, "first")?, last) {
            (Some(first), _) => (first, first - 1),
            (None, Some(last)) => (last + 1, last),
            // Which numbers were given before and are gone nobody knows: none of them is a place to go on from.
            (None, None) => (trimmed + 1, trimmed.max(given)),
        };
        self.newest = last.unwrap_or(begins_after).unsigned_abs();
        self.place = Some(Place { epoch: row::get(&row, "epoch")?, next, gap: None });
        self.more = true;
        Ok(Heard {
            begins_after: Some(begins_after.unsigned_abs()),
            batches: Vec::new(),
            newest: self.newest,
        })
    }
}

#[async_trait]
impl Follow for Follower {
    async fn next(&mut self) -> Result<Heard, RepositoryError> {
        self.hear().await.map_err(|error| error.into_repository("following changes"))
    }
}

fn look(rows: &[Row]) -> Result<Option<Look>, StoreError> {
    let Some(first) = rows.first() else { return Ok(None) };
    let mut found = VecDeque::with_capacity(rows.len());
    for row in rows {
        if let Some(id) = row::get::<Option<i64>>(row, "change_id")? {
            found.push_back((id, row::get(row, "body")?));
        }
    }
    Ok(Some(Look {
        epoch: row::get(first, "epoch")?,
        trimmed: row::get(first, "trimmed")?,
        oldest: row::get(first, "oldest")?,
        rows: found,
    }))
}

/// What a look gave.
struct Taken {
    batches: Vec<Arc<ChangeBatch>>,
    /// The batch up to which something may be missing for good.
    begins_after: Option<u64>,
    /// Whether a number is missing that was not known to be.
    new_gap: bool,
}

/// Takes the rows up to one that is missing.
fn take(place: &mut Place, look: Look, give_up: bool) -> Taken {
    let mut taken =
        Taken { batches: Vec::with_capacity(look.rows.len()), begins_after: None, new_gap: false };
    for (id, body) in look.rows {
        if id > place.next {
            let Some(gap) = place.gap else {
                taken.new_gap = true;
                break;
            };
            if look.oldest <= gap.given {
                if !give_up {
                    break;
                }
                taken.begins_after = Some((id - 1).unsigned_abs());
                taken.batches.clear();
            }
        }
        place.gap = None;
        place.next = id + 1;
        taken.batches.push(Arc::new(ChangeBatch { id: id.unsigned_abs(), changes: decode(&body) }));
    }
    taken
}

/// Reads the changes of a row; those that a newer version wrote and this one does not know are left out.
fn decode(body: &[u8]) -> Vec<(u32, Change)> {
    if let Ok(changes) = serde_json::from_slice::<Vec<Change>>(body) {
        return (0..).zip(changes).collect();
    }
    let all: Vec<serde_json::Value> = serde_json::from_slice(body).unwrap_or_default();
    (0..).zip(all).filter_map(|(place, value)| Some((place, serde_json::from_value(value).ok()?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look_at(ids: &[i64], oldest: i64) -> Look {
        let rows = ids.iter().map(|id| (*id, b"[]".to_vec())).collect();
        Look { epoch: Bits([0; 16]), trimmed: 0, oldest, rows }
    }

    /// Returns what a look gives; a gap that it shows is noted under `given`.
    fn seen(place: &mut Place, ids: &[i64], oldest: i64, given: i64) -> String {
        let taken = take(place, look_at(ids, oldest), false);
        assert_eq!(taken.begins_after, None);
        if taken.new_gap {
            place.gap = Some(Gap { given, since: Instant::now() });
        }
        taken.batches.iter().map(|batch| batch.id.to_string()).collect::<Vec<_>>().join(" ")
    }

    fn at(next: i64) -> Place {
        Place { epoch: Bits([0; 16]), next, gap: None }
    }

    #[test]
    fn what_is_missing_is_waited_for_until_it_is_there() {
        let mut place = at(5);
        assert_eq!(seen(&mut place, &[5, 6, 8, 9], 100, 110), "5 6");
        assert_eq!(seen(&mut place, &[8, 9, 10], 100, 120), "");
        assert_eq!(seen(&mut place, &[7, 8, 9, 10], 100, 130), "7 8 9 10");
        assert!(place.gap.is_none() && place.next == 11);
    }

    #[test]
    fn what_is_missing_is_passed_over_once_all_that_ran_then_is_over() {
        let mut place = at(5);
        // Nothing older runs by the snapshot, and yet what holds 5 may be above its end.
        assert_eq!(seen(&mut place, &[7], 110, 110), "");
        assert_eq!(seen(&mut place, &[7, 8], 110, 120), "", "transaction 109 or 110 may have taken 5 or 6");
        assert_eq!(seen(&mut place, &[7, 8], 111, 130), "7 8");
    }

    #[test]
    fn a_gap_in_which_something_shows_is_still_one() {
        let mut place = at(5);
        assert_eq!(seen(&mut place, &[9], 100, 110), "");
        assert_eq!(seen(&mut place, &[5, 9], 100, 120), "5");
        assert_eq!(seen(&mut place, &[9], 115, 130), "", "it was seen anew, when 120 was given");
        assert_eq!(seen(&mut place, &[9], 121, 130), "9");
    }

    #[test]
    fn a_gap_that_lasts_is_given_up_and_said_so() {
        let mut place = at(5);
        assert_eq!(seen(&mut place, &[7], 100, 110), "");
        let taken = take(&mut place, look_at(&[7, 8], 100), true);
        assert_eq!((taken.batches.len(), taken.begins_after), (2, Some(6)));
    }

    #[test]
    fn what_a_newer_version_writes_is_left_out_and_keeps_its_place() {
        let known = r#"{"t":5,"x":"wf_00000000000000000000000000000001","w":"etl","c":{"ws":{"b":5}}}"#;
        let body = format!("[{known},{{\"t\":5,\"c\":{{\"later\":1}}}},{known}]");
        let places: Vec<u32> = decode(body.as_bytes()).iter().map(|(place, _)| *place).collect();
        assert_eq!(places, [0, 2]);
        assert_eq!(decode(b"nonsense"), []);
    }
}
