//! What went wrong, and what is like it: `/failures` and `/workflows/{workflow_id}/similar-failures`.

use std::collections::{BTreeMap, HashMap};

use actix_web::{HttpRequest, get, web};
use tracer_core::failures::{FailureGroup, GroupCursor, GroupFilter, OwnFailure, SimilarGroup, best};
use tracer_core::limits;
use tracer_core::name::WorkflowName;
use tracer_core::repository::{Repository, RepositoryError};
use tracer_core::similarity::{ErrorWords, FailureId, MinSimilarity, Search, Tokens};
use utoipa_actix_web::service_config::ServiceConfig;

use super::query::{FromQuery, NoParameters, Pairs, Query};
use super::refusal::{AskErrors, UNKNOWN_EXECUTION, UNKNOWN_FAILURE};
use super::views::{
    FailureGroupView, FailuresView, OwnFailureView, SimilarFailureView, SimilarFailuresView,
    SimilarToExecutionView,
};
use super::workflows::{instant, page_rows};
use super::{cursor, fields};
use crate::error::ApiError;
use crate::state::AppState;

/// Registers the routes. Nothing that is fixed comes behind what is not.
pub(super) fn routes(config: &mut ServiceConfig<'_>) {
    config.service(list_failures).service(find_similar).service(show_failure).service(similar_to_execution);
}

/// Which groups, and which page of them.
struct Listing {
    filter: GroupFilter,
    after: Option<GroupCursor>,
    limit: usize,
}

impl FromQuery for Listing {
    const ONCE: &'static [&'static str] = &["workflow_name", "since", "limit", "cursor"];

    fn from_pairs(pairs: &Pairs<'_>) -> Result<Self, ApiError> {
        let name = "a name of 1 to 200 characters";
        let time = "a time of RFC 3339, such as 2026-01-31T12:00:00.123Z";
        let filter = GroupFilter {
            workflow: pairs.read("workflow_name", name, |text| WorkflowName::new(text).ok())?,
            since: pairs.read("since", time, instant)?,
        };
        Ok(Self { filter, after: cursor::read(pairs.text("cursor"))?, limit: page_rows(pairs)? })
    }
}

/// How alike, and how many.
struct Alike {
    least: MinSimilarity,
    limit: usize,
}

impl FromQuery for Alike {
    const ONCE: &'static [&'static str] = &["min_similarity", "limit"];

    fn from_pairs(pairs: &Pairs<'_>) -> Result<Self, ApiError> {
        let within = |text: &str| MinSimilarity::new(text.parse().ok()?);
        let least = pairs.read("min_similarity", "a number from 0.3 to 1", within)?;
        Ok(Self { least: least.unwrap_or(MinSimilarity::LEAST), limit: page_rows(pairs)? })
    }
}

/// Like what.
struct Asked {
    tokens: Tokens,
    alike: Alike,
}

impl FromQuery for Asked {
    const ONCE: &'static [&'static str] = &["error", "min_similarity", "limit"];

    fn from_pairs(pairs: &Pairs<'_>) -> Result<Self, ApiError> {
        let missing =
            || ApiError::bad_request("The query parameter 'error' is missing: it is what to compare.");
        let words = error_words(pairs)?.ok_or_else(missing)?;
        Ok(Self { tokens: words.tokens().clone(), alike: Alike::from_pairs(pairs)? })
    }
}

/// Reads the words of an error, if there are any to read.
///
/// # Errors
/// 400 if it is too long, or holds no word.
pub(super) fn error_words(pairs: &Pairs<'_>) -> Result<Option<ErrorWords>, ApiError> {
    let within = |text: &str| ErrorWords::new(text).filter(|_| text.len() <= limits::SEARCH_BYTES);
    pairs.read("error", "a text of at most 8,192 bytes with at least one word", within)
}

/// List failures, last seen first, those that say the same as one.
///
/// What differs each time (numbers, ids, addresses, paths), case and punctuation do not tell failures apart. Of a
/// workflow, counts and times are those of its own failures. A group that is seen again while pages are turned moves
/// to the first page.
#[utoipa::path(tag = "failures",
    params(
        ("workflow_name" = Option<String>, Query, description = "Of this workflow."),
        ("since" = Option<String>, Query, description = "Last seen at or after this time."),
        ("limit" = Option<usize>, Query, description = "Rows in a page: 100, at most 1,000."),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before."),
    ),
    responses((status = 200, description = "A page of failures.", body = FailuresView), AskErrors))]
#[get("/failures")]
async fn list_failures(
    state: web::Data<AppState>,
    Query(Listing { filter, after, limit }): Query<Listing>,
) -> Result<web::Json<FailuresView>, ApiError> {
    let found = state.tracing.repository().failure_groups(&filter, after, limit + 1).await?;
    let place = |group: &FailureGroup| GroupCursor { last_seen_at: group.last_seen.at, id: group.id };
    let (found, next_cursor) = cursor::page(found, limit, place);
    let failures = found.into_iter().map(FailureGroupView::from).collect();
    Ok(web::Json(FailuresView { failures, next_cursor }))
}

