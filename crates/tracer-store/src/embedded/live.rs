//! The change feed of the store in one process: kept in memory, for a while.
//!
//! Numbers begin with the present in microseconds, so that a later process goes on above those of an earlier one:
//! whoever comes back with an old number is told that something was missed, and never led to a wrong place.
//!
//! Invariant: bounded by bytes, whoever follows; a batch is kept before it is answered.
//! Not here: what is a change (`tracer_core::record`).

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use tracer_core::limits;
use tracer_core::live::{Change, ChangeBatch, Follow, Heard};
use tracer_core::repository::RepositoryError;
use tracer_core::time::Timestamp;

/// How long one who follows waits at most.
const PERIOD: Duration = Duration::from_secs(1);
/// Most batches that are handed out at once.
const PORTION: usize = 256;

/// The newest changes.
#[derive(Debug)]
pub(super) struct Ring {
    kept: Mutex<Kept>,
    told: watch::Sender<()>,
    most_bytes: usize,
}

#[derive(Debug)]
struct Kept {
    /// The number of the next batch.
    next: u64,
    batches: VecDeque<(usize, Arc<ChangeBatch>)>,
    bytes: usize,
}

impl Ring {
    /// Makes an empty one.
    pub(super) fn new(now: Timestamp) -> Self {
        Self::bounded(now, limits::LIVE_MEMORY_BYTES)
    }

    fn bounded(now: Timestamp, most_bytes: usize) -> Self {
        let next = u64::try_from(now.as_micros()).unwrap_or(1).max(1);
        let kept = Kept { next, batches: VecDeque::new(), bytes: 0 };
        Self { kept: Mutex::new(kept), told: watch::Sender::new(()), most_bytes }
    }

    /// Keeps what a batch changed, and tells whoever follows.
    pub(super) fn push(&self, changes: Vec<Change>) {
        if changes.is_empty() {
            return;
        }
        let bytes = changes.iter().map(Change::weight).sum();
        {
            let mut kept = self.kept();
            let batch = Arc::new(ChangeBatch::new(kept.next, changes));
            kept.next += 1;
            kept.bytes += bytes;
            kept.batches.push_back((bytes, batch));
            while kept.bytes > self.most_bytes && kept.batches.len() > 1 {
                let gone = kept.batches.pop_front().map_or(0, |(bytes, _)| bytes);
                kept.bytes -= gone;
            }
        }
        self.told.send_replace(());
    }

    /// Begins to follow, with so many bytes of the past.
    pub(super) fn follow(self: &Arc<Self>, past_bytes: usize) -> Follower {
        let kept = self.kept();
        let mut bytes = 0;
        let past = kept.batches.iter().rev().take_while(|(more, _)| {
            bytes += more;
            bytes <= past_bytes
        });
        let next = past.last().map_or(kept.next, |(_, batch)| batch.id);
        Follower { ring: Arc::clone(self), told: self.told.subscribe(), next, is_new: true }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One who follows.
#[derive(Debug)]
pub(super) struct Follower {
    ring: Arc<Ring>,
    told: watch::Receiver<()>,
    /// The number of the next batch to hear of.
    next: u64,
    is_new: bool,
}

impl Follower {
    fn hear(&mut self) -> Heard {
        let kept = self.ring.kept();
        let first = kept.batches.front().map_or(kept.next, |(_, batch)| batch.id);
        let is_lost = self.next < first;
        self.next = self.next.max(first);
        let begins_after = (is_lost || self.is_new).then(|| self.next - 1);
        let place = kept.batches.partition_point(|(_, batch)| batch.id < self.next);
        let portion = kept.batches.range(place..).take(PORTION);
        let batches: Vec<_> = portion.map(|(_, batch)| Arc::clone(batch)).collect();
        let newest = kept.next - 1;
        drop(kept);
        self.next = batches.last().map_or(self.next, |batch| batch.id + 1);
        self.is_new = false;
        Heard { begins_after, batches, newest }
    }
}

#[async_trait]
impl Follow for Follower {
    async fn next(&mut self) -> Result<Heard, RepositoryError> {
        self.told.borrow_and_update();
        let heard = self.hear();
        if !heard.batches.is_empty() || heard.begins_after.is_some() {
            return Ok(heard);
        }
        // That nothing came for a while is heard too.
        drop(tokio::time::timeout(PERIOD, self.told.changed()).await);
        Ok(self.hear())
    }
}

#[cfg(test)]
mod tests {
    use tracer_core::ids::ExecutionId;
    use tracer_core::live::What;
    use tracer_core::test_util::fixtures::{NOON, workflow};

    use super::*;

    fn changes(number: usize) -> Vec<Change> {
        let what = What::ExecutionStarted { started_at: NOON };
        let change = Change {
            at: NOON,
            execution: Some(ExecutionId::from_bytes([1; 16])),
            workflow: workflow("etl"),
            what,
        };
        vec![change; number]
    }

    #[test]
    fn one_who_is_too_slow_misses_something_and_is_told() {
        let weight = changes(1).iter().map(Change::weight).sum::<usize>();
        let ring = Arc::new(Ring::bounded(NOON, weight * 10));
        let first = u64::try_from(NOON.as_micros()).unwrap();
        let mut slow = ring.follow(0);
        assert_eq!(slow.hear().begins_after, Some(first - 1));
        ring.push(changes(2));
        assert_eq!(slow.hear().batches.len(), 1);
        (0..7).for_each(|_| ring.push(changes(2)));
        let heard = slow.hear();
        // Of eight batches the last five are kept.
        assert_eq!((heard.begins_after, heard.batches.len()), (Some(first + 2), 5));
        assert_eq!(heard.newest, first + 7);
        assert_eq!(slow.hear(), Heard { newest: first + 7, ..Heard::default() });
    }

    #[test]
    fn one_batch_is_kept_however_large_it_is() {
        let ring = Arc::new(Ring::bounded(NOON, 10));
        ring.push(changes(5));
        ring.push(changes(7));
        let heard = ring.follow(usize::MAX).hear();
        assert_eq!(heard.batches.iter().map(|batch| batch.changes.len()).collect::<Vec<_>>(), [7]);
    }

    #[test]
    fn the_past_is_as_long_as_asked_for() {
        let weight = changes(1).iter().map(Change::weight).sum::<usize>();
        let ring = Arc::new(Ring::new(NOON));
        (0..10).for_each(|_| ring.push(changes(1)));
        for (bytes, batches) in [(0, 0), (weight, 1), (weight * 3 + 1, 3), (weight * 100, 10)] {
            assert_eq!(ring.follow(bytes).hear().batches.len(), batches, "{bytes}");
        }
    }
}
