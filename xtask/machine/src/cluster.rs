//! A PostgreSQL cluster of one's own, as durable as PostgreSQL is by default.
//!
//! Invariant: no setting but where it listens and how many may connect; what is measured here is what
//! anyone gets.
//! Not here: what is asked of it (`limits::postgres`).

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{MetadataExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;

use crate::interrupt;
use crate::process::{Process, bound_command, in_path};

/// Folders of distributions that keep the server out of `PATH`, before and behind the version.
const USUAL: [(&str, &str); 2] = [("/usr/lib/postgresql", "bin"), ("/opt/homebrew/opt", "bin")];

/// Connections that the server takes: the service's pool, and as many for measuring limits.
pub const CONNECTIONS: usize = 200;

const START_TIMEOUT: Duration = Duration::from_secs(60);

/// A user and a group, for where this runs as root: PostgreSQL refuses root.
type Account = Option<(u32, u32)>;

/// A cluster and perhaps the server on it.
#[derive(Debug)]
pub struct Cluster {
    programs: PathBuf,
    home: PathBuf,
    account: Account,
    port: u16,
    server: Option<Process>,
}

impl Cluster {
    /// Makes a cluster in a folder and starts it.
    ///
    /// # Errors
    /// When there is no PostgreSQL on this machine, or it does not start.
    pub fn start(folder: &Path) -> Result<Self> {
        let home = folder.join("postgres");
        fs::create_dir(&home)?;
        let account = account_for(&home)?;
        let mut cluster = Self { programs: programs()?, home, account, port: free_port()?, server: None };
        let made = cluster
            .command(Command::new(cluster.programs.join("initdb")))
            .args(["--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync"])
            .arg("--pgdata")
            .arg(cluster.data())
            .output()
            .context("initdb cannot be run")?;
        ensure!(made.status.success(), "initdb failed: {}", String::from_utf8_lossy(&made.stderr).trim());
        cluster.restart()?;
        Ok(cluster)
    }

    /// Returns the URL of its database.
    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// Returns the id of the server's process, if it runs.
    pub fn id(&self) -> Option<u32> {
        self.server.as_ref().map(Process::id)
    }

    /// Stops the server and keeps its data.
    pub fn stop(&mut self) {
        self.server = None;
    }

    /// Ends the server at once, as a machine that fails does: what was committed is recovered at the next start.
    pub fn crash(&mut self) {
        if let Some(server) = self.server.take() {
            // QUIT is PostgreSQL's immediate shutdown: its processes end without writing anything.
            server.end_by(Signal::QUIT);
        }
    }

    /// Starts the server, after stopping the one that runs.
    ///
    /// # Errors
    /// When it does not come up; the message holds its log.
    pub fn restart(&mut self) -> Result<()> {
        self.stop();
        let log = fs::File::options().create(true).append(true).open(self.home.join("log"))?;
        let mut command = self.command(bound_command(&self.programs.join("postgres"), "QUIT"));
        command.arg("-D").arg(self.data()).stdout(Stdio::null()).stderr(log);
        for setting in [
            "listen_addresses=127.0.0.1".to_owned(),
            format!("port={}", self.port),
            "unix_socket_directories=".to_owned(),
            format!("max_connections={CONNECTIONS}"),
        ] {
            command.arg("-c").arg(setting);
        }
        // INT is PostgreSQL's fast shutdown: it ends sessions and writes a checkpoint.
        let mut server = Process::start(&mut command, Signal::INT)?;
        let began = Instant::now();
        while !self.is_ready() {
            interrupt::check()?;
            if server.has_ended() || began.elapsed() > START_TIMEOUT {
                bail!("PostgreSQL does not start: {}", fs::read_to_string(self.home.join("log"))?.trim());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.server = Some(server);
        Ok(())
    }

    fn data(&self) -> PathBuf {
        self.home.join("data")
    }

    /// The eighth line of the server's lock file says what state it is in.
    fn is_ready(&self) -> bool {
        let state = fs::read_to_string(self.data().join("postmaster.pid")).unwrap_or_default();
        state.lines().nth(7).is_some_and(|line| line.trim() == "ready")
    }

    fn command(&self, mut command: Command) -> Command {
        command.current_dir("/").env_remove("PGDATA").env_remove("PGOPTIONS").stdin(Stdio::null());
        if let Some((user, group)) = self.account {
            command.uid(user).gid(group);
        }
        command
    }
}

/// Returns a port of 127.0.0.1 that is free now.
///
/// # Errors
/// When there is none.
pub fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port of 127.0.0.1 is free")?;
    Ok(listener.local_addr()?.port())
}

fn programs() -> Result<PathBuf> {
    let has_server = |folder: &PathBuf| folder.join("postgres").is_file() && folder.join("initdb").is_file();
    let on_path = in_path("initdb").and_then(|file| file.parent().map(Path::to_owned));
    let mut usual: Vec<PathBuf> = USUAL
        .iter()
        .flat_map(|(parent, below)| {
            let versions = fs::read_dir(parent).into_iter().flatten().flatten();
            versions.map(move |version| version.path().join(below))
        })
        .filter(has_server)
        .collect();
    usual.sort();
    on_path
        .filter(has_server)
        .or_else(|| usual.pop())
        .context("no PostgreSQL server programs (postgres, initdb) here: install PostgreSQL 15 or newer")
}

fn account_for(home: &Path) -> Result<Account> {
    // Whoever makes a folder owns it: the way to learn one's own user without a system call.
    if fs::metadata(home)?.uid() != 0 {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let account = ["postgres", "nobody"]
        .iter()
        .find_map(|name| account_in(&users, name))
        .context("PostgreSQL refuses root, and there is neither a user postgres nor nobody")?;
    chown(home, Some(account.0), Some(account.1))?;
    Ok(Some(account))
}

fn account_in(users: &str, name: &str) -> Account {
    let entry = users.lines().find(|line| line.split(':').next() == Some(name))?;
    let mut ids = entry.split(':').skip(2).map_while(|id| id.parse().ok());
    ids.next().zip(ids.next()).filter(|(user, _)| *user != 0)
}
