//! A PostgreSQL server in a container.
//!
//! Invariant: the container ends, and is removed, within half a minute of its last connection. A killed test can
//! remove nothing, and a static is never dropped, so the container watches for itself whether anyone is left.
//! Not here: a server that tests may stop; stopping is done to a `PrivateServer`.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use testcontainers::core::{IntoContainerPort as _, client::docker_client_instance};
use testcontainers::runners::AsyncRunner as _;
use testcontainers::{ContainerAsync, GenericImage, ImageExt as _};

use super::admin;

const IMAGE: &str = "postgres";
const TAG: &str = "16-alpine";
const PORT: u16 = 5432;

/// How long an engine may take to answer before it counts as absent.
const PING_TIMEOUT: Duration = Duration::from_secs(3);

/// How long pulling the image and starting the container may take.
const START_TIMEOUT: Duration = Duration::from_secs(180);

/// How long a started server may take until it accepts connections.
const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// How long one address gets to answer before the next one is tried.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(2);

/// Starts the container and returns its server's URL and a description.
///
/// # Errors
/// Why there is no container, in words.
pub(super) fn start() -> Result<(String, String), String> {
    on_lasting_thread(|| async {
        let tag = std::env::var("TRACER_TEST_POSTGRES_TAG").unwrap_or_else(|_| TAG.to_owned());
        let started = tokio::time::timeout(START_TIMEOUT, start_container(&tag));
        let container = started
            .await
            .map_err(|_| format!("no container of {IMAGE}:{tag} within {} s", START_TIMEOUT.as_secs()))??;
        let url = reachable_url(&container).await?;
        let connection = admin::connect(&url).await?;
        let origin = format!("a container of {IMAGE}:{tag}");
        // The client and the container are dropped with the thread's future, and that is never.
        Ok(((url, origin), (container, connection)))
    })
}

/// Holds a connection to a server that another process started in a container, so that it goes on.
///
/// # Errors
/// Why there is no connection, in words.
pub(super) fn keep_alive(url: &str) -> Result<(), String> {
    let url = url.to_owned();
    on_lasting_thread(|| async move { Ok(((), admin::connect(&url).await?)) })
}

/// Runs `work` on a thread that lasts as long as the process, returns its answer, and holds on to what it made.
fn on_lasting_thread<T, Held, Work>(work: impl FnOnce() -> Work + Send + 'static) -> Result<T, String>
where
    T: Send + 'static,
    Work: Future<Output = Result<(T, Held), String>>,
{
    let (answer, answered) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let outcome = match &runtime {
            Ok(runtime) => runtime.block_on(work()),
            Err(cause) => Err(format!("no runtime for the container: {cause}")),
        };
        let (sent, held) = match outcome {
            Ok((value, held)) => (answer.send(Ok(value)), Some(held)),
            Err(reason) => (answer.send(Err(reason)), None),
        };
        if let (Ok(()), Some(_held), Ok(runtime)) = (sent, held, runtime) {
            runtime.block_on(std::future::pending::<()>());
        }
    });
    answered.recv().map_err(|_| "starting a container panicked".to_owned())?
}

async fn start_container(tag: &str) -> Result<ContainerAsync<GenericImage>, String> {
    let engine = docker_client_instance().await.map_err(|cause| format!("no Docker engine: {cause}"))?;
    match tokio::time::timeout(PING_TIMEOUT, engine.ping()).await {
        Ok(Ok(_)) => (),
        Ok(Err(cause)) => return Err(format!("no Docker engine answers: {cause}")),
        Err(_) => return Err("the Docker engine does not answer".to_owned()),
    }
    GenericImage::new(IMAGE, tag)
        .with_exposed_port(PORT.tcp())
        .with_env_var("POSTGRES_PASSWORD", "postgres")
        .with_host_config_modifier(|config| config.auto_remove = Some(true))
        .with_cmd(["sh", "-c", include_str!("container.sh")])
        .start()
        .await
        .map_err(|cause| format!("no container of {IMAGE}:{tag}: {cause}"))
}

/// Returns the first address of the container under which its server answers.
///
/// The mapped port works nearly everywhere; where the engine does not forward ports, the container's own does.
async fn reachable_url(container: &ContainerAsync<GenericImage>) -> Result<String, String> {
    let mut addresses = Vec::new();
    if let (Ok(host), Ok(port)) = (container.get_host().await, container.get_host_port_ipv4(PORT).await) {
        // The port is mapped on IPv4, and `localhost` may mean IPv6 first.
        let host = host.to_string().replace("localhost", "127.0.0.1");
        addresses.push(format!("{host}:{port}"));
    }
    addresses.extend(own_addresses(container).await.iter().map(|ip| format!("{ip}:{PORT}")));
    let mut last_reason = "it has no address".to_owned();
    let started = Instant::now();
    while started.elapsed() < READY_TIMEOUT {
        for address in &addresses {
            let url = format!("postgres://postgres:postgres@{address}/postgres");
            match tokio::time::timeout(ATTEMPT_TIMEOUT, admin::probe(&url)).await {
                Ok(Ok(())) => return Ok(url),
                Ok(Err(reason)) => last_reason = reason,
                Err(_) => "no answer".clone_into(&mut last_reason),
            }
        }
        if !container.is_running().await.unwrap_or(false) {
            let addresses = addresses.join(" or ");
            return Err(format!(
                "the container ended before its server answered at {addresses}: {last_reason}"
            ));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Err(format!("the container's server cannot be reached at {}: {last_reason}", addresses.join(" or ")))
}

/// Returns the container's addresses in its networks. Asked of the engine itself, for the library's own question
/// (`get_bridge_ip_address`) fails on engines that call the usual network `default`.
async fn own_addresses(container: &ContainerAsync<GenericImage>) -> Vec<String> {
    let Ok(engine) = docker_client_instance().await else { return Vec::new() };
    let Ok(details) = engine.inspect_container(container.id(), None).await else { return Vec::new() };
    let networks = details.network_settings.and_then(|settings| settings.networks).unwrap_or_default();
    networks.into_values().filter_map(|network| network.ip_address).filter(|ip| !ip.is_empty()).collect()
}
