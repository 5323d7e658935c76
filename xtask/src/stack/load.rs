//! Load that leaves nothing empty: executions that end well, badly or not at all, slow steps, spans, questions.
//!
//! Bounded: a few executions a second, on one machine, until it is stopped.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::http::{Http, now};

/// The workflow that dashboards are asked about.
pub(super) const WORKFLOW: &str = "order-fulfilment";

/// Its steps and how long each takes, in milliseconds.
const STEPS: [(&str, u64); 4] =
    [("reserve stock", 40), ("charge card", 120), ("print label", 15), ("notify customer", 60)];

/// Between two executions.
const PAUSE: Duration = Duration::from_millis(150);

/// Load under way.
#[derive(Debug)]
pub(super) struct Load {
    over: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    failed: Arc<AtomicU64>,
    _task: JoinHandle<()>,
}

impl Load {
    /// Ends it, and says how much there was.
    ///
    /// # Errors
    /// If a request failed, or there was none.
    pub(super) fn stop(self) -> Result<String> {
        self.over.store(true, Ordering::Relaxed);
        let (done, failed) = (self.done.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed));
        ensure!(failed == 0, "{failed} requests failed, {done} were answered");
        ensure!(done > 0, "nothing was asked");
        Ok(format!("{done} requests, each answered as it should be"))
    }
}

/// Begins to drive the service at an address.
pub(super) fn start(http: &Http, service: &str) -> Load {
    let (over, done, failed) =
        (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let driver = Driver {
        client: http.client(),
        base: format!("http://{service}"),
        done: Arc::clone(&done),
        failed: Arc::clone(&failed),
    };
    let (ended, stream) = (Arc::clone(&over), format!("{}/stream", driver.base));
    let (client, listens) = (http.client(), Arc::clone(&over));
    http.runtime().spawn(async move {
        // One that looks on; it comes back when the client's time for an answer is over.
        while !listens.load(Ordering::Relaxed) {
            let Ok(mut changes) = client.get(&stream).send().await else { break };
            while let Ok(Some(_)) = changes.chunk().await {}
        }
    });
    let task = http.runtime().spawn(async move {
        let mut number = 0_u64;
        while !ended.load(Ordering::Relaxed) {
            // What is refused is counted; the next execution is another matter.
            let _refused = driver.turn(number).await;
            number += 1;
            tokio::time::sleep(PAUSE).await;
        }
    });
    Load { over, done, failed, _task: task }
}

struct Driver {
    client: reqwest::Client,
    base: String,
    done: Arc<AtomicU64>,
    failed: Arc<AtomicU64>,
}

impl Driver {
    /// One execution, and now and then something else.
    async fn turn(&self, number: u64) -> Option<()> {
        self.execution(number, WORKFLOW).await?;
        match number % 10 {
            1 => self.execution(number, "invoice-import").await?,
            2 => self.simulated().await?,
            3 => self.spans(number).await?,
            4 => self.questions().await?,
            5 => self.unknown().await?,
            _ => {}
        }
        Some(())
    }

    /// Steps that are slow or fail now and then; some executions go on running.
    async fn execution(&self, number: u64, workflow: &str) -> Option<()> {
        let given = json!({"workflow_name": workflow, "version": "1.4.2"});
        let started = self.ask("POST", "/workflows", Some(&given), 201).await?;
        let id = started.get("workflow_id")?.as_str()?.to_owned();
        let fails = number % 12 == 7;
        for (place, (step, usual)) in (0_u64..).zip(STEPS) {
            let slow = number > 20 && number % 9 == 3 && place == number % 4;
            let millis = usual + (number * 7 + place * 13) % (usual / 4 + 1);
            let mut whole = json!({"step_name": step, "duration_ms": if slow { millis * 4 } else { millis }});
            if fails && place == 1 {
                whole = json!({
                    "step_name": step,
                    "duration_ms": millis,
                    "status": "failed",
                    "error": {"type": "CardDeclined", "message": "the bank said no"},
                });
            }
            self.ask("POST", &format!("/workflows/{id}/steps"), Some(&whole), 201).await?;
        }
        if number % 25 == 24 {
            // It goes on, and its step soon takes longer than it ever did.
            let step = json!({"step_name": "reserve stock"});
            self.ask("POST", &format!("/workflows/{id}/steps"), Some(&step), 201).await?;
        } else {
            let end = json!({"status": if fails { "failed" } else { "completed" }});
            self.ask("PUT", &format!("/workflows/{id}"), Some(&end), 200).await?;
        }
        Some(())
    }

    async fn simulated(&self) -> Option<()> {
        let path = "/simulate?workflow_name=demo&slow_step=data_transform&factor=5";
        self.ask("POST", path, None, 200).await.map(drop)
    }

    /// A trace of two spans, as an SDK would send it, that ended just now.
    async fn spans(&self, number: u64) -> Option<()> {
        let now = now().as_nanos();
        let text = |value: u128| value.to_string();
        let trace = format!("{:032x}", now ^ u128::from(number));
        let span = |id: &str, parent: &str, name: &str, from: u128| {
            json!({
                "traceId": trace, "spanId": id, "parentSpanId": parent, "name": name, "kind": 1,
                "startTimeUnixNano": text(now - from), "endTimeUnixNano": text(now - from / 4),
            })
        };
        let spans = [
            span("1111111111111111", "", "checkout", 80_000_000),
            span("2222222222222222", "1111111111111111", "price", 40_000_000),
        ];
        let export = json!({"resourceSpans": [{
            "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]},
            "scopeSpans": [{"spans": spans}],
        }]});
        self.ask("POST", "/v1/traces", Some(&export), 200).await.map(drop)
    }

    async fn questions(&self) -> Option<()> {
        for path in ["/workflows?limit=20", "/stats", "/incidents", "/health"] {
            self.ask("GET", path, None, 200).await?;
        }
        Some(())
    }

    async fn unknown(&self) -> Option<()> {
        self.ask("GET", "/stats/nobody-has-this", None, 404).await.map(drop)
    }

    async fn ask(&self, method: &str, path: &str, body: Option<&Value>, status: u16) -> Option<Value> {
        let method = reqwest::Method::from_bytes(method.as_bytes()).ok()?;
        let mut request = self.client.request(method, format!("{}{path}", self.base));
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.ok();
        let well = answer.as_ref().is_some_and(|answer| answer.status().as_u16() == status);
        if well { &self.done } else { &self.failed }.fetch_add(1, Ordering::Relaxed);
        answer.filter(|_| well)?.json().await.ok()
    }
}
