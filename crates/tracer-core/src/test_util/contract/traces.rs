//! Spans: what they make of executions, in any order, and when they enter histories.

use std::fmt::Write as _;
use std::sync::Arc;

use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};

use super::Lab;
use super::lab::verdict;
use crate::attributes::Attributes;
use crate::baseline::Ending;
use crate::execution::ExecutionStatus;
use crate::failure::Failure;
use crate::failures::GroupFilter;
use crate::ids::ExecutionId;
use crate::incident::IncidentKind;
use crate::limits;
use crate::outbox::IncidentFilter;
use crate::record::{EndExecution, Outcome, Refusal, SpansRecorded};
use crate::repository::ExecutionFilter;
use crate::span::{Resource, ResourceId, Span, SpanDetail, SpanEnd, SpanEvent, SpanKind, SpanLink};
use crate::step::StepStatus;
use crate::test_util::fixtures::{
    NOON, attributes, end, export, ms, recorded, span, start, step_id, step_name, version, workflow,
};
use crate::time::{Micros, Timestamp};

/// A shop's checkout: two services, parallel and repeated steps, one that is slow and one that fails.
fn checkout() -> Vec<Span> {
    let mut root = span(1, None, "checkout", 0, 2_000);
    root.attributes = attributes(serde_json::json!({"service.name": "shop", "customer": "acme"}));
    root.version = Some(version("1.4"));
    let mut declined = span(7, Some(3), "charge", 1_100, 100);
    declined.end = Some(SpanEnd {
        status: StepStatus::Failed,
        duration: ms(100),
        failure: Some(Failure::new(Some("Declined"), "card declined", None)),
    });
    vec![
        root,
        span(2, Some(1), "load", 10, 100),
        span(3, Some(1), "pay", 1_000, 900),
        span(4, Some(2), "load", 20, 250),
        span(5, Some(2), "load", 30, 110),
        span(6, Some(3), "charge", 1_001, 95),
        declined,
        span(8, Some(99), "audit", 1_900, 10),
    ]
}

async fn record(lab: &Lab, id: ExecutionId, spans: impl IntoIterator<Item = Span>) -> SpansRecorded {
    let answer = lab.try_record(export(id, spans)).await.expect("spans are not refused");
    let Outcome::SpansRecorded(recorded) = answer.outcome else { panic!("no spans: {answer:?}") };
    assert_eq!(answer.fresh, recorded != SpansRecorded::default());
    recorded
}

fn told(mut span: Span, name: &str) -> Span {
    span.workflow = Some(workflow(name));
    span
}

fn running(mut span: Span) -> Span {
    span.end = None;
    span
}

/// Returns everything that is stored of an execution, but its id and what its clock says.
async fn shown(lab: &Lab, id: ExecutionId, begun: Timestamp) -> String {
    let found = lab.execution(id).await;
    let trace = found.trace.as_ref().expect("a trace");
    let mut text = format!(
        "{} {} {:?} {:?} {:?} {:?} steps={} worst={:?} {:?} settled={} root={:?}\n",
        found.workflow,
        found.status.as_str(),
        found.started_at.since(begun),
        found.duration,
        found.version,
        found.attributes.entries(),
        found.steps_completed,
        found.worst,
        found.failure.as_ref().map(|failure| &failure.message),
        trace.settled,
        trace.root.as_ref().map(|root| root.id),
    );
    for step in lab.steps(id).await {
        writeln!(
            text,
            "{} {} in {:?} {} {:?} took {:?} {:?} {}",
            step.id,
            step.name,
            step.parent,
            step.status.as_str(),
            step.started_at.since(begun),
            step.duration,
            step.failure.map(|failure| failure.message),
            verdict(step.bottleneck.as_ref()),
        )
        .expect("writing to a text");
    }
    text
}

