//! Builds one of the programs that measure, optimised, and hands over to it.
//!
//! Each is a crate of its own: it must not be a debug build, which would take the processor from what it
//! measures or make it slow, and what it needs would make every other chore wait for it to compile.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context, Result};
use clap::Args;

use crate::sources;

/// What is handed over.
#[derive(Debug, Args)]
pub(crate) struct Tool {
    /// What to measure and how: `--help` says more.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

/// Becomes `cargo run` of a package, with these arguments first, so that signals reach it as they would reach this.
pub(crate) fn run(package: &str, first: &[&str], tool: &Tool) -> Result<()> {
    let manifest = sources::root()?.join("Cargo.toml");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let error = Command::new(cargo)
        .args(["run", "--quiet", "--profile", "tool", "--package", package, "--manifest-path"])
        .arg(manifest)
        .arg("--")
        .args(first)
        .args(&tool.arguments)
        .exec();
    Err(error).context("cargo cannot be run")
}
