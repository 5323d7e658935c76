//! Failures: what is one group, what is like it, and which executions had it.

use futures_util::future::join_all;

use super::Lab;
use crate::execution::ExecutionStatus;
use crate::failure::Failure;
use crate::failures::{FailureGroup, GroupCursor, GroupFilter};
use crate::ids::{ExecutionId, StepId};
use crate::limits;
use crate::record::{Completion, EndExecution, RecordExecution, StartExecution, StartStep};
use crate::repository::{ExecutionCursor, ExecutionFilter, Retention};
use crate::similarity::{ErrorWords, MinSimilarity, Search, Tokens};
use crate::step::StepStatus;
use crate::test_util::fixtures::{self, completed, end, ending, recorded, start, whole, workflow};
use crate::time::Micros;

fn failure(message: &str) -> Failure {
    Failure::new(Some("IoError"), message, Some("at main"))
}

/// Fails with a message.
fn failing(message: &str) -> Completion {
    Completion { failure: Some(failure(message)), ..ending(StepStatus::Failed) }
}

/// Records a step that fails, and returns its id.
async fn fails(lab: &Lab, execution: ExecutionId, message: &str) -> StepId {
    lab.ended(execution, "load", failing(message)).await.id
}

/// Ends an execution by a failure.
async fn ends_by(lab: &Lab, id: ExecutionId, message: &str) {
    let failure = Some(failure(message));
    lab.record(EndExecution { status: ExecutionStatus::Failed, failure, ..end(id) }).await;
}

async fn groups(lab: &Lab, filter: &GroupFilter) -> Vec<FailureGroup> {
    lab.store().failure_groups(filter, None, 1_000).await.expect("an answer")
}

/// Returns all groups in words: how many, and what the first one said.
async fn shown(lab: &Lab) -> Vec<String> {
    let groups = groups(lab, &GroupFilter::default()).await;
    groups.iter().map(|group| format!("{} × {}", group.count, group.message)).collect()
}

async fn by_error(lab: &Lab, text: &str) -> Vec<ExecutionId> {
    lab.list(&with_error(text)).await
}

fn with_error(text: &str) -> ExecutionFilter {
    ExecutionFilter { error: Some(ErrorWords::new(text).expect("a word")), ..ExecutionFilter::default() }
}

pub async fn failures_that_say_the_same_are_one_group(lab: Lab) {
    let (first, second) = (lab.start("etl").await, lab.start("other").await);
    let began = lab.now();
    fails(&lab, first, "Disk 4 is full: 99%").await;
    lab.advance(Micros::from_secs(5));
    let step = fails(&lab, second, "disk 17 is full (100%)").await;
    fails(&lab, second, "Connection refused by 10.0.0.1").await;
    let all = groups(&lab, &GroupFilter::default()).await;
    assert_eq!(all.len(), 2);
    let id = Tokens::of_failure(&failure("disk 1 is full 1")).fingerprint();
    let group = lab.store().failure_group(id).await.expect("an answer").expect("a group");
    assert!(all.contains(&group));
    assert_eq!((group.kind.as_deref(), group.message.as_str()), (Some("IoError"), "Disk 4 is full: 99%"));
    assert_eq!((group.count, group.first_seen_at, group.last_seen.at), (2, began, lab.now()));
    let last = (group.last_seen.execution, group.last_seen.step, group.last_seen.workflow.as_str());
    assert_eq!(last, (second, Some(step), "other"));
    let unknown = Tokens::of("never seen").fingerprint();
    assert_eq!(lab.store().failure_group(unknown).await.expect("an answer"), None);
}

