//! Answers kept under idempotency keys. Not here: when they hold (`tracer_core::record`).

use rusqlite::{Transaction, params};
use tracer_core::record::{IdempotencyRecord, IdempotencyScope, Outcome, WorkingSet};

use super::error::StoreError;
use super::row::{optional_text, time};

const LOAD: &str = "\
-- load_idempotency_key
SELECT body, outcome, created_at
  FROM idempotency_keys
 WHERE scope = ?1";

const SAVE: &str = "\
-- save_idempotency_key
INSERT INTO idempotency_keys (scope, body, outcome, created_at)
VALUES (?1, ?2, ?3, ?4)
    ON CONFLICT (scope) DO UPDATE
   SET body = excluded.body, outcome = excluded.outcome, created_at = excluded.created_at";

/// Loads what is kept under these keys.
pub(super) fn load<'a>(
    tx: &Transaction<'_>,
    scopes: impl IntoIterator<Item = &'a IdempotencyScope>,
    set: &mut WorkingSet,
) -> Result<(), StoreError> {
    let mut statement = tx.prepare_cached(LOAD)?;
    for scope in scopes {
        let mut rows = statement.query([scope])?;
        let Some(row) = rows.next()? else { continue };
        let Some(outcome) = optional_text(row, 1)? else { continue };
        let outcome: Outcome =
            serde_json::from_str(outcome).map_err(|error| StoreError::stored("answer", error))?;
        let record = IdempotencyRecord { body: row.get(0)?, outcome, created_at: time(row, 2)? };
        set.idempotency.insert(*scope, record);
    }
    Ok(())
}

/// Writes the answers that are new.
pub(super) fn save(tx: &Transaction<'_>, set: &WorkingSet) -> Result<(), StoreError> {
    let mut statement = tx.prepare_cached(SAVE)?;
    for (scope, kept) in &set.new_idempotency {
        let outcome = serde_json::to_string(&kept.outcome)?;
        statement.execute(params![scope, kept.body, outcome, kept.created_at.as_micros()])?;
    }
    Ok(())
}

const EXPIRED: &str = "\
-- expired_idempotency_keys
DELETE FROM idempotency_keys
 WHERE scope IN (SELECT scope FROM idempotency_keys WHERE created_at < ?1 ORDER BY created_at LIMIT ?2)";

/// Deletes at most `limit` keys made before an instant; returns how many.
pub(super) fn delete_expired(tx: &Transaction<'_>, before: i64, limit: i64) -> Result<usize, StoreError> {
    Ok(tx.prepare_cached(EXPIRED)?.execute(params![before, limit])?)
}
