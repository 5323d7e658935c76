//! The connections that read: as many as the settings say, each used by one caller at a time.
//!
//! Invariant: a read sees one snapshot, and everything that was answered before it began; one that
//! nobody waits for any more, or that goes on for too long, is interrupted, because the log cannot be
//! shortened past the snapshot of a reader. Not here: what is read (`reads`, `listing`).

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::{Connection, Transaction};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::connection::WriteConnection;
use super::error::StoreError;
use super::file;
use crate::metrics::{self, TransactionOutcome};

/// The longest that one read may take.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// Instructions of SQLite's machine between two looks at whether anybody still waits: well below a
/// millisecond.
const LOOK_EVERY: i32 = 10_000;

/// Where reads go.
#[derive(Debug)]
pub(super) enum Readers {
    /// To read-only connections of the file.
    Pool(Pool),
    /// To the writing connection, where the database is in memory and no other can see it.
    Shared(WriteConnection),
}

/// Read-only connections of a file, opened as they are needed.
#[derive(Debug)]
pub(super) struct Pool {
    path: PathBuf,
    size: usize,
    acquire_timeout: Duration,
    room: Arc<Semaphore>,
    idle: Arc<Mutex<Vec<Connection>>>,
}

impl Readers {
    /// Runs work on one snapshot. `name` labels its metrics.
    pub(super) async fn read<T, F>(&self, name: &'static str, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        match self {
            Self::Shared(connection) => connection.run(name, |connection| snapshot(connection, work)).await,
            Self::Pool(pool) => {
                let begun = Instant::now();
                let result = pool.read(work).await;
                let outcome =
                    if result.is_ok() { TransactionOutcome::Ok } else { TransactionOutcome::Failed };
                metrics::transaction(name, outcome, begun.elapsed());
                result
            }
        }
    }
}

fn snapshot<T>(
    connection: &mut Connection,
    work: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let tx = connection.transaction()?;
    let found = work(&tx)?;
    tx.commit()?;
    Ok(found)
}

impl Pool {
    /// Opens the first connection, so that a file that cannot be read is found out at once.
    pub(super) fn open(path: PathBuf, size: usize, acquire_timeout: Duration) -> rusqlite::Result<Self> {
        let first = file::open_read_only(&path)?;
        let size = size.max(1);
        let room = Arc::new(Semaphore::new(size));
        Ok(Self { path, size, acquire_timeout, room, idle: Arc::new(Mutex::new(vec![first])) })
    }

    async fn read<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        let room = Arc::clone(&self.room).acquire_owned();
        let permit = timeout(self.acquire_timeout, room).await.map_err(|_| StoreError::AllInUse)?;
        let permit = permit.map_err(|_| StoreError::Closed)?;
        self.show();
        let given_up = Arc::new(AtomicBool::new(false));
        let guard = GiveUpOnDrop(Arc::clone(&given_up));
        let (idle, path) = (Arc::clone(&self.idle), self.path.clone());
        let reading = tokio::task::spawn_blocking(move || {
            if given_up.load(Ordering::Relaxed) {
                return Err(StoreError::Closed);
            }
            let kept = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let mut connection = kept.map_or_else(|| file::open_read_only(&path), Ok)?;
            // Looked at while statements run, and not sent to them once: between two statements of a
            // read there would be none to receive it.
            connection.progress_handler(LOOK_EVERY, Some(move || given_up.load(Ordering::Relaxed)))?;
            // A panic drops the connection, and the next read opens another one.
            let found = snapshot(&mut connection, work);
            connection.progress_handler(0, None::<fn() -> bool>)?;
            idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
            drop(permit);
            found
        });
        let found = timeout(READ_TIMEOUT, reading).await.map_err(|_| StoreError::TooLong)?;
        drop(guard);
        self.show();
        found.unwrap_or(Err(StoreError::Panicked))
    }

    fn show(&self) {
        let free = self.room.available_permits();
        metrics::connections(free, self.size.saturating_sub(free));
    }
}

/// Gives a read up when its caller goes away or has waited for too long.
struct GiveUpOnDrop(Arc<AtomicBool>);

impl Drop for GiveUpOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    const ENDLESS: &str =
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";

    fn pool(folder: &tempfile::TempDir) -> Arc<Pool> {
        let path = folder.path().join("tracer.db");
        file::open_writing(&path).unwrap().execute_batch("CREATE TABLE t (n)").unwrap();
        Arc::new(Pool::open(path, 1, Duration::from_secs(60)).unwrap())
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_read_that_nobody_waits_for_gives_its_connection_back() {
        let folder = tempfile::tempdir().unwrap();
        let pool = pool(&folder);
        let (begun, begins) = channel();
        let endless = {
            let pool = Arc::clone(&pool);
            let read = move |tx: &Transaction<'_>| {
                begun.send(()).unwrap();
                Ok(tx.query_row(ENDLESS, [], |row| row.get::<_, i64>(0))?)
            };
            tokio::spawn(async move { pool.read(read).await })
        };
        tokio::task::spawn_blocking(move || begins.recv()).await.unwrap().unwrap();
        endless.abort();
        // The only connection there is: this would never be answered if the first read went on.
        let next = pool.read(|tx| Ok(tx.query_row("SELECT 7", [], |row| row.get::<_, i64>(0))?)).await;
        assert_eq!(next.unwrap(), 7);
    }

    #[tokio::test]
    async fn a_read_that_panics_takes_only_its_connection_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let pool = pool(&folder);
        let panicking = pool.read(|tx| if tx.is_autocommit() { Ok(()) } else { panic!("on purpose") });
        assert!(matches!(panicking.await, Err(StoreError::Panicked)));
        let next =
            pool.read(|tx| Ok(tx.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0))?)).await;
        assert_eq!(next.unwrap(), 0);
    }
}
