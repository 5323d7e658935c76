//! The service under test: a release build, with the settings it ships with.
//!
//! It logs as shipped, to nowhere unless told: a file would share the disk with the database. Nothing
//! of the caller's environment reaches it.
//! Not here: where its data is (`stand`).

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;

use crate::cluster::free_port;
use crate::interrupt;
use crate::process::{Process, bound_command};

const START_TIMEOUT: Duration = Duration::from_secs(60);

/// A running service.
#[derive(Debug)]
pub struct Service {
    process: Process,
    address: SocketAddr,
    /// What it says besides its log.
    errors: PathBuf,
}

/// What to start, and how.
#[derive(Clone, Copy, Debug)]
pub struct Start<'a> {
    /// The binary.
    pub tracer: &'a Path,
    /// Where it listens; none: at a port of 127.0.0.1 that is free.
    pub address: Option<SocketAddr>,
    /// Where it works: an embedded database lies in `data/` below.
    pub folder: &'a Path,
    /// The database; none for the embedded one.
    pub database: Option<&'a str>,
    /// Settings beside the shipped ones, each `key=value`.
    pub settings: &'a [String],
    /// To which file its log is appended, if any.
    pub log: Option<&'a Path>,
}

impl Service {
    /// Starts it and waits until it is ready.
    ///
    /// # Errors
    /// When it does not come up; the message holds what it said.
    pub fn start(start: &Start<'_>) -> Result<Self> {
        let command = bound_command(start.tracer, "KILL");
        Self::run(command, start, Duration::from_millis(5)).map(|(service, _)| service)
    }

    /// Starts it and returns how long it took from there until it was ready.
    ///
    /// # Errors
    /// As for [`Service::start`].
    pub fn start_timed(start: &Start<'_>) -> Result<(Self, Duration)> {
        Self::run(Command::new(start.tracer), start, Duration::from_micros(200))
    }

    fn run(mut command: Command, start: &Start<'_>, poll: Duration) -> Result<(Self, Duration)> {
        let address = match start.address {
            Some(address) => address,
            None => SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?)),
        };
        let errors = start.folder.join("service.err");
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("TRACER_") || name == "DATABASE_URL" {
                command.env_remove(name);
            }
        }
        command.arg("--listen").arg(address.to_string()).current_dir(start.folder);
        // Two services may run on one machine.
        command.args(["--set", "otlp.http_port=0", "--set", "otlp.grpc_port=0"]);
        for setting in start.settings {
            command.arg("--set").arg(setting);
        }
        if let Some(database) = start.database {
            command.env("DATABASE_URL", database);
        }
        let log = match start.log {
            Some(log) => File::options().create(true).append(true).open(log)?.into(),
            None => Stdio::null(),
        };
        command.stdin(Stdio::null()).stdout(log).stderr(File::create(&errors)?);
        let began = Instant::now();
        let process = Process::start(&mut command, Signal::TERM)?;
        let mut service = Self { process, address, errors };
        while !service.is_ready() {
            interrupt::check()?;
            if let Some(ending) = service.ending() {
                bail!("the service does not start: {ending}");
            }
            ensure!(began.elapsed() < START_TIMEOUT, "the service is not ready after {START_TIMEOUT:?}");
            std::thread::sleep(poll);
        }
        Ok((service, began.elapsed()))
    }

    /// Returns where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the id of its process.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Returns how it ended and what it said, if it has ended or does so within a moment.
    pub fn ending_soon(&mut self) -> Option<String> {
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(2) {
            if let Some(ending) = self.ending() {
                return Some(ending);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        None
    }

    /// Ends it at once, as a machine that fails does.
    pub fn kill(self) {
        self.process.kill();
    }

    fn ending(&mut self) -> Option<String> {
        let status = self.process.ending()?;
        let said = std::fs::read_to_string(&self.errors).unwrap_or_default();
        Some(format!("{status} {}", said.trim()).trim_end().to_owned())
    }

    fn is_ready(&self) -> bool {
        fetch(self.address, "/health/ready").is_ok_and(|(status, _)| status == 200)
    }
}

/// Asks once, on a connection of its own; returns the status and the body.
///
/// # Errors
/// When there is no answer, or it is none.
pub fn fetch(address: SocketAddr, path: &str) -> Result<(u16, Vec<u8>)> {
    let mut socket = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    socket.set_read_timeout(Some(Duration::from_secs(30)))?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n");
    socket.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer)?;
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(head) = response.parse(&answer).context("an unreadable answer")? else {
        bail!("an answer that ends within its head")
    };
    let status = response.code.context("an answer without a status")?;
    Ok((status, answer.split_off(head)))
}

/// Returns the release build of the service, building it if need be.
///
/// # Errors
/// When it does not build.
pub fn build() -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "--release", "--package", "tracer-api", "--bin", "tracer"])
        .current_dir(&root)
        .status()
        .context("cargo cannot be run")?;
    ensure!(built.success(), "the service does not build");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    target.join("release/tracer").canonicalize().context("the build left no binary")
}
