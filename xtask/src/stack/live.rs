//! The stack as it runs: each part started, asked whether it is well, and ended.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use xtask_machine::cluster::{Cluster, free_port};
use xtask_machine::interrupt;

use super::files;
use super::http::{Http, with_query};
use super::parts::{ALERTMANAGER, EXPORTER, PROMETHEUS, PSQL, Part, Program, ask};
use super::report::Report;

/// How long an alert may be on its way: two scrapes, an evaluation, Alertmanager's `group_wait`, and some.
const ALERT_PATIENCE: Duration = Duration::from_secs(90);
/// How long targets and rules may take to be scraped and evaluated for the first time.
const FIRST_ROUND: Duration = Duration::from_secs(60);

/// What runs. Parts end in this order: who asks, before who is asked.
#[derive(Debug)]
pub(super) struct Live {
    prometheus: Option<Part>,
    exporter: Option<Part>,
    tracer: Part,
    alertmanager: Option<Part>,
    cluster: Option<Cluster>,
}

impl Live {
    /// Starts what this machine has, in a folder.
    ///
    /// # Errors
    /// If the service does not come up; another part that does not is a failure of that part alone.
    pub(super) fn start(
        root: &Path,
        folder: &Path,
        tracer: &Path,
        http: &Http,
        report: &mut Report,
    ) -> Result<Self> {
        let cluster = match Cluster::start(folder) {
            Ok(cluster) => {
                report.pass("PostgreSQL", "a cluster of its own");
                let what = "deploy/postgres/grafana.sh";
                match PSQL.find() {
                    Ok(_) => report.outcome(what, make_reader(root, &cluster)),
                    Err(why) => report.absent(what, &why.to_string()),
                }
                Some(cluster)
            }
            Err(why) => {
                report.absent("PostgreSQL", &format!("{why:#}; the service runs over its embedded store"));
                None
            }
        };
        let service = free_address()?;
        let alertmanager = start_alertmanager(root, folder, &service, http, report)?;
        let tracer = start_service(folder, tracer, service, cluster.as_ref(), alertmanager.as_ref(), http)?;
        report.pass("service", "ready");
        let exporter = start_exporter(folder, cluster.as_ref(), http, report)?;
        let mut live = Self { prometheus: None, exporter, tracer, alertmanager, cluster };
        live.prometheus = live.start_prometheus(root, folder, http, report)?;
        Ok(live)
    }

    fn start_prometheus(
        &self,
        root: &Path,
        folder: &Path,
        http: &Http,
        report: &mut Report,
    ) -> Result<Option<Part>> {
        let own = free_address()?;
        let to = folder.join("prometheus");
        let address = |part: &Option<Part>| part.as_ref().map(|part| part.address.clone());
        let (alertmanager, exporter) = (address(&self.alertmanager), address(&self.exporter));
        let targets = [
            ("tracer", Some(self.tracer())),
            ("prometheus", Some(own.as_str())),
            ("alertmanager", alertmanager.as_deref()),
            ("postgres", exporter.as_deref()),
        ];
        let prepared = files::prometheus(root, &to, &targets);
        let what = "Prometheus, prometheus.yml byte for byte as it ships";
        start_part(what, PROMETHEUS, prepared, "/-/ready", http, report, |program| {
            Part::start("prometheus", program, folder, own.clone(), |command| {
                command.arg(format!("--config.file={}", to.join("prometheus.yml").display()));
                command.arg(format!("--storage.tsdb.path={}", folder.join("tsdb").display()));
                command.arg(format!("--web.listen-address={own}"));
            })
        })
    }

    /// Returns where the service listens.
    pub(super) fn tracer(&self) -> &str {
        &self.tracer.address
    }

    /// Returns the URL of a path of the service.
    pub(super) fn service(&self, path: &str) -> String {
        self.tracer.url(path)
    }

    /// Returns the URL of a path of Prometheus, if it runs.
    pub(super) fn prometheus(&self, path: &str) -> Option<String> {
        self.prometheus.as_ref().map(|part| part.url(path))
    }

    /// Returns whether PostgreSQL's exporter runs.
    pub(super) const fn has_exporter(&self) -> bool {
        self.exporter.is_some()
    }

    /// Returns whether there is PostgreSQL, and a client to ask it.
    pub(super) fn has_postgres(&self) -> bool {
        self.cluster.is_some() && PSQL.find().is_ok()
    }

    /// Returns every part and where it is reached.
    pub(super) fn addresses(&self) -> Vec<(&'static str, String)> {
        let url = |part: &Option<Part>| part.as_ref().map(|part| part.url("/"));
        let parts = [
            ("service", Some(self.tracer.url("/docs"))),
            ("Prometheus", url(&self.prometheus)),
            ("Alertmanager", url(&self.alertmanager)),
            ("exporter", url(&self.exporter)),
            ("PostgreSQL", self.cluster.as_ref().map(Cluster::url)),
        ];
        parts.into_iter().filter_map(|(name, url)| Some((name, url?))).collect()
    }

