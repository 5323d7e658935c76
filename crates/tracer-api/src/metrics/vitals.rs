//! Signs of life: what the process uses, and whether its store answers.
//!
//! The names are those that every client library of Prometheus has, so that everybody's dashboards fit. They are
//! rendered here and not recorded: seconds of processor time are fractions, which a recorded counter cannot hold.

use std::fmt::Write;

use metrics_process::collector::{Metrics as Process, collect};

use super::Metrics;

const CPU_SECONDS: &str = "process_cpu_seconds_total";
const RESIDENT_BYTES: &str = "process_resident_memory_bytes";
const VIRTUAL_BYTES: &str = "process_virtual_memory_bytes";
const OPEN_FDS: &str = "process_open_fds";
const MAX_FDS: &str = "process_max_fds";
const START_SECONDS: &str = "process_start_time_seconds";
const THREADS: &str = "process_threads";
/// Whether the store answers.
const STORE_UP: &str = "tracer_store_up";

impl Metrics {
    /// Takes whether the store answers. A service that serves has opened it, so that it is up until it is said not to
    /// be.
    pub fn set_store_up(&self, is_up: bool) {
        metrics::gauge!(STORE_UP).set(if is_up { 1.0 } else { 0.0 });
    }
}

/// Describes what is recorded here.
pub(super) fn describe() {
    metrics::describe_gauge!(
        STORE_UP,
        metrics::Unit::Count,
        "1 while the store answers, 0 while it does not."
    );
}

/// Appends what the process uses at this moment; what the platform does not say is absent.
pub(super) fn render_process(text: &mut String) {
    render(&collect(), text);
}

fn render(process: &Process, text: &mut String) {
    let mut put = |name: &str, kind: &str, help: &str, value: Option<String>| {
        if let Some(value) = value {
            // Writing to a text cannot fail.
            let sample = format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n");
            text.write_fmt(sample).unwrap_or_default();
        }
    };
    let shown = |value: Option<u64>| value.map(|value| value.to_string());
    let cpu = process.cpu_seconds_total.map(|seconds| seconds.to_string());
    put(CPU_SECONDS, "counter", "User and system processor time spent, in seconds.", cpu);
    let gauges = [
        (RESIDENT_BYTES, "Resident memory in bytes.", process.resident_memory_bytes),
        (VIRTUAL_BYTES, "Virtual memory in bytes.", process.virtual_memory_bytes),
        (OPEN_FDS, "Open file descriptors.", process.open_fds),
        (MAX_FDS, "Most file descriptors that may be open.", process.max_fds),
        (START_SECONDS, "When the process started, in seconds since 1970.", process.start_time_seconds),
        (THREADS, "Threads of the process.", process.threads),
    ];
    for (name, help, value) in gauges {
        put(name, "gauge", help, shown(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_process_uses_is_shown_as_everybody_shows_it() {
        let process = Process {
            cpu_seconds_total: Some(12.25),
            open_fds: Some(21),
            max_fds: Some(1_024),
            resident_memory_bytes: Some(31_457_280),
            start_time_seconds: Some(1_769_860_800),
            ..Process::default()
        };
        let mut text = String::new();
        render(&process, &mut text);
        insta::assert_snapshot!(text, @r"
        # HELP process_cpu_seconds_total User and system processor time spent, in seconds.
        # TYPE process_cpu_seconds_total counter
        process_cpu_seconds_total 12.25
        # HELP process_resident_memory_bytes Resident memory in bytes.
        # TYPE process_resident_memory_bytes gauge
        process_resident_memory_bytes 31457280
        # HELP process_open_fds Open file descriptors.
        # TYPE process_open_fds gauge
        process_open_fds 21
        # HELP process_max_fds Most file descriptors that may be open.
        # TYPE process_max_fds gauge
        process_max_fds 1024
        # HELP process_start_time_seconds When the process started, in seconds since 1970.
        # TYPE process_start_time_seconds gauge
        process_start_time_seconds 1769860800
        ");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_is_measured() {
        let mut text = String::new();
        render_process(&mut text);
        for name in [CPU_SECONDS, RESIDENT_BYTES, VIRTUAL_BYTES, OPEN_FDS, MAX_FDS, START_SECONDS, THREADS] {
            assert!(text.contains(&format!("\n{name} ")), "{name} is not in\n{text}");
        }
    }
}
