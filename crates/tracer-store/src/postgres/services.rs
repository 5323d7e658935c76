//! Services: who they are, what they do, in which executions they have a part, whom they call.
//!
//! Invariants: rows that batches share are written last, in the order of their keys; where an execution is found by
//! service is written by who holds the execution.
//! Not here: what a batch hears of services (`tracer_core::record`), and what is known already (`heard`).

use tokio_postgres::Client;
use tracer_core::execution::Execution;
use tracer_core::ids::ExecutionId;
use tracer_core::limits;
use tracer_core::record::{Placement, WorkingSet};
use tracer_core::repository::{ExecutionCursor, RepositoryError, Retention};
use tracer_core::services::{Operation, ServiceCalls};
use tracer_core::span::SpanKind;
use tracer_core::time::{Day, Timestamp};

use super::error::StoreError;
use super::executions;
use super::partitions::Month;
use super::pool::ReadPool;
use super::reads::sql_limit;
use super::row::{self, Bits, Date, Stamp, stored_count};
use super::tx::{Params, Pipeline, Statements, column};
use crate::heard::News;

/// Of names beyond those that are kept, nothing is written; of those that are there, when they were last seen.
pub(super) const NOTE_SERVICES: &str = "\
-- note_services
INSERT INTO services (service, last_seen_at)
SELECT n.service, $2
  FROM unnest($1::text[]) WITH ORDINALITY AS n (service, place)
 WHERE EXISTS (SELECT FROM services AS known WHERE known.service = n.service)
    OR (SELECT count(*) FROM services) + n.place <= $3
 ORDER BY n.place
    ON CONFLICT (service) DO UPDATE SET last_seen_at = EXCLUDED.last_seen_at
 WHERE services.last_seen_at < EXCLUDED.last_seen_at";

pub(super) const NOTE_OPERATIONS: &str = "\
-- note_operations
INSERT INTO service_operations (service, operation, kind, last_seen_at)
SELECT n.service, n.operation, n.kind, $4
  FROM (SELECT m.*, row_number() OVER (PARTITION BY m.service ORDER BY m.place) AS of_service
          FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS m (service, operation, kind, place)) AS n
 WHERE EXISTS (SELECT FROM service_operations AS known
                WHERE known.service = n.service AND known.operation = n.operation AND known.kind = n.kind)
    OR (SELECT count(*) FROM service_operations AS others WHERE others.service = n.service) + n.of_service <= $5
 ORDER BY n.place
    ON CONFLICT (service, operation, kind) DO UPDATE SET last_seen_at = EXCLUDED.last_seen_at
 WHERE service_operations.last_seen_at < EXCLUDED.last_seen_at";

pub(super) const LEAVE: &str = "\
-- leave_services
DELETE FROM service_executions AS s
 USING unnest($1::text[], $2::timestamptz[], $3::uuid[], $4::date[]) AS n (service, started_at, id, month)
 WHERE s.service = n.service AND s.started_at = n.started_at AND s.execution_id = n.id AND s.recorded_month = n.month";

pub(super) const JOIN: &str = "\
-- join_services
INSERT INTO service_executions (service, started_at, execution_id, recorded_month)
SELECT * FROM unnest($1::text[], $2::timestamptz[], $3::uuid[], $4::date[])
    ON CONFLICT DO NOTHING";

pub(super) const ADD_CALLS: &str = "\
-- add_calls
INSERT INTO service_calls (day, parent, child, calls)
SELECT n.day, n.parent, n.child, n.calls
  FROM unnest($1::date[], $2::text[], $3::text[], $4::bigint[]) WITH ORDINALITY AS n (day, parent, child, calls, place)
 ORDER BY n.place
    ON CONFLICT (day, parent, child) DO UPDATE SET calls = service_calls.calls + EXCLUDED.calls";

pub(super) const SERVICES: &str = "\
-- services
(SELECT service AS name FROM services ORDER BY service LIMIT $1)
 UNION
