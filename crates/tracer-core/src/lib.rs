//! The domain of Tracer: executions and steps, how long is normal, and what is a bottleneck.
//!
//! Values in, values out: no runtime, no driver, no socket, no clock of its own. The traits in
//! [`repository`] and [`clock`] are the seams that the outer crates implement.

pub mod baseline;
pub mod ids;
pub mod limits;
pub mod name;
pub mod time;
