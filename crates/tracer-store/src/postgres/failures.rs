//! Groups of failures: as a batch counts them, and as they are read.
//!
//! Invariants: rows that batches share are written last of all, groups before what workflows know of them, each in the
//! order of their keys; the words of a group are written with it, by whoever makes it.
//! Not here: what failures have in common (`tracer_core::similarity`).

use std::collections::HashMap;

use async_trait::async_trait;
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};
use tracer_core::failures::{
    FailureGroup, FailureRepository, GroupCursor, GroupFilter, NewFailure, OwnFailure, Seen, SimilarGroup,
    best,
};
use tracer_core::ids::{ExecutionId, StepId};
use tracer_core::limits;
use tracer_core::name::WorkflowName;
use tracer_core::record::WorkingSet;
use tracer_core::repository::RepositoryError;
use tracer_core::similarity::{FailureId, Search, Tokens};

use super::PostgresStore;
use super::error::StoreError;
use super::partitions::Month;
use super::pool::ReadPool;
use super::reads::sql_limit;
use super::row::{self, Bits, Date, Stamp, stored_count};
use super::tx::{Params, Pipeline, Statements, column};

/// Groups with a word are counted so far: behind that, words are common, and which one is commoner does not matter.
const COMMON: i64 = 2_000;

/// All of it in one statement, because what is counted depends on what the execution is known to have failed with. The
/// batch holds the executions, so that nobody else counts theirs. Groups are written before what workflows know of them,
/// because the words to insert depend on them, and what nothing depends on is done at the end.
pub(super) const SAVE: &str = "\
-- save_failures
WITH n AS MATERIALIZED (
    SELECT n.*, (SELECT f.times FROM execution_failures AS f
                  WHERE f.execution_id = n.execution_id AND f.fingerprint = n.fingerprint
                    AND f.recorded_month = n.month) AS before
      FROM unnest($1::uuid[], $2::uuid[], $3::date[], $4::bigint[], $5::bigint[], $6::boolean[], $7::bigint[], $8::text[],
                  $9::timestamptz[], $10::timestamptz[], $11::date[], $12::text[], $13::text[], $14::text[])
           AS n (execution_id, fingerprint, month, at_first, later, of_execution, step_id, workflow_name, first_seen_at,
                 last_seen_at, noted_day, tokens, error_type, message)),
counted AS MATERIALIZED (
    SELECT n.*, CASE WHEN n.before IS NULL THEN n.at_first ELSE n.later END AS times FROM n),
of_executions AS (
    INSERT INTO execution_failures AS f (execution_id, fingerprint, recorded_month, times, of_execution, step_id)
    SELECT execution_id, fingerprint, month, times, of_execution, step_id FROM counted
     ORDER BY execution_id, fingerprint
        ON CONFLICT (execution_id, fingerprint, recorded_month) DO UPDATE
       SET times = f.times + excluded.times, of_execution = f.of_execution OR excluded.of_execution,
           step_id = coalesce(excluded.step_id, f.step_id)),
saved AS (
    INSERT INTO failure_groups AS g
           (fingerprint, tokens, error_type, message, count, first_seen_at, last_seen_at, last_execution_id, last_step_id,
            last_workflow_name, noted_day)
    SELECT DISTINCT ON (fingerprint)
           fingerprint, string_to_array(tokens, ' '), error_type, message, (sum(times) OVER same)::bigint,
           min(first_seen_at) OVER same, last_seen_at, execution_id, step_id, workflow_name, max(noted_day) OVER same
      FROM counted
    WINDOW same AS (PARTITION BY fingerprint)
     ORDER BY fingerprint, last_seen_at DESC, execution_id DESC
        ON CONFLICT (fingerprint) DO UPDATE
       SET count = g.count + excluded.count, first_seen_at = least(g.first_seen_at, excluded.first_seen_at),
           last_seen_at = greatest(g.last_seen_at, excluded.last_seen_at),
           last_execution_id = CASE WHEN excluded.last_seen_at >= g.last_seen_at THEN excluded.last_execution_id
                                    ELSE g.last_execution_id END,
           last_step_id = CASE WHEN excluded.last_seen_at >= g.last_seen_at THEN excluded.last_step_id
                               ELSE g.last_step_id END,
           last_workflow_name = CASE WHEN excluded.last_seen_at >= g.last_seen_at THEN excluded.last_workflow_name
                                     ELSE g.last_workflow_name END,
           noted_day = greatest(g.noted_day, excluded.noted_day)
    -- Nobody has touched what was just inserted.
    RETURNING g.fingerprint, g.tokens, g.xmax = 0 AS is_new),
