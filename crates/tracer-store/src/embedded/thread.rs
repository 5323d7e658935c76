//! The one connection that writes, on its own thread.
//!
//! SQLite lets one connection write at a time, so there is only one: everything that writes is a job
//! in its queue, and no job ever meets a lock that another one holds.
//!
//! Invariant: a job's caller is answered exactly once, or learns that the store is closed; a job that
//! panics takes nothing else with it. Not here: what the jobs do (`batch`, `retention`).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::error::StoreError;
use super::file;
use crate::metrics::{self, TransactionOutcome};

/// Most jobs that wait for the connection; one more waits outside. Few, because each may be a whole
/// batch, and the commands themselves wait in the writer's own bounded queue.
const JOBS: usize = 64;

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// The thread of the writing connection.
#[derive(Debug)]
pub(super) struct WriteThread {
    /// None once it is closed. Never cloned, so that dropping it ends the thread.
    jobs: Mutex<Option<Sender<Job>>>,
    /// What bounds the jobs: each holds a permit until it is done.
    room: Arc<Semaphore>,
    handle: Mutex<Option<JoinHandle<()>>>,
}

impl WriteThread {
    /// Starts the thread. At its end, what was written is in the file itself, and no log is needed
    /// beside it. `hold` is dropped after the connection is closed: the lock on the file.
    pub(super) fn start(mut connection: Connection, hold: impl Send + 'static) -> std::io::Result<Self> {
        let (jobs, queue) = channel::<Job>();
        let work = move || {
            for job in queue {
                job(&mut connection);
            }
            match file::empty_log(&connection) {
                Ok(true) => {}
                Ok(false) => {
                    tracing::warn!("a read held the log of the database file: keep it beside the file")
                }
                Err(error) => tracing::warn!(cause = ?error, "the log of the database file was not emptied"),
            }
            if let Err((_, error)) = connection.close() {
                tracing::warn!(cause = ?error, "the database file was not closed cleanly");
            }
            drop(hold);
        };
        let handle = std::thread::Builder::new().name("tracer-sqlite".into()).spawn(work)?;
        let room = Arc::new(Semaphore::new(JOBS));
        Ok(Self { jobs: Mutex::new(Some(jobs)), room, handle: Mutex::new(Some(handle)) })
    }

    /// Runs work in a transaction that may write, and commits it if the work succeeds.
    ///
    /// Takes place even if the caller stops waiting. `name` labels its metrics.
    pub(super) async fn write<T, F>(&self, name: &'static str, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        self.run(name, move |connection| {
            // Immediate: what is read is already protected, so the transaction never has to begin anew.
            let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let done = work(&tx)?;
            tx.commit()?;
            Ok(done)
        })
        .await
    }

    /// Runs work with the connection, outside of any transaction.
    pub(super) async fn run<T, F>(&self, name: &'static str, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let begun = Instant::now();
        let permit = Arc::clone(&self.room).acquire_owned().await.map_err(|_| StoreError::Closed)?;
        let answered = self.queue(permit, work)?;
        let result = answered.await.unwrap_or(Err(StoreError::Closed));
        let outcome = if result.is_ok() { TransactionOutcome::Ok } else { TransactionOutcome::Failed };
        metrics::transaction(name, outcome, begun.elapsed());
        result
    }

    fn queue<T, F>(
        &self,
        permit: OwnedSemaphorePermit,
        work: F,
    ) -> Result<oneshot::Receiver<Result<T, StoreError>>, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            // Unwinding drops the transaction, which rolls it back: the connection stays usable.
            let result = catch_unwind(AssertUnwindSafe(|| work(connection)));
            drop(permit);
            drop(answer.send(result.unwrap_or(Err(StoreError::Panicked))));
        });
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.as_ref().ok_or(StoreError::Closed)?.send(job).map_err(|_| StoreError::Closed)?;
        Ok(answered)
    }

    /// Refuses further jobs, and returns the thread, which ends after those it has.
    fn close(&self) -> Option<JoinHandle<()>> {
        self.room.close();
        drop(self.jobs.lock().unwrap_or_else(PoisonError::into_inner).take());
        self.handle.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Refuses further jobs, and blocks until those before are done and the file is closed, so that it
    /// can be opened again at once.
    pub(super) fn close_and_wait(&self) {
        let Some(handle) = self.close() else { return };
        // Were a job to hold the last reference to this, the thread would wait for itself.
        if handle.thread().id() != std::thread::current().id() {
            drop(handle.join());
        }
    }

    /// As [`WriteThread::close_and_wait`], without blocking the runtime.
    pub(super) async fn finish(&self) {
        let Some(handle) = self.close() else { return };
        let joined = tokio::task::spawn_blocking(move || handle.join()).await;
        if !matches!(joined, Ok(Ok(()))) {
            tracing::warn!("the thread of the database file ended by a panic");
        }
    }
}

impl Drop for WriteThread {
    fn drop(&mut self) {
        self.close_and_wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thread() -> WriteThread {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch("CREATE TABLE t (n INTEGER)").unwrap();
        WriteThread::start(connection, ()).unwrap()
    }

    async fn count(thread: &WriteThread) -> Result<i64, StoreError> {
        thread
            .run("count", |connection| {
                Ok(connection.query_row("SELECT count(*) FROM t", [], |row| row.get(0))?)
            })
            .await
    }

    #[tokio::test]
    async fn a_job_that_panics_is_rolled_back_and_the_next_one_runs() {
        let thread = thread();
        let panicking = thread.write("panics", |tx| {
            tx.execute("INSERT INTO t VALUES (1)", [])?;
            if tx.is_autocommit() { Ok(()) } else { panic!("on purpose") }
        });
        assert!(matches!(panicking.await, Err(StoreError::Panicked)));
        assert_eq!(count(&thread).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn every_job_queued_before_the_end_is_done_and_none_after_it() {
        let thread = Arc::new(thread());
        let jobs = (0..500).map(|n| {
            let thread = Arc::clone(&thread);
            tokio::spawn(async move {
                thread.write("insert", move |tx| Ok(tx.execute("INSERT INTO t VALUES (?1)", [n])?)).await
            })
        });
        let results = futures_util::future::join_all(jobs).await;
        assert!(results.into_iter().all(|result| matches!(result, Ok(Ok(1)))));
        assert_eq!(count(&thread).await.unwrap(), 500);
        thread.finish().await;
        assert!(matches!(count(&thread).await, Err(StoreError::Closed)));
    }
}
