//! *Alerts and delivery*: what fires, and whether those who should hear of it do.

use super::board::{Board, each_incident, postgres};
use super::panel::{Empty, Panel, bars, graph, stat, table};
use super::query::{Query, instant, range};
use super::shared::{firing_alerts, incident_list};
use super::style::{FEW_IS_GOOD, NONE_IS_GOOD, PLAIN, Unit, WAITING};

const NO_STORE: Empty = Empty::Until("The store does not answer, or there is no channel");
const NO_SQL: Empty = Empty::Maybe("No incident in this time, or no PostgreSQL");

/// Returns it.
pub(super) fn board() -> Board {
    Board::new(
        "tracer-alerts",
        "Tracer / Alerts and delivery",
        "What fires, who was told, what waits to be told, and what was refused.",
    )
    .variable(postgres())
    .annotation(each_incident(""))
    .row("Now", now())
    .row("Incidents", incidents())
    .row("Delivery by the service", delivery())
    .row("Prometheus and Alertmanager", alertmanager())
}

fn now() -> Vec<Panel> {
    vec![
        stat("Critical incidents", Unit::Count, "Incidents that fire and are CRITICAL.", NO_STORE)
            .size(6, 4)
            .steps(NONE_IS_GOOD)
            .ask(instant("", "sum(max by (kind) (tracer_incidents_firing{severity=\"CRITICAL\"}))")),
        stat("Warnings", Unit::Count, "Incidents that fire and are a WARNING.", NO_STORE)
            .size(6, 4)
            .steps(FEW_IS_GOOD)
            .ask(instant("", "sum(max by (kind) (tracer_incidents_firing{severity=\"WARNING\"}))")),
        stat(
            "Waiting to be told",
            Unit::Count,
            "Notifications in the outbox, over all channels. They survive a restart.",
            NO_STORE,
        )
        .size(6, 4)
        .steps(FEW_IS_GOOD)
        .ask(instant("", "sum(max by (channel) (tracer_outbox_pending))")),
        stat(
            "Longest wait",
            Unit::Seconds,
            "How long the oldest of them has been due. After 300 s the health check is degraded and TracerOutboxStuck is near: see its runbook.",
            NO_STORE,
        )
        .size(6, 4)
        .steps(WAITING)
        .ask(instant("", "max(tracer_outbox_oldest_seconds)")),
    ]
}

fn incidents() -> Vec<Panel> {
    vec![
        graph(
            "Incidents that fire, by kind",
            Unit::Count,
            "What is acknowledged or snoozed fires as well.",
            NO_STORE,
        )
        .ask(range("{{kind}}", "sum by (kind) (max by (kind, severity) (tracer_incidents_firing))")),
        graph("Incidents that fire, by severity", Unit::Count, "How bad they are.", NO_STORE).ask(range(
            "{{severity}}",
            "sum by (severity) (max by (kind, severity) (tracer_incidents_firing))",
        )),
        incident_list("Incidents", "", 100),
        table(
            "Which causes fire most",
            Unit::OfColumns,
            "Causes by how often they fired in the time shown, and how long they took to be over: what fires every night and resolves by itself wants another limit, not another page.",
            NO_SQL,
        )
        .ask(Query::Sql(
            "SELECT kind AS \"Kind\", workflow_name AS \"Workflow\", step_name AS \"Step\", \
             count(*) AS \"Incidents\", sum(occurrences)::bigint AS \"Findings\", \
             avg(extract(epoch FROM resolved_at - first_seen_at))::double precision AS \"Time to resolve\" \
             FROM incidents WHERE $__timeFilter(first_seen_at) \
             GROUP BY kind, workflow_name, step_name ORDER BY count(*) DESC, sum(occurrences) DESC LIMIT 20"
                .to_owned(),
        ))
        .column("Incidents", Unit::Count, PLAIN)
        .column("Findings", Unit::Count, PLAIN)
        .column("Time to resolve", Unit::Seconds, PLAIN),
    ]
}

fn delivery() -> Vec<Panel> {
    vec![
        graph(
            "Attempts by what became of them",
            Unit::PerMinute,
            "sent: taken by the channel. retried: not for now. in_doubt: sent again after a crash. refused and dropped: given up, see /health.",
            Empty::Until("No channel has been told of anything yet"),
        )
        .ask(range(
            "{{outcome}}",
            "sum by (outcome) (rate(tracer_notifications_total[$__rate_interval])) * 60",
        )),
        graph(
            "Attempts that did not arrive, by channel",
            Unit::PerMinute,
            "Everything but sent. A channel that only retries is away or throttles; one that refuses is set up wrongly.",
            Empty::Until("No channel has been told of anything yet"),
        )
        .ask(range(
            "{{channel}}",
            "sum by (channel) (rate(tracer_notifications_total{outcome!=\"sent\"}[$__rate_interval])) * 60",
        )),
        graph("Outbox by channel", Unit::Count, "Notifications yet to be sent.", NO_STORE)
            .ask(range("{{channel}}", "max by (channel) (tracer_outbox_pending)")),
        graph("Longest wait by channel", Unit::Seconds, "How long the oldest has been due.", NO_STORE)
            .steps(WAITING)
            .ask(range("{{channel}}", "max by (channel) (tracer_outbox_oldest_seconds)")),
        bars(
            "Told in the time shown",
            Unit::Count,
            "Notifications that each channel took. A sudden rise is a storm: look at which causes fire most, above.",
            Empty::Until("No channel has been told of anything yet"),
        )
        .size(24, 5)
        .ask(instant("{{channel}}", "sum by (channel) (increase(tracer_notifications_total{outcome=\"sent\"}[$__range]))")),
    ]
}

fn alertmanager() -> Vec<Panel> {
    let away = Empty::Until("Prometheus does not scrape itself or Alertmanager");
    vec![
        firing_alerts(),
        graph(
            "Alerts from Prometheus to Alertmanager",
            Unit::PerMinute,
            "What Prometheus sent per minute, and what it could not send.",
            away,
        )
        .ask(range("sent", "sum(rate(prometheus_notifications_sent_total[$__rate_interval])) * 60"))
        .ask(range("dropped", "sum(rate(prometheus_notifications_dropped_total[$__rate_interval])) * 60")),
        graph(
            "What Alertmanager told its receivers",
            Unit::PerMinute,
            "By receiver type: attempts per minute, and those that failed.",
            away,
        )
        .ask(range(
            "{{integration}}",
            "sum by (integration) (rate(alertmanager_notifications_total[$__rate_interval])) * 60 > 0",
        ))
        .ask(range(
            "{{integration}}, failed",
            "sum by (integration) (rate(alertmanager_notifications_failed_total[$__rate_interval])) * 60 > 0",
        )),
        graph(
            "Alerts in Alertmanager",
            Unit::Count,
            "By state: active ones are told, suppressed ones are silenced or inhibited.",
            away,
        )
        .ask(range("{{state}}", "max by (state) (alertmanager_alerts)")),
    ]
}
