//! The database file: found or made, locked against other processes, and its connections set up.
//!
//! Invariant: `synchronous=FULL` in WAL, so that what was committed survives a power cut. Memory
//! mapping stays off: a disk that fails would end the process by a signal instead of an error.
//!
//! Not here: the tables (`migrate`).

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};
use thiserror::Error;

use crate::error::OpenError;

/// Marks a file as ours, in SQLite's header: `TRCR`.
const APPLICATION_ID: i32 = 0x5452_4352;

/// How every database of SQLite begins. The next two bytes are its page's size.
const MAGIC: &[u8] = b"SQLite format 3\0";

/// How long SQLite waits for a lock that somebody outside of this service holds, such as the `sqlite3`
/// shell during a checkpoint.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the end of the writing connection waits for reads that are under way.
const LAST_READ: Duration = Duration::from_secs(1);

/// Statements that a connection keeps prepared: more than there are, with every shape of a listing.
const STATEMENTS: usize = 128;

/// Pages of the log after which it is copied back into the file: 16 MiB. The default of 4 MiB would
/// write a hot page back several times a second under load.
const CHECKPOINT_PAGES: u32 = 4096;

/// Bytes to which the log is cut after it grew beyond, because a reader held it: 64 MiB.
const LOG_BYTES: u32 = 64 * 1024 * 1024;

/// KiB of pages that the writing connection keeps, and each reading one. The system keeps the rest of
/// the file, where it does not count as ours.
const WRITER_CACHE_KIB: i32 = 16 * 1024;
const READER_CACHE_KIB: i32 = 1024;

/// What is the matter with a database file.
#[derive(Debug, Error)]
enum FileProblem {
    #[error("it is not a database, or damaged: choose another path, or restore it from a backup")]
    NotADatabase(#[source] Option<rusqlite::Error>),
    #[error("it was cut short: restore it from a backup, or move it away to begin with an empty one")]
    CutShort,
    #[error("it is the database of another program: choose another path")]
    Foreign,
    #[error("it is read-only: let this user write it and its folder")]
    ReadOnly,
    #[error(
        "it lies on a file system without the locks or the shared memory that SQLite needs: choose a local disk"
    )]
    NoWal,
}

/// The right to write a database file, held against every other process until it is dropped.
///
/// A lock on a file beside it, because SQLite's own locks come and go with each transaction.
#[derive(Debug)]
pub(super) struct FileLock(#[expect(dead_code, reason = "the lock is let go when the file is closed")] File);

/// Takes the lock, and makes the folder if there is none.
///
/// # Errors
/// [`OpenError::InUse`] while another store, in this process or another, holds it.
pub(super) fn lock(path: &Path) -> Result<FileLock, OpenError> {
    let failed = |source: std::io::Error| OpenError::File { path: path.to_owned(), source: Box::new(source) };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    let beside = beside(path, ".lock");
    // Never deleted: another process could be about to lock the very file that is unlinked.
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(beside).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(FileLock(file)),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// Opens the one connection of a file that writes, and makes the file if there is none.
pub(super) fn open_writing(path: &Path) -> Result<Connection, OpenError> {
    let failed = |error: FileProblem| OpenError::File { path: path.to_owned(), source: Box::new(error) };
    let refused = |error: rusqlite::Error| match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            failed(FileProblem::NotADatabase(Some(error)))
        }
        Some(ErrorCode::ReadOnly) => failed(FileProblem::ReadOnly),
        _ => OpenError::File { path: path.to_owned(), source: Box::new(error) },
    };
    if let Some(problem) =
        look(path).map_err(|source| OpenError::File { path: path.to_owned(), source: Box::new(source) })?
    {
        return Err(failed(problem));
    }
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(refused)?;
    // SQLite opens a file that it may not write for reading, and says nothing.
    if connection.is_readonly(c"main").map_err(refused)? {
        return Err(failed(FileProblem::ReadOnly));
    }
    connection.busy_timeout(BUSY_TIMEOUT).map_err(refused)?;
    if !claim(&connection).map_err(refused)? {
        return Err(failed(FileProblem::Foreign));
    }
    let mode = connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get::<_, String>(0));
    if mode.map_err(refused)? != "wal" {
        return Err(failed(FileProblem::NoWal));
    }
    set_up_writing(&connection).map_err(refused)?;
    Ok(connection)
}

/// Looks whether a file that is there begins as a database does and holds at least its first page. SQLite
/// takes one that is cut off before that for an empty one, and begins anew in it without a word.
fn look(path: &Path) -> std::io::Result<Option<FileProblem>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let found = file.metadata()?;
    // A folder is refused by SQLite; and with a journal beside it, the file is as a crash in the middle of
    // writing its first page left it, and whole again once the journal is played back.
    if !found.is_file() || found.len() == 0 || beside(path, "-journal").exists() {
        return Ok(None);
    }
    let mut header = [0; 18];
    if found.len() < u64::try_from(header.len()).unwrap_or(u64::MAX) {
        return Ok(Some(FileProblem::CutShort));
    }
    file.read_exact(&mut header)?;
    let Some(&[high, low]) = header.strip_prefix(MAGIC) else {
        return Ok(Some(FileProblem::NotADatabase(None)));
    };
    let page_bytes = match u16::from_be_bytes([high, low]) {
        1 => 65_536,
        bytes => u64::from(bytes),
    };
    Ok((found.len() < page_bytes).then_some(FileProblem::CutShort))
}

