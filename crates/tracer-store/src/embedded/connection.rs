//! The one connection that writes.
//!
//! SQLite lets one connection write at a time, so there is only one, and whoever writes takes turns: the
//! batches of the writer, on the writer's own thread, and everything else on a thread that may block.
//!
//! Invariant: turns are taken in the order in which they were asked for; work that panics takes nothing
//! else with it. Not here: what the work is (`batch`, `retention`).

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::Semaphore;

use super::error::StoreError;
use super::file;
use crate::metrics::{self, TransactionOutcome};

/// The writing connection.
#[derive(Clone)]
pub(super) struct WriteConnection {
    open: Arc<Mutex<Option<Open>>>,
    /// Whose turn it is: a mutex alone would let a loop of short work starve everybody else.
    turn: Arc<Semaphore>,
}

/// A connection that is open, and what is dropped once it is closed: the lock on the file.
struct Open {
    connection: Connection,
    hold: Box<dyn Any + Send>,
}

impl WriteConnection {
    /// Takes a connection. `hold` is dropped after it is closed.
    pub(super) fn new(connection: Connection, hold: impl Send + 'static) -> Self {
        let open = Open { connection, hold: Box::new(hold) };
        Self { open: Arc::new(Mutex::new(Some(open))), turn: Arc::new(Semaphore::new(1)) }
    }

    /// Runs work in a transaction that may write, and commits it if the work succeeds.
    ///
    /// Blocks the thread: only for one that has nothing else to do. `name` labels its metrics.
    pub(super) async fn write_here<T>(
        &self,
        name: &'static str,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let begun = Instant::now();
        let _turn = self.turn.acquire().await.map_err(|_| StoreError::Closed)?;
        observed(name, begun, self.with(|connection| in_transaction(connection, work)))
    }

    /// As [`WriteConnection::write_here`], without blocking the thread. Takes place even if the caller
    /// stops waiting.
    pub(super) async fn write<T, F>(&self, name: &'static str, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        self.run(name, move |connection| in_transaction(connection, work)).await
    }

    /// Runs work with the connection, outside of any transaction.
    pub(super) async fn run<T, F>(&self, name: &'static str, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let begun = Instant::now();
        let turn = Arc::clone(&self.turn).acquire_owned().await.map_err(|_| StoreError::Closed)?;
        let this = self.clone();
        let working = tokio::task::spawn_blocking(move || {
            let done = this.with(work);
            drop(turn);
            done
        });
        observed(name, begun, working.await.unwrap_or(Err(StoreError::Panicked)))
    }

    /// Refuses whoever asks for a turn from now on, and blocks until the work at hand is done and the
    /// file is closed, so that it can be opened again at once.
    ///
    /// What was written is then in the file itself, and no log is needed beside it.
    pub(super) fn close(&self) {
        self.turn.close();
        let Some(Open { connection, hold }) = self.open.lock().unwrap_or_else(PoisonError::into_inner).take()
        else {
            return;
        };
        match file::empty_log(&connection) {
            Ok(true) => {}
            Ok(false) => tracing::warn!("a read held the log of the database file: keep it beside the file"),
            Err(error) => tracing::warn!(error = %error, "the log of the database file was not emptied"),
        }
        if let Err((_, error)) = connection.close() {
            tracing::warn!(error = %error, "the database file was not closed cleanly");
        }
        drop(hold);
    }

    fn with<T>(&self, work: impl FnOnce(&mut Connection) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let Open { connection, .. } = open.as_mut().ok_or(StoreError::Closed)?;
        // Unwinding drops the transaction, which rolls it back: the connection stays usable.
        catch_unwind(AssertUnwindSafe(|| work(connection))).unwrap_or(Err(StoreError::Panicked))
    }
}

impl fmt::Debug for WriteConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteConnection").finish_non_exhaustive()
    }
}

fn in_transaction<T>(
    connection: &mut Connection,
    work: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    // Immediate: what is read is already protected, so the transaction never has to begin anew.
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let done = work(&tx)?;
    tx.commit()?;
    Ok(done)
}

fn observed<T>(name: &'static str, begun: Instant, result: Result<T, StoreError>) -> Result<T, StoreError> {
    let outcome = if result.is_ok() { TransactionOutcome::Ok } else { TransactionOutcome::Failed };
    metrics::transaction(name, outcome, begun.elapsed());
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open() -> WriteConnection {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch("CREATE TABLE t (n INTEGER)").unwrap();
        WriteConnection::new(connection, ())
    }

    async fn count(connection: &WriteConnection) -> Result<i64, StoreError> {
        connection
            .run("count", |connection| {
                Ok(connection.query_row("SELECT count(*) FROM t", [], |row| row.get(0))?)
            })
            .await
    }

    #[tokio::test]
    async fn work_that_panics_is_rolled_back_and_the_next_runs() {
        let connection = open();
        let panicking = |tx: &Transaction<'_>| {
            tx.execute("INSERT INTO t VALUES (1)", [])?;
            if tx.is_autocommit() { Ok(()) } else { panic!("on purpose") }
        };
        assert!(matches!(connection.write("panics", panicking).await, Err(StoreError::Panicked)));
        assert!(matches!(connection.write_here("panics", panicking).await, Err(StoreError::Panicked)));
        assert_eq!(count(&connection).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn all_take_their_turn_and_none_after_the_end() {
        let connection = open();
        let all = (0..500).map(|n| {
            let connection = connection.clone();
            let insert = move |tx: &Transaction<'_>| Ok(tx.execute("INSERT INTO t VALUES (?1)", [n])?);
            tokio::spawn(async move {
                if n % 2 == 0 {
                    connection.write("insert", insert).await
                } else {
                    connection.write_here("insert", insert).await
                }
            })
        });
        let results = futures_util::future::join_all(all).await;
        assert!(results.into_iter().all(|result| matches!(result, Ok(Ok(1)))));
        assert_eq!(count(&connection).await.unwrap(), 500);
        connection.close();
        assert!(matches!(count(&connection).await, Err(StoreError::Closed)));
        connection.close();
    }
}
