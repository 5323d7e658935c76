//! The outbox: in order, once, under a lease; and how its channels are.

use std::collections::BTreeSet;

use futures_util::future::join_all;

use super::Lab;
use crate::ids::ExecutionId;
use crate::incident::{Incident, IncidentId, Transition};
use crate::limits;
use crate::notify::{ChannelName, Delivery};
use crate::outbox::{ChannelState, IncidentFilter, Lease, Settled, Settlement};
use crate::record::{ChangeIncident, IncidentChange};
use crate::repository::Retention;
use crate::test_util::fixtures::{channel_name, completed, ms, whole};
use crate::time::{Micros, Timestamp};

/// How long an opening waits for others of its execution.
const GROUP_WAIT: Micros = Micros::from_secs(2);
const MINUTE: Micros = Micros::from_secs(60);
const HOUR: Micros = Micros::from_secs(3_600);

async fn try_lease(lab: &Lab, channel: &str, holder: &str) -> Option<Lease> {
    let (name, until) = (channel_name(channel), lab.now() + MINUTE);
    lab.store().lease(&name, holder, lab.now(), until).await.expect("an answer")
}

/// Takes the right to send for a channel, for a minute.
async fn lease(lab: &Lab, channel: &str) -> Lease {
    try_lease(lab, channel, "us").await.expect("a lease")
}

async fn try_take(lab: &Lab, lease: &Lease, grouped: bool) -> Option<Delivery> {
    let together: &[Transition] = if grouped { &[Transition::Opened] } else { &[] };
    lab.store().take(lease, lab.now(), lab.now(), together).await.expect("an answer")
}

async fn take(lab: &Lab, lease: &Lease) -> Delivery {
    try_take(lab, lease, true).await.expect("something to send")
}

async fn settle(lab: &Lab, lease: &Lease, delivery: &Delivery, settled: Settled) -> bool {
    let ids = delivery.notifications.iter().map(|one| one.id).collect();
    let settlement = Settlement { ids, settled, not_before: lab.now(), at: lab.now(), in_history: false };
    lab.store().settle(lease, settlement).await.expect("an answer")
}

fn sent() -> Settled {
    Settled::Sent { reference: None, note: None }
}

fn posted_as(reference: &str) -> Settled {
    Settled::Sent { reference: Some(reference.to_owned()), note: None }
}

fn reason() -> String {
    "it is so".to_owned()
}

/// Takes what comes next and says that it was sent.
async fn deliver(lab: &Lab, lease: &Lease) -> Delivery {
    let delivery = take(lab, lease).await;
    assert!(settle(lab, lease, &delivery, sent()).await);
    delivery
}

/// Delivers everything, and returns it in words.
async fn deliver_all(lab: &Lab, lease: &Lease) -> Vec<String> {
    let mut told = Vec::new();
    while let Some(delivery) = try_take(lab, lease, true).await {
        assert!(settle(lab, lease, &delivery, sent()).await);
        told.push(words(&delivery));
    }
    told
}

/// Returns what a delivery tells of: steps with their transitions.
fn words(delivery: &Delivery) -> String {
    let word = |incident: &Incident, transition: Transition| {
        let step = incident.cause.step.as_ref().map_or("-", |step| step.as_str());
        format!("{step} {}", transition.as_str())
    };
    let all = delivery.notifications.iter().map(|one| word(&one.incident, one.transition));
    all.collect::<Vec<_>>().join(", ")
}

async fn waiting(lab: &Lab) -> Vec<String> {
    let names: Vec<ChannelName> = ["people", "state", "action", "night", "nobody"].map(channel_name).to_vec();
    let found = lab.store().waiting(&names, lab.now()).await.expect("an answer");
    found.iter().map(ToString::to_string).collect::<BTreeSet<_>>().into_iter().collect()
}

async fn state(lab: &Lab, channel: &str) -> ChannelState {
    let states = lab.store().channels(lab.now()).await.expect("an answer");
    states.into_iter().find(|state| state.channel == channel_name(channel)).expect("a known channel")
}

/// Gives these steps a history, and lets them be slow, each in an execution of its own.
async fn slow(lab: &Lab, workflow: &str, steps: &[&str]) {
    for step in steps {
        let id = lab.with_history(workflow, step).await;
        lab.took(id, step, 5_000).await.expect("a bottleneck");
    }
}

