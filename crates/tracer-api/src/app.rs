//! Wires the parts together: the only file that names concrete types.
//!
//! Settings become a store, the store a service, the service a server; what runs beside it stops with it.

mod channels;

use std::fmt::Display;
use std::io::IsTerminal;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracer_alert::{AbandonedExecutions, Dispatcher, Watchdog};
use tracer_core::chain::Chain;
use tracer_core::clock::Clock as _;
use tracer_core::detect::Policy;
use tracer_core::notify::ChannelName;
use tracer_core::repository::{Repository, Retention};
use tracer_core::routing::Audience;
use tracer_core::time::Micros;
use tracer_store::{Location, OpenError, StoreConfig, SystemClock, WriterConfig};

use crate::auth::check_exposure;
use crate::background::Background;
use crate::config::{Secret, Settings};
use crate::export::Exporter;
use crate::http::{self, Frame, routes};
use crate::import::command::{self, Destination, Local, Remote};
use crate::import::format::Format;
use crate::live::Hub;
use crate::metrics::Metrics;
use crate::otlp::{grpc, listen};
use crate::policy::policy;
use crate::recording::Tracing;
use crate::state::AppState;
use crate::{notify_test, shutdown, telemetry};

/// Most running steps and executions that are looked at at once, and the part of the writer's queue that they may fill.
const LOOKS: usize = 256;
const LOOKS_SHARE: usize = 8;

/// How often histograms are gathered and full rate buckets forgotten.
const UPKEEP: Duration = Duration::from_secs(1);
/// How long a database that is not there yet is waited for at the start: containers start in any order.
const AWAITED: Duration = Duration::from_secs(30);
/// How often it is asked.
const ASKED_EVERY: Duration = Duration::from_secs(1);
/// Least time for the store to write what was accepted, however long requests took to finish.
const LEAST_FLUSH: Duration = Duration::from_secs(2);

