//! Listings of executions, newest start first, with filters.
//!
//! Invariant: every page walks an index from where the last one ended, so pages have no gaps and
//! repeat nothing, and nothing is sorted but the few that run. Not here: single executions (`reads`).

use rusqlite::types::Value as SqlValue;
use rusqlite::{Transaction, params_from_iter};
use serde_json::Value;
use tracer_core::attributes::Attributes;
use tracer_core::detect::Severity;
use tracer_core::execution::{Execution, ExecutionStatus};
use tracer_core::repository::{ExecutionCursor, ExecutionFilter};

use super::error::StoreError;
use super::row;

const SELECT: &str =
    concat!("-- executions\nSELECT ", row::execution_columns!(), "\n  FROM workflow_executions e");

/// Those that run are few: SQLite, which does not know that, would rather walk all than sort these.
const THAT_RUN: &str = " INDEXED BY workflow_executions_running";

/// Returns the executions that pass the filter, behind `after`.
pub(super) fn executions(
    tx: &Transaction<'_>,
    filter: &ExecutionFilter,
    after: Option<ExecutionCursor>,
    limit: usize,
) -> Result<Vec<Execution>, StoreError> {
    let Some(severity) = filter.bottleneck else {
        return select(tx, &Query::of(filter, after), filter, limit);
    };
    // What has ended knows its worst verdict, what runs does not yet: two questions, each with an
    // index of its own, and the newest of both.
    let mut found = select(tx, &Query::of(filter, after).ended_with(severity), filter, limit)?;
    found.extend(select(tx, &Query::of(filter, after).running_with(severity), filter, limit)?);
    found.sort_by_key(|execution| std::cmp::Reverse((execution.started_at, execution.id)));
    found.truncate(limit);
    Ok(found)
}

/// A question under construction.
#[derive(Debug, Default)]
struct Query {
    conditions: Vec<&'static str>,
    values: Vec<SqlValue>,
    running: bool,
}

impl Query {
    fn of(filter: &ExecutionFilter, after: Option<ExecutionCursor>) -> Self {
        let mut query = Self::default();
        if let Some(workflow) = &filter.workflow {
            query.add("workflow_name = ?", workflow.as_str().to_owned());
        }
        match filter.status {
            Some(ExecutionStatus::Running) => query.that_run(),
            Some(status) => query.add("status = ?", status.as_str().to_owned()),
            None => {}
        }
        if let Some(id) = &filter.correlation_id {
            query.add("correlation_id = ?", id.as_str().to_owned());
        }
        if let Some(from) = filter.started_after {
            query.add("started_at >= ?", from.as_micros());
        }
        if let Some(until) = filter.started_before {
            query.add("started_at < ?", until.as_micros());
        }
        if let Some(least) = filter.min_duration {
            query.add("duration_us >= ?", row::stored_micros(least));
        }
        if let Some(most) = filter.max_duration {
            query.add("duration_us <= ?", row::stored_micros(most));
        }
        if !filter.attributes.is_empty() {
            query.conditions.push("attributes <> '{}'");
        }
        if let Some(after) = after {
            query.add("(started_at, execution_id) < (?, ?)", after.started_at.as_micros());
            query.values.push(after.id.to_bytes().to_vec().into());
        }
        query
    }

    fn add(&mut self, condition: &'static str, value: impl Into<SqlValue>) {
        self.conditions.push(condition);
        self.values.push(value.into());
    }

    /// The status is written out, because only then the index of those that run is one for the query.
    fn that_run(&mut self) {
        self.conditions.push("status = 'running'");
        self.running = true;
    }

    fn ended_with(mut self, severity: Severity) -> Self {
        self.add("worst_severity >= ?", i64::from(severity.to_stored()));
        self
    }

    fn running_with(mut self, severity: Severity) -> Self {
        self.that_run();
        self.add(
            "EXISTS (SELECT 1 FROM workflow_steps s INDEXED BY workflow_steps_judged \
                      WHERE s.execution_id = e.execution_id AND s.severity >= ?)",
            i64::from(severity.to_stored()),
        );
        self
    }

    /// Returns the statement; `limit` rows at most, all of them if none.
    fn sql(&self, limit: Option<usize>) -> String {
        let mut sql = String::from(SELECT);
        if self.running {
            sql.push_str(THAT_RUN);
        }
        for (n, condition) in self.conditions.iter().enumerate() {
            sql.push_str(if n == 0 { "\n WHERE " } else { "\n   AND " });
            sql.push_str(condition);
        }
        sql.push_str("\n ORDER BY started_at DESC, execution_id DESC");
        if limit.is_some() {
            sql.push_str("\n LIMIT ?");
        }
        sql
    }
}

/// Reads rows until `limit` of them have the attributes asked for: these are compared here, because
/// SQLite would write some numbers otherwise than they were given.
fn select(
    tx: &Transaction<'_>,
    query: &Query,
    filter: &ExecutionFilter,
    limit: usize,
) -> Result<Vec<Execution>, StoreError> {
    let sql_limit = filter.attributes.is_empty().then_some(limit);
    let mut statement = tx.prepare_cached(&query.sql(sql_limit))?;
    let values =
        query.values.iter().cloned().chain(sql_limit.map(|limit| super::reads::sql_limit(limit).into()));
    let mut rows = statement.query(params_from_iter(values))?;
    let mut found = Vec::new();
    while found.len() < limit
        && let Some(next) = rows.next()?
    {
        let execution = row::execution(next)?;
        if has_all(&execution.attributes, &filter.attributes) {
            found.push(execution);
        }
    }
    Ok(found)
}

