//! Those who are told of incidents: a Slack that takes every message, and a receiver of webhooks that remembers.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use anyhow::{Context, Result};
use serde_json::Value;

/// Both.
#[derive(Debug)]
pub(crate) struct Outside {
    address: SocketAddr,
    heard: Arc<Mutex<Heard>>,
}

/// What was heard.
#[derive(Clone, Debug, Default)]
pub(crate) struct Heard {
    /// Messages in Slack.
    pub(crate) messages: u64,
    /// Transitions that the webhook was told, by incident.
    pub(crate) transitions: BTreeMap<String, Vec<String>>,
    /// How often each notification came.
    pub(crate) notifications: BTreeMap<String, u64>,
}

impl Outside {
    /// Listens at a free port of this machine.
    ///
    /// # Errors
    /// If there is none.
    pub(crate) async fn start() -> Result<Self> {
        let heard: Arc<Mutex<Heard>> = Arc::default();
        let data = web::Data::from(Arc::clone(&heard));
        let server = HttpServer::new(move || {
            App::new()
                .app_data(data.clone())
                .app_data(web::PayloadConfig::new(16 << 20))
                .route("/slack", web::post().to(slack))
                .route("/webhook", web::post().to(webhook))
        })
        .workers(1)
        .disable_signals()
        .bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = server.addrs().first().copied().context("no address")?;
        tokio::spawn(server.run());
        Ok(Self { address, heard })
    }

    /// Returns where they listen.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns what was heard up to now.
    pub(crate) fn heard(&self) -> Heard {
        lock(&self.heard).clone()
    }
}

async fn slack(heard: web::Data<Mutex<Heard>>, _body: web::Bytes) -> HttpResponse {
    lock(&heard).messages += 1;
    HttpResponse::Ok().body("ok")
}

async fn webhook(req: HttpRequest, heard: web::Data<Mutex<Heard>>, body: web::Bytes) -> HttpResponse {
    let told: Value = serde_json::from_slice(&body).unwrap_or_default();
    let (Some(incident), Some(transition)) = (told["incident_id"].as_str(), told["transition"].as_str())
    else {
        return HttpResponse::BadRequest().finish();
    };
    let number = req.headers().get("x-tracer-notification").and_then(|number| number.to_str().ok());
    let mut heard = lock(&heard);
    *heard.notifications.entry(number.unwrap_or_default().to_owned()).or_default() += 1;
    heard.transitions.entry(incident.to_owned()).or_default().push(transition.to_owned());
    HttpResponse::Ok().finish()
}

fn lock(heard: &Mutex<Heard>) -> MutexGuard<'_, Heard> {
    heard.lock().unwrap_or_else(PoisonError::into_inner)
}
