//! Makes the dashboards: `dashboards/*.json` are written from here, and changed nowhere else.
//!
//! What all panels share, units, colours, words for when there is nothing, is written once; a panel says only what is
//! its own. `cargo xtask tidy` says when a file and this differ.
//! Not here: what makes a dashboard a good one (`tidy::dashboards`).

mod alerts;
mod board;
pub(crate) mod fill;
mod infrastructure;
mod internals;
mod link;
mod overview;
pub(crate) mod panel;
pub(crate) mod query;
mod shared;
mod slo;
mod style;
mod workflow;

use std::fs;

use anyhow::{Context, Result};

pub(crate) use board::Board;

use crate::sources;

/// The folder of the files, from the root.
pub(crate) const FOLDER: &str = "dashboards";

/// Returns every dashboard.
pub(crate) fn all() -> Vec<Board> {
    vec![
        overview::board(),
        workflow::board(),
        slo::board(),
        alerts::board(),
        internals::board(),
        infrastructure::board(),
    ]
}

/// Writes every dashboard into its file.
#[expect(clippy::print_stdout, reason = "whoever writes files wants to know which")]
pub(crate) fn write() -> Result<()> {
    let folder = sources::root()?.join(FOLDER);
    fs::create_dir_all(&folder)?;
    for board in all() {
        let file = folder.join(format!("{}.json", board.uid));
        let text = serde_json::to_string_pretty(&board.json())?;
        fs::write(&file, text + "\n").with_context(|| format!("{} cannot be written", file.display()))?;
        println!("{FOLDER}/{}.json", board.uid);
    }
    Ok(())
}
