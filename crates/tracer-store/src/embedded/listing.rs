//! Listings of executions, newest start first, with filters.
//!
//! SQLite knows nothing of how many rows a condition leaves, so the index to walk is chosen here: where
//! one of the conditions leaves few executions, these are read and sorted; otherwise an index that is
//! sorted by start is walked until a page is full.
//!
//! Invariant: every page begins where the last one ended, so pages have no gaps and repeat nothing.
//! Not here: single executions (`reads`).

use rusqlite::types::Value as SqlValue;
use rusqlite::{Transaction, params_from_iter};
use tracer_core::attributes::Attributes;
use tracer_core::detect::Severity;
use tracer_core::execution::{Execution, ExecutionStatus};
use tracer_core::failure::Failure;
use tracer_core::name::WorkflowName;
use tracer_core::repository::{ExecutionCursor, ExecutionFilter};
use tracer_core::similarity::{ErrorWords, holds};

use super::error::StoreError;
use super::{attributes, failures, row};

const SELECT: &str = concat!("-- executions\nSELECT ", row::execution_columns!());

const ERRORS: &str = "\
-- errors_of_steps
SELECT error
  FROM workflow_steps
 WHERE execution_id = ?1 AND error IS NOT NULL";

/// So many executions are read and sorted rather than walking past others in search of them.
const FEW: usize = 1_000;
/// As [`FEW`], where walking past others means a look at the failures of each: at a million executions, reading so
/// many costs what walking to a hundred among them does.
const FEW_FAILURES: usize = 10_000;

/// Returns the executions that pass the filter, behind `after`.
pub(super) fn executions(
    tx: &Transaction<'_>,
    filter: &ExecutionFilter,
    after: Option<ExecutionCursor>,
    limit: usize,
) -> Result<Vec<Execution>, StoreError> {
    let failures = match &filter.error {
        None => None,
        Some(words) => match failures::with_all(tx, words.tokens())?.as_slice() {
            [] => return Ok(Vec::new()),
            groups => Some(serde_json::to_string(groups)?),
        },
    };
    let failures = failures.as_deref();
    let Some(least) = filter.bottleneck else {
        return select(tx, filter, failures, None, after, limit);
    };
    // The index has the executions of each severity, newest first: the page is the newest of both.
    let mut found = Vec::new();
    for severity in [Severity::Warning, Severity::Critical].into_iter().filter(|s| *s >= least) {
        found.extend(select(tx, filter, failures, Some(severity), after, limit)?);
    }
    found.sort_by_key(|execution| std::cmp::Reverse((execution.started_at, execution.id)));
    found.truncate(limit);
    Ok(found)
}

/// A way to the executions that one condition leaves.
#[derive(Clone, Debug, PartialEq)]
struct Lead {
    /// The index that is walked.
    index: Index,
    /// The condition, as the index needs it written.
    condition: &'static str,
    values: Vec<SqlValue>,
}

/// What leads to executions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Index {
    Started,
    Correlation,
    Running,
    RunningOfWorkflow,
    Unsuccessful,
    Attribute,
    Bottleneck,
    Workflow,
    Duration,
    Failure,
}

impl Index {
    const fn from(self) -> &'static str {
        match self {
            Self::Started => "workflow_executions INDEXED BY workflow_executions_started",
            Self::Correlation => "workflow_executions INDEXED BY workflow_executions_correlation",
            Self::Running | Self::RunningOfWorkflow => {
                "workflow_executions INDEXED BY workflow_executions_running"
            }
            Self::Unsuccessful => "workflow_executions INDEXED BY workflow_executions_unsuccessful",
            Self::Attribute => "execution_attributes",
            Self::Bottleneck => "workflow_executions INDEXED BY workflow_executions_bottleneck",
            Self::Workflow => "workflow_executions INDEXED BY workflow_executions_workflow",
            Self::Duration => "workflow_executions INDEXED BY workflow_executions_duration",
            // By the primary key.
            Self::Failure => "workflow_executions",
        }
    }

    /// What it calls the start and the id.
    const fn keys(self) -> [&'static str; 2] {
        match self {
            Self::Attribute => ["at", "id"],
            // No index by start is to be walked for it.
            Self::Failure => ["+started_at", "execution_id"],
            Self::Started
            | Self::Correlation
            | Self::Running
            | Self::RunningOfWorkflow
            | Self::Unsuccessful
            | Self::Bottleneck
            | Self::Workflow
            | Self::Duration => ["started_at", "execution_id"],
        }
    }

    /// Whether it gives the newest first.
    const fn is_sorted(self) -> bool {
        !matches!(self, Self::Running | Self::Duration | Self::Failure)
    }

    /// Whether an execution is told apart by status and duration without being looked up.
    const fn holds_status_and_duration(self) -> bool {
        matches!(
            self,
            Self::Started | Self::Unsuccessful | Self::Bottleneck | Self::Workflow | Self::Duration
        )
    }
}

