//! Drives running services with many clients and says how every request ended.
//!
//! A closed loop: each client starts an execution, runs three steps and ends it, over and over, and
//! waits for each answer before it asks again. With several URLs the clients take turns between
//! them, within one execution too, as a load balancer in front of replicas would have it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::{Value, json};

/// What to drive, and how hard.
#[derive(Debug, Args)]
pub(crate) struct Soak {
    /// Where a service listens; several for replicas over one database.
    #[arg(long, default_value = "http://127.0.0.1:8000")]
    url: Vec<String>,
    /// Clients at once.
    #[arg(long, default_value_t = 64)]
    clients: usize,
    /// Names of workflows that the clients share.
    #[arg(long, default_value_t = 3)]
    workflows: usize,
    /// How long, in seconds.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Tolerates 503 and refused connections, as while a database or a service is taken away.
    #[arg(long)]
    outage: bool,
}

/// How requests ended, and how long those that were answered took.
#[derive(Debug, Default)]
struct Tally {
    endings: BTreeMap<String, u64>,
    micros: Vec<u64>,
    steps_completed: u64,
    executions_completed: u64,
}

/// Runs the clients and prints what became of their requests.
pub(crate) fn run(soak: &Soak) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let tally = runtime.block_on(drive(soak))?;
    report(soak, tally)
}

async fn drive(soak: &Soak) -> Result<Tally> {
    let http = reqwest::Client::builder().timeout(Duration::from_secs(30)).build()?;
    let over = Arc::new(AtomicBool::new(false));
    let requests = Arc::new(AtomicU64::new(0));
    let clients: Vec<_> = (0..soak.clients)
        .map(|number| {
            let client = Client {
                http: http.clone(),
                urls: soak.url.clone(),
                turn: number,
                workflow: format!("soak-{}", number % soak.workflows.max(1)),
                tally: Tally::default(),
                requests: Arc::clone(&requests),
            };
            tokio::spawn(client.run(Arc::clone(&over)))
        })
        .collect();
    show_progress(Duration::from_secs(soak.seconds), &requests).await;
    over.store(true, Ordering::Relaxed);
    let mut all = Tally::default();
    for client in clients {
        let tally = client.await.context("a client panicked")?;
        for (ending, count) in tally.endings {
            *all.endings.entry(ending).or_default() += count;
        }
        all.micros.extend(tally.micros);
        all.steps_completed += tally.steps_completed;
        all.executions_completed += tally.executions_completed;
    }
    Ok(all)
}

#[expect(clippy::print_stderr, reason = "a long run shows that it goes on")]
async fn show_progress(length: Duration, requests: &AtomicU64) {
    let started = Instant::now();
    while started.elapsed() < length {
        let left = length.saturating_sub(started.elapsed());
        tokio::time::sleep(left.min(Duration::from_secs(10))).await;
        let done = requests.load(Ordering::Relaxed);
        eprintln!("{:>4} s of {} s: {done} requests", started.elapsed().as_secs(), length.as_secs());
    }
}

/// One client with one connection per service.
struct Client {
    http: reqwest::Client,
    urls: Vec<String>,
    turn: usize,
    workflow: String,
    tally: Tally,
    requests: Arc<AtomicU64>,
}

impl Client {
    async fn run(mut self, over: Arc<AtomicBool>) -> Tally {
        while !over.load(Ordering::Relaxed) {
            self.one_execution().await;
        }
        self.tally
    }

    /// Runs one execution; one whose request failed is left behind, as a client that dies would.
    async fn one_execution(&mut self) -> Option<()> {
        let start = json!({"workflow_name": self.workflow});
        let execution = self.ask(reqwest::Method::POST, "/workflows", &start).await?;
        let id = execution.get("workflow_id")?.as_str()?.to_owned();
        for step in ["extract", "transform", "load"] {
            let path = format!("/workflows/{id}/steps");
            let started = self.ask(reqwest::Method::POST, &path, &json!({"step_name": step})).await?;
            let path = format!("{path}/{}", started.get("step_id")?.as_str()?);
            self.ask(reqwest::Method::PUT, &path, &json!({"duration_ms": 100})).await?;
            self.tally.steps_completed += 1;
        }
        self.ask(reqwest::Method::PUT, &format!("/workflows/{id}"), &json!({})).await?;
        self.tally.executions_completed += 1;
        Some(())
    }

    async fn ask(&mut self, method: reqwest::Method, path: &str, body: &Value) -> Option<Value> {
        self.turn += 1;
        let base = self.urls.get(self.turn % self.urls.len().max(1))?;
        let began = Instant::now();
        let sent = self.http.request(method.clone(), format!("{base}{path}")).json(body).send().await;
        let (ending, answer) = match sent {
            Ok(response) => {
                let status = response.status();
                let answer = response.json().await.ok().filter(|_| status.is_success());
                (status.as_u16().to_string(), answer)
            }
            Err(error) if error.is_connect() => ("not connected".to_owned(), None),
            Err(error) if error.is_timeout() => ("no answer".to_owned(), None),
            Err(_) => ("connection lost".to_owned(), None),
        };
        self.tally.micros.push(u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX));
        *self.tally.endings.entry(format!("{method} {ending}")).or_default() += 1;
        self.requests.fetch_add(1, Ordering::Relaxed);
        if answer.is_none() {
            // A client that is refused waits, as `Retry-After` asks, instead of hammering.
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        answer
    }
}

#[expect(clippy::print_stdout, reason = "the report is what the command is for")]
fn report(soak: &Soak, mut tally: Tally) -> Result<()> {
    tally.micros.sort_unstable();
    let total = tally.micros.len();
    let quantile = |percent: usize| {
        let micros = tally.micros.get((total.saturating_sub(1)) * percent / 100).copied().unwrap_or_default();
        format!("{}.{:03} ms", micros / 1000, micros % 1000)
    };
    println!("clients {}, services {}, workflows {}", soak.clients, soak.url.len(), soak.workflows);
    println!("requests {total}, {} per second", total / usize::try_from(soak.seconds.max(1))?);
    println!("p50 {}, p95 {}, p99 {}, slowest {}", quantile(50), quantile(95), quantile(99), quantile(100));
    println!("acknowledged: {} steps, {} executions", tally.steps_completed, tally.executions_completed);
    for (ending, count) in &tally.endings {
        println!("{count:>9}  {ending}");
    }
    let tolerated = |ending: &str| {
        soak.outage && (ending.ends_with(" 503") || !ending.ends_with(|c: char| c.is_ascii_digit()))
    };
    let failed: Vec<&String> = tally
        .endings
        .keys()
        .filter(|ending| !(ending.ends_with(" 200") || ending.ends_with(" 201") || tolerated(ending)))
        .collect();
    ensure!(failed.is_empty(), "some requests failed: {failed:?}");
    Ok(())
}