of_workflows AS (
    INSERT INTO failure_workflows AS w
           (workflow_name, fingerprint, count, first_seen_at, last_seen_at, last_execution_id, last_step_id, noted_day)
    SELECT DISTINCT ON (workflow_name COLLATE \"C\", fingerprint)
           workflow_name, fingerprint, (sum(times) OVER same)::bigint, min(first_seen_at) OVER same, last_seen_at,
           execution_id, step_id, max(noted_day) OVER same
      FROM counted
    WINDOW same AS (PARTITION BY workflow_name COLLATE \"C\", fingerprint)
     ORDER BY workflow_name COLLATE \"C\", fingerprint, last_seen_at DESC, execution_id DESC
        ON CONFLICT (workflow_name, fingerprint) DO UPDATE
       SET count = w.count + excluded.count, first_seen_at = least(w.first_seen_at, excluded.first_seen_at),
           last_seen_at = greatest(w.last_seen_at, excluded.last_seen_at),
           last_execution_id = CASE WHEN excluded.last_seen_at >= w.last_seen_at THEN excluded.last_execution_id
                                    ELSE w.last_execution_id END,
           last_step_id = CASE WHEN excluded.last_seen_at >= w.last_seen_at THEN excluded.last_step_id
                               ELSE w.last_step_id END,
           noted_day = greatest(w.noted_day, excluded.noted_day))
INSERT INTO failure_tokens (token, size, fingerprint)
SELECT token, cardinality(saved.tokens), saved.fingerprint
  FROM saved CROSS JOIN LATERAL unnest(saved.tokens) AS token
 WHERE saved.is_new";

/// Adds the counting of failures; nothing where nothing failed.
pub(super) fn save<'a>(pipeline: &mut Pipeline<'a>, statements: &'a Statements, set: &'a WorkingSet) {
    if !set.new_failures.is_empty() {
        pipeline.execute(&statements.save_failures, noted(set));
    }
}

fn noted(set: &WorkingSet) -> Params<'_> {
    let rows: Vec<(&(ExecutionId, FailureId), &NewFailure)> = set.new_failures.iter().collect();
    vec![
        column(&rows, |(key, _)| Bits::from(key.0)),
        column(&rows, |(key, _)| Bits(key.1.to_bytes())),
        column(&rows, |(_, f)| Month::of(f.recorded_at).date()),
        column(&rows, |(_, f)| stored_count(f.times(true))),
        column(&rows, |(_, f)| stored_count(f.times(false))),
        column(&rows, |(_, f)| f.of_execution),
        column(&rows, |(_, f)| f.step.map(StepId::to_stored)),
        column(&rows, |(_, f)| f.workflow.as_str()),
        column(&rows, |(_, f)| Stamp(f.seen.0)),
        column(&rows, |(_, f)| Stamp(f.seen.1)),
        column(&rows, |(_, f)| Date(f.noted_at.day())),
        column(&rows, |(_, f)| f.tokens.joined()),
        column(&rows, |(_, f)| f.kind.as_deref()),
        column(&rows, |(_, f)| f.message.as_str()),
    ]
}

