//! `tracer healthcheck`: asks a running service whether it is ready, and says so by its exit code.
//!
//! For containers, whose image has neither a shell nor `curl`. Invariant: it asks no longer than three seconds, and
//! asks the service itself, whatever proxy the environment names.
//! Not here: what it takes to be ready (`http::health`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, bail};
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode, Url};
use serde::Deserialize;

use crate::config::Settings;

/// Longest time for the whole check, below the timeouts that container engines give one.
const TIMEOUT: Duration = Duration::from_secs(3);

/// What `tracer healthcheck` was asked for.
#[derive(Clone, Debug)]
pub struct HealthcheckOptions {
    /// The service; the one that the settings describe, if none is named.
    pub url: Option<String>,
    /// Whether to ask only if the process lives, and not whether it can serve.
    pub live: bool,
}

/// The part of a problem document that says why not.
#[derive(Deserialize)]
struct Refused {
    detail: String,
}

/// Asks, and returns the line that says it is well.
///
/// # Errors
/// If the service does not answer in three seconds, or answers that it is not ready.
pub async fn healthcheck(settings: &Settings, options: &HealthcheckOptions) -> anyhow::Result<String> {
    let path = if options.live { "/health/live" } else { "/health/ready" };
    let bases = match &options.url {
        Some(url) => vec![url.trim_end_matches('/').to_owned()],
        None => own(settings)?.iter().map(|address| format!("http://{address}")).collect(),
    };
    let client = tracer_alert::client_builder()?.no_proxy().redirect(Policy::none()).build()?;
    let asked = tokio::time::timeout(TIMEOUT, first_answer(&client, &bases, path)).await;
    asked.unwrap_or_else(|_| bail!("{} does not answer within {} s", bases.join(" and "), TIMEOUT.as_secs()))
}

/// Asks one address after the other, until one takes the connection.
async fn first_answer(client: &Client, bases: &[String], path: &str) -> anyhow::Result<String> {
    for base in bases {
        let url = Url::parse(&format!("{base}{path}")).ok().filter(|url| url.host().is_some());
        let url = url.with_context(|| format!("{base} is not an address such as http://127.0.0.1:8000"))?;
        let Ok(response) = client.get(url).send().await else { continue };
        let status = response.status();
        if status == StatusCode::OK {
            return Ok(format!("{base}{path} answers {}", status.as_u16()));
        }
        let detail = response.json::<Refused>().await.map(|refused| format!(": {}", refused.detail));
        bail!("{base}{path} answers {}{}", status.as_u16(), detail.unwrap_or_default());
    }
    bail!("{} cannot be reached", bases.join(" and "))
}

/// Returns where the service of these settings is reached from its own machine.
fn own(settings: &Settings) -> anyhow::Result<Vec<SocketAddr>> {
    let listen = &settings.listen;
    let bound = settings.addresses().with_context(|| format!("cannot resolve {listen}"))?;
    if bound.iter().all(|address| address.port() == 0) {
        bail!("`listen` is {listen}, whose port is chosen at the start: name the service with --url");
    }
    Ok(bound.iter().flat_map(|address| reached(*address)).collect())
}

/// Returns by which addresses a listener is reached: every address of the machine includes its loopback, and that of
/// IPv6 both, of which a container may have but one.
fn reached(bound: SocketAddr) -> Vec<SocketAddr> {
    let (v4, v6) = (IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST));
    let hosts = match bound.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => vec![v4],
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => vec![v4, v6],
        host @ (IpAddr::V4(_) | IpAddr::V6(_)) => vec![host],
    };
    hosts.into_iter().map(|host| SocketAddr::new(host, bound.port())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(listen: &str) -> String {
        let mut settings = Settings::defaults().unwrap();
        settings.listen = listen.to_owned();
        match own(&settings) {
            Ok(addresses) => addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn every_address_of_the_machine_is_asked_by_loopback() {
        assert_eq!(asked("127.0.0.1:8000"), "127.0.0.1:8000");
        assert_eq!(asked("0.0.0.0:9"), "127.0.0.1:9");
        assert_eq!(asked(":9"), "127.0.0.1:9 [::1]:9");
        assert_eq!(asked("[::]:9"), "127.0.0.1:9 [::1]:9");
        assert_eq!(asked("[::1]:9"), "[::1]:9");
        assert_eq!(asked("192.0.2.7:9"), "192.0.2.7:9");
    }

    #[test]
    fn a_port_that_nobody_knows_cannot_be_asked() {
        assert_eq!(
            asked("127.0.0.1:0"),
            "`listen` is 127.0.0.1:0, whose port is chosen at the start: name the service with --url"
        );
    }
}