pub async fn what_does_not_fail_or_says_nothing_is_no_failure(lab: Lab) {
    let id = lab.start("etl").await;
    for status in [StepStatus::Completed, StepStatus::Skipped, StepStatus::Cancelled] {
        let completion = Completion { failure: Some(failure("only a warning")), ..ending(status) };
        lab.ended(id, "load", completion).await;
    }
    lab.ended(id, "load", ending(StepStatus::Failed)).await;
    lab.ended(id, "load", completed(5)).await;
    lab.record(EndExecution {
        failure: Some(failure("called off")),
        status: ExecutionStatus::Cancelled,
        ..end(id)
    })
    .await;
    assert_eq!(shown(&lab).await, [""; 0]);
    assert_eq!(by_error(&lab, "warning").await, []);
    let id = lab.start("etl").await;
    let late = Some(failure("too late"));
    lab.record(EndExecution { failure: late, status: ExecutionStatus::TimedOut, ..end(id) }).await;
    assert_eq!(shown(&lab).await, ["1 × too late"]);
}

pub async fn a_failure_is_counted_once_however_often_it_is_told(lab: Lab) {
    let id = lab.start("etl").await;
    let step: StartStep = whole(id, "load", failing("disk full"));
    lab.record(step.clone()).await;
    let repeated = lab.try_record(step).await.expect("repeated");
    assert!(!repeated.fresh);
    let running = lab.step(id, "save").await;
    lab.record(fixtures::complete(id, running, failing("disk full"))).await;
    let again =
        lab.try_record(fixtures::complete(id, running, failing("disk full"))).await.expect("repeated");
    assert!(!again.fresh);
    assert_eq!(shown(&lab).await, ["2 × disk full"]);
}

pub async fn an_execution_that_fails_as_its_step_did_is_one_failure(lab: Lab) {
    let one = lab.start("etl").await;
    fails(&lab, one, "disk 1 full").await;
    fails(&lab, one, "disk 2 full").await;
    ends_by(&lab, one, "disk 3 full").await;
    assert_eq!(shown(&lab).await, ["2 × disk 1 full"]);
    let other = lab.start("etl").await;
    ends_by(&lab, other, "disk 4 full").await;
    assert_eq!(shown(&lab).await, ["3 × disk 1 full"], "on its own it counts");
    let mut import: RecordExecution = recorded(lab.now(), "etl", &[("load", 100), ("save", 20)]);
    let step = import.steps.first_mut().expect("a step");
    (step.status, step.failure) = (StepStatus::Failed, Some(failure("disk 5 full")));
    (import.end.status, import.end.failure) = (ExecutionStatus::Failed, Some(failure("disk 6 full")));
    let imported = import.start.id;
    lab.record(import.clone()).await;
    assert!(!lab.try_record(import).await.expect("repeated").fresh);
    assert_eq!(shown(&lab).await, ["4 × disk 1 full"]);
    let mut found = by_error(&lab, "disk").await;
    found.sort_unstable();
    let mut all = vec![one, other, imported];
    all.sort_unstable();
    assert_eq!(found, all);
}

/// Returns a word that no other number has: without digits, which would be masked.
fn word(number: usize) -> String {
    let letters = (0..4)
        .map(|place| char::from(b'a' + u8::try_from(number / 26_usize.pow(place) % 26).expect("small")));
    letters.collect()
}

pub async fn groups_are_listed_last_seen_first_in_pages(lab: Lab) {
    let id = lab.start("etl").await;
    for number in 0..12 {
        fails(&lab, id, &word(number)).await;
        // Two at a time are seen at the same moment.
        if number % 2 == 1 {
            lab.advance(Micros::from_secs(1));
        }
    }
    let all = groups(&lab, &GroupFilter::default()).await;
    let place = |group: &FailureGroup| GroupCursor { last_seen_at: group.last_seen.at, id: group.id };
    assert!(all.is_sorted_by_key(|group| std::cmp::Reverse((group.last_seen.at, group.id))));
    assert_eq!(all.len(), 12);
    for limit in [1, 5, 12] {
        let (mut paged, mut after) = (Vec::new(), None);
        loop {
            let page =
                lab.store().failure_groups(&GroupFilter::default(), after, limit).await.expect("an answer");
            let Some(last) = page.last() else { break };
            after = Some(place(last));
            paged.extend(page);
        }
        assert_eq!(paged, all, "{limit} at a time");
    }
    let since = GroupFilter { since: Some(lab.now() - Micros::from_secs(2)), ..GroupFilter::default() };
    assert_eq!(groups(&lab, &since).await, all.get(..4).expect("four"));
    fails(&lab, id, &word(0)).await;
    let first = groups(&lab, &GroupFilter::default()).await;
    assert_eq!(first.first().map(|group| (group.message.clone(), group.count)), Some((word(0), 2)));
}

