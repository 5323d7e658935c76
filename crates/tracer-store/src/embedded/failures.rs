//! Groups of failures: as a batch counts them, and as they are read.
//!
//! Invariant: a group and its words come and go in one transaction.
//! Not here: what failures have in common (`tracer_core::similarity`).

use std::collections::HashMap;

use async_trait::async_trait;
use rusqlite::types::Value as SqlValue;
use rusqlite::{OptionalExtension, Row, Transaction, params, params_from_iter};
use tracer_core::failures::{
    FailureGroup, FailureRepository, GroupCursor, GroupFilter, NewFailure, OwnFailure, Seen, SimilarGroup,
    best, by_group,
};
use tracer_core::ids::{ExecutionId, StepId};
use tracer_core::limits;
use tracer_core::name::WorkflowName;
use tracer_core::record::WorkingSet;
use tracer_core::repository::RepositoryError;
use tracer_core::similarity::{FailureId, Search, Tokens};
use tracer_core::time::Timestamp;

use super::EmbeddedStore;
use super::error::StoreError;
use super::reads::{collect, sql_limit};
use super::row::{self, count, optional_text, stored, text, time};

/// Groups with a word are counted so far: behind that, words are common, and which one is commoner does not matter.
const COMMON: i64 = 2_000;

const COUNT_AGAIN: &str = "\
-- count_execution_failure_again
UPDATE execution_failures
   SET times = times + ?3, of_execution = max(of_execution, ?4), step_id = coalesce(?5, step_id)
 WHERE execution_id = ?1 AND group_id = ?2";

const COUNT_FIRST: &str = "\
-- count_execution_failure
INSERT INTO execution_failures (execution_id, group_id, times, of_execution, step_id)
VALUES (?1, ?2, ?3, ?4, ?5)";

const COUNT: &str = "\
-- count_failure
UPDATE failure_groups
   SET count = count + ?2, first_seen_at = min(first_seen_at, ?3), last_seen_at = max(last_seen_at, ?4),
       last_execution_id = iif(?4 >= last_seen_at, ?5, last_execution_id),
       last_step_id = iif(?4 >= last_seen_at, ?6, last_step_id),
       last_workflow_name = iif(?4 >= last_seen_at, ?7, last_workflow_name), noted_day = max(noted_day, ?8)
 WHERE group_id = ?1";

const COUNT_IN_WORKFLOW: &str = "\
-- count_failure_in_workflow
INSERT INTO failure_workflows
       (fingerprint, count, first_seen_at, last_seen_at, last_execution_id, last_step_id, workflow_name, noted_day)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
    ON CONFLICT DO UPDATE
   SET count = count + ?2, first_seen_at = min(first_seen_at, ?3), last_seen_at = max(last_seen_at, ?4),
       last_execution_id = iif(?4 >= last_seen_at, ?5, last_execution_id),
       last_step_id = iif(?4 >= last_seen_at, ?6, last_step_id), noted_day = max(noted_day, ?8)";

const FIND: &str = "\
-- find_failure_group
SELECT group_id
  FROM failure_groups
 WHERE fingerprint = ?1";

const INSERT: &str = "\
-- insert_failure_group
INSERT INTO failure_groups
       (fingerprint, count, first_seen_at, last_seen_at, last_execution_id, last_step_id, last_workflow_name,
        noted_day, tokens, error_type, message)
