//! Shows the effective settings as a file that could be loaded again, once its secrets are put back.

use std::fmt::Write;

use toml::Value;

use super::layers::Layers;
use super::values::REDACTED;

/// Settings that are never shown.
pub(super) const SECRETS: [&str; 5] =
    ["api_keys", "store.url", "slack.webhook_url", "slack.bot_token", "export.headers"];
/// What is never shown of a `[[channel]]`: an address may hold a secret, too.
const OF_CHANNELS: [&str; 4] = ["webhook_url", "bot_token", "url", "secret"];

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
    let shown = match value.as_array().filter(|_| dotted == "channel") {
        Some(channels) => Value::Array(channels.iter().map(without_secrets).collect()),
        None if SECRETS.contains(&dotted) => redacted(value),
        None => value.clone(),
    };
    match layers.changed(dotted) {
        Some(source) => put(text, format_args!("{key} = {shown}  # from {source}\n")),
        None => put(text, format_args!("{key} = {shown}\n")),
    }
}

fn without_secrets(channel: &Value) -> Value {
    let mut shown = channel.clone();
    for (key, value) in shown.as_table_mut().into_iter().flatten() {
        if OF_CHANNELS.contains(&key.as_str()) {
            *value = redacted(value);
        }
    }
    shown
}

fn redacted(value: &Value) -> Value {
    let is_set = value.as_str() != Some("");
    if is_set { Value::String(REDACTED.to_owned()) } else { value.clone() }
}

fn put(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a text cannot fail.
    text.write_fmt(arguments).unwrap_or_default();
}
