//! `[export]`, and the variables of OpenTelemetry that set it.

use super::*;

fn target(settings: &Settings) -> String {
    settings.export.target().unwrap().map_or("nowhere".to_owned(), |url| url.to_string())
}

fn of(env: &[(&str, &str)]) -> Settings {
    load("", env, &[]).unwrap()
}

const BASE: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const TRACES: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
const PROTOCOL: &str = "OTEL_EXPORTER_OTLP_PROTOCOL";

#[test]
fn nothing_is_exported_unless_it_is_said_where() {
    assert_eq!(target(&Settings::defaults().unwrap()), "nowhere");
    assert_eq!(target(&of(&[(BASE, "")])), "nowhere");
}

#[test]
fn a_base_gets_the_path_of_the_signal_and_an_address_of_the_signal_is_used_as_it_is() {
    for (env, expected) in [
        (&[(BASE, "http://localhost:4318")][..], "http://localhost:4318/v1/traces"),
        (&[(BASE, "http://localhost:4318/")], "http://localhost:4318/v1/traces"),
        (&[(BASE, "https://host/my/collector/")], "https://host/my/collector/v1/traces"),
        (&[(TRACES, "http://localhost:4318")], "http://localhost:4318/"),
        (&[(TRACES, "http://localhost:4318/x"), (BASE, "http://other")], "http://localhost:4318/x"),
        (&[(BASE, "http://localhost:4317"), (PROTOCOL, "grpc")], "http://localhost:4317/"),
        (&[(BASE, "http://a"), ("TRACER_EXPORT_ENDPOINT", "http://b")], "http://b/v1/traces"),
        (&[(BASE, "http://a"), ("OTEL_SDK_DISABLED", "TRUE")], "nowhere"),
        (&[(BASE, "http://a"), ("OTEL_SDK_DISABLED", "false")], "http://a/v1/traces"),
        (&[(BASE, "http://a"), ("OTEL_TRACES_EXPORTER", "none")], "nowhere"),
        (&[(BASE, "http://a"), ("OTEL_TRACES_EXPORTER", "otlp")], "http://a/v1/traces"),
    ] {
        assert_eq!(target(&of(env)), expected, "{env:?}");
    }
}

#[test]
fn what_is_set_for_traces_counts_more_and_the_environment_more_than_a_file() {
    let file = "[export]\ntimeout = \"1s\"\ncompression = \"none\"\nservice_name = \"file\"";
    let env = [
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "2000"),
        ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "3000"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=1"),
        ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "b=x%20y, c=d=e"),
        ("OTEL_SERVICE_NAME", " env "),
        ("OTEL_RESOURCE_ATTRIBUTES", "k=v%2C1,service.name=ignored"),
        ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
        ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
    ];
    let settings = load(file, &env, &[]).unwrap();
    let export = &settings.export;
    assert_eq!((export.timeout, export.compression), (Duration::from_secs(3), Compression::Gzip));
    assert_eq!((export.service_name.as_str(), export.ratio()), ("env", Ok(0.25)));
    let headers = export.header_map().unwrap();
    assert_eq!(
        (headers.len(), &headers["b"], &headers["c"]),
        (2, &"x y".parse().unwrap(), &"d=e".parse().unwrap())
    );
    assert_eq!(export.resource().unwrap()[0], ("k".to_owned(), "v,1".to_owned()));
    assert_eq!(export.sampler, SamplerName::ParentBasedTraceIdRatio);
    assert!(export.ignored.is_empty());
    let shown = settings.show();
    assert!(shown.contains("headers = \"[redacted]\"") && !shown.contains("x%20y"), "{shown}");
}

#[test]
fn a_value_that_is_not_understood_is_told_of_and_ignored() {
    let wrong = [
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "secret"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s"),
        ("OTEL_RESOURCE_ATTRIBUTES", "a=b,c"),
        ("OTEL_SDK_DISABLED", "yes"),
        ("OTEL_TRACES_EXPORTER", "zipkin"),
        ("OTEL_TRACES_SAMPLER", "jaeger_remote"),
        ("OTEL_TRACES_SAMPLER_ARG", "2"),
    ];
    let settings = of(&wrong);
    let ignored = &settings.export.ignored;
    assert_eq!(ignored.len(), wrong.len());
    assert!(wrong.iter().all(|(name, _)| ignored.iter().any(|told| told.starts_with(name))), "{ignored:?}");
    assert!(!ignored.iter().any(|told| told.contains("secret")), "{ignored:?}");
    let defaults = Settings::defaults().unwrap().export;
    assert_eq!((settings.export.protocol, settings.export.timeout), (defaults.protocol, defaults.timeout));
}

#[test]
fn a_setting_that_cannot_be_is_refused() {
    let lines: Vec<String> = [
        "endpoint = \"localhost:4318\"",
        "endpoint = \"ftp://host\"",
        "traces_endpoint = \"https://user:hunter2@host\"",
        "headers = \"hunter2\"",
        "headers = \"a b=c\"",
        "resource_attributes = \"a\"",
        "sampler_arg = \"1.5\"",
        "queue = 0",
        "timeout = \"0s\"",
        "protocol = \"thrift\"",
    ]
    .into_iter()
    .map(|line| fault(&format!("[export]\n{line}")))
    .collect();
    let shown = lines.join("\n");
    assert!(!shown.contains("hunter2"), "{shown}");
    insta::assert_snapshot!(shown, @r#"
    tracer.toml: `export.endpoint`: must be an address that begins with https:// or http://
    tracer.toml: `export.endpoint`: must be an address that begins with https:// or http://
    tracer.toml: `export.traces_endpoint`: must not hold a password: send it by headers, which are kept secret
    tracer.toml: `export.headers`: expected name=value, percent-encoded, separated by commas
    tracer.toml: `export.headers`: expected name=value, percent-encoded, separated by commas
    tracer.toml: `export.resource_attributes`: expected key=value, percent-encoded, separated by commas
    tracer.toml: `export.sampler_arg`: expected a number from 0 to 1
    tracer.toml: `export.queue`: must lie between 1 and 1000000
    tracer.toml: `export.timeout`: must lie between 1ms and 3600 s
    tracer.toml: `export.protocol`: unknown variant `thrift`, expected one of `http/protobuf`, `http/json`, `grpc`
    "#);
}
