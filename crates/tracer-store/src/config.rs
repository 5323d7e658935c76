//! What a store needs to know to be opened.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tracer_core::clock::Clock;

/// How to open a store.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// Which store, and where.
    pub location: Location,
    /// Most connections to PostgreSQL, or reading connections to SQLite. At least 2.
    pub pool_size: usize,
    /// How long a request waits for a connection before it is told that the store is away.
    pub acquire_timeout: Duration,
    /// How commands become batches.
    pub writer: WriterConfig,
    /// The clock to stamp by; the store's own if none. Tests inject theirs.
    pub clock: Option<Arc<dyn Clock>>,
}

/// Where a store keeps what it is given.
#[derive(Clone, PartialEq, Eq)]
pub enum Location {
    /// PostgreSQL, by its connection URL or `key=value` string, which may hold a password.
    Postgres(String),
    /// SQLite in this file, made with its folder if it does not exist.
    Embedded(PathBuf),
    /// SQLite in memory: gone when the store is dropped.
    Memory,
}

/// How commands become batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriterConfig {
    /// Commands that may wait for a batch; one more is refused at once.
    pub queue: usize,
    /// Most commands in one batch.
    pub batch: usize,
}

impl StoreConfig {
    /// Returns the defaults for a location.
    #[must_use]
    pub fn at(location: Location) -> Self {
        Self {
            location,
            pool_size: 16,
            acquire_timeout: Duration::from_secs(2),
            writer: WriterConfig::default(),
            clock: None,
        }
    }
}

impl Default for WriterConfig {
    fn default() -> Self {
        Self { queue: 4096, batch: 512 }
    }
}

impl std::fmt::Debug for Location {
    /// Leaves the connection string out: it may hold a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Postgres(_) => f.write_str("Postgres([redacted])"),
            Self::Embedded(path) => f.debug_tuple("Embedded").field(path).finish(),
            Self::Memory => f.write_str("Memory"),
        }
    }
}
