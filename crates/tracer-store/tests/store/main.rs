//! What every store must do, and what each of them does besides.

#![expect(clippy::expect_used, reason = "what is expected and missing fails the test")]

mod contract;
mod crash;
mod migrations_postgres;
mod outage_postgres;
mod plans;
mod replicas;
mod tls;
