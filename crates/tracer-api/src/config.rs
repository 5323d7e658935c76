//! Settings: the compiled-in default, a file, the environment, the command line.
//!
//! Invariant: a [`Settings`] that exists is valid; every number in it may be used without a check.
//! Not here: how layers are merged and typos found (`layers`), how settings are shown (`show`).

mod alerts;
mod channels;
mod detection;
mod export;
mod layers;
mod live;
mod otel;
mod otlp;
mod secret_files;
mod show;
mod slo;
mod validate;
mod values;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use thiserror::Error;

pub use self::alerts::{AlertSettings, RunbookFor};
pub use self::channels::{ChannelEntry, ChannelSettings, ChannelType, SlackSettings, Target};
pub use self::detection::{DetectFor, DetectionSettings, RuleName};
pub use self::export::{Compression, ExportSettings, Protocol, SamplerName};
use self::layers::Layers;
pub use self::live::LiveSettings;
pub use self::otlp::OtlpSettings;
pub use self::slo::SloFor;
pub use self::values::{REDACTED, Secret, parse_duration};
use crate::auth::ApiKeys;

/// The compiled-in file: every setting, its default and why.
pub const DEFAULTS: &str = include_str!("../../../config/tracer.toml");

/// The file that is read from the working directory if it is there.
const FILE_NAME: &str = "tracer.toml";

/// The key at fault, and what is expected of it.
type Fault = (String, String);

/// Why the settings cannot be used. Each message names where the fault is.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the settings in {file}")]
    File {
        /// The file, as it was named.
        file: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("{file} is not valid TOML: {reason}")]
    Syntax {
        /// The file, as it was named.
        file: String,
        /// What is wrong and in which line; a line may hold a secret, so it is not shown.
        reason: String,
    },
    /// A key that no setting has.
    #[error("{source_name}: unknown setting `{key}`{}", suggestion(.near.as_deref()))]
    Unknown {
        /// The layer that holds it.
        source_name: String,
        /// The dotted key.
        key: String,
        /// The key that was probably meant.
        near: Option<String>,
    },
    /// An environment variable that looks like a setting and is none.
    #[error("unknown environment variable {name}{}", suggestion(.near.as_deref()))]
    Variable {
        /// Its name.
        name: String,
        /// The variable that was probably meant.
        near: Option<String>,
    },
    /// A file with a secret that cannot be read.
    #[error("{variable}: cannot read {file}")]
    SecretFile {
        /// The variable that names it.
        variable: String,
        /// The file.
        file: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file with a secret that holds none: without it, something else would be started than was meant.
    #[error("{variable}: {file} is empty")]
    SecretEmpty {
        /// The variable that names it.
        variable: String,
        /// The file.
        file: String,
    },
    /// A secret that is given by a variable and by a file.
    #[error("{name} and {file} are both set: one of them must go")]
    Twice {
        /// The variable that holds it.
        name: String,
        /// The variable that names its file.
        file: String,
    },
    /// A value that its setting cannot have.
    #[error("{source_name}: `{key}`: {reason}")]
    Value {
        /// The layer that holds it.
        source_name: String,
        /// The dotted key.
        key: String,
        /// What is expected instead.
        reason: String,
    },
}

impl ConfigError {
    fn value(source: &str, key: &str, reason: impl Into<String>) -> Self {
        Self::Value { source_name: source.to_owned(), key: key.to_owned(), reason: reason.into() }
    }
}

fn suggestion(near: Option<&str>) -> String {
    near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default()
}

/// What the settings are read from, so that a test gives its own.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file of `--config`; without one, `tracer.toml` in the working directory, if it is there.
    pub file: Option<PathBuf>,
    /// The environment.
    pub env: Vec<(String, String)>,
    /// What the command line sets: dotted key, value, and the name of the argument.
    pub arguments: Vec<(String, String, String)>,
}