pub async fn the_root_is_the_execution_and_the_other_spans_are_its_steps(lab: Lab) {
    let id = ExecutionId::mint(NOON);
    let recorded = record(&lab, id, checkout()).await;
    assert_eq!((recorded.spans, recorded.started.len(), recorded.ended.len()), (8, 1, 1));
    let found = lab.execution(id).await;
    assert_eq!(found.workflow.as_str(), "shop checkout");
    assert_eq!((found.status, found.duration), (ExecutionStatus::Completed, Some(ms(2_000))));
    assert_eq!((found.steps_completed, found.version), (6, Some(version("1.4"))));
    let steps = lab.steps(id).await;
    assert_eq!(steps.len(), 7);
    assert!(lab.history("shop checkout").await.is_none(), "nothing is learnt yet");
    lab.advance(Micros::from_secs(2));
    let settled = lab.settle().await;
    assert_eq!((settled.len(), settled[0].steps.len()), (1, 7));
    assert_eq!(lab.count("shop checkout", "load", Ending::Completed).await, 3);
    assert_eq!(lab.count("shop checkout", "charge", Ending::Failed).await, 1);
    assert_eq!(lab.totals("shop checkout").await.endings.completed, 1);
    lab.advance(Micros::from_secs(7_200));
    assert!(lab.settle().await.is_empty(), "a trace is settled once");
    // The same export again, as a client sends it that has lost the answer.
    assert_eq!(record(&lab, id, checkout()).await, SpansRecorded::default());
    assert_eq!(lab.count("shop checkout", "load", Ending::Completed).await, 3);
}

pub async fn a_hundred_orders_make_the_same_execution(lab: Lab) {
    let mut random = rand::rngs::StdRng::seed_from_u64(6);
    let mut expected: Option<String> = None;
    for order in 0..100 {
        let name = format!("checkout-{order}");
        let history: Vec<_> =
            ["load", "pay", "charge"].into_iter().flat_map(|step| [(step, 100); 10]).collect();
        lab.record(recorded(lab.now() - Micros::from_secs(60), &name, &history)).await;
        let before = lab.totals(&name).await.endings;
        let id = ExecutionId::mint(NOON);
        let begun = lab.now();
        let mut spans = checkout();
        spans.iter_mut().for_each(|span| span.started_at = span.started_at + begun.since(NOON));
        spans[5] = told(spans[5].clone(), &name);
        // Sent before its end, and again.
        spans.push(Span {
            end: Some(SpanEnd { duration: ms(3), ..spans[3].end.clone().expect("an end") }),
            ..spans[3].clone()
        });
        spans.push(running(spans[2].clone()));
        spans.push(spans[0].clone());
        spans.shuffle(&mut random);
        while !spans.is_empty() {
            let size = random.random_range(1..=spans.len());
            record(&lab, id, spans.drain(..size)).await;
        }
        lab.advance(Micros::from_secs(2));
        assert_eq!(lab.settle().await.len(), 1);
        let mut text = shown(&lab, id, begun).await.replace(&name, "checkout");
        for step in ["load", "pay", "charge", "audit"] {
            let counts = lab.baseline(&name, step).await.measured().endings;
            writeln!(text, "{step} {counts:?}").expect("writing to a text");
        }
        let after = lab.totals(&name).await.endings;
        writeln!(text, "as a whole {}", after.completed - before.completed).expect("writing to a text");
        let first = expected.get_or_insert_with(|| text.clone());
        assert_eq!(*first, text, "order {order}");
    }
    let text = expected.expect("a first order");
    assert!(
        text.contains("load in Some(st_0000000000000002) completed")
            && text.contains("WARNING 2.50 over 100ms of 10"),
        "{text}"
    );
    assert!(text.contains("CRITICAL 9.00 over 100ms of 10"), "{text}");
}

pub async fn a_name_that_is_told_late_counts_all_the_same(lab: Lab) {
    let id = ExecutionId::mint(NOON);
    record(&lab, id, [span(1, None, "POST /", 0, 100)]).await;
    assert_eq!(lab.execution(id).await.workflow.as_str(), "shop POST /");
    record(&lab, id, [told(span(3, Some(1), "b", 20, 10), "later")]).await;
    record(&lab, id, [told(span(2, Some(1), "a", 10, 10), "nightly")]).await;
    assert_eq!(lab.execution(id).await.workflow.as_str(), "nightly");
    lab.advance(Micros::from_secs(2));
    lab.settle().await;
    assert_eq!(lab.count("nightly", "b", Ending::Completed).await, 1);
    assert!(lab.history("shop POST /").await.is_none() && lab.history("later").await.is_none());
    let of = |name| ExecutionFilter { workflow: Some(workflow(name)), ..ExecutionFilter::default() };
    assert_eq!((lab.list(&of("nightly")).await, lab.list(&of("later")).await), (vec![id], vec![]));
}

