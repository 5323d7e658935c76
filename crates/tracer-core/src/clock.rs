//! The seam for time.

use std::fmt::Debug;

use crate::time::Timestamp;

/// Tells the time.
///
/// Everything that stamps or compares asks one of these, so that replicas can share the database's
/// clock and tests can move time by hand.
pub trait Clock: Debug + Send + Sync {
    /// Returns the present instant.
    fn now(&self) -> Timestamp;
}
