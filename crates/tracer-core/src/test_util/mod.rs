//! What tests share: a clock that is moved by hand, fixtures, the least of all stores, and the suite that
//! every real one passes.

pub mod contract;
mod fake_clock;
pub mod fixtures;
mod shelf;

pub use fake_clock::FakeClock;
pub use shelf::Shelf;