pub async fn an_execution_without_a_root_is_closed_by_silence_and_counts_for_nothing(lab: Lab) {
    let id = ExecutionId::mint(NOON);
    record(&lab, id, [span(2, Some(1), "load", 0, 100)]).await;
    lab.advance(Micros::from_secs(3_000));
    record(&lab, id, [span(3, Some(1), "load", 500, 100)]).await;
    lab.advance(Micros::from_secs(600));
    assert!(lab.settle().await.is_empty(), "it was heard of ten minutes ago");
    assert_eq!(lab.execution(id).await.status, ExecutionStatus::Running);
    lab.advance(Micros::from_secs(3_000));
    let closed = lab.settle().await;
    assert!(closed[0].closed_by_silence);
    let found = lab.execution(id).await;
    assert_eq!((found.status, found.duration), (ExecutionStatus::TimedOut, Some(ms(600))));
    assert_eq!(lab.count("shop load", "load", Ending::Completed).await, 2);
    assert_eq!(lab.totals("shop load").await.endings.get(Ending::TimedOut), 0);
}

pub async fn a_root_that_comes_late_ends_what_was_closed_by_silence(lab: Lab) {
    let id = ExecutionId::mint(NOON);
    record(&lab, id, [told(span(2, Some(1), "load", 10, 100), "nightly")]).await;
    lab.advance(Micros::from_secs(3_600));
    assert_eq!(lab.settle().await.len(), 1);
    let recorded =
        record(&lab, id, [span(1, None, "run", 0, 5_000_000), span(3, Some(1), "load", 20, 90)]).await;
    assert_eq!((recorded.ended.len(), recorded.late.len()), (1, 1));
    let found = lab.execution(id).await;
    assert_eq!((found.status, found.duration), (ExecutionStatus::Completed, Some(ms(5_000_000))));
    assert_eq!((found.workflow.as_str(), found.steps_completed), ("nightly", 2));
    let totals = lab.totals("nightly").await.endings;
    assert_eq!((totals.completed, totals.get(Ending::TimedOut)), (1, 0));
    assert_eq!(lab.count("nightly", "load", Ending::Completed).await, 2);
    assert_eq!(record(&lab, id, [span(1, None, "run", 0, 5_000_000)]).await, SpansRecorded::default());
    assert_eq!(lab.totals("nightly").await.endings.completed, 1);
}

pub async fn spans_join_an_execution_that_its_client_started(lab: Lab) {
    let earlier = lab.with_history("etl", "query").await;
    lab.end(earlier).await;
    let id = lab.start_as(start("etl")).await;
    let step = lab.step(id, "load").await;
    let root = id.root_span().as_u64();
    record(&lab, id, [span(5, Some(step.as_u64()), "query", 0, 500), span(6, Some(root), "check", 0, 7)])
        .await;
    let early = lab.step_of(id, step_id(5)).await;
    assert_eq!(verdict(early.bottleneck.as_ref()), "CRITICAL 5.00 over 100ms of 10");
    // A span without a parent is no root here: the client said what the execution is.
    record(&lab, id, [span(7, None, "detached", 0, 9)]).await;
    // Nor is the execution itself a step, if it comes back from where it was exported to.
    assert_eq!(record(&lab, id, [span(root, None, "etl", 0, 9)]).await, SpansRecorded::default());
    // And a step that its client has started may end as a span.
    record(&lab, id, [Span { id: step, ..span(1, None, "LOAD", 0, 60) }]).await;
    let load = lab.step_of(id, step).await;
    assert_eq!(
        (load.name.as_str(), load.status, load.duration),
        ("load", StepStatus::Completed, Some(ms(60)))
    );
    assert_eq!(lab.count("etl", "query", Ending::Completed).await, 10);
    lab.advance(ms(600));
    let ended = lab.end(id).await;
    assert_eq!((ended.steps_completed, ended.bottlenecks.len()), (4, 1));
    lab.advance(Micros::from_secs(2));
    assert_eq!(lab.settle().await[0].steps.len(), 4);
    assert_eq!(lab.count("etl", "query", Ending::Completed).await, 11);
    assert_eq!(lab.count("etl", "load", Ending::Completed).await, 1);
    assert_eq!(lab.totals("etl").await.endings.completed, 2);
    let found = lab.execution(id).await;
    assert_eq!((found.workflow.as_str(), found.duration), ("etl", Some(ms(600))));
    // It has ended for its client, and not for its spans.
    assert_eq!(
        lab.refused(crate::test_util::fixtures::step(id, "late")).await,
        Refusal::ExecutionHasEnded(ExecutionStatus::Completed)
    );
    assert_eq!(record(&lab, id, [span(9, None, "late", 700, 9)]).await.late.len(), 1);
    assert_eq!(lab.execution(id).await.duration, Some(ms(600)));
}

