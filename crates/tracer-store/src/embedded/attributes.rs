//! The index from attributes to executions: one row per attribute that has a text, a number or a truth
//! value, so that a listing by attribute reads what it finds and nothing else.
//!
//! Invariant: rows come and go with their execution, and change with its start and its attributes. Digests of different
//! attributes may be the same one, so whoever follows the index compares the attributes themselves.

use std::borrow::Cow;

use rusqlite::{OptionalExtension, Transaction, params};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tracer_core::attributes::Attributes;
use tracer_core::ids::ExecutionId;
use tracer_core::time::Timestamp;

use super::error::StoreError;
use super::row;

const INSERT: &str = "\
-- insert_attribute
INSERT OR IGNORE INTO execution_attributes (digest, at, id) VALUES (?1, ?2, ?3)";

const OF_EXECUTION: &str = "\
-- attributes_of_execution
SELECT started_at, attributes
  FROM workflow_executions
 WHERE execution_id = ?1";

const DELETE: &str = "\
-- delete_attribute
DELETE FROM execution_attributes
 WHERE digest = ?1 AND at = ?2 AND id = ?3";

/// Adds the attributes of an execution that has none here.
pub(super) fn insert(
    tx: &Transaction<'_>,
    id: ExecutionId,
    started_at: Timestamp,
    attributes: &Attributes,
) -> Result<(), StoreError> {
    if attributes.is_empty() {
        return Ok(());
    }
    let mut statement = tx.prepare_cached(INSERT)?;
    for digest in digests(attributes) {
        statement.execute(params![digest, started_at.as_micros(), id.to_bytes()])?;
    }
    Ok(())
}

/// Removes the attributes of an execution that is about to be deleted, or to get others.
pub(super) fn delete(tx: &Transaction<'_>, id: ExecutionId) -> Result<(), StoreError> {
    let mut of_execution = tx.prepare_cached(OF_EXECUTION)?;
    let read = |found: &rusqlite::Row<'_>| Ok((found.get::<_, i64>(0)?, row::attributes(found, 1)));
    let Some((at, attributes)) = of_execution.query_row([id.to_bytes()], read).optional()? else {
        return Ok(());
    };
    let mut delete = tx.prepare_cached(DELETE)?;
    for digest in digests(&attributes?) {
        delete.execute(params![digest, at, id.to_bytes()])?;
    }
    Ok(())
}

/// Returns what a value is compared by: a text, or a number or a truth value as it is written.
pub(super) fn written(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => Some(text.into()),
        Value::Number(number) => Some(number.to_string().into()),
        Value::Bool(truth) => Some(if *truth { "true" } else { "false" }.into()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Returns what an attribute is found by.
pub(super) fn digest(key: &str, written: &str) -> i64 {
    // No key holds a NUL, so that no two attributes are the same bytes.
    let hash = Sha256::new().chain_update(key).chain_update([0]).chain_update(written).finalize();
    let mut first = [0; 8];
    first.iter_mut().zip(hash).for_each(|(byte, hashed)| *byte = hashed);
    i64::from_be_bytes(first)
}

fn digests(attributes: &Attributes) -> impl Iterator<Item = i64> {
    attributes.entries().iter().filter_map(|(key, value)| Some(digest(key, &written(value)?)))
}