VALUES (?1, 0, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
RETURNING group_id";

const INSERT_TOKEN: &str = "\
-- insert_failure_token
INSERT INTO failure_tokens (token, size, group_id)
VALUES (?1, ?2, ?3)";

/// Counts the failures of a batch.
pub(super) fn save(tx: &Transaction<'_>, set: &WorkingSet) -> Result<(), StoreError> {
    for (id, failures) in by_group(set) {
        for (execution, failure) in failures {
            let group =
                match tx.prepare_cached(FIND)?.query_row([id.to_bytes()], |row| row.get(0)).optional()? {
                    Some(group) => group,
                    None => insert(tx, id, execution, failure)?,
                };
            count_one(tx, group, id, execution, failure)?;
        }
    }
    Ok(())
}

/// Makes a group that has been seen no time yet, and its words.
fn insert(
    tx: &Transaction<'_>,
    id: FailureId,
    execution: ExecutionId,
    failure: &NewFailure,
) -> Result<i64, StoreError> {
    let group: i64 = tx.prepare_cached(INSERT)?.query_row(
        params![
            id.to_bytes(),
            failure.seen.0.as_micros(),
            failure.seen.1.as_micros(),
            execution.to_bytes(),
            failure.step.map(StepId::to_stored),
            failure.workflow.as_str(),
            failure.noted_at.day().0,
            failure.tokens.joined(),
            failure.kind,
            failure.message,
        ],
        |row| row.get(0),
    )?;
    let (mut statement, size) = (tx.prepare_cached(INSERT_TOKEN)?, sql_limit(failure.tokens.len()));
    for token in failure.tokens.as_slice() {
        statement.execute(params![token, size, group])?;
    }
    Ok(group)
}

fn count_one(
    tx: &Transaction<'_>,
    group: i64,
    id: FailureId,
    execution: ExecutionId,
    failure: &NewFailure,
) -> Result<(), StoreError> {
    let step = failure.step.map(StepId::to_stored);
    let in_execution = |sql, times| -> Result<usize, StoreError> {
        let values = params![execution.to_bytes(), group, times, failure.of_execution, step];
        Ok(tx.prepare_cached(sql)?.execute(values)?)
    };
    let mut times = stored(failure.times(false));
    if in_execution(COUNT_AGAIN, times)? == 0 {
        times = stored(failure.times(true));
        in_execution(COUNT_FIRST, times)?;
    }
    let (seen, day) = (failure.seen, failure.noted_at.day().0);
    let (from, to, workflow) = (seen.0.as_micros(), seen.1.as_micros(), failure.workflow.as_str());
    let execution = execution.to_bytes();
    tx.prepare_cached(COUNT)?.execute(params![group, times, from, to, execution, step, workflow, day])?;
    let id = id.to_bytes();
    tx.prepare_cached(COUNT_IN_WORKFLOW)?
        .execute(params![id, times, from, to, execution, step, workflow, day])?;
    Ok(())
}

const FORGET: &str = "\
-- delete_execution_failures
DELETE FROM execution_failures
 WHERE execution_id = ?1";

/// Forgets the failures of an execution that is about to be deleted. Their groups stay, and how often they were seen.
pub(super) fn delete(tx: &Transaction<'_>, id: ExecutionId) -> Result<(), StoreError> {
    tx.prepare_cached(FORGET)?.execute([id.to_bytes()])?;
    Ok(())
}

const OLD: &str = "\
-- old_failure_groups
SELECT group_id, tokens
  FROM failure_groups
 WHERE noted_day < ?1
 ORDER BY noted_day
 LIMIT ?2";

const DELETE_TOKEN: &str = "\
-- delete_failure_token
DELETE FROM failure_tokens
 WHERE token = ?1 AND size = ?2 AND group_id = ?3";

const DELETE_GROUP: &str = "\
-- delete_failure_group
DELETE FROM failure_groups
 WHERE group_id = ?1";

const DELETE_OF_WORKFLOWS: &str = "\
-- delete_failure_workflows
DELETE FROM failure_workflows
 WHERE (workflow_name, fingerprint) IN (SELECT workflow_name, fingerprint
                                          FROM failure_workflows
                                         WHERE noted_day < ?1
                                         LIMIT ?2)";

/// Deletes groups of which none was recorded since, with their words.
pub(super) fn delete_groups(
    tx: &Transaction<'_>,
    before: Timestamp,
    limit: i64,
) -> Result<usize, StoreError> {
    let mut statement = tx.prepare_cached(OLD)?;
    let mut rows = statement.query(params![before.day().0, limit])?;
    let old = collect(&mut rows, |found| Ok((found.get::<_, i64>(0)?, text(found, 1)?.to_owned())))?;
    for (group, tokens) in &old {
        let size = sql_limit(tokens.split_whitespace().count());
        for token in tokens.split_whitespace() {
            tx.prepare_cached(DELETE_TOKEN)?.execute(params![token, size, group])?;
        }
        tx.prepare_cached(DELETE_GROUP)?.execute([group])?;
    }
    Ok(old.len())
}

/// Deletes what is known of groups in workflows in which none was recorded since.
pub(super) fn delete_of_workflows(
    tx: &Transaction<'_>,
    before: Timestamp,
    limit: i64,
) -> Result<usize, StoreError> {
    Ok(tx.prepare_cached(DELETE_OF_WORKFLOWS)?.execute(params![before.day().0, limit])?)
}

/// What [`group`] reads, in its order: of a group, or of a group as one workflow knows it.
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
            $workflow
        )
    };
}