pub async fn a_workflow_has_its_own_view_of_a_group(lab: Lab) {
    let (etl, other) = (lab.start("etl").await, lab.start("other").await);
    let began = lab.now();
    let step = fails(&lab, etl, "disk full").await;
    fails(&lab, etl, "no route").await;
    lab.advance(Micros::from_secs(9));
    fails(&lab, other, "disk full").await;
    fails(&lab, other, "disk full").await;
    let of = |name: &str| GroupFilter { workflow: Some(workflow(name)), ..GroupFilter::default() };
    let etl_groups = groups(&lab, &of("etl")).await;
    assert_eq!(etl_groups.len(), 2);
    let disk = etl_groups.iter().find(|group| group.message == "disk full").expect("it");
    assert_eq!((disk.count, disk.first_seen_at, disk.last_seen.at), (1, began, began));
    assert_eq!((disk.last_seen.execution, disk.last_seen.step), (etl, Some(step)));
    assert_eq!(disk.last_seen.workflow.as_str(), "etl");
    let others = groups(&lab, &of("other")).await;
    assert_eq!(others.iter().map(|group| group.count).collect::<Vec<_>>(), [2]);
    assert_eq!(groups(&lab, &of("none")).await, []);
    let since = GroupFilter { since: Some(lab.now()), ..of("etl") };
    assert_eq!(groups(&lab, &since).await, []);
    let all = groups(&lab, &GroupFilter::default()).await;
    assert_eq!(all.iter().map(|group| group.count).collect::<Vec<_>>(), [3, 1]);
    let after =
        etl_groups.first().map(|group| GroupCursor { last_seen_at: group.last_seen.at, id: group.id });
    let second = lab.store().failure_groups(&of("etl"), after, 10).await.expect("an answer");
    assert_eq!(second, etl_groups.get(1..).expect("one"));
}

/// Numbers that look random, and are the same in each run (Steele and others, "Fast splittable pseudorandom number
/// generators").
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % u64::try_from(bound).expect("small")).expect("small")
    }

    /// Returns a message of some words, most of them common ones.
    fn message(&mut self) -> String {
        let length = 1 + self.below(12);
        let words = (0..length).map(|_| {
            let most = [8, 40, 400][self.below(3)];
            word(self.below(most))
        });
        words.collect::<Vec<_>>().join(" ")
    }
}

pub async fn similar_groups_are_those_that_comparing_all_would_find(lab: Lab) {
    let mut numbers = Numbers(7);
    let id = lab.start("etl").await;
    let messages: Vec<String> = (0..300).map(|_| numbers.message()).collect();
    join_all(messages.iter().map(|message| lab.record(whole(id, "load", failing(message))))).await;
    let all = groups(&lab, &GroupFilter::default()).await;
    assert!(all.len() > 250, "most differ: {}", all.len());
    for asked in 0..40 {
        let text = if asked % 2 == 0 { format!("IoError {}", messages[asked]) } else { numbers.message() };
        let least = MinSimilarity::new([0.3, 0.5, 0.75, 1.0][asked % 4]).expect("a similarity");
        let search = Search { tokens: Tokens::of(&text), least };
        let mut expected: Vec<(f64, &FailureGroup)> = all
            .iter()
            .map(|group| {
                (Tokens::of(&format!("IoError {}", group.message)).similarity(&search.tokens), group)
            })
            .filter(|(similarity, _)| *similarity >= least.get())
            .collect();
        expected.sort_by(|(one, this), (other, that)| {
            other.total_cmp(one).then(that.count.cmp(&this.count)).then(this.id.cmp(&that.id))
        });
        for limit in [3, 1_000] {
            let found = lab.store().similar_failures(&search, limit).await.expect("an answer");
            let found: Vec<_> = found.iter().map(|found| (found.similarity, &found.group)).collect();
            assert_eq!(found, expected.get(..limit.min(expected.len())).expect("so many"), "{text}");
        }
    }
    let nothing = Search { tokens: Tokens::default(), least: MinSimilarity::LEAST };
    assert_eq!(lab.store().similar_failures(&nothing, 10).await.expect("an answer"), []);
}

