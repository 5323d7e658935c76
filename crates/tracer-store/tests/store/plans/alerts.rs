//! The plans of what is asked of incidents and of the outbox, beside many of them that are long over.

use tracer_core::clock::Clock;
use tracer_core::incident::{IncidentId, IncidentState, Transition};
use tracer_core::notify::ChannelName;
use tracer_core::outbox::{IncidentFilter, Lease, Settled, Settlement};
use tracer_core::record::StartExecution;
use tracer_core::test_util::fixtures::{channel_name, completed, start, whole, workflow};
use tracer_core::time::Micros;

use super::Bench;

const HOUR: Micros = Micros::from_secs(3_600);

/// Adds thousands of incidents of other causes, with their histories, and what channels were told of them.
const OTHERS: &str = "\
INSERT INTO incidents
       (incident_id, fingerprint, is_current, kind, workflow_name, step_name, cohort, state, severity, occurrences,
        first_seen_at, last_seen_at, resolved_at, due_at, changed_at, body)
SELECT md5('i' || n)::uuid, md5('f' || n)::uuid, n % 100 = 0, 'slow_step', 'other ' || n % 50, 'step', '{}',
       'resolved', 1, 1, '2026-01-01', '2026-01-01', '2026-01-01', CASE n % 100 WHEN 0 THEN '2030-01-01'::timestamptz END,
       '2026-01-01', ''
  FROM generate_series(1, 20000) AS n;
INSERT INTO incident_entries (incident_id, at, what)
SELECT incident_id, '2026-01-01', 'opened' FROM incidents WHERE workflow_name LIKE 'other%';
INSERT INTO notification_outbox
       (channel, incident_id, transition, loud, execution_id, incident, incident_changed_at, created_at, not_before, held,
        settled_at, outcome)
SELECT channel, incident_id, 'opened', true, incident_id, '', '2026-01-01', '2026-01-01', '2026-01-01', false,
       '2026-01-01', 'sent'
  FROM incidents, (VALUES ('people'), ('others')) AS c (channel) WHERE workflow_name LIKE 'other%';
INSERT INTO notification_messages (incident_id, channel, reference, shown_at, is_final)
SELECT incident_id, channel, incident_id, incident_changed_at, true FROM notification_outbox WHERE settled_at = '2026-01-01';";

impl Bench {
    /// Lets two steps be slow, each twice, in an execution of their own.
    async fn be_slow(&self) {
        let execution = StartExecution { started_at: self.clock.now(), ..start("etl") };
        self.send(execution.clone()).await;
        for step in ["load", "save"] {
            for millis in [100; 10].into_iter().chain([5_000, 5_000]) {
                self.send(whole(execution.id, step, completed(millis))).await;
            }
        }
    }

    async fn lease(&self) -> Lease {
        let now = self.clock.now();
        let lease =
            self.store.lease(&channel_name("people"), "us", now, now + HOUR).await.expect("an answer");
        lease.expect("a lease")
    }

    async fn pending(&self) -> u64 {
        let states = self.store.channels(self.clock.now()).await.expect("an answer");
        states.iter().map(|state| state.pending).sum()
    }

    /// Does all that is done for a channel; returns how many messages were edited.
    async fn tell(&self) -> usize {
        let lease = self.lease().await;
        assert!(self.store.renew(&lease, self.clock.now() + HOUR).await.expect("an answer"));
        // Not once more when there is nothing left, so that the last plan is one that found something.
        while self.pending().await > 0 {
            let delivery = self
                .store
                .take(&lease, self.clock.now(), self.clock.now(), &[Transition::Opened])
                .await
                .expect("an answer");
            let delivery = delivery.expect("something to send");
            let ids = delivery.notifications.iter().map(|one| one.id).collect();
            let reference = delivery.posted.map(|posted| posted.reference);
            let reference = reference.or(Some(format!("of {}", delivery.current.id)));
            let settled = Settled::Sent { reference, note: Some("done".to_owned()) };
            let at = self.clock.now();
            let settlement = Settlement { ids, settled, not_before: at, at, in_history: false };
            assert!(self.store.settle(&lease, settlement).await.expect("an answer"));
        }
        let outdated = self.store.outdated(&lease.channel, 10).await.expect("an answer");
        for posted in &outdated {
            assert!(self.store.edited(&lease, posted, self.clock.now()).await.expect("an answer"));
        }
        self.store.told_since(&lease.channel, self.clock.now() - HOUR, 10).await.expect("an answer");
        self.store.release(&lease).await.expect("given back");
        outdated.len()
    }