/// What [`group`] reads: of a group, or of a group as one workflow knows it.
macro_rules! columns {
    ($seen:literal, $workflow:literal) => {
        concat!(
            "g.fingerprint, g.error_type, g.message, ",
            $seen,
            ".count, ",
            $seen,
            ".first_seen_at, ",
            $seen,
            ".last_seen_at, ",
            $seen,
            ".last_execution_id, ",
            $seen,
            ".last_step_id, ",
            $workflow,
            " AS last_workflow_name"
        )
    };
}

fn group(found: &Row) -> Result<FailureGroup, StoreError> {
    let step: Option<i64> = row::get(found, "last_step_id")?;
    Ok(FailureGroup {
        id: fingerprint(found)?,
        kind: row::get(found, "error_type")?,
        message: row::get(found, "message")?,
        count: row::count(found, "count")?,
        first_seen_at: row::some_instant(found, "first_seen_at")?,
        last_seen: Seen {
            at: row::some_instant(found, "last_seen_at")?,
            execution: row::execution_id(found, "last_execution_id")?,
            step: step.map(StepId::from_stored),
            workflow: WorkflowName::from_stored(row::get(found, "last_workflow_name")?),
        },
    })
}

fn fingerprint(found: &Row) -> Result<FailureId, StoreError> {
    Ok(FailureId::from_bytes(row::get::<Bits>(found, "fingerprint")?.0))
}

fn tokens(found: &Row) -> Result<Tokens, StoreError> {
    Ok(Tokens::from_stored(row::get::<Vec<&str>>(found, "tokens")?))
}

/// Reads every row.
fn all<T>(
    name: &'static str,
    rows: &[Row],
    read: impl Fn(&Row) -> Result<T, StoreError>,
) -> Result<Vec<T>, RepositoryError> {
    rows.iter().map(read).collect::<Result<_, _>>().map_err(|error| error.into_repository(name))
}

async fn groups(
    pool: &ReadPool,
    filter: &GroupFilter,
    after: Option<GroupCursor>,
    limit: usize,
) -> Result<Vec<FailureGroup>, RepositoryError> {
    const NAME: &str = "failure_groups";
    let limit = sql_limit(limit);
    let workflow = filter.workflow.as_ref().map(|name| name.as_str());
    let since = filter.since.map(Stamp);
    let after = after.map(|after| (Stamp(after.last_seen_at), Bits(after.id.to_bytes())));
    let mut params: Vec<(&(dyn ToSql + Sync), Type)> = vec![(&limit, Type::INT8)];
    let mut conditions = vec!["true".to_owned()];
    if let Some(workflow) = &workflow {
        params.push((workflow, Type::TEXT));
        conditions.push(format!("workflow_name = ${}", params.len()));
    }
    if let Some(since) = &since {
        params.push((since, Type::TIMESTAMPTZ));
        conditions.push(format!("last_seen_at >= ${}", params.len()));
    }
    if let Some((at, id)) = &after {
        params.extend([(at as &(dyn ToSql + Sync), Type::TIMESTAMPTZ), (id, Type::UUID)]);
        let last = params.len();
        conditions.push(format!("(last_seen_at, fingerprint) < (${}, ${last})", last - 1));
    }
    let page = format!(
        "WHERE {}\n ORDER BY last_seen_at DESC, fingerprint DESC\n LIMIT $1",
        conditions.join(" AND ")
    );
    let sql = if workflow.is_none() {
        let columns = columns!("g", "g.last_workflow_name");
        format!("-- {NAME}\nSELECT {columns}\n  FROM failure_groups AS g\n {page}")
    } else {
        let columns = columns!("w", "w.workflow_name");
        format!(
            "-- {NAME}\nSELECT {columns}\n  FROM (SELECT * FROM failure_workflows {page}) AS w\n  \
             JOIN failure_groups AS g ON g.fingerprint = w.fingerprint\n \
             ORDER BY w.last_seen_at DESC, w.fingerprint DESC"
        )
    };
    all(NAME, &pool.query_once(NAME, &sql, &params).await?, group)
}