async fn incident_of(lab: &Lab, step: &str) -> Incident {
    let all = lab.incidents(&IncidentFilter::default()).await;
    let of_step = |found: &Incident| found.cause.step.as_ref().is_some_and(|name| name.as_str() == step);
    all.into_iter().find(of_step).expect("an incident of this step")
}

async fn resolve(lab: &Lab, id: IncidentId) {
    lab.record(ChangeIncident { id, change: IncidentChange::Resolve, by: None }).await;
}

pub async fn what_is_told_comes_in_the_order_in_which_it_happened(lab: Lab) {
    slow(&lab, "etl", &["a", "b"]).await;
    let b = incident_of(&lab, "b").await;
    resolve(&lab, b.id).await;
    resolve(&lab, incident_of(&lab, "a").await.id).await;
    lab.advance(GROUP_WAIT);
    let lease = lease(&lab, "state").await;
    let first = take(&lab, &lease).await;
    let [one] = &first.notifications[..] else { panic!("more than one: {first:?}") };
    assert_eq!((one.transition, one.loud, one.attempts, one.held), (Transition::Opened, true, 0, false));
    assert_eq!((one.created_at, one.incident.occurrences), (one.incident.first_seen_at, 1));
    assert_eq!(one.incident.resolved, None, "it is told as it was");
    assert!(first.current.resolved.is_some(), "beside it as it is");
    assert!(!first.told_before && first.posted.is_none());
    assert!(settle(&lab, &lease, &first, sent()).await);
    assert_eq!(deliver_all(&lab, &lease).await, ["b opened", "b resolved", "a resolved"]);
    let people = self::lease(&lab, "people").await;
    let told = deliver_all(&lab, &people).await;
    assert_eq!(told, ["a opened", "b opened", "b resolved", "a resolved"]);
}

pub async fn nothing_is_waiting_where_nothing_was_found(lab: Lab) {
    assert_eq!(waiting(&lab).await, [""; 0]);
    assert_eq!(lab.store().channels(lab.now()).await.expect("an answer"), []);
    let lease = lease(&lab, "people").await;
    assert_eq!((lease.not_before, lease.failures), (Timestamp::default(), 0));
    assert_eq!(try_take(&lab, &lease, true).await, None);
    assert_eq!(lab.store().outdated(&lease.channel, 10).await.expect("an answer"), []);
    assert_eq!(
        lab.store().told_since(&lease.channel, Timestamp::default(), 10).await.expect("an answer"),
        []
    );
}

pub async fn a_channel_waits_while_there_is_something_to_send_and_nobody_does(lab: Lab) {
    slow(&lab, "etl", &["load"]).await;
    assert_eq!(waiting(&lab).await, ["action", "state"], "people are told after a moment");
    lab.advance(GROUP_WAIT);
    assert_eq!(waiting(&lab).await, ["action", "people", "state"]);
    let held = lease(&lab, "people").await;
    assert_eq!(waiting(&lab).await, ["action", "state"]);
    lab.store().release(&held).await.expect("given back");
    assert_eq!(waiting(&lab).await, ["action", "people", "state"]);
    let held = lease(&lab, "people").await;
    deliver(&lab, &held).await;
    lab.store().release(&held).await.expect("given back");
    assert_eq!(waiting(&lab).await, ["action", "state"]);
}

pub async fn a_lease_is_had_by_one_until_it_runs_out(lab: Lab) {
    let leases = join_all((0..10).map(|n| {
        let holder = format!("holder {n}");
        let lab = &lab;
        async move { try_lease(lab, "people", &holder).await }
    }));
    let leases: Vec<Lease> = leases.await.into_iter().flatten().collect();
    let [first] = &leases[..] else { panic!("not one: {leases:?}") };
    assert!(try_lease(&lab, "state", "another").await.is_some(), "each channel has its own");
    lab.advance(MINUTE.saturating_sub(ms(1)));
    assert_eq!(try_lease(&lab, "people", "another").await, None);
    assert!(lab.store().renew(first, lab.now() + MINUTE).await.expect("an answer"));
    lab.advance(ms(1));
    assert_eq!(try_lease(&lab, "people", "another").await, None);
    lab.advance(MINUTE);
    let next = try_lease(&lab, "people", "another").await.expect("it ran out");
    assert!(next.token > first.token);
    let again = try_lease(&lab, "people", "another").await.expect("its own");
    assert!(again.token > next.token);
}

