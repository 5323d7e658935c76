//! The listing of executions by filter.
//!
//! The query is put together from the conditions that are asked for, and planned for its values each time: which index
//! serves best depends on them.
//!
//! Invariant: pages follow one another by (start, id), newest first, so that none repeats or skips a row that was there
//! before the first; and no text of a client becomes a part of the query.
//! Not here: how a row is read (`executions`).

use serde_json::Value;
use tokio_postgres::types::{ToSql, Type};
use tracer_core::detect::Severity;
use tracer_core::execution::Execution;
use tracer_core::repository::{ExecutionCursor, ExecutionFilter, RepositoryError};
use tracer_core::similarity::{ErrorWords, FailureId};

use super::pool::ReadPool;
use super::row::{Bits, Stamp, stored};
use super::{executions, failures};

const NAME: &str = "list_executions";

/// The values of a query's parameters, with their types.
type Values = Vec<(Box<dyn ToSql + Sync + Send>, Type)>;

/// Conditions that are gathered, and the values of their parameters.
#[derive(Default)]
struct Conditions {
    sql: Vec<String>,
    values: Values,
}

/// Returns a page of executions, newest start first.
///
/// # Errors
/// [`RepositoryError::Unavailable`] if the database is away.
pub(super) async fn list(
    pool: &ReadPool,
    filter: &ExecutionFilter,
    after: Option<ExecutionCursor>,
    limit: usize,
) -> Result<Vec<Execution>, RepositoryError> {
    let failures = match &filter.error {
        None => None,
        Some(words) => match failures::with_all(pool, words.tokens()).await? {
            none if none.is_empty() => return Ok(Vec::new()),
            groups => Some(groups),
        },
    };
    let (sql, values) = query(filter, failures.as_deref(), after, limit);
    let params: Vec<(&(dyn ToSql + Sync), Type)> =
        values.iter().map(|(value, kind)| (&**value as &(dyn ToSql + Sync), kind.clone())).collect();
    let rows = pool.query_once(NAME, &sql, &params).await?;
    let read = rows.iter().map(|row| executions::read(row, false));
    read.collect::<Result<_, _>>().map_err(|error| error.into_repository(NAME))
}

/// Puts the query together.
fn query(
    filter: &ExecutionFilter,
    failures: Option<&[FailureId]>,
    after: Option<ExecutionCursor>,
    limit: usize,
) -> (String, Values) {
    let mut conditions = Conditions::of(filter, after);
    if let Some(groups) = failures {
        conditions.add_failures(groups, filter.error.as_ref().map(ErrorWords::literals).unwrap_or_default());
    }
    let limit = conditions.value(i64::try_from(limit).unwrap_or(i64::MAX), Type::INT8);
    let columns = executions::COLUMNS;
    let select = |severity: Option<Severity>| {
        let severity = severity.map(|severity| format!("e.worst_severity = {}", severity.to_stored()));
        let all: Vec<&str> = conditions.sql.iter().chain(&severity).map(String::as_str).collect();
        let filter =
            if all.is_empty() { String::new() } else { format!("\n WHERE {}", all.join("\n   AND ")) };
        format!(
            "SELECT {columns}\n  FROM workflow_executions AS e{filter}\n \
             ORDER BY e.started_at DESC, e.execution_id DESC\n LIMIT {limit}"
        )
    };
    let sql = match filter.bottleneck {
        None => format!("-- {NAME}\n{}", select(None)),
        Some(least) => {
            // The index has the executions of each severity, newest first: all of them are one merge.
            let severities = [Severity::Warning, Severity::Critical].into_iter().filter(|s| *s >= least);
            let parts: Vec<String> =
                severities.map(|severity| format!("({})", select(Some(severity)))).collect();
            format!(
                "-- {NAME}\nSELECT * FROM (\n{}) AS found\n \
                 ORDER BY started_at DESC, execution_id DESC\n LIMIT {limit}",
                parts.join("\nUNION ALL\n")
            )
        }
    };
    (sql, conditions.values)
}

impl Conditions {
    fn of(filter: &ExecutionFilter, after: Option<ExecutionCursor>) -> Self {
        let mut conditions = Self::default();
        if let Some(workflow) = &filter.workflow {
            conditions.add("e.workflow_name =", workflow.as_str().to_owned(), Type::TEXT);
        }
        if let Some(status) = filter.status {
            // Ours, not a client's; and as a constant it can be matched with the indexes of some states.
            conditions.sql.push(format!("e.status = '{}'", status.as_str()));
        }
        if let Some(id) = &filter.correlation_id {
            conditions.add("e.correlation_id =", id.as_str().to_owned(), Type::TEXT);
        }
        if let Some(at) = filter.started_after {
            conditions.add("e.started_at >=", Stamp(at), Type::TIMESTAMPTZ);
        }
        if let Some(at) = filter.started_before {
            conditions.add("e.started_at <", Stamp(at), Type::TIMESTAMPTZ);
        }
        if let Some(least) = filter.min_duration {
            conditions.add("e.duration_us >=", stored(least), Type::INT8);
        }
        if let Some(most) = filter.max_duration {
            conditions.add("e.duration_us <=", stored(most), Type::INT8);
        }
        for (key, value) in &filter.attributes {
            conditions.add_attribute(key, value);
        }
        if let Some(cursor) = after {
            let at = conditions.value(Stamp(cursor.started_at), Type::TIMESTAMPTZ);
            let id = conditions.value(Bits::from(cursor.id), Type::UUID);
            conditions.sql.push(format!("(e.started_at, e.execution_id) < ({at}, {id})"));
        }
        conditions
    }

