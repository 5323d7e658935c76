//! `failures`: what it costs to find failures that are alike among very many, and whether all of them are found.
//!
//! Everything is recorded by the service itself, through `POST /import`. What it answers is compared with what
//! comparing with every group finds, here.

mod messages;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tracer_core::similarity::{MinSimilarity, Search, Tokens};

use self::messages::{Each, Imports, STEPS, commonest, message, mix};
use crate::history::now;
use crate::load::{Load, Measured, millis};
use crate::progress;
use crate::stand::{Place, Stand, Store};
use crate::table::{Figure, Table, Target};
use xtask_machine::service::fetch;

/// Different failures.
const DISTINCT: u64 = 10_000;
/// Answers timed of each question.
const ASKED: u64 = 1_000;
/// Questions whose answers are compared.
const COMPARED: u64 = 200;
/// Most groups in an answer that is compared.
const PAGE: usize = 1_000;
/// Clients that record.
const CLIENTS: u64 = 32;
/// How long either may take.
const LONGEST: Duration = Duration::from_secs(1_200);
/// How far back the failures go.
const PAST: Duration = Duration::from_secs(13 * 86_400);

/// What to measure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failures<'a> {
    /// The service's binary, and where data lives.
    pub(crate) place: &'a Place,
    /// Failures to store.
    pub(crate) failures: u64,
}

impl Failures<'_> {
    /// Measures on one store.
    ///
    /// # Errors
    /// When something does not start, or the run is interrupted.
    pub(crate) fn run(&self, store: Store, table: &mut Table) -> Result<()> {
        let distinct = DISTINCT.min(self.failures);
        let mut stand = Stand::serving(self.place, store)?;
        progress(&format!("{}: {} failures", store.name(), self.failures));
        let recorded = self.record(&mut stand, distinct)?;
        table.section(format!("{} failures, {distinct} distinct, {}", self.failures, store.name()));
        table.add(Figure::new("failed steps recorded", recorded.per_second() * STEPS as f64, "/s"));
        if let Some(url) = stand.url() {
            // As autovacuum will have done.
            analyze(&url)?;
        }
        let groups = groups(&stand)?;
        ensure!(groups.len() as u64 == distinct, "{} groups instead of {distinct}", groups.len());
        progress(&format!("{}: finding what is alike", store.name()));
        let (alone, differing) = compare(&stand, &groups)?;
        let similar = |least: &str| -> Vec<String> {
            let asked = (0..ASKED).map(|n| asked(mix(n) % distinct, n));
            asked.map(|text| format!("/failures/similar?error={text}{least}&limit=100")).collect()
        };
        let target = Some(Target::AtMost(100.0));
        let p99 = "GET /failures/similar, p99";
        time(&mut stand, p99, similar(""), target, Some(("compare all in memory", alone)), table)?;
        time(&mut stand, "  at least 0.6, p99", similar("&min_similarity=0.6"), target, None, table)?;
        let common = encoded(&commonest(20));
        let common = vec![format!("/failures/similar?error={common}&limit=100"); 200];
        time(&mut stand, "  the 20 commonest words, p99", common, None, None, table)?;
        table.add(
            Figure::new(format!("  answers unlike comparing all, of {COMPARED}"), differing as f64, "")
                .target(Target::AtMost(0.0)),
        );
        self.ask_others(&mut stand, distinct, table)
    }

    fn record(&self, stand: &mut Stand, distinct: u64) -> Result<Measured> {
        let executions = self.failures.div_ceil(STEPS);
        let past = i64::try_from(PAST.as_micros())?;
        let (from, apart) = (now()? - past, past / i64::try_from(executions.max(1))?);
        let load = Load { clients: usize::try_from(CLIENTS)?, warm_up: Duration::ZERO, length: LONGEST };
        let recorded = stand.drive(&load, |client| Imports {
            next: client as u64,
            every: CLIENTS,
            executions,
            distinct,
            from,
            apart,
            body: Vec::new(),
        })?;
        ensure!(recorded.failed() == 0, "not all was recorded: {:?}", recorded.failures);
        ensure!(recorded.all.len() == executions, "{} recorded in time", recorded.all.len());
        Ok(recorded)
    }

    /// Measures the other questions that failures answer.
    fn ask_others(&self, stand: &mut Stand, distinct: u64, table: &mut Table) -> Result<()> {
        let few = ASKED / 5;
        let by_error = (0..few).map(|n| {
            let text = message(mix(n) % distinct, n);
            let (words, _) = text.split_once(" (").unwrap_or((&text, ""));
            format!("/workflows?error={}", encoded(words))
        });
        time(stand, "GET /workflows?error=one failure, p99", by_error.collect(), None, None, table)?;
        let common = format!("/workflows?error={}", encoded(&commonest(1)));
        let common = vec![common; usize::try_from(few)?];
        time(stand, "GET /workflows?error=a common word, p99", common, None, None, table)?;
        let listing = vec!["/failures".to_owned(); usize::try_from(few)?];
        time(stand, "GET /failures, p99", listing, None, None, table)?;
        let (_, body) = fetch(stand.service()?.address(), "/workflows?limit=20")?;
        let page: Value = serde_json::from_slice(&body)?;
        let ids = page["workflows"].as_array().context("no executions")?.iter();
        let paths = ids.filter_map(|found| {
            Some(format!("/workflows/{}/similar-failures", found["workflow_id"].as_str()?))
        });
        time(
            stand,
            "GET /workflows/{id}/similar-failures, ten steps, p99",
            paths.collect(),
            None,
            None,
            table,
        )
    }
}