impl Lead {
    const fn new(index: Index, condition: &'static str, values: Vec<SqlValue>) -> Self {
        Self { index, condition, values }
    }

    const fn newest() -> Self {
        Self::new(Index::Started, "true", Vec::new())
    }

    /// Returns the ways to what a filter asks for, the most telling conditions first. `failures` are the groups that
    /// have the words asked for, as a JSON array.
    fn all_of(filter: &ExecutionFilter, failures: Option<&str>, severity: Option<Severity>) -> Vec<Self> {
        let mut leads = Vec::new();
        if let Some(id) = &filter.correlation_id {
            let id = id.as_str().to_owned().into();
            leads.push(Self::new(Index::Correlation, "correlation_id = ?", vec![id]));
        }
        leads.extend(filter.status.and_then(|status| Self::of_status(status, filter.workflow.as_ref())));
        leads.extend(filter.attributes.iter().map(|(key, value)| {
            Self::new(Index::Attribute, "digest = ?", vec![attributes::digest(key, value).into()])
        }));
        leads.extend(failures.map(|groups| {
            let condition = "execution_id IN (SELECT f.execution_id FROM execution_failures AS f \
                             WHERE f.group_id IN (SELECT value FROM json_each(?)))";
            Self::new(Index::Failure, condition, vec![groups.to_owned().into()])
        }));
        leads.extend(severity.map(|severity| {
            Self::new(Index::Bottleneck, "worst_severity = ?", vec![i64::from(severity.to_stored()).into()])
        }));
        if let Some(workflow) = &filter.workflow {
            let name = workflow.as_str().to_owned().into();
            leads.push(Self::new(Index::Workflow, "workflow_name = ?", vec![name]));
        }
        if filter.min_duration.is_some() || filter.max_duration.is_some() {
            let least = filter.min_duration.map_or(0, row::stored_micros);
            let most = filter.max_duration.map_or(i64::MAX, row::stored_micros);
            let condition = "duration_us BETWEEN ? AND ?";
            leads.push(Self::new(Index::Duration, condition, vec![least.into(), most.into()]));
        }
        leads
    }

    /// The status is written out, because only then an index of some states is one for the query. Most
    /// executions are completed, and no index is of those. Those that run are sorted by workflow first.
    fn of_status(status: ExecutionStatus, workflow: Option<&WorkflowName>) -> Option<Self> {
        let condition = match (status, workflow) {
            (ExecutionStatus::Completed, _) => return None,
            (ExecutionStatus::Running, None) => {
                return Some(Self::new(Index::Running, "status = 'running'", Vec::new()));
            }
            (ExecutionStatus::Running, Some(name)) => {
                let (name, condition) =
                    (name.as_str().to_owned(), "status = 'running' AND workflow_name = ?");
                return Some(Self::new(Index::RunningOfWorkflow, condition, vec![name.into()]));
            }
            (ExecutionStatus::Failed, _) => {
                "status = 'failed' AND status IN ('failed', 'timed_out', 'cancelled')"
            }
            (ExecutionStatus::TimedOut, _) => {
                "status = 'timed_out' AND status IN ('failed', 'timed_out', 'cancelled')"
            }
            (ExecutionStatus::Cancelled, _) => {
                "status = 'cancelled' AND status IN ('failed', 'timed_out', 'cancelled')"
            }
        };
        Some(Self::new(Index::Unsuccessful, condition, Vec::new()))
    }

    /// Chooses the index to walk.
    fn choose(
        tx: &Transaction<'_>,
        filter: &ExecutionFilter,
        failures: Option<&str>,
        severity: Option<Severity>,
    ) -> Result<Self, StoreError> {
        let mut least = FEW;
        let (mut few, mut sorted) = (None, None);
        for lead in Self::all_of(filter, failures, severity) {
            let left = lead.count(tx)?;
            if left < least || (few.is_none() && lead.index == Index::Failure && left < FEW_FAILURES) {
                least = left.min(least);
                few = Some(lead);
            } else if lead.index.is_sorted() && sorted.is_none() {
                sorted = Some(lead);
            }
        }
        Ok(few.or(sorted).unwrap_or_else(Self::newest))
    }

