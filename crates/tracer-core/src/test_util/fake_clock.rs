//! A clock that stands still until a test moves it.

use std::sync::atomic::{AtomicI64, Ordering};

use crate::clock::Clock;
use crate::time::{Micros, Timestamp};

/// A clock moved by hand.
#[derive(Debug)]
pub struct FakeClock(AtomicI64);

impl FakeClock {
    /// Returns a clock that shows `now`.
    #[must_use]
    pub fn at(now: Timestamp) -> Self {
        Self(AtomicI64::new(now.as_micros()))
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Micros) {
        self.0.fetch_add(i64::try_from(by.get()).unwrap_or(i64::MAX), Ordering::SeqCst);
    }

    /// Moves the clock back, as a clock that was set does.
    pub fn step_back(&self, by: Micros) {
        self.0.fetch_sub(i64::try_from(by.get()).unwrap_or(i64::MAX), Ordering::SeqCst);
    }
}

impl Default for FakeClock {
    /// Returns a clock that shows 2026-01-31T12:00:00Z.
    fn default() -> Self {
        Self::at(Timestamp::from_millis(1_769_860_800_000))
    }
}

impl Clock for FakeClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::SeqCst))
    }
}
