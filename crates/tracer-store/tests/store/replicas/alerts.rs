//! Replicas that find the same at the same moment open one incident, and share the channels that are told of it.

use std::collections::BTreeMap;

use tracer_core::ids::ExecutionId;
use tracer_core::incident::{Incident, IncidentKind, Transition};
use tracer_core::outbox::{IncidentFilter, Settled, Settlement};
use tracer_core::record::{ChangeIncident, Completion, IncidentChange, JudgeStep, StartStep};
use tracer_core::test_util::fixtures::channel_name;
use tracer_core::time::Micros;

use super::*;

/// Gives a step a history of 100 ms, some minutes ago.
async fn learn(store: &dyn Repository, step: &str) {
    let execution = start("etl");
    send(store, execution.clone()).await;
    let ended_at = Some(store.clock().now() - Micros::from_secs(300));
    for _ in 0..10 {
        send(store, whole(execution.id, step, Completion { ended_at, ..completed(100) })).await;
    }
}

async fn executions(store: &dyn Repository, count: usize) -> Vec<ExecutionId> {
    let all: Vec<_> = (0..count).map(|_| start("etl")).collect();
    join_all(all.iter().map(|execution| send(store, execution.clone()))).await;
    all.into_iter().map(|execution| execution.id).collect()
}

async fn incidents_of(store: &dyn Repository, kind: IncidentKind, step: &str) -> Vec<Incident> {
    let filter = IncidentFilter { kind: Some(kind), ..IncidentFilter::default() };
    let all = store.incidents(&filter, None, 1_000).await.expect("an answer");
    all.into_iter().filter(|incident| incident.cause.step == Some(step_name(step))).collect()
}

async fn pending(store: &dyn Repository) -> u64 {
    let states = store.channels(store.clock().now()).await.expect("an answer");
    states.iter().map(|state| state.pending).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_two_replicas_find_at_once_is_one_incident() {
    let server = PrivateServer::start();
    let url = server.url("postgres");
    let (left, right) = tokio::join!(replica(&url), replica(&url));
    let replicas = [left, right];
    for round in 0..8 {
        let name = format!("step {round}");
        learn(&*replicas[0], &name).await;
        let ids = executions(&*replicas[0], 20).await;
        let slow = ids.iter().enumerate().map(|(client, id)| {
            let slow = whole(*id, &name, completed(5_000));
            send(&*replicas[client % 2], slow)
        });
        join_all(slow).await;
        let found = incidents_of(&*replicas[1], IncidentKind::SlowStep, &name).await;
        assert_eq!(
            found.iter().map(|incident| incident.occurrences).collect::<Vec<_>>(),
            [20],
            "round {round}"
        );
        assert_eq!(pending(&*replicas[0]).await, round + 1);
    }
    let log = server.log();
    assert!(!log.contains("deadlock detected"), "{log}");
}

/// Looking locks no row that two looks have in common: here they meet at the incident itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_two_replicas_find_stuck_at_once_is_one_incident() {
    const ROUNDS: u64 = 10;
    let server = PrivateServer::start();
    let url = server.url("postgres");
    let (left, right) = tokio::join!(replica(&url), replica(&url));
    let replicas = [left, right];
    let ids = [executions(&*replicas[0], 8).await, executions(&*replicas[1], 8).await];
    for round in 0..ROUNDS {
        let name = format!("step {round}");
        learn(&*replicas[0], &name).await;
        let a_minute_ago = replicas[0].clock().now() - Micros::from_secs(60);
        let began = |id: &ExecutionId| StartStep { started_at: Some(a_minute_ago), ..step(*id, &name) };
        let steps = ids.each_ref().map(|ids| ids.iter().map(began).collect::<Vec<_>>());
        for (store, steps) in replicas.iter().zip(&steps) {
            join_all(steps.iter().map(|step| send(&**store, step.clone()))).await;
        }
        let look = async |at: usize| {
            let looks = steps[at].iter().map(|step| JudgeStep { execution: step.execution, id: step.id });
            let answers = join_all(looks.map(|look| send(&*replicas[at], look))).await;
            assert!(
                answers.iter().all(|answer| matches!(answer.outcome, Outcome::StepStuck(_))),
                "{answers:?}"
            );
        };
        tokio::join!(look(0), look(1));
        let found = incidents_of(&*replicas[1], IncidentKind::StuckStep, &name).await;
        let counts: Vec<_> = found.iter().map(|incident| (incident.ongoing, incident.occurrences)).collect();
        assert_eq!(counts, [(16, 16)], "round {round}");
        assert_eq!(pending(&*replicas[0]).await, round + 1);
    }
    let ends = async |at: usize| join_all(ids[at].iter().map(|id| send(&*replicas[at], end(*id)))).await;
    tokio::join!(ends(0), ends(1));
    for round in 0..ROUNDS {
        let found = incidents_of(&*replicas[1], IncidentKind::StuckStep, &format!("step {round}")).await;
        assert!(
            found.iter().all(|incident| incident.ongoing == 0 && incident.resolved.is_some()),
            "{found:#?}"
        );
    }
    let log = server.log();
    assert!(!log.contains("deadlock detected"), "{log}");
}