    /// Sends SQL to the database, as Grafana's role, and returns how many rows it has.
    ///
    /// # Errors
    /// If there is none, or it refuses.
    pub(super) fn rows(&self, sql: &str) -> Result<usize> {
        let cluster = self.cluster.as_ref().context("there is no PostgreSQL")?;
        let mut command = Command::new(PSQL.find()?);
        command.arg(cluster.url().replace("postgres@", "grafana@")).args([
            "-XAtq",
            "-v",
            "ON_ERROR_STOP=1",
            "-c",
            sql,
        ]);
        Ok(ask(&mut command)?.lines().count())
    }

    /// Asks every part whether it is well, and Prometheus what it scrapes and evaluates.
    ///
    /// # Errors
    /// If it was interrupted.
    pub(super) fn check(&self, http: &Http, report: &mut Report) -> Result<()> {
        let Some(targets) = self.prometheus("/api/v1/targets?state=active") else { return Ok(()) };
        let found = until(FIRST_ROUND, || targets_up(&http.get(&targets)?))?;
        report.outcome("targets are up", found);
        if let Some(rules) = self.prometheus("/api/v1/rules") {
            let found = until(FIRST_ROUND, || rules_evaluate(&http.get(&rules)?))?;
            report.outcome("rules evaluate", found);
        }
        if let (Some(managers), true) =
            (self.prometheus("/api/v1/alertmanagers"), self.alertmanager.is_some())
        {
            let found = until(FIRST_ROUND, || {
                let answer = http.get(&managers)?;
                let active = answer.pointer("/data/activeAlertmanagers").and_then(Value::as_array);
                ensure!(active.is_some_and(|all| !all.is_empty()), "it knows none");
                Ok(String::new())
            })?;
            report.outcome("Prometheus knows Alertmanager", found);
        }
        Ok(())
    }

    /// Follows an alert: from a rule through Alertmanager into the service, where it is an incident.
    ///
    /// # Errors
    /// If it was interrupted.
    pub(super) fn check_alert(&self, http: &Http, report: &mut Report) -> Result<()> {
        let what = "an alert goes from a rule through Alertmanager into the service";
        if self.prometheus.is_none() || self.alertmanager.is_none() {
            report.absent(what, "needs Prometheus and Alertmanager");
            return Ok(());
        }
        let url = self.service(&with_query("/incidents", &[("kind", "alert"), ("state", "firing")]));
        let found = until(ALERT_PATIENCE, || {
            let answer = http.get(&url)?;
            let shown = answer.to_string();
            ensure!(shown.contains(files::ALERT), "no incident of kind alert names {}", files::ALERT);
            let id = answer.pointer("/incidents/0/incident_id").and_then(Value::as_str).unwrap_or_default();
            Ok(format!("incident {id}"))
        })?;
        report.outcome(what, found);
        Ok(())
    }
}

