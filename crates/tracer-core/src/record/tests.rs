//! The rules of recording, with values alone.
//!
//! Invariant: every command goes through the five steps that a store takes ([`Shelf`](crate::test_util::Shelf)).
//! Not here: what all stores must do besides (`test_util::contract`).

mod alerting;
mod needs;
mod rules;
mod splits;
