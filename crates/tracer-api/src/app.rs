//! Wires the parts together: the only file that names concrete types.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio_util::sync::CancellationToken;

use crate::auth::check_exposure;
use crate::config::{Secret, Settings};
use crate::http::{self, Frame};
use crate::metrics::Metrics;
use crate::{shutdown, telemetry};

/// How often histograms are gathered and full rate buckets forgotten.
const UPKEEP: Duration = Duration::from_secs(1);

/// What `tracer import` was asked for.
#[derive(Clone, Debug)]
pub struct ImportOptions {
    /// The files, in the order they were named.
    pub files: Vec<PathBuf>,
    /// Replaces the workflow's name in the files.
    pub workflow_name: Option<String>,
    /// The service to record through, instead of the database.
    pub url: Option<String>,
    /// The key for that service.
    pub api_key: Option<Secret>,
}

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// If the listener is exposed without keys, an address cannot be bound, or serving fails.
pub async fn serve(settings: Settings) -> anyhow::Result<()> {
    let addresses = settings.addresses().with_context(|| format!("cannot resolve {}", settings.listen))?;
    check_exposure(&addresses, &settings.api_keys, settings.insecure)?;
    let log = telemetry::start(&settings.log, telemetry::Destination::Stdout)?;
    let metrics = Arc::new(Metrics::install(&settings.metrics)?);
    metrics.watch_log(log.dropped());
    let told = shutdown::on_signal()?;
    let frame = Arc::new(Frame::new(&settings, metrics));
    let upkeep = tokio::spawn(upkeep(Arc::clone(&frame), told.clone()));
    let server = http::server(&settings, bind(&addresses)?, frame, |_| {})?;
    let handle = server.handle();
    let stopping = tokio::spawn(async move {
        told.cancelled().await;
        handle.stop(true).await;
    });
    tracing::info!(event = "listening", address = %settings.listen, "listening");
    server.await.context("serving failed")?;
    stopping.abort();
    upkeep.abort();
    tracing::info!(event = "stopped", "stopped");
    Ok(())
}

/// Brings the database's schema up to date.
///
/// # Errors
/// If the database is away, or a migration fails.
pub async fn migrate(settings: Settings) -> anyhow::Result<()> {
    let _log = telemetry::start(&settings.log, telemetry::Destination::Stderr)?;
    anyhow::bail!("no store is wired yet")
}

/// Records the executions of WfFormat files.
///
/// # Errors
/// If a file is not what it should be, or recording fails.
pub async fn import_wfformat(settings: Settings, options: ImportOptions) -> anyhow::Result<()> {
    let _log = telemetry::start(&settings.log, telemetry::Destination::Stderr)?;
    anyhow::bail!("no store is wired yet for {} files", options.files.len())
}

fn bind(addresses: &[SocketAddr]) -> anyhow::Result<Vec<TcpListener>> {
    addresses
        .iter()
        .map(|address| TcpListener::bind(address).with_context(|| format!("cannot listen on {address}")))
        .collect()
}

async fn upkeep(frame: Arc<Frame>, told: CancellationToken) {
    let mut tick = tokio::time::interval(UPKEEP);
    while told.run_until_cancelled(tick.tick()).await.is_some() {
        frame.upkeep();
    }
}
