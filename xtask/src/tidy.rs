//! Checks what compilers do not.
//!
//! Each check returns what is wrong, as `path: what`, so that all of it is seen at once.

mod dashboards;
mod metrics;
mod provisioning;
mod rules;

use std::collections::BTreeSet;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::kubernetes;
use crate::sources::{self, Source};

/// Crates that bring a runtime, a driver or a socket, and so may not stand below `tracer-core`.
const NOT_IN_CORE: [&str; 9] =
    ["tokio", "mio", "socket2", "hyper", "reqwest", "actix-web", "rusqlite", "tokio-postgres", "metrics"];

/// Longest source file, in lines: past it a newcomer loses the way.
const LONGEST_FILE: usize = 600;

/// Runs every check.
pub(crate) fn run() -> Result<()> {
    let sources = sources::all()?;
    let mut wrong = core_depends_on_values_alone()?;
    wrong.extend(store_and_alert_never_meet(&sources));
    wrong.extend(each_kind_of_code_in_its_crate(&sources));
    wrong.extend(nothing_left_lying_about(&sources));
    wrong.extend(files_are_rooms(&sources));
    wrong.extend(migrations_come_in_pairs(&sources));
    wrong.extend(kubernetes::check(&sources));
    let mut known = metrics::Known::of(&sources);
    wrong.extend(rules::check(&sources, &mut known));
    wrong.extend(dashboards::check(&sources, &known));
    wrong.extend(provisioning::check(&sources));
    wrong.extend(metrics::documented(&sources, &known));
    if wrong.is_empty() {
        return Ok(());
    }
    bail!("{} thing(s) to tidy:\n  {}", wrong.len(), wrong.join("\n  "))
}

fn core_depends_on_values_alone() -> Result<Vec<String>> {
    let tree = Command::new("cargo")
        .args([
            "tree",
            "--package",
            "tracer-core",
            "--edges",
            "normal",
            "--prefix",
            "none",
            "--format",
            "{lib}",
        ])
        .current_dir(sources::root()?)
        .output()
        .context("cargo tree could not be started")?;
    ensure!(tree.status.success(), "cargo tree failed: {}", String::from_utf8_lossy(&tree.stderr));
    let tree = String::from_utf8_lossy(&tree.stdout).replace('_', "-");
    let crates: BTreeSet<&str> = tree.lines().map(str::trim).collect();
    let below = NOT_IN_CORE.iter().filter(|name| crates.contains(*name));
    Ok(below
        .map(|name| format!("crates/tracer-core: depends on {name}, and may hold values alone"))
        .collect())
}

fn store_and_alert_never_meet(sources: &[Source]) -> Vec<String> {
    let pairs = [("crates/tracer-store/", "tracer-alert"), ("crates/tracer-alert/", "tracer-store")];
    let meets = |source: &Source, (folder, other): (&str, &str)| {
        source.path.starts_with(folder)
            && source.path.ends_with("Cargo.toml")
            && source.text.contains(&format!("{other}.workspace"))
    };
    let mut wrong = Vec::new();
    for source in sources {
        let met = pairs.into_iter().filter(|pair| meets(source, *pair));
        wrong.extend(met.map(|(_, other)| format!("{}: must not depend on {other}", source.path)));
    }
    wrong
}

fn each_kind_of_code_in_its_crate(sources: &[Source]) -> Vec<String> {
    let rules = [
        ("actix_web::", "crates/tracer-api/", "HTTP"),
        ("tokio_postgres::", "crates/tracer-store/", "PostgreSQL"),
        ("rusqlite::", "crates/tracer-store/", "SQLite"),
        ("INSERT INTO ", "crates/tracer-store/", "SQL"),
        ("DELETE FROM ", "crates/tracer-store/", "SQL"),
    ];
    let mut wrong = Vec::new();
    for source in sources.iter().filter(|source| is_product_code(source)) {
        let strays = rules
            .iter()
            .filter(|(mark, home, _)| !source.path.starts_with(home) && source.text.contains(mark));
        wrong.extend(strays.map(|(_, home, what)| format!("{}: {what} belongs in {home}", source.path)));
    }
    wrong
}

/// Code that ships: tests may reach into a database, and this file names what it looks for.
fn is_product_code(source: &Source) -> bool {
    source.path.ends_with(".rs")
        && source.path.starts_with("crates/")
        && source.path.contains("/src/")
        && !is_test(source)
}

fn is_test(source: &Source) -> bool {
    ["/tests/", "/tests.rs", "/test_util/"].iter().any(|part| source.path.contains(part))
}

fn nothing_left_lying_about(sources: &[Source]) -> Vec<String> {
    // Put together here, so that this file does not find itself.
    let forbidden = [
        (["#[ign", "ore"].concat(), "a skipped test hides a failure"),
        (["FIX", "ME"].concat(), "mend it or write it down as an issue"),
        (["TO", "DO"].concat(), "do it or write it down as an issue"),
        (["/wo", "rk/"].concat(), "a path of one machine"),
        (["/ro", "ot/"].concat(), "a path of one machine"),
    ];
    let mut wrong = Vec::new();
    for source in sources.iter().filter(|source| source.path != "Cargo.lock") {
        for (number, line) in source.text.lines().enumerate() {
            let found = forbidden.iter().filter(|(mark, _)| line.contains(mark.as_str()));
            wrong.extend(found.map(|(mark, why)| format!("{}:{}: {mark}: {why}", source.path, number + 1)));
        }
    }
    wrong
}

fn files_are_rooms(sources: &[Source]) -> Vec<String> {
    let mut wrong = Vec::new();
    for source in sources.iter().filter(|source| source.path.ends_with(".rs")) {
        let lines = source.text.lines().count();
        if lines > LONGEST_FILE {
            wrong.push(format!(
                "{}: {lines} lines, more than {LONGEST_FILE}: split it by subject",
                source.path
            ));
        }
        if is_product_code(source) && !source.text.starts_with("//!") {
            wrong.push(format!("{}: must open with what it is for (//!)", source.path));
        }
    }
    wrong
}

fn migrations_come_in_pairs(sources: &[Source]) -> Vec<String> {
    let names = |store: &str| -> BTreeSet<&str> {
        let folder = format!("migrations/{store}/");
        sources.iter().filter_map(|source| source.path.strip_prefix(folder.as_str())).collect()
    };
    let (postgres, embedded) = (names("postgres"), names("embedded"));
    let missing = |store: &'static str| move |name: &&str| format!("migrations/{store}: {name} is missing");
    let mut wrong: Vec<String> = postgres.difference(&embedded).map(missing("embedded")).collect();
    wrong.extend(embedded.difference(&postgres).map(missing("postgres")));
    wrong
}

#[cfg(test)]
fn source(path: &str, text: &str) -> Source {
    Source { path: path.to_owned(), text: text.to_owned() }
}
