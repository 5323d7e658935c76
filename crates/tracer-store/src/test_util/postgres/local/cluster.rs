//! One cluster of databases in a folder of its own, and the server on it.
//!
//! Invariant: while a server runs, so does its supervisor, and it survives every signal sent to the tests' group.
//! Not here: finding programs (`binaries`), folders and ports (`place`).

use std::fs;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::binaries;
use super::place::{self, Account};

/// Settings of every server; durability stays at PostgreSQL's own defaults, as it is in production.
const SETTINGS: [&str; 4] =
    ["listen_addresses=127.0.0.1", "max_connections=200", "timezone=UTC", "logging_collector=off"];

/// How long a server may take until it accepts connections, recovery after a hard stop included.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a server that is started again may find its port taken.
const PORT_TIMEOUT: Duration = Duration::from_secs(10);

const POLL: Duration = Duration::from_millis(10);

/// Whose end is the server's end.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Owner {
    /// The process that starts it.
    ThisProcess,
    /// Another one, by its process id.
    Process(u32),
}

/// A cluster; dropped, it stops its server and removes its files.
#[derive(Debug)]
pub(super) struct Cluster {
    binaries: PathBuf,
    home: PathBuf,
    account: Option<Account>,
    settings: Vec<String>,
    port: u16,
    server: Option<Server>,
}

#[derive(Debug)]
struct Server {
    supervisor: Child,
    /// Ends when the server has closed its standard output, so has ended.
    watch: JoinHandle<()>,
}

/// Why a server did not come up.
enum StartError {
    /// It ended at once; most often its port was taken.
    Ended,
    Other(String),
}

impl Cluster {
    /// Makes a cluster whose servers run with `settings`, each `name=value`, beside the common ones.
    ///
    /// # Errors
    /// Why it could not be made, in words.
    pub(super) fn create(settings: &[&str]) -> Result<Self, String> {
        let binaries = binaries::find()?;
        let (home, account) = place::make_home()?;
        let settings = SETTINGS.iter().chain(settings).map(|setting| (*setting).to_owned()).collect();
        let cluster = Self { binaries, home, account, settings, port: 0, server: None };
        let made = cluster
            .command(&cluster.binaries.join("initdb"))
            .args([
                "--username=postgres",
                "--auth=trust",
                "--encoding=UTF8",
                "--no-locale",
                "--no-sync",
                "--pgdata",
            ])
            .arg(cluster.home.join("data"))
            .stdin(Stdio::null())
            .output()
            .map_err(|cause| format!("initdb cannot be run: {cause}"))?;
        if !made.status.success() {
            return Err(format!("initdb failed: {}", String::from_utf8_lossy(&made.stderr).trim()));
        }
        Ok(cluster)
    }

    /// Starts the server and waits until it accepts connections: on a free port the first time, then on the same.
    ///
    /// # Errors
    /// Why it did not start, in words.
    pub(super) fn start(&mut self, owner: Owner) -> Result<(), String> {
        let first_time = self.port == 0;
        let began = Instant::now();
        loop {
            if first_time {
                self.port = place::free_port().ok_or("no port of 127.0.0.1 is free")?;
            }
            match self.try_start(owner) {
                Ok(()) => return Ok(()),
                Err(StartError::Other(reason)) => return Err(reason),
                Err(StartError::Ended) if began.elapsed() < PORT_TIMEOUT && self.port_was_taken() => (),
                Err(StartError::Ended) => {
                    return Err(format!("PostgreSQL ended as it started; its log: {}", self.log().trim()));
                }
            }
        }
    }

    /// Ends the server as a crash would, without a last checkpoint, and keeps its files. Without one, does nothing.
    ///
    /// # Errors
    /// Why its end could not be awaited, in words.
    pub(super) fn stop(&mut self) -> Result<(), String> {
        self.end(b"stop\n").map_err(|cause| format!("the server's supervisor did not obey: {cause}"))
    }

