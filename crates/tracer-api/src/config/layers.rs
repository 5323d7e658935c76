//! Puts the layers of settings over each other: default, file, environment, arguments.
//!
//! Invariant: the compiled-in file names every setting, so that a key or variable which is not derived from
//! it is unknown, and its value there gives the type of all later ones.
//! Not here: what the values mean (`config`).

use std::collections::BTreeMap;
use std::fmt;

use toml::{Table, Value};

use super::ConfigError;
use super::secret_files::Given;

/// Variables that begin with `TRACER_` and are read elsewhere: by the tests, and by subcommands.
const ELSEWHERE: [&str; 4] = ["TRACER_TEST_", "TRACER_CONFIG", "TRACER_IMPORT_", "TRACER_TAIL_"];

/// Short names of settings, weaker than the derived ones.
pub(super) const ALIASES: [(&str, &str); 5] = [
    ("DATABASE_URL", "store.url"),
    ("TRACER_LOG", "log.level"),
    ("SLACK_WEBHOOK_URL", "slack.webhook_url"),
    ("SLACK_BOT_TOKEN", "slack.bot_token"),
    ("SLACK_CHANNEL", "slack.channel"),
];

/// The settings so far, and where each came from.
#[derive(Clone)]
pub(super) struct Layers {
    defaults: Table,
    merged: Table,
    /// Dotted key to the layer that set it last; what is absent is a default.
    sources: BTreeMap<String, String>,
}

impl fmt::Debug for Layers {
    /// Shows no value: some are secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Layers").field("sources", &self.sources).finish_non_exhaustive()
    }
}

impl Layers {
    /// Starts from the compiled-in file.
    pub(super) fn new(defaults: Table) -> Self {
        Self { merged: defaults.clone(), defaults, sources: BTreeMap::new() }
    }

    /// Lays a file over what is there.
    pub(super) fn add_file(&mut self, name: &str, table: Table) -> Result<(), ConfigError> {
        for (key, value) in table {
            match (self.defaults.get(&key), value) {
                (Some(Value::Table(_)), Value::Table(section)) => {
                    for (inner, value) in section {
                        self.set(name, &format!("{key}.{inner}"), value)?;
                    }
                }
                (Some(Value::Table(_)), _) => {
                    return Err(ConfigError::value(name, &key, format!("is a section: write [{key}]")));
                }
                (_, value) => self.set(name, &key, value)?,
            }
        }
        Ok(())
    }

    /// Lays the environment over what is there; refuses a variable that looks like a setting and is none.
    pub(super) fn add_env(&mut self, variables: &BTreeMap<String, Given>) -> Result<(), ConfigError> {
        let by_name: BTreeMap<String, String> = self.keys().map(|key| (variable_of(&key), key)).collect();
        for (alias, key) in ALIASES {
            if let Some(Given { source, text }) = variables.get(alias) {
                self.set_text(source, key, text)?;
            }
        }
        for (name, Given { source, text }) in variables {
            if let Some(key) = by_name.get(name) {
                self.set_text(source, key, text)?;
            } else if name.starts_with("TRACER_") && !is_elsewhere(name) {
                let known = by_name.keys().map(String::as_str);
                return Err(ConfigError::Variable { name: name.clone(), near: nearest(name, known) });
            }
        }
        Ok(())
    }

    /// Sets one key from a text, as the environment and the command line do.
    pub(super) fn set_text(&mut self, source: &str, key: &str, text: &str) -> Result<(), ConfigError> {
        let Some(default) = find(&self.defaults, key) else { return Err(self.unknown(source, key)) };
        let value = if default.is_str() {
            Some(Value::String(text.to_owned()))
        } else {
            // Arrays may be written without their brackets.
            let text = if default.is_array() && !text.trim_start().starts_with('[') {
                format!("[{text}]")
            } else {
                text.trim().to_owned()
            };
            // Through a table, because a bare value is not a document.
            format!("value = {text}").parse::<Table>().ok().and_then(|mut t| t.remove("value"))
        };
        let Some(value) = value else { return Err(ConfigError::value(source, key, expected(default))) };
        self.set(source, key, value)
    }

    /// Returns the merged table.
    pub(super) fn merged(&self) -> &Table {
        &self.merged
    }