pub async fn groups_are_found_by_all_of_their_words(lab: Lab) {
    let id = lab.start("etl").await;
    for message in ["disk full on host a", "disk slow on host b", "network slow"] {
        fails(&lab, id, message).await;
    }
    for (text, expected) in [
        ("disk", vec!["disk full on host a", "disk slow on host b"]),
        ("HOST, disk: full", vec!["disk full on host a"]),
        ("disk network", vec![]),
        ("ioerror slow", vec!["disk slow on host b", "network slow"]),
        ("unheard", vec![]),
    ] {
        let found = lab.store().failures_with(&Tokens::of(text)).await.expect("an answer");
        let mut expected: Vec<_> =
            expected.into_iter().map(|message| Tokens::of_failure(&failure(message)).fingerprint()).collect();
        expected.sort_unstable();
        assert_eq!(found, expected, "{text}");
    }
    assert_eq!(lab.store().failures_with(&Tokens::default()).await.expect("an answer"), []);
}

pub async fn executions_are_found_by_the_words_of_their_errors(lab: Lab) {
    let mut ids = Vec::new();
    for (name, message) in
        [("etl", "Connection refused"), ("etl", "connection reset by peer"), ("ml", "out of memory")]
    {
        let id = lab.start(name).await;
        fails(&lab, id, message).await;
        fails(&lab, id, "giving up").await;
        lab.advance(Micros::from_secs(1));
        ids.push(id);
    }
    let own = lab.start("ml").await;
    ends_by(&lab, own, "refused: out of quota").await;
    lab.end(ids[0]).await;
    let [refused, reset, memory] = ids[..] else { panic!("three") };
    assert_eq!(by_error(&lab, "connection").await, [reset, refused]);
    assert_eq!(by_error(&lab, "REFUSED connection").await, [refused]);
    assert_eq!(by_error(&lab, "out of").await, [own, memory]);
    assert_eq!(by_error(&lab, "giving up").await, [memory, reset, refused], "each once");
    assert_eq!(by_error(&lab, "connect").await, [], "words are whole");
    assert_eq!(by_error(&lab, "connection memory").await, [], "in one error");
    let filtered = |change: fn(&mut ExecutionFilter)| {
        let mut filter = with_error("ioerror");
        change(&mut filter);
        filter
    };
    assert_eq!(lab.list(&filtered(|filter| filter.workflow = Some(workflow("ml")))).await, [own, memory]);
    let failed = filtered(|filter| filter.status = Some(ExecutionStatus::Failed));
    assert_eq!(lab.list(&failed).await, [own]);
    let completed = filtered(|filter| filter.status = Some(ExecutionStatus::Completed));
    assert_eq!(lab.list(&completed).await, [refused]);
    let mut later = with_error("ioerror");
    later.started_after = Some(lab.execution(memory).await.started_at);
    assert_eq!(lab.list(&later).await, [own, memory]);
}

