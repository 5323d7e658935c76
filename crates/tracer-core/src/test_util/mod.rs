//! What tests share: a clock that is moved by hand, fixtures, and the suite that every store passes.

mod fake_clock;

pub use fake_clock::FakeClock;