pub async fn a_step_told_to_run_is_judged_while_it_does_and_ends_with_its_span(lab: Lab) {
    let earlier = lab.with_history("etl", "load").await;
    lab.end(earlier).await;
    let id = ExecutionId::mint(NOON);
    let load = told(span(2, Some(1), "load", 0, 900), "etl");
    record(&lab, id, [running(load.clone())]).await;
    assert_eq!(lab.step_of(id, load.id).await.status, StepStatus::Running);
    lab.advance(ms(350));
    assert_eq!(lab.look().await, ["load CRITICAL 3.50 over 100ms of 10"]);
    assert_eq!(lab.only_incident().await.cause.kind, IncidentKind::StuckStep);
    lab.advance(ms(550));
    record(&lab, id, [load.clone(), running(load.clone())]).await;
    let ended = lab.step_of(id, load.id).await;
    assert_eq!((ended.status, ended.duration), (StepStatus::Completed, Some(ms(900))));
    assert_eq!(verdict(ended.bottleneck.as_ref()), "CRITICAL 9.00 over 100ms of 10");
    assert!(lab.look().await.is_empty());
    // One whose end comes with that of its execution is stuck no longer, either.
    record(&lab, id, [running(told(span(4, Some(1), "load", 950, 1), "etl"))]).await;
    lab.advance(ms(500));
    assert_eq!(lab.look().await.len(), 1);
    // One that is told to run when its execution is over is called off with it.
    record(&lab, id, [running(told(span(3, Some(1), "check", 100, 1), "etl"))]).await;
    record(&lab, id, [span(1, None, "run", 0, 1_000), span(4, Some(1), "load", 950, 50)]).await;
    let stuck = lab.incidents(&IncidentFilter::default()).await;
    let stuck = stuck.iter().filter(|incident| incident.cause.kind == IncidentKind::StuckStep);
    assert_eq!(stuck.map(|incident| incident.ongoing).collect::<Vec<_>>(), [0]);
    lab.advance(Micros::from_secs(2));
    lab.settle().await;
    assert_eq!(lab.step_of(id, step_id(3)).await.status, StepStatus::Cancelled);
    assert_eq!(lab.count("etl", "load", Ending::Completed).await, 12);
    record(&lab, id, [told(span(3, Some(1), "check", 100, 70), "etl")]).await;
    let late = lab.step_of(id, step_id(3)).await;
    assert_eq!((late.status, late.duration), (StepStatus::Completed, Some(ms(70))));
    assert_eq!(lab.count("etl", "check", Ending::Completed).await, 1);
}

pub async fn what_is_slow_under_a_name_that_is_told_opens_its_incident_at_once_and_once(lab: Lab) {
    let earlier = lab.with_history("etl", "load").await;
    lab.end(earlier).await;
    let id = ExecutionId::mint(NOON);
    record(&lab, id, [told(span(2, Some(1), "load", 0, 500), "etl")]).await;
    let incident = lab.only_incident().await;
    assert_eq!((incident.cause.kind, incident.occurrences), (IncidentKind::SlowStep, 1));
    record(&lab, id, [span(1, None, "run", 0, 700), span(3, Some(1), "load", 0, 600)]).await;
    lab.advance(Micros::from_secs(2));
    let settled = lab.settle().await;
    assert_eq!(settled[0].ended.as_ref().map(|ended| ended.bottlenecks.len()), Some(2));
    assert_eq!(lab.only_incident().await.occurrences, 2);
    assert_eq!(lab.incidents(&IncidentFilter::default()).await.len(), 1);
}

