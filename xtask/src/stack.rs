//! Brings up what this machine has of the stack, with the configuration that ships, and says of each part whether it
//! passes.
//!
//! Real programs, no stand-ins: the service, PostgreSQL, Prometheus, Alertmanager, PostgreSQL's exporter, each on a free
//! port of 127.0.0.1 and in a folder that is removed at the end. What is not installed is said plainly, and is no
//! failure. Of the configuration only addresses are replaced, in a copy: Prometheus takes its own from target files, so
//! that its file stays as it is, byte for byte; in Alertmanager's the service's address is replaced.
//!
//! Every process ends with this one: by its value, and by the kernel should this be killed.

mod files;
mod http;
mod live;
mod load;
mod parts;
mod queries;
mod report;
mod shipped;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use self::http::Http;
use self::live::Live;
use self::report::Report;
use xtask_machine::interrupt;

use crate::sources;

/// What to run, and for how long.
#[derive(Debug, Args)]
pub(crate) struct Stack {
    /// The binary of the service; without it a debug build is made.
    #[arg(long)]
    tracer: Option<PathBuf>,
    /// How long queries may take until they have data, in seconds: rates need several scrapes, which are 15 s apart.
    #[arg(long, default_value_t = PATIENCE)]
    patience: u64,
    /// Leaves everything running under load until Ctrl-C, and says where each part is reached.
    #[arg(long)]
    hold: bool,
}

/// How long queries may take until they have data, in seconds.
const PATIENCE: u64 = 120;

impl Default for Stack {
    fn default() -> Self {
        Self { tracer: None, patience: PATIENCE, hold: false }
    }
}

/// Checks what ships, then brings it up and checks that it works.
///
/// # Errors
/// If a part failed, or something could not be started.
pub(crate) fn run(stack: &Stack) -> Result<()> {
    interrupt::listen()?;
    let root = sources::root()?;
    let mut report = Report::default();
    report.section("What ships");
    shipped::check(&root, &mut report)?;
    let tracer = match &stack.tracer {
        Some(tracer) => tracer.canonicalize().context("there is no such binary")?,
        None => build(&root)?,
    };
    let folder = tempfile::Builder::new().prefix("tracer-stack-").tempdir()?;
    report.section("What runs");
    let http = Http::new()?;
    let live = Live::start(&root, folder.path(), &tracer, &http, &mut report)?;
    let load = load::start(&http, live.tracer());
    if stack.hold {
        return hold(&live);
    }
    live.check(&http, &mut report)?;
    queries::check(&live, &http, Duration::from_secs(stack.patience), &mut report)?;
    live.check_alert(&http, &mut report)?;
    report.outcome("load", load.stop());
    drop(live);
    report.end()
}

#[expect(clippy::print_stdout, reason = "this is what the option is for")]
fn hold(live: &Live) -> Result<()> {
    for (part, url) in live.addresses() {
        println!("{part:<14} {url}");
    }
    println!("Ctrl-C ends all of it.");
    while interrupt::check().is_ok() {
        std::thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}

/// Returns a debug build of the service, made if need be.
fn build(root: &Path) -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "--quiet", "--package", "tracer-api", "--bin", "tracer"])
        .current_dir(root)
        .status()
        .context("cargo cannot be run")?;
    ensure!(built.success(), "the service does not build");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let tracer = target.join("debug/tracer");
    if !tracer.is_file() {
        bail!("the build left no {}", tracer.display());
    }
    Ok(tracer.canonicalize()?)
}