pub async fn what_is_said_under_a_lost_lease_is_refused(lab: Lab) {
    slow(&lab, "etl", &["load", "save"]).await;
    lab.advance(GROUP_WAIT);
    let lost = lease(&lab, "people").await;
    let delivery = take(&lab, &lost).await;
    lab.advance(MINUTE);
    let held = try_lease(&lab, "people", "another").await.expect("it ran out");
    let before = (state(&lab, "people").await, incident_of(&lab, "load").await);
    let note = Some("restarted".to_owned());
    for settled in [
        Settled::Sent { reference: Some("1".to_owned()), note },
        Settled::Again { reason: reason() },
        Settled::Refused { reason: reason() },
        Settled::Dropped { reason: reason() },
    ] {
        assert!(!settle(&lab, &lost, &delivery, settled).await);
    }
    assert!(!lab.store().renew(&lost, lab.now() + HOUR).await.expect("an answer"));
    assert_eq!(try_take(&lab, &lost, true).await, None);
    lab.store().release(&lost).await.expect("no harm");
    assert_eq!(try_lease(&lab, "people", "a third one").await, None, "what was lost cannot be given back");
    assert_eq!((state(&lab, "people").await, incident_of(&lab, "load").await), before);
    let again = take(&lab, &held).await;
    assert_eq!(again.notifications[0].id, delivery.notifications[0].id);
    assert_eq!((again.notifications[0].attempts, again.told_before), (1, false));
    assert!(settle(&lab, &held, &again, sent()).await);
}

pub async fn a_lease_that_ran_out_takes_nothing_and_one_given_back_says_nothing(lab: Lab) {
    slow(&lab, "etl", &["load"]).await;
    let state = lease(&lab, "state").await;
    let delivery = take(&lab, &state).await;
    lab.advance(MINUTE);
    assert_eq!(try_take(&lab, &state, true).await, None, "another may be about to");
    assert!(settle(&lab, &state, &delivery, sent()).await, "nobody else has sent it");
    let action = lease(&lab, "action").await;
    let delivery = take(&lab, &action).await;
    lab.store().release(&action).await.expect("given back");
    assert!(!settle(&lab, &action, &delivery, sent()).await);
    assert!(!lab.store().renew(&action, lab.now() + HOUR).await.expect("an answer"));
    assert_eq!(try_take(&lab, &action, true).await, None);
}

pub async fn what_is_tried_again_keeps_its_place_and_pauses_the_channel(lab: Lab) {
    slow(&lab, "etl", &["a", "b"]).await;
    let held = lease(&lab, "state").await;
    for attempt in 0..3 {
        let delivery = take(&lab, &held).await;
        assert_eq!((words(&delivery).as_str(), delivery.notifications[0].attempts), ("a opened", attempt));
        assert!(settle(&lab, &held, &delivery, Settled::Again { reason: format!("{attempt}\0") }).await);
    }
    let delivery = take(&lab, &held).await;
    let ids = vec![delivery.notifications[0].id];
    let pause = lab.now() + MINUTE;
    let again = Settled::Again { reason: reason() };
    let settlement = Settlement { ids, settled: again, not_before: pause, at: lab.now(), in_history: false };
    assert!(lab.store().settle(&held, settlement).await.expect("an answer"));
    lab.store().release(&held).await.expect("given back");
    let told = state(&lab, "state").await;
    assert_eq!((told.pending, told.failures, told.refused), (2, 4, 0));
    assert_eq!((told.last_fault, told.last_sent_at), (Some((lab.now(), reason())), None));
    assert_eq!(waiting(&lab).await, ["action"], "the channel is paused");
    lab.advance(MINUTE);
    assert_eq!(waiting(&lab).await, ["action", "people", "state"]);
    let held = lease(&lab, "state").await;
    assert_eq!((held.failures, held.not_before), (4, pause));
    assert_eq!(deliver_all(&lab, &held).await, ["a opened", "b opened"]);
    let told = state(&lab, "state").await;
    assert_eq!((told.pending, told.failures, told.last_sent_at), (0, 0, Some(lab.now())));
    assert_eq!(told.oldest, None);
    assert!(told.last_fault.is_some(), "what it was last is still known");
}

pub async fn a_failure_of_no_notification_pauses_the_channel_too(lab: Lab) {
    let held = lease(&lab, "people").await;
    let pause = lab.now() + MINUTE;
    let settled = Settled::Again { reason: reason() };
    let settlement =
        Settlement { ids: Vec::new(), settled, not_before: pause, at: lab.now(), in_history: false };
    assert!(lab.store().settle(&held, settlement).await.expect("an answer"));
    let held = lease(&lab, "people").await;
    assert_eq!((held.failures, held.not_before), (1, pause));
}

