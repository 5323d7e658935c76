//! The service over HTTP: real sockets, real SQL in memory, time moved by hand.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests, too")]

mod alerts;
mod alerts_killed;
mod errors;
mod eta;
mod failures;
mod fake_slack;
mod full_queue;
mod health;
mod helpers;
mod import;
mod in_flight;
mod incidents;
mod metrics;
mod openapi;
mod readme;
mod simulate;
mod stats;
mod steps;
mod watchdog;
mod workflows;
