//! What a setting may be, beyond its type.

use std::io;
use std::net::{Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::time::Duration;

use super::{Fault, Settings, slo};

/// Checks every setting; the first fault is returned.
pub(super) fn check(settings: &Settings) -> Result<(), Fault> {
    listen(&settings.listen).map_err(|reason| ("listen".to_owned(), reason))?;
    settings.detection.check().map_err(|(key, reason)| (format!("detection.{key}"), reason))?;
    for (at, entry) in settings.detect.iter().enumerate() {
        entry
            .check()
            .and_then(|()| entry.over(&settings.detection).check())
            .map_err(|(key, reason)| (format!("detect[{at}].{key}"), reason))?;
    }
    settings.alerts.check().map_err(|(key, reason)| (format!("alerts.{key}"), reason))?;
    settings.live.check().map_err(|(key, reason)| (format!("live.{key}"), reason))?;
    for (at, entry) in settings.runbook.iter().enumerate() {
        entry.check().map_err(|(key, reason)| (format!("runbook[{at}].{key}"), reason))?;
    }
    slo::check(&settings.slo)?;
    settings.export.check().map_err(|(key, reason)| (format!("export.{key}"), reason))?;
    let listens = port(&settings.listen);
    settings.otlp.check(listens).map_err(|(key, reason)| (format!("otlp.{key}"), reason))?;
    sizes(settings)?;
    durations(settings)?;
    buckets(&settings.metrics.duration_buckets)
        .map_err(|reason| ("metrics.duration_buckets".to_owned(), reason.to_owned()))?;
    let url = settings.store.url.expose();
    if !url.is_empty() && !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        return fault(
            "store.url",
            "must begin with postgres:// or postgresql://, or be empty for the embedded store",
        );
    }
    if crate::telemetry::parse_level(&settings.log.level).is_none() {
        return fault("log.level", "expected a level such as info, or levels by module");
    }
    Ok(())
}

fn fault(key: &str, reason: impl Into<String>) -> Result<(), Fault> {
    Err((key.to_owned(), reason.into()))
}

fn sizes(settings: &Settings) -> Result<(), Fault> {
    let between = [
        ("store.pool_size", settings.store.pool_size, 2, 10_000),
        ("store.queue", settings.store.queue, 1, 1_000_000),
        ("store.batch", settings.store.batch, 1, 10_000),
        ("limits.max_connections", settings.limits.max_connections, 1, 1_000_000),
        ("metrics.workflow_series", settings.metrics.workflow_series, 0, 100_000),
        ("metrics.step_series", settings.metrics.step_series, 0, 100_000),
        ("metrics.max_bytes", settings.metrics.max_bytes, 100_000, 1_000_000_000),
        ("server.workers", settings.server.workers, 0, 1_024),
    ];
    for (key, value, least, most) in between {
        if !(least..=most).contains(&value) {
            return fault(key, format!("must lie between {least} and {most}"));
        }
    }
    if settings.limits.rate_per_second > 0 && settings.limits.burst == 0 {
        return fault("limits.burst", "must be at least 1");
    }
    if settings.store.path.as_os_str().is_empty() {
        return fault("store.path", "must name a file");
    }
    Ok(())
}

fn durations(settings: &Settings) -> Result<(), Fault> {
    const DAY: Duration = Duration::from_secs(86_400);
    const HOUR: Duration = Duration::from_secs(3_600);
    let milli = Duration::from_millis(1);
    let second = Duration::from_secs(1);
    let between = [
        ("store.acquire_timeout", settings.store.acquire_timeout, milli, HOUR),
        ("retention.detail", settings.retention.detail, DAY, DAY * 36_500),
        ("retention.aggregates", settings.retention.aggregates, DAY, DAY * 36_500),
        ("retention.abandoned_after", settings.retention.abandoned_after, second, DAY * 36_500),
        ("detection.watch_interval", settings.detection.watch_interval, milli * 100, second * 60),
        ("metrics.refresh", settings.metrics.refresh, second, HOUR),
        ("server.keep_alive", settings.server.keep_alive, second, DAY),
        ("server.request_timeout", settings.server.request_timeout, milli, HOUR),
        ("server.shutdown_deadline", settings.server.shutdown_deadline, second, HOUR),
    ];
    for (key, value, least, most) in between {
        if value < least || value > most {
            return fault(key, format!("must lie between {least:?} and {} s", most.as_secs()));
        }
    }
    Ok(())
}

fn buckets(bounds: &[f64]) -> Result<(), &'static str> {
    if bounds.is_empty() || bounds.len() > 100 {
        return Err("must have 1 to 100 bounds");
    }
    let finite = bounds.iter().all(|bound| bound.is_finite() && *bound > 0.0);
    if !finite || !bounds.iter().zip(bounds.iter().skip(1)).all(|(lower, upper)| lower < upper) {
        return Err("must be positive numbers, each above the one before");
    }
    Ok(())
}

/// Returns the port of `host:port`; 0 of anything else.
pub(super) fn port(listen: &str) -> u16 {
    listen.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or_default()
}

fn listen(text: &str) -> Result<(), String> {
    let valid = text.rsplit_once(':').is_some_and(|(host, port)| {
        let bracketed = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let host_fits = match bracketed {
            Some(inner) => inner.parse::<Ipv6Addr>().is_ok(),
            None => !host.contains(':') && !host.contains(char::is_whitespace),
        };
        host_fits && port.parse::<u16>().is_ok()
    });
    if valid { Ok(()) } else { Err("expected host:port, such as 127.0.0.1:8000 or [::1]:8000".to_owned()) }
}

/// Returns the addresses of `host:port`; no host means every address of the machine.
pub(super) fn resolve(listen: &str) -> io::Result<Vec<SocketAddr>> {
    let text = if listen.starts_with(':') { format!("[::]{listen}") } else { listen.to_owned() };
    let found: Vec<SocketAddr> = text.to_socket_addrs()?.collect();
    if found.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
    }
    Ok(found)
}
