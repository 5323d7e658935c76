//! The project's own chores. `cargo xtask --help` lists them.

mod ci;
mod dashboards;
mod kubernetes;
mod promql;
mod sources;
mod stack;
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
    /// Runs what must pass besides the tests: formatting, clippy, rustdoc, tidy, the stack.
    Ci,
    /// Checks what compilers do not: which way dependencies point, and what must not be in the tree.
    Tidy,
    /// Writes the dashboards of Grafana into `dashboards/`.
    Dashboards,
    /// Measures the service beside the limits of this machine; `bench --help` says what.
    #[command(disable_help_flag = true)]
    Bench(tool::Tool),
    /// Scores detection on real executions in WfFormat; `detect-eval --help` says how.
    #[command(disable_help_flag = true)]
    DetectEval(tool::Tool),
    /// Brings up what this machine has of the stack, and says of each part whether it passes.
    Stack(stack::Stack),
    /// Runs a realistic mix of workflows against running services, at a set rate; `load --help` says how.
    #[command(disable_help_flag = true)]
    Load(tool::Tool),
    /// Kills replicas, the database and the network under load, and checks that nothing is lost; `chaos --help` says how.
    #[command(disable_help_flag = true)]
    Chaos(tool::Tool),
    /// Writes what Kubernetes gets of the rules of Prometheus.
    Kubernetes,
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().chore {
        Chore::Ci => ci::run(),
        Chore::Tidy => tidy::run(),
        Chore::Dashboards => dashboards::write(),
        Chore::Bench(bench) => tool::run("xtask-bench", &[], &bench),
        Chore::DetectEval(eval) => tool::run("xtask-eval", &[], &eval),
        Chore::Stack(stack) => stack::run(&stack),
        Chore::Load(load) => tool::run("xtask-load", &["load"], &load),
        Chore::Chaos(chaos) => tool::run("xtask-load", &["chaos"], &chaos),
        Chore::Kubernetes => kubernetes::run(),
    }
}
