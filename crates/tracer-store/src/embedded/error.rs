//! What can go wrong in the embedded store, and what callers are told of it.
//!
//! Not here: why a file cannot be opened (`file`, and `OpenError`).

use rusqlite::ErrorCode;
use thiserror::Error;
use tracer_core::repository::RepositoryError;

use crate::error::Cause;

/// Why a transaction did not take place.
#[derive(Debug, Error)]
pub(super) enum StoreError {
    /// SQLite refused.
    #[error("SQLite failed")]
    Sqlite(#[from] rusqlite::Error),
    /// A stored value is not what this service writes.
    #[error("a stored {what} cannot be read")]
    Stored {
        /// What it should have been.
        what: &'static str,
        /// Why it is not.
        #[source]
        source: Cause,
    },
    /// A value cannot be written as JSON.
    #[error("a value cannot be written as JSON")]
    Json(#[from] serde_json::Error),
    /// The work panicked; its transaction was rolled back.
    #[error("the work panicked")]
    Panicked,
    /// The store is shut down.
    #[error("the store is shut down")]
    Closed,
    /// No reading connection became free in time.
    #[error("every reading connection is in use")]
    AllInUse,
    /// A read went on for longer than any may.
    #[error("the read took too long")]
    TooLong,
}

impl StoreError {
    /// Reports a stored value that this service never writes.
    pub(super) fn stored(what: &'static str, cause: impl Into<Cause>) -> Self {
        Self::Stored { what, source: cause.into() }
    }
}

/// What SQLite says when the machine, and not this service, is at fault: trying again may help.
const PASSING: [(ErrorCode, &str); 9] = [
    (ErrorCode::DiskFull, "the disk is full"),
    (ErrorCode::SystemIoFailure, "the disk cannot be read or written"),
    (ErrorCode::DatabaseBusy, "another process holds the database file"),
    (ErrorCode::DatabaseLocked, "another connection holds the database"),
    (ErrorCode::FileLockingProtocolFailed, "the database file cannot be locked"),
    (ErrorCode::CannotOpen, "the database file cannot be opened"),
    (ErrorCode::ReadOnly, "the database file cannot be written"),
    (ErrorCode::OutOfMemory, "memory is short"),
    (ErrorCode::OperationInterrupted, "the read was given up"),
];

impl From<StoreError> for RepositoryError {
    fn from(error: StoreError) -> Self {
        let reason = match &error {
            StoreError::Sqlite(cause) => {
                let passing = PASSING.iter().find(|(code, _)| cause.sqlite_error_code() == Some(*code));
                passing.map(|(_, reason)| *reason)
            }
            StoreError::Closed => Some("the service is shutting down"),
            StoreError::AllInUse => Some("too many reads are under way"),
            StoreError::TooLong => Some("the read took too long"),
            StoreError::Stored { .. } | StoreError::Json(_) | StoreError::Panicked => None,
        };
        match reason {
            Some(reason) => Self::Unavailable { reason, source: Some(Box::new(error)) },
            None => Self::Internal {
                context: "a transaction of the embedded store",
                source: Some(Box::new(error)),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::ffi;

    use super::*;

    fn told(code: i32) -> String {
        let error = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
        RepositoryError::from(StoreError::from(error)).to_string()
    }

    #[test]
    fn a_machine_at_fault_can_be_tried_again_and_a_bug_cannot() {
        assert_eq!(told(ffi::SQLITE_FULL), "the store is unavailable: the disk is full");
        assert_eq!(
            told(ffi::SQLITE_IOERR_WRITE),
            "the store is unavailable: the disk cannot be read or written"
        );
        assert_eq!(
            told(ffi::SQLITE_BUSY),
            "the store is unavailable: another process holds the database file"
        );
        assert_eq!(told(ffi::SQLITE_CORRUPT), "the store failed: a transaction of the embedded store");
        assert_eq!(
            told(ffi::SQLITE_CONSTRAINT_PRIMARYKEY),
            "the store failed: a transaction of the embedded store"
        );
    }
}