fn group(found: &Row<'_>) -> Result<FailureGroup, StoreError> {
    Ok(FailureGroup {
        id: FailureId::from_bytes(found.get(0)?),
        kind: optional_text(found, 1)?.map(str::to_owned),
        message: text(found, 2)?.to_owned(),
        count: count(found, 3)?,
        first_seen_at: time(found, 4)?,
        last_seen: Seen {
            at: time(found, 5)?,
            execution: row::execution_id(found, 6)?,
            step: found.get::<_, Option<i64>>(7)?.map(StepId::from_stored),
            workflow: WorkflowName::from_stored(text(found, 8)?),
        },
    })
}

/// Puts the listing together.
pub(super) fn listing(
    filter: &GroupFilter,
    after: Option<GroupCursor>,
    limit: usize,
) -> (String, Vec<SqlValue>) {
    let mut values: Vec<SqlValue> = Vec::new();
    let (of_all, of_workflow) = (columns!("g", "g.last_workflow_name"), columns!("w", "w.workflow_name"));
    let (mut sql, from) = match &filter.workflow {
        None => (format!("-- failure_groups\nSELECT {of_all}\n  FROM failure_groups AS g\n WHERE true"), "g"),
        Some(name) => {
            values.push(name.as_str().to_owned().into());
            let join =
                "failure_workflows AS w CROSS JOIN failure_groups AS g ON g.fingerprint = w.fingerprint";
            let sql = format!(
                "-- failure_groups_of_workflow\nSELECT {of_workflow}\n  FROM {join}\n WHERE w.workflow_name = ?"
            );
            (sql, "w")
        }
    };
    if let Some(since) = filter.since {
        sql.push_str(&format!(" AND {from}.last_seen_at >= ?"));
        values.push(since.as_micros().into());
    }
    if let Some(after) = after {
        sql.push_str(&format!(" AND ({from}.last_seen_at, {from}.fingerprint) < (?, ?)"));
        values.extend([after.last_seen_at.as_micros().into(), after.id.to_bytes().to_vec().into()]);
    }
    sql.push_str(&format!("\n ORDER BY {from}.last_seen_at DESC, {from}.fingerprint DESC\n LIMIT ?"));
    values.push(sql_limit(limit).into());
    (sql, values)
}

fn groups(
    tx: &Transaction<'_>,
    filter: &GroupFilter,
    after: Option<GroupCursor>,
    limit: usize,
) -> Result<Vec<FailureGroup>, StoreError> {
    let (sql, values) = listing(filter, after, limit);
    let mut statement = tx.prepare_cached(&sql)?;
    let mut rows = statement.query(params_from_iter(values))?;
    collect(&mut rows, group)
}

const GROUP: &str = concat!(
    "-- failure_group\nSELECT ",
    columns!("g", "g.last_workflow_name"),
    "\n  FROM failure_groups AS g\n WHERE g.fingerprint = ?1"
);

fn one_group(tx: &Transaction<'_>, id: FailureId) -> Result<Option<FailureGroup>, StoreError> {
    let mut statement = tx.prepare_cached(GROUP)?;
    let mut rows = statement.query([id.to_bytes()])?;
    rows.next()?.map(group).transpose()
}

const HOW_COMMON: &str = "\
-- failure_token_counts
SELECT count(*)
  FROM (SELECT 1 FROM failure_tokens WHERE token = ?1 LIMIT ?2)";

