//! `GET /workflows`: executions that match, newest first.

use actix_web::{get, web};
use tracer_core::detect::Severity;
use tracer_core::execution::{Execution, ExecutionStatus};
use tracer_core::limits;
use tracer_core::name::{CorrelationId, WorkflowName};
use tracer_core::repository::{ExecutionCursor, ExecutionFilter};
use tracer_core::time::{Micros, Timestamp};

use super::super::cursor;
use super::super::failures::error_words;
use super::super::query::{FromQuery, Pairs, Query};
use super::super::refusal::AskErrors;
use super::super::views::{ExecutionView, ExecutionsView};
use crate::error::ApiError;
use crate::state::AppState;

/// Which executions, and which page of them.
pub(super) struct Listing {
    filter: ExecutionFilter,
    after: Option<ExecutionCursor>,
    limit: usize,
}

impl FromQuery for Listing {
    const ONCE: &'static [&'static str] = &[
        "workflow_name",
        "status",
        "correlation_id",
        "started_after",
        "started_before",
        "min_duration_ms",
        "max_duration_ms",
        "bottleneck",
        "error",
        "limit",
        "cursor",
    ];
    const REPEATED: &'static [&'static str] = &["attribute"];

    fn from_pairs(pairs: &Pairs<'_>) -> Result<Self, ApiError> {
        let name = "a name of 1 to 200 characters";
        let time = "a time of RFC 3339, such as 2026-01-31T12:00:00.123Z";
        let duration = "a number of milliseconds, at least 0 and at most 400 days";
        let millis = |text: &str| Some(Micros::from_client_millis(text.parse().ok()?).ok()?.shown_alike());
        let filter = ExecutionFilter {
            workflow: pairs.read("workflow_name", name, |text| WorkflowName::new(text).ok())?,
            status: pairs.read(
                "status",
                "running, completed, failed, timed_out or cancelled",
                ExecutionStatus::parse,
            )?,
            correlation_id: pairs.read("correlation_id", name, |text| CorrelationId::new(text).ok())?,
            started_after: pairs.read("started_after", time, instant)?,
            started_before: pairs.read("started_before", time, instant)?,
            min_duration: pairs.read("min_duration_ms", duration, millis)?.map(|(least, _)| least),
            max_duration: pairs.read("max_duration_ms", duration, millis)?.map(|(_, most)| most),
            bottleneck: pairs.read("bottleneck", "warning or critical", severity)?,
            attributes: attributes(pairs)?,
            error: error_words(pairs)?,
        };
        Ok(Self { filter, after: cursor::read(pairs.text("cursor"))?, limit: page_rows(pairs)? })
    }
}

/// Reads a time; a `+` that was not encoded has become a space.
pub(in crate::http) fn instant(text: &str) -> Option<Timestamp> {
    Timestamp::parse(text).or_else(|_| Timestamp::parse(&text.replace(' ', "+"))).ok()
}

fn attributes(pairs: &Pairs<'_>) -> Result<Vec<(String, String)>, ApiError> {
    let refused = || {
        ApiError::bad_request(
            "The query parameter 'attribute' must be key:value, with a key of 1 to 128 bytes in which a colon is \
             written '\\:'.",
        )
    };
    let parse = |text: &str| {
        let (key, value) = key_and_value(text).ok_or_else(refused)?;
        let fits = !key.is_empty() && key.len() <= limits::ATTRIBUTE_KEY_BYTES && !text.contains('\0');
        if fits { Ok((key, value.to_owned())) } else { Err(refused()) }
    };
    let all: Vec<_> = pairs.all("attribute").map(parse).collect::<Result<_, _>>()?;
    if all.len() > limits::ATTRIBUTE_FILTERS {
        let most = limits::ATTRIBUTE_FILTERS;
        return Err(ApiError::bad_request(format!(
            "The query parameter 'attribute' must not occur more than {most} times."
        )));
    }
    Ok(all)
}