fn has_all(attributes: &Attributes, wanted: &[(String, String)]) -> bool {
    wanted
        .iter()
        .all(|(key, value)| attributes.entries().get(key).is_some_and(|found| is_written(found, value)))
}

/// Returns whether a value is a text, a number or a truth value that is written like this.
fn is_written(found: &Value, wanted: &str) -> bool {
    match found {
        Value::String(text) => text == wanted,
        Value::Number(number) => number.to_string() == wanted,
        Value::Bool(truth) => wanted == if *truth { "true" } else { "false" },
        Value::Null | Value::Array(_) | Value::Object(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;
    use tracer_core::ids::ExecutionId;
    use tracer_core::name::{CorrelationId, WorkflowName};
    use tracer_core::time::{Micros, Timestamp};

    use super::super::{file, migrate};
    use super::*;

    /// The lines of SQLite's plan, without the names of its automatic parts.
    fn plan(connection: &Connection, query: &Query) -> String {
        let sql = format!("EXPLAIN QUERY PLAN {}", query.sql(None));
        let mut statement = connection.prepare(&sql).unwrap();
        let lines = statement
            .query_map(params_from_iter(query.values.clone()), |row| row.get::<_, String>(3))
            .unwrap();
        lines.map(Result::unwrap).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn every_listing_walks_an_index() {
        let mut connection = file::open_in_memory().unwrap();
        migrate::migrate(&mut connection).unwrap();
        let after =
            ExecutionCursor { started_at: Timestamp::from_millis(1), id: ExecutionId::from_u128(7).unwrap() };
        let all = ExecutionFilter::default();
        let workflow = ExecutionFilter { workflow: WorkflowName::new("etl").ok(), ..all.clone() };
        let since = ExecutionFilter { started_after: Some(Timestamp::from_millis(5)), ..workflow.clone() };
        let correlated = ExecutionFilter { correlation_id: CorrelationId::new("c").ok(), ..all.clone() };
        let running = ExecutionFilter { status: Some(ExecutionStatus::Running), ..workflow.clone() };
        let long = ExecutionFilter { min_duration: Some(Micros::from_secs(1)), ..all.clone() };
        let plans = [
            Query::of(&all, None),
            Query::of(&all, Some(after)),
            Query::of(&long, Some(after)),
            Query::of(&workflow, None),
            Query::of(&workflow, Some(after)),
            Query::of(&since, Some(after)),
            Query::of(&correlated, None),
            Query::of(&running, None),
            Query::of(&all, None).running_with(Severity::Critical),
            Query::of(&all, None).ended_with(Severity::Critical),
        ]
        .map(|query| plan(&connection, &query));
        let expected = [
            "SCAN e USING INDEX workflow_executions_started",
            "SEARCH e USING INDEX workflow_executions_started ((started_at,execution_id)<(?,?))",
            "SEARCH e USING INDEX workflow_executions_started ((started_at,execution_id)<(?,?))",
            "SEARCH e USING INDEX workflow_executions_workflow (workflow_name=?)",
            "SEARCH e USING INDEX workflow_executions_workflow (workflow_name=? AND (started_at,execution_id)<(?,?))",
            "SEARCH e USING INDEX workflow_executions_workflow (workflow_name=? AND started_at>? AND (started_at,execution_id)<(?,?))",
            "SEARCH e USING INDEX workflow_executions_correlation (correlation_id=?); USE TEMP B-TREE FOR ORDER BY",
            "SEARCH e USING INDEX workflow_executions_running (workflow_name=?)",
            "SCAN e USING INDEX workflow_executions_running; SEARCH s EXISTS USING COVERING INDEX workflow_steps_judged (execution_id=? AND severity>?); USE TEMP B-TREE FOR ORDER BY",
            "SCAN e USING INDEX workflow_executions_bottleneck",
        ];
        assert_eq!(plans, expected);
    }

    #[test]
    fn an_attribute_matches_what_is_written_like_it() {
        let attributes: Attributes = serde_json::from_str(
            r#"{"text": "1", "whole": 1, "real": 1.50, "huge": 18446744073709551615, "yes": true, "none": null, "list": [1], "a.\"b": 2}"#,
        )
        .unwrap();
        let matches = |key: &str, value: &str| has_all(&attributes, &[(key.into(), value.into())]);
        for (key, value) in [
            ("text", "1"),
            ("whole", "1"),
            ("real", "1.5"),
            ("huge", "18446744073709551615"),
            ("yes", "true"),
            ("a.\"b", "2"),
        ] {
            assert!(matches(key, value), "{key}:{value}");
        }
        for (key, value) in
            [("text", "\"1\""), ("whole", "1.0"), ("none", "null"), ("list", "[1]"), ("absent", "")]
        {
            assert!(!matches(key, value), "{key}:{value}");
        }
    }
}
