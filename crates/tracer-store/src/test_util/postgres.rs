//! PostgreSQL for tests: one server for all of them, one database for each.
//!
//! The server is found on the first rung that holds:
//!
//! 1. `TRACER_TEST_DATABASE_URL`: a server that runs already, reached without TLS by a role that may create databases;
//! 2. a container, where a Docker engine answers (`postgres:16-alpine`; `TRACER_TEST_POSTGRES_TAG` names another tag);
//! 3. a private cluster, started from the PostgreSQL binaries of this machine;
//! 4. none: the test fails, and says what to install or to set.
//!
//! `TRACER_TEST_POSTGRES=url`, `docker` or `local` allows only that rung.
//!
//! Invariant: whatever a test process starts ends with that process, also when it is killed.
//! Not here: the schema. A database is handed out empty.

mod admin;
mod container;
mod local;
mod server_url;
mod shared;

use std::sync::atomic::{AtomicU32, Ordering};

pub use local::PrivateServer;

/// A database of one's own, empty at first, dropped when the value is.
#[derive(Debug)]
pub struct TestDatabase {
    name: String,
    url: String,
    server_url: String,
}

impl TestDatabase {
    /// Makes an empty database on the server that all tests of this process share; the first caller starts it.
    ///
    /// # Panics
    /// When no server can be had. The message says what to install or which variable to set.
    pub async fn create() -> Self {
        // The server's start blocks for a second or more, and other tests of this runtime need not wait for it.
        match tokio::task::spawn_blocking(Self::try_create).await {
            Ok(Ok(database)) => database,
            Ok(Err(reason)) => panic!("no database for this test: {reason}"),
            Err(join) => panic!("no database for this test: {join}"),
        }
    }

    /// Returns the URL under which this database is reached over TCP.
    pub fn url(&self) -> &str {
        &self.url
    }

    fn try_create() -> Result<Self, String> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let server_url = shared::server_url()?;
        let serial = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = admin::create_database(&server_url, &format!("{}_{serial}", std::process::id()))?;
        let url = server_url::with_database(&server_url, &name)?;
        Ok(Self { name, url, server_url })
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        // On a thread, because the test's own runtime cannot be blocked on from here. A failure is not the test's:
        // the server may be gone by now, and what stays behind on a lasting one is dropped by a later run.
        let (server_url, name) = (self.server_url.clone(), self.name.clone());
        let dropped = std::thread::spawn(move || admin::drop_database(&server_url, &name)).join();
        drop(dropped);
    }
}

#[cfg(test)]
mod tests;