pub async fn what_is_refused_or_dropped_is_set_aside_and_the_next_goes_on(lab: Lab) {
    slow(&lab, "etl", &["a", "b", "c"]).await;
    lab.advance(GROUP_WAIT);
    let held = lease(&lab, "people").await;
    let first = take(&lab, &held).await;
    assert!(settle(&lab, &held, &first, Settled::Refused { reason: reason() }).await);
    let told = state(&lab, "people").await;
    assert_eq!((told.pending, told.refused), (2, 1));
    assert_eq!((told.last_fault, told.last_sent_at), (Some((lab.now(), reason())), None));
    let second = take(&lab, &held).await;
    assert_eq!(words(&second), "b opened");
    assert!(settle(&lab, &held, &second, Settled::Dropped { reason: "not now".to_owned() }).await);
    let told = state(&lab, "people").await;
    assert_eq!((told.pending, told.refused, told.last_fault), (1, 1, Some((lab.now(), reason()))));
    assert_eq!(deliver_all(&lab, &held).await, ["c opened"]);
    resolve(&lab, incident_of(&lab, "a").await.id).await;
    lab.advance(GROUP_WAIT);
    let end = take(&lab, &held).await;
    assert!(!end.told_before, "it was refused");
    assert!(settle(&lab, &held, &end, sent()).await);
    lab.advance(Micros::from_days(1));
    assert_eq!(state(&lab, "people").await.refused, 0, "that is long ago");
}

pub async fn what_was_told_before_is_known_by_channel(lab: Lab) {
    slow(&lab, "etl", &["load"]).await;
    let (held, other) = (lease(&lab, "state").await, lease(&lab, "people").await);
    deliver(&lab, &held).await;
    resolve(&lab, incident_of(&lab, "load").await.id).await;
    assert!(deliver(&lab, &held).await.told_before);
    lab.advance(GROUP_WAIT);
    assert!(!deliver(&lab, &other).await.told_before);
    assert!(deliver(&lab, &other).await.told_before);
}

pub async fn what_is_held_back_holds_up_nothing_but_its_own_incident(lab: Lab) {
    let a = lab.with_history("nightly", "a").await;
    let b = lab.with_history("nightly", "b").await;
    lab.took(a, "a", 250).await.expect("a bottleneck");
    lab.advance(ms(1));
    lab.took(b, "b", 5_000).await.expect("a bottleneck");
    resolve(&lab, incident_of(&lab, "a").await.id).await;
    resolve(&lab, incident_of(&lab, "b").await.id).await;
    lab.advance(GROUP_WAIT);
    let held = lease(&lab, "night").await;
    assert_eq!(deliver_all(&lab, &held).await, ["b opened", "b resolved"]);
    let told = state(&lab, "night").await;
    assert_eq!((told.pending, told.oldest), (2, Some(lab.now() + HOUR + HOUR - GROUP_WAIT - ms(1))));
    lab.store().release(&held).await.expect("given back");
    assert!(!waiting(&lab).await.contains(&"night".to_owned()));
    lab.advance(Micros::from_secs(2 * 3_600));
    assert!(waiting(&lab).await.contains(&"night".to_owned()));
    let held = lease(&lab, "night").await;
    let first = take(&lab, &held).await;
    assert!(first.notifications[0].held && first.current.resolved.is_some() && !first.told_before);
    assert!(settle(&lab, &held, &first, sent()).await);
    assert_eq!(deliver_all(&lab, &held).await, ["a resolved"]);
}

pub async fn what_becomes_critical_in_quiet_hours_is_told_in_them(lab: Lab) {
    let id = lab.with_history("nightly", "a").await;
    lab.took(id, "a", 250).await.expect("a bottleneck");
    lab.took(id, "a", 5_000).await.expect("a bottleneck");
    resolve(&lab, incident_of(&lab, "a").await.id).await;
    lab.advance(GROUP_WAIT);
    let held = lease(&lab, "night").await;
    assert_eq!(deliver_all(&lab, &held).await, ["a worsened", "a resolved"]);
    lab.store().release(&held).await.expect("given back");
    lab.advance(Micros::from_secs(2 * 3_600));
    let held = lease(&lab, "night").await;
    let opening = take(&lab, &held).await;
    assert!(words(&opening) == "a opened" && opening.notifications[0].held && opening.told_before);
}

