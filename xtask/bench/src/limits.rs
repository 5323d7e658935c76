//! What the machine can do at best, measured in the same run as what the service does.
//!
//! Not here: comparing the two (`rest` and its like).

pub(crate) mod http;
pub(crate) mod postgres;
pub(crate) mod sqlite;

/// Rows written at once to learn how fast rows can be written.
const BULK_ROWS: usize = 200_000;

/// Commits timed one after the other.
const LONE_COMMITS: usize = 500;
