//! What can go wrong between this store and PostgreSQL, and what it means.
//!
//! Invariant: what is [`StoreError::is_retryable`] left nothing behind, or something that a replay finds and repeats.
//! Not here: how often and how long to try again (`batch`, `pool`).

use thiserror::Error;
use tokio_postgres::error::SqlState;
use tracer_core::repository::RepositoryError;

use crate::error::{Cause, OpenError};

/// Why a statement or a transaction did not succeed.
#[derive(Debug, Error)]
pub(super) enum StoreError {
    /// There is no connection to be had: nobody answers, or the server starts, is full or does not write.
    #[error("PostgreSQL is away")]
    Away(#[source] Cause),
    /// The connection was lost; the next one may do.
    #[error("the connection to PostgreSQL was lost")]
    Lost(#[source] Cause),
    /// It took longer than it may.
    #[error("PostgreSQL took too long")]
    TooLong,
    /// The database gave the transaction up in favour of another one.
    #[error("the transaction met another one")]
    Contention(#[source] tokio_postgres::Error),
    /// Another transaction inserted the same row first: the replay finds it.
    #[error("a row exists already")]
    Exists(#[source] tokio_postgres::Error),
    /// A row that was there is gone: retention removed it in between.
    #[error("a row vanished")]
    Vanished,
    /// The partition of the month is missing.
    #[error("a partition is missing")]
    NoPartition(#[source] tokio_postgres::Error),
    /// What is stored is not what was written.
    #[error("a stored {what} cannot be read")]
    Unreadable {
        /// What it should be.
        what: &'static str,
        /// Why it is not.
        #[source]
        source: Cause,
    },
    /// Everything else: a bug, or data that PostgreSQL cannot hold.
    #[error("PostgreSQL refused a statement")]
    Refused(#[source] tokio_postgres::Error),
}

impl From<tokio_postgres::Error> for StoreError {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(state) = error.code() else {
            // Without a state it never reached the server, or the answer did not come back; except that a value
            // could not be converted, which is ours.
            return if is_conversion(&error) { Self::Refused(error) } else { Self::Lost(Box::new(error)) };
        };
        if ends_session(state) {
            return Self::Lost(Box::new(error));
        }
        if is_away(state) {
            return Self::Away(Box::new(error));
        }
        if *state == SqlState::UNIQUE_VIOLATION {
            return Self::Exists(error);
        }
        if [
            SqlState::T_R_SERIALIZATION_FAILURE,
            SqlState::T_R_DEADLOCK_DETECTED,
            SqlState::LOCK_NOT_AVAILABLE,
        ]
        .contains(state)
        {
            return Self::Contention(error);
        }
        if *state == SqlState::QUERY_CANCELED {
            return Self::TooLong;
        }
        // A CHECK of ours would be named; a row that no partition takes violates the nameless one of the table.
        let nameless = error.as_db_error().is_some_and(|error| error.constraint().is_none());
        if *state == SqlState::CHECK_VIOLATION && nameless {
            Self::NoPartition(error)
        } else {
            Self::Refused(error)
        }
    }
}

impl StoreError {
    /// Takes why a connection could not be made. One that was lost while it was being set up may be tried again at once.
    pub(super) fn connecting(error: tokio_postgres::Error) -> Self {
        let lost = error.is_closed() || error.code().is_some_and(ends_session);
        if lost { Self::Lost(Box::new(error)) } else { Self::Away(Box::new(error)) }
    }

    /// Returns whether trying the same again may succeed.
    pub(super) const fn is_retryable(&self) -> bool {
        match self {
            Self::Lost(_) | Self::Contention(_) | Self::Exists(_) | Self::Vanished | Self::NoPartition(_) => {
                true
            }
            Self::Away(_) | Self::TooLong | Self::Unreadable { .. } | Self::Refused(_) => false,
        }
    }

    /// Returns the error as callers know it; `context` says what was being done.
    pub(super) fn into_repository(self, context: &'static str) -> RepositoryError {
        match self {
            Self::Away(_) | Self::Lost(_) => unavailable("the database is away", self),
            Self::TooLong => unavailable("the database takes too long", self),
            Self::Contention(_) => unavailable("the database is held up", self),
            Self::Exists(_)
            | Self::Vanished
            | Self::NoPartition(_)
            | Self::Unreadable { .. }
            | Self::Refused(_) => RepositoryError::Internal { context, source: Some(Box::new(self)) },
        }
    }

    /// Wraps what made a stored value unreadable.
    pub(super) fn unreadable(what: &'static str, source: impl Into<Cause>) -> Self {
        Self::Unreadable { what, source: source.into() }
    }
}

/// Returns why the store cannot be opened, from the error of its first connections.
pub(super) fn not_opened(error: impl std::error::Error + Send + Sync + 'static) -> OpenError {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(found) = cause {
        if found.downcast_ref().and_then(tokio_postgres::Error::code).is_some_and(keeps_out) {
            return OpenError::Rejected(Box::new(error));
        }
        cause = found.source();
    }
    OpenError::Unreachable(Box::new(error))
}

fn unavailable(reason: &'static str, error: StoreError) -> RepositoryError {
    RepositoryError::Unavailable { reason, source: Some(Box::new(error)) }
}

fn is_conversion(error: &tokio_postgres::Error) -> bool {
    // The driver keeps its kinds to itself, but a lost connection always has an I/O error or nothing behind it.
    let cause = std::error::Error::source(error);
    !error.is_closed()
        && cause.is_some_and(|cause| !cause.is::<std::io::Error>() && !cause.is::<rustls::Error>())
}

/// Whether a state says that the server has ended this session: class 08 (connection), shutdown, and a timeout.
fn ends_session(state: &SqlState) -> bool {
    let states =
        [SqlState::ADMIN_SHUTDOWN, SqlState::CRASH_SHUTDOWN, SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT];
    state.code().starts_with("08") || states.contains(state)
}

/// Whether a state says that this user may not come into this database, or that there is none: class 28 (user, password,
/// pg_hba.conf), no such database, and no right to connect to it.
fn keeps_out(state: &SqlState) -> bool {
    let states = [SqlState::INVALID_CATALOG_NAME, SqlState::INSUFFICIENT_PRIVILEGE];
    state.code().starts_with("28") || states.contains(state)
}

/// Whether a state says that this server cannot be used now: class 53 (resources), it starts or stops, the database is
/// gone, or the server has become a standby.
fn is_away(state: &SqlState) -> bool {
    let states =
        [SqlState::CANNOT_CONNECT_NOW, SqlState::DATABASE_DROPPED, SqlState::READ_ONLY_SQL_TRANSACTION];
    state.code().starts_with("53") || states.contains(state)
}