pub async fn a_span_that_comes_after_its_trace_was_settled_is_learnt_as_it_comes(lab: Lab) {
    let id = ExecutionId::mint(NOON);
    record(&lab, id, checkout()).await;
    lab.advance(Micros::from_secs(2));
    lab.settle().await;
    let late = span(20, Some(3), "charge", 1_500, 90);
    let recorded = record(&lab, id, [late.clone(), late.clone()]).await;
    assert_eq!((recorded.spans, recorded.late.len()), (1, 1));
    assert_eq!(record(&lab, id, [late]).await, SpansRecorded::default());
    assert_eq!(lab.count("shop checkout", "charge", Ending::Completed).await, 2);
    let found = lab.execution(id).await;
    assert_eq!((found.status, found.steps_completed), (ExecutionStatus::Completed, 7));
}

pub async fn a_step_by_rest_counts_where_a_root_ends_the_execution(lab: Lab) {
    let id = ExecutionId::mint(NOON);
    record(&lab, id, [told(span(2, Some(1), "load", 0, 100), "etl")]).await;
    lab.took(id, "check", 50).await;
    let step = lab.step(id, "send").await;
    lab.complete(id, step, 70).await;
    record(&lab, id, [span(1, None, "run", 0, 900)]).await;
    assert_eq!(lab.execution(id).await.steps_completed, 3);
    record(&lab, id, [span(3, Some(1), "late", 0, 100)]).await;
    lab.advance(Micros::from_secs(2));
    lab.settle().await;
    assert_eq!(lab.execution(id).await.steps_completed, 4);
    assert_eq!(lab.count("etl", "check", Ending::Completed).await, 1);
}

pub async fn of_two_roots_the_earlier_is_the_execution(lab: Lab) {
    let id = ExecutionId::mint(NOON);
    let (second, first) = (span(2, None, "retry", 50, 10), span(1, None, "run", 0, 100));
    record(&lab, id, [second.clone()]).await;
    assert_eq!(lab.execution(id).await.workflow.as_str(), "shop retry");
    record(&lab, id, [running(first.clone())]).await;
    let found = lab.execution(id).await;
    assert_eq!((found.workflow.as_str(), found.status), ("shop run", ExecutionStatus::Running));
    record(&lab, id, [first, second]).await;
    let found = lab.execution(id).await;
    assert_eq!((found.status, found.duration), (ExecutionStatus::Completed, Some(ms(100))));
    let steps = lab.steps(id).await;
    assert_eq!(steps.iter().map(|step| step.name.as_str()).collect::<Vec<_>>(), ["retry"]);
}

pub async fn a_root_that_failed_fails_its_execution(lab: Lab) {
    let id = ExecutionId::mint(NOON);
    let mut root = span(1, None, "run", 0, 100);
    let failure = Failure::new(Some("OOM"), "killed", None);
    root.end =
        Some(SpanEnd { status: StepStatus::Failed, duration: ms(100), failure: Some(failure.clone()) });
    record(&lab, id, [root]).await;
    let found = lab.execution(id).await;
    assert_eq!((found.status, found.failure), (ExecutionStatus::Failed, Some(failure)));
    lab.advance(Micros::from_secs(2));
    lab.settle().await;
    assert_eq!(lab.totals("shop run").await.endings.get(Ending::Failed), 1);
    // A root that says more comes too late: it has entered the history as it was.
    let mut longer = span(1, None, "run", 0, 900);
    longer.workflow = Some(workflow("other"));
    assert_eq!(record(&lab, id, [longer]).await, SpansRecorded::default());
    assert_eq!(
        (lab.execution(id).await.duration, lab.totals("shop run").await.endings.completed),
        (Some(ms(100)), 0)
    );
    // Nobody ends it a second time.
    let again = EndExecution { status: ExecutionStatus::Completed, ..end(id) };
    assert_eq!(lab.refused(again).await, Refusal::ExecutionHasEnded(ExecutionStatus::Failed));
}