/// Tries until it succeeds or the time is over; the error outside is an interruption.
pub(super) fn until<T>(patience: Duration, mut attempt: impl FnMut() -> Result<T>) -> Result<Result<T>> {
    let began = Instant::now();
    loop {
        interrupt::check()?;
        let found = attempt();
        if found.is_ok() || began.elapsed() > patience {
            return Ok(found);
        }
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// Makes the role by which Grafana asks, before there are tables, as PostgreSQL's image does.
fn make_reader(root: &Path, cluster: &Cluster) -> Result<String> {
    let psql = PSQL.find()?;
    let url = cluster.url();
    let address =
        url.rsplit_once('@').and_then(|(_, behind)| behind.split_once('/')).map(|(address, _)| address);
    let (host, port) = address.and_then(|address| address.split_once(':')).context("an odd address")?;
    let mut command = Command::new("sh");
    command.arg(root.join("deploy/postgres/grafana.sh"));
    command.envs([
        ("PGHOST", host),
        ("PGPORT", port),
        ("POSTGRES_USER", "postgres"),
        ("POSTGRES_DB", "postgres"),
    ]);
    ask(&mut command)?;
    let as_reader = |sql: &str| {
        let mut command = Command::new(&psql);
        command.arg(url.replace("postgres@", "grafana@")).args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-c", sql]);
        ask(&mut command)
    };
    ensure!(as_reader("SHOW transaction_read_only")? == "on", "the role is not read-only");
    let written = as_reader("SET default_transaction_read_only = off; CREATE TABLE mine (a int)");
    ensure!(written.is_err(), "the role may write");
    Ok("a role that reads and does nothing else".to_owned())
}

fn targets_up(answer: &Value) -> Result<String> {
    let targets = answer.pointer("/data/activeTargets").and_then(Value::as_array).context("no targets")?;
    let text = |target: &Value, pointer: &str| {
        target.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let down = targets.iter().find(|target| text(target, "/health") != "up");
    if let Some(down) = down {
        bail!("{} is {}: {}", text(down, "/labels/job"), text(down, "/health"), text(down, "/lastError"));
    }
    ensure!(!targets.is_empty(), "there are none");
    Ok(targets.iter().map(|target| text(target, "/labels/job")).collect::<Vec<_>>().join(", "))
}

fn rules_evaluate(answer: &Value) -> Result<String> {
    let groups = answer.pointer("/data/groups").and_then(Value::as_array).context("no groups")?;
    let rules: Vec<&Value> =
        groups.iter().filter_map(|group| group.get("rules")?.as_array()).flatten().collect();
    for rule in &rules {
        let text = |field: &str| rule.get(field).and_then(Value::as_str).unwrap_or_default();
        ensure!(text("health") == "ok", "{} is {}: {}", text("name"), text("health"), text("lastError"));
    }
    ensure!(!rules.is_empty(), "there are none");
    Ok(format!("{} rules", rules.len()))
}

fn free_address() -> Result<String> {
    Ok(format!("127.0.0.1:{}", free_port()?))
}

/// Starts a part that may not be installed; that it does not come up is its own failure.
fn start_part(
    what: &str,
    program: Program,
    prepared: Result<()>,
    ready: &str,
    http: &Http,
    report: &mut Report,
    start: impl FnOnce(&Path) -> Result<Part>,
) -> Result<Option<Part>> {
    let program = match program.find() {
        Ok(program) => program,
        Err(why) => {
            report.absent(what, &why.to_string());
            return Ok(None);
        }
    };
    let started = prepared.and_then(|()| start(&program)).and_then(|mut part| {
        http.wait(&mut part, ready)?;
        Ok(part)
    });
    interrupt::check()?;
    match started {
        Ok(part) => {
            report.pass(what, "ready");
            Ok(Some(part))
        }
        Err(why) => {
            report.fail(what, &format!("{why:#}"));
            Ok(None)
        }
    }
}

fn start_alertmanager(
    root: &Path,
    folder: &Path,
    service: &str,
    http: &Http,
    report: &mut Report,
) -> Result<Option<Part>> {
    let (own, to) = (free_address()?, folder.join("alertmanager"));
    let prepared = files::alertmanager(root, &to, service);
    let what = "Alertmanager, as it ships but for the address of the service";
    start_part(what, ALERTMANAGER, prepared, "/-/ready", http, report, |program| {
        Part::start("alertmanager", program, folder, own.clone(), |command| {
            command.arg(format!("--config.file={}", to.join("alertmanager.yml").display()));
            command.arg(format!("--storage.path={}", folder.join("alerts").display()));
            command.arg(format!("--web.listen-address={own}"));
            // Alone: it looks for no others.
            command.arg("--cluster.listen-address=");
        })
    })
}

fn start_exporter(
    folder: &Path,
    cluster: Option<&Cluster>,
    http: &Http,
    report: &mut Report,
) -> Result<Option<Part>> {
    let Some(cluster) = cluster else {
        report.absent("PostgreSQL's exporter", "needs PostgreSQL");
        return Ok(None);
    };
    let own = free_address()?;
    start_part("PostgreSQL's exporter", EXPORTER, Ok(()), "/metrics", http, report, |program| {
        Part::start("exporter", program, folder, own.clone(), |command| {
            command.env("DATA_SOURCE_NAME", format!("{}?sslmode=disable", cluster.url()));
            command.arg(format!("--web.listen-address={own}"));
        })
    })
}

fn start_service(
    folder: &Path,
    tracer: &Path,
    address: String,
    cluster: Option<&Cluster>,
    alertmanager: Option<&Part>,
    http: &Http,
) -> Result<Part> {
    let settings = folder.join("tracer.toml");
    files::service(&settings, alertmanager.map(|part| part.address.as_str()))?;
    let listen = address.clone();
    let mut part = Part::start("tracer", tracer, folder, address, |command| {
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            let is_setting = ["TRACER_", "SLACK_", "OTEL_"].iter().any(|family| name.starts_with(family));
            if is_setting || name == "DATABASE_URL" {
                command.env_remove(name);
            }
        }
        if let Some(cluster) = cluster {
            command.env("DATABASE_URL", cluster.url());
        }
        command.arg("--config").arg(&settings).args(["--listen", &listen]);
        command.args(["--set", "otlp.http_port=0", "--set", "otlp.grpc_port=0"]);
    })?;
    http.wait(&mut part, "/health/ready").context("the service does not come up")?;
    Ok(part)
}