const WITH_TOKEN: &str = "\
-- failures_with_token
SELECT group_id, size
  FROM failure_tokens
 WHERE token = ?1";

const WITH_TOKEN_OF_SIZE: &str = "\
-- failures_with_token_of_size
SELECT group_id, size
  FROM failure_tokens
 WHERE token = ?1 AND size BETWEEN ?2 AND ?3";

const HAS_TOKEN: &str = "\
-- failure_has_token
SELECT 1
  FROM failure_tokens
 WHERE token = ?1 AND size = ?2 AND group_id = ?3";

const COMPARED: &str = "\
-- compared_failures
SELECT tokens, count, fingerprint
  FROM failure_groups
 WHERE group_id = ?1";

/// Returns in how many groups each token is, as far as that is counted.
fn how_common(tx: &Transaction<'_>, tokens: &Tokens) -> Result<HashMap<String, u64>, StoreError> {
    let mut statement = tx.prepare_cached(HOW_COMMON)?;
    let mut counts = HashMap::new();
    for token in tokens.as_slice() {
        let groups: i64 = statement.query_row(params![token, COMMON], |row| row.get(0))?;
        counts.insert(token.clone(), groups.unsigned_abs());
    }
    Ok(counts)
}

/// A group as it is ranked: how often it was seen, and which it is.
type Ranked = (u64, FailureId);

fn similar(tx: &Transaction<'_>, search: &Search, limit: usize) -> Result<Vec<SimilarGroup>, StoreError> {
    let counts = how_common(tx, &search.tokens)?;
    let mut found = Vec::new();
    for stage in search.stages() {
        found = alike(tx, &stage, &counts)?;
        if found.len() >= limit {
            break;
        }
    }
    let mut similar = Vec::new();
    for (similarity, (_, id)) in best(found, limit, |group| *group) {
        similar.extend(one_group(tx, id)?.map(|group| SimilarGroup { similarity, group }));
    }
    Ok(similar)
}

/// Returns every group that is similar enough.
fn alike(
    tx: &Transaction<'_>,
    search: &Search,
    counts: &HashMap<String, u64>,
) -> Result<Vec<(f64, Ranked)>, StoreError> {
    let prefix = search.prefix(|token| counts.get(token).copied().unwrap_or(0));
    let mut having: Vec<(i64, u16)> = Vec::new();
    let mut with_token = tx.prepare_cached(WITH_TOKEN_OF_SIZE)?;
    for lookup in &prefix.lookups {
        let sizes = (sql_limit(prefix.fewest), sql_limit(lookup.most));
        let mut rows = with_token.query(params![lookup.token, sizes.0, sizes.1])?;
        while let Some(found) = rows.next()? {
            having.push((found.get(0)?, found.get(1)?));
        }
    }
    having.sort_unstable();
    let mut compared = tx.prepare_cached(COMPARED)?;
    let mut found = Vec::new();
    for same in having.chunk_by(|one, next| one == next) {
        let Some((group, size)) = same.first() else { continue };
        if prefix.needed(usize::from(*size)).is_none_or(|needed| same.len() < needed) {
            continue;
        }
        let mut rows = compared.query([group])?;
        let Some(row) = rows.next()? else { continue };
        if let Some(similarity) = search.compare(text(row, 0)?.split_whitespace()) {
            found.push((similarity, (count(row, 1)?, FailureId::from_bytes(row.get(2)?))));
        }
    }
    Ok(found)
}

/// Returns the numbers of the groups that have all of these tokens: those of the rarest one that have the others too.
pub(super) fn with_all(tx: &Transaction<'_>, tokens: &Tokens) -> Result<Vec<i64>, StoreError> {
    let counts = how_common(tx, tokens)?;
    let Some(rarest) = tokens.as_slice().iter().min_by_key(|token| counts.get(*token).copied()) else {
        return Ok(Vec::new());
    };
    let mut statement = tx.prepare_cached(WITH_TOKEN)?;
    let mut rows = statement.query([rarest])?;
    let mut groups: Vec<(i64, i64)> = collect(&mut rows, |found| Ok((found.get(0)?, found.get(1)?)))?;
    let mut has = tx.prepare_cached(HAS_TOKEN)?;
    for token in tokens.as_slice().iter().filter(|token| *token != rarest) {
        let mut left = Vec::with_capacity(groups.len());
        for (group, size) in groups {
            if has.exists(params![token, size, group])? {
                left.push((group, size));
            }
        }
        groups = left;
    }
    Ok(groups.into_iter().map(|(group, _)| group).collect())
}