/// Several at once.
const GROUPS: &str = concat!(
    "-- failure_group\nSELECT ",
    columns!("g", "g.last_workflow_name"),
    "\n  FROM failure_groups AS g\n WHERE g.fingerprint = ANY($1)"
);

async fn by_ids(
    pool: &ReadPool,
    ids: &[FailureId],
) -> Result<HashMap<FailureId, FailureGroup>, RepositoryError> {
    const NAME: &str = "failure_group";
    let ids: Vec<Bits> = ids.iter().map(|id| Bits(id.to_bytes())).collect();
    let groups = all(NAME, &pool.query(NAME, GROUPS, &[&ids]).await?, group)?;
    Ok(groups.into_iter().map(|group| (group.id, group)).collect())
}

const HOW_COMMON: &str = "\
-- failure_token_counts
SELECT t.token, (SELECT count(*) FROM (SELECT FROM failure_tokens AS f WHERE f.token = t.token LIMIT $2) AS few) AS groups
  FROM unnest($1::text[]) AS t (token)";

/// Returns in how many groups each token is, as far as that is counted.
async fn how_common(pool: &ReadPool, tokens: &Tokens) -> Result<HashMap<String, u64>, RepositoryError> {
    const NAME: &str = "failure_token_counts";
    let rows = pool.query(NAME, HOW_COMMON, &[&tokens.as_slice(), &COMMON]).await?;
    let counts = all(NAME, &rows, |found| Ok((row::get(found, "token")?, row::count(found, "groups")?)))?;
    Ok(counts.into_iter().collect())
}

/// What is needed is by the number of a group's tokens; what has it is compared.
const SIMILAR: &str = "\
-- similar_failures
SELECT g.fingerprint, g.tokens, g.count
  FROM (SELECT f.fingerprint
          FROM unnest($1::text[], $2::smallint[]) AS l (token, most)
         CROSS JOIN LATERAL (
            SELECT t.fingerprint, t.size FROM failure_tokens AS t
             WHERE t.token = l.token AND t.size >= $3 AND t.size <= l.most) AS f
         GROUP BY f.fingerprint, f.size
        HAVING count(*) >= ($4::smallint[])[f.size]) AS c
  JOIN failure_groups AS g ON g.fingerprint = c.fingerprint";

/// Returns a number of tokens as it is stored.
fn size(tokens: usize) -> i16 {
    i16::try_from(tokens).unwrap_or(i16::MAX)
}

/// A group as it is ranked: how often it was seen, and which it is.
type Ranked = (u64, FailureId);

async fn similar(
    pool: &ReadPool,
    search: &Search,
    limit: usize,
) -> Result<Vec<SimilarGroup>, RepositoryError> {
    let counts = how_common(pool, &search.tokens).await?;
    let mut found = Vec::new();
    for stage in search.stages() {
        found = alike(pool, &stage, &counts).await?;
        if found.len() >= limit {
            break;
        }
    }
    let found = best(found, limit, |group| *group);
    let ids: Vec<FailureId> = found.iter().map(|(_, (_, id))| *id).collect();
    let mut groups = by_ids(pool, &ids).await?;
    let shown = found
        .into_iter()
        .filter_map(|(similarity, (_, id))| Some(SimilarGroup { similarity, group: groups.remove(&id)? }));
    Ok(shown.collect())
}

/// Returns every group that is similar enough.
async fn alike(
    pool: &ReadPool,
    search: &Search,
    counts: &HashMap<String, u64>,
) -> Result<Vec<(f64, Ranked)>, RepositoryError> {
    const NAME: &str = "similar_failures";
    let prefix = search.prefix(|token| counts.get(token).copied().unwrap_or(0));
    let tokens: Vec<&str> = prefix.lookups.iter().map(|lookup| lookup.token.as_str()).collect();
    let most: Vec<i16> = prefix.lookups.iter().map(|lookup| size(lookup.most)).collect();
    let needed: Vec<i16> = prefix.needed_by_size().iter().map(|needed| size(*needed)).collect();
    let params: [&(dyn ToSql + Sync); 4] = [&tokens, &most, &size(prefix.fewest), &needed];
    let rows = pool.query(NAME, SIMILAR, &params).await?;
    let compared = all(NAME, &rows, |found| {
        let tokens: Vec<&str> = row::get(found, "tokens")?;
        let ranked = (row::count(found, "count")?, fingerprint(found)?);
        Ok(search.compare(tokens.into_iter()).map(|similarity| (similarity, ranked)))
    })?;
    Ok(compared.into_iter().flatten().collect())
}