/// Find failures that are like an error.
///
/// All that were ever seen are compared, by the Jaccard similarity of their words: the share of the words of either that
/// both have. A failure's words are those of its type and its message.
#[utoipa::path(tag = "failures",
    params(
        ("error" = String, Query, description = "The error: its type, its message, or both; at most 8 KiB."),
        ("min_similarity" = Option<f64>, Query, description = "The least similarity: from 0.3, which is usual, to 1."),
        ("limit" = Option<usize>, Query, description = "At most so many: 100, at most 1,000."),
    ),
    responses((status = 200, description = "The most similar ones.", body = SimilarFailuresView), AskErrors))]
#[get("/failures/similar")]
async fn find_similar(
    state: web::Data<AppState>,
    Query(Asked { tokens, alike }): Query<Asked>,
) -> Result<web::Json<SimilarFailuresView>, ApiError> {
    let search = Search { tokens, least: alike.least };
    let found = state.tracing.repository().similar_failures(&search, alike.limit).await?;
    let failures = found.into_iter().map(SimilarFailureView::from).collect();
    Ok(web::Json(SimilarFailuresView { failures }))
}

/// Show one group of failures.
#[utoipa::path(tag = "failures",
    params(("fingerprint" = String, Path, description = "The group's fingerprint.")),
    responses((status = 200, description = "The group.", body = FailureGroupView), AskErrors))]
#[get("/failures/{fingerprint}")]
async fn show_failure(
    req: HttpRequest,
    state: web::Data<AppState>,
    _: Query<NoParameters>,
) -> Result<web::Json<FailureGroupView>, ApiError> {
    let id = req.match_info().get("fingerprint").and_then(|text| text.parse::<FailureId>().ok());
    let found = match id {
        Some(id) => state.tracing.repository().failure_group(id).await?,
        None => None,
    };
    found.map(|group| web::Json(group.into())).ok_or_else(|| ApiError::not_found(UNKNOWN_FAILURE))
}

/// Find failures that are like those of an execution.
///
/// Compared is the execution's own failure; without one, the failures of its steps. Its own failures are not counted
/// among the similar ones: what only it failed with is left out.
#[utoipa::path(tag = "failures",
    params(
        ("workflow_id" = String, Path, description = "The execution's id."),
        ("min_similarity" = Option<f64>, Query, description = "The least similarity: from 0.3, which is usual, to 1."),
        ("limit" = Option<usize>, Query, description = "At most so many: 100, at most 1,000."),
    ),
    responses((status = 200, description = "The most similar ones.", body = SimilarToExecutionView), AskErrors))]
#[get("/workflows/{workflow_id}/similar-failures")]
async fn similar_to_execution(
    req: HttpRequest,
    state: web::Data<AppState>,
    Query(alike): Query<Alike>,
) -> Result<web::Json<SimilarToExecutionView>, ApiError> {
    let id = fields::execution_id(&req)?;
    let repository = state.tracing.repository();
    let execution = repository.execution(id).await?.ok_or_else(|| ApiError::not_found(UNKNOWN_EXECUTION))?;
    let all = repository.failures_of(id).await?;
    let failures = similar_to_any(repository, &all, &alike).await?;
    Ok(web::Json(SimilarToExecutionView {
        workflow_id: id,
        workflow_name: execution.workflow,
        own: compared(&all).cloned().map(OwnFailureView::from).collect(),
        failures: failures.into_iter().map(SimilarFailureView::from).collect(),
    }))
}

/// Returns what is compared of an execution's failures: its own, or else those of its steps.
fn compared(all: &[OwnFailure]) -> impl Iterator<Item = &OwnFailure> {
    let has_own = all.iter().any(|own| own.of_execution);
    all.iter().filter(move |own| own.of_execution || !has_own)
}

/// Finds what others failed with, each by the failure of the execution that it is most like.
async fn similar_to_any(
    repository: &dyn Repository,
    all: &[OwnFailure],
    alike: &Alike,
) -> Result<Vec<SimilarGroup>, RepositoryError> {
    let times: HashMap<FailureId, u64> = all.iter().map(|own| (own.group.id, own.times)).collect();
    let mut found: BTreeMap<FailureId, SimilarGroup> = BTreeMap::new();
    for own in compared(all) {
        let search = Search { tokens: own.tokens.clone(), least: alike.least };
        // Those that are left out below are at most as many as the execution's own.
        for mut similar in repository.similar_failures(&search, alike.limit + all.len()).await? {
            let its_own = times.get(&similar.group.id).copied().unwrap_or(0);
            similar.group.count = similar.group.count.saturating_sub(its_own);
            let known = found.get(&similar.group.id).map(|known| known.similarity);
            if similar.group.count > 0 && known.is_none_or(|known| known < similar.similarity) {
                found.insert(similar.group.id, similar);
            }
        }
    }
    let found = found.into_values().map(|similar| (similar.similarity, similar)).collect();
    let best = best(found, alike.limit, |similar: &SimilarGroup| (similar.group.count, similar.group.id));
    Ok(best.into_iter().map(|(_, similar)| similar).collect())
}
