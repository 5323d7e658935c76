//! A server of one test's own.
//!
//! Invariant: it keeps its address and its rows over every stop and restart.
//! Not here: sharing.

use super::cluster::{Cluster, Owner};

/// A PostgreSQL server that a test may stop and start again, and whose log it may read.
///
/// It always comes from the binaries of this machine. Starting and stopping block, a second at most as a rule: a test
/// that wants load to go on meanwhile runs them in `spawn_blocking`, or on a runtime with several threads.
/// Dropped, it stops and its files are removed.
#[derive(Debug)]
pub struct PrivateServer(Cluster);

impl PrivateServer {
    /// Starts a new, empty server.
    ///
    /// # Panics
    /// When there are no PostgreSQL binaries, or they do not start. The message says why.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts a new, empty server with settings of PostgreSQL's beside the usual ones, each as `name=value`.
    ///
    /// # Panics
    /// When there are no PostgreSQL binaries, or they do not start. The message says why.
    pub fn start_with(settings: &[&str]) -> Self {
        let mut cluster = Cluster::create(settings).unwrap_or_else(|reason| panic!("{}", advise(&reason)));
        cluster.start(Owner::ThisProcess).unwrap_or_else(|reason| panic!("{}", advise(&reason)));
        Self(cluster)
    }

    /// Returns the URL of one of its databases over TCP; `postgres` exists from the start.
    pub fn url(&self, database: &str) -> String {
        self.0.url(database)
    }

    /// Returns the folder that holds its Unix socket, for programs that prefer one.
    pub fn socket_folder(&self) -> &std::path::Path {
        self.0.socket_folder()
    }

    /// Ends the server at once, as a crash would: connections break, and the next start recovers from the log.
    ///
    /// # Panics
    /// When the server's end cannot be awaited.
    pub fn stop(&mut self) {
        self.0.stop().unwrap_or_else(|reason| panic!("{reason}"));
    }

    /// Starts the server again under the same address, and returns when it accepts connections. One that still
    /// runs is stopped first.
    ///
    /// # Panics
    /// When it does not start. The message holds its log.
    pub fn restart(&mut self) {
        self.stop();
        self.0.start(Owner::ThisProcess).unwrap_or_else(|reason| panic!("{reason}"));
    }

    /// Returns everything the server has logged since it was first started.
    pub fn log(&self) -> String {
        self.0.log()
    }
}

fn advise(reason: &str) -> String {
    format!("this test needs a PostgreSQL server that it may stop, started from local programs: {reason}")
}
