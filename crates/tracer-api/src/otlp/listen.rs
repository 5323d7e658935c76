//! The ports by which OpenTelemetry exporters find a receiver: 4318 for HTTP, 4317 for gRPC.
//!
//! Not here: what is served there (`http`, `grpc`), and the main listener, which serves `/v1/traces` too.

use std::io;
use std::net::{SocketAddr, TcpListener};

use anyhow::Context;

use crate::config::Settings;

/// The listeners of OTLP; none where a port is off, or was taken without having been asked for.
#[derive(Debug, Default)]
pub struct Ports {
    /// For OTLP over HTTP.
    pub http: Vec<TcpListener>,
    /// For OTLP over gRPC.
    pub grpc: Vec<TcpListener>,
}

/// Listens on the ports of the settings, on the hosts of `addresses`.
///
/// A port that is taken is a mistake where somebody set it; where it is the default, something else receives
/// OTLP on this machine, and the service does without.
///
/// # Errors
/// The operating system's, if a port that was set cannot be listened on.
pub fn bind(settings: &Settings, addresses: &[SocketAddr]) -> anyhow::Result<Ports> {
    Ok(Ports {
        http: port(settings, "otlp.http_port", settings.otlp_http_port().unwrap_or_default(), addresses)?,
        grpc: port(settings, "otlp.grpc_port", settings.otlp.grpc_port, addresses)?,
    })
}

fn port(
    settings: &Settings,
    key: &str,
    port: u16,
    addresses: &[SocketAddr],
) -> anyhow::Result<Vec<TcpListener>> {
    if port == 0 {
        return Ok(Vec::new());
    }
    let listen = |address: &SocketAddr| TcpListener::bind(SocketAddr::new(address.ip(), port));
    let bound: io::Result<Vec<TcpListener>> = addresses.iter().map(listen).collect();
    match bound {
        Ok(listeners) => Ok(listeners),
        Err(error) if settings.is_set(key) => {
            Err(error).with_context(|| format!("cannot listen on port {port}, which {key} sets"))
        }
        Err(error) => {
            tracing::warn!(
                event = "port_taken", port, setting = key, error = %error,
                "port {port} is taken, and OTLP is not received there: set {key} to another port, or to 0"
            );
            Ok(Vec::new())
        }
    }
}
