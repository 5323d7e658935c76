//! Where a cluster keeps its files, whose they are, and which port it gets.
//!
//! Invariant: a folder is removed by a later run only when nobody supervises it any more.
//! Not here: what is in the folder.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

const PREFIX: &str = "tracer-test-postgres-home-";

/// Where the supervisor of a folder leaves its process id, while it runs.
const SUPERVISOR_FILE: &str = "supervisor.pid";

/// A folder without a supervisor is one in the making, or of a stopped server, for no longer than this.
const LONGEST_UNSUPERVISED: Duration = Duration::from_secs(2 * 3600);

/// Whom a server runs as, where the tests run as root: PostgreSQL refuses root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) user: u32,
    pub(super) group: u32,
}

/// Makes a folder for a cluster, and says whom it belongs to if that is not whoever runs the tests.
///
/// # Errors
/// Why it could not be made, in words.
pub(super) fn make_home() -> Result<(PathBuf, Option<Account>), String> {
    let base = base();
    sweep(&base);
    let failed = |cause: std::io::Error| format!("no folder for a cluster in {}: {cause}", base.display());
    let home = tempfile::Builder::new().prefix(PREFIX).tempdir_in(&base).map_err(failed)?;
    // Whoever makes a folder owns it: the way to learn one's own user without a system call.
    let is_root = fs::metadata(home.path()).map_err(failed)?.uid() == 0;
    let account = if is_root { Some(unprivileged_account()?) } else { None };
    if let Some(account) = account {
        chown(home.path(), Some(account.user), Some(account.group)).map_err(failed)?;
    }
    Ok((home.keep(), account))
}

/// Returns a port of 127.0.0.1 that is free now.
///
/// It lies below the range from which systems take ports for outgoing connections. Were it inside, a client that
/// tries again and again while the server is stopped would sooner or later be given this very port, and connect to
/// itself.
pub(super) fn free_port() -> Option<u16> {
    static TRIED: AtomicU32 = AtomicU32::new(0);
    const FIRST: u32 = 15_000;
    const COUNT: u32 = 15_000;
    (0..COUNT).find_map(|_| {
        // Processes begin at different places and walk in large steps, so that they seldom meet.
        let step = TRIED.fetch_add(1, Ordering::Relaxed).wrapping_mul(4_099);
        let port = FIRST + std::process::id().wrapping_mul(97).wrapping_add(step) % COUNT;
        u16::try_from(port).ok().filter(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
    })
}

/// Returns the folder for temporary files, if any user can reach it and a socket's path in it stays short enough.
fn base() -> PathBuf {
    let usual = std::env::temp_dir();
    [usual.clone(), PathBuf::from("/tmp"), PathBuf::from("/var/tmp")]
        .into_iter()
        .find(|folder| folder.as_os_str().len() <= 40 && open_to_all(folder))
        .unwrap_or(usual)
}

fn open_to_all(folder: &Path) -> bool {
    let passable =
        |part: &Path| fs::metadata(part).is_ok_and(|metadata| metadata.permissions().mode() & 0o001 != 0);
    folder.is_absolute() && folder.ancestors().all(passable)
}

fn unprivileged_account() -> Result<Account, String> {
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    ["postgres", "nobody"]
        .iter()
        .find_map(|name| account_in(&users, name))
        .ok_or_else(|| "PostgreSQL refuses root, and there is neither a user postgres nor nobody".to_owned())
}

fn account_in(users: &str, name: &str) -> Option<Account> {
    let entry = users.lines().find(|line| line.split(':').next() == Some(name))?;
    let mut ids = entry.split(':').skip(2).map(str::parse);
    match (ids.next(), ids.next()) {
        (Some(Ok(user)), Some(Ok(group))) if user != 0 => Some(Account { user, group }),
        _ => None,
    }
}

/// Removes the folders of clusters whose supervisor was itself killed. Best effort.
///
/// A server that still runs in one of them notices within a minute that its files are gone, and ends.
fn sweep(base: &Path) {
    let folders = fs::read_dir(base).into_iter().flatten().flatten();
    for folder in folders.filter(|entry| entry.file_name().to_string_lossy().starts_with(PREFIX)) {
        let left_over = match fs::read_to_string(folder.path().join(SUPERVISOR_FILE)) {
            // An empty file is one being written.
            Ok(process) => !process.trim().is_empty() && !is_running(process.trim()),
            Err(_) => folder
                .metadata()
                .and_then(|metadata| metadata.modified())
                .is_ok_and(|at| at.elapsed().is_ok_and(|age| age > LONGEST_UNSUPERVISED)),
        };
        if left_over {
            drop(fs::remove_dir_all(folder.path()));
        }
    }
}

fn is_running(process: &str) -> bool {
    if Path::new("/proc/self").exists() {
        return Path::new("/proc").join(process).exists();
    }
    let asked = Command::new("kill").args(["-0", process]).stderr(Stdio::null()).status();
    asked.map_or(true, |status| status.success())
}

#[cfg(test)]
mod tests {
    use super::{Account, account_in};

    #[test]
    fn an_account_is_read_from_the_list_of_users_and_is_never_root() {
        let users = "root:x:0:0::/root:/bin/sh\npostgres:x:101:104:PostgreSQL:/var/lib:/bin/sh\ntoor:x:0:0::/:/bin/sh\n";
        assert_eq!(account_in(users, "postgres"), Some(Account { user: 101, group: 104 }));
        for name in ["post", "toor", "nobody"] {
            assert_eq!(account_in(users, name), None, "{name}");
        }
    }
}
