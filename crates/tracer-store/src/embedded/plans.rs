//! The plans of the statements about incidents, the outbox, services, failures and objectives: what each looks up, and that none walks a table
//! that grows.

use rusqlite::Connection;
use tracer_core::detect::Severity;
use tracer_core::failures::{GroupCursor, GroupFilter};
use tracer_core::incident::{IncidentId, IncidentKind, IncidentState};
use tracer_core::outbox::IncidentFilter;
use tracer_core::similarity::FailureId;
use tracer_core::test_util::fixtures::{NOON, workflow};

use super::{failures, file, incidents, migrate, outbox, services, slo};

fn tables() -> Connection {
    let mut connection = file::open_in_memory().unwrap();
    migrate::migrate(&mut connection).unwrap();
    connection
}

fn plan(connection: &Connection, sql: &str) -> String {
    let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    let mut rows = statement.raw_query();
    let mut lines = Vec::new();
    while let Some(row) = rows.next().unwrap() {
        lines.push(row.get::<_, String>(3).unwrap());
    }
    lines.join("; ")
}

fn named(connection: &Connection, sql: &str) -> String {
    let name = sql.lines().next().and_then(|line| line.strip_prefix("-- ")).unwrap();
    format!("{name}: {}", plan(connection, sql))
}

#[test]
fn listings_of_incidents_walk_an_index_in_their_order() {
    let any = IncidentFilter::default;
    let firing = Some(IncidentState::Firing);
    let one = Some(workflow("etl"));
    let listings = [
        any(),
        IncidentFilter { kind: Some(IncidentKind::SlowStep), ..any() },
        IncidentFilter { workflow: one.clone(), ..any() },
        IncidentFilter { state: firing, ..any() },
        IncidentFilter { state: firing, workflow: one, severity: Some(Severity::Critical), ..any() },
    ];
    let after = IncidentId::from_bytes([1; 16]);
    let connection = tables();
    let plans = listings.map(|filter| plan(&connection, &incidents::listing(&filter, Some(after), 10).0));
    let expected = [
        "SEARCH incidents USING INDEX sqlite_autoindex_incidents_1 (incident_id<?)",
        "SEARCH incidents USING INDEX sqlite_autoindex_incidents_1 (incident_id<?)",
        "SEARCH incidents USING INDEX incidents_of_workflow (workflow_name=? AND incident_id<?)",
        "SEARCH incidents USING INDEX incidents_firing (incident_id<?)",
        "SEARCH incidents USING INDEX incidents_firing (incident_id<?)",
    ];
    assert_eq!(plans, expected);
}

#[test]
fn incidents_are_looked_up() {
    let connection = tables();
    let shown = incidents::STATEMENTS.map(|sql| named(&connection, sql));
    let expected = [
        "incident: SEARCH incidents USING INDEX sqlite_autoindex_incidents_1 (incident_id=?)",
        "current_incident: SEARCH incidents USING INDEX incidents_current (fingerprint=?)",
        "update_incident: SEARCH incidents USING INDEX sqlite_autoindex_incidents_1 (incident_id=?)",
        "finish_messages: SEARCH notification_messages USING PRIMARY KEY (incident_id=?)",
        "incident_history: SEARCH incident_entries USING INDEX incident_entries_of_incident (incident_id=?)",
        "firing_incidents: SCAN incidents USING COVERING INDEX incidents_firing; USE TEMP B-TREE FOR GROUP BY",
        "due_incidents: SEARCH incidents USING INDEX incidents_due (due_at<?)",
        "old_incidents: SEARCH incidents USING INDEX incidents_over (resolved_at<?)",
    ];
    assert_eq!(shown, expected);
}

