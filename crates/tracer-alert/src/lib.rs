//! Looks at work that runs, without being asked, and tells people of what is found.
//!
//! Each task is an idempotent function without input, to be woken by a period: what it finds is in
//! the store, so that any replica may run it, and a restart changes nothing.
//!
//! Not here: what is too long (`tracer_core::detect`), or how often to look (`tracer-api`).

mod abandoned;
mod backoff;
mod dispatcher;
mod watchdog;

pub use abandoned::AbandonedExecutions;
pub use dispatcher::{Dispatcher, Outcome, OutcomeReport, Recipient, Restraint};
pub use watchdog::{Round, Verdict, Watchdog};
