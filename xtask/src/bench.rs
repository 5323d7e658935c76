//! Builds the program that measures, optimised, and hands over to it.
//!
//! It is a crate of its own: it must not be a debug build, which would take the processor from what it
//! measures, and its drivers would make every other chore wait for them to compile.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context, Result};
use clap::Args;

use crate::sources;

/// What is handed over.
#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// What to measure and how: `cargo xtask bench --help`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

/// Becomes `cargo run` of the measuring program, so that signals reach it as they would reach this.
pub(crate) fn run(bench: &Bench) -> Result<()> {
    let manifest = sources::root()?.join("Cargo.toml");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let error = Command::new(cargo)
        .args(["run", "--quiet", "--profile", "tool", "--package", "xtask-bench", "--manifest-path"])
        .arg(manifest)
        .arg("--")
        .args(&bench.arguments)
        .exec();
    Err(error).context("cargo cannot be run")
}
