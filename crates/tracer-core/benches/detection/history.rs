//! Histories of one step, recorded sample by sample as a service would.

use tracer_core::baseline::{Baseline, SEGMENTS_READ, Segment, WINDOW_DAYS};
use tracer_core::time::{Day, Micros, Timestamp};

/// The newest day of every history here.
pub(crate) const TODAY: Day = Day(20_000);
/// Samples in a day: one every five minutes.
const SAMPLES_A_DAY: u64 = 288;

/// A baseline with the closed days that a store holds of it.
#[derive(Clone)]
pub(crate) struct History {
    pub(crate) baseline: Baseline,
    pub(crate) segments: Vec<Segment>,
    seed: u64,
}

impl History {
    /// Returns a history with samples on every day of the window, today included.
    pub(crate) fn of_a_full_window() -> Self {
        let mut history = Self { baseline: Baseline::empty(), segments: Vec::new(), seed: 1 };
        let first = TODAY.0 - i32::try_from(WINDOW_DAYS).unwrap() + 1;
        for day in first..=TODAY.0 {
            for sample in 0..SAMPLES_A_DAY {
                let at = Day(day).start() + Micros::from_secs(sample * 300);
                let duration = history.duration();
                let segments = &mut history.segments;
                // The vector holds what is stored: it is changed by the very same call.
                drop(history.baseline.record(at, duration, None, segments));
            }
        }
        assert!(history.segments.len() < SEGMENTS_READ);
        history
    }

    /// Returns the same history in the middle of a slowdown, which froze its reference.
    pub(crate) fn of_a_slowdown() -> Self {
        let mut history = Self::of_a_full_window();
        for _ in 0..30 {
            let limit = Some(Micros::from_secs(1));
            let segments = &mut history.segments;
            drop(history.baseline.record(now(), Micros::from_secs(5), limit, segments));
        }
        assert!(history.baseline.frozen_since().is_some());
        history
    }

    /// Returns 100 to 400 ms, short ones more often, by a generator that always begins the same (Knuth,
    /// MMIX).
    fn duration(&mut self) -> Micros {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let uniform = (self.seed >> 33) % 1_000;
        Micros::new(100_000 + uniform * uniform * 3 / 10)
    }
}

/// Returns when the next sample ends: after all others, and on the same day as the last ones.
pub(crate) fn now() -> Timestamp {
    TODAY.start() + Micros::from_secs(SAMPLES_A_DAY * 300 - 1)
}