fn ids_with(tx: &Transaction<'_>, tokens: &Tokens) -> Result<Vec<FailureId>, StoreError> {
    let mut compared = tx.prepare_cached(COMPARED)?;
    let mut ids = Vec::new();
    for group in with_all(tx, tokens)? {
        ids.push(FailureId::from_bytes(compared.query_row([group], |row| row.get(2))?));
    }
    ids.sort_unstable();
    Ok(ids)
}

const OWN: &str = concat!(
    "-- failures_of_execution\nSELECT ",
    columns!("g", "g.last_workflow_name"),
    ", g.tokens, f.times, f.of_execution, f.step_id
  FROM execution_failures AS f
 CROSS JOIN failure_groups AS g ON g.group_id = f.group_id
 WHERE f.execution_id = ?1
 ORDER BY f.of_execution DESC, f.times DESC, g.fingerprint
 LIMIT ?2"
);

fn own(tx: &Transaction<'_>, id: ExecutionId) -> Result<Vec<OwnFailure>, StoreError> {
    let mut statement = tx.prepare_cached(OWN)?;
    let mut rows = statement.query(params![id.to_bytes(), sql_limit(limits::FAILURES_PER_EXECUTION)])?;
    collect(&mut rows, |found| {
        Ok(OwnFailure {
            group: group(found)?,
            tokens: Tokens::from_stored(text(found, 9)?.split_whitespace()),
            times: count(found, 10)?,
            of_execution: found.get(11)?,
            step: found.get::<_, Option<i64>>(12)?.map(StepId::from_stored),
        })
    })
}

#[cfg(test)]
mod tests;

/// The statements whose plans are looked at.
#[cfg(test)]
pub(super) const STATEMENTS: [&str; 15] = [
    COUNT_AGAIN,
    COUNT,
    FIND,
    FORGET,
    OLD,
    DELETE_TOKEN,
    DELETE_GROUP,
    DELETE_OF_WORKFLOWS,
    GROUP,
    HOW_COMMON,
    WITH_TOKEN,
    WITH_TOKEN_OF_SIZE,
    HAS_TOKEN,
    COMPARED,
    OWN,
];

#[async_trait]
impl FailureRepository for EmbeddedStore {
    async fn failure_groups(
        &self,
        filter: &GroupFilter,
        after: Option<GroupCursor>,
        limit: usize,
    ) -> Result<Vec<FailureGroup>, RepositoryError> {
        let filter = filter.clone();
        Ok(self.readers.read("failure_groups", move |tx| groups(tx, &filter, after, limit)).await?)
    }

    async fn failure_group(&self, id: FailureId) -> Result<Option<FailureGroup>, RepositoryError> {
        Ok(self.readers.read("failure_group", move |tx| one_group(tx, id)).await?)
    }

    async fn similar_failures(
        &self,
        search: &Search,
        limit: usize,
    ) -> Result<Vec<SimilarGroup>, RepositoryError> {
        let search = search.clone();
        Ok(self.readers.read("similar_failures", move |tx| similar(tx, &search, limit)).await?)
    }

    async fn failures_with(&self, tokens: &Tokens) -> Result<Vec<FailureId>, RepositoryError> {
        let tokens = tokens.clone();
        Ok(self.readers.read("failures_with", move |tx| ids_with(tx, &tokens)).await?)
    }

    async fn failures_of(&self, id: ExecutionId) -> Result<Vec<OwnFailure>, RepositoryError> {
        Ok(self.readers.read("failures_of", move |tx| own(tx, id)).await?)
    }
}
