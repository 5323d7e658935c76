//! What the chores start on this machine, and end again whatever becomes of them.
//!
//! Not here: what is measured or tried with it; each chore is a crate of its own.

pub mod cluster;
pub mod interrupt;
pub mod process;
pub mod service;
