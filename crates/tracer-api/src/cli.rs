//! What may be written after `tracer`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use tracer_api::app::ImportOptions;
use tracer_api::config::{Secret, Sources, environment};
use tracer_api::healthcheck::HealthcheckOptions;
use tracer_api::import::format::Format;
use tracer_api::tail::TailOptions;

const EXAMPLES: &str = "\
Examples:
  tracer                                          serve on 127.0.0.1:8000, data in ./data/tracer.db
  tracer --listen :8000 --insecure                serve the whole network, without keys
  DATABASE_URL=postgres://HOST/DATABASE tracer    serve over PostgreSQL
  tracer --set detection.min_samples=20           change any setting of config/tracer.toml
  tracer check-config                             show the settings in effect, secrets redacted
  tracer notify-test slack                        see that what is told arrives
  tracer import runs/ traces.jsonl                record the executions in these files
  tracer tail --workflow nightly_etl              watch it while it runs
  tracer healthcheck                              ask the service that runs here whether it is ready

Every setting can also come from ./tracer.toml or the environment: TRACER_, section, key
(TRACER_STORE_POOL_SIZE). Exit codes: 0 done, 1 failed, 2 wrong arguments or settings.";

/// Record every step of every workflow, and learn which one is slow
#[derive(Debug, Parser)]
#[command(name = "tracer", version, after_help = EXAMPLES)]
pub(crate) struct Cli {
    /// What to do; serve, if nothing is named.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    /// What changes the settings.
    #[command(flatten)]
    pub(crate) settings: SettingsArgs,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve until SIGTERM (the default)
    Serve,
    /// Bring the database's schema up to date, then exit
    Migrate,
    /// Record executions that other systems have run
    Import(ImportCommand),
    /// Watch what happens in a service, as it happens, until Ctrl-C
    Tail(TailArgs),
    /// Ask a service whether it is ready; exit code 0 if so, and 1 if not
    Healthcheck(HealthcheckArgs),
    /// Tell a channel of an incident that there is not, to see that it arrives
    NotifyTest {
        /// The channel's name in the settings: `slack`, `log`, or that of a `[[channel]]`
        #[arg(value_name = "CHANNEL")]
        channel: String,
    },
    /// Show the settings in effect and where each came from, or say what is wrong with them
    CheckConfig,
}

/// What to watch.
#[derive(Debug, Args)]
pub(crate) struct TailArgs {
    /// Only of this workflow; may be repeated
    #[arg(long = "workflow", value_name = "NAME")]
    workflows: Vec<String>,
    /// Only of this execution; may be repeated
    #[arg(long = "execution", value_name = "ID")]
    executions: Vec<String>,
    /// Only these kinds: workflow_start, step_start, step_complete, bottleneck, in_flight, workflow_end, incident, event
    #[arg(long = "kind", value_name = "KIND", value_delimiter = ',')]
    kinds: Vec<String>,
    /// The service
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8000", env = "TRACER_TAIL_URL")]
    url: String,
    /// A key of the service with the scope read; better given by the variable, which `ps` does not show
    #[arg(long, value_name = "KEY", env = "TRACER_TAIL_API_KEY", hide_env_values = true)]
    api_key: Option<String>,
}

impl From<TailArgs> for TailOptions {
    fn from(arguments: TailArgs) -> Self {
        let TailArgs { workflows, executions, kinds, url, api_key } = arguments;
        Self { url, api_key: api_key.map(Secret::new), workflows, executions, kinds }
    }
}

/// Whom to ask, and what.
#[derive(Debug, Args)]
pub(crate) struct HealthcheckArgs {
    /// The service; without it, the one that these settings describe, at its `listen`
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Ask only whether the process lives, whatever its database does
    #[arg(long)]
    live: bool,
}

impl From<HealthcheckArgs> for HealthcheckOptions {
    fn from(arguments: HealthcheckArgs) -> Self {
        let HealthcheckArgs { url, live } = arguments;
        Self { url, live }
    }
}

/// What to import, and in which form it is.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_value_name = "FORMAT",
    subcommand_help_heading = "Formats"
)]
pub(crate) struct ImportCommand {
    /// The form of the files; recognised by their content if it is not named.
    #[command(subcommand)]
    format: Option<ImportFormat>,
    /// What to import.
    #[command(flatten)]
    arguments: ImportArgs,
}

/// The form of the files to import.
#[derive(Debug, Subcommand)]
enum ImportFormat {
    /// WfFormat 1.4 or 1.5 (wfcommons.org): one execution per file
    Wfformat(ImportArgs),
    /// OTLP JSON lines, as the OpenTelemetry Collector's file exporter writes them
    Otlp(ImportArgs),
}

