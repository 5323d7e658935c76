//! Makes the tables, and brings those of an older version up to date.
//!
//! Under the lock on the file (`file`), so two processes never do it at once; all or nothing, in one
//! transaction. Not here: the SQL, which is in `migrations/embedded`.

use rusqlite::Connection;

use crate::error::OpenError;

mod files {
    refinery::embed_migrations!("../../migrations/embedded");
}

/// Applies what has not been applied.
///
/// # Errors
/// [`OpenError::Migration`] if a migration fails, or the file was written by a newer version.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), OpenError> {
    let runner = files::migrations::runner().set_grouped(true);
    let report = runner.run(connection).map_err(|error| OpenError::Migration(Box::new(error)))?;
    for migration in report.applied_migrations() {
        tracing::info!(migration = %migration, "migration applied");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::file;
    use super::*;

    #[test]
    fn migrating_again_changes_nothing() {
        let mut connection = file::open_in_memory().unwrap();
        migrate(&mut connection).unwrap();
        let version = |connection: &Connection| -> i64 {
            connection.pragma_query_value(None, "schema_version", |row| row.get(0)).unwrap()
        };
        let before = version(&connection);
        migrate(&mut connection).unwrap();
        assert_eq!(version(&connection), before);
    }

    #[test]
    fn tables_of_a_newer_version_are_left_alone() {
        let mut connection = file::open_in_memory().unwrap();
        migrate(&mut connection).unwrap();
        let newer = "INSERT INTO refinery_schema_history SELECT 9999, 'newer', applied_on, checksum FROM refinery_schema_history LIMIT 1";
        connection.execute_batch(newer).unwrap();
        assert!(matches!(migrate(&mut connection), Err(OpenError::Migration(_))));
    }
}
