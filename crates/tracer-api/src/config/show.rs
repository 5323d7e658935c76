//! Shows the effective settings as a file that could be loaded again, once its secrets are put back.

use std::fmt::Write;

use toml::Value;

use super::layers::Layers;
use super::values::REDACTED;

/// Settings that are never shown.
const SECRETS: [&str; 2] = ["api_keys", "store.url"];

/// Writes every setting; behind a changed one, what changed it.
pub(super) fn show(layers: &Layers) -> String {
    let mut text = String::new();
    for (key, value) in layers.merged().iter().filter(|(_, value)| !is_section(value)) {
        line(&mut text, layers, key, key, value);
    }
    for (section, value) in layers.merged() {
        let Value::Table(inner) = value else { continue };
        put(&mut text, format_args!("\n[{section}]\n"));
        for (key, value) in inner {
            line(&mut text, layers, &format!("{section}.{key}"), key, value);
        }
    }
    text
}

fn is_section(value: &Value) -> bool {
    value.is_table()
}

fn line(text: &mut String, layers: &Layers, dotted: &str, key: &str, value: &Value) {
    let secret = SECRETS.contains(&dotted) && value.as_str() != Some("");
    let shown = if secret { Value::String(REDACTED.to_owned()) } else { value.clone() };
    match layers.changed(dotted) {
        Some(source) => put(text, format_args!("{key} = {shown}  # from {source}\n")),
        None => put(text, format_args!("{key} = {shown}\n")),
    }
}

fn put(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a text cannot fail.
    text.write_fmt(arguments).unwrap_or_default();
}
