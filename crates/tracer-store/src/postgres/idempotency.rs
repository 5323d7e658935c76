//! Answers kept under idempotency keys.
//!
//! A key is claimed by inserting its row without an answer, which makes a second holder of the same key wait, and then
//! locked. A row that stays without an answer (the command was refused) is a key that may be used again.
//!
//! Invariant: rows are claimed in the order of their keys, and locked in it after all of them are claimed.
//! Not here: how long a key holds (`tracer_core::record`).

use std::collections::{BTreeSet, HashMap};

use tokio_postgres::Row;
use tracer_core::record::{IdempotencyRecord, IdempotencyScope, WorkingSet};
use tracer_core::time::Timestamp;

use super::error::StoreError;
use super::row::{self, Bits, Stamp};
use super::tx::{Params, column};

pub(super) const CLAIM: &str = "\
-- claim_idempotency
INSERT INTO idempotency_keys (scope, created_at)
SELECT scope, $2 FROM unnest($1::uuid[]) AS scope
    ON CONFLICT (scope) DO NOTHING";

pub(super) const LOCK: &str = "\
-- lock_idempotency
SELECT scope, body, outcome, created_at
  FROM idempotency_keys
 WHERE scope = ANY($1)
 ORDER BY scope
   FOR UPDATE";

pub(super) const SAVE: &str = "\
-- save_idempotency
UPDATE idempotency_keys AS k
   SET body = n.body, outcome = n.outcome, created_at = n.created_at
  FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::timestamptz[]) AS n (scope, body, outcome, created_at)
 WHERE k.scope = n.scope";

/// The parameters of [`CLAIM`].
pub(super) fn claim<'a>(scopes: &BTreeSet<IdempotencyScope>, now: Timestamp) -> Params<'a> {
    vec![Box::new(bits(scopes)), Box::new(Stamp(now))]
}

/// The parameters of [`LOCK`].
pub(super) fn lock<'a>(scopes: &BTreeSet<IdempotencyScope>) -> Params<'a> {
    vec![Box::new(bits(scopes))]
}

/// The parameters of [`SAVE`].
pub(super) fn save(set: &WorkingSet) -> Params<'_> {
    let rows: Vec<_> = set.new_idempotency.iter().collect();
    vec![
        column(&rows, |(scope, _)| Bits(**scope)),
        column(&rows, |(_, record)| Bits(record.body)),
        column(&rows, |(_, record)| row::to_json(&record.outcome)),
        column(&rows, |(_, record)| Stamp(record.created_at)),
    ]
}

/// Reads what [`LOCK`] returned.
///
/// # Errors
/// [`StoreError::Vanished`] if retention removed a key after it was claimed: it was old, and is claimed anew.
pub(super) fn read(
    rows: &[Row],
    scopes: &BTreeSet<IdempotencyScope>,
) -> Result<HashMap<IdempotencyScope, IdempotencyRecord>, StoreError> {
    if rows.len() != scopes.len() {
        return Err(StoreError::Vanished);
    }
    let mut kept = HashMap::new();
    for row in rows {
        let (body, outcome): (Option<Bits>, Option<&str>) =
            (row::get(row, "body")?, row::get(row, "outcome")?);
        if let (Some(Bits(body)), Some(outcome)) = (body, outcome) {
            let outcome = row::json(outcome, "outcome")?;
            let record =
                IdempotencyRecord { body, outcome, created_at: row::some_instant(row, "created_at")? };
            kept.insert(row::get::<Bits>(row, "scope")?.0, record);
        }
    }
    Ok(kept)
}

fn bits(scopes: &BTreeSet<IdempotencyScope>) -> Vec<Bits> {
    scopes.iter().map(|scope| Bits(*scope)).collect()
}