/// Delivers what there is to deliver for a channel, whenever nobody else does, until nothing is left.
async fn dispatch(store: &dyn Repository, holder: &str) -> Vec<(i64, Incident, Transition)> {
    let (channel, mut told) = (channel_name("people"), Vec::new());
    while pending(store).await > 0 {
        let now = store.clock().now();
        let lease = store.lease(&channel, holder, now, now + Micros::from_secs(15)).await.expect("an answer");
        let Some(lease) = lease else {
            tokio::task::yield_now().await;
            continue;
        };
        // A few at a time, so that both get their turn.
        for _ in 0..3 {
            let now = store.clock().now();
            let Some(delivery) = store.take(&lease, now, now, &[]).await.expect("an answer") else { break };
            let ids = delivery.notifications.iter().map(|one| one.id).collect();
            let settled = Settled::Sent { reference: Some("one".to_owned()), note: None };
            let settlement = Settlement { ids, settled, not_before: now, at: now, in_history: false };
            assert!(store.settle(&lease, settlement).await.expect("an answer"));
            told.extend(delivery.notifications.into_iter().map(|one| (one.id, one.incident, one.transition)));
        }
        store.release(&lease).await.expect("given back");
    }
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replicas_that_share_a_channel_tell_it_everything_once_and_in_order() {
    const CAUSES: usize = 12;
    let database = TestDatabase::create().await;
    let replicas = [replica(database.url()).await, replica(database.url()).await];
    let [execution] = executions(&*replicas[0], 1).await[..] else { panic!("not one") };
    for n in 0..CAUSES {
        let name = format!("step {n}");
        learn(&*replicas[0], &name).await;
        send(&*replicas[n % 2], whole(execution, &name, completed(5_000))).await;
    }
    // What is told meanwhile belongs to incidents that change, on either side.
    let all = replicas[0].incidents(&IncidentFilter::default(), None, 100).await.expect("an answer");
    let resolving = async {
        for (n, incident) in all.iter().enumerate() {
            let by_hand = ChangeIncident { id: incident.id, change: IncidentChange::Resolve, by: None };
            send(&*replicas[n % 2], by_hand.into_command()).await;
        }
    };
    let (left, right, ()) =
        tokio::join!(dispatch(&*replicas[0], "left"), dispatch(&*replicas[1], "right"), resolving);
    // What was told last may have come after both had found nothing left.
    let rest = dispatch(&*replicas[0], "left").await;
    let mut told: Vec<_> = left.into_iter().chain(right).chain(rest).collect();
    told.sort_by_key(|(id, ..)| *id);
    assert!(told.windows(2).all(|pair| pair[0].0 < pair[1].0), "none is told twice");
    let mut by_incident: BTreeMap<_, Vec<Transition>> = BTreeMap::new();
    for (_, incident, transition) in told {
        by_incident.entry(incident.id).or_default().push(transition);
    }
    assert_eq!(by_incident.len(), CAUSES);
    for (id, transitions) in by_incident {
        assert_eq!(transitions, [Transition::Opened, Transition::Resolved], "{id}");
    }
}
