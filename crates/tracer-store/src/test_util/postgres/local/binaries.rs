//! Finds the PostgreSQL programs of this machine.
//!
//! Invariant: a folder counts only if the server and `initdb` are both in it.
//! Not here: running them.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Folders of distributions that keep the server out of `PATH`; `*` stands for part of one folder's name.
const USUAL_FOLDERS: [&str; 6] = [
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/opt/homebrew/opt/postgresql*/bin",
    "/usr/local/opt/postgresql*/bin",
    "/Applications/Postgres.app/Contents/Versions/*/bin",
    "/usr/local/pgsql*/bin",
];

/// Returns the folder that holds `postgres` and `initdb`: `PATH` before `pg_config`, before the usual folders,
/// and of these the newest version first.
///
/// # Errors
/// What was looked for, in words.
pub(super) fn find() -> Result<PathBuf, String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = USUAL_FOLDERS.iter().flat_map(|pattern| newest_first(pattern));
    std::env::split_paths(&path)
        .chain(folder_of_pg_config())
        .chain(usual)
        .find(|folder| ["postgres", "initdb"].iter().all(|program| folder.join(program).is_file()))
        .ok_or_else(|| "no PostgreSQL server programs (postgres, initdb) on this machine".to_owned())
}

/// Returns where `program` is in `PATH`.
pub(super) fn in_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

fn folder_of_pg_config() -> Option<PathBuf> {
    let answer = Command::new("pg_config").arg("--bindir").output().ok()?;
    let folder = String::from_utf8(answer.stdout).ok()?;
    Some(PathBuf::from(folder.trim())).filter(|folder| folder.is_absolute())
}

fn newest_first(pattern: &str) -> Vec<PathBuf> {
    let Some((before, after)) = pattern.split_once('*') else { return Vec::new() };
    let Some((parent, stem)) = before.rsplit_once('/') else { return Vec::new() };
    let mut found: Vec<(u32, PathBuf)> = fs::read_dir(Path::new(parent))
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(stem))
        .map(|entry| (version_of(&entry.file_name()), entry.path().join(after.trim_start_matches('/'))))
        .collect();
    found.sort_by(|left, right| right.cmp(left));
    found.into_iter().map(|(_, folder)| folder).collect()
}

/// Returns the major version in a folder's name, 0 if there is none.
fn version_of(folder: &OsStr) -> u32 {
    let name = folder.to_string_lossy();
    let digits: String =
        name.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::newest_first;

    #[test]
    fn the_newest_version_comes_first_also_past_nine() {
        let root = tempfile::tempdir().unwrap();
        for version in ["postgresql@9", "postgresql@16", "postgresql@15", "mysql@99"] {
            std::fs::create_dir(root.path().join(version)).unwrap();
        }
        let pattern = format!("{}/postgresql*/bin", root.path().display());
        let found: Vec<String> = newest_first(&pattern)
            .iter()
            .map(|folder| folder.strip_prefix(root.path()).unwrap().display().to_string())
            .collect();
        assert_eq!(found, ["postgresql@16/bin", "postgresql@15/bin", "postgresql@9/bin"]);
    }
}
