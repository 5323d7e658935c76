//! How many may listen to changes, and what is kept for them.

use std::time::Duration;

use serde::Deserialize;

use super::{Fault, values};

/// What live streams may cost.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LiveSettings {
    /// Most listeners at once.
    pub listeners: usize,
    /// Changes that are kept for whoever comes back.
    pub buffer: usize,
    /// How often a listener is sent a sign of life.
    #[serde(deserialize_with = "values::duration")]
    pub heartbeat: Duration,
}

impl LiveSettings {
    /// Checks every value.
    pub(super) fn check(&self) -> Result<(), Fault> {
        if self.listeners > 100_000 {
            return Err(("listeners".to_owned(), "must lie between 0 and 100000".to_owned()));
        }
        if !(1..=1_000_000).contains(&self.buffer) {
            return Err(("buffer".to_owned(), "must lie between 1 and 1000000".to_owned()));
        }
        if self.heartbeat < Duration::from_millis(10) || self.heartbeat > Duration::from_secs(3_600) {
            return Err(("heartbeat".to_owned(), "must lie between 10ms and 3600 s".to_owned()));
        }
        Ok(())
    }
}
