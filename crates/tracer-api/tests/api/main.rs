//! The service over HTTP: real sockets, real SQL in memory, time moved by hand.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests, too")]

mod alertmanager;
mod alerts;
mod alerts_killed;
mod errors;
mod eta;
mod events;
mod export;
mod failures;
mod fake_collector;
mod fake_slack;
mod full_queue;
mod health;
mod healthcheck;
mod helpers;
mod import;
mod in_flight;
mod incidents;
mod jaeger;
mod live;
mod metrics;
mod openapi;
mod otlp;
mod readme;
mod simulate;
mod slo;
mod socket;
mod stats;
mod steps;
mod tail;
mod watchdog;
mod workflows;
