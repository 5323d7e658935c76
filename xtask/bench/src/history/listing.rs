//! Asking at the long history: each filter of `GET /workflows`, and one execution.

use std::time::Duration;

use anyhow::{Context, Result};
use tracer_core::time::Timestamp;

use super::past::{Past, WORKFLOW, correlation_of, written};
use super::{answers, quantile};
use crate::progress;
use crate::script::find_id;
use crate::service::fetch;
use crate::stand::Stand;
use crate::table::{Figure, Table, Target};

/// Answers timed of each question.
const ASKED: u64 = 300;

/// How long a question may go on.
const LONGEST: Duration = Duration::from_secs(20);

/// Measures every question on the service of a stand.
///
/// # Errors
/// When the service does not answer, or the run is interrupted.
pub(crate) fn run(stand: &mut Stand, past: &Past, table: &mut Table) -> Result<()> {
    for (name, path) in questions(stand, past)? {
        progress(&format!("  {name}"));
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

fn questions(stand: &Stand, past: &Past) -> Result<Vec<(String, String)>> {
    let middle = past.execution(past.executions / 2);
    let at = Timestamp::from_micros(middle.started_at);
    let correlated = correlation_of(past.executions / 20 * 10);
    let filters = [
        String::new(),
        format!("workflow_name={WORKFLOW}"),
        "workflow_name=nothing".to_owned(),
        "status=completed".to_owned(),
        "status=failed".to_owned(),
        "status=cancelled".to_owned(),
        "status=running".to_owned(),
        format!("correlation_id={correlated}"),
        format!("started_after={at}"),
        format!("started_before={at}"),
        "min_duration_ms=1500".to_owned(),
        "min_duration_ms=60000".to_owned(),
        "max_duration_ms=900".to_owned(),
        "max_duration_ms=1".to_owned(),
        "bottleneck=warning".to_owned(),
        "bottleneck=critical".to_owned(),
        "attribute=region:eu-2".to_owned(),
        "attribute=tenant:t4242".to_owned(),
        "attribute=tenant:nobody".to_owned(),
        format!("workflow_name={WORKFLOW}&status=failed"),
        format!("workflow_name={WORKFLOW}&bottleneck=critical&started_before={at}"),
    ];
    let mut questions: Vec<(String, String)> = filters
        .into_iter()
        .map(|filter| {
            let path =
                if filter.is_empty() { "/workflows".to_owned() } else { format!("/workflows?{filter}") };
            (format!("GET {}", path.replace(&at.to_string(), "…")), path)
        })
        .collect();
    questions.push((
        "GET /workflows, a later page".to_owned(),
        format!("/workflows?cursor={}", cursor(stand, &at)?),
    ));
    let execution = written(middle.id);
    questions.push(("GET /workflows/{id}".to_owned(), format!("/workflows/{execution}")));
    let bottlenecks = format!("/workflows/{execution}/bottlenecks");
    questions.push(("GET /workflows/{id}/bottlenecks".to_owned(), bottlenecks));
    Ok(questions)
}

/// Returns the cursor behind the first page that lies before a time.
fn cursor(stand: &Stand, at: &Timestamp) -> Result<String> {
    let (_, body) = fetch(stand.service()?.address(), &format!("/workflows?started_before={at}&limit=10"))?;
    let mut cursor = Vec::new();
    find_id(&body, br#""next_cursor":""#, &mut cursor);
    String::from_utf8(cursor).ok().filter(|cursor| !cursor.is_empty()).context("a page without a next one")
}