#[test]
fn the_outbox_is_looked_up() {
    let connection = tables();
    let shown = outbox::STATEMENTS.map(|sql| named(&connection, sql));
    let expected = [
        "first_notification: SEARCH o USING INDEX notification_outbox_pending (channel=?); CORRELATED SCALAR SUBQUERY 1; SEARCH e USING INDEX notification_outbox_in_turn (incident_id=? AND channel=?)",
        "told_together: SEARCH o USING INDEX notification_outbox_together (channel=? AND execution_id=? AND transition=?); CORRELATED SCALAR SUBQUERY 1; SEARCH e USING INDEX notification_outbox_in_turn (incident_id=? AND channel=?)",
        "told_before: SEARCH notification_outbox USING COVERING INDEX notification_outbox_of_incident (incident_id=? AND channel=? AND outcome=?)",
        "message_of_incident: SEARCH notification_messages USING PRIMARY KEY (incident_id=? AND channel=?)",
        "incidents_of_message: SEARCH m USING COVERING INDEX notification_messages_reference (channel=? AND reference=?); SEARCH i USING INDEX sqlite_autoindex_incidents_1 (incident_id=?); USE TEMP B-TREE FOR ORDER BY",
        "outdated_messages: SEARCH m USING INDEX notification_messages_open (channel=?); SEARCH i USING INDEX sqlite_autoindex_incidents_1 (incident_id=?); USE TEMP B-TREE FOR GROUP BY; USE TEMP B-TREE FOR ORDER BY",
        "told_openings: SEARCH o USING INDEX notification_outbox_told (channel=? AND settled_at>?); SEARCH i USING INDEX sqlite_autoindex_incidents_1 (incident_id=?)",
        "channels: CO-ROUTINE n; MERGE (UNION); LEFT; SCAN notification_channels; RIGHT; SCAN notification_outbox USING INDEX notification_outbox_pending; MATERIALIZE p; SCAN notification_outbox USING INDEX notification_outbox_pending; SCAN n; BLOOM FILTER ON p (channel=?); SEARCH p USING AUTOMATIC COVERING INDEX (channel=?) LEFT-JOIN; SEARCH c USING PRIMARY KEY (channel=?) LEFT-JOIN; CORRELATED SCALAR SUBQUERY 1; SEARCH r USING COVERING INDEX notification_outbox_refused (channel=? AND settled_at>?)",
        "old_notifications: SEARCH notification_outbox USING INTEGER PRIMARY KEY (rowid=?); LIST SUBQUERY 1; SEARCH notification_outbox USING COVERING INDEX notification_outbox_settled (settled_at<?)",
    ];
    assert_eq!(shown, expected);
}

#[test]
fn services_are_looked_up() {
    let connection = tables();
    let shown = services::STATEMENTS.map(|sql| named(&connection, sql));
    let expected = [
        "leave_service: SEARCH service_executions USING PRIMARY KEY (service=? AND at=? AND id=?)",
        "trace_of_execution: SEARCH workflow_executions USING PRIMARY KEY (execution_id=?)",
        "services: MERGE (UNION); LEFT; CO-ROUTINE (subquery-1); SCAN services; SCAN (subquery-1); USE TEMP B-TREE FOR ORDER BY; RIGHT; CO-ROUTINE (subquery-3); SCAN step_baselines USING COVERING INDEX step_baselines_workflows; SCAN (subquery-3); USE TEMP B-TREE FOR ORDER BY",
        "operations_of_service: MERGE (UNION); LEFT; CO-ROUTINE (subquery-1); SEARCH service_operations USING PRIMARY KEY (service=?); SCAN (subquery-1); USE TEMP B-TREE FOR ORDER BY; RIGHT; CO-ROUTINE (subquery-3); SEARCH step_baselines USING INDEX step_baselines_workflow (workflow_name=?); SCAN (subquery-3); USE TEMP B-TREE FOR ORDER BY",
        "executions_of_service: CO-ROUTINE (subquery-1); SEARCH service_executions USING PRIMARY KEY (service=? AND at>? AND (at,id)<(?,?)); SCAN (subquery-1); SEARCH workflow_executions USING PRIMARY KEY (execution_id=?)",
        "service_calls: SEARCH service_calls USING PRIMARY KEY (day>? AND day<?); USE TEMP B-TREE FOR GROUP BY",
        "old_services: SEARCH services USING COVERING INDEX services_seen (last_seen_at<?)",
        "old_operations: SEARCH service_operations USING COVERING INDEX service_operations_seen (last_seen_at<?)",
        "old_calls: SEARCH service_calls USING PRIMARY KEY (day<?)",
    ];
    assert_eq!(shown, expected);
}