/// Returns the path of what SQLite, or this service, keeps beside a file.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Opens a database in memory, which this connection alone can see.
pub(super) fn open_in_memory() -> rusqlite::Result<Connection> {
    let connection = Connection::open_in_memory()?;
    claim(&connection)?;
    set_up_writing(&connection)?;
    Ok(connection)
}

/// Opens a connection that only reads.
pub(super) fn open_read_only(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "cache_size", -READER_CACHE_KIB)?;
    set_up(&connection)?;
    Ok(connection)
}

/// Copies the log into the file and empties it, so that the file alone holds everything: SQLite does so
/// by itself only when the last connection closes, and only if that one may write. Returns whether it
/// was done: a read that goes on for longer than [`LAST_READ`] holds it up, and then what was written is
/// in the two files together.
pub(super) fn empty_log(connection: &Connection) -> rusqlite::Result<bool> {
    connection.busy_timeout(LAST_READ)?;
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| Ok(!row.get::<_, bool>(0)?))
}

/// Marks an empty file as ours; returns whether the file is.
fn claim(connection: &Connection) -> rusqlite::Result<bool> {
    let found: i32 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0))?;
    if found == APPLICATION_ID {
        return Ok(true);
    }
    if found != 0 || tables != 0 {
        return Ok(false);
    }
    // Before anything is written: from the first page on it would be too late for the vacuum.
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    connection.pragma_update(None, "application_id", APPLICATION_ID)?;
    Ok(true)
}

fn set_up_writing(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    connection.pragma_update(None, "journal_size_limit", LOG_BYTES)?;
    connection.pragma_update(None, "cache_size", -WRITER_CACHE_KIB)?;
    set_up(connection)
}

fn set_up(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "mmap_size", 0)?;
    // There are none: recording checks what belongs together, in the same transaction.
    connection.pragma_update(None, "foreign_keys", false)?;
    // A file that somebody else prepared must not run functions through its schema.
    connection.pragma_update(None, "trusted_schema", false)
}

#[cfg(test)]
mod tests {
    use rusqlite::types::Value;

    use super::*;

    fn pragma(connection: &Connection, name: &str) -> String {
        let value = connection.pragma_query_value(None, name, |row| row.get::<_, Value>(0)).unwrap();
        match value {
            Value::Integer(number) => number.to_string(),
            Value::Text(text) => text,
            other @ (Value::Null | Value::Real(_) | Value::Blob(_)) => panic!("{name} is {other:?}"),
        }
    }

    #[test]
    fn the_file_is_as_durable_as_the_documentation_says() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("made/with/its folder/tracer.db");
        let _lock = lock(&path).unwrap();
        for opening in ["first", "second"] {
            let connection = open_writing(&path).unwrap();
            connection.execute_batch("CREATE TABLE IF NOT EXISTS t (n)").unwrap();
            let shown = ["journal_mode", "synchronous", "auto_vacuum", "mmap_size", "wal_autocheckpoint"]
                .map(|name| format!("{name}={}", pragma(&connection, name)));
            // synchronous 2 is FULL, auto_vacuum 2 is INCREMENTAL.
            let expected = [
                "journal_mode=wal",
                "synchronous=2",
                "auto_vacuum=2",
                "mmap_size=0",
                "wal_autocheckpoint=4096",
            ];
            assert_eq!(shown, expected, "{opening}");
        }
        assert_eq!(pragma(&open_read_only(&path).unwrap(), "journal_mode"), "wal");
        assert!(open_read_only(&path).unwrap().execute_batch("INSERT INTO t VALUES (1)").is_err());
    }

    fn why(path: &Path) -> String {
        let error = open_writing(path).unwrap_err();
        let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        source.split(':').next().unwrap_or_default().to_owned()
    }

    #[test]
    fn a_file_that_is_not_ours_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let (text, foreign) = (folder.path().join("text"), folder.path().join("foreign"));
        std::fs::write(&text, "x".repeat(10_000)).unwrap();
        assert_eq!(why(&text), "it is not a database, or damaged");
        assert_eq!(std::fs::read_to_string(&text).unwrap().len(), 10_000);
        Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE theirs (n)").unwrap();
        assert_eq!(why(&foreign), "it is the database of another program");
        assert_eq!(why(folder.path()).split(' ').next(), Some("unable"));
    }

    #[test]
    fn a_file_that_was_cut_short_is_not_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let whole = folder.path().join("tracer.db");
        open_writing(&whole).unwrap().execute_batch("CREATE TABLE t (n)").unwrap();
        let bytes = std::fs::read(&whole).unwrap();
        for (length, expected) in [
            (1, "it was cut short"),
            (17, "it was cut short"),
            (2_000, "it was cut short"),
            (4_095, "it was cut short"),
            (4_096, "it is not a database, or damaged"),
        ] {
            let cut = folder.path().join(format!("{length}.db"));
            std::fs::write(&cut, &bytes[..length]).unwrap();
            assert_eq!(why(&cut), expected, "{length} bytes");
            assert_eq!(std::fs::read(&cut).unwrap(), bytes[..length], "{length} bytes");
        }
        let (empty, missing) = (folder.path().join("empty.db"), folder.path().join("missing.db"));
        std::fs::write(&empty, "").unwrap();
        for fine in [whole, empty, missing] {
            open_writing(&fine).unwrap();
        }
    }
}
