//! Measures what completing a step costs with a short and with a long history.
//!
//! One step name gets 1,000 completed runs, another 1,000,000, through `POST /import`. Then one client
//! completes steps of either in turns, and the medians of interleaved pairs are compared: two
//! measurements a second apart share whatever else the machine does.

use std::time::Instant;

use anyhow::{Context, Result};
use clap::Args;
use reqwest::{Client, Method};
use serde_json::{Value, json};

/// Steps in one imported execution.
const PORTION: u64 = 10_000;

/// What to measure.
#[derive(Debug, Args)]
pub(crate) struct History {
    /// Where a service listens whose database may be filled.
    #[arg(long, default_value = "http://127.0.0.1:8000")]
    url: String,
    /// Steps in the short history.
    #[arg(long, default_value_t = 1_000)]
    few: u64,
    /// Steps in the long history.
    #[arg(long, default_value_t = 1_000_000)]
    many: u64,
    /// Interleaved pairs.
    #[arg(long, default_value_t = 5)]
    pairs: usize,
    /// Steps timed in one half of a pair.
    #[arg(long, default_value_t = 1_000)]
    timed: usize,
}

/// Median and 99th percentile, in microseconds.
type Quantiles = (u64, u64);

/// Fills the histories and prints the comparison.
pub(crate) fn run(history: &History) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(compare(history))
}

#[expect(clippy::print_stdout, reason = "the report is what the command is for")]
async fn compare(history: &History) -> Result<()> {
    let service = Service { http: Client::new(), url: history.url.clone() };
    service.fill("short-history", history.few).await?;
    service.fill("long-history", history.many).await?;
    println!(
        "one client completes a step, with {} and with {} steps of history, µs",
        history.few, history.many
    );
    println!(
        "{:<6}{:>10}{:>10}{:>8}{:>12}{:>10}{:>8}",
        "pair", "p50 few", "p50 many", "ratio", "p99 few", "p99 many", "ratio"
    );
    let (mut medians, mut tails) = (Vec::new(), Vec::new());
    for pair in 1..=history.pairs {
        let few = service.complete("short-history", history.timed).await?;
        let many = service.complete("long-history", history.timed).await?;
        let (median, tail) = (ratio(many.0, few.0), ratio(many.1, few.1));
        println!("{pair:<6}{:>10}{:>10}{median:>8.2}{:>12}{:>10}{tail:>8.2}", few.0, many.0, few.1, many.1);
        medians.push(median);
        tails.push(tail);
    }
    println!("median of the ratios: p50 {:.2}, p99 {:.2}", middle(&mut medians), middle(&mut tails));
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "microseconds of one request stay far below 2^52")]
fn ratio(many: u64, few: u64) -> f64 {
    many as f64 / few.max(1) as f64
}

fn middle(ratios: &mut [f64]) -> f64 {
    ratios.sort_by(f64::total_cmp);
    ratios.get(ratios.len() / 2).copied().unwrap_or_default()
}

struct Service {
    http: Client,
    url: String,
}

impl Service {
    /// Imports finished executions of one step name, each step of about 100 ms; those of an earlier
    /// run of this command are known already and not repeated.
    #[expect(clippy::print_stderr, reason = "filling takes a while and shows that it goes on")]
    async fn fill(&self, workflow: &str, steps: u64) -> Result<()> {
        let mut filled = 0;
        while filled < steps {
            let portion = PORTION.min(steps - filled);
            let list: Vec<Value> = (0..portion).map(|number| step(filled + number)).collect();
            let (kind, day) = (if workflow.starts_with('s') { 1 } else { 2 }, "2026-01-31");
            let execution = json!({
                "workflow_id": format!("wf_{kind:016x}{filled:016x}"),
                "workflow_name": workflow,
                "started_at": format!("{day}T00:00:00Z"),
                "ended_at": format!("{day}T12:00:00Z"),
                "steps": list,
            });
            self.ask(Method::POST, "/import", &execution).await?;
            filled += portion;
            eprint!("\r{workflow}: {filled} of {steps} steps");
        }
        eprintln!();
        Ok(())
    }

    /// Completes steps one by one, and times that alone.
    async fn complete(&self, workflow: &str, steps: usize) -> Result<Quantiles> {
        let execution = self.ask(Method::POST, "/workflows", &json!({"workflow_name": workflow})).await?;
        let path = format!("/workflows/{}", text(&execution, "workflow_id")?);
        let mut took = Vec::with_capacity(steps);
        for _ in 0..steps {
            let step =
                self.ask(Method::POST, &format!("{path}/steps"), &json!({"step_name": "work"})).await?;
            let step = format!("{path}/steps/{}", text(&step, "step_id")?);
            let began = Instant::now();
            self.ask(Method::PUT, &step, &json!({"duration_ms": 100})).await?;
            took.push(u64::try_from(began.elapsed().as_micros())?);
        }
        self.ask(Method::PUT, &path, &json!({})).await?;
        took.sort_unstable();
        let at = |percent: usize| took.get(steps * percent / 100).copied().unwrap_or_default();
        Ok((at(50), at(99)))
    }

    async fn ask(&self, method: Method, path: &str, body: &Value) -> Result<Value> {
        let sent = self.http.request(method, format!("{}{path}", self.url)).json(body).send().await;
        let answer =
            sent.with_context(|| format!("{} does not answer: is the service started?", self.url))?;
        let answer = answer.error_for_status().with_context(|| format!("{path} was refused"))?;
        Ok(answer.json().await?)
    }
}

fn step(number: u64) -> Value {
    let micros = 100_000 + number % 97 * 100;
    json!({
        "step_id": format!("st_{:016x}", number + 1),
        "step_name": "work",
        "started_at": "2026-01-31T00:00:00Z",
        "duration_ms": f64::from(u32::try_from(micros).unwrap_or(u32::MAX)) / 1000.0,
    })
}

fn text<'a>(answer: &'a Value, field: &str) -> Result<&'a str> {
    answer.get(field).and_then(Value::as_str).with_context(|| format!("the answer has no {field}"))
}
