//! The domain of Tracer: executions and steps, how long is normal, and what is a bottleneck.
//!
//! Values in, values out: no runtime, no driver, no socket, no clock of its own. The traits in
//! [`repository`] and [`clock`] are the seams that the outer crates implement; [`record`] is what
//! every store does with a batch of commands.

pub mod attributes;
pub mod baseline;
pub mod chain;
pub mod clock;
pub mod cohort;
pub mod detect;
pub mod eta;
pub mod event;
pub mod execution;
pub mod failure;
pub mod failures;
pub mod features;
pub mod ids;
pub mod incident;
pub mod limits;
pub mod live;
pub mod name;
pub mod notify;
pub mod outbox;
pub mod payload;
pub mod record;
pub mod repository;
pub mod routing;
pub mod services;
pub mod similarity;
pub mod slo;
pub mod span;
pub mod step;
#[cfg(any(test, feature = "test-util"))]
pub mod test_util;
pub mod time;
pub mod trace;