/// Every setting; `config/tracer.toml` says what each is for.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where HTTP is served: `host:port`, `[IPv6]:port` or `:port`.
    pub listen: String,
    /// Whether a reachable listener may start without keys.
    pub insecure: bool,
    /// Whether `POST /simulate` answers.
    pub simulate: bool,
    /// The keys that clients may use; none: everything is open.
    pub api_keys: ApiKeys,
    /// Detection by pattern, in order.
    pub detect: Vec<DetectFor>,
    /// Where data lives.
    pub store: StoreSettings,
    /// How long data lives.
    pub retention: RetentionSettings,
    /// What is a bottleneck.
    pub detection: DetectionSettings,
    /// Who is told of incidents, as it is written.
    pub channel: Vec<ChannelEntry>,
    /// Where it is written what to do, by pattern, in order.
    pub runbook: Vec<RunbookFor>,
    /// What is promised, in order.
    pub slo: Vec<SloFor>,
    /// How incidents live.
    pub alerts: AlertSettings,
    /// Slack without any `[[channel]]`.
    pub slack: SlackSettings,
    /// Who is told of incidents, as it follows from the settings; never empty.
    #[serde(skip)]
    pub channels: Vec<ChannelSettings>,
    /// What live streams may cost.
    pub live: LiveSettings,
    /// Where executions go as traces.
    pub export: ExportSettings,
    /// What one client may do.
    pub limits: LimitSettings,
    /// What `/metrics` shows.
    pub metrics: MetricSettings,
    /// What is logged, and how.
    pub log: LogSettings,
    /// How HTTP is served.
    pub server: ServerSettings,
    /// How OpenTelemetry comes in.
    pub otlp: OtlpSettings,
    #[serde(skip)]
    layers: Option<Box<Layers>>,
}

/// Where data lives.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreSettings {
    /// The address of PostgreSQL; empty for the embedded store.
    pub url: Secret,
    /// The embedded store's file.
    pub path: PathBuf,
    /// Most connections to PostgreSQL, at least 2: one writes, one reads.
    pub pool_size: usize,
    /// Longest wait for a connection.
    #[serde(deserialize_with = "values::duration")]
    pub acquire_timeout: Duration,
    /// Most commands waiting to be written.
    pub queue: usize,
    /// Most commands in one transaction.
    pub batch: usize,
}

/// How long data lives.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetentionSettings {
    /// Executions and steps, counted from their recording.
    #[serde(deserialize_with = "values::duration")]
    pub detail: Duration,
    /// Baselines and daily aggregates.
    #[serde(deserialize_with = "values::duration")]
    pub aggregates: Duration,
    /// Silence after which a running execution is closed.
    #[serde(deserialize_with = "values::duration")]
    pub abandoned_after: Duration,
}

/// What one client may do.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitSettings {
    /// Requests per second and client; 0 for no limit.
    pub rate_per_second: u32,
    /// Requests that a client may send at once; at least 1.
    pub burst: u32,
    /// Most open connections of each worker.
    pub max_connections: usize,
}

/// What `/metrics` shows.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetricSettings {
    /// Workflows with series of their own.
    pub workflow_series: usize,
    /// Steps with series of their own.
    pub step_series: usize,
    /// Most bytes of the answer.
    pub max_bytes: usize,
    /// Upper bounds of histogram buckets, in seconds, rising.
    pub duration_buckets: Vec<f64>,
    /// Period of what is asked from the database.
    #[serde(deserialize_with = "values::duration")]
    pub refresh: Duration,
}

/// What is logged, and how.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogSettings {
    /// The form of a line.
    pub format: LogFormat,
    /// The least level, by module if so written.
    pub level: String,
}

/// The form of a line in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    Auto,
    /// One JSON object per line.
    Json,
    /// For people.
    Text,
}

/// How HTTP is served.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerSettings {
    /// Threads that serve; 0 for one per core.
    pub workers: usize,
    /// How long an idle connection stays open.
    #[serde(deserialize_with = "values::duration")]
    pub keep_alive: Duration,
    /// How long a client may take to send its request's head, and again its body.
    #[serde(deserialize_with = "values::duration")]
    pub request_timeout: Duration,
    /// How long requests may take to finish on shutdown.
    #[serde(deserialize_with = "values::duration")]
    pub shutdown_deadline: Duration,
}