/// What to import.
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// Files, or folders of files that end in .json, .jsonl or .ndjson (or that and .gz)
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Record under this name instead of those in the files
    #[arg(long, value_name = "NAME")]
    workflow_name: Option<String>,
    /// Record through the service at this address, which has the database open
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// A key of that service with the scope ingest; better given by the variable, which `ps` does not show
    #[arg(long, value_name = "KEY", env = "TRACER_IMPORT_API_KEY", hide_env_values = true)]
    api_key: Option<String>,
}

impl From<ImportCommand> for ImportOptions {
    fn from(command: ImportCommand) -> Self {
        let (format, arguments) = match command.format {
            None => (None, command.arguments),
            Some(ImportFormat::Wfformat(arguments)) => (Some(Format::Wfformat), arguments),
            Some(ImportFormat::Otlp(arguments)) => (Some(Format::Otlp), arguments),
        };
        let ImportArgs { files, workflow_name, url, api_key } = arguments;
        Self { files, format, workflow_name, url, api_key: api_key.map(Secret::new) }
    }
}

/// What changes the settings, before or after the subcommand.
#[derive(Debug, Args)]
#[command(next_help_heading = "Settings")]
pub(crate) struct SettingsArgs {
    /// Read this file instead of ./tracer.toml
    #[arg(long, global = true, value_name = "FILE", env = "TRACER_CONFIG")]
    config: Option<PathBuf>,
    /// Serve here: host:port, or :port for every address
    #[arg(long, global = true, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Serve other machines even without API keys
    #[arg(long, global = true)]
    insecure: bool,
    /// Keep data in this PostgreSQL database; better given as DATABASE_URL, which `ps` does not show
    #[arg(long, global = true, value_name = "URL")]
    database_url: Option<String>,
    /// Log from this level on: error, warn, info, debug or trace
    #[arg(long, global = true, value_name = "LEVEL")]
    log_level: Option<String>,
    /// Set any setting
    #[arg(long, global = true, value_name = "KEY=VALUE", value_parser = key_value)]
    set: Vec<(String, String)>,
}

impl SettingsArgs {
    /// Returns where the settings come from.
    pub(crate) fn sources(&self) -> Sources {
        let named = |key: &str, value: &Option<String>, argument: &str| {
            value.as_ref().map(|value| (key.to_owned(), value.clone(), argument.to_owned()))
        };
        let general = self.set.iter().map(|(key, value)| (key.clone(), value.clone(), "--set".to_owned()));
        let special = [
            named("listen", &self.listen, "--listen"),
            named("insecure", &self.insecure.then(|| "true".to_owned()), "--insecure"),
            named("store.url", &self.database_url, "--database-url"),
            named("log.level", &self.log_level, "--log-level"),
        ];
        let arguments = general.chain(special.into_iter().flatten()).collect();
        Sources { file: self.config.clone(), env: environment(), arguments }
    }
}

fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE, such as store.pool_size=8")?;
    Ok((key.trim().to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn serve_is_what_happens_without_a_subcommand_and_settings_stand_anywhere() {
        let parse = |line: &str| Cli::try_parse_from(line.split(' ')).unwrap();
        for line in [
            "tracer --listen :1 --insecure",
            "tracer serve --insecure --listen :1",
            "tracer --listen :1 serve --insecure",
        ] {
            let cli = parse(line);
            assert!(matches!(cli.command, None | Some(Command::Serve)), "{line}");
            let arguments = cli.settings.sources().arguments;
            assert_eq!(
                arguments.iter().map(|(key, value, _)| format!("{key}={value}")).collect::<Vec<_>>(),
                ["listen=:1", "insecure=true"]
            );
        }
    }

    #[test]
    fn an_import_takes_files_and_options() {
        let options = |line: &str| match Cli::try_parse_from(line.split(' ')).map(|cli| cli.command) {
            Ok(Some(Command::Import(command))) => Some(ImportOptions::from(command)),
            Ok(_) | Err(_) => None,
        };
        for (line, format) in [
            ("tracer import a.json b.json --workflow-name blast --url http://h:1", None),
            (
                "tracer import wfformat a.json b.json --workflow-name blast --url http://h:1",
                Some(Format::Wfformat),
            ),
            ("tracer import otlp --workflow-name blast a.json b.json", Some(Format::Otlp)),
        ] {
            let options = options(line).expect(line);
            assert_eq!((options.files.len(), options.format), (2, format), "{line}");
            assert_eq!(options.workflow_name.as_deref(), Some("blast"), "{line}");
        }
        for wrong in ["tracer import", "tracer import wfformat", "tracer import otlp"] {
            assert!(options(wrong).is_none(), "{wrong}");
        }
    }
}