#[test]
fn failures_are_looked_up() {
    let connection = tables();
    let shown = failures::STATEMENTS.map(|sql| named(&connection, sql));
    let expected = [
        "count_execution_failure_again: SEARCH execution_failures USING PRIMARY KEY (execution_id=? AND group_id=?)",
        "count_failure: SEARCH failure_groups USING INTEGER PRIMARY KEY (rowid=?)",
        "find_failure_group: SEARCH failure_groups USING COVERING INDEX sqlite_autoindex_failure_groups_1 (fingerprint=?)",
        "delete_execution_failures: SEARCH execution_failures USING PRIMARY KEY (execution_id=?)",
        "old_failure_groups: SEARCH failure_groups USING INDEX failure_groups_noted (noted_day<?)",
        "delete_failure_token: SEARCH failure_tokens USING PRIMARY KEY (token=? AND size=? AND group_id=?)",
        "delete_failure_group: SEARCH failure_groups USING INTEGER PRIMARY KEY (rowid=?)",
        "delete_failure_workflows: SEARCH failure_workflows USING PRIMARY KEY (workflow_name=? AND fingerprint=?); LIST SUBQUERY 2; SEARCH failure_workflows USING COVERING INDEX failure_workflows_noted (noted_day<?)",
        "failure_group: SEARCH g USING INDEX sqlite_autoindex_failure_groups_1 (fingerprint=?)",
        "failure_token_counts: CO-ROUTINE (subquery-1); SEARCH failure_tokens USING PRIMARY KEY (token=?); SCAN (subquery-1)",
        "failures_with_token: SEARCH failure_tokens USING PRIMARY KEY (token=?)",
        "failures_with_token_of_size: SEARCH failure_tokens USING PRIMARY KEY (token=? AND size>? AND size<?)",
        "failure_has_token: SEARCH failure_tokens USING PRIMARY KEY (token=? AND size=? AND group_id=?)",
        "compared_failures: SEARCH failure_groups USING INTEGER PRIMARY KEY (rowid=?)",
        "failures_of_execution: SEARCH f USING PRIMARY KEY (execution_id=?); SEARCH g USING INTEGER PRIMARY KEY (rowid=?); USE TEMP B-TREE FOR ORDER BY",
    ];
    assert_eq!(shown, expected);
}

#[test]
fn listings_of_failures_walk_an_index_in_their_order() {
    let connection = tables();
    let any = GroupFilter::default;
    let after = GroupCursor { last_seen_at: NOON, id: FailureId::from_bytes([1; 16]) };
    let listings = [
        any(),
        GroupFilter { since: Some(NOON), ..any() },
        GroupFilter { workflow: Some(workflow("etl")), ..any() },
        GroupFilter { workflow: Some(workflow("etl")), since: Some(NOON) },
    ];
    let plans = listings.map(|filter| plan(&connection, &failures::listing(&filter, Some(after), 10).0));
    let expected = [
        "SEARCH g USING INDEX failure_groups_seen ((last_seen_at,fingerprint)<(?,?))",
        "SEARCH g USING INDEX failure_groups_seen (last_seen_at>? AND (last_seen_at,fingerprint)<(?,?))",
        "SEARCH w USING INDEX failure_workflows_seen (workflow_name=? AND (last_seen_at,fingerprint)<(?,?)); SEARCH g USING INDEX sqlite_autoindex_failure_groups_1 (fingerprint=?)",
        "SEARCH w USING INDEX failure_workflows_seen (workflow_name=? AND last_seen_at>? AND (last_seen_at,fingerprint)<(?,?)); SEARCH g USING INDEX sqlite_autoindex_failure_groups_1 (fingerprint=?)",
    ];
    assert_eq!(plans, expected);
}

#[test]
fn counts_of_objectives_are_looked_up() {
    let connection = tables();
    let shown = slo::STATEMENTS.map(|sql| named(&connection, sql));
    let key = "slo=? AND definition=? AND resolution=? AND slot_at";
    let expected = [
        format!("slo_counts: SEARCH slo_slots USING PRIMARY KEY ({key}>?)"),
        format!("slo_last_failed: SEARCH slo_slots USING PRIMARY KEY ({key}>?)"),
        format!("slo_last_slow: SEARCH slo_slots USING PRIMARY KEY ({key}>?)"),
        format!(
            "prune_slo_slots: SEARCH slo_slots USING PRIMARY KEY ({key}=?); LIST SUBQUERY 2; SEARCH slo_slots USING COVERING INDEX slo_slots_old (resolution=? AND slot_at<?)"
        ),
    ];
    assert_eq!(shown, expected);
}
