//! The command line: arguments in, exit codes out.
//!
//! 0: done. 1: failed. 2: the arguments or the settings are wrong.

mod cli;

use std::process::ExitCode;

use clap::Parser;
use tracer_api::app;
use tracer_api::auth::{Exposed, check_exposure};
use tracer_api::config::Settings;
use tracer_api::healthcheck::healthcheck;
use tracer_api::{shutdown, tail};
use tracer_core::chain::Chain;

use self::cli::{Cli, Command};

const FAILED: u8 = 1;
const WRONG_USAGE: u8 = 2;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let settings = match Settings::load(&cli.settings.sources()) {
        Ok(settings) => settings,
        Err(error) => {
            let hint = "'tracer check-config' checks the settings without starting; config/tracer.toml lists them all";
            return complain(&Chain(&error), Some(hint), WRONG_USAGE);
        }
    };
    match run(cli.command, settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let code = if error.is::<Exposed>() { WRONG_USAGE } else { FAILED };
            // The alternate form joins an error and its causes by colons.
            complain(&format_args!("{error:#}"), None, code)
        }
    }
}

fn run(command: Option<Command>, settings: Settings) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match command.unwrap_or(Command::Serve) {
        Command::Serve => runtime.block_on(app::serve(settings)),
        Command::Migrate => runtime.block_on(app::migrate(settings)),
        Command::Import(arguments) => runtime.block_on(app::import(settings, arguments.into())),
        Command::Tail(arguments) => {
            runtime.block_on(async { tail::tail(arguments.into(), shutdown::on_signal()?).await })
        }
        Command::Healthcheck(arguments) => {
            show(&runtime.block_on(healthcheck(&settings, &arguments.into()))?);
            Ok(())
        }
        Command::NotifyTest { channel } => runtime.block_on(app::notify_test(settings, &channel)),
        Command::CheckConfig => {
            show(settings.show().trim_end_matches('\n'));
            // What `serve` would refuse before it binds.
            check_exposure(&settings.addresses()?, &settings.api_keys, settings.insecure)?;
            Ok(())
        }
    }
}

#[expect(clippy::print_stdout, reason = "this is the subcommand's output")]
fn show(text: &str) {
    println!("{text}");
}

#[expect(clippy::print_stderr, reason = "the log is not there yet, or gone already")]
fn complain(error: &dyn std::fmt::Display, hint: Option<&str>, code: u8) -> ExitCode {
    eprintln!("tracer: {error}");
    if let Some(hint) = hint {
        eprintln!("hint: {hint}");
    }
    ExitCode::from(code)
}
