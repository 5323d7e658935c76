//! Every question of every dashboard, asked of what is running.
//!
//! A query passes when it is answered with data, or is one of a panel that says why it may be empty: the words that the
//! panel shows then are the documented reason (`dashboards::panel::Empty`).

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use xtask_machine::interrupt;

use super::http::{Http, now, with_query};
use super::live::{Live, until};
use super::load::WORKFLOW;
use super::report::Report;
use crate::dashboards::fill::{Values, fill, fill_sql, variables};
use crate::dashboards::panel::Empty;
use crate::dashboards::query::Query;
use crate::dashboards::{self, Board};

/// How far back is asked, in seconds: Grafana's `$__range`.
const BACK: u64 = 300;
/// Seconds between two points: Grafana's `$__interval`, and how often is scraped.
const STEP: &str = "15";

/// How long what may be empty is asked again all the same.
const GRACE: Duration = Duration::from_secs(80);

/// A query, where it stands, and what is known of it.
struct Case {
    place: String,
    query: Query,
    empty: Empty,
    result: Result<bool>,
}

/// Asks every query until it has data, or the time is over.
///
/// # Errors
/// If it was interrupted.
pub(super) fn check(live: &Live, http: &Http, patience: Duration, report: &mut Report) -> Result<()> {
    report.section("What dashboards ask");
    let values = values();
    let boards = dashboards::all();
    let mut cases: Vec<Case> = boards.iter().flat_map(cases_of).collect();
    let began = Instant::now();
    loop {
        for case in cases.iter_mut().filter(|case| !matches!(case.result, Ok(true))) {
            interrupt::check()?;
            case.result = ask(live, http, &case.query, &values);
        }
        let waits = |case: &Case| {
            let may_stay_empty = matches!(case.empty, Empty::Maybe(_)) && began.elapsed() > GRACE;
            !matches!(case.result, Ok(true)) && !may_stay_empty
        };
        if began.elapsed() > patience || !cases.iter().any(waits) {
            break;
        }
        std::thread::sleep(Duration::from_secs(5));
    }
    for board in &boards {
        report_board(live, board.uid, &cases, report);
        let what = format!("{}: variables and annotations", board.uid);
        if live.prometheus("").is_some() {
            report.outcome(&what, others(live, http, board, &values));
        } else {
            report.absent(&what, "need Prometheus");
        }
    }
    let found = until(Duration::ZERO, || links(live, http))?;
    report.outcome("links lead to executions", found);
    Ok(())
}

fn cases_of(board: &Board) -> impl Iterator<Item = Case> {
    board.panels().flat_map(|(id, panel)| {
        let place = format!("{} / {} ({id})", board.uid, panel.title);
        panel.queries.iter().map(move |query| Case {
            place: place.clone(),
            query: query.clone(),
            empty: panel.empty,
            result: Ok(false),
        })
    })
}

/// Says how many of a dashboard's queries have data, which are empty and why, and which fail.
fn report_board(live: &Live, uid: &str, cases: &[Case], report: &mut Report) {
    let prefix = format!("{uid} / ");
    let (mut full, mut empty, mut skipped, mut wrong) = (0, Vec::new(), 0, Vec::new());
    for case in cases.iter().filter(|case| case.place.starts_with(&prefix)) {
        match (&case.result, case.empty) {
            _ if !can_be_asked(live, &case.query) => skipped += 1,
            (Ok(true), _) => full += 1,
            (Ok(false), Empty::Maybe(why)) => {
                let series = case.query.legend().filter(|legend| !legend.is_empty()).unwrap_or("its query");
                empty.push(format!("{}, {series}: {why}", case.place));
            }
            (Ok(false), Empty::Until(_)) => wrong.push(format!("{}: no data: {:?}", case.place, case.query)),
            (Err(why), _) => wrong.push(format!("{}: {why:#}: {:?}", case.place, case.query)),
        }
    }
    let what = format!("{uid}: queries");
    if wrong.is_empty() && full + empty.len() > 0 {
        report.pass(&what, &format!("{full} have data, {} are empty and say why", empty.len()));
    } else if !wrong.is_empty() {
        report.fail(&what, &wrong.join("\n        "));
    }
    empty.iter().for_each(|line| report.note(line));
    if skipped > 0 {
        report.absent(&format!("{uid}: {skipped} queries"), "whom they ask is not on this machine");
    }
}

fn can_be_asked(live: &Live, query: &Query) -> bool {
    match query {
        Query::Range { expr, .. } | Query::Instant { expr, .. } | Query::Buckets { expr } => {
            live.prometheus("").is_some() && (live.has_exporter() || !expr.contains("pg_"))
        }
        Query::Sql(_) => live.has_postgres(),
        Query::Traces { .. } => true,
    }
}