    fn add(&mut self, comparison: &str, value: impl ToSql + Sync + Send + 'static, kind: Type) {
        let placeholder = self.value(value, kind);
        self.sql.push(format!("{comparison} {placeholder}"));
    }

    /// A value matches a text; and a number or a truth value that is written like it. PostgreSQL finds `5` and `5.0` to
    /// contain each other, so that how a number is written is compared as well.
    fn add_attribute(&mut self, key: &str, value: &str) {
        let object =
            |value: Value| Value::Object([(key.to_owned(), value)].into_iter().collect()).to_string();
        let text = self.value(object(Value::String(value.to_owned())), Type::TEXT);
        let as_text = format!("e.attributes @> {text}::jsonb");
        let matches = match written_like(value) {
            None => as_text,
            Some(scalar) => {
                let scalar = self.value(object(scalar), Type::TEXT);
                let key = self.value(key.to_owned(), Type::TEXT);
                format!(
                    "({as_text} OR (e.attributes @> {scalar}::jsonb \
                     AND (e.attributes -> {key})::text = ({scalar}::jsonb -> {key})::text))"
                )
            }
        };
        // The index holds only executions with attributes.
        self.sql.push(format!("e.attributes <> '{{}}'::jsonb AND {matches}"));
    }

    /// What groups do not tell apart is looked for in the errors themselves, in lower case as ASCII has it.
    fn add_failures(&mut self, groups: &[FailureId], literals: &[String]) {
        let groups: Vec<Bits> = groups.iter().map(|id| Bits(id.to_bytes())).collect();
        let groups = self.value(groups, Type::UUID_ARRAY);
        self.sql.push(format!(
            "(e.execution_id, e.recorded_month) IN (SELECT f.execution_id, f.recorded_month \
             FROM execution_failures AS f WHERE f.fingerprint = ANY({groups}))"
        ));
        if literals.is_empty() {
            return;
        }
        let literals = self.value(literals.to_vec(), Type::TEXT_ARRAY);
        self.sql.push(format!(
            "EXISTS (SELECT FROM (SELECT e.error UNION ALL SELECT s.error FROM workflow_steps AS s \
             WHERE s.execution_id = e.execution_id AND s.recorded_month = e.recorded_month) AS said (error) \
             WHERE said.error IS NOT NULL AND NOT EXISTS (SELECT FROM unnest({literals}) AS literal \
             WHERE strpos(lower((said.error ->> 'message') COLLATE \"C\"), literal) = 0 \
             AND strpos(lower(coalesce(said.error ->> 'type', '') COLLATE \"C\"), literal) = 0))"
        ));
    }

    fn value(&mut self, value: impl ToSql + Sync + Send + 'static, kind: Type) -> String {
        self.values.push((Box::new(value), kind));
        format!("${}", self.values.len())
    }
}

/// Returns the number or truth value that is written exactly so.
fn written_like(text: &str) -> Option<Value> {
    let value: Value = serde_json::from_str(text).ok()?;
    let written = value.to_string();
    ((value.is_number() || value.is_boolean()) && written == text).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_number_or_truth_value_in_its_own_spelling_is_one() {
        let read = |text| written_like(text).map(|value| value.to_string());
        assert_eq!(
            ["5", "5.0", "-0.5", "true"].map(read),
            ["5", "5.0", "-0.5", "true"].map(|text| Some(text.into()))
        );
        assert_eq!(
            ["05", "5.00", " 5", "null", "\"5\"", "[5]", "True", "eu", ""].map(read),
            [const { None }; 9]
        );
    }

    #[test]
    fn no_text_of_a_client_is_in_the_query() {
        let hostile = "'; DROP TABLE workflow_steps; --";
        let filter = ExecutionFilter {
            workflow: tracer_core::name::WorkflowName::new(hostile).ok(),
            correlation_id: tracer_core::name::CorrelationId::new(hostile).ok(),
            attributes: vec![(hostile.into(), hostile.into()), (hostile.into(), "1".into())],
            error: ErrorWords::new(&format!("{hostile} 5")),
            ..ExecutionFilter::default()
        };
        let (sql, values) = query(&filter, Some(&[FailureId::from_bytes([1; 16])]), None, 10);
        assert!(!sql.contains("DROP"), "{sql}");
        assert_eq!(values.len(), 9);
    }
}
