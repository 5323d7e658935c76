//! Objectives: which ends count, when they count, and for how long.

use futures_util::future::join_all;

use super::Lab;
use crate::execution::ExecutionStatus;
use crate::ids::ExecutionId;
use crate::record::{EndExecution, Outcome, RecordExecution, StartExecution};
use crate::repository::Retention;
use crate::slo::{
    Definition, Indicator, Objective, Resolution, Slo, SloName, SloSpec, SlotRange, SlotSums, Window,
};
use crate::span::{Span, SpanEnd};
use crate::step::StepStatus;
use crate::test_util::fixtures::{NOON, end, export, ms, recorded, span, start, workflow};
use crate::time::{Micros, Timestamp};

const HOUR: Micros = Micros::from_secs(3_600);

/// Returns the objectives that every store under test counts for: of workflows named `promised…`, and of those of them
/// named `promised quick…` another one, whose own window is two hours.
pub(super) fn objectives() -> [Slo; 2] {
    let of = |name: &str, pattern: &str, latency: Option<u64>, window| {
        Slo::new(SloSpec {
            name: SloName::new(name).expect("a name"),
            workflow: pattern.into(),
            objective: Objective::new(0.9).expect("a share"),
            latency: latency.map(ms),
            window,
            min_events: 5,
            alert: true,
        })
    };
    [
        of("promised", "promised*", Some(1_000), Micros::from_days(30)),
        of("quick", "promised quick*", Some(100), Micros::from_secs(7_200)),
    ]
}

/// Returns what an objective counted, by window.
async fn sums(lab: &Lab, name: &str) -> Vec<SlotSums> {
    let slo = objectives().into_iter().find(|slo| slo.name().as_str() == name).expect("an objective");
    lab.store().slo_counts(&Indicator::ranges(&slo, lab.now())).await.expect("an answer")
}

/// Returns what an objective counted in words, by window: events, failed, slow. Windows that say the same are told once.
async fn shown(lab: &Lab, name: &str) -> String {
    let sums = sums(lab, name).await;
    assert_eq!(sums.len(), Window::ALL.len());
    let mut told: Vec<(String, Vec<&str>)> = Vec::new();
    for (window, sums) in Window::ALL.iter().zip(&sums) {
        let text = format!("{}/{}/{}", sums.events, sums.failed, sums.slow);
        match told.last_mut() {
            Some((last, windows)) if *last == text => windows.push(window.as_str()),
            _ => told.push((text, vec![window.as_str()])),
        }
    }
    told.iter().map(|(text, windows)| format!("{} {text}", windows.join(" "))).collect::<Vec<_>>().join(", ")
}

/// Returns the last that were bad in the objective's own window: failed, and slow.
async fn last(lab: &Lab, name: &str) -> (Option<ExecutionId>, Option<ExecutionId>) {
    let sums = sums(lab, name).await;
    sums.last().map(|sums| (sums.last_failed, sums.last_slow)).expect("the objective's own window")
}

const NOTHING: &str = "5m 30m 1h 6h 3d budget 0/0/0";

async fn runs(lab: &Lab, name: &str, status: ExecutionStatus, took: u64) -> ExecutionId {
    let id = lab.start_as(StartExecution { started_at: lab.now() - ms(took), ..start(name) }).await;
    lab.end_as(id, status).await;
    id
}

pub async fn each_end_counts_as_what_it_is(lab: Lab) {
    assert_eq!(shown(&lab, "promised").await, NOTHING);
    lab.start("promised").await;
    assert_eq!(shown(&lab, "promised").await, NOTHING, "what runs has not ended");
    runs(&lab, "promised", ExecutionStatus::Completed, 1_000).await;
    assert_eq!(shown(&lab, "promised").await, "5m 30m 1h 6h 3d budget 1/0/0");
    let slow = runs(&lab, "promised", ExecutionStatus::Completed, 1_001).await;
    let failed = runs(&lab, "promised", ExecutionStatus::Failed, 5).await;
    assert_eq!(last(&lab, "promised").await, (Some(failed), Some(slow)));
    // What takes too long and does not complete is bad once.
    let late = runs(&lab, "promised", ExecutionStatus::TimedOut, 9_000).await;
    runs(&lab, "promised", ExecutionStatus::Cancelled, 9_000).await;
    assert_eq!(shown(&lab, "promised").await, "5m 30m 1h 6h 3d budget 4/2/1");
    assert_eq!(last(&lab, "promised").await, (Some(late), Some(slow)));
}