    /// Returns how many executions the condition leaves, or [`FEW`] if there are more; for failures, up to
    /// [`FEW_FAILURES`].
    fn count(&self, tx: &Transaction<'_>) -> Result<usize, StoreError> {
        let (from, condition, few) = if self.index == Index::Failure {
            ("execution_failures", "group_id IN (SELECT value FROM json_each(?))", FEW_FAILURES)
        } else {
            (self.index.from(), self.condition, FEW)
        };
        let sql = format!(
            "-- count_executions\nSELECT count(*) FROM (SELECT 1 FROM {from} WHERE {condition} LIMIT {few})"
        );
        let mut statement = tx.prepare_cached(&sql)?;
        let left = statement.query_row(params_from_iter(&self.values), |row| row.get::<_, i64>(0))?;
        Ok(usize::try_from(left).unwrap_or(few))
    }
}

/// A statement and the values of its parameters.
#[derive(Debug)]
struct Query {
    sql: String,
    values: Vec<SqlValue>,
}

impl Query {
    /// Asks for `limit` rows at most, or for all of them.
    fn new(
        lead: Lead,
        filter: &ExecutionFilter,
        failures: Option<&str>,
        severity: Option<Severity>,
        after: Option<ExecutionCursor>,
        limit: Option<usize>,
    ) -> Self {
        let [at, id] = lead.index.keys();
        // What the index holds is compared before an execution is looked up.
        let mut inner = Conditions { sql: lead.condition.to_owned(), values: lead.values };
        let mut outer = Conditions { sql: "true".to_owned(), values: Vec::new() };
        if let Some(from) = filter.started_after {
            inner.and(&format!("{at} >= ?"), from.as_micros());
        }
        if let Some(until) = filter.started_before {
            inner.and(&format!("{at} < ?"), until.as_micros());
        }
        if let Some(after) = after {
            inner.and(&format!("({at}, {id}) < (?, ?)"), after.started_at.as_micros());
            inner.values.push(after.id.to_bytes().to_vec().into());
        }
        let held = if lead.index.holds_status_and_duration() { &mut inner } else { &mut outer };
        if let Some(status) = filter.status {
            held.and("status = ?", status.as_str().to_owned());
        }
        if let Some(least) = filter.min_duration {
            held.and("duration_us >= ?", row::stored_micros(least));
        }
        if let Some(most) = filter.max_duration {
            held.and("duration_us <= ?", row::stored_micros(most));
        }
        if let Some(workflow) = &filter.workflow {
            outer.and("workflow_name = ?", workflow.as_str().to_owned());
        }
        if let Some(severity) = severity {
            outer.and("worst_severity = ?", i64::from(severity.to_stored()));
        }
        if let Some(id) = &filter.correlation_id {
            outer.and("correlation_id = ?", id.as_str().to_owned());
        }
        if let Some(groups) = failures.filter(|_| lead.index != Index::Failure) {
            // The failures of an execution are few, and the groups may be many: each failure is looked up among these.
            let condition = "EXISTS (SELECT 1 FROM execution_failures AS f WHERE f.execution_id = id \
                             AND +f.group_id IN (SELECT value FROM json_each(?)))";
            outer.and(condition, groups.to_owned());
        }
        let from = lead.index.from();
        let mut sql = format!(
            "{SELECT}\n  FROM (SELECT {id} AS id, {at} AS at\n          FROM {from}\n         WHERE {})\n \
             CROSS JOIN workflow_executions ON execution_id = id\n WHERE {}\n ORDER BY at DESC, id DESC",
            inner.sql, outer.sql
        );
        let mut values = inner.values;
        values.append(&mut outer.values);
        if let Some(limit) = limit {
            sql.push_str("\n LIMIT ?");
            values.push(super::reads::sql_limit(limit).into());
        }
        Self { sql, values }
    }
}

/// Conditions that must all hold, and the values of their parameters.
struct Conditions {
    sql: String,
    values: Vec<SqlValue>,
}

impl Conditions {
    fn and(&mut self, condition: &str, value: impl Into<SqlValue>) {
        self.sql.push_str(" AND ");
        self.sql.push_str(condition);
        self.values.push(value.into());
    }
}