    /// Lets something be slow, tells of it, lets it be slow again, and shows it.
    async fn begin(&self) {
        self.be_slow().await;
        self.clock.advance(Micros::from_secs(3));
        let names: Vec<ChannelName> = vec![channel_name("people")];
        assert_eq!(self.store.waiting(&names, self.clock.now()).await.expect("an answer"), names);
        self.tell().await;
        self.clock.advance(Micros::from_secs(3));
        self.be_slow().await;
        assert!(self.tell().await > 0);
    }

    fn expect(&self, plans: &[(&str, &str)]) {
        for (query, expected) in plans {
            assert_eq!(self.used(query), *expected, "{query}\n{}", self.plan(query));
        }
    }

    async fn tend(&self) -> Vec<IncidentId> {
        let due = self.store.due(self.clock.now(), 100).await.expect("an answer").incidents;
        let ids = due.iter().map(|tend| tend.id).collect();
        for tend in due {
            self.send(tend).await;
        }
        ids
    }

    /// Lets what fires be over, tells of it, and lets it go.
    async fn be_over(&self) {
        self.clock.advance(Micros::from_days(1));
        assert!(!self.tend().await.is_empty());
        // What ends waits for others, as what opens does.
        self.clock.advance(Micros::from_secs(3));
        self.tell().await;
        self.clock.advance(HOUR);
        assert!(!self.tend().await.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn incidents_and_the_outbox_are_looked_up_however_many_are_over() {
    let mut bench = Bench::open().await;
    // Planned while the tables are empty, and used so from then on: as often as it takes for the plans to be kept.
    for _ in 0..7 {
        bench.begin().await;
        bench.be_over().await;
    }
    bench.run(OTHERS).await;
    for analyzed in [false, true] {
        if analyzed {
            bench.run("ANALYZE").await;
        }
        bench.forget();
        bench.begin().await;
        bench.expect(&[
            ("lock_incidents", "incidents_current, incidents_pkey"),
            ("update_incidents", "incidents_pkey"),
            (
                "waiting_channels",
                "notification_channels_pkey, notification_outbox_in_turn, notification_outbox_pending",
            ),
            ("renew_lease", "notification_channels_pkey"),
            ("hold_lease", "notification_channels_pkey"),
            (
                "take_notifications",
                "notification_outbox_in_turn, notification_outbox_pending, notification_outbox_pkey, \
                 notification_outbox_together",
            ),
            (
                "context_of_notification",
                "incidents_pkey, notification_messages_pkey, notification_outbox_of_incident",
            ),
            ("note_channel", "notification_channels_pkey"),
            ("set_aside", "notification_outbox_pkey"),
            ("outdated_messages", "incidents_pkey, notification_messages_open"),
            ("incidents_of_messages", "incidents_pkey, notification_messages_reference"),
            ("told_openings", "incidents_pkey, notification_outbox_told"),
        ]);
        // By its key, or by the message: few rows either way.
        assert!(bench.used("note_edit").contains("incidents_pkey, notification_messages_"));
        bench.be_over().await;
        bench
            .expect(&[("due_incidents", "incidents_due"), ("finish_messages", "notification_messages_pkey")]);
        let open = "SELECT count(*) FROM notification_messages WHERE NOT is_final";
        let open: i64 = bench.admin.query_one(open, &[]).await.expect("an answer").get(0);
        assert_eq!(open, 0, "what is over is not looked at any more");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn listings_of_incidents_use_their_indexes() {
    let mut bench = Bench::open().await;
    bench.be_slow().await;
    bench.run(OTHERS).await;
    bench.run("ANALYZE").await;
    let any = IncidentFilter::default;
    for (filter, index) in [
        (any(), "incidents_pkey"),
        (IncidentFilter { workflow: Some(workflow("other 7")), ..any() }, "incidents_of_workflow"),
        (IncidentFilter { state: Some(IncidentState::Firing), ..any() }, "incidents_firing"),
    ] {
        bench.forget();
        // Those that were added have no bodies: none of them is read.
        let after = Some(IncidentId::from_bytes([0; 16]));
        bench.store.incidents(&filter, after, 10).await.expect("a page");
        assert_eq!(bench.used("list_incidents"), index, "{filter:?}");
    }
    bench.forget();
    let one =
        bench.store.incidents(&IncidentFilter { workflow: Some(workflow("etl")), ..any() }, None, 1).await;
    let id = one.expect("a page").first().expect("an incident").id;
    bench.store.incident(id).await.expect("an answer").expect("known");
    assert!(!bench.store.incident_history(id).await.expect("an answer").is_empty());
    bench.store.firing().await.expect("an answer");
    for (query, index) in [
        ("incident", "incidents_pkey"),
        ("incident_history", "incident_entries_pkey"),
        ("firing_incidents", "incidents_firing"),
    ] {
        assert_eq!(bench.used(query), index, "{query}");
    }
}