/// What variables stand for: what the load makes.
fn values() -> Values {
    let range = format!("{BACK}s");
    [
        ("workflow", WORKFLOW),
        ("step", ".*"),
        ("slo", ".*"),
        // Four scrapes, as Grafana has it.
        ("__rate_interval", "60s"),
        ("__interval", "15s"),
        ("__range", range.as_str()),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

/// Sends a query to whom it is meant for, and returns whether there is data.
fn ask(live: &Live, http: &Http, query: &Query, values: &Values) -> Result<bool> {
    if !can_be_asked(live, query) {
        return Ok(true);
    }
    match query {
        Query::Range { expr, .. } | Query::Buckets { expr } => ask_range(live, http, &filled(expr, values)?),
        Query::Instant { expr, .. } => ask_now(live, http, &filled(expr, values)?),
        Query::Sql(sql) => Ok(live.rows(&of_the_hour(&fill(sql, values)))? > 0),
        Query::Traces { service, limit } => {
            Ok(!traces(live, http, &fill(service, values), *limit)?.is_empty())
        }
    }
}

fn filled(query: &str, values: &Values) -> Result<String> {
    let query = fill(query, values);
    ensure!(variables(&query).is_empty(), "a variable has no value: {query}");
    Ok(query)
}

fn of_the_hour(sql: &str) -> String {
    fill_sql(sql, "now", "now").replace(
        "BETWEEN 'now' AND 'now'",
        "BETWEEN now() - interval '1 hour' AND now() + interval '1 minute'",
    )
}

fn ask_range(live: &Live, http: &Http, expr: &str) -> Result<bool> {
    let now = now().as_secs();
    let (start, end) = ((now - BACK).to_string(), now.to_string());
    let parameters = [("query", expr), ("start", &start), ("end", &end), ("step", STEP)];
    Ok(has_numbers(&prometheus(live, http, "/api/v1/query_range", &parameters)?))
}

fn ask_now(live: &Live, http: &Http, expr: &str) -> Result<bool> {
    Ok(has_numbers(&prometheus(live, http, "/api/v1/query", &[("query", expr)])?))
}

fn prometheus(live: &Live, http: &Http, path: &str, parameters: &[(&str, &str)]) -> Result<Value> {
    let url = live.prometheus(&with_query(path, parameters)).context("there is no Prometheus")?;
    let answer = http.get(&url)?;
    if let Some(warnings) = answer.get("warnings").filter(|all| !all.is_null()) {
        bail!("Prometheus warns: {warnings}");
    }
    Ok(answer)
}

/// Returns whether there is a number in an answer of Prometheus: NaN is none.
fn has_numbers(answer: &Value) -> bool {
    let series = answer.pointer("/data/result").and_then(Value::as_array).into_iter().flatten();
    let mut samples = series.flat_map(|series| {
        let many = series.get("values").and_then(Value::as_array).into_iter().flatten();
        many.chain(series.get("value"))
    });
    samples.any(|sample| sample.get(1).and_then(Value::as_str).is_some_and(|number| number != "NaN"))
}

fn traces(live: &Live, http: &Http, service: &str, limit: u32) -> Result<Vec<Value>> {
    let now = now().as_secs();
    let micros = |seconds: u64| format!("{seconds}000000");
    let (start, end, limit) = (micros(now - BACK), micros(now + 60), limit.to_string());
    let parameters = [("service", service), ("start", &start), ("end", &end), ("limit", &limit)];
    let answer = http.get(&live.service(&with_query("/jaeger/api/traces", &parameters)))?;
    Ok(answer.get("data").and_then(Value::as_array).cloned().unwrap_or_default())
}

/// Asks for the values of every variable, and for the marks of every annotation.
fn others(live: &Live, http: &Http, board: &Board, values: &Values) -> Result<String> {
    let json = board.json();
    let list = |pointer: &str| json.pointer(pointer).and_then(Value::as_array).cloned().unwrap_or_default();
    let mut asked = 0;
    for variable in list("/templating/list") {
        let Some(query) = variable.pointer("/query/query").and_then(Value::as_str) else { continue };
        let (selector, label) = query
            .strip_prefix("label_values(")
            .and_then(|query| query.strip_suffix(')')?.rsplit_once(", "))
            .with_context(|| format!("{query} is not understood"))?;
        let selector = filled(selector, values)?;
        let answer =
            prometheus(live, http, &format!("/api/v1/label/{label}/values"), &[("match[]", &selector)])?;
        let found = answer.get("data").and_then(Value::as_array).map_or(0, Vec::len);
        ensure!(found > 0, "the variable {query} has no values");
        asked += 1;
    }
    for marks in list("/annotations/list") {
        if let Some(expr) = marks.get("expr").and_then(Value::as_str) {
            ask_range(live, http, &filled(expr, values)?)?;
            asked += 1;
        }
        if let Some(sql) =
            marks.pointer("/target/rawSql").and_then(Value::as_str).filter(|_| live.has_postgres())
        {
            live.rows(&of_the_hour(&fill(sql, values)))?;
            asked += 1;
        }
    }
    Ok(format!("{asked} answered"))
}

/// Follows a link of the table of slow executions: the trace's id with `wf_` before it is an execution.
fn links(live: &Live, http: &Http) -> Result<String> {
    let traces = traces(live, http, WORKFLOW, 1)?;
    let id = traces.first().and_then(|trace| trace.get("traceID")?.as_str()).context("there is no trace")?;
    let execution = http.get(&live.service(&format!("/workflows/wf_{id}")))?;
    let name = execution.get("workflow_name").and_then(Value::as_str).unwrap_or_default();
    ensure!(name == WORKFLOW, "wf_{id} is of {name:?}");
    Ok(format!("wf_{id}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::has_numbers;

    #[test]
    fn an_answer_without_numbers_is_no_data() {
        let of = |result: serde_json::Value| has_numbers(&json!({"data": {"result": result}}));
        assert!(of(json!([{"value": [1, "0"]}])));
        assert!(of(json!([{"values": [[1, "NaN"], [2, "3"]]}])));
        assert!(!of(json!([])));
        assert!(!of(json!([{"value": [1, "NaN"]}, {"values": []}])));
    }
}
