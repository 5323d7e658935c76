//! What ships, looked at without running it: the tools of Prometheus, Alertmanager, Kubernetes and Compose read it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use xtask_machine::interrupt;

use super::parts::{AMTOOL, COMPOSE, KUBECTL, PROMTOOL, Program, ask};
use super::report::Report;

/// Checks every part that ships, each with its own tool.
///
/// # Errors
/// If it was interrupted.
pub(super) fn check(root: &Path, report: &mut Report) -> Result<()> {
    let prometheus = root.join("deploy/prometheus");
    // What ends so is what `rule_files` names: beside the rules lies what Kubernetes makes of them.
    let named = |folder: &str| {
        let mut files = yaml_in(&prometheus.join(folder));
        files.retain(|file| file.extension().is_some_and(|ending| ending == "yml"));
        files
    };
    let (rules, tests) = (named("rules"), named("tests"));
    tool(report, "promtool check config", PROMTOOL, |command| {
        command.args(["check", "config"]).arg(prometheus.join("prometheus.yml"));
    });
    tool(report, "promtool check rules", PROMTOOL, |command| {
        command.args(["check", "rules"]).args(&rules);
    });
    tool(report, "promtool test rules", PROMTOOL, |command| {
        command.args(["test", "rules"]).args(&tests);
    });
    tool(report, "amtool check-config", AMTOOL, |command| {
        command.arg("check-config").arg(root.join("deploy/alertmanager/alertmanager.yml"));
    });
    routes(root, report);
    for overlay in overlays(&root.join("deploy/kubernetes")) {
        let name = overlay.strip_prefix(root).unwrap_or(&overlay).display().to_string();
        tool(report, &format!("kubectl kustomize {name}"), KUBECTL, |command| {
            // What an overlay takes from elsewhere in this tree, such as dashboards.
            command.args(["kustomize", "--load-restrictor=LoadRestrictionsNone"]).arg(&overlay);
        });
    }
    for (name, files) in compositions(root) {
        tool(report, &format!("docker-compose config {name}"), COMPOSE, |command| {
            command.current_dir(root);
            for file in &files {
                command.arg("--file").arg(file);
            }
            command.args(["config", "--quiet"]);
        });
    }
    interrupt::check()
}

/// Runs a tool, if it is installed, and reports how it ended.
fn tool(report: &mut Report, what: &str, program: Program, set: impl FnOnce(&mut Command)) {
    match program.find() {
        Ok(path) => {
            let mut command = Command::new(path);
            set(&mut command);
            report.outcome(what, ask(&mut command).map(|_| String::new()));
        }
        Err(why) => report.absent(what, &why.to_string()),
    }
}

/// Which alert reaches whom, by the script beside the configuration.
fn routes(root: &Path, report: &mut Report) {
    let (what, script) = ("amtool config routes test", root.join("deploy/alertmanager/test.sh"));
    match AMTOOL.find() {
        Ok(_) => report.outcome(what, ask(Command::new("bash").arg(script)).map(|_| String::new())),
        Err(why) => report.absent(what, &why.to_string()),
    }
}

/// Returns the YAML files of a folder, sorted.
fn yaml_in(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let is_yaml = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "yml" || ending == "yaml");
    let mut files: Vec<PathBuf> = entries.filter(is_yaml).collect();
    files.sort();
    files
}

fn overlays(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder.join("overlays")).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> =
        entries.map(|entry| entry.path()).filter(|path| path.join("kustomization.yaml").is_file()).collect();
    found.sort();
    found
}

/// Returns Compose's file alone, and with each that is laid over it.
fn compositions(root: &Path) -> Vec<(String, Vec<PathBuf>)> {
    let base = root.join("compose.yaml");
    let over = yaml_in(&root.join("deploy/compose"));
    let mut all = vec![("compose.yaml".to_owned(), vec![base.clone()])];
    all.extend(over.into_iter().map(|file| {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        (format!("compose.yaml, {name}"), vec![base.clone(), file])
    }));
    all
}

/// Copies a folder, with what is below it.
///
/// # Errors
/// If something cannot be read or written.
pub(super) fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    let entries = fs::read_dir(from).with_context(|| format!("there is no {}", from.display()))?;
    for entry in entries {
        let entry = entry?;
        let target = to.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy(&entry.path(), &target)?;
        } else if kind.is_file() {
            fs::copy(entry.path(), &target)?;
        } else {
            bail!("{} is neither a file nor a folder", entry.path().display());
        }
    }
    Ok(())
}