impl Settings {
    /// Reads every layer, puts them over each other, and checks the result.
    ///
    /// # Errors
    /// [`ConfigError`], naming the layer and the key, or the variable.
    pub fn load(sources: &Sources) -> Result<Self, ConfigError> {
        let mut layers = Layers::new(parse("the compiled-in defaults", DEFAULTS)?);
        let own = Path::new(FILE_NAME);
        let file = sources.file.as_deref().or_else(|| own.exists().then_some(own));
        if let Some(file) = file {
            let name = file.display().to_string();
            let text = std::fs::read_to_string(file)
                .map_err(|source| ConfigError::File { file: name.clone(), source })?;
            layers.add_file(&name, parse(&name, &text)?)?;
        }
        let (translated, ignored) = otel::translated(&sources.env);
        for (variable, key, text) in translated {
            layers.set_text(variable, key, &text)?;
        }
        layers.add_env(&secret_files::read(sources.env.iter().cloned())?)?;
        for (key, value, argument) in &sources.arguments {
            layers.set_text(argument, key, value)?;
        }
        let mut settings = Self::from_layers(layers)?;
        settings.export.ignored = ignored;
        Ok(settings)
    }

    /// Returns the defaults, with nothing read from the machine.
    ///
    /// # Errors
    /// [`ConfigError`] if the compiled-in file is wrong, which a test excludes.
    pub fn defaults() -> Result<Self, ConfigError> {
        Self::from_layers(Layers::new(parse("the compiled-in defaults", DEFAULTS)?))
    }

    /// Returns the addresses that [`Settings::listen`] names.
    ///
    /// # Errors
    /// The resolver's, or that nothing was found.
    pub fn addresses(&self) -> std::io::Result<Vec<SocketAddr>> {
        validate::resolve(&self.listen)
    }

    /// Returns the port that receives OTLP over HTTP and nothing else; none if it is off, or that of `listen`,
    /// which receives it anyway.
    #[must_use]
    pub fn otlp_http_port(&self) -> Option<u16> {
        let listen = validate::port(&self.listen);
        Some(self.otlp.http_port).filter(|port| *port != 0 && *port != listen)
    }

    /// Returns whether somebody has set a setting, by its dotted key, and not left it as it comes.
    #[must_use]
    pub fn is_set(&self, key: &str) -> bool {
        self.layers.as_deref().is_some_and(|layers| layers.changed(key).is_some())
    }

    /// Returns the effective settings as TOML, secrets redacted, each changed one with its source.
    #[must_use]
    pub fn show(&self) -> String {
        self.layers.as_deref().map(show::show).unwrap_or_default()
    }

    fn from_layers(layers: Layers) -> Result<Self, ConfigError> {
        let mut settings: Self = serde_path_to_error::deserialize(toml::Value::Table(
            layers.merged().clone(),
        ))
        .map_err(|error| {
            let key = error.path().to_string();
            let reason = error.inner().message().to_owned();
            ConfigError::value(layers.source(&key), &key, reason)
        })?;
        let blame = |(key, reason): Fault| {
            // Of two settings that do not fit each other, the one that was changed is to blame.
            let blamed = match key.as_str() {
                "detection.critical_factor" if layers.changed(&key).is_none() => "detection.warning_factor",
                "alerts.stale_after" if layers.changed(&key).is_none() => "alerts.resolve_after",
                "slack.channel" if layers.changed(&key).is_none() => "slack.bot_token",
                key => key,
            };
            ConfigError::value(layers.source(blamed), &key, reason)
        };
        validate::check(&settings).map_err(blame)?;
        settings.channels = channels::channels(&settings.channel, &settings.slack).map_err(blame)?;
        settings.layers = Some(Box::new(layers));
        Ok(settings)
    }
}

/// Returns the environment as texts; a variable that is not Unicode is none of ours and is left out.
#[must_use]
pub fn environment() -> Vec<(String, String)> {
    let variables: BTreeMap<_, _> = std::env::vars_os()
        .filter_map(|(n, v)| Some((n.into_string().ok()?, v.into_string().ok()?)))
        .collect();
    variables.into_iter().collect()
}

/// The pattern of an entry that names none.
fn anything() -> String {
    "*".to_owned()
}

fn parse(file: &str, text: &str) -> Result<toml::Table, ConfigError> {
    text.parse::<toml::Table>().map_err(|error| {
        let line = error
            .span()
            .and_then(|span| text.as_bytes().get(..span.start))
            .map_or(1, |before| before.split(|b| *b == b'\n').count());
        ConfigError::Syntax { file: file.to_owned(), reason: format!("line {line}: {}", error.message()) }
    })
}

#[cfg(test)]
mod tests;