/// Reads rows until `limit` of them have the attributes asked for.
fn select(
    tx: &Transaction<'_>,
    filter: &ExecutionFilter,
    failures: Option<&str>,
    severity: Option<Severity>,
    after: Option<ExecutionCursor>,
    limit: usize,
) -> Result<Vec<Execution>, StoreError> {
    let lead = Lead::choose(tx, filter, failures, severity)?;
    let literals = filter.error.as_ref().map(ErrorWords::literals).unwrap_or_default();
    let sql_limit = (filter.attributes.is_empty() && literals.is_empty()).then_some(limit);
    let query = Query::new(lead, filter, failures, severity, after, sql_limit);
    let mut statement = tx.prepare_cached(&query.sql)?;
    let mut rows = statement.query(params_from_iter(query.values))?;
    let mut found = Vec::new();
    while found.len() < limit
        && let Some(next) = rows.next()?
    {
        let execution = row::execution(next)?;
        if has_all(&execution.attributes, &filter.attributes) && says(tx, &execution, literals)? {
            found.push(execution);
        }
    }
    Ok(found)
}

/// Returns whether each value is a text, a number or a truth value that is written like this. Compared
/// here, because SQLite would write some numbers otherwise than they were given.
fn has_all(found: &Attributes, wanted: &[(String, String)]) -> bool {
    wanted.iter().all(|(key, value)| {
        let written = found.entries().get(key).and_then(attributes::written);
        written.is_some_and(|written| written == *value)
    })
}

