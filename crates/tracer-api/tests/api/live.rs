//! `GET /stream`: what changes is heard once, in order, from anywhere, or there is a resync.

use std::time::Duration;

use futures_util::future::join_all;
use reqwest::Response;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tracer_core::detect::Policy;
use tracer_store::test_util::postgres::TestDatabase;
use tracer_store::{Location, StoreConfig};

use super::helpers::{Service, id_of, send, settings, start, start_over, start_with};

/// Somebody who listens.
pub(crate) struct Ears {
    response: Response,
    text: String,
}

/// What was heard: an event with its JSON, or the fields of what is none.
#[derive(Debug)]
pub(crate) struct Heard {
    pub(crate) id: String,
    pub(crate) kind: String,
    pub(crate) data: Value,
    text: String,
}

impl Ears {
    pub(crate) async fn on(service: &Service, query: &str) -> Self {
        Self::after(service, query, "").await
    }

    pub(crate) async fn after(service: &Service, query: &str, id: &str) -> Self {
        let request = service.request("GET", &format!("/stream{query}"));
        let request = if id.is_empty() { request } else { request.header("last-event-id", id) };
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let mut ears = Self { response, text: String::new() };
        let first = ears.block().await.unwrap();
        assert!(first.text.contains(": listening") && !first.id.is_empty(), "{first:?}");
        ears
    }

    /// Returns what comes next, comments too; none at the end.
    async fn block(&mut self) -> Option<Heard> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| {
                    let line = block.lines().find_map(|line| line.strip_prefix(name));
                    line.unwrap_or_default().to_owned()
                };
                let data = field("data: ");
                let heard = Heard {
                    id: field("id: "),
                    kind: field("event: "),
                    data: if data.is_empty() { Value::Null } else { serde_json::from_str(&data).unwrap() },
                    text: block.to_owned(),
                };
                self.text = rest.to_owned();
                return Some(heard);
            }
            let bytes = self.response.chunk().await.unwrap()?;
            self.text.push_str(std::str::from_utf8(&bytes).unwrap());
        }
    }

    /// Returns the next event.
    pub(crate) async fn event(&mut self) -> Heard {
        loop {
            let heard = self.block().await.unwrap();
            if !heard.kind.is_empty() {
                assert_eq!((&heard.data["id"], &heard.data["kind"]), (&json!(heard.id), &json!(heard.kind)));
                return heard;
            }
        }
    }

    /// Returns the next events, of so many.
    pub(crate) async fn events(&mut self, number: usize) -> Vec<Heard> {
        let mut events = Vec::new();
        for _ in 0..number {
            events.push(self.event().await);
        }
        events
    }
}

fn words(heard: &[Heard]) -> Vec<String> {
    let named = |heard: &Heard| {
        let step = heard.data["step_name"].as_str().unwrap_or_default();
        format!("{} {} {step}", heard.kind, heard.data["workflow_name"].as_str().unwrap_or_default())
            .trim_end()
            .to_owned()
    };
    heard.iter().map(named).collect()
}

#[tokio::test]
async fn what_happens_is_heard_in_its_order_with_what_is_needed_to_show_it() {
    let service = start().await;
    let execution = service.execution("etl").await;
    for _ in 0..5 {
        service.took(&execution, "load", 100).await;
    }
    let mut ears = Ears::on(&service, "").await;
    let step = service.step(&execution, "load").await;
    service.put(&step, json!({"duration_ms": 350})).await.expect(200);
    service
        .post(&format!("{execution}/events"), json!({"kind": "log", "message": "slow today"}))
        .await
        .expect(201);
    service.put(&execution, json!({"error": "gave up"})).await.expect(200);
    let heard = ears.events(6).await;
    let expected = [
        "step_start etl load",
        "step_complete etl load",
        "bottleneck etl load",
        "incident etl load",
        "event etl",
        "workflow_end etl",
    ];
    assert_eq!(words(&heard), expected);
    let id = json!(id_of(&execution));
    assert!(heard.iter().all(|heard| heard.data["workflow_id"] == id));
    assert_eq!(heard[0].data["step_id"], id_of(&step));
    assert_eq!(heard[1].data["duration_ms"], 350);
    assert_eq!(heard[2].data["bottleneck"]["severity"], "CRITICAL");
    assert_eq!(heard[2].data["bottleneck"]["historical_avg_ms"], 100);
    assert_eq!(
        (&heard[3].data["transition"], &heard[3].data["incident_kind"]),
        (&json!("opened"), &json!("slow_step"))
    );
    assert_eq!(
        (&heard[4].data["message"], &heard[4].data["event_kind"]),
        (&json!("slow today"), &json!("log"))
    );
    assert_eq!((&heard[5].data["status"], &heard[5].data["bottlenecks"]), (&json!("failed"), &json!(1)));
    assert_eq!(heard[5].data["error"], json!({"type": null, "message": "gave up"}));
}

