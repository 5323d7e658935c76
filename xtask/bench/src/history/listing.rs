//! Asking at the long history: each filter of `GET /workflows`, and one execution.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tracer_core::time::Timestamp;

use super::past::{Past, WORKFLOW, correlation_of, written};
use super::{answers, quantile};
use crate::progress;
use crate::script::find_id;
use crate::stand::Stand;
use crate::table::{Figure, Table, Target};
use xtask_machine::service::fetch;

/// Answers timed of each question.
const ASKED: u64 = 300;

/// Executions among which even what is rare is found.
const LONG: u64 = 100_000;

/// How long a question may go on.
const LONGEST: Duration = Duration::from_secs(20);

/// Measures every question on the service of a stand.
///
/// # Errors
/// When the service does not answer, or the run is interrupted.
pub(crate) fn run(stand: &mut Stand, past: &Past, table: &mut Table) -> Result<()> {
    for Question { name, path, finds } in questions(stand, past)? {
        progress(&format!("  {name}"));
        // A past that the service reads differently than it was written would be found very fast.
        let (status, body) = fetch(stand.service()?.address(), &path)?;
        let found = find_id(&body, br#""workflow_id":""#, &mut Vec::new());
        let as_expected = found == finds || (finds && past.executions < LONG);
        ensure!(status == 200 && as_expected, "{path} answers {status} and finds {found}, not {finds}");
        let measured = answers(stand, &path, ASKED, LONGEST)?;
        table.add(
            Figure::new(format!("{name}, p99"), quantile(&measured, 0.99, ASKED), "ms")
                .target(Target::AtMost(20.0)),
        );
        table.add(Figure::new("  p50", quantile(&measured, 0.5, ASKED), "ms"));
        for (how, times) in &measured.failures {
            table.add(Figure::new(format!("  {how}"), *times as f64, "").target(Target::AtMost(0.0)));
        }
    }
    Ok(())
}

/// What is asked.
struct Question {
    name: String,
    path: String,
    /// Whether there is anything to be found.
    finds: bool,
}

fn questions(stand: &Stand, past: &Past) -> Result<Vec<Question>> {
    let middle = past.execution(past.executions / 2);
    let at = Timestamp::from_micros(middle.started_at);
    let correlated = correlation_of(past.executions / 20 * 10);
    let tenant = past.executions / 4 * 2 % 20_000;
    let filters = [
        (format!("workflow_name={WORKFLOW}"), true),
        ("workflow_name=nothing".to_owned(), false),
        ("status=completed".to_owned(), true),
        ("status=failed".to_owned(), true),
        ("status=cancelled".to_owned(), false),
        ("status=running".to_owned(), false),
        (format!("correlation_id={correlated}"), true),
        (format!("started_after={at}"), true),
        (format!("started_before={at}"), true),
        ("min_duration_ms=1300".to_owned(), true),
        ("min_duration_ms=60000".to_owned(), false),
        ("max_duration_ms=950".to_owned(), true),
        ("max_duration_ms=1".to_owned(), false),
        ("bottleneck=warning".to_owned(), true),
        ("bottleneck=critical".to_owned(), true),
        ("attribute=region:eu-2".to_owned(), true),
        (format!("attribute=tenant:t{tenant}"), true),
        ("attribute=tenant:nobody".to_owned(), false),
        (format!("workflow_name={WORKFLOW}&status=failed"), true),
        (format!("workflow_name={WORKFLOW}&bottleneck=critical&started_before={at}"), true),
        ("attribute=region:eu-2&min_duration_ms=1300&status=failed".to_owned(), true),
    ];
    let at_text = at.to_string();
    let filtered = filters.into_iter().map(|(filter, finds)| {
        let path = format!("/workflows?{filter}");
        Question { name: format!("GET {}", path.replace(&at_text, "…")), path, finds }
    });
    let execution = written(middle.id);
    let one = |name: &str, path: String| Question { name: format!("GET {name}"), path, finds: true };
    let mut questions = vec![one("/workflows", "/workflows".to_owned())];
    questions.extend(filtered);
    questions.push(one("/workflows, a later page", format!("/workflows?cursor={}", cursor(stand, &at)?)));
    questions.push(one("/workflows/{id}", format!("/workflows/{execution}")));
    questions.push(one("/workflows/{id}/bottlenecks", format!("/workflows/{execution}/bottlenecks")));
    Ok(questions)
}

/// Returns the cursor behind the first page that lies before a time.
fn cursor(stand: &Stand, at: &Timestamp) -> Result<String> {
    let (_, body) = fetch(stand.service()?.address(), &format!("/workflows?started_before={at}&limit=10"))?;
    let mut cursor = Vec::new();
    find_id(&body, br#""next_cursor":""#, &mut cursor);
    String::from_utf8(cursor).ok().filter(|cursor| !cursor.is_empty()).context("a page without a next one")
}