pub async fn an_end_counts_for_every_objective_of_its_workflow_and_for_no_other(lab: Lab) {
    runs(&lab, "etl", ExecutionStatus::Failed, 5).await;
    runs(&lab, "PROMISED", ExecutionStatus::Failed, 5).await;
    assert_eq!(
        (shown(&lab, "promised").await.as_str(), shown(&lab, "quick").await.as_str()),
        (NOTHING, NOTHING)
    );
    runs(&lab, "promised quick", ExecutionStatus::Completed, 500).await;
    assert_eq!(shown(&lab, "promised").await, "5m 30m 1h 6h 3d budget 1/0/0");
    assert_eq!(shown(&lab, "quick").await, "5m 30m 1h 6h 3d budget 1/0/1");
}

pub async fn an_end_that_is_repeated_or_refused_counts_once(lab: Lab) {
    let id = lab.start("promised").await;
    for _ in 0..3 {
        lab.try_record(end(id)).await.expect("a repetition");
    }
    lab.refused(EndExecution { status: ExecutionStatus::Failed, ..end(id) }).await;
    let import: RecordExecution = recorded(lab.now() - ms(200), "promised", &[("load", 100)]);
    for _ in 0..3 {
        lab.try_record(import.clone()).await.expect("a repetition");
    }
    assert_eq!(shown(&lab, "promised").await, "5m 30m 1h 6h 3d budget 2/0/0");
}

pub async fn an_end_counts_when_it_was_and_not_when_it_is_told(lab: Lab) {
    for days in [1, 2, 20, 29] {
        let mut old = recorded(lab.now() - Micros::from_days(days), "promised", &[("load", 100)]);
        old.alerts = days > 1;
        lab.record(old).await;
    }
    assert_eq!(shown(&lab, "promised").await, "5m 30m 1h 6h 0/0/0, 3d 2/0/0, budget 4/0/0");
    // Of what no window reaches any more nothing is kept.
    let mut ancient = recorded(lab.now() - Micros::from_days(40), "promised", &[("load", 100)]);
    ancient.end.status = ExecutionStatus::Failed;
    lab.record(ancient).await;
    let mut recent = recorded(lab.now() - HOUR, "promised", &[("load", 100)]);
    recent.end.status = ExecutionStatus::Failed;
    lab.record(recent).await;
    assert_eq!(shown(&lab, "promised").await, "5m 30m 0/0/0, 1h 6h 1/1/0, 3d 3/1/0, budget 5/1/0");
    // An end ahead of the clock counts now.
    let id = lab.start("promised").await;
    let ahead = Some(lab.now() + HOUR);
    lab.record(EndExecution { ended_at: ahead, ..end(id) }).await;
    assert_eq!(shown(&lab, "promised").await, "5m 30m 1/0/1, 1h 6h 2/1/1, 3d 4/1/1, budget 6/1/1");
}