pub async fn failures_are_counted_under_the_name_that_their_trace_gets(lab: Lab) {
    let id = ExecutionId::mint(NOON);
    let declined = checkout().remove(6);
    record(&lab, id, [declined.clone()]).await;
    record(&lab, id, [declined, span(1, None, "checkout", 0, 2_000)]).await;
    lab.advance(Micros::from_secs(2));
    lab.settle().await;
    let of = async |name: &str| {
        let filter = GroupFilter { workflow: Some(workflow(name)), since: None };
        let groups = lab.store().failure_groups(&filter, None, 10).await.expect("an answer");
        groups.iter().map(|group| group.count).sum::<u64>()
    };
    assert_eq!((of("shop checkout").await, of("shop charge").await), (1, 0));
}

pub async fn what_a_span_has_beyond_a_step_is_kept(lab: Lab) {
    let id = ExecutionId::mint(NOON);
    let mut given = span(2, Some(1), "call", 0, 10);
    let happened = attributes(serde_json::json!({"n": 2}));
    let link =
        SpanLink { trace: ExecutionId::mint(NOON), span: step_id(9), attributes: Attributes::default() };
    given.detail = Arc::new(SpanDetail {
        kind: SpanKind::Client,
        resource: Some(ResourceId(7)),
        scope: Some("http 1.0".into()),
        events: vec![SpanEvent { at: NOON + ms(3), name: "retry".into(), attributes: happened }],
        links: vec![link],
        dropped: 4,
    });
    let resource = Resource(attributes(serde_json::json!({"service.name": "shop", "host.name": "a"})));
    let mut spans = export(id, [given.clone()]);
    spans.resources.insert(ResourceId(7), resource.clone());
    lab.record(spans).await;
    let found = lab.step_of(id, given.id).await;
    assert_eq!(found.span, Some(given.detail));
    let trace = lab.execution(id).await.trace.expect("a trace");
    assert_eq!(trace.resources.get(&ResourceId(7)), Some(&resource));
}

pub async fn an_execution_is_found_by_the_attributes_of_its_root(lab: Lab) {
    let id = ExecutionId::mint(NOON);
    record(&lab, id, [span(2, Some(1), "load", 10, 100)]).await;
    let by = |key: &str, value: &str| ExecutionFilter {
        attributes: vec![(key.into(), value.into())],
        ..ExecutionFilter::default()
    };
    assert_eq!(lab.list(&by("service.name", "shop")).await, [id]);
    assert!(lab.list(&by("customer", "acme")).await.is_empty());
    let mut root = checkout().remove(0);
    root.attributes = attributes(serde_json::json!({"service.name": "front", "customer": "acme"}));
    record(&lab, id, [root]).await;
    assert_eq!(lab.list(&by("customer", "acme")).await, [id]);
    assert!(lab.list(&by("service.name", "shop")).await.is_empty());
}

pub async fn steps_beyond_those_that_may_wait_enter_their_histories_while_it_runs(lab: Lab) {
    let id = ExecutionId::mint(NOON);
    let most = u64::from(limits::TRACE_STEPS_WAITING);
    let spans = (2..=most).map(|n| told(span(n, Some(1), "item", n, 10), "items"));
    record(&lab, id, spans).await;
    lab.advance(Micros::from_secs(2));
    assert!(lab.settle().await.is_empty());
    record(&lab, id, [span(most + 1, Some(1), "item", 0, 10)]).await;
    let settled = lab.settle().await;
    assert_eq!((settled[0].steps.len(), settled[0].ended.is_some()), (10_000, false));
    assert_eq!(lab.count("items", "item", Ending::Completed).await, most);
    assert_eq!(lab.execution(id).await.status, ExecutionStatus::Running);
    let step = step_name("item");
    assert_eq!(record(&lab, id, [span(most + 2, Some(1), "item", 0, 10)]).await.late[0].name, step);
    record(&lab, id, [span(1, None, "run", 0, 60_000)]).await;
    assert_eq!(lab.totals("items").await.endings.completed, 1);
}