    /// Returns the URL of one of the cluster's databases.
    pub(super) fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// Returns everything the cluster's servers have logged.
    pub(super) fn log(&self) -> String {
        let log = fs::read(self.home.join("log")).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// Returns the folder of the programs in use.
    pub(super) fn binaries(&self) -> &Path {
        &self.binaries
    }

    /// Returns the folder that holds the server's Unix socket.
    pub(super) fn socket_folder(&self) -> &Path {
        &self.home
    }

    fn try_start(&mut self, owner: Owner) -> Result<(), StartError> {
        // Of a server that has ended; it would pass for the sign that the next one is ready.
        drop(fs::remove_file(self.home.join("data/postmaster.pid")));
        let mut supervisor = self
            .supervise(owner)
            .spawn()
            .map_err(|cause| StartError::Other(format!("/bin/sh cannot be run: {cause}")))?;
        let stdout = supervisor.stdout.take();
        let watch = std::thread::spawn(move || {
            // Nothing is ever written there. The end of it is the news.
            drop(stdout.map(|mut stdout| std::io::copy(&mut stdout, &mut std::io::sink())));
        });
        self.server = Some(Server { supervisor, watch });
        let began = Instant::now();
        while began.elapsed() < START_TIMEOUT {
            if self.is_ready() {
                return Ok(());
            }
            if self.server.as_ref().is_none_or(|server| server.watch.is_finished()) {
                return Err(self.stop().map_or_else(StartError::Other, |()| StartError::Ended));
            }
            std::thread::sleep(POLL);
        }
        let reason =
            format!("PostgreSQL is not ready after {} s; its log: {}", START_TIMEOUT.as_secs(), self.log());
        Err(StartError::Other(self.stop().err().unwrap_or(reason)))
    }

    fn supervise(&self, owner: Owner) -> Command {
        let mut command = self.command(Path::new("/bin/sh"));
        command.args(["-c", include_str!("supervise.sh"), "tracer-test-postgres"]).arg(&self.home);
        match owner {
            Owner::ThisProcess => command.arg("").stdin(Stdio::piped()),
            Owner::Process(id) => command.arg(id.to_string()).stdin(Stdio::null()),
        };
        // Should the supervisor itself be killed, the kernel ends the server, where there is such a thing.
        if let Some(setpriv) = binaries::in_path("setpriv") {
            command.arg(setpriv).args(["--pdeathsig", "QUIT"]);
        }
        command.arg(self.binaries.join("postgres")).arg("-D").arg(self.home.join("data"));
        let own = [format!("port={}", self.port), format!("unix_socket_directories={}", self.home.display())];
        for setting in self.settings.iter().chain(&own) {
            command.arg("-c").arg(setting);
        }
        // A group of its own: what kills the tests' group must not kill the one that cleans up after them.
        command.stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
        command
    }

    /// Returns a command that runs as the account whose cluster this is, without any further groups.
    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir("/").env_remove("PGDATA").env_remove("PGOPTIONS");
        if let Some(Account { user, group }) = self.account {
            command.uid(user).gid(group);
        }
        command
    }

    /// The eighth line of the server's lock file says what state it is in.
    fn is_ready(&self) -> bool {
        let state = fs::read_to_string(self.home.join("data/postmaster.pid")).unwrap_or_default();
        state.lines().nth(7).is_some_and(|line| line.trim() == "ready")
    }

    fn port_was_taken(&self) -> bool {
        // What the server says is C locale's English: initdb ran with --no-locale.
        self.log().lines().rev().take(8).any(|line| line.contains("could not create any TCP/IP sockets"))
    }

    fn end(&mut self, order: &[u8]) -> std::io::Result<()> {
        let Some(Server { mut supervisor, watch }) = self.server.take() else { return Ok(()) };
        let told = match supervisor.stdin.take() {
            // Closed right after; the supervisor reads the order, or the end of all orders.
            Some(mut stdin) => stdin.write_all(order),
            // It waits for another process to end. That its server did not come up is the one reason to be here.
            None => supervisor.kill(),
        };
        let ended = supervisor.wait().map(drop);
        drop(watch.join());
        told.and(ended)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Nothing can be done about a failure here, and a later run sweeps up.
        drop(self.end(b""));
        drop(fs::remove_dir_all(&self.home));
    }
}