(SELECT workflow_name FROM step_baselines WHERE step_name = '' ORDER BY workflow_name LIMIT $1)
 ORDER BY name";

/// A workflow is an operation of itself, and so are its steps.
pub(super) const OPERATIONS: &str = "\
-- operations_of_service
(SELECT operation AS name, kind
   FROM service_operations WHERE service = $1 ORDER BY operation, kind LIMIT $2)
 UNION
(SELECT CASE WHEN step_name = '' THEN workflow_name ELSE step_name END, 'internal'
   FROM step_baselines WHERE workflow_name = $1 AND cohort = '{}'::jsonb ORDER BY step_name LIMIT $2)
 ORDER BY name, kind";

const EXECUTIONS: &str = "\
-- executions_of_service
SELECT e.execution_id, e.workflow_name, e.status, e.started_at, e.ended_at, e.duration_us, e.correlation_id, e.version,
       e.attributes::text AS attributes, e.error::text AS error, e.parent_execution_id, e.link_trace_id, e.link_span_id,
       e.simulated, e.recorded_at, e.steps_completed, e.worst_severity, e.judge_at, e.stalled::text AS stalled
  FROM (SELECT started_at, execution_id, recorded_month
          FROM service_executions
         WHERE service = $1 AND started_at >= $2 AND (started_at, execution_id) < ($3, $4)
         ORDER BY started_at DESC, execution_id DESC
         LIMIT $5) AS found
  JOIN workflow_executions AS e ON e.execution_id = found.execution_id AND e.recorded_month = found.recorded_month
 ORDER BY found.started_at DESC, found.execution_id DESC";

const CALLS: &str = "\
-- service_calls
SELECT parent, child, sum(calls)::bigint AS calls
  FROM service_calls
 WHERE day >= $1 AND day <= $2
 GROUP BY parent, child
 ORDER BY parent, child
 LIMIT $3";

/// Adds the writing of what was heard of services; mostly nothing.
pub(super) fn save<'a>(
    pipeline: &mut Pipeline<'a>,
    statements: &'a Statements,
    set: &'a WorkingSet,
    news: &News<'a>,
    now: Timestamp,
) {
    let changes = &set.services;
    let places = |of: fn(&Placement) -> Option<Timestamp>| -> Option<Params<'a>> {
        let rows =
            changes.places.iter().filter_map(|(key, place)| Some((key, of(place)?, place.recorded_at)));
        let rows: Vec<(&(String, ExecutionId), Timestamp, Timestamp)> = rows.collect();
        (!rows.is_empty()).then(|| {
            vec![
                column(&rows, |(key, ..)| key.0.as_str()),
                column(&rows, |(_, at, _)| Stamp(*at)),
                column(&rows, |(key, ..)| Bits::from(key.1)),
                column(&rows, |(.., recorded_at)| Month::of(*recorded_at).date()),
            ]
        })
    };
    if let Some(params) = places(|place| place.from) {
        pipeline.execute(&statements.leave_services, params);
    }
    if let Some(params) = places(|place| place.to) {
        pipeline.execute(&statements.join_services, params);
    }
    if !news.services.is_empty() {
        let most = sql_limit(limits::SERVICES);
        let services = column(&news.services, |service| *service);
        pipeline.execute(&statements.note_services, vec![services, Box::new(Stamp(now)), Box::new(most)]);
    }
    if !news.operations.is_empty() {
        let most = sql_limit(limits::SERVICE_OPERATIONS);
        let params: Params<'a> = vec![
            column(&news.operations, |(service, ..)| *service),
            column(&news.operations, |(_, name, _)| *name),
            column(&news.operations, |(.., kind)| kind.as_str()),
            Box::new(Stamp(now)),
            Box::new(most),
        ];
        pipeline.execute(&statements.note_operations, params);
    }
    if !changes.calls.is_empty() {
        let rows: Vec<(&(Day, String, String), u64)> =
            changes.calls.iter().map(|(call, number)| (call, *number)).collect();
        let params: Params<'a> = vec![
            column(&rows, |(call, _)| Date(call.0)),
            column(&rows, |(call, _)| call.1.as_str()),
            column(&rows, |(call, _)| call.2.as_str()),
            column(&rows, |(_, number)| stored_count(*number)),
        ];
        pipeline.execute(&statements.add_calls, params);
    }
}

