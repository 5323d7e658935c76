//! The project's own chores. `cargo xtask --help` lists them.

mod ci;
mod soak;
mod sources;
mod tidy;
mod tool;

use clap::{Parser, Subcommand};

/// The project's own chores.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Debug, Subcommand)]
enum Chore {
    /// Runs what must pass besides the tests: formatting, clippy, rustdoc, tidy.
    Ci,
    /// Checks what compilers do not: which way dependencies point, and what must not be in the tree.
    Tidy,
    /// Measures the service beside the limits of this machine; `bench --help` says what.
    #[command(disable_help_flag = true)]
    Bench(tool::Tool),
    /// Scores detection on real executions in WfFormat; `detect-eval --help` says how.
    #[command(disable_help_flag = true)]
    DetectEval(tool::Tool),
    /// Drives running services with many clients and says how every request ended.
    Soak(soak::Soak),
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().chore {
        Chore::Ci => ci::run(),
        Chore::Tidy => tidy::run(),
        Chore::Bench(bench) => tool::run("xtask-bench", &bench),
        Chore::DetectEval(eval) => tool::run("xtask-eval", &eval),
        Chore::Soak(soak) => soak::run(&soak),
    }
}