/// Lets all of these steps be slow in one execution.
async fn slow_together(lab: &Lab, workflow: &str, steps: &[String]) -> ExecutionId {
    let id = lab.start(workflow).await;
    join_all(steps.iter().map(|step| lab.took_each(id, step, 100, 10))).await;
    join_all(steps.iter().map(|step| lab.record(whole(id, step, completed(5_000))))).await;
    id
}

fn numbered(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("step {n:02}")).collect()
}

pub async fn what_one_execution_opens_is_told_together(lab: Lab) {
    let steps = numbered(3);
    let id = slow_together(&lab, "etl", &steps).await;
    slow(&lab, "etl", &["other"]).await;
    // A little later, so that its own time has not come when the first one's has.
    lab.took_each(id, "late", 100, 10).await;
    lab.advance(ms(500));
    lab.took(id, "late", 5_000).await.expect("a bottleneck");
    lab.advance(GROUP_WAIT.saturating_sub(ms(500)));
    let held = lease(&lab, "people").await;
    assert_eq!(words(&try_take(&lab, &held, false).await.expect("one")).split(", ").count(), 1);
    let together = take(&lab, &held).await;
    let told: BTreeSet<_> = words(&together).split(", ").map(str::to_owned).collect();
    assert_eq!(
        told,
        ["late opened", "step 00 opened", "step 01 opened", "step 02 opened"].map(str::to_owned).into()
    );
    assert!(together.notifications.is_sorted_by_key(|one| one.id));
    assert_eq!(together.current.id, together.notifications[0].incident.id);
    assert!(settle(&lab, &held, &together, sent()).await);
    assert_eq!(deliver_all(&lab, &held).await, ["other opened"]);
    // Ends wait for others, too, and are told one by one where that is wished.
    for step in &steps {
        resolve(&lab, incident_of(&lab, step).await.id).await;
    }
    lab.advance(GROUP_WAIT);
    assert_eq!(deliver_all(&lab, &held).await, ["step 00 resolved", "step 01 resolved", "step 02 resolved"]);
}

pub async fn what_ends_together_is_told_together_if_that_is_wished(lab: Lab) {
    let names = ["a", "b"].map(str::to_owned);
    slow_together(&lab, "etl", &names).await;
    lab.advance(GROUP_WAIT);
    let held = lease(&lab, "people").await;
    deliver(&lab, &held).await;
    for name in &names {
        resolve(&lab, incident_of(&lab, name).await.id).await;
    }
    lab.advance(GROUP_WAIT);
    let both = [Transition::Opened, Transition::Resolved];
    let taken =
        lab.store().take(&held, lab.now(), lab.now(), &both).await.expect("an answer").expect("the ends");
    assert_eq!(words(&taken), "a resolved, b resolved");
    assert!(settle(&lab, &held, &taken, sent()).await);
    assert_eq!(try_take(&lab, &held, true).await, None);
}

pub async fn no_message_tells_of_too_many_or_of_what_opened_much_later(lab: Lab) {
    let count = limits::GROUPED_INCIDENTS + 5;
    let id = slow_together(&lab, "etl", &numbered(count)).await;
    lab.took_each(id, "late", 100, 10).await;
    lab.advance(Micros::from_secs(limits::GROUPED_WITHIN_SECS + 1));
    lab.took(id, "late", 5_000).await.expect("a bottleneck");
    lab.advance(GROUP_WAIT);
    let held = lease(&lab, "people").await;
    let mut sizes = Vec::new();
    for _ in 0..3 {
        sizes.push(deliver(&lab, &held).await.notifications.len());
    }
    assert_eq!(sizes, [limits::GROUPED_INCIDENTS, 5, 1]);
    assert_eq!(try_take(&lab, &held, true).await, None);
}

pub async fn what_is_quiet_is_not_told_together_with_what_is_not(lab: Lab) {
    let id = lab.start("nightly").await;
    for step in ["a", "b", "c"] {
        lab.took_each(id, step, 100, 10).await;
    }
    for (step, millis) in [("a", 5_000), ("b", 250), ("c", 900)] {
        lab.took(id, step, millis).await.expect("a bottleneck");
    }
    lab.advance(GROUP_WAIT);
    let held = lease(&lab, "night").await;
    assert_eq!(deliver_all(&lab, &held).await, ["a opened, c opened"]);
}