#[tokio::test]
async fn whoever_comes_back_goes_on_where_they_were() {
    let service = start().await;
    let mut ears = Ears::on(&service, "").await;
    let execution = service.execution("etl").await;
    let work = (0..50).map(|number| {
        let (service, execution) = (&service, &execution);
        async move { service.took(execution, &format!("step {number}"), 5).await }
    });
    join_all(work).await;
    let all = ears.events(51).await;
    let ids: Vec<&str> = all.iter().map(|heard| heard.id.as_str()).collect();
    for from in [0, 1, 25, 49] {
        let mut again = Ears::after(&service, "", ids[from]).await;
        let rest = again.events(50 - from).await;
        assert_eq!(rest.iter().map(|heard| heard.id.as_str()).collect::<Vec<_>>(), ids[from + 1..]);
        assert_eq!(rest.last().unwrap().data, all.last().unwrap().data);
        drop(again);
        // Where no header can be set.
        let mut again = Ears::on(&service, &format!("?last_event_id={}", ids[from])).await;
        assert_eq!(again.event().await.id, ids[from + 1]);
    }
    // Of a batch as a whole, and with nothing behind it.
    let batch = ids[50].split_once('-').unwrap().0;
    let mut again = Ears::after(&service, "", batch).await;
    service.put(&execution, json!({})).await.expect(200);
    assert_eq!(again.event().await.kind, "workflow_end");
}

#[tokio::test]
async fn whoever_comes_back_too_late_or_from_elsewhere_is_told_to_resync() {
    let service = start().await;
    let mut ears = Ears::on(&service, "").await;
    let execution = service.execution("etl").await;
    let first = ears.event().await;
    let ahead = first.id.split_once('-').unwrap().0.parse::<u64>().unwrap() + 1_000_000;
    for unknown in ["1-0", "nonsense", "", &format!("{ahead}-0")] {
        if unknown.is_empty() {
            continue;
        }
        // Even if nothing that is asked for would come.
        let mut lost = Ears::after(&service, "?workflow_name=none", unknown).await;
        let told = lost.event().await;
        assert_eq!((told.kind.as_str(), &told.id), ("resync", &first.id), "{unknown}");
        assert!(told.data["detail"].as_str().unwrap().starts_with("Some changes were missed"));
    }
    let mut resumed = Ears::after(&service, "", &first.id).await;
    service.put(&execution, json!({})).await.expect(200);
    assert_eq!(resumed.event().await.kind, "workflow_end");
}

#[tokio::test]
async fn filters_let_through_what_was_asked_for() {
    let service = start().await;
    let (etl, chat) = (service.execution("etl").await, service.execution("a chat, live").await);
    let mut of_name = Ears::on(&service, "?workflow_name=a%20chat%2C%20live").await;
    let mut of_id = Ears::on(&service, &format!("?workflow_id={}", id_of(&etl))).await;
    let mut of_kind = Ears::on(&service, "?kind=step_complete,workflow_end&kind=event").await;
    for execution in [&etl, &chat] {
        let step = service.step(execution, "load").await;
        service.put(&step, json!({"duration_ms": 5})).await.expect(200);
        service.put(execution, json!({})).await.expect(200);
    }
    let name = "a chat, live";
    let expected = [
        format!("step_start {name} load"),
        format!("step_complete {name} load"),
        format!("workflow_end {name}"),
    ];
    assert_eq!(words(&of_name.events(3).await), expected);
    assert_eq!(
        words(&of_id.events(3).await),
        ["step_start etl load", "step_complete etl load", "workflow_end etl"]
    );
    let both = [
        "step_complete etl load",
        "workflow_end etl",
        "step_complete a chat, live load",
        "workflow_end a chat, live",
    ];
    assert_eq!(words(&of_kind.events(4).await), both);
}