/// Returns the names of services and workflows.
pub(super) async fn services(pool: &ReadPool) -> Result<Vec<String>, RepositoryError> {
    let rows = pool.query_in_order("services", SERVICES, &[&sql_limit(limits::SERVICES)]).await?;
    let read = rows.iter().map(|row| row::get(row, "name"));
    read.collect::<Result<_, StoreError>>().map_err(|error| error.into_repository("services"))
}

/// Returns what a service does.
pub(super) async fn operations(pool: &ReadPool, service: &str) -> Result<Vec<Operation>, RepositoryError> {
    let limit = sql_limit(limits::SERVICE_OPERATIONS);
    let rows = pool.query_in_order("operations_of_service", OPERATIONS, &[&service, &limit]).await?;
    let read = rows.iter().map(|row| {
        let kind = SpanKind::parse(row::get(row, "kind")?).unwrap_or_default();
        Ok(Operation { name: row::get(row, "name")?, kind })
    });
    read.collect::<Result<_, StoreError>>().map_err(|error| error.into_repository("operations_of_service"))
}

/// Returns executions with spans of a service, newest start first.
pub(super) async fn executions(
    pool: &ReadPool,
    service: &str,
    from: Timestamp,
    until: Timestamp,
    after: Option<ExecutionCursor>,
    limit: usize,
) -> Result<Vec<Execution>, RepositoryError> {
    // No id is all zeros, so that everything of that instant lies behind it.
    let (at, id) = match after.filter(|after| after.started_at < until) {
        Some(after) => (after.started_at, Bits::from(after.id)),
        None => (until, Bits([0; 16])),
    };
    let rows = pool
        .query_in_order(
            "executions_of_service",
            EXECUTIONS,
            &[&service, &Stamp(from), &Stamp(at), &id, &sql_limit(limit)],
        )
        .await?;
    let read = rows.iter().map(|row| executions::read(row, false));
    read.collect::<Result<_, _>>().map_err(|error| error.into_repository("executions_of_service"))
}

/// Returns how often services called one another.
pub(super) async fn calls(
    pool: &ReadPool,
    first: Day,
    last: Day,
) -> Result<Vec<ServiceCalls>, RepositoryError> {
    let limit = sql_limit(limits::SERVICE_CALLS_SHOWN);
    let rows = pool.query("service_calls", CALLS, &[&Date(first), &Date(last), &limit]).await?;
    let read = rows.iter().map(|row| {
        let (parent, child) = (row::get(row, "parent")?, row::get(row, "child")?);
        Ok(ServiceCalls { parent, child, calls: row::count(row, "calls")? })
    });
    read.collect::<Result<_, StoreError>>().map_err(|error| error.into_repository("service_calls"))
}

/// Removes names that were not seen, and calls that were made, longer ago than executions are kept. There are few.
pub(super) async fn prune(client: &Client, now: Timestamp, retention: Retention) -> Result<(), StoreError> {
    const OLD_SERVICES: &str = "-- prune_services\nDELETE FROM services WHERE last_seen_at < $1";
    const OLD_OPERATIONS: &str =
        "-- prune_operations\nDELETE FROM service_operations WHERE last_seen_at < $1";
    const OLD_CALLS: &str = "-- prune_calls\nDELETE FROM service_calls WHERE day < $1";
    let before = now - retention.detail;
    client.execute(OLD_SERVICES, &[&Stamp(before)]).await?;
    client.execute(OLD_OPERATIONS, &[&Stamp(before)]).await?;
    client.execute(OLD_CALLS, &[&Date(before.day())]).await?;
    Ok(())
}