/// What `tracer import` was asked for.
#[derive(Clone, Debug)]
pub struct ImportOptions {
    /// The files and folders, in the order they were named.
    pub files: Vec<PathBuf>,
    /// What the files hold; recognised by their content if it is not said.
    pub format: Option<Format>,
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
/// If the listener is exposed without keys, an address cannot be bound, the store cannot be opened, or
/// serving fails.
pub async fn serve(settings: Settings) -> anyhow::Result<()> {
    let addresses = settings.addresses().with_context(|| format!("cannot resolve {}", settings.listen))?;
    check_exposure(&addresses, &settings.api_keys, settings.insecure)?;
    let log = telemetry::start(&settings.log, telemetry::Destination::Stdout)?;
    let metrics = Arc::new(Metrics::install(&settings.metrics)?);
    tracer_store::describe();
    metrics.watch_log(log.dropped());
    settings.export.ignored.iter().for_each(|ignored| tracing::warn!(event = "config", "{ignored}"));
    let stop = shutdown::on_signal()?;
    let policy = Arc::new(policy(&settings));
    let store = tokio::select! {
        opened = open(&settings, &policy) => opened?,
        () = stop.cancelled() => return Ok(()),
    };
    let mut listeners = bind(&addresses)?;
    let bound: Vec<SocketAddr> = listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect();
    let ports = listen::bind(&settings, &addresses)?;
    listeners.extend(ports.http);
    let app = App::new(&settings, store, policy, metrics, stop.clone())?;
    let mut tasks = app.background.clone().spawn(&stop);
    let dispatcher = tokio::spawn(Arc::clone(&app.dispatcher).run(stop.clone()));
    let ended = CancellationToken::new();
    let exporter = app.exporter.map(|exporter| tokio::spawn(exporter.run(ended.clone())));
    tasks.spawn(upkeep(Arc::clone(&app.frame), stop.clone()));
    let receiver = grpc::serve(app.state.clone(), Arc::clone(&app.frame), ports.grpc, stop.clone());
    let receiver = tokio::spawn(receiver);
    let server = http::server(&settings, listeners, Arc::clone(&app.frame), routes::over(app.state.clone()))?;
    let handle = server.handle();
    let told = stop.clone();
    tasks.spawn(async move {
        told.cancelled().await;
        handle.stop(true).await;
    });
    let kind = app.state.tracing.repository().kind();
    greet(&settings, &bound, kind);
    tracing::info!(event = "listening", address = %settings.listen, store = kind, "listening");
    let served = server.await;
    stop.cancel();
    if tokio::time::timeout(settings.server.shutdown_deadline, receiver).await.is_err() {
        tracing::warn!(event = "stopping", "an export over gRPC took too long, and was not acknowledged");
    }
    // What is on its way to a channel is settled while the store is open: otherwise it would be told again.
    if tokio::time::timeout(settings.server.shutdown_deadline, dispatcher).await.is_err() {
        tracing::warn!(event = "stopping", "a channel took too long, and may be told the same again");
    }
    // Nothing ends any more: what waits is exported while the store is open.
    ended.cancel();
    if let Some(exporter) = exporter
        && tokio::time::timeout(settings.server.shutdown_deadline, exporter).await.is_err()
    {
        tracing::warn!(event = "stopping", "not everything that ended could be exported");
    }
    finish(&app.state, settings.server.shutdown_deadline).await;
    settle(tasks).await;
    tracing::info!(event = "stopped", "stopped");
    served.context("serving failed")
}

/// The parts of a service, put together.
#[derive(Debug)]
pub struct App {
    /// What handlers share.
    pub state: AppState,
    /// What stands around every handler.
    pub frame: Arc<Frame>,
    /// What runs beside them.
    pub background: Background,
    /// Brings people what is in the outbox.
    pub dispatcher: Arc<Dispatcher>,
    /// Exports executions that have ended, if they are to be.
    pub exporter: Option<Exporter>,
}

impl App {
    /// Puts a service together over a store that is open. Nothing runs yet.
    ///
    /// # Errors
    /// If a channel, or exporting, cannot be used as it is set.
    pub fn new(
        settings: &Settings,
        store: Arc<dyn Repository>,
        policy: Arc<Policy>,
        metrics: Arc<Metrics>,
        stopping: CancellationToken,
    ) -> anyhow::Result<Self> {
        let mut tracing = Tracing::new(Arc::clone(&store), policy, Arc::clone(&metrics));
        let mut frame = Frame::new(settings, Arc::clone(&metrics));
        let exporter = Exporter::parts(&settings.export, Arc::clone(&store))?.map(|parts| {
            tracing = tracing.clone().exporting(parts.queue);
            frame.own_requests = parts.requests;
            parts.exporter
        });
        let retention = Retention {
            detail: micros(settings.retention.detail),
            aggregates: micros(settings.retention.aggregates),
        };
        let silence = micros(settings.retention.abandoned_after);
        let dispatcher = dispatcher(settings, Arc::clone(&store), Arc::clone(&metrics))?;
        let live = Hub::new(
            Arc::clone(&store),
            Arc::clone(&metrics),
            Handle::try_current()?,
            settings.live.clone(),
            stopping.clone(),
        );
        let background = Background {
            abandoned: Arc::new(AbandonedExecutions::new(Arc::clone(&store), silence)),
            watchdog: Arc::new(Watchdog::new(store, LOOKS.min(settings.store.queue / LOOKS_SHARE))),
            watch_interval: settings.detection.watch_interval,
            tracing: tracing.clone(),
            metrics: Arc::clone(&metrics),
            retention,
            slos: Arc::default(),
            refresh: settings.metrics.refresh,
        };
        Ok(Self {
            state: AppState { tracing, live, otlp: Arc::default(), simulate: settings.simulate, stopping },
            frame: Arc::new(frame),
            background,
            dispatcher: Arc::new(dispatcher),
            exporter,
        })
    }
}

fn dispatcher(
    settings: &Settings,
    store: Arc<dyn Repository>,
    metrics: Arc<Metrics>,
) -> anyhow::Result<Dispatcher> {
    let recipients = channels::recipients(settings, store.clock())?;
    // Replicas on one machine, and one that is started again, are told apart.
    let host = std::env::var("HOSTNAME").unwrap_or_default();
    let holder = format!("{host} pid {} {:08x}", std::process::id(), rand::random::<u32>());
    let report = Arc::new(move |channel: &ChannelName, outcome| metrics.notified(channel, outcome));
    Ok(Dispatcher::new(store, holder, micros(settings.alerts.lease), recipients, report))
}

/// Tells one channel of an incident that there is not, and that it is over.
///
/// # Errors
/// If there is no such channel, or it does not take it.
pub async fn notify_test(settings: Settings, channel: &str) -> anyhow::Result<()> {
    let _log = telemetry::start(&settings.log, telemetry::Destination::Stderr)?;
    let recipients = channels::recipients(&settings, Arc::new(SystemClock))?;
    let named = recipients.iter().find(|one| one.channel.name.as_str() == channel);
    let recipient = named.with_context(|| {
        let names: Vec<&str> = recipients.iter().map(|one| one.channel.name.as_str()).collect();
        format!("there is no channel {channel}; there are: {}", names.join(", "))
    })?;
    let (opened, over) = notify_test::deliveries(SystemClock.now());
    let receipt = recipient.notifier.deliver(&opened).await.map_err(notify_test::explained)?;
    say(format_args!("{channel} took a test incident{}.", notify_test::answered(&receipt)));
    if recipient.channel.audience != Audience::Action {
        let over = notify_test::after(over, &receipt);
        recipient.notifier.deliver(&over).await.map_err(notify_test::explained)?;
        say(format_args!("{channel} took its end."));
    }
    Ok(())
}

/// Brings the database's schema up to date.
///
/// # Errors
/// If the database is away, or a migration fails.
pub async fn migrate(settings: Settings) -> anyhow::Result<()> {
    let _log = telemetry::start(&settings.log, telemetry::Destination::Stderr)?;
    // Opening a store is what brings it up to date.
    let store = open(&settings, &Arc::new(policy(&settings))).await?;
    store.shut_down().await;
    say(format_args!("The tables of {} are up to date.", store.kind()));
    Ok(())
}

/// Records the executions of files.
///
/// # Errors
/// If a file is not what it should be, or recording fails; the other files are recorded.
pub async fn import(settings: Settings, options: ImportOptions) -> anyhow::Result<()> {
    let ImportOptions { files, format, workflow_name, url, api_key } = options;
    let _log = telemetry::start(&settings.log, telemetry::Destination::Stderr)?;
    let begun = Instant::now();
    let (destination, store): (Box<dyn Destination>, _) = match url {
        Some(url) => (Box::new(Remote::new(&url, api_key)?), None),
        None => {
            let metrics = Arc::new(Metrics::install(&settings.metrics)?);
            let policy = Arc::new(policy(&settings));
            let store =
                open(&settings, &policy).await.map_err(|error| name_the_other_way(error, &settings))?;
            (Box::new(Local(Tracing::new(Arc::clone(&store), policy, metrics))), Some(store))
        }
    };
    let summary = command::import(&files, format, workflow_name.as_deref(), &*destination).await;
    if let Some(store) = store {
        store.shut_down().await;
    }
    say(format_args!("{summary} ({:.1} s).", begun.elapsed().as_secs_f64()));
    match summary.failures.len() {
        0 => Ok(()),
        1 => bail!("{}", summary.failures.concat()),
        _ => bail!("not everything was recorded:\n  {}", summary.failures.join("\n  ")),
    }
}

/// Returns what a store is opened with.
#[must_use]
pub fn store_config(settings: &Settings) -> StoreConfig {
    let store = &settings.store;
    let location = if store.url.is_empty() {
        Location::Embedded(store.path.clone())
    } else {
        Location::Postgres(store.url.expose().to_owned())
    };
    StoreConfig {
        pool_size: store.pool_size,
        acquire_timeout: store.acquire_timeout,
        writer: WriterConfig { queue: store.queue, batch: store.batch },
        ..StoreConfig::at(location)
    }
}

/// Opens the store; a PostgreSQL that does not answer yet is waited for.
async fn open(settings: &Settings, policy: &Arc<Policy>) -> anyhow::Result<Arc<dyn Repository>> {
    let config = store_config(settings);
    let begun = Instant::now();
    let mut told = false;
    loop {
        match tracer_store::open(&config, Arc::clone(policy)).await {
            Ok(store) => return Ok(store),
            Err(error @ OpenError::Unreachable(_)) if begun.elapsed() < AWAITED => {
                if !told {
                    let seconds = AWAITED.as_secs();
                    tracing::warn!(event = "waiting", error = %Chain(&error), "waiting up to {seconds} s for PostgreSQL");
                    told = true;
                }
                tokio::time::sleep(ASKED_EVERY).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Adds to the error of a database that another process has open how an import gets into it all the same.
fn name_the_other_way(error: anyhow::Error, settings: &Settings) -> anyhow::Error {
    if !matches!(error.downcast_ref(), Some(OpenError::InUse { .. })) {
        return error;
    }
    let port = settings.addresses().ok().and_then(|found| found.first().map(SocketAddr::port));
    let url = format!("http://127.0.0.1:{}", port.unwrap_or(8000));
    anyhow::anyhow!("{error}: with --url {url} the import goes through the service that listens there")
}

fn bind(addresses: &[SocketAddr]) -> anyhow::Result<Vec<TcpListener>> {
    addresses
        .iter()
        .map(|address| TcpListener::bind(address).with_context(|| format!("cannot listen on {address}")))
        .collect()
}

/// Writes what was accepted; bounded, because whoever stops the service kills it otherwise.
async fn finish(state: &AppState, deadline: Duration) {
    let flush = state.tracing.repository().shut_down();
    if tokio::time::timeout(deadline.max(LEAST_FLUSH), flush).await.is_err() {
        tracing::error!(event = "error", "what was accepted could not be written before the deadline");
    }
}

/// Lets the tasks beside the requests end by themselves: a verdict that was written is yet to be told of.
async fn settle(mut tasks: JoinSet<()>) {
    let ended = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(LEAST_FLUSH, ended).await.is_err() {
        tasks.shutdown().await;
    }
}

async fn upkeep(frame: Arc<Frame>, stop: CancellationToken) {
    let mut tick = tokio::time::interval(UPKEEP);
    while stop.run_until_cancelled(tick.tick()).await.is_some() {
        frame.upkeep();
    }
}

/// Tells whoever started the service where it is, and what to try.
fn greet(settings: &Settings, bound: &[SocketAddr], store: &str) {
    let Some(first) = bound.first() else { return };
    // An address of every interface is none to go to.
    let host = if first.ip().is_unspecified() { "localhost".to_owned() } else { first.ip().to_string() };
    let host = if first.is_ipv6() && !first.ip().is_unspecified() { format!("[{host}]") } else { host };
    let url = format!("http://{host}:{}", first.port());
    let place = if settings.store.url.is_empty() {
        format!("{store} in {}", settings.store.path.display())
    } else {
        store.to_owned()
    };
    let key = if settings.api_keys.is_empty() { "" } else { " -H \"Authorization: Bearer $TRACER_KEY\"" };
    say_aside(format_args!(
        "Tracer listens on {url}, data in {place}. Try:\n\
         \n  curl{key} -X POST \"{url}/simulate?workflow_name=demo\"\
         \n  curl{key} \"{url}/stats/demo\"\
         \n  open {url}/docs\n"
    ));
}

/// Prints beside the log, which has stdout to itself where it is JSON.
#[expect(clippy::print_stderr, clippy::print_stdout, reason = "this is for the person at the terminal")]
fn say_aside(text: impl Display) {
    if std::io::stdout().is_terminal() {
        println!("{text}");
    } else {
        eprintln!("{text}");
    }
}

/// Prints a subcommand's result.
#[expect(clippy::print_stdout, reason = "this is the subcommand's output")]
fn say(text: impl Display) {
    println!("{text}");
}

fn micros(duration: Duration) -> Micros {
    Micros::new(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX))
}