    /// Returns where a setting, or the part of one, came from.
    pub(super) fn source(&self, key: &str) -> &str {
        let mut key = key;
        loop {
            if let Some(source) = self.sources.get(key) {
                return source;
            }
            // `detect[0].step` was set as `detect`.
            match key.rfind(['.', '[']).and_then(|at| key.split_at_checked(at)) {
                Some((parent, _)) => key = parent,
                None => return "the defaults",
            }
        }
    }

    /// Returns where a setting came from, if it is not the default.
    pub(super) fn changed(&self, key: &str) -> Option<&str> {
        self.sources.get(key).map(String::as_str)
    }

    fn set(&mut self, source: &str, key: &str, value: Value) -> Result<(), ConfigError> {
        let Some(default) = find(&self.defaults, key) else { return Err(self.unknown(source, key)) };
        let value = match (default, value) {
            (Value::Float(_), Value::Integer(whole)) => Value::Float(small_float(whole)),
            (default, value) if default.same_type(&value) => value,
            (default, _) => return Err(ConfigError::value(source, key, expected(default))),
        };
        match key.split_once('.') {
            Some((section, inner)) => {
                if let Some(Value::Table(section)) = self.merged.get_mut(section) {
                    section.insert(inner.to_owned(), value);
                }
            }
            None => {
                self.merged.insert(key.to_owned(), value);
            }
        }
        self.sources.insert(key.to_owned(), source.to_owned());
        Ok(())
    }

    fn unknown(&self, source: &str, key: &str) -> ConfigError {
        let keys: Vec<String> = self.keys().chain(self.sections()).collect();
        let near = nearest(key, keys.iter().map(String::as_str));
        ConfigError::Unknown { source_name: source.to_owned(), key: key.to_owned(), near }
    }

    fn sections(&self) -> impl Iterator<Item = String> {
        self.defaults.iter().filter(|(_, value)| value.is_table()).map(|(key, _)| key.clone())
    }

    /// Returns the dotted key of every setting.
    fn keys(&self) -> impl Iterator<Item = String> {
        self.defaults.iter().flat_map(|(key, value)| match value.as_table() {
            Some(section) => section.keys().map(|inner| format!("{key}.{inner}")).collect(),
            None => vec![key.clone()],
        })
    }
}

/// Returns the name of the variable that sets a key: `store.pool_size` is `TRACER_STORE_POOL_SIZE`.
pub(super) fn variable_of(key: &str) -> String {
    format!("TRACER_{}", key.replace('.', "_").to_ascii_uppercase())
}

fn is_elsewhere(name: &str) -> bool {
    let alias = ALIASES.iter().any(|(alias, _)| *alias == name);
    alias
        || ELSEWHERE
            .iter()
            .any(|known| if known.ends_with('_') { name.starts_with(known) } else { name == *known })
}

fn find<'a>(table: &'a Table, key: &str) -> Option<&'a Value> {
    match key.split_once('.') {
        Some((section, inner)) => table.get(section)?.as_table()?.get(inner),
        None => table.get(key).filter(|value| !value.is_table()),
    }
}

fn expected(default: &Value) -> String {
    let kind = match default {
        Value::String(_) => "a text in quotes",
        Value::Integer(_) => "a whole number",
        Value::Float(_) => "a number",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a date",
        Value::Array(_) => "a list, such as [\"a\", \"b\"]",
        Value::Table(_) => "a section",
    };
    format!("expected {kind}")
}

/// Returns the known name that differs least, if it is near enough to be what was meant.
fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    let last = |key: &'a str| key.rsplit('.').next().unwrap_or(key);
    known
        .map(|candidate| {
            // A key in the wrong section is as near as one with a wrong letter.
            let distance = strsim::damerau_levenshtein(name, candidate);
            let inner = name.rsplit('.').next().unwrap_or(name);
            (distance.min(1 + strsim::damerau_levenshtein(inner, last(candidate))), candidate)
        })
        .min()
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 8)
        .map(|(_, candidate)| candidate.to_owned())
}

#[expect(clippy::cast_precision_loss, reason = "factors are small; what is not small is refused afterwards")]
fn small_float(whole: i64) -> f64 {
    whole as f64
}
