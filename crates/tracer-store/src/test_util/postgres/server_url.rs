//! Points the address of a server at one of its databases.
//!
//! Invariant: the answer names the database that was asked for, or there is none; a test never lands in the
//! database that the developer's own URL names.
//! Not here: connecting.

use tokio_postgres::Config;

/// Returns `server`, a URL or a `key=value` string, with `database` in place of the one it names.
///
/// # Errors
/// What is wrong with `server`, without repeating it: it may hold a password.
pub(super) fn with_database(server: &str, database: &str) -> Result<String, String> {
    let address = match server.split_once("://") {
        Some((scheme, rest)) => {
            let (path, query) =
                rest.split_once('?').map_or((rest, None), |(path, query)| (path, Some(query)));
            let authority = path.split_once('/').map_or(path, |(authority, _)| authority);
            let query = query.map(|query| format!("?{query}")).unwrap_or_default();
            format!("{scheme}://{authority}/{database}{query}")
        }
        // Of a key given twice the last one counts.
        None => format!("{server} dbname={database}"),
    };
    let config: Config =
        address.parse().map_err(|cause| format!("the server's address is unreadable: {cause}"))?;
    if config.get_dbname() != Some(database) {
        return Err("the server's address names its database in a parameter: put it into the path".to_owned());
    }
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::with_database;

    #[test]
    fn the_database_of_a_url_is_replaced_and_its_parameters_stay() {
        let cases = [
            ("postgres://u:p@h:5433/prod", "postgres://u:p@h:5433/t1"),
            ("postgres://u:p@h:5433", "postgres://u:p@h:5433/t1"),
            ("postgresql://h/prod?sslmode=disable", "postgresql://h/t1?sslmode=disable"),
            (
                "postgres://u@%2Frun%2Fpg?application_name=a/b",
                "postgres://u@%2Frun%2Fpg/t1?application_name=a/b",
            ),
            ("host=/run/pg user=u dbname=prod", "host=/run/pg user=u dbname=prod dbname=t1"),
        ];
        for (server, expected) in cases {
            assert_eq!(with_database(server, "t1").as_deref(), Ok(expected), "{server}");
        }
    }

    #[test]
    fn a_url_that_would_lead_elsewhere_is_refused() {
        for server in ["postgres://h/a?dbname=prod", "postgres://h:port/a", "nonsense"] {
            let refusal = with_database(server, "t1").unwrap_err();
            assert!(refusal.starts_with("the server's address"), "{server}: {refusal}");
        }
    }
}