pub async fn windows_forget(lab: Lab) {
    runs(&lab, "promised quick", ExecutionStatus::Failed, 5).await;
    let mut seen = Vec::new();
    for (ahead, what) in [
        (0, "now"),
        (360, "6 min"),
        (1_500, "31 min"),
        (1_800, "1 h 1 min"),
        (3_600, "2 h 1 min"),
        (14_400, "6 h 1 min"),
        (3 * 86_400, "3 d 6 h"),
        (27 * 86_400, "30 d"),
    ] {
        lab.advance(Micros::from_secs(ahead));
        seen.push(format!("{what}: {} | {}", shown(&lab, "promised").await, shown(&lab, "quick").await));
    }
    let expected = "\
now: 5m 30m 1h 6h 3d budget 1/1/0 | 5m 30m 1h 6h 3d budget 1/1/0
6 min: 5m 0/0/0, 30m 1h 6h 3d budget 1/1/0 | 5m 0/0/0, 30m 1h 6h 3d budget 1/1/0
31 min: 5m 30m 0/0/0, 1h 6h 3d budget 1/1/0 | 5m 30m 0/0/0, 1h 6h 3d budget 1/1/0
1 h 1 min: 5m 30m 1h 0/0/0, 6h 3d budget 1/1/0 | 5m 30m 1h 0/0/0, 6h 3d budget 1/1/0
2 h 1 min: 5m 30m 1h 0/0/0, 6h 3d budget 1/1/0 | 5m 30m 1h 0/0/0, 6h 3d 1/1/0, budget 0/0/0
6 h 1 min: 5m 30m 1h 6h 0/0/0, 3d budget 1/1/0 | 5m 30m 1h 6h 0/0/0, 3d 1/1/0, budget 0/0/0
3 d 6 h: 5m 30m 1h 6h 3d 0/0/0, budget 1/1/0 | 5m 30m 1h 6h 3d budget 0/0/0
30 d: 5m 30m 1h 6h 3d budget 0/0/0 | 5m 30m 1h 6h 3d budget 0/0/0";
    assert_eq!(seen.join("\n"), expected);
}

pub async fn invented_executions_count_for_no_objective(lab: Lab) {
    let mut invented = recorded(lab.now(), "promised", &[("load", 100)]);
    invented.start.simulated = true;
    lab.record(invented).await;
    assert_eq!(shown(&lab, "promised").await, NOTHING);
}

async fn spans(lab: &Lab, id: ExecutionId, spans: impl IntoIterator<Item = Span>) {
    let answer = lab.try_record(export(id, spans)).await.expect("spans are not refused");
    assert!(matches!(answer.outcome, Outcome::SpansRecorded(_)));
}

fn promised(span: Span) -> Span {
    Span { workflow: Some(workflow("promised")), ..span }
}

pub async fn a_trace_counts_once_it_is_settled_and_once(lab: Lab) {
    let good = ExecutionId::mint(NOON);
    let (root, step) = (promised(span(1, None, "run", 0, 2_000)), span(2, Some(1), "load", 10, 100));
    spans(&lab, good, [root.clone()]).await;
    assert_eq!(shown(&lab, "promised").await, NOTHING, "its root may yet be another one");
    spans(&lab, good, [step.clone()]).await;
    lab.advance(Micros::from_secs(2));
    assert_eq!(lab.settle().await.len(), 1);
    assert_eq!(shown(&lab, "promised").await, "5m 30m 1h 6h 3d budget 1/0/1");
    spans(&lab, good, [root, step, span(3, Some(1), "late", 20, 100)]).await;
    let bad = ExecutionId::mint(NOON);
    let mut root = promised(span(1, None, "run", 0, 10));
    root.end = Some(SpanEnd { status: StepStatus::Failed, duration: ms(10), failure: None });
    spans(&lab, bad, [root]).await;
    lab.advance(Micros::from_secs(2));
    assert_eq!(lab.settle().await.len(), 1);
    assert_eq!(shown(&lab, "promised").await, "5m 30m 1h 6h 3d budget 2/1/1");
    assert_eq!(last(&lab, "promised").await, (Some(bad), Some(good)));
    // Spans of an execution that its client ends count with it.
    let own = lab.start("promised").await;
    spans(&lab, own, [span(9, Some(own.root_span().as_u64()), "load", 2_000, 10)]).await;
    lab.end(own).await;
    lab.advance(Micros::from_secs(2));
    lab.settle().await;
    assert_eq!(shown(&lab, "promised").await, "5m 30m 1h 6h 3d budget 3/1/1");
}

