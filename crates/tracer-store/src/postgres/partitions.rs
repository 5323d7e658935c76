//! Months, and the partitions made for them.
//!
//! A partition is made as a table of its own and then attached, which holds up neither reads nor writes (`CREATE TABLE …
//! PARTITION OF` would lock the whole parent). All of it under one advisory lock, so that replicas do not try at once.
//!
//! Invariant: an execution's month is that of its `recorded_at` in UTC, and its steps share it.
//! Not here: dropping partitions (`retention`).

use tokio_postgres::Client;
use tracer_core::time::{Day, Timestamp};

use super::error::StoreError;
use super::row::Date;

/// Months kept ready after the present one, so that a service that cannot make any for weeks still records.
const AHEAD: i32 = 2;

/// What is partitioned, in the order in which batches lock it.
pub(super) const PARENTS: [&str; 5] =
    ["workflow_executions", "workflow_steps", "workflow_events", "service_executions", "execution_failures"];

/// Held while the tables are changed: by migrations for their session, by partitions for their transaction. The number
/// says only `tracer` in ASCII.
pub(super) const SCHEMA_LOCK: i64 = 0x7472_6163_6572;

/// A month in UTC: whole months since 1970-01.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Month(i32);

impl Month {
    /// Returns the month that holds an instant.
    pub(super) fn of(at: Timestamp) -> Self {
        // The civil calendar from a count of days, with years that begin in March so that the leap day is the last:
        // Howard Hinnant, "chrono-compatible low-level date algorithms", civil_from_days.
        let days = i64::from(at.day().0) + 719_468;
        let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let months = (era * 400 + year_of_era - 1970) * 12 + month_from_march + 2;
        Self(i32::try_from(months).unwrap_or(i32::MAX))
    }

    /// Returns its first day: what `recorded_month` holds.
    pub(super) fn first_day(self) -> Day {
        // days_from_civil of the same source.
        let from_march = i64::from(self.0) - 2;
        let (year, month) = (1970 + from_march.div_euclid(12), from_march.rem_euclid(12));
        let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
        let day_of_year = (153 * month + 2) / 5;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        Day(i32::try_from(era * 146_097 + day_of_era - 719_468).unwrap_or(i32::MAX))
    }

    /// Returns the first instant after it.
    pub(super) fn end(self) -> Timestamp {
        self.plus(1).first_day().start()
    }

    /// Returns the month that many later.
    pub(super) const fn plus(self, months: i32) -> Self {
        Self(self.0.saturating_add(months))
    }

    /// Returns the name of a parent's partition for it, such as `workflow_steps_2026_01`.
    pub(super) fn partition_of(self, parent: &str) -> String {
        format!("{parent}_{:04}_{:02}", 1970 + self.0.div_euclid(12), self.0.rem_euclid(12) + 1)
    }

    /// Reads the month from a partition's name.
    pub(super) fn of_partition(parent: &str, name: &str) -> Option<Self> {
        let (year, month) = name.strip_prefix(parent)?.strip_prefix('_')?.split_once('_')?;
        let (year, month): (i32, i32) = (year.parse().ok()?, month.parse().ok()?);
        (1..=12).contains(&month).then(|| Self((year - 1970) * 12 + month - 1))
    }

    /// Returns its first day as PostgreSQL takes it.
    pub(super) fn date(self) -> Date {
        Date(self.first_day())
    }
}

/// Returns the months that must be ready at an instant.
pub(super) fn months_ahead(now: Timestamp) -> Vec<Month> {
    (0..=AHEAD).map(|ahead| Month::of(now).plus(ahead)).collect()
}

/// Makes the partitions of these months, where they are missing.
///
/// # Errors
/// [`StoreError`] if the database is away, or the tables are held for too long.
pub(super) async fn ensure(client: &mut Client, months: &[Month]) -> Result<(), StoreError> {
    let wanted = || months.iter().flat_map(|month| PARENTS.map(|parent| (parent, *month)));
    let missing =
        missing_of(client, wanted().map(|(parent, month)| month.partition_of(parent)).collect()).await?;
    if missing.is_empty() {
        return Ok(());
    }
    let transaction = client.transaction().await?;
    transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&SCHEMA_LOCK]).await?;
    for (parent, month) in wanted().filter(|(parent, month)| missing.contains(&month.partition_of(parent))) {
        transaction.batch_execute(&attach_statements(parent, month)).await?;
    }
    transaction.commit().await?;
    tracing::info!(partitions = missing.len(), "made partitions");
    Ok(())
}

async fn missing_of(client: &Client, names: Vec<String>) -> Result<Vec<String>, StoreError> {
    const MISSING: &str = "\
-- missing_partitions
SELECT name FROM unnest($1::text[]) AS name WHERE to_regclass(quote_ident(name)) IS NULL";
    let rows = client.query(MISSING, &[&names]).await?;
    rows.iter().map(|row| super::row::get(row, "name")).collect()
}

/// Under the lock, but perhaps after another replica: both statements allow for that.
fn attach_statements(parent: &str, month: Month) -> String {
    let (name, from, to) = (month.partition_of(parent), iso(month), iso(month.plus(1)));
    format!(
        "DO $$ BEGIN
           IF to_regclass('{name}') IS NULL THEN
             CREATE TABLE {name} (LIKE {parent} INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE);
             ALTER TABLE {parent} ATTACH PARTITION {name} FOR VALUES FROM ('{from}') TO ('{to}');
           END IF;
         END $$"
    )
}

fn iso(month: Month) -> String {
    format!("{:04}-{:02}-01", 1970 + month.0.div_euclid(12), month.0.rem_euclid(12) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_belongs_to_the_month_in_utc() {
        let month = |text: &str| iso(Month::of(Timestamp::parse(text).unwrap()));
        assert_eq!(month("1970-01-01T00:00:00Z"), "1970-01-01");
        assert_eq!(month("2024-02-29T23:59:59.999999Z"), "2024-02-01");
        assert_eq!(month("2024-03-01T00:00:00+01:00"), "2024-02-01");
        assert_eq!(month("2026-12-31T12:00:00Z"), "2026-12-01");
        assert_eq!(month("2100-03-01T00:00:00Z"), "2100-03-01");
    }

    #[test]
    fn every_month_begins_where_the_one_before_it_ends() {
        for months in -30..2_000 {
            let month = Month(months);
            assert_eq!(Month::of(month.first_day().start()), month);
            assert_eq!(Month::of(Timestamp::from_micros(month.end().as_micros() - 1)), month);
            assert_eq!(Month::of_partition("steps", &month.partition_of("steps")), Some(month));
        }
    }

    #[test]
    fn only_our_own_partitions_are_months() {
        for name in ["steps", "steps_2026", "steps_2026_13", "steps_2026_01_old", "other_2026_01"] {
            assert_eq!(Month::of_partition("steps", name), None, "{name}");
        }
    }
}
