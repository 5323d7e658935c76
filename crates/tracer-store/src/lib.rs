//! Durable storage: PostgreSQL and embedded SQLite behind the repositories of `tracer-core`.
//!
//! Both stores are the same five steps around `tracer_core::record::apply` (load, load baselines,
//! decide, save, commit), fed by one writer that gathers commands into batches. What a store
//! must do is defined by the contract suite in `tracer_core::test_util`; behaviour outside of it is
//! accidental.
//!
//! Not here: what a command means (`tracer_core::record`), and who asks for it (`tracer-api`).

mod clock;
mod config;
mod embedded;
mod error;
mod heard;
mod metrics;
mod postgres;
mod room;
mod settling;
#[cfg(feature = "test-util")]
pub mod test_util;
mod writer;

use std::sync::Arc;

use tracer_core::detect::Policy;
use tracer_core::repository::Repository;

pub use clock::SystemClock;
pub use config::{Location, StoreConfig, WriterConfig};
pub use error::OpenError;
pub use metrics::{DURATION_METRICS, describe};

/// Opens the store, makes or migrates its tables, and starts its writer.
///
/// Must be called within a Tokio runtime, which the store's tasks go on to use.
///
/// # Errors
/// [`OpenError`] says what stands in the way and what to do about it.
pub async fn open(config: &StoreConfig, policy: Arc<Policy>) -> Result<Arc<dyn Repository>, OpenError> {
    match &config.location {
        Location::Postgres(url) => postgres::open(url, config, policy).await,
        Location::Embedded(_) | Location::Memory => embedded::open(config, policy).await,
    }
}