pub async fn what_was_closed_by_silence_timed_out_unless_its_root_comes_after_all(lab: Lab) {
    let (lost, late) = (ExecutionId::mint(NOON), ExecutionId::mint(NOON));
    for id in [lost, late] {
        spans(&lab, id, [promised(span(2, Some(1), "load", 10, 100))]).await;
    }
    lab.advance(HOUR);
    assert_eq!(lab.settle().await.len(), 2);
    // It ended when it was last heard of.
    assert_eq!(shown(&lab, "promised").await, "5m 30m 0/0/0, 1h 6h 3d budget 2/2/0");
    let root = || promised(span(1, None, "run", 0, 3_500_000));
    for _ in 0..2 {
        spans(&lab, late, [root(), span(3, Some(1), "save", 20, 90)]).await;
        assert_eq!(shown(&lab, "promised").await, "5m 30m 1/0/1, 1h 6h 3d budget 2/1/1");
    }
}

pub async fn ends_that_come_at_once_are_all_counted(lab: Lab) {
    let ids = join_all((0..40).map(|_| lab.start("promised quick"))).await;
    let ends = ids.iter().enumerate().flat_map(|(number, id)| {
        let status = if number % 4 == 0 { ExecutionStatus::Failed } else { ExecutionStatus::Completed };
        [EndExecution { status, ..end(*id) }, EndExecution { status, ..end(*id) }]
    });
    join_all(ends.map(|end| lab.try_record(end))).await;
    for name in ["promised", "quick"] {
        assert_eq!(shown(&lab, name).await, "5m 30m 1h 6h 3d budget 40/10/0");
    }
}

/// Returns what was counted from the beginning on.
async fn ever(lab: &Lab, resolution: Resolution, definition: Option<Definition>) -> u64 {
    let [slo, _] = objectives();
    let definition = definition.unwrap_or_else(|| slo.definition());
    let from = Timestamp::from_micros(0);
    let range = SlotRange { slo: slo.name().clone(), definition, resolution, from };
    let sums = lab.store().slo_counts(&[range]).await.expect("an answer");
    sums.first().map(|sums| sums.events).expect("of one range")
}

pub async fn another_definition_begins_anew(lab: Lab) {
    runs(&lab, "promised", ExecutionStatus::Completed, 5).await;
    assert_eq!(ever(&lab, Resolution::Hour, None).await, 1);
    let [slo, _] = objectives();
    let other = Slo::new(SloSpec { latency: Some(ms(1_001)), ..slo.spec().clone() });
    assert_eq!(ever(&lab, Resolution::Hour, Some(other.definition())).await, 0);
    assert_eq!(lab.store().slo_counts(&[]).await.expect("an answer"), []);
}

pub async fn counts_that_no_window_reaches_are_removed(lab: Lab) {
    let usual = Retention { detail: Micros::from_days(1), aggregates: Micros::from_days(1) };
    runs(&lab, "promised", ExecutionStatus::Completed, 5).await;
    lab.advance(Micros::from_secs(6 * 3_600));
    lab.store().prune(lab.now(), usual).await.expect("pruned");
    let minutes = async || ever(&lab, Resolution::Minute, None).await;
    let hours = async || ever(&lab, Resolution::Hour, None).await;
    assert_eq!((minutes().await, hours().await), (1, 1));
    lab.advance(Micros::from_secs(3_660));
    lab.store().prune(lab.now(), usual).await.expect("pruned");
    assert_eq!((minutes().await, hours().await), (0, 1));
    lab.advance(Micros::from_days(90));
    lab.store().prune(lab.now(), usual).await.expect("pruned");
    assert_eq!(hours().await, 1);
    lab.advance(Micros::from_days(1));
    lab.store().prune(lab.now(), usual).await.expect("pruned");
    assert_eq!(hours().await, 0);
}
