//! The configuration in a folder of its own: as it ships, with the addresses of this run.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::shipped::copy;

/// Where Alertmanager's configuration says that the service is.
const SERVICE: &str = "http://tracer:8000";

/// The alert that is sent on its way: it fires as soon as an execution has ended.
pub(super) const ALERT: &str = "StackCheck";

/// Settings of the service in this run: objectives that the load spends, and a channel to Alertmanager.
fn settings(alertmanager: Option<&str>) -> String {
    let mut text = "
[[slo]]
name = \"orders\"
workflow = \"order-*\"
objective = 0.99
latency = \"2s\"
min_events = 5

[[channel]]
name = \"log\"
type = \"log\"
"
    .to_owned();
    if let Some(address) = alertmanager {
        text.push_str(&format!(
            "\n[[channel]]\nname = \"alertmanager\"\ntype = \"alertmanager\"\nurl = \"http://{address}\"\n"
        ));
    }
    text
}

/// Writes the settings of the service.
///
/// # Errors
/// If the file cannot be written.
pub(super) fn service(file: &Path, alertmanager: Option<&str>) -> Result<()> {
    Ok(fs::write(file, settings(alertmanager))?)
}

/// Copies Prometheus' configuration, with target files for this run: one address for each job.
///
/// The configuration itself stays as it ships. A rule is added that fires at once: those that ship wait for minutes, as
/// they should.
///
/// # Errors
/// If the copy differs where it should not, or something cannot be written.
pub(super) fn prometheus(root: &Path, to: &Path, targets: &[(&str, Option<&str>)]) -> Result<()> {
    let from = root.join("deploy/prometheus");
    copy(&from, to)?;
    for (job, address) in targets {
        let list = address.map_or_else(String::new, |address| format!("\"{address}\""));
        let file = to.join("targets").join(format!("{job}.yml"));
        ensure!(file.is_file(), "deploy/prometheus/targets/{job}.yml is missing");
        fs::write(file, format!("- targets: [{list}]\n"))?;
    }
    fs::write(to.join("rules/stack-check.yml"), rule())?;
    let name = "prometheus.yml";
    ensure!(fs::read(from.join(name))? == fs::read(to.join(name))?, "{name} is not what ships");
    Ok(())
}

fn rule() -> String {
    format!(
        "groups:
  - name: stack-check
    rules:
      - alert: {ALERT}
        expr: sum by (workflow_name) (workflow_executions_total{{workflow_name=\"order-fulfilment\"}}) > 0
        labels: {{severity: warning, service: tracer}}
        annotations:
          summary: The way of an alert is checked
          description: Fires as soon as an execution has ended.
          runbook_url: https://tracer.example.com/docs/deploy.md
"
    )
}

/// Copies Alertmanager's configuration with another address of the service.
///
/// # Errors
/// If it names no such address, or something cannot be written.
pub(super) fn alertmanager(root: &Path, to: &Path, service: &str) -> Result<()> {
    copy(&root.join("deploy/alertmanager"), to)?;
    let file = to.join("alertmanager.yml");
    let text = fs::read_to_string(&file).context("there is no configuration of Alertmanager")?;
    ensure!(text.contains(SERVICE), "Alertmanager's configuration does not send to {SERVICE}");
    Ok(fs::write(file, text.replace(SERVICE, &format!("http://{service}")))?)
}
