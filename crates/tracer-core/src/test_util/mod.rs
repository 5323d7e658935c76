//! What tests share: a clock that is moved by hand, fixtures, and the suite that every store passes.

pub mod contract;
mod fake_clock;
pub mod fixtures;

pub use fake_clock::FakeClock;
