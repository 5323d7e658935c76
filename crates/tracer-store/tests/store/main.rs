//! What every store must do, and what each of them does besides.

#![expect(clippy::expect_used, reason = "what is expected and missing fails the test")]

mod contract;
mod crash;
