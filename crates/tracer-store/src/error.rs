//! Why a store cannot be opened.

use std::path::PathBuf;

use thiserror::Error;

/// A cause for the log, kept apart from the message.
pub(crate) type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why a store cannot be opened. Each message says what to do.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The connection string is not one.
    #[error("the PostgreSQL connection string cannot be used: {reason}")]
    Url {
        /// What is wrong with it, without quoting it.
        reason: String,
    },
    /// PostgreSQL did not answer, or not as it should: it may yet, if it is starting.
    #[error("PostgreSQL cannot be reached: check DATABASE_URL, and that the server runs")]
    Unreachable(#[source] Cause),
    /// PostgreSQL answered, and does not let this user into this database: waiting changes nothing.
    #[error(
        "PostgreSQL does not let Tracer in: check the user, the password and the database in DATABASE_URL"
    )]
    Rejected(#[source] Cause),
    /// The server is older than the oldest that is supported.
    #[error("PostgreSQL {found} is too old: version 15 or newer is needed")]
    TooOld {
        /// What the server says it is.
        found: String,
    },
    /// Another process has the file open.
    #[error(
        "{} is in use by another process: stop it, or reach its data through the service that has it open",
        .path.display()
    )]
    InUse {
        /// The database file.
        path: PathBuf,
    },
    /// The file cannot be opened, made or read as a database.
    #[error("{} cannot be opened as a database: check that the path is right and may be written", .path.display())]
    File {
        /// The database file.
        path: PathBuf,
        /// What went wrong.
        #[source]
        source: Cause,
    },
    /// The system has no thread left for the writer.
    #[error("the thread that writes could not be started")]
    Thread(#[source] std::io::Error),
    /// The tables could not be made or brought up to date.
    #[error("the tables could not be brought up to date")]
    Migration(#[source] Cause),
}