#[tokio::test]
async fn what_cannot_be_asked_for_is_refused() {
    let service = start_with(|settings| settings.live.listeners = 1).await;
    for wrong in
        ["?kind=all", "?workflow_id=1", "?workflow_name=", "?since=1", "?last_event_id=1&last_event_id=2"]
    {
        service.get(&format!("/stream{wrong}")).await.problem(400);
    }
    let unwanted = service.request("GET", "/stream").header("accept", "application/json");
    send(unwanted).await.problem(406);
    service.get("/ws").await.problem(400);
    assert_eq!(send(service.request("HEAD", "/stream")).await.status, 405);
    let _first = Ears::on(&service, "").await;
    let answer = service.get("/stream").await;
    assert_eq!(
        (answer.problem(503).as_str(), answer.header("retry-after")),
        ("As many listeners are here as may be. Try again.", "5")
    );
}

#[tokio::test]
async fn a_sign_of_life_says_where_to_go_on() {
    let service = start_with(|settings| settings.live.heartbeat = Duration::from_millis(20)).await;
    let mut ears = Ears::on(&service, "?workflow_name=none").await;
    let before = ears.block().await.unwrap();
    assert!(before.text.contains(": alive") && before.kind.is_empty(), "{before:?}");
    service.execution("etl").await;
    // Nothing is told of it, and yet it is passed.
    loop {
        let alive = ears.block().await.unwrap();
        assert!(alive.text.contains(": alive"));
        if alive.id != before.id {
            break;
        }
    }
}

#[tokio::test]
async fn streams_end_when_the_service_stops() {
    let service = start().await;
    let mut ears = Ears::on(&service, "").await;
    service.stopping.cancel();
    assert!(ears.block().await.is_none());
}

#[tokio::test]
async fn whoever_stops_reading_holds_nobody_up_and_is_told_to_resync() {
    const EVENTS: usize = 1_500;
    let service = start_with(|settings| settings.live.buffer = 100).await;
    let execution = service.execution("etl").await;
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(8 * 1024).unwrap();
    let mut stalled = socket.connect(service.address).await.unwrap();
    stalled.write_all(b"GET /stream HTTP/1.1\r\nhost: tracer\r\n\r\n").await.unwrap();
    let mut head = [0; 64];
    assert!(stalled.read(&mut head).await.unwrap() > 0);
    // More than the system keeps for a connection, all of which is taken without delay.
    let large = json!({"a": "x".repeat(4_000)});
    for _ in 0..EVENTS / 50 {
        let body = json!({"kind": "log", "message": "much", "attributes": large});
        let path = format!("{execution}/events");
        join_all((0..50).map(|_| service.post(&path, body.clone())))
            .await
            .iter()
            .for_each(|told| drop(told.expect(201)));
    }
    // What was on its way comes first, nothing twice and nothing out of order, then the resync.
    let mut text = String::new();
    let mut bytes = vec![0; 64 * 1024];
    while !text.contains("event: resync") {
        let read = stalled.read(&mut bytes).await.unwrap();
        assert!(read > 0);
        text.push_str(&String::from_utf8_lossy(&bytes[..read]));
    }
    let kinds: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("event: ")).collect();
    let (last, before) = kinds.split_last().unwrap();
    assert!(*last == "resync" && before.len() < EVENTS && before.iter().all(|kind| *kind == "event"));
    let place =
        |id: &str| id.split_once('-').map(|(batch, index)| (batch.parse().unwrap(), index.parse().unwrap()));
    let ids = text.split("\"id\":\"").skip(1).map(|rest| rest.split('"').next().unwrap());
    let places: Vec<(u64, u32)> = ids.filter_map(place).collect();
    assert!(places.len() > before.len() && places.windows(2).all(|pair| pair[0] < pair[1]), "{places:?}");
}

#[tokio::test]
async fn an_id_of_one_replica_is_a_place_on_the_other() {
    let database = TestDatabase::create().await;
    let config =
        || StoreConfig { pool_size: 4, ..StoreConfig::at(Location::Postgres(database.url().to_owned())) };
    let left = start_over(&settings(), config(), Policy::default()).await;
    let right = start_over(&settings(), config(), Policy::default()).await;
    let mut ears = Ears::on(&left, "").await;
    let execution = right.execution("etl").await;
    for number in 0..10 {
        let service = if number % 2 == 0 { &left } else { &right };
        service.took(&execution, &format!("step {number}"), 5).await;
    }
    let all = ears.events(11).await;
    let mut other = Ears::after(&right, "", &all[3].id).await;
    let rest = other.events(7).await;
    let ids = |heard: &[Heard]| heard.iter().map(|heard| heard.id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&rest), ids(&all[4..]));
    assert_eq!(words(&rest), words(&all[4..]));
}
