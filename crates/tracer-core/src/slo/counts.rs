//! What stores keep of objectives: counts in slots of a minute and of an hour.
//!
//! Minutes are kept for the windows of up to six hours, hours for the longer ones, so that what an objective costs does
//! not depend on how much happens: at most 420 and 2,184 rows.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{Definition, Sli, Slo, SloName, Window};
use crate::ids::ExecutionId;
use crate::repository::RepositoryError;
use crate::time::{Micros, Timestamp};

/// How long slots of a minute are kept: the longest window that is made of them, and an hour for clocks.
pub const MINUTES_KEPT: Micros = Micros::from_secs(7 * 3_600);
/// How long slots of an hour are kept: the longest window, and a day.
pub const HOURS_KEPT: Micros = Micros::from_days(91);

/// How long a slot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resolution {
    /// A minute.
    Minute,
    /// An hour.
    Hour,
}

impl Resolution {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Minute, Self::Hour];

    /// Returns how many minutes a slot has, which is how it is stored.
    #[must_use]
    pub const fn minutes(self) -> i16 {
        match self {
            Self::Minute => 1,
            Self::Hour => 60,
        }
    }

    /// Returns the start of the slot that a moment is in.
    #[must_use]
    pub const fn start_of(self, at: Timestamp) -> Timestamp {
        let length = self.minutes() as i64 * 60_000_000;
        Timestamp::from_micros(at.as_micros() - at.as_micros().rem_euclid(length))
    }

    /// Returns how long its slots are kept.
    #[must_use]
    pub const fn kept(self) -> Micros {
        match self {
            Self::Minute => MINUTES_KEPT,
            Self::Hour => HOURS_KEPT,
        }
    }
}

/// A stretch of time in which events of an objective are counted together. Their order is that in which rows are written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot {
    /// The objective.
    pub slo: SloName,
    /// What it counts.
    pub definition: Definition,
    /// How long the slot is.
    pub resolution: Resolution,
    /// When it begins.
    pub at: Timestamp,
}

/// What a batch adds to a slot. Below zero where something is taken back that was counted before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlotCount {
    /// Executions that ended, but were not called off.
    pub events: i64,
    /// Those of them that did not complete.
    pub failed: i64,
    /// Those that completed, but took longer than the target.
    pub slow: i64,
    /// The last one that did not complete.
    pub last_failed: Option<ExecutionId>,
    /// The last one that took too long.
    pub last_slow: Option<ExecutionId>,
}

impl SlotCount {
    /// Adds what came later.
    pub fn add(&mut self, later: Self) {
        self.events += later.events;
        self.failed += later.failed;
        self.slow += later.slow;
        self.last_failed = later.last_failed.or(self.last_failed);
        self.last_slow = later.last_slow.or(self.last_slow);
    }
}

/// What an execution that was closed by silence was counted as, so that its end, if it comes after all, can take that back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimedOut {
    /// When it was taken to have ended.
    pub at: Timestamp,
    /// The definitions of the objectives that counted it.
    pub counted_by: Vec<Definition>,
}

/// Returns the slots of an objective that an event at `at` is counted in at `now`: none that no window reaches any more.
pub fn slots_of(slo: &Slo, at: Timestamp, now: Timestamp) -> impl Iterator<Item = Slot> {
    let own = slo.spec().window;
    let reach = move |resolution: Resolution| {
        let windows = Window::ALL.into_iter().map(|window| window.slots(own, now));
        windows.filter(|(of, _)| *of == resolution).map(|(_, from)| from).min()
    };
    let (name, definition) = (slo.name().clone(), slo.definition());
    Resolution::ALL.into_iter().filter_map(move |resolution| {
        let start = resolution.start_of(at);
        let reached = reach(resolution).is_some_and(|from| from <= start);
        reached.then(|| Slot { slo: name.clone(), definition, resolution, at: start })
    })
}

/// The slots of an objective from a moment on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotRange {
    /// The objective.
    pub slo: SloName,
    /// What it counts.
    pub definition: Definition,
    /// How long the slots are.
    pub resolution: Resolution,
    /// When the first one begins.
    pub from: Timestamp,
}

/// What was counted in a range of slots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlotSums {
    /// Executions that ended, but were not called off.
    pub events: u64,
    /// Those of them that did not complete.
    pub failed: u64,
    /// Those that completed, but took longer than the target.
    pub slow: u64,
    /// One of the last slot's that did not complete.
    pub last_failed: Option<ExecutionId>,
    /// One of the last slot's that took too long.
    pub last_slow: Option<ExecutionId>,
}

impl SlotSums {
    /// Returns the events of an indicator, those that were bad, and the last of these.
    #[must_use]
    pub const fn of(&self, sli: Sli) -> (u64, u64, Option<ExecutionId>) {
        match sli {
            Sli::Availability => (self.events, self.failed, self.last_failed),
            Sli::Latency => (self.events.saturating_sub(self.failed), self.slow, self.last_slow),
        }
    }
}

/// Tells what was counted. It is counted by commands only (`record`).
#[async_trait]
pub trait SloRepository: Send + Sync {
    /// Returns what was counted in each of these ranges, in their order.
    async fn slo_counts(&self, ranges: &[SlotRange]) -> Result<Vec<SlotSums>, RepositoryError>;
}

/// Adds a count to those of a batch.
pub(crate) fn add(counts: &mut BTreeMap<Slot, SlotCount>, slot: Slot, count: SlotCount) {
    counts.entry(slot).or_default().add(count);
}
