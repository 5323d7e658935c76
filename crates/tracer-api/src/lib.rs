//! The Tracer service: everything behind the command line.
//!
//! `app` wires the parts together and is the only file that names concrete types; `http` is what clients meet.

pub mod alerting;
pub mod app;
pub mod auth;
pub mod background;
pub mod config;
pub mod error;
pub mod export;
mod fitting;
pub mod healthcheck;
pub mod http;
pub mod import;
pub mod labels;
pub mod live;
pub mod metrics;
mod notify_test;
pub mod otlp;
pub mod policy;
pub mod rate_limit;
pub mod recording;
pub mod shutdown;
pub mod simulation;
pub mod slo;
pub mod state;
pub mod tail;
pub mod telemetry;
