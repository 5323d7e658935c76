//! What tests need from this crate: databases of their own.
//!
//! Invariant: compiled only with the feature `test-util`, which nothing shipped enables.
//! Not here: fakes of the seams and the contract every store keeps; those are in `tracer_core::test_util`.

pub mod postgres;