pub async fn executions_are_found_by_what_groups_do_not_tell_apart(lab: Lab) {
    let mut ids = Vec::new();
    for message in ["order 4711 at https://Shop.example/a", "order 4712 at https://shop.example/b"] {
        let id = lab.start("shop").await;
        fails(&lab, id, message).await;
        lab.advance(Micros::from_secs(1));
        ids.push(id);
    }
    let own = lab.start("shop").await;
    ends_by(&lab, own, "order 4711 at http://other.example").await;
    let [one, other] = ids[..] else { panic!("two") };
    assert_eq!(shown(&lab).await.len(), 1);
    assert_eq!(by_error(&lab, "order").await, [own, other, one]);
    assert_eq!(by_error(&lab, "order 4711").await, [own, one]);
    assert_eq!(by_error(&lab, "4712").await, [other]);
    assert_eq!(by_error(&lab, "https://SHOP.example/a").await, [one]);
    assert_eq!(by_error(&lab, "4711 http://other.example").await, [own]);
    assert_eq!(by_error(&lab, "order 9999").await, []);
}

pub async fn pages_by_error_have_no_gaps_or_repeats(lab: Lab) {
    let mut expected = Vec::new();
    for number in 0..30 {
        let started_at = lab.now() + Micros::from_secs(number / 3);
        let id = lab.start_as(StartExecution { started_at, ..start("etl") }).await;
        // Of two groups, both with the word.
        fails(&lab, id, "disk full").await;
        fails(&lab, id, "disk slow").await;
        expected.push((started_at, id));
    }
    expected.sort_unstable();
    let expected: Vec<ExecutionId> = expected.into_iter().rev().map(|(_, id)| id).collect();
    for (text, limit) in [("disk", 1), ("disk", 7), ("disk full", 7), ("disk", 30)] {
        let (mut paged, mut after) = (Vec::new(), None);
        loop {
            let page = lab.store().executions(&with_error(text), after, limit).await.expect("an answer");
            let Some(last) = page.last() else { break };
            after = Some(ExecutionCursor { started_at: last.started_at, id: last.id });
            paged.extend(page.into_iter().map(|execution| execution.id));
        }
        assert_eq!(paged, expected, "{text}, {limit} at a time");
    }
}

pub async fn failures_recorded_at_once_are_all_counted(lab: Lab) {
    let starts =
        join_all((0..8).map(|number| lab.start(if number % 2 == 0 { "etl" } else { "other" }))).await;
    let work = (0..200).map(|number| {
        let id = starts[number % starts.len()];
        let message = ["disk 1 full", "no route", "out of memory"][number % 3];
        lab.record(whole(id, "load", failing(message)))
    });
    join_all(work).await;
    join_all(starts.iter().map(|id| ends_by(&lab, *id, "no route"))).await;
    let mut shown = shown(&lab).await;
    shown.sort_unstable();
    assert_eq!(shown, ["66 × out of memory", "67 × disk 1 full", "67 × no route"]);
    let of = |name: &str| GroupFilter { workflow: Some(workflow(name)), ..GroupFilter::default() };
    let (etl, other) = (groups(&lab, &of("etl")).await, groups(&lab, &of("other")).await);
    assert_eq!(etl.iter().chain(&other).map(|group| group.count).sum::<u64>(), 200);
}

pub async fn hostile_errors_are_kept_and_found(lab: Lab) {
    let id = lab.start("etl").await;
    let long = (0..3_000).map(word).collect::<Vec<_>>().join(" ");
    let hostile = [
        "",
        "'; DROP TABLE failure_groups; --",
        "NUL \0 in % _ \\ it",
        "… ?!",
        "ŐŰ 连接 🦀 \u{202e}x",
        &long,
    ];
    for message in hostile {
        let failure = Some(Failure::new(None, message, None));
        lab.ended(id, "load", Completion { failure, ..ending(StepStatus::Failed) }).await;
    }
    let all = groups(&lab, &GroupFilter::default()).await;
    assert_eq!(all.len(), 5, "what says nothing is one group");
    assert!(all.iter().all(|group| group.message.len() <= limits::FAILURE_SAMPLE_BYTES));
    for text in ["drop table", "nul in it", "őű", "连", "接连", &word(3), "100% \\ 'x' \0 _ it"] {
        let found = by_error(&lab, text).await;
        assert_eq!(found, if text.starts_with('1') { vec![] } else { vec![id] }, "{text}");
    }
}