/// Parts `key:value` at the first colon that no backslash precedes. In the key, `\:` stands for a colon and `\\` for
/// a backslash, which otherwise stands for itself.
fn key_and_value(text: &str) -> Option<(String, &str)> {
    let mut key = String::new();
    let mut rest = text.chars();
    loop {
        match rest.next()? {
            ':' => return Some((key, rest.as_str())),
            '\\' => {
                let mut behind = rest.clone();
                match behind.next() {
                    Some(escaped @ (':' | '\\')) => {
                        key.push(escaped);
                        rest = behind;
                    }
                    Some(_) | None => key.push('\\'),
                }
            }
            other => key.push(other),
        }
    }
}

/// Reads a severity; as it is shown, too.
pub(in crate::http) fn severity(text: &str) -> Option<Severity> {
    [Severity::Warning, Severity::Critical]
        .into_iter()
        .find(|known| known.as_str().eq_ignore_ascii_case(text))
}

/// Reads how many rows a page is to have.
pub(in crate::http) fn page_rows(pairs: &Pairs<'_>) -> Result<usize, ApiError> {
    let within = |text: &str| text.parse().ok().filter(|rows| (1..=limits::PAGE_ROWS).contains(rows));
    let limit = pairs.read("limit", "a whole number from 1 to 1000", within)?;
    Ok(limit.unwrap_or(limits::PAGE_ROWS_DEFAULT))
}

/// List executions, newest first.
#[utoipa::path(tag = "ask",
    params(
        ("workflow_name" = Option<String>, Query, description = "Of this workflow."),
        ("status" = Option<String>, Query, description = "`running`, `completed`, `failed`, `timed_out` or `cancelled`."),
        ("correlation_id" = Option<String>, Query, description = "With this id of the client's own."),
        ("started_after" = Option<String>, Query, description = "Started at or after this time."),
        ("started_before" = Option<String>, Query, description = "Started before this time."),
        ("min_duration_ms" = Option<f64>, Query, description = "Ended, and took at least so long."),
        ("max_duration_ms" = Option<f64>, Query, description = "Ended, and took at most so long."),
        ("bottleneck" = Option<String>, Query, description = "With a step judged at least so bad: `warning` or `critical`."),
        ("error" = Option<String>, Query, description = "Failed, or with a step that did, by an error with all of these words; at most 8 KiB."),
        ("attribute" = Option<Vec<String>>, Query, description = "With this attribute: `key:value`; may repeat. In the key, a colon is written `\\:`, and a backslash `\\\\`."),
        ("limit" = Option<usize>, Query, description = "Rows in a page: 100, at most 1,000."),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before."),
    ),
    responses((status = 200, description = "A page of executions.", body = ExecutionsView), AskErrors))]
#[get("/workflows")]
pub(super) async fn list_workflows(
    state: web::Data<AppState>,
    Query(listing): Query<Listing>,
) -> Result<web::Json<ExecutionsView>, ApiError> {
    let Listing { filter, after, limit } = listing;
    let found = state.tracing.repository().executions(&filter, after, limit + 1).await?;
    let place =
        |execution: &Execution| ExecutionCursor { started_at: execution.started_at, id: execution.id };
    let (found, next_cursor) = cursor::page(found, limit, place);
    let workflows = found.into_iter().map(ExecutionView::from).collect();
    Ok(web::Json(ExecutionsView { workflows, next_cursor }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_may_hold_a_colon() {
        let parted = |text| key_and_value(text).map(|(key, value)| format!("{key} = {value}"));
        for (text, expected) in [
            ("region:eu", "region = eu"),
            ("url:http://a:80", "url = http://a:80"),
            (r"aws\:run:a\:b", r"aws:run = a\:b"),
            (r"back\slash:x", r"back\slash = x"),
            (r"end\\:x", r"end\ = x"),
            (r"a\\\:b:", r"a\:b = "),
        ] {
            assert_eq!(parted(text).as_deref(), Some(expected), "{text}");
        }
        for text in ["region", r"aws\:run", ""] {
            assert_eq!(parted(text), None, "{text}");
        }
    }
}
