//! The stretches of time over which events are summed up.

use super::counts::Resolution;
use crate::time::{Micros, Timestamp};

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;

/// The longest window that an objective may have.
pub const LONGEST: Micros = Micros::from_days(90);

/// A stretch of time that ends now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Window {
    /// Five minutes.
    M5,
    /// Half an hour.
    M30,
    /// An hour.
    H1,
    /// Six hours.
    H6,
    /// Three days.
    D3,
    /// The objective's own, over which its budget is reckoned.
    Budget,
}

impl Window {
    /// All of them, the objective's own last.
    pub const ALL: [Self; 6] = [Self::M5, Self::M30, Self::H1, Self::H6, Self::D3, Self::Budget];

    /// Returns its name, as labels and answers have it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::M5 => "5m",
            Self::M30 => "30m",
            Self::H1 => "1h",
            Self::H6 => "6h",
            Self::D3 => "3d",
            Self::Budget => "budget",
        }
    }

    /// Returns how long it is, for an objective whose own window is this long.
    #[must_use]
    pub const fn length(self, own: Micros) -> Micros {
        match self {
            Self::M5 => Micros::from_secs(5 * MINUTE),
            Self::M30 => Micros::from_secs(30 * MINUTE),
            Self::H1 => Micros::from_secs(HOUR),
            Self::H6 => Micros::from_secs(6 * HOUR),
            Self::D3 => Micros::from_days(3),
            Self::Budget => own,
        }
    }

    /// Returns the slots that it is summed up from, and the start of the first one.
    ///
    /// A window is as long as it says and up to one slot longer: the slot in which it begins counts whole.
    #[must_use]
    pub fn slots(self, own: Micros, now: Timestamp) -> (Resolution, Timestamp) {
        let length = self.length(own);
        let resolution = if length <= Self::H6.length(own) { Resolution::Minute } else { Resolution::Hour };
        (resolution, resolution.start_of(now - length))
    }
}
