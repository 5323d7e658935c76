//! The programs of the stack, under the names that distributions give them.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use xtask_machine::interrupt;
use xtask_machine::process::{Process, bound_command, in_path};

/// A program, by its names.
#[derive(Clone, Copy, Debug)]
pub(super) struct Program {
    names: &'static [&'static str],
    /// What to install.
    package: &'static str,
}

/// Prometheus.
pub(super) const PROMETHEUS: Program = Program { names: &["prometheus"], package: "prometheus" };
/// Its tool, which comes with it.
pub(super) const PROMTOOL: Program = Program { names: &["promtool"], package: "prometheus" };
/// Alertmanager.
pub(super) const ALERTMANAGER: Program =
    Program { names: &["prometheus-alertmanager", "alertmanager"], package: "prometheus-alertmanager" };
/// Its tool, which comes with it.
pub(super) const AMTOOL: Program = Program { names: &["amtool"], package: "prometheus-alertmanager" };
/// PostgreSQL's exporter.
pub(super) const EXPORTER: Program = Program {
    names: &["prometheus-postgres-exporter", "postgres_exporter"],
    package: "prometheus-postgres-exporter",
};
/// Kubernetes' client, which renders overlays without a cluster.
pub(super) const KUBECTL: Program = Program { names: &["kubectl"], package: "kubectl" };
/// Compose, as a program of its own.
pub(super) const COMPOSE: Program = Program { names: &["docker-compose"], package: "docker-compose" };
/// PostgreSQL's client.
pub(super) const PSQL: Program = Program { names: &["psql"], package: "postgresql-client" };

impl Program {
    /// Returns where it is; the error says what to install.
    pub(super) fn find(self) -> Result<PathBuf> {
        let found = self.names.iter().find_map(|name| in_path(name));
        found.with_context(|| format!("not installed (Debian: {})", self.package))
    }
}

/// Runs a program to its end and returns what it said.
///
/// # Errors
/// If it cannot be run, or ends otherwise than well; the message holds what it said.
pub(super) fn ask(command: &mut Command) -> Result<String> {
    interrupt::check()?;
    let ended = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("{} cannot be run", command.get_program().display()))?;
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if ended.status.success() {
        return Ok(said(&ended.stdout));
    }
    bail!("{}\n{}\n{}", ended.status, said(&ended.stdout), said(&ended.stderr))
}

/// A part that runs, and its log.
#[derive(Debug)]
pub(super) struct Part {
    /// Where it listens.
    pub(super) address: String,
    process: Process,
    log: PathBuf,
}

impl Part {
    /// Starts a program that listens on an address; what it says goes into a file of the folder.
    ///
    /// # Errors
    /// If it cannot be run.
    pub(super) fn start(
        name: &str,
        program: &Path,
        folder: &Path,
        address: String,
        set: impl FnOnce(&mut Command),
    ) -> Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let file = File::create(&log)?;
        let mut command = bound_command(program, "KILL");
        command.current_dir(folder).stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        set(&mut command);
        let process = Process::start(&mut command, Signal::TERM)?;
        Ok(Self { address, process, log })
    }

    /// Returns the URL of a path of it.
    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Fails if it has ended; the message holds the end of its log.
    ///
    /// # Errors
    /// If it has ended.
    pub(super) fn runs(&mut self) -> Result<()> {
        let Some(ending) = self.process.ending() else { return Ok(()) };
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let last = lines.get(lines.len().saturating_sub(8)..).unwrap_or_default();
        bail!("it ended: {ending}\n{}", last.join("\n"))
    }
}
