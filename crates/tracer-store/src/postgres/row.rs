//! How the domain's values travel to PostgreSQL and back, in its binary format.
//!
//! Written here rather than taken from a calendar or UUID crate, because a timestamp is a number in the domain and a
//! number on the wire: a batch of a thousand rows passes without any conversion but an addition.
//!
//! Invariant: what is written is read back as it was.
//! Not here: which columns a table has (`executions`, `steps`, `baselines`).

use std::collections::BTreeMap;

use bytes::BytesMut;
use serde_json::Value;
use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, accepts, to_sql_checked};
use tracer_core::attributes::Attributes;
use tracer_core::cohort::BaselineKey;
use tracer_core::failure::Failure;
use tracer_core::features::Features;
use tracer_core::ids::ExecutionId;
use tracer_core::incident::{Fingerprint, Incident, IncidentId};
use tracer_core::name::Version;
use tracer_core::time::{Day, Micros, Timestamp};
use tracer_core::trace::Trace;

use super::error::StoreError;
use crate::error::Cause;

/// PostgreSQL counts from 2000-01-01, the domain from 1970-01-01: the microseconds between them.
const EPOCH_MICROS: i64 = 946_684_800_000_000;
/// The same in days.
const EPOCH_DAYS: i32 = 10_957;

/// An instant as `timestamptz`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamp(pub(super) Timestamp);

/// A day as `date`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Date(pub(super) Day);

/// Sixteen bytes as `uuid`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bits(pub(super) [u8; 16]);

impl From<ExecutionId> for Bits {
    fn from(id: ExecutionId) -> Self {
        Self(id.to_bytes())
    }
}

impl From<IncidentId> for Bits {
    fn from(id: IncidentId) -> Self {
        Self(id.to_bytes())
    }
}

impl From<Fingerprint> for Bits {
    fn from(fingerprint: Fingerprint) -> Self {
        Self(fingerprint.to_bytes())
    }
}

impl From<BaselineKey> for Bits {
    fn from(key: BaselineKey) -> Self {
        Self(key.to_bytes())
    }
}

impl ToSql for Stamp {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Cause> {
        out.extend_from_slice(&self.0.as_micros().saturating_sub(EPOCH_MICROS).to_be_bytes());
        Ok(IsNull::No)
    }

    accepts!(TIMESTAMPTZ);
    to_sql_checked!();
}

impl<'a> FromSql<'a> for Stamp {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Cause> {
        let micros = i64::from_be_bytes(raw.try_into()?);
        Ok(Self(Timestamp::from_micros(micros.saturating_add(EPOCH_MICROS))))
    }

    accepts!(TIMESTAMPTZ);
}

impl ToSql for Date {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Cause> {
        out.extend_from_slice(&self.0.0.saturating_sub(EPOCH_DAYS).to_be_bytes());
        Ok(IsNull::No)
    }

    accepts!(DATE);
    to_sql_checked!();
}

impl<'a> FromSql<'a> for Date {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Cause> {
        let days = i32::from_be_bytes(raw.try_into()?);
        Ok(Self(Day(days.saturating_add(EPOCH_DAYS))))
    }

    accepts!(DATE);
}

impl ToSql for Bits {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Cause> {
        out.extend_from_slice(&self.0);
        Ok(IsNull::No)
    }

    accepts!(UUID);
    to_sql_checked!();
}

impl<'a> FromSql<'a> for Bits {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Cause> {
        Ok(Self(raw.try_into()?))
    }

    accepts!(UUID);
}

/// Returns the value of a column.
pub(super) fn get<'a, T: FromSql<'a>>(row: &'a Row, column: &'static str) -> Result<T, StoreError> {
    row.try_get(column).map_err(|error| StoreError::unreadable(column, error))
}

/// Returns an instant, or none where the column is null.
pub(super) fn instant(row: &Row, column: &'static str) -> Result<Option<Timestamp>, StoreError> {
    Ok(get::<Option<Stamp>>(row, column)?.map(|stamp| stamp.0))
}

/// Returns an instant of a column that is never null.
pub(super) fn some_instant(row: &Row, column: &'static str) -> Result<Timestamp, StoreError> {
    Ok(get::<Stamp>(row, column)?.0)
}

/// Returns a length of time, or none where the column is null.
pub(super) fn length(row: &Row, column: &'static str) -> Result<Option<Micros>, StoreError> {
    Ok(get::<Option<i64>>(row, column)?.map(|micros| Micros::new(micros.unsigned_abs())))
}

/// Returns a number that is never negative and never null.
pub(super) fn count(row: &Row, column: &'static str) -> Result<u64, StoreError> {
    Ok(get::<i64>(row, column)?.unsigned_abs())
}

/// Returns an execution's id.
pub(super) fn execution_id(row: &Row, column: &'static str) -> Result<ExecutionId, StoreError> {
    Ok(ExecutionId::from_bytes(get::<Bits>(row, column)?.0))
}

/// Returns an incident's id, or none where the column is null.
pub(super) fn incident_id(row: &Row, column: &'static str) -> Result<Option<IncidentId>, StoreError> {
    Ok(get::<Option<Bits>>(row, column)?.map(|bits| IncidentId::from_bytes(bits.0)))
}

/// Returns an incident of a column that holds the whole of it.
pub(super) fn incident(row: &Row, column: &'static str) -> Result<Incident, StoreError> {
    json(get(row, column)?, column)
}

/// Returns a baseline's key.
pub(super) fn baseline_key(row: &Row, column: &'static str) -> Result<BaselineKey, StoreError> {
    Ok(BaselineKey::from_bytes(get::<Bits>(row, column)?.0))
}

/// Returns the attributes of a column that was selected as text.
pub(super) fn attributes(row: &Row, column: &'static str) -> Result<Attributes, StoreError> {
    let text: &str = get(row, column)?;
    if text == "{}" {
        return Ok(Attributes::default());
    }
    let entries: BTreeMap<String, Value> = json(text, column)?;
    Ok(Attributes::from_stored(entries))
}

/// Returns what an execution says that may explain how long its steps take, from its columns `version` and `attributes`.
pub(super) fn features(row: &Row) -> Result<Features, StoreError> {
    let version = get::<Option<&str>>(row, "version")?.map(Version::from_stored);
    Ok(Features::of_execution(version.as_ref(), &attributes(row, "attributes")?))
}

/// Reads what is known of an execution because spans told so.
///
/// # Errors
/// [`StoreError::Unreadable`] if it is not what was written.
pub(super) fn trace(row: &Row, column: &'static str) -> Result<Option<Box<Trace>>, StoreError> {
    get::<Option<&str>>(row, column)?.map(|text| json(text, "trace")).transpose()
}

/// Returns the failure of a column that was selected as text, or none where it is null.
pub(super) fn failure(row: &Row, column: &'static str) -> Result<Option<Failure>, StoreError> {
    get::<Option<&str>>(row, column)?.map(|text| json(text, column)).transpose()
}

/// Reads stored JSON.
pub(super) fn json<T: serde::de::DeserializeOwned>(text: &str, what: &'static str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| StoreError::unreadable(what, error))
}

/// Writes a value as JSON. What is stored as JSON has text keys only, so that writing it cannot fail; if it did, the
/// empty text that is not JSON would be refused by the database rather than stored.
pub(super) fn to_json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// Returns a length as the number that is stored; lengths are bounded far below its largest.
pub(super) fn stored(micros: Micros) -> i64 {
    stored_count(micros.get())
}

/// Returns a count as the number that is stored.
pub(super) fn stored_count(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