pub async fn a_posted_message_is_found_again_and_edited_when_it_is_outdated(lab: Lab) {
    let id = slow_together(&lab, "etl", &numbered(2)).await;
    let people = channel_name("people");
    lab.advance(GROUP_WAIT);
    let held = lease(&lab, "people").await;
    let outdated = async || lab.store().outdated(&people, 10).await.expect("an answer");
    let delivery = take(&lab, &held).await;
    assert_eq!((delivery.notifications.len(), &delivery.posted), (2, &None));
    assert!(settle(&lab, &held, &delivery, posted_as("ts 1")).await);
    assert_eq!(outdated().await, []);
    // One of the two gathers another finding: nothing to tell, and something to show.
    lab.advance(ms(5));
    lab.took(id, "step 01", 5_000).await;
    let found = outdated().await;
    let [message] = &found[..] else { panic!("not one: {found:?}") };
    assert_eq!(message.reference, "ts 1");
    let all: BTreeSet<_> =
        lab.incidents(&IncidentFilter::default()).await.into_iter().map(|one| one.id).collect();
    assert_eq!(message.incidents.iter().map(|one| one.id).collect::<BTreeSet<_>>(), all);
    assert!(message.incidents.contains(&incident_of(&lab, "step 01").await), "as it is now");
    assert_eq!(lab.store().outdated(&channel_name("state"), 10).await.expect("an answer"), []);
    assert!(lab.store().edited(&held, message, lab.now() + MINUTE).await.expect("an answer"));
    assert_eq!(outdated().await, []);
    assert_eq!(lease(&lab, "people").await.not_before, lab.now() + MINUTE);
    assert!(!lab.store().edited(&held, message, lab.now()).await.expect("an answer"), "that lease is lost");
    // Its end is told, and where the message is comes with it.
    resolve(&lab, incident_of(&lab, "step 01").await.id).await;
    lab.advance(GROUP_WAIT);
    let held = lease(&lab, "people").await;
    let end = take(&lab, &held).await;
    let posted = end.posted.clone().expect("a message");
    assert_eq!((posted.reference.as_str(), posted.incidents.len(), end.told_before), ("ts 1", 2, true));
    assert!(settle(&lab, &held, &end, posted_as("ts 2")).await);
    assert_eq!(outdated().await, []);
    lab.advance(ms(5));
    lab.took(id, "step 01", 5_000).await;
    lab.took(id, "step 00", 5_000).await;
    let mut references: Vec<_> = outdated().await.into_iter().map(|one| one.reference).collect();
    references.sort();
    assert_eq!(references, ["ts 1", "ts 2"], "each is told of where it was last");
    assert_eq!(lab.store().outdated(&people, 1).await.expect("an answer").len(), 1);
}

pub async fn a_message_that_was_edited_too_early_is_edited_again(lab: Lab) {
    slow(&lab, "etl", &["load"]).await;
    lab.advance(GROUP_WAIT);
    let held = lease(&lab, "people").await;
    let delivery = take(&lab, &held).await;
    let id = lab.start("etl").await;
    lab.took(id, "load", 5_000).await;
    assert!(settle(&lab, &held, &delivery, posted_as("ts")).await);
    let outdated = async || lab.store().outdated(&held.channel, 10).await.expect("an answer");
    let seen = outdated().await.remove(0);
    lab.advance(ms(1));
    lab.took(id, "load", 5_000).await;
    assert!(lab.store().edited(&held, &seen, lab.now()).await.expect("an answer"));
    let seen = outdated().await.remove(0);
    assert_eq!(seen.incidents[0].occurrences, 3);
    assert!(lab.store().edited(&held, &seen, lab.now()).await.expect("an answer"));
    assert_eq!(outdated().await, []);
}

