//! What must pass besides the tests, in the order in which it fails fastest.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::{sources, stack, tidy};

/// Runs every check; the first that fails ends it.
#[expect(clippy::print_stderr, reason = "whoever watches wants to see which check runs")]
pub(crate) fn run() -> Result<()> {
    cargo(&["fmt", "--all", "--check"], &[])?;
    tidy::run()?;
    cargo(
        &["clippy", "--workspace", "--all-targets", "--all-features", "--quiet", "--", "--deny", "warnings"],
        &[],
    )?;
    cargo(&["doc", "--workspace", "--no-deps", "--quiet"], &[("RUSTDOCFLAGS", "--deny warnings")])?;
    // Last, because it takes minutes; what of it is not installed is said and is no failure.
    eprintln!("==> cargo xtask stack");
    stack::run(&stack::Stack::default())
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