pub async fn an_execution_knows_its_failures(lab: Lab) {
    let id = lab.start("etl").await;
    for _ in 0..3 {
        fails(&lab, id, "disk full").await;
    }
    let step = fails(&lab, id, "no route").await;
    ends_by(&lab, id, "no route").await;
    let other = lab.start("etl").await;
    fails(&lab, other, "no route").await;
    let own = lab.store().failures_of(id).await.expect("an answer");
    let shown: Vec<_> = own
        .iter()
        .map(|own| (own.group.message.as_str(), own.times, own.of_execution, own.group.count))
        .collect();
    assert_eq!(shown, [("no route", 1, true, 2), ("disk full", 3, false, 3)]);
    assert_eq!(own.first().and_then(|own| own.step), Some(step));
    assert!(own.iter().all(|own| own.tokens.fingerprint() == own.group.id));
    let unknown = start("etl").id;
    assert_eq!(lab.store().failures_of(unknown).await.expect("an answer"), []);
    for number in 0..limits::FAILURES_PER_EXECUTION + 5 {
        fails(&lab, other, &word(number)).await;
    }
    let most = lab.store().failures_of(other).await.expect("an answer");
    assert_eq!(most.len(), limits::FAILURES_PER_EXECUTION);
}

pub async fn failures_are_forgotten_with_their_executions_and_groups_later(lab: Lab) {
    let usual = Retention { detail: Micros::from_days(30), aggregates: Micros::from_days(400) };
    let old = lab.start("etl").await;
    // It failed years before it was recorded: that does not make it old.
    let years_ago = lab.now() - Micros::from_days(2_000);
    let long_ago = Completion { ended_at: Some(years_ago), ..failing("disk full") };
    lab.record(StartStep { started_at: Some(years_ago), ..whole(old, "load", long_ago) }).await;
    fails(&lab, old, "no route").await;
    lab.end(old).await;
    lab.advance(Micros::from_days(62));
    let pruned = lab.store().prune(lab.now(), usual).await.expect("pruned");
    assert_eq!(pruned.failure_groups, 0);
    assert_eq!(
        (by_error(&lab, "disk").await, lab.store().failures_of(old).await.expect("an answer")),
        (vec![], vec![])
    );
    assert_eq!(shown(&lab).await.len(), 2, "how often it was seen is kept");
    lab.advance(Micros::from_days(300));
    let new = lab.start("other").await;
    fails(&lab, new, "no route").await;
    lab.advance(Micros::from_days(100));
    let pruned = lab.store().prune(lab.now(), usual).await.expect("pruned");
    assert_eq!(pruned.failure_groups, 1);
    assert_eq!(shown(&lab).await, ["2 × no route"]);
    let of_etl = GroupFilter { workflow: Some(workflow("etl")), ..GroupFilter::default() };
    assert_eq!(groups(&lab, &of_etl).await, [], "what the workflow knew went by itself");
    let words = |text: &str| Search { tokens: Tokens::of(text), least: MinSimilarity::LEAST };
    let similar = lab.store().similar_failures(&words("IoError disk full"), 10).await.expect("an answer");
    assert_eq!(similar.len(), 0, "its words are gone");
    assert_eq!(lab.store().failures_with(&Tokens::of("disk")).await.expect("an answer"), []);
    // The same failure is a new group.
    let again = lab.start("other").await;
    fails(&lab, again, "disk full").await;
    assert_eq!(shown(&lab).await, ["1 × disk full", "2 × no route"]);
    let pruned = lab.store().prune(lab.now(), usual).await.expect("pruned");
    assert_eq!(pruned.failure_groups, 0, "there is nothing left to remove");
}