const WITH_ALL: &str = "\
-- failures_with
SELECT f.fingerprint
  FROM failure_tokens AS f
 WHERE f.token = $1
   AND (SELECT count(*) FROM failure_tokens AS o
         WHERE o.token = ANY($2) AND o.size = f.size AND o.fingerprint = f.fingerprint) = $3
 ORDER BY f.fingerprint";

/// Returns the groups that have all of these tokens: those of the rarest one that have the others too.
pub(super) async fn with_all(pool: &ReadPool, tokens: &Tokens) -> Result<Vec<FailureId>, RepositoryError> {
    const NAME: &str = "failures_with";
    let counts = how_common(pool, tokens).await?;
    let Some(rarest) = tokens.as_slice().iter().min_by_key(|token| counts.get(*token).copied()) else {
        return Ok(Vec::new());
    };
    let others: Vec<&str> =
        tokens.as_slice().iter().filter(|token| *token != rarest).map(String::as_str).collect();
    let all_others = sql_limit(others.len());
    let rows = pool.query(NAME, WITH_ALL, &[rarest, &others, &all_others]).await?;
    all(NAME, &rows, fingerprint)
}

const OWN: &str = concat!(
    "-- failures_of_execution\nSELECT ",
    columns!("g", "g.last_workflow_name"),
    ", g.tokens, f.times, f.of_execution, f.step_id
  FROM execution_failures AS f
  JOIN failure_groups AS g ON g.fingerprint = f.fingerprint
 WHERE f.execution_id = $1
   AND f.recorded_month = (SELECT recorded_month FROM execution_directory WHERE execution_id = $1)
 ORDER BY f.of_execution DESC, f.times DESC, g.fingerprint
 LIMIT $2"
);

fn read_own(found: &Row) -> Result<OwnFailure, StoreError> {
    Ok(OwnFailure {
        group: group(found)?,
        tokens: tokens(found)?,
        times: row::count(found, "times")?,
        of_execution: row::get(found, "of_execution")?,
        step: row::get::<Option<i64>>(found, "step_id")?.map(StepId::from_stored),
    })
}

#[async_trait]
impl FailureRepository for PostgresStore {
    async fn failure_groups(
        &self,
        filter: &GroupFilter,
        after: Option<GroupCursor>,
        limit: usize,
    ) -> Result<Vec<FailureGroup>, RepositoryError> {
        groups(&self.pool, filter, after, limit).await
    }

    async fn failure_group(&self, id: FailureId) -> Result<Option<FailureGroup>, RepositoryError> {
        Ok(by_ids(&self.pool, &[id]).await?.remove(&id))
    }

    async fn similar_failures(
        &self,
        search: &Search,
        limit: usize,
    ) -> Result<Vec<SimilarGroup>, RepositoryError> {
        similar(&self.pool, search, limit).await
    }

    async fn failures_with(&self, tokens: &Tokens) -> Result<Vec<FailureId>, RepositoryError> {
        with_all(&self.pool, tokens).await
    }

    async fn failures_of(&self, id: ExecutionId) -> Result<Vec<OwnFailure>, RepositoryError> {
        const NAME: &str = "failures_of_execution";
        let most = sql_limit(limits::FAILURES_PER_EXECUTION);
        all(NAME, &self.pool.query(NAME, OWN, &[&Bits::from(id), &most]).await?, read_own)
    }
}
