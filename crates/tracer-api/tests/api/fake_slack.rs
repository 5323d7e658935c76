//! A server in Slack's place: takes what Slack takes, and answers what a test wants.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use serde_json::{Value, json};

/// How long a slow answer takes.
const SLOW: Duration = Duration::from_millis(300);

/// How it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    /// As Slack does.
    Fine,
    /// As Slack does, and in its own time.
    Slow,
    /// With this status.
    Status(u16),
    /// With 429, and when to come again.
    Later,
    /// With something that Slack never says.
    Garbage,
    /// That it knows no such token.
    InvalidAuth,
    /// Not at all, until the mood changes; then as Slack does.
    Silent,
}

/// A call that arrived.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) path: String,
    pub(crate) body: Value,
    /// Whether it was answered as Slack answers what it takes.
    pub(crate) taken: bool,
}

#[derive(Debug)]
struct State {
    mood: Mood,
    calls: Vec<Call>,
}

/// The server; stopped when it is dropped.
pub(crate) struct FakeSlack {
    pub(crate) url: String,
    state: Arc<Mutex<State>>,
    handle: ServerHandle,
}

impl Drop for FakeSlack {
    fn drop(&mut self) {
        drop(self.handle.stop(false));
    }
}

impl FakeSlack {
    pub(crate) fn start() -> Self {
        let state = Arc::new(Mutex::new(State { mood: Mood::Fine, calls: Vec::new() }));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = web::Data::from(Arc::clone(&state));
        let app = move || App::new().app_data(shared.clone()).default_service(web::to(answer));
        let server = HttpServer::new(app).workers(1).disable_signals().listen(listener).unwrap().run();
        let handle = server.handle();
        tokio::spawn(server);
        Self { url, state, handle }
    }

    pub(crate) fn set(&self, mood: Mood) {
        self.state.lock().unwrap().mood = mood;
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.state.lock().unwrap().calls.clone()
    }

    /// Returns the bodies of what was taken on paths that end so.
    pub(crate) fn taken(&self, path: &str) -> Vec<Value> {
        let is_it = |call: &Call| call.taken && call.path.ends_with(path);
        self.calls().into_iter().filter(is_it).map(|call| call.body).collect()
    }

    /// Waits until so many calls were taken on paths that end so, and returns their bodies.
    pub(crate) async fn wait_for(&self, path: &str, count: usize) -> Vec<Value> {
        for _ in 0..3_000 {
            let taken = self.taken(path);
            if taken.len() >= count {
                return taken;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{count} calls of {path} were not made: {:#?}", self.calls());
    }

    /// Waits until so many calls have arrived, whatever they were answered.
    pub(crate) async fn wait_for_calls(&self, count: usize) {
        for _ in 0..3_000 {
            if self.calls().len() >= count {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{count} calls did not arrive: {:#?}", self.calls());
    }
}

async fn answer(req: HttpRequest, body: web::Bytes, state: web::Data<Mutex<State>>) -> HttpResponse {
    let path = req.path().to_owned();
    let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let number = {
        let mut state = state.lock().unwrap();
        state.calls.push(Call { path: path.clone(), body: body.clone(), taken: false });
        state.calls.len()
    };
    let mut mood = state.lock().unwrap().mood;
    while mood == Mood::Silent {
        tokio::time::sleep(Duration::from_millis(10)).await;
        mood = state.lock().unwrap().mood;
    }
    if mood == Mood::Slow {
        tokio::time::sleep(SLOW).await;
    }
    match mood {
        Mood::Fine | Mood::Slow | Mood::Silent => {
            if let Some(call) = state.lock().unwrap().calls.get_mut(number - 1) {
                call.taken = true;
            }
            if path.contains("/api/") {
                let ts = body["ts"].as_str().map_or_else(|| format!("1.{number:06}"), str::to_owned);
                HttpResponse::Ok()
                    .json(json!({"ok": true, "channel": "C1", "ts": ts, "text": "", "message": {"ts": ts}}))
            } else {
                HttpResponse::Ok().content_type("text/html").body("ok")
            }
        }
        Mood::Status(status) => {
            let status = actix_web::http::StatusCode::from_u16(status).unwrap();
            HttpResponse::build(status).body("no_service")
        }
        Mood::Later => HttpResponse::TooManyRequests().insert_header(("Retry-After", "3")).finish(),
        Mood::Garbage => HttpResponse::Ok().content_type("text/html").body("<html>\u{1f41f}"),
        Mood::InvalidAuth => HttpResponse::Ok().json(json!({"ok": false, "error": "invalid_auth"})),
    }
}
