//! Chooses the server that all tests share, once, and says which one it is.
//!
//! Invariant: a process settles on one server and stays with it. Under cargo-nextest, which gives every test a
//! process, the processes of one run settle on the same one: the first to come starts it, and it ends with the run.
//! Not here: how a server is started.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use super::{admin, container, local};

const FORCED_RUNG: &str = "TRACER_TEST_POSTGRES";
const LASTING_SERVER: &str = "TRACER_TEST_DATABASE_URL";

const ADVICE: &str = "install PostgreSQL 15 or newer (Debian: `apt-get install postgresql`, macOS: `brew install \
                      postgresql@16`), or start Docker, or set TRACER_TEST_DATABASE_URL to a server where the tests \
                      may create databases";

/// Files by which the processes of one nextest run find each other's server begin so.
const RUN_FILE_PREFIX: &str = "tracer-test-postgres-run-";

/// No test run lasts longer; what is older is left over.
const LONGEST_RUN: Duration = Duration::from_secs(24 * 3600);

/// Where a server may come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rung {
    Url,
    Docker,
    Local,
}

/// A server for as long as this process, or the run it belongs to, lasts.
#[derive(Debug)]
struct Server {
    url: String,
    rung: Rung,
    origin: String,
}

/// Returns the URL of the shared server, starting one if need be. Blocks meanwhile.
///
/// # Errors
/// Why none can be had and what to do about it. The answer stays the same for the life of the process.
pub(super) fn server_url() -> Result<String, String> {
    static SHARED: OnceLock<Result<String, String>> = OnceLock::new();
    // On a thread of its own, for no thread may enter a second runtime.
    let settle =
        || std::thread::spawn(settle).join().unwrap_or_else(|_| Err("starting a server panicked".to_owned()));
    SHARED.get_or_init(settle).clone()
}

fn settle() -> Result<String, String> {
    let forced = forced_rung()?;
    let lasting = std::env::var(LASTING_SERVER).ok().filter(|url| !url.is_empty());
    match (forced, lasting) {
        (Some(Rung::Url) | None, Some(url)) => lasting_server(&url),
        (Some(Rung::Url), None) => Err(format!("{FORCED_RUNG}=url needs {LASTING_SERVER}")),
        (Some(Rung::Docker | Rung::Local) | None, _) => match run_of_nextest() {
            Some((run_file, runner)) => join_run(&run_file, forced, runner),
            None => start(forced, local::Owner::ThisProcess).map(|server| announced(&server)),
        },
    }
}

fn forced_rung() -> Result<Option<Rung>, String> {
    match std::env::var(FORCED_RUNG).as_deref() {
        Err(_) | Ok("") => Ok(None),
        Ok("url") => Ok(Some(Rung::Url)),
        Ok("docker") => Ok(Some(Rung::Docker)),
        Ok("local") => Ok(Some(Rung::Local)),
        Ok(other) => Err(format!("{FORCED_RUNG} is url, docker or local, not {other:?}")),
    }
}

fn lasting_server(url: &str) -> Result<String, String> {
    admin::check(url).map_err(|reason| format!("the server of {LASTING_SERVER} cannot be used: {reason}"))?;
    // Another run may be sweeping at the same moment; what it takes away is none of this run's.
    drop(admin::drop_leftovers(url));
    let server = Server { url: url.to_owned(), rung: Rung::Url, origin: LASTING_SERVER.to_owned() };
    Ok(announced(&server))
}

/// Starts a server on the first rung that holds, or on the forced one.
fn start(forced: Option<Rung>, owner: local::Owner) -> Result<Server, String> {
    let mut reasons = Vec::new();
    for rung in [Rung::Docker, Rung::Local] {
        if forced.is_some_and(|forced| forced != rung) {
            continue;
        }
        let started = match rung {
            Rung::Docker => container::start(),
            Rung::Local | Rung::Url => local::start_shared(owner),
        };
        match started {
            Ok((url, origin)) => return Ok(Server { url, rung, origin }),
            Err(reason) => reasons.push(reason),
        }
    }
    Err(format!("{}; {ADVICE}", reasons.join("; ")))
}

fn announced(server: &Server) -> String {
    // Straight to standard error: the test harness hides what `eprintln!` writes, and a developer is to see this.
    drop(writeln!(std::io::stderr(), "tests use PostgreSQL from {}", server.origin));
    server.url.clone()
}

/// Returns the file shared by the processes of this nextest run, and the runner's process id.
fn run_of_nextest() -> Option<(PathBuf, u32)> {
    let run = std::env::var("NEXTEST_RUN_ID").ok()?;
    let name_is_plain = run.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '-');
    let run_file = std::env::temp_dir().join(format!("{RUN_FILE_PREFIX}{run}"));
    name_is_plain.then(|| (run_file, std::os::unix::process::parent_id()))
}

/// Uses the server another process of this run has started, or starts it for all of them.
fn join_run(run_file: &Path, forced: Option<Rung>, runner: u32) -> Result<String, String> {
    let failed = |cause: std::io::Error| format!("{} cannot be used: {cause}", run_file.display());
    let mut file =
        File::options().read(true).write(true).create(true).truncate(false).open(run_file).map_err(failed)?;
    // Released when the file is closed, also by a process that is killed.
    file.lock().map_err(failed)?;
    let mut known = String::new();
    file.read_to_string(&mut known).map_err(failed)?;
    let running = known.split_once(' ').filter(|(_, url)| admin::check(url).is_ok());
    if let Some((rung, url)) = running {
        if rung == "docker" {
            container::keep_alive(url)?;
        }
        return Ok(url.to_owned());
    }
    remove_old_run_files(run_file);
    let server = start(forced, local::Owner::Process(runner))?;
    let rung = if server.rung == Rung::Docker { "docker" } else { "local" };
    file.set_len(0).map_err(failed)?;
    file.seek(SeekFrom::Start(0)).map_err(failed)?;
    write!(file, "{rung} {}", server.url).map_err(failed)?;
    Ok(announced(&server))
}

/// Removes what earlier runs left. Best effort: it is a few bytes each.
fn remove_old_run_files(run_file: &Path) {
    let neighbours =
        run_file.parent().and_then(|folder| fs::read_dir(folder).ok()).into_iter().flatten().flatten();
    for file in neighbours.filter(|file| file.file_name().to_string_lossy().starts_with(RUN_FILE_PREFIX)) {
        let modified = file.metadata().and_then(|metadata| metadata.modified());
        if modified.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > LONGEST_RUN)) {
            drop(fs::remove_file(file.path()));
        }
    }
}
