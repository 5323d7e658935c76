//! PostgreSQL servers started from the binaries of this machine.
//!
//! Invariant: a server ends with its owner, also when the owner is killed, and takes its files with it: a small
//! supervisor in a process group of its own sees the owner go.
//! Not here: which rung is used; see `shared`.

mod binaries;
mod cluster;
mod place;
mod private;

pub(super) use cluster::Owner;
pub use private::PrivateServer;

/// Starts a server that lasts as long as `owner`, and returns its URL and a description.
///
/// # Errors
/// Why it did not start, in words.
pub(super) fn start_shared(owner: Owner) -> Result<(String, String), String> {
    let mut cluster = cluster::Cluster::create(&[])?;
    cluster.start(owner)?;
    let started = (cluster.url("postgres"), format!("a private cluster of {}", cluster.binaries().display()));
    // The owner's end ends the server. Dropping would do so now.
    std::mem::forget(cluster);
    Ok(started)
}