/// Returns whether an error of the execution, or of one of its steps, holds all of these texts.
fn says(tx: &Transaction<'_>, execution: &Execution, literals: &[String]) -> Result<bool, StoreError> {
    let own = |failure: &Failure| holds(failure, literals);
    if literals.is_empty() || execution.failure.as_ref().is_some_and(own) {
        return Ok(true);
    }
    let mut statement = tx.prepare_cached(ERRORS)?;
    let mut rows = statement.query([execution.id.to_bytes()])?;
    while let Some(found) = rows.next()? {
        if row::failure(found, 0)?.is_some_and(|failure| own(&failure)) {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;
    use tracer_core::ids::ExecutionId;
    use tracer_core::name::CorrelationId;
    use tracer_core::time::{Micros, Timestamp};

    use super::super::{file, migrate};
    use super::*;

    /// The lines of SQLite's plan.
    fn plan(connection: &Connection, query: Query) -> String {
        let sql = format!("EXPLAIN QUERY PLAN {}", query.sql);
        let mut statement = connection.prepare(&sql).unwrap();
        let lines =
            statement.query_map(params_from_iter(query.values), |row| row.get::<_, String>(3)).unwrap();
        lines.map(Result::unwrap).collect::<Vec<_>>().join("; ")
    }

    fn database() -> Connection {
        let mut connection = file::open_in_memory().unwrap();
        migrate::migrate(&mut connection).unwrap();
        connection
    }

    #[test]
    fn every_condition_walks_its_index_from_where_the_last_page_ended() {
        let connection = database();
        let id = ExecutionId::from_u128(7).unwrap();
        let after = ExecutionCursor { started_at: Timestamp::from_millis(1), id };
        let all = ExecutionFilter::default;
        let filters = [
            ExecutionFilter { correlation_id: CorrelationId::new("c").ok(), ..all() },
            ExecutionFilter { status: Some(ExecutionStatus::Running), ..all() },
            ExecutionFilter {
                workflow: WorkflowName::new("etl").ok(),
                status: Some(ExecutionStatus::Running),
                ..all()
            },
            ExecutionFilter { status: Some(ExecutionStatus::Failed), ..all() },
            ExecutionFilter { status: Some(ExecutionStatus::TimedOut), ..all() },
            ExecutionFilter { status: Some(ExecutionStatus::Cancelled), ..all() },
            ExecutionFilter { attributes: vec![("region".into(), "eu".into())], ..all() },
            ExecutionFilter { bottleneck: Some(Severity::Critical), ..all() },
            ExecutionFilter { workflow: WorkflowName::new("etl").ok(), ..all() },
            ExecutionFilter { min_duration: Some(Micros::from_secs(1)), ..all() },
        ];
        let newest = Query::new(Lead::newest(), &all(), None, None, Some(after), Some(1));
        let mut plans = vec![plan(&connection, newest)];
        for filter in &filters {
            for lead in Lead::all_of(filter, None, filter.bottleneck) {
                let query = Query::new(lead, filter, None, filter.bottleneck, Some(after), Some(1));
                plans.push(plan(&connection, query));
            }
        }
        // The index alone decides, and only what it leaves is looked up.
        let look_up = "; SEARCH workflow_executions USING PRIMARY KEY (execution_id=?)";
        let by = |index: &str, condition: &str| {
            format!(
                "SEARCH workflow_executions USING COVERING INDEX workflow_executions_{index} ({condition}){look_up}"
            )
        };
        let behind = |condition: &str| format!("{condition}(started_at,execution_id)<(?,?)");
        let sorted = "; USE TEMP B-TREE FOR ORDER BY";
        let of_status = by("unsuccessful", &behind("status=? AND "));
        let expected = [
            by("started", &behind("")),
            by("correlation", &behind("correlation_id=? AND ")),
            format!(
                "SCAN workflow_executions USING COVERING INDEX workflow_executions_running{look_up}{sorted}"
            ),
            by("running", &behind("workflow_name=? AND ")),
            by("workflow", &behind("workflow_name=? AND ")),
            of_status.clone(),
            of_status.clone(),
            of_status,
            format!("SEARCH execution_attributes USING PRIMARY KEY (digest=? AND (at,id)<(?,?)){look_up}"),
            by("bottleneck", &behind("worst_severity=? AND ")),
            by("workflow", &behind("workflow_name=? AND ")),
            by("duration", "duration_us>? AND duration_us<?") + sorted,
        ];
        assert_eq!(plans, expected);
    }

    #[test]
    fn executions_by_their_errors_are_looked_up_by_group_or_walked_past_with_a_look_at_each() {
        let connection = database();
        let id = ExecutionId::from_u128(7).unwrap();
        let after = ExecutionCursor { started_at: Timestamp::from_millis(1), id };
        let filter =
            ExecutionFilter { workflow: WorkflowName::new("etl").ok(), ..ExecutionFilter::default() };
        let plans: Vec<String> = Lead::all_of(&filter, Some("[1,2]"), None)
            .into_iter()
            .map(|lead| {
                plan(&connection, Query::new(lead, &filter, Some("[1,2]"), None, Some(after), Some(1)))
            })
            .collect();
        let expected = [
            "SEARCH workflow_executions USING PRIMARY KEY (execution_id=?); LIST SUBQUERY 2; SEARCH f USING COVERING INDEX execution_failures_of_group (group_id=?); LIST SUBQUERY 1; SCAN json_each VIRTUAL TABLE INDEX 1:; SEARCH workflow_executions USING PRIMARY KEY (execution_id=?); USE TEMP B-TREE FOR ORDER BY",
            "SEARCH workflow_executions USING COVERING INDEX workflow_executions_workflow (workflow_name=? AND (started_at,execution_id)<(?,?)); SEARCH workflow_executions USING PRIMARY KEY (execution_id=?); SEARCH f EXISTS USING PRIMARY KEY (execution_id=?); LIST SUBQUERY 2; SCAN json_each VIRTUAL TABLE INDEX 1:; CREATE BLOOM FILTER",
        ];
        assert_eq!(plans, expected);
    }

    #[test]
    fn the_condition_that_leaves_least_leads_and_where_all_leave_many_the_first_one_in_order() {
        let mut connection = database();
        let insert =
            "INSERT INTO workflow_executions (execution_id, workflow_name, status, started_at, recorded_at)
            WITH RECURSIVE n (n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM n WHERE n < 3000)
            SELECT CAST(printf('%016d', n) AS BLOB), 'w' || (n % 2),
                   CASE WHEN n % 1000 = 0 THEN 'failed' ELSE 'running' END, n, n FROM n";
        connection.execute(insert, []).unwrap();
        let tx = connection.transaction().unwrap();
        let of = |workflow: &str, status| {
            let workflow = WorkflowName::new(workflow).ok();
            let filter = ExecutionFilter { workflow, status: Some(status), ..ExecutionFilter::default() };
            let lead = Lead::choose(&tx, &filter, None, None).unwrap();
            lead.index
        };
        assert_eq!(of("w1", ExecutionStatus::Failed), Index::Unsuccessful);
        assert_eq!(of("w1", ExecutionStatus::Completed), Index::Workflow);
        assert_eq!(of("w1", ExecutionStatus::Running), Index::RunningOfWorkflow);
        let any = ExecutionFilter::default;
        let running = ExecutionFilter { status: Some(ExecutionStatus::Running), ..any() };
        assert_eq!(
            Lead::choose(&tx, &running, None, None).unwrap(),
            Lead::newest(),
            "so many are not sorted"
        );
        assert_eq!(Lead::choose(&tx, &any(), None, None).unwrap(), Lead::newest());
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
