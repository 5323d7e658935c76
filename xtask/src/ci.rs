//! What must pass besides the tests, in the order in which it fails fastest.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::{sources, tidy};

/// Runs every check; the first that fails ends it.
pub(crate) fn run() -> Result<()> {
    cargo(&["fmt", "--all", "--check"], &[])?;
    tidy::run()?;
    cargo(
        &["clippy", "--workspace", "--all-targets", "--all-features", "--quiet", "--", "--deny", "warnings"],
        &[],
    )?;
    cargo(&["doc", "--workspace", "--no-deps", "--quiet"], &[("RUSTDOCFLAGS", "--deny warnings")])
}

#[expect(clippy::print_stderr, reason = "whoever watches wants to see which check runs")]
fn cargo(arguments: &[&str], environment: &[(&str, &str)]) -> Result<()> {
    let shown = format!("cargo {}", arguments.join(" "));
    eprintln!("==> {shown}");
    let status = Command::new("cargo")
        .args(arguments)
        .envs(environment.iter().copied())
        .current_dir(sources::root()?)
        .status()
        .with_context(|| format!("{shown} could not be started"))?;
    ensure!(status.success(), "{shown} failed");
    Ok(())
}
