//! The environment variables that OpenTelemetry specifies for exporters, as settings of `[export]`.
//!
//! By the specification, an empty variable is as one that is not set, what is set for traces wins over what is set
//! for all signals, and a value of a known variable that is not understood is told of and ignored.
//! Not here: what the settings mean (`export`).

use std::collections::BTreeMap;

use super::export;

/// A variable, the setting that it gives, and the text that the setting gets.
pub(super) type Translated = (&'static str, &'static str, String);

/// What the text of a variable says.
enum Meaning {
    /// The setting gets this text.
    Set(String),
    /// The setting stays as it is.
    Nothing,
    /// It is not understood.
    Unknown,
}

/// A variable, the setting that it gives, and how its text is read.
type Variable = (&'static str, &'static str, fn(&str) -> Meaning);

/// The variables; a later one wins over an earlier one of the same setting.
const VARIABLES: [Variable; 18] = [
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "export.endpoint", as_is),
    ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "export.traces_endpoint", as_is),
    ("OTEL_EXPORTER_OTLP_HEADERS", "export.headers", pairs),
    ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "export.headers", pairs),
    ("OTEL_EXPORTER_OTLP_PROTOCOL", "export.protocol", protocol),
    ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "export.protocol", protocol),
    ("OTEL_EXPORTER_OTLP_COMPRESSION", "export.compression", compression),
    ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "export.compression", compression),
    ("OTEL_EXPORTER_OTLP_TIMEOUT", "export.timeout", milliseconds),
    ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "export.timeout", milliseconds),
    ("OTEL_EXPORTER_OTLP_CERTIFICATE", "export.certificate", as_is),
    ("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "export.certificate", as_is),
    ("OTEL_SERVICE_NAME", "export.service_name", as_is),
    ("OTEL_RESOURCE_ATTRIBUTES", "export.resource_attributes", pairs),
    ("OTEL_TRACES_EXPORTER", "export.disabled", exporter),
    ("OTEL_SDK_DISABLED", "export.disabled", disabled),
    ("OTEL_TRACES_SAMPLER", "export.sampler", sampler),
    ("OTEL_TRACES_SAMPLER_ARG", "export.sampler_arg", share),
];

/// Returns what the variables set, and what was ignored, in a sentence each.
pub(super) fn translated(environment: &[(String, String)]) -> (Vec<Translated>, Vec<String>) {
    let environment: BTreeMap<&str, &str> =
        environment.iter().map(|(name, text)| (name.as_str(), text.trim())).collect();
    let (mut set, mut ignored) = (Vec::new(), Vec::new());
    for (variable, key, meaning) in VARIABLES {
        let Some(text) = environment.get(variable).filter(|text| !text.is_empty()) else { continue };
        match meaning(text) {
            Meaning::Set(text) => set.push((variable, key, text)),
            Meaning::Nothing => {}
            Meaning::Unknown => ignored.push(format!("{variable} is ignored: its value is not understood")),
        }
    }
    (set, ignored)
}

fn as_is(text: &str) -> Meaning {
    Meaning::Set(text.to_owned())
}

fn pairs(text: &str) -> Meaning {
    if export::pairs(text).is_some() { as_is(text) } else { Meaning::Unknown }
}

fn one_of(known: &[&str], text: &str) -> Meaning {
    if known.contains(&text) { as_is(text) } else { Meaning::Unknown }
}

fn protocol(text: &str) -> Meaning {
    one_of(&["http/protobuf", "http/json", "grpc"], text)
}

fn compression(text: &str) -> Meaning {
    one_of(&["gzip", "none"], text)
}

fn sampler(text: &str) -> Meaning {
    let plain = ["always_on", "always_off", "traceidratio"];
    let by_parent = ["parentbased_always_on", "parentbased_always_off", "parentbased_traceidratio"];
    one_of(&[plain, by_parent].concat(), text)
}

fn share(text: &str) -> Meaning {
    if export::ratio(text).is_some() { as_is(text) } else { Meaning::Unknown }
}

fn milliseconds(text: &str) -> Meaning {
    match text.parse::<u32>() {
        // None at all is not what anybody means.
        Ok(0) | Err(_) => Meaning::Unknown,
        Ok(millis) => Meaning::Set(format!("{millis}ms")),
    }
}

fn exporter(text: &str) -> Meaning {
    match text {
        "otlp" => Meaning::Nothing,
        "none" => Meaning::Set("true".to_owned()),
        _ => Meaning::Unknown,
    }
}

fn disabled(text: &str) -> Meaning {
    match text.to_ascii_lowercase().as_str() {
        "true" => Meaning::Set("true".to_owned()),
        "false" => Meaning::Nothing,
        _ => Meaning::Unknown,
    }
}
