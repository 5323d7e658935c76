//! placeholder

pub mod import;