pub async fn what_a_channel_was_told_of_openings_is_known(lab: Lab) {
    slow(&lab, "etl", &["a", "b"]).await;
    let held = lease(&lab, "action").await;
    let begun = lab.now();
    for _ in 0..2 {
        lab.advance(ms(10));
        deliver(&lab, &held).await;
    }
    let told = async |since, limit| {
        let told = lab.store().told_since(&channel_name("action"), since, limit).await.expect("an answer");
        told.into_iter().map(|(at, cause)| (at.since(begun).as_millis(), cause)).collect::<Vec<_>>()
    };
    let [a, b] =
        [incident_of(&lab, "a").await, incident_of(&lab, "b").await].map(|found| found.cause.fingerprint());
    assert_eq!(told(begun, 10).await, [(20, b), (10, a)]);
    assert_eq!(told(begun + ms(20), 10).await, [(20, b)]);
    assert_eq!(told(begun, 1).await, [(20, b)]);
    assert_eq!(told(lab.now() + ms(1), 10).await, []);
    let refused = lease(&lab, "people").await;
    lab.advance(GROUP_WAIT);
    let delivery = take(&lab, &refused).await;
    settle(&lab, &refused, &delivery, Settled::Refused { reason: reason() }).await;
    let refused = lab.store().told_since(&channel_name("people"), begun, 10).await.expect("an answer");
    assert_eq!(refused.len(), 1, "what was refused was tried");
}

pub async fn what_an_action_answered_is_in_the_history_of_its_incidents(lab: Lab) {
    slow(&lab, "etl", &["load"]).await;
    let held = lease(&lab, "action").await;
    lab.advance(ms(10));
    let delivery = take(&lab, &held).await;
    let long = format!("restarted\0 {}", "é".repeat(limits::INCIDENT_NOTE_BYTES));
    let settled = Settled::Sent { reference: None, note: Some(long) };
    assert!(settle(&lab, &held, &delivery, settled).await);
    let incident = incident_of(&lab, "load").await;
    let lines = lab.store().incident_history(incident.id).await.expect("an answer");
    let last = lines.last().expect("a line");
    assert_eq!((lines.len(), last.what.as_str(), last.at), (2, "action", lab.now()));
    let note = last.note.as_deref().expect("what it answered");
    assert!(note.starts_with("restarted") && note.len() <= limits::INCIDENT_NOTE_BYTES, "{note}");
    // What was settled is not settled again.
    assert!(settle(&lab, &held, &delivery, Settled::Refused { reason: reason() }).await);
    assert_eq!(state(&lab, "action").await.refused, 0);
}

pub async fn a_channel_settles_nothing_of_another_one(lab: Lab) {
    slow(&lab, "etl", &["load"]).await;
    let (held, other) = (lease(&lab, "state").await, lease(&lab, "action").await);
    let delivery = take(&lab, &held).await;
    assert!(settle(&lab, &other, &delivery, sent()).await);
    assert_eq!((state(&lab, "state").await.pending, state(&lab, "action").await.pending), (1, 1));
}

pub async fn notifications_that_are_settled_are_removed_in_time_and_others_stay(lab: Lab) {
    const USUAL: Retention = Retention { detail: Micros::from_days(30), aggregates: Micros::from_days(400) };
    slow(&lab, "etl", &["load"]).await;
    let held = lease(&lab, "state").await;
    deliver(&lab, &held).await;
    let incident = incident_of(&lab, "load").await.id;
    resolve(&lab, incident).await;
    lab.advance(HOUR);
    lab.tend().await;
    let prune = async || {
        let pruned = lab.store().prune(lab.now(), USUAL).await.expect("pruned");
        (pruned.notifications, pruned.incidents)
    };
    lab.advance(Micros::from_days(29));
    assert_eq!(prune().await, (0, 0));
    lab.advance(Micros::from_days(1));
    assert_eq!(prune().await, (1, 0), "what is yet to be sent stays");
    assert_eq!(state(&lab, "people").await.pending, 2);
    assert!(lab.store().incident(incident).await.expect("an answer").is_some());
    lab.advance(Micros::from_days(370));
    assert_eq!(prune().await, (0, 1));
    assert_eq!(lab.store().incident(incident).await.expect("an answer"), None);
    assert_eq!(lab.store().incident_history(incident).await.expect("an answer"), []);
    assert_eq!(state(&lab, "state").await.pending, 0, "what is about it goes with it");
    assert_eq!(waiting(&lab).await, [""; 0]);
    assert_eq!(prune().await, (0, 0));
}

pub async fn incidents_that_fire_are_kept_however_old(lab: Lab) {
    slow(&lab, "etl", &["load"]).await;
    lab.advance(Micros::from_days(900));
    let none = Retention { detail: Micros::ZERO, aggregates: Micros::ZERO };
    let pruned = lab.store().prune(lab.now(), none).await.expect("pruned");
    assert_eq!((pruned.incidents, pruned.notifications), (0, 0));
    assert_eq!(lab.only_incident().await.occurrences, 1);
}