/// Asks for each path once, by one client.
fn time(
    stand: &mut Stand,
    name: &str,
    paths: Vec<String>,
    target: Option<Target>,
    limit: Option<(&str, f64)>,
    table: &mut Table,
) -> Result<()> {
    let load = Load { clients: 1, warm_up: Duration::ZERO, length: LONGEST };
    let measured = stand.drive(&load, |_| Each(paths.clone().into_iter()))?;
    ensure!(measured.failed() == 0, "{name}: {:?}", measured.failures);
    table.add(Figure::new(name, millis(&measured.all, 0.99), "ms").target(target));
    let middle = Figure::new("  p50", millis(&measured.all, 0.5), "ms");
    table.add(match limit {
        Some((what, value)) => middle.limit(what, value),
        None => middle,
    });
    Ok(())
}

/// Returns the message of a failure as it occurs another time, for a query.
fn asked(failure: u64, time: u64) -> String {
    encoded(&format!("TaskError: {}", message(failure, 1_000_000 + time)))
}

fn encoded(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b' ' => "+".to_owned(),
        other if other.is_ascii_alphanumeric() => char::from(other).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(byte).collect()
}

fn analyze(url: &str) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let client = crate::limits::postgres::connect(url).await?;
        Ok(client.batch_execute("VACUUM (ANALYZE)").await?)
    })
}

/// Returns the words of every group by its fingerprint, as they are listed.
fn groups(stand: &Stand) -> Result<BTreeMap<String, Tokens>> {
    let mut groups = BTreeMap::new();
    let mut path = format!("/failures?limit={PAGE}");
    loop {
        let (status, body) = fetch(stand.service()?.address(), &path)?;
        ensure!(status == 200, "{path} answers {status}");
        let page: Value = serde_json::from_slice(&body)?;
        for group in page["failures"].as_array().context("a page")? {
            let text = |field: &str| group[field].as_str().unwrap_or_default();
            let tokens = Tokens::of(&format!("{} {}", text("error_type"), text("message")));
            groups.insert(text("fingerprint").to_owned(), tokens);
        }
        match page["next_cursor"].as_str() {
            Some(cursor) => path = format!("/failures?limit={PAGE}&cursor={cursor}"),
            None => return Ok(groups),
        }
    }
}

/// Compares what the service answers with what comparing with every group finds; returns how long that takes here, in
/// milliseconds, and how many answers are others.
fn compare(stand: &Stand, groups: &BTreeMap<String, Tokens>) -> Result<(f64, u64)> {
    let (mut differing, mut took) = (0, Duration::ZERO);
    for n in 0..COMPARED {
        let text = format!("TaskError: {}", message(mix(n + 7) % groups.len() as u64, n + 5_000_000));
        let least =
            MinSimilarity::new([0.3, 0.45, 0.6, 0.8][usize::try_from(n % 4)?]).context("a similarity")?;
        let search = Search { tokens: Tokens::of(&text), least };
        let began = Instant::now();
        let expected: BTreeMap<&str, u64> = groups
            .iter()
            .filter_map(|(id, tokens)| {
                Some((id.as_str(), shown(search.compare(tokens.as_slice().iter().map(String::as_str))?)))
            })
            .collect();
        took += began.elapsed();
        let path =
            format!("/failures/similar?error={}&min_similarity={}&limit={PAGE}", encoded(&text), least.get());
        let (status, body) = fetch(stand.service()?.address(), &path)?;
        ensure!(status == 200, "{path} answers {status}");
        let answer: Value = serde_json::from_slice(&body)?;
        let found = answer["failures"].as_array().context("an answer")?.iter();
        let found: Vec<(&str, u64)> = found
            .filter_map(|group| Some((group["fingerprint"].as_str()?, shown(group["similarity"].as_f64()?))))
            .collect();
        differing += u64::from(!are_best(&found, &expected));
    }
    Ok((took.as_secs_f64() * 1e3 / COMPARED as f64, differing))
}

/// Whether these are the most similar ones, each once and as similar as it is. Among equals either may be the last.
fn are_best(found: &[(&str, u64)], expected: &BTreeMap<&str, u64>) -> bool {
    let mut best: Vec<u64> = expected.values().copied().collect();
    best.sort_unstable_by(|one, other| other.cmp(one));
    best.truncate(PAGE);
    let distinct: BTreeMap<&str, u64> = found.iter().copied().collect();
    distinct.len() == found.len()
        && found.iter().map(|(_, similarity)| *similarity).eq(best)
        && found.iter().all(|(id, similarity)| expected.get(id) == Some(similarity))
}

/// Returns a similarity in ten-thousandths, as it is shown.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 1")]
fn shown(similarity: f64) -> u64 {
    (similarity * 1e4).round() as u64
}
